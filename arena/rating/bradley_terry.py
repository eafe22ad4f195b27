"""Bradley–Terry by maximum likelihood: P(i beats j) = 1 / (1 + exp(theta_j - theta_i)).

Source: R. Bradley and M. Terry, Rank Analysis of Incomplete Block Designs, Biometrika 39 (1952); when the maximum
exists: L. Ford, Solution of a Ranking Problem from Binary Comparisons, American Mathematical Monthly 64 (1957).
No prior and no penalty: what the votes cannot say is refused, not smoothed over (see `components`).

Strengths theta are natural logarithms of odds with mean 0; `points` puts them on Elo's scale with mean 1000.
A tie is half a win for both sides, or is dropped. A both-bad vote prefers nobody, so it has no part in the order of
the contestants and is an outcome of its own, with a rate for each contestant (see `both_bad_rates`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from arena.errors import DataError
from arena.rating.comparisons import Code, Comparisons, Floats

SCALE = 400 / np.log(10)
"""Rating points in one natural logarithm of odds: 400 points are odds of ten to one."""
MEAN = 1000.0
TOLERANCE = 1e-11
ROUNDING = 1e-6
"""Steps below it that do not shrink any more are rounding errors."""
MAX_STEPS = 100


class Ties(StrEnum):
    """What a tie says: half a win for both, or nothing."""

    HALF = "half"
    DROP = "drop"


def left_score(outcome: NDArray[np.integer], ties: Ties = Ties.HALF) -> Floats:
    """The left side's score in [0, 1] for each code (n,); NaN where the outcome has no part in the fit."""
    tie = 0.5 if ties is Ties.HALF else np.nan
    return np.array([1.0, 0.0, tie, np.nan])[outcome]


def win_matrix(comparisons: Comparisons, ties: Ties = Ties.HALF) -> Floats:
    """Weighted wins (M, M): entry [i, j] is how often i beat j, a tie counted as half to each side."""
    score = left_score(comparisons.outcome, ties)
    used = ~np.isnan(score)
    left, right, score, weight = comparisons.left[used], comparisons.right[used], score[used], comparisons.weight[used]
    size = comparisons.size
    flat = np.bincount(left * size + right, weight * score, size * size)
    flat += np.bincount(right * size + left, weight * (1 - score), size * size)
    return flat.reshape(size, size)


def win_probability(theta: Floats) -> Floats:
    """P[..., i, j] that i beats j, for strengths (..., M)."""
    return 1 / (1 + np.exp(theta[..., None, :] - theta[..., :, None]))


def gradient(wins: Floats, theta: Floats) -> Floats:
    """Derivative (..., M) of the log-likelihood: wins above what was expected."""
    games = wins + np.swapaxes(wins, -1, -2)
    return (wins - games * win_probability(theta)).sum(-1)


def information(wins: Floats, theta: Floats) -> Floats:
    """Minus the second derivative (..., M, M): the Laplacian of the graph with weights n_ij p_ij p_ji."""
    p = win_probability(theta)
    edges = (wins + np.swapaxes(wins, -1, -2)) * p * (1 - p)
    laplacian = -edges
    diagonal = np.arange(wins.shape[-1])
    laplacian[..., diagonal, diagonal] += edges.sum(-1)
    return laplacian


def log_likelihood(wins: Floats, theta: Floats) -> float:
    """Sum over all wins of log P."""
    return float(-(wins * np.logaddexp(0, theta[None, :] - theta[:, None])).sum())


def fit(wins: Floats, start: Floats | None = None) -> Floats:
    """The strengths (M,) of mean 0 that make the wins (M, M) likeliest, by Newton's method with halved steps.

    Raises DataError where there is no such maximum; `components` says why. Also fits many boards at once: wins
    (R, M, M) from one `start` (M,), where a board without a maximum becomes NaN.
    """
    wins = np.asarray(wins, np.float64)
    if wins.ndim == 2:
        theta = _newton(wins[None], start)[0]
        if np.isnan(theta).any():
            raise DataError(
                "These votes have no maximum of the likelihood: some model only wins, only loses, or is apart."
            )
        return theta
    return _newton(wins, start)


def _newton(wins: Floats, start: Floats | None) -> Floats:
    boards, size = wins.shape[0], wins.shape[-1]
    games = wins + np.swapaxes(wins, -1, -2)
    scored = wins.sum(-1)
    theta = np.zeros((boards, size)) if start is None else np.tile(np.asarray(start, np.float64), (boards, 1))
    mean = np.full((size, size), 1 / size)
    diagonal = np.arange(size)
    # The Laplacian's null space is lifted at the Laplacian's own size, so that few and many votes solve alike well.
    lift = np.maximum(games.sum((-1, -2)), 1e-300)[:, None, None] / size * mean
    open_ = _has_maximum(wins)
    settled = np.zeros(boards, bool)
    before = np.full(boards, np.inf)
    for _ in range(MAX_STEPS):
        at = np.flatnonzero(open_)
        if not len(at):
            break
        everyone = len(at) == boards
        n, t = (games, theta) if everyone else (games[at], theta[at])
        p = win_probability(t)
        expected = n * p
        slope = (scored if everyone else scored[at]) - expected.sum(-1)
        edges = expected * (1 - p)
        laplacian = (lift if everyone else lift[at]) - edges
        laplacian[:, diagonal, diagonal] += edges.sum(-1)
        try:
            step = np.linalg.solve(laplacian, slope[..., None])[..., 0]
        except np.linalg.LinAlgError:
            step = np.stack([np.linalg.lstsq(a, b, rcond=None)[0] for a, b in zip(laplacian, slope, strict=True)])
        # Steps of at most two logits keep Newton's method from overshooting where an edge is nearly certain.
        longest = np.abs(step).max(-1, initial=0)
        theta[at] = t + step * np.minimum(1, 2 / np.maximum(longest, 1e-300))[:, None]
        # Near the top a step is the square of the one before, until it is the rounding error of millions of votes.
        done = (longest < TOLERANCE) | ((longest < ROUNDING) & (longest > before[at] / 2))
        before[at] = longest
        settled[at[done]] = True
        open_[at[done | ~np.isfinite(longest)]] = False
    theta -= theta.mean(-1, keepdims=True)
    theta[~settled] = np.nan
    return theta


