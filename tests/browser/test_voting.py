"""Voting in a real browser: every press counts once, for the pair that was on screen, and nobody can peek."""

from __future__ import annotations

import hashlib
import signal
from typing import Any

import pytest

from arena.services import display
from arena.services.leaderboard import leaderboard
from tests.browser.conftest import NAMES, PATIENCE, Axe, Server, Voter, free_port

pytestmark = pytest.mark.browser

KEYS = {"ArrowLeft": "left", "ArrowRight": "right", "ArrowUp": "tie", "ArrowDown": "both_bad"}

# Notes each pair at the moment it may be voted on.
WATCH = """
() => {
  const find = (node) => node.querySelector('.surface') ??
    [...node.querySelectorAll('*')].map((e) => e.shadowRoot && find(e.shadowRoot)).find(Boolean);
  const el = find(document);
  window.painted = [];
  const note = () => el.ariaBusy === 'false' && !window.painted.includes(el.dataset.token)
    && window.painted.push(el.dataset.token);
  note();
  new MutationObserver(note).observe(el, { attributes: true });
}
"""


def test_twenty_presses_are_twenty_votes_in_order_and_move_the_board(voter: Voter) -> None:
    voter.open()
    keys = [list(KEYS)[n % 4] for n in range(20)]
    pressed = []
    for key in keys:
        prompt = voter.server.arena.store.battle(voter.shown()).prompt.text
        assert voter.page.locator(".prompt").text_content() == prompt
        pressed.append(voter.press(key))
    voter.settled()
    votes = voter.votes()
    assert [vote.battle_id for vote in votes] == voter.battle_ids(pressed)
    assert [vote.outcome for vote in votes] == [KEYS[key] for key in keys]
    assert all(vote.decision_seconds is not None and 0 <= vote.decision_seconds < 60 for vote in votes)
    assert voter.page.evaluate("window.hacked") is None

    voter.page.get_by_role("link", name="Leaderboard").click()
    board = leaderboard(voter.server.arena)
    voter.page.get_by_text(f"Computed from {board.votes} votes").wait_for(timeout=PATIENCE)
    heads = [head.split("\n")[0] for head in voter.page.locator(".board thead th").all_inner_texts()]
    cells = {
        row.locator("th a").inner_text(): row.locator("th, td").all_inner_texts()[heads.index("Elo")]
        for row in voter.page.locator(".board tbody tr").all()
    }
    assert cells == {row.name: f"{row.elo:.1f}" for row in board.rows}
    assert board.votes == 20
    assert "libtorch" not in voter.server.memory_maps()


def test_a_reload_keeps_the_voter_and_the_open_battle(voter: Voter) -> None:
    voter.open()
    voter.press("ArrowUp")
    voter.settled()
    who, open_battle = voter.id, voter.shown()
    voter.page.reload()
    assert voter.shown() == open_battle
    voter.press("ArrowDown")
    voter.settled()
    assert voter.id == who
    assert [vote.outcome for vote in voter.votes()] == ["tie", "both_bad"]


def test_hasty_presses_count_once_for_each_pair_that_was_shown(voter: Voter) -> None:
    voter.open()
    voter.shown()
    voter.page.evaluate(WATCH)
    for n in range(30):
        voter.page.keyboard.press("ArrowLeft" if n % 2 else "ArrowRight")
        voter.page.wait_for_timeout(40)
    on_screen = voter.shown()
    voter.settled()
    painted = voter.page.evaluate("window.painted")
    assert painted[-1] == on_screen
    assert [vote.battle_id for vote in voter.votes()] == voter.battle_ids(painted[:-1])
    assert 1 < len(painted) <= 31


def test_a_key_held_down_is_one_vote_and_modified_keys_are_none(voter: Voter) -> None:
    voter.open()
    first = voter.shown()
    for combination in ["Shift+ArrowLeft", "Control+ArrowLeft", "Alt+ArrowUp", "x"]:
        voter.page.keyboard.press(combination)
    assert voter.shown() == first
    for _ in range(5):
        voter.page.keyboard.down("ArrowRight")
        voter.page.wait_for_timeout(60)
    voter.page.keyboard.up("ArrowRight")
    voter.settled()
    assert [vote.battle_id for vote in voter.votes()] == voter.battle_ids([first])


def test_buttons_vote_and_the_reveal_tells_of_the_battle_before(voter: Voter) -> None:
    voter.open()
    skipped = voter.shown()
    voter.page.get_by_role("button", name="Skip").click()
    voted = voter.shown(other_than=skipped)
    assert not voter.page.locator(".reveal").is_visible()
    voter.page.get_by_role("button", name="B is better").click()
    last = voter.shown(other_than=voted)
    voter.settled()
    assert [vote.battle_id for vote in voter.votes()] == voter.battle_ids([voted])

    battle = voter.server.arena.store.battle(voted)
    names = {contestant.id: contestant.name for contestant in voter.server.arena.store.contestants()}
    voter.page.locator(".reveal").wait_for(timeout=PATIENCE)
    told = voter.page.locator(".maker .name").all_text_contents()
    assert told == [names[battle.left.contestant_id], names[battle.right.contestant_id]]
    assert f"{told[1]} was expected to score" in (voter.page.locator(".why").text_content() or "")
    assert [gain[0] for gain in voter.page.locator(".maker .gain").all_text_contents()] == ["▼", "▲"]
    voter.page.reload()
    assert voter.shown() == last


