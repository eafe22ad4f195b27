"""The judge page as Streamlit runs it: what it says of a judge, its verdicts, its board, and its runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from arena.bootstrap import Arena
from arena.domain import JudgeAnswer, Outcome, RunKind, RunState, Side
from arena.services import battles, gallery, gate, judging, runs
from arena.services.judging import Request
from arena.ui import judge as judge_page
from arena.ui import verdicts
from tests.ui.test_pages import text_of

Serve = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARENA_JUDGE", "scripted")
    monkeypatch.setattr(gate, "SECONDS", -1.0)


def people_vote(arena: Arena, voters: int = 2) -> None:
    for n in range(voters):
        for battle, outcome in zip(battles.open_battles(arena, f"person:{n}", n=12), [*Outcome] * 3, strict=True):
            battles.vote(arena, f"person:{n}", battle.token, outcome)


def html_of(page: AppTest) -> str:
    return "".join(str(element.proto.body) for element in page.get("html"))


def test_an_empty_arena_and_one_without_verdicts_say_what_to_do(serve: Serve, arena: Arena) -> None:
    page = serve(arena, "judge")
    assert not page.exception and not page.error and "No judge has voted yet" in text_of(page)
    assert next(button for button in page.button if button.label == "Judge").disabled


def test_an_unchecked_judge_is_called_so(serve: Serve, seeded: Arena) -> None:
    judging.run(seeded, Request("scripted"))
    page = serve(seeded, "judge")
    assert not page.exception and not page.error
    assert "nobody knows whether it is right" in text_of(page)
    assert [metric.value for metric in page.metric][:3] == ["18", "0%", "0%"]
    page = serve(seeded, "judge", view="board")
    assert "The judge alone, unchecked" in text_of(page) and not page.exception
    assert list(page.dataframe[0].value["votes"]) == [12, 12, 12]


def test_a_judge_that_always_says_first_is_unmasked_before_any_figure(serve: Serve, seeded: Arena) -> None:
    people_vote(seeded)
    judging.run(seeded, Request("scripted:always-first"))
    page = serve(seeded, "judge")
    [said] = page.error
    assert "goes by the place and not by the image" in said.value and not page.exception
    figures = page.dataframe[0].value["scripted-always-first"]
    assert figures["First − second"].startswith("1.00") and figures["Same in both orders"].startswith("0.00")
    assert "No board yet: The judge prefers no image" in text_of(serve(seeded, "judge", view="board")).replace("\\", "")


def test_scores_stand_side_by_side_and_the_judge_is_chosen_in_the_address(serve: Serve, seeded: Arena) -> None:
    people_vote(seeded, voters=6)  # of two, one in twenty times no pair had a decisive vote of both
    for rule in ("scripted", "scripted:undecided"):
        judging.run(seeded, Request(rule))
    page = serve(seeded, "judge")
    assert set(page.dataframe[0].value.columns) == {"scripted-brightest", "scripted-undecided"}
    assert "One person" in text_of(page)
    mute = next(card.id for card in judging.known(seeded) if "undecided" in card.id)
    page = serve(seeded, "judge", judge=mute)
    [said] = page.error
    assert said.value.startswith("Scores none of 72 pairs")


def test_stated_chances_stand_in_words_a_table_and_a_file() -> None:
    def script() -> None:
        import numpy as np

        from arena.rating.reliability import Reliability
        from arena.ui.judge import draw_reliability

        empty = np.nan
        draw_reliability(
            Reliability(
                np.array([0.2, empty, 0.9]), np.array([0.25, empty, 0.8]), np.array([0.1, empty, 0.6]),
                np.array([0.4, empty, 0.9]), np.array([8, 0, 20]), 0.08, 0.05, 0.2,
            )
        )  # fmt: skip

    page = AppTest.from_function(script, default_timeout=20).run()
    assert not page.exception and "28 votes that prefer an image" in text_of(page)
    (chart,) = page.get("vega_lite_chart")
    assert "it says 20%, people 25% of 8; it says 90%, people 80% of 20" in chart.proto.spec
    (numbers,) = [one.value for one in page.dataframe]
    assert numbers.to_dict("list")["n"] == [8, 20] and [*numbers.columns] == ["stated", "value", "low", "high", "n"]
    assert "file-stated-chance-and-people" in [button.key for button in page.get("download_button")]


def test_the_gallery_shows_images_by_a_name_that_tells_nothing(serve: Serve, seeded: Arena) -> None:
    judging.run(seeded, Request("scripted"))
    page = serve(seeded, "judge", view="verdicts")
    assert not page.exception
    shown = html_of(page)
    assert shown.count("<article") == 12 and 'src="verdict/18/' in shown and "Swatch" not in shown
    assert "1 to 12 of 18 verdicts. Who made the images is told once you have voted" in text_of(page)
    page = serve(seeded, "judge", view="verdicts", verdicts="inconsistent")
    assert "Every verdict was the same in both orders." in text_of(page)


def test_a_run_is_started_watched_and_resumed(serve: Serve, seeded: Arena) -> None:
    page = serve(seeded, "judge")
    page.number_input[0].set_value(7)
    next(button for button in page.button if button.label == "Judge").click()
    page.run()
    assert not page.exception and not page.error
    [run] = runs.latest(seeded, RunKind.JUDGE)
    assert run.parameters["limit"] == 7 and run.subject == "scripted"
    deadline = time.monotonic() + 60
    while runs.one(seeded, run.id or 0).state is RunState.RUNNING and time.monotonic() < deadline:
        time.sleep(0.1)
    assert judging.tally(seeded, judging.known(seeded)[0].id).scored == 7
    stopped = seeded.store.add_run(RunKind.JUDGE, "scripted", Request("scripted", limit=3).parameters)
    runs.cancel(seeded, stopped.id or 0)
    page = serve(seeded, "judge")
    page.button(key=f"resume-{stopped.id}").click().run()
    assert not page.exception and len(runs.latest(seeded, RunKind.JUDGE)) == 3
    while any(run.state is RunState.RUNNING for run in runs.latest(seeded, RunKind.JUDGE)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_who_waits_at_the_gate_is_said_where_one_would_look(
    serve: Serve, seeded: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARENA_GATE_RATING", "1000")
    said = "People meet a model once the judge scripted rates it at least 1000"
    for page in ("judge", "leaderboard"):
        words = text_of(serve(seeded, page)).replace("\\", "")
        assert said in words and "Swatch A (not rated by the judge yet)" in words
    words = text_of(serve(seeded, "vote", ui="basic"))
    assert said in words and "3 wait for that, and a vote takes two" in words


# Cards


def exhibit(**changes: object) -> gallery.Exhibit:
    answer = JudgeAnswer("A\nsharper", "A", "sharper")
    values = {
        "verdict_id": 5, "prompt": "a card", "turned": False, "outcome": Outcome.LEFT, "consistent": True,
        "unscored": None, "answers": (answer, JudgeAnswer("B", "B")), "people": gallery.People({}), "names": None,
    }  # fmt: skip
    return gallery.Exhibit(**{**values, **changes})  # type: ignore[arg-type]


def test_a_card_says_who_won_in_which_order_and_what_people_said() -> None:
    card = verdicts.card(exhibit(people=gallery.People({Outcome.RIGHT: 2, Outcome.TIE: 1})))
    assert '<figure class=better><img src="verdict/5/left"' in card and "Left ✓" in card
    assert "same in both orders" in card and "disagrees with people" in card and "People: 2 right, 1 tie" in card
    assert "Left shown first →</span> <b>left</b>: sharper" in card
    assert "Right shown first →</span> <b>left</b>" in card


def test_a_turned_card_shows_each_image_on_its_side() -> None:
    card = verdicts.figure(exhibit(turned=True), Side.LEFT)
    assert 'src="verdict/5/right"' in card and "Left image" in card


def test_no_text_in_a_card_is_markup() -> None:
    evil = '<img src=x onerror="alert(1)">'
    answer = JudgeAnswer(evil, unscored=f"unparsable: {evil}")
    names = (evil, evil)
    card = verdicts.card(
        exhibit(prompt=evil, outcome=None, consistent=None, unscored=evil, names=names, answers=(answer,) * 2)
    )
    assert "<img src=x" not in card and card.count("&lt;img src=x") == 5
    assert "no answer" in card and "Judge: unscored" in card


def test_a_long_reason_is_cut() -> None:
    assert len(verdicts.shorten("x" * 10_000)) == verdicts.LONGEST


def test_a_note_on_several_scores_is_said_once() -> None:
    found = [SimpleNamespace(name="fid", notes=("few",)), SimpleNamespace(name="kid", notes=("few", "late"))]
    assert judge_page.notes(found) == {"few": ["fid", "kid"], "late": ["kid"]}  # type: ignore[arg-type]
