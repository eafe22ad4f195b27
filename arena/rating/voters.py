"""Which voters to trust: a reliability for each, and how often each agrees with the board of all others.

    P(left wins) = 1 / (1 + exp(-s_u (theta_left - theta_right))) for voter u

s_u = 1 is the typical voter, 0 one who answers at random, below 0 one who prefers what others reject. Source: Z. Liu
and others, am-ELO: A Stable Framework for Arena-based LLM Evaluation (arXiv:2505.03475); the same model for crowds is
X. Chen and others, Pairwise Ranking Aggregation in a Crowdsourced Setting (WSDM 2013). Strengths and reliabilities are
fitted together, with s_u ~ N(1, SPREAD^2): normal and not log-normal, so that a voter may be reversed. The likelihood
cannot tell (theta, s) from (theta / c, c s); the prior ties c down for the fit, and afterwards the typical s, the mean
of the closest half of those judged, is set to 1. A median would not do: bad voters lie all on one side of it. Most
voters must be of good will, since a board whose majority is reversed is reversed.

Agreement (`agreements`) supposes less and needs no such fit: whoever votes as the others do agrees with their board as
often as that board's own probabilities say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from arena.errors import DataError, UsageError
from arena.rating import bradley_terry as bt
from arena.rating.bradley_terry import Ties
from arena.rating.comparisons import Code, Comparisons, Floats, Ints
from arena.rating.covariates import one_row_each
from arena.rating.uncertainty import LEVEL, invert

LEAST = 20
"""Votes that score before a voter is judged."""
SPREAD = 1.0
TOLERANCE = 1e-9
MAX_STEPS = 500
HEAVY = 0.1
"""Without a voter who cast more than this share of some contestant's votes, the board is fitted anew."""
BATCH = 200
"""Voters whose matrices of wins are held at once."""


def by_voter(
    contestants: Sequence[str], left: Ints, right: Ints, outcome: Ints, voter: Sequence[str], *,
    count: Floats | None = None, weight: Floats | None = None,
) -> tuple[tuple[str, ...], Comparisons]:  # fmt: skip
    """The voters' names in order, and comparisons in which cluster u is the voter of that place.

    From arrays of votes or of counted votes (n,) in any order, as in `one_row_each`. (`aggregate` numbers clusters by
    what they say, so that it cannot tell whose a number is.)
    """
    names, cluster = np.unique(np.asarray(voter, dtype=str), return_inverse=True)
    count = np.ones(len(cluster)) if count is None else np.asarray(count, np.float64)
    weight = count if weight is None else np.asarray(weight, np.float64)
    # In one order, since a sum of fractions depends on it.
    order = np.lexsort((weight, count, outcome, right, left, cluster))
    left, right, outcome = (np.asarray(array)[order] for array in (left, right, outcome))
    rows = one_row_each(
        contestants, left, right, outcome, count=count[order], weight=weight[order], cluster=cluster[order]
    )
    return tuple(map(str, names)), rows


@dataclass(frozen=True, eq=False)
class Reliabilities:
    """Reliability of each cluster of the comparisons (U,), and the board that weighs votes by it.

    `reliability`, `low`, `high` (U,): s_u and its interval, NaN for a voter with fewer than `least` votes between
    rated contestants; `votes` (U,). `others`: the one s that all unjudged voters share, NaN without any.
    `contestants`, `theta` (M,): the rated and their strengths for the typical voter, mean 0. `converged`: whether
    the steps became smaller than the tolerance.
    """

    contestants: tuple[str, ...]
    theta: Floats
    reliability: Floats
    low: Floats
    high: Floats
    votes: Floats
    others: float
    least: int
    spread: float
    converged: bool

    @property
    def ratings(self) -> Floats:
        """Ratings (M,) in points, mean 1000."""
        return bt.points(self.theta)


