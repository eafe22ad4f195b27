"""How far a Fréchet distance can be trusted: its bias, its standard error, and which images make it.

Bias. The small eigenvalues of a sample covariance are too small, so tr (S1^1/2 S2 S1^1/2)^1/2 comes out too small and
the distance too large: with n = d / 4 images, by many times its true value. Two steps take that off.

1. Deconvolution. Sampling spreads the eigenvalues l of S1^1/2 S2 S1^1/2 in a known way. With G(u) = sum l / (l + u),
   the value that samples of n and m images give at u is the one that the true covariances give at

       w(u) = u / ((1 - G(u) / (n - 1)) (1 - G(u) / (m - 1)))

   because the S-transform of a Marchenko-Pastur law is 1 / (1 + c z), and S-transforms multiply (D. Voiculescu, J.
   Operator Theory 18, 1987; J. Silverstein, J. Multivariate Anal. 55, 1995). The true trace is (1/pi) ∫ G dw / sqrt(w).
   To estimate this distance by random matrix theory is the idea of M. Tiomoko and R. Couillet (arXiv:1903.03447); on
   the real axis no contour is needed, and it holds below d images too, up to what so few cannot show: the part of the
   integral below the smallest w. There the form of the reference's own spectrum is taken, raised to the power that
   makes it as steep as the part that is seen. What sampling adds to |m1 - m2|^2 is tr S / n, exactly.
2. A half-split jackknife, 2 F(n) - mean F(n / 2), over a few random splits: features are not Gaussian, and what is
   left of the bias falls about as 1 / n.

Error. Each image is left out in turn, exactly and without new decompositions (`left_out`), which gives the variance of
the jackknife. With fewer images than dimensions that variance is too large: where the variance of an estimate is
A / n + B / n^2, it has 2 B. The same B is what random splits of the same images vary by; so it is taken off once.
What image i adds to the distance is the difference that leaving it out makes. On the same prompts, the difference of
two contestants has the variance of the two left-out distances' difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.optimize import brentq
from scipy.special import ndtri

from arena.errors import DataError, UsageError
from evaluators.distribution import frechet
from evaluators.distribution.frechet import EPSILON, Side, Source
from evaluators.distribution.statistics import BLOCK, Floats

LEVEL = 0.95
SPLITS = 4, 16
"""Random splits, at least and at most: fewer of more images, where each costs more and there is less to take off."""
SPLIT_IMAGES = 8000
"""Images in all splits, between these limits."""
STEP = 0.1
"""Of the integrals over log u; the integrand is smooth, and halving the step changes nothing."""
SEEN = 0.7
"""Share of the reference's dimensions, at most, where the steepness of the spectrum is read off."""
TRUSTED = 0.8
"""Share of G that is used where both sides are samples of fewer images than dimensions: below it is noise."""
STEEPNESS = 0.1, 6.0
"""Powers of the reference's spectrum that are tried for the part that few images do not show."""


class Reference(StrEnum):
    """What the real images are: FIXED, the very thing to be matched, or a SAMPLE of it, with a bias of its own."""

    FIXED = "fixed"
    SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A debiased squared distance with its standard error and 95% interval.

    `plain` is the usual, biased figure; `value` may be below 0 where the truth is near it. `unseen` is the share of the
    trace of the root that rests on the form of the reference's spectrum. `reliability` is None, or one sentence.
    `contributions` (n,) are those of the function of that name.
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
    contributions: Floats = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Difference:
    """The first contestant's debiased distance minus the second's; below 0 the first is closer."""

    value: float
    se: float
    low: float
    high: float
    n: int


class Curve(NamedTuple):
    """G(u) at points u (p,), ascending, from the first that is used; `blind`: images are no more than eigenvalues, so
    that below the first w nothing is seen."""

    u: Floats
    g: Floats
    w: Floats
    blind: bool


