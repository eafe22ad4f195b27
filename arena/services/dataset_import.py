"""An exported folder becomes an empty arena: everything is checked first, then all of it comes in, or nothing.

checksums, format > one transaction: images into the store, rows into the database > the boards, once more
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet

from arena.errors import DataError, UsageError
from arena.services import dataset_layout as layout
from arena.services import provenance
from arena.services.battles import BOARD, elo_parameters, elo_rate
from arena.services.dataset_export import board_bytes
from arena.services.votes_files import WINNERS
from db import transfer

if TYPE_CHECKING:
    from arena.bootstrap import Arena

Row = dict[str, Any]
Progress = Callable[[str, int], None]
LINE = re.compile(r"([0-9a-f]{64})  (.+)")
ROWS = {"images": 8}
MANY = 1_000


@dataclass(frozen=True, slots=True)
class Folder:
    """An export that is whole: its manifest, and the files that an import reads."""

    path: Path
    rows: Mapping[str, int]
    settings: Mapping[str, Any]
    files: tuple[str, ...]

    def parts(self, table: str) -> list[str]:
        return [name for name in self.files if PurePosixPath(name).parent == PurePosixPath(layout.DATA, table)]


@dataclass(frozen=True, slots=True)
class Imported:
    """What came in. `same_board`: people's board here is the exported one to the byte. `notes`: what to know."""

    rows: Mapping[str, int]
    images: int
    same_board: bool
    notes: tuple[str, ...] = ()


def checked(path: Path) -> Folder:
    """The export in a folder, every file of it held against its checksum. Raises DataError that says what is wrong."""
    manifest = _manifest(path)
    if manifest.get("format") != layout.FORMAT:
        raise DataError(
            f"{str(path)!r} is an export of format {manifest.get('format')!r}, and this version reads format "
            f"{layout.FORMAT}; use the version of the arena that wrote it, or a newer one."
        )
    files = []
    for name, sha256 in _listed(path):
        if name in layout.FREE:
            continue
        if layout.sha256_of(path / name) != sha256:
            raise DataError(f"{name!r} in {str(path)!r} is not the file that was exported: its checksum differs.")
        files.append(name)
    found = Folder(path, manifest.get("rows", {}), manifest.get("settings", {}), tuple(files))
    for table in layout.SCHEMAS:
        if table not in found.rows or not found.parts(table):
            raise DataError(f"{str(path)!r} lacks the table {table!r}; export it again.")
    return found


def _manifest(path: Path) -> dict[str, Any]:
    try:
        found = json.loads((path / layout.MANIFEST).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{str(path)!r} is no export of an arena: it has no readable {layout.MANIFEST}; see `arena export`."
        ) from error
    return found if isinstance(found, dict) else {}


def _listed(path: Path) -> Iterator[tuple[str, str]]:
    try:
        lines = (path / layout.SUMS).read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path)!r} lacks a readable {layout.SUMS}; export it again.") from error
    for line in lines:
        match = LINE.fullmatch(line)
        name = match[2] if match else ""
        if not match or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DataError(f"{layout.SUMS} in {str(path)!r} has the line {line[:80]!r}, which names no file of it.")
        yield name, match[1]


def import_into(arena: Arena, folder: Folder, progress: Progress = lambda table, rows: None) -> Imported:
    """Fill an empty arena. Raises UsageError where it is not empty, DataError for what it cannot hold; then it is as
    empty as before."""
    if not transfer.is_empty(arena.store):
        raise UsageError(
            f"The arena in {str(arena.settings.data_dir)!r} is not empty; import into a new one, with another data_dir."
        )
    new: list[str] = []
    unread: list[int] = []
    try:
        with transfer.arrival(arena.store, BOARD, elo_parameters(arena), elo_rate(arena)) as to:
            for table in layout.SCHEMAS:
                _put_table(arena, folder, to, table, new, unread, progress)
            to.put("snapshots", (_snapshot(folder, name) for name in folder.files if _is_snapshot(name)))
    except BaseException:
        for sha256 in new:
            arena.blobs.remove(sha256)
        raise
    same = board_bytes(arena) == (folder.path / layout.PEOPLES_BOARD).read_bytes()
    return Imported(folder.rows, len(new), same, tuple(_notes(arena, folder, same, len(unread))))


