"""What images cost while they are made: an amount is held before each, and what it came to stands in its row."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from arena.backends.base import Drawn, backend_class
from arena.backends.prices import PROVIDER, SHIPPED, Cost, Price, price_of, read_prices
from arena.domain import Contestant
from arena.errors import ArenaError
from arena.services.costs import CostAndSpeed, costs
from arena.spending import Budget

if TYPE_CHECKING:
    from PIL.Image import Image

    from arena.bootstrap import Arena

MARGIN = 1.5
"""How much dearer than the dearest one so far an image may become, where no price says it beforehand."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a contestant's missing images would take: seconds and USD, None where nothing is known.

    `seconds_source` and `usd_source` say what they are made of.
    """

    contestant: str
    images: int
    seconds: float | None
    usd: float | None
    seconds_source: str
    usd_source: str


class Account:
    """One contestant's spending within a budget that it shares with others. Used from one thread."""

    def __init__(self, contestant: Contestant, price: Price | None, usd_per_hour: float | None, budget: Budget) -> None:
        """`usd_per_hour` is what this machine costs, None unless it does the work; `price` may be None.

        `paid`: somebody else draws, or a price is known, and it is not 0. What this machine costs is no such payment.
        """
        self.price, self.usd_per_hour, self.budget = price, usd_per_hour, budget
        self.pixels = pixels_of(contestant.settings)
        here = runs_here(contestant)
        self.free = price is None and usd_per_hour is None and here
        self.paid = not here if price is None else price.at_most(1, " ") != 0.0
        self.dearest: float | None = None
        self.unknown = False

    def expected(self, prompt: str) -> float | None:
        """USD that an image costs at most; None where neither a price nor an image before says it."""
        if self.free:
            return 0.0
        stated = self.price.at_most(self.pixels, prompt) if self.price else None
        if stated is not None:
            return stated
        return None if self.dearest is None else MARGIN * self.dearest

    def hold(self, prompt: str) -> float | None:
        """Holds what an image may cost; None if that does not fit now.

        The first image of an unknown price is made alone, with all that is left.
        """
        if self.budget.limit_usd is None:
            amount = 0.0
        else:
            if self.unknown:
                return None
            expected = self.expected(prompt)
            left = self.budget.limit_usd - self.budget.spent_usd
            if expected is None and (self.budget.held or left <= 0):
                return None
            amount = left if expected is None else expected
        if not self.budget.affords(amount):
            return None
        self.budget.held.append(amount)
        return amount

    def release(self, held: float) -> None:
        self.budget.settle(held, 0.0)

    def settle(self, held: float, result: Image | Drawn | ArenaError, seconds: float) -> Cost | None:
        """What an attempt came to, instead of what was held for it; None where that is not known."""
        cost = self._cost(result, seconds)
        unpaid = isinstance(result, ArenaError) and not getattr(result, "paid", False)
        if cost is not None:
            self.dearest = max(cost.usd, self.dearest or 0.0)
        elif not unpaid and not self.free and self.budget.limit_usd is not None:
            self.unknown = self.expected("") is None
        nothing = self.free or (unpaid and cost is None) or self.budget.limit_usd is None
        self.budget.settle(held, cost.usd if cost else 0.0 if nothing else None)
        return cost

    def _cost(self, result: Image | Drawn | ArenaError, seconds: float) -> Cost | None:
        if self.usd_per_hour is not None:
            return Cost(seconds * self.usd_per_hour / 3600, f"gpu_seconds*{self.usd_per_hour:g}/h")
        if isinstance(result, ArenaError):
            return None
        image, tokens = (result.image, result.tokens) if isinstance(result, Drawn) else (result, None)
        if isinstance(result, Drawn) and result.cost_usd is not None:
            return Cost(result.cost_usd, PROVIDER)
        return self.price.of(image.width * image.height, tokens) if self.price else None

    def why_stopped(self) -> str:
        limit, spent = self.budget.limit_usd, self.budget.spent_usd
        if self.unknown:
            return (
                f"the budget of {limit:g} USD cannot be kept: nobody says what an image costs; add its price to the "
                "file that the setting prices names"
            )
        return f"the budget of {limit:g} USD: {spent:.4f} are spent, and the next image may cost more than is left"


