"""Tables in files: CSV, TSV, JSON lines, JSON (also gzipped) and Parquet, read in parts as columns of text.

A file becomes batches of columns of text, whatever its format. Text is UTF-8 and kept verbatim; columns that the layout
does not name are not looked at. Rows are numbered as one sees them: in CSV the header is row 1 and empty lines are left
out; in JSON lines row n is line n, in a JSON list the n-th entry; in Parquet the first row is row 1.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from arena.errors import DataError
from arena.services import json_lists

EXTENSIONS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
WITH_TSV = (*EXTENSIONS, ".tsv", ".tsv.gz")
"""In TSV a quotation mark is a mark like any other, unless it opens a value and closes it."""

BLOCK = 2 << 20
"""Bytes of text read at a time; no row may be longer."""
LARGEST_JSON = 64 << 20
"""Bytes of a file that is one JSON object, which is in memory as a whole."""
ROWS = 50_000
"""Rows that a batch of JSON lines or Parquet holds."""
TEXT_KINDS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
"""What a required column of a Parquet file may be; one with nothing written in it has no kind."""


@dataclass(frozen=True)
class Layout:
    """Which columns a file may have. Required ones hold text; of others a number is taken as it is written.

    `noun` and `row` name the file and one row to the reader ("file of votes", "vote"). `aliases`: another name of a
    column -> ours. `absent`: what a JSON line that leaves a column out says, by default nothing. `closed`: a column
    that is not named here is refused, as is one that is there under two names. `nested`: columns whose values may be
    lists, objects, true and false; they become JSON. `row_of`: what a JSON object becomes before it is looked at; None
    where it is no row.
    """

    noun: str
    row: str
    columns: tuple[str, ...]
    required: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, Any] = field(default_factory=dict)
    extensions: tuple[str, ...] = EXTENSIONS
    closed: bool = False
    nested: frozenset[str] = frozenset()
    row_of: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None

    @property
    def names(self) -> frozenset[str]:
        """Every name that a known column may have."""
        return frozenset((*self.columns, *self.aliases))


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
class Table:
    """`columns`: the known columns that the file starts with; `later`: others that may still turn up.

    `batches(wanted)` yields (number of the first row, name -> text column, null where nothing is written).
    `where(number)` names a row to the reader.
    """

    columns: frozenset[str]
    batches: Callable[[set[str]], Iterator[tuple[int, Columns]]]
    where: Callable[[int], str]
    later: frozenset[str] = frozenset()


def extension(path: Path, noun: str, extensions: Sequence[str] = EXTENSIONS) -> str:
    """The file's extension; raises DataError for one that is not among these."""
    for known in sorted(extensions, key=len, reverse=True):
        if path.name.casefold().endswith(known):
            return known
    raise DataError(f"{path.name!r} is no {noun} by its name; it has to end in {', '.join(extensions)}.")


def open_table(path: Path, layout: Layout) -> Table:
    """The file as a table of this layout. Raises DataError for what is none, by its name or by how it starts."""
    kind = extension(path, layout.noun, layout.extensions)
    if path.stat().st_size == 0:
        raise DataError(_empty(path, layout))
    if kind == ".parquet":
        return _open_parquet(path, layout)
    return _open_jsonl(path, layout, kind) if kind.startswith(".json") else _open_csv(path, layout, kind)


def _empty(path: Path, layout: Layout) -> str:
    return f"{path.name!r} is empty; a {layout.noun} has the columns {', '.join(layout.required)}."


def _bytes(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.name.casefold().endswith(".gz") else path.open("rb")  # type: ignore[return-value]


@contextmanager
def one_sentence(path: Path) -> Iterator[None]:
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


def _resolve(path: Path, found: Sequence[str], layout: Layout) -> dict[str, str]:
    """Our name of each known column -> the file's."""
    for name in found:
        if found.count(name) > 1:
            raise DataError(f"{path.name!r} has two columns {short(name)}; keep one.")
    if layout.closed:
        _refuse_others(repr(path.name), found, layout)
    ours = {ours: theirs for theirs, ours in layout.aliases.items() if theirs in found}
    ours |= {name: name for name in layout.columns if name in found}
    for name in layout.required:
        if name not in ours:
            raise DataError(f"{path.name!r} has no column {name!r}; it has {listed(found)}.")
    return ours


def _refuse_others(place: str, found: Iterable[str], layout: Layout) -> None:
    """Raises DataError for a column that nobody knows, and for two that mean the same."""
    if others := [name for name in found if name not in layout.names]:
        raise DataError(f"{place} has the unknown column {short(others[0])}; known are {listed(layout.names)}.")
    seen: dict[str, str] = {}
    for name in found:
        if (first := seen.setdefault(layout.aliases.get(name, name), name)) != name:
            raise DataError(f"{place} has the columns {first!r} and {name!r}, which mean the same; keep one.")


def _open_csv(path: Path, layout: Layout, kind: str) -> Table:
    tabs = kind.startswith(".tsv")
    rules: dict[str, Any] = {"delimiter": "\t", "quote_char": False} if tabs else {"newlines_in_values": True}
    with _bytes(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", "surrogateescape", "") as text:  # type: ignore[type-var]
        try:
            header = next((row for row in csv.reader(text, **(TABS if tabs else {})) if row), None)
        except csv.Error as error:
            raise DataError(f"The header of {path.name!r} cannot be read as CSV: {error}.") from error
    if header is None:
        raise DataError(_empty(path, layout))

    def where(number: int | str) -> str:
        return f"Row {number} of {path.name!r} (the header is row 1)"

    if any(map(lone_surrogate, header)):
        raise DataError(f"{where(1)} is not UTF-8; save the file as UTF-8.")
    header = [_unquoted(name) for name in header] if tabs else header
    ours = _resolve(path, header, layout)

    def batches(wanted: set[str]) -> Iterator[tuple[int, Columns]]:
        names = {name: theirs for name, theirs in ours.items() if name in wanted}
        ragged: list[pyarrow.csv.InvalidRow] = []

        def refuse(row: pyarrow.csv.InvalidRow) -> str:
            ragged.append(row)
            return "error"

        number, last = 2, None
        try:
            with _bytes(path) as raw:
                seen = _Tail(raw)
                reader = pyarrow.csv.open_csv(
                    seen,
                    read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=BLOCK),
                    parse_options=pyarrow.csv.ParseOptions(invalid_row_handler=refuse, **rules),
                    convert_options=pyarrow.csv.ConvertOptions(
                        include_columns=list(dict.fromkeys([*names.values(), header[-1]])),
                        column_types={theirs: pa.string() for theirs in [*names.values(), header[-1]]},
                        strings_can_be_null=False,
                    ),
                )
                for batch in reader:
                    columns = {name: Column.of_arrow(batch.column(theirs)) for name, theirs in names.items()}
                    if tabs:
                        columns = {name: Column(c.codes, [*map(_unquoted, c.words)]) for name, c in columns.items()}
                    yield number, columns
                    number += batch.num_rows
                    last = batch.column(header[-1])[-1].as_py() if batch.num_rows else last
            if last is not None and not tabs and _unclosed(seen.tail, last):
                raise DataError(f"{where(number - 1)} opens a quotation mark that is never closed: {short(last)}.")
        except pa.ArrowInvalid as error:
            raise DataError(_csv_fault(path, where, ragged, str(error))) from error

    return Table(frozenset(ours), batches, where)


TABS: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}