def reliabilities(
    comparisons: Comparisons,
    ties: Ties = Ties.HALF,
    *,
    least: int = LEAST,
    spread: float = SPREAD,
    level: float = LEVEL,
) -> Reliabilities:
    """Reliabilities of the voters (clusters), fitted together with the strengths.

    Voters with fewer than `least` votes are not judged: they share one reliability. `spread`: the prior's standard
    deviation of s_u. Intervals are the information's, with the strengths' uncertainty in them. Contestants that the
    votes cannot compare have no part.

    Raises UsageError without clusters or for a spread or least that is not positive; DataError where no two
    contestants can be rated, no voter has `least` votes, or the typical voter contradicts the board of all.
    """
    if not (spread > 0 and least >= 1):
        raise UsageError(f"A spread of {spread:g} and {least} votes at least judge nobody; both must be positive.")
    rows = _scored(comparisons, ties)
    votes = np.bincount(rows.cluster, rows.count, comparisons.clusters)
    judged = np.flatnonzero(votes >= least)
    if not len(judged):
        raise DataError(f"No voter has {least} votes between rated models, so none can be judged; add votes.")
    # Group 0 is all who are not judged.
    group = np.zeros(len(votes), np.int64)
    group[judged] = 1 + np.arange(len(judged))
    problem = _Problem(rows, bt.left_score(rows.outcome, ties), group[rows.cluster], 1 + len(judged), spread)
    theta, s, converged = _scoring(problem, bt.fit(bt.win_matrix(rows, ties)))
    error = _errors(problem, theta, s)
    typical = shortest_half(s[1:])
    if typical <= 0:
        raise DataError("Most voters contradict the board that all votes make, so none of them can be called typical.")
    half = float(ndtri((1 + level) / 2)) * error / typical
    s = s / typical
    out = np.full((3, len(votes)), np.nan)
    out[:, judged] = s[1:], s[1:] - half[1:], s[1:] + half[1:]
    others = float(s[0]) if (votes[group == 0] > 0).any() else np.nan
    return Reliabilities(rows.contestants, theta * typical, *out, votes, others, least, spread, converged)


def shortest_half(values: Floats) -> float:
    """Mean of the half of the values (n,) that lie closest together: unlike a median, deaf to bad ones on one side.

    Source: D. Andrews and others, Robust Estimates of Location (1972), where it is the shorth.
    """
    ordered = np.sort(values)
    half = len(ordered) // 2 + 1
    widths = ordered[half - 1 :] - ordered[: len(ordered) - half + 1]
    first = int(widths.argmin())
    return float(ordered[first : first + half].mean())


def _scored(comparisons: Comparisons, ties: Ties) -> Comparisons:
    """The rows that score, among the contestants that can be rated."""
    if comparisons.cluster is None:
        raise UsageError("These votes do not say who cast them; make comparisons with voters as clusters.")
    found = bt.components(bt.win_matrix(comparisons, ties)) if comparisons.size else None
    if found is None or len(found.rated) < 2:
        raise DataError("No two models can be rated: in every pair one has won all votes; add votes.")
    scores = ~np.isnan(bt.left_score(comparisons.outcome, ties))
    return comparisons.where(scores).among(found.rated)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Rows that score, their score (n,), the group (n,) of voters that shares one s, and the prior of s."""

    rows: Comparisons
    score: Floats
    group: Ints
    groups: int
    spread: float

    def gap(self, theta: Floats) -> Floats:
        return theta[self.rows.left] - theta[self.rows.right]

    def value(self, theta: Floats, s: Floats) -> float:
        """Log-likelihood plus log-prior, up to a constant."""
        eta = s[self.group] * self.gap(theta)
        fit = (self.rows.weight * (self.score * eta - np.logaddexp(0, eta))).sum()
        return float(fit - ((s - 1) ** 2).sum() / (2 * self.spread**2))

    def slopes(self, theta: Floats, s: Floats) -> tuple[Floats, Floats]:
        """Derivatives of `value` by theta (M,) and s (G,)."""
        gap = self.gap(theta)
        push = self.rows.weight * (self.score - 1 / (1 + np.exp(-s[self.group] * gap)))
        by_theta = self._spread_out(s[self.group] * push)
        return by_theta, np.bincount(self.group, push * gap, self.groups) - (s - 1) / self.spread**2

    def informations(self, theta: Floats, s: Floats) -> tuple[Floats, Floats, Floats]:
        """Expected information plus the prior's: of theta (M, M), of theta with s (G, M), and of s (G,)."""
        size, gap = self.rows.size, self.gap(theta)
        p = 1 / (1 + np.exp(-s[self.group] * gap))
        h = self.rows.weight * p * (1 - p)
        cell = self.rows.left.astype(np.int64) * size + self.rows.right
        edges = np.bincount(cell, h * s[self.group] ** 2, size * size).reshape(size, size)
        edges = edges + edges.T
        of_theta = np.diag(edges.sum(1)) - edges
        row, cross = self.group * size, h * gap * s[self.group]
        cells = self.groups * size
        of_both = np.bincount(row + self.rows.left, cross, cells) - np.bincount(row + self.rows.right, cross, cells)
        of_s = np.bincount(self.group, h * gap**2, self.groups) + 1 / self.spread**2
        return of_theta, of_both.reshape(self.groups, size), of_s

    def _spread_out(self, push: Floats) -> Floats:
        size = self.rows.size
        return np.bincount(self.rows.left, push, size) - np.bincount(self.rows.right, push, size)


