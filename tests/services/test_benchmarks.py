"""Benchmarks run in a process of their own, report, can be cancelled, and store what they found."""

from __future__ import annotations

import time
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import update

from arena.bootstrap import Arena
from arena.domain import Contestant, Prompt, Run, RunKind, RunState
from arena.errors import UnknownName, UsageError
from arena.services import benchmarks, generation
from arena.services.teddies import rendered, scenes_of
from arena.teddy.scenes import embedded_prompts
from db.schema import RunRow

NAME = "Renderer"


class Renderer:
    """A contestant that draws the truth: its FID is as low as it gets."""

    def generate(self, texts: list[str], seeds: list[int]) -> list[Image.Image]:
        return list(rendered(scenes_of([Prompt(text) for text in texts]), len(texts), seeds[0]))


@pytest.fixture
def measurable(arena: Arena) -> Arena:
    arena.store.add_prompts(Prompt(text, category) for text, category, _ in embedded_prompts()[:8])
    arena.store.add_contestant(Contestant(NAME, "swatch"))
    generation.fill(arena, generation.plan(arena), lambda _: Renderer())
    return arena


def wait(arena: Arena, run_id: int, seconds: float = 180) -> Run:
    deadline = time.monotonic() + seconds
    while (run := benchmarks.run(arena, run_id)).state is RunState.RUNNING and time.monotonic() < deadline:
        time.sleep(0.1)
    return run


def test_a_run_in_another_process_stores_its_score(measurable: Arena) -> None:
    run_id = benchmarks.start_fid(measurable, NAME, n_real=12)
    run = wait(measurable, run_id)
    assert (run.state, run.subject) == (RunState.DONE, NAME), run.message
    [score] = benchmarks.scores(measurable)
    assert score.value is not None and np.isfinite(score.value) and score.value > 0
    assert score.run_id == run_id and score.subject == NAME
    assert (score.details["n_real"], score.details["n_generated"]) == (12, 8)
    assert score.details["reference_set"].startswith("teddies-") and len(score.details["weights_sha256"]) == 64
    assert run.message == f"FID {score.value:.2f}"


def test_a_cancelled_run_stops_and_stores_nothing(measurable: Arena) -> None:
    run_id = benchmarks.start_fid(measurable, NAME, n_real=12)
    benchmarks.cancel(measurable, run_id)
    assert wait(measurable, run_id).state is RunState.CANCELLED
    assert benchmarks.run_fid(measurable, run_id, NAME, 12) is None
    assert benchmarks.scores(measurable) == []


def test_what_goes_wrong_ends_the_run_with_its_reason(measurable: Arena) -> None:
    run = measurable.store.add_run(RunKind.BENCHMARK, NAME)
    with pytest.raises(UsageError):
        benchmarks.run_fid(measurable, run.id or 0, NAME, n_real=1)
    ended = benchmarks.run(measurable, run.id or 0)
    assert (ended.state, ended.message) == (RunState.FAILED, "FID needs at least 2 reference scenes, got 1.")


def test_a_killed_run_is_not_shown_as_running_for_ever(measurable: Arena) -> None:
    run = measurable.store.add_run(RunKind.BENCHMARK, NAME)
    assert benchmarks.runs(measurable)[0].state is RunState.RUNNING
    long_ago = run.heartbeat_at - benchmarks.SILENT_AFTER - timedelta(seconds=1)
    with measurable.store._writing() as session:
        session.execute(update(RunRow).values(heartbeat_at=long_ago))
    [stopped] = benchmarks.runs(measurable)
    assert stopped.state is RunState.FAILED and "start the run again" in stopped.message


def test_there_must_be_something_to_measure(seeded: Arena) -> None:
    with pytest.raises(UsageError, match=r"'Swatch A' has 0 images of teddy prompts .* run `arena generate`"):
        benchmarks.start_fid(seeded, "Swatch A")
    with pytest.raises(UnknownName, match="Swatch A"):
        benchmarks.start_fid(seeded, "Swatch Z")
    assert benchmarks.runs(seeded) == []