class Coupling(NamedTuple):
    """Eigenvalues (k,), > 0, of S1^1/2 S2 S1^1/2, and for each side with features a function of rows (a slice): the
    coordinates (b, k) of its images, whose squares average to the eigenvalues."""

    values: Floats
    real: Callable[[slice], Floats] | None
    generated: Callable[[slice], Floats]


def debiased(
    real: Source,
    generated: Source,
    *,
    reference: Reference = Reference.FIXED,
    splits: int | None = None,
    seed: int = 0,
) -> Estimate:
    """The Fréchet distance without its sample-size bias, with its error.

    `generated` must be features (n, d), n >= 2, or a `frechet.prepare`d side of them. `reference` SAMPLE takes off the
    reference's bias too and adds its error, for which it needs the reference's features. Deterministic for a seed.
    Raises DataError on bad features, UsageError where a sample's features are missing.
    """
    a, b = _pair(real, generated, reference)
    found = _measured(a, b, reference, splits, seed)
    se = found.standard_error()
    return Estimate(
        value=found.value,
        se=se,
        low=found.value - _factor() * se,
        high=found.value + _factor() * se,
        plain=max(0.0, found.plain),
        unseen=found.unseen,
        n_real=a.n,
        n_generated=len(found.without),
        reliability=reliability(len(found.without), a.dim),
        contributions=found.deconvolved - found.without,
    )


def paired_difference(
    real: Source,
    first: Source,
    second: Source,
    *,
    reference: Reference = Reference.FIXED,
    splits: int | None = None,
    seed: int = 0,
) -> Difference:
    """Distance of the first contestant minus the second's, on the same prompts: row i of both answers prompt i.

    What both share, the prompts and the reference, cancels. Raises DataError where the sets differ in length.
    """
    a, x = _pair(real, first, reference)
    a, y = _pair(a, second, reference)
    if x.n != y.n:
        raise DataError(f"Paired sets need one row each for a prompt, got {x.n} and {y.n}.")
    found = _measured(a, x, reference, splits, seed) - _measured(a, y, reference, splits, seed)
    se = found.standard_error()
    return Difference(found.value, se, found.value - _factor() * se, found.value + _factor() * se, len(found.without))


def contributions(real: Source, generated: Source, *, reference: Reference = Reference.FIXED) -> Floats:
    """What each generated image adds to the (deconvolved) distance (n,): without image i it is smaller by c_i.

    An image below 0 brings the set closer. Raises DataError where the generated features are not there or fewer than 3.
    """
    a, b = _pair(real, generated, reference)
    coupling = couple(a, b)
    found = deconvolve(a, b, coupling.values, reference)
    return found.value - left_out(a, b, coupling, found, reference)[0]


def influence(real: Source, generated: Source, *, reference: Reference = Reference.FIXED) -> Floats:
    """phi (n,), mean 0: the jackknife's influence of each generated image, (n - 1) times its contribution, centred."""
    added = contributions(real, generated, reference=reference)
    return (len(added) - 1) * (added - added.mean())


def reliability(n: int, dim: int) -> str | None:
    """None, or one sentence that says what so few images do to a Fréchet distance and what to use instead.

    The limits are those of docs/fid-simulated.md: below `dim` images part of the estimate is an assumption, below 4 dim
    the plain distance is mostly bias, and only the debiased one can be read.
    """
    instead = "use KID (kid) or CMMD (cmmd-u), which are unbiased at any number, or add images"
    if n < dim:
        return (
            f"Unreliable at N = {n}: fewer images than the {dim} dimensions of a feature, so the plain distance is "
            f"mostly bias and the debiased one assumes what so few images cannot show; {instead}."
        )
    if n < 4 * dim:
        return (
            f"The plain distance is mostly bias at N = {n}, below 4 times the {dim} dimensions of a feature: read the "
            f"debiased one with its interval, compare equal N only, or {instead}."
        )
    return None


