"""From a hub id or folder to the files of a pipeline on this machine, with one clear sentence for all that can fail."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from arena.backends.weights import PACKAGE_SCHEME, model_source
from arena.endpoints import cleared
from arena.errors import EnvironmentFault, WeightsError
from arena.settings import secret

T = TypeVar("T")
WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}
STORED = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a safetensors number, by the name of its type; other types stay as they are."""
PIPELINE = "pipeline of diffusers"
OF_TOKENIZERS = ("*.json", "*.txt", "*.model", "*.jinja")
NAMED_OTHERWISE = {"PIL": "pillow", "cv2": "opencv-python-headless", "bs4": "beautifulsoup4", "google": "protobuf"}
"""Modules whose package has another name."""
CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def needs(package: str, what: str) -> None:
    """Raises EnvironmentFault, with the line that installs it, where a package is missing."""
    if find_spec(package) is None:
        raise EnvironmentFault(f"{what} needs a package that is not installed; get it by: pip install {package}")


def install_line(error: BaseException) -> str:
    """What to do about a package that a library misses, from the library's own words."""
    told, module = str(error), str(getattr(error, "name", None) or "").partition(".")[0]
    named = re.search(r"pip3? install (?:-U |--upgrade )?([\w.\[\]=<>-]+\w\]?)", told)
    library = re.search(r"requires the (\w+) library", told)
    package = named[1] if named else NAMED_OTHERWISE.get(module, module) or (library[1].lower() if library else "")
    return f"get it by: pip install {package}" if package else "install the package that it names"


def needs_of_tokenizer(folder: Path) -> None:
    """Raises EnvironmentFault where a tokenizer is a sentencepiece model alone, and nothing here reads one."""
    if any(folder.glob("*.model")) and not any((folder / name).is_file() for name in ("tokenizer.json", "tekken.json")):
        needs("sentencepiece", f"The tokenizer in {folder.name!r}")


def fetched_pipeline(
    model: str, source: str, revision: str | None, variant: str | None, key_variable: str | None
) -> Path:
    """The folder of a pipeline, downloaded if it is not there yet. Raises WeightsError, EnvironmentFault."""
    local = Path(source)
    if local.is_dir():
        if not (local / "model_index.json").is_file():
            raise WeightsError(f"The folder {source!r} holds no model_index.json, so it is no pipeline of diffusers.")
        return local
    if model.startswith(PACKAGE_SCHEME):
        raise WeightsError(f"The weights folder {source!r} is missing; reinstall the package.")
    _refuse_path(source)
    options = _given(revision=revision, variant=variant, token=secret(key_variable) if key_variable else None)

    def download() -> str:
        from diffusers import DiffusionPipeline
        from diffusers.utils import logging

        logging.set_verbosity_error()
        return DiffusionPipeline.download(source, **options)

    return Path(_downloaded(download, source, PIPELINE, **options))


def fetched_part(model: str, revision: str | None, key_variable: str | None, weights: bool) -> Path:
    """The folder of a model or a tokenizer, downloaded if it is not there yet. Raises WeightsError."""
    source = model_source(model)
    if Path(source).is_dir():
        return Path(source)
    _refuse_path(source)
    options = _given(revision=revision, token=secret(key_variable) if key_variable else None)

    def download(*patterns: str) -> Path:
        import huggingface_hub

        return Path(
            huggingface_hub.snapshot_download(
                source, allow_patterns=[*OF_TOKENIZERS, *patterns], ignore_patterns=["*/*"], **options
            )
        )

    folder = _downloaded(lambda: download(*(("*.safetensors",) if weights else ())), source, "model", **options)
    if weights and not any(folder.glob("*.safetensors")):
        folder = _downloaded(lambda: download("*.bin"), source, "model", **options)
    return folder


def fetched_adapter(
    model: str, file: str | None, revision: str | None, key_variable: str | None
) -> tuple[Path, str | None]:
    """An adapter's folder and the file in it, downloaded if it is not there yet. Raises WeightsError."""
    source = model_source(model)
    if Path(source).is_dir():
        return Path(source), file
    _refuse_path(source)
    options = _given(revision=revision, token=secret(key_variable) if key_variable else None)

    def download() -> tuple[Path, str]:
        import huggingface_hub

        name = file or _only(source, _names(source, options))
        return Path(huggingface_hub.snapshot_download(source, allow_patterns=[name], **options)), name

    return _downloaded(download, source, "adapter", **options)


def _names(source: str, options: dict[str, str]) -> Sequence[str]:
    """The files of a repository; where the hub is out of reach, those that are here."""
    import httpx2
    import huggingface_hub
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        return huggingface_hub.HfApi().list_repo_files(source, **options)
    except (httpx2.TransportError, OfflineModeIsEnabled, ConnectionError):
        folder = Path(huggingface_hub.snapshot_download(source, local_files_only=True, **options))
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _only(source: str, names: Sequence[str]) -> str:
    found = [name for name in names if name.endswith(".safetensors") and "/" not in name]
    found = found or [name for name in names if name.endswith(".bin") and "/" not in name]
    if len(found) != 1:
        listed = ", ".join(found[:10]) or "none"
        raise WeightsError(f"The adapter {source!r} has {len(found)} files of weights ({listed}); name one as `file`.")
    return found[0]


