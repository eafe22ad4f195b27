"""How far a Fréchet distance can be trusted: its bias, its standard error, and which images make it.

Bias. The sample covariance of n features has its small eigenvalues too small, so 2 tr (S1^1/2 S2 S1^1/2)^1/2 comes out
too small and the distance too large: at n = d / 4 by many times its true value. Two steps take that off.

1. Deconvolution. The eigenvalues l of S1^1/2 S2 S1^1/2 are spread by sampling in a known way: with
   G(u) = sum l / (l + u), the value G(u) that samples of n and m images give at u is that of the true covariances at

       w(u) = u / ((1 - G(u) / (n - 1)) (1 - G(u) / (m - 1)))

   (the S-transform of the Marchenko-Pastur law is 1 / (1 + c z), and S-transforms multiply; D. Voiculescu 1987; J.
   Silverstein, J. Multivariate Anal. 55, 1995). With sum sqrt(l) = (1/pi) ∫ G w^(-1/2) dw the true trace follows. The
   idea of estimating this distance so is that of M. Tiomoko and R. Couillet 2019 (arXiv:1903.03447); on the real axis
   it needs no contour and holds also below d images, up to what so few images cannot show at all: the part of the
   integral below the smallest w. For that part the shape of the reference's own spectrum is taken.
   What sampling adds to |m1 - m2|^2 is tr S / n, exactly.
2. Half-split jackknife, 2 F(n) - mean F(n / 2), over a few random splits: features are not Gaussian, and what is left
   of the bias falls about as 1 / n.

Error. The estimate's influence function: phi_i tells how it would move if image i weighed more. Its standard error is
sd(phi) / sqrt(n); phi_i / n is what image i adds to the distance; and on the same prompts the difference of two
contestants has the standard error sd(phi_a - phi_b) / sqrt(n).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.special import ndtri

from arena.errors import DataError, UsageError
from evaluators.distribution import frechet
from evaluators.distribution.frechet import EPSILON, Side, Source
from evaluators.distribution.statistics import BLOCK, Floats

LEVEL = 0.95
SPLITS = 4
STEP = 0.1
"""Of the integral over log u; the integrand is smooth, and halving the step changes nothing."""


class Reference(StrEnum):
    """What the real images are: FIXED, the very thing to be matched, or a SAMPLE of it, with a bias of its own."""

    FIXED = "fixed"
    SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A debiased squared distance with its standard error and 95% interval.

    `plain` is the usual, biased figure; `value` may be below 0 where the truth is near it. `unseen` is the share of the
    trace term's square root that rests on the shape of the reference's spectrum. `reliability` is None, or a sentence.
    """

    value: float
    se: float
    low: float
    high: float
    plain: float
    unseen: float
    n_real: int | None
    n_generated: int
    reliability: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """The first contestant's debiased distance minus the second's; below 0 the first is closer."""

    value: float
    se: float
    low: float
    high: float
    n: int


class Deconvolved(NamedTuple):
    """tr (S1^1/2 S2 S1^1/2)^1/2 of the true covariances, its derivative by each sample eigenvalue (k,), and the share
    of it that lies below what the samples show."""

    cross: float
    weights: Floats
    unseen: float


class Coupling(NamedTuple):
    """Eigenvalues (k,) of S1^1/2 S2 S1^1/2, and for each side a function of weights e (k,): sum_j e_j y_ij^2 for each
    of its images (n,), where y_ij^2 averages to eigenvalue j. None for a side without features."""

    values: Floats
    real: Callable[[Floats], Floats] | None
    generated: Callable[[Floats], Floats] | None


