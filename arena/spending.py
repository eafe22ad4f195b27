"""A limit in USD that is never overspent: an amount is held before it may be spent, and settled afterwards."""

from __future__ import annotations

import math


class Budget:
    """What may still be spent, in USD; `limit_usd` None is no limit.

    `spent_usd` counts what is known to be spent, and what was held where the true cost is not known.
    """

    def __init__(self, limit_usd: float | None = None) -> None:
        if limit_usd is not None and not (math.isfinite(limit_usd) and limit_usd > 0):
            raise ValueError(f"a spend limit is more than 0 USD, got {limit_usd!r}; leave it out for no limit")
        self.limit_usd = limit_usd
        self.spent_usd = 0.0
        self.held: list[float] = []

    def affords(self, usd: float) -> bool:
        """Whether so much more fits below the limit, beside what is spent and held."""
        return self.limit_usd is None or self.spent_usd + sum(self.held) + usd <= self.limit_usd

    def settle(self, held_usd: float, cost_usd: float | None) -> None:
        """Replaces an amount that was held by what it came to; None: not known, so all of it counts as spent."""
        self.held.remove(held_usd)
        self.spent_usd += held_usd if cost_usd is None else cost_usd