@dataclass(frozen=True, slots=True)
class Deconvolved:
    """The distance after the first step, and in it `cross`, the trace of the root.

    `sampled`: what was taken off the means' difference; `form`: the spectrum that is continued below what is seen;
    `unseen`: the share of `cross` that rests on it; `kappa`: what it adds, in units of G sqrt(w) / pi at the first w
    (2: nothing).
    """

    value: float
    cross: float
    sampled: float
    curve: Curve | None
    form: Floats
    kappa: float
    unseen: float


def deconvolve(a: Side, b: Side, values: Floats, reference: Reference, form: Floats | None = None) -> Deconvolved:
    """The first step, from the eigenvalues (k,); `form` is found from the reference where it is not given."""
    real, generated = _freedom(a, reference), b.n - 1
    sampled = b.trace / b.n + (a.trace / a.n if np.isfinite(real) else 0.0)
    others = float(((a.mean - b.mean) ** 2).sum()) - sampled + a.trace + b.trace
    if not len(values):
        return Deconvolved(others, 0.0, sampled, None, values, 2.0, 0.0)
    seen = curve(values, real, generated)
    if form is None:
        few = min(real, generated) <= 2 * a.dim + 2  # then halves are blind, if not the whole
        form = as_steep(_form(a, reference), seen) if few else values
    kappa = _below(form, seen.g[0]) if seen.blind else 2.0
    tail = kappa / np.pi * seen.g[0] * np.sqrt(seen.w[0]) if seen.blind else 0.0
    cross = float(_trace(values, seen) + tail)
    return Deconvolved(others - 2 * cross, cross, sampled, seen, form, kappa, float(tail / cross))


def curve(values: Floats, real: float, generated: float) -> Curve:
    """Of sample eigenvalues (k,), > 0, and each side's degrees of freedom (inf where the side is exact)."""
    u = np.exp(np.arange(np.log(values.min() * 1e-4), np.log(values.max() * 1e8), STEP))
    g = (values / (values + u[:, None])).sum(1)
    unseen = (u[:, None] / (values + u[:, None])).sum(1)  # k - g without cancellation
    w = _true_points(u, [(n, max(0.0, n - len(values)) + unseen) for n in (real, generated)])
    blind = len(values) >= min(real, generated)
    start = int(np.argmin(w)) if blind else 0
    if blind and np.isfinite(real):
        start = max(start, int((g > TRUSTED * len(values)).sum()))
    return Curve(u[start:], g[start:], _rising(w[start:]), blind)


def _true_points(u: Floats, freedom: list[tuple[float, Floats]]) -> Floats:
    """w (..., p) from (n, n - G) of each side; a side without sampling error changes nothing."""
    w = u
    for n, spare in freedom:
        if np.isfinite(n):
            w = w * (n / spare)
    return w


def _rising(w: Floats) -> Floats:
    return np.minimum.accumulate(w[..., ::-1], axis=-1)[..., ::-1]


def _trace(values: Floats, seen: Curve) -> float:
    """(1/pi) ∫ G dw / sqrt(w) over what is seen, as what it is with w = u, in closed form, and the rest by sums."""
    u, g, w, blind = seen
    start = u[0] if blind else 0.0
    angle = np.pi / 2 - np.arctan(np.sqrt(start / values))
    plain = (values * np.sqrt(start) / (values + start) + np.sqrt(values) * angle).sum()
    slope = (values / (values + u[:, None]) ** 2).sum(1)
    rest = (np.sqrt(w) - np.sqrt(u)) * u * slope * STEP
    edge = g[0] * np.sqrt(w[0]) if blind else 0.0
    return float(2 / np.pi * (plain + rest.sum() - (rest[0] + rest[-1]) / 2 - edge))


