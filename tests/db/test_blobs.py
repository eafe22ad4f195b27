"""Blobs: what goes in comes out, and a changed or missing file is said."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from arena.errors import DataError, EnvironmentFault
from db.blobs import Blobs


def test_bytes_come_back_under_their_hash(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    sha256 = blobs.put(b"teddy")
    assert sha256 == hashlib.sha256(b"teddy").hexdigest()
    assert blobs.get(sha256) == b"teddy"
    assert blobs.put(b"teddy") == sha256
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    sha256 = blobs.put(b"teddy")
    blobs.path(sha256).write_bytes(b"grizzly")
    with pytest.raises(DataError, match="was changed; restore it"):
        blobs.get(sha256)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing"):
        Blobs(tmp_path).get("0" * 64)


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("")
    with pytest.raises(EnvironmentFault, match="could not be written"):
        Blobs(tmp_path / "images").put(b"teddy")
