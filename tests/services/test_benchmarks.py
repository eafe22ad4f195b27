"""Benchmarks run in a process of their own, report, can be cancelled and resumed, and store what they found."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arena.bootstrap import Arena
from arena.domain import Contestant, Prompt, Protocol, Run, RunKind, RunState, Score
from arena.errors import DataError, UnknownName, UsageError, WeightsError
from arena.services import benchmarks, generation, runs
from arena.services.benchmarks import Request
from arena.services.references import REFERENCES
from arena.services.teddies import rendered, scenes_of
from arena.settings import load_settings
from arena.teddy.scenes import embedded_prompts
from evaluators.alignment.score import TextImageScore
from evaluators.distribution import extract, statistics
from evaluators.distribution.measure import Setup
from evaluators.distribution.recipes import metric_recipe
from evaluators.distribution.reference import build
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


def named_reference(arena: Arena, images: list[np.ndarray], name: str = "mine", **facts: object) -> Path:
    """As `arena stats --name` makes it, of images that are in no cache."""
    extractor = Setup(arena.settings.cache_dir).extractor(metric_recipe(QUICK[0]))
    built = build(images, extractor)
    path = arena.settings.data_dir / REFERENCES / f"{name}.npz"
    statistics.save(path, built.statistics, extractor.protocol, **{**built.facts, **facts})
    return path


def real_pictures(arena: Arena, n: int = 6, seed: int = 1) -> list[np.ndarray]:
    return [*map(np.asarray, rendered(scenes_of(arena.store.prompts()), n, seed))]


def pictures_of(arena: Arena, name: str) -> list[np.ndarray]:
    made = arena.store.generations(arena.store.contestant(name).id, images_only=True)
    return [decode(arena.blobs.get(one.image.sha256)) for one in made]


def test_a_named_reference_set_takes_the_place_of_the_teddies(measurable: Arena) -> None:
    named_reference(measurable, real_pictures(measurable))
    assert benchmarks.references(measurable) == [benchmarks.TEDDIES, "mine"]
    run = measurable.store.add_run(RunKind.BENCHMARK, NAME, _asked(Request((NAME,), QUICK, "mine")))
    assert runs.perform(measurable, run.id or 0).state is RunState.DONE
    [score] = benchmarks.scores(measurable)
    assert score.details["reference_set"] == "mine" and score.details["n_real"] == 6


def test_copies_and_other_sizes_are_found_in_a_named_reference_too(measurable: Arena, tmp_path: Path) -> None:
    """Its images were files, of which five are the model's own pictures and three are larger ones."""
    mine = pictures_of(measurable, NAME)
    files = [*mine[:5], *(np.asarray(Image.fromarray(one).resize((200, 200))) for one in mine[:3])]
    for number, pixels in enumerate(files):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    extractor = Setup(measurable.settings.cache_dir).extractor(metric_recipe(QUICK[0]))
    built = build(tmp_path, extractor)
    path = measurable.settings.data_dir / REFERENCES / "mine.npz"
    statistics.save(path, built.statistics, extractor.protocol, **built.facts)
    benchmarks.run(measurable, Request((NAME,), QUICK, "mine"))
    [score] = benchmarks.scores(measurable)
    copies, sizes = score.details["findings"]
    assert copies.startswith("5 generated images are real ones, pixel for pixel (prompt ")
    assert sizes.startswith("Sizes differ: 62% of real and 100% of generated images are 64×64")
    assert score.details["checked"] == ["copies", "sizes", "files"] and score.details["unchecked"] is None


def test_what_a_reference_s_file_does_not_say_is_not_called_checked(measurable: Arena) -> None:
    images = real_pictures(measurable)
    found = {}
    for name, facts in {"pixels": {}, "older": {"files": []}, "bare": {"files": [], "pixels": []}}.items():
        named_reference(measurable, images, name, **facts)
        benchmarks.run(measurable, Request((NAME,), QUICK, name))
        details = benchmarks.scores(measurable)[0].details
        found[name] = (details["checked"], details["findings"], details["unchecked"])
    assert found["pixels"][:2] == (["copies", "sizes"], []) and "made of pixels without files" in found["pixels"][2]
    assert found["older"][:2] == (["copies"], []) and "make it again with arena stats" in found["older"][2]
    assert found["bare"][:2] == ([], []) and "does not say which images it was made of" in found["bare"][2]