def as_steep(form: Floats, seen: Curve) -> Floats:
    """A power of the spectrum, such that w rises as much between one G, low on the curve, and its half as seen."""
    g = min(seen.g[0], SEEN * len(form))
    at_half, at_whole = np.log(np.interp([-g / 2, -g], -seen.g, seen.w))

    def excess(power: float) -> float:
        return _log_w(form**power, g / 2) - _log_w(form**power, g) - (at_half - at_whole)

    low, high = STEEPNESS
    if excess(low) > 0 or excess(high) < 0:
        return form ** (low if excess(low) > 0 else high)
    return form ** brentq(excess, low, high, xtol=1e-4)


def _form(a: Side, reference: Reference) -> Floats:
    """The reference's spectrum; a power law where a sample has fewer images than dimensions and does not show it."""
    if reference is Reference.SAMPLE and a.n <= a.dim:
        return 1 / np.arange(1.0, a.dim + 1)
    return a.eigenvalues**2


def _below(form: Floats, g: float) -> float:
    """∫ G(w s) s^(-1/2) ds / G(w) over s in (0, 1), of a spectrum of this form at the w where it has G(w) = g.

    2 where the spectrum ends there; more, the more of it lies below.
    """
    if len(form) <= g:
        return 2.0
    ratio = np.sqrt(form / np.exp(_log_w(form, g)))
    return float((2 * ratio * np.arctan(1 / ratio)).sum() / g)


def _log_w(form: Floats, g: float) -> float:
    """log of the w at which sum l / (l + w) = g, for g below the number of eigenvalues l."""
    high = np.log(form.max() * len(form) / g)
    low = np.log(form.min() * (len(form) / g - 1))
    return brentq(lambda log_w: (form / (form + np.exp(log_w))).sum() - g, low - 1, high + 1, xtol=1e-6)


def left_out(
    a: Side, b: Side, coupling: Coupling, found: Deconvolved, reference: Reference
) -> tuple[Floats, Floats | None]:
    """The deconvolved distance without each generated image (n,), and without each real one where they are a sample.

    Leaving one of n out takes r y y' from the eigenvalues' matrix, r = n / (n - 1)^2, and scales it by (n - 1) / (n -
    2). With h(u) = r y'(M + u)^-1 y the resolvent's trace changes by r y'(M + u)^-2 y / (1 - h): so G(u) is known for
    each left-out image from its coordinates alone, and with it the integral.
    """
    own = _without_each(b, a, coupling.generated, coupling.values, found, _freedom(a, reference))
    if reference is Reference.FIXED:
        return own, None
    assert coupling.real is not None
    return own, _without_each(a, b, coupling.real, coupling.values, found, b.n - 1)


def _without_each(
    side: Side, other: Side, coordinates: Callable[[slice], Floats], values: Floats, found: Deconvolved, freedom: float
) -> Floats:
    """`freedom`: the other side's degrees of freedom, inf where it is no sample. Raises DataError below 3 images."""
    n = side.n
    if n < 3:
        raise DataError(f"An error needs at least 3 images, got {n}: add images.")
    norms, along = _lengths(side, other)
    ratio, grown = n / (n - 1) ** 2, (n - 1) / (n - 2)
    trace = grown * (side.trace - ratio * norms)
    shift = ((side.mean - other.mean) ** 2).sum() - 2 * along / (n - 1) + norms / (n - 1) ** 2
    base = shift - trace / (n - 1) + trace + other.trace - (other.trace / (freedom + 1) if np.isfinite(freedom) else 0)
    if found.curve is None:
        return base
    traces = [_traces_without(coordinates(rows), values, found, n, freedom) for rows in _blocks(n)]
    sums_err = _stieltjes(found.curve.g, found.curve.w, found.kappa) - found.cross
    return base - 2 * (np.concatenate(traces) - sums_err)


