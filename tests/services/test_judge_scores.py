"""A judge's scores of single images: image by image, not asked twice, and held against people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from arena.bootstrap import Arena
from arena.domain import RunState
from arena.errors import DataError, WeightsError
from arena.services import benchmarks, judge_scores, proxies
from arena.services.benchmarks import Request
from db.image_values import image_values
from evaluators.judge import JUDGES
from evaluators.judge.base import Question, Reply
from tests.conftest import fill_with_swatches

from ..evaluators.judge.test_pointwise import Model
from .test_proxies import people_vote

NAMES = ("Swatch A", "Swatch B", "Swatch C")


class Seeing(Model):
    """Says yes by brightness, counts what it is asked, and fails as it is told."""

    asked = 0
    fails: str | None = None
    after = 0

    def replies(self, asked: Sequence[Question]) -> list[Reply]:
        Seeing.asked += len(asked)
        found = super().replies(asked)
        if self.fails is None:
            return found
        return [Reply(failure=self.fails) if Seeing.asked > self.after else one for one in found]


@pytest.fixture(autouse=True)
def _judge(monkeypatch: pytest.MonkeyPatch) -> None:
    Seeing.asked, Seeing.after, Seeing.fails = 0, 0, None
    monkeypatch.setitem(JUDGES, "seeing", f"{__name__}:Seeing")


def judged_by(arena: Arena, judge: str = "seeing", **options: object) -> Arena:
    object.__setattr__(arena.settings, "judge", judge)
    object.__setattr__(arena.settings, "judge_options", options)
    return arena


def test_both_scores_run_as_a_benchmark_and_stand_beside_people(arena: Arena) -> None:
    fill_with_swatches(judged_by(arena))
    people_vote(arena)
    run = benchmarks.run(arena, Request(NAMES, ("vqascore@1", "rubric@1")))
    assert run.state is RunState.DONE and "Swatch A vqascore 0." in run.message
    columns = {column.metric: column for column in benchmarks.columns(arena)}
    assert {*columns} == {"vqascore", "rubric"} and all(column.higher_is_better for column in columns.values())
    assert [score.details["n"] for score in columns["vqascore"].scores] == [6, 6, 6]
    found = {proxy.name: proxy for proxy in proxies.panel(arena).proxies}
    assert found["vqascore"].agreement.decisive.value == 1.0 and found["vqascore"].seen == 54
    assert found["rubric"].agreement.decisive.of == 0  # all alike: ties
    assert found["vqascore"].notes == ()


def test_an_image_is_asked_about_once_and_what_had_no_answer_again(arena: Arena) -> None:
    fill_with_swatches(judged_by(arena))
    benchmarks.run(arena, Request(NAMES[:1], ("vqascore@1",)))
    assert Seeing.asked == 6
    benchmarks.run(arena, Request(NAMES[:2], ("vqascore@1",)))
    assert Seeing.asked == 12
    Seeing.fails = "timed out after 1 s"
    benchmarks.run(arena, Request(NAMES, ("vqascore@1",)))
    assert Seeing.asked == 18
    last = benchmarks.scores(arena)[0]
    assert (last.subject, last.value) == ("Swatch C", None)
    assert last.unscored == "no image was scored, the first because: timed out after 1 s"
    Seeing.fails = None
    benchmarks.run(arena, Request(NAMES, ("vqascore@1",)))
    assert Seeing.asked == 24 and benchmarks.scores(arena)[0].details["unscored"] == 0


def test_a_judge_that_is_asked_no_more_keeps_what_it_said_and_gives_no_mean(arena: Arena) -> None:
    fill_with_swatches(judged_by(arena), prompts=40)
    object.__setattr__(arena.settings, "judge_batch", 8)
    Seeing.fails, Seeing.after = "not asked: the spend limit of 1 USD", 16
    run = benchmarks.run(arena, Request(NAMES[:1], ("vqascore@1",)))
    assert run.message.startswith("vqascore@1 could not be measured") and "not asked: the spend limit" in run.message
    [score] = benchmarks.scores(arena)
    assert score.value is None and score.unscored == "not asked: the spend limit of 1 USD"
    kept = image_values(arena.store, "vqascore", score.protocol.fingerprint).of
    assert len(kept) == 16 and None not in {one.value for one in kept.values()}
    Seeing.fails = None
    benchmarks.run(arena, Request(NAMES[:1], ("vqascore@1",)))
    assert Seeing.asked == 32 + 24 and benchmarks.scores(arena)[0].details["n"] == 40


def test_a_judge_that_never_answers_is_not_asked_about_every_image(arena: Arena) -> None:
    fill_with_swatches(judged_by(arena), prompts=120)
    Seeing.fails = "timed out after 1 s"
    said = "vqascore@1 could not be measured.*: the judge answered none of the last 48 images"
    with pytest.raises(DataError, match=said):
        benchmarks.run(arena, Request(NAMES[:1], ("vqascore@1",)))
    assert Seeing.asked < 120


def test_a_picture_that_is_gone_is_unscored_and_the_others_count(arena: Arena) -> None:
    fill_with_swatches(judged_by(arena))
    made = arena.store.generations(arena.store.contestant("Swatch A").id or 0)
    assert made[0].image
    arena.blobs.remove(made[0].image.sha256)
    benchmarks.run(arena, Request(NAMES[:1], ("vqascore@1",)))
    [score] = benchmarks.scores(arena)
    assert (score.details["n"], score.details["unscored"]) == (5, 1) and score.value is not None


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ("scripted", "compares two images"),
        ("openai:gpt-4o", "may cost money: give judge_options a limit_usd"),
        ("nobody", "There is no judge 'nobody'"),
    ],
)
def test_a_judge_that_cannot_do_it_is_not_offered(seeded: Arena, judge: str, said: str) -> None:
    judged_by(seeded, judge)
    usable, missing = benchmarks.offered(seeded)
    assert not {"vqascore@1", "rubric@1"} & {recipe.id for recipe in usable}
    assert said in dict(missing)["vqascore@1"]
    with pytest.raises(WeightsError, match=said):
        benchmarks.start(seeded, Request(NAMES, ("rubric@1",)))


def test_the_embedded_judge_is_offered_and_an_endpoint_with_a_limit(seeded: Arena) -> None:
    for judge, options in (("teddy", {}), ("openai:m", {"limit_usd": 1, "prices": {"input": 0, "output": 0}})):
        judge_scores.check(judged_by(seeded, judge, **options))
    assert {"vqascore@1", "rubric@1"} <= {recipe.id for recipe in benchmarks.offered(judged_by(seeded, "teddy"))[0]}


def test_the_embedded_judge_tells_teddies_from_others(arena: Arena) -> None:
    """Of rendered scenes: what the caption says is likelier than what another one says."""
    from arena.domain import Prompt
    from arena.services.teddies import rendered, scenes_of
    from arena.teddy.scenes import embedded_prompts
    from evaluators.judge.pointwise import vqascore

    texts = [text for text, _, _ in embedded_prompts()[:6]]
    images = [np.asarray(image) for image in rendered(scenes_of([Prompt(text) for text in texts]), 6, 0)]
    evaluator = vqascore()
    right = [one.value for one in evaluator.values(texts, images)]
    wrong = [one.value for one in evaluator.values(texts[1:] + texts[:1], images)]
    assert min(filter(None, right)) > 0.5 > max(value or 0 for value in wrong)
