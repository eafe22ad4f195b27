"""Files of votes: CSV, JSON lines (also gzipped) and Parquet, one row for each vote or for `count` equal votes.

Columns: `model_a` and `model_b` (or `left` and `right`), `winner` (see `WINNERS`), and optional `count`, `voter`,
`prompt`, `category`, `timestamp`; others are not looked at. Text is UTF-8 and names are kept verbatim: a model may be
called "NA". Whatever is unclear is refused with its row, never guessed.

Rows are numbered as one sees them: in CSV the header is row 1 and empty lines are left out; in JSON lines row n is line
n; in Parquet the first vote is row 1.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import itertools
import json
import os
import re
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from arena.domain import Outcome
from arena.errors import DataError
from arena.rating.comparisons import CODES, Comparisons, aggregate

COLUMNS = ("model_a", "model_b", "winner", "count", "voter", "prompt", "category", "timestamp")
REQUIRED = COLUMNS[:3]
ALIASES = {"left": "model_a", "right": "model_b"}
WINNERS = {
    "model_a": Outcome.LEFT, "left": Outcome.LEFT, "model_b": Outcome.RIGHT, "right": Outcome.RIGHT,
    "tie": Outcome.TIE, "tie (bothbad)": Outcome.BOTH_BAD, "bothbad": Outcome.BOTH_BAD,
    "both_bad": Outcome.BOTH_BAD,
}  # fmt: skip
"""The accepted words: Chatbot Arena's, and the arena's own."""
WRITTEN = {
    Outcome.LEFT: "model_a", Outcome.RIGHT: "model_b", Outcome.TIE: "tie", Outcome.BOTH_BAD: "tie (bothbad)",
}  # fmt: skip
EXTENSIONS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")

BLOCK = 2 << 20
"""Bytes of text read at a time; no row may be longer."""
ROWS = 50_000
MOST_MODELS = 1 << 15
MOST_VOTES = 1 << 53
"""Sums of whole numbers are exact in double precision up to here."""


class Cluster(StrEnum):
    """Whose votes hang together."""

    VOTER = "voter"
    PROMPT = "prompt"
    NONE = "none"


class Order(NamedTuple):
    """The rows in the file's order, each (n,): positions among the contestants, a `Code`, how many votes."""

    left: NDArray[np.integer]
    right: NDArray[np.integer]
    outcome: NDArray[np.integer]
    count: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Votes:
    """A file's votes. `cluster`: what they are clustered by; `order`: only where it was asked for."""

    comparisons: Comparisons
    cluster: Cluster
    order: Order | None = None


class VoteRow(NamedTuple):
    """One row of a file of votes: `count` equal votes."""

    model_a: str
    model_b: str
    winner: Outcome
    count: int = 1
    voter: str | None = None
    prompt: str | None = None
    category: str | None = None
    timestamp: str | None = None


def read_votes(
    path: Path, *, cluster: Cluster | None = None, category: str | None = None, ordered: bool = False
) -> Votes:
    """The file's votes, added up as they are read: memory grows with the distinct rows, not with the file.

    `cluster` None means by voter where the file has that column, else not at all. `category` keeps that one only.
    `ordered` adds the rows in the file's order. Raises DataError, with the row, for what cannot be counted as written.
    """
    with _one_sentence(path):
        source = _open(path)
        by = cluster or (Cluster.VOTER if "voter" in source.columns else Cluster.NONE)
        needed = {by.value} - {"none"} | ({"category"} if category is not None else set())
        for name in sorted(needed - source.columns - source.later):
            raise DataError(f"{path.name!r} has no column {name!r}; it has {_listed(source.columns)}.")
        # A voter who turns up after rows without one must not go unnoticed.
        unforeseen = source.later & {"voter"} if cluster is None and by is Cluster.NONE else set()
        tally = _Tally(source.where, by, category, ordered)
        for first, columns in source.batches({*REQUIRED, "count", *needed, *unforeseen}):
            if unforeseen and (rows := np.flatnonzero(columns["voter"].codes >= 0)).size:
                raise DataError(
                    f"{source.where(first + int(rows[0]))} names a voter and those before it do not; "
                    "give each a voter, or leave clusters out."
                )
            tally.add(first, columns)
        return tally.votes(path, by)