def test_the_same_battle_in_two_tabs_counts_once(voter: Voter) -> None:
    voter.open()
    second = Voter(voter.page.context.new_page(), voter.server).open()
    both = voter.shown()
    assert second.shown() == both
    voter.press("ArrowLeft")
    voter.settled()
    second.page.bring_to_front()
    assert second.press("ArrowRight") == both
    second.settled()
    assert [vote.outcome for vote in voter.votes()] == ["left"]
    second.press("ArrowUp")
    second.settled()
    assert [vote.outcome for vote in voter.votes()] == ["left", "tie"]


def test_a_killed_server_loses_and_doubles_nothing(voter: Voter) -> None:
    voter.open()
    pressed = [voter.press("ArrowLeft") for _ in range(3)]
    voter.server.stop(signal.SIGKILL)
    pressed.append(voter.press("ArrowRight", wait=False))
    voter.server.start()
    voter.settled()  # the page reconnects by itself
    pressed.append(voter.press("ArrowUp"))
    voter.settled()
    votes = voter.votes()
    assert [vote.battle_id for vote in votes] == voter.battle_ids(pressed)
    assert [vote.outcome for vote in votes] == ["left", "left", "left", "right", "tie"]


def test_presses_survive_a_killed_server_and_a_reload(voter: Voter) -> None:
    voter.open()
    pressed = [voter.press("ArrowLeft")]
    voter.settled()
    voter.server.stop(signal.SIGKILL)
    pressed.append(voter.press("ArrowDown", wait=False))
    voter.server.start()
    voter.page.reload()
    assert voter.shown() not in pressed
    voter.settled()
    assert [vote.battle_id for vote in voter.votes()] == voter.battle_ids(pressed)


def test_nothing_tells_the_makers_before_the_vote(voter: Voter) -> None:
    """All that the browser received before the vote: every answer with its headers, every frame, the page itself."""
    seen = Everything(voter.page)
    voter.open()
    token = voter.shown()
    voter.page.keyboard.press("z")
    voter.page.keyboard.press("ArrowRight")
    voter.page.locator('dialog.zoom img[src$="/right/full"]').wait_for(timeout=PATIENCE)
    voter.page.keyboard.press("Escape")
    voter.page.keyboard.press("x")
    sizes = voter.page.locator(".frame img").evaluate_all("(all) => all.map((one) => one.naturalWidth)")
    voter.page.wait_for_timeout(300)
    before = seen.text() + voter.page.content() + str(voter.page.locator(".surface").inner_html())
    secrets = secrets_of(voter.server)
    assert len(secrets) > 300
    assert [secret for secret in secrets if secret in before] == []
    assert seen.elsewhere == [] and sizes == [1024, 1024]
    same_but_for_their_content(seen, token)

    voter.press("ArrowLeft")
    voter.settled()
    assert any(name in seen.text() for name in NAMES), "the search above would not have found a name"


def same_but_for_their_content(seen: Everything, token: str) -> None:
    """Pictures have the same headers, and both of a pair the same length, a multiple of 16 KiB."""
    assert len(seen.pictures) >= 10
    varying = {"date", "content-length"}
    headers = {tuple(sorted((k, v) for k, v in one.items() if k not in varying)) for one in seen.pictures.values()}
    (only,) = headers
    assert not {"etag", "last-modified", "content-disposition", "content-encoding"} & dict(only).keys()
    assert dict(only)["content-type"] == "image/jpeg"
    lengths = {url: int(one["content-length"]) for url, one in seen.pictures.items()}
    assert all(length % (16 * 1024) == 0 for length in lengths.values())
    for url, length in lengths.items():
        if "/left" in url and (other := lengths.get(url.replace("/left", "/right"))):
            assert length == other
    assert any(token in url for url in lengths)


