"""Votes are append-only: the database itself refuses to change or delete one."""

from __future__ import annotations

LEDGER = ("votes", "vote_exclusions")
LATER = ("imported_votes",)
VERDICTS = ("judges", "verdicts", "verdict_battles")
DECISIONS = ("decisions", "erased_voters")
SNAPSHOTS = ("snapshots",)
VOTING = ("reports", "vote_tags", "named_battles", "named_votes")
"""Ledgers of later migrations, on PostgreSQL guarded by the function that the first one made."""


def guard(dialect: str, tables: tuple[str, ...]) -> list[str]:
    """The statements that make tables append-only on this dialect ("sqlite" or "postgresql")."""
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            for table in tables
            for verb in ("UPDATE", "DELETE")
        ]
    return [
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()"
        for table in tables
    ]


def create(dialect: str) -> list[str]:
    """The statements of the first migration."""
    if dialect == "sqlite":
        return guard(dialect, LEDGER)
    return [
        "CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$",
        *guard(dialect, LEDGER),
    ]


def drop(dialect: str) -> list[str]:
    """The statements that undo `create`."""
    if dialect == "sqlite":
        return [f"DROP TRIGGER {table}_no_{verb}" for table in LEDGER for verb in ("update", "delete")]
    return [
        *(f"DROP TRIGGER {table}_append_only ON {table}" for table in LEDGER),
        "DROP FUNCTION ledger_is_append_only()",
    ]