def test_a_reference_that_was_made_anew_is_another(measurable: Arena) -> None:
    asked = Request((NAME,), QUICK, "mine")
    named_reference(measurable, real_pictures(measurable))
    benchmarks.run(measurable, asked)
    benchmarks.run(measurable, replace(asked, contestants=(OTHER,)))
    [column] = benchmarks.columns(measurable)
    assert column.reference == "mine" and {score.subject for score in column.scores} == {NAME, OTHER}
    named_reference(measurable, real_pictures(measurable, seed=2))
    benchmarks.run(measurable, asked)
    new, old = benchmarks.columns(measurable)
    assert [score.subject for score in new.scores] == [NAME] and len(old.scores) == 2
    assert new.reference.startswith("mine (") and old.reference.startswith("mine (") != new.reference
    named_reference(measurable, real_pictures(measurable)[::-1])
    benchmarks.run(measurable, asked)
    assert [len(column.scores) for column in benchmarks.columns(measurable)] == [2, 1], "the same images, the same set"


def test_a_score_of_before_there_were_hashes_stays_apart(seeded: Arena) -> None:
    for subject, more in (("Swatch A", {}), ("Swatch B", {"reference_sha256": "ab" * 32})):
        details = {"reference_set": "mine", **more}
        seeded.store.add_score(Score(subject, "fid-clean", Protocol("fid-clean", "1", {}), value=1.0, details=details))
    assert [column.reference for column in benchmarks.columns(seeded)] == [
        "mine (abababab)", "mine (content not recorded)",
    ]  # fmt: skip


