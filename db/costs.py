"""What a contestant's images took and cost, added up in SQL."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Select, func, select

from db.schema import GenerationRow
from db.store import Store


class Spent(NamedTuple):
    """Images of one contestant whose cost is known in one way: how many, their megapixels (10^6), and USD."""

    contestant_id: int
    source: str
    images: int
    megapixels: float
    usd: float


def spent(store: Store) -> list[Spent]:
    """Of every contestant and source of cost; images whose cost is not known are in none of them."""
    megapixels = func.sum(1e-6 * GenerationRow.width * GenerationRow.height)
    query = (
        select(
            GenerationRow.contestant_id, GenerationRow.cost_source, func.count(), megapixels,
            func.sum(GenerationRow.cost_usd),
        )
        .where(GenerationRow.sha256.is_not(None), GenerationRow.cost_usd.is_not(None))
        .group_by(GenerationRow.contestant_id, GenerationRow.cost_source)
        .order_by(GenerationRow.contestant_id, GenerationRow.cost_source)
    )  # fmt: skip
    with store._reading() as session:
        return [Spent(id, source, n, float(mp), float(usd)) for id, source, n, mp, usd in session.execute(query)]


def images(store: Store) -> dict[int, int]:
    """How many images each contestant has."""
    query = (
        select(GenerationRow.contestant_id, func.count())
        .where(GenerationRow.sha256.is_not(None))
        .group_by(GenerationRow.contestant_id)
    )
    with store._reading() as session:
        return {id: int(n) for id, n in session.execute(query)}


def median_seconds(store: Store) -> dict[int, tuple[float, int]]:
    """Contestant id -> median seconds of its timed images, and how many these are."""
    with store._reading() as session:
        return {id: (float(median), n) for id, median, n in session.execute(_medians())}


def _medians() -> Select[tuple[int, float, int]]:
    """The middle one of each contestant's seconds, or the mean of the middle two."""
    of_contestant = {"partition_by": GenerationRow.contestant_id}
    ranked = (
        select(
            GenerationRow.contestant_id,
            GenerationRow.seconds,
            func.row_number().over(order_by=GenerationRow.seconds, **of_contestant).label("place"),
            func.count().over(**of_contestant).label("n"),
        )
        .where(GenerationRow.sha256.is_not(None), GenerationRow.seconds.is_not(None))
        .subquery()
    )
    place, n = ranked.c.place, ranked.c.n
    return (
        select(ranked.c.contestant_id, func.avg(ranked.c.seconds), func.max(n))
        .where(2 * place >= n, 2 * place <= n + 2)
        .group_by(ranked.c.contestant_id)
    )
