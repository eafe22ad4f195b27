"""Fréchet distance between two Gaussians, by the cheapest path that is exact.

    d^2 = |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1^1/2 S2 S1^1/2)^1/2

(D. Dowson and B. Landau, J. Multivariate Anal. 12, 1982; of features: M. Heusel et al. 2017, arXiv:1706.08500.)
No matrix square root is taken. With any roots R1'R1 = S1 and R2'R2 = S2 the last trace is the sum of the singular
values of R1 R2', its nuclear norm. n features, centred and scaled, are such a root; so are Cholesky factors.

    path       taken where                                      eigenvalues of
    nuclear    both sides have features, at most d each         R1 R2' R2 R1', or the singular values of R1 R2'
    low-rank   one side has at most d features                  R1 S2 R1'
    cholesky   more, and one covariance has a Cholesky factor   L' S2 L
    pivoted    a singular covariance without features           as the first two, R (r, d) by Cholesky with pivoting
    eigh       the same, with eigenvalues below 0               as the first two, R from eigenvalues above rounding

A square doubles the exponent of what rounding leaves. Where the estimate of that exceeds `TOLERANCE`, and where R1 R2'
is nearly square, its singular values themselves are taken, with R by QR where features were kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from arena.errors import DataError
from evaluators.distribution.statistics import BLOCK, Floats, Moments, Statistics, checked, of_features

EPSILON = np.finfo(np.float64).eps
TOLERANCE = 1e-10
"""Estimated rounding, as a share of the traces' geometric mean, above which singular values replace eigenvalues."""

SQUARE = 0.8
"""Ratio of two numbers of features above which R1 R2' is so nearly square that its smallest singular values are near 0,
and would be lost in its square: they are then taken at once."""


@dataclass(frozen=True, slots=True)
class Frechet:
    """A squared distance `value` = mean_term + trace_term - 2 cross, >= 0, and how it was found.

    `rank`: of the product of the covariances, as far as it was computed. `clamped`: what was cut because it was
    negative or below rounding, in units of the trace; `clamped_share`: of trace_term. `rounding`: an estimate of the
    numerical error of `value`.
    """

    value: float
    path: str
    mean_term: float
    trace_term: float
    cross: float
    rank: int
    clamped: float
    clamped_share: float
    rounding: float


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Eigenvalues (k,), > 0, of S1^1/2 S2 S1^1/2, with the path, what was clamped, and an estimate of the rounding."""

    values: Floats
    path: str
    clamped: float
    rounding: float

    @property
    def cross(self) -> float:
        return float(np.sqrt(self.values).sum())


class Side:
    """One set, prepared for many comparisons: what is costly is computed when first needed, and once.

    Built by `prepare`. `rows` (n - 1, d) is there where the n features were kept and n <= d: rows' rows = covariance.
    """

    def __init__(self, mean: Floats, n: int | None, features: NDArray | None = None, moments: Moments | None = None):
        self.mean, self.n, self.features, self._moments = mean, n, features, moments

    @property
    def dim(self) -> int:
        return len(self.mean)

    @property
    def few(self) -> bool:
        """At most as many images as dimensions: the covariance is singular."""
        return self.n is not None and self.n <= self.dim

    @property
    def thin(self) -> Root:
        """The root with the fewest rows, of a side with few images."""
        return Root(self.rows, 0.0, "nuclear") if self.rows is not None else self.low_rank

    @cached_property
    def rows(self) -> Floats | None:
        if self.features is None or len(self.features) > self.dim:
            return None
        return contrasts(self.features - self.mean)

    @cached_property
    def trace(self) -> float:
        return float((self.rows**2).sum() if self.rows is not None else self.covariance.trace())

    @cached_property
    def covariance(self) -> Floats:
        if self._moments is not None:
            return self._moments.covariance
        return self.rows.T @ self.rows

    @cached_property
    def cholesky(self) -> Floats | None:
        """Lower L, LL' = covariance; None where the covariance is singular."""
        if self.few:
            return None
        try:
            return linalg.cholesky(self.covariance, lower=True, check_finite=False)
        except linalg.LinAlgError:
            return None

    @cached_property
    def low_rank(self) -> Root:
        """A root of a singular covariance with as many rows as its rank: by far cheaper than eigenvectors where that is
        small. A covariance with eigenvalues below 0, as float32 files have them, has no such root but by eigenvectors.
        """
        return _pivoted(self.covariance) or _by_eigenvectors(self.covariance)

    @cached_property
    def eigenvalues(self) -> Floats:
        """Of the covariance, those above rounding, ascending."""
        root = self.rows
        if root is None and self.features is None and self.cholesky is None:
            root = self.low_rank.rows
        matrix = self.covariance if root is None else root @ root.T
        values = np.linalg.eigvalsh(matrix)
        return values[values > len(values) * EPSILON * max(values[-1], 0)]

    @cached_property
    def root(self) -> Floats:
        """The root that keeps most digits: features, their QR factor, a Cholesky factor, or eigenvectors."""
        if self.rows is not None:
            return self.rows
        if self.features is not None:
            return _triangle(self.features, self.mean)
        return self.cholesky.T if self.cholesky is not None else self.low_rank.rows


