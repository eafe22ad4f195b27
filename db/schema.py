"""The tables. Rows never leave this room: `db.store` turns them into the words of `arena.domain`.

Votes are append-only: triggers refuse UPDATE and DELETE on every database (see `db/triggers.py`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Enum,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from arena.domain import Outcome, ReasonTag, ReportReason, RunKind, RunState, Side, VoterKind

# SQLite only counts up an INTEGER primary key by itself; elsewhere ids are 64 bit.
Id = BigInteger().with_variant(Integer, "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """Timezone-aware UTC in, timezone-aware UTC out, also on SQLite, which stores no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def text_enum(kind: type) -> Enum:
    """An enum kept as its value in a text column with a CHECK, alike on every database."""
    return Enum(
        kind,
        native_enum=False,
        length=16,
        values_callable=lambda members: [member.value for member in members],
        create_constraint=True,
        validate_strings=True,
        name=kind.__name__.lower(),
    )


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[str]: JSON,
        float: Float(53),
    }


def text_sha256(text: str) -> str:
    """By which a prompt is found: 64 hexadecimal digits."""
    return sha256(text.encode()).hexdigest()


def _sha256_of_text(context: Any) -> str:
    return text_sha256(context.get_current_parameters()["text"])


class PromptRow(Base):
    __tablename__ = "prompts"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    # What is unique and looked up: an index on PostgreSQL takes 2,704 bytes of a text and no more.
    text_sha256: Mapped[str] = mapped_column(String(64), unique=True, default=_sha256_of_text)
    category: Mapped[str] = mapped_column(String(64), index=True)
    tags: Mapped[list[str]]
    source: Mapped[str] = mapped_column(String(128))


class ContestantRow(Base):
    __tablename__ = "contestants"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(128), unique=True)
    backend: Mapped[str] = mapped_column(String(64))
    settings: Mapped[dict[str, Any]]
    card: Mapped[dict[str, Any]]
    running: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    fingerprint: Mapped[str] = mapped_column(String(64), index=True)


class GenerationRow(Base):
    """One attempt. A cell (contestant, prompt, seed) holds one row; a retried failure replaces its reason."""

    __tablename__ = "generations"
    __table_args__ = (
        UniqueConstraint("contestant_id", "prompt_id", "seed"),
        CheckConstraint("(sha256 IS NULL) <> (failure IS NULL)", name="image_or_failure"),
    )
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    contestant_id: Mapped[int] = mapped_column(ForeignKey("contestants.id"))
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"), index=True)
    seed: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64))
    width: Mapped[int | None]
    height: Mapped[int | None]
    media_type: Mapped[str | None] = mapped_column(String(32))
    seconds: Mapped[float | None]
    cost_usd: Mapped[float | None]
    cost_source: Mapped[str | None] = mapped_column(String(64))
    failure: Mapped[str | None] = mapped_column(Text)
    at: Mapped[datetime]


class VoterRow(Base):
    __tablename__ = "voters"
    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    kind: Mapped[VoterKind] = mapped_column(text_enum(VoterKind))
    since: Mapped[datetime]


