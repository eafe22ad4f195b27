"""Generation: fill the missing (contestant, prompt, seed) cells, batch by batch, and go on where it stopped."""

from __future__ import annotations

import io
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from arena.domain import VOTES_BACKEND, Contestant, Generation, ImageRef, Prompt, RunKind, RunState
from arena.errors import ArenaError, EnvironmentFault, GenerationError, SettingsError, UsageError, WeightsError

if TYPE_CHECKING:
    from PIL.Image import Image

    from arena.backends.base import Backend
    from arena.bootstrap import Arena

MakeBackend = Callable[[Contestant], "Backend"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One image to make."""

    prompt: Prompt
    seed: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a generation is: `done` of `total` cells of this call, and this contestant's pace."""

    contestant: str
    done: int
    total: int
    seconds_per_image: float


@dataclass
class Report:
    """What a generation did: `failed` holds "contestant, prompt: reason", `unavailable` who did not load."""

    made: int = 0
    failed: list[str] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)


def first_seed(prompt: str) -> int:
    """The seed of a prompt's first image: CRC-32 of its text, so that prompts differ and contestants share it."""
    return zlib.crc32(prompt.encode())


def cells(prompts: Sequence[Prompt], images_per_prompt: int) -> list[Cell]:
    """Every cell a contestant should have: seeds count up from each prompt's first."""
    return [Cell(prompt, first_seed(prompt.text) + k) for prompt in prompts for k in range(images_per_prompt)]


def missing_cells(wanted: Sequence[Cell], attempts: Sequence[Generation], retry_failed: bool = False) -> list[Cell]:
    """The wanted cells without an attempt; with `retry_failed` also those whose attempt failed."""
    done = {(a.prompt_id, a.seed) for a in attempts if a.image is not None or not retry_failed}
    return [cell for cell in wanted if (cell.prompt.id, cell.seed) not in done]


def plan(
    arena: Arena, names: Sequence[str] = (), images_per_prompt: int = 1, retry_failed: bool = False
) -> dict[Contestant, list[Cell]]:
    """What is missing, by contestant (all of them unless named). Raises UnknownName, and UsageError without prompts."""
    if images_per_prompt < 1:
        raise UsageError(f"images per prompt must be at least 1, got {images_per_prompt}.")
    contestants = [arena.store.contestant(name) for name in names] or arena.store.contestants()
    wanted = cells(arena.store.prompts(), images_per_prompt)
    return {
        contestant: missing_cells(wanted, arena.store.generations(contestant.id or 0), retry_failed)
        for contestant in contestants
        if contestant.backend != VOTES_BACKEND
    }


def fill(
    arena: Arena,
    missing: dict[Contestant, list[Cell]],
    make_backend: MakeBackend,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Make every missing image; one contestant's backend is loaded at a time.

    Each batch is stored before the next begins, so a kill loses one batch at most and the next call goes on. A failure
    becomes a row with its reason. A contestant that does not load is reported and leaves no rows.
    """
    report = Report()
    total = sum(map(len, missing.values()))
    if not total:
        return report
    run = arena.store.add_run(RunKind.GENERATE, f"{total} images")
    assert run.id is not None
    try:
        done = 0
        for contestant, todo in missing.items():
            for attempts, pace in _attempts(arena, contestant, todo, make_backend, report):
                arena.store.add_generations(attempts)
                done += len(attempts)
                arena.store.beat(run.id, pid=os.getpid(), stage=contestant.name, done=done, total=total)
                progress(Progress(contestant.name, done, total, pace))
    except BaseException as error:
        state = RunState.CANCELLED if isinstance(error, KeyboardInterrupt) else RunState.FAILED
        arena.store.end_run(run.id, state, str(error) or "stopped; run it again to go on")
        raise
    arena.store.end_run(run.id, RunState.DONE, f"{report.made} made, {len(report.failed)} failed")
    return report


def _attempts(
    arena: Arena, contestant: Contestant, todo: list[Cell], make_backend: MakeBackend, report: Report
) -> Iterator[tuple[list[Generation], float]]:
    """Batches of finished attempts with the seconds each image took; nothing when the backend does not load."""
    if not todo:
        return
    try:
        backend = make_backend(contestant)
    except (WeightsError, EnvironmentFault, UsageError, SettingsError) as error:
        report.unavailable[contestant.name] = str(error)
        return
    for batch in _batched(todo, arena.settings.batch_size):
        started = time.perf_counter()
        results = _generate(backend, batch)
        pace = (time.perf_counter() - started) / len(batch)
        attempts = [
            _attempt(arena, contestant, cell, result, pace) for cell, result in zip(batch, results, strict=True)
        ]
        report.made += sum(attempt.image is not None for attempt in attempts)
        report.failed += [
            f"{contestant.name}, {cell.prompt.text!r}: {attempt.failure}"
            for cell, attempt in zip(batch, attempts, strict=True)
            if attempt.failure
        ]
        yield attempts, pace


def _generate(backend: Backend, batch: Sequence[Cell]) -> list[Image | GenerationError]:
    """One result per cell; when a batch fails its cells are tried alone, so that only the guilty ones fail."""
    try:
        images = backend.generate([cell.prompt.text for cell in batch], [cell.seed for cell in batch])
        if len(images) != len(batch):
            raise GenerationError(f"the backend returned {len(images)} images for {len(batch)} prompts")
        return list(images)
    except GenerationError as error:
        if len(batch) == 1:
            return [error]
        return [result for cell in batch for result in _generate(backend, [cell])]


def _attempt(
    arena: Arena, contestant: Contestant, cell: Cell, result: Image | GenerationError, seconds: float
) -> Generation:
    assert contestant.id is not None and cell.prompt.id is not None
    if isinstance(result, ArenaError):
        return Generation(
            contestant.id, cell.prompt.id, cell.seed, seconds=seconds, failure=str(result) or "no reason given"
        )
    image = ImageRef(arena.blobs.put(png_bytes(result)), result.width, result.height)
    return Generation(contestant.id, cell.prompt.id, cell.seed, image, seconds)


def png_bytes(image: Image) -> bytes:
    """The image as PNG from a fresh raster: nothing but pixels, so no metadata can tell who made it."""
    plain = image.convert("RGB")
    plain.info = {}
    buffer = io.BytesIO()
    plain.save(buffer, "PNG")
    return buffer.getvalue()


def _batched(items: Sequence[Cell], size: int) -> Iterator[list[Cell]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def write_images(arena: Arena, contestant_name: str, folder: Path) -> int:
    """Copy the contestant's images as stored into a folder; returns how many. Raises EnvironmentFault, UnknownName."""
    contestant = arena.store.contestant(contestant_name)
    attempts = arena.store.generations(contestant.id or 0, images_only=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for attempt in attempts:
            if attempt.image:
                name = f"prompt-{attempt.prompt_id:05d}-seed-{attempt.seed}.png"
                (folder / name).write_bytes(arena.blobs.get(attempt.image.sha256))
    except OSError as error:
        raise EnvironmentFault(f"The folder {str(folder)!r} cannot be written ({error.strerror}).") from error
    return len(attempts)
