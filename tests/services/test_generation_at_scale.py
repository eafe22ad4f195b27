"""Many images: within a budget, many at once, halved where memory is short, stored beside the drawing, told before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from arena.backends.base import BadSetting, Drawn, create_backend, prefetch, split_settings
from arena.backends.prices import Cost, Price, Tokens
from arena.bootstrap import Arena, open_arena
from arena.domain import Contestant, Generation, Prompt
from arena.errors import EndpointError, GenerationError, OutOfMemory, SettingsError, UsageError, WeightsError
from arena.services import contestants, generation
from arena.services.accounts import Account
from arena.services.costs import costs
from arena.services.drawing import Cell, draw
from arena.services.teddies import teddy_contestants
from arena.settings import load_settings
from arena.spending import Budget

DAY = date(2026, 11, 25)


def image(seed: int = 1) -> Image.Image:
    return Image.new("RGB", (10, 10), (seed % 250 + 1, 0, 0))


class Painter:
    """`paint(prompt, seed)` for each; counts how many are under way, and how large batches were."""

    def __init__(self, paint: Callable[[str, int], Any] = lambda _, seed: image(seed), concurrency: int = 1) -> None:
        self.paint, self.concurrency = paint, concurrency
        self.batches: list[int] = []
        self.under_way = self.most = 0
        self.closed = False
        self._count = threading.Lock()

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Any]:
        with self._count:
            self.batches.append(len(prompts))
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        try:
            return [self.paint(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
        finally:
            with self._count:
                self.under_way -= 1

    def close(self) -> None:
        self.closed = True


def cells(n: int) -> list[Cell]:
    return [Cell(Prompt(f"card {k}", id=k), k) for k in range(n)]


def account(limit: float | None = None, price: Price | None = None, rate: float | None = None) -> Account:
    return Account(Contestant("A", "openai", {"model": "m"}), price, rate, Budget(limit))


def add(arena: Arena, n: int = 6, name: str = "A", backend: str = "openai", **more: Any) -> Contestant:
    arena.store.add_prompts(Prompt(f"card {k}") for k in range(n))
    return arena.store.add_contestant(Contestant(name, backend, {"model": "m", **more}))


def fill(arena: Arena, painter: Painter, budget: float | None = None) -> generation.Report:
    return generation.fill(arena, generation.plan(arena), lambda _: painter, budget_usd=budget)


# Many at once


def test_as_many_are_under_way_as_the_backend_says_and_none_is_lost(any_arena: Arena) -> None:
    contestant = add(any_arena, 24)

    def slow(_: str, seed: int) -> Image.Image:
        time.sleep(0.05)
        return image(seed)

    painter = Painter(slow, concurrency=6)
    assert fill(any_arena, painter).made == 24 and painter.batches == [1] * 24 and 2 <= painter.most <= 6
    attempts = any_arena.store.generations(contestant.id or 0, images_only=True)
    assert len({(one.prompt_id, one.seed) for one in attempts}) == 24 and painter.closed


def test_a_failure_among_many_spares_the_others(arena: Arena) -> None:
    add(arena, 8)
    painter = Painter(lambda text, seed: GenerationError("no bears") if "3" in text else image(seed), concurrency=4)
    report = fill(arena, painter)
    assert report.made == 7 and report.failed == ["A, 'card 3': no bears"]


@pytest.mark.parametrize("at_once", [1, 3])
def test_an_endpoint_that_ends_keeps_what_it_gave_and_the_next_contestant_goes_on(arena: Arena, at_once: int) -> None:
    contestant = add(arena, 9)
    other = arena.store.add_contestant(Contestant("B", "openai", {"model": "b"}))
    drawn: list[int] = []

    def ending(_: str, seed: int) -> Image.Image:
        if len(drawn) >= 4:
            raise EndpointError("the key is refused")
        drawn.append(seed)
        return image(seed)

    painters = {contestant.id: Painter(ending, at_once), other.id: Painter()}
    one_by_one = open_arena(load_settings(data_dir=arena.settings.data_dir, batch_size=1))
    report = generation.fill(one_by_one, generation.plan(arena), lambda one: painters[one.id])
    assert report.unavailable == {"A": "the key is refused"} and report.failed == []
    attempts = arena.store.generations(contestant.id or 0)
    assert len(attempts) == 4 and all(one.image for one in attempts), "what was not asked leaves no row"
    assert len(arena.store.generations(other.id or 0)) == 9
    assert len(generation.plan(arena)[contestant]) == 5


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_backend_that_raises_anything_loses_one_image_only(arena: Arena, at_once: int) -> None:
    add(arena, 5)

    def paint(text: str, seed: int) -> Image.Image:
        return image(seed) if "2" not in text else {}["no such thing"]  # type: ignore[return-value]

    report = fill(arena, Painter(paint, at_once))
    assert report.made == 4 and report.failed == ["A, 'card 2': KeyError: 'no such thing'"]


# Memory


@given(st.integers(1, 40), st.integers(1, 16), st.integers(1, 16))
def test_what_does_not_fit_is_halved_until_it_does(n: int, size: int, fits: int) -> None:
    class Small(Painter):
        def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Any]:
            results = super().generate(prompts, seeds)
            if len(prompts) > fits:
                raise OutOfMemory("out of memory")
            return results

    painter = Small()
    outcomes = [one for group in draw(painter, cells(n), size, account()) for one in group]
    assert [one.cell.seed for one in outcomes] == list(range(n)), "each once, in order"
    assert all(isinstance(one.result, Image.Image) for one in outcomes)
    too_large = [batch for batch in painter.batches if batch > fits]
    assert too_large == sorted(set(too_large), reverse=True), "a size that did not fit is not tried again"


def test_an_image_that_fits_nowhere_fails_alone() -> None:
    def paint(text: str, seed: int) -> Image.Image:
        if text == "card 2":
            raise OutOfMemory("out of memory with 1 at once")
        return image(seed)

    [*groups] = draw(Painter(paint), cells(5), 2, account())
    outcomes = [one for group in groups for one in group]
    assert [isinstance(one.result, OutOfMemory) for one in outcomes] == [False, False, True, False, False]


def test_black_images_and_failures_in_a_batch_fail_alone() -> None:
    def paint(text: str, seed: int) -> Any:
        return {"card 1": Image.new("RGB", (9, 9)), "card 2": GenerationError("withheld")}.get(text, image(seed))

    [group] = draw(Painter(paint), cells(4), 4, account())
    assert [str(one.result) if isinstance(one.result, GenerationError) else "" for one in group] == [
        "", "an all-black image, as safety filters and float16 overflows leave it", "withheld", "",
    ]  # fmt: skip


def test_a_contestant_may_have_batches_of_its_own(any_arena: Arena, tmp_path: Path) -> None:
    """Beside what changes how it runs: no part of its identity, and nothing its backend is told."""
    any_arena.store.add_prompts(Prompt(f"card {k}") for k in range(6))
    file = tmp_path / "arena.toml"
    file.write_text(
        '[[contestants]]\nname = "Large"\nbackend = "swatch"\nbatch_size = 2\n'
        '[[contestants]]\nname = "Small"\nbackend = "swatch"\ntint = "b"\n'
    )
    large, _ = contestants.add(any_arena, contestants.from_file(file))
    assert large.running == {"batch_size": 2} and large.settings == {}
    painters = {"Large": Painter(), "Small": Painter()}
    generation.fill(any_arena, generation.plan(any_arena), lambda one: painters[one.name])
    assert painters["Large"].batches == [2, 2, 2] and painters["Small"].batches == [4, 2], "the arena's setting is 4"
    assert create_backend(large).generate(["x"], [1])[0].size == (64, 64)  # type: ignore[union-attr]


@pytest.mark.parametrize("size", ["0", "-1", "2.5", "true", '"2"'])
def test_a_batch_size_that_is_none_is_said_with_its_line(tmp_path: Path, size: str) -> None:
    file = tmp_path / "arena.toml"
    file.write_text(f'[[contestants]]\nname = "A"\nbackend = "swatch"\nbatch_size = {size}\n')
    with pytest.raises(SettingsError, match=r"line 4: 'A': setting 'batch_size': .* a whole number from 1 upwards"):
        contestants.from_file(file)


def test_a_backend_with_such_an_argument_is_told() -> None:
    class Own:
        RUNNING = frozenset({"batch_size"})

        def __init__(self, batch_size: int = 1):
            pass

    assert split_settings(Own, {"batch_size": 3}) == ({}, {"batch_size": 3})
    with pytest.raises(BadSetting, match="batch_size"):
        split_settings(Own, {"batch_size": "3"})


# Storing beside drawing


def test_a_batch_is_stored_while_the_next_is_drawn(any_arena: Arena) -> None:
    """The second batch waits until the first is in the database: it would wait for ever if storing came after it."""
    contestant = add(any_arena, 8)
    seen: list[int] = []

    def paint(_: str, seed: int) -> Image.Image:
        if len(seen) >= 4:
            until = time.monotonic() + 60
            while not any_arena.store.generations(contestant.id or 0):
                assert time.monotonic() < until
                time.sleep(0.005)
        seen.append(seed)
        return image(seed)

    assert fill(any_arena, Painter(paint)).made == 8


def test_the_next_contestant_s_weights_are_fetched_while_one_draws(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one's last images wait for the fetching of the second: for ever, if that came after them."""
    add(arena, 16, "A")
    add(arena, 16, "B")
    fetched, drawn = threading.Event(), list[int]()

    def fetch(contestant: Contestant) -> None:
        assert contestant.name == "B"
        fetched.set()
        raise OSError("the hub is away")  # nothing to do with what is being drawn

    def paint(_: str, seed: int) -> Image.Image:
        drawn.append(seed)
        assert len(drawn) < 14 or fetched.wait(20)
        return image(seed)

    monkeypatch.setattr("arena.backends.base.prefetch", fetch)
    assert fill(arena, Painter(paint)).made == 32