def runs_here(contestant: Contestant) -> bool:
    """Whether this machine does the work; False for a backend that is not known."""
    try:
        return bool(getattr(backend_class(contestant.backend), "here", False))
    except ArenaError:
        return False


def pixels_of(settings: Mapping[str, Any]) -> int | None:
    """Pixels of an image of these settings (height and width, or size as 1024x768); None where they do not say."""
    size = re.fullmatch(r"(\d+)x(\d+)", str(settings.get("size")))
    width, height = size.groups() if size else (settings.get("width"), settings.get("height"))
    return int(width) * int(height) if width and height else None


def accounts(arena: Arena, contestants: Sequence[Contestant], budget: Budget) -> dict[int, Account]:
    """An account for each, by id. Raises SettingsError for a price table that cannot be used."""
    own = read_prices(arena.settings.prices) if arena.settings.prices else []
    prices = own + read_prices(SHIPPED)
    rate = arena.settings.gpu_usd_per_hour
    return {
        one.id or 0: Account(one, price_of(prices, one.backend, one.settings), rate if runs_here(one) else None, budget)
        for one in contestants
    }


def paying(arena: Arena, contestants: Sequence[Contestant]) -> list[Contestant]:
    """Those of them whose images cost money, see `Account`. Raises SettingsError for a price table."""
    held = accounts(arena, contestants, Budget())
    return [one for one in contestants if held[one.id or 0].paid]


def estimates(arena: Arena, missing: Mapping[Contestant, Sequence[str]]) -> list[Estimate]:
    """What the images of these prompts would take, contestant by contestant; nothing is loaded."""
    known = costs(arena)
    held = accounts(arena, list(missing), Budget())
    return [
        _estimate(one, prompts, known.get(one.id or 0, CostAndSpeed()), held[one.id or 0])
        for one, prompts in missing.items()
    ]


def _estimate(contestant: Contestant, prompts: Sequence[str], known: CostAndSpeed, account: Account) -> Estimate:
    each = known.median_seconds
    at_once = concurrency(contestant)
    seconds = None if each is None else each * len(prompts) / at_once
    measured = f"median of {known.timed} images" + (f", {at_once} at once" if at_once > 1 else "")
    usd, source = _usd(prompts, known, account, each)
    return Estimate(contestant.name, len(prompts), seconds, usd, measured if each is not None else "not known", source)


def _usd(
    prompts: Sequence[str], known: CostAndSpeed, account: Account, seconds: float | None
) -> tuple[float | None, str]:
    priced = [account.price.at_most(account.pixels, prompt) for prompt in prompts] if account.price else [None]
    if account.price and None not in priced:
        return sum(filter(None, priced)), f"price_table@{account.price.date}"
    if account.usd_per_hour is not None and seconds is not None:
        return len(prompts) * seconds * account.usd_per_hour / 3600, f"gpu_seconds*{account.usd_per_hour:g}/h"
    if known.images_per_usd:
        return len(prompts) / known.images_per_usd, f"mean of {known.priced} images"
    return (0.0, "this machine, no rate is set") if account.free else (None, "not known")


def concurrency(contestant: Contestant) -> int:
    """How many images of it are under way at once: as it is set, or as its backend has it."""
    try:
        parameters = inspect.signature(backend_class(contestant.backend)).parameters
    except (ArenaError, ValueError, TypeError):
        return 1
    default = parameters["concurrency"].default if "concurrency" in parameters else 1
    chosen = contestant.running.get("concurrency", default)
    return chosen if isinstance(chosen, int) else 1
