"""Runs: long jobs in processes of their own, watched, cancelled and closed through their row.

    start > a process of its own: `arena run ID` > perform > the job of this kind > the row says how it ended

A job is a function (arena, run, report) -> Ended. It calls `report(stage, done, total)` between its steps, which raises
Cancelled once someone has cancelled the run. A thread keeps the heart beating in between, however long a step takes:
only a process that is gone falls silent.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from arena.domain import Run, RunKind, RunState, Score
from arena.errors import ArenaError, EnvironmentFault
from arena.plugins import resolve

if TYPE_CHECKING:
    from pathlib import Path

    from arena.bootstrap import Arena

JOBS: dict[str, str] = {
    RunKind.GENERATE: "arena.services.making:job",
    RunKind.BENCHMARK: "arena.services.benchmarks:job",
    RunKind.JUDGE: "arena.services.judging:job",
}
"""Kind of run -> the job, as "module:function"."""
PROGRAM = (sys.executable, "-m", "arena.cli", "run")
BEAT_SECONDS = 10.0
SILENT_AFTER = timedelta(seconds=60)
SILENT = "the process stopped without a word; start it again, what was done is kept"

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Ended:
    """What a job came to: a sentence for the row, and the scores to store with it, all or none."""

    message: str = ""
    scores: tuple[Score, ...] = ()


Job = Callable[["Arena", Run, Report], Ended]


class Cancelled(ArenaError):
    """Someone cancelled the run."""


def start(arena: Arena, kind: RunKind, subject: str, parameters: Mapping[str, Any] | None = None) -> int:
    """Start the job of this kind in another process and return the run's id at once.

    Raises EnvironmentFault, and closes the run, where no process can be started.
    """
    run_id = arena.store.add_run(kind, subject, parameters).id or 0
    log = arena.settings.data_dir / "logs" / f"run-{run_id}.log"
    try:
        child = _child(arena, run_id, log)
    except OSError as error:
        arena.store.end_run(run_id, RunState.FAILED, f"could not start: {error.strerror}")
        raise EnvironmentFault(f"Run {run_id} could not be started ({error.strerror}); see {str(log)!r}.") from error
    arena.store.beat(run_id, pid=child.pid, stage="starting")
    threading.Thread(target=_see_off, args=(arena, run_id, child), name=f"run-{run_id}", daemon=True).start()
    return run_id


def _child(arena: Arena, run_id: int, log: Path) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [*PROGRAM, str(run_id)],
            env={**os.environ, **arena.settings.as_environment()},
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def _see_off(arena: Arena, run_id: int, child: subprocess.Popen[bytes]) -> None:
    """Takes the exit status, so that no zombie stays, and closes the run of a process that was killed."""
    code = child.wait()
    with suppress(Exception):  # the arena may be closed by now; then the silence tells it later
        arena.store.end_run(run_id, RunState.FAILED, f"{SILENT} (exit code {code})")


def perform(arena: Arena, run_id: int, watch: Report | None = None) -> Run:
    """Do a run's job in this process, and close the run with what came of it; returns it as it ended.

    `watch` is told of the progress as well. What goes wrong closes the run with its reason and is raised; Ctrl-C
    cancels the run and is raised.
    """
    run = arena.store.run(run_id)
    try:
        job: Job = resolve("kind of run", JOBS, run.kind.value)
        with beating(arena, run_id, watch) as report:
            ended = job(arena, run, report)
        arena.store.end_run(run_id, RunState.DONE, ended.message, ended.scores)
    except Cancelled:
        pass
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        arena.store.end_run(run_id, RunState.CANCELLED if stopped else RunState.FAILED, _reason(error))
        raise
    return arena.store.run(run_id)


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "stopped; what was done is kept"
    return str(error) if isinstance(error, ArenaError) else f"{type(error).__name__}: {error}"


@contextmanager
def beating(arena: Arena, run_id: int, watch: Report | None = None) -> Iterator[Report]:
    """Keeps the run's heart beating with what was reported last; what it gives reports, and raises Cancelled."""
    last: dict[str, Any] = {"stage": "loading", "done": 0, "total": 0}
    over = threading.Event()

    def beat() -> RunState:
        return arena.store.beat(run_id, pid=os.getpid(), **last)

    def report(stage: str, done: int, total: int) -> None:
        last.update(stage=stage, done=done, total=total)
        if beat() is not RunState.RUNNING:
            raise Cancelled(f"Run {run_id} was cancelled.")
        if watch is not None:
            watch(stage, done, total)

    def keep_beating() -> None:
        while not over.wait(BEAT_SECONDS):
            with suppress(Exception):  # the job meets the same fault at its next report, and can say so
                beat()

    report("loading", 0, 0)
    thread = threading.Thread(target=keep_beating, daemon=True)
    thread.start()
    try:
        yield report
    finally:
        over.set()
        thread.join()


def cancel(arena: Arena, run_id: int) -> None:
    """Ask a run to stop; it does at its next report. A run that has ended stays as it is."""
    arena.store.end_run(run_id, RunState.CANCELLED, "cancelled; what was done is kept")


def close_silent(arena: Arena) -> None:
    """A run whose heart stopped was killed: say so, instead of showing it as running for ever."""
    arena.store.close_silent(map(RunKind, JOBS), datetime.now(UTC) - SILENT_AFTER, SILENT)


def one(arena: Arena, run_id: int) -> Run:
    """Raises UsageError for a run that there is not."""
    close_silent(arena)
    return arena.store.run(run_id)


def latest(arena: Arena, kind: RunKind, limit: int = 20) -> list[Run]:
    """Runs of this kind, newest first."""
    close_silent(arena)
    return arena.store.runs(kind, limit)