class Root(NamedTuple):
    """`rows` (r, d) with rows' rows = covariance, what was cut in units of the trace, and how it was found."""

    rows: Floats
    cut: float
    path: str


Source = ArrayLike | Moments | Statistics | Side


def prepare(source: Source, name: str = "features") -> Side:
    """A Side from features (n, d) with n >= 2, Moments or Statistics; a Side is returned as it is.

    Raises DataError where features are not a finite matrix or fewer than two.
    """
    if isinstance(source, Side):
        return source
    if isinstance(source, Statistics):
        source = source.moments
    if isinstance(source, Moments):
        return Side(source.mean, source.n, moments=source)
    features = checked(source, name, at_least=2)
    if len(features) <= features.shape[1]:
        features = features.astype(np.float64)
        return Side(features.mean(0), len(features), features)
    moments = of_features(features).moments
    return Side(moments.mean, len(features), features, moments)


def frechet(real: Source, generated: Source) -> Frechet:
    """Squared Fréchet distance; smaller is closer, 0 is equal mean and covariance.

    Either side may be features (n, d), Moments, Statistics, or a `prepare`d Side: prepare a reference once and compare
    many with it. Raises DataError on bad features or where dimensions differ.
    """
    a, b = pair(real, generated)
    found = spectrum(a, b)
    mean_term = float(((a.mean - b.mean) ** 2).sum())
    traces = a.trace + b.trace
    return Frechet(
        value=max(0.0, mean_term + traces - 2 * found.cross),
        path=found.path,
        mean_term=mean_term,
        trace_term=traces,
        cross=found.cross,
        rank=len(found.values),
        clamped=found.clamped,
        clamped_share=found.clamped / traces if traces else 0.0,
        rounding=2 * found.rounding + 4 * EPSILON * (mean_term + traces),
    )


def pair(real: Source, generated: Source) -> tuple[Side, Side]:
    """Both sides prepared. Raises DataError where dimensions differ."""
    a, b = prepare(real, "real features"), prepare(generated, "generated features")
    if a.dim != b.dim:
        raise DataError(f"Real features have {a.dim} dimensions, generated ones {b.dim}: use one protocol for both.")
    return a, b


def spectrum(a: Side, b: Side) -> Spectrum:
    """Eigenvalues of S1^1/2 S2 S1^1/2 by the path of this module's head."""
    tolerated = TOLERANCE * np.sqrt(a.trace * b.trace)
    for matrix, path, clamped in products(a, b):
        values = _eigenvalues(matrix, path)
        rounding = _rounding(values)
        if rounding <= tolerated:
            return Spectrum(values[values > 0], path, clamped + _negative(values), rounding)
    return _by_singular_values(a, b)


def _eigenvalues(matrix: Floats, path: str) -> Floats:
    """By the library that made the matrix: numpy and scipy have a pool of threads each, and the one that has just
    worked keeps the processors busy for a while, which takes the other up to half of its time."""
    if path == "cholesky":
        return linalg.eigh(matrix, eigvals_only=True, driver="evd", check_finite=False, overwrite_a=True)
    return np.linalg.eigvalsh(matrix)


def products(a: Side, b: Side) -> Iterator[tuple[Floats, str, float]]:
    """Lower triangles with the eigenvalues of S1^1/2 S2 S1^1/2 (and zeros), each with its path and what was cut.

    Cheapest first; a later one has fewer zeros, whose rounding would be seen in the roots.
    """
    if a.few and b.few:
        if min(a.n, b.n) < SQUARE * max(a.n, b.n):
            cross = a.thin.rows @ b.thin.rows.T
            product = cross @ cross.T if len(cross) <= cross.shape[1] else cross.T @ cross
            yield product, _worse(a, b, "nuclear"), a.thin.cut + b.thin.cut
    elif a.few or b.few:
        short, long = (a, b) if a.few else (b, a)
        root, cut, path = short.thin
        yield root @ long.covariance @ root.T, "low-rank" if path == "nuclear" else path, cut
    else:
        if a.cholesky is not None:
            yield congruence(a.cholesky, b.covariance), "cholesky", 0.0
        for side, other in ((a, b), (b, a)):
            if side.cholesky is None:
                root, cut, path = side.low_rank
                yield root @ other.covariance @ root.T, path, cut


