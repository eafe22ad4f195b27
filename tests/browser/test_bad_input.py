"""What must not happen: nothing is lost, counted twice or executed, and a sentence says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from arena.services import battles, moderation
from benchmarks.line import Line, round_trip
from tests.browser.conftest import FIND, HOSTILE, LONG, PATIENCE, Axe, Server, Voter

pytestmark = pytest.mark.browser

ADMIN = moderation.Admin("tester")


@pytest.fixture
def line(voter: Voter) -> Iterator[Line]:
    """A line to the server that can be cut."""
    found = Line(voter.server.port)
    yield found
    voter.page.close()
    found.close()


def send(voter: Voter, *acts: dict[str, Any]) -> None:
    """Have the page send what a forger would: it believes these acts to be unconfirmed ones of its own."""
    voter.page.evaluate(f"sessionStorage.setItem('arena-unacked-acts', {json.dumps(json.dumps(acts))})")
    voter.page.reload()
    voter.settled()


def vote_on(token: str) -> dict[str, Any]:
    return {"id": f"forged-{token[:20]}", "do": "vote", "token": token, "outcome": "left", "seconds": 1}


@pytest.mark.parametrize("category", ["hostile", "endless"])
def test_a_hostile_prompt_is_text_and_leaves_the_page_as_it_is(voter: Voter, axe: Axe, category: str) -> None:
    voter.open("?category=calm")
    voter.shown()
    boxes = [one.bounding_box() for one in voter.page.locator(".frame, .choices button").all()]
    voter.open(f"?category={category}")
    token = voter.shown()
    asked = voter.server.arena.store.battle(token).prompt.text
    assert asked == LONG if category == "endless" else asked.startswith(HOSTILE[:40])
    assert voter.page.locator(".prompt").text_content() == asked
    assert [one.bounding_box() for one in voter.page.locator(".frame, .choices button").all()] == boxes
    prompt = voter.page.locator(".prompt")
    if category == "endless":  # it scrolls, also by the keyboard, and that is no vote
        prompt.focus()
        voter.page.keyboard.press("ArrowDown")
        voter.page.wait_for_function(f"({FIND}).querySelector('.prompt').scrollTop > 0", timeout=PATIENCE)
        assert voter.shown() == token and axe(voter.page) == []
    else:
        prompt.click()
        assert prompt.get_attribute("tabindex") is None
    voter.press("ArrowLeft")
    voter.page.locator(".reveal").wait_for(timeout=PATIENCE)
    assert voter.page.evaluate("window.hacked") is None
    assert voter.page.locator(".surface img[src=x], .surface script").count() == 0


def test_forged_and_foreign_battles_get_a_sentence_and_no_vote(voter: Voter) -> None:
    (foreign,) = battles.open_battles(voter.server.arena, "person:someone-else", n=1)
    voter.open()
    own = voter.shown()
    for token in ("no-such-battle", foreign.token, "../../secret", "<script>window.hacked=1</script>"):
        send(voter, vote_on(token))
        voter.page.get_by_text("That vote was not counted.").wait_for(timeout=PATIENCE)
        assert voter.votes() == [] and voter.shown() == own
    assert voter.page.evaluate("window.hacked") is None
    garbage = [{"id": "1", "do": "vote", "token": own, "outcome": "LEFT"}, {"do": "vote"}, {"id": "2", "do": "drop"}]
    voter.page.evaluate(f"sessionStorage.setItem('arena-unacked-acts', {json.dumps(json.dumps(garbage))})")
    voter.page.reload()
    voter.page.wait_for_timeout(1000)
    assert voter.votes() == []
    voter.page.evaluate("sessionStorage.removeItem('arena-unacked-acts')")


def test_a_battle_voted_on_already_counts_once_whatever_comes_later(voter: Voter) -> None:
    voter.open()
    token = voter.press("ArrowRight")
    voter.settled()
    send(voter, vote_on(token))
    assert [vote.outcome for vote in voter.votes()] == ["right"]
    voter.page.get_by_text("You had voted on that pair already").wait_for(timeout=PATIENCE)


def test_a_pair_on_screen_for_too_long_is_not_counted(voter: Voter) -> None:
    voter.open()
    token, arena = voter.shown(), voter.server.arena
    old = (datetime.now(UTC) - battles.LIFETIME - timedelta(hours=1)).replace(tzinfo=None)
    with arena.store.engine.begin() as connection:
        connection.execute(text("UPDATE battles SET at = :at WHERE token = :token"), {"at": str(old), "token": token})
    voter.press("ArrowLeft")
    voter.page.get_by_text("too long ago").wait_for(timeout=PATIENCE)
    voter.settled()
    assert voter.votes() == []
    later = voter.press("ArrowLeft")
    voter.settled()
    assert [vote.battle_id for vote in voter.votes()] == voter.battle_ids([later])


def test_a_contestant_retired_while_its_pair_is_on_screen(voter: Voter) -> None:
    voter.open()
    arena, token = voter.server.arena, voter.shown()
    names = {one.id: one.name for one in arena.store.contestants()}
    gone = arena.store.battle(token).left.contestant_id
    moderation.retire_contestant(arena, ADMIN, names[gone], "a test")
    try:
        voter.press("ArrowLeft")
        voter.page.get_by_text("One of these two was withdrawn while you looked.").wait_for(timeout=PATIENCE)
        voter.settled()
        assert [vote.battle_id for vote in voter.votes()] == voter.battle_ids([token])
        voter.page.reload()
        shown = [voter.press("ArrowUp") for _ in range(6)]
        for battle in map(arena.store.battle, shown):
            assert gone not in (battle.left.contestant_id, battle.right.contestant_id)
    finally:
        moderation.restore_contestant(arena, ADMIN, names[gone], "a test")


def has_pairs_at_hand(voter: Voter, pairs: int = 6) -> None:
    """Until the pictures of so many pairs have come, those that were voted on among them, and had time to be decoded:
    without a line no further one comes."""
    loaded = "performance.getEntriesByType('resource').filter((one) => one.name.includes('/img/')).length"
    voter.page.wait_for_function(f"{loaded} >= {2 * pairs}", timeout=PATIENCE)
    voter.page.wait_for_timeout(300)


def test_presses_while_the_line_is_cut_count_once_when_it_is_back(voter: Voter, line: Line) -> None:
    voter.page.goto(f"http://localhost:{line.port}/")
    pressed = [voter.press("ArrowLeft")]
    voter.settled()
    has_pairs_at_hand(voter)
    line.cut()
    for _ in range(3):
        pressed.append(voter.press("ArrowRight"))  # decoded pairs are at hand
    voter.page.get_by_text("No answer from the server.").wait_for(timeout=PATIENCE)
    voter.page.wait_for_timeout(31_000)
    assert [vote.battle_id for vote in voter.votes()] == voter.battle_ids(pressed[:1])
    line.mend()
    voter.settled()
    pressed.append(voter.press("ArrowUp"))
    voter.settled()
    assert [vote.battle_id for vote in voter.votes()] == voter.battle_ids(pressed)
    voter.page.get_by_text("No answer from the server.").wait_for(state="hidden", timeout=PATIENCE)


def test_the_browser_offline_in_mid_vote(voter: Voter) -> None:
    voter.open()
    pressed = [voter.press("ArrowLeft")]
    has_pairs_at_hand(voter)
    voter.page.context.set_offline(True)
    try:
        pressed += [voter.press("ArrowRight") for _ in range(2)]
        voter.page.wait_for_timeout(1500)
    finally:
        voter.page.context.set_offline(False)
    voter.settled()
    assert [vote.battle_id for vote in voter.votes()] == voter.battle_ids(pressed)


def test_a_reload_right_after_a_press(voter: Voter) -> None:
    voter.open()
    token = voter.shown()
    voter.page.keyboard.press("ArrowDown")
    voter.page.reload()
    assert voter.shown() != token
    voter.settled()
    assert [(vote.battle_id, vote.outcome) for vote in voter.votes()] == [(voter.battle_ids([token])[0], "both_bad")]


def test_back_and_forth_between_pages(voter: Voter) -> None:
    voter.open()
    pressed = [voter.press("ArrowLeft")]
    voter.settled()
    open_battle = voter.shown()
    voter.page.get_by_role("link", name="Leaderboard").click()
    voter.page.wait_for_url("**/leaderboard*", timeout=PATIENCE)
    voter.page.locator(".surface").wait_for(state="detached", timeout=PATIENCE)
    voter.page.keyboard.press("ArrowLeft")  # on another page an arrow is no vote
    voter.page.go_back()
    assert voter.shown() == open_battle
    pressed.append(voter.press("ArrowRight"))
    voter.settled()
    assert [vote.battle_id for vote in voter.votes()] == voter.battle_ids(pressed)


def test_a_line_delays_what_it_says(server: Server) -> None:
    slow = Line(server.port, delay=0.05)
    try:
        assert round_trip(slow.port, times=3) - round_trip(server.port, times=3) > 0.08
    finally:
        slow.close()
