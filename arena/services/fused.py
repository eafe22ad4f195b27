"""Humans and judges together: beside the board of people's votes, never instead of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from arena.domain import VoteFilter
from arena.errors import DataError
from arena.rating import board as boards
from arena.rating import fusion
from arena.rating.board import Board
from arena.rating.comparisons import Code, Comparisons, aggregate
from arena.services.counting import comparisons, named_positions

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from db.store import VotedImages

MIRROR = {Code.LEFT: Code.RIGHT, Code.RIGHT: Code.LEFT}


@dataclass(frozen=True, slots=True)
class Together:
    """One judge beside people, on the votes that name their images.

    `human`: people alone; `fused`: narrowed by the judge, `lam` saying how far; `judge`: the judge alone, which no one
    should take for people's verdict. None where a board is not possible, with the reason in `notes`.
    """

    name: str
    human: Board | None
    fused: Board | None
    judge: Board | None
    lam: float | None
    width_ratio: float | None
    notes: tuple[str, ...]


def together(arena: Arena, judge: str) -> Together:
    """The three boards of one judge (its voter id). A pair of images that both saw is what the judge is checked on."""
    people, verdicts = arena.store.voted_images(VoteFilter()), arena.store.voted_images(VoteFilter(board=judge))
    notes: list[str] = []
    human = _board(lambda: boards.board(comparisons(arena)), "People alone", notes)
    alone = _board(lambda: boards.board(comparisons(arena, VoteFilter(board=judge))), "The judge alone", notes)
    fused = _board(lambda: fusion.board(*paired(arena, people, verdicts)), "People and judge", notes)
    details = fused.details if fused else {}
    return Together(judge, human, fused, alone, details.get("lam"), details.get("width_ratio"), tuple(notes))


def _board(make, whose: str, notes: list[str]) -> Board | None:  # type: ignore[no-untyped-def]
    try:
        return make()
    except DataError as error:
        notes.append(f"{whose}: {error}")
        return None


def paired(arena: Arena, people: list[VotedImages], verdicts: list[VotedImages]) -> tuple[fusion.Paired, Comparisons]:
    """People's votes with the judge's verdict on the same two images, and the judge's verdicts on all others.

    Raises DataError where the judge has not seen every pair of images that people voted on.
    """
    names, position = named_positions(arena)
    said = {(row.left_sha256, row.right_sha256): Code(row.outcome) for row in verdicts}
    said |= {(b, a): MIRROR.get(code, code) for (a, b), code in said.items() if (b, a) not in said}
    both = [row for row in people if (row.left_sha256, row.right_sha256) in said]
    if len(both) < len(people):
        raise DataError(
            f"the judge has seen {len(both)} of the {len(people)} battles that people voted on; without the others the "
            "intervals would be wider than people's own, so let it judge them first."
        )
    seen = {frozenset((row.left_sha256, row.right_sha256)) for row in both}
    rest = [row for row in verdicts if frozenset((row.left_sha256, row.right_sha256)) not in seen]
    found = fusion.Paired(
        tuple(names),
        *_sides(both, position),
        np.array([Code(row.outcome) for row in both], np.int64),
        np.array([said[row.left_sha256, row.right_sha256] for row in both], np.int64),
        np.unique([row.voter_key for row in both], return_inverse=True)[1],
    )
    codes = np.array([Code(row.outcome) for row in rest], np.int8)
    return found, aggregate(names, *_sides(rest, position), codes)


def _sides(rows: list[VotedImages], position: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    left = np.array([position[row.left_id] for row in rows], np.int64)
    return left, np.array([position[row.right_id] for row in rows], np.int64)
