"""The own-prompt page as Streamlit runs it: asking, waiting, a failure, and what the surface is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from streamlit.testing.v1 import AppTest

from arena.bootstrap import Arena
from arena.domain import Outcome, ReasonTag, RunKind
from arena.services import battles, own_prompts, runs, voters
from arena.ui import common, own_prompt
from arena.ui.ballots import Sitting, Vote, perform_all
from db.own_prompts import OwnPrompts
from db.voting import Voting
from tests.ui.test_pages import text_of

Serve = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def _nobody_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_prompts, "wake", lambda _: None)


@pytest.fixture
def me(monkeypatch: pytest.MonkeyPatch, seeded: Arena) -> str:
    token = voters.new_voter_token(seeded)
    monkeypatch.setattr("streamlit.runtime.context.ContextProxy.cookies", {common.COOKIE: token})
    return voters.voter_id(seeded, token) or ""


def work(arena: Arena) -> None:
    quick = Arena(arena.settings.model_copy(update={"own_prompts_idle": 0.05}), arena.store, arena.blobs, arena.secret)
    runs.perform(quick, arena.store.add_run(RunKind.GENERATE, own_prompts.SUBJECT).id or 0)


def test_a_prompt_is_asked_for_and_waits_in_the_queue(serve: Serve, seeded: Arena, me: str) -> None:
    own_prompts.ask(seeded, "person:other", "first come")
    page = serve(seeded, "own_prompt")
    page.text_area[0].set_value("<b>a bear</b>")
    page.button[0].click().run()
    assert not page.exception and not page.error
    assert [one.value for one in page.text] == ["<b>a bear</b>"]
    assert "Markup in a prompt is read as plain letters" in text_of(page)
    assert own_prompts.standing(seeded, me).ahead == 1
    page.button[0].click().run()  # take it back
    assert "you took it back" in text_of(page) and page.text_area


@pytest.mark.parametrize("text", ["", "x" * 10_000, "a \u202e bear"])
def test_what_cannot_be_drawn_is_said_and_the_text_stays(serve: Serve, seeded: Arena, me: str, text: str) -> None:
    page = serve(seeded, "own_prompt")
    page.text_area[0].set_value(text)
    page.button[0].click().run()
    assert len(page.error) == 1 and not page.exception and page.text_area[0].value == text
    assert own_prompts.standing(seeded, me).request is None


def test_a_failed_side_is_said_and_there_is_nothing_to_vote_on(serve: Serve, seeded: Arena, me: str) -> None:
    own_prompts.ask(seeded, me, "a bear")
    request = OwnPrompts(seeded.store).newest(me)
    assert request is not None
    OwnPrompts(seeded.store).fail(request.id, "Swatch B made no picture: out of ink")
    page = serve(seeded, "own_prompt")
    assert r"Swatch B made no picture\: out of ink" in text_of(page) and "nothing to vote on" in text_of(page)
    assert page.text_area and not page.exception


def test_the_surface_is_told_this_pair_blind_and_then_who_it_was(serve: Serve, seeded: Arena, me: str) -> None:
    own_prompts.ask(seeded, me, "a bear")
    work(seeded)
    request = own_prompts.standing(seeded, me).request
    assert request is not None and request.token
    data = own_prompt.surface_data(seeded, me, Sitting(), request)
    assert [pair["token"] for pair in data["queue"]] == [request.token] and data["queue"][0]["names"] is None
    assert "Swatch" not in str(data)
    page = serve(seeded, "own_prompt")
    assert not page.exception and not page.error and not page.text_area
    battles.vote(seeded, me, request.token, "left")
    assert serve(seeded, "own_prompt").text_area


def test_reasons_and_undo_stand_with_the_reveal(serve: Serve, seeded: Arena, me: str) -> None:
    own_prompts.ask(seeded, me, "a bear")
    work(seeded)
    token = (own_prompts.standing(seeded, me).request or pytest.fail()).token or ""
    page = serve(seeded, "own_prompt")
    sitting = Sitting()
    perform_all(seeded, me, [Vote("1", token, Outcome.LEFT)], sitting)
    page.session_state["sitting"] = sitting
    page.run()
    page.pills[0].set_value(["realism"]).run()
    assert not page.exception and not page.error
    [vote] = seeded.store.votes(me)
    assert Voting(seeded.store).tags() == {vote.id: [ReasonTag.REALISM]}
    next(button for button in page.button if button.label == "Take the vote back").click().run()
    assert "waits for you on **Vote**" in page.info[0].value and seeded.store.voted_pairs() == []


def test_a_pair_that_waited_too_long_gives_way_to_a_new_prompt(
    serve: Serve, seeded: Arena, me: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_prompts.ask(seeded, me, "a bear")
    work(seeded)
    assert not serve(seeded, "own_prompt").text_area
    monkeypatch.setattr(battles, "LIFETIME", timedelta(seconds=-1))
    page = serve(seeded, "own_prompt")
    assert page.text_area and not page.exception and "takes no vote any more" in page.warning[0].value


def test_an_arena_without_makers_says_what_to_do(serve: Serve, arena: Arena) -> None:
    page = serve(arena, "own_prompt")
    assert "Nobody can draw here yet" in text_of(page) and not page.exception and not page.text_area


def test_progress_in_words(seeded: Arena, me: str) -> None:
    own_prompts.ask(seeded, "person:other", "first come")
    own_prompts.ask(seeded, me, "a bear")
    found = own_prompts.standing(seeded, me)
    assert found.request is not None
    assert own_prompt.progress_text(found, found.request) == "In the queue: 1 prompt before yours"
    queue, run = OwnPrompts(seeded.store), seeded.store.add_run(RunKind.GENERATE, own_prompts.SUBJECT)
    for _ in range(2):
        queue.claim(run.id or 0)
    queue.made(found.request.id, 1)
    found = own_prompts.standing(seeded, me)
    assert found.request is not None
    assert own_prompt.progress_text(found, found.request) == "Drawing: 1 of 2 pictures"
    assert own_prompt.share(found.request) == pytest.approx(0.55)