class BattleRow(Base):
    __tablename__ = "battles"
    __table_args__ = (CheckConstraint("probability > 0 AND probability <= 1", name="probability"),)
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    token: Mapped[str] = mapped_column(String(64), unique=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"))
    left_id: Mapped[int] = mapped_column(ForeignKey("generations.id"))
    right_id: Mapped[int] = mapped_column(ForeignKey("generations.id"))
    drawn_for: Mapped[str] = mapped_column(ForeignKey("voters.id"), index=True)
    policy: Mapped[str] = mapped_column(String(64))
    probability: Mapped[float]
    at: Mapped[datetime]


class SkipRow(Base):
    """A battle its voter did not want to judge: not a vote, and not shown again."""

    __tablename__ = "skips"
    battle_id: Mapped[int] = mapped_column(ForeignKey("battles.id"), primary_key=True)
    voter_id: Mapped[str] = mapped_column(ForeignKey("voters.id"), primary_key=True)
    at: Mapped[datetime]


class VoteRow(Base):
    """The ledger. Append-only; a correction is a new row that points at a vote."""

    __tablename__ = "votes"
    __table_args__ = (UniqueConstraint("battle_id", "voter_id"),)
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    battle_id: Mapped[int] = mapped_column(ForeignKey("battles.id"))
    voter_id: Mapped[str] = mapped_column(ForeignKey("voters.id"), index=True)
    outcome: Mapped[Outcome] = mapped_column(text_enum(Outcome))
    decision_seconds: Mapped[float | None]
    at: Mapped[datetime]
    recipe: Mapped[str | None] = mapped_column(String(32))
    swapped: Mapped[bool | None]


class VoteExclusionRow(Base):
    """A vote that no longer counts, with the reason: an undo, or a moderator's decision.

    `ballot_id`: the number of the ballot that it took away, where there was one.
    """

    __tablename__ = "vote_exclusions"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    vote_id: Mapped[int] = mapped_column(ForeignKey("votes.id"), unique=True)
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime]
    ballot_id: Mapped[int | None] = mapped_column(BigInteger)


class ReportRow(Base):
    """A battle that its voter reported: what is wrong, and with which side (None: both, or not said). Append-only."""

    __tablename__ = "reports"
    __table_args__ = (UniqueConstraint("battle_id", "voter_id"),)
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    battle_id: Mapped[int] = mapped_column(ForeignKey("battles.id"))
    voter_id: Mapped[str] = mapped_column(ForeignKey("voters.id"))
    reason: Mapped[ReportReason] = mapped_column(text_enum(ReportReason))
    side: Mapped[Side | None] = mapped_column(text_enum(Side))
    at: Mapped[datetime]


class VoteTagRow(Base):
    """One reason that a voter gave for a vote. Append-only."""

    __tablename__ = "vote_tags"
    vote_id: Mapped[int] = mapped_column(ForeignKey("votes.id"), primary_key=True)
    tag: Mapped[ReasonTag] = mapped_column(text_enum(ReasonTag), primary_key=True)
    at: Mapped[datetime]


