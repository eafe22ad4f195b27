"""`make bench-board`: from votes in SQLite to a board, whole command; and the board again after one more vote.

Votes are drawn with a seed: 20% ties, 3% both bad, exposure by Zipf's law, strengths of 100 points' deviation,
20,000 voters with a taste of their own. They are imported into an empty arena as any file of votes is; that is not
timed. The command is `arena board --bootstraps 1000 --json` in a process of its own. One more vote is
taken up by a process that has made the board before, as the page's does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from arena.bootstrap import Arena, open_arena
from arena.domain import VOTES_BACKEND, Contestant, ImportedVote, Outcome
from arena.services import battles, exchange
from arena.services.leaderboard import running_leaderboard
from arena.settings import load_settings

SCALE = 400 / np.log(10)
VOTERS = 20_000
TARGETS = {50: 3.0, 100: 8.0}


def draw_votes(n: int, models: int, seed: int = 0) -> pa.Table:
    """n votes as a table of model_a, model_b, winner, voter."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(0, 100 / SCALE, models)
    share = 1 / np.arange(1, models + 1) ** 0.7
    a = rng.choice(models, n, p=share / share.sum())
    b = (a + rng.integers(1, models, n)) % models
    voter = rng.integers(0, VOTERS, n)
    taste = rng.normal(0, 0.2, (VOTERS, models))
    gap = theta[a] - theta[b] + taste[voter, a] - taste[voter, b]
    winner = np.where(rng.random(n) < 1 / (1 + np.exp(-gap)), "model_a", "model_b").astype(object)
    kind = rng.random(n)
    winner[kind < 0.20] = "tie"
    winner[kind > 0.97] = "bothbad"
    names = np.array([f"model {i:03d}" for i in range(models)], object)
    people = np.array([f"voter {i}" for i in range(VOTERS)], object)
    return pa.table({"model_a": names[a], "model_b": names[b], "winner": winner, "voter": people[voter]})


def filled(folder: Path, n: int, models: int) -> Arena:
    file = folder / "votes.parquet"
    pyarrow.parquet.write_table(draw_votes(n, models), file)
    arena = open_arena(load_settings(data_dir=folder / "arena"), prepare=True)
    start = time.perf_counter()
    exchange.import_votes(arena, file)
    print(f"{n:,} votes over {models} models imported in {time.perf_counter() - start:.0f} s", flush=True)
    return arena


def whole_command(arena: Arena) -> tuple[float, float]:
    """Seconds and MB of the command, start of Python included."""
    command = [sys.executable, "-m", "arena.cli", "board", "--bootstraps", "1000", "--json"]
    measured = (
        "import resource, subprocess, sys, time; t = time.perf_counter(); "
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(time.perf_counter() - t, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", measured, *command],
        env={**os.environ, **arena.settings.as_environment()}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def one_more_vote(arena: Arena, votes: int = 200) -> tuple[float, float, float]:
    """Milliseconds from a vote in the database to the page's refreshed board, SQL included: median, slowest, and the
    median of the processor's time, which other programs do not stretch as much.

    Casting the vote, which also moves Elo, is not timed.
    """
    rng, taken, worked = np.random.default_rng(0), [], []
    names = [contestant.name for contestant in arena.store.contestants()]
    running_leaderboard(arena)
    for n in range(votes):
        left, right = rng.choice(names, 2, replace=False)
        vote = ImportedVote(str(left), str(right), Outcome.LEFT, 1, f"voter {rng.integers(VOTERS)}", None, None, None)
        arena.store.import_votes(
            f"vote {n}", [vote], lambda name: Contestant(name, VOTES_BACKEND),
            board=battles.BOARD, parameters=battles.elo_parameters(arena), rate=battles.elo_rate(arena),
        )  # fmt: skip
        start, worked_before = time.perf_counter(), time.process_time()
        found = running_leaderboard(arena)
        taken.append(1000 * (time.perf_counter() - start))
        worked.append(1000 * (time.process_time() - worked_before))
    assert found.last_vote_id >= votes
    return float(np.median(taken)), max(taken), float(np.median(worked))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the votes")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    part = 20 if options.quick else 1
    lines = [
        "| votes | models | seconds, best of runs | target | peak memory | target "
        "| one more vote | slowest of 200 | target | processor's time |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for n, models in ((1_000_000 // part, 50), (2_000_000 // part, 100)):
        with tempfile.TemporaryDirectory() as folder:
            arena = filled(Path(folder), n, models)
            runs = [whole_command(arena) for _ in range(options.repeats)]
            seconds, megabytes = min(runs)[0], max(run[1] for run in runs)
            median, slowest, worked = one_more_vote(arena)
            lines.append(
                f"| {n:,} | {models} | {seconds:.2f} | {TARGETS[models]} | {megabytes:.0f} MB | 500 MB "
                f"| {median:.1f} ms | {slowest:.0f} ms | 10 ms | {worked:.1f} ms |"
            )
            arena.store.engine.dispose()
    print("\n".join(lines))


if __name__ == "__main__":
    main()