def read_rows(path: Path) -> Iterator[VoteRow]:
    """The file's rows one by one, checked as `read_votes` checks them; what is empty in an optional column is None."""
    with _one_sentence(path):
        source = _open(path)
        tally = _Tally(source.where, Cluster.NONE, None, False)
        for first, columns in source.batches(set(COLUMNS)):
            *_, outcome, count = tally.checked(first, columns)
            optional = ([value or None for value in columns[c].texts()] if c in columns else None for c in COLUMNS[4:])
            yield from map(
                VoteRow,
                columns["model_a"].texts(),
                columns["model_b"].texts(),
                (OUTCOMES[code] for code in outcome.tolist()),
                count.tolist(),
                *(column or [None] * len(count) for column in optional),
            )


# A file becomes batches of columns of text, whatever its format.


class Column(NamedTuple):
    """Texts (n,) as positions (n,) among distinct `words`, -1 where nothing is written."""

    codes: NDArray[np.int64]
    words: list[str]

    @classmethod
    def of(cls, texts: Sequence[str | None]) -> Column:
        numbers: dict[str | None, int] = {}
        codes = [-1 if text is None else numbers.setdefault(text, len(numbers)) for text in texts]
        return cls(np.array(codes, np.int64), list(numbers))  # type: ignore[arg-type]

    @classmethod
    def of_arrow(cls, texts: pa.StringArray) -> Column:
        encoded = texts.dictionary_encode()
        indices, words = encoded.indices, encoded.dictionary.to_pylist()
        if encoded.null_count:
            return cls(indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64), words)
        # `to_numpy` would import pandas, half a second.
        codes = np.frombuffer(indices.buffers()[1], np.int32, len(indices), 4 * indices.offset) if len(indices) else []
        return cls(np.asarray(codes, np.int64), words)

    def texts(self) -> list[str | None]:
        words = [*self.words, None]
        return [words[code] for code in self.codes.tolist()]


Columns = Mapping[str, Column]


@dataclass(frozen=True)
class _Source:
    """`columns`: the known columns that the file starts with; `later`: others that may still turn up.

    `batches(wanted)` yields (number of the first row, name -> text column, null where nothing is written).
    `where(number)` names a row to the reader.
    """

    columns: frozenset[str]
    batches: Callable[[set[str]], Iterator[tuple[int, Columns]]]
    where: Callable[[int], str]
    later: frozenset[str] = frozenset()


def extension(path: Path) -> str:
    """The file's extension; raises DataError for one that is not of `EXTENSIONS`."""
    for known in sorted(EXTENSIONS, key=len, reverse=True):
        if path.name.casefold().endswith(known):
            return known
    raise DataError(f"{path.name!r} is no file of votes by its name; it has to end in {', '.join(EXTENSIONS)}.")


def _open(path: Path) -> _Source:
    kind = extension(path)
    if path.stat().st_size == 0:
        raise DataError(_empty(path))
    if kind == ".parquet":
        return _open_parquet(path)
    return _open_csv(path) if kind.startswith(".csv") else _open_jsonl(path)


def _empty(path: Path) -> str:
    return f"{path.name!r} is empty; a file of votes has the columns {', '.join(REQUIRED)}."


def _bytes(path: Path) -> IO[bytes]:
    return gzip.open(path) if extension(path).endswith(".gz") else path.open("rb")  # type: ignore[return-value]


@contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    """Whatever the readers raise, as a DataError of one sentence."""
    name = repr(path.name)
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name} is damaged or cut off: its gzip data do not end as they should.") from error
    except UnicodeError as error:
        raise DataError(f"{name} is not UTF-8; save it as UTF-8.") from error
    except pa.ArrowException as error:
        raise DataError(f"{name} cannot be read: {' '.join(str(error).split())[:200]}") from error
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error


def _resolve(path: Path, found: Sequence[str]) -> dict[str, str]:
    """Our name of each known column -> the file's."""
    for name in found:
        if found.count(name) > 1:
            raise DataError(f"{path.name!r} has two columns {_short(name)}; keep one.")
    ours = {ours: theirs for theirs, ours in ALIASES.items() if theirs in found}
    ours |= {name: name for name in COLUMNS if name in found}
    for name in REQUIRED:
        if name not in ours:
            raise DataError(f"{path.name!r} has no column {name!r}; it has {_listed(found)}.")
    return ours


