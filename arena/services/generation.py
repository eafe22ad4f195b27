"""Generation: fill the missing (contestant, prompt, seed) cells, batch by batch, and go on where it stopped."""

from __future__ import annotations

import io
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from arena.domain import DRAWS_NOTHING, Contestant, Generation, ImageRef, Prompt, Run, RunKind, RunState
from arena.errors import ArenaError, EndpointError, EnvironmentFault, UnknownName, UsageError
from arena.services import accounts as accounting
from arena.services import display, prompt_sets, runs
from arena.services.drawing import Cell, Outcome, draw
from arena.spending import Budget
from db import costs as spent
from db import prompt_sets as sets

if TYPE_CHECKING:
    from PIL.Image import Image

    from arena.backends.base import Backend
    from arena.bootstrap import Arena
    from arena.services.accounts import Account

KEEPERS = 4
"""Threads that encode and write images."""
STILL_STORED = timedelta(minutes=5)
"""So long after a run was closed its process may have stored what was under way."""
MakeBackend = Callable[[Contestant], "Backend"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a generation is: `done` of `total` cells of this call, and this contestant's pace."""

    contestant: str
    done: int
    total: int
    seconds_per_image: float


@dataclass
class Report:
    """What a generation did: `failed` holds "contestant, prompt: reason", `unavailable` who did not load or stopped.

    `spent_usd` is what is known to be spent, `unspent` why no more was.
    """

    made: int = 0
    failed: list[str] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    spent_usd: float = 0.0
    unspent: str = ""


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
    arena: Arena,
    names: Sequence[str] = (),
    images_per_prompt: int = 1,
    retry_failed: bool = False,
    prompt_set: str = "",
) -> dict[Contestant, list[Cell]]:
    """What is missing, by contestant (all that are not retired unless named), of the prompts that are not retired.

    `prompt_set`: only the prompts of this set, see `_of_set`. Raises UnknownName and UsageError.
    """
    if images_per_prompt < 1:
        raise UsageError(f"images per prompt must be at least 1, got {images_per_prompt}.")
    withdrawn = arena.store.withdrawn()
    active = [one for one in arena.store.contestants() if one.id not in withdrawn.contestants]
    contestants = [_drawing(arena.store.contestant(name)) for name in names] or active
    prompts = [prompt for prompt in arena.store.prompts() if prompt.id not in withdrawn.prompts]
    if prompt_set:
        members = _of_set(arena, prompt_set)
        prompts = [prompt for prompt in prompts if prompt.id in members]
    wanted = cells(prompts, images_per_prompt)
    return {
        contestant: missing_cells(wanted, arena.store.generations(contestant.id or 0), retry_failed)
        for contestant in contestants
        if contestant.backend not in DRAWS_NOTHING
    }


def paying(arena: Arena, names: Sequence[str] = ()) -> list[Contestant]:
    """Those whose images cost money, of the contestants that `plan` takes."""
    withdrawn = arena.store.withdrawn().contestants
    chosen = [one for one in arena.store.contestants() if (one.name in names if names else one.id not in withdrawn)]
    return accounting.paying(arena, [one for one in chosen if one.backend not in DRAWS_NOTHING])


def _of_set(arena: Arena, wanted: str) -> set[int]:
    """The ids of a set's prompts: of `parti` the newest version, of `parti@0123456789ab` this one.

    Raises UnknownName.
    """
    known = prompt_sets.listed(arena)
    found = [one for one in known if wanted in (one.name, one.version)]
    if not found:
        raise UnknownName("prompt set", wanted, {one.version for one in known})
    return {place.prompt_id for place in sets.places(arena.store, found[-1].id or 0)}


def _drawing(contestant: Contestant) -> Contestant:
    """The contestant. Raises UsageError for one that cannot draw."""
    if contestant.backend in DRAWS_NOTHING:
        raise UsageError(f"{contestant.name!r} draws nothing: it has the images and votes that were imported for it.")
    return contestant


