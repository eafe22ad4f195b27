"""Every page in light and in dark, as axe-core sees it: no serious violation.

States that only a press or a wait brings (a reveal, a dialog, an own prompt) are checked where they are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from arena.domain import Outcome, Protocol, ReportReason, Score
from arena.services import admin, battles, board_table, judging, moderation, snapshots
from arena.services.board_view import View
from arena.services.judging import Request
from arena.services.moderation import Admin
from arena.ui.benchmarks import VIEWS as BENCHMARK_VIEWS
from arena.ui.judge import VIEWS as JUDGE_VIEWS
from arena.ui.leaderboard import PLOTS
from db.voting import Voting
from tests.browser.conftest import NAMES, PATIENCE, Axe, Server, Voter

pytestmark = pytest.mark.browser

SCHEMES = ("light", "dark")
GROUNDS = {"light": "rgb(253, 252, 250)", "dark": "rgb(24, 22, 20)"}
"""The background of each theme in .streamlit/config.toml."""
SETTLED = """() => {
  const all = (of) => [...document.querySelectorAll(of)];
  return !all("[data-testid=stSkeleton], [data-testid=stStatusWidget]").length
    && all("[data-testid=stVegaLiteChart]").every((chart) => chart.querySelector("canvas, svg"));
}"""
STILL = "* { transition: none !important; animation: none !important; }"
ADMIN_VIEWS = ("Reports", "Models", "Prompts", "Votes", "Runs", "Log")


@dataclass(frozen=True)
class Stop:
    """A page: its address, what is to be seen once it is drawn, and words that are clicked one after the other."""

    address: str
    seen: str
    clicks: tuple[str, ...] = ()


STOPS = (
    Stop("?ui=basic", "Both bad"),
    Stop("?mode=names", ""),
    Stop("own-prompt", "Your prompt"),
    Stop("leaderboard", "Keep a snapshot", ("More",)),
    *(Stop(f"leaderboard?plot={plot}", "The numbers behind this plot") for plot in PLOTS if plot != "board"),
    Stop("leaderboard?search=nobody", "No model fits"),
    Stop("benchmarks", "All 4 scores", (*BENCHMARK_VIEWS[1:], "New run")),
    *(Stop(f"judge?view={view}", "Pairs judged") for view in JUDGE_VIEWS),
    Stop(f"model?name={NAMES[1]}", "Best and worst battles", ("Show the pictures", "Settings and fingerprint")),
    Stop("model", NAMES[0]),
    Stop("prompt?id=24", "Votes on this prompt"),
    Stop("prompt", "Which prompt?"),
    Stop("how-it-works", "image-arena"),
    Stop("nowhere", "Vote"),
)


@pytest.fixture(scope="module", autouse=True)
def _judge() -> Iterator[None]:
    """The server asks the scripted judge; before it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARENA_JUDGE", "scripted")
        yield


@pytest.fixture(scope="module", autouse=True)
def _filled(_judge: None, server: Server) -> None:
    """Something in every table: votes, verdicts, scores, an open and a closed report."""
    arena = server.arena
    for n in range(4):
        cast(server, f"person:{n}", 16, n)
    judging.run(arena, Request("scripted", limit=30))
    image = next(one.image for one in arena.store.generations(1, images_only=True) if one.image)
    for name, value in zip(NAMES, (12.5, 14.0, 13.0, 20.0), strict=True):
        details = {
            "n_real": 500, "n_generated": 25, "reference_set": "teddies", "debiased": value - 3, "low": value - 4,
            "high": value - 2, "curve": [[12, value + 2], [25, value]], "warnings": ["Unreliable at 25 images."],
            "findings": ["Sizes differ: real images are mostly 512×512."], "worst": [[image.sha256, 1, 0.25]],
            "versus": [{"subject": other, "value": -2.0, "low": -3.0, "high": -1.0, "n": 25}
                       for other in NAMES if other != name],
        }  # fmt: skip
        arena.store.add_score(Score(name, "fid-clean", Protocol("fid-clean", "1", {}), value, details=details))
    for battle in battles.open_battles(arena, "person:reporter", n=2):
        whole = arena.store.battle(battle.token)
        Voting(arena.store).add_report(whole.id or 0, "person:reporter", ReportReason.BROKEN, None)
    moderation.dismiss(arena, Admin("Ada"), moderation.reports(arena, 9)[0].report, "nothing to be seen")