def _open_csv(path: Path) -> _Source:
    with _bytes(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", "surrogateescape", "") as text:  # type: ignore[type-var]
        try:
            header = next((row for row in csv.reader(text) if row), None)
        except csv.Error as error:
            raise DataError(f"The header of {path.name!r} cannot be read as CSV: {error}.") from error
    if header is None:
        raise DataError(_empty(path))

    def where(number: int | str) -> str:
        return f"Row {number} of {path.name!r} (the header is row 1)"

    if any(map(_surrogate, header)):
        raise DataError(f"{where(1)} is not UTF-8; save the file as UTF-8.")
    ours = _resolve(path, header)

    def batches(wanted: set[str]) -> Iterator[tuple[int, Columns]]:
        names = {name: theirs for name, theirs in ours.items() if name in wanted}
        ragged: list[pyarrow.csv.InvalidRow] = []

        def refuse(row: pyarrow.csv.InvalidRow) -> str:
            ragged.append(row)
            return "error"

        number = 2
        try:
            with _bytes(path) as raw:
                reader = pyarrow.csv.open_csv(
                    raw,
                    read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=BLOCK),
                    parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
                    convert_options=pyarrow.csv.ConvertOptions(
                        include_columns=list(names.values()),
                        column_types={theirs: pa.string() for theirs in names.values()},
                        strings_can_be_null=False,
                    ),
                )
                for batch in reader:
                    yield number, {name: Column.of_arrow(batch.column(theirs)) for name, theirs in names.items()}
                    number += batch.num_rows
        except pa.ArrowInvalid as error:
            raise DataError(_csv_fault(path, where, ragged, str(error))) from error

    return _Source(frozenset(ours), batches, where)


def _csv_fault(
    path: Path, where: Callable[[str], str], ragged: list[pyarrow.csv.InvalidRow], said: str
) -> str:  # fmt: skip
    at = re.search(r"Row #(\d+)", said)
    place = where(at[1]) if at else repr(path.name)
    if ragged:
        row = ragged[0]
        return f"{place} has {row.actual_columns} values, not {row.expected_columns}: {_short(row.text)}."
    if "UTF8" in said:
        return f"{place} is not UTF-8; save the file as UTF-8."
    if "straddl" in said:
        return f"{path.name!r} has a row longer than {BLOCK >> 20} MB; is a quotation mark never closed?"
    return f"{place} cannot be read as CSV: {' '.join(said.split())[:200]}"


def _open_jsonl(path: Path) -> _Source:
    def where(number: int | str) -> str:
        return f"Line {number} of {path.name!r}"

    decode = json.JSONDecoder(object_pairs_hook=_object).decode

    def objects() -> Iterator[tuple[int, dict[str, Any]]]:
        with _bytes(path) as raw:
            number = 0
            while line := raw.readline(BLOCK):
                number += 1
                if len(line) == BLOCK and not line.endswith(b"\n"):
                    raise DataError(f"{where(number)} is longer than {BLOCK >> 20} MB; JSON lines has a vote per line.")
                if not line.strip():
                    continue
                try:
                    found = decode(line.decode("utf-8-sig" if number == 1 else "utf-8").strip())
                except UnicodeDecodeError as error:
                    raise DataError(f"{where(number)} is not UTF-8; save the file as UTF-8.") from error
                except _TwiceError as error:
                    raise DataError(f"{where(number)} has {_short(str(error))} twice; keep one.") from error
                except (ValueError, RecursionError) as error:
                    raise DataError(f"{where(number)} is no JSON: {_short(line.decode().strip())}.") from error
                if not isinstance(found, dict):
                    raise DataError(
                        f"{where(number)} is no JSON object: {_short(line.decode().strip())}; "
                        "JSON lines has one object per line."
                    )
                yield number, found

    first = next(objects(), None)
    if first is None:
        raise DataError(_empty(path))
    ours = _resolve(path, list(first[1]))

    def batches(wanted: set[str]) -> Iterator[tuple[int, Columns]]:
        for part in _parts(objects(), ROWS):
            numbers = [number for number, _ in part]
            columns = {}
            for name in COLUMNS:
                if name in wanted:
                    theirs, absent = ours.get(name, name), 1 if name == "count" else None
                    said = [_said(name, found.get(theirs, absent), where, number) for number, found in part]
                    columns[name] = Column.of(said)
            # Empty lines move the numbers: batches without gaps keep row i at the first number + i.
            yield from _without_gaps(numbers, columns)

    return _Source(frozenset(ours), batches, where, frozenset(COLUMNS))


