"""My board as Streamlit runs it: how many votes are missing, the board, the data, and their deletion."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from streamlit.testing.v1 import AppTest

from arena.bootstrap import Arena
from arena.domain import Outcome, Prompt
from arena.services import battles, generation, leaderboard, voters
from arena.ui import common, mine
from db.personal import Personal
from tests.ui.test_pages import text_of

Serve = Callable[..., AppTest]


@pytest.fixture
def me(monkeypatch: pytest.MonkeyPatch, seeded: Arena) -> str:
    """A voter whose cookie the browser sends."""
    token = voters.new_voter_token(seeded)
    monkeypatch.setattr("streamlit.runtime.context.ContextProxy.cookies", {common.COOKIE: token})
    return voters.voter_id(seeded, token) or ""


def vote(arena: Arena, voter: str, n: int) -> None:
    rng = Random(1)
    for battle in battles.open_battles(arena, voter, n=n, rng=rng):
        battles.vote(arena, voter, battle.token, rng.choice([*Outcome]))


def more_prompts(arena: Arena) -> None:
    from arena.backends.base import create_backend

    arena.store.add_prompts(Prompt(f"a further card {n}") for n in range(6))
    generation.fill(arena, generation.plan(arena), create_backend)


def test_a_newcomer_is_told_how_many_votes_are_missing(serve: Serve, seeded: Arena, me: str) -> None:
    vote(seeded, me, 12)
    page = serve(seeded, "mine")
    assert not page.exception and not page.error
    assert "18 more votes to your own board" in text_of(page) and "Open **Vote**" in text_of(page)


def test_without_votes_there_is_nothing_to_download_or_delete(serve: Serve, seeded: Arena, me: str) -> None:
    page = serve(seeded, "mine")
    assert "30 more votes" in text_of(page) and "nothing is stored about you" in text_of(page)
    assert not page.button and not page.get("download_button")


def test_the_board_says_how_sure_it_is_and_who_agrees(serve: Serve, seeded: Arena, me: str) -> None:
    more_prompts(seeded)
    vote(seeded, me, 36)
    vote(seeded, "person:other", 36)
    page = serve(seeded, "mine")
    assert not page.exception and not page.error
    words = text_of(page)
    assert "36 votes: " in words and "such intervals are wide: up to **±" in words
    assert "Wilson's 95% interval" in words and "it has not preferred a picture in a pair of yours yet" in words
    assert list(page.dataframe[0].value["votes"].sort_values()) == [24, 24, 24]
    assert len(page.get("download_button")) == 2


def test_deleting_asks_first_then_says_what_it_did(serve: Serve, seeded: Arena, me: str) -> None:
    vote(seeded, me, 12)
    page = serve(seeded, "mine")
    [button] = page.button
    assert button.disabled and "Kept." in text_of(page) and leaderboard.leaderboard(seeded).votes == 12
    page.checkbox[0].check().run()
    page.button[0].click().run()
    assert not page.exception and not page.error
    assert "12 votes no longer count" in "".join(one.value for one in page.success)
    assert leaderboard.leaderboard(seeded).votes == 0 and len(seeded.store.votes()) == 12
    assert Personal(seeded.store).is_erased(me)


def test_whoever_was_erased_begins_as_a_new_voter(serve: Serve, seeded: Arena, me: str) -> None:
    vote(seeded, me, 2)
    Personal(seeded.store).erase(me, "deleted by the voter")
    page = serve(seeded, "mine")
    assert "30 more votes" in text_of(page) and not page.exception


def test_the_checkbox_names_what_is_deleted() -> None:
    assert "no name, no address" in mine.WHAT_GOES and "cannot" not in mine.WHAT_GOES