class Everything:
    """All that a page receives: answers with their headers, and websocket frames."""

    def __init__(self, page: Any):
        self.received: list[Any] = []
        self.frames: list[str] = []
        self.pictures: dict[str, dict[str, str]] = {}
        self.elsewhere: list[str] = []
        page.on("response", self._note)
        page.on("websocket", lambda socket: socket.on("framereceived", self._frame))

    def _note(self, response: Any) -> None:
        if response.url.startswith(("blob:", "data:")):
            return
        if not response.url.startswith("http://localhost:"):
            self.elsewhere.append(response.url)
        if "/img/" in response.url:
            self.pictures[response.url] = response.headers
        if "/static/" not in response.url:  # Streamlit's own bundles
            self.received.append(response)

    def _frame(self, payload: str | bytes) -> None:
        self.frames.append(payload if isinstance(payload, str) else payload.decode("utf-8", "replace"))

    def text(self) -> str:
        answers = [f"{one.url} {one.headers} {one.body().decode('utf-8', 'replace')}" for one in self.received]
        return "\n".join([*answers, *self.frames])


def secrets_of(server: Server) -> list[str]:
    """Names, settings, fingerprints and hashes of contestants and of their pictures, stored and shown."""
    arena = server.arena
    told = [*NAMES, "swatch", "fingerprint", "contestant", "sha256"]
    for contestant in arena.store.contestants():
        told += [contestant.fingerprint, contestant.fingerprint[:12]]
        for image in [one.image for one in arena.store.generations(contestant.id or 0) if one.image]:
            shown = hashlib.sha256(display.rendition(arena, image.sha256, display.Size.PAIR)).hexdigest()
            told += [image.sha256, image.sha256[:12], shown, shown[:12]]
    return told


def test_pages_below_a_path_work_as_they_do_at_the_root(voter: Voter) -> None:
    """As behind a proxy that shares its name with other sites."""
    elsewhere = Server(voter.server.arena, free_port(), below="arena/of/images")
    elsewhere.start()
    try:
        voter = Voter(voter.page, elsewhere)
        voter.open("vote?category=calm")
        pressed = [voter.press("ArrowLeft")]
        voter.page.locator(".maker img").first.wait_for(timeout=PATIENCE)
        voter.settled()
        assert voter.page.locator(".maker img").first.evaluate("(one) => one.decode().then(() => one.naturalWidth)")
        assert [vote.battle_id for vote in voter.votes()] == voter.battle_ids(pressed)
        voter.page.get_by_role("link", name="Leaderboard").click()
        voter.page.get_by_role("link", name=NAMES[0]).first.click()
        voter.page.get_by_role("heading", name=NAMES[0]).wait_for(timeout=PATIENCE)
        assert "/arena/of/images/model" in voter.page.url
    finally:
        elsewhere.stop()


def test_a_browser_that_refuses_cookies_votes_for_one_sitting(voter: Voter) -> None:
    def forget(route: Any) -> None:
        """The page has arrived with its cookie; the websocket that follows brings none."""
        voter.page.context.clear_cookies()
        route.continue_()

    voter.page.route("**/_stcore/host-config", forget)
    before = len(voter.server.arena.store.votes())
    voter.open()
    token = voter.press("ArrowLeft")
    voter.settled()
    assert [vote.battle_id for vote in voter.server.arena.store.votes()[before:]] == voter.battle_ids([token])


def test_the_plain_page_votes(voter: Voter) -> None:
    voter.open("?ui=basic")
    picture = voter.page.get_by_alt_text("Picture A")
    picture.wait_for(timeout=PATIENCE)
    token = picture.get_attribute("src").split("/")[1]
    voter.page.get_by_role("button", name="A is better").click()
    voter.page.get_by_text("You chose A").wait_for(timeout=PATIENCE)
    assert [(vote.battle_id, vote.outcome) for vote in voter.votes()] == [(voter.battle_ids([token])[0], "left")]


@pytest.mark.parametrize("width", [1280, 390])
def test_the_boxes_are_equal_and_nothing_shifts(voter: Voter, width: int) -> None:
    voter.page.set_viewport_size({"width": width, "height": 844})
    voter.open()
    voter.shown()

    def boxes() -> list[dict[str, float]]:
        return [one.bounding_box() for one in voter.page.locator(".frame, .choices button").all()]

    before = boxes()
    left, right = before[:2]
    assert (left["width"], left["height"], left["y"]) == (right["width"], right["height"], right["y"])
    assert left["width"] > 0.4 * min(width, 900) - 20
    voter.press("ArrowLeft")
    voter.settled()
    assert boxes() == before
    assert voter.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    # The theme is found although the server was started in another folder.
    background = voter.page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert background == "rgb(253, 252, 250)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(voter: Voter, axe: Axe, scheme: str) -> None:
    voter.page.emulate_media(color_scheme=scheme)
    voter.open()
    voter.press("ArrowLeft")
    voter.page.locator(".reveal").wait_for(timeout=PATIENCE)
    assert axe(voter.page) == []


def test_axe_would_find_a_picture_without_words_inside_the_surface(voter: Voter, axe: Axe) -> None:
    voter.open()
    voter.shown()
    voter.page.locator(".frame img").first.evaluate("(image) => image.removeAttribute('alt')")
    (found,) = axe(voter.page)
    assert found.startswith("critical image-alt")
