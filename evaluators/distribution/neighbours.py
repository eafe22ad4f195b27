"""Precision, recall, density and coverage of generated features, by the balls around images that reach their k-th
neighbour.

    precision   share of generated images inside some real ball
    recall      share of real images inside some generated ball     (T. Kynkäänniemi et al. 2019, arXiv:1904.06991)
    density     real balls that hold a generated image, over k      (M. Naeem et al. 2020, arXiv:2002.09797)
    coverage    share of real balls that hold a generated image

The convention is that of clovaai/prdc: a ball is open (distance < radius), and an image is no neighbour of itself.

Standard errors are jackknives over both sides: each image is left out in turn, with all that follows (balls lose their
owner, and its neighbours' balls grow to their next neighbour), exactly, and without measuring distances again. Such a
variance is never too small on average (B. Efron and C. Stein, Ann. Statist. 9, 1981).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arena.errors import DataError, UsageError
from evaluators.distribution.statistics import HALF_WIDTH, Floats, checked

BLOCK = 1024
TIES = 1e-9
"""Distances closer than this share of a radius are on it: rounding must not decide who is inside."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its standard error and 95% interval."""

    value: float
    se: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Prdc:
    """Precision, recall and coverage lie in [0, 1]; density is about 1 for equal distributions and has no upper end."""

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate
    k: int
    n_real: int
    n_generated: int


class Balls(NamedTuple):
    """Around each of n images: squared radius (n,), the squared radius if a neighbour is left out (n,), and the k
    neighbours' positions (n, k)."""

    radius: Floats
    wider: Floats
    neighbours: NDArray[np.intp]


class Inside(NamedTuple):
    """Which of m points lie in which of n balls, and what leaving out one image changes.

    holders (m,): balls that hold the point; held (n,): points in the ball. `lost` and `gained` belong to leaving out a
    ball's owner (n,): points that are then in no ball, points that only then are in one. `shell` (n,): points that come
    into the ball when it grows. `only` (m,): balls that hold this point and no other. `reach` (n,): whether the grown
    ball holds a point.
    """

    holders: NDArray[np.intp]
    held: NDArray[np.intp]
    lost: Floats
    gained: Floats
    shell: NDArray[np.intp]
    only: NDArray[np.intp]
    reach: NDArray[np.bool_]


def prdc(real: ArrayLike, generated: ArrayLike, k: int = 5) -> Prdc:
    """The four figures of features (n, d) and (m, d), each with its standard error.

    Memory O(block * n). Raises DataError where a side has fewer than k + 2 images or its features are bad, UsageError
    where k < 1.
    """
    if k < 1:
        raise UsageError(f"k must be at least 1, got {k}.")
    x, y = checked(real, "real features", k + 2), checked(generated, "generated features", k + 2)
    if x.shape[1] != y.shape[1]:
        raise DataError(f"Features have {x.shape[1]} and {y.shape[1]} dimensions: use one protocol for both.")
    centre = x.mean(0, dtype=np.float64)  # squared distances by products keep more digits near the origin
    x, y = x - centre, y - centre
    real_balls, generated_balls = balls(x, k), balls(y, k)
    forth, back = inside(x, y, real_balls), inside(y, x, generated_balls)
    return Prdc(
        precision=_precision(forth),
        recall=_precision(back),
        density=_density(forth, real_balls.neighbours, k),
        coverage=_coverage(forth, real_balls.neighbours),
        k=k,
        n_real=len(x),
        n_generated=len(y),
    )


def balls(x: Floats, k: int) -> Balls:
    """Of features (n, d), n >= k + 2."""
    near = np.empty((len(x), k + 1), np.intp)
    squared = np.empty((len(x), k + 1))
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        distance = squared_distances(x[rows], x)
        distance[np.arange(len(distance)), np.arange(start, start + len(distance))] = np.inf
        chosen = np.argpartition(distance, k, axis=1)[:, : k + 1]
        found = np.take_along_axis(distance, chosen, 1)
        order = np.argsort(found, axis=1, kind="stable")
        near[rows], squared[rows] = np.take_along_axis(chosen, order, 1), np.take_along_axis(found, order, 1)
    return Balls(squared[:, k - 1], squared[:, k], near[:, :k])


