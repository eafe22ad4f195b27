"""The benchmarks page: what it compares, what it refuses to compare, and runs that are started, stopped and resumed."""

from __future__ import annotations

from collections.abc import Callable
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
