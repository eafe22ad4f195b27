"""Prompt sets: files of prompts enter the arena under a name and the hash of what they say.

    file > members (normalised, each once) > sha256 > store      read twice: checked whole, then stored whole

Known layouts: the arena's own columns, PartiPrompts, DrawBench, GenEval, GenAI-Bench (see `ALIASES`).
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena.domain import Prompt
from arena.errors import DataError, UnknownName, UsageError
from arena.services.tables import WITH_TSV, Layout, Table, one_sentence, open_table, short
from db import prompt_sets as sets
from db.prompt_sets import Member, PromptSet

if TYPE_CHECKING:
    from arena.bootstrap import Arena

COLUMNS = ("prompt", "id", "category", "tags", "licence", "challenge", "note", "include", "exclude")
ALIASES = {
    "text": "prompt", "caption": "prompt", "license": "licence", "prompt_id": "id",
    "Prompt": "prompt", "Category": "category", "Challenge": "challenge", "Note": "note",  # PartiPrompts
    "Prompts": "prompt",  # DrawBench
    "tag": "category",  # GenEval, with include and exclude
    "Index": "id", "Tags": "tags",  # GenAI-Bench
}  # fmt: skip
PASSED_OVER = (
    "HumanRatings", "DALLE_3", "DeepFloyd_I_XL_v1", "Midjourney_6", "SDXL_2_1", "SDXL_Base", "SDXL_Turbo",
    "prompt in Chinese", "models",
)  # fmt: skip
"""GenAI-Bench's ratings and images of models: nothing of a prompt."""
DETAILS = ("challenge", "note", "include", "exclude")
"""What is kept beside a prompt as its file says it."""
NESTED = frozenset({"tags", "include", "exclude", "HumanRatings", "models"})
LONGEST = {"category": 64, "id": 128, "licence": 128}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DEFAULT_CATEGORY = "general"


@dataclass(frozen=True, slots=True)
class Imported:
    """A set as it is stored; `new`: it was not there before; `repeated`: rows whose prompt an earlier row has."""

    set: PromptSet
    new: bool
    repeated: int


