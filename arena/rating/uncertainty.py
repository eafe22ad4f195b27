"""How sure a board is: clustered sandwich, intervals of contrasts, simultaneous rank sets, bootstrap.

The covariance V (M, M) is that of the strengths minus their mean, in natural logarithms; it is singular along the
mean, where nothing is uncertain because the mean is fixed. No contestant is an anchor: anchoring one hides its
uncertainty and adds it to all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from arena.rating import bradley_terry as bt
from arena.rating.bradley_terry import SCALE, Ties
from arena.rating.comparisons import Comparisons, Floats

LEVEL = 0.95
DRAWS = 10_000
"""Normal draws behind rank sets and P(best); the error of a share near 95% is 0.2 points."""
USABLE, ESTABLISHED = 60.0, 30.0
GROUPS = 1000
"""At most so many groups of clusters are resampled; whole groups stay independent of each other."""


class Status(StrEnum):
    """What a rating's interval allows: half-widths of at most 30 points, at most 60, or more."""

    ESTABLISHED = "established"
    USABLE = "usable"
    PRELIMINARY = "preliminary"


def status(half_width: float) -> Status:
    """The status of an interval of this half-width, in rating points."""
    if half_width <= ESTABLISHED:
        return Status.ESTABLISHED
    return Status.USABLE if half_width <= USABLE else Status.PRELIMINARY


def inverse_information(wins: Floats, theta: Floats) -> Floats:
    """Generalised inverse (M, M) of the information on contrasts to the mean."""
    return invert(bt.information(wins, theta))


def invert(laplacian: Floats) -> Floats:
    """Generalised inverse (M, M) of a matrix whose null space is the constant vector."""
    size = len(laplacian)
    if size < 2:
        return np.zeros_like(laplacian)
    lift = np.trace(laplacian) / size / size
    return np.linalg.inv(laplacian + lift) - 1 / (lift * size * size)


def residuals(comparisons: Comparisons, theta: Floats, ties: Ties = Ties.HALF) -> Floats:
    """Score of the left side minus what was expected (n,); 0 for outcomes that have no part in the fit."""
    probability = bt.win_probability(theta)[comparisons.left, comparisons.right]
    return np.nan_to_num(bt.left_score(comparisons.outcome, ties) - probability)


def cluster_scores(comparisons: Comparisons, theta: Floats, ties: Ties = Ties.HALF) -> Floats:
    """Each cluster's derivative of the log-likelihood (C, M)."""
    assert comparisons.cluster is not None
    push = comparisons.weight * residuals(comparisons, theta, ties)
    row = comparisons.cluster.astype(np.int64) * comparisons.size
    cells = comparisons.clusters * comparisons.size
    flat = np.bincount(row + comparisons.left, push, cells)
    flat -= np.bincount(row + comparisons.right, push, cells)
    return flat.reshape(-1, comparisons.size)


def meat(comparisons: Comparisons, theta: Floats, ties: Ties = Ties.HALF) -> Floats:
    """Variance (M, M) of the derivative of the log-likelihood, as the votes show it.

    The sum over clusters of the outer product of their scores, times C / (C - 1) (Liang and Zeger 1986; the small
    sample factor of Stata's vce(cluster)). Without clusters, over votes.
    """
    if comparisons.cluster is not None:
        return outer(cluster_scores(comparisons, theta, ties))
    size = comparisons.size
    squares = comparisons.square * residuals(comparisons, theta, ties) ** 2
    flat = np.bincount(comparisons.left.astype(np.int64) * size + comparisons.right, squares, size * size)
    edges = flat.reshape(size, size)
    edges = edges + edges.T
    return np.diag(edges.sum(1)) - edges


def outer(scores: Floats) -> Floats:
    """Sum over clusters of the outer product of their scores (C, P), times C / (C - 1) for the C that have any."""
    active = int((scores != 0).any(1).sum())
    return scores.T @ scores * (active / max(1, active - 1))


def sandwich(comparisons: Comparisons, theta: Floats, ties: Ties = Ties.HALF) -> Floats:
    """Covariance (M, M) of the strengths, right however the votes of a cluster hang together (Huber, White)."""
    bread = inverse_information(bt.win_matrix(comparisons, ties), theta)
    return bread @ meat(comparisons, theta, ties) @ bread


def quantile(comparisons: Comparisons, level: float = LEVEL) -> float:
    """The factor of a standard error: Student's with C - 1 degrees of freedom for C clusters, else the normal's."""
    freedom = comparisons.clusters - 1 if comparisons.cluster is not None else np.inf
    return float(stdtrit(max(1, freedom), (1 + level) / 2))


@dataclass(frozen=True, slots=True)
class Ranks:
    """Rank sets and chances, each (M,). `critical`: the factor of the standard error that holds for all pairs."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    best: Floats
    top3: Floats
    critical: float


def normal_draws(covariance: Floats, draws: int = DRAWS, seed: int = 0) -> Floats:
    """Draws (draws, M) of mean 0 with the covariance (M, M), which may be singular."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    return np.random.default_rng(seed).standard_normal((draws, len(covariance))) @ root.T