def _given(**options: str | None) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


def _refuse_path(source: str) -> None:
    if source.startswith(("/", "./", "../", "~")):
        raise WeightsError(f"There is no folder {source!r}; give a folder that exists, or the id of a model.")


def _downloaded(
    download: Callable[[], T], source: str, kind: str, revision: str | None = None, token: str | None = None, **_: str
) -> T:
    import httpx2
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return download()
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as error:
        told = _why_not(source, revision, error, kind)
        # A server may send back what it was sent.
        raise WeightsError(cleared(cleared(told, token), huggingface_hub.get_token())) from None


def commit(folder: Path) -> str | None:
    """The commit of the hub that a folder is of; None for any other folder."""
    return folder.name if folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name) else None


def _why_not(source: str, revision: str | None, error: BaseException, kind: str) -> str:
    """What stands between us and a model. After a refusal diffusers tries its cache, so the reason lies behind."""
    from huggingface_hub import errors

    behind = tuple(_causes(error))

    def met(kind: type[BaseException]) -> bool:
        return any(isinstance(one, kind) for one in behind)

    if met(errors.GatedRepoError):
        return (
            f"The model {source!r} is gated; accept its terms at https://huggingface.co/{source} and log in "
            "(`hf auth login`), or set key_variable."
        )
    if met(errors.RevisionNotFoundError):
        return f"The model {source!r} has no revision {revision!r}; look at its commits."
    if met(errors.RepositoryNotFoundError):
        return f"The hub has no model {source!r}, or it is private; check the id and the login."
    if met(errors.HFValidationError) or met(errors.RemoteEntryNotFoundError):
        return f"{source!r} is no {kind} on the hub ({_line(error)}); check the id."
    at = f" at revision {revision!r}" if revision else ""
    return (
        f"The model {source!r}{at} could not be downloaded ({_line(behind[-1])}); check the name and the network, or "
        "give a folder that holds it."
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def read_ahead(file: Path) -> None:
    """Ask the system to have the file in memory soon, where it can be asked; it drops it again when memory is short."""
    if hasattr(os, "posix_fadvise"):
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def weights_bytes(folder: Path, variant: str | None, dtype: str) -> int:
    """Bytes of a folder's safetensors once loaded as `dtype`, from their headers alone.

    Where files of a variant lie beside the others, only one of the two kinds is loaded.
    """
    files = [file for file in folder.rglob("*.safetensors") if file.parent != folder]
    of_variant = [file for file in files if variant and f".{variant}" in file.name]
    plain = [file for file in files if "." not in file.name.removesuffix(".safetensors").rsplit("-of-", 1)[0]]
    chosen = of_variant or plain or files
    return sum(_loaded_bytes(file, WIDTHS[dtype]) for file in chosen)


def part_bytes(folder: Path, dtype: str) -> int:
    """Bytes of a single model's weights once loaded as `dtype`; of other formats than safetensors their size."""
    found = [*folder.glob("*.safetensors")]
    return (
        sum(_loaded_bytes(file, WIDTHS[dtype]) for file in found)
        if found
        else sum(file.stat().st_size for file in folder.glob("*.bin"))
    )


def _loaded_bytes(file: Path, width: int) -> int:
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if size > 100_000_000:
                return file.stat().st_size
            header = json.loads(stream.read(size))
    except (OSError, ValueError) as error:
        raise WeightsError(f"The weights file {str(file)!r} is broken ({error}); download it again.") from error
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            start, end = tensor["data_offsets"]
            total += (end - start) * width // STORED.get(tensor["dtype"], width)
    return total


def free_bytes(device: str | None) -> int | None:
    """Free memory of a device ("cuda", "cuda:1"), otherwise of this machine; None where that cannot be told."""
    if device is not None and device.startswith("cuda"):
        import torch

        try:
            return torch.cuda.mem_get_info(device)[0] if torch.cuda.is_available() else None
        except (RuntimeError, ValueError, AssertionError):  # there is no such device, which is said where it is used
            return None
    rooms = [room for room in (_free_of_machine(), free_of_container()) if room is not None]
    return min(rooms, default=None)


def _free_of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    available = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(available[0]) * 1024 if available else None


def free_of_container(root: Path = CGROUPS, own: Path = OWN_CGROUP) -> int | None:
    """What the narrowest limit around this process leaves (cgroup v2); None where there is none.

    Cached files give way, so they count as free.
    """
    try:
        [path] = [line[3:].strip("/") for line in own.read_text().splitlines() if line.startswith("0::")]
    except (OSError, ValueError):
        return None
    place = root / path
    rooms = [_room(folder) for folder in (place, *place.parents) if folder.is_relative_to(root)]
    return min((max(room, 0) for room in rooms if room is not None), default=None)


def _room(group: Path) -> int | None:
    try:
        limit, used = int((group / "memory.max").read_text()), int((group / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):  # no such group, or "max"
        return None
    return limit - used + (int(cached[1]) if cached else 0)
