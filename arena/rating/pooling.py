"""Boards by category that lean on each other: each slice's strengths vary around common ones, by as much as they do.

    votes of slice k ~ Bradley–Terry(theta_k),   theta_k = mu + u_k,   u_k ~ N(0, tau^2) on contrasts to the mean

An empirical Bayes model (C. Morris, Parametric Empirical Bayes Inference, JASA 78 (1983)) on the votes themselves and
not on boards fitted to them: mu and all u_k are found together, so that no vote counts once in its slice and once more
in the whole. tau maximises the marginal likelihood in which the u_k are integrated out by Laplace's method and mu by a
flat prior, which is restricted maximum likelihood (N. Breslow and D. Clayton, Approximate Inference in Generalized
Linear Mixed Models, JASA 88 (1993)). A slice with few votes leans on the whole, one with many stands alone, and tau is
0 where slices differ by no more than chance. The prior also gives finite strengths where a slice on its own has none:
a model that won all its votes there, or has none there.

Votes need not be independent: their likelihood is divided by the dispersion that they show, by clusters where they
have them (R. Wedderburn, Quasi-likelihood Functions, Biometrika 61 (1974)), before tau is estimated.

Strengths are those at the likeliest tau. Intervals do not take it as known: they average over every tau by its
marginal likelihood (a flat prior on tau; A. Gelman, Prior Distributions for Variance Parameters, Bayesian Analysis 1
(2006)). So they are wider than the whole's even where the likeliest tau is 0.

Known limits. mu is the middle of the slices, each counted as far as it can tell, and not the board of all votes, which
counts each vote once; the two agree where tau is 0. tau is one number for all contestants. Laplace's method makes tau
slightly small where a slice has a handful of votes for each contestant. With votes in one slice only, nothing shows how
slices differ: tau is 0 and intervals are those of the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize

from arena.errors import DataError, UsageError
from arena.rating import bradley_terry as bt
from arena.rating import uncertainty
from arena.rating.bradley_terry import SCALE, Ties
from arena.rating.comparisons import Code, Comparisons, Floats, Ints, numbered_by_content
from arena.rating.covariates import one_row_each
from arena.rating.uncertainty import LEVEL

SMALLEST, LARGEST = 1e-3, 5.0
"""Between what tau is sought, in logits: below 0.2 points it is 0, above 900 slices have nothing in common."""
GRID = 12
NODES = 9
DEPTH = 7.0
"""Intervals average over NODES values of tau (Gauss-Legendre) where its likelihood exceeds e^-DEPTH of the peak."""
TOLERANCE, STALLED = 1e-10, 1e-6
MAX_STEPS = 100


@dataclass(frozen=True, eq=False)
class Slice:
    """The pooled board of one category over the contestants of its `Pooled`.

    `theta` (M,): strengths, mean 0; `covariance` (M, M). `votes` (M,): what each contestant has in this slice.
    `borrowed` (M,): the share in [0, 1] of each contestant's strength that comes from the other slices; 1 without
    votes. It is also the share of the prior's variance that the slice's votes leave.
    """

    name: str
    theta: Floats
    covariance: Floats
    votes: Floats
    borrowed: Floats
    factor: float

    @property
    def ratings(self) -> Floats:
        """Ratings (M,) in points, mean 1000."""
        return bt.points(self.theta)

    @property
    def half_widths(self) -> Floats:
        """Half of each rating's interval (M,), in points."""
        return uncertainty.half_widths(self.covariance, self.factor)


@dataclass(frozen=True, eq=False)
class Pooled:
    """Boards of all categories. `tau`: how far strengths differ between slices, a standard deviation in logits.

    `theta` (M,), `covariance` (M, M): the middle of the slices. `dispersion`: independent votes stand for
    1 / dispersion of the votes cast. `unrated`: why, for contestants that all slices together cannot rate.
    """

    contestants: tuple[str, ...]
    theta: Floats
    covariance: Floats
    tau: float
    dispersion: float
    slices: tuple[Slice, ...]
    unrated: Mapping[str, str]

    @property
    def tau_points(self) -> float:
        """tau in rating points (400 are odds of ten to one)."""
        return SCALE * self.tau

    def slice(self, name: str) -> Slice:
        """The board of one category. Raises UsageError for a name that is none."""
        for found in self.slices:
            if found.name == name:
                return found
        raise UsageError(f"No category {name!r} was pooled; known: {', '.join(s.name for s in self.slices)}.")


