"""What a contestant's images took and cost, added up in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Select, exists, func, or_, select

from db.schema import GenerationRow, OwnPromptRow
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


def between(store: Store, contestant_ids: Sequence[int], since: datetime, until: datetime | None) -> float:
    """USD that attempts of these contestants cost in this time, as far as it is known; `until` None is now."""
    query = select(func.coalesce(func.sum(GenerationRow.cost_usd), 0.0)).where(
        GenerationRow.contestant_id.in_(contestant_ids), GenerationRow.at >= since
    )
    if until is not None:
        query = query.where(GenerationRow.at <= until)
    with store._reading() as session:
        return float(session.scalar(query) or 0.0)


class Drawn(NamedTuple):
    """Attempts of one contestant at own prompts: how many, those of unknown cost among them, and USD of the others."""

    contestant_id: int
    attempts: int
    unknown: int
    usd: float


def on_own_prompts(store: Store, since: datetime) -> list[Drawn]:
    """What each contestant drew for voters' own prompts since then."""
    asked = exists().where(
        OwnPromptRow.prompt_id == GenerationRow.prompt_id, OwnPromptRow.seed == GenerationRow.seed,
        or_(
            OwnPromptRow.left_id == GenerationRow.contestant_id, OwnPromptRow.right_id == GenerationRow.contestant_id
        ),
    )  # fmt: skip
    query = (
        select(
            GenerationRow.contestant_id, func.count(), func.count(GenerationRow.cost_usd),
            func.coalesce(func.sum(GenerationRow.cost_usd), 0.0),
        )
        .where(GenerationRow.at >= since, asked)
        .group_by(GenerationRow.contestant_id)
    )  # fmt: skip
    with store._reading() as session:
        return [Drawn(id, n, n - known, float(usd)) for id, n, known, usd in session.execute(query)]


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
