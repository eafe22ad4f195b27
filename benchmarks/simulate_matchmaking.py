"""How many votes adaptive@2 saves: as narrow a board after how many votes of each policy?

    python benchmarks/simulate_matchmaking.py

Three arenas of 20 models. `alike`: all new, strengths with a standard deviation of 100 points. `apart`: all new, 260
points. `newcomers`: 15 models with about 300 votes each, and 5 new ones. The policy sees the board every 50 votes, as a
page does that refits now and then. Ratio: votes of adaptive over votes of uniform for the same figure.

`--tried` prints the same for other ways to weigh differences, which were tried before this one was taken.

The second table is a yardstick: who knows the true ratings beforehand and gives each pair a fixed share of the votes,
the best that a search finds, how many votes does he need for the rank sets that uniform draws are expected to give?
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import ndtr

from arena.errors import DataError
from arena.matchmaking import PRIOR_VARIANCE, SHARPNESS, adaptive_chances, critical_value, gains
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


Policy = Callable[[np.ndarray], np.ndarray]
"""Wins (M, M) -> the chance of each pair (P,)."""


def uniform(wins: np.ndarray) -> np.ndarray:
    return np.full(len(PAIRS), 1 / len(PAIRS))


def adaptive(wins: np.ndarray) -> np.ndarray:
    games = wins + wins.T
    votes = {pair: games[pair] for pair in PAIRS if games[pair]}
    found = np.array(list(adaptive_chances(PAIRS, dict(enumerate(bt.shrunk(wins))), votes).values()))
    return found / found.sum()


def weighing(weight: Callable[[np.ndarray, np.ndarray], np.ndarray], epsilon: float, through: bool = True) -> Policy:
    """Draws by the gain that a vote brings to differences weighted by `weight`, a function of their size in standard
    errors (M, M) and of their variance; or by the weight itself, where not `through` what a vote tells of others."""

    def chances(wins: np.ndarray) -> np.ndarray:
        theta, games = bt.shrunk(wins), wins + wins.T
        one = 1 / (2 * np.cosh((theta[:, None] - theta[None, :]) / 2)) ** 2
        edges = games * one
        covariance = np.linalg.inv(np.diag(edges.sum(1) + 1 / PRIOR_VARIANCE) - edges)
        variance = np.diag(covariance)[:, None] + np.diag(covariance) - 2 * covariance
        np.fill_diagonal(variance, 1)
        wanted = weight(np.abs(theta[:, None] - theta[None, :]) / np.sqrt(variance), variance)
        np.fill_diagonal(wanted, 0)
        gain = gains(theta, games, wanted)[LEFT, RIGHT] if through else wanted[LEFT, RIGHT]
        share = (gain / gain.max()) ** (SHARPNESS if through else 1.0)
        return epsilon / len(gain) + (1 - epsilon) * share / share.sum()

    return chances


CRITICAL = critical_value(MODELS)
"""Standard errors from which a difference is settled."""


def bell(away: np.ndarray, middle: float, breadth: float) -> np.ndarray:
    return np.exp(-(((away - middle) / breadth) ** 2) / 2)


TRIED: dict[str, Policy] = {
    "those about 1 standard error most, 20% uniform (as adaptive@1)": weighing(lambda z, v: bell(z, 1, 2), 0.2),
    "those about 3 standard errors most, 20% uniform": weighing(lambda z, v: bell(z, 3, 1.5), 0.2),
    "chance to be settled by half as many votes again, 20% uniform": weighing(
        lambda z, v: ndtr((np.sqrt(1.5) * z - CRITICAL) / 0.9) * ndtr(2 * (CRITICAL - z)) / (1 + z**2) / v, 0.2
    ),
    "1 / votes needed, blind to what a vote tells of others, 20% uniform": weighing(
        lambda z, v: v * ndtr((CRITICAL - z) / 0.3) / ((CRITICAL / np.clip(z, 0.3, 0.99 * CRITICAL)) ** 2 - 1),
        epsilon=0.2,
        through=False,
    ),
    "1 / votes needed, 10% uniform": weighing(
        lambda z, v: ndtr((CRITICAL - z) / 0.3) / ((CRITICAL / np.clip(z, 1.5, 0.95 * CRITICAL)) ** 2 - 1), 0.1
    ),
    "1 / root of votes needed, 20% uniform": weighing(
        lambda z, v: ndtr((CRITICAL - z) / 0.3) / np.sqrt((CRITICAL / np.clip(z, 1.5, 0.95 * CRITICAL)) ** 2 - 1), 0.2
    ),
    "the same, 10% uniform (adaptive@2)": adaptive,
}  # fmt: skip


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


def run(arena: Arena, seed: int, policy: Policy, options: argparse.Namespace) -> np.ndarray:
    """Figures (votes / every, 3) as votes come in."""
    rng = np.random.default_rng([seed, policy is not uniform])
    start = np.random.default_rng(seed)
    truth = start.normal(size=MODELS) * arena.spread
    wins, found = np.zeros((MODELS, MODELS)), []
    if arena.before:
        old = np.flatnonzero(arena.new <= LEFT)
        vote(wins, truth, start.choice(old, arena.before), start)
    for done in range(options.batch, options.votes + 1, options.batch):
        vote(wins, truth, rng.choice(len(PAIRS), options.batch, p=policy(wins)), rng)
        if done % options.every == 0:
            found.append(figures(wins, arena.new, options.draws))
    return np.array(found)


def curve(arena: Arena, policy: Policy, options: argparse.Namespace) -> np.ndarray:
    """Mean figures (votes / every, 3) over the arenas."""
    return np.mean([run(arena, seed, policy, options) for seed in range(options.seeds)], axis=0)


def votes_for(target: float, curve: np.ndarray, every: int) -> float:
    """Votes after which a falling curve first reaches the target, between its points by a straight line."""
    falling = np.minimum.accumulate(np.nan_to_num(curve, posinf=1e9))
    if target < falling[-1]:
        return np.inf
    return float(np.interp(-target, -falling, every * np.arange(1, len(curve) + 1)))


def variances(votes: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance of each pair's difference (P,) for so many votes on each (P,), and what a vote on the second index takes
    off that of the first (P, P)."""
    one = 1 / (2 * np.cosh(gap / 2)) ** 2
    edges = np.zeros((MODELS, MODELS))
    edges[LEFT, RIGHT] = edges[RIGHT, LEFT] = votes * one
    covariance = uncertainty.invert(np.diag(edges.sum(1)) - edges)
    across = covariance[LEFT] - covariance[RIGHT]
    both = across[:, LEFT] - across[:, RIGHT]
    return np.diag(both), both**2 * one


