"""The rows of images that people already have, checked as a whole before anything is stored.

A row that makes no sense refuses the whole source. Memory grows by a few numbers for each row.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from arena.domain import FOLDER_BACKEND, VOTES_BACKEND, Contestant
from arena.errors import DataError, UsageError
from arena.services import prompt_sets
from arena.services.manifests import Row, Source
from arena.services.prompt_sets import LONGEST, normalised
from arena.services.tables import short
from db import prompt_sets as sets

if TYPE_CHECKING:
    from arena.bootstrap import Arena

MOST_LICENCES = 20
LONGEST_NAME = 128


@dataclass(frozen=True, slots=True)
class Request:
    """What to import. `name`: the contestant's, unless rows name theirs. `prompt_set`: whose ids rows have; by default
    the arena's own. `check`: compare the bytes of images that are there already. The rest: see `open_source`."""

    folder: Path
    name: str | None = None
    manifest: Path | None = None
    pattern: str | None = None
    prompt_set: str | None = None
    image_column: str | None = None
    split: str | None = None
    ignore: tuple[str, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)
    check: bool = False


def examined(arena: Arena, source: Source, request: Request) -> Plan:
    """What all rows together say. Raises DataError with the row at fault, UsageError for a name that is taken."""
    return _Examination(arena, source, request).plan()


@dataclass(frozen=True)
class Plan:
    """What all rows together say. `models`: contestants' names. `prompt_of`: prompt_id -> the arena's id, where rows
    name prompts by it. `seeds`, int64 (rows,): one for each row, where the source says none."""

    rows: int
    models: tuple[str, ...]
    licences: tuple[str, ...]
    prompt_of: Callable[[str], int | None] | None
    seeds: NDArray[np.int64] | None


