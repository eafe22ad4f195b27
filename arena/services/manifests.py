"""Where images that people already have are listed: a manifest, the names of files, or a Hugging Face data set.

Each becomes the same rows of text, numbered as one sees them, with the image's bytes where the file itself holds them.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa

from arena.errors import DataError, UsageError
from arena.services import dataset_files
from arena.services.tables import WITH_TSV, Layout, Table, listed, one_sentence, open_table, short, text_of
from evaluators.images import list_folder

COLUMNS = ("path", "prompt", "prompt_id", "model", "seed", "seconds", "cost_usd", "category", "licence")
ALIASES = {
    "file": "path", "file_name": "path", "filename": "path", "image": "path", "text": "prompt", "caption": "prompt",
    "license": "licence",
}  # fmt: skip
LAYOUT = Layout("manifest", "image", COLUMNS, ("path",), ALIASES, extensions=WITH_TSV, closed=True)
NAMES = ("manifest", "metadata")
"""A file of such a name in the folder is its manifest; `metadata` is what data sets of the type imagefolder call it."""
FIELDS = {"prompt": "[^/]+?", "prompt_id": "[^/]+?", "model": "[^/]+?", "category": "[^/]+?", "seed": r"\d+"}
"""What may stand in braces in a pattern."""
EMBEDDED_ROWS = 16
"""Rows with images that are in memory at once."""


class Row(NamedTuple):
    """An image as its source says it; None where nothing is written. `content`: its bytes, where they were read."""

    number: int
    path: str | None = None
    prompt: str | None = None
    prompt_id: str | None = None
    model: str | None = None
    seed: str | None = None
    seconds: str | None = None
    cost_usd: str | None = None
    category: str | None = None
    licence: str | None = None
    content: bytes | None = None


@dataclass(frozen=True)
class Source:
    """`rows(contents)`: all rows, with the images' bytes only if asked for. `where` names a row to the reader.

    `unmatched`: images in the folder that the pattern does not fit. `at_once`: how many rows may be held together.
    """

    name: str
    rows: Callable[[bool], Iterator[Row]]
    where: Callable[[int], str]
    unmatched: tuple[str, ...] = ()
    at_once: int = 64


def open_source(
    folder: Path,
    *,
    manifest: Path | None = None,
    pattern: str | None = None,
    image_column: str | None = None,
    split: str | None = None,
    ignore: Sequence[str] = (),
) -> Source:
    """What lists a folder's images: the manifest or pattern that is named, or else what is found in the folder.

    `ignore`: columns to pass over. Raises DataError, ImageError for a folder that is none, UsageError.
    """
    if manifest is not None and pattern is not None:
        raise UsageError("Images are listed by a manifest or by a pattern; give one of the two.")
    if pattern is not None:
        return _by_pattern(folder, pattern)
    _require_folder(folder)
    manifest, inside = manifest or _manifest_in(folder), ""
    if manifest is None and (below := _manifests_below(folder)):
        inside, manifest = dataset_files.of_split(folder, below, split) or ("", None)
    files = [manifest] if manifest else dataset_files.of_split(folder, dataset_files.splits(folder), split)
    if files and files[0].suffix in (".parquet", ".arrow") and (column := _image_column(files[0], image_column)):
        return _of_dataset(files, column, ignore)
    if manifest is None:
        raise DataError(
            f"{str(folder)!r} has no file {' or '.join(f'{name}.csv' for name in NAMES)} (or .jsonl, .parquet) and no "
            "Parquet or Arrow file with images; give --manifest FILE, or --pattern such as '{prompt_id}_{seed}.png'."
        )
    return _of_table(manifest, ignore, inside)


def _require_folder(folder: Path) -> None:
    """Raises DataError for a folder that is none."""
    if not folder.is_dir():
        raise DataError(f"{str(folder)!r} is {'a file' if folder.exists() else 'not there'}; give the images' folder.")


def _manifest_in(folder: Path) -> Path | None:
    found = [
        file for name in NAMES for end in WITH_TSV if (file := folder / f"{name}{end}").is_file()
    ]  # fmt: skip
    if len(found) > 1:
        raise DataError(f"{str(folder)!r} has {listed(file.name for file in found)}; say which with --manifest.")
    return found[0] if found else None


def _manifests_below(folder: Path) -> dict[str, tuple[str, Path]]:
    """Split -> its folder, as its images' paths begin, and the manifest in it: `train/metadata.csv`."""
    found = {}
    for below in sorted({*folder.glob("*/"), *folder.glob("data/*/")}):
        if below.is_dir() and not below.name.startswith(".") and (manifest := _manifest_in(below)):
            found[below.name] = (below.relative_to(folder).as_posix(), manifest)
    return found


