"""One voter's part of the ledger: their votes, what others said of the same pairs, and their erasure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import NamedTuple, TypeVar

from sqlalchemy import ScalarSelect, String, cast, delete, exists, func, select, update
from sqlalchemy.orm import Session, aliased

from arena.domain import OWN_PROMPT, PEOPLE, JudgeVerdict, Outcome, VoterKind
from db import ballots, statements
from db.schema import (
    BallotRow,
    BattleRow,
    DecisionRow,
    ErasedVoterRow,
    GenerationRow,
    LookRow,
    OwnPromptRow,
    PromptRow,
    RatingCheckpointRow,
    SkipRow,
    VoteExclusionRow,
    VoteRow,
)
from db.store import Store, now
from db.verdicts import Pair, Verdicts

CHUNK = 300
"""Values in one IN (…): SQLite takes some thousands, PostgreSQL plans fewer better."""


T = TypeVar("T")


def parts_of(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


class OwnVote(NamedTuple):
    """One vote of a voter. `counts`: it is on a board (or kept aside); `excluded`: why it is not."""

    vote_id: int
    left_id: int
    right_id: int
    outcome: Outcome
    prompt_id: int
    prompt: str
    category: str
    policy: str
    left_sha256: str | None
    right_sha256: str | None
    seconds: float | None
    at: datetime
    board: str | None
    excluded: str | None

    @property
    def counts(self) -> bool:
        return self.board is not None


class OthersVote(NamedTuple):
    """Somebody's vote on a prompt and two contestants; `prompt_key` and `voter_key` as in a ballot."""

    prompt_key: int
    left_id: int
    right_id: int
    outcome: Outcome
    voter_key: int


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure did. `images`: sha256 of files that nothing refers to any more."""

    votes: int
    prompts: int
    images: tuple[str, ...]


class Personal:
    """What the store knows of one voter."""

    def __init__(self, store: Store):
        self.store = store

    def votes(self, voter_id: str) -> list[OwnVote]:
        """Every vote of the voter, excluded ones too, in their order."""
        left, right = aliased(GenerationRow), aliased(GenerationRow)
        query = (
            select(
                VoteRow.id, left.contestant_id, right.contestant_id, VoteRow.outcome, PromptRow.id, PromptRow.text,
                PromptRow.category, BattleRow.policy, left.sha256, right.sha256, VoteRow.decision_seconds, VoteRow.at,
                BallotRow.board, VoteExclusionRow.reason,
            )
            .join(BattleRow, BattleRow.id == VoteRow.battle_id)
            .join(PromptRow, PromptRow.id == BattleRow.prompt_id)
            .join(left, left.id == BattleRow.left_id)
            .join(right, right.id == BattleRow.right_id)
            .outerjoin(BallotRow, BallotRow.vote_id == VoteRow.id)
            .outerjoin(VoteExclusionRow, VoteExclusionRow.vote_id == VoteRow.id)
            .where(VoteRow.voter_id == voter_id)
            .order_by(VoteRow.id)
        )  # fmt: skip
        with self.store._reading() as session:
            return [OwnVote(*row) for row in session.execute(query)]

    def others(self, voter_id: str, prompts: Iterable[str]) -> list[OthersVote]:
        """The votes of other people that count, on these prompts."""
        mine, found = ballots.key(voter_id), []
        columns = (
            BallotRow.prompt_key, BallotRow.left_id, BallotRow.right_id, BallotRow.outcome, BallotRow.voter_key,
        )  # fmt: skip
        with self.store._reading() as session:
            for keys in parts_of(sorted({*map(ballots.key, prompts)}), CHUNK):
                query = select(*columns).where(BallotRow.prompt_key.in_(keys), BallotRow.board == PEOPLE)
                rows = session.execute(query.where(BallotRow.voter_key != mine).order_by(BallotRow.id))
                found += [OthersVote(key, a, b, ballots.OUTCOMES[code], voter) for key, a, b, code, voter in rows]
        return found

    def verdicts(self, judge_id: str, pairs: Collection[Pair]) -> dict[Pair, JudgeVerdict]:
        """The judge's latest verdicts on these pairs of images, where it has any."""
        found: dict[Pair, JudgeVerdict] = {}
        with self.store._reading() as session:
            for part in parts_of(sorted(set(pairs)), CHUNK):
                found |= Verdicts._latest(session, judge_id, part)
        return found

    # Erasure

    def is_erased(self, voter_id: str) -> bool:
        with self.store._reading() as session:
            return session.scalar(statements.ERASED, {"voter_id": voter_id}) is not None

    def erase(self, voter_id: str, reason: str) -> Erased:
        """Stop counting every vote of the voter, wipe what they typed and the images of it, and close their id: all or
        nothing. Erasing twice changes nothing."""
        with self.store._writing() as session:
            self.store._add_voter(session, voter_id, VoterKind.PERSON)
            if session.get(ErasedVoterRow, voter_id) is not None:
                return Erased(0, 0, ())
            counted = [*session.scalars(
                select(VoteRow.id).join(BallotRow, BallotRow.vote_id == VoteRow.id).where(VoteRow.voter_id == voter_id)
            )]  # fmt: skip
            exclude(session, self.store, counted, reason, by="the voter")
            for row in (SkipRow, LookRow):
                session.execute(delete(row).where(row.voter_id == voter_id))
            prompts, images = _wipe_prompts(session, voter_id)
            session.add(ErasedVoterRow(voter_id=voter_id, at=now()))
            return Erased(len(counted), prompts, images)


