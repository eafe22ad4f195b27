"""Who spends whose money: runs of the admin page have a budget, and visitors' own prompts spend none unasked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from arena import cli
from arena.backends.base import Drawn, create_backend
from arena.bootstrap import Arena, open_arena
from arena.cli import app
from arena.domain import OWN_PROMPT, Contestant, Prompt, Run, RunKind, RunState
from arena.errors import UsageError
from arena.services import accounts, display, generation, moderation, own_prompts, own_spending, prompt_sets, runs
from arena.settings import load_settings
from db.own_prompts import OwnPrompts, Stage
from tests.conftest import fill_with_swatches

PRICES = """
date = 2026-11-01
[[price]]
service = "api.x.ai"
model = "m"
per_image = 0.4
[[price]]
service = "localhost"
model = "ours"
per_image = 0.0
"""


class Paid:
    """An image for each prompt, and what it cost in USD."""

    def __init__(self, usd: float = 0.3):
        self.usd = usd

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Drawn]:
        return [Drawn(Image.new("RGB", (8, 8), (seed % 250 + 1, 0, 0)), cost_usd=self.usd) for seed in seeds]


def make_backend(contestant: Contestant) -> Any:
    return Paid() if contestant.backend == "openai" else create_backend(contestant)


def arena_with(folder: Path, **settings: Any) -> Arena:
    """Two swatches with their images, "Priced" at 0.4 USD an image, "Ours" that costs nothing, "Dark" of no price."""
    file = folder / "prices.toml"
    file.write_text(PRICES)
    plain = load_settings(
        data_dir=folder / "data", prices=file, batch_size=1, own_prompts_idle=0.05, own_prompts_per_hour=99, **settings
    )
    arena = fill_with_swatches(open_arena(plain, prepare=True), contestants=2, prompts=4)
    for name, given in (
        ("Priced", {"base_url": "https://api.x.ai/v1", "model": "m"}),
        ("Ours", {"base_url": "http://localhost:8000/v1", "model": "ours"}),
        ("Dark", {"base_url": "https://api.x.ai/v1", "model": "secret"}),
    ):
        arena.store.add_contestant(Contestant(name, "openai", given))
    return arena


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Arena]:
    return lambda **settings: arena_with(tmp_path, **settings)


def test_who_costs_money(make: Callable[..., Arena]) -> None:
    arena = make(gpu_usd_per_hour=2.0)
    assert [one.name for one in generation.paying(arena)] == ["Priced", "Dark"], "a swatch is drawn here, Ours is free"
    assert [one.name for one in generation.paying(arena, ["Ours", "Swatch A", "Priced"])] == ["Priced"]
    assert accounts.paying(arena, []) == []


def test_the_demo_spends_nothing(make: Callable[..., Arena], monkeypatch: pytest.MonkeyPatch) -> None:
    arena, drawn = make(), []
    monkeypatch.setattr(cli, "_init", lambda _: arena)
    monkeypatch.setattr(cli, "_require_free_port", lambda _: None)
    monkeypatch.setattr(cli, "_serve", lambda _: None)
    monkeypatch.setattr(cli, "_generate", lambda _, names: drawn.append(names) or generation.Report())
    said = CliRunner().invoke(app, ["demo"]).output
    assert drawn == [["Swatch A", "Swatch B", "Ours"]]
    assert "Priced costs money" in said and "`arena generate --budget USD` makes its images" in " ".join(said.split())
    for name in drawn.pop():
        moderation.retire_contestant(arena, moderation.Admin("Ada"), name, "a test")
    assert CliRunner().invoke(app, ["demo"]).exit_code == 0 and drawn == []


# Runs


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What runs were started with; none becomes a process."""
    seen: list[dict[str, Any]] = []

    def start(arena: Arena, kind: RunKind, subject: str, parameters: dict[str, Any]) -> int:
        seen.append(parameters)
        return arena.store.add_run(kind, subject, parameters).id or 0

    monkeypatch.setattr(runs, "start", start)
    return seen


