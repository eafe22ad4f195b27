"""The database: migrations, refusals, the append-only ledger."""

from __future__ import annotations

import sqlite3
import sys
import tomllib
import traceback
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from arena.bootstrap import Arena, open_arena
from arena.domain import Prompt
from arena.errors import DatabaseError, DatabaseTooNew
from arena.services import battles
from arena.settings import Settings, load_settings
from db import blobs
from db import engine as engines
from db.schema import Base
from tests.conftest import fill_with_swatches


def test_migrations_make_exactly_the_schema(any_arena: Arena) -> None:
    with any_arena.store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrations_go_down_and_up_again(any_arena: Arena) -> None:
    engine = any_arena.store.engine
    with engines.rebuilding(engine) as connection:
        command.downgrade(engines.alembic_config(connection), "base")
    assert engines.revision(engine) is None
    engines.migrate(engine)
    assert engines.revision(engine) == engines.HEAD


def test_a_prompt_of_any_length_is_stored_once(any_arena: Arena) -> None:
    """PostgreSQL's indexes hold 2,704 bytes of a text: these are letters that nothing packs into fewer."""
    letters = Random(0)
    long = Prompt("".join(chr(letters.randrange(0x4E00, 0x9FA5)) for _ in range(10_000)), "cards")
    [first] = any_arena.store.add_prompts([long])
    [again, other] = any_arena.store.add_prompts([long, replace(long, text=long.text[:-1])])
    assert again == first and other.id != first.id
    assert {prompt.text for prompt in any_arena.store.prompts()} == {long.text, long.text[:-1]}


def test_migrating_twice_changes_nothing(seeded: Arena, settings: Settings) -> None:
    before = seeded.store.contestants()
    again = open_arena(settings, prepare=True)
    assert again.store.contestants() == before
    assert again.secret == seeded.secret


@pytest.mark.parametrize("statement", ["UPDATE votes SET outcome = 'tie'", "DELETE FROM votes"])
def test_the_database_refuses_to_change_a_vote(any_arena: Arena, statement: str) -> None:
    fill_with_swatches(any_arena, prompts=1, contestants=2)
    [battle] = battles.open_battles(any_arena, "person:x", n=1)
    battles.vote(any_arena, "person:x", battle.token, "left")
    with pytest.raises(DBAPIError, match="append-only"), any_arena.store.engine.connect() as connection:
        connection.execute(text(statement))
    assert [vote.outcome.value for vote in any_arena.store.votes()] == ["left"]


def test_a_database_of_a_newer_version_is_refused(arena: Arena, settings: Settings) -> None:
    with sqlite3.connect(settings.data_dir / "arena.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    for prepare in (False, True):
        with pytest.raises(DatabaseTooNew, match=r"'9999', which this version does not know; upgrade the arena"):
            open_arena(settings, prepare=prepare)


def test_a_missing_database_says_to_init(tmp_path: Path) -> None:
    tmp_path.joinpath("data").mkdir()
    with pytest.raises(DatabaseError, match="is empty; run `arena init`"):
        open_arena(load_settings(data_dir=tmp_path / "data"))


def test_a_file_that_is_no_database_is_refused(settings: Settings) -> None:
    settings.data_dir.mkdir()
    (settings.data_dir / "arena.sqlite").write_text("these are not the tables you are looking for" * 100)
    with pytest.raises(DatabaseError, match="cannot be opened"):
        open_arena(settings, prepare=True)


def test_an_unknown_database_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="'oracel://x' cannot be used"):
        open_arena(load_settings(data_dir=tmp_path, database_url="oracel://x"), prepare=True)


def test_a_password_is_never_shown() -> None:
    assert "secret" not in engines.shown(engines.open_engine("postgresql://arena:secret@localhost/x"))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql+psycopg2://arena:hunter2@host/x", r"its driver 'psycopg2' is not installed\); get one by"),
        ("postgresql+nothing://arena:hunter2@host/x", "no kind of database 'postgresql\\+nothing'"),
        ("mysql://arena:hunter2@host/x", r"'MySQLdb' is not installed\); use sqlite:///FILE or postgresql://"),
        ("oracel://arena:hunter2@host/x?password=hunter2", "no kind of database 'oracel'"),
        ("postgresql://arena:hunter2@host:port/x", "its port is no number"),
        ("postgresql://arena:@hunter2:x/y@host:5432/x", "in a password @ is %40"),
        ("postgresql://arena:5/hunter2@host:x/x", "its port is no number"),
        ("postgresql:arena:hunter2@host/x", "it is no URL"),
        ("sqlite://arena:hunter2@host/x", "use sqlite:///FILE"),
        ("postgresql://arena:hunter2@[::1/x", "its port is no number"),
    ],
)
def test_a_url_that_cannot_be_used_is_one_sentence_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(DatabaseError, match=reason) as told:
        engines.open_engine(url)
    assert "hunter2" not in "".join(traceback.format_exception(told.value)).replace(url, "")
    assert "\n" not in str(told.value) and "hunter2" not in str(told.value)


def test_a_missing_driver_is_said_with_the_line_that_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DatabaseError, match=r"`pip install 'psycopg\[binary\]>=3.3'`") as told:
        engines.open_engine("postgresql://arena:hunter2@host/x")
    assert "'postgresql://arena:***@host/x'" in str(told.value)


def test_a_password_among_the_parameters_is_not_shown() -> None:
    engine = engines.open_engine("postgresql://arena@localhost/x?password=hunter2&sslmode=disable")
    assert engines.shown(engine) == "'postgresql://arena@localhost/x?password=***&sslmode=disable'"


def test_the_line_for_the_driver_is_the_extras_own() -> None:
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    [postgres], [s3] = (extras["optional-dependencies"][name] for name in ("postgres", "s3"))
    assert f"`pip install '{postgres}'`" == engines.DRIVER and s3 in blobs.PACKAGES["s3"]


def test_sqlite_runs_in_wal_and_writers_begin_immediate(arena: Arena) -> None:
    with arena.store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    with arena.store._writing() as session:
        session.connection()  # nothing written yet, and still a second writer must wait
        other = sqlite3.connect(arena.settings.data_dir / "arena.sqlite", timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_the_revision_of_the_code_is_the_last_migration() -> None:
    from alembic.script import ScriptDirectory

    assert ScriptDirectory.from_config(engines.alembic_config()).get_current_head() == engines.HEAD