class _TwiceError(ValueError):
    """A JSON object says a key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _TwiceError(next(key for key in keys if keys.count(key) > 1))
    return found


def _said(name: str, value: Any, where: Callable[[int], str], number: int) -> str | None:
    """A JSON value as text."""
    if type(value) is str:
        if not value.isascii() and _surrogate(value):
            raise DataError(f"{where(number)} has half a surrogate pair in {name!r}, which is no Unicode text.")
        return value
    if value is None:
        return None
    if name in REQUIRED:
        raise DataError(f"{where(number)} has {_short(json.dumps(value))} as {name!r}, which is not text.")
    if type(value) in (int, float):
        return repr(value)
    raise DataError(f"{where(number)} has {_short(json.dumps(value))} as {name!r}, neither text nor a number.")


def _surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _parts(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while part := list(itertools.islice(items, size)):
        yield part


def _without_gaps(numbers: list[int], columns: Columns) -> Iterator[tuple[int, Columns]]:
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        yield numbers[0], columns
        return
    cuts = [0, *(np.flatnonzero(np.diff(numbers) > 1) + 1).tolist(), len(numbers)]
    for start, end in itertools.pairwise(cuts):
        yield numbers[start], {name: Column(c.codes[start:end], c.words) for name, c in columns.items()}


def _open_parquet(path: Path) -> _Source:
    from pyarrow import parquet

    def where(number: int) -> str:
        return f"Row {number} of {path.name!r} (the first vote is row 1)"

    damaged = f"{path.name!r} is no whole Parquet file; it may be cut off."
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
    except pa.ArrowException as error:
        raise DataError(damaged) from error
    ours = _resolve(path, schema.names)
    for name in REQUIRED:
        kind = schema.field(ours[name]).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not any(
            is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
        ):
            raise DataError(f"Column {ours[name]!r} of {path.name!r} holds {kind}, not text.")

    def batches(wanted: set[str]) -> Iterator[tuple[int, Columns]]:
        names = {name: theirs for name, theirs in ours.items() if name in wanted}
        number = 1
        try:
            with parquet.ParquetFile(path, buffer_size=1 << 20) as file:
                for batch in file.iter_batches(ROWS, columns=list(names.values()), use_threads=False):
                    yield number, {name: _text(path, name, batch.column(theirs)) for name, theirs in names.items()}
                    number += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise DataError(damaged) from error

    return _Source(frozenset(ours), batches, where)


def _text(path: Path, name: str, column: pa.Array) -> Column:
    if pa.types.is_floating(column.type):
        return Column.of([None if value is None else repr(value) for value in column.to_pylist()])
    try:
        return Column.of_arrow(column.cast(pa.string()))
    except pa.ArrowException as error:
        raise DataError(f"Column {name!r} of {path.name!r} holds {column.type}, neither text nor numbers.") from error


# Batches become counted votes.


OUTCOMES = {int(code): outcome for outcome, code in CODES.items()}


class _Tally:
    """Adds up checked batches; the memory it takes grows with the distinct rows.

    A row is packed into 64 bits: the cluster's number, both models' (15 bits each) and the outcome (2 bits).
    """

    def __init__(self, where: Callable[[int], str], by: Cluster, category: str | None, ordered: bool):
        self.where, self.by, self.category, self.ordered = where, by, category, ordered
        self.models: dict[str, int] = {}
        self.clusters: dict[bytes, int] = {}
        self.categories: dict[str, None] = {}
        self.rows = self.total = 0
        self.packed, self.count = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.waiting: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self.order: list[Order] = []

    def checked(
        self, first: int, columns: Columns
    ) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer], NDArray[np.int64]]:
        """Left, right, outcome, count, each (n,); raises DataError for the first row that is not a vote."""

        def refuse(bad: NDArray[np.bool_], fault: Callable[[int], str]) -> None:
            if (rows := np.flatnonzero(bad)).size:
                raise DataError(f"{self.where(first + int(rows[0]))} {fault(int(rows[0]))}.")

        sides = []
        for name in ("model_a", "model_b"):
            codes, words = columns[name]
            refuse(codes < 0, lambda _, name=name: f"has no {name!r}")
            blank = np.array([not word.strip() for word in words], bool)
            refuse(blank[codes], lambda _, name=name: f"has an empty {name!r}; every model needs a name")
            sides.append((codes, words))
        codes, words = columns["winner"]
        refuse(codes < 0, lambda _: "has no 'winner'")
        known = np.array([CODES[WINNERS[word]] if word in WINNERS else -1 for word in words], np.int8)
        refuse(
            known[codes] < 0,
            lambda i: f"has the winner {_short(words[codes[i]])}; accepted are {', '.join(map(repr, WINNERS))}",
        )
        outcome = known[codes]
        count = np.ones(len(outcome), np.int64)
        if "count" in columns:
            codes, said = columns["count"]
            refuse(codes < 0, lambda _: "has no 'count'")
            counts = np.array([_whole(text) for text in said], np.int64)
            refuse(
                counts[codes] < 1,
                lambda i: f"has the count {_short(said[codes[i]])}; it has to be a whole number from 1 upwards",
            )
            count = counts[codes]
        left, right = (self._numbers(words)[codes] for codes, words in sides)
        refuse(left == right, lambda i: f"compares {_short(sides[0][1][sides[0][0][i]])} with itself; remove it")
        return left, right, outcome, count

    def _numbers(self, words: list[str]) -> NDArray[np.int64]:
        numbers = [self.models.setdefault(word, len(self.models)) for word in words]
        if len(self.models) > MOST_MODELS:
            raise DataError(f"There are more than {MOST_MODELS} models; is the right column called model_a?")
        return np.array(numbers, np.int64)

    def add(self, first: int, columns: Columns) -> None:
        left, right, outcome, count = self.checked(first, columns)
        packed = left << 17 | right << 2 | outcome
        if self.by is not Cluster.NONE:
            codes, words = columns[self.by.value]
            numbers = np.array([self._cluster(word) if word else -1 for word in words], np.int64)
            numbers = np.where(codes < 0, -1, numbers[codes] if len(words) else -1)
            if (rows := np.flatnonzero(numbers < 0)).size:
                raise DataError(
                    f"{self.where(first + int(rows[0]))} has no {self.by.value!r} to cluster by; "
                    f"fill it in, or leave clusters out."
                )
            packed |= numbers << 32
        self.rows += len(packed)
        keep = np.ones(len(packed), bool)
        if self.category is not None:
            codes, words = columns["category"]
            self.categories |= dict.fromkeys(words[:20]) if len(self.categories) < 20 else {}
            keep = codes == (words.index(self.category) if self.category in words else -2)
        if self.ordered:
            small = (left[keep].astype(np.int16), right[keep].astype(np.int16), outcome[keep], count[keep])
            self.order.append(Order(*small))
        packed, count = packed[keep], count[keep]
        # First in floating point, where a sum of whole numbers does not wrap around.
        fits = count.sum(dtype=np.float64) <= MOST_VOTES
        self.total += int(count.sum()) if fits else 0
        if not fits or self.total > MOST_VOTES:
            raise DataError(f"The counts add up to more than {MOST_VOTES} votes.")
        self.waiting.append((packed, count))
        if sum(len(packed) for packed, _ in self.waiting) > max(1 << 20, len(self.packed)):
            self._merge()

    def _cluster(self, text: str) -> int:
        # A digest, since a prompt may be long and there may be many.
        return self.clusters.setdefault(hashlib.blake2b(text.encode(), digest_size=16).digest(), len(self.clusters))

    def _merge(self) -> None:
        packed = np.concatenate([self.packed, *(packed for packed, _ in self.waiting)])
        count = np.concatenate([self.count, *(count for _, count in self.waiting)])
        self.waiting.clear()
        order = np.argsort(packed, kind="stable")
        packed, count = packed[order], count[order]
        del order
        starts = np.flatnonzero(np.diff(packed, prepend=-1))
        self.packed, self.count = packed[starts], np.add.reduceat(count, starts) if len(starts) else count

    def votes(self, path: Path, by: Cluster) -> Votes:
        """Raises DataError where nothing was added."""
        if not self.rows:
            raise DataError(f"{path.name!r} has no votes, only the names of its columns.")
        self._merge()
        if not len(self.packed):
            raise DataError(
                f"{path.name!r} has no votes of the category {_short(self.category or '')}; "
                f"it has {_listed(self.categories)}."
            )
        packed, count = self.packed, self.count.astype(np.float64)
        left, right = packed >> 17 & (MOST_MODELS - 1), packed >> 2 & (MOST_MODELS - 1)
        met = np.zeros(len(self.models), bool)
        met[left] = met[right] = True
        models = list(self.models)
        order = sorted(np.flatnonzero(met).tolist(), key=models.__getitem__)
        position = np.full(len(models), -1, np.int32)
        position[order] = np.arange(len(order))
        cluster = None if by is Cluster.NONE else packed >> 32
        comparisons = aggregate(
            tuple(models[i] for i in order), position[left], position[right], (packed & 3).astype(np.int8), count,
            cluster=cluster,
        )  # fmt: skip
        if not self.ordered:
            return Votes(comparisons, by)
        columns = [np.concatenate(column) for column in zip(*self.order, strict=True)]
        return Votes(comparisons, by, Order(position[columns[0]], position[columns[1]], columns[2], columns[3]))


def _whole(text: str) -> int:
    """A whole number as pandas writes it too ("3.0"); 0 for anything else."""
    return int(text.partition(".")[0]) if len(text) < 20 and re.fullmatch(r"[0-9]{1,16}(\.0+)?", text) else 0


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _listed(names: Iterable[str]) -> str:
    known = sorted(names)
    return (", ".join(map(_short, known[:20])) + (", …" if len(known) > 20 else "")) or "none"


# Rows become a file.


def write_votes(path: Path, rows: Iterable[VoteRow]) -> int:
    """Write the rows, and return how many: the same rows give the same bytes, and a crash leaves the old file whole.

    Texts are kept verbatim; an empty optional text is written as none. Raises DataError for a row that `read_votes`
    would refuse, and for an unknown extension.
    """
    kind = extension(path)
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as raw:
            written = _WRITERS[kind.removesuffix(".gz")](raw, map(_writable, itertools.count(1), rows), kind)
            raw.flush()
            os.fsync(raw.fileno())
        part.replace(path)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be written: {error.strerror or error}.") from error
    finally:
        part.unlink(missing_ok=True)
    return written


def _writable(number: int, row: VoteRow) -> tuple[Any, ...]:
    a, b, winner, count, *optional = row
    texts = [a, b, *(text for text in optional if text)]
    if not (a.strip() and b.strip()) or a == b:
        raise DataError(f"Vote {number} to write compares {_short(a)} with {_short(b)}; it needs two models by name.")
    if type(count) is not int or not 1 <= count <= MOST_VOTES:
        raise DataError(f"Vote {number} to write has the count {count!r}; it has to be a whole number from 1 upwards.")
    if any(_surrogate(text) for text in texts):
        raise DataError(f"Vote {number} to write has half a surrogate pair in a text, which is no Unicode text.")
    return a, b, WRITTEN[Outcome(winner)], count, *(text or None for text in optional)


@contextmanager
def _compressed(raw: IO[bytes], kind: str) -> Iterator[IO[bytes]]:
    if not kind.endswith(".gz"):
        yield raw
        return
    # Neither name nor time: the same rows give the same bytes.
    with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        yield file  # type: ignore[misc]


def _write_csv(raw: IO[bytes], rows: Iterator[tuple[Any, ...]], kind: str) -> int:
    written = -1
    with _compressed(raw, kind) as file:
        for row in itertools.chain([COLUMNS], rows):
            file.write((",".join(map(_quoted, row)) + "\n").encode())
            written += 1
    return written


def _quoted(value: Any) -> str:
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if SPECIAL.search(text) else text


SPECIAL = re.compile(r'[",\r\n\ufeff]')
"""What needs quotation marks in CSV; the last is a byte order mark."""


def _write_jsonl(raw: IO[bytes], rows: Iterator[tuple[Any, ...]], kind: str) -> int:
    written = 0
    with _compressed(raw, kind) as file:
        for row in rows:
            file.write(json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False).encode() + b"\n")
            written += 1
    return written


def _write_parquet(raw: IO[bytes], rows: Iterator[tuple[Any, ...]], kind: str) -> int:
    from pyarrow import parquet

    schema = pa.schema([(name, pa.int64() if name == "count" else pa.string()) for name in COLUMNS])
    written = 0
    with parquet.ParquetWriter(raw, schema) as writer:
        for part in _parts(rows, ROWS):
            columns = zip(*part, strict=True)
            arrays = [pa.array(column, kind.type) for column, kind in zip(columns, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            written += len(part)
    return written


_WRITERS: dict[str, Callable[[IO[bytes], Iterator[tuple[Any, ...]], str], int]] = {
    ".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet,
}  # fmt: skip