def exclude(
    session: Session, store: Store, vote_ids: Collection[int], reason: str, by: str, value: dict[str, int] | None = None
) -> None:
    """Take votes that count off their boards, with a row for each.

    A vote enters the ledger of exclusions once; when it was restored since, a decision takes it off again.
    """
    for part in parts_of(vote_ids, CHUNK):
        numbers = dict(
            session.execute(select(BallotRow.vote_id, BallotRow.id).where(BallotRow.vote_id.in_(part))).all()
        )
        before = {*session.scalars(select(VoteExclusionRow.vote_id).where(VoteExclusionRow.vote_id.in_(part)))}
        new = [vote_id for vote_id in part if vote_id not in before]
        if new:
            session.execute(
                store._insert(VoteExclusionRow),
                [{"vote_id": id, "reason": reason, "ballot_id": numbers.get(id), "at": now()} for id in new],
            )
        if by != "the voter" or before:
            rows = part if by != "the voter" else before
            session.add_all(
                DecisionRow(admin=by, topic="vote", subject=str(id), action="exclude", reason=reason,
                            value=value or {}, at=now())
                for id in rows
            )  # fmt: skip
        if before:  # the checkpoints know of exclusions in the ledger alone
            session.execute(delete(RatingCheckpointRow))
        session.execute(delete(BallotRow).where(BallotRow.vote_id.in_(part)))


def _wipe_prompts(session: Session, voter_id: str) -> tuple[int, tuple[str, ...]]:
    """The texts that this voter alone typed are replaced; how many, and the images that were made of them alone.

    The images' hashes stay, so that votes on them stay readable; it is for the caller to remove the files.
    """
    elsewhere = aliased(OwnPromptRow)
    erased = select(ErasedVoterRow.voter_id)
    shared = exists().where(
        elsewhere.prompt_id == OwnPromptRow.prompt_id, elsewhere.voter_id != voter_id,
        elsewhere.voter_id.not_in(erased),
    )  # fmt: skip
    own = (
        select(OwnPromptRow.prompt_id)
        .join(PromptRow, PromptRow.id == OwnPromptRow.prompt_id)
        .where(OwnPromptRow.voter_id == voter_id, PromptRow.source == OWN_PROMPT, ~shared)
    )
    wiped = [*session.scalars(own.distinct())]
    stopped = {"state": "failed", "reason": "deleted by the voter", "finished_at": now()}
    open_ = OwnPromptRow.voter_id == voter_id, OwnPromptRow.state.in_(["waiting", "working"])
    session.execute(update(OwnPromptRow).where(*open_).values(**stopped))
    made = GenerationRow.prompt_id.in_(wiped), GenerationRow.sha256.is_not(None)
    images = {sha for sha in session.scalars(select(GenerationRow.sha256).where(*made)) if sha}
    for prompt_id in wiped:
        session.execute(update(PromptRow).where(PromptRow.id == prompt_id).values(text=f"(deleted prompt {prompt_id})"))
    elsewhere_used = GenerationRow.sha256.in_(images), GenerationRow.prompt_id.not_in(wiped)
    kept = {*session.scalars(select(GenerationRow.sha256).where(*elsewhere_used))}
    return len(wiped), tuple(sorted(images - kept))


def exclusions_by_reason(store: Store) -> list[tuple[str, int]]:
    """Votes of people that are in the ledger and count on no board, by reason, the most frequent first."""
    why = func.coalesce(_reason_of(), VoteExclusionRow.reason).label("why")
    off = (
        select(why)
        .select_from(VoteRow)
        .join(VoteExclusionRow, VoteExclusionRow.vote_id == VoteRow.id)
        .where(~exists().where(BallotRow.vote_id == VoteRow.id))
        .subquery()
    )
    count = func.count()
    query = select(off.c.why, count).group_by(off.c.why).order_by(count.desc(), off.c.why)
    with store._reading() as session:
        return [(reason, number) for reason, number in session.execute(query)]


def _reason_of() -> ScalarSelect[str]:
    """The reason of the newest decision that excluded the vote, as a column; NULL where no admin did."""
    return (
        select(DecisionRow.reason)
        .where(DecisionRow.topic == "vote", DecisionRow.action == "exclude",
               DecisionRow.subject == cast(VoteRow.id, String))
        .order_by(DecisionRow.id.desc())
        .limit(1)
        .correlate(VoteRow)
        .scalar_subquery()
    )  # fmt: skip