def debiased(
    real: Source,
    generated: Source,
    *,
    reference: Reference = Reference.FIXED,
    splits: int = SPLITS,
    seed: int = 0,
) -> Estimate:
    """The Fréchet distance without its sample-size bias, with its error.

    `generated` must be features (n, d), n >= 2, or a `frechet.prepare`d side of them. `reference` SAMPLE takes off the
    reference's bias too and adds its error; it needs the reference's features or a count. Deterministic for a seed.
    Raises DataError on bad features, UsageError where the reference's n is needed and unknown.
    """
    a, b = _pair(real, generated, reference)
    found = _found(a, b, reference, splits, seed)
    own, theirs = _influences(a, b, found, reference)
    variance = _variance(own) + (_variance(theirs) if theirs is not None else 0.0)
    value, se = found.value, float(np.sqrt(variance))
    half = _factor() * se
    return Estimate(
        value=value,
        se=se,
        low=value - half,
        high=value + half,
        plain=frechet.frechet(a, b).value,
        unseen=found.deconvolved.unseen,
        n_real=a.n,
        n_generated=len(own),
        reliability=reliability(len(own), a.dim),
    )


def influence(real: Source, generated: Source, *, reference: Reference = Reference.FIXED) -> Floats:
    """phi (n,), mean 0: the derivative of the debiased distance by the weight of each generated image.

    Raises DataError where the generated features are not there.
    """
    a, b = _pair(real, generated, reference)
    return _influences(a, b, _Found.of(a, b, reference), Reference.FIXED)[0]


def contributions(real: Source, generated: Source) -> Floats:
    """What each generated image adds to the distance (n,), in its units: without image i it falls by about c_i.

    They average to 0: an image below 0 brings the set closer. Raises DataError as `influence`.
    """
    phi = influence(real, generated)
    return phi / (len(phi) - 1)


def standard_error(phi: Floats) -> float:
    """sd(phi) / sqrt(n)."""
    return float(np.sqrt(_variance(phi)))


def paired_difference(
    real: Source,
    first: Source,
    second: Source,
    *,
    reference: Reference = Reference.FIXED,
    splits: int = SPLITS,
    seed: int = 0,
) -> Difference:
    """Distance of the first contestant minus the second's, on the same prompts: row i of both answers prompt i.

    What both share, the prompts and the reference, cancels. Raises DataError where the sets differ in length.
    """
    a, x = _pair(real, first, reference)
    a, y = _pair(a, second, reference)
    if x.n != y.n:
        raise DataError(f"Paired sets need one row each for a prompt, got {x.n} and {y.n}.")
    found = [_found(a, side, reference, splits, seed) for side in (x, y)]
    (own_x, shared_x), (own_y, shared_y) = (
        _influences(a, side, each, reference) for side, each in zip((x, y), found, strict=True)
    )
    variance = _variance(own_x - own_y)
    if shared_x is not None and shared_y is not None:
        variance += _variance(shared_x - shared_y)
    value, se = found[0].value - found[1].value, float(np.sqrt(variance))
    return Difference(value, se, value - _factor() * se, value + _factor() * se, len(own_x))


def reliability(n: int, dim: int) -> str | None:
    """None, or one sentence that says what the number of images does to a Fréchet distance and what to use instead."""
    return None


def half_split(
    estimate: Callable[[Side, Side], float], a: Side, b: Side, *, reference: Reference, splits: int, seed: int
) -> float:
    """Richardson's extrapolation in 1 / n of any estimate, from the whole and from random halves of it.

    With a SAMPLE whose features are there, both sides are halved. Below 4 images there are no halves to take.
    """
    whole = estimate(a, b)
    if b.n < 4 or splits < 1:
        return whole
    both = reference is Reference.SAMPLE and a.features is not None and a.n >= 4
    rng = np.random.default_rng(seed)
    halves = []
    for _ in range(splits):
        firsts = _halves(a, rng) if both else (a, a)
        halves += [estimate(x, y) for x, y in zip(firsts, _halves(b, rng), strict=True)]
    return 2 * whole - float(np.mean(halves))


def deconvolved(a: Side, b: Side, *, reference: Reference) -> float:
    """The distance after the first step alone, without a jackknife."""
    return _Found.of(a, b, reference).value


