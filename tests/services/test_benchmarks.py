"""Benchmarks run in a process of their own, report, can be cancelled and resumed, and store what they found."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from arena.bootstrap import Arena
from arena.domain import Contestant, Prompt, Protocol, Run, RunKind, RunState, Score
from arena.errors import UnknownName, UsageError, WeightsError
from arena.services import benchmarks, generation, runs
from arena.services.benchmarks import Request
from arena.services.teddies import rendered, scenes_of
from arena.settings import load_settings
from arena.teddy.scenes import embedded_prompts
from evaluators.alignment.score import TextImageScore
from evaluators.images import decode
from tests.conftest import fill_with_swatches

from ..evaluators.alignment.conftest import write_clip

NAME, OTHER = "Renderer", "Mirror"
QUICK = ("fd-efficientnet-lite0@1",)
"""The light network does where it is not Inception that is tested."""


class Renderer:
    """A contestant that draws the truth: its distance is as low as it gets. Mirrored, it is a little off."""

    def __init__(self, contestant: Contestant) -> None:
        self.mirrored = contestant.name == OTHER

    def generate(self, texts: list[str], seeds: list[int]) -> list[Image.Image]:
        images = list(rendered(scenes_of([Prompt(text) for text in texts]), len(texts), seeds[0]))
        return [image.rotate(20) for image in images] if self.mirrored else images


@pytest.fixture
def measurable(arena: Arena) -> Arena:
    return with_pictures(arena)


def with_pictures(arena: Arena) -> Arena:
    arena.store.add_prompts(Prompt(text, category) for text, category, _ in embedded_prompts()[:8])
    for name in (NAME, OTHER):
        arena.store.add_contestant(Contestant(name, "swatch"))
    generation.fill(arena, generation.plan(arena), Renderer)
    return arena


def wait(arena: Arena, run_id: int, seconds: float = 180) -> Run:
    deadline = time.monotonic() + seconds
    while (run := runs.one(arena, run_id)).state is RunState.RUNNING and time.monotonic() < deadline:
        time.sleep(0.1)
    return run


def test_a_run_in_another_process_stores_its_scores(measurable: Arena) -> None:
    asked = Request((NAME, OTHER), ("fid-clean", "kid@1", "prdc"), n_real=12)
    run = wait(measurable, benchmarks.start(measurable, asked))
    assert (run.state, run.subject) == (RunState.DONE, f"{NAME}, {OTHER}"), run.message
    assert run.pid != os.getpid() and Request.of(run) == asked
    found = benchmarks.scores(measurable)
    assert [score.metric for score in found if score.subject == NAME][::-1] == [
        *("fid-clean", "kid", "precision", "recall", "density", "coverage")
    ]
    fid = next(score for score in found if score.subject == NAME and score.metric == "fid-clean")
    assert fid.value is not None and fid.value > 0 and fid.run_id == run.id
    assert (fid.details["n_real"], fid.details["n_generated"]) == (12, 8)
    assert fid.details["reference_set"].startswith("teddies-") and fid.details["reference_set"].endswith("-12")
    assert fid.details["low"] < fid.details["debiased"] < fid.details["high"]
    assert run.message.startswith(f"{NAME} fid-clean {fid.value:.4g}; {OTHER} fid-clean ")
    [versus] = fid.details["versus"]
    assert versus["subject"] == OTHER and versus["n"] == 8 and versus["low"] < versus["value"] < versus["high"]
    assert versus["value"] < 0, "who draws the truth is closer"
    worst = benchmarks.worst(measurable, fid)
    assert len(worst) == 8 and worst[0].amount == max(one.amount for one in worst)
    assert worst[0].content.startswith(b"\x89PNG") and "teddy bear" in worst[0].prompt


def test_scores_stand_in_one_column_only_where_they_may_be_compared(any_arena: Arena) -> None:
    fill_with_swatches(any_arena, prompts=1)
    recipe, other = Protocol("fid-clean", "1", {"resize": 1}), Protocol("fid-clean", "1", {"resize": 2})

    def add(subject: str, value: float, protocol: Protocol = recipe, **details: object) -> None:
        any_arena.store.add_score(
            Score(subject, "fid-clean", protocol, value=value, details={"reference_set": "r", **details})
        )

    add("Swatch A", 9.0)
    add("Swatch A", 5.0, debiased=2.0)
    add("Swatch B", 3.0)
    add("Swatch C", 1.0, other)
    add("Swatch C", 1.0, reference_set="s")
    any_arena.store.add_score(Score("Swatch C", "fid-clean", recipe, unscored="no images"))
    columns = benchmarks.columns(any_arena)
    shown = [(column.reference, [(s.subject, s.value) for s in column.scores]) for column in columns]
    assert shown == [
        ("s", [("Swatch C", 1.0)]),
        ("r", [("Swatch C", 1.0)]),
        ("r", [("Swatch A", 5.0), ("Swatch B", 3.0)]),
    ]


def test_higher_is_better_for_precision(seeded: Arena) -> None:
    for subject, value in (("Swatch A", 0.4), ("Swatch B", 0.9)):
        seeded.store.add_score(Score(subject, "precision", Protocol("prdc", "1", {}), value=value))
    [column] = benchmarks.columns(seeded)
    assert column.higher_is_better and [score.subject for score in column.scores] == ["Swatch B", "Swatch A"]


def test_a_cancelled_run_stores_nothing_and_is_resumed_with_what_it_was_asked(measurable: Arena) -> None:
    asked = Request((NAME,), QUICK, n_real=6)
    run_id = benchmarks.start(measurable, asked)
    runs.cancel(measurable, run_id)
    assert wait(measurable, run_id).state is RunState.CANCELLED
    assert benchmarks.scores(measurable) == []
    again = wait(measurable, benchmarks.resume(measurable, run_id))
    assert again.state is RunState.DONE and Request.of(again) == asked
    assert [score.metric for score in benchmarks.scores(measurable)] == ["fd-efficientnet-lite0"]


def test_a_named_reference_set_takes_the_place_of_the_teddies(measurable: Arena) -> None:
    from evaluators.distribution import statistics
    from evaluators.distribution.measure import Setup
    from evaluators.distribution.recipes import metric_recipe
    from evaluators.distribution.reference import build

    extractor = Setup(measurable.settings.cache_dir).extractor(metric_recipe(QUICK[0]))
    built = build([*map(_array, rendered(scenes_of(measurable.store.prompts()), 6, 1))], extractor)
    path = measurable.settings.data_dir / benchmarks.REFERENCES / "mine.npz"
    statistics.save(path, built.statistics, extractor.protocol, **built.facts)
    assert benchmarks.references(measurable) == [benchmarks.TEDDIES, "mine"]
    run = measurable.store.add_run(RunKind.BENCHMARK, NAME, _asked(Request((NAME,), QUICK, "mine")))
    assert runs.perform(measurable, run.id or 0).state is RunState.DONE
    [score] = benchmarks.scores(measurable)
    assert score.details["reference_set"] == "mine" and score.details["n_real"] == 6


def _array(image: Image.Image):  # type: ignore[no-untyped-def]
    import numpy as np

    return np.asarray(image)


def _asked(request: Request) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(request)


def test_what_goes_wrong_ends_the_run_with_its_reason(any_arena: Arena) -> None:
    measurable = with_pictures(any_arena)
    run = measurable.store.add_run(RunKind.BENCHMARK, NAME, _asked(Request((NAME,), QUICK, "gone")))
    with pytest.raises(UsageError):
        runs.perform(measurable, run.id or 0)
    ended = runs.one(measurable, run.id or 0)
    assert (ended.state, ended.message) == (
        RunState.FAILED, "There is no reference set 'gone': known: rendered teddies.",
    )  # fmt: skip


def test_there_must_be_something_to_measure(seeded: Arena) -> None:
    with pytest.raises(UsageError, match=r"'Swatch A' has 0 images of teddy prompts .* run `arena generate`"):
        benchmarks.start(seeded, Request(("Swatch A",)))
    with pytest.raises(UnknownName, match="Swatch A"):
        benchmarks.start(seeded, Request(("Swatch Z",)))
    with pytest.raises(UnknownName, match="nonsense"):
        benchmarks.start(seeded, Request(("Swatch A",), ("nonsense",)))
    with pytest.raises(UsageError, match="at least one model"):
        benchmarks.start(seeded, Request(()))
    assert runs.latest(seeded, RunKind.BENCHMARK) == []


def test_only_metrics_with_weights_are_offered(arena: Arena) -> None:
    usable, missing = benchmarks.offered(arena)
    assert [recipe.id for recipe in usable] == [
        *("fid-clean@1", "kid@1", "fd-efficientnet-lite0@1", "prdc@1", "vqascore@1", "rubric@1")
    ]
    assert [name for name, _ in missing] == [
        *("cmmd-u@1", "fd-dinov2@1", "fd-clip@1"),
        *("clipscore-l14@1", "clipscore-hessel@1", "pickscore@1", "hpsv2.1@1", "aesthetic-laion-v2@1"),
    ]


@pytest.fixture
def with_clip(measurable: Arena, tmp_path: Path) -> Arena:
    return with_tiny_clip(measurable, tmp_path)


def with_tiny_clip(arena: Arena, tmp_path: Path) -> Arena:
    """A tiny CLIP of the real class in the place of ViT-L/14."""
    folder = write_clip(tmp_path / "tiny-clip")
    settings = load_settings(data_dir=arena.settings.data_dir, weights={"clip-vit-l14": folder})
    return replace(arena, settings=settings)


def test_a_score_of_text_and_image_needs_no_reference(with_clip: Arena) -> None:
    """Also in a run of its own process, where the host's weights have to arrive."""
    assert "clipscore-l14@1" in [recipe.id for recipe in benchmarks.offered(with_clip)[0]]
    run = wait(with_clip, benchmarks.start(with_clip, Request((NAME, OTHER), ("clipscore-l14@1",))))
    assert run.state is RunState.DONE, run.message
    [column] = benchmarks.columns(with_clip)
    assert (column.metric, column.reference, column.higher_is_better) == ("clipscore-l14", "", True)
    assert {score.subject for score in column.scores} == {NAME, OTHER}
    for score in column.scores:
        assert score.details["n"] == 8 and score.details["low"] < score.value < score.details["high"]
    prompts = {prompt.id: prompt.text for prompt in with_clip.store.prompts()}
    mine = with_clip.store.generations(with_clip.store.contestant(NAME).id, images_only=True)
    by_hand = TextImageScore("clipscore-l14", with_clip.settings.weights["clip-vit-l14"]).score(
        [prompts[one.prompt_id] for one in mine], [decode(with_clip.blobs.get(one.image.sha256)) for one in mine]
    )
    assert next(s.value for s in column.scores if s.subject == NAME) == pytest.approx(by_hand.mean.value, rel=1e-6)


def test_distances_and_scores_of_single_images_in_one_run(any_arena: Arena, tmp_path: Path) -> None:
    with_clip = with_tiny_clip(with_pictures(any_arena), tmp_path)
    run = benchmarks.run(with_clip, Request((NAME,), (*QUICK, "clipscore-l14@1"), n_real=12))
    assert run.state is RunState.DONE
    assert {score.metric for score in benchmarks.scores(with_clip)} == {"fd-efficientnet-lite0", "clipscore-l14"}


def test_weights_that_are_missing_are_said_before_anything_starts(measurable: Arena) -> None:
    with pytest.raises(WeightsError, match=r"PickScore is not in the hub.s cache: run `hf download"):
        benchmarks.start(measurable, Request((NAME,), ("pickscore@1",)))
    assert runs.latest(measurable, RunKind.BENCHMARK) == []
