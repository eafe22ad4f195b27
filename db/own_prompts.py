"""Voters' own prompts: a queue in the database, worked off by one process, safe to be killed at any moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Select, func, or_, select, update
from sqlalchemy.orm import Session

from arena.domain import Battle, Generation, Prompt, RunState, VoterKind
from arena.errors import UsageError
from db.schema import BattleRow, GenerationRow, OwnPromptRow, PromptRow, RunRow, SkipRow, VoteRow, VoterRow, text_sha256
from db.store import Store, _generation, _prompt, now

MOST_ATTEMPTS = 2
KILLED = "the process that made the pictures was stopped twice; try again"


class Stage(StrEnum):
    WAITING = "waiting"
    WORKING = "working"
    READY = "ready"
    FAILED = "failed"


ACTIVE = (Stage.WAITING, Stage.WORKING)


@dataclass(frozen=True, slots=True)
class OwnPrompt:
    """One request. `done`: pictures made so far. `reason`: why it failed. `token`: its battle's, once it is ready.
    `answered`: the battle was voted on or skipped."""

    id: int
    voter_id: str
    prompt: Prompt
    left_id: int
    right_id: int
    seed: int
    policy: str
    probability: float
    stage: Stage
    done: int
    reason: str
    token: str | None
    answered: bool
    at: datetime

    @property
    def is_active(self) -> bool:
        return self.stage in ACTIVE


class OwnPrompts:
    """The queue."""

    def __init__(self, store: Store):
        self.store = store

    def add(
        self, voter_id: str, prompt: Prompt, left_id: int, right_id: int, seed: int, policy: str, probability: float,
        counts: bool, *, an_hour: int, longest_queue: int,
    ) -> None:  # fmt: skip
        """Queue a request, with its prompt if the text is new.

        Raises UsageError, and stores nothing, where the voter has one under way or had too many in the last hour, or
        the queue is full.
        """
        with self.store._writing() as session:
            self.store._add_voter(session, voter_id, VoterKind.PERSON)
            session.execute(select(VoterRow.id).where(VoterRow.id == voter_id).with_for_update())
            _refuse(session, voter_id, an_hour, longest_queue)
            values = {"text": prompt.text, "category": prompt.category, "tags": [], "source": prompt.source}
            insert = self.store._insert(PromptRow).values(**values)
            session.execute(insert.on_conflict_do_nothing(index_elements=["text_sha256"]))
            session.add(
                OwnPromptRow(
                    voter_id=voter_id,
                    prompt_id=session.scalars(
                        select(PromptRow.id).where(PromptRow.text_sha256 == text_sha256(prompt.text))
                    ).one(),
                    left_id=left_id, right_id=right_id, seed=seed,
                    policy=policy, probability=probability, counts=counts, state=Stage.WAITING, done=0, attempts=0,
                    reason="", run_id=None, battle_id=None, at=now(), finished_at=None,
                )
            )  # fmt: skip

    def newest(self, voter_id: str) -> OwnPrompt | None:
        """The voter's last request."""
        query = _requests().where(OwnPromptRow.voter_id == voter_id).order_by(OwnPromptRow.id.desc()).limit(1)
        with self.store._reading() as session:
            row = session.execute(query).one_or_none()
            return None if row is None else _request(*row)

    def ahead(self, request_id: int) -> int:
        """How many requests come first."""
        query = select(func.count()).where(OwnPromptRow.state.in_(ACTIVE), OwnPromptRow.id < request_id)
        with self.store._reading() as session:
            return session.scalar(query) or 0

    def active(self) -> int:
        """Requests waiting or at work."""
        with self.store._reading() as session:
            return _count(session, OwnPromptRow.state.in_(ACTIVE))

    def claim(self, run_id: int) -> OwnPrompt | None:
        """The oldest request that no working process has, now this run's; None where there is none.

        One whose process was killed is taken up again, at most MOST_ATTEMPTS times in all; then it fails.
        """
        working = select(RunRow.id).where(RunRow.state == RunState.RUNNING)
        orphaned = (OwnPromptRow.state == Stage.WORKING) & OwnPromptRow.run_id.not_in(working)
        query = (
            select(OwnPromptRow)
            .where(or_(OwnPromptRow.state == Stage.WAITING, orphaned))
            .order_by(OwnPromptRow.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with self.store._writing() as session:
            while (row := session.scalars(query).one_or_none()) is not None:
                if row.attempts < MOST_ATTEMPTS:
                    row.state, row.run_id, row.attempts, row.done = Stage.WORKING, run_id, row.attempts + 1, 0
                    session.flush()
                    return _request(*session.execute(_requests().where(OwnPromptRow.id == row.id)).one())
                row.state, row.reason, row.finished_at = Stage.FAILED, KILLED, now()
                session.flush()
            return None

    def generation(self, contestant_id: int, prompt_id: int, seed: int) -> Generation | None:
        """The attempt at this cell, where there is one."""
        query = select(GenerationRow).where(
            GenerationRow.contestant_id == contestant_id,
            GenerationRow.prompt_id == prompt_id,
            GenerationRow.seed == seed,
        )
        with self.store._reading() as session:
            row = session.scalars(query).one_or_none()
            return None if row is None else _generation(row)

    def made(self, request_id: int, done: int) -> None:
        """So many pictures are there."""
        with self.store._writing() as session:
            session.execute(update(OwnPromptRow).where(_open(request_id)).values(done=done))

    def ready(self, request_id: int, battle: Battle) -> bool:
        """Store the battle and close the request with it; False, and no battle, if it was closed before."""
        with self.store._writing() as session:
            closing = update(OwnPromptRow).where(_open(request_id))
            closed = session.execute(closing.values(state=Stage.READY, done=2, finished_at=now()))
            if not closed.rowcount:
                return False
            row = BattleRow(
                token=battle.token, prompt_id=battle.prompt.id, left_id=battle.left.id, right_id=battle.right.id,
                drawn_for=battle.drawn_for, policy=battle.policy, probability=battle.probability, at=now(),
            )  # fmt: skip
            session.add(row)
            session.flush()
            own = update(OwnPromptRow).where(OwnPromptRow.id == request_id)
            session.execute(own.values(battle_id=row.id))
            return True

    def fail(self, request_id: int, reason: str) -> None:
        """Close the request with a reason; one that is closed stays as it is."""
        with self.store._writing() as session:
            values = {"state": Stage.FAILED, "reason": reason, "finished_at": now()}
            session.execute(update(OwnPromptRow).where(_open(request_id)).values(**values))


def _refuse(session: Session, voter_id: str, an_hour: int, longest_queue: int) -> None:
    own = OwnPromptRow.voter_id == voter_id
    if _count(session, own, OwnPromptRow.state.in_(ACTIVE)):
        raise UsageError("Your last prompt is still being drawn; wait for its pictures, then ask for the next.")
    recent = OwnPromptRow.at > now() - timedelta(hours=1), OwnPromptRow.state != Stage.FAILED
    if _count(session, own, *recent) >= an_hour:
        raise UsageError(
            f"You have asked for {an_hour} prompts within an hour, and that is the limit; come back later."
        )
    if (waiting := _count(session, OwnPromptRow.state.in_(ACTIVE))) >= longest_queue:
        raise UsageError(f"{waiting} prompts are waiting already, and the queue takes no more; try again in a while.")


def _count(session: Session, *conditions: Any) -> int:
    return session.scalar(select(func.count()).select_from(OwnPromptRow).where(*conditions)) or 0


def _open(request_id: int) -> Any:
    return (OwnPromptRow.id == request_id) & OwnPromptRow.state.in_(ACTIVE)


def _requests() -> Select[Any]:
    voted = select(VoteRow.id).where(VoteRow.battle_id == OwnPromptRow.battle_id).exists()
    skipped = select(SkipRow.battle_id).where(SkipRow.battle_id == OwnPromptRow.battle_id).exists()
    return (
        select(OwnPromptRow, PromptRow, BattleRow.token, or_(voted, skipped))
        .join(PromptRow, PromptRow.id == OwnPromptRow.prompt_id)
        .outerjoin(BattleRow, BattleRow.id == OwnPromptRow.battle_id)
    )


def _request(row: OwnPromptRow, prompt: PromptRow, token: str | None, answered: bool) -> OwnPrompt:
    return OwnPrompt(
        id=row.id, voter_id=row.voter_id, prompt=_prompt(prompt), left_id=row.left_id, right_id=row.right_id,
        seed=row.seed, policy=row.policy, probability=row.probability, stage=Stage(row.state), done=row.done,
        reason=row.reason, token=token, answered=bool(answered), at=row.at,
    )  # fmt: skip