def fill(
    arena: Arena,
    missing: dict[Contestant, list[Cell]],
    make_backend: MakeBackend,
    progress: Callable[[Progress], None] = lambda _: None,
    budget_usd: float | None = None,
) -> Report:
    """Make every missing image; one contestant's backend is loaded at a time.

    While a batch is drawn the one before is encoded and stored, so a kill loses two batches at most and the next call
    goes on. A failure becomes a row with its reason. A contestant that does not load is reported and leaves no rows.
    No image is begun that might spend more than `budget_usd`. Raises UsageError for a budget that is none.
    """
    report = Report()
    total = sum(map(len, missing.values()))
    if not total:
        return report
    budget = _budget(budget_usd)
    run = arena.store.add_run(RunKind.GENERATE, f"{total} images")
    assert run.id is not None
    try:
        with runs.beating(arena, run.id) as tell:
            _fill(arena, missing, make_backend, report, tell, progress, budget)
    except runs.Cancelled:
        return report
    except BaseException as error:
        state = RunState.CANCELLED if isinstance(error, KeyboardInterrupt) else RunState.FAILED
        arena.store.end_run(run.id, state, str(error) or "stopped; run it again to go on")
        raise
    arena.store.end_run(run.id, RunState.DONE, said(report))
    return report


def _budget(budget_usd: float | None) -> Budget:
    try:
        return Budget(budget_usd)
    except ValueError as error:
        raise UsageError(f"The budget cannot be used: {error}.") from error


def _fill(
    arena: Arena,
    missing: dict[Contestant, list[Cell]],
    make_backend: MakeBackend,
    report: Report,
    tell: runs.Report,
    progress: Callable[[Progress], None] = lambda _: None,
    budget: Budget | None = None,
) -> None:
    done, total = 0, sum(map(len, missing.values()))
    accounts = accounting.accounts(arena, list(missing), budget or Budget())
    todos = [(contestant, todo) for contestant, todo in missing.items() if todo]
    ahead = [contestant for contestant, _ in todos[1:]]
    for contestant, todo in todos:
        tell(contestant.name, done, total)
        started = time.perf_counter()
        account, finished = accounts[contestant.id or 0], 0
        for attempts in _attempts(arena, contestant, todo, make_backend, report, account):
            if not finished and ahead:  # it is loaded and draws: time to fetch the next one
                Thread(target=_prefetched, args=(ahead[0],), name="prefetch", daemon=True).start()
            done, finished = done + len(attempts), finished + len(attempts)
            _count(report, contestant, todo, attempts)
            tell(contestant.name, done, total)
            progress(Progress(contestant.name, done, total, (time.perf_counter() - started) / finished))
        ahead = ahead[1:]


def _prefetched(contestant: Contestant) -> None:
    from arena.backends.base import prefetch

    with suppress(Exception):  # whatever is wrong is said when the backend is made
        prefetch(contestant)


def _count(report: Report, contestant: Contestant, todo: Sequence[Cell], attempts: Sequence[Generation]) -> None:
    texts = {cell.prompt.id: cell.prompt.text for cell in todo}
    report.made += sum(attempt.image is not None for attempt in attempts)
    report.spent_usd += sum(attempt.cost_usd or 0.0 for attempt in attempts)
    report.failed += [
        f"{contestant.name}, {texts[attempt.prompt_id]!r}: {attempt.failure}" for attempt in attempts if attempt.failure
    ]


def said(report: Report) -> str:
    """A report in one sentence."""
    absent = "".join(f"; {name} stays out: {reason}" for name, reason in report.unavailable.items())
    spent = f"; {report.spent_usd:.4f} USD" if report.spent_usd else ""
    unspent = f"; stopped by {report.unspent}" if report.unspent else ""
    return f"{report.made} made, {len(report.failed)} failed{spent}{unspent}{absent}"


# In a process of its own


