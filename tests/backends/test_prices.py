"""Prices: the shipped table is whole, the four ways to know a cost, and a user's own table comes first."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from arena.backends.prices import SHIPPED, Cost, Price, Tokens, price_of, read_prices, service_of
from arena.errors import SettingsError

DAY = date(2026, 11, 25)


def test_every_shipped_price_is_dated_and_says_where_it_is_from() -> None:
    prices = read_prices()
    assert len(prices) > 5 and all(price.date == DAY and price.source for price in prices)
    named = [(price.service, price.model, str(price.when)) for price in prices]
    assert len(set(named)) == len(named)


def test_the_shipped_table_prices_a_known_image() -> None:
    """OpenAI's page: 1,056 output tokens of gpt-image-1 at 40 USD for a million, a square one of medium quality."""
    price = price_of(read_prices(), "openai", {"base_url": "https://api.openai.com/v1", "model": "gpt-image-1"})
    assert price is not None
    cost = price.of(1024 * 1024, Tokens(50, 1056))
    assert cost == Cost(pytest.approx(0.04249), "usage*price_table@2026-11-25")


def test_costs_of_the_three_kinds_of_prices() -> None:
    image, area = (Price("s", "m", DAY, **{way: 0.02}) for way in ("per_image", "per_megapixel"))
    assert image.of(1, None) == Cost(0.02, "price_table@2026-11-25")
    assert area.of(500_000, None) == Cost(0.01, "price_table@2026-11-25")
    tokens = Price("s", "m", DAY, per_million_input_tokens=1.0, per_million_output_tokens=10.0, most_output_tokens=2000)
    assert tokens.of(1, Tokens(1_000_000, 100_000)) == Cost(2.0, "usage*price_table@2026-11-25")
    assert tokens.of(1, None) is None, "nobody counted the tokens: not known, which is not free"
    assert image.at_most(None, "x") == 0.02 and area.at_most(None, "x") is None and area.at_most(10**6, "x") == 0.02
    assert tokens.at_most(1, "é" * 500_000) == pytest.approx(1.0 + 0.02)


def test_the_first_price_that_fits_counts() -> None:
    fine = Price("api.x.ai", "m", DAY, when={"quality": "high"}, per_image=1.0)
    plain = Price("api.x.ai", "m", DAY, per_image=0.1)
    settings = {"base_url": "https://api.x.ai/v1", "model": "m"}
    assert price_of([fine, plain], "openai", settings) is plain
    assert price_of([fine, plain], "openai", {**settings, "quality": "high"}) is fine
    assert price_of([plain], "openai", {**settings, "model": "other"}) is None
    assert service_of("inference-providers", {"provider": "fal-ai"}) == "fal-ai" and service_of("mine", {}) == "mine"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ('service = "s"\nmodel = "m"', "one of them"),
        ('service = "s"\nmodel = "m"\nper_image = 1\nper_megapixel = 1', "one of them"),
        ('service = "s"\nmodel = "m"\nper_image = -1', "0 or more"),
        ('service = "s"\nmodel = "m"\nper_image = nan', "0 or more"),
        ('model = "m"\nper_image = 1', "service"),
        ('service = "s"\nmodel = "m"\nper_picture = 1', "per_picture"),
    ],
)
def test_a_price_that_is_none_is_named(tmp_path: Path, entry: str, reason: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(f"date = 2026-01-01\n[[price]]\n{entry}\n")
    with pytest.raises(SettingsError, match=rf"(?s)Price 1 of .*prices.toml.*{reason}"):
        read_prices(file)


def test_a_table_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_prices(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("date = ")
    with pytest.raises(SettingsError, match=r"bad\.toml"):
        read_prices(tmp_path / "bad.toml")
    assert SHIPPED.is_file()
