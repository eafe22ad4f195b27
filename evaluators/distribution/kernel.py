"""Squared maximum mean discrepancy (MMD) between two sets of features: KID and CMMD, with standard errors.

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y)          (A. Gretton et al., JMLR 13, 2012)

KID takes k = (x.y / d + 1)^3 on Inception features (M. Bińkowski et al. 2018, arXiv:1801.01401); CMMD takes a Gaussian
kernel on CLIP embeddings of unit length (S. Jayasumana et al. 2024, arXiv:2401.09603). All pairs are used, in blocks,
in float64: no subsets, no random numbers, memory O(block * n).

The U-statistic leaves out an image's pair with itself and is unbiased; it may be below 0 where the sets are alike. The
V-statistic keeps these pairs, which adds about (E k(x, x) - E k(x, x')) / n for each side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arena.errors import DataError, UsageError
from evaluators.distribution.statistics import HALF_WIDTH, Floats, checked

BLOCK = 1024
"""Rows of a kernel matrix at a time: 8 MB for each thousand columns of features or pairs."""
CMMD_SIGMA, CMMD_SCALE = 10.0, 1000.0
"""The published constants of CMMD."""

Kernel = Callable[[Floats, Floats], Floats]


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A squared MMD, its standard error and 95% interval, all times `scale`."""

    value: float
    se: float
    low: float
    high: float
    n_real: int
    n_generated: int


class Within(NamedTuple):
    """Pairs of one set: the mean of k over pairs of two, each row's mean over the others (n,), the mean of k(x, x),
    and `noise`, an unbiased estimate of the mean square of the doubly centred kernel."""

    mean: float
    rows: Floats
    diagonal: float
    noise: float


class Between(NamedTuple):
    """Pairs across two sets: the mean of k, the means of rows (n,) and columns (m,), and `noise` as in `Within`."""

    mean: float
    rows: Floats
    columns: Floats
    noise: float


def polynomial(x: Floats, y: Floats) -> Floats:
    """(x.y / d + 1)^3, of x (n, d) and y (m, d): (n, m)."""
    product = x @ y.T
    product /= x.shape[1]
    product += 1
    return product**3


def gaussian(sigma: float) -> Kernel:
    """exp(-|x - y|^2 / (2 sigma^2)). Raises UsageError where sigma is not above 0."""
    if not sigma > 0:
        raise UsageError(f"sigma must be above 0, got {sigma}.")

    def kernel(x: Floats, y: Floats) -> Floats:
        exponent = x @ y.T
        exponent -= (x**2).sum(1)[:, None] / 2
        exponent -= (y**2).sum(1) / 2
        return np.exp(np.minimum(exponent, 0) / sigma**2)

    return kernel


def kid(real: ArrayLike, generated: ArrayLike, *, scale: float = 1.0, real_pairs: Within | None = None) -> Discrepancy:
    """Kernel Inception Distance of features (n, d) and (m, d), n, m >= 2: the full U-statistic, deterministic.

    Often given times 1,000 (`scale`). `real_pairs`, from `within(real, polynomial)`, spares a third of the work where
    many sets are compared with one reference. Raises DataError on bad features.
    """
    return _discrepancy(real, generated, polynomial, True, scale, real_pairs)


def cmmd(
    real: ArrayLike,
    generated: ArrayLike,
    *,
    unbiased: bool = True,
    sigma: float = CMMD_SIGMA,
    scale: float = CMMD_SCALE,
    real_pairs: Within | None = None,
) -> Discrepancy:
    """CMMD of CLIP embeddings (n, d) and (m, d), which the caller has scaled to unit length, n, m >= 2.

    `unbiased=False` is the published V-statistic, whose bias at n = m = 200 is about 0.1 for typical embeddings: as
    large as gaps between models. `real_pairs` come from `within(real, gaussian(sigma))`. Raises DataError on bad
    embeddings, UsageError on a bad sigma.
    """
    return _discrepancy(real, generated, gaussian(sigma), unbiased, scale, real_pairs)


def paired_difference(
    real: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    kernel: Kernel = polynomial,
    scale: float = 1.0,
) -> Discrepancy:
    """MMD^2 of the first set minus that of the second, whose rows answer the same prompts in the same order.

    The standard error joins the two rows of a prompt and cancels what the reference adds to both. Second-order terms
    are left in it, which errs on the wide side. Raises DataError where the sets differ in length.
    """
    x, a, b = (checked(each, name, 2) for each, name in ((real, "real features"), (first, "first"), (second, "second")))
    if a.shape != b.shape:
        raise DataError(f"Paired sets need one row each for a prompt, got {len(a)} and {len(b)}.")
    _require_one_dimension(x, a)
    (inner_a, outer_a), (inner_b, outer_b) = ((within(each, kernel), between(x, each, kernel)) for each in (a, b))
    value = inner_a.mean - inner_b.mean - 2 * (outer_a.mean - outer_b.mean)
    own = 2 * (inner_a.rows - outer_a.columns - inner_b.rows + outer_b.columns)
    shared = 2 * (outer_a.rows - outer_b.rows)
    se = np.sqrt(own.var(ddof=1) / len(a) + shared.var(ddof=1) / len(x))
    return _with_interval(value * scale, float(se) * scale, len(x), len(a))


