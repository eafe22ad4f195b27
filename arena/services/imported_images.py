"""Images that people already have become a contestant's images: kept byte for byte, and never drawn here.

    source > rows, all checked > images, read and decoded by threads > blobs > store      in groups, so it can go on

Rows are checked before anything is stored: a row that makes no sense refuses the whole source. An image that cannot be
used is a cell that failed, with its reason, and the others go on. Files are copied, never linked: whoever edits the
original afterwards does not change what was voted on.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from arena.domain import FOLDER_BACKEND, Contestant, ImageRef, Prompt
from arena.errors import DataError, ImageError
from arena.services import prompt_sets, provenance
from arena.services.image_files import LARGEST_FILE, look, read_inside, strict_pillow
from arena.services.imported_rows import Plan, Request, examined, existing
from arena.services.manifests import Row, Source, open_source
from arena.services.prompt_sets import normalised
from db import imported as stored
from db import prompt_sets as sets
from db.origins import Origin

if TYPE_CHECKING:
    from arena.bootstrap import Arena

READERS = 8
"""Threads that read, decode and keep images. More than cores: they wait for the disk as well."""
AHEAD = 2
"""Groups of images that are read before one is stored: so many are lost when the import is stopped, and read again."""
MOST_UNREADABLE = 1000
"""So many first images that cannot be used are the folder's fault, not theirs."""
SHOWN = 20
COST_SOURCE = "manifest"
SOURCE = "imported with images"

Progress = Callable[[int, int], None]


@dataclass
class Report:
    """What an import did. `failures` and `differing` hold the first few, `unmatched` files that no pattern fits."""

    contestants: tuple[str, ...] = ()
    made: int = 0
    there: int = 0
    failed: int = 0
    differ: int = 0
    failures: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    unmatched: tuple[str, ...] = ()


def import_images(arena: Arena, request: Request, progress: Progress = lambda done, total: None) -> Report:
    """Import a folder's images. What is there already is not read again, and a failed cell is tried again.

    Raises UsageError, and DataError with the row at fault; then nothing is stored. When it is stopped, what was stored
    stays, and the next call goes on.
    """
    source = open_source(
        request.folder, manifest=request.manifest, pattern=request.pattern, image_column=request.image_column,
        split=request.split, ignore=request.ignore,
    )  # fmt: skip
    plan = examined(arena, source, request)
    work = _Import(arena, request, source, plan, progress)
    with strict_pillow():
        work.run()
    return work.report


class _Found(NamedTuple):
    image: ImageRef
    origin: Origin | None


class _Cell(NamedTuple):
    row: Row
    model: str
    prompt: Prompt
    seed: int
    result: Future[_Found | str]