def by_category(
    contestants: Sequence[str], left: Ints, right: Ints, outcome: Ints, category: Sequence[str], *,
    count: Floats | None = None, weight: Floats | None = None, cluster: Ints | None = None,
) -> dict[str, Comparisons]:  # fmt: skip
    """Comparisons of each category, by name, from arrays of votes or of counted votes (n,) in any order.

    A cluster has the same number in all of them, which `aggregate` on each alone would not keep.
    """
    left, right, outcome, category = (np.asarray(array) for array in (left, right, outcome, category))
    count = np.ones(len(left)) if count is None else np.asarray(count, np.float64)
    weight = count if weight is None else np.asarray(weight, np.float64)
    # In one order, since a sum of fractions depends on it; and whatever the voters are called.
    if cluster is not None:
        part = np.unique(category.astype(str), return_inverse=True)[1]
        cell = ((part * len(contestants) + left) * len(contestants) + right) * len(Code) + outcome
        cluster = numbered_by_content(np.asarray(cluster, np.int64), cell.astype(np.int64), count, weight)
    voter = np.zeros(len(left)) if cluster is None else cluster
    order = np.lexsort((weight, count, outcome, right, left, category, voter))
    whole = one_row_each(
        contestants, left[order], right[order], outcome[order], count=count[order], weight=weight[order],
        cluster=None if cluster is None else np.asarray(cluster)[order],
    )  # fmt: skip
    category = category[order].astype(str)
    return {str(name): whole.where(category == name) for name in np.unique(category)}


def pool(
    slices: Mapping[str, Comparisons], ties: Ties = Ties.HALF, *, tau: float | None = None, level: float = LEVEL
) -> Pooled:
    """Pooled boards of the categories, each vote in one of them, all over the same contestants (see `by_category`).

    `tau` in logits is estimated where absent. A cluster number means the same voter in all slices.

    Raises UsageError where contestants differ between slices, only some have clusters or tau is negative; DataError
    if all votes together rate no two contestants.
    """
    parts, unrated = _comparable(slices, ties)
    if uncertainty.active_clusters(_joined(parts)) < 2:
        # One voter says nothing of how voters differ, so the votes are taken to stand alone.
        parts = [replace(part, cluster=None) for part in parts]
    if tau is not None and not 0 <= tau < np.inf:
        raise UsageError(f"The standard deviation between slices cannot be {tau:g}; give a number of 0 or more.")
    wins = np.stack([bt.win_matrix(part, ties) for part in parts])
    rough = _posterior(wins, _likeliest(wins)[0] if tau is None else tau)
    dispersion = _dispersion(parts, rough.theta, ties)
    parts = [replace(p, weight=p.weight / dispersion, square=p.square / dispersion**2) for p in parts]
    wins = wins / dispersion
    tau, low, high = _likeliest(wins) if tau is None else (tau, tau, tau)
    found = _posterior(wins, tau)
    whole, covariances = _averaged(parts, wins, found, low, high, ties)
    factor = uncertainty.factor(_joined(parts), level)
    boards = tuple(
        Slice(name, found.theta[k], covariances[k], part.per_contestant(), _borrowed(found.pull[k]), factor)
        for k, (name, part) in enumerate(zip(slices, parts, strict=True))
    )
    return Pooled(parts[0].contestants, found.mu, whole, float(tau), dispersion, boards, unrated)


def _comparable(slices: Mapping[str, Comparisons], ties: Ties) -> tuple[list[Comparisons], dict[str, str]]:
    """The slices among those whom all votes together can rate; and why the others are not."""
    parts = list(slices.values())
    if not parts:
        raise UsageError("There is no category to pool; give at least one.")
    for name, part in slices.items():
        if part.contestants != parts[0].contestants:
            raise UsageError(f"The category {name!r} has other contestants than the first; give all the same ones.")
        if (part.cluster is None) != (parts[0].cluster is None):
            raise UsageError(f"The category {name!r} differs from the first in having clusters; give all or none.")
    total = sum(bt.win_matrix(part, ties) for part in parts)
    found = bt.components(total) if len(total) else None
    if found is None or len(found.rated) < 2:
        raise DataError("No two models can be rated: in every pair one has won all votes; add votes.")
    return [part.among(found.rated) for part in parts], bt.unrated_because(parts[0], found)


