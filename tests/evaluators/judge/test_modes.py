"""The rules of judging, with a model that says what it is told to."""

import math

import numpy as np
import pytest

from arena import questions
from arena.domain import Outcome
from evaluators.judge.base import Question, Reply, Token, Verdict
from evaluators.judge.modes import Judge, Pair, Shown, answer

LEFT, RIGHT = np.full((8, 8, 3), 10, np.uint8), np.full((8, 6, 3), 200, np.uint8)


class Scripted:
    """Answers with `say(question, how often it was asked before)`."""

    name = "scripted"

    def __init__(self, say, repeats_itself=False):
        self.settings = {"weights": "none"}
        self.say, self.repeats_itself, self.asked = say, repeats_itself, []

    def replies(self, asked):
        before = len(self.asked)
        self.asked += asked
        return [self.say(question, before) for question in asked]


def brighter_wins(question, _):
    first, second = (part for part in question.parts if not isinstance(part, str))
    return Reply(("A" if first.mean() > second.mean() else "B") + "\nIt is brighter.", seconds=0.5)


def test_both_orders_agree_on_the_brighter_image():
    model = Scripted(brighter_wins)
    ones, other = Judge(model).compare([Pair("a light", LEFT, RIGHT), Pair("a light", RIGHT, LEFT)])
    assert (ones.outcome, ones.consistent, ones.picked_first) == (Outcome.RIGHT, True, 1)
    assert (other.outcome, other.consistent) == (Outcome.LEFT, True)
    assert ones.left_first.raw == "B\nIt is brighter." and ones.right_first.word == "A"
    assert ones.reasons == ("It is brighter.",) * 2 and ones.seconds == 1.0 and ones.cost_usd is None
    assert len(model.asked) == 4


@pytest.mark.parametrize("word, picked", [("A", 2), ("B", 0)])
def test_a_judge_that_goes_by_the_place_gives_an_inconsistent_tie(word, picked):
    verdict = Judge(Scripted(lambda *_: Reply(word))).compare([Pair("x", LEFT, RIGHT)])[0]
    assert (verdict.outcome, verdict.consistent, verdict.picked_first) == (Outcome.TIE, False, picked)


@pytest.mark.parametrize("word, outcome", [("tie", Outcome.TIE), ("neither", Outcome.BOTH_BAD)])
def test_a_tie_and_both_bad_are_consistent(word, outcome):
    verdict = Judge(Scripted(lambda *_: Reply(word))).compare([Pair("x", LEFT, RIGHT)])[0]
    assert (verdict.outcome, verdict.consistent) == (outcome, True)


def test_a_half_hearted_verdict_is_an_inconsistent_tie():
    verdict = Verdict(answer(Reply("A"), questions.PAIR_ANSWERS), answer(Reply("tie"), questions.PAIR_ANSWERS))
    assert (verdict.outcome, verdict.consistent) == (Outcome.TIE, False)


@pytest.mark.parametrize("reply", [Reply("Both are great!"), Reply(failure="timed out after 30 s"), Reply("")])
def test_a_verdict_without_an_answer_in_one_order_is_unscored(reply):
    def say(question, _):
        return reply if question.parts[1] is RIGHT else Reply("A")

    verdict = Judge(Scripted(say)).compare([Pair("x", LEFT, RIGHT)])[0]
    assert verdict.outcome is None and verdict.consistent is None and verdict.picked_first is None
    assert verdict.unscored.startswith("right first: ") and verdict.left_first.word == "A"
    assert verdict.right_first.raw == reply.text


def test_only_what_is_unscored_is_asked_again_and_not_for_ever():
    say = Scripted(lambda question, before: Reply("A" if before else "Hm…"))
    assert Judge(say, attempts=3).compare([Pair("x", LEFT, RIGHT)])[0].unscored is None
    assert len(say.asked) == 4
    never = Scripted(lambda question, before: Reply("A" if question.parts[1] is LEFT else "Hm…"))
    assert Judge(never, attempts=3).compare([Pair("x", LEFT, RIGHT)])[0].outcome is None
    assert len(never.asked) == 2 + 1 + 1
    stubborn = Scripted(lambda *_: Reply("Hm…"), repeats_itself=True)
    Judge(stubborn, attempts=3).compare([Pair("x", LEFT, RIGHT)])
    assert len(stubborn.asked) == 2


def test_the_share_of_each_answer_is_kept():
    said = {"A": math.log(0.6), "B": math.log(0.2), "hm": math.log(0.2)}
    found = answer(Reply("A", tokens=(Token("A", said),)), questions.PAIR_ANSWERS)
    assert found.shares == pytest.approx({"A": 0.75, "B": 0.25, "tie": 0, "neither": 0})


def yes(probability, other, text="yes"):
    said = {"Yes": math.log(probability), "no": math.log(other)}
    return Scripted(lambda *_: Reply(text, tokens=(Token(text, said),)))


def test_p_yes_is_normalised_and_both_raw_probabilities_stay():
    found = Judge(yes(0.6, 0.2)).shows([Shown("a bear", LEFT)])[0]
    assert found.value == pytest.approx(0.75) and (found.yes, found.no) == pytest.approx((0.6, 0.2))


def test_p_yes_needs_log_probabilities_of_yes_or_no():
    judge = Judge(Scripted(lambda *_: Reply("yes")))
    assert judge.shows([Shown("a bear", LEFT)])[0].unscored == "the model gives no log probabilities"
    elsewhere = Judge(yes(1e-6, 1e-7, "Sure")).shows([Shown("a bear", LEFT)])[0]
    assert elsewhere.value is None and elsewhere.unscored == "neither yes nor no: 'Sure'"
    failed = Judge(Scripted(lambda *_: Reply(failure="429"))).shows([Shown("a bear", LEFT)])[0]
    assert failed.value is None and failed.unscored == "429"


def test_a_rating_has_a_geometric_mean_of_what_applies():
    text = '{"prompt_adherence": "excellent", "visual_quality": "bad", "aesthetics": "none", "legible_text": "none"}'
    found = Judge(Scripted(lambda *_: Reply(text))).rate([Shown("a bear", LEFT)])[0]
    assert found.overall == pytest.approx(math.sqrt(5 * 1)) and found.raw == text
    bad = Judge(Scripted(lambda *_: Reply("4 out of 5"))).rate([Shown("a bear", LEFT)])[0]
    assert bad.overall is None and bad.unscored.startswith("unparsable")


def test_a_fingerprint_changes_with_model_wording_and_rules():
    model = Scripted(brighter_wins)
    plain = Judge(model)
    assert plain.fingerprint == Judge(Scripted(brighter_wins)).fingerprint
    assert plain.fingerprint != Judge(model, reasons=False).fingerprint
    assert plain.fingerprint != Judge(model, criteria=("aesthetics",)).fingerprint
    other = Scripted(brighter_wins)
    other.settings = {"weights": "others"}
    assert plain.fingerprint != Judge(other).fingerprint
    assert plain.voter_id == f"judge:scripted@{plain.fingerprint[:12]}"
    assert plain.protocol("vqascore").id == "vqascore@1"


def test_a_question_refuses_what_is_no_image_and_too_few_of_them():
    with pytest.raises(ValueError, match="uint8 RGB"):
        Question.about(questions.shows("x"), [LEFT.astype(float)])
    with pytest.raises(ValueError, match="places for 2 images, got 1"):
        Question.about(questions.pair("x"), [LEFT])
    with pytest.raises(ValueError, match="a text or a failure"):
        Reply()


def test_no_pairs_no_verdicts():
    assert Judge(Scripted(brighter_wins)).compare([]) == []