def _scoring(problem: _Problem, theta: Floats) -> tuple[Floats, Floats, bool]:
    """theta (M,), s (G,) at the maximum near the ordinary board, by Fisher's scoring with halved steps."""
    s = np.ones(problem.groups)
    value = problem.value(theta, s)
    for _ in range(MAX_STEPS):
        step_theta, step_s = _step(problem, theta, s)
        longest = max(np.abs(step_theta).max(), np.abs(step_s).max())
        if longest < TOLERANCE:
            return theta - theta.mean(), s, True
        share = min(1.0, 1 / longest)
        floor = value - 1e-13 * abs(value)
        while (after := problem.value(theta + share * step_theta, s + share * step_s)) < floor:
            share /= 2
        theta, s, value = theta + share * step_theta, s + share * step_s, after
    return theta - theta.mean(), s, False


def _step(problem: _Problem, theta: Floats, s: Floats) -> tuple[Floats, Floats]:
    by_theta, by_s = problem.slopes(theta, s)
    of_theta, of_both, of_s = problem.informations(theta, s)
    inverse = invert(of_theta - of_both.T @ (of_both / of_s[:, None]))
    step_theta = inverse @ (by_theta - of_both.T @ (by_s / of_s))
    return step_theta, (by_s - of_both @ step_theta) / of_s


def _errors(problem: _Problem, theta: Floats, s: Floats) -> Floats:
    """Standard errors (G,) of s from the information of theta and s together."""
    of_theta, of_both, of_s = problem.informations(theta, s)
    ratio = of_both / of_s[:, None]
    inverse = invert(of_theta - of_both.T @ ratio)
    return np.sqrt(1 / of_s + ((ratio @ inverse) * ratio).sum(1))


@dataclass(frozen=True, eq=False)
class Agreements:
    """How often each voter (U,) agrees with the board of all others, on votes that prefer a side.

    `agreed` of `votes`: those whose winner the others' board also puts higher. `share` = agreed / votes with its
    Wilson interval `low` to `high`; `expected`: the share of a voter who is like the others; `z`: how many standard
    deviations the share lies above it, normal for such a voter with many votes. NaN below `least` votes.
    """

    agreed: Floats
    votes: Floats
    share: Floats
    low: Floats
    high: Floats
    expected: Floats
    z: Floats
    least: int


