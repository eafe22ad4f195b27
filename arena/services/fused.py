"""Humans and judges together: beside the board of people's votes, never instead of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from arena.domain import VoteFilter
from arena.errors import DataError
from arena.rating import board as boards
from arena.rating import fusion
from arena.rating.board import Board
from arena.rating.comparisons import Code, Comparisons, aggregate
from arena.services.counting import comparisons, named_positions

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from db.store import Counts, VotedImages

REMEMBERED = 8
"""Judges whose boards a process keeps."""
MIRROR = {Code.LEFT: Code.RIGHT, Code.RIGHT: Code.LEFT}


@dataclass(frozen=True, slots=True)
class Together:
    """One judge beside people.

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


_memory: dict[tuple[str, str, tuple[int, int, int]], Together] = {}


def together(arena: Arena, judge: str) -> Together:
    """The three boards of one judge (its voter id). A pair of images that both saw is what the judge is checked on.

    Made anew only when a vote was cast or excluded since.
    """
    key = (str(arena.store.engine.url), judge, arena.store.newest())
    if key not in _memory:
        while len(_memory) >= REMEMBERED:
            _memory.pop(next(iter(_memory)))
        _memory[key] = _together(arena, judge)
    return _memory[key]


def _together(arena: Arena, judge: str) -> Together:
    people, verdicts = arena.store.voted_images(VoteFilter()), arena.store.voted_images(VoteFilter(board=judge))
    notes: list[str] = []
    human = _board(lambda: boards.board(comparisons(arena)), "People alone", notes)
    alone = _board(lambda: boards.board(comparisons(arena, VoteFilter(board=judge))), "The judge alone", notes)
    both, elsewhere = paired(arena, people, verdicts)
    fused = _board(lambda: fusion.board(both, elsewhere), "People and judge", notes)
    if fused and fused.details["note"]:
        notes.append(fused.details["note"])
    if fused and not both.seen.all():
        notes.append(
            f"The judge has seen {int(both.seen.sum())} of the {len(both.left)} battles that people voted on. The "
            "others count as people's votes alone; it can help more where it judges them too."
        )
    details = fused.details if fused else {}
    return Together(judge, human, fused, alone, details.get("lam"), details.get("width_ratio"), tuple(notes))


def _board(make, whose: str, notes: list[str]) -> Board | None:  # type: ignore[no-untyped-def]
    try:
        return make()
    except DataError as error:
        notes.append(f"{whose}: {error}")
        return None


def paired(arena: Arena, people: list[VotedImages], verdicts: list[VotedImages]) -> tuple[fusion.Paired, Comparisons]:
    """People's votes, with the judge's verdict where it saw the same two images, and its verdicts on all others.

    `people` are the votes that name their images; those without, which came from elsewhere, are added.
    """
    names, position = named_positions(arena)
    said = {(row.left_sha256, row.right_sha256): Code(row.outcome) for row in verdicts}
    said |= {(b, a): MIRROR.get(code, code) for (a, b), code in said.items() if (b, a) not in said}
    seen = {frozenset((row.left_sha256, row.right_sha256)) for row in people}
    rest = [row for row in verdicts if frozenset((row.left_sha256, row.right_sha256)) not in seen]
    voted = np.array([(row.voter_key, position[row.left_id], position[row.right_id], row.outcome) for row in people])
    verdict = np.array([said.get((row.left_sha256, row.right_sha256), fusion.UNSEEN) for row in people], np.int64)
    without = _without_images(arena.store.counts(VoteFilter()), position, voted.reshape(-1, 4).astype(np.int64))
    rows = np.concatenate([voted.reshape(-1, 4).astype(np.int64), without])
    voter, left, right, human = rows.T
    judge = np.append(verdict, np.full(len(without), fusion.UNSEEN))
    found = fusion.Paired(tuple(names), left, right, human, judge, np.unique(voter, return_inverse=True)[1])
    codes = np.array([Code(row.outcome) for row in rest], np.int8)
    return found, aggregate(names, *_sides(rest, position), codes)


def _without_images(counts: Counts, position: dict[int, int], voted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Votes (n, 4) like `voted`, as voter's key, left, right and outcome, that are counted but not among these."""
    place = np.zeros(max(position, default=0) + 1, np.int64)
    place[list(position)] = list(position.values())
    counted = np.stack([counts.cluster, place[counts.left_id], place[counts.right_id], counts.outcome], axis=1)
    rows, number = np.unique(np.concatenate([counted, voted]), axis=0, return_inverse=True)
    sign = np.concatenate([counts.count, np.full(len(voted), -1)])
    return np.repeat(rows, np.bincount(number.ravel(), sign, len(rows)).astype(np.int64), axis=0)


def _sides(rows: list[VotedImages], position: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    left = np.array([position[row.left_id] for row in rows], np.int64)
    return left, np.array([position[row.right_id] for row in rows], np.int64)
