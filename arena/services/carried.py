"""What a process has counted once it carries along: from then on it reads only the ballots that came since.

Nothing here may be wrong for being old. What is kept is as of a ballot, and every use looks for newer ones first,
whichever process they came through; ballots become visible in the order of their numbers, so none is passed over and
none counts twice. Where a vote was excluded, or a contestant added, since, all is counted anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from arena.domain import VoteFilter

if TYPE_CHECKING:
    from arena.bootstrap import Arena

MOST_KEPT = 32
"""Things that a process keeps; the oldest goes first."""
MOST_READ = 5_000
"""Further ballots that are read one by one; more are counted by the database."""


class Carried(Protocol):
    """Something that is counted from votes once, and then brought up to date by further ballots."""

    @classmethod
    def counted(cls, arena: Arena, votes: VoteFilter) -> Carried:
        """Made from all votes that the filter lets through."""
        ...

    def add(self, ballots: NDArray[np.int64]) -> bool:
        """Counts ballots (n, 6) of `Store.ballots_after`; False where it has to be made from all votes."""
        ...

    def found(self) -> Any:
        """What callers want of it: a value that further ballots do not change."""
        ...


@dataclass
class _Kept:
    value: Carried
    newest: tuple[int, int, int]


Key = tuple[str, type, VoteFilter]
_kept: dict[Key, _Kept] = {}
_locks: defaultdict[Key, Lock] = defaultdict(Lock)


def carried(
    arena: Arena, kind: type[Carried], votes: VoteFilter, read: Callable[[Any], Any] = lambda kept: kept.found()
) -> Any:
    """What `kind` finds in the votes that the filter lets through, up to the last one now in the store.

    `read` may ask what is kept for something else; nothing is added to it meanwhile.
    """
    key = (str(arena.store.engine.url), kind, votes)
    with _locks[key]:
        newest = arena.store.newest()
        kept = _kept.get(key)
        if kept is None or not _brought_up_to(newest, kept, arena, votes):
            kept = _Kept(kind.counted(arena, _up_to(newest[0], votes)), newest)
            _keep(key, kept)
        return read(kept.value)


def _brought_up_to(newest: tuple[int, int, int], kept: _Kept, arena: Arena, votes: VoteFilter) -> bool:
    last, *rest = kept.newest
    if rest != list(newest[1:]) or not 0 <= newest[0] - last <= MOST_READ:
        return False
    if newest[0] > last:
        ballots = arena.store.ballots_after(_up_to(newest[0], votes), last)
        if len(ballots) and not kept.value.add(ballots):
            return False
        kept.newest = newest
    return True


def _up_to(ballot: int, votes: VoteFilter) -> VoteFilter:
    return replace(votes, up_to=ballot if votes.up_to is None else min(ballot, votes.up_to))


def _keep(key: Key, kept: _Kept) -> None:
    _kept[key] = kept
    for old in [*_kept][: max(0, len(_kept) - MOST_KEPT)]:
        _kept.pop(old, None)
