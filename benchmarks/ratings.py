"""How long does a board take, here and elsewhere? `make bench-ratings` prints times, ratios and peak memory.

Seeded votes lie in memory as whole numbers (names and outcomes as words where an engine asks for them); reading a file
is not timed. Every engine runs alone in a process of its own and does its work three times: the first is printed
beside, the faster of the others counts (compiled, warm). How far its ratings are from ours is printed too.

- ours: add up, fit, sandwich, covariance over voters, simultaneous rank sets, 1,000 bootstraps.
- arena-rank 0.1.1: prepare, fit, sandwich over votes. Its bootstrap is left out: it hangs on Linux.
- evalica: point fit.
- FastChat's bootstrap of Bradley-Terry, a thousandfold of which is what a board of Chatbot Arena took:
  - `fschat` 0.2.36, the release on PyPI: `elo_analysis.get_bootstrap_result`, in each round the votes are drawn anew
    and fitted by scikit-learn's logistic regression. It takes gigabytes, so it is left out above a million votes.
  - the later source that was never released: `rating_systems.compute_bootstrap_bt`, multinomial counts of equal votes
    and L-BFGS-B, in as many processes as there are processors. Give its file as --fastchat. It runs twice, as it is
    and with OMP_NUM_THREADS=1, which it does not set though its processes are in each other's way without.
  - its method, written anew for a run without either: one process, from zero, at most 100 iterations, tolerance 1e-6.

All draw the same thing as our "bootstraps": Bradley-Terry refitted to votes drawn with replacement; ours to the
maximum. "Bootstraps by voter" draw whole voters, which the peers cannot.

The peers are no dependencies of the arena. To have them compared (FastChat's source: github.com/lm-sys/FastChat,
fastchat/serve/monitor/rating_systems.py):

    python -m venv peers
    peers/bin/pip install arena-rank==0.1.1 evalica numpy scipy pandas scikit-learn plotly pytz requests tqdm
    peers/bin/pip install --no-deps fschat==0.2.36
    python benchmarks/ratings.py --peers peers/bin/python --fastchat rating_systems.py
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SCALE = 400 / np.log(10)
SIZES = [(1_000_000, 50, 20_000), (2_000_000, 100, 20_000)]
QUICK = [(50_000, 20, 1_000)]
TIES = 0.2
INSTALL = "the commands at the head of benchmarks/ratings.py"
LARGEST_DENSE = 1_000_000
"""Votes up to which the release of FastChat, which makes a dense matrix of them, is timed."""

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
    from arena.rating import resampling, uncertainty
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
        clock("bootstraps", lambda: resampling.bootstrap(pooled, theta, rounds))
        clock("bootstraps by voter", lambda: resampling.bootstrap(voters, theta, rounds))
    return clock, theta * SCALE


def fastchat_method(votes: Votes, models: int, rounds: int) -> tuple[Clock, np.ndarray]:
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


def frame(votes: Votes) -> Any:
    """The votes as a table of names and words, as FastChat and arena-rank take them."""
    import pandas as pd

    names = np.array([f"m{i:03}" for i in range(int(max(votes["left"].max(), votes["right"].max())) + 1)])
    words = np.array(["model_a", "model_b", "tie"])[votes["outcome"]]
    return pd.DataFrame({"model_a": names[votes["left"]], "model_b": names[votes["right"]], "winner": words})


def fastchat_source(votes: Votes, models: int, rounds: int) -> tuple[Clock, np.ndarray]:
    peer = module_of(Path(os.environ["FASTCHAT_SOURCE"]))
    battles, clock = frame(votes), Clock()
    found = clock("add up and fit", lambda: peer.compute_bt(battles))
    if rounds:
        # The whole call less the same call of two rounds: preparing and starting processes is not what a round takes.
        few, many = (fastest(lambda n=n: peer.compute_bootstrap_bt(battles, n)) for n in (2, rounds + 2))
        clock.seconds["bootstraps"] = many - few
    return clock, found.sort_index().to_numpy()


def fastest(work: Callable[[], Any], times: int = 3) -> float:
    """Seconds of the fastest of some runs."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def fastchat_release(votes: Votes, models: int, rounds: int) -> tuple[Clock, np.ndarray]:
    # What its page shows beside ratings loads torch; the ratings do not need it.
    for name in ("fastchat.model", "fastchat.model.model_registry"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["fastchat.model.model_registry"].get_model_info = None  # type: ignore[attr-defined]
    from fastchat.serve.monitor import elo_analysis as peer

    battles, clock = frame(votes), Clock()
    found = clock("fit", lambda: peer.compute_elo_mle_with_tie(battles))
    if rounds:
        clock("bootstraps", lambda: peer.get_bootstrap_result(battles, peer.compute_elo_mle_with_tie, rounds))
    return clock, found.sort_index().to_numpy()


def module_of(file: Path) -> types.ModuleType:
    """A file of Python as a module, importable by name as its own worker processes want it."""
    sys.path.insert(0, str(file.parent))
    return importlib.import_module(file.stem)


def arena_rank(votes: Votes, models: int, rounds: int) -> tuple[Clock, np.ndarray]:
    from arena_rank.models.bradley_terry import BradleyTerry
    from arena_rank.utils.data_utils import PairDataset

    battles, clock = frame(votes), Clock()
    dataset = clock("add up", lambda: PairDataset.from_pandas(battles))
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


@dataclass(frozen=True)
class Engine:
    """`module`: what has to be installed. `rounds`: bootstraps it is given, as its pace allows (1,000 for ours).
    `environment`: its own settings. `most`: votes beyond which it is left out."""

    run: Callable[[Votes, int, int], tuple[Clock, np.ndarray]]
    module: str = ""
    rounds: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    most: float = np.inf


OURS, METHOD = "ours", "FastChat's method"
RELEASE, SOURCE, SOURCE_ALONE = "FastChat 0.2.36", "FastChat's source", "FastChat's source, one thread a process"
ENGINES = {
    OURS: Engine(ours),
    "arena-rank": Engine(arena_rank, "arena_rank"),
    "evalica": Engine(evalica, "evalica"),
    METHOD: Engine(fastchat_method, rounds=20),
    SOURCE: Engine(fastchat_source, "pandas", 40),
    SOURCE_ALONE: Engine(fastchat_source, "pandas", 200, {"OMP_NUM_THREADS": "1"}),
    RELEASE: Engine(fastchat_release, "fastchat", 1, most=LARGEST_DENSE),
}


def run_engine(name: str, file: str, models: int, rounds: int) -> None:
    """The process of one engine: prints its times, ratings and peak memory."""
    votes = dict(np.load(file))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (first, _), (second, _), (third, ratings) = (ENGINES[name].run(votes, models, n) for n in (0, 0, rounds))
    warm = {step: min(seconds, second.seconds.get(step, seconds)) for step, seconds in third.seconds.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"first": first.seconds, "warm": warm, "ratings": (ratings - ratings.mean()).tolist()}
    print(json.dumps({**found, "rounds": rounds, "peak_mb": peak // 1024, "votes_mb": before // 1024}))


def installed(python: str, module: str) -> bool:
    if not module:
        return True
    found = "import sys, importlib.util; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
    return subprocess.run([python, "-c", found, module], capture_output=True).returncode == 0


def compare(size: tuple[int, int, int], rounds: int, seed: int, peers: str, source: str) -> dict[str, Any]:
    """Every engine on the same votes, one after the other."""
    votes, models, voters = size
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "votes.npz")
        np.savez(file, **generate(votes, models, voters, seed))
        for name, engine in ENGINES.items():
            python = peers if engine.module else sys.executable
            if why := left_out(engine, votes, python, source):
                print(f"{name} is left out: {why}.", file=sys.stderr)
                continue
            own = rounds if name == OURS else engine.rounds
            asked = {"--engine": name, "--file": file, "--models": models, "--rounds": own}
            done = subprocess.run(
                [python, __file__, *(str(part) for pair in asked.items() for part in pair)],
                capture_output=True, text=True, env={**os.environ, **engine.environment, "FASTCHAT_SOURCE": source},
            )  # fmt: skip
            if done.returncode:
                print(f"{name} failed and is left out: {done.stderr.strip()[-300:]}", file=sys.stderr)
                continue
            results[name] = json.loads(done.stdout.splitlines()[-1])
    return {"votes": votes, "models": models, "voters": voters, "engines": results}


def left_out(engine: Engine, votes: int, python: str, source: str) -> str:
    """Why an engine is not run; empty where it is."""
    if engine.run is fastchat_source and not source:
        return "--fastchat does not say where its file is"
    if votes > engine.most:
        return f"it makes a dense matrix of {votes:,} votes"
    return "" if installed(python, engine.module) else f"it is not installed; see {INSTALL}"


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
    own = mine["bootstraps"] / engines[OURS]["rounds"]
    for name in (METHOD, RELEASE, SOURCE, SOURCE_ALONE):
        if peer := warm.get(name):
            found[f"{name}, a bootstrap round"] = peer["bootstraps"] / engines[name]["rounds"] / own
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="50,000 votes and 100 bootstraps")
    parser.add_argument("--peers", default=sys.executable, help="Python of the environment that has the peers")
    parser.add_argument("--fastchat", default="", help="FastChat's rating_systems.py")
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
        boards.append(compare(size, 100 if options.quick else 1000, options.seed, options.peers, options.fastchat))
        if not options.json:
            report(boards[-1])
    if options.json:
        print(json.dumps([{**board, "ratios": ratios(board["engines"])} for board in boards]))


if __name__ == "__main__":
    main()
