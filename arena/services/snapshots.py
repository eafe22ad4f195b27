"""Snapshots: the board of a moment under an address of its own, whatever votes come later.

The numbers are a function of the recipe: the ledger up to a vote, how many votes were excluded by then, the filter, and
the parameters of the rating. The recipe's hash is the snapshot's id, so that the same board has one address however
often it is kept. The numbers are stored with it: votes that are excluded later change today's board and no snapshot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from arena.domain import fingerprint
from arena.errors import UsageError
from arena.services.board_table import FORMAT, Table
from db import snapshots as stored

if TYPE_CHECKING:
    from arena.bootstrap import Arena

ID = re.compile(r"[0-9a-f]{16}")
PERIOD, MOST = timedelta(days=1), 200
"""So many snapshots may be made in this time, so that strangers cannot fill the disk."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A table as it was at a time (UTC)."""

    id: str
    table: Table
    at: datetime


def recipe(arena: Arena, table: Table) -> dict[str, Any]:
    """Everything that the numbers of a table are a function of."""
    about = table.about
    rest = ("last_vote_id", "view", "since", "until", "system", "parameters", "provisional_below", "k_factor")
    return {
        "format": FORMAT,
        **{name: about[name] for name in rest},
        "exclusions": arena.store.newest()[1],
        "contestants": sorted(row["name"] for row in table.rows),
        "figures": fingerprint(figures=[*table.figures], values=[row["figures"] for row in table.rows]),
    }


def keep(arena: Arena, table: Table) -> str:
    """The id under which the table can be opened from now on.

    Raises UsageError where too many were kept today.
    """
    made_from = recipe(arena, table)
    id = fingerprint(**made_from)[:16]
    if stored.snapshot(arena.store, id) is None:
        if stored.made_since(arena.store, PERIOD) >= MOST:
            raise UsageError(f"{MOST} snapshots were kept in the last 24 hours, which is the most; try again tomorrow.")
        stored.add(arena.store, id, made_from, table.as_json())
    return id


def opened(arena: Arena, id: str) -> Snapshot:
    """Raises UsageError for an id that no snapshot has."""
    found = stored.snapshot(arena.store, id) if ID.fullmatch(id) else None
    if found is None:
        raise UsageError(f"There is no snapshot {id[:40]!r}; check the address, or open the leaderboard as it is now.")
    return Snapshot(found.id, Table.of_json(found.content), found.at)
