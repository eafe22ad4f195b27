"""Ballots are the ledger, flattened: the same whether written with the votes or made from them again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from alembic import command
from sqlalchemy import select

from arena.bootstrap import Arena
from arena.domain import Outcome, VoteFilter, VoterKind
from arena.services import battles
from db import ballots
from db import engine as engines
from db.schema import BallotRow
from tests.conftest import fill_with_swatches


def flat(arena: Arena) -> list[tuple]:
    """Every ballot without its number."""
    columns = [column for column in BallotRow.__table__.columns if column.name != "id"]
    with arena.store.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(*columns).order_by(BallotRow.id))]


def vote_some(arena: Arena) -> None:
    fill_with_swatches(arena)
    arena.store.add_voter("judge:x@1", VoterKind.JUDGE)
    for voter in ("person:a", "person:b", "judge:x@1"):
        for battle, outcome in zip(battles.open_battles(arena, voter, n=8), [*Outcome] * 2, strict=True):
            battles.vote(arena, voter, battle.token, outcome)
    arena.store.exclude_vote(3, "a test")


def test_a_database_of_the_first_version_gets_the_ballots_that_would_have_been_written(any_arena: Arena) -> None:
    vote_some(any_arena)
    written, engine = flat(any_arena), any_arena.store.engine
    with engines.rebuilding(engine) as connection:
        command.downgrade(engines.alembic_config(connection), "0001")
    engines.migrate(engine)
    assert flat(any_arena) == written and len(written) == 3 * 8 - 1
    assert {row[0] for row in written} == {"people", "judge:x@1"}


def test_counts_are_the_ledgers(any_arena: Arena) -> None:
    vote_some(any_arena)
    found = any_arena.store.counts(VoteFilter())
    assert found.count.sum() == 15 and len(np.unique(found.cluster)) == 2
    plain = any_arena.store.counts(VoteFilter(), cluster=None)
    pairs = {(p.left_id, p.right_id, p.outcome) for p in any_arena.store.voted_pairs()}
    assert plain.count.sum() == 15 and plain.cluster is None
    columns = (plain.left_id, plain.right_id, plain.outcome)
    assert {(a, b, ballots.OUTCOMES[o]) for a, b, o in zip(*map(np.ndarray.tolist, columns), strict=True)} == pairs


def test_filters_let_through_what_they_say(any_arena: Arena) -> None:
    vote_some(any_arena)
    store = any_arena.store

    def votes(**filters) -> int:  # type: ignore[no-untyped-def]
        return int(store.counts(VoteFilter(**filters), cluster="prompt").count.sum())

    soon = datetime.now(UTC) + timedelta(hours=1)
    assert votes(category="cards") + votes(category="colour") == 15
    assert votes(since=soon) == 0 and votes(until=soon) == 15
    assert votes(board="judge:x@1") == 8 and votes(board="nobody") == 0
    first = store.voted_pairs()[4].vote_id
    assert votes(up_to=first) == 5


def test_a_key_is_the_same_everywhere() -> None:
    assert ballots.key("person:a") == 695821855613937806
    assert ballots.key(None) == -1 and ballots.key("a") != ballots.key("b")


def test_categories_and_judges_are_those_of_the_ballots_there_are(any_arena: Arena) -> None:
    """What was read of the ballots stays known; a vote that comes or stops counting changes it."""
    store = any_arena.store
    assert store.categories() == [] and store.judges() == []
    vote_some(any_arena)
    assert store.categories() == ["cards", "colour"] and store.judges() == ["judge:x@1"]
    store.add_voter("judge:y@1", VoterKind.JUDGE)
    [battle] = battles.open_battles(any_arena, "judge:y@1", n=1)
    battles.vote(any_arena, "judge:y@1", battle.token, Outcome.LEFT)
    assert store.judges() == ["judge:x@1", "judge:y@1"]
    store.exclude_vote(store.votes("judge:y@1")[0].id, "a test")
    assert store.judges() == ["judge:x@1"]
