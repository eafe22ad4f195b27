"""Every page on an empty and on a filled arena, run by Streamlit itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from arena.bootstrap import Arena
from arena.domain import Outcome
from arena.services import battles
from arena.services.leaderboard import LeaderboardRow, leaderboard
from arena.ui import about as about_page
from arena.ui import leaderboard as leaderboard_page
from arena.ui import main_path

Serve = Callable[..., AppTest]
PAGES = ["vote", "leaderboard", "benchmarks", "judge", "about"]


def text_of(page: AppTest) -> str:
    kinds = ["title", "subheader", "markdown", "caption", "text", "info", "warning", "error"]
    return "\n".join(str(element.value) for kind in kinds for element in page.get(kind))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_an_empty_arena_says_what_to_do(serve: Serve, arena: Arena, page: str) -> None:
    shown = serve(arena, page)
    assert not shown.exception and not shown.error


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


# The leaderboard


def test_the_board_shows_what_the_votes_made(serve: Serve, seeded: Arena) -> None:
    for battle in battles.open_battles(seeded, "person:x", n=6):
        battles.vote(seeded, "person:x", battle.token, Outcome.LEFT)
    page = serve(seeded, "leaderboard")
    board = leaderboard(seeded)
    shown = page.dataframe[0].value
    assert list(shown["name"]) == [row.name for row in board.rows]
    assert list(shown["elo"]) == [row.elo for row in board.rows]
    assert set(shown["note"]) <= {"provisional", "not rated yet"}
    assert "6 votes" in text_of(page)


def rated_board(arena: Arena) -> None:
    for n in range(4):
        for battle, outcome in zip(battles.open_battles(arena, f"person:{n}", n=12), [*Outcome] * 3, strict=True):
            battles.vote(arena, f"person:{n}", battle.token, outcome)


def test_the_board_says_ranks_intervals_and_why(serve: Serve, seeded: Arena) -> None:
    rated_board(seeded)
    page = serve(seeded, "leaderboard")
    assert not page.exception and not page.error
    shown, board = page.dataframe[0].value, leaderboard(seeded)
    assert list(shown["ranks"]) == [leaderboard_page.rank_set(row) for row in board.rows] and "–" in shown["ranks"][0]
    assert list(shown["interval"]) == [f"{row.low:.0f} – {row.high:.0f}" for row in board.rows]
    words = text_of(page)
    assert "Why is it there?" in words and f"ranks {shown['ranks'][0]} open" in words and "Head to head" in words
    best = board.rows[0]
    assert f"is rated {best.rating:.0f}" in words and "would be level with it or above" in words
    page.selectbox[-1].set_value(board.rows[-1].name).run()
    assert f"is rated {board.rows[-1].rating:.0f}" in text_of(page)


def test_a_category_is_chosen_and_kept_in_the_address(serve: Serve, seeded: Arena) -> None:
    rated_board(seeded)
    page = serve(seeded, "leaderboard")
    page.selectbox[0].set_value("cards").run()
    assert page.query_params["category"] in ("cards", ["cards"]) and not page.exception
    assert page.dataframe[0].value["votes"].sum() < 2 * 48


def test_one_sided_votes_are_said_to_allow_no_order(serve: Serve, seeded: Arena) -> None:
    [battle] = battles.open_battles(seeded, "person:x", n=1)
    battles.vote(seeded, "person:x", battle.token, Outcome.LEFT)
    page = serve(seeded, "leaderboard")
    assert "No order follows from these votes yet" in text_of(page) and not page.exception
    assert set(page.dataframe[0].value["note"]) == {"not rated yet"}


def test_a_models_name_is_not_markup() -> None:
    row = leaderboard_row("**bold** <b>", votes_to_flip=1, votes_needed=10**7)
    below = leaderboard_row("`code` $x$")
    words = leaderboard_page.why(row, below)
    assert r"\*\*bold\*\* \<b\>" in words and r"\`code\` \$x\$" in words
    assert "a single vote" in words and "more votes than are practical" in words


def leaderboard_row(name: str, **changes: object) -> LeaderboardRow:
    values: dict[str, object] = dict.fromkeys((f.name for f in fields(LeaderboardRow)), 1)
    values |= {"name": name, "rating": 1000.0, "low": 990.0, "high": 1010.0, "p_best": 0.5, "p_top3": 0.995}
    return LeaderboardRow(**{**values, **changes})  # type: ignore[arg-type]


def test_a_model_without_votes_has_no_both_bad_rate(seeded: Arena) -> None:
    assert leaderboard_page.table(leaderboard(seeded))["both_bad_rate"].isna().all()


def test_every_displayed_formula_is_one_that_the_browser_can_set() -> None:
    """A formula of several lines needs its signs on lines of their own; otherwise the rest of the page turns red."""
    formulas = about_page.TEXT.split("$$")[1::2]
    assert len(formulas) == 4
    for formula in formulas:
        assert "\n" not in formula or (formula.startswith("\n") and formula.endswith("\n") and formula.count("\n") == 2)
