"""How long does a board take, here and elsewhere? `make bench-ratings` prints times, ratios and peak memory.

Seeded votes lie in memory as whole numbers (arena-rank's outcomes as the words it maps); reading a file is not timed.
Every engine runs alone in a process of its own and does its work three times: the first is printed beside, the faster
of the others counts (compiled, warm). How far its ratings are from ours is printed too.

- ours: add up, fit, sandwich, covariance over voters, simultaneous rank sets, 1,000 bootstraps.
- arena-rank 0.1.1: prepare, fit, sandwich over votes. Its bootstrap is left out: it hangs on Linux.
- FastChat's bootstrap, written anew from its method: votes added up by (left, right, outcome), multinomial counts, each
  round a Bradley-Terry fit by L-BFGS-B from zero (at most 100 iterations, gradient tolerance 1e-6).
- evalica: point fit.

The peers are no dependencies of the arena. To have them compared:

    python -m venv peers && peers/bin/pip install arena-rank==0.1.1 evalica numpy scipy
    python benchmarks/ratings.py --peers peers/bin/python
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SCALE = 400 / np.log(10)
SIZES = [(1_000_000, 50, 20_000), (2_000_000, 100, 20_000)]
QUICK = [(50_000, 20, 1_000)]
TIES = 0.2
INSTALL = "python -m venv peers && peers/bin/pip install arena-rank==0.1.1 evalica numpy scipy"

Votes = dict[str, np.ndarray]


def generate(votes: int, models: int, voters: int, seed: int) -> Votes:
    """Votes of models of strength N(0, 100 points), met as often as Zipf's law says, a fifth of them ties."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(0, 100 / SCALE, models)
    often = 1 / np.arange(1, models + 1)
    left, right = rng.choice(models, (2, votes), p=often / often.sum()).astype(np.int32)
    while (same := np.flatnonzero(left == right)).size:
        right[same] = rng.choice(models, same.size, p=often / often.sum())
    won = rng.random(votes) < 1 / (1 + np.exp(theta[right] - theta[left]))
    outcome = np.where(rng.random(votes) < TIES, 2, np.where(won, 0, 1)).astype(np.int8)
    return {"left": left, "right": right, "outcome": outcome, "voter": rng.integers(0, voters, votes, np.int32)}


