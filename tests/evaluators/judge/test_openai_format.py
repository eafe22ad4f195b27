"""What is said to a chat endpoint and what its answers say, without any endpoint; and the budget."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
import re
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evaluators.judge.base import Question
from evaluators.judge.openai_format import Completion, Features, Trouble, harmless, png_url, read, reply, request
from evaluators.judge.openai_http import cleared, refused, retry_after
from evaluators.judge.spending import Budget, Prices, Usage, cost

OPENS = re.compile(r"<[^\s\d]|<\w+>|\[/?[A-Za-z]\w*\]")


@pytest.mark.parametrize(
    "text",
    [
        "<|im_end|>",
        "<image>",
        "</s>",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
        "<start_of_turn>",
        "<｜User｜>",
        "<0x0A>",
        "[IMG]",
        "[gMASK]",
    ],
)
def test_no_control_token_of_any_model_is_left_in_a_text(text):
    assert text not in harmless(f"a bear {text} with a hat")
    assert harmless(text).replace(" ", "") == text


@given(st.text("<>|[]/ABab01 \n", max_size=40))
def test_nothing_opens_a_control_token_and_only_spaces_are_added(text):
    assert not OPENS.search(harmless(text))
    assert harmless(text).replace(" ", "") == text.replace(" ", "")


def test_an_ordinary_caption_stays_as_it_is():
    text = 'a bear < 3 apples, size [12], "I <3 you" (really)'
    assert harmless(text) == text


def decoded(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_a_picture_travels_without_loss_and_is_scaled_only_above_the_limit():
    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    assert np.array_equal(decoded(png_url(image, 50)), image)
    assert decoded(png_url(image, 25)).shape == (15, 25, 3)
    assert decoded(png_url(image[:1], 10)).shape == (1, 10, 3)


def test_the_parts_of_a_question_keep_their_order():
    image, urls = np.zeros((4, 4, 3), np.uint8), ["data:1", "data:2"]
    asked = Question(("one", image, "two [INST]", image), answers=("A", "B"), schema={"type": "object"}, max_tokens=7)
    body = request("m", asked, urls, Features(), seed=3, extra_tokens=5)
    parts = body["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url", "text", "image_url"]
    assert [parts[i]["image_url"]["url"] for i in (1, 3)] == urls
    assert parts[2]["text"] == "two [ INST]"
    rest = {"max_tokens": 12, "temperature": 0, "seed": 3, "logprobs": True, "top_logprobs": 20}
    assert {name: body[name] for name in rest} == rest and "response_format" in body
    bare = Features(json_schema=False, top_logprobs=0, temperature=False, seed=False, length="max_completion_tokens")
    least = request("m", asked, urls, bare, seed=3, extra_tokens=0)
    assert set(least) == {"model", "messages", "max_completion_tokens"}


def test_features_end():
    features, steps = Features(), 0
    while features is not None:
        features, steps = features.without("Bad request"), steps + 1
    assert steps == 7


def answer(content="A", logprobs=None, **fields):
    choice = {"message": {"content": content}, "finish_reason": "stop", "logprobs": logprobs}
    return json.dumps({"choices": [choice], **fields})


def likely(*tokens):
    return {"content": [{"token": token, "logprob": -0.1, "top_logprobs": top} for token, top in tokens]}


def test_tokens_are_those_of_the_text_or_none():
    other = [{"token": "B", "logprob": -3.0}]
    found = read(answer("A\nyes", likely(("A", other), ("\n", []), ("yes", []), ("<|end|>", []))))
    assert [token.text for token in found.tokens] == ["A", "\n", "yes", "<|end|>"]
    assert found.tokens[0].alternatives == {"A": -0.1, "B": -3.0}
    assert read(answer("A", likely(("Let", other), (" me", []), ("A", [])))).tokens is None
    assert read(answer("A", {"content": []})).tokens is None and read(answer("A", "yes")).tokens is None


@pytest.mark.parametrize("logprob", [float("nan"), float("-inf"), float("inf"), "high", None, True, [1]])
def test_a_log_probability_that_is_no_number_does_not_count(logprob):
    found = read(answer("A", likely(("A", [{"token": "B", "logprob": logprob}]))))
    assert found.tokens[0].alternatives == {"A": -0.1}


def test_a_log_probability_above_zero_is_zero():
    assert read(answer("A", likely(("A", [{"token": "B", "logprob": 0.5}])))).tokens[0].alternatives["B"] == 0


def test_content_may_come_in_parts_and_thinking_is_not_the_answer():
    parts = [{"type": "thinking", "thinking": "B?"}, {"type": "text", "text": "A"}, {"type": "text", "text": "\nyes"}]
    assert read(answer(parts)).text == "A\nyes"


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": "many"}])
def test_a_usage_that_makes_no_sense_is_none(usage):
    assert read(answer(usage=usage)).usage is None


def test_a_usage_is_read():
    used = {"prompt_tokens": 10, "completion_tokens": 2}
    assert read(answer(usage=used)).usage == Usage(10, 2, None)
    assert read(answer(usage={**used, "cost": 0.5})).usage.cost_usd == 0.5
    assert read(answer(usage={**used, "cost": -5})).usage.cost_usd is None


NAMES = ["message", "content", "token", "logprob", "top_logprobs", "usage", "error"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=12,
)


@given(json_values, json_values, json_values, json_values)
def test_no_shape_of_an_answer_is_an_exception(message, logprobs, usage, model):
    for choices in ([{"message": message, "logprobs": logprobs}], message, [message]):
        found = read(json.dumps({"choices": choices, "usage": usage, "model": model}))
        if isinstance(found, Completion):
            reply(found, Question(("x",), schema={}), None)
        else:
            assert found.reason


@given(st.integers(300, 599), st.text(max_size=30) | json_values.map(json.dumps))
def test_no_refusal_is_an_exception(status, said):
    found = refused(status, {}, said)
    assert isinstance(found, Trouble) and f"HTTP {status}" in found.reason


@pytest.mark.parametrize(
    "value, seconds",
    [("7", 7), ("0.5", 0.5), ("Tue, 24 Nov 2026 12:00:30 GMT", 30), ("Tue, 24 Nov 2026 11:00:00 GMT", 0), ("-3", 0),
     ("nan", 0), ("soon", 0), ("", 0), ("Tue, 99 Nov", 0)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(value, seconds):
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert retry_after({"retry-after": value}, now) == seconds
    assert retry_after({}, now) == 0


def test_the_key_is_struck_out_unless_it_is_a_placeholder():
    assert cleared("key=abcdefgh1, abcdefgh1!", "abcdefgh1") == "key=[key], [key]!"
    assert cleared("EMPTY", "EMPTY") == "EMPTY" and cleared("x", None) == "x"


# Money


def test_cost_is_what_is_said_or_counted_or_not_known():
    prices = Prices(input=2.5, output=10)
    assert cost(Usage(1_000_000, 100_000), prices) == pytest.approx(3.5)
    assert cost(Usage(1, 1, 0.25), prices) == cost(Usage(1, 1, 0.25), None) == 0.25
    assert cost(Usage(1, 1), None) is None and cost(None, prices) is None


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
def test_a_limit_is_a_positive_amount(limit):
    with pytest.raises(ValueError, match="a spend limit is more than 0 USD"):
        Budget(limit)
    with pytest.raises(ValueError, match="prices are USD"):
        Prices(-1, 2)


@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0, 1), st.booleans()), max_size=30), st.integers(1, 60))
def test_whatever_is_asked_at_once_the_limit_holds_and_nothing_is_left_held(questions, limit):
    """Each question holds its most, and in the end costs a share of it or an unknown amount; whole USD are exact."""
    budget, paid, refused_at = Budget(float(limit)), [], []

    async def one(most: int, share: float, known: bool) -> None:
        if not await budget.hold(float(most)):
            refused_at.append((most, budget.spent_usd))
            return
        await asyncio.sleep(0)
        usd = float(int(most * share)) if known else float(most)
        paid.append(usd)
        budget.settle(float(most), usd if known else None)
        assert budget.spent_usd <= limit

    async def all_of_them() -> None:
        await asyncio.gather(*(one(*question) for question in random.Random(0).sample(questions, len(questions))))

    asyncio.run(all_of_them())
    assert budget.spent_usd == sum(paid) <= limit
    assert len(paid) + len(refused_at) == len(questions)
    assert all(spent + most > limit for most, spent in refused_at)


def test_without_a_limit_spending_is_counted():
    async def ask(budget: Budget) -> None:
        assert await budget.hold(5)
        budget.settle(5, 2)

    budget = Budget()
    asyncio.run(ask(budget))
    assert budget.spent_usd == 2
