"""The benchmarks page: what it compares, what it refuses to compare, and runs that are started, stopped and resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from arena.bootstrap import Arena
from arena.domain import Protocol, Run, RunKind, RunState, Score
from arena.errors import UsageError
from arena.services import admin, benchmarks, moderation
from arena.ui import benchmarks as benchmarks_page
from arena.ui import runs as runs_page
from arena.ui.common import ADMIN
from tests.ui.test_pages import text_of

Serve = Callable[..., AppTest]
FID = Protocol("fid-clean", "1", {"resize": "bicubic"})
DETAILS = {
    "n_real": 500,
    "n_generated": 60,
    "reference_set": "teddies",
    "debiased": 9.5,
    "low": 8.0,
    "high": 11.0,
    "curve": [[30, 15.0], [60, 12.5]],
    "warnings": ["Unreliable at 60 images: use kid@1."],
    "findings": ["Sizes differ: real images are mostly 512×512, generated ones 64×64."],
}


def add(arena: Arena, subject: str = "Swatch A", value: float = 12.5, protocol: Protocol = FID, **more: object) -> None:
    metric = "kid" if protocol.name == "kid" else "fid-clean"
    arena.store.add_score(Score(subject, metric, protocol, value=value, details={**DETAILS, **more}))


def view(page: AppTest, name: str) -> AppTest:
    return page.get("button_group")[0].set_value(name).run()


def test_models_stand_beside_each_other_with_intervals_and_warnings(serve: Serve, seeded: Arena) -> None:
    versus = [{"subject": "Swatch B", "value": -2.0, "low": -3.0, "high": -1.0, "n": 60}]
    add(seeded, versus=versus)
    add(seeded, "Swatch B", 14.0, debiased=11.5)
    page = serve(seeded, "benchmarks")
    assert not page.exception
    pairs, scores = (frame.value for frame in page.dataframe[:2])
    assert pairs.to_dict("records") == [
        {"Closer": "Swatch A", "than": "Swatch B", "by": "2", "95% interval": "1 to 3", "Images": 60}
    ]
    assert len(scores) == 2 and scores["fingerprint"].iloc[0] == FID.fingerprint[:8]
    assert "Unreliable at 60 images" in text_of(page)


def test_the_chart_shows_best_guesses_best_first(seeded: Arena) -> None:
    add(seeded)
    add(seeded, "Swatch B", 14.0, debiased=6.5)
    chart = benchmarks_page.chart(benchmarks.columns(seeded)[0]).to_dict()
    assert chart["description"] == "FID by model: Swatch B 6.5, Swatch A 9.5"


def test_a_difference_that_chance_may_bring_is_not_called_one(seeded: Arena) -> None:
    add(seeded, versus=[{"subject": "Swatch B", "value": 1.0, "low": -1.0, "high": 3.0, "n": 60}])
    add(seeded, "Swatch B")
    [row] = benchmarks_page.differences(benchmarks.columns(seeded)[0]).to_dict("records")
    assert row["Closer"] == "Swatch B" and row["95% interval"] == "may be the other way round"


def test_figures_of_two_fingerprints_are_chosen_apart(serve: Serve, seeded: Arena) -> None:
    add(seeded)
    add(seeded, "Swatch B", protocol=Protocol("fid-clean", "1", {"resize": "bilinear"}))
    page = serve(seeded, "benchmarks")
    assert len(page.selectbox[0].options) == 2
    page.selectbox[0].select_index(1).run()
    assert page.query_params["figure"] == page.selectbox[0].value


def test_every_view_has_something_to_show(serve: Serve, seeded: Arena) -> None:
    [first, *_] = seeded.store.generations(1, images_only=True)
    assert first.image is not None
    add(seeded, worst=[[first.image.sha256, first.prompt_id, 0.25]])
    page = serve(seeded, "benchmarks")
    assert "still falls at its right end" in text_of(view(page, "Number of images"))
    assert "+0.25" in text_of(view(page, "Images that hurt most"))
    assert "Sizes differ" in text_of(view(page, "Files"))
    assert not page.exception


def test_a_curve_of_one_point_is_said_to_be_none(serve: Serve, seeded: Arena) -> None:
    add(seeded, curve=[[24, 15.0]])
    assert "too few images" in text_of(view(serve(seeded, "benchmarks"), "Number of images"))


def test_scores_without_a_value_are_listed_with_their_reason(serve: Serve, seeded: Arena) -> None:
    seeded.store.add_score(Score("Swatch A", "fid-clean", FID, unscored="only one image"))
    [shown] = serve(seeded, "benchmarks").dataframe
    [row] = shown.value.to_dict("records")
    assert row["unscored"] == "only one image" and pd.isna(row["value"])


CLIP = Protocol("clipscore-l14", "1", {})
ALL_CHECKED = {"findings": [], "checked": ["copies", "sizes", "files"], "unchecked": None}


def test_where_nothing_was_compared_nothing_is_called_alike(serve: Serve, seeded: Arena) -> None:
    seeded.store.add_score(Score("Swatch A", "clipscore-l14", CLIP, value=0.3, details={"n": 6}))
    page = view(serve(seeded, "benchmarks"), "Files")
    assert not page.success and not page.warning and not page.exception
    [note] = page.info
    assert note.value.startswith("Swatch A: Nothing was checked") and "no real images" in note.value


def test_the_files_view_claims_what_was_checked_and_no_more(serve: Serve, seeded: Arena) -> None:
    add(seeded, **ALL_CHECKED)
    why = "The file of the reference set 'mine' does not hold sizes and formats."
    add(seeded, "Swatch B", **{**ALL_CHECKED, "checked": ["copies"], "unchecked": why})
    add(seeded, "Swatch C", findings=[])
    page = view(serve(seeded, "benchmarks"), "Files")
    assert {shown.value for shown in page.success} == {
        "Swatch A: sizes, the share and quality of JPEG files, transparency and greyscale are alike on both sides, and "
        "no picture is a copy of a real one.",
        "Swatch B: no picture is a copy of a real one.",
    }
    notes = sorted(note.value for note in page.info)
    assert len(notes) == 2 and "does not hold sizes and formats" in notes[0]
    assert notes[1].startswith("Swatch C: What was checked was not recorded")


def test_pictures_that_were_left_out_and_pairs_without_a_difference_are_said(serve: Serve, seeded: Arena) -> None:
    add(
        seeded,
        n_dropped=5,
        dropped=[[f"prompt {i} seed 1", "The image is missing; restore it."] for i in range(5)],
        unpaired=[{"subject": "Swatch B", "reason": "they share 1 pictures and a paired difference needs 3"}],
    )
    add(seeded, "Swatch B")
    page = serve(seeded, "benchmarks")
    [shown] = [one.value.replace("\\", "") for one in page.warning if "left out" in one.value]
    assert shown.startswith("5 pictures of Swatch A could not be read and were left out (prompt 0 seed 1: The image is")
    assert shown.endswith("; and 2 more).")
    assert "No paired difference of Swatch A and Swatch B" in text_of(page)


def test_the_table_of_all_scores_says_run_date_and_reference(serve: Serve, seeded: Arena) -> None:
    run = seeded.store.add_run(RunKind.BENCHMARK, "Swatch A")
    score = Score("Swatch A", "fid-clean", FID, value=9.0, details={**DETAILS, "reference_sha256": "ab" * 32})
    seeded.store.add_score(replace(score, run_id=run.id))
    [row] = serve(seeded, "benchmarks").dataframe[0].value.to_dict("records")
    assert row["run_id"] == run.id and row["at"].year >= 2026 and row["content"] == "abababab"


def add_runs(arena: Arena, *scores: tuple[float, Protocol, dict[str, object]]) -> list[int]:
    """Of Swatch A, the first the oldest; each in a run of its own."""
    numbers = []
    for value, protocol, more in scores:
        run = arena.store.add_run(RunKind.BENCHMARK, "Swatch A").id or 0
        score = Score("Swatch A", "fid-clean", protocol, value=value, details={**DETAILS, **more}, run_id=run)
        arena.store.add_score(score)
        numbers.append(run)
    return numbers


def test_two_runs_of_one_model_stand_beside_each_other_with_intervals(serve: Serve, seeded: Arena) -> None:
    first, second = add_runs(seeded, (12.0, FID, {}), (9.0, FID, {"n_generated": 240, "debiased": 8.0}))
    add(seeded, "Swatch B")
    page = view(serve(seeded, "benchmarks"), "Runs")
    assert page.multiselect[0].value == [f"Run {second}, 240 images", f"Run {first}, 60 images"]
    shown = page.dataframe[0].value
    assert list(shown["Best estimate"]) == [8.0, 9.5] and list(shown["From"]) == [8.0, 8.0]
    assert "the number of images is not: compare the best estimates" in text_of(page)
    page.selectbox[1].set_value("Swatch B").run()
    assert "has been measured once with this figure" in text_of(page) and not page.exception


@pytest.mark.parametrize(
    ("more", "protocol", "sentence"),
    [
        ({"reference_sha256": "cd" * 32}, FID, "against different reference sets"),
        ({}, Protocol("fid-clean", "1", {"resize": "bilinear"}), "different fingerprints"),
        ({}, FID, "Protocol, reference set and number of images are the same"),
    ],
)
def test_what_two_runs_differ_in_is_said(
    seeded: Arena, more: dict[str, object], protocol: Protocol, sentence: str
) -> None:
    add_runs(seeded, (12.0, FID, {}), (9.0, protocol, more))
    history = benchmarks.history(seeded, "fid-clean")["Swatch A"]
    assert [score.value for score in history] == [9.0, 12.0] and sentence in benchmarks_page.apart(history)
    labelled = benchmarks_page.run_labels(history)
    chart = benchmarks_page.intervals(list(labelled.items()), "fid-clean", "run").to_dict()
    assert len(labelled) == 2 and chart["description"].startswith("FID by run: Run ")


def test_scores_of_one_run_have_names_of_their_own() -> None:
    both = [Score("A", "fid", Protocol("fid", version, {}), value=1.0, run_id=3) for version in ("1", "2", "2")]
    assert list(benchmarks_page.run_labels(both)) == [
        "Run 3, ? images", "Run 3, ? images, fid@2", "Run 3, ? images, fid@2 again",
    ]  # fmt: skip


def test_a_run_starts_in_the_service_and_its_refusal_is_a_sentence(
    serve: Serve, seeded: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(_: Arena, request: benchmarks.Request) -> int:
        asked.append(request)
        raise UsageError("Nothing to measure.")

    monkeypatch.setattr(benchmarks, "start", refuse)
    page = serve(seeded, "benchmarks")
    page.multiselect[0].set_value(["Swatch B"])
    page.number_input[0].set_value(300)
    next(button for button in page.button if button.label == "Run").click()
    page.run()
    assert asked == [benchmarks.Request(("Swatch B",), ("fid-clean@1", "kid@1"), benchmarks.TEDDIES, 300)]
    assert [error.value for error in page.error] == ["Nothing to measure."]


def test_a_running_run_shows_progress_and_can_be_cancelled(serve: Serve, seeded: Arena) -> None:
    run = seeded.store.add_run(RunKind.BENCHMARK, "Swatch A")
    seeded.store.beat(run.id or 0, stage="features", done=3, total=6)
    page = serve(seeded, "benchmarks")
    page.button(key=f"cancel-{run.id}").click().run()
    assert seeded.store.run(run.id or 0).state is RunState.CANCELLED
    assert "cancelled" in text_of(page)


def test_a_run_that_ended_early_can_be_resumed(serve: Serve, seeded: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def resume(_: Arena, run_id: int) -> int:
        asked.append(run_id)
        return 7

    monkeypatch.setattr(benchmarks, "resume", resume)
    run = seeded.store.add_run(RunKind.BENCHMARK, "Swatch A", {"contestants": ["Swatch A"]})
    seeded.store.end_run(run.id or 0, RunState.FAILED, "killed")
    serve(seeded, "benchmarks").button(key=f"resume-{run.id}").click().run()
    assert asked == [run.id]


def test_once_there_is_an_admin_token_only_an_admin_runs_anything(serve: Serve, seeded: Arena) -> None:
    """Runs take the machine's time, and a judge behind an API its money."""
    run = seeded.store.add_run(RunKind.BENCHMARK, "Swatch A", {"contestants": ["Swatch A"]})
    ended = seeded.store.add_run(RunKind.BENCHMARK, "Swatch B", {"contestants": ["Swatch B"]})
    seeded.store.end_run(ended.id or 0, RunState.FAILED, "killed")
    everything = {"Run", "Cancel", "Resume"}
    assert {button.label for button in serve(seeded, "benchmarks").button} == everything
    admin.new_token(seeded.settings)
    for name in ("benchmarks", "judge"):
        page = serve(seeded, name)
        assert not page.button and not page.exception and "whoever runs this arena" in text_of(page)
    page = serve(seeded, "benchmarks")
    assert f"Run {run.id} · Swatch A" in page.get("progress")[0].proto.text.replace("\\", "")
    page.session_state[ADMIN] = moderation.Admin("Ada")
    assert {button.label for button in page.run().button} == everything
    assert seeded.store.run(run.id or 0).state is RunState.RUNNING


def test_names_and_messages_are_not_markup(serve: Serve, seeded: Arena) -> None:
    run = seeded.store.add_run(RunKind.BENCHMARK, "**bold** [a](http://x)")
    seeded.store.end_run(run.id or 0, RunState.FAILED, "no `file` in /a_b_c")
    said = text_of(serve(seeded, "benchmarks"))
    assert r"\*\*bold\*\* \[a\]\(http\://x\)" in said
    assert r"no \`file\` in /a\_b\_c" in said


def test_progress_in_words() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    run = Run(RunKind.BENCHMARK, "Swatch A", RunState.RUNNING, start, start, done=3, total=6, stage="features", id=4)
    now = start + timedelta(seconds=75)
    assert runs_page.progress_text(run, now) == "Run 4 · Swatch A · features 3 of 6 · 1 min 15 s"
    assert runs_page.share_done(run) == 0.5
    assert runs_page.share_done(Run(RunKind.BENCHMARK, "x", RunState.RUNNING, start, start)) == 0.0
