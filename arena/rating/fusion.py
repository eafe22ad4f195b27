"""Human votes and a judge's verdicts in one rating: prediction-powered Bradley-Terry.

Sources: A. Angelopoulos, J. Duchi and T. Zrnic, PPI++ (arXiv:2311.01453); I. Chatzi and others, Prediction-Powered
Ranking of Large Language Models (arXiv:2402.17826). The strengths minimise

    L_n(human) + lam (L_N(judge, on battles without a human vote) - L_n(judge, on the battles that humans voted on)),

so that whatever the judge gets wrong cancels between the two judge terms, and the answer stays the humans' answer
with any judge. `lam` in [0, 1] is how far the judge is used: it minimises the variance, and 0 is human votes alone.

Both judge terms are taken pair by pair and weighed like the pair's human votes with a verdict, since the judge may
have seen other pairs more often. Human votes without a verdict count as they are: nothing is known of the judge there,
and lam is found on the others. The loss of Bradley-Terry is linear in the scores, so the two terms only move scores:
the fit is Bradley-Terry's on wins to which lam n_p (mean verdict elsewhere - mean verdict on the voted battles) is
added for each pair p with n_p voted battles that the judge saw too. A pair that the judge saw on voted battles only is
left to the humans.

What must hold: on each pair, the battles with a human vote are drawn like those without (same prompts, same seeds,
same rule of sides). What need not: that the judge is right, or looks at no side first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from arena.errors import DataError, UsageError
from arena.rating import board as boards
from arena.rating import bradley_terry as bt
from arena.rating import uncertainty
from arena.rating.board import Board, Estimate, rateable, rows
from arena.rating.comparisons import Code, Comparisons, Floats, Ints, aggregate

METHOD = "ppbt@2"
UNSEEN = -1
"""The judge's code where it was not asked about a battle."""


