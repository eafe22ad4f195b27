"""An arena as a data set that anyone can read, and that an empty arena becomes the same boards of.

    one moment of the database > rows without secrets > Parquet, a part of each table in memory at a time
    > data card, Croissant, checksums > the folder gets its name

What leaves and what does not is decided here: see `_shareable`. A folder that stands under its name is whole.
"""

from __future__ import annotations

import hmac
import json
import re
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet

from arena import keys
from arena.domain import ASIDE, OWN_PROMPT, PEOPLE, VoteFilter
from arena.errors import EnvironmentFault, UsageError
from arena.services import dataset_card, eval_results, leaderboard
from arena.services import dataset_layout as layout
from arena.services.votes_files import WRITTEN
from db import transfer

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from arena.services.provenance import Signer

Row = dict[str, Any]
Progress = Callable[[str, int], None]
GROUP_ROWS, GROUP_BYTES, FILE_BYTES = 1_000, 1 << 25, 1 << 29
"""A row group has so many rows or bytes at most, a file so many bytes: what memory is needed, and what a hub takes."""
TRIES = 20
KEY = re.compile(r"voter-[0-9a-f]{16}")
STRUCK = "(not exported)"


@dataclass(frozen=True, slots=True)
class Options:
    """`licence`, `name`: for the data card. `everything`: also visitors' own prompts and hidden images, to move an
    arena and not to publish it. `sign`: signs where an image is from, beside it or in a copy.
    `scores_of`: the data set's id on a hub, for scores on models' pages (see `services.eval_results`)."""

    licence: str = "unknown"
    name: str = "Image arena"
    everything: bool = False
    sign: Signer | None = None
    scores_of: str | None = None


@dataclass(slots=True)
class Exported:
    """What was written: rows by table and by split, and how many images stayed out because they are withheld.

    `signed` of the images are, `unsigned` could not be.
    """

    rows: dict[str, int] = field(default_factory=dict)
    splits: dict[str, list[str]] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    images: int = 0
    withheld: int = 0
    failures: int = 0
    signed: int = 0
    unsigned: int = 0
    models_scored: int = 0


