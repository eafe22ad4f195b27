"""A board that takes one vote at a time: what a vote cannot change is kept, and the rest is milliseconds.

Strengths are fitted anew from exact counts, so they equal those of the whole board to the bit. The covariance is kept
per voter as of strengths at most `DRIFT` points away, with every new vote's own part exact; when strengths have
drifted further, it is made anew from all votes. Two points change what a vote adds to its voter's score by 0.003, so
a voter of fifty votes misses less than 0.2% of the variance that they add. The critical value of the rank sets, which
takes ten thousand draws, is made anew when a standard error has moved by more than `STALE` of itself, the chances of
the first places when a strength has by more than `MOVED` standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from arena.errors import UsageError
from arena.rating import bradley_terry as bt
from arena.rating import uncertainty
from arena.rating.bradley_terry import SCALE, Ties
from arena.rating.comparisons import Code, Comparisons, Floats
from arena.rating.uncertainty import Ranks

DRIFT = 2.0
STALE = 0.01
MOVED = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Strengths (M,) of mean 0, their covariance (M, M) with the factor of a standard error in an interval and its
    degrees of freedom, and rank sets; as of `votes` votes of `voters` voters."""

    contestants: tuple[str, ...]
    theta: Floats
    covariance: Floats
    factor: float
    freedom: float
    ranks: Ranks
    votes: int
    voters: int

    @property
    def ratings(self) -> Floats:
        """Ratings (M,) in points, mean 1000."""
        return bt.points(self.theta)

    @property
    def half_widths(self) -> Floats:
        """Half of each 95% interval (M,), in points."""
        return uncertainty.half_widths(self.covariance, self.factor)


@dataclass(eq=False)
class LiveBoard:
    """The running board of clustered, unweighted comparisons in which every contestant can be rated."""

    comparisons: Comparisons
    ties: Ties = Ties.HALF
    _added: list[tuple[int, int, int, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.comparisons.cluster is None:
            raise UsageError("A live board needs votes that say who cast them.")
        if len(bt.components(bt.win_matrix(self.comparisons, self.ties)).rated) < self.comparisons.size:
            raise UsageError("A live board needs votes that rate every contestant; leave out those they cannot.")
        self._wins = bt.win_matrix(self.comparisons, self.ties)
        self._votes = self.comparisons.votes
        self._theta = bt.fit(self._wins)
        self._anew()

    @property
    def wins(self) -> Floats:
        """Wins (M, M) as of the last vote, a tie as half to each side."""
        return self._wins

    def _anew(self) -> None:
        """Everything that depends on all votes: each cluster's score, and from it the covariance and rank sets."""
        self._gather()
        self._at = self._theta.copy()
        self._scores = uncertainty.cluster_scores(self.comparisons, self._at, self.ties)
        self._outer = self._scores.T @ self._scores
        self._active = int((self._scores != 0).any(1).sum())
        self._heavy: Floats | float = 0.0
        covariance = uncertainty.covariance(self.comparisons, self._at, self.ties)
        # What the jackknife adds to the plain outer product for voters with many votes.
        self._heavy = covariance - self._covariance()
        self._freedom = uncertainty.freedom(self.comparisons)
        self._factor = uncertainty.factor(self.comparisons)
        self._rank(covariance)

    def _rank(self, covariance: Floats) -> None:
        self._errors, self._placed = np.sqrt(np.diag(covariance)), self._theta.copy()
        self._ranks = uncertainty.ranks(self._theta, covariance, freedom=self._freedom)
        self._noise = uncertainty.normal_draws(covariance)

    def _place(self) -> None:
        """The chances of the first places, by the draws there are."""
        self._placed = self._theta.copy()
        best, top3 = uncertainty.first_places(self._theta, self._noise)
        self._ranks = replace(self._ranks, best=best, top3=top3)

    def _gather(self) -> None:
        """Puts the votes that came since the last time among the others, without renumbering the clusters."""
        if not self._added:
            return
        left, right, outcome, cluster, count = np.array(self._added).T
        old, count = self.comparisons, count.astype(np.float64)
        counts = np.append(old.count, count)
        self.comparisons = Comparisons(
            old.contestants,
            np.append(old.left, left), np.append(old.right, right), np.append(old.outcome, outcome),
            counts, counts, counts, np.append(old.cluster, cluster),  # type: ignore[arg-type]
        )  # fmt: skip
        self._added = []

    def _covariance(self) -> Floats:
        bread = uncertainty.inverse_information(self._wins, self._theta)
        return bread @ self._outer @ bread * (self._active - 1) / max(1, self._active) + self._heavy

    def add(self, left: int, right: int, outcome: Code, cluster: int, count: int = 1) -> None:
        """Votes that say the same: positions of the contestants, and the voter's number, the next free one for a new
        voter."""
        if left == right:
            raise UsageError(f"{self.comparisons.contestants[left]!r} is compared with itself; leave that vote out.")
        if not 0 <= cluster <= len(self._scores):
            raise UsageError(f"There is no cluster {cluster}; the next new one is {len(self._scores)}.")
        if cluster == len(self._scores):
            self._scores = np.vstack([self._scores, np.zeros(self.comparisons.size)])
        self._added.append((left, right, int(outcome), cluster, count))
        self._votes += count
        score = bt.left_score(np.array([outcome]), self.ties)[0]
        if np.isnan(score):
            return
        self._wins[left, right] += count * score
        self._wins[right, left] += count * (1 - score)
        push = count * (score - bt.win_probability(self._at)[left, right])
        before = self._scores[cluster].copy()
        self._scores[cluster, left] += push
        self._scores[cluster, right] -= push
        after = self._scores[cluster]
        self._outer += np.outer(after, after) - np.outer(before, before)
        self._active += int(not before.any() and bool(after.any()))

    def standing(self) -> Standing:
        """The board as of the last vote."""
        self._theta = bt.fit(self._wins, self._theta)
        if np.abs(self._theta - self._at).max() * SCALE > DRIFT:
            self._anew()
        covariance = self._covariance()
        errors = np.sqrt(np.diag(covariance))
        if np.abs(errors / self._errors - 1).max() > STALE:
            self._rank(covariance)
        elif (np.abs(self._theta - self._placed) > MOVED * errors).any():
            self._place()
        low, high = uncertainty.rank_sets(self._theta, covariance, self._ranks.critical)
        ranks = Ranks(low, high, self._ranks.best, self._ranks.top3, self._ranks.critical)
        return Standing(
            self.comparisons.contestants, self._theta.copy(), covariance, self._factor, self._freedom, ranks,
            self._votes, self._active,
        )  # fmt: skip
