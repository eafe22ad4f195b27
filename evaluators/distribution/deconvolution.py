"""What sampling does to the eigenvalues of S1^1/2 S2 S1^1/2, undone: numbers in, numbers out.

With G(u) = sum l / (l + u) over the eigenvalues l, the value that samples of n and m images give at u is the one that
the true covariances give at

    w(u) = u / ((1 - G(u) / (n - 1)) (1 - G(u) / (m - 1)))

because the S-transform of a Marchenko-Pastur law is 1 / (1 + c z), and S-transforms multiply (D. Voiculescu, J.
Operator Theory 18, 1987; J. Silverstein, J. Multivariate Anal. 55, 1995). So the true sum of roots is
(1/pi) ∫ G dw / sqrt(w). To estimate Wasserstein distances by random matrix theory is the idea of M. Tiomoko and R.
Couillet (arXiv:1903.03447); on the real axis no contour is needed, and it holds below d images too, up to what so few
cannot show: the part of the integral below the smallest w. There the form of another spectrum is taken, raised to the
power that makes it as steep as the part that is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from evaluators.distribution.frechet import EPSILON
from evaluators.distribution.statistics import Floats

STEP = 0.1
"""Of the integrals over log u; the integrand is smooth, and halving the step changes nothing."""
SEEN = 0.7
"""Share of the reference's dimensions, at most, where the steepness of the spectrum is read off."""
TRUSTED = 0.8
"""Share of G that is used where both sides are samples of fewer images than dimensions: below it is noise. So it is
where some images are equal, or an eigenvalue is lost in rounding."""
NEARLY = 0.9
"""Eigenvalues, as a share of the images, from which on it is the images and not the features that end the spectrum."""
STEEPNESS = 0.1, 6.0
"""Powers of the reference's spectrum that are tried for the part that few images do not show."""


class Curve(NamedTuple):
    """G(u) at points u (p,), ascending, from the first that is used; `blind`: images are no more than eigenvalues, so
    that below the first w nothing is seen."""

    u: Floats
    g: Floats
    w: Floats
    blind: bool


def curve(values: Floats, real: float, generated: float) -> Curve:
    """Of sample eigenvalues (k,), > 0, and each side's degrees of freedom (inf where the side is exact)."""
    u = np.exp(np.arange(np.log(values.min() * 1e-4), np.log(values.max() * 1e8), STEP))
    g = (values / (values + u[:, None])).sum(1)
    unseen = (u[:, None] / (values + u[:, None])).sum(1)  # k - g without cancellation
    w = _true_points(u, [(n, max(0.0, n - len(values)) + unseen) for n in (real, generated)])
    fewer = min(real, generated)
    blind = len(values) >= NEARLY * fewer
    start = int(np.argmin(w)) if blind else 0
    if blind and (np.isfinite(real) or len(values) < fewer):
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


def trace(values: Floats, seen: Curve) -> float:
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
    return form ** _root(excess, low, high, 1e-4)


def below(form: Floats, g: float) -> float:
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
    return _root(lambda log_w: g - (form / (form + np.exp(log_w))).sum(), low - 1, high + 1, 1e-6)


def _root(rising: Callable[[float], float], low: float, high: float, tolerance: float) -> float:
    """Where a rising function crosses 0, by bisection. scipy.optimize takes half a second to load."""
    while high - low > tolerance:
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


def traces_without(
    squares: Floats, values: Floats, seen: Curve, form: Floats, kappa: float, n: int, freedom: float
) -> Floats:
    """The sum of roots without each of these images (b,), by the same sums as `stieltjes` of the whole.

    `squares` (b, k): of the images' coordinates, which average to the values over all n; `freedom`: of the other side.
    Leaving one of n out takes r y y' from the matrix M whose eigenvalues these are, r = n / (n - 1)^2, and scales it by
    (n - 1) / (n - 2). With h(u) = r y'(M + u)^-1 y the trace of (M + u)^-1 changes by r y'(M + u)^-2 y / (1 - h): so G
    is known without each image, and with it the integral.
    """
    u, g, _, blind = seen
    weights = squares * (n / (n - 1) ** 2)
    inverse = 1 / (values[:, None] + u)
    kept = np.maximum(1 - weights @ inverse, EPSILON)
    fall = (weights @ inverse**2) * u / kept
    without = g - fall
    unseen = (u * inverse).sum(0)
    spare = np.maximum(max(0.0, n - 1 - len(values)) + unseen - 1 + fall, EPSILON)
    others = max(0.0, freedom - len(values)) + unseen + fall
    w = _true_points(u * (n - 1) / (n - 2), [(n - 2, spare), (freedom, others)])
    if blind:  # the less is seen, the more lies below: nearly linear over the one that is left out
        fewer = below(form, max(g[0] - 1, g[0] / 2))
        kappa = kappa + (fewer - kappa) * (g[0] - without[:, 0]) / min(1, g[0] / 2)
    return stieltjes(without, _rising(w), kappa)


def stieltjes(g: Floats, w: Floats, kappa: float | Floats) -> Floats:
    """(1/pi) ∫ G dw / sqrt(w) (...) by sums over (..., p), with kappa for what lies below the first."""
    root = np.sqrt(w)
    return (((g[..., 1:] + g[..., :-1]) * np.diff(root)).sum(-1) + kappa * g[..., 0] * root[..., 0]) / np.pi
