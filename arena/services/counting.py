"""From the votes in the store to the arrays of the rating systems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from arena import matchmaking
from arena.domain import VoteFilter
from arena.rating import bradley_terry
from arena.rating.comparisons import Comparisons, aggregate
from arena.rating.weights import Weights, inverse_probability
from arena.services.carried import carried

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from db.store import Counts


def comparisons(arena: Arena, votes: VoteFilter | None = None, cluster: str | None = "voter") -> Comparisons:
    """The votes that the filter lets through, clustered by "voter", by "prompt" or not at all."""
    return as_comparisons(arena.store.counts(votes or VoteFilter(), cluster))


def as_comparisons(counts: Counts) -> Comparisons:
    """The store's counts over all contestants, which are put in the order of their names."""
    names, position = positions(counts)
    return aggregate(
        names,
        position[counts.left_id],
        position[counts.right_id],
        counts.outcome,
        counts.count,
        cluster=counts.cluster,
    )


def weighted(arena: Arena, votes: VoteFilter | None = None) -> tuple[Comparisons, Weights]:
    """The votes on battles drawn here, weighted as if every pair and prompt had been drawn equally often."""
    rows = arena.store.sampled(votes or VoteFilter())
    names, position = named_positions(arena)
    found = inverse_probability(np.array([row.probability for row in rows]))
    compared = aggregate(
        names,
        np.array([position[row.left_id] for row in rows], np.int32),
        np.array([position[row.right_id] for row in rows], np.int32),
        np.array([row.outcome for row in rows], np.int8),
        weight=found.weight,
        cluster=np.array([row.voter_key for row in rows], np.int64),
    )
    return compared, found


def named_positions(arena: Arena) -> tuple[list[str], dict[int, int]]:
    """All contestants' names in order, and the position of each id among them."""
    contestants = sorted(arena.store.contestants(), key=lambda contestant: contestant.name)
    return [c.name for c in contestants], {c.id or 0: k for k, c in enumerate(contestants)}


def slices(arena: Arena) -> dict[str, Comparisons]:
    """People's votes by category, clustered by voter, over the same contestants and with the same voters' numbers."""
    from arena.rating import pooling

    categories = arena.store.categories()
    parts = [arena.store.counts(VoteFilter(category=category)) for category in categories]
    found = [(category, part) for category, part in zip(categories, parts, strict=True) if len(part.count)]
    if not found:
        return {}
    names, position = positions(found[0][1])

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for _, part in found])

    return pooling.by_category(
        names,
        position[column("left_id")],
        position[column("right_id")],
        column("outcome"),
        [category for category, part in found for _ in range(len(part.count))],
        count=column("count").astype(np.float64),
        cluster=column("cluster"),
    )


def positions(counts: Counts) -> tuple[list[str], np.ndarray]:
    """All contestants' names in order, and as an array the position of each id among them."""
    ids = _by_name(counts)
    position = np.zeros(max(ids, default=0) + 1, np.int32)
    position[ids] = np.arange(len(ids), dtype=np.int32)
    return [counts.names[id] for id in ids], position


def _by_name(counts: Counts) -> list[int]:
    return sorted(counts.names, key=lambda id: counts.names[id])


@dataclass(frozen=True, slots=True)
class Standing:
    """What matchmaking needs to know of the votes so far, by contestant id.

    `strengths`: natural logarithms of odds, shrunk a little towards 0, which makes them finite for everyone
    (`bradley_terry.shrunk`). `votes`: by pair, lower id first, both-bad ones left out.
    """

    strengths: dict[int, float]
    votes: dict[tuple[int, int], float]


class _Wins:
    """Wins by pair, and the standing that they make."""

    def __init__(self, counts: Counts):
        self.ids = _by_name(counts)
        self.position = {id: k for k, id in enumerate(self.ids)}
        self.wins = bradley_terry.win_matrix(as_comparisons(counts))
        self.standing: Standing | None = None

    @classmethod
    def counted(cls, arena: Arena, votes: VoteFilter) -> _Wins:
        return cls(arena.store.counts(votes, cluster=None))

    def add(self, ballots: NDArray[np.int64]) -> bool:
        for _, left, right, outcome, count, _ in ballots.tolist():
            score = float(bradley_terry.left_score(np.array([outcome]))[0])
            if not np.isnan(score):
                i, j = self.position[left], self.position[right]
                self.wins[i, j] += count * score
                self.wins[j, i] += count * (1 - score)
        self.standing = None
        return True

    def found(self) -> Standing:
        if self.standing is None:
            ids, games = self.ids, self.wins + self.wins.T
            pairs = zip(*(axis.tolist() for axis in np.nonzero(np.triu(games))), strict=True)
            votes = {(min(ids[i], ids[j]), max(ids[i], ids[j])): float(games[i, j]) for i, j in pairs}
            theta = bradley_terry.shrunk(self.wins, matchmaking.PRIOR_VARIANCE)
            self.standing = Standing(dict(zip(ids, map(float, theta), strict=True)), votes)
        return self.standing


def standing(arena: Arena) -> Standing:
    """The standing of people's votes, as of the last one."""
    return carried(arena, _Wins, VoteFilter())


def standing_of(counts: Counts) -> Standing:
    """The standing that these counts make."""
    return _Wins(counts).found()
