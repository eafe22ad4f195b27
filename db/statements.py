"""The statements that every vote and every draw run, built once.

To build one from its parts costs SQLAlchemy several times what it costs to run it, and a vote runs a dozen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Insert, Select, bindparam, cast, exists, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased

from arena.domain import OWN_PROMPT, PEOPLE
from db.decisions import Action, Topic
from db.schema import (
    BallotRow,
    BattleRow,
    BoardRow,
    ContestantRow,
    DecisionRow,
    ErasedVoterRow,
    GenerationRow,
    LookRow,
    NamedBattleRow,
    OwnPromptRow,
    PromptRow,
    RatingRow,
    SkipRow,
    VoteExclusionRow,
    VoteRow,
    VoterRow,
)

LEFT, RIGHT = aliased(GenerationRow), aliased(GenerationRow)


def battles() -> Select[Any]:
    """A battle, its prompt, its left and its right generation."""
    return (
        select(BattleRow, PromptRow, LEFT, RIGHT)
        .join(PromptRow, PromptRow.id == BattleRow.prompt_id)
        .join(LEFT, LEFT.id == BattleRow.left_id)
        .join(RIGHT, RIGHT.id == BattleRow.right_id)
    )


def looked_up_by_id(column: Any) -> Any:
    """A text column as an expression that no index has. For a few rows above an id, SQLite would rather read the index
    of a whole board, a third of a second at a million votes, than the rows by their number."""
    return func.coalesce(column, "")


@cache
def insert_into(table: type, dialect: str) -> Any:
    """INSERT that can say ON CONFLICT."""
    return {"sqlite": sqlite, "postgresql": postgresql}[dialect].insert(table)


_LIMITS: Mapping[str, Callable[[Any], Any]] = {
    "board": lambda board: board == bindparam("board"),
    "category": lambda _: BallotRow.category == bindparam("category"),
    "since": lambda _: BallotRow.at >= bindparam("since"),
    "until": lambda _: BallotRow.at < bindparam("until"),
    "up_to": lambda _: BallotRow.id <= bindparam("up_to"),
}


def filtered(query: Select[Any], limits: Collection[str], board: Any = BallotRow.board) -> Select[Any]:
    """The query on ballots within these limits of a VoteFilter, whose values are its parameters by the same names."""
    return query.where(*(limit(board) for name, limit in _LIMITS.items() if name in limits))


@cache
def ballots_after(limits: frozenset[str]) -> Select[Any]:
    """(after, and the limits): ballots above one within limits, in their order."""
    columns = (
        BallotRow.id, BallotRow.left_id, BallotRow.right_id, BallotRow.outcome, BallotRow.count, BallotRow.voter_key,
    )  # fmt: skip
    query = filtered(select(*columns), limits, looked_up_by_id(BallotRow.board))
    return query.where(BallotRow.id > bindparam("after")).order_by(BallotRow.id)


LABELS_AFTER = (
    select(BallotRow.board, BallotRow.category).distinct().where(BallotRow.id > bindparam("after"))
)  # fmt: skip
"""(after): boards and categories of the ballots above one."""

BATTLE = battles().where(BattleRow.token == bindparam("token"))
"""(token)"""


@cache
def open_battles(one_category: bool) -> Select[Any]:
    """(voter_id, since[, category]): drawn since then, neither voted on nor skipped; oldest first."""
    voter = bindparam("voter_id")
    voted = exists().where(VoteRow.battle_id == BattleRow.id, VoteRow.voter_id == voter)
    skipped = exists().where(SkipRow.battle_id == BattleRow.id, SkipRow.voter_id == voter)
    query = battles().where(BattleRow.drawn_for == voter, BattleRow.at >= bindparam("since"), ~voted, ~skipped)
    if one_category:
        query = query.where(PromptRow.category == bindparam("category"))
    return query.order_by(BattleRow.id)


@cache
def cells_with_images(one_category: bool) -> Select[Any]:
    """([category]): contestant, prompt and id of every image of everyone's prompts."""
    query = (
        select(GenerationRow.contestant_id, GenerationRow.prompt_id, GenerationRow.id)
        .join(PromptRow, PromptRow.id == GenerationRow.prompt_id)
        .where(GenerationRow.sha256.is_not(None), PromptRow.source != OWN_PROMPT)
        .order_by(GenerationRow.contestant_id, GenerationRow.prompt_id)
    )
    return query.where(PromptRow.category == bindparam("category")) if one_category else query


SEEN_CELLS = (
    select(LEFT.contestant_id, RIGHT.contestant_id, BattleRow.prompt_id)
    .select_from(BattleRow)
    .join(LEFT, LEFT.id == BattleRow.left_id)
    .join(RIGHT, RIGHT.id == BattleRow.right_id)
    .where(BattleRow.drawn_for == bindparam("voter_id"))
)
"""(voter_id): of every battle ever drawn for this voter."""

NAMED_CELLS = select(LEFT.contestant_id, RIGHT.contestant_id, NamedBattleRow.prompt_id).where(
    NamedBattleRow.drawn_for == bindparam("voter_id"),
    LEFT.id == NamedBattleRow.left_id,
    RIGHT.id == NamedBattleRow.right_id,
)
"""(voter_id): the same of battles with names."""

