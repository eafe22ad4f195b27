"""Contextual Bradley–Terry: logit P(left wins) = theta_left - theta_right + x . beta.

What a vote owes to the side an image stood on, or to how it looks, is told apart from the models' strengths.
By maximum likelihood with no penalty: a penalty would hide part of an effect in the strengths. What the votes cannot
tell apart is refused by name. Where a maximum exists: A. Albert and J. Anderson, On the Existence of Maximum
Likelihood Estimates in Logistic Regression Models, Biometrika 71 (1984).

Strengths theta are natural logarithms of odds with mean 0, as in `bradley_terry`; beta is in logits for each unit of
its feature. `image_style` and `style_difference` make features of two images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arena.errors import DataError, UsageError
from arena.rating import bradley_terry as bt
from arena.rating import uncertainty
from arena.rating.bradley_terry import SCALE, Ties
from arena.rating.comparisons import Comparisons, Floats, Ints
from arena.rating.uncertainty import LEVEL, half_widths

LEFT = "left side"
"""The name of the feature that is 1 in every vote."""
STYLE = ("megapixels", "aspect", "brightness", "contrast", "colourfulness", "sharpness")
LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of R', G', B' in the luma of ITU-R BT.601."""
TOLERANCE, STALLED = 1e-10, 1e-6
MAX_STEPS = 100
COLLINEAR = 1e-9
"""A feature is refused if no more than this share of its sum of squares is its own; rounding leaves about 1e-15."""
HORIZON = 30.0
"""A predictor of 30 logits is odds of 10^13 to 1: the likelihood climbs for ever."""


@dataclass(frozen=True, slots=True)
class Effect:
    """The coefficient of one feature in logits for each unit, with its interval; `points`: on Elo's scale."""

    name: str
    estimate: float
    error: float
    low: float
    high: float

    @property
    def points(self) -> tuple[float, float, float]:
        """Estimate, low and high in rating points (400 are odds of ten to one)."""
        return SCALE * self.estimate, SCALE * self.low, SCALE * self.high


@dataclass(frozen=True, eq=False)
class Contextual:
    """Strengths with the features' effects taken out, and those effects.

    `theta` (M,): of the rated `contestants`, mean 0. `beta` (p,): of `names`. `covariance` (M + p, M + p): of both
    together, clustered where the votes are. `factor`: of a standard error in an interval. `votes`: those behind the
    fit. `unrated`: why, for each contestant that is left out.
    """

    contestants: tuple[str, ...]
    names: tuple[str, ...]
    theta: Floats
    beta: Floats
    covariance: Floats
    factor: float
    votes: int
    ties: Ties
    unrated: Mapping[str, str]

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Each feature's coefficient with its interval."""
        errors = np.sqrt(np.clip(np.diag(self.covariance)[len(self.theta) :], 0, None))
        return tuple(
            Effect(name, float(b), float(e), float(b - self.factor * e), float(b + self.factor * e))
            for name, b, e in zip(self.names, self.beta, errors, strict=True)
        )

    def effect(self, name: str) -> Effect:
        """The effect of one feature. Raises UsageError for a name that was not fitted."""
        if name not in self.names:
            raise UsageError(f"No effect {name!r} was fitted; known: {', '.join(self.names) or 'none'}.")
        return self.effects[self.names.index(name)]

    @property
    def ratings(self) -> Floats:
        """Ratings (M,) in points, mean 1000: what they would be between images equal in every feature."""
        return bt.points(self.theta)

    @property
    def half_widths(self) -> Floats:
        """Half of each rating's interval (M,), in points."""
        size = len(self.theta)
        return half_widths(self.covariance[:size, :size], self.factor)


