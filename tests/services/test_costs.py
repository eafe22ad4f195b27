"""Cost and speed by contestant: SQL's sums and medians are those of the plain lists, and unknown stays unknown."""

from __future__ import annotations

from statistics import median

import pytest

from arena.bootstrap import Arena
from arena.domain import Contestant, Generation, ImageRef, Prompt
from arena.services.costs import CostAndSpeed, costs


def attempt(contestant: Contestant, prompt: Prompt, seed: int, **known: object) -> Generation:
    image = None if "failure" in known else ImageRef("ab" * 32, 1000, 500)
    return Generation(contestant.id or 0, prompt.id or 0, seed, image, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [[3.0], [1.0, 9.0], [5.0, 1.0, 2.0], [4.0, 4.0, 1.0, 30.0]])
def test_the_median_is_the_lists_own(any_arena: Arena, seconds: list[float]) -> None:
    [prompt] = any_arena.store.add_prompts([Prompt("a")])
    two = [any_arena.store.add_contestant(Contestant(name, "swatch")) for name in "AB"]
    any_arena.store.add_generations(attempt(two[0], prompt, n, seconds=s) for n, s in enumerate(seconds))
    any_arena.store.add_generations(attempt(two[1], prompt, n, seconds=100.0) for n in range(5))
    found = costs(any_arena)[two[0].id or 0]
    assert (found.median_seconds, found.timed) == (median(seconds), len(seconds))


def test_costs_are_those_that_are_known(any_arena: Arena) -> None:
    [prompt] = any_arena.store.add_prompts([Prompt("a")])
    paid = any_arena.store.add_contestant(Contestant("Paid", "openai"))
    free = any_arena.store.add_contestant(Contestant("Free", "swatch"))
    none = any_arena.store.add_contestant(Contestant("None", "swatch", {"tint": "n"}))
    any_arena.store.add_generations(
        [
            attempt(paid, prompt, 1, seconds=1.0, cost_usd=0.04, cost_source="provider"),
            attempt(paid, prompt, 2, seconds=2.0, cost_usd=0.02, cost_source="price_table@2026-11-25"),
            attempt(paid, prompt, 3),
            attempt(paid, prompt, 4, failure="refused", cost_usd=5.0, cost_source="provider"),
            attempt(free, prompt, 1),
            attempt(none, prompt, 1, failure="refused"),
        ]
    )
    found = costs(any_arena)
    assert set(found) == {paid.id, free.id}, "a contestant without an image has no figures"
    got = found[paid.id or 0]
    assert (got.images, got.median_seconds, got.timed, got.priced) == (3, 1.5, 2, 2)
    assert got.usd_per_megapixel == pytest.approx(0.06 / 1.0) and got.images_per_usd == pytest.approx(2 / 0.06)
    assert got.sources == {"provider": 1, "price_table@2026-11-25": 1}
    assert found[free.id or 0] == CostAndSpeed(images=1)


def test_a_cost_needs_its_source() -> None:
    with pytest.raises(ValueError, match="a cost and its source go together"):
        Generation(1, 1, 1, ImageRef("ab" * 32, 1, 1), cost_usd=1.0)
    with pytest.raises(ValueError, match="must be >= 0 and finite, got nan"):
        Generation(1, 1, 1, ImageRef("ab" * 32, 1, 1), cost_usd=float("nan"), cost_source="provider")
