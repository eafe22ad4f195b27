"""How a board came to be: votes by day, ratings over time, and what the last seven days changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from arena.domain import VoteFilter
from arena.errors import DataError
from arena.rating import board as boards
from arena.rating import bradley_terry as bt
from arena.rating import uncertainty
from arena.rating.comparisons import Comparisons
from arena.services.tally import DAY, Tally, tally

if TYPE_CHECKING:
    from arena.bootstrap import Arena

POINTS = 12
"""Boards that a history is made of, the last one as of now."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A contestant's rating with its 95% interval, by the votes cast up to the end of a day (ISO, UTC)."""

    day: str
    name: str
    rating: float
    low: float
    high: float
    votes: int


@dataclass(frozen=True, slots=True)
class Move:
    """A contestant that got to another rank."""

    name: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What votes from the first one cast in a period on changed: how many, who is new, and who moved, the most first.

    `before`: votes that were there already.
    """

    votes: int
    before: int
    new: tuple[str, ...]
    moves: tuple[Move, ...]


def per_day(arena: Arena, votes: VoteFilter) -> list[tuple[str, int]]:
    """Votes that the filter lets through by day (ISO, UTC)."""
    return tally(arena, votes.board).per_day(votes)


def history(arena: Arena, votes: VoteFilter, points: int = POINTS) -> list[Moment]:
    """Ratings by the votes up to the end of so many days, equally far apart; votes without a time have no part."""
    found = tally(arena, votes.board)
    return [moment for last in _ends(found, votes, points) for moment in _moments(found, votes, last)]


def _ends(found: Tally, votes: VoteFilter, points: int) -> list[int]:
    """Days since 1970 at whose end a board is made."""
    times = found.votes.at[found.chosen(replace(votes, since=votes.since or datetime(1970, 1, 1, tzinfo=UTC)))]
    if not len(times):
        return []
    first, last = int(times.min()) // DAY, int(times.max()) // DAY
    return np.unique(np.linspace(first, last, points).round().astype(int)).tolist()


def _moments(found: Tally, votes: VoteFilter, last: int) -> list[Moment]:
    end = datetime.fromtimestamp((last + 1) * DAY, UTC)
    compared = found.comparisons(replace(votes, until=min(end, votes.until) if votes.until else end))
    day = datetime.fromtimestamp(last * DAY, UTC).date().isoformat()
    return [
        Moment(day, name, rating, rating - half, rating + half, compared.votes)
        for name, (rating, half) in _ratings(compared).items()
    ]


def _ratings(compared: Comparisons) -> Mapping[str, tuple[float, float]]:
    """Rating and half of its 95% interval of those that can be rated, as a board has them."""
    try:
        among, _ = boards.rateable(compared)
    except DataError:
        return {}
    theta = bt.fit(bt.win_matrix(among))
    half = uncertainty.half_widths(uncertainty.covariance(among, theta), uncertainty.factor(among))
    return dict(zip(among.contestants, zip(bt.points(theta).tolist(), half.tolist(), strict=True), strict=True))


def changes(arena: Arena, votes: VoteFilter, since: datetime) -> Changes:
    """What the votes from the first one cast at `since` or later on made of the board."""
    found = tally(arena, votes.board)
    early, now = (
        found.comparisons(part) for part in (replace(votes, up_to=_least(votes.up_to, found.before(since))), votes)
    )
    was, places = _places(early), _places(now)
    moves = [Move(name, was[name], place) for name, place in places.items() if was.get(name, place) != place]
    return Changes(
        votes=now.votes - early.votes,
        before=early.votes,
        new=tuple(sorted(places.keys() - was.keys(), key=places.__getitem__)) if was else (),
        moves=tuple(sorted(moves, key=lambda move: (-abs(move.before - move.after), move.after))),
    )


def _least(one: int | None, other: int) -> int:
    return other if one is None else min(one, other)


def _places(compared: Comparisons) -> dict[str, int]:
    """The rank of everyone that can be rated."""
    try:
        among, _ = boards.rateable(compared)
    except DataError:
        return {}
    ratings = bt.fit(bt.win_matrix(among))
    ranks = 1 + (ratings[:, None] < ratings[None, :]).sum(1)
    return dict(zip(among.contestants, ranks.tolist(), strict=True))