@dataclass
class _Import:
    arena: Arena
    request: Request
    source: Source
    plan: Plan
    progress: Progress
    report: Report = field(default_factory=Report)
    done: int = 0

    def run(self) -> None:
        self.report.unmatched = self.source.unmatched
        self.contestants = {name: existing(self.arena, name) for name in self.plan.models}
        self.unreadable: dict[str, list[_Cell]] = {name: [] for name in self.plan.models}
        self.root = Path(os.path.realpath(self.request.folder))
        self.pool = ThreadPoolExecutor(READERS, "importing")
        waiting: deque[list[_Cell]] = deque()
        try:
            for group in _groups(enumerate(self.source.rows(True)), self.source.at_once):
                waiting.append(self._started(group))
                while len(waiting) > AHEAD:
                    self._keep(waiting.popleft())
            while waiting:
                self._keep(waiting.popleft())
        finally:
            self.pool.shutdown(cancel_futures=True)
        self._end()

    def _started(self, group: Sequence[tuple[int, Row]]) -> list[_Cell]:
        """The cells of these rows that are missing, on their way; those that are there are counted."""
        if group[-1][0] >= self.plan.rows:
            raise DataError(f"{self.source.name!r} changed while it was read; import it again.")
        prompts = self._prompts([row for _, row in group])
        there = self._there({one.id for one in prompts if one.id is not None})
        missing = []
        for (n, row), prompt in zip(group, prompts, strict=True):
            model = row.model or self.request.name or ""
            seed = int(self.plan.seeds[n]) if self.plan.seeds is not None else int(row.seed or "")
            image = there.get((model, prompt.id or 0, seed))
            if image is None:
                missing.append(_Cell(row, model, prompt, seed, self.pool.submit(self._image, row)))
            else:
                self._compare(row, image)
        self.done += len(group) - len(missing)
        self.progress(self.done, self.plan.rows)
        return missing

    def _prompts(self, rows: Sequence[Row]) -> list[Prompt]:
        """Each row's prompt: with its id where the arena has it, by its words as they stand or normalised."""
        if self.plan.prompt_of:
            ids = [self.plan.prompt_of(row.prompt_id or "") for row in rows]
            return [Prompt(f"prompt {id}", id=id) for id in ids]
        texts = [(row.prompt or "", normalised(row.prompt or "")) for row in rows]
        known = sets.known(self.arena.store, {text for pair in texts for text in pair})
        return [
            Prompt(plain, row.category or prompt_sets.DEFAULT_CATEGORY, (), SOURCE, known.get(said, known.get(plain)))
            for row, (said, plain) in zip(rows, texts, strict=True)
        ]

    def _there(self, prompt_ids: set[int]) -> dict[tuple[str, int, int], ImageRef]:
        return {
            (name, *cell): image
            for name, contestant in self.contestants.items()
            if contestant and prompt_ids
            for cell, image in stored.kept(self.arena.store, contestant.id or 0, prompt_ids).items()
        }

    def _compare(self, row: Row, image: ImageRef) -> None:
        self.report.there += 1
        if self.request.check:
            try:
                same = hashlib.sha256(self._bytes(row)).hexdigest() == image.sha256
            except ImageError:
                same = False
            if not same:
                self.report.differ += 1
                if len(self.report.differing) < SHOWN:
                    self.report.differing.append(_called(row))

    def _image(self, row: Row) -> _Found | str:
        """The image once it is kept, and where it says it is from; or why it cannot be used. Runs in a thread."""
        try:
            content = self._bytes(row)
            width, height, media_type = look(content, _called(row))
        except ImageError as error:
            return str(error)
        origin = provenance.origin(provenance.facts(content))
        return _Found(ImageRef(self.arena.blobs.put(content), width, height, media_type), origin)

    def _bytes(self, row: Row) -> bytes:
        content = row.content if row.content is not None else read_inside(self.root, row.path or "")
        if len(content) > LARGEST_FILE:
            raise ImageError(f"{_called(row)} has more than {LARGEST_FILE >> 20} MB; scale it down.")
        return content

    def _keep(self, cells: Sequence[_Cell]) -> None:
        """Store a group once its images are there."""
        for name in dict.fromkeys(cell.model for cell in cells):
            mine = self.unreadable[name] + [cell for cell in cells if cell.model == name]
            if self.contestants[name] is None and all(isinstance(cell.result.result(), str) for cell in mine):
                self.unreadable[name] = mine
                if len(mine) >= MOST_UNREADABLE:
                    raise self._nothing(mine)
                continue
            self.unreadable[name] = []
            self._store(name, mine)
        self.done += len(cells)
        self.progress(self.done, self.plan.rows)

    def _store(self, name: str, cells: Sequence[_Cell]) -> None:
        """Together with the contestant, if it is new: so none is left behind without images."""
        found = self.contestants[name]
        if found is None:
            licences = {"licence": ", ".join(self.plan.licences)} if self.plan.licences else {}
            found = Contestant(name, FOLDER_BACKEND, {}, {**licences, **self.request.card})
            self.report.contestants += (name,)
        self.contestants[name] = stored.add(self.arena.store, found, [_attempt(cell) for cell in cells])
        for cell in cells:
            result = cell.result.result()
            if isinstance(result, str):
                self._failed(result)
            else:
                self.report.made += 1

    def _failed(self, reason: str) -> None:
        self.report.failed += 1
        if len(self.report.failures) < SHOWN:
            self.report.failures.append(reason)

    def _end(self) -> None:
        """Contestants of whom no image could be used are not made; raises DataError where that is all of them."""
        left = [cell for cells in self.unreadable.values() for cell in cells]
        if left and not (self.report.made or self.report.there):
            raise self._nothing(left)
        for cell in left:
            self._failed(f"{cell.model} stays out: {cell.result.result()}")

    def _nothing(self, cells: Sequence[_Cell]) -> DataError:
        return DataError(
            f"None of the first {len(cells)} images of {self.source.name!r} can be used, so nothing was imported; "
            f"the first: {cells[0].result.result()}"
        )


def _attempt(cell: _Cell) -> stored.Attempt:
    row, found = cell.row, cell.result.result()
    cost = None if row.cost_usd is None else float(row.cost_usd)
    return stored.Attempt(
        cell.prompt, cell.seed, stored.Source(_called(row), row.licence or ""),
        None if isinstance(found, str) else found.image,
        found if isinstance(found, str) else None,
        None if row.seconds is None else float(row.seconds),
        cost,
        None if cost is None else COST_SOURCE,
        None if isinstance(found, str) else found.origin,
    )  # fmt: skip


def _called(row: Row) -> str:
    return row.path or f"image {row.number}"


def _groups(items: Iterable[Any], size: int) -> Iterable[list[Any]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
