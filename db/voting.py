"""What voting keeps beside votes: skips taken back, reports, reasons, and how others voted on the same pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from arena.domain import Battle, Outcome, ReasonTag, ReportReason, Side
from db import ballots, statements
from db.decisions import Withdrawn
from db.schema import BattleRow, ReportRow, SkipRow, VoteRow, VoteTagRow
from db.statements import battles
from db.store import Store, _battle, now


@dataclass(frozen=True, slots=True)
class Report:
    """A battle that a voter reported, with what is wrong and the side it is about (None: both, or not said)."""

    battle: Battle
    voter_id: str
    reason: ReportReason
    side: Side | None
    at: datetime
    id: int


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What is told after a vote besides ratings: both makers' names by id, whether one of them was withdrawn meanwhile,
    and how other people voted on the same prompt and contestants, as seen from the battle's sides."""

    names: Mapping[int, str]
    withdrawn: bool
    others: Mapping[Outcome, int]


class Voting:
    """The part of the store that a voter's other gestures need."""

    def __init__(self, store: Store):
        self.store = store

    def take_back_skip(self, battle_id: int, voter_id: str) -> bool:
        """Open a skipped battle again; False where it was not skipped."""
        mine = SkipRow.battle_id == battle_id, SkipRow.voter_id == voter_id
        with self.store._writing() as session:
            return bool(session.execute(delete(SkipRow).where(*mine)).rowcount)

    def add_report(self, battle_id: int, voter_id: str, reason: ReportReason, side: Side | None) -> None:
        """Report a battle and put it aside, once for each voter."""
        both = {"battle_id": battle_id, "voter_id": voter_id, "at": now()}
        with self.store._writing() as session:
            report = self.store._insert(ReportRow).values(**both, reason=reason, side=side)
            session.execute(report.on_conflict_do_nothing(index_elements=["battle_id", "voter_id"]))
            skip = self.store._insert(SkipRow).values(**both)
            session.execute(skip.on_conflict_do_nothing(index_elements=["battle_id", "voter_id"]))

    def reports(self, limit: int = 200) -> list[Report]:
        """Newest first."""
        query = (
            battles()
            .add_columns(ReportRow)
            .join(ReportRow, ReportRow.battle_id == BattleRow.id)
            .order_by(ReportRow.id.desc())
            .limit(limit)
        )
        with self.store._reading() as session:
            return [
                Report(_battle(*row), report.voter_id, report.reason, report.side, report.at, report.id)
                for *row, report in session.execute(query)
            ]

    def add_tag(self, battle_id: int, voter_id: str, tag: ReasonTag) -> bool:
        """Give a reason for a vote; False where this voter has not voted on the battle. The same again is kept once."""
        vote = select(VoteRow.id).where(VoteRow.battle_id == battle_id, VoteRow.voter_id == voter_id)
        with self.store._writing() as session:
            vote_id = session.scalar(vote)
            if vote_id is None:
                return False
            row = self.store._insert(VoteTagRow).values(vote_id=vote_id, tag=tag, at=now())
            session.execute(row.on_conflict_do_nothing(index_elements=["vote_id", "tag"]))
            return True

    def outcome_of(self, token: str, voter_id: str) -> Outcome | None:
        """What the voter said of a battle; None where nothing."""
        query = select(VoteRow.outcome).join(BattleRow, BattleRow.id == VoteRow.battle_id)
        with self.store._reading() as session:
            return session.scalar(query.where(BattleRow.token == token, VoteRow.voter_id == voter_id))

    def tags(self) -> dict[int, list[ReasonTag]]:
        """The reasons given, by vote."""
        found: dict[int, list[ReasonTag]] = {}
        with self.store._reading() as session:
            for row in session.scalars(select(VoteTagRow).order_by(VoteTagRow.vote_id, VoteTagRow.tag)):
                found.setdefault(row.vote_id, []).append(row.tag)
        return found

    def aftermath(self, battle: Battle, voter_id: str) -> Aftermath:
        """All of it in one transaction: every vote asks."""
        left, right = battle.left.contestant_id, battle.right.contestant_id
        with self.store._reading() as session:
            names = dict(session.execute(statements.MAKERS, {"left": left, "right": right}).all())
            withdrawn = not Withdrawn.of(session).contestants.isdisjoint((left, right))
            return Aftermath(names, withdrawn, self._others(session, battle, voter_id))

    @staticmethod
    def _others(session: Session, battle: Battle, voter_id: str) -> Mapping[Outcome, int]:
        left, right = battle.left.contestant_id, battle.right.contestant_id
        keys = {"prompt_key": ballots.key(battle.prompt.text), "voter_key": ballots.key(voter_id)}
        found = dict.fromkeys(Outcome, 0)
        for left_id, number, count in session.execute(statements.OTHERS, {"left": left, "right": right, **keys}):
            outcome = ballots.OUTCOMES[number]
            found[outcome if left_id == left else outcome.mirrored] += count
        return found