class NamedBattleRow(Base):
    """A battle whose makers its voter is shown: asked for as such, or brought back by an undo. Append-only.

    Apart from `battles`, so that no vote on it can ever reach the ledger of votes.
    """

    __tablename__ = "named_battles"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    token: Mapped[str] = mapped_column(String(64), unique=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"))
    left_id: Mapped[int] = mapped_column(ForeignKey("generations.id"))
    right_id: Mapped[int] = mapped_column(ForeignKey("generations.id"))
    drawn_for: Mapped[str] = mapped_column(ForeignKey("voters.id"), index=True)
    undone_vote_id: Mapped[int | None] = mapped_column(ForeignKey("votes.id"), unique=True)
    at: Mapped[datetime]


class NamedVoteRow(Base):
    """What its voter said of a named battle; no outcome: put aside. Append-only, and read by no rating system."""

    __tablename__ = "named_votes"
    named_battle_id: Mapped[int] = mapped_column(ForeignKey("named_battles.id"), primary_key=True)
    outcome: Mapped[Outcome | None] = mapped_column(text_enum(Outcome))
    at: Mapped[datetime]


class ImportedVoteRow(Base):
    """The ledger of votes cast elsewhere, as their file told them. Append-only; equal votes may be one row."""

    __tablename__ = "imported_votes"
    __table_args__ = (
        UniqueConstraint("source", "position"),
        CheckConstraint("count > 0", name="count"),
        CheckConstraint("left_id <> right_id", name="two_contestants"),
    )
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    source: Mapped[str] = mapped_column(String(64))
    position: Mapped[int] = mapped_column(BigInteger)
    left_id: Mapped[int] = mapped_column(ForeignKey("contestants.id"))
    right_id: Mapped[int] = mapped_column(ForeignKey("contestants.id"))
    outcome: Mapped[Outcome] = mapped_column(text_enum(Outcome))
    count: Mapped[int] = mapped_column(BigInteger)
    voter: Mapped[str | None] = mapped_column(Text)
    prompt: Mapped[str | None] = mapped_column(Text)
    category: Mapped[str | None] = mapped_column(String(64))
    at: Mapped[datetime | None]


class BallotRow(Base):
    """A vote that counts, flattened for the rating systems: who met whom, and how it ended.

    Derived from the two ledgers: written with the vote, gone when the vote is excluded, numbered in the order in
    which votes began to count. `outcome` is the position in `Outcome`; the keys are numbers made from the voter's id
    and the prompt's text.
    """

    __tablename__ = "ballots"
    __table_args__ = (
        # Holds all that a clustered board reads, in the order in which it is added up.
        Index(None, "board", "voter_key", "left_id", "right_id", "outcome", "count"),
        # How others voted on the same prompt and pair.
        Index(None, "prompt_key", "left_id", "right_id"),
    )
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    board: Mapped[str] = mapped_column(String(128))
    vote_id: Mapped[int | None] = mapped_column(ForeignKey("votes.id"), unique=True)
    imported_id: Mapped[int | None] = mapped_column(ForeignKey("imported_votes.id"), unique=True)
    left_id: Mapped[int] = mapped_column(ForeignKey("contestants.id"))
    right_id: Mapped[int] = mapped_column(ForeignKey("contestants.id"))
    outcome: Mapped[int] = mapped_column(SmallInteger)
    count: Mapped[int] = mapped_column(BigInteger)
    voter_key: Mapped[int] = mapped_column(BigInteger)
    prompt_key: Mapped[int] = mapped_column(BigInteger)
    category: Mapped[str] = mapped_column(String(64))
    probability: Mapped[float | None]
    at: Mapped[datetime | None]


class ErasedVoterRow(Base):
    """A person who asked to be forgotten: the id is no one's any more, and no cookie brings it back. Append-only."""

    __tablename__ = "erased_voters"
    voter_id: Mapped[str] = mapped_column(ForeignKey("voters.id"), primary_key=True)
    at: Mapped[datetime]


class DecisionRow(Base):
    """What an admin decided, when and why. Append-only; the newest decision on a subject holds (see `db.decisions`)."""

    __tablename__ = "decisions"
    __table_args__ = (Index(None, "topic", "subject"),)
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    admin: Mapped[str] = mapped_column(String(64))
    topic: Mapped[str] = mapped_column(String(16))
    subject: Mapped[str] = mapped_column(String(128))
    action: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    value: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class OwnPromptRow(Base):
    """A voter's own prompt on its way to a battle: waiting, working, ready or failed.

    `left_id` and `right_id`: the contestants that were drawn for it, with `probability`. `counts`: whether a vote on it
    counts on people's board. `run_id`: the worker that has it, `attempts` how many had it.
    """

    __tablename__ = "own_prompts"
    __table_args__ = (CheckConstraint("probability > 0 AND probability <= 1", name="probability"),)
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    voter_id: Mapped[str] = mapped_column(ForeignKey("voters.id"), index=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"))
    left_id: Mapped[int] = mapped_column(ForeignKey("contestants.id"))
    right_id: Mapped[int] = mapped_column(ForeignKey("contestants.id"))
    seed: Mapped[int] = mapped_column(BigInteger)
    policy: Mapped[str] = mapped_column(String(64))
    probability: Mapped[float]
    counts: Mapped[bool]
    state: Mapped[str] = mapped_column(String(16), index=True)
    done: Mapped[int] = mapped_column(SmallInteger)
    attempts: Mapped[int] = mapped_column(SmallInteger)
    reason: Mapped[str] = mapped_column(Text)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"))
    battle_id: Mapped[int | None] = mapped_column(ForeignKey("battles.id"), index=True)
    at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class JudgeRow(Base):
    """A judge as a voter. Append-only: other settings are another judge."""

    __tablename__ = "judges"
    id: Mapped[str] = mapped_column(String(128), ForeignKey("voters.id"), primary_key=True)
    source: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(String(64))
    settings: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class VerdictRow(Base):
    """What a judge said of two images of a prompt, in both orders. Append-only.

    The images are in alphabetical order of their hashes, so that a pair has one row whoever it is drawn for; an
    unscored one may be asked again, which is another `attempt`.
    """

    __tablename__ = "verdicts"
    __table_args__ = (
        UniqueConstraint("judge_id", "prompt_id", "left_sha256", "right_sha256", "attempt"),
        CheckConstraint("(outcome IS NULL) <> (unscored IS NULL)", name="outcome_or_unscored"),
        CheckConstraint("left_sha256 <= right_sha256", name="ordered"),
    )
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    judge_id: Mapped[str] = mapped_column(ForeignKey("judges.id"))
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"))
    left_sha256: Mapped[str] = mapped_column(String(64))
    right_sha256: Mapped[str] = mapped_column(String(64))
    attempt: Mapped[int] = mapped_column(SmallInteger)
    question_sha256: Mapped[str] = mapped_column(String(64))
    answers: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    outcome: Mapped[Outcome | None] = mapped_column(text_enum(Outcome))
    consistent: Mapped[bool | None]
    unscored: Mapped[str | None] = mapped_column(Text)
    seconds: Mapped[float | None]
    cost_usd: Mapped[float | None]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"), index=True)
    at: Mapped[datetime]


class VerdictBattleRow(Base):
    """Which battles a verdict was for; the judge's vote on such a battle is what the verdict said. Append-only."""

    __tablename__ = "verdict_battles"
    verdict_id: Mapped[int] = mapped_column(ForeignKey("verdicts.id"), primary_key=True)
    battle_id: Mapped[int] = mapped_column(ForeignKey("battles.id"), primary_key=True, index=True)


class VerdictClaimRow(Base):
    """A pair that a run is asking about just now. It holds for as long as the run works; gone with the verdict."""

    __tablename__ = "verdict_claims"
    judge_id: Mapped[str] = mapped_column(ForeignKey("judges.id"), primary_key=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"), primary_key=True)
    left_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    right_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))


class BoardRow(Base):
    """A cached leaderboard: which system and parameters, and the last vote it has counted.

    Derived: deleting every board and rating loses nothing. Its row is also the lock that puts votes in order.
    """

    __tablename__ = "boards"
    __table_args__ = (UniqueConstraint("name"),)
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    parameters: Mapped[dict[str, Any]]
    last_vote_id: Mapped[int] = mapped_column(BigInteger)
    exclusions: Mapped[int] = mapped_column(BigInteger, default=0)


class RatingRow(Base):
    __tablename__ = "ratings"
    board_id: Mapped[int] = mapped_column(ForeignKey("boards.id", ondelete="CASCADE"), primary_key=True)
    contestant_id: Mapped[int] = mapped_column(ForeignKey("contestants.id"), primary_key=True)
    value: Mapped[float]


class RatingCheckpointRow(Base):
    """A board's ratings after a ballot in the past, so that taking back a later one needs no replay from the first.

    `exclusions`: how many were known then, as in `boards`; `exclusion_id`: the last of them. Derived, as the board.
    """

    __tablename__ = "rating_checkpoints"
    board_id: Mapped[int] = mapped_column(ForeignKey("boards.id", ondelete="CASCADE"), primary_key=True)
    last_vote_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    exclusions: Mapped[int] = mapped_column(BigInteger)
    exclusion_id: Mapped[int] = mapped_column(BigInteger)
    ratings: Mapped[dict[str, Any]]


class SnapshotRow(Base):
    """A board as it was published: what it was made from, and its numbers as compressed JSON. Append-only."""

    __tablename__ = "snapshots"
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    recipe: Mapped[dict[str, Any]]
    content: Mapped[bytes]
    at: Mapped[datetime] = mapped_column(index=True)


class LookRow(Base):
    """A prompt whose pictures a visitor was shown with their makers' names: it is not drawn for them any more.

    A visitor may look before the first battle makes a voter of them, so the id refers to no row.
    """

    __tablename__ = "looks"
    voter_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"), primary_key=True)
    at: Mapped[datetime]


class PromptSetRow(Base):
    """Prompts that were imported together under a name; `sha256` is of what they say, so equal sets are one."""

    __tablename__ = "prompt_sets"
    __table_args__ = (UniqueConstraint("name", "sha256"),)
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(Text)
    licence: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime]


