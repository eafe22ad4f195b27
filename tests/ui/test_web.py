"""Routes and the voter's cookie, over HTTP as a browser speaks it."""

from __future__ import annotations

from http.cookies import SimpleCookie

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from arena.bootstrap import Arena
from arena.errors import DatabaseError
from arena.services import battles, display, gallery, judging, voters
from arena.services.judging import Request as Judging
from arena.web.routes import routes
from arena.web.voter_cookie import middleware
from db.verdicts import Verdicts

HTML = {"Accept": "text/html,*/*"}


def page(_: Request) -> PlainTextResponse:
    return PlainTextResponse("a page")


def client(arena: Arena, base_url: str = "http://testserver") -> TestClient:
    served = Starlette(routes=[*routes(lambda: arena), Route("/", page)], middleware=middleware(lambda: arena, "v"))
    return TestClient(served, base_url=base_url)


def broken() -> Arena:
    raise DatabaseError("The database is away.")


def cookie_of(answer_header: str | None) -> SimpleCookie:
    return SimpleCookie(answer_header or "")


def test_a_picture_is_served_by_token_with_nothing_that_names_it(seeded: Arena) -> None:
    (battle,) = battles.open_battles(seeded, "person:x", n=1)
    answers = [client(seeded).get(f"/img/{battle.token}/{side}") for side in ("left", "right")]
    for answer, side in zip(answers, ("left", "right"), strict=True):
        assert (answer.content, answer.headers["content-type"]) == battles.image(seeded, battle.token, side)
        assert answer.headers["cache-control"] == "private, max-age=86400, immutable"
        assert set(answer.headers) == {
            "cache-control", "content-length", "content-type", "cross-origin-resource-policy", "x-content-type-options"
        }  # fmt: skip
    assert answers[0].content != answers[1].content


@pytest.mark.parametrize("path", ["/img/unknown/left", "/img/{token}/middle", "/img/{token}/LEFT"])
def test_a_picture_that_is_not_there_is_a_404_with_a_sentence(seeded: Arena, path: str) -> None:
    (battle,) = battles.open_battles(seeded, "person:x", n=1)
    answer = client(seeded).get(path.format(token=battle.token))
    assert answer.status_code == 404
    assert answer.text == "There is no such picture; reload the page for a new pair."


def test_a_lost_file_is_a_503_that_does_not_say_which(seeded: Arena) -> None:
    (battle,) = battles.open_battles(seeded, "person:x", n=1)
    image = seeded.store.battle(battle.token).left.image
    assert image is not None
    seeded.blobs.path(image.sha256).unlink()
    answer = client(seeded).get(f"/img/{battle.token}/left")
    assert answer.status_code == 503
    assert image.sha256[:12] not in answer.text


def test_health(arena: Arena) -> None:
    assert client(arena).get("/healthz").json() == {"status": "ok"}
    down = TestClient(Starlette(routes=routes(broken))).get("/healthz")
    assert (down.status_code, down.json()) == (503, {"status": "unavailable", "reason": "The database is away."})


def test_a_first_page_gives_a_voter_and_the_next_keeps_it(arena: Arena) -> None:
    browser = client(arena)
    first = browser.get("/", headers=HTML)
    cookie = cookie_of(first.headers["set-cookie"])["v"]
    assert voters.voter_id(arena, cookie.value)
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert int(cookie["max-age"]) == 365 * 24 * 3600
    assert not cookie["secure"]
    assert "set-cookie" not in browser.get("/", headers=HTML).headers


def test_over_https_the_cookie_stays_there(arena: Arena) -> None:
    answer = client(arena, "https://testserver").get("/", headers=HTML)
    assert cookie_of(answer.headers["set-cookie"])["v"]["secure"]


def test_a_forged_cookie_is_replaced(arena: Arena) -> None:
    browser = client(arena)
    browser.cookies.set("v", "person:someone-else.AAAAAAAA")
    assert voters.voter_id(arena, cookie_of(browser.get("/", headers=HTML).headers["set-cookie"])["v"].value)


def test_only_a_page_gives_a_cookie(arena: Arena) -> None:
    assert "set-cookie" not in client(arena).get("/healthz").headers
    assert "set-cookie" not in client(arena).post("/", headers=HTML).headers


def test_without_a_database_the_page_still_loads_to_say_so() -> None:
    served = Starlette(routes=[Route("/", page)], middleware=middleware(broken, "v"))
    answer = TestClient(served).get("/", headers=HTML)
    assert answer.status_code == 200 and "set-cookie" not in answer.headers


def verdict_image(arena: Arena, side: str) -> str:
    verdict = Verdicts(arena.store).verdict(1)
    assert verdict is not None
    return {"left": verdict.left, "right": verdict.right}[side]


def test_an_image_of_a_verdict_is_served_by_a_number_with_nothing_that_names_it(seeded: Arena) -> None:
    judging.run(seeded, Judging("scripted", limit=1))
    answers = [client(seeded).get(f"/verdict/1/{side}") for side in ("left", "right")]
    for answer, side in zip(answers, ("left", "right"), strict=True):
        assert (answer.content, answer.headers["content-type"]) == gallery.picture(seeded, 1, side)
        assert answer.content.startswith(display.alone(seeded, verdict_image(seeded, side)).rstrip(b"\0"))
        assert len(answer.content) % display.STEP == 0 and answer.headers["content-type"] == "image/jpeg"
        assert set(answer.headers) == {
            "cache-control", "content-length", "content-type", "cross-origin-resource-policy", "x-content-type-options"
        }  # fmt: skip
    assert answers[0].content != answers[1].content


@pytest.mark.parametrize("path", ["/verdict/1/left", "/verdict/x/left", "/verdict/99999999999999999999/left"])
def test_a_verdict_that_is_not_there_is_a_404(seeded: Arena, path: str) -> None:
    assert client(seeded).get(path).status_code == 404
