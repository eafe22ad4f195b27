"""What visitors' own prompts may cost: nothing, or no more than the day's limit in USD that a setting gives.

A day is one of UTC. An attempt whose cost is not known counts as dear as an image may become, and a contestant of which
nobody says beforehand what an image costs draws no own prompts at all, so the limit holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from arena.domain import Contestant
from arena.services import accounts as accounting
from arena.services.accounts import Account
from arena.services.costs import costs
from arena.spending import Budget
from db import costs as stored

if TYPE_CHECKING:
    from arena.bootstrap import Arena

NEVER = "Models that cost money do not draw visitors' prompts here."
SPENT = "Today's budget for models that cost money is spent; they draw again tomorrow (UTC)."


@dataclass(frozen=True, slots=True)
class Allowed:
    """`able` may draw an own prompt now; `sentence` tells a visitor why others may not, "" where all may."""

    able: tuple[Contestant, ...]
    sentence: str = ""


def allowed(arena: Arena, contestants: Sequence[Contestant], now: datetime | None = None) -> Allowed:
    """Which of the contestants may draw an own prompt of any length now."""
    paying = {one.id for one in accounting.paying(arena, contestants)}
    free = tuple(one for one in contestants if one.id not in paying)
    if len(free) == len(contestants):
        return Allowed(free)
    if not arena.settings.own_prompts_usd_per_day:
        return Allowed(free, NEVER)
    dearest = {one.id: _dearest(arena, one) for one in contestants if one.id in paying}
    left = left_today(arena, now)
    able = tuple(
        one for one in contestants if one.id not in paying or ((usd := dearest[one.id]) is not None and usd <= left)
    )
    spent = any(usd is not None and usd > left for usd in dearest.values())
    return Allowed(able, "" if len(able) == len(contestants) else SPENT if spent else NEVER)


def budget(arena: Arena, contestant: Contestant, now: datetime | None = None) -> Budget | None:
    """Within which the contestant draws one own prompt; None where it may not, any more."""
    if not accounting.paying(arena, [contestant]):
        return Budget()
    return Budget(left_today(arena, now)) if allowed(arena, [contestant], now).able else None


def left_today(arena: Arena, now: datetime | None = None) -> float:
    """USD of the day's limit that are left; 0 or less where it is spent or none is set."""
    midnight = (now or datetime.now(UTC)).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    drawn = {one.contestant_id: one for one in stored.on_own_prompts(arena.store, midnight)}
    spent = 0.0
    for one in accounting.paying(arena, [one for one in arena.store.contestants() if one.id in drawn]):
        found = drawn[one.id or 0]
        spent += found.usd + found.unknown * (_dearest(arena, one) or 0.0)
    return (arena.settings.own_prompts_usd_per_day or 0.0) - spent


def _dearest(arena: Arena, contestant: Contestant) -> float | None:
    """USD that an image for the longest own prompt may cost: by its price, or by what its images cost so far."""
    account: Account = accounting.accounts(arena, [contestant], Budget())[contestant.id or 0]
    known = costs(arena).get(contestant.id or 0)
    if known is not None and known.images_per_usd:
        account.dearest = 1 / known.images_per_usd
    return account.expected("\N{BEAR FACE}" * arena.settings.own_prompts_longest)