class PromptSetMemberRow(Base):
    """A prompt in a set, with what that set says of it. `prompt_key` is the one that ballots have, `item` the prompt's
    id in its file."""

    __tablename__ = "prompt_set_members"
    set_id: Mapped[int] = mapped_column(ForeignKey("prompt_sets.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"), index=True)
    prompt_key: Mapped[int] = mapped_column(BigInteger)
    item: Mapped[str] = mapped_column(String(128))
    category: Mapped[str] = mapped_column(String(64))
    tags: Mapped[list[str]]
    licence: Mapped[str] = mapped_column(String(128))
    details: Mapped[dict[str, Any]]


class ImageSourceRow(Base):
    """Where an image that was not made here came from: its path in the folder or data set, and its licence."""

    __tablename__ = "image_sources"
    generation_id: Mapped[int] = mapped_column(ForeignKey("generations.id", ondelete="CASCADE"), primary_key=True)
    path: Mapped[str] = mapped_column(Text)
    licence: Mapped[str] = mapped_column(String(128))


class ImageOriginRow(Base):
    """What the bytes of an image say of where it is from, as they were read when it came in; columns: see
    `db.origins.Origin`. Derived from the image and from the manifest that came beside it."""

    __tablename__ = "image_origins"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    state: Mapped[str | None] = mapped_column(String(16))
    generator: Mapped[str | None] = mapped_column(String(128))
    signed_by: Mapped[str | None] = mapped_column(String(128))
    mark: Mapped[str | None] = mapped_column(String(128))


