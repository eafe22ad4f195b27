"""Images that people already have become a contestant's images: kept byte for byte, and never drawn here.

    source > rows, all checked > images, read and decoded by threads > blobs > store      in groups, so it can go on

Rows are checked before anything is stored: a row that makes no sense refuses the whole source. An image that cannot be
used is a cell that failed, with its reason, and the others go on. Files are copied, never linked: whoever edits the
original afterwards does not change what was voted on.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import stat
import threading
import warnings
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arena.domain import FOLDER_BACKEND, VOTES_BACKEND, Contestant, ImageRef, Prompt
from arena.errors import DataError, ImageError, UsageError
from arena.services import prompt_sets
from arena.services.manifests import Row, Source, open_source
from arena.services.prompt_sets import LONGEST, normalised
from arena.services.tables import short
from db import imported as stored
from db import prompt_sets as sets
from evaluators.images import MAX_PIXELS

if TYPE_CHECKING:
    from arena.bootstrap import Arena

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded, by Pillow's names. None of them calls another program, as PostScript would."""
LARGEST_FILE = 64 << 20
LARGE_PIXELS = 16_000_000
"""Larger images are decoded one at a time."""
READERS = 8
"""Threads that read, decode and keep images. More than cores: they wait for the disk as well."""
GROUP = 64
"""Images that are stored together; two groups are lost at most when the import is stopped."""
AHEAD = 2
MOST_UNREADABLE = 1000
"""So many first images that cannot be used are the folder's fault, not theirs."""
SHOWN = 20
MOST_LICENCES = 20
LONGEST_NAME = 128
COST_SOURCE = "manifest"
SOURCE = "imported with images"
TURNED = range(5, 9)
"""EXIF orientations that swap width and height."""
EXIF_ORIENTATION = 0x0112

_large = threading.Lock()
Progress = Callable[[int, int], None]


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
    plan = _Examination(arena, source, request).plan()
    work = _Import(arena, request, source, plan, progress)
    with _strict_pillow():
        work.run()
    return work.report


@contextmanager
def _strict_pillow() -> Iterator[None]:
    """Every format is known to Pillow, and an image somewhat above its limit fails, of which it would only warn."""
    from PIL import Image

    Image.init()
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


# Rows are checked


@dataclass(frozen=True)
class _Plan:
    """What all rows together say. `seeds`: one for each row, where the source says none."""

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

    def plan(self) -> _Plan:
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
            _existing(self.arena, model)
        return _Plan(
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


def _existing(arena: Arena, name: str) -> Contestant | None:
    """The contestant of this name. Raises UsageError for one that draws images itself."""
    found = next((one for one in arena.store.contestants() if one.name == name), None)
    if found and found.backend not in (FOLDER_BACKEND, VOTES_BACKEND):
        raise UsageError(f"{name!r} draws its images itself (backend {found.backend!r}); choose another name.")
    return found


# Images are read and stored


class _Cell(NamedTuple):
    row: Row
    model: str
    prompt: Prompt
    seed: int
    result: Future[ImageRef | str]


@dataclass
class _Import:
    arena: Arena
    request: Request
    source: Source
    plan: _Plan
    progress: Progress
    report: Report = field(default_factory=Report)
    done: int = 0

    def run(self) -> None:
        self.report.unmatched = self.source.unmatched
        self.contestants = {name: _existing(self.arena, name) for name in self.plan.models}
        self.unreadable: dict[str, list[_Cell]] = {name: [] for name in self.plan.models}
        self.root = Path(os.path.realpath(self.request.folder))
        self.pool = ThreadPoolExecutor(READERS, "importing")
        waiting: deque[list[_Cell]] = deque()
        try:
            for group in _groups(enumerate(self.source.rows(True)), GROUP):
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

    def _image(self, row: Row) -> ImageRef | str:
        """The image once it is kept, or why it cannot be used. Runs in a thread."""
        try:
            content = self._bytes(row)
            width, height, media_type = look(content, _called(row))
        except ImageError as error:
            return str(error)
        return ImageRef(self.arena.blobs.put(content), width, height, media_type)

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
        None if isinstance(found, str) else found,
        found if isinstance(found, str) else None,
        None if row.seconds is None else float(row.seconds),
        cost,
        None if cost is None else COST_SOURCE,
    )  # fmt: skip


def _called(row: Row) -> str:
    return row.path or f"image {row.number}"


def _groups(items: Iterable[Any], size: int) -> Iterable[list[Any]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


def read_inside(root: Path, path: str) -> bytes:
    """A file below `root`, which is a real path. Raises ImageError where it is none, or a link leads out."""
    if not path:
        raise ImageError("A row has neither a path nor an image; remove it.")
    real = os.path.realpath(root / path)
    if not real.startswith(f"{root}{os.sep}"):
        raise ImageError(f"{path} leads out of the folder through a link; put the file itself there.")
    try:
        found = Path(real).stat()
        if not stat.S_ISREG(found.st_mode):
            raise ImageError(f"{path} is no file; give an image.")
        if found.st_size > LARGEST_FILE:
            raise ImageError(f"{path} has {found.st_size >> 20} MB, more than {LARGEST_FILE >> 20}; scale it down.")
        return Path(real).read_bytes()
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{path} cannot be read ({said}); put it there and import again.") from error


def look(content: bytes, name: str) -> tuple[int, int, str]:
    """Width and height in pixels, upright as EXIF says, and the media type of an image that decodes as a whole.

    Raises ImageError, naming it, for one that does not, or that unfolds to more than MAX_PIXELS.
    """
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise ImageError(f"{name} is empty (0 bytes); write it again.")
    if b"<svg" in content[:1024].lower():
        raise ImageError(f"{name} is an SVG, a drawing without pixels; save it as PNG.")
    try:
        with Image.open(io.BytesIO(content), formats=_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(name)
            with _one_at_a_time(image.width * image.height):
                image.load()
            turned = image.getexif().get(EXIF_ORIENTATION) in TURNED
            width, height = image.size[::-1] if turned else image.size
            return width, height, Image.MIME[image.format or ""]
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image in a format known here; save it as PNG.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name) from error
    except Exception as error:  # decoders raise anything on damaged input: OSError, SyntaxError, struct.error, …
        raise ImageError(f"{name} is damaged ({' '.join(str(error).split())[:120]}); save it again.") from error


@cache
def _formats() -> list[str]:
    """Those of FORMATS that this Pillow can read."""
    from PIL import Image

    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _one_at_a_time(pixels: int) -> AbstractContextManager[Any]:
    return _large if pixels > LARGE_PIXELS else nullcontext()


def _too_large(name: str) -> ImageError:
    return ImageError(f"{name} has more than {MAX_PIXELS:,} pixels; scale it down.")
