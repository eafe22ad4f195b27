"""From a hub id or folder to the files of a pipeline on this machine, with one clear sentence for all that can fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from arena.backends.weights import PACKAGE_SCHEME
from arena.errors import EnvironmentFault, WeightsError
from arena.settings import secret

WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}
STORED = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a safetensors number, by the name of its type; other types stay as they are."""


def needs(package: str, what: str) -> None:
    """Raises EnvironmentFault, with the line that installs it, where a package is missing."""
    if find_spec(package) is None:
        raise EnvironmentFault(f"{what} needs a package that is not installed; get it by: pip install {package}")


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
    if source.startswith(("/", "./", "../", "~")):
        raise WeightsError(f"There is no folder {source!r}; give a folder that exists, or the id of a model.")
    token = secret(key_variable) if key_variable else None
    return _downloaded(source, revision, variant, token)


def _downloaded(source: str, revision: str | None, variant: str | None, token: str | None) -> Path:
    import httpx2
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging
    from huggingface_hub.errors import HfHubHTTPError

    logging.set_verbosity_error()
    options = {"revision": revision, "variant": variant, "token": token}
    try:
        given = {name: value for name, value in options.items() if value is not None}
        return Path(DiffusionPipeline.download(source, **given))
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as error:
        raise WeightsError(_why_not(source, revision, error)) from error


def _why_not(source: str, revision: str | None, error: BaseException) -> str:
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
        return f"{source!r} is no pipeline of diffusers on the hub ({_line(error)}); check the id."
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


def weights_bytes(folder: Path, variant: str | None, dtype: str) -> int:
    """Bytes of a folder's safetensors once loaded as `dtype`, from their headers alone.

    Where files of a variant lie beside the others, only one of the two kinds is loaded.
    """
    files = [file for file in folder.rglob("*.safetensors") if file.parent != folder]
    of_variant = [file for file in files if variant and f".{variant}" in file.name]
    plain = [file for file in files if "." not in file.name.removesuffix(".safetensors").rsplit("-of-", 1)[0]]
    chosen = of_variant or plain or files
    return sum(_loaded_bytes(file, WIDTHS[dtype]) for file in chosen)


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

        return torch.cuda.mem_get_info(device)[0] if torch.cuda.is_available() else None
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    available = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(available[0]) * 1024 if available else None