def export(
    arena: Arena, folder: Path, options: Options | None = None, progress: Progress = lambda table, rows: None
) -> Exported:
    """Write the arena into a new folder; it appears under its name once it is whole.

    Raises UsageError where the folder holds something, EnvironmentFault where it cannot be written.
    """
    options = options or Options()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{str(folder)!r} is there already; name a new folder, or remove it first.")
    draft = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            done = _written(arena, draft, options, progress)
            if folder.exists():
                folder.rmdir()
            draft.replace(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise EnvironmentFault(f"{str(folder)!r} cannot be written ({error.strerror or error}).") from error
    return done


def _written(arena: Arena, folder: Path, options: Options, progress: Progress) -> Exported:
    done = Exported()
    with _agreeing(arena) as (at, boards):
        for table in layout.SCHEMAS:
            rows = (_shareable(arena, table, row, options) for row in at.rows(table))
            if table == "images":
                rows = _signed(folder, _with_bytes(arena, rows, options, done), options.sign, done)
            if table == "prompts":
                rows = _counted(rows, done)
            _write_table(folder, table, rows, done, progress)
        for row in at.rows("snapshots"):
            _write_snapshot(folder, row)
    for name, content in boards.items():
        _file(folder, f"{layout.BOARDS}/{name}.json", content)
    if options.scores_of is not None:
        done.models_scored = eval_results.write(arena, options.scores_of, folder)
    _file(folder, layout.MANIFEST, layout.as_bytes(manifest(arena, done)))
    _file(folder, layout.CARD, dataset_card.card(done, options, boards).encode())
    sums = _sums(folder)
    _file(folder, layout.CROISSANT, layout.as_bytes(dataset_card.croissant(folder, done, options, dict(sums))))
    sums = [*sums, (layout.CROISSANT, layout.sha256_of(folder / layout.CROISSANT))]
    _file(folder, layout.SUMS, "".join(f"{sha}  {name}\n" for name, sha in sorted(sums)).encode())
    return done


@contextmanager
def _agreeing(arena: Arena) -> Iterator[tuple[transfer.Moment, dict[str, bytes]]]:
    """A moment of the database with the boards of that moment: made again where a vote came in between."""
    for _ in range(TRIES):
        before = arena.store.newest()[:2]
        boards = _boards(arena)
        with transfer.moment(arena.store) as at:
            if at.newest() == before:
                yield at, boards
                return
    raise EnvironmentFault(f"Votes came too fast to take a board between two of them, {TRIES} times; try again later.")


def _boards(arena: Arena) -> dict[str, bytes]:
    """File name -> the bytes that `arena board --json` prints, of people and of each judge."""
    views = {"people": VoteFilter(), **{_file_name(one): VoteFilter(board=one) for one in arena.store.judges()}}
    return {name: board_bytes(arena, votes) for name, votes in views.items()}


def board_bytes(arena: Arena, votes: VoteFilter | None = None) -> bytes:
    """A board as `arena board --json` prints it."""
    found = leaderboard.leaderboard(arena, votes or VoteFilter())
    return (json.dumps(leaderboard.as_json(found)) + "\n").encode()


def _file_name(voter_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9@._-]", "-", voter_id)


def manifest(arena: Arena, done: Exported) -> dict[str, Any]:
    """What an import has to know before it reads anything else."""
    settings = arena.settings
    return {
        "format": layout.FORMAT,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": done.rows,
        "settings": {"k_factor": settings.k_factor, "provisional_below": settings.provisional_below},
    }


# What leaves


def _shareable(arena: Arena, table: str, row: Row, options: Options) -> Row:
    """The row without what must not leave: who voted, keys in settings, and prompts that a visitor typed."""
    for name in ("voter", "voter_id", "drawn_for") + (("id",) if table == "voters" else ()):
        if row.get(name) is not None:
            row[name] = opaque(arena, row[name])
    for name in layout.AS_JSON.get(table, ()):
        row[name] = without_keys(row[name])
    if row.get("failure"):
        row["failure"] = without_keys(row["failure"])
    if not options.everything and OWN_PROMPT in (row.get("source"), row.get("prompt_source")):
        text, id = ("text", "id") if table == "prompts" else ("prompt", "prompt_id")
        row[text] = f"(own prompt {row[id]}, not exported)"
    return row


def opaque(arena: Arena, voter_id: str) -> str:
    """A key that is the same for a voter in every export of this arena, and that only this arena can tell.

    Judges keep their names; a key of an earlier export stays as it is.
    """
    if voter_id.startswith("judge:") or KEY.fullmatch(voter_id):
        return voter_id
    return "voter-" + hmac.digest(arena.secret.encode(), f"export:{voter_id}".encode(), "sha256").hex()[:16]


def without_keys(plain: Any) -> Any:
    """Plain JSON in which whatever is named or looks like a key is struck out."""
    return keys.without_keys(plain, STRUCK)


def _counted(rows: Iterable[Row], done: Exported) -> Iterator[Row]:
    for row in rows:
        done.sources[row["source"]] = done.sources.get(row["source"], 0) + 1
        yield row


def _with_bytes(arena: Arena, rows: Iterable[Row], options: Options, done: Exported) -> Iterator[Row]:
    for row in rows:
        own = row["prompt_source"] == OWN_PROMPT
        content = None
        if row["sha256"] is None:
            done.failures += 1
        elif (options.everything and (not own or arena.blobs.has(row["sha256"]))) or not (own or row["hidden"]):
            content = arena.blobs.get(row["sha256"])
            done.images += 1
        else:
            done.withheld += 1
        path = None if content is None else f"{row['id']:08d}.{row['media_type'].rpartition('/')[2]}"
        yield {**row, "image": content and {"bytes": content, "path": path}, "c2pa": None}


def _signed(folder: Path, rows: Iterable[Row], sign: Signer | None, done: Exported) -> Iterator[Row]:
    """The rows with their manifests; embedded ones lie in copies beside the tables, so that images stay as they are."""
    for row in rows:
        if sign is None or row["image"] is None:
            yield row
            continue
        found = sign(row["image"]["bytes"], row)
        done.signed, done.unsigned = done.signed + (found is not None), done.unsigned + (found is None)
        if found is not None and sign.embeds:
            _file(folder, layout.signed_copy(row["id"], row["image"]["path"]), found)
        yield row if sign.embeds else {**row, "c2pa": found}


# Files


def _write_table(folder: Path, table: str, rows: Iterable[Row], done: Exported, progress: Progress) -> None:
    done.rows[table] = 0
    filled: dict[str, None] = {}
    with ExitStack() as stack:
        writers: dict[str, _Parts] = {}

        def parts(split: str) -> _Parts:
            if split not in writers:
                writers[split] = stack.enter_context(_Parts(folder, table, split))
            return writers[split]

        parts(_split(table, PEOPLE))
        for row in rows:
            split = _split(table, row.get("board"))
            parts(split).add(_plain(table, row))
            filled[split] = None
            done.rows[table] += 1
            if done.rows[table] % GROUP_ROWS == 0:
                progress(table, done.rows[table])
        done.splits[table] = [*filled]
    progress(table, done.rows[table])


def _split(table: str, board: str | None) -> str:
    if table != "votes":
        return layout.SPLIT
    return {PEOPLE: "people", ASIDE: "aside"}.get(board or "", "judges")


def _plain(table: str, row: Row) -> Row:
    """The row with the names and words of the files."""
    row = dict(row)
    for name in layout.AS_JSON.get(table, ()):
        row[name] = json.dumps(row[name], ensure_ascii=False)
    if table == "votes":
        row["winner"], row["timestamp"] = WRITTEN[row["outcome"]], row["at"]
    return {name: row[name] for name in layout.SCHEMAS[table].names}


class _Parts:
    """The files of one split of a table: rows are written a group at a time, and a full file is followed by another."""

    def __init__(self, folder: Path, table: str, split: str):
        self.folder, self.split = folder / layout.DATA / table, split
        self.schema = layout.SCHEMAS[table].with_metadata(layout.features(table))
        self.rows: list[Row] = []
        self.waiting = self.written = self.number = 0
        self.writer: parquet.ParquetWriter | None = None

    def __enter__(self) -> _Parts:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._open()
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self._flush()
        if self.writer is not None:
            self.writer.close()

    def _open(self) -> None:
        self.writer = parquet.ParquetWriter(
            self.folder / f"{self.split}-{self.number:05d}.parquet", self.schema, compression="zstd"
        )
        self.number, self.written = self.number + 1, 0

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.waiting += len((row.get("image") or {}).get("bytes", b"")) + 100
        if len(self.rows) >= GROUP_ROWS or self.waiting >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        assert self.writer is not None
        if not self.rows:
            return
        if self.written >= FILE_BYTES:
            self.writer.close()
            self._open()
        self.writer.write_table(pa.Table.from_pylist(self.rows, self.schema))
        self.written += self.waiting
        self.rows, self.waiting = [], 0


def _write_snapshot(folder: Path, row: Row) -> None:
    content = json.loads(zlib.decompress(row["content"]))
    plain = {"id": row["id"], "at": row["at"].isoformat(), "recipe": row["recipe"], "content": content}
    _file(folder, f"{layout.SNAPSHOTS}/{row['id']}.json", layout.as_bytes(plain))


def _file(folder: Path, name: str, content: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def _sums(folder: Path) -> list[tuple[str, str]]:
    """Every file below the folder with its sha256, by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), layout.sha256_of(path)) for path in files]