PROMPTS = select(*PromptRow.__table__.c).where(PromptRow.id.in_(bindparam("prompt_ids", expanding=True)))
"""(prompt_ids)"""

IMAGES = (
    select(*GenerationRow.__table__.c)
    .where(
        GenerationRow.prompt_id.in_(bindparam("prompt_ids", expanding=True)),
        GenerationRow.contestant_id.in_(bindparam("contestant_ids", expanding=True)),
        GenerationRow.sha256.is_not(None),
    )
    .order_by(GenerationRow.id)
)
"""(prompt_ids, contestant_ids): oldest first."""

LOOKED_AT = select(LookRow.prompt_id).where(LookRow.voter_id == bindparam("voter_id"))
"""(voter_id)"""

ERASED = select(ErasedVoterRow.voter_id).where(ErasedVoterRow.voter_id == bindparam("voter_id"))
"""(voter_id)"""

BOARD = select(BoardRow.id, BoardRow.parameters, BoardRow.last_vote_id, BoardRow.exclusions).where(
    BoardRow.name == bindparam("name")
)
"""(name)"""

LOCKED_BOARD = BOARD.with_for_update()
"""(name): held until the transaction ends."""

MOVED_BOARD = (
    update(BoardRow.__table__)
    .where(BoardRow.__table__.c.id == bindparam("board_id"))
    .values({name: bindparam(f"new_{name}") for name in ("parameters", "last_vote_id", "exclusions")})
)
"""(board_id, new_parameters, new_last_vote_id, new_exclusions)"""

EXCLUSIONS = select(
    select(func.count()).select_from(VoteExclusionRow).scalar_subquery()
    + select(func.count())
    .select_from(DecisionRow)
    .where(DecisionRow.topic == Topic.VOTE, DecisionRow.action == Action.EXCLUDE)
    .scalar_subquery()
)
"""How often votes stopped counting: a vote that was restored may be excluded again."""

NEWEST = select(
    select(func.coalesce(func.max(BallotRow.id), 0)).scalar_subquery(),
    EXCLUSIONS.scalar_subquery(),
    select(func.coalesce(func.max(ContestantRow.id), 0)).scalar_subquery(),
)
"""The last ballot, how often votes stopped counting, the last contestant."""

RATINGS = select(RatingRow.contestant_id, RatingRow.value).where(RatingRow.board_id == bindparam("board_id"))
"""(board_id)"""


@cache
def saved_rating(dialect: str) -> Insert:
    """(board_id, contestant_id, value)"""
    statement = insert_into(RatingRow, dialect)
    return statement.on_conflict_do_update(
        index_elements=["board_id", "contestant_id"], set_={"value": statement.excluded["value"]}
    )


VOTED_PAIRS = (
    select(BallotRow.id, BallotRow.left_id, BallotRow.right_id, BallotRow.outcome, BallotRow.count)
    .where(looked_up_by_id(BallotRow.board) == PEOPLE, BallotRow.id > bindparam("after"))
    .order_by(BallotRow.id)
)
"""(after): people's votes above a ballot."""

ADDED_VOTE = insert(VoteRow.__table__).returning(VoteRow.__table__.c.id)
ADDED_BALLOT = insert(BallotRow.__table__).returning(BallotRow.__table__.c.id)

BALLOT_KIND = select(
    VoterRow.kind,
    select(OwnPromptRow.counts).where(OwnPromptRow.battle_id == bindparam("battle_id")).scalar_subquery(),
    select(DecisionRow.action)
    .where(DecisionRow.topic == Topic.VOTER, DecisionRow.subject == bindparam("voter_id"))
    .order_by(DecisionRow.id.desc())
    .limit(1)
    .scalar_subquery(),
).where(VoterRow.id == bindparam("voter_id"))
"""(battle_id, voter_id): the voter's kind; whether the battle's own prompt counts, None for everyone's prompts; and the
decision on the voter that holds."""

STANDING_VOTES = (
    select(func.count())
    .select_from(VoteRow)
    .where(VoteRow.voter_id == bindparam("voter_id"), ~exists().where(VoteExclusionRow.vote_id == VoteRow.id))
)
"""(voter_id): how many were not excluded."""

_BOTH = bindparam("left"), bindparam("right")

MAKERS = select(ContestantRow.id, ContestantRow.name).where(ContestantRow.id.in_(_BOTH))
"""(left, right)"""

OTHERS = (
    select(BallotRow.left_id, BallotRow.outcome, cast(func.sum(BallotRow.count), BigInteger))
    .where(
        looked_up_by_id(BallotRow.board) == PEOPLE,
        BallotRow.prompt_key == bindparam("prompt_key"),
        BallotRow.left_id.in_(_BOTH),
        BallotRow.right_id.in_(_BOTH),
        BallotRow.voter_key != bindparam("voter_key"),
    )
    .group_by(BallotRow.left_id, BallotRow.outcome)
)
"""(prompt_key, left, right, voter_key): how other people voted on the same prompt and contestants."""
