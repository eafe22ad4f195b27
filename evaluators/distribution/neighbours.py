"""Precision, recall, density and coverage of generated features, by the balls around images that reach their k-th
neighbour.

    precision   share of generated images inside some real ball
    recall      share of real images inside some generated ball     (T. Kynkäänniemi et al. 2019, arXiv:1904.06991)
    density     real balls that hold a generated image, over k      (M. Naeem et al. 2020, arXiv:2002.09797)
    coverage    share of real balls that hold a generated image

The convention is that of clovaai/prdc: a ball is open (distance < radius), and an image is no neighbour of itself.

Standard errors come from halves: the two halves of a random split are independent samples, so half of their squared
difference has the variance at half the size as its mean, and half of that is the variance of the whole, as these
figures' variances fall as 1 / n. Leaving out one image at a time instead gives errors up to twice too wide (B. Efron
and C. Stein, Ann. Statist. 9, 1981): it counts twice what neighbours do to each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from arena.errors import DataError, UsageError
from evaluators.distribution.statistics import HALF_WIDTH, Floats, checked

BLOCK = 1024
TIES = 1e-9
"""Distances closer than this share of a radius are on it: rounding must not decide who is inside."""
SPLITS = 8, 32
"""Random splits, at least and at most: fewer of more images, where each costs more."""
SPLIT_DISTANCES = 10**8
"""Distances measured in all splits, between these limits."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its standard error and 95% interval, which keeps to the figure's range; None of too few images."""

    value: float
    se: float | None
    low: float | None
    high: float | None


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


class Values(NamedTuple):
    """The four figures alone, in the order and with the upper ends of `Prdc`."""

    precision: float
    recall: float
    density: float
    coverage: float


UPPER_ENDS = Values(1, 1, np.inf, 1)


def prdc(real: ArrayLike, generated: ArrayLike, k: int = 5, seed: int = 0) -> Prdc:
    """The four figures of features (n, d) and (m, d), each with its standard error; `seed` draws the splits.

    Memory O(block * n). Below 2 k + 2 images on a side a half has too few, and there are no errors. Raises DataError
    where a side has fewer than k + 2 images or its features are bad, UsageError where k < 1.
    """
    if k < 1:
        raise UsageError(f"k must be at least 1, got {k}.")
    x, y = checked(real, "real features", k + 2), checked(generated, "generated features", k + 2)
    if x.shape[1] != y.shape[1]:
        raise DataError(f"Features have {x.shape[1]} and {y.shape[1]} dimensions: use one protocol for both.")
    centre = x.mean(0, dtype=np.float64)  # squared distances by products keep more digits near the origin
    x, y = x - centre, y - centre
    errors = half_split_errors(x, y, k, seed) if min(len(x), len(y)) >= 2 * k + 2 else [None] * len(UPPER_ENDS)
    found = map(_estimate, figures(x, y, k), errors, UPPER_ENDS)
    return Prdc(*found, k=k, n_real=len(x), n_generated=len(y))


def figures(x: Floats, y: Floats, k: int) -> Values:
    """Of real features (n, d) and generated ones (m, d), n and m > k."""
    real, generated = radii(x, k), radii(y, k)[None] * (1 - TIES)
    held, holders, recalled = np.zeros(len(x), np.intp), np.zeros(len(y), np.intp), 0
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        distance = squared_distances(x[rows], y)
        inside = distance < real[rows, None] * (1 - TIES)
        held[rows] = inside.sum(1)
        holders += inside.sum(0)
        recalled += int((distance < generated).any(1).sum())
    return Values(float((holders > 0).mean()), recalled / len(x), float(holders.mean() / k), float((held > 0).mean()))


def radii(x: Floats, k: int) -> Floats:
    """Squared distance of each of n > k images to its k-th neighbour, (n,)."""
    found = np.empty(len(x))
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        distance = squared_distances(x[rows], x)
        distance[np.arange(len(distance)), np.arange(start, start + len(distance))] = np.inf
        found[rows] = np.partition(distance, k - 1, axis=1)[:, k - 1]
    return found


def squared_distances(x: Floats, y: Floats) -> Floats:
    """(n, m), exactly 0 for equal rows, where products leave rounding of the norms' size."""
    x_norm, y_norm = (x**2).sum(1)[:, None], (y**2).sum(1)
    squared = x_norm + y_norm - 2 * (x @ y.T)
    squared[squared < 1e-13 * (x_norm + y_norm)] = 0
    return squared


def half_split_errors(x: Floats, y: Floats, k: int, seed: int = 0) -> Floats:
    """The standard errors of the four figures, (4,)."""
    splits = int(np.clip(SPLIT_DISTANCES // (len(x) + len(y)) ** 2, *SPLITS))
    apart = [
        np.subtract(*(figures(x[rows], y[columns], k) for rows, columns in zip(*halves, strict=True)))
        for halves in zip(_halves(len(x), splits, seed), _halves(len(y), splits, seed), strict=True)
    ]
    return np.sqrt(np.mean(np.square(apart), axis=0)) / 2


def _halves(n: int, splits: int, seed: int) -> Iterator[list[np.ndarray]]:
    """Positions of both halves, for each split. Sides of one size are split alike: pairs, if they are, stay whole."""
    rng = np.random.default_rng(seed)
    return (np.array_split(rng.permutation(n), 2) for _ in range(splits))


def _estimate(value: float, se: float | None, upper: float) -> Estimate:
    if se is None:
        return Estimate(value, None, None, None)
    half = HALF_WIDTH * float(se)
    return Estimate(float(value), float(se), max(float(value) - half, 0.0), min(float(value) + half, upper))
