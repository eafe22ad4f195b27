"""What a voter can do besides pressing an arrow: letters, touch, undo, zoom, swap, report, reasons, places."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from arena.domain import Outcome, ReasonTag, ReportReason, Side
from arena.services import battles
from db.voting import Voting
from tests.browser.conftest import FIND, NAMES, PATIENCE, Axe, Voter

pytestmark = pytest.mark.browser

SHIFTS = """() => {
  window.shifts = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.shifts.push({ value: entry.value, what: entry.sources.map(
      (one) => `${one.node?.nodeName} ${one.node?.className} ${JSON.stringify(one.previousRect)}`) });
  }).observe({ type: 'layout-shift' });
}"""


def sources(voter: Voter) -> list[str]:
    return voter.page.locator(".frame img").evaluate_all("(all) => all.map((one) => new URL(one.src).pathname)")


def test_letters_vote_as_arrows_do(voter: Voter) -> None:
    voter.open()
    pressed = [voter.press(key) for key in "abtn"]
    voter.settled()
    assert [vote.battle_id for vote in voter.votes()] == voter.battle_ids(pressed)
    assert [vote.outcome for vote in voter.votes()] == ["left", "right", "tie", "both_bad"]
    hints = voter.page.locator(".choices kbd").all_text_contents()
    assert hints == ["←", "A", "↑", "T", "↓", "N", "B", "→", "S"]


def test_the_last_vote_is_taken_back_and_its_pair_returns_with_names(voter: Voter) -> None:
    voter.open()
    first = voter.press("ArrowLeft")
    voter.settled()
    second = voter.shown()
    voter.page.keyboard.press("u")
    returned = voter.shown(other_than=second)
    voter.page.get_by_text("Your last vote is taken back.").wait_for(timeout=PATIENCE)
    assert returned not in (first, second)
    assert [name.strip(" ·") for name in voter.page.locator(".by").all_text_contents()] == names_of(voter, first)
    assert not voter.page.locator(".reveal").is_visible()
    (vote,) = voter.votes()
    assert voter.page.get_by_role("button", name="Undo").is_disabled()
    counted = len(voter.server.arena.store.voted_pairs())
    voter.page.keyboard.press("ArrowRight")
    assert voter.shown(other_than=returned) == second
    voter.settled()
    assert voter.votes() == [vote] and len(voter.server.arena.store.voted_pairs()) == counted
    voter.press("ArrowUp")
    voter.settled()
    assert len(voter.server.arena.store.voted_pairs()) == counted + 1


def test_an_undone_vote_comes_back_after_a_reload_too(voter: Voter) -> None:
    voter.open()
    voter.press("ArrowLeft")
    voter.settled()
    voter.page.keyboard.press("u")
    returned = voter.shown(other_than=voter.page.locator(".surface").get_attribute("data-token"))
    voter.page.reload()
    assert voter.shown() == returned


def test_a_vote_from_before_a_reload_is_taken_back(voter: Voter) -> None:
    voter.open()
    voted = voter.press("ArrowLeft")
    voter.settled()
    voter.page.reload()
    waiting = voter.shown()
    counted = len(voter.server.arena.store.voted_pairs())
    voter.page.keyboard.press("u")
    voter.page.get_by_text("Your last vote is taken back.").wait_for(timeout=PATIENCE)
    returned = voter.shown(other_than=waiting)
    assert [name.strip(" ·") for name in voter.page.locator(".by").all_text_contents()] == names_of(voter, voted)
    assert len(voter.server.arena.store.voted_pairs()) == counted - 1
    voter.page.keyboard.press("s")
    assert voter.shown(other_than=returned) == waiting


def test_a_skip_is_taken_back_and_the_pair_is_still_blind(voter: Voter) -> None:
    voter.open()
    skipped = voter.press("s")
    voter.page.keyboard.press("u")
    voter.page.locator(f'.surface[data-token="{skipped}"][aria-busy="false"]').wait_for(timeout=PATIENCE)
    assert voter.page.locator(".by").all_text_contents() == ["", ""]
    voter.press("ArrowDown")
    voter.settled()
    assert [vote.battle_id for vote in voter.votes()] == voter.battle_ids([skipped])


def test_pictures_are_enlarged_under_their_blind_address_and_escape_closes(voter: Voter) -> None:
    voter.open()
    token = voter.shown()
    picture = voter.page.locator("dialog.zoom img")
    voter.page.keyboard.press("z")
    for place, key in (("A", "ArrowLeft"), ("B", "ArrowRight")):
        voter.page.keyboard.press(key)
        side = {"A": "left", "B": "right"}[place]
        voter.page.locator(f'dialog.zoom img[src$="img/{token}/{side}/full"]').wait_for(timeout=PATIENCE)
        assert picture.get_attribute("alt") == f"Picture {place}, enlarged"
        assert picture.evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [2048, 2048]
    voter.page.keyboard.press("z")
    assert voter.page.locator("dialog.zoom.actual img").bounding_box()["width"] == 2048
    voter.page.keyboard.press("Escape")
    picture.wait_for(state="hidden", timeout=PATIENCE)
    assert voter.shown() == token and voter.votes() == []
    voter.page.get_by_role("button", name="Enlarge picture B").click()
    assert picture.get_attribute("alt") == "Picture B, enlarged"
    voter.page.get_by_role("button", name="Close").click()
    picture.wait_for(state="hidden", timeout=PATIENCE)


def test_swapped_sides_are_recorded_for_the_right_picture(voter: Voter) -> None:
    voter.open()
    token = voter.shown()
    before = sources(voter)
    voter.page.keyboard.press("x")
    assert sources(voter) == before[::-1] == [f"/img/{token}/right", f"/img/{token}/left"]
    assert voter.page.locator(".frame img").first.get_attribute("alt") == "Picture A"
    voter.press("ArrowLeft")
    voter.settled()
    (vote,) = voter.votes()
    assert (vote.outcome, vote.swapped, vote.recipe) == (Outcome.RIGHT, True, "display@1")
    assert voter.page.locator(".maker .name").all_text_contents() == names_of(voter, token)[::-1]
    assert "You chose A" in (voter.page.locator(".verdict").text_content() or "")
    voter.press("ArrowLeft")
    voter.settled()
    assert (voter.votes()[1].outcome, voter.votes()[1].swapped) == (Outcome.LEFT, False)


def test_a_reported_pair_goes_away_and_the_report_is_kept(voter: Voter) -> None:
    voter.open()
    token = voter.shown()
    voter.page.keyboard.press("x")
    voter.page.keyboard.press("f")
    voter.page.get_by_role("radio", name="A", exact=True).check()
    voter.page.keyboard.press("3")
    assert voter.shown(other_than=token)
    voter.page.get_by_text("Thank you. The pair is put aside").wait_for(timeout=PATIENCE)
    report = Voting(voter.server.arena.store).reports()[0]
    assert (report.battle.token, report.reason, report.voter_id) == (token, ReportReason.REVEALS, voter.id)
    assert report.side is Side.RIGHT, "with the sides swapped, A is the battle's right one"
    voter.page.reload()
    assert voter.shown() != token and voter.votes() == []


def test_reasons_are_kept_with_the_vote_and_delay_nothing(voter: Voter) -> None:
    voter.open()
    voter.press("ArrowLeft")
    voter.page.locator(".tags button").first.wait_for(timeout=PATIENCE)
    token = voter.shown()
    voter.page.keyboard.press("1")
    voter.page.get_by_role("button", name="Beauty").click()
    voter.page.get_by_role("button", name="Beauty").click()
    assert voter.shown() == token, "the next pair stays where it is"
    voter.settled()
    (vote,) = voter.votes()
    assert Voting(voter.server.arena.store).tags()[vote.id or 0] == [ReasonTag.AESTHETICS, ReasonTag.PROMPT]
    assert voter.page.locator('.tags [aria-pressed="true"]').count() == 2


def test_a_reason_is_never_given_to_another_vote_than_the_one_that_is_told(voter: Voter) -> None:
    """After a further vote what is told is of the earlier one, until the answer comes; reasons wait for it too."""
    voter.open()
    voter.press("ArrowLeft")
    voter.page.locator(".tags button").first.wait_for(timeout=PATIENCE)
    voter.settled()
    voter.page.route("**/vote/acts", lambda route: None)  # on its way for as long as one likes
    voter.press("ArrowRight")
    assert voter.page.locator(".tags button:disabled").count() == 4
    voter.page.keyboard.press("1")
    voter.page.unroute("**/vote/acts")
    voter.page.locator(".tags button:not(:disabled)").first.wait_for(timeout=PATIENCE)
    voter.page.keyboard.press("2")
    voter.settled()
    one, two = (vote.id or 0 for vote in voter.votes())
    tags = Voting(voter.server.arena.store).tags()
    assert one not in tags and tags[two] == [ReasonTag.REALISM]


def test_arrows_vote_again_after_a_choice_with_the_mouse(voter: Voter) -> None:
    voter.open()
    voter.shown()
    select = voter.page.get_by_label("Category of the prompts")
    select.dispatch_event("pointerdown")
    select.focus()
    select.select_option("calm")
    voter.page.locator('.surface[data-category="calm"]').wait_for(timeout=PATIENCE)
    token = voter.press("ArrowDown")
    voter.settled()
    assert [vote.battle_id for vote in voter.votes()] == voter.battle_ids([token])
    assert "category=calm" in voter.page.url


def test_a_category_stands_in_the_address_and_holds_its_own_pairs(voter: Voter) -> None:
    voter.open()
    voter.shown()
    voter.page.get_by_label("Category of the prompts").select_option("calm")
    voter.page.wait_for_url("**category=calm*", timeout=PATIENCE)
    voter.page.locator('.surface[data-category="calm"]').wait_for(timeout=PATIENCE)
    pressed = [voter.press("ArrowUp") for _ in range(6)]
    voter.page.reload()
    pressed.append(voter.press("ArrowUp"))
    assert {voter.server.arena.store.battle(token).prompt.category for token in pressed} == {"calm"}
    voter.page.get_by_label("Category of the prompts").select_option("")
    voter.page.wait_for_url(lambda url: "category" not in url, timeout=PATIENCE)
    voter.page.goto(f"{voter.server.url}/?category=%3Cimg%20src%3Dx%20onerror%3D%22window.hacked%3D1%22%3E")
    voter.page.get_by_text("There is no pair left for you in the category “<img src=x").wait_for(timeout=PATIENCE)
    assert voter.page.evaluate("window.hacked") is None


def test_side_by_side_shows_names_and_its_votes_reach_no_board(voter: Voter, axe: Axe) -> None:
    store = voter.server.arena.store
    before = len(store.votes()), store.voted_pairs(), store.cached_ratings(battles.BOARD)
    voter.open("?mode=names")
    token = voter.shown()
    assert all(name.strip(" ·") in NAMES for name in voter.page.locator(".by").all_text_contents())
    assert "counts on no leaderboard" in (voter.page.locator(".hint").text_content() or "")
    assert axe(voter.page) == []
    pressed = [voter.press(key) for key in ("ArrowLeft", "ArrowUp", "s")]
    voter.settled()
    assert pressed[0] == token and "counts on no leaderboard" in (voter.page.locator(".why").text_content() or "")
    assert (len(store.votes()), store.voted_pairs(), store.cached_ratings(battles.BOARD)) == before
    voter.page.get_by_label("Whether the makers are shown").select_option("")
    voter.page.wait_for_url(lambda url: "mode" not in url, timeout=PATIENCE)
    voter.page.locator('.surface[data-mode=""]').wait_for(timeout=PATIENCE)
    assert voter.shown() not in pressed


def test_the_share_of_people_who_agree_is_told_where_enough_have_voted(voter: Voter) -> None:
    voter.open()
    arena, token = voter.server.arena, voter.shown()
    for n in range(battles.ENOUGH_OTHERS):
        other = replace(arena.store.battle(token), token=f"{token}-{n}", drawn_for=f"person:crowd-{n}", id=None)
        arena.store.add_battle(other)
        battles.vote(arena, other.drawn_for, other.token, "left" if n else "tie")
    voter.press("ArrowLeft")
    # Votes of other tests on the same pair count too: at least these are there.
    told = voter.page.get_by_text(re.compile(r"\d+ of \d+ other people \(\d+%\) said the same of this pair\."))
    told.wait_for(timeout=PATIENCE)
    voter.press("ArrowLeft")
    told.wait_for(state="hidden", timeout=PATIENCE)


def test_a_swipe_votes_and_a_tap_enlarges_on_a_phone(voter: Voter) -> None:
    browser = voter.page.context.browser
    phone = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    try:
        voter = Voter(phone.new_page(), voter.server).open()
        first = voter.shown()
        swipe(voter, dx=-150)
        second = voter.shown(other_than=first)
        swipe(voter, dx=150)
        third = voter.shown(other_than=second)
        swipe(voter, dx=20)
        voter.page.get_by_role("button", name="Tie").click()
        fourth = voter.shown(other_than=third)
        voter.settled()
        assert [vote.battle_id for vote in voter.votes()] == voter.battle_ids([first, second, third])
        assert [vote.outcome for vote in voter.votes()] == ["left", "right", "tie"]
        magnify(voter, 2)
        swipe(voter, dx=-120)  # moves the enlarged page about
        voter.page.wait_for_timeout(300)
        magnify(voter, 1)
        enlarge_by_tap(voter)
        assert voter.page.locator(".surface").get_attribute("data-token") == fourth
        wide = voter.page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
        assert wide <= 390
    finally:
        phone.close()


def magnify(voter: Voter, times: float) -> None:
    """As two fingers do."""
    session = voter.page.context.new_cdp_session(voter.page)
    session.send("Emulation.setPageScaleFactor", {"pageScaleFactor": times})
    voter.page.wait_for_function(f"Math.abs(visualViewport.scale - {times}) < 0.1", timeout=PATIENCE)


def enlarge_by_tap(voter: Voter, tries: int = 8) -> None:
    """Tap until it is open: on a busy machine half a second may pass before the finger is up again, and a browser takes
    that for a long press, which presses nothing."""
    from playwright.sync_api import TimeoutError

    enlarged = voter.page.locator("dialog.zoom img")
    for _ in range(tries):
        voter.page.get_by_role("button", name="Enlarge picture A").tap()
        with suppress(TimeoutError):
            return enlarged.wait_for(timeout=PATIENCE / tries)
    raise AssertionError(f"{tries} taps did not enlarge the picture")


def swipe(voter: Voter, dx: int) -> None:
    """A finger on the pair, moved by so many pixels."""
    box = voter.page.locator(".pair").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = voter.page.context.new_cdp_session(voter.page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 5):
        moved = {"x": x + dx * step / 4, "y": y}
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [moved]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_nothing_ever_shifts(voter: Voter) -> None:
    """Cumulative layout shift, presses included, over every kind of act."""
    voter.open()
    voter.shown()
    voter.page.evaluate(SHIFTS)
    for key in ("ArrowLeft", "ArrowRight", "s", "t", "x", "n"):
        voter.press(key) if key != "x" else voter.page.keyboard.press(key)
        voter.page.wait_for_timeout(150)
    voter.settled()
    voter.page.keyboard.press("2")
    voter.page.keyboard.press("u")
    voter.page.get_by_text("Your last vote is taken back.").wait_for(timeout=PATIENCE)
    voter.shown()
    voter.page.wait_for_timeout(300)
    shifts = voter.page.evaluate("window.shifts")
    assert shifts == [], "\n".join(map(str, shifts))


def test_a_shift_would_have_been_seen(voter: Voter) -> None:
    voter.open()
    voter.shown()
    voter.page.evaluate(SHIFTS)
    voter.page.evaluate(f"{FIND}.querySelector('.prompt').style.height = '200px'")
    voter.page.wait_for_function("window.shifts.some((one) => one.value > 0)", timeout=PATIENCE)


def test_motion_is_reduced_where_that_is_asked_for(voter: Voter) -> None:
    voter.page.emulate_media(reduced_motion="reduce")
    voter.open()
    voter.shown()
    moving = (
        f"[...{FIND}.querySelectorAll('*')].filter((one) => getComputedStyle(one).transitionDuration !== '0s').length"
    )
    assert voter.page.evaluate(moving) == 0


def test_both_pictures_appear_together_once_both_are_there(voter: Voter) -> None:
    held: list[Any] = []
    voter.page.route("**/right", lambda route: held.append(route))
    voter.open()
    voter.page.locator(".surface").wait_for(timeout=PATIENCE)
    while not held:
        voter.page.wait_for_timeout(50)
    voter.page.wait_for_timeout(500)
    assert voter.page.locator(".frame img").count() == 0
    assert voter.page.locator(".surface").get_attribute("data-state") == "waiting"
    for route in held:
        route.continue_()
    voter.page.unroute("**/right")
    voter.shown()
    assert voter.page.locator(".frame img").count() == 2


@pytest.mark.parametrize("dialog", ["z", "f"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_dialogs(voter: Voter, axe: Axe, scheme: str, dialog: str) -> None:
    voter.page.emulate_media(color_scheme=scheme)
    voter.open()
    voter.shown()
    voter.page.keyboard.press(dialog)
    voter.page.locator("dialog[open]").wait_for(timeout=PATIENCE)
    assert axe(voter.page) == []


def names_of(voter: Voter, token: str) -> list[str]:
    """Who made the battle's two pictures, left first."""
    battle = voter.server.arena.store.battle(token)
    names = {contestant.id: contestant.name for contestant in voter.server.arena.store.contestants()}
    return [names[battle.left.contestant_id], names[battle.right.contestant_id]]
