"""A board that takes one vote at a time: what a vote cannot change is kept, and the rest is milliseconds.

Strengths are fitted anew with every vote, from exact counts, so they equal those of the whole board to the bit. The
covariance is kept per voter as of strengths at most `DRIFT` points away, with every new vote's own part exact; when
strengths have drifted further, it is made anew from all votes. The critical value of the rank sets and the chances of
the first places, which take ten thousand draws, are made anew when a standard error has moved by more than `STALE` of
itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from arena.errors import UsageError
from arena.rating import bradley_terry as bt
from arena.rating import uncertainty
from arena.rating.bradley_terry import SCALE, Ties
from arena.rating.comparisons import Code, Comparisons, Floats
from arena.rating.uncertainty import Ranks

DRIFT = 0.5
STALE = 0.002


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Ratings (M,) in points, half-widths of their 95% intervals, and rank sets; as of `votes` votes."""

    contestants: tuple[str, ...]
    ratings: Floats
    half_widths: Floats
    ranks: Ranks
    votes: int


@dataclass(eq=False)
class LiveBoard:
    """The running board of clustered, unweighted comparisons in which every contestant can be rated."""

    comparisons: Comparisons
    ties: Ties = Ties.HALF
    _added: list[tuple[int, int, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.comparisons.cluster is None:
            raise UsageError("A live board needs votes that say who cast them.")
        if len(bt.components(bt.win_matrix(self.comparisons, self.ties)).rated) < self.comparisons.size:
            raise UsageError("A live board needs votes that rate every contestant; leave out those they cannot.")
        self._wins = bt.win_matrix(self.comparisons, self.ties)
        self._votes = self.comparisons.votes
        self._theta = bt.fit(self._wins)
        self._anew()

    def _anew(self) -> None:
        """Everything that depends on all votes: each cluster's score, and from it the covariance and rank sets."""
        self._gather()
        self._at = self._theta.copy()
        self._scores = uncertainty.cluster_scores(self.comparisons, self._at, self.ties)
        self._outer = self._scores.T @ self._scores
        self._active = int((self._scores != 0).any(1).sum())
        self._heavy = 0.0
        covariance = uncertainty.covariance(self.comparisons, self._at, self.ties)
        # What the jackknife adds to the plain outer product for voters with many votes.
        self._heavy = covariance - self._covariance()
        self._freedom = uncertainty.freedom(self.comparisons)
        self._factor = uncertainty.factor(self.comparisons)
        self._errors = np.sqrt(np.diag(covariance))
        self._ranks = uncertainty.ranks(self._theta, covariance, freedom=self._freedom)

    def _gather(self) -> None:
        """Puts the votes that came since the last time among the others, without renumbering the clusters."""
        if not self._added:
            return
        left, right, outcome, cluster = np.array(self._added).T
        old, one = self.comparisons, np.ones(len(left))
        self.comparisons = Comparisons(
            old.contestants,
            np.append(old.left, left), np.append(old.right, right), np.append(old.outcome, outcome),
            np.append(old.count, one), np.append(old.weight, one), np.append(old.square, one),
            np.append(old.cluster, cluster),  # type: ignore[arg-type]
        )  # fmt: skip
        self._added = []

    def _covariance(self) -> Floats:
        bread = uncertainty.inverse_information(self._wins, self._theta)
        return bread @ self._outer @ bread * (self._active - 1) / max(1, self._active) + self._heavy

    def add(self, left: int, right: int, outcome: Code, cluster: int) -> None:
        """One vote: positions of the contestants, and the voter's number, the next free one for a new voter."""
        if left == right:
            raise UsageError(f"{self.comparisons.contestants[left]!r} is compared with itself; leave that vote out.")
        if not 0 <= cluster <= len(self._scores):
            raise UsageError(f"There is no cluster {cluster}; the next new one is {len(self._scores)}.")
        if cluster == len(self._scores):
            self._scores = np.vstack([self._scores, np.zeros(self.comparisons.size)])
        self._added.append((left, right, int(outcome), cluster))
        self._votes += 1
        score = bt.left_score(np.array([outcome]), self.ties)[0]
        if np.isnan(score):
            return
        self._wins[left, right] += score
        self._wins[right, left] += 1 - score
        self._theta = bt.fit(self._wins, self._theta)
        push = score - bt.win_probability(self._at)[left, right]
        before = self._scores[cluster].copy()
        self._scores[cluster, left] += push
        self._scores[cluster, right] -= push
        after = self._scores[cluster]
        self._outer += np.outer(after, after) - np.outer(before, before)
        self._active += int(not before.any() and bool(after.any()))

    def standing(self) -> Standing:
        """The board as of the last vote."""
        if np.abs(self._theta - self._at).max() * SCALE > DRIFT:
            self._anew()
        covariance = self._covariance()
        errors = np.sqrt(np.diag(covariance))
        if np.abs(errors / self._errors - 1).max() > STALE:
            self._errors = errors
            self._ranks = uncertainty.ranks(self._theta, covariance, freedom=self._freedom)
        low, high = uncertainty.rank_sets(self._theta, covariance, self._ranks.critical)
        return Standing(
            self.comparisons.contestants,
            bt.points(self._theta),
            uncertainty.half_widths(covariance, self._factor),
            Ranks(low, high, self._ranks.best, self._ranks.top3, self._ranks.critical),
            self._votes,
        )