def start(
    arena: Arena,
    names: Sequence[str] = (),
    images_per_prompt: int = 1,
    retry_failed: bool = False,
    prompt_set: str = "",
    budget_usd: float | None = None,
) -> int:
    """Make what is missing in another process; returns the run's id.

    Raises UnknownName, UsageError where nothing is missing or the budget is none, EnvironmentFault.
    """
    _budget(budget_usd)
    total = sum(map(len, plan(arena, names, images_per_prompt, retry_failed, prompt_set).values()))
    if not total:
        raise UsageError("Every picture is there; add prompts, models or seeds, or try the failed ones again.")
    asked = {
        "names": list(names), "images_per_prompt": images_per_prompt, "retry_failed": retry_failed,
        "prompt_set": prompt_set, "budget_usd": budget_usd,
    }  # fmt: skip
    return runs.start(arena, RunKind.GENERATE, f"{total} images", asked)


def resume(arena: Arena, run_id: int) -> int:
    """Start a run again that ended early: what it made is not made again, and what it spent is not there any more.

    Raises UsageError for a run that is at work, and for one whose budget is spent.
    """
    run = runs.one(arena, run_id)
    if run.state is RunState.RUNNING:
        raise UsageError(f"Run {run_id} is still at work.")
    asked = dict(run.parameters)
    limit = asked.get("budget_usd")
    if limit is not None:
        names = asked.get("names") or [one.name for one in arena.store.contestants()]
        ids = [arena.store.contestant(name).id or 0 for name in names]
        until = run.finished_at and run.finished_at + STILL_STORED
        asked["budget_usd"] = limit - spent.between(arena.store, ids, run.started_at, until)
        if asked["budget_usd"] <= 0:
            raise UsageError(f"The budget of run {run_id}, {limit:g} USD, is spent; start another with its own budget.")
    return start(arena, **asked)


def job(arena: Arena, run: Run, tell: runs.Report) -> runs.Ended:
    """The job behind a run that `start` started."""
    report, asked = Report(), dict(run.parameters)
    budget = _budget(asked.pop("budget_usd", None))
    _fill(arena, plan(arena, **asked), backends(arena), report, tell, budget=budget)
    tell("making them alike to look at", report.made, 0)
    display.prepare(arena)
    return runs.Ended(said(report))


def backends(arena: Arena) -> MakeBackend:
    """What makes a contestant's backend in this process, with as many threads as the settings allow."""
    from arena.services import commits

    def make(contestant: Contestant) -> Backend:
        if arena.settings.threads:
            import torch

            torch.set_num_threads(arena.settings.threads)
        return commits.opened(arena, contestant)

    return make


def _attempts(
    arena: Arena,
    contestant: Contestant,
    todo: list[Cell],
    make_backend: MakeBackend,
    report: Report,
    account: Account,
) -> Iterator[list[Generation]]:
    """Groups of attempts, each once it is stored; nothing when the backend does not load."""
    try:
        backend = make_backend(contestant)
    except Exception as error:  # whatever it raises, the other contestants go on
        report.unavailable[contestant.name] = _reason(error)
        return
    made = 0
    try:
        groups = draw(backend, todo, batch_size(arena, contestant), account)
        for attempts in _kept(arena, contestant, groups):
            made += len(attempts)
            yield attempts
        if made < len(todo):
            report.unspent = account.why_stopped()
    except EndpointError as error:
        report.unavailable[contestant.name] = str(error)
    finally:
        try:
            getattr(backend, "close", lambda: None)()
        except Exception as error:
            report.unavailable.setdefault(contestant.name, f"it does not close: {_reason(error)}")


def batch_size(arena: Arena, contestant: Contestant) -> int:
    """How many images of this contestant are drawn at once: as it is set for it, or for the arena."""
    own = contestant.running.get("batch_size")
    return own if isinstance(own, int) else arena.settings.batch_size


