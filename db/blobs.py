"""Image bytes by their sha256: written once, never changed, checked when read; in a folder, or behind a URL."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from arena.errors import DataError, EnvironmentFault, SettingsError
from arena.keys import struck

T = TypeVar("T")
WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "memory"})
"""Protocols whose objects appear whole or not at all; with others a draft is written beside its place and moved."""

PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs>=2026.9"), **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), "adlfs"), "oci": "ocifs", "oss": "ossfs",
    **dict.fromkeys(("sftp", "ssh"), "paramiko"), "smb": "smbprotocol",
}  # fmt: skip
"""What opens a protocol; the first is the extra `s3`."""


class BlobStore(Protocol):
    """What the arena needs of a place for images."""

    def put(self, content: bytes) -> str:
        """Store the bytes and return their sha256 (hex); readers find them whole or not at all."""

    def get(self, sha256: str) -> bytes:
        """The bytes; raises DataError when they are gone or no longer what was stored."""

    def has(self, sha256: str) -> bool:
        """Whether there is something under this hash."""

    def remove(self, sha256: str) -> None:
        """Delete the bytes for good; nothing happens where there are none."""


def open_blobs(url: str, folder: Path) -> BlobStore:
    """The store behind a URL, or in the folder where there is none. Connects to nothing yet.

    Raises SettingsError for a URL that nothing installed here can open.
    """
    protocol, _, rest = url.partition("://")
    if not rest or protocol == "file":
        return Blobs(Path(rest or url) if url else folder)
    return RemoteBlobs(url)


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

    def has(self, sha256: str) -> bool:
        return self.path(sha256).exists()

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


class RemoteBlobs:
    """The same layout behind any URL that fsspec opens: `s3://bucket/prefix`, `gs://…`, `memory://…`.

    How to sign in is the protocol's own matter: for S3 the usual AWS_… variables, AWS_ENDPOINT_URL among them.
    """

    def __init__(self, url: str):
        import fsspec

        self.shown = _without_password(url)
        try:
            # Another process may have written since: what a folder held a moment ago is not to be relied on.
            self.files, self.root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError, TypeError) as error:
            package = PACKAGES.get(url.partition("://")[0].lower())
            what = f"get what it needs by `pip install '{package}'`" if package else "install the package that it names"
            said = " ".join(str(error).split())
            raise SettingsError(
                f"images_url {self.shown!r} cannot be opened "
                f"({struck(said.replace(url, self.shown))[:200]}); {what}, or name a folder."
            ) from error
        self.root = self.root.rstrip("/")
        protocols = {self.files.protocol} if isinstance(self.files.protocol, str) else {*self.files.protocol}
        self.whole = bool(protocols & WHOLE)

    def path(self, sha256: str) -> str:
        return f"{self.root}/{sha256[:2]}/{sha256[2:4]}/{sha256}"

    def put(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        if not self.has(sha256):
            self._try("written to", lambda: self._write(self.path(sha256), content))
        return sha256

    def _write(self, path: str, content: bytes) -> None:
        if self.whole:
            self.files.pipe_file(path, content)
            return
        folder, _, name = path.rpartition("/")
        draft = f"{folder}/.{name}.{secrets.token_hex(4)}"
        self.files.makedirs(folder, exist_ok=True)
        try:
            self.files.pipe_file(draft, content)
            self.files.mv(draft, path)
        except BaseException:
            if self.files.exists(draft):
                self.files.rm_file(draft)
            raise

    def has(self, sha256: str) -> bool:
        return bool(self._try("looked up in", lambda: self.files.exists(self.path(sha256))))

    def get(self, sha256: str) -> bytes:
        content = self._try("read from", lambda: self._read(self.path(sha256)))
        if content is None:
            raise DataError(f"The image {sha256[:12]}… is missing from {self.shown!r}; restore it from a backup.")
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DataError(
                f"The image {sha256[:12]}… in {self.shown!r} was changed or came damaged; restore it from a backup."
            )
        return content

    def remove(self, sha256: str) -> None:
        self._try("removed from", lambda: self._remove(self.path(sha256)))

    def _read(self, path: str) -> bytes | None:
        try:
            return bytes(self.files.cat_file(path))
        except FileNotFoundError:
            return None

    def _remove(self, path: str) -> None:
        if self.files.exists(path):
            self.files.rm_file(path)

    def _try(self, what: str, do: Callable[[], T]) -> T:
        try:
            return do()
        except Exception as error:  # every protocol has exceptions of its own
            said: Any = " ".join(str(error).split())[:200] or type(error).__name__
            raise EnvironmentFault(
                f"An image could not be {what} {self.shown!r} ({said}); check images_url and how this machine signs in."
            ) from error


def _without_password(url: str) -> str:
    host = urlsplit(url).netloc
    return struck(url.replace(host, host.rpartition("@")[2], 1) if "@" in host else url)