def deconvolve(values: Floats, real: float, generated: float, shape: Callable[[], Floats]) -> Deconvolved:
    """From sample eigenvalues (k,), > 0, and each side's degrees of freedom (inf where the side is exact).

    `shape` gives a spectrum of which only the form counts, and only where samples are fewer than dimensions.
    """
    u = np.exp(np.arange(np.log(values.min() * 1e-6), np.log(values.max() * 1e8), STEP))
    g = (values / (values + u[:, None])).sum(1)
    left = (u[:, None] / (values + u[:, None])).sum(1)  # k - g without cancellation
    spare = [max(0.0, n - len(values)) + left for n in (real, generated) if np.isfinite(n)]
    counts = [n for n in (real, generated) if np.isfinite(n)]
    w = u * np.prod([n / rest for n, rest in zip(counts, spare, strict=True)], axis=0)
    blind = len(values) >= min(real, generated)
    start = int(np.argmin(w)) if blind else 0
    w = np.minimum.accumulate(w[::-1])[::-1]
    weights = _plain_weights(values, u[start] if blind else 0.0)
    rise = (np.sqrt(w) - np.sqrt(u))[start:] * u[start:] * STEP
    rise[[0, -1]] /= 2
    weights += rise @ (1 / (values + u[start:, None]) ** 2) / np.pi
    cross = 2 * float(values @ weights)
    if not blind:
        return Deconvolved(cross, weights, 0.0)
    kappa = _below(shape(), g[start])
    edge = np.sqrt(w[start]) / np.pi
    slope = u[start] / (values + u[start]) ** 2
    inner = sum(1 / rest[start] for rest in spare) / 2
    weights += edge * slope * (kappa + (kappa - 2) * g[start] * inner)
    total = cross + (kappa - 2) * g[start] * edge
    return Deconvolved(total, weights, kappa * g[start] * edge / total)


def _plain_weights(values: Floats, start: float) -> Floats:
    """(1/pi) ∫ sqrt(u) / (l + u)^2 du from `start` on; from 0 it is the derivative of sqrt(l)."""
    rest = np.pi / 2 - np.arctan(np.sqrt(start / values))
    return (np.sqrt(start) / (values + start) + rest / np.sqrt(values)) / np.pi


def _below(shape: Floats, g: float) -> float:
    """∫ g(w s) s^(-1/2) ds / g(w) over s in (0, 1), of a spectrum of this shape at the w where it has g(w) = g.

    2 where the spectrum ends there; more, the more of it lies below.
    """
    if len(shape) <= g:
        return 2.0
    low, high = np.log(shape.min()) - 40, np.log(shape.max() * len(shape) / g) + 1
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (shape / (shape + np.exp(middle))).sum() > g else (low, middle)
    ratio = np.sqrt(shape / np.exp(low))
    return float((2 * ratio * np.arctan(1 / ratio)).sum() / g)


@dataclass(frozen=True, slots=True)
class _Found:
    value: float
    deconvolved: Deconvolved
    coupling: Coupling | None = None

    @staticmethod
    def of(a: Side, b: Side, reference: Reference) -> _Found:
        values = frechet.spectrum(a, b).values
        real = a.n - 1 if reference is Reference.SAMPLE else np.inf
        if len(values):
            found = deconvolve(values, real, b.n - 1, lambda: a.eigenvalues**2)
        else:
            found = Deconvolved(0.0, values, 0.0)
        gap = float(((a.mean - b.mean) ** 2).sum()) - b.trace / b.n
        if reference is Reference.SAMPLE:
            gap -= a.trace / a.n
        return _Found(gap + a.trace + b.trace - 2 * found.cross, found)


def _found(a: Side, b: Side, reference: Reference, splits: int, seed: int) -> _Found:
    whole = _Found.of(a, b, reference)

    def estimate(x: Side, y: Side) -> float:
        return whole.value if y is b else _Found.of(x, y, reference).value

    value = half_split(estimate, a, b, reference=reference, splits=splits, seed=seed)
    return _Found(value, whole.deconvolved)