def _traces_without(coordinates: Floats, values: Floats, found: Deconvolved, n: int, freedom: float) -> Floats:
    """The deconvolved trace without each of these images (b,), by the same sums as `_stieltjes` of the whole."""
    u, g, _, blind = found.curve
    weights = coordinates**2 * (n / (n - 1) ** 2)
    inverse = 1 / (values[:, None] + u)
    kept = np.maximum(1 - weights @ inverse, EPSILON)
    fall = (weights @ inverse**2) * u / kept
    without = g - fall
    unseen = (u * inverse).sum(0)
    spare = max(0.0, n - 1 - len(values)) + unseen - 1 + fall
    spare = np.maximum(spare, EPSILON)
    others = max(0.0, freedom - len(values)) + unseen + fall
    w = _true_points(u * (n - 1) / (n - 2), [(n - 2, spare), (freedom, others)])
    kappa = found.kappa
    if blind:  # the less is seen, the more lies below: nearly linear over the one that is left out
        fewer = _below(found.form, max(g[0] - 1, g[0] / 2))
        kappa = kappa + (fewer - kappa) * (g[0] - without[:, 0]) / min(1, g[0] / 2)
    return _stieltjes(without, _rising(w), kappa)


def _stieltjes(g: Floats, w: Floats, kappa: float | Floats) -> Floats:
    """(1/pi) ∫ G dw / sqrt(w) (...) by sums over (..., p), with kappa for what lies below the first."""
    root = np.sqrt(w)
    return (((g[..., 1:] + g[..., :-1]) * np.diff(root)).sum(-1) + kappa * g[..., 0] * root[..., 0]) / np.pi


def couple(a: Side, b: Side) -> Coupling:
    """Eigenvalues with each image's coordinates, in the smallest of the three spaces: either sample's, or features'."""
    if b.rows is not None and (a.rows is None or b.n <= a.n):
        return _couple_rows(a, b)
    if a.rows is not None:
        values, generated, real = _couple_rows(b, a)
        return Coupling(values, real, generated)
    root = a.cholesky.T if a.cholesky is not None else a.eigen[0]
    matrix = frechet.congruence(a.cholesky, b.covariance) if a.cholesky is not None else root @ b.covariance @ root.T
    values, vectors = _eigh(matrix)
    directions = root.T @ vectors
    return Coupling(values, _along(a, (b.covariance @ directions) / np.sqrt(values)), _along(b, directions))


def _couple_rows(a: Side, b: Side) -> Coupling:
    cross = b.rows @ a.rows.T if a.rows is not None else None
    values, vectors = _eigh(cross @ cross.T if cross is not None else b.rows @ a.covariance @ b.rows.T)
    # Back from contrasts to images: the reflection of `frechet.contrasts`, which is its own inverse.
    total = vectors.sum(0)
    back = np.vstack([-total / np.sqrt(b.n), vectors - total / (b.n + np.sqrt(b.n))])
    coordinates = back * np.sqrt((b.n - 1) * values)
    return Coupling(values, _along(a, b.rows.T @ vectors), lambda rows: coordinates[rows])


def _along(side: Side, directions: Floats) -> Callable[[slice], Floats] | None:
    if side.features is None:
        return None
    return lambda rows: (side.features[rows] - side.mean) @ directions


