"""Benchmarks: FID of a contestant's images against rendered scenes, in a process of its own, watched by its Run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from arena.domain import Contestant, Prompt, Run, RunKind, RunState, Score, fingerprint
from arena.errors import ArenaError, EnvironmentFault, UsageError
from arena.services.teddies import rendered, scenes_of
from evaluators.distribution.fid import fid  # torch is imported when it runs, in the benchmark's own process
from evaluators.images import decode

if TYPE_CHECKING:
    from arena.bootstrap import Arena

REFERENCE_SEED = 0
DEFAULT_N_REAL = 500
# Twice the longest pause between two progress reports that was seen (loading torch and the weights on a busy machine).
SILENT_AFTER = timedelta(seconds=120)


class Cancelled(ArenaError):
    """Someone cancelled the run."""


def contestants(arena: Arena) -> list[Contestant]:
    return arena.store.contestants()


def scores(arena: Arena) -> list[Score]:
    """Stored scores, newest first."""
    return arena.store.scores()


def run(arena: Arena, run_id: int) -> Run:
    _close_silent(arena)
    return arena.store.run(run_id)


def runs(arena: Arena, limit: int = 20) -> list[Run]:
    """Benchmark runs, newest first."""
    _close_silent(arena)
    return arena.store.runs(RunKind.BENCHMARK, limit)


def cancel(arena: Arena, run_id: int) -> None:
    """Ask a run to stop; it does at its next progress report. A run that has ended stays as it is."""
    arena.store.end_run(run_id, RunState.CANCELLED, "cancelled")


def start_fid(arena: Arena, contestant_name: str, n_real: int = DEFAULT_N_REAL) -> int:
    """Start the benchmark in another process and return its run id at once.

    Raises UnknownName, and UsageError when there is nothing to measure.
    """
    contestant = arena.store.contestant(contestant_name)
    _measurable(arena, contestant, n_real)
    started = arena.store.add_run(RunKind.BENCHMARK, contestant.name)
    assert started.id is not None
    log = arena.settings.data_dir / "logs" / f"run-{started.id}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "arena.cli",
                    "run-fid",
                    str(started.id),
                    contestant.name,
                    "--n-real",
                    str(n_real),
                ],
                env={**os.environ, **arena.settings.as_environment()},
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
    except OSError as error:
        arena.store.end_run(started.id, RunState.FAILED, f"could not start: {error.strerror}")
        raise EnvironmentFault(f"The benchmark could not be started ({error.strerror}); see {str(log)!r}.") from error
    threading.Thread(target=child.wait, daemon=True).start()  # takes its exit status, so that no zombie stays
    arena.store.beat(started.id, pid=child.pid, stage="starting")
    return started.id


def run_fid(arena: Arena, run_id: int, contestant_name: str, n_real: int = DEFAULT_N_REAL) -> Score | None:
    """The benchmark itself, in the process that `start_fid` made: computes, reports progress, stores the Score.

    Whatever goes wrong ends the Run with its reason. Returns None when it was cancelled.
    """
    try:
        score = _fid(arena, run_id, contestant_name, n_real)
    except Cancelled:
        return None
    except BaseException as error:
        reason = str(error) if isinstance(error, ArenaError) else f"{type(error).__name__}: {error}"
        arena.store.end_run(run_id, RunState.FAILED, reason)
        raise
    message = "" if score.value is None else f"FID {score.value:.2f}"
    return score if arena.store.end_run(run_id, RunState.DONE, message, [score]) else None


def _fid(arena: Arena, run_id: int, contestant_name: str, n_real: int) -> Score:
    def report(stage: str, done: int, total: int) -> None:
        if arena.store.beat(run_id, pid=os.getpid(), stage=stage, done=done, total=total) != RunState.RUNNING:
            raise Cancelled

    report("loading", 0, 0)
    contestant = arena.store.contestant(contestant_name)
    prompts, images = _measurable(arena, contestant, n_real)
    scenes = scenes_of(prompts)
    prompts_hash = fingerprint(texts=[prompt.text for prompt in prompts])
    recipe = {"world": "teddies", "prompts": prompts_hash, "seed": REFERENCE_SEED}
    name = f"teddies-{prompts_hash[:8]}-{n_real}"
    arena.store.add_reference_set(name, n_real, recipe)
    result = fid(
        [np.asarray(image) for image in rendered(scenes, n_real, REFERENCE_SEED)],
        [decode(arena.blobs.get(sha256)) for sha256 in images],
        weights=arena.settings.inception_weights,
        cache_dir=arena.settings.cache_dir,
        progress=report,
    )
    score = result.as_score(contestant.name, contestant_id=contestant.id, run_id=run_id)
    return replace(score, details={**score.details, "reference_set": name})


def _measurable(arena: Arena, contestant: Contestant, n_real: int) -> tuple[list[Prompt], list[str]]:
    """The contestant's teddy prompts and the sha256 of its images of them; raises UsageError with too few."""
    if n_real < 2:
        raise UsageError(f"FID needs at least 2 reference scenes, got {n_real}.")
    by_id = {prompt.id: prompt for prompt in arena.store.prompts() if scenes_of([prompt])}
    images = [g for g in arena.store.generations(contestant.id or 0, images_only=True) if g.prompt_id in by_id]
    if len(images) < 2:
        raise UsageError(
            f"{contestant.name!r} has {len(images)} images of teddy prompts and FID needs at least 2; "
            "run `arena generate` first, or compare folders with `arena fid`."
        )
    prompts = [by_id[id] for id in sorted({g.prompt_id for g in images})]
    return prompts, [g.image.sha256 for g in images if g.image]


def _close_silent(arena: Arena) -> None:
    """A run that no longer reports was killed: say so instead of showing it as running for ever."""
    for one in arena.store.runs(RunKind.BENCHMARK):
        if one.state is RunState.RUNNING and datetime.now(UTC) - one.heartbeat_at > SILENT_AFTER and one.id is not None:
            arena.store.end_run(one.id, RunState.FAILED, "the process stopped without a word; start the run again")