def _influences(a: Side, b: Side, found: _Found, reference: Reference) -> tuple[Floats, Floats | None]:
    """phi of the generated images, and of the real ones where they are a sample whose features are there."""
    coupling = couple(a, b)
    weights = found.deconvolved.weights
    assert coupling.generated is not None
    own = _phi(b, a.mean, coupling.generated(weights))
    if reference is Reference.FIXED:
        return own, None
    if coupling.real is None:
        raise UsageError("The reference's features are needed for its part of the error: give them, or say fixed.")
    return own, _phi(a, b.mean, coupling.real(weights))


def _phi(side: Side, other: Floats, cross: Floats) -> Floats:
    features = side.features
    norms, along = np.empty(len(features)), np.empty(len(features))
    for start in range(0, len(features), BLOCK):
        centred = features[start : start + BLOCK] - side.mean
        norms[start : start + BLOCK] = (centred**2).sum(1)
        along[start : start + BLOCK] = centred @ (side.mean - other)
    phi = norms + 2 * along - 2 * cross
    return phi - phi.mean()


def couple(a: Side, b: Side) -> Coupling:
    """Eigenvalues with each image's coordinates, in the smallest of the three spaces: either sample's, or features'."""
    if b.rows is not None and (a.rows is None or b.n <= a.n):
        return _couple_rows(a, b)
    if a.rows is not None:
        swapped = _couple_rows(b, a)
        return Coupling(swapped.values, swapped.generated, swapped.real)
    root = a.cholesky.T if a.cholesky is not None else a.eigen[0]
    matrix = frechet.congruence(a.cholesky, b.covariance) if a.cholesky is not None else root @ b.covariance @ root.T
    values, vectors = _eigh(matrix)
    directions = root.T @ vectors
    return Coupling(
        values,
        _squares(a, (b.covariance @ directions) / np.sqrt(values)) if a.features is not None else None,
        _squares(b, directions) if b.features is not None else None,
    )


def _couple_rows(a: Side, b: Side) -> Coupling:
    cross = b.rows @ a.rows.T if a.rows is not None else None
    values, vectors = _eigh(cross @ cross.T if cross is not None else b.rows @ a.covariance @ b.rows.T)
    # Back from contrasts to images: the reflection of `frechet.contrasts`, which is its own inverse.
    total = vectors.sum(0)
    coordinates = np.vstack([-total / np.sqrt(b.n), vectors - total / (b.n + np.sqrt(b.n))])
    squared = coordinates**2 * ((b.n - 1) * values)
    return Coupling(
        values,
        _squares(a, b.rows.T @ vectors) if a.features is not None else None,
        lambda weights: squared @ weights,
    )


def _squares(side: Side, directions: Floats) -> Callable[[Floats], Floats]:
    def weighted(weights: Floats) -> Floats:
        scaled = directions * np.sqrt(weights)
        blocks = range(0, len(side.features), BLOCK)
        return np.concatenate([(((side.features[s : s + BLOCK] - side.mean) @ scaled) ** 2).sum(1) for s in blocks])

    return weighted


def _eigh(matrix: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues above rounding, ascending, with their vectors."""
    values, vectors = linalg.eigh(matrix, driver="evd", check_finite=False, overwrite_a=True)
    kept = values > len(values) * EPSILON * max(values[-1], 0)
    return values[kept], vectors[:, kept]


def _halves(side: Side, rng: np.random.Generator) -> tuple[Side, Side]:
    order = rng.permutation(side.n)
    half = side.n // 2
    return frechet.prepare(side.features[order[:half]]), frechet.prepare(side.features[order[half:]])


def _pair(real: Source, generated: Source, reference: Reference) -> tuple[Side, Side]:
    a, b = frechet.pair(real, generated)
    if b.features is None:
        raise DataError("The generated features are needed, not only their statistics: bias and error come from them.")
    if reference is Reference.SAMPLE and a.n is None:
        raise UsageError("The reference file does not say how many images it has: treat it as fixed.")
    return a, b


def _variance(phi: NDArray) -> float:
    return float(phi.var(ddof=1)) / len(phi)


def _factor() -> float:
    return float(ndtri((1 + LEVEL) / 2))
