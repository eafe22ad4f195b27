"""Blobs behind a URL: a real S3 server (moto's, in this process), fsspec's memory, and a protocol that needs drafts."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from arena.bootstrap import open_arena
from arena.errors import DataError, EnvironmentFault, SettingsError
from arena.settings import load_settings
from db.blobs import Blobs, RemoteBlobs, open_blobs
from tests.conftest import fill_with_swatches, free_port


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    port = free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "testing"), ("AWS_SECRET_ACCESS_KEY", "testing"), ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", s3_server), ("AWS_CONFIG_FILE", str(tmp_path / "none")),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    name = f"arena-{tmp_path.name.replace('_', '-').lower()[-40:]}".strip("-")
    files.mkdir(name)
    yield name
    fsspec.filesystem("s3").clear_instance_cache()


def keeps(blobs: RemoteBlobs) -> None:
    """What every place for images does."""
    content = b"teddy" * 1000
    sha256 = blobs.put(content)
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert blobs.has(sha256) and blobs.get(sha256) == content and blobs.put(content) == sha256
    assert not blobs.has("0" * 64)
    with pytest.raises(DataError, match="is missing from"):
        blobs.get("0" * 64)
    blobs.files.pipe_file(blobs.path(sha256), b"grizzly")
    with pytest.raises(DataError, match="was changed or came damaged"):
        blobs.get(sha256)
    blobs.remove(sha256)
    blobs.remove(sha256)
    assert not blobs.has(sha256)


def test_s3_keeps_images(bucket: str) -> None:
    blobs = open_blobs(f"s3://{bucket}/arena/images", Path("unused"))
    assert isinstance(blobs, RemoteBlobs) and blobs.whole
    keeps(blobs)
    sha256 = blobs.put(b"teddy")
    keys = blobs.files.find(bucket)
    assert keys == [f"{bucket}/arena/images/{sha256[:2]}/{sha256[2:4]}/{sha256}"]


def test_an_arena_lives_with_its_images_in_s3(bucket: str, tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data", images_url=f"s3://{bucket}/x", batch_size=4)
    arena = fill_with_swatches(open_arena(settings, prepare=True), contestants=2, prompts=2)
    generation = arena.store.generations(arena.store.contestants()[0].id or 0)[0]
    assert generation.image and arena.blobs.get(generation.image.sha256).startswith(b"\x89PNG")
    assert not [path for path in settings.images_dir.rglob("*") if path.is_file()]


def test_an_s3_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    with pytest.raises(EnvironmentFault, match="could not be written to 's3://no-such-bucket-here/x'"):
        open_blobs("s3://no-such-bucket-here/x", Path("unused")).put(b"teddy")


def test_memory_keeps_images(tmp_path: Path) -> None:
    keeps(RemoteBlobs(f"memory://{tmp_path.name}"))


def test_a_protocol_without_whole_objects_gets_a_draft_that_is_moved(tmp_path: Path) -> None:
    """`local://` is fsspec's plain files, written like sftp or smb."""
    blobs = RemoteBlobs(f"local://{tmp_path}/images")
    assert not blobs.whole
    keeps(blobs)
    sha256 = blobs.put(b"teddy")
    assert [path.name for path in (tmp_path / "images").rglob("*") if path.is_file()] == [sha256]


def test_a_draft_that_cannot_be_moved_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = RemoteBlobs(f"local://{tmp_path}/images")

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(blobs.files, "mv", full)
    with pytest.raises(EnvironmentFault, match="disk full"):
        blobs.put(b"teddy")
    assert not [path for path in (tmp_path / "images").rglob("*") if path.is_file()]


@pytest.mark.parametrize("url", ["", "{folder}", "file://{folder}"])
def test_a_folder_is_a_folder(tmp_path: Path, url: str) -> None:
    blobs = open_blobs(url.format(folder=tmp_path / "elsewhere"), tmp_path / "images")
    assert isinstance(blobs, Blobs)
    assert blobs.folder == (tmp_path / "elsewhere" if url else tmp_path / "images")


def test_a_protocol_that_nothing_opens_is_a_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"images_url 'nothing://host/x' cannot be opened") as refused:
        open_blobs("nothing://me:hunter2@host/x", tmp_path)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "line"),
    [("s3://me:hunter2@bucket/x", r"`pip install 's3fs>=2026.9'`"), ("gs://bucket/x", "`pip install 'gcsfs'`")],
)
def test_a_missing_package_is_said_with_the_line_that_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, line: str
) -> None:
    for package in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)
    for kind in ("s3", "gs"):
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, kind, raising=False)
    with pytest.raises(SettingsError, match=line) as told:
        open_blobs(url, tmp_path)
    assert "hunter2" not in str(told.value) and "\n" not in str(told.value)