def _unquoted(text: str) -> str:
    """A value of TSV without the quotation marks around it, where they are a pair and those inside are doubled."""
    inner = text[1:-1]
    whole = len(text) > 1 and text[0] == text[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if whole else text


class _Tail(io.RawIOBase):
    """A binary file that remembers the last bytes that were read from it, as many as a row may have."""

    def __init__(self, file: IO[bytes]):
        self.file, self.tail = file, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        found = self.file.read(size)
        self.tail = (self.tail + found)[-BLOCK:]
        return found


def _unclosed(tail: bytes, last: str) -> bool:
    """Whether a file that ends with `tail` and whose last value is `last` never closes the mark before that value.

    pyarrow takes the end of the file for the closing mark, so that a file cut off in the middle of a row looks whole.
    """
    written = b'"' + last.replace('"', '""').encode()
    return tail.endswith(tuple(before + written for before in (b",", b"\n", b"\r")))


def _csv_fault(
    path: Path, where: Callable[[str], str], ragged: list[pyarrow.csv.InvalidRow], said: str
) -> str:  # fmt: skip
    at = re.search(r"Row #(\d+)", said)
    place = where(at[1]) if at else repr(path.name)
    if ragged:
        row = ragged[0]
        return f"{place} has {row.actual_columns} values, not {row.expected_columns}: {short(row.text)}."
    if "UTF8" in said:
        return f"{place} is not UTF-8; save the file as UTF-8."
    if "straddl" in said:
        return f"{path.name!r} has a row longer than {BLOCK >> 20} MB; is a quotation mark never closed?"
    return f"{place} cannot be read as CSV: {' '.join(said.split())[:200]}"


def _open_jsonl(path: Path, layout: Layout, kind: str) -> Table:
    lines = kind.startswith(".jsonl")

    def where(number: int | str) -> str:
        return f"{'Line' if lines else 'Entry'} {number} of {path.name!r}"

    decode = json.JSONDecoder(object_pairs_hook=_object).decode

    def entries() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, found in _json_entries(path, where):
            if layout.closed:
                _refuse_others(where(number), found, layout)
            yield number, found

    def objects() -> Iterator[tuple[int, dict[str, Any]]]:
        if not lines:
            yield from entries()
            return
        with _bytes(path) as raw:
            number = 0
            while line := raw.readline(BLOCK):
                number += 1
                if len(line) == BLOCK and not line.endswith(b"\n"):
                    raise DataError(
                        f"{where(number)} is longer than {BLOCK >> 20} MB; JSON lines has a {layout.row} per line."
                    )
                if not line.strip():
                    continue
                try:
                    found = decode(line.decode("utf-8-sig" if number == 1 else "utf-8").strip())
                except UnicodeDecodeError as error:
                    raise DataError(f"{where(number)} is not UTF-8; save the file as UTF-8.") from error
                except _TwiceError as error:
                    raise DataError(f"{where(number)} has {short(str(error))} twice; keep one.") from error
                except (ValueError, RecursionError) as error:
                    raise DataError(f"{where(number)} is no JSON: {short(line.decode().strip())}.") from error
                if not isinstance(found, dict):
                    raise DataError(
                        f"{where(number)} is no JSON object: {short(line.decode().strip())}; "
                        "JSON lines has one object per line."
                    )
                if layout.closed and not found.keys() <= layout.names:
                    _refuse_others(where(number), found, layout)
                yield number, found

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, found in objects():
            row = layout.row_of(found) if layout.row_of else found
            if row is not None:
                yield number, row

    first = next(rows(), None)
    if first is None:
        some = next(objects(), None) is not None
        raise DataError(f"{path.name!r} holds no {layout.row}." if some else _empty(path, layout))
    ours = _resolve(path, list(first[1]), layout)

    def known(row: tuple[int, dict[str, Any]]) -> tuple[int, dict[str, Any]]:
        """Without what nobody looks at, which may be whole conversations."""
        number, found = row
        if found.keys() <= layout.names:
            return row
        return number, {name: value for name, value in found.items() if name in layout.names}

    def batches(wanted: set[str]) -> Iterator[tuple[int, Columns]]:
        for part in parts(map(known, rows()), ROWS):
            numbers = [number for number, _ in part]
            columns = {}
            for name in layout.columns:
                if name in wanted:
                    theirs, absent = ours.get(name, name), layout.absent.get(name)
                    required, nested = name in layout.required, name in layout.nested
                    said = [
                        _said(name, found.get(theirs, absent), required, nested, where, number)
                        for number, found in part
                    ]
                    columns[name] = Column.of(said)
            # Empty lines move the numbers: batches without gaps keep row i at the first number + i.
            yield from _without_gaps(numbers, columns)

    return Table(frozenset(ours), batches, where, frozenset(layout.columns))


def _json_entries(path: Path, where: Callable[[int], str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The entries of a JSON list, one by one, or the values of a JSON object, numbered from 1. Raises DataError for
    anything else."""
    with _bytes(path) as raw:
        listed_in_it = json_lists.starts_list(raw.read(BLOCK))
    if not listed_in_it:
        for number, found in enumerate(_json_object(path).values(), start=1):
            if not isinstance(found, dict):
                raise DataError(f"{where(number)} is {short(json.dumps(found))}, no object.")
            yield number, found
        return
    number = 0
    try:
        with _bytes(path) as raw:
            for number, found in json_lists.entries(raw, BLOCK, _object):
                yield number, found
    except _TwiceError as error:
        raise DataError(f"{where(number + 1)} has {short(str(error))} twice; keep one.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name!r} is not UTF-8 after entry {number:,}; save it as UTF-8.") from error
    except json_lists.ListError as error:
        if error.entry is None:
            raise DataError(f"{path.name!r} is no JSON: {error}.") from error
        raise DataError(f"{where(error.entry)} {error}.") from error


def _json_object(path: Path) -> dict[str, Any]:
    with _bytes(path) as raw:
        content = raw.read(LARGEST_JSON + 1)
    if len(content) > LARGEST_JSON:
        raise DataError(f"{path.name!r} is larger than {LARGEST_JSON >> 20} MB and no list; save it as JSON lines.")
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        hint = "; if each line holds an object, name it .jsonl" if "Extra data" in str(error) else ""
        raise DataError(f"{path.name!r} is no JSON ({error}){hint}.") from error
    if not isinstance(found, dict):
        raise DataError(f"{path.name!r} holds {short(json.dumps(found))}, neither a list nor an object of entries.")
    return found


class _TwiceError(ValueError):
    """A JSON object says a key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _TwiceError(next(key for key in keys if keys.count(key) > 1))
    return found


def _said(name: str, value: Any, required: bool, nested: bool, where: Callable[[int], str], number: int) -> str | None:
    """A JSON value as text."""
    if nested and isinstance(value, list | dict | bool):
        return json.dumps(value, ensure_ascii=False)
    if type(value) is str:
        if not value.isascii() and lone_surrogate(value):
            raise DataError(f"{where(number)} has half a surrogate pair in {name!r}, which is no Unicode text.")
        return value
    if value is None:
        return None
    if required:
        raise DataError(f"{where(number)} has {short(json.dumps(value))} as {name!r}, which is not text.")
    if type(value) in (int, float):
        return repr(value)
    raise DataError(f"{where(number)} has {short(json.dumps(value))} as {name!r}, neither text nor a number.")


def lone_surrogate(text: str) -> bool:
    """Whether the text holds half a surrogate pair, which no encoding can write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def parts(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """The items in lists of `size`, the last one shorter."""
    while part := list(itertools.islice(items, size)):
        yield part


def _without_gaps(numbers: list[int], columns: Columns) -> Iterator[tuple[int, Columns]]:
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        yield numbers[0], columns
        return
    cuts = [0, *(np.flatnonzero(np.diff(numbers) > 1) + 1).tolist(), len(numbers)]
    for start, end in itertools.pairwise(cuts):
        yield numbers[start], {name: Column(c.codes[start:end], c.words) for name, c in columns.items()}


def _open_parquet(path: Path, layout: Layout) -> Table:
    from pyarrow import parquet

    def where(number: int) -> str:
        return f"Row {number} of {path.name!r} (the first {layout.row} is row 1)"

    damaged = f"{path.name!r} is no whole Parquet file; it may be cut off."
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
    except pa.ArrowException as error:
        raise DataError(damaged) from error
    ours = _resolve(path, schema.names, layout)
    for name in layout.required:
        kind = schema.field(ours[name]).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not any(is_kind(kind) for is_kind in TEXT_KINDS):
            raise DataError(f"Column {ours[name]!r} of {path.name!r} holds {kind}, not text.")

    def batches(wanted: set[str]) -> Iterator[tuple[int, Columns]]:
        names = {name: theirs for name, theirs in ours.items() if name in wanted}
        number = 1
        try:
            # Without pre-buffering, pages are in memory and not whole row groups, which have any size.
            with parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
                for batch in file.iter_batches(ROWS, columns=list(names.values()), use_threads=False):
                    yield (
                        number,
                        {
                            name: text_of(path, name, batch.column(theirs), name in layout.nested)
                            for name, theirs in names.items()
                        },
                    )
                    number += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise DataError(damaged) from error

    return Table(frozenset(ours), batches, where)


def text_of(path: Path, name: str, column: pa.Array, nested: bool = False) -> Column:
    """A column of Parquet as text. Raises DataError for one that holds neither text nor numbers."""
    if nested and pa.types.is_nested(column.type):
        return Column.of(
            [value if value is None else json.dumps(value, ensure_ascii=False) for value in column.to_pylist()]
        )
    if pa.types.is_floating(column.type):
        return Column.of([None if value is None else repr(value) for value in column.to_pylist()])
    try:
        return Column.of_arrow(column.cast(pa.string()))
    except pa.ArrowException as error:
        raise DataError(f"Column {name!r} of {path.name!r} holds {column.type}, neither text nor numbers.") from error


def short(text: str) -> str:
    """A text in quotation marks, cut where it is long."""
    return repr(text if len(text) <= 40 else text[:40] + "…")


def listed(names: Iterable[str]) -> str:
    """Names for a sentence: sorted, at most 20."""
    known = sorted(names)
    return (", ".join(map(short, known[:20])) + (", …" if len(known) > 20 else "")) or "none"
