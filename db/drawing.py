"""Drawn battles become rows: several at once, in one transaction and a handful of statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy.orm import Session

from arena.domain import Battle, Generation, Prompt, VoterKind
from db import statements
from db.decisions import Withdrawn
from db.schema import BattleRow
from db.store import Store, _generation, _prompt, now


class Drawn(NamedTuple):
    """Contestants by side, the prompt, the probability of this draw, and the battle's token."""

    left_id: int
    right_id: int
    prompt_id: int
    probability: float
    token: str


def add(store: Store, drawn: Sequence[Drawn], voter_id: str, policy: str) -> list[Battle]:
    """Store the battles, and their voter if new. One whose image was hidden since it was drawn is left out."""
    with store._writing() as session:
        found = battles(session, drawn, voter_id, policy)
        store._add_voter(session, voter_id, VoterKind.PERSON)
        rows = [_row(battle) for battle in found]
        session.add_all(rows)
        session.flush()
        return [replace(battle, id=row.id) for battle, row in zip(found, rows, strict=True)]


def battles(session: Session, drawn: Sequence[Drawn], voter_id: str, policy: str) -> list[Battle]:
    """The battles without ids: of each contestant its oldest image for the prompt that is not hidden."""
    prompts, images = _prompts(session, drawn), _images(session, drawn)
    return [
        Battle(
            prompt=prompts[one.prompt_id],
            left=images[one.left_id, one.prompt_id],
            right=images[one.right_id, one.prompt_id],
            policy=policy,
            probability=one.probability,
            token=one.token,
            drawn_for=voter_id,
        )
        for one in drawn
        if (one.left_id, one.prompt_id) in images and (one.right_id, one.prompt_id) in images
    ]


def _prompts(session: Session, drawn: Sequence[Drawn]) -> Mapping[int, Prompt]:
    wanted = {"prompt_ids": [*{one.prompt_id for one in drawn}]}
    return {row.id: _prompt(row) for row in session.execute(statements.PROMPTS, wanted)}


def _images(session: Session, drawn: Sequence[Drawn]) -> Mapping[tuple[int, int], Generation]:
    wanted = {
        "prompt_ids": [*{one.prompt_id for one in drawn}],
        "contestant_ids": [*{id for one in drawn for id in (one.left_id, one.right_id)}],
    }
    hidden = Withdrawn.of(session).generations
    found: dict[tuple[int, int], Generation] = {}
    for row in session.execute(statements.IMAGES, wanted):
        if row.id not in hidden:
            found.setdefault((row.contestant_id, row.prompt_id), _generation(row))
    return found


def _row(battle: Battle) -> BattleRow:
    return BattleRow(
        token=battle.token,
        prompt_id=battle.prompt.id,
        left_id=battle.left.id,
        right_id=battle.right.id,
        drawn_for=battle.drawn_for,
        policy=battle.policy,
        probability=battle.probability,
        at=now(),
    )