def one_row_each(
    contestants: Sequence[str], left: Ints, right: Ints, outcome: Ints, *, count: Floats | None = None,
    weight: Floats | None = None, cluster: Ints | None = None,
) -> Comparisons:  # fmt: skip
    """Comparisons whose rows are those given (n,), in their order, so that features (n, p) can stand beside them.

    `count` (n,) is 1 where absent and `weight` (n,), the sum of a row's weights, its count; the votes of a row weigh
    the same. `cluster` (n,) may be any integers and is numbered in their order; a row with a negative one is a
    cluster of its own. Raises UsageError for a contestant that meets itself.
    """
    left, right = np.asarray(left, np.int32), np.asarray(right, np.int32)
    if len(same := np.flatnonzero(left == right)):
        raise UsageError(f"{contestants[left[same[0]]]!r} is compared with itself; remove that vote.")
    count = np.ones(len(left)) if count is None else np.asarray(count, np.float64)
    weight = count if weight is None else np.asarray(weight, np.float64)
    square = np.divide(weight**2, count, out=np.zeros(len(left)), where=count > 0)
    if cluster is not None:
        cluster = np.array(cluster, np.int64)
        alone = cluster < 0
        cluster[alone] = cluster.max(initial=0) + 1 + np.arange(alone.sum())
        cluster = np.unique(cluster, return_inverse=True)[1].astype(np.int32)
    return Comparisons(tuple(contestants), left, right, np.asarray(outcome, np.int8), count, weight, square, cluster)


def fit(
    comparisons: Comparisons,
    features: Floats | None = None,
    names: Sequence[str] = (),
    *,
    left_side: bool = True,
    ties: Ties = Ties.HALF,
    level: float = LEVEL,
) -> Contextual:
    """Strengths and effects of the features (n, p), one row for each row of `comparisons`, named by `names` (p,).

    Where `left_side`, the left side's own effect is the first feature. Contestants that the votes cannot compare
    (`bradley_terry.components`) are left out, with their reasons. A row may hold many votes if they agree in their
    features. Both-bad votes have no part.

    Raises UsageError where features and names do not fit the comparisons; DataError, naming the feature, where one is
    constant, not finite, a combination of the models and the features before it, or separates the wins.
    """
    x, names = _named(comparisons, features, names, left_side)
    rated, x, unrated = _comparable(comparisons, x, ties)
    problem = _Problem(rated, bt.left_score(rated.outcome, ties), x)
    scale = _own_scale(problem, names, left_side)
    problem = _Problem(rated, problem.score, x / scale)
    gamma = _newton(problem, names)
    unit = np.concatenate([np.ones(rated.size), scale])
    theta, beta = gamma[: rated.size], gamma[rated.size :] / scale
    return Contextual(
        contestants=rated.contestants,
        names=names,
        theta=theta - theta.mean(),
        beta=beta,
        covariance=_covariance(problem, gamma) / np.outer(unit, unit),
        factor=uncertainty.factor(rated, level),
        votes=rated.votes,
        ties=ties,
        unrated=unrated,
    )


def left_effect(comparisons: Comparisons, ties: Ties = Ties.HALF, level: float = LEVEL) -> Effect:
    """What standing on the left is worth: the logit of the left side's chance between equals, with its interval.

    Comparisons may be aggregated. Raises DataError where the votes cannot tell it from the models' strengths.
    """
    return fit(comparisons, ties=ties, level=level).effect(LEFT)


def _named(
    comparisons: Comparisons, features: Floats | None, names: Sequence[str], left_side: bool
) -> tuple[Floats, tuple[str, ...]]:
    n = len(comparisons.left)
    x = np.zeros((n, 0)) if features is None else np.asarray(features, np.float64)
    if x.shape != (n, len(names)):
        raise UsageError(f"Features of shape {x.shape} do not fit {n} rows of comparisons and {len(names)} names.")
    for k, name in enumerate(names):
        if not np.isfinite(x[:, k]).all():
            row = int(np.flatnonzero(~np.isfinite(x[:, k]))[0])
            raise DataError(f"The feature {name!r} is {x[row, k]} in row {row}; leave such votes out.")
    if left_side:
        return np.column_stack([np.ones(n), x]), (LEFT, *names)
    return x, tuple(names)


def _comparable(comparisons: Comparisons, x: Floats, ties: Ties) -> tuple[Comparisons, Floats, dict[str, str]]:
    """Rows that score, between contestants that have finite strengths; and why the others have none."""
    wins = bt.win_matrix(comparisons, ties)
    found = bt.components(wins) if comparisons.size else None
    if found is None or len(found.rated) < 2:
        raise DataError("No two models can be rated: in every pair one has won all votes; add votes.")
    inside = np.isin(np.arange(comparisons.size), found.rated)
    kept = inside[comparisons.left] & inside[comparisons.right]
    kept &= ~np.isnan(bt.left_score(comparisons.outcome, ties)) & (comparisons.weight > 0)
    return comparisons.where(kept).among(found.rated), x[kept], bt.unrated_because(comparisons, found)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Rows that score, their left score (n,) in [0, 1] and features (n, p). Parameters: theta (M,), then beta (p,)."""

    rows: Comparisons
    score: Floats
    x: Floats

    def predictor(self, gamma: Floats) -> Floats:
        """Logit of the left side's chance (n,)."""
        size = self.rows.size
        return gamma[self.rows.left] - gamma[self.rows.right] + self.x @ gamma[size:]

    def log_likelihood(self, gamma: Floats) -> float:
        eta = self.predictor(gamma)
        return float((self.rows.weight * (self.score * eta - np.logaddexp(0, eta))).sum())

    def push(self, row: Floats) -> Floats:
        """Sum over the rows (M + p,) of `row` (n,) times the row's design (+1 at left, -1 at right, features)."""
        size = self.rows.size
        theta = np.bincount(self.rows.left, row, size) - np.bincount(self.rows.right, row, size)
        return np.concatenate([theta, row @ self.x])

    def gram(self, row: Floats) -> Floats:
        """Sum over the rows (M + p, M + p) of `row` (n,) times the outer product of the row's design."""
        size, p = self.rows.size, self.x.shape[1]
        cell = self.rows.left.astype(np.int64) * size + self.rows.right
        edges = np.bincount(cell, row, size * size).reshape(size, size)
        edges = edges + edges.T
        whole = np.empty((size + p, size + p))
        whole[:size, :size] = np.diag(edges.sum(1)) - edges
        for k in range(p):
            whole[size + k] = whole[:, size + k] = self.push(row * self.x[:, k])
        return whole

    def derivatives(self, gamma: Floats) -> tuple[Floats, Floats]:
        """Gradient (M + p,) and information (M + p, M + p) of the log-likelihood."""
        p = 1 / (1 + np.exp(-self.predictor(gamma)))
        return self.push(self.rows.weight * (self.score - p)), self.gram(self.rows.weight * p * (1 - p))

    def lift(self, information: Floats) -> Floats:
        """The information with its one empty direction, all theta alike, filled at the information's own size."""
        size = self.rows.size
        lifted = information.copy()
        lifted[:size, :size] += np.trace(information[:size, :size]) / size**2
        return lifted


def _own_scale(problem: _Problem, names: tuple[str, ...], left_side: bool) -> Floats:
    """Root mean square (p,) of each feature, after refusing those that are not identified."""
    size, x, weight = problem.rows.size, problem.x, problem.rows.weight
    for k, name in enumerate(names):
        if k >= left_side and (x[:, k] == x[0, k]).all():
            raise DataError(
                f"The feature {name!r} is {x[0, k]:g} in every vote, so it has no effect of its own; leave it out."
            )
    scale = np.sqrt((weight @ x**2) / weight.sum())
    # Features one by one against the models and the features before: what is left of their sums of squares.
    gram = _Problem(problem.rows, problem.score, x / scale).gram(weight / weight.sum())
    gram[:size, :size] += np.trace(gram[:size, :size]) / size**2
    for k, name in enumerate(names):
        before = slice(size + k)
        along = gram[before, size + k]
        own = gram[size + k, size + k] - along @ np.linalg.solve(gram[before, before], along)
        if own < COLLINEAR:
            others = "the models and the features before it" if k else "the models"
            raise DataError(
                f"The feature {name!r} is a combination of {others}, so the votes cannot tell them apart; leave it "
                "out, or add battles in which it differs while the models stay the same."
            )
    return scale


def _newton(problem: _Problem, names: tuple[str, ...]) -> Floats:
    """The maximum (M + p,), by Newton's method with halved steps."""
    size = problem.rows.size
    gamma = np.zeros(size + len(names))
    value, before = problem.log_likelihood(gamma), np.inf
    step = gamma
    for _ in range(MAX_STEPS):
        slope, information = problem.derivatives(gamma)
        try:
            step = np.linalg.solve(problem.lift(information), slope)
        except np.linalg.LinAlgError:
            break
        # Newton's steps shrink quadratically until rounding stops them.
        longest = np.abs(step).max()
        if longest < TOLERANCE or before / 2 < longest < STALLED:
            return gamma + step
        before = longest
        share = min(1.0, 5 / max(1e-300, float(np.abs(problem.predictor(step)).max())))
        # A step gains at least a little of what its slope promises, save for the rounding of the sum itself.
        slack = 1e-13 * abs(value)
        while (after := problem.log_likelihood(gamma + share * step)) < value + 1e-4 * share * (slope @ step) - slack:
            share /= 2
        gamma, value = gamma + share * step, after
        if np.abs(problem.predictor(gamma)).max() > HORIZON and _separates(problem, step):
            break
    raise DataError(_why_no_maximum(problem, step, names))


def _separates(problem: _Problem, direction: Floats) -> bool:
    """Whether moving along `direction` (M + p,) never makes a vote less likely (Albert and Anderson 1984).

    Where it does not, a huge predictor is only a huge feature. Newton's steps tend to such a direction, in which the
    separated votes gain about one logit a step.
    """
    gain = problem.predictor(direction)
    wrong = np.where(problem.score == 1, -gain, np.where(problem.score == 0, gain, np.abs(gain)))
    return bool(wrong.max() < 1e-3 * np.abs(gain).max())


def _why_no_maximum(problem: _Problem, direction: Floats, names: tuple[str, ...]) -> str:
    # Rated models cannot be separated by their strengths alone, so some feature has a part in it.
    along = np.abs(direction[problem.rows.size :])
    least = min(along.max(initial=0), 1e-2 * np.abs(direction).max())
    guilty = " and ".join(repr(name) for name, share in zip(names, along, strict=True) if share >= least)
    return (
        f"The likelihood of these votes has no maximum: {guilty} separates wins from losses, so its effect has no "
        "finite value; leave it out, or add votes that contradict it."
    )


def _covariance(problem: _Problem, gamma: Floats) -> Floats:
    """Covariance (M + p, M + p) as `uncertainty.covariance`: by jackknife over clusters, over votes where there are
    fewer than two."""
    size, rows = problem.rows.size, problem.rows
    _, information = problem.derivatives(gamma)
    bread = np.linalg.inv(problem.lift(information))
    probability = 1 / (1 + np.exp(-problem.predictor(gamma)))
    residual = problem.score - probability
    if uncertainty.active_clusters(rows) < 2:
        whole = bread @ problem.gram(rows.square * residual**2) @ bread
    else:
        cluster = np.unique(rows.cluster, return_inverse=True)[1].astype(np.int64)
        scores = _cluster_scores(problem, cluster, rows.weight * residual)
        leverage, information_of = _held(problem, cluster, rows.weight * probability * (1 - probability), bread)
        whole = uncertainty.jackknife(bread, scores, leverage, information_of)
    # Onto contrasts to the mean; the effects do not depend on where the strengths' mean lies.
    whole[:size] -= whole[:size].mean(0)
    whole[:, :size] -= whole[:, :size].mean(1, keepdims=True)
    return (whole + whole.T) / 2


def _cluster_scores(problem: _Problem, cluster: Ints, push: Floats) -> Floats:
    """Derivatives (C, M + p) of the log-likelihood of the clusters."""
    rows, size, clusters = problem.rows, problem.rows.size, int(cluster.max()) + 1
    flat = np.bincount(cluster * size + rows.left, push, clusters * size)
    flat -= np.bincount(cluster * size + rows.right, push, clusters * size)
    features = [np.bincount(cluster, push * column, clusters) for column in problem.x.T]
    return np.column_stack([flat.reshape(clusters, size), *features])


