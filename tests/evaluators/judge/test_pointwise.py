"""Scores of single images by a judge: values, reasons, and what stands beside the mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from arena.domain import Prompt
from arena.errors import UnknownName
from arena.plugins import resolve
from evaluators import EVALUATORS
from evaluators.judge.base import Question, Reply, Token
from evaluators.judge.modes import Judge
from evaluators.judge.pointwise import RECIPES, ImageScore, Pointwise, as_score

GREY = [np.full((4, 4, 3), level, np.uint8) for level in (0, 128, 255)]
LEVELS = '{"prompt_adherence": "good", "visual_quality": "bad", "aesthetics": "none", "legible_text": "none"}'


class Model:
    """Says yes by brightness, and rates everything alike; black is not answered."""

    name, repeats_itself, settings = "grey", True, {"weights": "none"}

    def replies(self, asked: Sequence[Question]) -> list[Reply]:
        return [self._reply(question) for question in asked]

    def _reply(self, question: Question) -> Reply:
        [image] = [part for part in question.parts if isinstance(part, np.ndarray)]
        if not image.any():
            return Reply(failure="timed out after 1 s")
        if question.schema:
            return Reply(LEVELS)
        yes = float(image.mean()) / 256
        return Reply("yes", tokens=(Token("yes", {"yes": np.log(yes), "no": np.log(1 - yes)}),))


def test_yes_is_the_value_and_what_is_not_answered_has_its_reason() -> None:
    evaluator = Pointwise("vqascore", Judge(Model()))
    found = evaluator.values(["a", "b", "c"], GREY)
    assert found[0] == ImageScore(unscored="timed out after 1 s")
    assert [one.value for one in found[1:]] == pytest.approx([128 / 256, 255 / 256])
    score = as_score("x", evaluator.protocol, found, ["a", "b", "c"])
    assert score.value == pytest.approx((128 + 255) / 512) and (score.details["n"], score.details["unscored"]) == (2, 1)
    assert score.details["low"] < score.value < score.details["high"]
    assert score.details["unscored_because"] == ["timed out after 1 s"]


def test_a_rubric_is_the_mean_of_what_applies_with_each_criterion_beside_it() -> None:
    evaluator = Pointwise("rubric", Judge(Model()))
    [one] = evaluator.values(["a"], GREY[1:2])
    assert one.value == pytest.approx(2.0)  # good and bad: the geometric mean of 4 and 1
    assert one.parts == {"prompt_adherence": 4.0, "visual_quality": 1.0, "aesthetics": None, "legible_text": None}
    score = evaluator.evaluate(Prompt("a"), GREY)
    assert score.value == pytest.approx(2.0) and score.details["unscored"] == 1
    assert score.details["levels"]["visual_quality"]["value"] == 1.0
    assert score.details["levels"]["aesthetics"] == {"value": None, "low": None, "high": None, "n": 0}


def test_where_nothing_is_scored_the_reason_stands_in_its_place() -> None:
    score = Pointwise("vqascore", Judge(Model())).evaluate(Prompt("a"), GREY[:1])
    assert (score.value, score.unscored) == (None, "no image was scored, the first because: timed out after 1 s")
    assert Pointwise("rubric", Judge(Model())).evaluate(Prompt("a"), []).unscored == "there is no image"


def test_the_protocol_names_the_judge_and_another_judge_has_another() -> None:
    other_model = Model()
    other_model.settings = {"weights": "others"}
    mine, other = (Pointwise("vqascore", Judge(model)).protocol for model in (Model(), other_model))
    assert mine.id == "vqascore@1" and mine.settings["judge"] == Judge(Model()).voter_id
    assert mine.fingerprint != other.fingerprint
    assert mine.fingerprint != Pointwise("rubric", Judge(Model())).protocol.fingerprint


@pytest.mark.parametrize("name", RECIPES)
def test_the_evaluators_are_in_the_table(name: str) -> None:
    assert resolve("evaluator", EVALUATORS, name)(Judge(Model())).protocol.id == RECIPES[name].id


def test_another_name_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"'vqa'.*vqascore"):
        Pointwise("vqa", Judge(Model()))
