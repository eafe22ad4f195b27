"""What admins see and decide: every act is a row of the ledger of decisions, in the transaction that carries it out."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, aliased

from arena.domain import ASIDE, PEOPLE, Outcome, VoterKind
from arena.errors import UsageError
from db import ballots, decisions
from db.decisions import Action, Decision, Topic
from db.personal import exclude, parts_of
from db.schema import (
    BallotRow,
    BattleRow,
    BoardRow,
    ContestantRow,
    DecisionRow,
    ErasedVoterRow,
    GenerationRow,
    OwnPromptRow,
    PromptRow,
    VoteExclusionRow,
    VoteRow,
    VoterRow,
)
from db.statements import battles
from db.store import Store, _battle, _vote, now


class LedgerVote(NamedTuple):
    """A vote of a person as an admin sees it. `board`: where it counts, None where it does not, with `excluded`."""

    vote_id: int
    voter_id: str
    left: str
    right: str
    outcome: Outcome
    prompt: str
    seconds: float | None
    at: datetime
    board: str | None
    excluded: str | None


class VoterVotes(NamedTuple):
    """A person and how many votes they cast, how many of these count, and when the last was cast."""

    voter_id: str
    votes: int
    counted: int
    mean_seconds: float | None
    last: datetime


@dataclass(frozen=True, slots=True)
class Changed:
    """How many votes stopped or began to count."""

    votes: int


class Moderation:
    """The admins' part of the store."""

    def __init__(self, store: Store):
        self.store = store

    # The ledger of decisions

    def decide(self, *made: Decision) -> None:
        """Write decisions that need nothing else done."""
        with self.store._writing() as session:
            session.add_all(map(_row, made))

    def log(self, limit: int = 200) -> list[Decision]:
        """Newest first."""
        query = select(DecisionRow).order_by(DecisionRow.id.desc()).limit(limit)
        with self.store._reading() as session:
            return [_decision(row) for row in session.scalars(query)]

    def standing(self, topic: Topic, action: Action) -> set[str]:
        """The subjects of which this is the newest decision."""
        with self.store._reading() as session:
            return decisions.standing(session, topic, action)

    def newest(self, topic: Topic) -> dict[str, Decision]:
        """The decision that holds on each subject."""
        with self.store._reading() as session:
            return {subject: _decision(row) for subject, row in decisions.newest(session, topic).items()}

    # Votes

    def votes(self, limit: int = 200, voter_id: str | None = None) -> list[LedgerVote]:
        """People's votes, newest first; of one voter where given."""
        one, other, left, right = (aliased(GenerationRow), aliased(GenerationRow), aliased(ContestantRow),
                                   aliased(ContestantRow))  # fmt: skip
        query = (
            select(
                VoteRow.id, VoteRow.voter_id, left.name, right.name, VoteRow.outcome, PromptRow.text,
                VoteRow.decision_seconds, VoteRow.at, BallotRow.board, VoteExclusionRow.reason,
            )
            .join(VoterRow, VoterRow.id == VoteRow.voter_id)
            .join(BattleRow, BattleRow.id == VoteRow.battle_id)
            .join(PromptRow, PromptRow.id == BattleRow.prompt_id)
            .join(one, one.id == BattleRow.left_id)
            .join(other, other.id == BattleRow.right_id)
            .join(left, left.id == one.contestant_id)
            .join(right, right.id == other.contestant_id)
            .outerjoin(BallotRow, BallotRow.vote_id == VoteRow.id)
            .outerjoin(VoteExclusionRow, VoteExclusionRow.vote_id == VoteRow.id)
            .where(VoterRow.kind == VoterKind.PERSON)
            .order_by(VoteRow.id.desc())
            .limit(limit)
        )  # fmt: skip
        if voter_id is not None:
            query = query.where(VoteRow.voter_id == voter_id)
        with self.store._reading() as session:
            return [LedgerVote(*row) for row in session.execute(query)]

    def voters(self, limit: int = 200) -> list[VoterVotes]:
        """The people with the most votes."""
        counted = func.count(BallotRow.id).filter(BallotRow.board == PEOPLE)
        query = (
            select(VoteRow.voter_id, func.count(VoteRow.id), counted, func.avg(VoteRow.decision_seconds),
                   func.max(VoteRow.at))
            .join(VoterRow, VoterRow.id == VoteRow.voter_id)
            .outerjoin(BallotRow, BallotRow.vote_id == VoteRow.id)
            .where(VoterRow.kind == VoterKind.PERSON)
            .group_by(VoteRow.voter_id)
            .order_by(func.count(VoteRow.id).desc(), VoteRow.voter_id)
            .limit(limit)
        )  # fmt: skip
        with self.store._reading() as session:
            return [VoterVotes(*row) for row in session.execute(query)]

    def counted(self, vote_ids: Collection[int] = (), voter_id: str | None = None) -> list[tuple[int, int, int, int]]:
        """(vote, left contestant, right contestant, position of the outcome) of those on people's board, by vote id or
        all of one voter."""
        columns = BallotRow.vote_id, BallotRow.left_id, BallotRow.right_id, BallotRow.outcome
        query = select(*columns).where(BallotRow.board == PEOPLE)
        if voter_id is not None:
            query = query.where(BallotRow.voter_key == ballots.key(voter_id), BallotRow.vote_id.is_not(None))
            with self.store._reading() as session:
                return [tuple(row) for row in session.execute(query.order_by(BallotRow.id))]
        found = []
        with self.store._reading() as session:
            for part in parts_of(vote_ids, 300):
                found += [tuple(row) for row in session.execute(query.where(BallotRow.vote_id.in_(part)))]
        return found

    def exclude_votes(self, admin: str, vote_ids: Iterable[int], reason: str) -> Changed:
        """Stop counting votes; those that do not count already stay as they are."""
        with self.store._writing() as session:
            _in_turn(session)
            counted = _that_count(session, vote_ids)
            exclude(session, self.store, counted, reason, admin)
            return Changed(len(counted))

    def restore_votes(self, admin: str, vote_ids: Iterable[int], reason: str) -> Changed:
        """Count votes again that an admin excluded. What its voter took back or deleted stays so."""
        with self.store._writing() as session:
            _in_turn(session)
            held = decisions.newest(session, Topic.VOTE, [str(id) for id in vote_ids])
            excluded = [int(id) for id, row in held.items() if row.action == Action.EXCLUDE]
            return Changed(self._restore(session, admin, excluded, reason))

    def exclude_voter(self, admin: str, voter_id: str, reason: str) -> Changed:
        """Stop counting a voter's votes, and keep those to come aside."""
        with self.store._writing() as session:
            _in_turn(session)
            decision = _row(Decision(admin, Topic.VOTER, voter_id, Action.EXCLUDE, reason))
            session.add(decision)
            session.flush()
            mine = select(BallotRow.vote_id).where(BallotRow.board == PEOPLE, VoteRow.voter_id == voter_id)
            counted = [*session.scalars(mine.join(VoteRow, VoteRow.id == BallotRow.vote_id))]
            exclude(session, self.store, counted, reason, admin, {"decision": decision.id})
            return Changed(len(counted))

    def restore_voter(self, admin: str, voter_id: str, reason: str) -> Changed:
        """Count a voter's votes again: those that the exclusion took away, and those kept aside since."""
        with self.store._writing() as session:
            _in_turn(session)
            held = decisions.newest(session, Topic.VOTER, [voter_id]).get(voter_id)
            if held is None or held.action != Action.EXCLUDE:
                raise UsageError("This voter is not excluded; there is nothing to restore.")
            session.add(_row(Decision(admin, Topic.VOTER, voter_id, Action.RESTORE, reason)))
            session.flush()
            own = [*session.scalars(select(VoteRow.id).where(VoteRow.voter_id == voter_id))]
            taken = {
                int(id): row
                for part in parts_of(own, 300)
                for id, row in decisions.newest(session, Topic.VOTE, [str(id) for id in part]).items()
            }
            by_it = Action.EXCLUDE, {"decision": held.id}
            ids = [id for id, row in taken.items() if (row.action, row.value) == by_it]
            return Changed(self._restore(session, admin, ids, reason) + self._from_aside(session, voter_id))

    def _restore(self, session: Session, admin: str, vote_ids: Iterable[int], reason: str) -> int:
        """Ballots anew, at the end: they begin to count again now."""
        restored = 0
        for vote_id in sorted(vote_ids):
            row = session.get(VoteRow, vote_id)
            if row is None or not _may_count(session, row):
                continue
            session.add(_row(Decision(admin, Topic.VOTE, str(vote_id), Action.RESTORE, reason)))
            battle = session.execute(battles().where(BattleRow.id == row.battle_id)).one()
            self.store._add_ballot(session, _battle(*battle), _vote(row))
            restored += 1
        return restored

    def _from_aside(self, session: Session, voter_id: str) -> int:
        """Votes kept aside because of their voter alone; each gets a new ballot, so that boards see it come."""
        uncounted = exists().where(OwnPromptRow.battle_id == VoteRow.battle_id, OwnPromptRow.counts.is_(False))
        query = (
            select(BallotRow)
            .join(VoteRow, VoteRow.id == BallotRow.vote_id)
            .where(BallotRow.board == ASIDE, VoteRow.voter_id == voter_id, ~uncounted)
            .order_by(BallotRow.id)
        )
        rows = [*session.scalars(query)]
        columns = [column.key for column in BallotRow.__table__.columns if column.key not in ("id", "board")]
        values = [{name: getattr(row, name) for name in columns} for row in rows]
        if self.store.engine.dialect.name == "sqlite":  # it would give the number of a deleted last ballot again
            last = session.scalar(select(func.max(BallotRow.id))) or 0
            values = [{**value, "id": last + 1 + k} for k, value in enumerate(values)]
        for row in rows:
            session.delete(row)
        session.flush()
        session.add_all(BallotRow(board=PEOPLE, **value) for value in values)
        return len(values)

    # Aside

    def aside(self) -> list[tuple[str, int]]:
        """Votes that are kept and count on no board of people's, by reason."""
        own = exists().where(OwnPromptRow.battle_id == VoteRow.battle_id, OwnPromptRow.counts.is_(False))
        query = (
            select(func.count()).select_from(BallotRow).join(VoteRow, VoteRow.id == BallotRow.vote_id)
            .where(BallotRow.board == ASIDE)
        )  # fmt: skip
        with self.store._reading() as session:
            counts = [
                ("on a prompt of the voter's own, which do not count here", session.scalar(query.where(own)) or 0),
                ("by a voter who is excluded", session.scalar(query.where(~own)) or 0),
            ]
        return [(reason, count) for reason, count in counts if count]


