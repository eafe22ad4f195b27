"""A judge's own board: its verdicts rated as votes are, and how narrow its intervals have become."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from arena.domain import VoteFilter
from arena.errors import DataError
from arena.rating import board as boards
from arena.services.counting import comparisons

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from arena.rating.board import Board

_boards: dict[tuple[str, str], tuple[tuple[int, int, int], Board | str]] = {}


@dataclass(frozen=True, slots=True)
class Precision:
    """How sure a judge's board is: the half of each rated contestant's 95% interval, in rating points, by name."""

    verdicts: int
    half_widths: dict[str, float]

    @property
    def mean(self) -> float | None:
        """The mean half-width, in rating points."""
        return fmean(self.half_widths.values()) if self.half_widths else None

    @property
    def points_per_verdict(self) -> float | None:
        """By how many points one more verdict narrows the mean half-width h: it falls with 1/sqrt(n), so by h/(2n)."""
        return self.mean / (2 * self.verdicts) if self.mean is not None and self.verdicts else None


def board(arena: Arena, judge_id: str) -> Board:
    """The judge's board over all contestants, made anew only when a vote was cast or excluded since.

    Clustered by prompt: one judge is one voter, and its verdicts on one prompt hang together.
    Raises DataError where its verdicts can rate nobody.
    """
    key, newest = (str(arena.store.engine.url), judge_id), arena.store.newest()
    if _boards.get(key, (None,))[0] != newest:
        _boards[key] = (newest, _made(arena, judge_id))
    found = _boards[key][1]
    if isinstance(found, str):
        raise DataError(found)
    return found


def _made(arena: Arena, judge_id: str) -> Board | str:
    try:
        found = boards.board(comparisons(arena, VoteFilter(board=judge_id), "prompt"))
    except DataError as error:
        return str(error)
    if not any(row.wins for row in found.board):
        return "The judge prefers no image in any pair: its verdicts rank nobody."  # and their variance would be 0
    return found


def precision(arena: Arena, judge_id: str) -> Precision:
    """How sure the judge's board is as of now."""
    try:
        found = board(arena, judge_id)
    except DataError:
        return Precision(int(arena.store.counts(VoteFilter(board=judge_id), None).count.sum()), {})
    return Precision(found.n_votes, {row.model: row.high - row.rating for row in found.board if row.rating is not None})
