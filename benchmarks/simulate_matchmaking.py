"""How many votes adaptive@1 saves: as narrow a board after how many votes of each policy?

    python benchmarks/simulate_matchmaking.py

Three arenas of 20 models. `alike`: all new, strengths with a standard deviation of 100 points. `apart`: all new, 260
points. `newcomers`: 15 models with about 300 votes each, and 5 new ones. The policy sees the board every 50 votes, as a
page does that refits now and then. Ratio: votes of adaptive over votes of uniform for the same figure.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from arena.errors import DataError
from arena.matchmaking import adaptive_chances
from arena.rating import bradley_terry as bt
from arena.rating import uncertainty

MODELS = 20
PAIRS = list(combinations(range(MODELS), 2))
LEFT, RIGHT = np.array(PAIRS).T
FIGURES = ("mean rank set", "mean interval", "mean interval of the new")


@dataclass(frozen=True)
class Arena:
    """`spread`: standard deviation of the strengths, natural logarithms. `new`: so many start without votes, the
    others with `before` votes among them."""

    name: str
    spread: float
    new: int = MODELS
    before: int = 0


ARENAS = (Arena("alike", 100 / bt.SCALE), Arena("apart", 260 / bt.SCALE), Arena("newcomers", 100 / bt.SCALE, 5, 2250))


def vote(wins: np.ndarray, truth: np.ndarray, pairs: np.ndarray, rng: np.random.Generator) -> None:
    """Adds one vote on each of the pairs (positions in PAIRS) to the wins (M, M)."""
    left, right = LEFT[pairs], RIGHT[pairs]
    won = rng.random(len(pairs)) < 1 / (1 + np.exp(truth[right] - truth[left]))
    np.add.at(wins, (np.where(won, left, right), np.where(won, right, left)), 1)


def strengths(wins: np.ndarray) -> dict[int, float]:
    """Of those that the votes can rate."""
    rated = bt.components(wins).rated
    if len(rated) < 2:
        return {}
    return dict(zip(rated, bt.fit(wins[np.ix_(rated, rated)]), strict=True))


def chances(wins: np.ndarray, adaptive: bool) -> np.ndarray:
    if not adaptive:
        return np.full(len(PAIRS), 1 / len(PAIRS))
    games = wins + wins.T
    votes = {pair: games[pair] for pair in PAIRS if games[pair]}
    found = np.array(list(adaptive_chances(PAIRS, strengths(wins), votes).values()))
    return found / found.sum()


def figures(wins: np.ndarray, new: int, draws: int) -> tuple[float, float, float]:
    """Mean width of rank sets, mean half-width of intervals, and that of the new ones only, in points."""
    try:
        theta = bt.fit(wins)
    except DataError:
        return float(MODELS), np.inf, np.inf
    covariance = uncertainty.inverse_information(wins, theta)
    ranks = uncertainty.ranks(theta, covariance, draws=draws)
    half = uncertainty.half_widths(covariance, 1.96)
    return float((ranks.high - ranks.low + 1).mean()), float(half.mean()), float(half[:new].mean())


def run(arena: Arena, seed: int, votes: int, adaptive: bool, every: int, batch: int, draws: int) -> np.ndarray:
    """Figures (votes / every, 3) as votes come in."""
    rng = np.random.default_rng([seed, adaptive])
    start = np.random.default_rng(seed)
    truth = start.normal(size=MODELS) * arena.spread
    wins, found = np.zeros((MODELS, MODELS)), []
    if arena.before:
        old = np.flatnonzero(arena.new <= LEFT)
        vote(wins, truth, start.choice(old, arena.before), start)
    for done in range(batch, votes + 1, batch):
        vote(wins, truth, rng.choice(len(PAIRS), batch, p=chances(wins, adaptive)), rng)
        if done % every == 0:
            found.append(figures(wins, arena.new, draws))
    return np.array(found)


def votes_for(target: float, curve: np.ndarray, every: int) -> float:
    """Votes after which a falling curve first reaches the target, between its points by a straight line."""
    falling = np.minimum.accumulate(np.nan_to_num(curve, posinf=1e9))
    if target < falling[-1]:
        return np.inf
    return float(np.interp(-target, -falling, every * np.arange(1, len(curve) + 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--votes", type=int, default=6000)
    parser.add_argument("--every", type=int, default=250)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--draws", type=int, default=1500)
    options = parser.parse_args()
    print(f"{options.seeds} arenas of {MODELS} models, uniform@1 up to {options.votes:,} votes\n")
    print("| arena | figure | uniform: votes | value | adaptive: votes for it | ratio |")
    print("|---|---|--:|--:|--:|--:|")
    for arena in ARENAS:
        uniform, adaptive = (
            np.mean([run(arena, s, options.votes, policy, options.every, options.batch, options.draws)
                     for s in range(options.seeds)], axis=0)
            for policy in (False, True)
        )  # fmt: skip
        for k, figure in enumerate(FIGURES if arena.new < MODELS else FIGURES[:2]):
            for votes in sorted({2000, 4000, options.votes}):
                target = uniform[votes // options.every - 1, k]
                needed = votes_for(target, adaptive[:, k], options.every)
                shown, ratio = (f"{needed:,.0f}", f"{needed / votes:.2f}") if np.isfinite(needed) else ("more", "> 1")
                print(f"| {arena.name} | {figure} | {votes:,} | {target:.1f} | {shown} | {ratio} |")


if __name__ == "__main__":
    main()