@dataclass(frozen=True, eq=False)
class _Posterior:
    """The mode given tau. `mu` (M,), `theta` (K, M); at it `information` (K, M, M), and with J for tau^2 information:
    `pull` (K, M, M), the inverse of 1 + J, is what a slice takes from mu; `inverse` (M, M) is that of mu's precision.
    """

    tau: float
    mu: Floats
    theta: Floats
    information: Floats
    pull: Floats
    inverse: Floats
    marginal: float


def _posterior(wins: Floats, tau: float, start: _Posterior | None = None) -> _Posterior:
    """The mode of mu and theta given tau for wins (K, M, M), by Newton's method with halved steps.

    Nothing is divided by tau^2, so that tau = 0 is a case like any other.
    """
    slices = len(wins)
    mu = bt.fit(wins.sum(0)) if start is None else start.mu
    theta = np.tile(mu, (slices, 1)) if start is None or tau == 0 else start.theta
    if tau == 0:
        mu = bt.fit(wins.sum(0), mu)
        theta = np.tile(mu, (slices, 1))
        return _at_mode(wins, mu, theta, 0.0)
    value, before = _penalised(wins, mu, theta, tau), np.inf
    for _ in range(MAX_STEPS):
        step_mu, step_theta = _step(wins, mu, theta, tau)
        longest = max(np.abs(step_theta).max(), np.abs(step_mu).max())
        share = min(1.0, 4 / max(longest, 1e-300))
        # A step may lose what the rounding of the sum loses.
        floor = value - 1e-12 * (1 + abs(value))
        while (after := _penalised(wins, mu + share * step_mu, theta + share * step_theta, tau)) < floor:
            share /= 2
        mu, theta, value = mu + share * step_mu, theta + share * step_theta, after
        # Newton's steps shrink quadratically until rounding stops them.
        if longest < TOLERANCE or before / 2 < longest < STALLED:
            break
        before = longest
    else:
        raise DataError("The pooled boards did not settle; check the votes for weights of very different sizes.")
    return _at_mode(wins, mu, theta, tau)


def _at_mode(wins: Floats, mu: Floats, theta: Floats, tau: float) -> _Posterior:
    """The posterior about its mode, with Laplace's log marginal likelihood of tau; mu is integrated out too."""
    information, pull, inverse = _curvature(wins, theta, tau)
    # The direction in which all are alike has a pull of 1, and no part in the precision of mu.
    volume = -np.linalg.slogdet(pull)[1].sum() - np.linalg.slogdet(inverse + 1 / len(mu))[1]
    marginal = _penalised(wins, mu, theta, tau) - float(volume) / 2
    return _Posterior(tau, mu, theta, information, pull, inverse, marginal)


def _penalised(wins: Floats, mu: Floats, theta: Floats, tau: float) -> float:
    """Log-likelihood of the votes plus log-density of u, up to a constant; tau = 0 has no u."""
    fit = -float((wins * np.logaddexp(0, theta[:, None, :] - theta[:, :, None])).sum())
    return fit if tau == 0 else fit - float(((theta - mu) ** 2).sum()) / (2 * tau**2)


def _step(wins: Floats, mu: Floats, theta: Floats, tau: float) -> tuple[Floats, Floats]:
    """Newton's step (M,), (K, M) of mu and theta, the slices eliminated first."""
    slope = bt.gradient(wins, theta)
    information, pull, inverse = _curvature(wins, theta, tau)
    rest = tau**2 * slope - (theta - mu)
    kept = (pull @ rest[..., None])[..., 0]
    step_mu = inverse @ (slope - (information @ kept[..., None])[..., 0]).sum(0)
    step_theta = (pull @ (rest + step_mu)[..., None])[..., 0]
    return step_mu, step_theta


def _curvature(wins: Floats, theta: Floats, tau: float) -> tuple[Floats, Floats, Floats]:
    """`information`, `pull` and `inverse` of `_Posterior`."""
    information = bt.information(wins, theta)
    pull = np.linalg.inv(np.eye(theta.shape[-1]) + tau**2 * information)
    return information, pull, uncertainty.invert((information @ pull).sum(0))


