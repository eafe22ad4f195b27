"""My board, an own prompt and the admin page in a real browser, from the front door."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from arena.domain import Outcome
from arena.services import admin, battles, leaderboard, moderation, voters
from arena.ui.common import COOKIE
from db.own_prompts import OwnPrompts
from db.personal import Personal
from tests.browser.conftest import NAMES, PATIENCE, Axe, Server, Voter, fill

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Whose worker ends soon after the last own prompt."""
    arena = fill(tmp_path_factory.mktemp("arena"))
    (arena.settings.data_dir / "arena.toml").write_text("own_prompts_idle = 2\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    running = Server(arena, port)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        arena.store.engine.dispose()


def vote(voter: Voter, n: int) -> None:
    """So many votes of this browser's voter, cast by the service."""
    rng = Random(4)
    for battle in battles.open_battles(voter.server.arena, voter.id, n=n, rng=rng):
        battles.vote(voter.server.arena, voter.id, battle.token, rng.choice([*Outcome]))


def settled(page: Any) -> None:
    page.locator("[data-testid=stStatusWidget]").wait_for(state="detached", timeout=PATIENCE)


def test_a_board_of_ones_own_and_its_deletion(voter: Voter) -> None:
    page, arena = voter.page, voter.server.arena
    voter.open("my-board")
    page.get_by_text("30 more votes to your own board").wait_for(timeout=PATIENCE)
    vote(voter, 40)
    me, whole = voter.id, leaderboard.leaderboard(arena).votes
    voter.open("my-board")
    page.get_by_text("Who agrees with you").wait_for(timeout=PATIENCE)
    page.locator("canvas, svg.marks").first.wait_for(timeout=PATIENCE)
    settled(page)
    with page.expect_download(timeout=PATIENCE) as download:
        page.get_by_role("button", name="votes as CSV").click()
    assert len(download.value.path().read_text().splitlines()) == 41

    page.get_by_text("Delete my data").first.click()
    button = page.get_by_role("button", name="Delete my data")
    assert button.is_disabled() and leaderboard.leaderboard(arena).votes == whole
    settled(page)
    page.get_by_text("know that this cannot be undone").click()
    page.locator("button:enabled", has_text="Delete my data").click()
    page.get_by_text("40 votes no longer count").wait_for(timeout=PATIENCE)
    assert leaderboard.leaderboard(arena).votes == whole - 40 and len(arena.store.votes(me)) == 40
    assert Personal(arena.store).is_erased(me)
    page.reload()
    page.get_by_text("30 more votes to your own board").wait_for(timeout=PATIENCE)
    (token,) = [cookie["value"] for cookie in page.context.cookies() if cookie["name"] == COOKIE]
    assert voters.voter_id(arena, token) not in (None, me)


def test_an_own_prompt_is_drawn_and_voted_on_blind(voter: Voter, axe: Axe) -> None:
    page, arena = voter.page, voter.server.arena
    voter.open("own-prompt")
    box = page.get_by_label("Your prompt")
    box.wait_for(timeout=PATIENCE)
    settled(page)
    assert axe(page) == []
    box.fill("x" * 10_000)
    page.get_by_role("button", name="Draw it twice").click()
    page.get_by_text("The prompt has 10,000 characters").wait_for(timeout=PATIENCE)
    text = "<script>window.hacked=1</script> a bear 🧸"
    box.fill(text)
    page.get_by_role("button", name="Draw it twice").click()
    token = voter.shown()
    assert page.locator(".prompt").text_content() == text and page.evaluate("window.hacked") is None
    assert not any(name in page.content() for name in NAMES)
    request = OwnPrompts(arena.store).newest(voter.id)
    assert request is not None and request.token == token
    page.keyboard.press("ArrowLeft")
    page.get_by_text("You chose A").wait_for(timeout=PATIENCE)
    assert [vote.outcome for vote in voter.votes()] == ["left"]
    page.get_by_label("Your prompt").wait_for(timeout=PATIENCE)
    settled(page)
    assert axe(page) == []
    assert "libtorch" not in voter.server.memory_maps()


def test_the_admin_page_is_in_no_menu_and_its_token_in_no_log(voter: Voter) -> None:
    page, arena = voter.page, voter.server.arena
    token = admin.new_token(arena.settings)
    voter.open("admin")
    page.get_by_label("Token").wait_for(timeout=PATIENCE)
    settled(page)
    assert page.get_by_role("link", name="Admin").count() == 0
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("No open reports").wait_for(timeout=PATIENCE)
    page.get_by_role("link", name="Admin").wait_for(timeout=PATIENCE)
    assert token not in page.url and token not in voter.server.log.read_text() and token not in page.content()
    page.get_by_text("Models", exact=True).click()
    page.get_by_label("Reason").first.wait_for(timeout=PATIENCE)
    settled(page)
    page.get_by_label("Reason").first.fill("broken weights")
    page.get_by_role("button", name="Retire").click()
    page.get_by_text("Zebulon Prime is drawn no more").wait_for(timeout=PATIENCE)
    [row] = moderation.log(arena)
    assert (row.admin, row.reason) == ("Ada", "broken weights")
    page.reload()
    page.get_by_label("Token").wait_for(timeout=PATIENCE)  # who closes the page is out


def test_the_method_page_says_what_does_not_count(voter: Voter) -> None:
    voter.open("how-it-works#what-does-not-count")
    voter.page.get_by_text("image-arena").first.wait_for(timeout=PATIENCE)
    settled(voter.page)
    assert voter.page.locator("#what-does-not-count, [id='what-does-not-count']").count() == 1
