"""The votes that count on a board as columns: every fact that a filter may ask for, once, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, case, cast, extract, func, literal, select

from db.schema import BallotRow
from db.statements import looked_up_by_id
from db.store import Store, _integers

NEVER = -(1 << 62)
"""The time of a vote that says none."""


class Columns(NamedTuple):
    """Votes (n,) in the order in which they began to count.

    `ballot`: the vote's number. `left_id`, `right_id`: contestants. `outcome`: position in `Outcome`. `category`:
    position in the categories asked for, -1 for another. `voter_key`: a number for the voter, -1 where unknown. `at`:
    seconds since 1970, rounded down, `NEVER` where unknown.
    """

    ballot: NDArray[np.int64]
    left_id: NDArray[np.int32]
    right_id: NDArray[np.int32]
    outcome: NDArray[np.int8]
    count: NDArray[np.int32]
    category: NDArray[np.int16]
    voter_key: NDArray[np.int64]
    at: NDArray[np.int64]

    @classmethod
    def of(cls, rows: NDArray[np.int64]) -> Columns:
        kinds = (np.int64, np.int32, np.int32, np.int8, np.int32, np.int16, np.int64, np.int64)
        return cls(*(column.astype(kind) for column, kind in zip(rows.T, kinds, strict=True)))

    def followed_by(self, later: Columns) -> Columns:
        """These votes, and then the later ones."""
        return Columns(*(np.append(one, other) for one, other in zip(self, later, strict=True)))


def columns(store: Store, board: str, categories: Sequence[str], after: int = 0, up_to: int | None = None) -> Columns:
    """The votes that count on a board, from the one after `after` up to `up_to`."""
    places = {name: place for place, name in enumerate(categories)}
    category = case(places, value=BallotRow.category, else_=-1) if places else literal(-1)
    whole = store.engine.dialect.name == "sqlite"  # its seconds are whole; a cast elsewhere would round to the nearest
    at = BallotRow.at if whole else func.date_trunc("second", BallotRow.at)
    time = func.coalesce(cast(extract("epoch", at), BigInteger), NEVER)
    query = (
        select(
            BallotRow.id, BallotRow.left_id, BallotRow.right_id, BallotRow.outcome, BallotRow.count, category,
            BallotRow.voter_key, time,
        )
        .where((looked_up_by_id(BallotRow.board) if after else BallotRow.board) == board, BallotRow.id > after)
        .order_by(BallotRow.id)
    )  # fmt: skip
    if up_to is not None:
        query = query.where(BallotRow.id <= up_to)
    with store._reading() as session:
        return Columns.of(_integers(session, query, len(Columns._fields)))