def _likeliest(wins: Floats) -> tuple[float, float, float]:
    """tau (logits) of the greatest marginal likelihood, and between what it may lie.

    0 where no larger tau is likelier, and for a single slice with votes.
    """
    if (wins.sum((-1, -2)) > 0).sum() < 2:
        return 0.0, 0.0, 0.0
    grid = np.concatenate([[0], np.geomspace(SMALLEST, LARGEST, GRID)])
    found = [_posterior(wins, 0.0)]
    for tau in grid[1:]:
        found.append(_posterior(wins, float(tau), found[-1]))
    height = np.array([f.marginal for f in found])
    best = 1 + int(np.argmax(height[1:]))
    peak = optimize.minimize_scalar(
        lambda log: -_posterior(wins, float(np.exp(log)), found[best]).marginal,
        bounds=np.log([grid[max(1, best - 1)], grid[min(GRID, best + 1)]]), method="bounded", options={"xatol": 1e-4},
    )  # fmt: skip
    # Where slices agree, every tau up to a size that cannot be seen is as likely as 0, save for rounding.
    tau, top = float(np.exp(peak.x)), max(-peak.fun, height.max())
    if not (-peak.fun > height[0] + 1e-9 * (1 + abs(height[0])) and tau > 1.01 * SMALLEST):
        tau = 0.0
    unlikely = height < top - DEPTH
    low = grid[unlikely & (grid < tau)].max(initial=0.0)
    high = grid[unlikely & (grid > tau)].min(initial=LARGEST)
    return tau, float(low), float(high)


def _averaged(
    parts: Sequence[Comparisons], wins: Floats, found: _Posterior, low: float, high: float, ties: Ties
) -> tuple[Floats, Floats]:
    """`_covariances` about `found`, averaged over tau between `low` and `high` by its marginal likelihood."""
    if low == high:
        return _covariances(parts, found, ties)
    places, shares = np.polynomial.legendre.leggauss(NODES)
    modes = [_posterior(wins, float(low + (high - low) * (x + 1) / 2), found) for x in places]
    height = np.array([mode.marginal for mode in modes])
    shares = shares * np.exp(height - height.max())
    shares /= shares.sum()
    whole, boards = np.zeros_like(found.inverse), np.zeros_like(found.pull)
    for share, mode in zip(shares, modes, strict=True):
        if share > 1e-4:
            of_mu, of_theta = _covariances(parts, mode, ties)
            off_mu, off_theta = mode.mu - found.mu, mode.theta - found.theta
            whole += share * (of_mu + np.outer(off_mu, off_mu))
            boards += share * (of_theta + off_theta[:, :, None] * off_theta[:, None, :])
    return whole, boards


def _dispersion(parts: Sequence[Comparisons], theta: Floats, ties: Ties) -> float:
    """Variance of the votes' derivative as they show it, over what independent votes without ties would have."""
    shown = sum(np.trace(uncertainty.meat(p, t, ties)) for p, t in zip(parts, theta, strict=True))
    expected = sum(np.trace(bt.information(bt.win_matrix(p, ties), t)) for p, t in zip(parts, theta, strict=True))
    # Votes that are all ties, or all of one cluster that fits itself, show none.
    return float(shown / expected) if shown > 1e-9 * expected else 1.0


def _covariances(parts: Sequence[Comparisons], found: _Posterior, ties: Ties) -> tuple[Floats, Floats]:
    """Covariance of the errors of mu (M, M) and of each slice's theta (K, M, M).

    Linear in the votes' derivatives s_k and in the slices' true u_k, with the names of `_Posterior`:
        error of mu      = inverse (sum of pull_j s_j + w_j u_j),  w_j = information_j pull_j
        error of theta_k = pull_k (tau^2 s_k - u_k + error of mu)
    The variance of s is as the votes show it, by clusters where there are any; that of u is the prior's.
    """
    weights = found.information @ found.pull
    squares = weights @ weights
    spread = found.tau**2 * (found.inverse @ squares.sum(0) @ found.inverse)
    votes_mu, votes = (_voted_clustered if parts[0].cluster is not None else _voted)(parts, found, ties)
    size = len(found.mu)
    centre = np.eye(size) - 1 / size
    boards = np.empty_like(found.pull)
    for k, pull in enumerate(found.pull):
        own = found.inverse @ weights[k]
        drawn = found.tau**2 * (centre - own - own.T) + spread
        boards[k] = centre @ (pull @ drawn @ pull + votes[k]) @ centre
    whole = centre @ (votes_mu + spread) @ centre
    return (whole + whole.T) / 2, (boards + np.swapaxes(boards, -1, -2)) / 2