def cast(server: Server, voter_id: str, n: int, seed: int) -> None:
    rng = Random(seed)
    for battle in battles.open_battles(server.arena, voter_id, n=n, rng=rng):
        battles.vote(server.arena, voter_id, battle.token, rng.choice([*Outcome]))


def in_both(page: Any, axe: Axe, state: str = "") -> list[str]:
    """What is seriously wrong with the page as it stands, in light and in dark."""
    found = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(
            "(ground) => getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor === ground",
            arg=GROUNDS[scheme], timeout=PATIENCE,
        )  # fmt: skip
        page.wait_for_function(SETTLED, timeout=PATIENCE)
        found += [f"{state} {scheme}: {violation}" for violation in axe(page)]
    return found


def opened(voter: Voter, address: str, seen: str) -> Any:
    page = voter.open(address).page
    page.add_style_tag(content=STILL)
    if seen:
        page.get_by_text(seen).or_(page.get_by_label(seen)).first.wait_for(timeout=PATIENCE)
    return page


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.address)
def test_nothing_serious_in_light_and_in_dark(voter: Voter, axe: Axe, stop: Stop) -> None:
    page = opened(voter, stop.address, stop.seen)
    found = in_both(page, axe)
    for words in stop.clicks:
        page.get_by_text(words, exact=True).first.click()
        found += in_both(page, axe, words)
    assert found == []


def test_nothing_serious_where_one_votes(voter: Voter, axe: Axe) -> None:
    page = opened(voter, "", "")
    voter.press("ArrowLeft")
    page.locator(".reveal").wait_for(timeout=PATIENCE)
    assert in_both(page, axe) == []


def test_nothing_serious_on_a_snapshot(voter: Voter, axe: Axe) -> None:
    found = board_table.published(voter.server.arena, View())
    assert found is not None
    page = opened(voter, f"leaderboard?snapshot={snapshots.keep(voter.server.arena, found.table)}", "stay as they are")
    assert in_both(page, axe) == []


def test_nothing_serious_on_a_board_of_ones_own(voter: Voter, axe: Axe) -> None:
    page = opened(voter, "my-board", "30 more votes to your own board")
    found = in_both(page, axe, "before")
    cast(voter.server, voter.id, 40, 9)
    page = opened(voter, "my-board", "Who agrees with you")
    page.get_by_text("Delete my data").first.click()
    assert found + in_both(page, axe, "after") == []


def test_nothing_serious_where_one_hosts(voter: Voter, axe: Axe) -> None:
    token = admin.new_token(voter.server.arena.settings)
    page = opened(voter, "admin", "Token")
    found = in_both(page, axe, "logged out")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    for view in ADMIN_VIEWS:
        page.get_by_text(view, exact=True).first.click(timeout=PATIENCE)
        found += in_both(page, axe, view)
    assert found == []


def test_a_primary_button_that_is_hard_to_read_would_be_found(voter: Voter, axe: Axe) -> None:
    page = opened(voter, "own-prompt", "Your prompt")
    button = page.get_by_role("button", name="Draw it twice")
    button.evaluate("(button) => { button.style.backgroundColor = '#b9602f'; }")
    assert any("color-contrast" in violation for violation in in_both(page, axe))


@pytest.mark.parametrize("view", BENCHMARK_VIEWS)
def test_benchmarks_fit_a_phone(voter: Voter, view: str) -> None:
    voter.page.set_viewport_size({"width": 390, "height": 844})
    page = opened(voter, "benchmarks", "All 4 scores")
    page.get_by_text(view, exact=True).first.click()
    page.wait_for_function(SETTLED, timeout=PATIENCE)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390
