"""How far a Fréchet distance can be trusted: its bias, its standard error, and which images make it.

Bias. The small eigenvalues of a sample covariance are too small, so tr (S1^1/2 S2 S1^1/2)^1/2 comes out too small and
the distance too large: with n = d / 4 images, by many times its true value. Two steps take that off.

1. Deconvolution: what sampling does to the eigenvalues of S1^1/2 S2 S1^1/2 is undone (`deconvolution`). What it adds to
   |m1 - m2|^2 is tr S / n, exactly. Below d images, what so few cannot show is continued in the form of the reference's
   own spectrum.
2. A half-split jackknife, 2 F(n) - mean F(n / 2), over a few random splits: features are not Gaussian, and what is
   left of the bias falls about as 1 / n.

Error. Each image is left out in turn, without new decompositions (`left_out`), which gives the variance of the
jackknife. With fewer images than dimensions that variance is too large: where the variance of an estimate is
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

from arena.errors import DataError, UsageError
from evaluators.distribution import frechet
from evaluators.distribution.deconvolution import Curve, as_steep, below, curve, stieltjes, trace, traces_without
from evaluators.distribution.frechet import EPSILON, Side, Source
from evaluators.distribution.statistics import BLOCK, HALF_WIDTH, Floats

MINIMUM = 3
"""The fewest images of a side that has an error: each is left out in turn, and two must remain."""
SPLITS = 4, 16
"""Random splits, at least and at most: fewer of more images, where each costs more and there is less to take off."""
SPLIT_IMAGES = 8000
"""Images in all splits, between these limits."""


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
        low=found.value - HALF_WIDTH * se,
        high=found.value + HALF_WIDTH * se,
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
    return Difference(found.value, se, found.value - HALF_WIDTH * se, found.value + HALF_WIDTH * se, len(found.without))


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


def no_error(a: Side, b: Side, reference: Reference) -> str | None:
    """None, or one sentence that says why the distance of so few images has no error."""
    sampled = {"generated": b.n, **({"real": a.n} if reference is Reference.SAMPLE else {})}
    side, n = min(sampled.items(), key=lambda item: item[1] or 0)
    if n is None or n >= MINIMUM:
        return None
    return f"No interval and no debiased value: they need at least {MINIMUM} images, and {n} are {side}; add images."


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
    kappa = below(form, seen.g[0]) if seen.blind else 2.0
    tail = kappa / np.pi * seen.g[0] * np.sqrt(seen.w[0]) if seen.blind else 0.0
    cross = float(trace(values, seen) + tail)
    return Deconvolved(others - 2 * cross, cross, sampled, seen, form, kappa, float(tail / cross))


def _form(a: Side, reference: Reference) -> Floats:
    """The reference's spectrum; a power law where a sample has fewer images than dimensions and does not show it."""
    if reference is Reference.SAMPLE and a.n <= a.dim:
        return 1 / np.arange(1.0, a.dim + 1)
    return a.eigenvalues**2


def left_out(
    a: Side, b: Side, coupling: Coupling, found: Deconvolved, reference: Reference
) -> tuple[Floats, Floats | None]:
    """The deconvolved distance without each generated image (n,), and without each real one where they are a sample."""
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
    if n < MINIMUM:
        raise DataError(f"An error needs at least {MINIMUM} images, got {n}: add images.")
    norms, along = _lengths(side, other)
    ratio, grown = n / (n - 1) ** 2, (n - 1) / (n - 2)
    spread = grown * (side.trace - ratio * norms)
    shift = ((side.mean - other.mean) ** 2).sum() - 2 * along / (n - 1) + norms / (n - 1) ** 2
    base = shift - spread / (n - 1) + spread + other.trace
    if np.isfinite(freedom):
        base -= other.trace / (freedom + 1)
    if found.curve is None:
        return base
    continued = (found.curve, found.form, found.kappa)
    crosses = [traces_without(coordinates(rows) ** 2, values, *continued, n, freedom) for rows in _blocks(n)]
    rough = stieltjes(found.curve.g, found.curve.w, found.kappa) - found.cross  # the error of the sums, in all alike
    return base - 2 * (np.concatenate(crosses) - rough)


def couple(a: Side, b: Side) -> Coupling:
    """Eigenvalues with each image's coordinates, in the smallest of the three spaces: either sample's, or features'."""
    if b.rows is not None and (a.rows is None or b.n <= a.n):
        return _couple_rows(a, b)
    if a.rows is not None:
        values, generated, real = _couple_rows(b, a)
        return Coupling(values, real, generated)
    root = a.cholesky.T if a.cholesky is not None else a.low_rank.rows
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
        rows = np.array_split(rng.permutation(b.n), [b.n // 2])
        real_rows = np.array_split(rng.permutation(a.n), [a.n // 2]) if sample else (None, None)
        halves = [_half(a, b, coupling, reference, *each) for each in zip(rows, real_rows, strict=True)]
        yield float(np.mean([deconvolve(*half, reference, form).value for half in halves]))


def _half(
    a: Side, b: Side, coupling: Coupling, reference: Reference, rows: NDArray, real_rows: NDArray | None
) -> tuple[Side, Side, Floats]:
    """Both sides and their eigenvalues, with only these rows of the generated images, and of the real ones if given."""
    y = frechet.prepare(b.features[rows])
    if real_rows is None:
        return a, y, _half_values(a, b, y, coupling, rows)
    x = frechet.prepare(a.features[real_rows])
    return x, y, frechet.spectrum(x, y).values


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