def test_a_run_keeps_to_its_budget_and_a_resumed_one_to_what_is_left(
    make: Callable[..., Arena], started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    arena = make()
    monkeypatch.setattr(generation, "backends", lambda _: make_backend)
    run_id = generation.start(arena, ["Priced"], budget_usd=0.75)
    done = runs.perform(arena, run_id)
    assert done.message.startswith("2 made, 0 failed; 0.6000 USD; stopped by the budget of 0.75 USD")
    assert display.prepare(arena) == 0, "the run made every picture alike before anyone looks"
    again = generation.resume(arena, run_id)
    assert started[-1] == {**started[0], "budget_usd": pytest.approx(0.15)} and again != run_id
    assert runs.perform(arena, again).message.startswith("0 made, 0 failed; stopped by the budget of 0.15 USD")
    with pytest.raises(UsageError, match="The budget cannot be used"):
        generation.start(arena, ["Priced"], budget_usd=0.0)


def test_a_spent_budget_is_not_spent_again(
    make: Callable[..., Arena], started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    arena = make()
    run_id = generation.start(arena, ["Priced"], budget_usd=0.5)
    with pytest.raises(UsageError, match=f"Run {run_id} is still at work"):
        generation.resume(arena, run_id)
    generation.fill(arena, generation.plan(arena, ["Priced"]), make_backend)  # 1.2 USD in the run's time
    arena.store.end_run(run_id, RunState.FAILED, "killed")
    with pytest.raises(UsageError, match=f"The budget of run {run_id}, 0.5 USD, is spent; start another"):
        generation.resume(arena, run_id)


def test_the_command_says_what_a_set_would_take_and_stops_at_the_budget(
    make: Callable[..., Arena], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arena = make()
    monkeypatch.setenv("ARENA_PRICES", str(tmp_path / "prices.toml"))
    monkeypatch.setenv("ARENA_BATCH_SIZE", "1")
    monkeypatch.setattr(generation, "backends", lambda _: make_backend)
    (tmp_path / "three.csv").write_text("prompt\none bear\ntwo bears\nthree bears\n")
    prompt_sets.import_prompts(arena, tmp_path / "three.csv")

    def said(*words: str) -> tuple[int, str]:
        chosen = ["--prompts", "three", "--contestant", "Priced", "--contestant", "Swatch A"]
        done = CliRunner().invoke(app, ["generate", *chosen, "--data-dir", str(arena.settings.data_dir), *words])
        return done.exit_code, " ".join(done.output.split())

    code, text = said("--dry-run")
    assert code == 0 and "6 images are missing" in text and "price_table@" in text and "1.20" in text
    assert "In all: 0.0 minutes, 1.20 USD, and more where it is not known." in text
    assert len(arena.store.generations(arena.store.contestant("Priced").id or 0)) == 0, "nothing is made"
    code, text = said("--budget", "0.8")
    assert code == 1 and "5 images made for 0.6000 USD, 0 failed." in text, "three here, two for money"
    assert "stopped by the budget of 0.8 USD: 0.6000 are spent, and the next image may cost more than is left." in text
    assert said("--budget", "1")[0] == 0 and "Every image is there" in said("--budget", "1")[1]
    assert said("--prompts", "four")[0] == 1


# Visitors


@pytest.fixture
def nobody_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_prompts, "wake", lambda _: None)
    monkeypatch.setattr(own_prompts, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(generation, "backends", lambda _: make_backend)


def work(arena: Arena) -> Run:
    run = arena.store.add_run(RunKind.GENERATE, own_prompts.SUBJECT)
    return runs.perform(arena, run.id or 0)


def names(arena: Arena) -> list[str]:
    return [one.name for one in own_prompts.contestants(arena)]


def used_before(arena: Arena, *names: str) -> None:
    """Only who has an image is known to load."""
    generation.fill(arena, generation.plan(arena, names), make_backend)


def test_models_that_cost_money_draw_no_own_prompts_unless_the_operator_says_so(make: Callable[..., Arena]) -> None:
    arena = make()
    used_before(arena, "Priced", "Ours")
    assert names(arena) == ["Swatch A", "Swatch B", "Ours"]
    assert own_prompts.left_out(arena) == own_spending.NEVER
    allowed = open_arena(arena.settings.model_copy(update={"own_prompts_usd_per_day": 5.0}))
    assert names(allowed) == ["Swatch A", "Swatch B", "Priced", "Ours"] and own_prompts.left_out(allowed) == ""
    allowed.store.engine.dispose()


@pytest.mark.usefixtures("nobody_works")
def test_own_prompts_never_spend_more_than_the_day_s_limit(make: Callable[..., Arena]) -> None:
    arena = make(own_prompts_usd_per_day=1.0)
    used_before(arena, "Priced")
    for n in range(12):
        before = names(arena)
        own_prompts.ask(arena, f"person:{n}", f"a bear number {n}")
        work(arena)
        request = OwnPrompts(arena.store).newest(f"person:{n}")
        assert request is not None and request.stage is Stage.READY
        if "Priced" not in before:
            break
    priced = arena.store.contestant("Priced").id or 0
    drawn = [one for one in arena.store.generations(priced) if one.prompt_id > 4]
    assert [one.cost_usd for one in drawn] == [0.3, 0.3, 0.3], "a fourth might cost 0.4"
    assert own_prompts.left_out(arena) == own_spending.SPENT and own_spending.left_today(arena) == pytest.approx(0.1)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert own_spending.left_today(arena, tomorrow) == 1.0
    assert own_spending.allowed(arena, [arena.store.contestant("Priced")], tomorrow).sentence == ""


@pytest.mark.usefixtures("nobody_works")
def test_a_request_that_waited_until_the_budget_was_spent_is_told_so(make: Callable[..., Arena]) -> None:
    arena = make(own_prompts_usd_per_day=1.0)
    used_before(arena, "Priced")
    pair = [arena.store.contestant(name).id or 0 for name in ("Priced", "Swatch A")]
    for n in range(4):
        OwnPrompts(arena.store).add(
            f"person:{n}", Prompt(f"a bear number {n}", OWN_PROMPT, (), OWN_PROMPT), *pair, n, own_prompts.POLICY, 1.0,
            True, an_hour=9, longest_queue=9,
        )  # fmt: skip
    work(arena)
    found = [OwnPrompts(arena.store).newest(f"person:{n}") for n in range(4)]
    assert [one.stage for one in found if one] == [Stage.READY] * 3 + [Stage.FAILED]
    assert found[3] and found[3].reason == "Priced costs money, and today's budget for such models is spent"


def test_without_two_free_models_the_visitor_is_told_why(make: Callable[..., Arena]) -> None:
    arena = make()
    used_before(arena, "Priced")
    moderation.retire_contestant(arena, moderation.Admin("Ada"), "Swatch A", "a test")
    with pytest.raises(UsageError, match=r"No two models can draw here just now.* Models that cost money do not draw"):
        own_prompts.ask(arena, "person:me", "a bear")