@dataclass(frozen=True, eq=False)
class Paired:
    """Battles with a human vote and, where the judge saw them, its verdict, over `contestants`.

    `left`, `right`: int (n,), positions in `contestants`. `human`, `judge`: int (n,), a `Code` each, or `UNSEEN` for
    the judge. `voter`: int (n,), whose votes depend on each other; None where every vote stands alone. A judge that saw
    a battle and gave no verdict is coded both-bad: no preference. In a human vote both-bad has no part in the order, as
    in every rating.
    """

    contestants: tuple[str, ...]
    left: Ints
    right: Ints
    human: Ints
    judge: Ints
    voter: Ints | None = None

    def __post_init__(self) -> None:
        arrays = (self.right, self.human, self.judge, *(() if self.voter is None else (self.voter,)))
        if any(len(array) != len(self.left) for array in arrays):
            raise ValueError("the arrays of Paired need one length")

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which battles (n,) the judge saw."""
        return np.asarray(self.judge) != UNSEEN

    def votes(self) -> Comparisons:
        """The human votes alone."""
        return aggregate(self.contestants, self.left, self.right, self.human, cluster=self.voter)

    def among(self, members: Sequence[int]) -> Paired:
        """The battles between `members` (positions), which become the contestants, in the order given."""
        position = np.full(len(self.contestants), -1, np.int32)
        position[list(members)] = np.arange(len(members), dtype=np.int32)
        left, right = position[self.left], position[self.right]
        keep = (left >= 0) & (right >= 0)
        return replace(
            self,
            contestants=tuple(self.contestants[member] for member in members),
            left=left[keep], right=right[keep], human=self.human[keep], judge=self.judge[keep],
            voter=None if self.voter is None else self.voter[keep],
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class HumanOnly:
    """Strengths (M,) of mean 0 and covariance (M, M) from the human votes alone."""

    theta: Floats
    covariance: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """Strengths (M,) of mean 0 of the `contestants` that human votes can rate, and their covariance (M, M).

    `lam`: how far the judge is used, 0 to 1. `width_ratio`: mean half-width of the intervals over that of `human`.
    `factor`: of a standard error in a 95% interval; `freedom`: degrees of freedom of the covariance. `n` human votes,
    `n_seen` of them with a verdict, `n_judge` verdicts on other battles. `unrated`: why the human votes cannot rate the
    others. `note`: why the judge was not used, where it was not.
    """

    contestants: tuple[str, ...]
    theta: Floats
    covariance: Floats
    lam: float
    width_ratio: float
    human: HumanOnly
    factor: float
    freedom: float
    n: int
    n_seen: int
    n_judge: int
    unrated: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Judge:
    """What the judge contributes at lam = 1. `wins` (M, M): to be added to the human wins, antisymmetric. `push` (n,):
    each voted battle's verdict above the pair's mean, seen from the left. `edges` (M, M): variance by pair that the
    verdicts on other battles bring."""

    wins: Floats
    push: Floats
    edges: Floats


def fuse(paired: Paired, judge_only: Comparisons, lam: float | None = None) -> Fused:
    """Ratings from human votes, narrowed by the judge's verdicts on battles without a human vote.

    `judge_only`: verdicts over the same contestants, on battles that are not in `paired`. `lam` is found where absent.
    Raises DataError where the human votes rate nobody and UsageError for other contestants or a lam outside [0, 1].
    """
    if judge_only.contestants != paired.contestants:
        raise UsageError("The human votes and the judge's verdicts list different models; list the same for both.")
    if lam is not None and not 0 <= lam <= 1:
        raise UsageError(f"lam is {lam}; choose a number from 0 (humans alone) to 1.")
    votes, unrated = rateable(paired.votes())
    members = [paired.contestants.index(name) for name in votes.contestants]
    paired, judge_only = paired.among(members), judge_only.among(members)
    wins = bt.win_matrix(votes)
    theta = bt.fit(wins)
    human = HumanOnly(theta, uncertainty.covariance(votes, theta))
    judge = _judge(paired, judge_only)
    note, found_here = "", lam is None
    if not judge.edges.any():
        lam, note = 0.0, "The judge saw no pair both on battles with a human vote and on others: nothing to gain."
    elif lam is None:
        lam = _best_lam(paired, judge, wins, theta)
        if not lam:
            note = "The judge's verdicts do not go with the human votes, so they are not used."
    covariance = human.covariance
    if lam:
        try:
            theta = bt.fit(wins + lam * judge.wins)
            covariance = _covariance(paired, judge, wins, theta, lam)
        except DataError:
            lam, note = 0.0, "With the judge's verdicts no finite ratings fit, so they are not used."
    ratio = float(np.sqrt(np.diag(covariance)).mean() / np.sqrt(np.diag(human.covariance)).mean())
    if found_here and ratio > 1:
        theta, covariance, lam, ratio = human.theta, human.covariance, 0.0, 1.0
        note = "The judge's verdicts would widen the intervals, so they are not used."
    return Fused(
        votes.contestants, theta, covariance, lam, ratio, human, uncertainty.factor(votes),
        uncertainty.freedom(votes), votes.votes, int(paired.seen.sum()), judge_only.votes, unrated, note,
    )  # fmt: skip


def _judge(paired: Paired, elsewhere: Comparisons) -> _Judge:
    size, seen = len(paired.contestants), np.flatnonzero(paired.seen)
    score = np.array([1.0, 0.0, 0.5, 0.5])
    # A preference for one side is noise on a fair coin's sides; out with its mean, whatever that is.
    bias = float(elsewhere.count @ score[elsewhere.outcome] / max(1.0, elsewhere.count.sum())) - 0.5
    voted, sign = _pairs(paired.left[seen], paired.right[seen], size)
    other, other_sign = _pairs(elsewhere.left, elsewhere.right, size)
    verdict = sign * (score[paired.judge[seen]] - 0.5 - bias)
    other_verdict = other_sign * (score[elsewhere.outcome] - 0.5 - bias)

    def totals(power: int) -> tuple[Floats, Floats]:
        there = np.bincount(other, elsewhere.count * other_verdict**power, size * size)
        return np.bincount(voted, verdict**power, size * size), there

    (n, m), (here, there), (square_here, square_there) = totals(0), totals(1), totals(2)
    shared = (n > 0) & (m > 0)
    both = np.where(shared, n + m, 2.0)
    mean = np.where(shared, (here + there) / both, 0.0)
    freedom = both / (both - 1)
    variance = np.where(shared, np.maximum((square_here + square_there) / both - mean**2, 0) * freedom, 0.0)
    moved = np.where(shared, n * there / np.maximum(m, 1) - here, 0.0).reshape(size, size)
    edges = np.where(shared, n**2 / np.maximum(m, 1) * variance, 0.0).reshape(size, size)
    push = np.zeros(len(paired.left))
    push[seen] = np.where(shared[voted], sign * (verdict - mean[voted]) * np.sqrt(freedom[voted]), 0.0)
    return _Judge(moved - moved.T, push, edges + edges.T)


def _pairs(left: Ints, right: Ints, size: int) -> tuple[Ints, Floats]:
    """Each row's pair as lower * size + higher, and 1 where the lower position is on the left, else -1."""
    low, high = np.minimum(left, right).astype(np.int64), np.maximum(left, right)
    return low * size + high, np.where(left < right, 1.0, -1.0)


