"""What pages tell of contestants beside votes: their pictures by prompt, their failures, their battles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import func, or_, select
from sqlalchemy.orm import aliased

from arena.domain import OWN_PROMPT, PEOPLE, Generation, Prompt
from db import ballots
from db.decisions import Withdrawn
from db.schema import BallotRow, BattleRow, GenerationRow, PromptRow, VoteRow
from db.store import Store, _generation, _prompt


class Met(NamedTuple):
    """People's votes on the images of two contestants for a prompt; `outcome` is the position in `Outcome`."""

    prompt_id: int
    left_generation: int
    right_generation: int
    left_id: int
    right_id: int
    outcome: int
    votes: int


def newest_generation(store: Store) -> int:
    """The id of the newest attempt, 0 where there is none."""
    with store._reading() as session:
        return session.scalar(select(func.coalesce(func.max(GenerationRow.id), 0))) or 0


def shown(store: Store, contestant_id: int, offset: int = 0, limit: int = 1) -> tuple[list[tuple[Prompt, int]], int]:
    """Prompts that a contestant has an image for which may be shown, each with its oldest one's generation id, in the
    order of the prompts; and how many there are in all."""
    with store._reading() as session:
        query = (
            select(PromptRow, func.min(GenerationRow.id))
            .join(GenerationRow, GenerationRow.prompt_id == PromptRow.id)
            .where(
                GenerationRow.contestant_id == contestant_id, GenerationRow.sha256.is_not(None),
                PromptRow.source != OWN_PROMPT, Withdrawn.of(session).shows(),
            )
            .group_by(PromptRow.id)
            .order_by(PromptRow.id)
        )  # fmt: skip
        total = session.scalar(select(func.count()).select_from(query.order_by(None).subquery())) or 0
        found = session.execute(query.offset(offset).limit(limit)).all()
        return [(_prompt(row), id) for row, id in found], total


def of_prompt(store: Store, prompt_id: int) -> tuple[Prompt | None, list[Generation]]:
    """A prompt of everyone's, None where there is none, and each contestant's oldest image for it that may be shown."""
    with store._reading() as session:
        row = session.get(PromptRow, prompt_id)
        if row is None or row.source == OWN_PROMPT:
            return None, []
        oldest = (
            select(func.min(GenerationRow.id))
            .where(
                GenerationRow.prompt_id == prompt_id, GenerationRow.sha256.is_not(None), Withdrawn.of(session).shows()
            )
            .group_by(GenerationRow.contestant_id)
        )
        found = session.scalars(select(GenerationRow).where(GenerationRow.id.in_(oldest)).order_by(GenerationRow.id))
        return _prompt(row), [_generation(one) for one in found]


def generation(store: Store, generation_id: int) -> Generation | None:
    """One attempt, unless it is withdrawn."""
    with store._reading() as session:
        query = select(GenerationRow).where(GenerationRow.id == generation_id, Withdrawn.of(session).shows())
        row = session.scalars(query).one_or_none()
        return None if row is None else _generation(row)


def failures(store: Store, contestant_id: int) -> list[tuple[str, int]]:
    """Reasons for which attempts at everyone's prompts made no image, and how often, the most frequent first."""
    query = (
        select(GenerationRow.failure, func.count())
        .join(PromptRow, PromptRow.id == GenerationRow.prompt_id)
        .where(
            GenerationRow.contestant_id == contestant_id, GenerationRow.failure.is_not(None),
            PromptRow.source != OWN_PROMPT,
        )
        .group_by(GenerationRow.failure)
        .order_by(func.count().desc(), GenerationRow.failure)
    )  # fmt: skip
    with store._reading() as session:
        return [(str(reason), count) for reason, count in session.execute(query)]


def met(store: Store, *, contestant_id: int | None = None, prompt_id: int | None = None) -> list[Met]:
    """People's votes that count on images that may be shown, by images and outcome: of a contestant, or on a prompt."""
    left, right = aliased(GenerationRow), aliased(GenerationRow)
    columns = (
        BattleRow.prompt_id, BattleRow.left_id, BattleRow.right_id, BallotRow.left_id, BallotRow.right_id,
        BallotRow.outcome,
    )  # fmt: skip
    with store._reading() as session:
        query = (
            select(*columns, func.count())
            .join(VoteRow, VoteRow.id == BallotRow.vote_id)
            .join(BattleRow, BattleRow.id == VoteRow.battle_id)
            .join(PromptRow, PromptRow.id == BattleRow.prompt_id)
            .join(left, left.id == BattleRow.left_id)
            .join(right, right.id == BattleRow.right_id)
            .where(
                BallotRow.board == PEOPLE,
                PromptRow.source != OWN_PROMPT,
                Withdrawn.of(session).allows(left, right),
            )
            .group_by(*columns)
            .order_by(*columns)
        )
        if contestant_id is not None:
            query = query.where(or_(BallotRow.left_id == contestant_id, BallotRow.right_id == contestant_id))
        if prompt_id is not None:
            text = session.scalar(select(PromptRow.text).where(PromptRow.id == prompt_id))
            # The key is what an index knows; two prompts may share it.
            query = query.where(BallotRow.prompt_key == ballots.key(text), BattleRow.prompt_id == prompt_id)
        return [Met(*row) for row in session.execute(query)]


def prompts_by_id(store: Store, ids: Sequence[int]) -> dict[int, Prompt]:
    """Prompts by their id."""
    with store._reading() as session:
        return {row.id: _prompt(row) for row in session.scalars(select(PromptRow).where(PromptRow.id.in_(ids)))}