def expected_width(gap: np.ndarray, variance: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean rank set that these variances lead one to expect, and its derivatives (P,) by them."""
    away = gap / np.sqrt(variance)
    open_ = ndtr(CRITICAL - away) - ndtr(-CRITICAL - away)
    steep = (density(CRITICAL - away) - density(CRITICAL + away)) * away / (2 * variance)
    return 1 + 2 * float(open_.sum()) / MODELS, steep


def density(x: np.ndarray) -> np.ndarray:
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def narrowest(gap: np.ndarray, votes: float, steps: int = 150) -> float:
    """Least expected mean rank set over fixed shares of the votes, by multiplicative steps from uniform shares."""
    share, found = np.full(len(PAIRS), 1 / len(PAIRS)), np.inf
    for _ in range(steps):
        variance, taken = variances(share * votes, gap)
        width, steep = expected_width(gap, variance)
        found = min(found, width)
        share *= np.sqrt(steep @ taken)
        share = np.maximum(share / share.sum(), 1e-9)
    return found


def with_hindsight(arena: Arena, seed: int, votes: int) -> tuple[float, float]:
    """Expected mean rank set of uniform draws, and the share of their votes with which fixed shares reach it."""
    truth = np.random.default_rng(seed).normal(size=MODELS) * arena.spread
    gap = np.abs(truth[LEFT] - truth[RIGHT])
    target, _ = expected_width(gap, variances(np.full(len(PAIRS), votes / len(PAIRS)), gap)[0])
    low, high = 0.2, 1.0
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (low, middle) if narrowest(gap, middle * votes) <= target else (middle, high)
    return target, high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--votes", type=int, default=6000)
    parser.add_argument("--every", type=int, default=250)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--hindsight", type=int, default=8, help="arenas of the second table")
    parser.add_argument("--draws", type=int, default=1500)
    parser.add_argument("--tried", action="store_true", help="other ways to weigh differences, and nothing else")
    options = parser.parse_args()
    (others if options.tried else taken)(options)


def moments(options: argparse.Namespace) -> list[int]:
    return sorted({votes for votes in (2000, 4000, options.votes) if votes <= options.votes})


def taken(options: argparse.Namespace) -> None:
    """Both tables of the policy that is used."""
    print(f"{options.seeds} arenas of {MODELS} models, uniform@1 up to {options.votes:,} votes\n")
    print("| arena | figure | uniform: votes | value | adaptive: votes for it | ratio |")
    print("|---|---|--:|--:|--:|--:|")
    for arena in ARENAS:
        plain, found = curve(arena, uniform, options), curve(arena, adaptive, options)
        for k, figure in enumerate(FIGURES if arena.new < MODELS else FIGURES[:2]):
            for votes in moments(options):
                target = plain[votes // options.every - 1, k]
                needed = votes_for(target, found[:, k], options.every)
                shown, ratio = (f"{needed:,.0f}", f"{needed / votes:.2f}") if np.isfinite(needed) else ("more", "> 1")
                print(f"| {arena.name} | {figure} | {votes:,} | {target:.1f} | {shown} | {ratio} |", flush=True)
    print("\n| arena | uniform: votes | expected mean rank set | best fixed shares, truth known: ratio |")
    print("|---|--:|--:|--:|")
    for arena in ARENAS[:2]:
        for votes in (2000, 4000, 6000):
            best = np.mean([with_hindsight(arena, seed, votes) for seed in range(options.hindsight)], axis=0)
            print(f"| {arena.name} | {votes:,} | {best[0]:.1f} | {best[1]:.2f} |", flush=True)


def others(options: argparse.Namespace) -> None:
    """Share of uniform's votes for the same mean rank set, by each policy that was tried."""
    print(f"{options.seeds} arenas; share of uniform@1's votes at " + ", ".join(map(str, moments(options))) + "\n")
    print("| weights of differences | " + " | ".join(arena.name for arena in ARENAS) + " |")
    print("|---|" + "---|" * len(ARENAS))
    plain = {arena: curve(arena, uniform, options)[:, 0] for arena in ARENAS}
    for name, policy in TRIED.items():
        cells = []
        for arena in ARENAS:
            found = curve(arena, policy, options)[:, 0]
            targets = {votes: plain[arena][votes // options.every - 1] for votes in moments(options)}
            shares = [votes_for(target, found, options.every) / votes for votes, target in targets.items()]
            cells.append(" ".join(f"{share:.2f}" for share in shares))
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
