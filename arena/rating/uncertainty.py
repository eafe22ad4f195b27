"""How sure a board is: clustered sandwich, intervals of contrasts, simultaneous rank sets.

The covariance V (M, M) is that of the strengths minus their mean, in natural logarithms; it is singular along the
mean, where nothing is uncertain because the mean is fixed. No contestant is an anchor: anchoring one hides its
uncertainty and adds it to all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
HEAVY = 0.01
"""Leverage from which a cluster's leaving out is solved for; below, its first-order effect errs by at most 1%. At most
(M - 1) / HEAVY clusters have more, since leverages add up to M - 1."""
PART, CELLS = 4096, 2_500_000
"""Clusters left out at a time, and cells of their matrices, 20 MB: what bounds the memory."""
EASE = 1 + 1e-6


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


def active_clusters(comparisons: Comparisons) -> int:
    """Clusters that have votes; 0 where every vote stands alone."""
    return 0 if comparisons.cluster is None else len(np.unique(comparisons.cluster))


def covariance(comparisons: Comparisons, theta: Floats, ties: Ties = Ties.HALF) -> Floats:
    """Covariance (M, M) of the strengths for a board: by `jackknife` over clusters, else the `sandwich` over votes.

    One cluster says nothing about how clusters differ, so its votes are taken to stand alone.
    """
    if active_clusters(comparisons) < 2:
        return sandwich(replace(comparisons, cluster=None), theta, ties)
    left, right = comparisons.left, comparisons.right
    probability = bt.win_probability(theta)[left, right]
    used = ~np.isnan(bt.left_score(comparisons.outcome, ties))
    one = comparisons.weight * used * probability * (1 - probability)
    bread = inverse_information(bt.win_matrix(comparisons, ties), theta)
    scores = cluster_scores(comparisons, theta, ties)
    return jackknife_pairs(bread, scores, comparisons.cluster, left, right, one)


def jackknife_pairs(
    bread: Floats,
    scores: Floats,
    cluster: NDArray[np.integer],
    left: NDArray[np.integer],
    right: NDArray[np.integer],
    one: Floats,
) -> Floats:
    """`jackknife` where each row (n,) adds information `one` to the difference of left and right: (M, M).

    A cluster of k rows has information of rank k, so that leaving it out takes a system of k equations instead of M
    (Woodbury's identity); only clusters with more rows than contestants take one of M.
    """
    size = len(bread)
    leverage = np.bincount(cluster, one * (difference_errors(bread) ** 2)[left, right], len(scores))
    heavy = np.flatnonzero(leverage > HEAVY)
    order = np.argsort(cluster, kind="stable")
    start, stop = (np.searchsorted(cluster[order], heavy, side) for side in ("left", "right"))
    shifts, length = scores @ bread, stop - start

    def rows_of(part: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
        """Rows (k, longest) of each of these heavy clusters, and which of them are its own."""
        step = np.arange(max(1, length[part].max()))
        return order[np.minimum(start[part, None] + step, len(order) - 1)], step < length[part, None]

    for part in _parts(length):
        row, own = rows_of(part)
        weight = one[row] * own
        if length[part].max() < size:
            shifts[heavy[part]] = _left_out(bread, shifts[heavy[part]], left[row], right[row], weight)
        else:
            flat = (np.arange(len(part))[:, None] * size + left[row]) * size + right[row]
            edges = np.bincount(flat.ravel(), weight.ravel(), len(part) * size * size).reshape(-1, size, size)
            shifts[heavy[part]] = _solved(bread, shifts[heavy[part]], _laplacians(edges + edges.swapaxes(1, 2)))
    return _spread(shifts, scores)


def _parts(length: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
    """Positions of clusters of so many rows, the shortest first, as many at a time as `CELLS` allows."""
    by_length = np.argsort(length, kind="stable")
    at = 0
    while at < len(by_length):
        # At least half of those that the longest of a full part would allow, since lengths grow slowly.
        many = max(1, min(PART, CELLS // max(1, int(length[by_length[at]])) ** 2))
        many = max(1, min(many, CELLS // max(1, int(length[by_length[at : at + many]].max())) ** 2))
        yield by_length[at : at + many]
        at += many


def _left_out(
    bread: Floats, shifts: Floats, left: NDArray[np.integer], right: NDArray[np.integer], weight: Floats
) -> Floats:
    """(e I - H A)^-1 x for each cluster's x (c, M), where A = D' W D has the rows (c, k) of its differences."""
    each, k = np.arange(len(shifts))[:, None], left.shape[1]
    one, other = left[:, :, None], right[:, :, None]
    gram = bread[one, left[:, None]] - bread[one, right[:, None]] - bread[other, left[:, None]]
    gram += bread[other, right[:, None]]
    seen = weight * (shifts[each, left] - shifts[each, right])
    found = np.linalg.solve(EASE * np.eye(k) - weight[:, :, None] * gram, seen[..., None])[..., 0]
    size = len(bread)
    pushed = np.bincount((each * size + left).ravel(), found.ravel(), shifts.size)
    pushed -= np.bincount((each * size + right).ravel(), found.ravel(), shifts.size)
    return (shifts + pushed.reshape(shifts.shape) @ bread) / EASE


def _laplacians(edges: Floats) -> Floats:
    """Information (c, M, M) of symmetric edges."""
    return np.eye(edges.shape[-1]) * edges.sum(2)[:, None, :] - edges


def _solved(bread: Floats, shifts: Floats, information: Floats) -> Floats:
    """(e I - H A)^-1 x for each cluster's x (c, P) and information A (c, P, P)."""
    # Where a cluster alone informs a direction the matrix is singular and the score 0; EASE keeps 0 / 0 at 0.
    return np.linalg.solve(EASE * np.eye(len(bread)) - bread @ information, shifts[..., None])[..., 0]


def jackknife(
    bread: Floats, scores: Floats, leverage: Floats, information_of: Callable[[NDArray[np.integer]], Floats]
) -> Floats:
    """Covariance (P, P) by leaving out each cluster in turn, one Newton step each (CV3).

    `bread` (P, P): inverse H of the information; `scores` (C, P): each cluster's derivative g of the log-likelihood;
    `leverage` (C,): trace of H times its information, `information_of`: clusters (k,), ascending -> theirs (k, P, P).
    Leaving out c moves the estimate by -(information - its own)^-1 g. The plain sandwich takes H g, which makes
    intervals too narrow where some cluster holds much of the information: with one voter in five votes, 91% instead
    of 95%. Source: J. MacKinnon, M. Nielsen and M. Webb, Fast and Reliable Jackknife and Bootstrap Methods for
    Cluster-Robust Inference, Journal of Applied Econometrics 38 (2023).
    """
    shifts = scores @ bread
    heavy = np.flatnonzero(leverage > HEAVY)
    many = max(1, min(PART, CELLS // len(bread) ** 2))
    for start in range(0, len(heavy), many):
        part = heavy[start : start + many]
        shifts[part] = _solved(bread, shifts[part], information_of(part))
    return _spread(shifts, scores)


def _spread(shifts: Floats, scores: Floats) -> Floats:
    """The covariance that the estimates without each cluster show."""
    active = int((scores != 0).any(1).sum())
    return shifts.T @ shifts * ((active - 1) / max(1, active))


def freedom(comparisons: Comparisons) -> float:
    """Degrees of freedom of `covariance`: clusters - 1, unequal ones counted as (sum of votes)^2 / sum of votes^2.

    Infinite where votes stand alone, as they do with one cluster. Source: the effective number of clusters of
    A. Carter, K. Schnepel and D. Steigerwald, Review of Economics and Statistics 99 (2017), for equal votes.
    """
    if active_clusters(comparisons) < 2:
        return np.inf
    votes = np.bincount(comparisons.cluster, comparisons.weight)
    return max(1.0, float(votes.sum() ** 2 / (votes**2).sum()) - 1)


def factor(comparisons: Comparisons, level: float = LEVEL) -> float:
    """The factor of a standard error from `covariance`: Student's with its `freedom`, else the normal's."""
    return float(stdtrit(freedom(comparisons), (1 + level) / 2))


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


ROUNDING = 1e-9
"""Two strengths, in logits, no farther apart are level: a fit's rounding errors are smaller."""


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


def ranks(
    theta: Floats, covariance: Floats, level: float = LEVEL, draws: int = DRAWS, seed: int = 0, freedom: float = np.inf
) -> Ranks:
    """Rank sets that hold for all contestants at once with probability `level`, P(best) and P(among the first 3).

    Contestant i certainly beats j if their difference exceeds the critical value times its standard error; its rank
    lies between 1 + those that certainly beat it and M - those that it certainly beats. With `freedom` the critical
    value is that of a multivariate Student's t.
    """
    noise = normal_draws(covariance, draws, seed)
    studentised = noise
    if np.isfinite(freedom):
        chi = np.random.default_rng([seed, 1]).chisquare(freedom, (draws, 1))
        studentised = noise / np.sqrt(chi / freedom)
    critical = critical_value(covariance, studentised, level)
    low, high = rank_sets(theta, covariance, critical)
    return Ranks(low, high, *first_places(theta, noise), critical)


def first_places(theta: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """P(best) and P(among the first 3) (M,), from draws (draws, M) around the strengths."""
    drawn, draws = theta + noise, np.arange(len(noise))
    shares = np.zeros((min(3, len(theta)), len(theta)))
    for place in shares:
        first = drawn.argmax(1)
        drawn[draws, first] = -np.inf
        place += np.bincount(first, minlength=len(theta)) / len(draws)
    return shares[0], np.minimum(shares.sum(0), 1.0)


def rank_sets(theta: Floats, covariance: Floats, critical: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lowest and highest rank (M,) of each contestant, for a critical value that holds for all pairs.

    Contestants with the same results have the same strength and a difference without error, but for rounding.
    """
    size = len(theta)
    above = theta[:, None] - theta[None, :] > critical * difference_errors(covariance) + ROUNDING
    above[np.arange(size), np.arange(size)] = False
    return 1 + above.sum(0), size - above.sum(1)


def half_widths(covariance: Floats, factor: float) -> Floats:
    """Half of each interval (M,), in rating points: `factor` standard errors of the contrast to the mean."""
    return factor * SCALE * np.sqrt(np.clip(np.diag(covariance), 0, None))