def kid_subsets(
    real: ArrayLike, generated: ArrayLike, *, subsets: int = 100, size: int = 1000, seed: int = 2020
) -> tuple[float, float]:
    """KID as torch-fidelity 0.4 has it: mean and standard deviation over random subsets, drawn by its own generator.

    The deviation is that of one subset's value, not an error of the mean. Kept for parity; `kid` uses all pairs and
    needs no seed. Raises DataError where a side has fewer images than `size`.
    """
    x, y = checked(real, "real features", 2), checked(generated, "generated features", 2)
    _require_one_dimension(x, y)
    if min(len(x), len(y)) < size:
        raise DataError(f"Subsets of {size} need as many images on both sides, got {len(x)} and {len(y)}: use kid.")
    draw = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        chosen = draw.choice(len(y), size, False)  # the generated set is that tool's first
        values.append(mmd2(x[draw.choice(len(x), size, False)], y[chosen]))
    return float(np.mean(values)), float(np.std(values))


def mmd2(x: ArrayLike, y: ArrayLike, kernel: Kernel = polynomial) -> float:
    """The U-statistic alone, of features (n, d) and (m, d): what every KID tool takes of one subset."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return within(x, kernel).mean + within(y, kernel).mean - 2 * between(x, y, kernel).mean


def within(x: ArrayLike, kernel: Kernel) -> Within:
    """All pairs of one set, each computed once."""
    x = np.asarray(x)
    n, rows, squares, diagonal = len(x), np.zeros(len(x)), 0.0, 0.0
    for i in range(0, n, BLOCK):
        own = slice(i, i + BLOCK)
        left = x[own].astype(np.float64)
        square = kernel(left, left)
        diagonal += square.trace()
        np.fill_diagonal(square, 0)
        rows[own] += square.sum(1)
        squares += (square**2).sum()
        for j in range(i + BLOCK, n, BLOCK):
            other = slice(j, j + BLOCK)
            block = kernel(left, x[other].astype(np.float64))
            rows[own] += block.sum(1)
            rows[other] += block.sum(0)
            squares += 2 * (block**2).sum()
    return Within(rows.sum() / (n * (n - 1)), rows / (n - 1), diagonal / n, _noise_within(rows, squares))


def between(x: ArrayLike, y: ArrayLike, kernel: Kernel) -> Between:
    """All pairs across two sets."""
    x, y = np.asarray(x), np.asarray(y)
    rows, columns, squares = np.zeros(len(x)), np.zeros(len(y)), 0.0
    for i in range(0, len(x), BLOCK):
        left = x[i : i + BLOCK].astype(np.float64)
        for j in range(0, len(y), BLOCK):
            block = kernel(left, y[j : j + BLOCK].astype(np.float64))
            rows[i : i + BLOCK] += block.sum(1)
            columns[j : j + BLOCK] += block.sum(0)
            squares += (block**2).sum()
    n, m = len(x), len(y)
    mean = rows.sum() / (n * m)
    left_over = squares - (rows**2).sum() / m - (columns**2).sum() / n + n * m * mean**2
    return Between(mean, rows / m, columns / n, max(0.0, left_over / ((n - 1) * (m - 1))))


def _noise_within(sums: Floats, squares: float) -> float:
    """Unbiased for E k~(x, x')^2, by U-centring (G. Székely and M. Rizzo, Ann. Statist. 42, 2014); 0 below 4 rows."""
    n, total = len(sums), sums.sum()
    if n < 4:
        return 0.0
    centred = squares - 2 * (sums**2).sum() / (n - 2) + total**2 / ((n - 1) * (n - 2))
    return max(0.0, centred / (n * (n - 3)))


def _discrepancy(
    real: ArrayLike, generated: ArrayLike, kernel: Kernel, unbiased: bool, scale: float, real_pairs: Within | None
) -> Discrepancy:
    x, y = checked(real, "real features", 2), checked(generated, "generated features", 2)
    _require_one_dimension(x, y)
    xx, yy, xy = real_pairs or within(x, kernel), within(y, kernel), between(x, y, kernel)
    value = xx.mean + yy.mean - 2 * xy.mean
    if not unbiased:
        value += (xx.diagonal - xx.mean) / len(x) + (yy.diagonal - yy.mean) / len(y)
    return _with_interval(value * scale, scale * standard_error(xx, yy, xy), len(x), len(y))


def standard_error(xx: Within, yy: Within, xy: Between) -> float:
    """Of the U-statistic, from its Hoeffding decomposition, good also where the two distributions are the same.

    The first-order part is 4 var f(x) / n + 4 var f(y) / m with f(x) = E k(x, x') - E k(x, y). Its plug-in contains the
    second-order part twice, where the variance has it once; so once is taken off, and never more than that is believed.
    """
    n, m = len(xx.rows), len(yy.rows)
    plug_in = 4 * (xx.rows - xy.rows).var(ddof=1) / n + 4 * (yy.rows - xy.columns).var(ddof=1) / m
    second = 2 * xx.noise / (n * (n - 1)) + 2 * yy.noise / (m * (m - 1)) + 4 * xy.noise / (n * m)
    return float(np.sqrt(max(plug_in - second, second)))


def _with_interval(value: float, se: float, n_real: int, n_generated: int) -> Discrepancy:
    half = HALF_WIDTH * se
    return Discrepancy(float(value), se, float(value - half), float(value + half), n_real, n_generated)


def _require_one_dimension(x: NDArray, y: NDArray) -> None:
    if x.shape[1] != y.shape[1]:
        raise DataError(f"Features have {x.shape[1]} and {y.shape[1]} dimensions: use one protocol for both.")
