"""A cache of features by content: what a file holds and what a recipe makes of its pixels, never what a file is called.

    (sha256 of a file, decoder)      -> sha256 of its pixels, size, format, notes
    (sha256 of pixels, recipe's key) -> float32 features

One SQLite file. Every row carries a checksum: a damaged row counts as missing, is made again, and is said in
`notices`. Whatever goes wrong with the disk turns the cache off with one notice; a score never fails for it.
Several processes may use one file at once, and what a killed one has stored stays.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

FILE_NAME = "features.sqlite"
BUSY_SECONDS = 30.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    file BLOB, decoder BLOB, pixels BLOB NOT NULL, facts TEXT NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (file, decoder)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS features (
    pixels BLOB, recipe BLOB, vector BLOB NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (pixels, recipe)
);
"""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What decoding a file gave: the sha256 (hex) of its pixels, (width, height), format ("PNG"), notes."""

    pixels_sha256: str
    size: tuple[int, int]
    format: str
    notes: tuple[str, ...] = ()


class FeatureCache:
    """Opened on a folder or on nothing (`None`: it holds nothing and says nothing). Thread-safe."""

    def __init__(self, folder: Path | str | None):
        self.path = None if folder is None else Path(folder) / FILE_NAME
        self._lock = threading.Lock()
        self._damaged: set[bytes] = set()
        self._trouble = ""
        self._connection: sqlite3.Connection | None = None
        if self.path is not None:
            self._connection = self._opened(self.path)

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @property
    def notices(self) -> tuple[str, ...]:
        """What the reader should know of this cache, a sentence each."""
        rows = f"{len(self._damaged)} damaged entries in the feature cache {self.path} were computed anew."
        return (*([rows] if self._damaged else []), *([self._trouble] if self._trouble else []))

    def file(self, file_sha256: str, decoder: str) -> FileFacts | None:
        """What is known of a file with these bytes, read by the decoder of that fingerprint (hex)."""
        key = bytes.fromhex(file_sha256) + bytes.fromhex(decoder)
        row = self._row("SELECT pixels, facts, checksum FROM files WHERE file = ? AND decoder = ?", key)
        if row is None or not self._sound(row[2], key, row[0], str(row[1]).encode()):
            return None
        width, height, form, notes = json.loads(row[1])
        return FileFacts(row[0].hex(), (width, height), form, tuple(notes))

    def features(self, pixels_sha256: str, recipe: str, dim: int) -> np.ndarray | None:
        """float32 (dim,), or None where they are not known."""
        key = bytes.fromhex(pixels_sha256) + bytes.fromhex(recipe)
        row = self._row("SELECT vector, checksum FROM features WHERE pixels = ? AND recipe = ?", key)
        if row is None or not self._sound(row[1], key, row[0]) or len(row[0]) != 4 * dim:
            return None
        return np.frombuffer(row[0], "<f4").astype(np.float32, copy=False)

    def store_file(self, file_sha256: str, decoder: str, facts: FileFacts) -> None:
        key, pixels = bytes.fromhex(file_sha256) + bytes.fromhex(decoder), bytes.fromhex(facts.pixels_sha256)
        text = json.dumps([*facts.size, facts.format, facts.notes])
        row = (key[:32], key[32:], pixels, text, checksum(key, pixels, text.encode()))
        self._write("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", [row])

    def store_features(self, recipe: str, pixels: Sequence[str], vectors: np.ndarray) -> None:
        """float32 (n, dim) for n sha256 of pixels."""
        rows = []
        for pixels_sha256, vector in zip(pixels, np.ascontiguousarray(vectors, "<f4"), strict=True):
            key, content = bytes.fromhex(pixels_sha256) + bytes.fromhex(recipe), vector.tobytes()
            rows.append((key[:32], key[32:], content, checksum(key, content)))
        self._write("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)", rows)

    def _sound(self, stored: int, *parts: bytes) -> bool:
        sound = all(isinstance(part, bytes) for part in parts) and checksum(*parts) == stored
        if not sound:
            self._damaged.add(parts[0])
        return sound

    def _row(self, query: str, key: bytes) -> tuple[Any, ...] | None:
        return self._guarded(lambda connection: connection.execute(query, (key[:32], key[32:])).fetchone())

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            with connection:  # one transaction: all of them or none
                connection.executemany(statement, rows)

        self._guarded(work)

    def _guarded(self, work: Callable[[sqlite3.Connection], Result]) -> Result | None:
        with self._lock:
            if self._connection is None:
                return None
            try:
                return work(self._connection)
            except sqlite3.Error as error:
                self._turn_off(error)
                return None

    def _turn_off(self, error: Exception) -> None:
        self._trouble = (
            f"The feature cache {self.path} is off ({error}): scores are not affected, but the next run computes "
            "these features again; free space on that disk, or remove the file."
        )
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _opened(self, path: Path) -> sqlite3.Connection | None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return _connected(path)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._trouble = f"The feature cache {path} was damaged ({error}) and has been started anew."
                for leftover in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
                    leftover.unlink(missing_ok=True)
                return _connected(path)
        except (OSError, sqlite3.Error) as error:
            self._turn_off(error)
            return None


def checksum(*parts: bytes) -> int:
    """CRC-32 of the parts, one after the other."""
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return value


def _connected(path: Path) -> sqlite3.Connection:
    """Writable, with its tables. In WAL mode readers and a writer do not wait for each other, nor for the disk."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection
