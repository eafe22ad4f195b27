"""Every page on an empty and on a filled arena, run by Streamlit itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from arena.bootstrap import Arena
from arena.ui import about as about_page
from arena.ui import main_path

Serve = Callable[..., AppTest]
PAGES = ["vote", "leaderboard", "benchmarks", "judge", "about", "model", "prompt", "mine", "own_prompt", "admin"]


def text_of(page: AppTest) -> str:
    kinds = ["title", "subheader", "markdown", "caption", "text", "info", "warning", "error"]
    return "\n".join(str(element.value) for kind in kinds for element in page.get(kind))


EMPTY = {
    "vote": ("nothing to vote on yet", "arena generate"),
    "leaderboard": ("No models yet", "`arena demo`"),
    "benchmarks": ("Nothing to measure yet", "`arena demo`"),
    "judge": ("No judge has voted yet", "`arena judge`"),
    "about": ("What does not count", "No vote has been taken out"),
    "model": ("No models yet", "`arena demo`"),
    "prompt": ("Which prompt?", "**Leaderboard**"),
    "mine": ("30 more votes to your own board", "Open **Vote** and press a key"),
    "own_prompt": ("Nobody can draw here yet", "`arena init`"),
    "admin": ("Nobody can log in yet", "`arena admin-token`"),
}
"""By page: what is missing, and what to do about it, where there is nothing yet."""


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_an_empty_arena_says_what_to_do(serve: Serve, arena: Arena, page: str) -> None:
    shown = serve(arena, page)
    assert not shown.exception and not shown.error
    said = text_of(shown) + "".join(str(element.proto) for element in shown.get("bidi_component"))
    for words in EMPTY[page]:
        assert words in said


def test_the_plain_voting_page_of_an_empty_arena_says_what_to_do(serve: Serve, arena: Arena) -> None:
    assert all(words in text_of(serve(arena, "vote", ui="basic")) for words in EMPTY["vote"])


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_a_filled_arena_draws(serve: Serve, seeded: Arena, page: str) -> None:
    shown = serve(seeded, page)
    assert not shown.exception and not shown.error


@pytest.mark.parametrize("page", ["vote", "leaderboard", "benchmarks"])
def test_without_a_database_a_page_says_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: str
) -> None:
    monkeypatch.setenv("ARENA_DATA_DIR", str(tmp_path / "nothing"))
    shown = AppTest.from_string(f"from arena.ui import {page}\n{page}.page()", default_timeout=20).run()
    assert not shown.exception
    (error,) = shown.error
    assert "arena" in error.value and "Traceback" not in error.value


def test_the_frame_opens_on_the_voting_page(monkeypatch: pytest.MonkeyPatch, seeded: Arena) -> None:
    monkeypatch.setenv("ARENA_DATA_DIR", str(seeded.settings.data_dir))
    shown = AppTest.from_file(str(main_path()), default_timeout=20).run()
    assert not shown.exception and not shown.error


# The plain voting page


def buttons(page: AppTest) -> dict[str, str]:
    """Label -> key; a key ends with the token of the battle the button was drawn for."""
    return {button.label: button.key or "" for button in page.button}


def test_the_plain_page_votes_on_the_battle_it_shows(serve: Serve, seeded: Arena) -> None:
    page = serve(seeded, "vote", ui="basic")
    cast = []
    for label in ["A is better", "Tie", "Both bad", "B is better"]:
        key = buttons(page)[label]
        cast.append(seeded.store.battle(key.split(":", 1)[1]).id)
        page.button(key=key).click().run()
        assert not page.exception and not page.error
    assert [vote.battle_id for vote in seeded.store.votes()] == cast
    assert [vote.outcome for vote in seeded.store.votes()] == ["left", "tie", "both_bad", "right"]
    assert "Swatch" in text_of(page)


def test_the_plain_page_skips(serve: Serve, seeded: Arena) -> None:
    page = serve(seeded, "vote", ui="basic")
    before = buttons(page)
    page.button(key=before["Skip"]).click().run()
    assert seeded.store.votes() == []
    assert buttons(page)["Skip"] != before["Skip"]


def test_the_plain_page_is_blind_before_the_vote(serve: Serve, seeded: Arena) -> None:
    assert "Swatch" not in text_of(serve(seeded, "vote", ui="basic"))


def test_the_method_page_tells_what_a_vote_reveals_for_later_pairs(serve: Serve, seeded: Arena) -> None:
    words = " ".join(text_of(serve(seeded, "about")).split())
    assert "each may meet a third picture of the same prompt later: then you may know the maker of one side" in words


def test_every_displayed_formula_is_one_that_the_browser_can_set() -> None:
    """A formula of several lines needs its signs on lines of their own; otherwise the rest of the page turns red."""
    formulas = about_page.TEXT.split("$$")[1::2]
    assert len(formulas) == 5
    for formula in formulas:
        assert "\n" not in formula or (formula.startswith("\n") and formula.endswith("\n") and formula.count("\n") == 2)
