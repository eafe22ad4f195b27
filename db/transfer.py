"""A whole arena out of a database, as it is at one moment, and into an empty one, in one transaction.

Rows are plain mappings, by the tables' names in `TABLES`; ids stay what they were, so that an arena's votes, boards
and snapshots refer to the same things on either side. What an admin decided travels as what holds: retired, hidden,
excluded. Battles get new tokens: a token lets its voter vote.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Select, func, select, text
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.orm import Session, aliased

from arena.errors import DataError
from db import ballots, decisions, origins
from db import engine as engines
from db.decisions import Action, Topic, Withdrawn
from db.schema import (
    BallotRow,
    Base,
    BattleRow,
    ContestantRow,
    DecisionRow,
    ErasedVoterRow,
    GenerationRow,
    ImageSourceRow,
    ImportedVoteRow,
    JudgeRow,
    OwnPromptRow,
    PromptRow,
    PromptSetMemberRow,
    PromptSetRow,
    ProtocolRow,
    ScoreRow,
    SkipRow,
    SnapshotRow,
    VerdictBattleRow,
    VerdictRow,
    VoteExclusionRow,
    VoteRow,
    VoterRow,
    VoteTagRow,
)
from db.store import Rate, Store, now

Row = dict[str, Any]
PART = 1_000
IMPORTER = "import"
"""Who an imported decision is by, and why: names and reasons of admins stay where they decided."""


def is_empty(store: Store) -> bool:
    """Whether nobody has put anything into this arena yet."""
    with store._reading() as session:
        return not any(session.scalar(select(func.count()).select_from(kind)) for kind in (PromptRow, ContestantRow))


# Out


class Moment:
    """The database at one moment: what is written meanwhile is not seen."""

    def __init__(self, session: Session):
        self.session = session
        self.withdrawn = Withdrawn.of(session)
        self.erased = select(ErasedVoterRow.voter_id)

    def rows(self, table: str) -> Iterator[Row]:
        """The rows of a table in the order of their ids, a few at a time."""
        return QUERIES[table](self)

    def newest(self) -> tuple[int, int]:
        """Last ballot and number of exclusions."""
        last = self.session.scalar(select(func.coalesce(func.max(BallotRow.id), 0))) or 0
        return last, Store._exclusions(self.session)

    def _stream(self, query: Select[Any], part: int = PART) -> Iterator[Row]:
        for row in self.session.execute(query.execution_options(yield_per=part)):
            yield dict(row._mapping)

    def _held(self, topic: Topic) -> dict[str, DecisionRow]:
        return decisions.newest(self.session, topic)


@contextmanager
def moment(store: Store) -> Iterator[Moment]:
    """One moment of the database, for reading."""
    # SQLite's readers in WAL see one moment anyway; PostgreSQL's have to ask for it.
    engine = store.engine
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    with engines.connecting(engine), Session(engine) as session, session.begin():
        yield Moment(session)


def _columns(row: type[Base], *without: str) -> list[Any]:
    return [column for column in row.__table__.columns if column.key not in without]


def _prompts(at: Moment) -> Iterator[Row]:
    for row in at._stream(select(*_columns(PromptRow)).order_by(PromptRow.id)):
        yield {**row, "retired": row["id"] in at.withdrawn.prompts}


def _contestants(at: Moment) -> Iterator[Row]:
    shares = {int(id): float(row.value["share"]) for id, row in at._held(Topic.SHARE).items()}
    for row in at._stream(select(*_columns(ContestantRow, "running")).order_by(ContestantRow.id)):
        yield {**row, "retired": row["id"] in at.withdrawn.contestants, "share": shares.get(row["id"], 1.0)}


def _images(at: Moment) -> Iterator[Row]:
    query = (
        select(
            *_columns(GenerationRow), ContestantRow.name.label("model"), ContestantRow.fingerprint,
            PromptRow.text.label("prompt"), PromptRow.source.label("prompt_source"),
            ImageSourceRow.path.label("source_path"), ImageSourceRow.licence.label("source_licence"),
        )
        .outerjoin(ImageSourceRow, ImageSourceRow.generation_id == GenerationRow.id)
        .join(ContestantRow, ContestantRow.id == GenerationRow.contestant_id)
        .join(PromptRow, PromptRow.id == GenerationRow.prompt_id)
        .order_by(GenerationRow.id)
    )  # fmt: skip
    for row in at._stream(query):
        yield {**row, "hidden": row["id"] in at.withdrawn.generations}


def _prompt_sets(at: Moment) -> Iterator[Row]:
    return at._stream(select(*_columns(PromptSetRow)).order_by(PromptSetRow.id))


def _members(at: Moment) -> Iterator[Row]:
    query = select(*_columns(PromptSetMemberRow, "prompt_key"), PromptRow.text.label("prompt"))
    query = query.join(PromptRow, PromptRow.id == PromptSetMemberRow.prompt_id)
    return at._stream(query.order_by(PromptSetMemberRow.set_id, PromptSetMemberRow.position))


def _voters(at: Moment) -> Iterator[Row]:
    excluded = decisions.standing(at.session, Topic.VOTER, Action.EXCLUDE)
    query = select(*_columns(VoterRow)).where(VoterRow.id.not_in(at.erased)).order_by(VoterRow.since, VoterRow.id)
    for row in at._stream(query):
        yield {**row, "excluded": row["id"] in excluded}


def _battles(at: Moment) -> Iterator[Row]:
    query = (
        select(*_columns(BattleRow, "token"), SkipRow.at.label("skipped_at"), OwnPromptRow.counts.label("own_counts"))
        .outerjoin(SkipRow, (SkipRow.battle_id == BattleRow.id) & (SkipRow.voter_id == BattleRow.drawn_for))
        .outerjoin(OwnPromptRow, OwnPromptRow.battle_id == BattleRow.id)
        .where(BattleRow.drawn_for.not_in(at.erased))
        .order_by(BattleRow.id)
    )
    return at._stream(query)


def _ledger(at: Moment) -> Iterator[Row]:
    taken = {id: row for id, row in at._held(Topic.VOTE).items() if row.action == Action.EXCLUDE}
    tags: dict[int, list[str]] = {}
    for tag in at._stream(select(VoteTagRow.vote_id, VoteTagRow.tag).order_by(VoteTagRow.vote_id, VoteTagRow.tag)):
        tags.setdefault(tag["vote_id"], []).append(tag["tag"])
    query = (
        select(
            *_columns(VoteRow), VoteExclusionRow.id.label("exclusion_id"), VoteExclusionRow.reason.label("excluded"),
            VoteExclusionRow.at.label("excluded_at"), VoteExclusionRow.ballot_id.label("excluded_ballot"),
        )
        .outerjoin(VoteExclusionRow, VoteExclusionRow.vote_id == VoteRow.id)
        .where(VoteRow.voter_id.not_in(at.erased))
        .order_by(VoteRow.id)
    )  # fmt: skip
    for row in at._stream(query):
        decided = taken.get(str(row["id"]))
        by = None if decided is None else "voter" if "decision" in decided.value else "vote"
        yield {**row, "decided": by, "tags": tags.get(row["id"], [])}


def _imported(at: Moment) -> Iterator[Row]:
    return at._stream(_with_names(ImportedVoteRow, *_columns(ImportedVoteRow)).order_by(ImportedVoteRow.id))


def _votes(at: Moment) -> Iterator[Row]:
    query = (
        _with_names(
            BallotRow,
            *_columns(BallotRow, "voter_key", "prompt_key"),
            func.coalesce(VoteRow.voter_id, ImportedVoteRow.voter).label("voter"),
            func.coalesce(PromptRow.text, ImportedVoteRow.prompt).label("prompt"),
            PromptRow.id.label("prompt_id"), PromptRow.source.label("prompt_source"),
        )
        .outerjoin(ImportedVoteRow, ImportedVoteRow.id == BallotRow.imported_id)
        .outerjoin(VoteRow, VoteRow.id == BallotRow.vote_id)
        .outerjoin(BattleRow, BattleRow.id == VoteRow.battle_id)
        .outerjoin(PromptRow, PromptRow.id == BattleRow.prompt_id)
        .order_by(BallotRow.id)
    )  # fmt: skip
    for row in at._stream(query):
        yield {**row, "outcome": ballots.OUTCOMES[row["outcome"]]}


def _with_names(row: type[Any], *columns: Any) -> Select[Any]:
    left, right = aliased(ContestantRow), aliased(ContestantRow)
    return (
        select(*columns, left.name.label("model_a"), right.name.label("model_b"))
        .join(left, left.id == row.left_id)
        .join(right, right.id == row.right_id)
    )


def _judges(at: Moment) -> Iterator[Row]:
    return at._stream(select(*_columns(JudgeRow)).order_by(JudgeRow.at, JudgeRow.id))


def _verdicts(at: Moment) -> Iterator[Row]:
    for row in at._stream(select(*_columns(VerdictRow, "run_id")).order_by(VerdictRow.id)):
        mine = select(VerdictBattleRow.battle_id).where(VerdictBattleRow.verdict_id == row["id"])
        yield {**row, "battles": [*at.session.scalars(mine.order_by(VerdictBattleRow.battle_id))]}


def _scores(at: Moment) -> Iterator[Row]:
    query = (
        select(
            *_columns(ScoreRow, "run_id"), ProtocolRow.name.label("protocol_name"),
            ProtocolRow.version.label("protocol_version"), ProtocolRow.settings.label("protocol_settings"),
        )
        .join(ProtocolRow, ProtocolRow.fingerprint == ScoreRow.protocol_fingerprint)
        .order_by(ScoreRow.id)
    )  # fmt: skip
    for row in at._stream(query, part=10):  # a score of 10,000 images is a megabyte
        # Beside the details, where a folder of an earlier version has none.
        yield {**row, "details": {**row["details"], **({"images": row["images"]} if row["images"] else {})}}


def _snapshots(at: Moment) -> Iterator[Row]:
    return at._stream(select(*_columns(SnapshotRow)).order_by(SnapshotRow.at, SnapshotRow.id))


QUERIES: dict[str, Callable[[Moment], Iterator[Row]]] = {
    "prompts": _prompts, "prompt_sets": _prompt_sets, "members": _members, "contestants": _contestants,
    "images": _images, "voters": _voters, "battles": _battles,
    "ledger": _ledger, "imported": _imported, "votes": _votes, "judges": _judges, "verdicts": _verdicts,
    "scores": _scores, "snapshots": _snapshots,
}  # fmt: skip
TABLES = tuple(QUERIES)
"""In an order in which nothing refers to what comes later."""


# In


class Arrival:
    """An empty database that is being filled; nobody sees anything of it before the end."""

    def __init__(self, session: Session, store: Store):
        self.session, self.store = session, store
        self.ids: dict[str, int] = {}
        self.voter_decisions: dict[str, int] = {}

    def put(self, table: str, rows: Iterable[Row]) -> None:
        """Add rows of a table, as `Moment.rows` gives them. Raises DataError for what the database refuses."""
        try:
            PUTS[table](self, [*rows])
        except (DBAPIError, StatementError, LookupError, TypeError, ValueError) as error:
            said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise DataError(f"The table {table!r} holds what no arena can ({said}); export it again.") from error

    def _add(self, row: type[Base], values: Iterable[Row]) -> None:
        found = [*values]
        names = {column.key for column in row.__table__.columns}
        if found:
            self.session.execute(
                self.store._insert(row), [{k: v for k, v in one.items() if k in names} for one in found]
            )

    def _decide(self, topic: Topic, subject: object, action: Action, **value: object) -> int:
        row = DecisionRow(
            admin=IMPORTER, topic=topic, subject=str(subject), action=action, reason=IMPORTER, value=value, at=now()
        )
        self.session.add(row)
        self.session.flush()
        return row.id


@contextmanager
def arrival(store: Store, board: str, parameters: Mapping[str, Any], rate: Rate) -> Iterator[Arrival]:
    """Fill an empty database: all, or nothing when the block raises. At the end the live board counts every vote.

    Raises DataError where the database is not empty by then.
    """
    with store._writing() as session:
        if any(session.scalar(select(func.count()).select_from(kind)) for kind in (PromptRow, ContestantRow)):
            raise DataError("The arena is not empty any more; import into a new one, with another data_dir.")
        filled = Arrival(session, store)
        yield filled
        session.flush()
        _count_on(session)
        store._up_to_date(session, store._locked_board(session, board, parameters), rate)


def _count_on(session: Session) -> None:
    """PostgreSQL's counters of ids go on after the highest one there is; SQLite's do by themselves."""
    if session.get_bind().dialect.name != "postgresql":
        return
    for row in (
        PromptRow, PromptSetRow, ContestantRow, GenerationRow, BattleRow, VoteRow, VoteExclusionRow, ImportedVoteRow,
        BallotRow,
        VerdictRow, ScoreRow,
    ):  # fmt: skip
        table = row.__tablename__
        session.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table})) "
                f"WHERE EXISTS (SELECT 1 FROM {table})"
            )
        )


def _put_prompts(to: Arrival, rows: list[Row]) -> None:
    to._add(PromptRow, rows)
    for row in rows:
        if row["retired"]:
            to._decide(Topic.PROMPT, row["id"], Action.RETIRE)


def _put_contestants(to: Arrival, rows: list[Row]) -> None:
    to._add(ContestantRow, ({**row, "running": {}} for row in rows))
    for row in rows:
        to.ids[row["name"]] = row["id"]
        if row["retired"]:
            to._decide(Topic.CONTESTANT, row["id"], Action.RETIRE)
        if row["share"] != 1.0:
            to._decide(Topic.SHARE, row["id"], Action.SET, share=row["share"])


def _put_prompt_sets(to: Arrival, rows: list[Row]) -> None:
    to._add(PromptSetRow, rows)


def _put_members(to: Arrival, rows: list[Row]) -> None:
    to._add(PromptSetMemberRow, ({**row, "prompt_key": ballots.key(row["prompt"])} for row in rows))


def _put_images(to: Arrival, rows: list[Row]) -> None:
    to._add(GenerationRow, rows)
    to._add(
        ImageSourceRow,
        (
            {"generation_id": row["id"], "path": row["source_path"], "licence": row["source_licence"]}
            for row in rows
            if row["source_path"] is not None
        ),
    )
    origins.put(to.store, to.session, {row["sha256"]: row["origin"] for row in rows if row.get("origin")})
    for row in rows:
        if row["hidden"]:
            to._decide(Topic.IMAGE, row["id"], Action.HIDE)


def _put_voters(to: Arrival, rows: list[Row]) -> None:
    to._add(VoterRow, rows)
    for row in rows:
        if row["excluded"]:
            to.voter_decisions[row["id"]] = to._decide(Topic.VOTER, row["id"], Action.EXCLUDE)


def _put_battles(to: Arrival, rows: list[Row]) -> None:
    to._add(BattleRow, ({**row, "token": secrets.token_urlsafe(16)} for row in rows))
    to._add(
        SkipRow,
        (
            {"battle_id": row["id"], "voter_id": row["drawn_for"], "at": row["skipped_at"]}
            for row in rows
            if row["skipped_at"] is not None
        ),
    )
    own = [row for row in rows if row["own_counts"] is not None]
    if not own:
        return
    sides = [id for row in own for id in (row["left_id"], row["right_id"])]
    query = select(GenerationRow.id, GenerationRow.contestant_id, GenerationRow.seed).where(GenerationRow.id.in_(sides))
    made = {id: (contestant_id, seed) for id, contestant_id, seed in to.session.execute(query)}
    to._add(OwnPromptRow, (_own_prompt(row, *made[row["left_id"]], made[row["right_id"]][0]) for row in own))


def _own_prompt(row: Row, left_id: int, seed: int, right_id: int) -> Row:
    return {
        "voter_id": row["drawn_for"], "prompt_id": row["prompt_id"], "left_id": left_id, "right_id": right_id,
        "seed": seed, "policy": row["policy"], "probability": row["probability"], "counts": row["own_counts"],
        "state": "ready", "done": 2, "attempts": 1, "reason": "", "battle_id": row["id"], "at": row["at"],
        "finished_at": row["at"],
    }  # fmt: skip


def _put_ledger(to: Arrival, rows: list[Row]) -> None:
    to._add(VoteRow, rows)
    to._add(VoteTagRow, ({"vote_id": row["id"], "tag": tag, "at": row["at"]} for row in rows for tag in row["tags"]))
    excluded = [row for row in rows if row["exclusion_id"] is not None]
    to._add(
        VoteExclusionRow,
        (
            {
                "id": row["exclusion_id"], "vote_id": row["id"], "reason": row["excluded"], "at": row["excluded_at"],
                "ballot_id": row["excluded_ballot"],
            }
            for row in excluded
        ),
    )  # fmt: skip
    for row in rows:
        if row["decided"] is not None:
            by = to.voter_decisions.get(row["voter_id"]) if row["decided"] == "voter" else None
            to._decide(Topic.VOTE, row["id"], Action.EXCLUDE, **({} if by is None else {"decision": by}))


def _with_ids(to: Arrival, row: Row) -> Row:
    return {**row, "left_id": to.ids[row["model_a"]], "right_id": to.ids[row["model_b"]]}


def _put_imported(to: Arrival, rows: list[Row]) -> None:
    to._add(ImportedVoteRow, (_with_ids(to, row) for row in rows))


def _put_votes(to: Arrival, rows: list[Row]) -> None:
    to._add(
        BallotRow,
        (
            {
                **_with_ids(to, row), "outcome": ballots.OUTCOMES.index(row["outcome"]),
                "voter_key": ballots.key(row["voter"]), "prompt_key": ballots.key(row["prompt"]),
            }
            for row in rows
        ),
    )  # fmt: skip


def _put_judges(to: Arrival, rows: list[Row]) -> None:
    to._add(JudgeRow, rows)


def _put_verdicts(to: Arrival, rows: list[Row]) -> None:
    to._add(VerdictRow, rows)
    to._add(VerdictBattleRow, ({"verdict_id": row["id"], "battle_id": id} for row in rows for id in row["battles"]))


def _put_scores(to: Arrival, rows: list[Row]) -> None:
    protocols = {
        row["protocol_fingerprint"]: {
            "fingerprint": row["protocol_fingerprint"], "name": row["protocol_name"],
            "version": row["protocol_version"], "settings": row["protocol_settings"],
        }
        for row in rows
    }  # fmt: skip
    for values in protocols.values():
        insert = to.store._insert(ProtocolRow).values(**values)
        to.session.execute(insert.on_conflict_do_nothing(index_elements=["fingerprint"]))
    to._add(ScoreRow, [_with_images(row) for row in rows])


def _with_images(row: Row) -> Row:
    """The values of single images out of the details, in which they travel."""
    details = dict(row["details"])
    return {**row, "images": details.pop("images", None), "details": details}


def _put_snapshots(to: Arrival, rows: list[Row]) -> None:
    to._add(SnapshotRow, rows)


PUTS: dict[str, Callable[[Arrival, list[Row]], None]] = {
    "prompts": _put_prompts, "prompt_sets": _put_prompt_sets, "members": _put_members,
    "contestants": _put_contestants, "images": _put_images, "voters": _put_voters,
    "battles": _put_battles, "ledger": _put_ledger, "imported": _put_imported, "votes": _put_votes,
    "judges": _put_judges, "verdicts": _put_verdicts, "scores": _put_scores, "snapshots": _put_snapshots,
}  # fmt: skip
