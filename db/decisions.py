"""Decisions of admins: an append-only ledger in which the newest decision on a subject holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

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
    last = select(func.max(DecisionRow.id)).where(DecisionRow.topic == topic).group_by(DecisionRow.subject)
    if subjects is not None:
        last = last.where(DecisionRow.subject.in_(subjects))
    return {row.subject: row for row in session.scalars(select(DecisionRow).where(DecisionRow.id.in_(last)))}


def standing(session: Session, topic: Topic, action: Action) -> set[str]:
    """The subjects of which this is what holds."""
    return {subject for subject, row in newest(session, topic).items() if row.action == action}


def is_excluded(session: Session, voter_id: str) -> bool:
    """Whether this voter's votes do not count."""
    found = newest(session, Topic.VOTER, [voter_id]).get(voter_id)
    return found is not None and found.action == Action.EXCLUDE


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Ids of what is kept from battles: retired contestants and prompts, hidden generations."""

    contestants: frozenset[int]
    prompts: frozenset[int]
    generations: frozenset[int]

    @classmethod
    def of(cls, session: Session) -> Withdrawn:
        def ids(topic: Topic, action: Action) -> frozenset[int]:
            return frozenset(map(int, standing(session, topic, action)))

        return cls(
            ids(Topic.CONTESTANT, Action.RETIRE), ids(Topic.PROMPT, Action.RETIRE), ids(Topic.IMAGE, Action.HIDE)
        )

    def shows(self, generation: type[GenerationRow] = GenerationRow) -> ColumnElement[bool]:
        """Whether a generation may be shown in a battle."""
        return ~or_(
            generation.contestant_id.in_(self.contestants),
            generation.prompt_id.in_(self.prompts),
            generation.id.in_(self.generations),
        )

    def allows(self, left: type[GenerationRow], right: type[GenerationRow]) -> ColumnElement[bool]:
        """Whether a battle of two generations may be shown."""
        return self.shows(left) & self.shows(right) & BattleRow.prompt_id.not_in(self.prompts)