def test_weights_are_read_ahead_and_a_backend_that_knows_no_weights_is_left_alone() -> None:
    for teddy in teddy_contestants():
        prefetch(teddy)
    prefetch(Contestant("Swatch", "swatch", {"tint": "a"}))
    with pytest.raises(WeightsError, match="missing"):
        prefetch(Contestant("Gone", "diffusers", {"model": "package://arena.teddy/weights/none"}))


def test_what_was_drawn_before_an_error_is_kept(any_arena: Arena) -> None:
    contestant = add(any_arena, 8)

    def paint(text: str, seed: int) -> Image.Image:
        if text == "card 5":
            raise KeyboardInterrupt
        return image(seed)

    with pytest.raises(KeyboardInterrupt):
        fill(any_arena, Painter(paint))
    assert len(any_arena.store.generations(contestant.id or 0)) == 4


# Money


@settings(deadline=None)
@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30),
    st.floats(0.05, 5.0),
    st.sampled_from([1, 4]),
    st.integers(1, 5),
)
def test_a_stated_price_is_never_overspent(charges: list[float], limit: float, at_once: int, size: int) -> None:
    """Charges of at most the stated 1 USD, whatever they are: their sum stays below the limit."""
    paint = lambda _, seed: Drawn(image(seed), cost_usd=charges[seed])  # noqa: E731
    price = Price("openai", "m", DAY, per_image=1.0)
    held = account(limit, price)
    outcomes = [one for group in draw(Painter(paint, at_once), cells(len(charges)), size, held) for one in group]
    spent = sum(charges[one.cell.seed] for one in outcomes)
    assert spent <= limit and held.budget.spent_usd == pytest.approx(spent) and held.budget.held == []
    if len(outcomes) < len(charges):
        assert held.budget.spent_usd + 1.0 > limit, "it stops only where the next one might be too much"


