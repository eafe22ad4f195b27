"""Derived image files, by the sha256 of what they were made from: made at first use, and safe to delete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


class Renditions:
    """A folder of files, one recipe each (`ab/cd/abcd….`)."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256[2:4] / sha256

    def has(self, sha256: str) -> bool:
        return self.path(sha256).exists()

    def get(self, sha256: str, make: Callable[[], bytes]) -> bytes:
        """The file's bytes; made and kept where there is none. A folder that cannot be written costs time only."""
        file = self.path(sha256)
        try:
            return file.read_bytes()
        except OSError:
            content = make()
        with suppress(OSError):
            self._keep(file, content)
        return content

    @staticmethod
    def _keep(file: Path, content: bytes) -> None:
        """Written beside its place and renamed, so that a reader finds the whole file or none."""
        file.parent.mkdir(parents=True, exist_ok=True)
        number, draft = tempfile.mkstemp(dir=file.parent, prefix=".")
        try:
            with os.fdopen(number, "wb") as opened:
                opened.write(content)
            Path(draft).replace(file)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
