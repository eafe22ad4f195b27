"""What an admin decides, through the page: each act with its reason, its preview, and its row in the log."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from arena.bootstrap import Arena
from arena.domain import Outcome
from arena.services import battles, board_table, moderation
from arena.services.board_view import View
from arena.ui import admin as admin_page
from arena.ui import main_path
from arena.ui.common import ADMIN
from tests.ui.test_pages import text_of

Serve = Callable[..., AppTest]


@pytest.fixture
def voted(seeded: Arena) -> Arena:
    for n in range(3):
        cast(seeded, f"person:{n}", n)
    return seeded


def cast(arena: Arena, voter_id: str, seed: int) -> None:
    rng = Random(seed)
    for battle in battles.open_battles(arena, voter_id, n=12, rng=rng):
        battles.vote(arena, voter_id, battle.token, rng.choice([Outcome.LEFT, Outcome.RIGHT]))


def opened(serve: Serve, arena: Arena, view: str) -> AppTest:
    page = serve(arena, "admin")
    page.session_state[ADMIN] = moderation.Admin("Ada")
    page.session_state["admin-view"] = view
    return fine(page.run())


def fine(page: AppTest) -> AppTest:
    assert not page.exception and not page.error
    return page


def press(page: AppTest, label: str) -> AppTest:
    next(button for button in page.button if button.label == label).click().run()
    return page


def refused(page: AppTest) -> str:
    assert not page.exception
    return "".join(error.value for error in page.error)


def logged(arena: Arena) -> list[tuple[str, str, str]]:
    return [(one.topic.value, one.action.value, one.reason) for one in moderation.log(arena)]


def counted(arena: Arena) -> int:
    found = board_table.published(arena, View())
    assert found is not None
    return int(found.table.about["votes"])


def ratings(arena: Arena) -> dict[str, float]:
    found = board_table.published(arena, View())
    assert found is not None
    return {row["name"]: row["rating"] for row in found.table.rows}


def chosen(page: AppTest, key: str, rows: list[int]) -> AppTest:
    """The page after rows of a table were chosen."""
    page.session_state[key] = {"selection": {"rows": rows, "columns": [], "cells": []}}
    return fine(page.run())


def test_a_voter_is_excluded_after_a_preview_that_comes_true(serve: Serve, voted: Arena) -> None:
    page = chosen(opened(serve, voted, "Votes"), "voters", [0])
    assert "Without these 12 votes" in text_of(page)
    preview = page.dataframe[1].value
    assert "Say why" in refused(press(page, "Exclude this voter")) and counted(voted) == 36
    page.text_input(key="voter-reason").set_value("a script")
    fine(press(page, "Exclude this voter"))
    assert [said.value for said in page.success] == [r"12 votes no longer count\."] and counted(voted) == 24
    assert dict(zip(preview["Model"], preview["Rating then"], strict=True)) == pytest.approx(ratings(voted), abs=0.01)
    assert "excluded" in [*page.dataframe[0].value[""]] and "12 votes do not count: a script" in text_of(page)
    page.text_input(key="voter-reason").set_value("a person after all")
    fine(press(page, "Restore this voter"))
    assert counted(voted) == 36
    assert [row for row in logged(voted) if row[0] == "voter"] == [
        ("voter", "restore", "a person after all"), ("voter", "exclude", "a script"),
    ]  # fmt: skip


def test_single_votes_are_excluded_and_restored(serve: Serve, voted: Arena) -> None:
    page = opened(serve, voted, "Votes")
    page.get("button_group")[1].set_value("Vote").run()
    page = chosen(page, "votes", [0, 2])
    assert "Without these 2 votes" in text_of(page)
    page.text_input(key="votes-reason").set_value("a slip")
    fine(press(page, "Exclude 2 votes"))
    assert counted(voted) == 34
    out = page.dataframe[0].value.iloc[[0, 2]]
    assert [*out["Counts"]] == ["a slip", "a slip"]
    page.text_input(key="votes-reason").set_value("no slip")
    fine(press(page, "Restore 2 votes"))
    assert counted(voted) == 36 and {topic for topic, *_ in logged(voted)} == {"vote"}


def test_a_share_is_set_with_a_reason_and_stands_in_the_table(serve: Serve, seeded: Arena) -> None:
    page = opened(serve, seeded, "Models")
    page.selectbox(key="share-name").set_value("Swatch B")
    page.number_input(key="share-value").set_value(2.5)
    assert "Say why" in refused(press(page, "Set")) and logged(seeded) == []
    page.text_input(key="share-reason").set_value("new here")
    fine(press(page, "Set"))
    shown = page.dataframe[0].value
    assert dict(zip(shown["Model"], shown["Share"], strict=True)) == {"Swatch A": 1, "Swatch B": 2.5, "Swatch C": 1}
    assert [*moderation.shares(seeded).values()] == [2.5]
    [(_, _, reason)] = logged(seeded)
    assert reason == "new here"


def test_a_prompt_is_added_and_another_retired(serve: Serve, seeded: Arena) -> None:
    before = len(seeded.store.prompts())
    page = opened(serve, seeded, "Prompts")
    page.text_area(key="prompt-text").set_value("a teddy <b>under</b> an umbrella")
    page.text_input(key="prompt-category").set_value("rain")
    assert "Say why" in refused(press(page, "Add")) and len(seeded.store.prompts()) == before
    page.text_input(key="prompt-reason").set_value("asked for")
    fine(press(page, "Add"))
    added = seeded.store.prompts()[-1]
    assert (added.text, added.category) == ("a teddy <b>under</b> an umbrella", "rain")
    assert "a teddy <b>under</b> an umbrella" in [*page.dataframe[0].value["Prompt"]]
    page = chosen(page, "prompts", [before])
    page.text_input(key="prompts-reason").set_value("taken back")
    fine(press(page, "Retire 1 prompt"))
    assert seeded.store.withdrawn().prompts == {added.id}
    assert [reason for *_, reason in logged(seeded)] == ["taken back", "asked for"]


def test_the_export_holds_every_vote_that_counts_and_is_written_down(serve: Serve, voted: Arena) -> None:
    moderation.exclude_voter(voted, moderation.Admin("Ada"), "person:1", "a script")
    page = opened(serve, voted, "Votes")
    [button] = page.get("download_button")
    assert button.label == "Download every vote that counts"
    button.click().run()
    assert logged(fine(page) and voted)[0] == ("export", "download", "votes.csv")
    header, *rows = admin_page.exported(voted).decode().splitlines()
    assert len(rows) == counted(voted) == 24
    assert header.startswith("model_a,model_b,winner") and "person:" not in "".join(rows)


def test_only_who_is_logged_in_finds_the_page_in_the_menu(monkeypatch: pytest.MonkeyPatch, seeded: Arena) -> None:
    monkeypatch.setenv("ARENA_DATA_DIR", str(seeded.settings.data_dir))
    menus: list[dict[str, str]] = []
    navigation = st.navigation

    def spy(pages: list[Any], **more: Any) -> Any:
        menus.append({page.title: page.visibility for page in pages})
        return navigation(pages, **more)

    monkeypatch.setattr(st, "navigation", spy)
    page = fine(AppTest.from_file(str(main_path()), default_timeout=20).run())
    page.session_state[ADMIN] = moderation.Admin("Ada")
    fine(page.run())
    assert [menu["Admin"] for menu in menus] == ["hidden", "visible"]
    assert {menu["Vote"] for menu in menus} == {"visible"}