class _Examination:
    """One reading of all rows. Memory grows by a few numbers for each."""

    def __init__(self, arena: Arena, source: Source, request: Request):
        self.arena, self.source, self.request = arena, source, request
        self.by_id = self.seeded = False
        self.prompt_of: Callable[[str], int | None] | None = None
        self.models: dict[str, None] = {}
        self.licences: dict[str, None] = {}
        self.numbers, self.cells, self.seeds, self.prompts, self.ids = (array("q") for _ in range(5))

    def plan(self) -> Plan:
        for row in self.source.rows(False):
            if not self.numbers:
                self._decide(row)
            self._row(row)
        if not self.numbers:
            raise DataError(f"{self.source.name!r} lists no images.")
        if self.by_id and self.request.prompt_set is None:
            self._refuse_unknown_ids()
        if not self.by_id and len(self.ids) == len(self.prompts):
            self._refuse_ids_of_two_prompts()
        for model in self.models:
            existing(self.arena, model)
        return Plan(
            len(self.numbers), (*self.models,), (*self.licences,), self.prompt_of if self.by_id else None,
            self._checked_seeds(),
        )  # fmt: skip

    def _decide(self, first: Row) -> None:
        """The first row says whether rows name prompts by their text or their id, and whether they have seeds."""
        self.by_id = first.prompt is None and first.prompt_id is not None
        self.seeded = first.seed is not None
        if self.by_id:
            self.prompt_of = _prompt_of(self.arena, self.request.prompt_set)

    def _row(self, row: Row) -> None:
        fault = self._fault(row)
        if fault:
            raise DataError(f"{self.source.where(row.number)} {fault}.")
        model = row.model or self.request.name or ""
        prompt = str(self.prompt_of(row.prompt_id or "")) if self.prompt_of else normalised(row.prompt or "")
        self.models[model] = None
        if row.licence and len(self.licences) < MOST_LICENCES:
            self.licences[row.licence] = None
        self.numbers.append(row.number)
        self.cells.append(_digest(f"{model}\0{prompt}"))
        self.prompts.append(int(prompt) if self.by_id else _digest(prompt))
        if self.seeded:
            self.seeds.append(int(row.seed or ""))
        if row.prompt_id is not None and not self.by_id:
            self.ids.append(_digest(row.prompt_id))

    def _fault(self, row: Row) -> str | None:
        """What is wrong with a row taken alone."""
        return (
            self._fault_of_names(row)
            or (_fault_of_path(row.path) if row.path else None)
            or (None if _whole(row.seed) or not self.seeded else f"has the seed {short(row.seed or '')}, not a number")
            or _fault_of_amount("seconds", row.seconds)
            or _fault_of_amount("cost_usd", row.cost_usd)
            or next((f"has the {name} {short(value)}, longer than {most} characters" for name, most in LONGEST.items()
                     if name != "id" and len(value := getattr(row, name) or "") > most), None)
        )  # fmt: skip

    def _fault_of_names(self, row: Row) -> str | None:
        if row.model and self.request.name:
            return f"names the model {short(row.model)}, and {short(self.request.name)} was given; keep one of the two"
        model = row.model or self.request.name
        if model is None or not model.strip():
            return "names no model; give one with --as"
        if len(model) > LONGEST_NAME:
            return f"has the model {short(model)}, longer than {LONGEST_NAME} characters"
        if (row.seed is not None) is not self.seeded:
            return f"has {'no' if self.seeded else 'a'} seed, unlike those before; give all rows one, or none"
        if not self.by_id:
            if not normalised(row.prompt or "") or "\0" in (row.prompt or ""):
                return "has no prompt" if row.prompt_id else "has neither prompt nor prompt_id"
            return None
        if row.prompt_id is None:
            return "has no prompt_id, unlike those before"
        if self.prompt_of and self.prompt_of(row.prompt_id) is None:
            return f"has the prompt_id {short(row.prompt_id)}, which {self._asked()} does not know"
        return None

    def _asked(self) -> str:
        return f"the prompt set {self.request.prompt_set!r}" if self.request.prompt_set else "the arena"

    def _refuse_unknown_ids(self) -> None:
        ids = np.asarray(self.prompts, np.int64)
        unknown = {*np.unique(ids).tolist()} - sets.existing(self.arena.store, np.unique(ids).tolist())
        if unknown:
            n = int(np.flatnonzero(np.isin(ids, [*unknown]))[0])
            raise DataError(
                f"{self.source.where(self.numbers[n])} has the prompt_id {ids[n]}, which the arena does not know; "
                "import the prompts first, or say whose ids they are with --prompts SET."
            )

    def _refuse_ids_of_two_prompts(self) -> None:
        ids, prompts = np.asarray(self.ids), np.asarray(self.prompts)
        order = np.lexsort((prompts, ids))
        clash = (np.diff(ids[order]) == 0) & (np.diff(prompts[order]) != 0)
        if clash.any():
            first, second = (self.numbers[order[n]] for n in (int(clash.argmax()), int(clash.argmax()) + 1))
            raise DataError(
                f"{self.source.where(max(first, second))} has the prompt_id of row {min(first, second)}, and another "
                "prompt; an id is one prompt's."
            )

    def _checked_seeds(self) -> NDArray[np.int64] | None:
        """None where rows have seeds; else the first image of a prompt has 0, the next one 1, in the source's order."""
        cells = np.asarray(self.cells, np.int64)
        if not self.seeded:
            order = np.argsort(cells, kind="stable")
            new = np.diff(cells[order], prepend=cells[order[:1]] - 1) != 0
            place = np.arange(len(cells))
            seeds = np.empty(len(cells), np.int64)
            seeds[order] = place - np.maximum.accumulate(np.where(new, place, 0))
            return seeds
        seeds = np.asarray(self.seeds, np.int64)
        order = np.lexsort((seeds, cells))
        twice = (np.diff(cells[order]) == 0) & (np.diff(seeds[order]) == 0)
        if twice.any():
            n = int(twice.argmax())
            first, second = self.numbers[order[n]], self.numbers[order[n + 1]]
            raise DataError(
                f"{self.source.where(second)} has the prompt and seed of row {first}; one image has them, remove one."
            )
        return None


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def _whole(text: str | None) -> bool:
    """A whole number of 63 bits."""
    digits = (text or "").removeprefix("-")
    return digits.isascii() and digits.isdecimal() and len(digits) < 20 and abs(int(digits)) < 1 << 63


def _fault_of_path(path: str) -> str | None:
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if "\0" in path or ".." in parts or path.startswith(("/", "\\", "~")) or path[1:2] == ":":
        return f"has the path {short(path)}, which is not inside the folder; give paths relative to it"
    return None


def _fault_of_amount(name: str, text: str | None) -> str | None:
    try:
        value = 0.0 if text is None else float(text)
    except ValueError:
        value = math.nan
    return None if 0 <= value < math.inf else f"has the {name} {short(text or '')}, not a number from 0 upwards"


def _prompt_of(arena: Arena, version: str | None) -> Callable[[str], int | None]:
    """What finds the id that the arena has for a prompt_id: the set's own ids, or places from 0 where it has none."""
    if version is None:
        return lambda text: int(text) if _whole(text) else None
    places = sets.places(arena.store, prompt_sets.one(arena, version).id or 0)
    named = {place.item: place.prompt_id for place in places if place.item}
    numbered = {
        int(place.item) if place.item else place.position: place.prompt_id
        for place in places
        if not place.item or _whole(place.item)
    }
    return lambda text: named.get(text) or (numbered.get(int(text)) if _whole(text) else None)


def existing(arena: Arena, name: str) -> Contestant | None:
    """The contestant of this name. Raises UsageError for one that draws images itself."""
    found = next((one for one in arena.store.contestants() if one.name == name), None)
    if found and found.backend not in (FOLDER_BACKEND, VOTES_BACKEND):
        raise UsageError(f"{name!r} draws its images itself (backend {found.backend!r}); choose another name.")
    return found
