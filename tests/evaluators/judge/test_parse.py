"""What counts as an answer, and what does not."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena import questions
from arena.questions import CRITERIA, LEVELS, PAIR_ANSWERS, YES_NO
from evaluators.judge import modes, parse
from evaluators.judge.base import Reply, Token

CLEAR = {
    "A": ("A", ""),
    " b \n": ("B", ""),
    "Tie": ("tie", ""),
    "**A**\nIt has the crown.": ("A", "It has the crown."),
    "Image B\n\nThe left one lacks\nthe hat.": ("B", "The left one lacks\nthe hat."),
    "Answer: neither": ("neither", ""),
    "A. The crown is there.": ("A", "The crown is there."),
    "(B) - A misses the hat": ("B", "A misses the hat"),
    '"tie"': ("tie", ""),
}
UNCLEAR = [
    "",
    "   \n",
    "Both are great!",
    "A or B",
    "A, B, tie or neither",
    "A - B",
    "AB",
    "A bear with a crown is in the left one",
    "I'm sorry, I can't compare images of bears.",
    "C",
    "The answer is A",
    "<html><body>502 Bad Gateway</body></html>",
    '{"answer": "A"',
    "x" * 10_000,
]


@pytest.mark.parametrize("text", [*CLEAR])
def test_a_clear_answer(text):
    found = parse.first_line(text, PAIR_ANSWERS)
    assert (found.word, found.reason) == CLEAR[text] and found.unscored is None


@pytest.mark.parametrize("text", UNCLEAR)
def test_an_unclear_answer_is_unscored_with_what_was_said(text):
    found = parse.first_line(text, PAIR_ANSWERS)
    assert found.word is None and found.unscored and len(found.unscored) < 200


def test_refusals_and_empty_answers_are_named():
    assert parse.complaint("I’m".replace("’", "'") + " sorry, no.").startswith("refused: ")
    assert parse.complaint("As an AI model I have no taste").startswith("refused: ")
    assert parse.complaint("") == "an empty answer"
    assert parse.complaint("Both!") == "unparsable: 'Both!'"


@given(st.text(max_size=60))
def test_only_a_line_with_an_allowed_word_is_an_answer(text):
    found = parse.first_line(text, YES_NO)
    assert (found.word is None) != (found.unscored is None)
    assert found.word is None or found.word in text.strip().partition("\n")[0].casefold()


def test_shares_add_up_the_tokens_that_can_begin_only_one_answer():
    said = {"A": 0.2, " A": 0.1, "a": 0.1, "B": 0.2, "t": 0.15, "Tie": 0.05, "nei": 0.05, "The": 0.1, "": 0.05}
    shares = parse.answer_shares({text: math.log(p) for text, p in said.items()}, PAIR_ANSWERS)
    assert shares == pytest.approx({"A": 0.4, "B": 0.2, "tie": 0.2, "neither": 0.05})
    assert parse.normalised(shares)["A"] == pytest.approx(0.4 / 0.85)
    assert parse.normalised({"A": 0.0}) is None


def test_a_token_that_begins_two_answers_counts_for_neither():
    assert parse.answer_shares({"n": 0.0}, ("no", "none")) == {"no": 0.0, "none": 0.0}
    assert parse.answer_shares({"no": 0.0}, ("no", "none")) == {"no": 1.0, "none": 0.0}


REPLY = json.dumps({"prompt_adherence": "good", "visual_quality": "none"})
TWO = ("prompt_adherence", "visual_quality")


def test_levels_of_a_json_object():
    found = parse.levels(REPLY, TWO, None)
    assert found.unscored is None
    assert found.levels["prompt_adherence"] == parse.Level("good", 4.0, expected=False)
    assert found.levels["visual_quality"] == parse.Level("none", None, expected=False)
    assert parse.levels(f"```json\n{REPLY}\n```", TWO, None) == found


@pytest.mark.parametrize("cut", [['{"prompt_adherence":', ' "good', '", "visual_quality": "none"}'], [*REPLY]])
def test_a_level_is_the_expectation_over_its_token_wherever_the_text_is_cut(cut):
    text = "".join(cut)
    shares = {"good": math.log(0.6), "excellent": math.log(0.2), ' "bad': math.log(0.2), "whatever": -1.0}
    begins = [piece.strip(' "') in ("good", "g") for piece in cut]
    tokens = [Token(piece, shares if begin else {}) for piece, begin in zip(cut, begins, strict=True)]
    level = parse.levels(text, TWO, tokens).levels["prompt_adherence"]
    assert level.expected and level.value == pytest.approx(0.6 * 4 + 0.2 * 5 + 0.2 * 1)


@pytest.mark.parametrize(
    "text",
    [
        "good",
        "[]",
        '{"prompt_adherence": "good"}',
        '{"prompt_adherence": "good", "visual_quality": 4}',
        '{"prompt_adherence": "superb", "visual_quality": "good"}',
        '{"prompt_adherence": "good", "visual_quality": "good", "extra": "good"}',
        '{"prompt_adherence": "bad", "prompt_adherence": "good", "visual_quality": "good"}',
        REPLY + REPLY,
        REPLY[:-1],
        "Here you are: " + REPLY,
        "[" * 100_000,
    ],
)
def test_json_that_breaks_the_schema_is_unscored(text):
    found = parse.levels(text, TWO, None)
    assert found.levels == {} and found.unscored and len(found.unscored) < 300


# Thinking in the answer itself


def tokens_of(pieces, answer, shares):
    return [Token(piece, shares if piece == answer else {piece: 0.0}) for piece in pieces]


@pytest.mark.parametrize("answer", ["A", "\n\nA"])
def test_thinking_before_an_answer_is_cut_off_with_its_tokens(answer):
    pieces = [
        "<think>",
        "B is",
        " A",
        " or {",
        "</think>",
        *([] if answer[0] == "\n" else ["\n\n"]),
        answer,
        "\nIt",
        " fits.",
    ]
    tokens = tokens_of(pieces, answer, {answer: math.log(0.75), "B": math.log(0.25)})
    found = modes.answer(Reply("".join(pieces), tokens=tuple(tokens)), questions.PAIR_ANSWERS)
    assert (found.word, found.reason) == ("A", "It fits.") and found.raw.startswith("<think>")
    assert found.shares == {"A": pytest.approx(0.75), "B": pytest.approx(0.25), "tie": 0.0, "neither": 0.0}


def test_thinking_before_json_is_cut_off_and_levels_keep_their_expectation():
    pieces = ["<think>a {brace}", "</think>", "\n", '{"prompt_adherence": "', "good", '", "visual_quality": "none"}']
    tokens = tokens_of(pieces, "good", {"good": math.log(0.5), "excellent": math.log(0.5)})
    found = modes.rating(Reply("".join(pieces), tokens=tuple(tokens)), TWO)
    assert found.unscored is None and found.levels["prompt_adherence"].value == pytest.approx(4.5)


def test_yes_behind_thinking_is_the_answer_and_not_the_first_token():
    pieces = ["<think>", "no?", "</think>", "\n", "yes"]
    tokens = tokens_of(pieces, "yes", {"yes": math.log(0.9), "no": math.log(0.1)})
    tokens[0] = Token("<think>", {"no": 0.0})
    assert modes.yes_probability(Reply("".join(pieces), tokens=tuple(tokens))).value == pytest.approx(0.9)
    # The log probabilities of the thinking alone say nothing of the answer.
    assert modes.yes_probability(Reply("".join(pieces), tokens=tuple(tokens[:1]))).unscored
    assert modes.answer(Reply("<think>x</think>A", tokens=tuple(tokens[:1])), questions.PAIR_ANSWERS).shares is None


@pytest.mark.parametrize(
    "text", ["<think>A", "A</think>B", "so <think>x</think>A", "<think>x</think>", "<think>x</think>\n"]
)
def test_what_is_not_thinking_and_then_an_answer_stays_unscored(text):
    assert modes.answer(Reply(text), questions.PAIR_ANSWERS).unscored


def test_levels_are_ordered_and_every_criterion_is_explained():
    assert LEVELS.index("bad") < LEVELS.index("excellent")
    assert all(CRITERIA.values())
