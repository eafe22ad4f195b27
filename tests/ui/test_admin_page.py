"""The admin page as Streamlit runs it: closed without the token, and every act with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from arena.bootstrap import Arena
from arena.domain import Contestant, Prompt, ReportReason, RunKind, RunState
from arena.services import admin, battles, leaderboard, moderation, runs
from arena.ui.admin import VIEWS
from arena.ui.common import ADMIN
from db.voting import Voting
from tests.ui.test_pages import text_of

Serve = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def _no_tries_yet() -> None:
    admin._tries.clear()


@pytest.fixture
def inside(serve: Serve, seeded: Arena) -> Callable[[str], AppTest]:
    """The page after logging in, at one of its views."""

    def open_(view: str) -> AppTest:
        page = serve(seeded, "admin")
        page.session_state[ADMIN] = moderation.Admin("Ada")
        page.session_state["admin-view"] = view
        return page.run()

    return open_


def test_it_is_closed_without_a_token_and_open_with_it(serve: Serve, seeded: Arena) -> None:
    assert "Nobody can log in yet" in text_of(serve(seeded, "admin"))
    token = admin.new_token(seeded.settings)
    page = serve(seeded, "admin")
    page.text_input(key="admin-name").set_value("Ada")
    page.text_input(key="admin-token").set_value("a guess")
    page.button[0].click().run()
    assert [one.value for one in page.error] == [r"That is not the token\."] and not page.exception
    assert page.text_input(key="admin-token").value == "" and not page.dataframe
    page.text_input(key="admin-token").set_value(token)
    page.button[0].click().run()
    assert page.session_state[ADMIN].name == "Ada" and "No open reports" in text_of(page)
    assert token not in repr(page.session_state)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_draws(inside: Callable[[str], AppTest], seeded: Arena, view: str) -> None:
    for battle in battles.open_battles(seeded, "person:x", n=4):
        battles.vote(seeded, "person:x", battle.token, "left")
    page = inside(view)
    assert not page.exception and not page.error


def test_a_model_is_retired_with_a_reason_and_not_without(inside: Callable[[str], AppTest], seeded: Arena) -> None:
    page = inside("Models")
    page.selectbox(key="retire-name").set_value("Swatch B")
    next(button for button in page.button if button.label == "Retire").click().run()
    assert "Say why" in "".join(one.value for one in page.error) and moderation.log(seeded) == []
    page.text_input(key="retire-reason").set_value("broken weights")
    next(button for button in page.button if button.label == "Retire").click().run()
    assert not page.error and moderation.log(seeded)[0].reason == "broken weights"
    assert "retired" in list(page.dataframe[0].value["Drawn"])


def test_a_report_is_acted_on(inside: Callable[[str], AppTest], seeded: Arena) -> None:
    [battle] = battles.open_battles(seeded, "person:x", n=1)
    whole = seeded.store.battle(battle.token)
    Voting(seeded.store).add_report(whole.id or 0, "person:x", ReportReason.BROKEN, None)
    page = inside("Reports")
    assert "Reported as broken" in text_of(page)
    page.text_input(key="report-1-reason").set_value("half of it is grey")
    page.button(key="report-1-hide").click().run()
    assert not page.exception and not page.error
    assert moderation.hidden(seeded) == sorted([whole.left.id, whole.right.id])
    assert "No open reports" in text_of(page)


def test_a_run_is_cancelled_and_written_down(inside: Callable[[str], AppTest], seeded: Arena) -> None:
    run = seeded.store.add_run(RunKind.GENERATE, "9 images")
    page = inside("Runs")
    page.button(key=f"cancel-{run.id}").click().run()
    assert seeded.store.run(run.id or 0).state is RunState.CANCELLED
    assert [(one.admin, one.topic, one.action) for one in moderation.log(seeded)] == [("Ada", "run", "cancel")]


def test_pictures_that_cost_money_are_made_within_a_budget(
    inside: Callable[[str], AppTest], seeded: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def start(arena: Arena, kind: RunKind, subject: str, parameters: dict[str, Any]) -> int:
        asked.append(parameters)
        return arena.store.add_run(kind, subject, parameters).id or 0

    monkeypatch.setattr(runs, "start", start)
    seeded.store.add_contestant(Contestant("Closed", "openai", {"model": "m", "base_url": "https://api.x.ai/v1"}))
    seeded.store.add_prompts([Prompt("a prompt without pictures")])
    page = inside("Runs")
    assert "Costs money: Closed." in text_of(page)
    page.multiselect(key="generate-names").set_value(["Swatch A"]).run()
    assert not [one for one in page.number_input if one.key == "generate-budget"] and "Costs money" not in text_of(page)
    page.button(key="generate-start").click().run()
    page.multiselect(key="generate-names").set_value(["Swatch A", "Closed"]).run()
    page.number_input(key="generate-budget").set_value(2.5)
    page.button(key="generate-start").click().run()
    assert not page.exception and not page.error
    assert [(one["names"], one["budget_usd"]) for one in asked] == [(["Swatch A"], None), (["Swatch A", "Closed"], 2.5)]


def test_a_model_that_came_to_cost_money_meanwhile_is_not_paid_without_a_budget(
    inside: Callable[[str], AppTest], seeded: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "start", lambda *_: pytest.fail("nothing may start"))
    page = inside("Runs")
    seeded.store.add_contestant(Contestant("Closed", "openai", {"model": "m", "base_url": "https://api.x.ai/v1"}))
    page.button(key="generate-start").click().run()
    assert ["'Closed' costs money; give a budget in USD" in one.value for one in page.error] == [True]


def test_nothing_is_done_after_logging_out(inside: Callable[[str], AppTest], seeded: Arena) -> None:
    page = inside("Models")
    next(button for button in page.button if button.label == "Log out").click().run()
    assert ADMIN not in page.session_state and not page.dataframe
    assert leaderboard.leaderboard(seeded).votes == 0