def _held(
    problem: _Problem, cluster: Ints, one: Floats, bread: Floats
) -> tuple[Floats, Callable[[NDArray[np.integer]], Floats]]:
    """What `uncertainty.jackknife` asks for, where each row (n,) informs by `one` along its design: each cluster's
    leverage (C,), and the information of some of them."""
    rows, size, p = problem.rows, problem.rows.size, problem.x.shape[1]
    gap = bread[rows.left] - bread[rows.right]
    pair = np.arange(len(rows.left))
    spread = gap[pair, rows.left] - gap[pair, rows.right] + 2 * (gap[:, size:] * problem.x).sum(1)
    spread += ((problem.x @ bread[size:, size:]) * problem.x).sum(1)

    def information_of(part: NDArray[np.integer]) -> Floats:
        used = np.flatnonzero(np.isin(cluster, part))
        at, clusters = np.searchsorted(part, cluster[used]), len(part)
        left, right, weight, x = rows.left[used], rows.right[used], one[used], problem.x[used]
        edges = np.bincount((at * size + left) * size + right, weight, clusters * size**2).reshape(-1, size, size)
        edges = edges + edges.swapaxes(1, 2)
        found = np.zeros((clusters, size + p, size + p))
        found[:, :size, :size] = np.eye(size) * edges.sum(2)[:, None, :] - edges
        for k in range(p):
            along = np.bincount(at * size + left, weight * x[:, k], clusters * size)
            along -= np.bincount(at * size + right, weight * x[:, k], clusters * size)
            found[:, :size, size + k] = found[:, size + k, :size] = along.reshape(-1, size)
            for j in range(p):
                found[:, size + j, size + k] = np.bincount(at, weight * x[:, j] * x[:, k], clusters)
        return found

    return np.bincount(cluster, one * spread), information_of


def style_difference(left_features: Floats, right_features: Floats) -> Floats:
    """Differences (n, p) of two images' features (n, p): (left - right) / (left + right), in standard deviations.

    0 where both are 0. Each column is divided by its root mean square about 0, its standard deviation where sides are
    fair. No mean is taken off: equal images must differ by 0, and swapping them must change no more than the sign.
    A column without any difference stays 0, and `fit` refuses it by name.
    Raises DataError for a feature that is negative or not finite, with its value.
    """
    left, right = np.asarray(left_features, np.float64), np.asarray(right_features, np.float64)
    if left.shape != right.shape or left.ndim != 2:
        raise UsageError(f"Features of shapes {left.shape} and {right.shape} do not make pairs; give (n, p) for both.")
    for side in (left, right):
        if len(bad := side[~(np.isfinite(side) & (side >= 0))]):
            raise DataError(f"A style feature is {bad[0]:g}; it must be a finite number, 0 or more.")
    whole = left + right
    relative = np.divide(left - right, whole, out=np.zeros_like(whole), where=whole > 0)
    spread = np.sqrt((relative**2).mean(0)) if len(relative) else np.ones(relative.shape[1])
    return np.divide(relative, spread, out=relative, where=spread > 0)


def image_style(rgb: NDArray[np.uint8]) -> dict[str, float]:
    """How an image looks, in the six numbers of `STYLE`, each 0 or more; of R'G'B' (h, w, 3) uint8.

    megapixels: w h / 10^6. aspect: w / h. brightness: mean luma (ITU-R BT.601) in [0, 1]. contrast: standard
    deviation of the luma in [0, 1], the RMS contrast (E. Peli, Contrast in Complex Images, 1990). colourfulness:
    sqrt(var(rg) + var(yb)) + 0.3 sqrt(mean(rg)^2 + mean(yb)^2) with rg = R - G, yb = (R + G) / 2 - B in units of
    0 to 255 (D. Hasler and S. Süsstrunk, Measuring Colourfulness in Natural Images, 2003). sharpness: variance of the
    luma's four-neighbour Laplacian, inner pixels only (J. Pech-Pacheco and others, Diatom Autofocusing in Brightfield
    Microscopy, 2000); it depends on the image's size, so compare images of one size or control for megapixels.

    Raises DataError for an array of another shape or type, naming it.
    """
    rgb = np.asarray(rgb)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        raise DataError(f"An image of shape {rgb.shape} and type {rgb.dtype} cannot be measured; give uint8 (h, w, 3).")
    height, width = rgb.shape[:2]
    luma = rgb @ (LUMA / 255)
    return {
        "megapixels": width * height / 1e6,
        "aspect": width / height,
        "brightness": float(luma.mean()),
        "contrast": float(luma.std()),
        "colourfulness": _colourfulness(rgb),
        "sharpness": _laplacian_variance(luma),
    }


def _colourfulness(rgb: NDArray[np.uint8]) -> float:
    red, green, blue = np.moveaxis(rgb.astype(np.float64), 2, 0)
    rg, yb = red - green, (red + green) / 2 - blue
    return float(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()))


def _laplacian_variance(luma: Floats) -> float:
    if min(luma.shape) < 3:
        return 0.0
    neighbours = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float((neighbours - 4 * luma[1:-1, 1:-1]).var())
