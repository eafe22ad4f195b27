"""All votes of a board in memory, so that a filter is a mask over arrays instead of a question to the database.

A vote takes some forty bytes. What is kept is brought up to date by the ballots that came since; where a vote was
excluded, or a contestant added, since, all is read anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from arena.domain import PEOPLE, VoteFilter
from arena.rating.comparisons import Comparisons, aggregate
from db.columns import NEVER, Columns, columns

if TYPE_CHECKING:
    from arena.bootstrap import Arena

DAY = 86_400
Newest = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Tally:
    """The votes of a board as of `newest` (`Store.newest`). `names`: contestants by id."""

    names: Mapping[int, str]
    categories: tuple[str, ...]
    votes: Columns
    newest: Newest

    def chosen(self, votes: VoteFilter) -> NDArray[np.bool_]:
        """Which votes (n,) the filter lets through; its times are taken as whole seconds."""
        keep = np.ones(len(self.votes.ballot), bool)
        if votes.category is not None:
            known = votes.category in self.categories
            keep &= self.votes.category == (self.categories.index(votes.category) if known else -2)
        if votes.since is not None or votes.until is not None:
            keep &= self.votes.at != NEVER
        if votes.since is not None:
            keep &= self.votes.at >= np.ceil(votes.since.timestamp())
        if votes.until is not None:
            keep &= self.votes.at < np.ceil(votes.until.timestamp())
        if votes.up_to is not None:
            keep &= self.votes.ballot <= votes.up_to
        return keep

    def comparisons(self, votes: VoteFilter) -> Comparisons:
        """What `counting.comparisons` makes of the same votes, to the bit: clustered by voter, contestants by name."""
        keep, of = self.chosen(votes), self.votes
        ids = sorted(self.names, key=lambda id: self.names[id])
        place = np.zeros(max(ids, default=0) + 1, np.int32)
        place[ids] = np.arange(len(ids), dtype=np.int32)
        return aggregate(
            [self.names[id] for id in ids],
            place[of.left_id[keep]],
            place[of.right_id[keep]],
            of.outcome[keep],
            of.count[keep],
            cluster=of.voter_key[keep],
        )

    def per_day(self, votes: VoteFilter) -> list[tuple[str, int]]:
        """Votes by day (ISO, UTC), days without any included; votes that say no time are left out."""
        keep = self.chosen(votes) & (self.votes.at != NEVER)
        if not keep.any():
            return []
        days = self.votes.at[keep] // DAY
        counts = np.bincount(days - days.min(), self.votes.count[keep])
        return [(day(int(days.min()) + k), int(count)) for k, count in enumerate(counts)]

    def before(self, time: datetime) -> int:
        """The last ballot before the first one that was cast at `time` or later; the last of all where none was."""
        later = np.flatnonzero(self.votes.at >= time.timestamp())
        if not len(later):
            return self.newest[0]
        return int(self.votes.ballot[later[0] - 1]) if later[0] else 0


def day(number: int) -> str:
    """The day so many days after 1970-01-01, as ISO writes it."""
    return datetime.fromtimestamp(number * DAY, UTC).date().isoformat()


_kept: dict[tuple[str, str], Tally] = {}
_lock = Lock()


def tally(arena: Arena, board: str = PEOPLE) -> Tally:
    """The votes of a board, up to the last one now in the store."""
    key = (str(arena.store.engine.url), board)
    with _lock:
        newest = arena.store.newest()
        kept = _kept.get(key)
        if kept is None or kept.newest != newest:
            _kept[key] = kept = _brought_up_to(arena, board, newest, kept)
        return kept


def _brought_up_to(arena: Arena, board: str, newest: Newest, kept: Tally | None) -> Tally:
    if kept is None or kept.newest[1:] != newest[1:] or kept.newest[0] > newest[0]:
        return _read(arena, board, newest)
    later = columns(arena.store, board, kept.categories, kept.newest[0], newest[0])
    if (later.category < 0).any() and tuple(arena.store.categories()) != kept.categories:
        return _read(arena, board, newest)
    return replace(kept, votes=kept.votes.followed_by(later), newest=newest)


def _read(arena: Arena, board: str, newest: Newest) -> Tally:
    categories = tuple(arena.store.categories())
    names = {contestant.id or 0: contestant.name for contestant in arena.store.contestants()}
    return Tally(names, categories, columns(arena.store, board, categories, up_to=newest[0]), newest)
