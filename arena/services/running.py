"""The people's board for a page that is looked at while people vote: carried along from vote to vote.

Few votes are rated anew with every vote. From `MANY` on, a `LiveBoard` takes them one by one, within a few
milliseconds; what its figures may be off by stands there, and is less than what the page rounds away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from arena.domain import VoteFilter
from arena.errors import DataError
from arena.rating import board as boards
from arena.rating import bradley_terry as bt
from arena.rating import influence
from arena.rating.board import Board, Estimate
from arena.rating.comparisons import Code, Comparisons
from arena.rating.live import LiveBoard
from arena.services.carried import carried
from arena.services.counting import as_comparisons, positions

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from db.store import Counts

MANY = 20_000
"""Votes from which a board takes long enough to be carried along."""
MOST_SCORES = 10_000_000
"""Voters times models that are kept in memory, 80 MB; more are rated anew."""


@dataclass(frozen=True, slots=True)
class Found:
    """The board, or why there is none; all votes added up by contestants and outcome; and contestants' names by id."""

    board: Board | None
    pooled: Comparisons
    reason: str
    names: Mapping[int, str]


def board(arena: Arena, votes: VoteFilter) -> Found:
    """The board of the votes that the filter lets through, as of the last one. Its `votes_to_flip` and
    `votes_needed` may be left out; `between` finds them."""
    return carried(arena, Running, votes)


def between(arena: Arena, votes: VoteFilter, upper: str, lower: str) -> tuple[int | None, int | None]:
    """Fewest votes whose removal puts `lower` level with `upper`, and further ones that would settle their order."""
    return carried(arena, Running, votes, lambda running: running.between(upper, lower))


class Running:
    """Votes added up by contestants and outcome (M, M, 4), and a board of them, which is made when it is asked for."""

    def __init__(self, counts: Counts):
        self.by_id, (self.names, self.place) = counts.names, positions(counts)
        self.cells = np.zeros((len(self.names), len(self.names), len(Code)))
        np.add.at(self.cells, (self.place[counts.left_id], self.place[counts.right_id], counts.outcome), counts.count)
        self.made: Found | None = None

    @staticmethod
    def counted(arena: Arena, votes: VoteFilter) -> Running:
        counts = arena.store.counts(votes)
        return _carried_along(counts) or _Anew(counts)

    def add(self, ballots: NDArray[np.int64]) -> bool:
        raise NotImplementedError

    def _board(self, pooled: Comparisons) -> Board:
        raise NotImplementedError

    def between(self, upper: str, lower: str) -> tuple[int | None, int | None]:
        raise NotImplementedError

    def pooled(self) -> Comparisons:
        """All votes, added up by contestants and outcome."""
        left, right, outcome = np.nonzero(self.cells)
        count = self.cells[left, right, outcome]
        sides = left.astype(np.int32), right.astype(np.int32)
        return Comparisons(tuple(self.names), *sides, outcome.astype(np.int8), count, count, count)

    def found(self) -> Found:
        if self.made is None:
            pooled = self.pooled()
            try:
                self.made = Found(self._board(pooled), pooled, "", self.by_id)
            except DataError as error:
                self.made = Found(None, pooled, str(error) if pooled.votes else "", self.by_id)
        return self.made


class _Anew(Running):
    """All votes are rated with every vote, `between` included."""

    def __init__(self, counts: Counts):
        super().__init__(counts)
        self.counts = counts

    def add(self, ballots: NDArray[np.int64]) -> bool:
        return False

    def _board(self, pooled: Comparisons) -> Board:
        return boards.board(as_comparisons(self.counts))

    def between(self, upper: str, lower: str) -> tuple[int | None, int | None]:
        board = self.found().board
        row = next(row for row in board.board if row.model == upper) if board else None
        return (row.votes_to_flip, row.votes_needed) if row else (None, None)


def _carried_along(counts: Counts) -> _Live | None:
    """A board that takes votes one by one, where there are so many that it is worth it."""
    if counts.count.sum() < MANY:
        return None
    running = _Live(counts)
    return running if running.board is not None else None


class _Live(Running):
    """A `LiveBoard` of the contestants that the votes can rate. `voters`: their keys, in order; new ones follow."""

    def __init__(self, counts: Counts):
        super().__init__(counts)
        self.parts, self.board = self._parts(), None
        self.rated = self.parts.rated
        inside = np.isin(self.place, self.rated)
        used = inside[counts.left_id] & inside[counts.right_id]
        self.voters, cluster = np.unique(counts.cluster[used], return_inverse=True)
        self.new_voters: dict[int, int] = {}
        if min(len(self.rated), len(self.voters)) < 2 or len(self.voters) * len(self.rated) > MOST_SCORES:
            return
        count = counts.count[used].astype(np.float64)
        sides = self.place[counts.left_id[used]], self.place[counts.right_id[used]]
        cluster = cluster.astype(np.int32)
        whole = Comparisons(tuple(self.names), *sides, counts.outcome[used], count, count, count, cluster)
        self.board = LiveBoard(whole.among(self.rated))

    def _parts(self) -> bt.Components:
        wins = self.cells[..., Code.LEFT] + self.cells[..., Code.RIGHT].T
        ties = self.cells[..., Code.TIE]
        return bt.components(wins + (ties + ties.T) / 2)

    def add(self, ballots: NDArray[np.int64]) -> bool:
        for _, left_id, right_id, outcome, count, key in ballots.tolist():
            left, right = int(self.place[left_id]), int(self.place[right_id])
            self.cells[left, right, outcome] += count
            if left in self.rated and right in self.rated:
                pair = self.rated.index(left), self.rated.index(right)
                self.board.add(*pair, Code(outcome), self._number(key), count)
        self.made, self.parts = None, self._parts()
        return self.parts.rated == self.rated

    def _number(self, key: int) -> int:
        at = int(np.searchsorted(self.voters, key))
        if at < len(self.voters) and self.voters[at] == key:
            return at
        return self.new_voters.setdefault(key, len(self.voters) + len(self.new_voters))

    def _board(self, pooled: Comparisons) -> Board:
        rated, now = pooled.among(self.rated), self.board.standing()
        unrated = bt.unrated_because(pooled, self.parts)
        estimate = Estimate(rated, now.theta, now.covariance, now.factor, now.freedom)
        found = boards.rows(pooled, estimate, unrated, None, 0, now.ranks)
        return boards.assembled(pooled, rated, unrated, found, now.voters)

    def between(self, upper: str, lower: str) -> tuple[int | None, int | None]:
        now, rated = self.board.standing(), self.pooled().among(self.rated)
        pair = now.contestants.index(upper), now.contestants.index(lower)
        return (
            influence.votes_to_flip(rated, now.theta, *pair),
            influence.votes_needed(self.board.wins, now.theta, now.covariance, *pair, now.ranks.critical),
        )