def _eigh(matrix: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues above rounding, ascending, with their vectors."""
    values, vectors = linalg.eigh(matrix, driver="evd", check_finite=False, overwrite_a=True)
    kept = values > len(values) * EPSILON * max(values[-1], 0)
    return values[kept], vectors[:, kept]


@dataclass(frozen=True, slots=True)
class _Measured:
    """A debiased value with the distances without each generated and each real image, and how far splits differ."""

    value: float
    plain: float
    deconvolved: float
    without: Floats
    without_real: Floats | None
    splits: Floats
    unseen: float

    def __sub__(self, other: _Measured) -> _Measured:
        real = None if self.without_real is None else self.without_real - other.without_real
        halves = self.splits - other.splits
        without = self.without - other.without
        value, plain = self.value - other.value, self.plain - other.plain
        return _Measured(value, plain, self.deconvolved - other.deconvolved, without, real, halves, 0.0)

    def standard_error(self) -> float:
        """Of the jackknife, less the second-order part that it has twice; never less than that part."""
        first = sum(_jackknife(each) for each in (self.without, self.without_real) if each is not None)
        count = len(self.splits)
        second = float(self.splits.var(ddof=1)) if count > 1 else 0.0
        return float(np.sqrt(max(first - second * (1 - 1 / max(count, 1)), second)))


def _measured(a: Side, b: Side, reference: Reference, splits: int | None, seed: int) -> _Measured:
    coupling = couple(a, b)
    whole = deconvolve(a, b, coupling.values, reference)
    if splits is None:
        splits = int(np.clip(SPLIT_IMAGES // b.n, *SPLITS))
    halves = np.array(list(_half_means(a, b, coupling, whole.form, reference, splits, seed)))
    value = 2 * whole.value - float(halves.mean()) if len(halves) else whole.value
    plain = whole.value + whole.sampled + 2 * (whole.cross - float(np.sqrt(coupling.values).sum()))
    return _Measured(value, plain, whole.value, *left_out(a, b, coupling, whole, reference), halves, whole.unseen)


def _half_means(
    a: Side, b: Side, coupling: Coupling, form: Floats, reference: Reference, splits: int, seed: int
) -> Iterator[float]:
    """The mean deconvolved distance of two random halves, for each split; a reference that is a sample is halved too.

    Nothing where a side has fewer than 4 images.
    """
    sample = reference is Reference.SAMPLE
    if b.n < 4 or (sample and a.n < 4):
        return
    rng = np.random.default_rng(seed)
    for _ in range(splits):
        order, real_order = rng.permutation(b.n), rng.permutation(a.n) if sample else None
        found = []
        for part in (slice(None, b.n // 2), slice(b.n // 2, None)):
            y = frechet.prepare(b.features[order[part]])
            if sample:
                half = slice(None, a.n // 2) if part.start is None else slice(a.n // 2, None)
                x = frechet.prepare(a.features[real_order[half]])
                values = frechet.spectrum(x, y).values
            else:
                x = a
                values = _half_values(a, b, y, coupling, order[part])
            found.append(deconvolve(x, y, values, reference, form).value)
        yield float(np.mean(found))


def _half_values(a: Side, b: Side, half: Side, coupling: Coupling, rows: NDArray) -> Floats:
    """Eigenvalues of the half; from coordinates where these are few, which spares the product with the reference."""
    if b.rows is None:
        return frechet.spectrum(a, half).values
    points = coupling.generated(rows)
    contrasts = frechet.contrasts(points - points.mean(0))
    values = linalg.eigh(contrasts @ contrasts.T, eigvals_only=True, driver="evd", check_finite=False)
    return values[values > len(values) * EPSILON * max(values[-1], 0)]


def _lengths(side: Side, other: Side) -> tuple[Floats, Floats]:
    """|c|^2 and c.(m - m') of each centred feature (n,)."""
    norms, along = np.empty(side.n), np.empty(side.n)
    for rows in _blocks(side.n):
        centred = side.features[rows] - side.mean
        norms[rows], along[rows] = (centred**2).sum(1), centred @ (side.mean - other.mean)
    return norms, along


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, n, BLOCK))


def _freedom(a: Side, reference: Reference) -> float:
    return a.n - 1 if reference is Reference.SAMPLE else np.inf


def _pair(real: Source, generated: Source, reference: Reference) -> tuple[Side, Side]:
    a, b = frechet.pair(real, generated)
    if b.features is None:
        raise DataError("The generated features are needed, not only their statistics: bias and error come from them.")
    if reference is Reference.SAMPLE and a.features is None:
        raise UsageError("The reference's features are needed for its part of the error: give them, or say fixed.")
    return a, b


def _jackknife(left_out: Floats) -> float:
    n = len(left_out)
    return (n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum())


def _factor() -> float:
    return float(ndtri((1 + LEVEL) / 2))