def congruence(lower: Floats, matrix: Floats) -> Floats:
    """L' M L (d, d) in the lower triangle, which is all that `eigh` reads, by LAPACK's sygst: half of two products."""
    return linalg.lapack.dsygst(matrix, lower, itype=2, lower=1)[0]


def contrasts(centred: Floats) -> Floats:
    """Rows (n - 1, d) with the covariance (divided by n - 1) of n rows whose sum is 0.

    A Householder reflection takes the direction of equal weights, where nothing is left, out of the rows: with it their
    product would have one eigenvalue of pure rounding.
    """
    n = len(centred)
    return (centred[1:] - centred[0] / (1 + np.sqrt(n))) / np.sqrt(n - 1)


def _pivoted(covariance: Floats) -> Root | None:
    """By LAPACK's pstrf, which stops where what is left is rounding; None where what is left is more than that."""
    factor, pivots, rank, failed = linalg.lapack.dpstrf(covariance.T, lower=1)  # columns: four times as fast as rows
    if failed < 0 or not rank:
        return None
    rows = np.empty((rank, len(covariance)))
    rows[:, pivots - 1] = np.tril(factor[:, :rank]).T
    probe = np.random.default_rng(0).standard_normal(len(covariance))  # |E probe| is about |E|, for any E but by design
    left = np.linalg.norm(covariance @ probe - rows.T @ (rows @ probe))
    trace = float(covariance.trace())
    if left > len(covariance) * EPSILON * trace:
        return None
    return Root(rows, float(np.abs(covariance.diagonal() - (rows**2).sum(0)).sum()), "pivoted")


def _by_eigenvectors(covariance: Floats) -> Root:
    """From the eigenvalues above rounding, largest first."""
    values, vectors = linalg.eigh(covariance, driver="evd", check_finite=False)
    kept = values > len(values) * EPSILON * max(values[-1], 0)
    rows = (vectors[:, kept] * np.sqrt(values[kept])).T[::-1]
    return Root(np.ascontiguousarray(rows), float(np.abs(values[~kept]).sum()), "eigh")


def _worse(a: Side, b: Side, path: str) -> str:
    """The path, or where it went through a covariance without features, how that was taken apart."""
    singular = {side.low_rank.path for side in (a, b) if side.features is None and side.cholesky is None}
    return next((each for each in ("eigh", "pivoted") if each in singular), path)


def _by_singular_values(a: Side, b: Side) -> Spectrum:
    singular = [side for side in (a, b) if side.features is None and side.cholesky is None]
    values = np.linalg.svd(a.root @ b.root.T, compute_uv=False)
    floor = len(values) * EPSILON * values[0] if len(values) else 0.0
    clamped = sum(side.low_rank.cut for side in singular)
    kept = values[values > floor]
    return Spectrum(kept**2, _worse(a, b, "nuclear"), clamped, EPSILON * float(values.sum()))


def _triangle(features: NDArray, mean: Floats) -> Floats:
    """R (d, d) of a QR decomposition of the centred, scaled features, some rows at a time."""
    triangle = np.empty((0, len(mean)))
    for start in range(0, len(features), 2 * BLOCK):
        block = (features[start : start + 2 * BLOCK] - mean) / np.sqrt(len(features) - 1)
        triangle = linalg.qr(np.vstack([triangle, block]), mode="r", check_finite=False, overwrite_a=True)[0]
        triangle = triangle[: len(mean)]
    return triangle


def _rounding(values: Floats) -> float:
    """Estimated error of the sum of roots, when each eigenvalue errs by about an epsilon of the largest.

    Errors of roots that are above it have either sign and add up as squares; what lies below is all error.
    """
    error = EPSILON * np.abs(values).max(initial=0.0)
    above = values[values > 16 * error]
    return float(np.sqrt((error**2 / (4 * above)).sum()) + (len(values) - len(above)) * 4 * np.sqrt(error))


def _negative(values: Floats) -> float:
    """Roots of what is cut, in units of the covariances."""
    return float(np.sqrt(-values[values < 0]).sum())
