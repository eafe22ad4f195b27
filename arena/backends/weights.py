"""Where a pipeline's weights are, and the hash that names them. Free of torch, so that any process may ask."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

PACKAGE_SCHEME = "package://"


def model_source(model: str) -> str:
    """Where to load from: a folder for `package://PACKAGE/FOLDER`, otherwise the folder or hub id as given."""
    if not model.startswith(PACKAGE_SCHEME):
        return model
    package, _, folder = model.removeprefix(PACKAGE_SCHEME).partition("/")
    return str(files(package).joinpath(folder))


def folder_sha256(folder: Path) -> str:
    """One hash over the names and bytes of every weights file (*.safetensors) and config (*.json) in a folder."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in {".safetensors", ".json"}):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
