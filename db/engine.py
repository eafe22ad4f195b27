"""Engines: how the database is opened, and which revision it must have.

SQLite runs in WAL; a session that writes begins IMMEDIATE, because a deferred transaction that reads and then
writes fails at once with "database is locked" when another process wrote in between (busy_timeout does not help).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from arena.errors import DatabaseError, DatabaseTooNew
from arena.keys import struck

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0012"
"""The revision this version of the code works with; Alembic, slow to import, is needed to reach another one only."""
MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 30
MAPPED_BYTES = 1 << 26
"""Read through the page cache instead of copies: a board of a million votes starts a third of a second sooner."""
WRITES = "arena_writes"
FORMS = "use sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME"
DRIVER = "`pip install 'psycopg[binary]>=3.3'`"


def open_engine(url: str) -> Engine:
    """An engine for the URL; raises DatabaseError when the URL or its file cannot be used. Connects to nothing yet.

    No message holds a password, so none of the libraries' own words are in one.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite_engine(url, parsed.database)
        return create_engine(url, pool_pre_ping=True)
    except NoSuchModuleError as error:
        kind = url.partition("://")[0]
        reason, what = f"there is no kind of database {kind!r}", FORMS
        raise DatabaseError(_unusable_url(url, reason, what)) from error
    except ImportError as error:
        reason, what = f"its driver {error.name or 'psycopg'!r} is not installed", FORMS
        if parsed.get_backend_name() == "postgresql":
            what = f"get one by {DRIVER}, and let the URL begin with postgresql://"
        raise DatabaseError(_unusable_url(url, reason, what)) from error
    except (ArgumentError, ValueError, TypeError):
        # What they say may quote the password, and so would their traceback.
        reason = "it is no URL, or its port is no number; in a password @ is %40, : is %3A and / is %2F"
        raise DatabaseError(_unusable_url(url, reason, FORMS)) from None


def _unusable_url(url: str, reason: str, what: str) -> str:
    return f"The database URL {_without_password(url)!r} cannot be used ({reason}); {what}."


def _without_password(url: str) -> str:
    kind, mark, rest = url.partition("://")
    if not mark:
        return "(not shown)" if "@" in url else url
    account, at, place = rest.rpartition("@")
    user = account.partition(":")[0] + (":***" if ":" in account else "")
    return f"{kind}://{user}{at}" + struck(f"://{place}", "***").removeprefix("://")


def _sqlite_engine(url: str, file: str | None) -> Engine:
    if file and file != ":memory:":
        folder = Path(file).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(
                f"The folder {str(folder)!r} cannot be made ({error.strerror}); choose another data_dir."
            ) from error
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver's own BEGIN is deferred; we send ours.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=NORMAL",
            f"busy_timeout={BUSY_SECONDS * 1000}",
            "foreign_keys=ON",
            f"mmap_size={MAPPED_BYTES}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def alembic_config(connection: Connection | None = None) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def revision(engine: Engine) -> str | None:
    """The revision the database is at; None for an empty one."""
    with connecting(engine), engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.scalar(text("SELECT version_num FROM alembic_version"))


def migrate(engine: Engine) -> None:
    """Bring the database to this version's revision; nothing is lost. Raises DatabaseTooNew for a newer one."""
    found = revision(engine)
    if found == HEAD:
        return
    from alembic import command

    _refuse_unknown(engine, found)
    with connecting(engine), rebuilding(engine) as connection:
        command.upgrade(alembic_config(connection), "head")


@contextmanager
def rebuilding(engine: Engine) -> Iterator[Connection]:
    """A transaction in which tables may be made anew. SQLite cannot change a column: a new table takes the place of the
    old one, and must not take with it what refers to the old one (https://sqlite.org/lang_altertable.html)."""
    with engine.connect().execution_options(**{WRITES: True}) as connection:
        if engine.dialect.name != "sqlite":
            with connection.begin():
                yield connection
            return
        driver = connection.connection.driver_connection
        driver.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                yield connection
                if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                    raise DatabaseError(
                        f"The database {shown(engine)} has a row in {broken[0]!r} that refers to one which is not "
                        f"there in {broken[2]!r}; restore it from a backup."
                    )
        finally:
            driver.execute("PRAGMA foreign_keys=ON")


def check(engine: Engine) -> None:
    """Raises DatabaseError unless the database is at this version's revision."""
    found = revision(engine)
    if found == HEAD:
        return
    _refuse_unknown(engine, found)
    state = "is empty" if found is None else f"is at revision {found}, older than {HEAD}"
    raise DatabaseError(f"The database {shown(engine)} {state}; run `arena init` to prepare it.")


def _refuse_unknown(engine: Engine, found: str | None) -> None:
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}
    if found is not None and found not in known:
        raise DatabaseTooNew(
            f"The database {shown(engine)} is at revision {found!r}, which this version does not know; "
            "upgrade the arena, or point database_url at another database."
        )


def shown(engine: Engine) -> str:
    """The database's URL without its password."""
    return repr(_without_password(engine.url.render_as_string(hide_password=True)))


class connecting:
    """Turns the driver's failure to open the database into one sentence."""

    def __init__(self, engine: Engine):
        self.engine = engine

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if (isinstance(error, DBAPIError) and error.statement is None) or _unusable(error):
            reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
            raise DatabaseError(
                f"The database {shown(self.engine)} cannot be opened ({reason}); "
                "check that the file or server exists and may be written."
            ) from error


def _unusable(error: BaseException | None) -> bool:
    text = str(getattr(error, "orig", ""))
    return any(sign in text for sign in ("unable to open", "readonly database", "not a database", "malformed"))
