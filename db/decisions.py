"""Decisions of admins: an append-only ledger in which the newest decision on a subject holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, func, or_, select
from sqlalchemy.orm import Session

from arena.domain import Battle
from db.schema import BattleRow, DecisionRow, GenerationRow


class Topic(StrEnum):
    """What a decision is about; the subject is its id, of a `SHARE` that of the contestant."""

    CONTESTANT = "contestant"
    PROMPT = "prompt"
    IMAGE = "image"
    SHARE = "share"
    VOTE = "vote"
    VOTER = "voter"
    REPORT = "report"
    RUN = "run"
    EXPORT = "export"


class Action(StrEnum):
    """What was decided. Each first one is taken back by the second: retire and restore, hide and show."""

    RETIRE = "retire"
    EXCLUDE = "exclude"
    RESTORE = "restore"
    HIDE = "hide"
    SHOW = "show"
    ADD = "add"
    SET = "set"
    DISMISS = "dismiss"
    START = "start"
    CANCEL = "cancel"
    DOWNLOAD = "download"


@dataclass(frozen=True, slots=True)
class Decision:
    """One row: who decided what about which subject, and why. `value` is plain JSON."""

    admin: str
    topic: Topic
    subject: str
    action: Action
    reason: str
    value: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = None
    id: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "topic", Topic(self.topic))
        object.__setattr__(self, "action", Action(self.action))
        if not self.admin.strip() or not self.reason.strip():
            raise ValueError("a Decision says who decided and why")


def newest(session: Session, topic: Topic, subjects: Collection[str] | None = None) -> dict[str, DecisionRow]:
    """The decision that holds on each subject of a topic, or on these."""
    asked = {"topic": topic} | ({} if subjects is None else {"subjects": [*subjects]})
    return {row.subject: row for row in session.scalars(_newest(subjects is not None), asked)}


@cache
def _newest(of_subjects: bool) -> Select[tuple[DecisionRow]]:
    last = select(func.max(DecisionRow.id)).where(DecisionRow.topic == bindparam("topic")).group_by(DecisionRow.subject)
    if of_subjects:
        last = last.where(DecisionRow.subject.in_(bindparam("subjects", expanding=True)))
    return select(DecisionRow).where(DecisionRow.id.in_(last))


def standing(session: Session, topic: Topic, action: Action) -> set[str]:
    """The subjects of which this is what holds."""
    return {subject for subject, row in newest(session, topic).items() if row.action == action}


_WITHDRAWN_BY = {Topic.CONTESTANT: Action.RETIRE, Topic.PROMPT: Action.RETIRE, Topic.IMAGE: Action.HIDE}
_LAST = (
    select(func.max(DecisionRow.id))
    .where(DecisionRow.topic.in_(_WITHDRAWN_BY))
    .group_by(DecisionRow.topic, DecisionRow.subject)
)
_HELD = select(DecisionRow.topic, DecisionRow.subject, DecisionRow.action).where(DecisionRow.id.in_(_LAST))


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Ids of what is kept from battles: retired contestants and prompts, hidden generations."""

    contestants: frozenset[int]
    prompts: frozenset[int]
    generations: frozenset[int]

    @classmethod
    def of(cls, session: Session) -> Withdrawn:
        """One query: every draw and every vote asks."""
        found: dict[str, set[int]] = {topic: set() for topic in _WITHDRAWN_BY}
        for topic, subject, action in session.execute(_HELD):
            if action == _WITHDRAWN_BY[Topic(topic)]:
                found[topic].add(int(subject))
        return cls(*(frozenset(found[topic]) for topic in _WITHDRAWN_BY))

    def shows_image(self, contestant_id: int, prompt_id: int, generation_id: int) -> bool:
        """Whether a generation may be shown in a battle."""
        return (
            contestant_id not in self.contestants
            and prompt_id not in self.prompts
            and generation_id not in self.generations
        )

    def shows(self, generation: type[GenerationRow] = GenerationRow) -> ColumnElement[bool]:
        """The same as a condition on rows."""
        return ~or_(
            generation.contestant_id.in_(self.contestants),
            generation.prompt_id.in_(self.prompts),
            generation.id.in_(self.generations),
        )

    def allows(self, left: type[GenerationRow], right: type[GenerationRow]) -> ColumnElement[bool]:
        """Whether a battle of two generations may be shown."""
        return self.shows(left) & self.shows(right) & BattleRow.prompt_id.not_in(self.prompts)

    def allows_battle(self, battle: Battle) -> bool:
        """The same of a battle at hand."""
        sides = (battle.left, battle.right)
        return (
            battle.prompt.id not in self.prompts
            and self.contestants.isdisjoint(side.contestant_id for side in sides)
            and self.generations.isdisjoint(side.id or 0 for side in sides)
        )