def inside(x: Floats, points: Floats, around: Balls) -> Inside:
    """The balls around x (n, d) against points (m, d), some points at a time."""
    n, m = len(x), len(points)
    holders, only = np.zeros(m, np.intp), np.zeros(m, np.intp)
    held, single, shell, reach = (np.zeros(n, np.intp) for _ in range(4))
    lost, gained = np.zeros(n), np.zeros(n)
    radius, wider = around.radius[:, None] * (1 - TIES), around.wider[:, None] * (1 - TIES)
    for start in range(0, m, BLOCK):
        columns = slice(start, start + BLOCK)
        distance = squared_distances(x, points[columns])
        within = distance < radius
        grown = ~within & (distance < wider)
        holders[columns] = within.sum(0)
        held += within.sum(1)
        shell += grown.sum(1)
        single += within @ np.arange(start, start + within.shape[1])  # the position of the only point, where it is one
        left, came = _if_left_out(within, grown, around.neighbours)
        lost += left
        gained += came
    np.add.at(only, single[held == 1], 1)
    reach = (held + shell) > 0
    return Inside(holders, held, lost, gained, shell, only, reach)


def squared_distances(x: Floats, y: Floats) -> Floats:
    """(n, m), exactly 0 for equal rows, where products leave rounding of the norms' size."""
    x_norm, y_norm = (x**2).sum(1)[:, None], (y**2).sum(1)
    squared = x_norm + y_norm - 2 * (x @ y.T)
    squared[squared < 1e-13 * (x_norm + y_norm)] = 0
    return squared


def _if_left_out(within: NDArray, grown: NDArray, neighbours: NDArray) -> tuple[Floats, Floats]:
    """For each ball's owner (n,): points lost to all balls, and points gained, when it is left out."""
    n, holders = len(within), within.sum(0)
    owner = within.argmax(0)
    ball, point = np.nonzero(grown & (holders <= 1))
    # A point in the shell of a ball comes in when any of that ball's neighbours is left out; by several ways, once.
    leaver, entered = np.repeat(point, neighbours.shape[1]), neighbours[ball].ravel()
    pairs = np.unique(np.stack([entered, leaver]), axis=1) if len(ball) else np.empty((2, 0), np.intp)
    free = holders[pairs[1]] == 0
    gained = np.bincount(pairs[0, free], minlength=n)
    kept = pairs[0, ~free][owner[pairs[1, ~free]] == pairs[0, ~free]]
    lost = np.bincount(owner[holders == 1], minlength=n) - np.bincount(kept, minlength=n)
    return lost.astype(float), gained.astype(float)


def _precision(found: Inside) -> Estimate:
    m = len(found.holders)
    covered = (found.holders > 0).astype(float)
    return _estimate(covered.mean(), covered / (1 - m), (found.gained - found.lost) / m)


def _density(found: Inside, neighbours: NDArray, k: int) -> Estimate:
    m = len(found.holders)
    grown = _over_owners(found.shell, neighbours)
    return _estimate(found.holders.mean() / k, found.holders / (k * (1 - m)), (grown - found.held) / (k * m))


def _coverage(found: Inside, neighbours: NDArray) -> Estimate:
    n = len(found.held)
    covered = (found.held > 0).astype(float)
    grown = _over_owners((covered == 0) & found.reach, neighbours)
    return _estimate(covered.mean(), -found.only / n, (grown - covered) / (n - 1))


def _over_owners(change: NDArray, neighbours: NDArray) -> Floats:
    """For each image (n,), the sum of the changes of the balls that it is a neighbour of."""
    weight = np.repeat(change.astype(float), neighbours.shape[1])
    return np.bincount(neighbours.ravel(), weight, minlength=len(neighbours))


def _estimate(value: float, left_out: Floats, other_left_out: Floats) -> Estimate:
    """`left_out`: the figure without each image of one side, up to a constant; `other_left_out` of the other side."""
    se = float(np.sqrt(_jackknife(left_out) + _jackknife(other_left_out)))
    half = HALF_WIDTH * se
    return Estimate(float(value), se, float(value) - half, float(value) + half)


def _jackknife(left_out: Floats) -> float:
    n = len(left_out)
    return (n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum())