# Manifests


def _layout(ignore: Sequence[str], required: Sequence[str] = LAYOUT.required) -> Layout:
    aliases = {theirs: ours for theirs, ours in ALIASES.items() if theirs not in ignore}
    return replace(LAYOUT, columns=(*COLUMNS, *ignore), aliases=aliases, required=tuple(required))


def _of_table(file: Path, ignore: Sequence[str], inside: str = "") -> Source:
    """`inside`: the folder that its paths are relative to, itself relative to the one that is imported."""
    with one_sentence(file):
        table = open_table(file, _layout(ignore))
    wanted = {*COLUMNS} - {*ignore}

    def rows(_: bool) -> Iterator[Row]:
        with one_sentence(file):
            for row in _rows(table, wanted):
                yield row._replace(path=f"{inside}/{row.path}") if inside and _is_relative(row.path) else row

    return Source(file.name, rows, table.where)


def _is_relative(path: str | None) -> bool:
    """What is not stays as it is, and is refused with its row."""
    return bool(path) and not PurePosixPath(path or "").is_absolute()


def _rows(table: Table, wanted: set[str]) -> Iterator[Row]:
    for first, columns in table.batches(wanted):
        yield from _zipped(first, {name: column.texts() for name, column in columns.items()})


def _zipped(first: int, columns: dict[str, Any]) -> Iterator[Row]:
    length = len(next(iter(columns.values()), ()))
    nothing = [None] * length
    said = (columns.get(name, nothing) for name in Row._fields[1:])
    for number, values in enumerate(zip(*said, strict=True), start=first):
        yield Row(number, *(value or None for value in values))


# Patterns


def _by_pattern(folder: Path, pattern: str) -> Source:
    fits = re.compile(_expression(pattern)).fullmatch
    images = list_folder(folder).images
    matched = [(name, found.groupdict()) for name in images if (found := fits(name))]
    if not matched:
        seen = f"such as {short(images[0])}" if images else "for there are none"
        raise DataError(f"The pattern {pattern!r} fits no image in {str(folder)!r}, {seen}.")

    def rows(_: bool) -> Iterator[Row]:
        return (Row(number, path=name, **said) for number, (name, said) in enumerate(matched, start=1))

    unmatched = tuple(name for name in images if not fits(name)) if len(matched) < len(images) else ()
    return Source(pattern, rows, lambda number: f"The file {matched[number - 1][0]!r}", unmatched)


def _expression(pattern: str) -> str:
    """The pattern as a regular expression: `{field}`, and `*` for anything but a slash. Raises UsageError."""
    parts, seen = [], set()
    for field, star, text in re.findall(r"\{(\w*)\}|(\*)|([^{*]+|\{)", pattern):
        if field or (not star and text == "{"):
            if field not in FIELDS or field in seen:
                problem = "is there twice" if field in seen else "is no field"
                raise UsageError(f"{{{field}}} in {pattern!r} {problem}; fields are {listed(FIELDS)}, each once.")
            seen.add(field)
            parts.append(f"(?P<{field}>{FIELDS[field]})")
        else:
            parts.append("[^/]*" if star else re.escape(text))
    if not seen & {"prompt", "prompt_id"}:
        raise UsageError(f"The pattern {pattern!r} needs {{prompt}} or {{prompt_id}}.")
    return "".join(parts)


# Data sets


@contextmanager
def _stream(file: Path) -> Iterator[pa.RecordBatchReader]:
    """An Arrow stream, as `datasets` saves it: mapped, so that what is read of it is in memory and no more."""
    with pa.memory_map(str(file)) as mapped, pa.ipc.open_stream(mapped) as reader:
        yield reader


