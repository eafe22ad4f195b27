"""A run works in a process of its own, can be watched and cancelled, and always says how it ended."""

from __future__ import annotations

import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from arena.bootstrap import Arena
from arena.domain import Protocol, Run, RunKind, RunState, Score
from arena.errors import DataError, EnvironmentFault, UnknownName, UsageError
from arena.services import runs
from db.schema import RunRow
from tests.services import run_process

KIND = RunKind.JUDGE
PROCESS = (sys.executable, str(Path(run_process.__file__)))


@pytest.fixture(autouse=True)
def _job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(runs.JOBS, KIND, "tests.services.run_process:job")
    monkeypatch.setattr(runs, "PROGRAM", PROCESS)


def started(arena: Arena, **parameters: object) -> Run:
    return arena.store.add_run(KIND, "a test", parameters)


def wait(arena: Arena, run_id: int, seconds: float = 60) -> Run:
    deadline = time.monotonic() + seconds
    while (run := runs.one(arena, run_id)).state is RunState.RUNNING and time.monotonic() < deadline:
        time.sleep(0.05)
    for thread in threading.enumerate():
        if thread.name == f"run-{run_id}":
            thread.join(30)
    return run


def test_a_run_works_in_a_process_of_its_own_and_remembers_what_it_was_asked(any_arena: Arena) -> None:
    run = wait(any_arena, runs.start(any_arena, KIND, "a test", {"steps": 2}))
    assert (run.state, run.message, run.subject) == (RunState.DONE, "all done", "a test")
    assert (run.stage, run.done, run.total) == ("working", 1, 2) and run.parameters == {"steps": 2}
    assert run.pid and run.finished_at and runs.latest(any_arena, KIND) == [run]


def test_a_cancelled_run_stops_at_its_next_step(arena: Arena) -> None:
    run_id = runs.start(arena, KIND, "a test", {"steps": 1000, "seconds": 0.05})
    while runs.one(arena, run_id).done < 2:
        time.sleep(0.02)
    runs.cancel(arena, run_id)
    run = wait(arena, run_id)
    assert run.state is RunState.CANCELLED and "what was done is kept" in run.message
    time.sleep(0.3)
    assert runs.one(arena, run_id).done == run.done < 1000


@pytest.mark.parametrize(
    ("end", "message"),
    [("error", "The folder is empty; fill it."), ("bug", "ZeroDivisionError: division by zero")],
)
def test_what_goes_wrong_closes_the_run_with_its_reason(arena: Arena, end: str, message: str) -> None:
    run = wait(arena, runs.start(arena, KIND, "a test", {"end": end}))
    assert (run.state, run.message) == (RunState.FAILED, message)


def test_a_killed_process_is_noticed_at_once(arena: Arena) -> None:
    run = wait(arena, runs.start(arena, KIND, "a test", {"end": "kill"}), seconds=runs.SILENT_AFTER.total_seconds() / 2)
    assert run.state is RunState.FAILED and run.message == f"{runs.SILENT} (exit code -9)"


def test_a_process_that_cannot_be_started_leaves_no_open_run(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PROGRAM", ("/no/such/python",))
    with pytest.raises(EnvironmentFault, match=r"Run 1 could not be started \(No such file or directory\)"):
        runs.start(arena, KIND, "a test")
    assert runs.one(arena, 1).state is RunState.FAILED


def test_a_kind_without_a_job_is_refused_and_said_in_the_row(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(runs.JOBS, RunKind.GENERATE)
    run = arena.store.add_run(RunKind.GENERATE, "images")
    with pytest.raises(UnknownName, match="kind of run 'generate'"):
        runs.perform(arena, run.id or 0)
    assert arena.store.run(run.id or 0).state is RunState.FAILED


# In this process, as the commands do it


def test_whoever_watches_sees_every_step(arena: Arena) -> None:
    seen: list[tuple[str, int, int]] = []
    ended = runs.perform(arena, started(arena, steps=3).id or 0, lambda *step: seen.append(step))
    assert ended.state is RunState.DONE
    assert seen == [("loading", 0, 0), *(("working", n, 3) for n in range(3))]


def test_errors_reach_the_caller_too(arena: Arena) -> None:
    with pytest.raises(DataError, match="fill it"):
        runs.perform(arena, started(arena, end="error").id or 0)


def test_ctrl_c_cancels_the_run(arena: Arena) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    run = started(arena)
    with pytest.raises(KeyboardInterrupt):
        runs.perform(arena, run.id or 0, interrupt)
    assert runs.one(arena, run.id or 0).state is RunState.CANCELLED


def test_scores_are_stored_when_the_run_is_done_and_not_when_it_was_cancelled(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = Score("A", "fid", Protocol("fid", "1", {}), 1.0)
    cancel = [False]

    def job(arena: Arena, run: Run, report: runs.Report) -> runs.Ended:
        if cancel[0]:
            runs.cancel(arena, run.id or 0)
        return runs.Ended("", (score,))

    monkeypatch.setattr(run_process, "job", job)
    runs.perform(arena, started(arena).id or 0)
    assert len(arena.store.scores()) == 1
    cancel[0] = True
    assert runs.perform(arena, started(arena).id or 0).state is RunState.CANCELLED
    assert len(arena.store.scores()) == 1


# Silence


def make_silent(arena: Arena, run: Run) -> None:
    long_ago = run.heartbeat_at - runs.SILENT_AFTER - timedelta(seconds=1)
    with arena.store._writing() as session:
        session.execute(update(RunRow).where(RunRow.id == run.id).values(heartbeat_at=long_ago))


def test_only_a_silent_run_of_a_kind_that_beats_is_closed(any_arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(runs.JOBS, RunKind.GENERATE)
    silent, fresh, other = started(any_arena), started(any_arena), any_arena.store.add_run(RunKind.GENERATE, "x")
    make_silent(any_arena, silent)
    make_silent(any_arena, other)
    runs.close_silent(any_arena)
    states = {run.id: run.state for run in any_arena.store.runs()}
    assert states == {silent.id: RunState.FAILED, fresh.id: RunState.RUNNING, other.id: RunState.RUNNING}
    assert any_arena.store.run(silent.id or 0).message == runs.SILENT


def test_a_long_step_is_not_silence(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "BEAT_SECONDS", 0.05)
    beats = []

    def job(arena: Arena, run: Run, report: runs.Report) -> runs.Ended:
        report("one long step", 1, 2)
        for _ in range(3):
            before = arena.store.run(run.id or 0).heartbeat_at
            deadline = time.monotonic() + 20
            while (now := arena.store.run(run.id or 0)).heartbeat_at == before and time.monotonic() < deadline:
                time.sleep(0.02)
            beats.append((now.heartbeat_at > before, now.stage, now.done))
        return runs.Ended()

    monkeypatch.setattr(run_process, "job", job)
    runs.perform(arena, started(arena).id or 0)
    assert beats == [(True, "one long step", 1)] * 3


def test_a_run_that_there_is_not(arena: Arena) -> None:
    with pytest.raises(UsageError, match="There is no run 7"):
        runs.one(arena, 7)
