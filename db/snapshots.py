"""Snapshots of boards: what was published once and never changes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import func, select

from db.schema import SnapshotRow
from db.store import Store, now


class Snapshot(NamedTuple):
    """`recipe`: everything that the numbers are a function of. `content`: the numbers, plain JSON."""

    id: str
    recipe: Mapping[str, Any]
    content: Mapping[str, Any]
    at: datetime


def add(store: Store, id: str, recipe: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Keep a snapshot; the one that has this id already stays as it is."""
    packed = zlib.compress(json.dumps(content, ensure_ascii=False).encode())
    with store._writing() as session:
        session.execute(
            store._insert(SnapshotRow)
            .values(id=id, recipe=dict(recipe), content=packed, at=now())
            .on_conflict_do_nothing(index_elements=["id"])
        )


def snapshot(store: Store, id: str) -> Snapshot | None:
    with store._reading() as session:
        row = session.get(SnapshotRow, id)
        return row and Snapshot(row.id, row.recipe, json.loads(zlib.decompress(row.content)), row.at)


def made_since(store: Store, ago: timedelta) -> int:
    """How many were made within a time."""
    with store._reading() as session:
        return session.scalar(select(func.count()).where(SnapshotRow.at > now() - ago)) or 0