def _voted(parts: Sequence[Comparisons], found: _Posterior, ties: Ties) -> tuple[Floats, Floats]:
    """What the votes add to both covariances if each stands alone."""
    meats = np.stack([uncertainty.meat(p, t, ties) for p, t in zip(parts, found.theta, strict=True)])
    whole = found.inverse @ (found.pull @ meats @ found.pull).sum(0) @ found.inverse
    shared = found.tau**2 * (meats @ found.pull @ found.inverse)
    inner = found.tau**4 * meats + shared + np.swapaxes(shared, -1, -2) + whole
    return whole, found.pull @ inner @ found.pull


def _voted_clustered(parts: Sequence[Comparisons], found: _Posterior, ties: Ties) -> tuple[Floats, Floats]:
    """The same if a cluster's votes hang together, within slices and across them: by jackknife, as
    `uncertainty.jackknife`, of mu and all theta together."""
    clusters = max(part.clusters for part in parts)
    scores = np.zeros((len(parts), clusters, len(found.mu)))
    for k, (part, theta) in enumerate(zip(parts, found.theta, strict=True)):
        scores[k, : part.clusters] = uncertainty.cluster_scores(part, theta, ties)
    of_mu = (scores @ found.pull).sum(0) @ found.inverse
    of_theta = (found.tau**2 * scores + of_mu) @ found.pull
    held = [_one_vote(part, theta, ties) for part, theta in zip(parts, found.theta, strict=True)]
    for cluster in np.flatnonzero(_leverage(parts, held, found, clusters) > uncertainty.HEAVY):
        own = np.stack([_own_information(part, one, cluster) for part, one in zip(parts, held, strict=True)])
        of_mu[cluster], of_theta[:, cluster] = _left_out(found, scores[:, cluster], own)
    active = int((scores != 0).any((0, 2)).sum())
    share = (active - 1) / max(1, active)
    return share * of_mu.T @ of_mu, share * np.swapaxes(of_theta, 1, 2) @ of_theta


def _one_vote(part: Comparisons, theta: Floats, ties: Ties) -> Floats:
    """Information (n,) of each row on the difference of its two contestants."""
    probability = bt.win_probability(theta)[part.left, part.right]
    return part.weight * ~np.isnan(bt.left_score(part.outcome, ties)) * probability * (1 - probability)


def _leverage(parts: Sequence[Comparisons], held: Sequence[Floats], found: _Posterior, clusters: int) -> Floats:
    """Share of its own fit that each cluster (C,) makes: the trace of its information times the covariance, in all."""
    total = np.zeros(clusters)
    for part, one, pull in zip(parts, held, found.pull, strict=True):
        covariance = found.tau**2 * pull + pull @ found.inverse @ pull
        spread = (uncertainty.difference_errors(covariance) ** 2)[part.left, part.right]
        total += np.bincount(part.cluster, one * spread, clusters)
    return total


def _own_information(part: Comparisons, one: Floats, cluster: int) -> Floats:
    """Information (M, M) of one cluster's rows."""
    size, rows = part.size, part.cluster == cluster
    flat = np.bincount(part.left[rows].astype(np.int64) * size + part.right[rows], one[rows], size * size)
    edges = flat.reshape(size, size) + flat.reshape(size, size).T
    return np.diag(edges.sum(1)) - edges


def _left_out(found: _Posterior, scores: Floats, own: Floats) -> tuple[Floats, Floats]:
    """How far mu (M,) and each theta (K, M) move by a cluster's being there: Newton's step without its votes, turned
    round. `scores` (K, M): its derivatives; `own` (K, M, M): its information."""
    # Where a cluster alone informs a direction the rest is singular and the score 0; the 1e-6 keeps 0 / 0 at 0.
    information = (1 + 1e-6) * found.information - own
    pull = np.linalg.inv(np.eye(len(found.mu)) + found.tau**2 * information)
    inverse = uncertainty.invert((information @ pull).sum(0))
    of_mu = inverse @ np.einsum("kij,kj->i", np.swapaxes(pull, 1, 2), scores)
    return of_mu, np.einsum("kij,kj->ki", pull, found.tau**2 * scores + of_mu)


def _joined(parts: Sequence[Comparisons]) -> Comparisons:
    """All slices' rows, one after the other."""
    names = ("left", "right", "outcome", "count", "weight", "square")
    names += () if parts[0].cluster is None else ("cluster",)
    return replace(parts[0], **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _borrowed(pull: Floats) -> Floats:
    """Share (M,) of each contrast to the mean that `pull` (M, M) takes from mu."""
    size = len(pull)
    return np.clip((np.diag(pull) - 1 / size) / (1 - 1 / size), 0, 1)