def _may_count(session: Session, vote: VoteRow) -> bool:
    """Whether it does not count yet, and its voter did not ask to be forgotten."""
    counts = session.scalar(select(exists().where(BallotRow.vote_id == vote.id)))
    return not counts and session.get(ErasedVoterRow, vote.voter_id) is None


def _in_turn(session: Session) -> None:
    """Holds the row of people's board until the transaction ends, as a vote does: ballots begin to count in turn."""
    session.execute(select(BoardRow.id).where(BoardRow.name == PEOPLE).with_for_update())


def _that_count(session: Session, vote_ids: Iterable[int]) -> list[int]:
    return [
        vote_id
        for part in parts_of(vote_ids, 300)
        for vote_id in session.scalars(select(BallotRow.vote_id).where(BallotRow.vote_id.in_(part)))
        if vote_id is not None
    ]


def _row(decision: Decision) -> DecisionRow:
    return DecisionRow(
        admin=decision.admin, topic=decision.topic, subject=decision.subject, action=decision.action,
        reason=decision.reason, value=dict(decision.value), at=now(),
    )  # fmt: skip


def _decision(row: DecisionRow) -> Decision:
    return Decision(row.admin, Topic(row.topic), row.subject, Action(row.action), row.reason, row.value, row.at, row.id)
