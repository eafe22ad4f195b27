"""What an export says of itself: the data card for people, Croissant for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from arena.services import dataset_layout as layout

if TYPE_CHECKING:
    from arena.services.dataset_export import Exported, Options

CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract", "field": "cr:field", "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet", "format": "cr:format", "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path",
    "recordSet": "cr:recordSet", "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated",
    "replace": "cr:replace", "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source",
    "subField": "cr:subField", "transform": "cr:transform",
}  # fmt: skip
"""The context that the Croissant 1.0 specification prints, which readers compare with."""
CONFORMS = "http://mlcommons.org/croissant/1.0"
PARQUET = "application/x-parquet"


def card(done: Exported, options: Options, boards: Mapping[str, bytes]) -> str:
    """README.md: YAML that a hub reads, then what the data are and how boards are computed."""
    tables = "\n".join(f"| `{name}` | {done.rows[name]:,} | {about} |" for name, about in layout.ABOUT.items())
    sources = "\n".join(f"- {_inline(source)}: {n:,}" for source, n in sorted(done.sources.items())) or "- none"
    withheld = (
        "Prompts that visitors typed themselves, and hidden images, are in."
        if options.everything
        else f"Withheld: {done.withheld:,} images that are hidden or were made for a prompt that a visitor typed; "
        "such prompts stand here as numbers."
    )
    return f"""---
{_front_matter(done, options)}---

# {_inline(options.name)}

Blind votes on pairs of generated images, the images themselves, and what judges and automatic scores said of them.
Exported on {datetime.now(UTC):%d %B %Y}. Licence: {_inline(options.licence)}.

| table | rows | what it is |
|---|--:|---|
{tables}

{done.images:,} images, {done.failures:,} failed attempts (kept with their reason, never an empty image). {withheld}

{_example(done)}## Where the prompts are from

{sources}

## How the boards are computed

{_boards(boards)}The votes that count are in `votes`: people's, judges' (each judge has a board of its own) and
those kept aside. Ratings are Bradley–Terry by maximum likelihood, mean 1000, 400 points for odds of ten to one; a tie
is half a win, "both bad" prefers nobody. Intervals are 95% and leave out one voter at a time. Elo is beside it, in the
order of `votes`. `arena rate data/votes/people-00000.parquet` makes the same board of a file alone; `arena import`
makes the whole arena again.

Each battle has the probability that its pair and prompt were drawn with, so that votes can be weighted. Votes that were
taken back or excluded are in `ledger`, with the reason, and in no board.

## Who voted

Voters are random keys, the same within this data set and unknown outside the arena that made it. No name, address,
signed token, setting or key is in here. Whoever asked to be forgotten is in no table.
"""


def _example(done: Exported) -> str:
    """How to read a table that has rows; nothing where none has."""
    for table, split in (("votes", "people"), ("images", layout.SPLIT), ("prompts", layout.SPLIT)):
        if split in done.splits[table]:
            files = f"{layout.DATA}/{table}/{split}-*.parquet"
            return (
                "```python\nfrom datasets import load_dataset\n\n"
                f'{table} = load_dataset("parquet", data_files="{files}", split="train")\n```\n\n'
            )
    return ""


def _front_matter(done: Exported, options: Options) -> str:
    """The YAML. Tables and splits without rows are left out: the library cannot open them, and hubs would say so."""
    import yaml

    configs = [
        {
            "config_name": table,
            "data_files": [
                {"split": split, "path": f"{layout.DATA}/{table}/{split}-*.parquet"} for split in done.splits[table]
            ],
            **({"default": True} if table == "votes" else {}),
        }
        for table in layout.SCHEMAS
        if done.splits[table]
    ]  # fmt: skip
    head = {
        "license": options.licence, "pretty_name": options.name, "task_categories": ["text-to-image"],
        "tags": ["human-feedback", "leaderboard", "croissant"], **({"configs": configs} if configs else {}),
    }  # fmt: skip
    return str(yaml.safe_dump(head, sort_keys=False, allow_unicode=True))


def _inline(text: str) -> str:
    """On one line, with what Markdown would read as markup as plain letters."""
    return " ".join("".join(f"\\{c}" if c in r"\`*_[]<>#|" else c for c in text).split())


def _boards(boards: Mapping[str, bytes]) -> str:
    found = json.loads(boards["people"])
    rated = [row for row in found["rows"] if row["rating"] is not None]
    if not rated:
        return ""
    rows = "\n".join(
        f"| {_inline(row['name'])} | {row['rating']:.1f} | {_span(row['low'], row['high'])} | {row['votes']} |"
        for row in rated
    )
    return f"| model | rating | 95% interval | votes |\n|---|--:|---|--:|\n{rows}\n\n"


def _span(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.1f} to {high:.1f}"


def croissant(folder: Path, done: Exported, options: Options, sums: Mapping[str, str]) -> dict[str, Any]:
    """The metadata as JSON-LD (Croissant 1.0): every Parquet file with its checksum, every table with its fields."""
    files = [name for name in sums if name.startswith(f"{layout.DATA}/")]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": options.name,
        "description": "Blind votes on pairs of generated images, the images, judges' verdicts and automatic scores.",
        "conformsTo": CONFORMS,
        "license": options.licence,
        "url": ".",
        "version": f"{layout.FORMAT}.0.0",
        "datePublished": datetime.now(UTC).date().isoformat(),
        "distribution": [_file_object(folder, name, sums[name]) for name in files],
        "recordSet": [one for table in layout.SCHEMAS for one in _record_sets(table, files)],
    }


def _file_object(folder: Path, name: str, sha256: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name, "encodingFormat": PARQUET,
        "contentSize": f"{(folder / name).stat().st_size} B", "sha256": sha256,
    }  # fmt: skip


def _record_sets(table: str, files: list[str]) -> Iterator[dict[str, Any]]:
    """One for each file: `votes/people-00000`; a field names the file and the column it is read from."""
    for name in files:
        if PurePosixPath(name).parent == PurePosixPath(layout.DATA, table):
            id = f"{table}/{PurePosixPath(name).stem}"
            fields = [_field(id, name, column) for column in layout.SCHEMAS[table]]
            yield {"@type": "cr:RecordSet", "@id": id, "name": id, "description": layout.ABOUT[table], "field": fields}


def _field(record_set: str, file: str, column: pa.Field) -> dict[str, Any]:
    source: dict[str, Any] = {"fileObject": {"@id": file}, "extract": {"column": column.name}}
    if column.type == layout.IMAGE:
        source["transform"] = {"jsonPath": "bytes"}
    return {
        "@type": "cr:Field", "@id": f"{record_set}/{column.name}", "name": column.name,
        "dataType": _data_type(column.type), "source": source,
        **({"repeated": True} if pa.types.is_list(column.type) else {}),
    }  # fmt: skip


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return _data_type(kind.value_type)
    if kind == layout.IMAGE:
        return "sc:ImageObject"
    for is_kind, name in (
        (pa.types.is_boolean, "sc:Boolean"), (pa.types.is_integer, "sc:Integer"), (pa.types.is_floating, "sc:Float"),
        (pa.types.is_timestamp, "sc:DateTime"),
    ):  # fmt: skip
        if is_kind(kind):
            return name
    return "sc:Text"
