"""The leaderboard, the model page and the prompt page in a real browser: addresses, looks, and nothing executed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from arena.domain import VOTES_BACKEND, Contestant, Outcome
from arena.services import battles
from tests.browser.conftest import NAMES, PATIENCE, Server, Voter

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="window.hacked=1"> **Yak** 🐃'
PAGES = ("leaderboard", f"model?name={NAMES[1]}", "prompt?id=24")


@pytest.fixture(scope="module", autouse=True)
def _voted(server: Server) -> Iterator[None]:
    """Votes of some people, and a model whose name tries to break out."""
    server.arena.store.add_contestant(Contestant(HOSTILE, VOTES_BACKEND))
    for n in range(4):
        for battle, outcome in zip(
            battles.open_battles(server.arena, f"person:{n}", n=16), [*Outcome] * 4, strict=True
        ):
            battles.vote(server.arena, f"person:{n}", battle.token, outcome)
    yield


def table(page: Any) -> Any:
    found = page.locator(".board tbody tr")
    found.first.wait_for(timeout=PATIENCE)
    return found


def settled(page: Any) -> None:
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')", timeout=PATIENCE)
    page.wait_for_timeout(1500)  # charts are drawn after the page


def test_a_filter_is_in_the_address_and_a_link_brings_it_back(voter: Voter) -> None:
    page = voter.open("leaderboard?sort=-name&search=a").page
    names = table(page).locator("th a").all_inner_texts()
    assert names == sorted((name for name in [*NAMES, HOSTILE] if "a" in name), key=str.casefold, reverse=True)
    page.get_by_label("Time").first.click()
    page.get_by_role("option", name="Last 7 days").click()
    page.wait_for_url("**time=7d**", timeout=PATIENCE)
    assert "sort=-name" in page.url and "search=a" in page.url
    page.reload()
    table(page)
    assert page.get_by_label("Time").first.input_value() == "Last 7 days"
    page.wait_for_function("document.title")
    page.get_by_label("Time").first.click()
    page.get_by_role("option", name="All time").click()
    page.wait_for_url(lambda address: "time=" not in address, timeout=PATIENCE)
    page.go_back()
    page.wait_for_url("**time=7d**", timeout=PATIENCE)
    page.wait_for_function(
        "() => document.querySelector('[aria-label=\"Time\"]')?.value === 'Last 7 days'", timeout=PATIENCE
    )


def test_a_models_name_leads_to_its_page_and_runs_nothing(voter: Voter) -> None:
    page = voter.open("leaderboard").page
    table(page)
    page.get_by_role("link", name="Yak").click()
    page.get_by_role("heading", level=1).get_by_text("**Yak**").wait_for(timeout=PATIENCE)
    assert page.evaluate("window.hacked") is None
    voter.open(f"leaderboard?category={HOSTILE}")
    page.get_by_text("which this arena does not have").wait_for(timeout=PATIENCE)
    assert page.evaluate("window.hacked") is None


def test_pictures_of_a_model_load_and_those_that_wait_for_a_vote_do_not(voter: Voter) -> None:
    voter.open()
    voter.shown()
    waiting = {battle.prompt.id for battle in voter.server.arena.store.open_battles(voter.id)}
    page = voter.open(f"model?name={NAMES[0]}").page
    page.locator(".pictures figure").first.wait_for(timeout=PATIENCE)
    page.wait_for_function(
        "() => { const all = [...document.querySelectorAll('.pictures img')];"
        " all.forEach(one => { one.loading = 'eager'; });"
        " return all.every(one => one.complete && one.naturalWidth > 0); }",
        timeout=PATIENCE,
    )
    first = [prompt.id for prompt in voter.server.arena.store.prompts()[:6]]
    assert page.locator(".pictures .waits").count() == len(waiting & {*first})
    assert page.evaluate("window.hacked") is None


def test_a_snapshot_has_an_address_that_stays(voter: Voter) -> None:
    page = voter.open("leaderboard").page
    before = [row.inner_text() for row in table(page).all()]
    page.get_by_role("button", name="Keep a snapshot").click()
    page.wait_for_url("**snapshot=**", timeout=PATIENCE)
    address = page.url
    (battle,) = battles.open_battles(voter.server.arena, "person:late", n=1)
    battles.vote(voter.server.arena, "person:late", battle.token, Outcome.LEFT)
    page.goto(address)
    assert [row.inner_text() for row in table(page).all()] == before
    page.get_by_role("link", name="as it is now").click()
    page.get_by_text("Keep a snapshot").first.wait_for(timeout=PATIENCE)


@pytest.mark.parametrize("address", PAGES)
def test_the_page_fits_a_phone(voter: Voter, address: str) -> None:
    voter.page.set_viewport_size({"width": 390, "height": 844})
    voter.open(address).page.get_by_role("heading", level=1).wait_for(timeout=PATIENCE)
    settled(voter.page)
    assert voter.page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390
