"""The gate: people are asked about a contestant once a judge thinks well enough of it. Off unless the operator sets it.

A contestant gets in when the judge's rating of it is at least `gate_rating`, or (`gate_top_half`) when its interval
reaches the ratings of the better half; either is enough where both are set. Whoever people have voted on stays in: from
then on people's votes say more than the judge, and no vote is left without a contestant to meet.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from arena.domain import VoteFilter
from arena.errors import DataError
from arena.rating.board import BoardRow
from arena.services import judge_board
from db.verdicts import Verdicts

if TYPE_CHECKING:
    from arena.bootstrap import Arena

SECONDS = 10.0
"""How long a decision holds: a verdict hardly changes it, and a board takes a while."""
Prompts = TypeVar("Prompts")


@dataclass(frozen=True, slots=True)
class Gate:
    """Who may meet people, by id, and of the others by name why not. `rule` says in words who gets in."""

    rule: str
    admitted: frozenset[int]
    waiting: Mapping[str, str]


_gates: dict[tuple[str, str], tuple[float, Gate]] = {}


def gate(arena: Arena) -> Gate | None:
    """The gate as it stands, at most ten seconds old; None where it is off."""
    settings = arena.settings
    if settings.gate_rating is None and not settings.gate_top_half:
        return None
    key, now = (str(arena.store.engine.url), f"{settings.judge} {rule(arena)}"), time.monotonic()
    made, found = _gates.get(key, (0.0, None))
    if found is None or now - made > SECONDS:
        found = _made(arena)
        _gates[key] = (now, found)
    return found


def for_people(arena: Arena, prompts_of: Mapping[int, Prompts]) -> dict[int, Prompts]:
    """Of contestants and their prompts those that people may meet."""
    found = gate(arena)
    return {id: prompts for id, prompts in prompts_of.items() if found is None or id in found.admitted}


def closed(arena: Arena) -> str:
    """Why people have nothing to vote on, where that is the gate's doing; "" where it is not."""
    found = gate(arena)
    if found is None or len(found.admitted) > 1 or not found.waiting:
        return ""
    return f"{found.rule} {len(found.waiting)} wait for that, and a vote takes two."


def rule(arena: Arena) -> str:
    """Who gets in, in words."""
    limits = []
    if arena.settings.gate_rating is not None:
        limits.append(f"rates it at least {arena.settings.gate_rating:g}")
    if arena.settings.gate_top_half:
        limits.append("cannot tell it from the better half")
    return f"People meet a model once the judge {arena.settings.judge} {' or '.join(limits)}."


def _made(arena: Arena) -> Gate:
    contestants, rows, known = arena.store.contestants(), _rows(arena), _met_by_people(arena)
    reasons = {one: "" if one.id in known else _reason(arena, rows.get(one.name), rows.values()) for one in contestants}
    return Gate(
        rule(arena),
        frozenset(one.id or 0 for one, reason in reasons.items() if not reason),
        {one.name: reason for one, reason in reasons.items() if reason},
    )


def _rows(arena: Arena) -> dict[str, BoardRow]:
    """The rated rows of the judge's board, by name; none where there is no such board."""
    judge_id = Verdicts(arena.store).newest(arena.settings.judge)
    try:
        rows = judge_board.board(arena, judge_id).board if judge_id else ()
    except DataError:
        return {}
    return {row.model: row for row in rows if row.rating is not None}


def _reason(arena: Arena, row: BoardRow | None, rated: Iterable[BoardRow]) -> str:
    """Why a contestant that no one has voted on stays out; "" where it gets in."""
    if row is None or row.rating is None or row.high is None:
        return "not rated by the judge yet"
    enough, half = arena.settings.gate_rating, better_half([one.rating for one in rated if one.rating is not None])
    if (enough is not None and row.rating >= enough) or (arena.settings.gate_top_half and row.high >= half):
        return ""
    return f"rated {row.rating:.0f} ({row.low:.0f} to {row.high:.0f}) by the judge"


def better_half(ratings: list[float]) -> float:
    """The lowest rating of the better half; of an odd number the middle one belongs to it."""
    return sorted(ratings, reverse=True)[(len(ratings) + 1) // 2 - 1]


def _met_by_people(arena: Arena) -> set[int]:
    counts = arena.store.counts(VoteFilter(), cluster=None)
    return {*counts.left_id.tolist(), *counts.right_id.tolist()}