def difference_errors(covariance: Floats) -> Floats:
    """Standard error (M, M) of each difference of two strengths."""
    variance = np.diag(covariance)
    return np.sqrt(np.clip(variance[:, None] + variance[None, :] - 2 * covariance, 0, None))


def critical_value(covariance: Floats, draws: Floats, level: float = LEVEL) -> float:
    """The level's quantile of max |Z_i - Z_j| / se_ij over all pairs (max-t; Hothorn, Bretz and Westfall 2008)."""
    size = len(covariance)
    if size < 2:
        return 0.0
    error = difference_errors(covariance)
    worst = np.zeros(len(draws), np.float32)
    columns = np.ascontiguousarray(draws.T, np.float32)
    inverse = np.divide(1, error, out=np.zeros_like(error), where=error > 0).astype(np.float32)
    for i in range(size - 1):
        gaps = np.abs(columns[i + 1 :] - columns[i]) * inverse[i, i + 1 :, None]
        np.maximum(worst, gaps.max(0), out=worst)
    return float(np.quantile(worst, level))


def ranks(theta: Floats, covariance: Floats, level: float = LEVEL, draws: int = DRAWS, seed: int = 0) -> Ranks:
    """Rank sets that hold for all contestants at once with probability `level`, P(best) and P(among the first 3).

    Contestant i certainly beats j if their difference exceeds the critical value times its standard error; its rank
    lies between 1 + those that certainly beat it and M - those that it certainly beats.
    """
    size = len(theta)
    noise = normal_draws(covariance, draws, seed)
    critical = critical_value(covariance, noise, level)
    above = theta[:, None] - theta[None, :] > critical * difference_errors(covariance)
    above[np.arange(size), np.arange(size)] = False
    drawn = theta + noise
    best = np.bincount(drawn.argmax(1), minlength=size) / draws
    first = np.argpartition(-drawn, min(3, size) - 1, axis=1)[:, :3]
    top3 = np.bincount(first.ravel(), minlength=size) / draws
    return Ranks(1 + above.sum(0), size - above.sum(1), best, np.minimum(top3, 1.0), critical)


def bootstrap(
    comparisons: Comparisons, theta: Floats, rounds: int = 1000, ties: Ties = Ties.HALF, seed: int = 0
) -> Floats:
    """Strengths (rounds, M) refitted to votes that were drawn anew; NaN in a round that has no maximum.

    With clusters, whole clusters are drawn (multinomial weights); of more than 1,000, fixed groups of them, which
    are as independent of each other. Without, votes are drawn (multinomial weights of the rows).
    """
    rng = np.random.default_rng(seed)
    parts = (_drawn_groups if comparisons.cluster is not None else _drawn_rows)(comparisons, rounds, ties, rng)
    return np.concatenate([bt.fit(wins, theta) for wins in parts])


def _drawn_rows(comparisons: Comparisons, rounds: int, ties: Ties, rng: np.random.Generator, part: int = 100):
    score = bt.left_score(comparisons.outcome, ties)
    rows = np.flatnonzero(~np.isnan(score))
    size, mean_weight = comparisons.size, comparisons.weight[rows] / comparisons.count[rows]
    forth = comparisons.left[rows].astype(np.int64) * size + comparisons.right[rows]
    back = comparisons.right[rows].astype(np.int64) * size + comparisons.left[rows]
    votes = comparisons.count[rows].sum()
    for start in range(0, rounds, part):
        n = min(part, rounds - start)
        drawn = rng.multinomial(int(votes), comparisons.count[rows] / votes, n) * mean_weight
        wins = np.empty((n, size * size))
        for k in range(n):
            wins[k] = np.bincount(forth, drawn[k] * score[rows], size * size)
            wins[k] += np.bincount(back, drawn[k] * (1 - score[rows]), size * size)
        yield wins.reshape(n, size, size)


def _drawn_groups(comparisons: Comparisons, rounds: int, ties: Ties, rng: np.random.Generator, part: int = 100):
    groups = min(GROUPS, comparisons.clusters)
    # Clusters are shared out at random, not by number: numbers may follow time or kind.
    group = rng.permutation(comparisons.clusters)[comparisons.cluster] % groups
    score = bt.left_score(comparisons.outcome, ties)
    used = ~np.isnan(score)
    size, row = comparisons.size, group[used].astype(np.int64) * comparisons.size**2
    left, right = comparisons.left[used], comparisons.right[used]
    score, weight = score[used], comparisons.weight[used]
    cells = groups * size * size
    by_group = np.bincount(row + left * size + right, weight * score, cells)
    by_group += np.bincount(row + right * size + left, weight * (1 - score), cells)
    by_group = by_group.reshape(groups, size * size).astype(np.float32)
    for start in range(0, rounds, part):
        n = min(part, rounds - start)
        times = rng.multinomial(groups, np.full(groups, 1 / groups), n).astype(np.float32)
        yield (times @ by_group).astype(np.float64).reshape(n, size, size)


def half_widths(covariance: Floats, factor: float) -> Floats:
    """Half of each interval (M,), in rating points: `factor` standard errors of the contrast to the mean."""
    return factor * SCALE * np.sqrt(np.clip(np.diag(covariance), 0, None))