def _reason(error: Exception) -> str:
    """An error in one line; one that is not ours with its type."""
    if isinstance(error, ArenaError):
        return str(error)
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no reason given'])[0]}"


def _kept(arena: Arena, contestant: Contestant, groups: Iterator[list[Outcome]]) -> Iterator[list[Generation]]:
    """Every group once it is stored. Encoding and storing run beside the drawing of the next group.

    What was drawn before an error is stored before the error goes on.
    """
    with ThreadPoolExecutor(KEEPERS, "encoding") as encoders, ThreadPoolExecutor(1, "storing") as keeper:
        storing: deque[Future[list[Generation]]] = deque()
        error: BaseException | None = None
        while True:
            try:
                group = next(groups, None)
            except BaseException as raised:
                error, group = raised, None
            if group:
                storing.append(keeper.submit(_keep, arena, contestant, group, encoders))
            while storing and (group is None or len(storing) > 1 or storing[0].done()):
                yield storing.popleft().result()
            if error is not None:
                raise error
            if group is None:
                return


def _keep(
    arena: Arena, contestant: Contestant, group: Sequence[Outcome], encoders: ThreadPoolExecutor
) -> list[Generation]:
    attempts = list(encoders.map(lambda outcome: _attempt(arena, contestant, outcome), group))
    arena.store.add_generations(attempts)
    return attempts


def make(
    arena: Arena, contestant: Contestant, batch: Sequence[Cell], backend: Backend, budget: Budget | None = None
) -> list[Generation]:
    """Make these cells with a loaded backend and store what came of each; also returned, without ids.

    What the budget does not allow is left out. Raises EndpointError where no image can be had any more; what came
    before is stored.
    """
    account = accounting.accounts(arena, [contestant], budget or Budget())[contestant.id or 0]
    groups = draw(backend, batch, len(batch), account)
    return [attempt for attempts in _kept(arena, contestant, groups) for attempt in attempts]


def _attempt(arena: Arena, contestant: Contestant, outcome: Outcome) -> Generation:
    cell, result = outcome.cell, outcome.result
    assert contestant.id is not None and cell.prompt.id is not None
    image, failure = None, None
    if isinstance(result, ArenaError):
        failure = str(result) or "no reason given"
    else:
        image = ImageRef(arena.blobs.put(png_bytes(result)), result.width, result.height)
    usd, source = outcome.cost or (None, None)
    return Generation(
        contestant.id, cell.prompt.id, cell.seed, image, outcome.seconds, usd, failure, cost_source=source
    )


def estimate(arena: Arena, missing: dict[Contestant, list[Cell]]) -> list[accounting.Estimate]:
    """How many images are missing, how long they would take and what they would cost; nothing is loaded or made."""
    return accounting.estimates(arena, {one: [c.prompt.text for c in todo] for one, todo in missing.items() if todo})


def png_bytes(image: Image) -> bytes:
    """The image as PNG from a fresh raster: nothing but pixels, so no metadata can tell who made it."""
    plain = image.convert("RGB")
    plain.info = {}
    buffer = io.BytesIO()
    # The fastest level, and of its strategies one that is faster and on photographs smaller as well: encoding must keep
    # up with endpoints that send many images a second.
    plain.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def write_images(arena: Arena, contestant_name: str, folder: Path) -> int:
    """Copy the contestant's images as stored into a folder; returns how many. Raises EnvironmentFault, UnknownName."""
    contestant = arena.store.contestant(contestant_name)
    attempts = arena.store.generations(contestant.id or 0, images_only=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for attempt in attempts:
            if attempt.image:
                kind = attempt.image.media_type.rpartition("/")[2]
                name = f"prompt-{attempt.prompt_id:05d}-seed-{attempt.seed}.{kind}"
                (folder / name).write_bytes(arena.blobs.get(attempt.image.sha256))
    except OSError as error:
        raise EnvironmentFault(f"The folder {str(folder)!r} cannot be written ({error.strerror}).") from error
    return len(attempts)