def test_unknown_prices_are_learned_from_a_first_image_made_alone() -> None:
    alone: list[int] = []

    def paint(_: str, seed: int) -> Drawn:
        alone.append(painter.under_way)
        time.sleep(0.02)
        return Drawn(image(seed), cost_usd=0.1)

    painter = Painter(paint, concurrency=4)
    outcomes = [one for group in draw(painter, cells(20), 1, account(1.0)) for one in group]
    assert alone[0] == 1 and painter.most > 1
    assert 0.85 <= sum(one.cost.usd for one in outcomes if one.cost) <= 1.0


def test_a_cost_that_nobody_says_ends_a_run_with_a_budget(arena: Arena) -> None:
    add(arena, 6)
    report = fill(arena, Painter(concurrency=2), budget=1.0)
    assert report.made == 1 and "nobody says what an image costs; add its price" in report.unspent
    assert fill(arena, Painter(concurrency=2)).made == 5, "without a budget it goes on"


def test_a_failure_that_may_be_paid_counts_with_all_that_was_held() -> None:
    price = Price("openai", "m", DAY, per_image=0.4)
    for paid, made in ((True, 2), (False, 6)):
        held = account(1.0, price)
        results = [
            o for g in draw(Painter(lambda *_, p=paid: GenerationError("x", paid=p)), cells(6), 1, held) for o in g
        ]
        assert len(results) == made and held.budget.spent_usd == pytest.approx(0.8 if paid else 0.0)


