"""Image bytes by their sha256: written once, never changed, checked when read."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from arena.errors import DataError, EnvironmentFault


class Blobs:
    """A folder of files named after the sha256 of their content (`ab/cd/abcd….`)."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256[2:4] / sha256

    def put(self, content: bytes) -> str:
        """Store the bytes and return their sha256 (hex); a crash leaves the whole file or none."""
        sha256 = hashlib.sha256(content).hexdigest()
        target = self.path(sha256)
        if target.exists():
            return sha256
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", delete=False) as draft:
                try:
                    draft.write(content)
                    draft.flush()
                    os.fsync(draft.fileno())
                    Path(draft.name).replace(target)
                except BaseException:
                    Path(draft.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise EnvironmentFault(
                f"An image could not be written to {str(self.folder)!r} ({error.strerror}); "
                "make room there or choose another data_dir."
            ) from error
        return sha256

    def remove(self, sha256: str) -> None:
        """Delete the file for good; nothing happens where there is none."""
        self.path(sha256).unlink(missing_ok=True)

    def get(self, sha256: str) -> bytes:
        """The bytes; raises DataError when the file is gone or no longer what was stored."""
        try:
            content = self.path(sha256).read_bytes()
        except OSError as error:
            raise DataError(
                f"The image {sha256[:12]}… is missing from {str(self.folder)!r} ({error.strerror}); "
                "restore it from a backup."
            ) from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DataError(f"The image file {str(self.path(sha256))!r} was changed; restore it from a backup.")
        return content
