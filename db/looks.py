"""Prompts whose pictures a visitor was shown together with their makers' names."""

from __future__ import annotations

from collections.abc import Iterable

from db import statements
from db.schema import LookRow
from db.store import Store, now


def looked_at(store: Store, voter_id: str) -> set[int]:
    """The ids of the prompts."""
    with store._reading() as session:
        return {*session.scalars(statements.LOOKED_AT, {"voter_id": voter_id})}


def note(store: Store, voter_id: str, prompt_ids: Iterable[int]) -> None:
    """Remember that the visitor is shown these prompts; what is remembered already costs no write."""
    new = {*prompt_ids} - looked_at(store, voter_id)
    if new:
        rows = [{"voter_id": voter_id, "prompt_id": id, "at": now()} for id in sorted(new)]
        with store._writing() as session:
            session.execute(store._insert(LookRow).on_conflict_do_nothing(), rows)