def _put_table(
    arena: Arena, folder: Folder, to: transfer.Arrival, table: str, new: list[str], unread: list[int],
    progress: Progress,
) -> None:  # fmt: skip
    count = 0
    for name in folder.parts(table):
        for rows in _batches(folder.path / name, table):
            if table == "images":
                _keep_images(arena, rows, new)
                unread += _note_origins(rows)
            to.put(table, map(_of_file(table), rows))
            count += len(rows)
            progress(table, count)
    if count != folder.rows[table]:
        raise DataError(f"The table {table!r} has {count} rows, and {folder.rows[table]} were exported.")


def _batches(path: Path, table: str) -> Iterator[list[Row]]:
    """The file's rows, some at a time. Raises DataError where it is not this table's."""
    try:
        with parquet.ParquetFile(path, buffer_size=layout.BLOCK) as file:
            if file.schema_arrow.remove_metadata() != layout.SCHEMAS[table]:
                raise DataError(f"{str(path)!r} has other columns than the table {table!r} of this version.")
            for group in range(file.num_row_groups):  # all at once would read ahead
                for batch in file.iter_batches(ROWS.get(table, MANY), row_groups=[group], use_threads=False):
                    yield batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{str(path)!r} cannot be read ({' '.join(str(error).split())[:200]}).") from error


def _keep_images(arena: Arena, rows: list[Row], new: list[str]) -> None:
    for row in rows:
        content = (row["image"] or {}).get("bytes")
        if content is None:
            continue
        if hashlib.sha256(content).hexdigest() != row["sha256"]:
            raise DataError(f"The image of row {row['id']} is not the one its sha256 names; export it again.")
        if not arena.blobs.has(row["sha256"]):
            new.append(row["sha256"])
            arena.blobs.put(content)


def _note_origins(rows: list[Row]) -> list[int]:
    """Give each row with an image what this says of its origin, in itself or in the manifest that came beside it.

    Returns the ids of those that could not be read.
    """
    unread = []
    for row in rows:
        content = (row["image"] or {}).get("bytes")
        if content is None:
            continue
        found = provenance.facts(content)
        if found.state is None and row["c2pa"] is not None:
            found = provenance.facts(content, row["c2pa"])
        row["origin"] = provenance.origin(found)
        if row["origin"] is None:
            unread.append(row["id"])
    return unread


def _of_file(table: str) -> Callable[[Row], Row]:
    """From the words of the files to those of the tables."""

    def row_of(row: Row) -> Row:
        for name in layout.AS_JSON.get(table, ()):
            row[name] = json.loads(row[name])
        if table == "votes":
            row["outcome"], row["at"] = WINNERS[row["winner"]], row["timestamp"]
        return row

    return row_of


def _is_snapshot(name: str) -> bool:
    return PurePosixPath(name).parent == PurePosixPath(layout.SNAPSHOTS)


def _snapshot(folder: Folder, name: str) -> Row:
    plain = json.loads((folder.path / name).read_bytes())
    content = zlib.compress(json.dumps(plain["content"], ensure_ascii=False).encode())
    return {"id": plain["id"], "recipe": plain["recipe"], "content": content, "at": datetime.fromisoformat(plain["at"])}


def _notes(arena: Arena, folder: Folder, same: bool, unread: int) -> Iterator[str]:
    if unread:
        yield f"{unread:,} images carry a manifest that was not read; reading needs pip install c2pa-python."
    differs = False
    for name, value in folder.settings.items():
        if (here := getattr(arena.settings, name, value)) != value:
            differs = True
            yield f"{name} is {here} here and was {value} there; boards differ until arena.toml says the same."
    if not same and not differs:
        yield (
            "The board differs from the exported one in some digit: another processor or library computed it; "
            "`arena board --json` against boards/people.json shows where."
        )