def normalised(text: str) -> str:
    """The text in Unicode NFC, without white space at its ends and with one space for any run of it."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def import_prompts(
    arena: Arena, file: Path, name: str | None = None, *, licence: str = "", ignore: tuple[str, ...] = ()
) -> Imported:
    """Store a file's prompts as a set: all of them, or none; the same prompts under the same name are the same set.

    `name`: by default the file's. `licence`: of the prompts whose row says none. `ignore`: columns to pass over.
    Raises DataError with the row at fault, and UsageError for a name that cannot be one.
    """
    name = name or file.name.partition(".")[0]
    if not NAME.fullmatch(name):
        raise UsageError(f"A prompt set's name has letters, digits, '.', '_' and '-', 64 at most, not {name!r}.")
    reading = _Reading(file, licence, ignore)
    for _ in reading.members():
        pass
    found = reading.seen
    if not found.count:
        raise DataError(f"{file.name!r} has no prompts, only the names of its columns.")
    for one in sets.stored(arena.store, name):
        if one.sha256 == found.sha256:
            return Imported(one, False, found.repeated)
    new = PromptSet(name, found.sha256, file.name, ", ".join(found.licences))
    stored = sets.add(arena.store, new, reading.again(found.sha256))
    return Imported(stored, True, found.repeated)


def listed(arena: Arena) -> list[PromptSet]:
    """Every set, oldest first."""
    return sets.stored(arena.store)


def one(arena: Arena, version: str) -> PromptSet:
    """The set of a version (`parti@0123456789ab`), or of a name that has only one. Raises UnknownName, UsageError."""
    known = sets.stored(arena.store)
    found = [each for each in known if version in (each.name, each.version)]
    if not found:
        raise UnknownName("prompt set", version, {each.version for each in known})
    if len(found) > 1:
        raise UsageError(
            f"There are {len(found)} prompt sets {version!r}; say which: {', '.join(each.version for each in found)}."
        )
    return found[0]


@dataclass
class _Seen:
    """What a reading came across; `sha256` is of the members, in their order."""

    count: int = 0
    repeated: int = 0
    licences: dict[str, None] = field(default_factory=dict)
    sha256: str = ""


class _Reading:
    """A file as members, each prompt once. Memory grows by a digest for each prompt."""

    def __init__(self, file: Path, licence: str, ignore: tuple[str, ...]):
        self.file, self.licence = file, licence
        self.layout = Layout(
            "file of prompts", "prompt", (*COLUMNS, *PASSED_OVER, *ignore), ("prompt",),
            {theirs: ours for theirs, ours in ALIASES.items() if theirs not in ignore},
            extensions=(*WITH_TSV, ".json"), closed=True, nested=NESTED,
        )  # fmt: skip
        self.seen = _Seen()

    def members(self) -> Iterator[Member]:
        self.seen, texts, digest = _Seen(), set[bytes](), hashlib.sha256()
        with one_sentence(self.file):
            table = open_table(self.file, self.layout)
            for number, row in _rows(table):
                member = self._member(table.where(number), row)
                text = hashlib.blake2b(member.prompt.text.encode(), digest_size=16).digest()
                if text in texts:
                    self.seen.repeated += 1
                    continue
                texts.add(text)
                digest.update(_canonical(member))
                self.seen.count += 1
                if member.licence and len(self.seen.licences) < 20:
                    self.seen.licences[member.licence] = None
                yield member
        self.seen.sha256 = digest.hexdigest()

    def again(self, sha256: str) -> Iterator[Member]:
        """The members once more. Raises DataError where they are others than those that had this hash."""
        yield from self.members()
        if self.seen.sha256 != sha256:
            raise DataError(f"{self.file.name!r} changed while it was read; nothing was stored, import it again.")

    def _member(self, where: str, row: Mapping[str, str]) -> Member:
        text = normalised(row.get("prompt", ""))
        if not text:
            raise DataError(f"{where} has no prompt; fill it in or remove the row.")
        for name, value in row.items():
            if len(value) > LONGEST.get(name, len(value)):
                raise DataError(f"{where} has the {name} {short(value)}, longer than {LONGEST[name]} characters.")
            if "\0" in value:
                raise DataError(f"{where} has a NUL character in {name!r}; no text has one.")
        category = row.get("category") or DEFAULT_CATEGORY
        prompt = Prompt(text, category, tuple(_tags(row.get("tags", ""))), self.file.name[:128])
        details = {name: _plain(row[name]) for name in DETAILS if name in row}
        return Member(prompt, row.get("id", ""), row.get("licence") or self.licence, details)


def _rows(table: Table) -> Iterator[tuple[int, dict[str, str]]]:
    """The number of each row, and what is written in it."""
    for first, columns in table.batches({*COLUMNS}):
        names = list(columns)
        for n, values in enumerate(zip(*(columns[name].texts() for name in names), strict=True)):
            yield first + n, {name: value.strip() for name, value in zip(names, values, strict=True) if value}


def _canonical(member: Member) -> bytes:
    """What a set's hash is of: the same from every file format."""
    prompt = member.prompt
    said = [prompt.text, prompt.category, list(prompt.tags), member.item, member.licence, dict(member.details)]
    return json.dumps(said, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def _plain(text: str) -> Any:
    """A list or an object where the text is JSON of one, else the text."""
    if text[:1] in "[{":
        try:
            return json.loads(text)
        except ValueError:
            pass
    return text


def _tags(text: str) -> list[str]:
    """The words of a JSON list, of the lists in a JSON object (GenAI-Bench's skills), or between commas."""
    found = _plain(text)
    if isinstance(found, dict):
        found = [word for words in found.values() for word in (words if isinstance(words, list) else [words])]
    words = found if isinstance(found, list) else found.split(",")
    return [*dict.fromkeys(str(word).strip() for word in words if str(word).strip())]