class Clock:
    """Seconds by step, printed as one object."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, step: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        found = work()
        self.seconds[step] = time.perf_counter() - start
        return found


def ours(votes: Votes, models: int, rounds: int) -> tuple[Clock, np.ndarray]:
    from arena.rating import bradley_terry as bt
    from arena.rating import uncertainty
    from arena.rating.comparisons import aggregate

    clock, names = Clock(), [f"m{i:03}" for i in range(models)]
    cast = (votes["left"], votes["right"], votes["outcome"])
    pooled = clock("add up", lambda: aggregate(names, *cast))
    theta = clock("fit", lambda: bt.fit(bt.win_matrix(pooled)))
    clock("sandwich", lambda: uncertainty.sandwich(pooled, theta))
    voters = clock("add up by voter", lambda: aggregate(names, *cast, cluster=votes["voter"]))
    clock("sandwich by voter", lambda: uncertainty.sandwich(voters, theta))
    covariance = clock("jackknife by voter", lambda: uncertainty.covariance(voters, theta))
    clock("rank sets", lambda: uncertainty.ranks(theta, covariance, freedom=uncertainty.freedom(voters)))
    if rounds:
        clock("bootstraps", lambda: uncertainty.bootstrap(pooled, theta, rounds))
        clock("bootstraps by voter", lambda: uncertainty.bootstrap(voters, theta, rounds))
    return clock, theta * SCALE


def fastchat(votes: Votes, models: int, rounds: int) -> tuple[Clock, np.ndarray]:
    from scipy.optimize import minimize

    clock = Clock()

    def add_up() -> tuple[np.ndarray, np.ndarray]:
        key = (votes["left"].astype(np.int64) * models + votes["right"]) * 3 + votes["outcome"]
        return np.unique(key, return_counts=True)

    key, count = clock("add up", add_up)
    left, right, score = key // 3 // models, key // 3 % models, np.array([1, 0, 0.5])[key % 3]

    def fit(weight: np.ndarray) -> np.ndarray:
        weight = weight / weight.sum()

        def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
            gap = theta[left] - theta[right]
            push = weight * (1 / (1 + np.exp(-gap)) - score)
            value = (weight * (np.logaddexp(0, gap) - score * gap)).sum()
            return value, np.bincount(left, push, models) - np.bincount(right, push, models)

        options = {"maxiter": 100, "gtol": 1e-6}
        return minimize(loss, np.zeros(models), jac=True, method="L-BFGS-B", options=options).x

    theta = clock("fit", lambda: fit(count.astype(float)))

    def bootstraps() -> list[np.ndarray]:
        drawn = np.random.default_rng(0).multinomial(count.sum(), count / count.sum(), rounds)
        return [fit(weight.astype(float)) for weight in drawn]

    if rounds:
        clock("bootstraps", bootstraps)
    return clock, theta * SCALE


def arena_rank(votes: Votes, models: int, rounds: int) -> tuple[Clock, np.ndarray]:
    import pandas as pd
    from arena_rank.models.bradley_terry import BradleyTerry
    from arena_rank.utils.data_utils import PairDataset

    words = np.array(["model_a", "model_b", "tie"])[votes["outcome"]]
    frame = pd.DataFrame({"model_a": votes["left"], "model_b": votes["right"], "winner": words})
    clock = Clock()
    dataset = clock("add up", lambda: PairDataset.from_pandas(frame))
    model = BradleyTerry(models)
    found = clock("fit and sandwich", lambda: model.compute_ratings_and_cis(dataset))
    return clock, np.asarray(found["ratings"])


def evalica(votes: Votes, models: int, rounds: int) -> tuple[Clock, np.ndarray]:
    import evalica as peer

    winner = [peer.Winner.X, peer.Winner.Y, peer.Winner.Draw]
    clock = Clock()
    left, right = votes["left"].tolist(), votes["right"].tolist()
    winners = [winner[code] for code in votes["outcome"].tolist()]
    found = clock("fit", lambda: peer.bradley_terry(left, right, winners))
    return clock, SCALE * np.log(found.scores.sort_index().to_numpy())


ENGINES: dict[str, Callable[[Votes, int, int], tuple[Clock, np.ndarray]]] = {
    "ours": ours, "FastChat's method": fastchat, "arena-rank": arena_rank, "evalica": evalica,
}  # fmt: skip
PEERS = {"arena-rank": "arena_rank", "evalica": "evalica"}


def run_engine(name: str, file: str, models: int, rounds: int) -> None:
    """The process of one engine: prints its times, ratings and peak memory."""
    votes = dict(np.load(file))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (first, _), (second, _), (third, ratings) = (ENGINES[name](votes, models, n) for n in (0, 0, rounds))
    warm = {step: min(seconds, second.seconds.get(step, seconds)) for step, seconds in third.seconds.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"first": first.seconds, "warm": warm, "ratings": (ratings - ratings.mean()).tolist()}
    print(json.dumps({**found, "rounds": rounds, "peak_mb": peak // 1024, "votes_mb": before // 1024}))


def installed(python: str, module: str) -> bool:
    if python == sys.executable:
        return importlib.util.find_spec(module) is not None
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def compare(size: tuple[int, int, int], rounds: int, seed: int, peers: str) -> dict[str, Any]:
    """Every engine on the same votes, one after the other."""
    votes, models, voters = size
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "votes.npz")
        np.savez(file, **generate(votes, models, voters, seed))
        for name in ENGINES:
            python = peers if name in PEERS else sys.executable
            if name in PEERS and not installed(python, PEERS[name]):
                print(f"{name} is not installed, so it is left out; install it with: {INSTALL}", file=sys.stderr)
                continue
            own = rounds if name == "ours" else max(2, rounds // 100)
            command = [
                python,
                __file__,
                "--engine",
                name,
                "--file",
                file,
                "--models",
                str(models),
                "--rounds",
                str(own),
            ]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"{name} failed and is left out: {done.stderr.strip()[-300:]}", file=sys.stderr)
                continue
            results[name] = json.loads(done.stdout.splitlines()[-1])
    return {"votes": votes, "models": models, "voters": voters, "engines": results}


def report(found: dict[str, Any]) -> None:
    engines = found["engines"]
    print(f"\n{found['votes']:,} votes over {found['models']} models by {found['voters']:,} voters")
    for name, one in engines.items():
        apart = np.abs(np.array(one["ratings"]) - engines["ours"]["ratings"]).max()
        print(f"  {name}: peak {one['peak_mb']} MB, ratings within {apart:.2g} points of ours")
        for step, seconds in one["warm"].items():
            first = one["first"].get(step)
            beside = (
                f"{1000 * seconds / one['rounds']:.2f} ms a round" if first is None else f"first time {first:.3f} s"
            )
            print(f"    {step:20} {seconds:8.3f} s   ({beside})")
    for name, ratio in ratios(engines).items():
        print(f"  {name}: {ratio:.1f} times ours")


def ratios(engines: dict[str, Any]) -> dict[str, float]:
    """A peer's seconds over ours for the same work, both warm."""
    warm = {name: one["warm"] for name, one in engines.items()}
    mine = warm["ours"]
    found = {}
    if peer := warm.get("arena-rank"):
        found["arena-rank, votes to intervals"] = sum(peer.values()) / (mine["add up"] + mine["fit"] + mine["sandwich"])
        found["arena-rank, fit and sandwich"] = peer["fit and sandwich"] / (mine["fit"] + mine["sandwich"])
    if peer := warm.get("evalica"):
        found["evalica, votes to point fit"] = peer["fit"] / (mine["add up"] + mine["fit"])
    if peer := warm.get("FastChat's method"):
        a_round = peer["bootstraps"] / engines["FastChat's method"]["rounds"]
        found["FastChat's method, a bootstrap round"] = a_round / (mine["bootstraps"] / engines["ours"]["rounds"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="50,000 votes and 100 bootstraps")
    parser.add_argument("--peers", default=sys.executable, help="Python of the environment that has the peers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    for hidden in ("--engine", "--file", "--models", "--rounds"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        run_engine(options.engine, options.file, int(options.models), int(options.rounds))
        return
    if not options.json:
        threads = os.environ.get("OMP_NUM_THREADS", "not set")
        print(f"{os.cpu_count()} cores, OMP_NUM_THREADS {threads}, numpy {np.__version__}")
    boards = []
    for size in QUICK if options.quick else SIZES:
        boards.append(compare(size, 100 if options.quick else 1000, options.seed, options.peers))
        if not options.json:
            report(boards[-1])
    if options.json:
        print(json.dumps([{**board, "ratios": ratios(board["engines"])} for board in boards]))


if __name__ == "__main__":
    main()
