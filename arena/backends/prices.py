"""What an image costs: a dated table of prices, and the four ways in which a cost can be known."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from arena.errors import SettingsError

SHIPPED = Path(__file__).parent / "prices.toml"
PROVIDER = "provider"
"""The source of a cost that the answer itself states."""


class Tokens(NamedTuple):
    """Tokens of one image, as the provider counts them."""

    asked: int
    answered: int


class Cost(NamedTuple):
    """USD, and how it is known: see `Generation.cost_source`."""

    usd: float
    source: str


@dataclass(frozen=True, slots=True)
class Price:
    """USD of one service's model: for an image, for a megapixel (10^6 pixels), or for a million tokens."""

    service: str
    model: str
    date: date
    source: str = ""
    when: Mapping[str, Any] = field(default_factory=dict)
    per_image: float | None = None
    per_megapixel: float | None = None
    per_million_input_tokens: float | None = None
    per_million_output_tokens: float | None = None
    most_output_tokens: int | None = None

    def __post_init__(self) -> None:
        ways = self.per_image, self.per_megapixel, self.per_million_output_tokens
        if sum(way is not None for way in ways) != 1:
            raise ValueError("a price is per_image, per_megapixel or per_million_output_tokens: one of them")
        known = [way for way in (*ways, self.per_million_input_tokens) if way is not None]
        if not all(isinstance(way, int | float) and math.isfinite(way) and way >= 0 for way in known):
            raise ValueError(f"a price is USD, 0 or more, got {known!r}")

    def fits(self, service: str, settings: Mapping[str, Any]) -> bool:
        named = (self.service, self.model) == (service, settings.get("model"))
        return named and all(settings.get(name) == value for name, value in self.when.items())

    def of(self, pixels: int, tokens: Tokens | None) -> Cost | None:
        """The cost of an image; None where the price is for tokens and nobody counted them."""
        at = f"price_table@{self.date}"
        if self.per_image is not None:
            return Cost(self.per_image, at)
        if self.per_megapixel is not None:
            return Cost(self.per_megapixel * pixels / 1e6, at)
        return None if tokens is None else Cost(self._of_tokens(tokens), f"usage*{at}")

    def at_most(self, pixels: int | None, prompt: str) -> float | None:
        """USD that one image can cost; None where that cannot be known before. A token is at least a byte of text."""
        if self.per_image is not None:
            return self.per_image
        if self.per_megapixel is not None:
            return None if pixels is None else self.per_megapixel * pixels / 1e6
        if self.most_output_tokens is None:
            return None
        return self._of_tokens(Tokens(len(prompt.encode()), self.most_output_tokens))

    def _of_tokens(self, tokens: Tokens) -> float:
        asked, answered = self.per_million_input_tokens or 0.0, self.per_million_output_tokens or 0.0
        return (asked * tokens.asked + answered * tokens.answered) / 1e6


def read_prices(file: Path = SHIPPED) -> list[Price]:
    """The prices of a file, in its order. Raises SettingsError that names the file and the entry."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        entries = table.get("price", [])
    except (OSError, ValueError) as error:
        raise SettingsError(f"The price table {str(file)!r} cannot be read ({error}).") from error
    return [_price(file, number, table.get("date"), entry) for number, entry in enumerate(entries, 1)]


def _price(file: Path, number: int, day: Any, entry: Mapping[str, Any]) -> Price:
    try:
        return Price(**{"date": day, **entry})
    except (TypeError, ValueError) as error:
        known = ", ".join(one.name for one in fields(Price))
        raise SettingsError(
            f"Price {number} of {str(file)!r} cannot be used ({error}); its fields are {known}, the first two needed."
        ) from error


def service_of(backend: str, settings: Mapping[str, Any]) -> str:
    """Who is paid: the host of `base_url`, the `provider`, or else the backend's own name."""
    host = urlsplit(str(settings.get("base_url") or "")).hostname
    return host or str(settings.get("provider") or backend)


def price_of(prices: Sequence[Price], backend: str, settings: Mapping[str, Any]) -> Price | None:
    """The first price that fits; None where no table has one."""
    service = service_of(backend, settings)
    return next((price for price in prices if price.fits(service, settings)), None)