def test_a_reference_made_anew_in_the_midst_of_a_run_ends_it(
    measurable: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    named_reference(measurable, real_pictures(measurable))
    measure = benchmarks.measure

    def measured_late(*arguments: object, **options: object) -> object:
        found = measure(*arguments, **options)
        named_reference(measurable, real_pictures(measurable, seed=2))
        return found

    monkeypatch.setattr(benchmarks, "measure", measured_late)
    with pytest.raises(DataError, match="'mine' was made anew during this run: start it again"):
        benchmarks.run(measurable, Request((NAME,), QUICK, "mine"))
    assert benchmarks.scores(measurable) == []


@pytest.mark.parametrize("shared", [1, 2, 3])
def test_models_with_few_prompts_in_common_are_measured_without_a_difference(arena: Arena, shared: int) -> None:
    prompts = [Prompt(text, category) for text, category, _ in embedded_prompts()[:10]]
    arena.store.add_prompts(prompts[: 4 + shared])
    arena.store.add_contestant(Contestant(NAME, "swatch"))
    generation.fill(arena, generation.plan(arena), Renderer)
    arena.store.add_prompts(prompts[4 + shared :])
    arena.store.add_contestant(Contestant(OTHER, "swatch"))
    later = {prompt.text for prompt in prompts[4:]}
    plan = {one: cells for one, cells in generation.plan(arena).items() if one.name == OTHER}
    generation.fill(
        arena, {one: [cell for cell in cells if cell.prompt.text in later] for one, cells in plan.items()}, Renderer
    )
    assert benchmarks.run(arena, Request((NAME, OTHER), QUICK, n_real=12)).state is RunState.DONE
    found = benchmarks.scores(arena)
    assert {score.subject for score in found} == {NAME, OTHER}
    for score in found:
        other = OTHER if score.subject == NAME else NAME
        reason = f"they share {shared} pictures of the same prompt and seed, and a paired difference needs 3"
        assert [one["n"] for one in score.details["versus"]] == ([3] if shared == 3 else [])
        assert score.details["unpaired"] == ([] if shared == 3 else [{"subject": other, "reason": reason}])


def test_what_could_not_be_measured_is_a_score_with_its_reason(measurable: Arena) -> None:
    """Of a named reference KID needs the features of single images, which no cache has here; and PRDC 7 images."""
    named_reference(measurable, real_pictures(measurable))
    asked = Request((NAME,), (*QUICK, "kid@1"), "mine")
    run = benchmarks.run(measurable, asked)
    kid, frechet = benchmarks.scores(measurable)
    assert frechet.value is not None and kid.value is None
    assert (
        kid.metric == "kid"
        and kid.protocol.id == "kid@1"
        and (kid.unscored or "").startswith("Reference set 'mine' holds statistics of")
    )
    assert "kid@1 could not be measured: Reference set 'mine' holds" in run.message
    with pytest.raises(DataError, match=r"kid@1 could not be measured: .*holds statistics of"):
        benchmarks.run(measurable, replace(asked, contestants=(NAME, OTHER), metrics=("kid@1",)))
    assert len(benchmarks.scores(measurable)) == 2
    [failed, _] = runs.latest(measurable, RunKind.BENCHMARK)
    assert failed.state is RunState.FAILED and "kid@1 could not be measured" in failed.message


def test_two_images_have_a_value_and_three_an_interval(arena: Arena) -> None:
    """The least that is asked for is the least that is measured."""
    arena.store.add_contestant(Contestant(NAME, "swatch"))
    for n in (2, 3):
        arena.store.add_prompts(Prompt(text, category) for text, category, _ in embedded_prompts()[:n])
        generation.fill(arena, generation.plan(arena), Renderer)
        benchmarks.run(arena, Request((NAME,), QUICK, n_real=12))
        score = benchmarks.scores(arena)[0]
        assert score.value is not None and score.details["n_generated"] == n
        assert (score.details["low"] is None) == (n == 2) == (score.details["debiased"] is None)
        assert ("they need at least 3 images" in score.details["warnings"][0]) == (n == 2)


def damage(arena: Arena, name: str, *, missing: int = 0, cut: int = 0) -> None:
    """The first files of a model's pictures go, the next are cut off."""
    made = arena.store.generations(arena.store.contestant(name).id, images_only=True)
    files = [arena.blobs.path(one.image.sha256) for one in made]
    for path in files[:missing]:
        path.unlink()
    for path in files[missing : missing + cut]:
        path.write_bytes(path.read_bytes()[:200])


def test_a_picture_that_cannot_be_read_is_left_out_and_counted(with_clip: Arena) -> None:
    damage(with_clip, NAME, missing=1, cut=1)
    run = benchmarks.run(with_clip, Request((NAME, OTHER), (*QUICK, "clipscore-l14@1"), n_real=12))
    found = {(score.subject, score.metric): score for score in benchmarks.scores(with_clip)}
    for metric in ("fd-efficientnet-lite0", "clipscore-l14"):
        mine, theirs = (found[name, metric].details for name in (NAME, OTHER))
        assert (mine["n_dropped"], theirs["n_dropped"]) == (2, 0)
        assert mine.get("n_generated", mine.get("n")) == 6 and theirs.get("n_generated", theirs.get("n")) == 8
        assert "… is missing; restore" in mine["dropped"][0][1] and "… was changed; restore" in mine["dropped"][1][1]
        assert not any(str(with_clip.settings.data_dir) in reason for _, reason in mine["dropped"])
        assert all(name.startswith("prompt ") for name, _ in mine["dropped"])
    [versus] = found[NAME, "fd-efficientnet-lite0"].details["versus"]
    assert versus["n"] == 6, "the same prompts of both"
    assert f"2 of {NAME}'s pictures could not be read and were left out" in run.message


def test_a_model_without_a_readable_picture_leaves_the_others(with_clip: Arena) -> None:
    damage(with_clip, NAME, missing=8)
    run = benchmarks.run(with_clip, Request((NAME, OTHER), (*QUICK, "clipscore-l14@1"), n_real=12))
    assert run.state is RunState.DONE
    reasons = {score.metric: score.unscored for score in benchmarks.scores(with_clip) if score.subject == NAME}
    assert "no usable image (8 dropped, the first because the file" in (reasons["fd-efficientnet-lite0"] or "")
    assert (reasons["clipscore-l14"] or "").startswith("none of 8 images can be read, the first because: the file")
    assert all(score.value is not None for score in benchmarks.scores(with_clip) if score.subject == OTHER)


def test_pictures_are_read_as_they_are_needed(measurable: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some may be read ahead, but never all of them before the first is measured."""
    read, at_first = [], []
    get = measurable.blobs.get
    monkeypatch.setattr(type(measurable.blobs), "get", lambda _, sha256: (read.append(sha256), get(sha256))[1])
    monkeypatch.setattr(extract, "AHEAD", 1)
    setup = benchmarks._setup
    monkeypatch.setattr(benchmarks, "_setup", lambda arena: replace(setup(arena), batch_size=1, threads=1))

    def watch(stage: str, done: int, total: int) -> None:
        if "generated" in stage and done:
            at_first.append(len(read))

    benchmarks.run(measurable, Request((NAME,), QUICK, n_real=4), watch)
    assert at_first[0] < 8 <= at_first[-1]


def _asked(request: Request) -> dict[str, object]:
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
