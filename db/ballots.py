"""Ballots: the votes that count, flattened for the rating systems. Derived; `fill` makes them from the ledger."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Connection, text

from arena.domain import PEOPLE, Outcome

OUTCOMES = tuple(Outcome)
"""An outcome's position here is its number in a ballot."""
UNKNOWN_KEY = -1
PART = 10_000


def key(name: str | None) -> int:
    """A number in [0, 2^62) for a voter's id or a prompt's text, the same on every machine; -1 for none."""
    if name is None:
        return UNKNOWN_KEY
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8]) >> 2


def fill(connection: Connection) -> None:
    """Writes a ballot for every vote that is not excluded, in the order of the ledger."""
    votes = connection.execute(
        text(
            f"SELECT CASE voters.kind WHEN 'person' THEN '{PEOPLE}' ELSE voters.id END, votes.id, votes.voter_id, "
            "votes.outcome, votes.at, battles.probability, prompts.text, prompts.category, "
            "l.contestant_id, r.contestant_id FROM votes "
            "JOIN battles ON battles.id = votes.battle_id JOIN prompts ON prompts.id = battles.prompt_id "
            "JOIN generations l ON l.id = battles.left_id JOIN generations r ON r.id = battles.right_id "
            "JOIN voters ON voters.id = votes.voter_id "
            "WHERE NOT EXISTS (SELECT 1 FROM vote_exclusions e WHERE e.vote_id = votes.id) ORDER BY votes.id"
        )
    )
    names = (
        "board", "vote_id", "voter_key", "outcome", "at", "probability", "prompt_key", "category",
        "left_id", "right_id",
    )  # fmt: skip
    write = text(
        f"INSERT INTO ballots (count, {', '.join(names)}) VALUES (1, {', '.join(':' + name for name in names)})"
    )
    for part in votes.partitions(PART):
        connection.execute(write, [_flat(dict(zip(names, row, strict=True))) for row in part])


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    values["outcome"] = OUTCOMES.index(Outcome(values["outcome"]))
    values["voter_key"], values["prompt_key"] = key(values["voter_key"]), key(values["prompt_key"])
    return values
