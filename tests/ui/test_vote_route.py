"""The route that the voting surface posts to, over HTTP as a browser, a stranger and a forger speak it."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from arena.bootstrap import Arena
from arena.errors import DatabaseError
from arena.services import voters
from arena.web.voting import MOST_BYTES, routes

COOKIE = "v"


class Browser:
    """A visitor with a cookie, who posts as the page does."""

    def __init__(self, arena: Arena, cookie: str | None = None):
        self.cookie = cookie or voters.new_voter_token(arena)
        self.id = voters.voter_id(arena, self.cookie) or ""
        self.client = TestClient(Starlette(routes=routes(lambda: arena, COOKIE)), cookies={COOKIE: self.cookie})
        self.arena = arena

    def post(self, *acts: dict[str, Any], **more: Any) -> dict[str, Any]:
        answer = self.client.post("/vote/acts", json={"acts": acts, **more})
        assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
        return answer.json()

    def outcomes(self) -> list[str]:
        return [vote.outcome.value for vote in self.arena.store.votes(self.id)]


def act(id: str, do: str, token: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "do": do, "token": token, **more}


def test_a_vote_is_performed_acknowledged_and_revealed_and_brings_further_pairs(seeded: Arena) -> None:
    browser = Browser(seeded)
    first = browser.post()
    assert first["acked"] == [] and first["reveal"] is None and len(first["queue"]) == 8
    token = first["queue"][0]["token"]
    assert set(first["queue"][0]) == {"token", "prompt", "left", "right", "names", "undone"}
    after = browser.post(act("1", "vote", token, outcome="left", seconds=1.5))
    assert after["acked"] == ["1"] and after["reveal"]["token"] == token and after["notice"] == ""
    assert [pair["token"] for pair in after["queue"]] == [pair["token"] for pair in first["queue"][1:]]
    assert browser.outcomes() == ["left"]


def test_what_is_sent_again_is_acknowledged_again_and_counts_once(seeded: Arena) -> None:
    browser = Browser(seeded)
    one, two = [pair["token"] for pair in browser.post()["queue"][:2]]
    acts = [act("1", "vote", one, outcome="left"), act("2", "skip", two)]
    assert [browser.post(*acts)["acked"] for _ in range(3)] == [["1", "2"]] * 3
    assert browser.outcomes() == ["left"]


def test_an_undo_brings_the_pair_back_with_names_until_it_is_answered(seeded: Arena) -> None:
    browser = Browser(seeded)
    token = browser.post()["queue"][0]["token"]
    back = browser.post(act("1", "vote", token, outcome="left"), act("2", "undo", token))
    assert back["queue"][0]["undone"] == token and back["reveal"] is None and "taken back" in back["notice"]
    named = back["queue"][0]["token"]
    assert browser.post(returning=True)["queue"][0]["token"] == named
    answered = browser.post(act("3", "vote", named, outcome="right"), returning=True)
    assert all(pair["undone"] is None for pair in answered["queue"]) and "no leaderboard" in answered["reveal"]["why"]


def test_the_place_says_which_pairs_come(seeded: Arena) -> None:
    browser = Browser(seeded)
    cards = browser.post(place={"category": "cards", "names": False})["queue"]
    assert {seeded.store.battle(pair["token"]).prompt.category for pair in cards} == {"cards"}
    assert all(pair["names"] for pair in browser.post(place={"category": None, "names": True})["queue"])
    assert browser.post(place="elsewhere")["queue"], "garbage is everything, blind"


def test_a_browser_that_refuses_cookies_says_who_it_is(seeded: Arena) -> None:
    browser = Browser(seeded)
    browser.client.cookies.clear()
    token = browser.post(voter=browser.cookie)["queue"][0]["token"]
    browser.post(act("1", "vote", token, outcome="tie"), voter=browser.cookie)
    assert browser.outcomes() == ["tie"]


@pytest.mark.parametrize("voter", [None, "person:me", "person:me.forged", 7, "x" * 1000])
def test_a_stranger_is_told_to_reload(seeded: Arena, voter: object) -> None:
    client = TestClient(Starlette(routes=routes(lambda: seeded, COOKIE)), cookies={COOKIE: "person:me.forged"})
    answer = client.post("/vote/acts", json={"acts": [], "voter": voter})
    assert (answer.status_code, answer.json()["notice"]) == (
        403, "This page does not know who you are any more; reload it.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"acts=1", "application/x-www-form-urlencoded"),
        (b'{"acts": []}', "text/plain"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"[" * 60_000, "application/json"),
        (b'{"acts": "' + b"x" * MOST_BYTES + b'"}', "application/json"),
    ],
)
def test_only_json_of_a_sane_size_is_read(seeded: Arena, content: bytes, kind: str) -> None:
    browser = Browser(seeded)
    answer = browser.client.post("/vote/acts", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 400 and "128 KiB" in answer.json()["notice"]
    assert browser.client.get("/vote/acts").status_code == 405


def test_garbage_among_acts_is_dropped_and_the_rest_is_done(seeded: Arena) -> None:
    browser = Browser(seeded)
    token = browser.post()["queue"][0]["token"]
    garbage = [7, None, {"do": "vote"}, act("1", "vote", token, outcome="LEFT"), act("2", "drop", token)]
    assert browser.post(*garbage, act("3", "vote", token, outcome="right"))["acked"] == ["3"]
    assert browser.outcomes() == ["right"]


def test_a_database_that_is_away_keeps_the_votes_in_the_browser(seeded: Arena) -> None:
    def away() -> Arena:
        raise DatabaseError("The database is away.")

    answer = TestClient(Starlette(routes=routes(away, COOKIE))).post("/vote/acts", json={"acts": []})
    assert (answer.status_code, answer.json()) == (
        503, {"notice": "Your votes are kept here and will be sent again. The database is away."},
    )  # fmt: skip


def test_the_page_s_own_name_leads_to_it_and_keeps_the_choices(seeded: Arena) -> None:
    answer = Browser(seeded).client.get("/vote?category=colour&ui=basic", follow_redirects=False)
    assert answer.status_code == 307 and answer.headers["location"] == "./?category=colour&ui=basic"