def agreements(comparisons: Comparisons, *, least: int = LEAST, level: float = LEVEL) -> Agreements:
    """Agreement of each voter (cluster) with the board fitted to the votes of all others.

    Ties and both-bad votes have no part, here or in the boards: the chance that the higher of two models wins is then
    that of a decisive vote, and its mean over a voter's votes is the expected share. The board without a voter is one
    Newton step away from the board of all, with the voter's own votes taken out of both derivatives; its error is of
    second order in the voter's share of a contestant's votes. Where that share exceeds HEAVY, or some win is the
    voter's alone, the others' votes are fitted anew, and votes on models that they cannot compare are not counted. A
    vote on two models that are exactly level counts half. The board's own uncertainty is no part of `z`, which makes
    it slightly low where boards are young.

    Raises UsageError without clusters or for a least below 1; DataError where no two contestants can be rated.
    """
    if least < 1:
        raise UsageError(f"{least} votes at least is no limit; choose 1 or more.")
    rows = _scored(comparisons, Ties.DROP)
    count = np.bincount(rows.cluster, rows.count, comparisons.clusters)
    judged = np.flatnonzero(count >= least)
    agreed, votes, expected, variance = np.zeros((4, comparisons.clusters))
    theta = bt.fit(bt.win_matrix(rows, Ties.DROP))
    for start in range(0, len(judged), BATCH):
        some = judged[start : start + BATCH]
        kept, voter, gap = _gaps_without(rows, theta, some)
        against = np.where(kept.outcome == Code.LEFT, gap, -gap)
        agreed += np.bincount(voter, kept.count * (np.sign(against) + 1) / 2, comparisons.clusters)
        p = 1 / (1 + np.exp(-np.abs(gap)))
        votes += np.bincount(voter, kept.count, comparisons.clusters)
        expected += np.bincount(voter, kept.count * p, comparisons.clusters)
        variance += np.bincount(voter, kept.count * p * (1 - p) * (gap != 0), comparisons.clusters)
    known = votes >= least
    share, expected_share, z = (np.full(comparisons.clusters, np.nan) for _ in range(3))
    np.divide(agreed, votes, out=share, where=known)
    np.divide(expected, votes, out=expected_share, where=known)
    np.divide(agreed - expected, np.sqrt(variance), out=z, where=known & (variance > 0))
    low, high = wilson(share, votes, level)
    return Agreements(agreed, votes, share, low, high, expected_share, z, least)


def _gaps_without(rows: Comparisons, theta: Floats, voters: Ints) -> tuple[Comparisons, Ints, Floats]:
    """The rows of `voters` that the others' boards can judge, whose they are, and theta_left - theta_right (n,)."""
    size = rows.size
    total = bt.win_matrix(rows, Ties.DROP)
    position = np.full(int(rows.cluster.max()) + 1, -1, np.int64)
    position[voters] = np.arange(len(voters))
    own = rows.where(position[rows.cluster] >= 0)
    place = position[own.cluster]
    winner = np.where(own.outcome == Code.LEFT, own.left, own.right)
    loser = np.where(own.outcome == Code.LEFT, own.right, own.left)
    cell = (place * size + winner) * size + loser
    mine = np.bincount(cell, own.weight, len(voters) * size * size).reshape(-1, size, size)
    # Rounding must not leave a trace of a win that only this voter saw.
    alone = (mine > 0) & (mine >= total * (1 - 1e-12))
    rest = np.where(alone, 0.0, total - mine)
    cast, all_cast = (mine.sum(1) + mine.sum(2)), total.sum(0) + total.sum(1)
    anew = alone.any((1, 2)) | (cast > HEAVY * all_cast).any(1)
    boards = np.empty((len(voters), size))
    boards[~anew] = _one_step(rest[~anew], theta)
    for u in np.flatnonzero(anew):
        boards[u] = _board_of(rest[u])
    gap = boards[place, own.left] - boards[place, own.right]
    judged = ~np.isnan(gap)
    return own.where(judged), own.cluster[judged], gap[judged]


def _one_step(wins: Floats, theta: Floats) -> Floats:
    """Strengths (U, M) one Newton step from theta (M,) towards the boards of wins (U, M, M)."""
    information = bt.information(wins, theta)
    lift = np.trace(information, axis1=1, axis2=2) / information.shape[-1] ** 2
    return theta + np.linalg.solve(information + lift[:, None, None], bt.gradient(wins, theta)[..., None])[..., 0]


def _board_of(wins: Floats) -> Floats:
    """Strengths (M,) of those whom these wins can compare, NaN for others."""
    board = np.full(len(wins), np.nan)
    rated = list(bt.components(wins).rated)
    if len(rated) > 1:
        board[rated] = bt.fit(wins[np.ix_(rated, rated)])
    return board


def wilson(share: Floats, votes: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Wilson's score interval (low, high) of a share among so many votes; NaN where the share is NaN.

    Source: E. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, JASA 22 (1927).
    """
    square = ndtri((1 + level) / 2) ** 2
    n = np.where(np.isnan(share), np.nan, votes)
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = np.sqrt(square * (share * (1 - share) + square / (4 * n)) / n) / (1 + square / n)
    return middle - half, middle + half