def _schema(file: Path) -> tuple[pa.Schema, int]:
    from pyarrow import parquet

    try:
        if file.suffix == ".arrow":
            with _stream(file) as reader:
                return reader.schema, sum(batch.num_rows for batch in reader)
        with parquet.ParquetFile(file) as opened:
            return opened.schema_arrow, opened.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{file.name!r} is no whole Parquet file; it may be cut off."
            if file.suffix == ".parquet"
            else f"{file.name!r} is no whole Arrow stream; save it again with save_to_disk, or with to_parquet."
        ) from error


def _image_column(file: Path, wanted: str | None) -> str | None:
    """The column that holds images: struct<bytes, path>, or plain bytes. None where there is none."""
    schema = _schema(file)[0]
    images = [field.name for field in schema if _holds_images(field.type)]
    if wanted is not None and wanted not in images:
        raise UsageError(f"{file.name!r} has no images in a column {wanted!r}; it has {listed(images)}.")
    if wanted is None and len(images) > 1:
        raise UsageError(f"{file.name!r} has images in {listed(images)}; choose one with --image-column.")
    return wanted or (images[0] if images else None)


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return {field.name for field in kind} >= {"bytes", "path"}
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _of_dataset(files: Sequence[Path], image: str, ignore: Sequence[str]) -> Source:
    known, counts = [], []
    # The images' column goes by its own name, so that of the names for a path none is left.
    layout = _layout(ignore, ())
    for file in files:
        schema, count = _schema(file)
        for name in schema.names:
            if name != image and name not in layout.names and not _holds_images(schema.field(name).type):
                raise DataError(
                    f"{file.name!r} has the unknown column {short(name)}; known are {listed(layout.names)}; "
                    "--ignore passes one over."
                )
        said = {layout.aliases.get(one.name, one.name): one.name for one in schema if not _holds_images(one.type)}
        known.append({ours: theirs for ours, theirs in said.items() if ours in COLUMNS and ours not in ignore})
        counts.append(count)
    starts = [0, *accumulate(counts)]

    def rows(contents: bool) -> Iterator[Row]:
        for file, start, columns in zip(files, starts, known, strict=False):
            with one_sentence(file):
                yield from _dataset_rows(file, start + 1, image, columns, contents)

    def where(number: int) -> str:
        shard = bisect.bisect_left(starts, number) - 1
        return f"Row {number - starts[shard]} of {files[shard].name!r} (the first image is row 1)"

    return Source(files[0].name, rows, where, at_once=EMBEDDED_ROWS)


def _dataset_rows(file: Path, number: int, image: str, known: dict[str, str], contents: bool) -> Iterator[Row]:
    struct = pa.types.is_struct(_schema(file)[0].field(image).type)
    picture = ([image] if contents else [f"{image}.path"]) if struct else ([image] if contents else [])
    batches = _arrow_batches if file.suffix == ".arrow" else _parquet_batches
    for batch in batches(file, EMBEDDED_ROWS if contents else 4096, [*known.values(), *picture]):
        columns: dict[str, Any] = {
            name: text_of(file, name, batch.column(theirs)).texts() for name, theirs in known.items()
        }
        if struct:
            pictures = batch.column(image)
            columns["path"] = pictures.field("path").to_pylist()
            if contents:
                columns["content"] = pictures.field("bytes").to_pylist()
        elif contents:
            columns["content"] = batch.column(image).to_pylist()
        if not columns:
            columns["path"] = [None] * batch.num_rows
        yield from _zipped(number, columns)
        number += batch.num_rows


def _parquet_batches(file: Path, size: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    from pyarrow import parquet

    # Without pre-buffering, what is in memory is a page of each column, not whole row groups. A page cannot be read in
    # parts; writers put up to 1,024 rows into one, or a row group if that is smaller.
    with parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as opened:
        yield from opened.iter_batches(size, columns=[*columns], use_threads=False)


def _arrow_batches(file: Path, size: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """All columns: of a mapped file only those are read that are looked at."""
    with _stream(file) as reader:
        for batch in reader:
            for start in range(0, batch.num_rows, size):
                yield batch.slice(start, size)