def test_every_image_has_its_cost_with_its_source(any_arena: Arena) -> None:
    file = any_arena.settings.data_dir / "prices.toml"
    file.write_text(
        'date = 2026-02-03\n[[price]]\nservice = "api.x.ai"\nmodel = "m"\nper_megapixel = 100.0\n'
        '[[price]]\nservice = "api.openai.com"\nmodel = "m"\nper_million_output_tokens = 10.0\n'
    )
    priced = replace(
        any_arena, settings=load_settings(data_dir=any_arena.settings.data_dir, prices=file, gpu_usd_per_hour=3.6)
    )
    any_arena.store.add_prompts([Prompt("card")])
    made = {
        "area": ("openai", {"base_url": "https://api.x.ai/v1", "model": "m"}, lambda *_: image()),
        "tokens": ("openai", {"base_url": "https://api.openai.com/v1", "model": "m"},
                   lambda *_: Drawn(image(), tokens=Tokens(7, 1000))),
        "stated": ("openai", {"base_url": "https://api.x.ai/v1", "model": "m", "quality": "x"},
                   lambda *_: Drawn(image(), cost_usd=0.5)),
        "here": ("swatch", {}, lambda *_: Drawn(image(), seconds=10.0)),
        "unknown": ("openai", {"base_url": "http://localhost/v1", "model": "m"}, lambda *_: image()),
    }  # fmt: skip
    ids = {
        name: any_arena.store.add_contestant(Contestant(name, kind, given)).id
        for name, (kind, given, _) in made.items()
    }
    report = generation.fill(priced, generation.plan(priced), lambda one: Painter(made[one.name][2]))
    found = {name: any_arena.store.generations(id or 0)[0] for name, id in ids.items()}
    assert {name: (one.cost_usd, one.cost_source) for name, one in found.items()} == {
        "area": (pytest.approx(0.01), "price_table@2026-02-03"),
        "tokens": (pytest.approx(0.01), "usage*price_table@2026-02-03"),
        "stated": (0.5, "provider"),
        "here": (pytest.approx(0.01), "gpu_seconds*3.6/h"),
        "unknown": (None, None),
    }
    assert found["here"].seconds == 10.0 and report.spent_usd == pytest.approx(0.53)
    assert costs(any_arena)[ids["area"] or 0].usd_per_megapixel == pytest.approx(100.0)


def test_a_gpu_second_costs_what_the_machine_costs_also_where_it_fails() -> None:
    held = account(rate=36.0)
    held.budget.held.append(0.0)
    assert held.settle(0.0, GenerationError("x"), 5.0) == Cost(pytest.approx(0.05), "gpu_seconds*36/h")


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
def test_a_budget_that_is_none_is_refused(arena: Arena, budget: float) -> None:
    add(arena)
    with pytest.raises(UsageError, match="The budget cannot be used"):
        fill(arena, Painter(), budget)


def test_a_price_table_that_cannot_be_read_is_said(arena: Arena) -> None:
    add(arena)
    lost = open_arena(load_settings(data_dir=arena.settings.data_dir, prices=arena.settings.data_dir / "none.toml"))
    with pytest.raises(SettingsError, match=r"none\.toml"):
        fill(lost, Painter())


# Before anything is made


def test_an_estimate_says_how_many_how_long_and_how_much(any_arena: Arena) -> None:
    known = add(any_arena, 10, "Known", "swatch")
    api = any_arena.store.add_contestant(
        Contestant("API", "inference-providers", {"model": "black-forest-labs/FLUX.1-schnell", "provider": "fal-ai"},
                   running={"concurrency": 5})
    )  # fmt: skip
    any_arena.store.add_contestant(Contestant("New", "openai", {"model": "m", "base_url": "http://localhost/v1"}))
    first, *_ = any_arena.store.prompts()
    for one, seconds in ((known, 2.0), (api, 10.0)):
        attempt = generation._attempt(
            any_arena,
            one,
            next(iter(draw(Painter(), [Cell(first, generation.first_seed(first.text))], 1, account())))[0],
        )
        values = {name: getattr(attempt, name) for name in ("contestant_id", "prompt_id", "seed", "image")}
        any_arena.store.add_generations([Generation(**values, seconds=seconds)])
    rated = replace(any_arena, settings=load_settings(data_dir=any_arena.settings.data_dir, gpu_usd_per_hour=1.8))
    before = any_arena.store.runs()
    found = {one.contestant: one for one in generation.estimate(rated, generation.plan(rated))}
    assert (found["Known"].images, found["Known"].seconds) == (9, pytest.approx(18.0))
    assert found["Known"].usd == pytest.approx(9 * 2.0 * 1.8 / 3600) and found["Known"].usd_source.startswith("gpu")
    assert found["API"].seconds == pytest.approx(9 * 10.0 / 5) and found["API"].usd == pytest.approx(9 * 0.003)
    assert found["API"].usd_source == "price_table@2026-11-25"
    assert (found["New"].seconds, found["New"].usd, found["New"].usd_source) == (None, None, "not known")
    assert any_arena.store.runs() == before, "nothing was begun"