class ProtocolRow(Base):
    __tablename__ = "protocols"
    fingerprint: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(32))
    settings: Mapped[dict[str, Any]]


class ReferenceSetRow(Base):
    """The real images a distribution metric compares with, and where their statistics are."""

    __tablename__ = "reference_sets"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(128), unique=True)
    n: Mapped[int]
    recipe: Mapped[dict[str, Any]]


class RunRow(Base):
    __tablename__ = "runs"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    kind: Mapped[RunKind] = mapped_column(text_enum(RunKind))
    subject: Mapped[str] = mapped_column(String(256))
    state: Mapped[RunState] = mapped_column(text_enum(RunState), index=True)
    done: Mapped[int]
    total: Mapped[int]
    stage: Mapped[str] = mapped_column(String(128))
    message: Mapped[str] = mapped_column(Text)
    parameters: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    pid: Mapped[int | None]
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class ScoreRow(Base):
    """`images` hold an `ImageValue` each, up to 100 bytes: the last column, and read only where it is asked for."""

    __tablename__ = "scores"
    __table_args__ = (
        CheckConstraint("(value IS NULL) <> (unscored IS NULL)", name="value_or_unscored"),
        Index(None, "contestant_id", "metric"),
    )
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    subject: Mapped[str] = mapped_column(String(256))
    metric: Mapped[str] = mapped_column(String(64))
    protocol_fingerprint: Mapped[str] = mapped_column(ForeignKey("protocols.fingerprint"))
    contestant_id: Mapped[int | None] = mapped_column(ForeignKey("contestants.id"))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"))
    value: Mapped[float | None]
    unscored: Mapped[str | None] = mapped_column(Text)
    details: Mapped[dict[str, Any]]
    at: Mapped[datetime]
    images: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True), deferred=True)
