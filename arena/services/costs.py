"""Cost and speed of every contestant, for the board's columns and for who must choose one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from db import costs as stored

if TYPE_CHECKING:
    from arena.bootstrap import Arena


@dataclass(frozen=True, slots=True)
class CostAndSpeed:
    """What a contestant's images took and cost; None where nothing is known, which is not 0.

    `median_seconds` of `timed` images, one by one or as their share of a batch. Costs are those of `priced` images out
    of all `images`: USD per megapixel (10^6 pixels) is their sum over the sum of their megapixels, `images_per_usd` is
    `priced` over their sum. `sources` says how these costs are known: source -> number of images, see
    `Generation.cost_source`. Attempts that failed count nowhere here.
    """

    images: int = 0
    median_seconds: float | None = None
    timed: int = 0
    usd_per_megapixel: float | None = None
    images_per_usd: float | None = None
    priced: int = 0
    sources: Mapping[str, int] = field(default_factory=dict)


def costs(arena: Arena) -> dict[int, CostAndSpeed]:
    """`costs(arena) -> {contestant id: CostAndSpeed}`, every contestant that has an image.

    Three GROUP BY queries over the generations: cheap enough for a page. The board shows seconds, USD per megapixel and
    images per USD as columns; `arena contestants list` shows n and source beside them.
    """
    medians, spent = stored.median_seconds(arena.store), stored.spent(arena.store)
    return {
        id: _of(n, *medians.get(id, (None, 0)), [row for row in spent if row.contestant_id == id])
        for id, n in stored.images(arena.store).items()
    }


def _of(images: int, median: float | None, timed: int, spent: list[stored.Spent]) -> CostAndSpeed:
    usd, megapixels = sum(row.usd for row in spent), sum(row.megapixels for row in spent)
    priced = sum(row.images for row in spent)
    return CostAndSpeed(
        images=images,
        median_seconds=median,
        timed=timed,
        usd_per_megapixel=usd / megapixels if priced else None,
        images_per_usd=priced / usd if usd else None,
        priced=priced,
        sources={row.source: row.images for row in spent},
    )
