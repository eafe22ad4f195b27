"""What judging costs, and a limit that is never overspent: an amount is held before a question is sent."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from arena import spending


@dataclass(frozen=True)
class Usage:
    """Tokens of one question and its answer, and what the endpoint says that it cost, in USD."""

    input_tokens: int
    output_tokens: int
    cost_usd: float | None = None


@dataclass(frozen=True)
class Prices:
    """USD for a million tokens, as price lists give them."""

    input: float
    output: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(price) and price >= 0 for price in (self.input, self.output)):
            raise ValueError(f"prices are USD for a million tokens, 0 or more, got {self.input!r} and {self.output!r}")

    def of(self, input_tokens: float, output_tokens: float) -> float:
        """USD."""
        return (self.input * input_tokens + self.output * output_tokens) / 1e6


def cost(usage: Usage | None, prices: Prices | None) -> float | None:
    """USD: what the endpoint says itself, or else tokens times prices; None where neither is known."""
    if usage is None:
        return None
    if usage.cost_usd is not None:
        return usage.cost_usd
    return None if prices is None else prices.of(usage.input_tokens, usage.output_tokens)


class Budget(spending.Budget):
    """One whose holders wait for others to settle. Used in one event loop at a time."""

    def __init__(self, limit_usd: float | None = None) -> None:
        super().__init__(limit_usd)
        self._waiting: list[asyncio.Future[None]] = []

    async def hold(self, most_usd: float) -> bool:
        """Holds an amount, if need be after others are settled; False if it can never be afforded."""
        while not self.affords(most_usd):
            if not self.held:
                return False
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        self.held.append(most_usd)
        return True

    def settle(self, held_usd: float, cost_usd: float | None) -> None:
        super().settle(held_usd, cost_usd)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