def shrunk(wins: Floats, variance: float = 1.0) -> Floats:
    """The likeliest strengths (M,) if they were drawn from a normal distribution with mean 0 and this variance.

    Finite whoever never lost, never won or never met anyone. A guess to plan by, as matchmaking does; no board uses it.
    """
    theta = np.zeros(len(wins))
    for _ in range(MAX_STEPS):
        slope = gradient(wins, theta) - theta / variance
        step = np.linalg.solve(information(wins, theta) + np.eye(len(wins)) / variance, slope)
        longest = np.abs(step).max(initial=0)
        theta += step * min(1, 2 / max(longest, 1e-300))
        if longest < ROUNDING:
            break
    return theta


def _has_maximum(wins: Floats) -> NDArray[np.bool_]:
    """Which boards (R, M, M) have a chain of wins from the first contestant to everyone and back (Ford 1957)."""
    beats = (wins > 0).astype(np.float32)
    whole = np.ones(len(wins), bool)
    for edges in (beats, np.swapaxes(beats, -1, -2)):
        found = np.zeros((len(wins), 1, wins.shape[-1]), np.float32)
        found[..., :1] = 1
        while True:
            more = np.minimum(found + found @ edges, 1)
            if (more == found).all():
                break
            found = more
        whole &= found.all((-1, -2))
    return whole


def points(theta: Floats) -> Floats:
    """Strengths (mean 0) on Elo's scale: mean 1000, 400 points are odds of ten to one."""
    return MEAN + SCALE * np.asarray(theta)


@dataclass(frozen=True, slots=True)
class Components:
    """What the votes can compare. Positions of contestants.

    `rated`: the largest set in which everyone has both won (or tied) against and lost (or tied) to the others,
    through however many steps; only such a set has finite strengths. `always_above`: those that votes connect with
    it but that never lost into it; `always_below`: those that never won out of it; `apart`: those that no chain of
    votes connects with it in either direction.
    """

    rated: tuple[int, ...]
    always_above: tuple[int, ...]
    always_below: tuple[int, ...]
    apart: tuple[int, ...]


def components(wins: Floats) -> Components:
    """Which contestants a maximum of the likelihood exists for (Ford 1957: a strongly connected graph of wins)."""
    reached = reach(wins > 0)
    together = reached & reached.T
    # Each group is named by its first member.
    group = together.argmax(1)
    games = wins.sum(1) + wins.sum(0)
    sizes, voted = np.bincount(group, minlength=len(wins)), np.bincount(group, games, len(wins))
    main = max(range(len(wins)), key=lambda g: (sizes[g], voted[g], -g))
    inside, above, below = group == main, reached[:, main], reached[main]
    outside = np.flatnonzero(~inside)
    return Components(
        rated=tuple(map(int, np.flatnonzero(inside))),
        always_above=tuple(int(i) for i in outside if above[i]),
        always_below=tuple(int(i) for i in outside if below[i]),
        apart=tuple(int(i) for i in outside if not above[i] and not below[i]),
    )


def reach(edges: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether a walk of any length along `edges` (M, M) leads from i to j; everyone reaches itself."""
    found = edges | np.eye(len(edges), dtype=bool)
    while True:
        step = found.astype(np.float32)
        more = step @ step > 0
        if (more == found).all():
            return found
        found = more


def unrated_because(comparisons: Comparisons, found: Components) -> dict[str, str]:
    """For each contestant that cannot be rated, one sentence: why, and which vote would mend it."""
    among = f"the {len(found.rated)} rated models" if len(found.rated) > 1 else "the others"
    reasons: dict[str, str] = {}
    for members, sentence in (
        (found.always_above, f"never lost to {among}, so no finite rating fits; add comparisons that it may lose."),
        (found.always_below, f"never won against {among}, so no finite rating fits; add comparisons that it may win."),
        (found.apart, f"was never compared with {among}, not even through other models; add comparisons with them."),
    ):
        reasons |= {comparisons.contestants[i]: sentence for i in members}
    return reasons


def both_bad_rates(comparisons: Comparisons) -> Floats:
    """Share (M,) of each contestant's votes that said both are bad; NaN without votes."""
    votes = comparisons.per_contestant()
    bad = comparisons.per_contestant(Code.BOTH_BAD)
    return np.divide(bad, votes, out=np.full(comparisons.size, np.nan), where=votes > 0)