def _human_push(paired: Paired, theta: Floats) -> Floats:
    """Each vote's score (n,) of the left side above what was expected; 0 for both-bad."""
    return np.nan_to_num(bt.left_score(paired.human) - bt.win_probability(theta)[paired.left, paired.right])


def _human_covariance(paired: Paired, push: Floats, theta: Floats, bread: Floats) -> Floats:
    """Covariance (M, M) that pushes (n,) of the voted battles bring, as `uncertainty.covariance`."""
    size, left, right = len(paired.contestants), paired.left, paired.right
    voters, dense = np.unique(np.arange(len(left)) if paired.voter is None else paired.voter, return_inverse=True)
    if paired.voter is None or len(voters) < 2:
        flat = np.bincount(left.astype(np.int64) * size + right, push**2, size * size)
        edges = flat.reshape(size, size)
        return bread @ _laplacian(edges + edges.T) @ bread
    at = dense.astype(np.int64) * size
    scores = np.bincount(at + left, push, len(voters) * size) - np.bincount(at + right, push, len(voters) * size)
    probability = bt.win_probability(theta)[left, right]
    one = (paired.human != Code.BOTH_BAD) * probability * (1 - probability)
    return uncertainty.jackknife_pairs(bread, scores.reshape(-1, size), dense, left, right, one)


def _laplacian(edges: Floats) -> Floats:
    return np.diag(edges.sum(1)) - edges


def _covariance(paired: Paired, judge: _Judge, wins: Floats, theta: Floats, lam: float) -> Floats:
    bread = uncertainty.inverse_information(wins, theta)
    humans = _human_covariance(paired, _human_push(paired, theta) - lam * judge.push, theta, bread)
    return humans + lam**2 * bread @ _laplacian(judge.edges) @ bread


def _best_lam(paired: Paired, judge: _Judge, wins: Floats, theta: Floats) -> float:
    """The lam in [0, 1] of least summed variance of the contrasts, quadratic in lam, at the humans' strengths."""
    bread = uncertainty.inverse_information(wins, theta)
    push = _human_push(paired, theta)

    def spread(push: Floats) -> float:
        return float(np.trace(_human_covariance(paired, push, theta, bread)))

    shared = (spread(push) + spread(judge.push) - spread(push - judge.push)) / 2
    elsewhere = float(np.trace(bread @ _laplacian(judge.edges) @ bread))
    return float(np.clip(shared / (spread(judge.push) + elsewhere), 0, 1))


def board(paired: Paired, judge_only: Comparisons, *, seed: int = 0) -> Board:
    """The fused board; counts of votes are the humans'. `details` has lam, the width ratio and the human twin's widths.

    `votes_to_flip` and `votes_needed` are None: they are found for human votes alone. Raises as `fuse` does.
    """
    fused, votes = fuse(paired, judge_only), paired.votes()
    rated = votes.among([votes.contestants.index(name) for name in fused.contestants])
    estimate = Estimate(rated, fused.theta, fused.covariance, fused.factor, fused.freedom)
    warnings = boards.warnings(votes, rated, fused.unrated, uncertainty.active_clusters(rated))
    half = uncertainty.half_widths(fused.human.covariance, fused.factor)
    return Board(
        system="fused",
        parameters={
            "method": METHOD, "ties": "half", "both_bad": "own outcome", "scale": 400, "mean": 1000,
            "level": uncertainty.LEVEL, "clusters": rated.clusters or None, "seed": seed, "judged": fused.n_judge,
            "checked": fused.n_seen,
        },
        n_votes=votes.votes,
        board=rows(votes, estimate, fused.unrated, None, seed),
        warnings=(*warnings, fused.note) if fused.note else warnings,
        details={
            "lam": fused.lam, "width_ratio": fused.width_ratio, "note": fused.note,
            "human_half_widths": dict(zip(fused.contestants, map(float, half), strict=True)),
        },
    )  # fmt: skip


def agreement(one: Ints, other: Ints) -> float:
    """Share of battles with the same verdict of three: left, right, or no preference (tie and both-bad alike)."""
    if not len(one):
        return float("nan")
    return float((np.minimum(one, Code.TIE) == np.minimum(other, Code.TIE)).mean())
