"""A judge behind an endpoint, against a real HTTP server that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import inspect
import io
import itertools
import json
import logging
import math
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from arena.domain import Outcome
from arena.errors import EndpointError, SettingsError, UsageError
from arena.services.judges import open_judge
from arena.settings import load_settings
from evaluators.judge.base import Question
from evaluators.judge.modes import Judge, Pair, Shown
from evaluators.judge.openai_chat import NOT_ASKED, OpenAIChat, Pictures
from evaluators.judge.openai_http import Limits

DARK, LIGHT = np.full((8, 8, 3), 10, np.uint8), np.full((8, 6, 3), 200, np.uint8)
KEY = "sk-test-0123456789abcdef/Ω".replace("Ω", "x")
QUICK = {"first_wait_s": 0.01, "attempts": 3, "read_s": 5.0}

Behaviour = Callable[["Asked"], Awaitable[Response]]


class Asked:
    """A request as the server reads it."""

    def __init__(self, body: dict[str, Any], headers: dict[str, str], number: int) -> None:
        self.body, self.headers, self.number = body, headers, number
        parts = body["messages"][0]["content"]
        self.text = "".join(part["text"] for part in parts if part["type"] == "text")
        self.images = [_decoded(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]

    @property
    def introduces(self) -> bool:
        return "Is this image plain?" in self.text


def _decoded(url: str) -> np.ndarray:
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def completion(text: str | None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    choice |= {name: fields.pop(name) for name in ("logprobs", "finish_reason", "message") if name in fields}
    usage = {"prompt_tokens": 1000, "completion_tokens": 10}
    return {"id": "1", "model": "tiny-1", "choices": [choice], "usage": usage, **fields}


async def brighter_wins(asked: Asked) -> Response:
    if asked.introduces:
        return JSONResponse(completion("yes"))
    first, second = asked.images
    return JSONResponse(completion(("A" if first.mean() > second.mean() else "B") + "\nIt is brighter."))


def on(caption: str, then: Behaviour) -> Behaviour:
    """Behaves so for one caption, and well otherwise."""
    return lambda asked: then(asked) if caption in asked.text else brighter_wins(asked)


class Endpoint:
    """A server on a free port. `behave` answers; `asked` are the requests so far; `most` were under way at once."""

    def __init__(self) -> None:
        self.begin_anew()
        app = Starlette(routes=[Route("/v1/chat/completions", self._answer, methods=["POST"])])
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    def begin_anew(self) -> None:
        self.behave: Behaviour = brighter_wins
        self.asked: list[Asked] = []
        self.under_way: set[Asked] = set()
        self.most = 0

    async def _answer(self, request: Request) -> Response:
        asked = Asked(await request.json(), dict(request.headers), len(self.asked))
        self.asked.append(asked)
        under_way = self.under_way
        under_way.add(asked)
        self.most = max(self.most, len(under_way))
        try:
            return await self.behave(asked)
        finally:
            under_way.remove(asked)

    @property
    def questions(self) -> list[Asked]:
        return [asked for asked in self.asked if not asked.introduces]

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._socket.close()

    def model(self, **options: Any) -> OpenAIChat:
        return OpenAIChat("lab/tiny", self.url, **{"limits": QUICK, "longest_side": 64, **options})


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    server = Endpoint()
    yield server
    server.stop()


@pytest.fixture
def endpoint(server: Endpoint) -> Endpoint:
    server.begin_anew()
    return server


def text(answer: str) -> Behaviour:
    async def behave(asked: Asked) -> Response:
        return JSONResponse(completion(answer))

    return behave


def body(content: bytes | str, status: int = 200, media_type: str = "application/json", **headers: str) -> Behaviour:
    async def behave(asked: Asked) -> Response:
        return Response(content, status, {name.replace("_", "-"): value for name, value in headers.items()}, media_type)

    return behave


def answer(**fields: Any) -> Behaviour:
    async def behave(asked: Asked) -> Response:
        return JSONResponse(completion(None, **fields))

    return behave


# What goes well


def test_both_orders_are_judged_on_the_very_pixels(endpoint):
    verdicts = Judge(endpoint.model(prices={"input": 2, "output": 10})).compare(
        [Pair("a light", DARK, LIGHT), Pair("a light", LIGHT, DARK)]
    )
    assert [verdict.outcome for verdict in verdicts] == [Outcome.RIGHT, Outcome.LEFT]
    assert verdicts[0].consistent and verdicts[0].reasons == ("It is brighter.",) * 2
    assert verdicts[0].cost_usd == pytest.approx(2 * (1000 * 2 + 10 * 10) / 1e6)
    assert verdicts[0].seconds > 0
    sent = endpoint.questions[0]
    assert {name: sent.body[name] for name in ("model", "temperature", "seed", "max_tokens")} == {
        "model": "lab/tiny", "temperature": 0, "seed": 0, "max_tokens": 96,
    }  # fmt: skip
    assert sorted(image.shape for image in sent.images) == [(8, 6, 3), (8, 8, 3)]
    assert all(np.array_equal(image, DARK if image.shape == DARK.shape else LIGHT) for image in sent.images)


def test_as_many_questions_as_allowed_are_under_way_and_replies_stay_in_order(endpoint):
    async def slow(asked: Asked) -> Response:
        await asyncio.sleep(0 if asked.introduces else 0.05 + 0.05 * (asked.number % 3))
        return JSONResponse(completion(asked.text[-40:]))

    endpoint.behave = slow
    model = endpoint.model(limits={**QUICK, "concurrency": 5})
    replies = model.replies([Question((DARK, f"number {n}"), max_tokens=4) for n in range(23)])
    assert [reply.text for reply in replies] == [f"number {n}" for n in range(23)]
    assert endpoint.most == 5


def test_replies_come_inside_a_running_event_loop(endpoint):
    async def notebook():
        return Judge(endpoint.model()).compare([Pair("a light", DARK, LIGHT)])

    assert asyncio.run(notebook())[0].outcome is Outcome.RIGHT


def test_the_table_knows_it_by_name_and_options_are_plain_json(endpoint, monkeypatch):
    monkeypatch.setenv("LAB_KEY", KEY)
    options = {"base_url": endpoint.url, "key_variable": "LAB_KEY", "longest_side": 64, "limits": QUICK}
    options |= {"prices": {"input": 2, "output": 8}, "limit_usd": 5, "extra": {"top_p": 1}}
    judge = open_judge("openai:lab/tiny", json.loads(json.dumps(options)), load_settings())
    assert judge.voter_id.startswith("judge:tiny@")
    assert json.loads(json.dumps(judge.settings)) == judge.settings
    assert judge.compare([Pair("a light", DARK, LIGHT)])[0].outcome is Outcome.RIGHT
    with pytest.raises(UsageError, match="does not fit"):
        open_judge("openai:lab/tiny", {"base_uri": endpoint.url}, load_settings())


def test_no_questions_no_requests(endpoint):
    model = endpoint.model()
    assert model.replies([]) == [] and len(endpoint.asked) == 1


def top(**shares: float) -> list[dict[str, Any]]:
    return [{"token": token, "logprob": math.log(share)} for token, share in shares.items()]


def test_log_probabilities_are_read_where_they_are_offered(endpoint):
    async def behave(asked: Asked) -> Response:
        likely = [{"token": "yes", "logprob": math.log(0.6), "top_logprobs": top(yes=0.6, no=0.2)}]
        return JSONResponse(completion("yes", logprobs={"content": likely}))

    endpoint.behave = behave
    model = endpoint.model()
    assert model.settings["top_logprobs"] == 20
    found = Judge(model).shows([Shown("a bear", DARK)])[0]
    assert found.value == pytest.approx(0.75) and (found.yes, found.no) == pytest.approx((0.6, 0.2))
    assert endpoint.questions[0].body["top_logprobs"] == 20


def test_without_log_probabilities_p_yes_is_unscored(endpoint):
    endpoint.behave = text("yes")
    model = endpoint.model()
    assert model.settings["top_logprobs"] == 0
    assert Judge(model).shows([Shown("a bear", DARK)])[0].unscored == "the model gives no log probabilities"
    assert "logprobs" not in endpoint.questions[0].body


def test_a_rubric_is_asked_for_by_its_schema(endpoint):
    endpoint.behave = text('{"visual_quality": "good"}')
    judge = Judge(endpoint.model(), criteria=("visual_quality",))
    assert judge.rate([Shown("a bear", DARK)])[0].overall == 4
    form = endpoint.questions[0].body["response_format"]["json_schema"]
    assert form["strict"] and form["schema"]["required"] == ["visual_quality"]


# Options that an endpoint does not take

REFUSALS = {
    "json_schema": ("response_format", False),
    "top_logprobs": ("logprobs", 0),
    "temperature": ("temperature", None),
    "seed": ("seed", None),
}


def refusing(*fields: str, naming: bool = True, status: int = 400) -> Behaviour:
    async def behave(asked: Asked) -> Response:
        refused = next((field for field in fields if field in asked.body), None)
        if refused:
            said = "Bad request" + "." * 200 + (f" Unsupported parameter: '{refused}'." if naming else "")
            return JSONResponse({"error": {"message": said}}, status)
        return await brighter_wins(asked)

    return behave


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("naming", [True, False])
@pytest.mark.parametrize("setting", [*REFUSALS])
def test_an_option_that_is_refused_is_left_out_from_then_on(endpoint, setting, naming, status):
    field, without = REFUSALS[setting]
    endpoint.behave = refusing(field, naming=naming, status=status)
    model = endpoint.model()
    assert model.settings[setting] == without
    others = {name for name in ("temperature", "seed") if name != setting}
    assert not naming or all(model.settings[name] == 0 for name in others)
    assert Judge(model).compare([Pair("a light", DARK, LIGHT)])[0].outcome is Outcome.RIGHT
    assert all(field not in asked.body for asked in endpoint.questions) and len(endpoint.questions) == 2


def test_an_endpoint_of_the_reasoning_kind(endpoint):
    endpoint.behave = refusing("temperature", "logprobs", "max_tokens")
    model = endpoint.model(extra_tokens=4000, extra={"reasoning_effort": "low"})
    model.replies([Question((DARK, "x"), max_tokens=4)])
    sent = endpoint.questions[0].body
    assert sent["max_completion_tokens"] == 4004 and sent["reasoning_effort"] == "low" and "max_tokens" not in sent


def test_fewer_log_probabilities_are_better_than_none(endpoint):
    async def behave(asked: Asked) -> Response:
        if asked.body.get("top_logprobs", 0) > 5:
            return JSONResponse({"detail": "top_logprobs must be at most 5"}, 422)
        likely = [{"token": "yes", "logprob": -0.1, "top_logprobs": []}]
        return JSONResponse(completion("yes", logprobs={"content": likely}))

    endpoint.behave = behave
    assert endpoint.model().settings["top_logprobs"] == 5


# Bad answers


async def half_a_body(asked: Asked) -> Response:
    return Response(b'{"choices": [{"mess', headers={"content-length": "1000"})


async def a_broken_stream(asked: Asked) -> Response:
    async def chunks():
        yield b'{"choices": ['
        raise RuntimeError("the server falls over")

    return StreamingResponse(chunks(), media_type="application/json")


async def silence(asked: Asked) -> Response:
    await asyncio.sleep(3)
    return JSONResponse(completion("A"))


async def a_slow_drip(asked: Asked) -> Response:
    async def chunks():
        for _ in range(30):
            yield b" "
            await asyncio.sleep(0.1)

    return StreamingResponse(chunks(), media_type="application/json")


HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"
BAD = {
    "HTML with 200": (body(HTML, media_type="text/html"), "not JSON: '<html>", 3),
    "HTML with 502": (body(HTML, 502, "text/html"), "HTTP 502: '<html>", 3),
    "500": (body('{"error": {"message": "CUDA out of memory"}}', 500), "HTTP 500: 'CUDA out of memory'", 3),
    "501": (body("{}", 501), "HTTP 501", 1),
    "400": (body('{"message": "image too large"}', 400), "HTTP 400: 'image too large'", 1),
    "flagged": (body('{"error": {"message": "Your input was flagged"}}', 403), "HTTP 403: 'Your input was flagged'", 1),
    "thinks on": (answer(message={"content": "<think>A or B"}, finish_reason="length"), "needs extra_tokens", 1),
    "invalid JSON": (body('{"choices": [}'), "not JSON", 3),
    "a stream, though none was asked for": (body('data: {"choices": []}\n\n'), "not JSON", 3),
    "deep JSON": (body("[" * 100_000), "not JSON", 3),
    "not UTF-8": (body(b"\xff\xfe\x00"), "not JSON", 3),
    "an empty body": (body(""), "not JSON: ''", 3),
    "no object": (body("[1, 2]"), "no choices in the answer", 3),
    "no choices": (body('{"model": "tiny-1", "choices": []}'), "no choices in the answer", 3),
    "an error with 200": (body('{"error": "overloaded"}'), "no choices in the answer: 'overloaded'", 3),
    "no text": (answer(), "no text in the answer", 3),
    "odd shapes": (answer(message=["A"]), "no text in the answer", 3),
    "a refusal": (answer(message={"content": None, "refusal": "I cannot."}), "refused: 'I cannot.'", 1),
    "a content filter": (answer(finish_reason="content_filter"), "content filter", 1),
    "cut off": (answer(finish_reason="length"), "needs extra_tokens", 1),
    "both": (text("Both are great!"), "unparsable: 'Both are great!'", 1),
    "nothing said": (text(""), "an empty answer", 1),
    "another model": (body(json.dumps({**completion("A"), "model": "big-2"})), "answered by the model 'big-2'", 1),
    "moved": (body("", 308, location="http://127.0.0.1:1/v1"), "has moved", 1),
    "compressed": (body(gzip.compress(b" " * 10**6), content_encoding="gzip"), "a compressed answer", 1),
    "half a body": (half_a_body, "the connection failed", 3),
    "a broken stream": (a_broken_stream, "the connection failed", 3),
}  # fmt: skip


@pytest.mark.parametrize("what", [*BAD])
def test_a_bad_answer_is_unscored_with_its_reason_and_the_run_goes_on(endpoint, what):
    behave, reason, attempts = BAD[what]
    endpoint.behave = on("the bad one", behave)
    judge = Judge(endpoint.model(limits={**QUICK, "concurrency": 1}), attempts=1)
    pairs = [Pair("a light", DARK, LIGHT), Pair("the bad one", DARK, LIGHT)]
    good, bad = judge.compare(pairs)
    assert bad.outcome is None and bad.unscored.startswith("left first: ") and reason in bad.unscored
    assert len(bad.unscored) < 600
    stopped = what == "moved"
    sent = sum("the bad one" in asked.text for asked in endpoint.questions)
    assert sent == (1 if stopped else 2 * attempts)
    assert stopped or good.outcome is Outcome.RIGHT


@pytest.mark.parametrize(
    "behave, limits, reason, attempts",
    [
        (silence, {"read_s": 0.3}, "timed out: silence for 0.3 s", 2),
        (a_slow_drip, {"total_s": 0.5}, "timed out after 0.5 s", 2),
    ],
)
def test_time_runs_out(endpoint, behave, limits, reason, attempts):
    endpoint.behave = on("the bad one", behave)
    model = endpoint.model(limits={**QUICK, "attempts": attempts, **limits})
    start = time.monotonic()
    bad, good = Judge(model, attempts=1).compare([Pair("the bad one", DARK, LIGHT), Pair("a light", DARK, LIGHT)])
    assert reason in bad.unscored and good.outcome is Outcome.RIGHT
    assert time.monotonic() - start < 15, "as long as the server takes"


@contextlib.contextmanager
def raw_server(handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> Iterator[str]:
    """The address of a server that writes what it likes."""

    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                await handle(reader, writer)
        finally:
            writer.close()

    async def serve() -> None:
        async with await asyncio.start_server(handled, "127.0.0.1", 0) as server:
            port.append(server.sockets[0].getsockname()[1])
            ready.set()
            await done.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    ready, done, port, loop = threading.Event(), asyncio.Event(), list[int](), asyncio.new_event_loop()
    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(10)
    try:
        yield f"http://127.0.0.1:{port[0]}/v1"
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)


def test_headers_may_drip_as_well():
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(30):
            writer.write(b"H")
            await asyncio.sleep(0.1)

    limits = {"attempts": 1, "total_s": 0.4}
    with raw_server(drip) as url, pytest.raises(EndpointError, match=r"timed out after 0\.4 s"):
        OpenAIChat("x", url, limits=limits)


@pytest.mark.parametrize("status", [200, 500])
def test_a_body_of_100_megabytes_is_not_read_whole(status):
    sent: list[int] = []

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
        writer.write(b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: 104857600\r\n\r\n" % status)
        for _ in range(100):
            writer.write(b" " * 2**20)
            await writer.drain()
            sent.append(2**20)

    limits = {**QUICK, "body_bytes": 2**20}
    with raw_server(flood) as url, pytest.raises(EndpointError, match="an answer of more than 1,048,576 bytes"):
        OpenAIChat("x", url, limits=limits)
    # One attempt; beyond the limit only what the sockets hold has left the server.
    assert sum(sent) < 30 * 2**20


# Trying again


def failing(times: int, response: Callable[[], Response]) -> tuple[Behaviour, list[float]]:
    """Fails so many times after the first question; and when it was asked."""
    at: list[float] = []

    async def behave(asked: Asked) -> Response:
        if not asked.introduces:
            at.append(time.monotonic())
            if len(at) <= times:
                return response()
        return await brighter_wins(asked)

    return behave, at


def one_question() -> list[Question]:
    return [Question(("A", DARK, "B", LIGHT), max_tokens=4)]


def test_a_429_is_asked_again_when_the_endpoint_says(endpoint):
    endpoint.behave, at = failing(2, lambda: PlainTextResponse("slow down", 429, {"retry-after": "0.4"}))
    assert endpoint.model().replies(one_question())[0].text.startswith("B")
    assert len(at) == 3 and all(0.4 <= later - earlier < 4 for earlier, later in itertools.pairwise(at))


def test_waiting_doubles(endpoint):
    endpoint.behave, at = failing(3, lambda: PlainTextResponse("", 503))
    model = endpoint.model(limits={**QUICK, "attempts": 4, "first_wait_s": 0.2})
    assert model.replies(one_question())[0].text
    waits = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert len(waits) == 3 and all(wait >= 0.2 * 2**n / 2 for n, wait in enumerate(waits))


def test_an_endpoint_that_asks_for_too_long_a_wait_is_not_waited_for(endpoint):
    endpoint.behave, at = failing(9, lambda: PlainTextResponse("tomorrow", 429, {"retry-after": "86400"}))
    reply = endpoint.model().replies(one_question())[0]
    assert reply.failure == "HTTP 429, and it asks to wait 86400 s: 'tomorrow'" and len(at) == 1


@pytest.mark.parametrize(
    "status, said, why",
    [
        (401, '{"error": {"message": "Incorrect API key"}}', "the key is refused: 'Incorrect API key'"),
        (402, "{}", "there is nothing left to pay with"),
        (403, '{"error": "not allowed"}', "this key may not use this model, or not from here: 'not allowed'"),
        (404, "{}", "no such address or model"),
        (429, '{"error": {"message": "Quota", "code": "insufficient_quota"}}', "there is nothing left to pay with: 'Q"),
    ],
)  # fmt: skip
def test_what_no_further_question_can_mend_ends_the_asking(endpoint, status, said, why):
    model = endpoint.model(limits={**QUICK, "concurrency": 2})
    endpoint.behave = body(said, status)
    replies = model.replies(one_question() * 20)
    assert replies[0].failure.startswith(f"{NOT_ASKED}: HTTP {status}, {why}")
    assert replies[-1].failure.startswith(f"{NOT_ASKED}: HTTP {status}, {why}")
    assert len(endpoint.questions) == 2
    assert model.replies(one_question())[0].failure.startswith(NOT_ASKED) and len(endpoint.questions) == 2


def test_an_endpoint_that_has_gone_is_not_asked_for_ever():
    gone = Endpoint()
    model = gone.model(limits={**QUICK, "concurrency": 2, "patience": 4})
    gone.stop()
    replies = model.replies(one_question() * 50)
    assert "the connection failed with ConnectError" in replies[0].failure
    assert replies[-1].failure.startswith(f"{NOT_ASKED}: the last 4 questions had no answer")
    assert sum(not reply.failure.startswith(NOT_ASKED) for reply in replies) <= 5


@pytest.mark.parametrize("behave", [body(HTML), body("", 500), body("{}", 401), body('{"error": "no images"}', 400)])
def test_an_endpoint_without_a_first_answer_is_refused(endpoint, behave):
    endpoint.behave = behave
    with pytest.raises(EndpointError, match="does not answer a first question to 'lab/tiny'"):
        endpoint.model()


# Money

PRICES = {"input": 100.0, "output": 1000.0}
"""The answers of `completion` cost 0.11 USD each."""


def test_a_limit_is_not_overspent_and_later_questions_are_not_asked(endpoint):
    model = endpoint.model(prices=PRICES, limit_usd=5, limits={**QUICK, "concurrency": 8})
    replies = model.replies(one_question() * 100)
    paid = 0.11 * len(endpoint.asked)
    assert model.budget.spent_usd == pytest.approx(paid) and 4.5 < paid <= 5
    assert sum(reply.cost_usd or 0 for reply in replies) == pytest.approx(paid - 0.11)
    refused = [reply.failure for reply in replies if reply.text is None]
    assert len(refused) == 100 - len(endpoint.questions)
    assert all(failure.startswith(f"{NOT_ASKED}: the spend limit of 5 USD: ") for failure in refused)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_an_endpoint_that_counts_more_than_expected_is_held_to_the_limit(endpoint, concurrency):
    async def dearer(asked: Asked) -> Response:
        usage = {"prompt_tokens": 1000 if asked.introduces else 3000, "completion_tokens": 10}
        return JSONResponse(completion("A", usage=usage))

    endpoint.behave = dearer
    model = endpoint.model(prices=PRICES, limit_usd=20, limits={**QUICK, "concurrency": concurrency})
    model.replies([Question((DARK, "x"), max_tokens=10)] * 100)
    # Held is what the dearest so far came to, 0.31 USD, not a multiple for each that was under way.
    assert 19.6 < model.budget.spent_usd <= 20


def test_what_is_not_known_to_be_free_counts_as_spent(endpoint):
    model = endpoint.model(prices=PRICES, limit_usd=10)
    first = model.budget.spent_usd
    endpoint.behave = body("{}", 503)
    model.replies(one_question())
    assert model.budget.spent_usd == first
    endpoint.behave = body(HTML)
    assert model.replies(one_question())[0].cost_usd is None
    assert model.budget.spent_usd > first + 3 * 0.2


def test_what_the_endpoint_says_it_cost_is_believed(endpoint):
    async def stated(asked: Asked) -> Response:
        return JSONResponse(completion("A", usage={"prompt_tokens": 5, "completion_tokens": 1, "cost": 0.25}))

    endpoint.behave = stated
    assert endpoint.model().replies(one_question())[0].cost_usd == 0.25


def test_a_limit_without_prices_or_below_the_first_question_is_refused(endpoint):
    with pytest.raises(UsageError, match="needs prices"):
        endpoint.model(limit_usd=1)
    with pytest.raises(EndpointError, match=r"the spend limit of 0\.001 USD"):
        endpoint.model(limit_usd=0.001, prices=PRICES)
    assert endpoint.asked == []


# The key


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def everything(error: BaseException) -> str:
    """What any report of an error could show: messages, attributes, and the locals of every frame but this test's."""
    shown = []
    for one in chain(error):
        shown += [repr(one), str(one), repr(vars(one))]
        frame = one.__traceback__
        while frame:
            if frame.tb_frame.f_code.co_filename != __file__:
                shown.append(repr(frame.tb_frame.f_locals))
            frame = frame.tb_next
    return "\n".join(shown)


ESCAPED = "".join(f"\\u{ord(character):04x}" for character in KEY)


@pytest.mark.parametrize("said", [KEY, "x" * 100 + KEY, ESCAPED, f"{KEY}{KEY}"])
def test_the_key_shows_nowhere(endpoint, monkeypatch, caplog, capsys, said):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("LAB_KEY", KEY)
    echoes = [
        body(f'{{"error": {{"message": "bad key {said}"}}}}', 500, x_echo=KEY),
        body(f"bad key {said}", 503),
        body(f'{{"choices": [], "error": "{said}"}}'),
        body(f'{{"model": "tiny-1", "choices": [{{"message": {{"content": "A\\n{said}"}}}}]}}'),
        body(f'{{"model": "tiny-1", "choices": [{{"message": {{"refusal": "{said}"}}}}]}}'),
        body(f'{{"model": "{said}", "choices": [{{"message": {{"content": "A"}}}}]}}'),
        body("", 307, location=f"http://127.0.0.1:1/{KEY}"),
    ]

    async def behave(asked: Asked) -> Response:
        assert asked.headers["authorization"] == f"Bearer {KEY}"
        number = len(endpoint.questions) - 1
        return await (brighter_wins if asked.introduces else echoes[number % len(echoes)])(asked)

    endpoint.behave = behave
    model = endpoint.model(key_variable="LAB_KEY", limits={**QUICK, "attempts": 1, "concurrency": 1})
    judge = Judge(model, attempts=1)
    verdicts = judge.compare([Pair(f"a light {n}", DARK, LIGHT) for n in range(8)])
    shown = [repr(verdicts), repr(model), repr(vars(model)), repr(model.settings), repr(judge), repr(judge.settings)]
    shown += [judge.voter_id, caplog.text, *capsys.readouterr()]
    assert any("[key]" in one for one in shown) and len(endpoint.asked) > len(echoes)

    for behave in (body(f'{{"error": "wrong key: {said}"}}', 401), body(f"{said}", 500), half_a_body):
        endpoint.behave = behave
        with pytest.raises(EndpointError) as caught:
            endpoint.model(key_variable="LAB_KEY", limits={**QUICK, "attempts": 1})
        shown.append(everything(caught.value))
    leaks = [one[max(0, one.find(KEY[:-3]) - 200) :][:300] for one in shown if KEY[:-3] in one]
    assert not leaks


def test_the_key_is_no_part_of_the_fingerprint(endpoint, monkeypatch):
    def fingerprint(**options: Any) -> str:
        return Judge(endpoint.model(**options)).fingerprint

    plain = fingerprint()
    monkeypatch.setenv("LAB_KEY", KEY)
    assert fingerprint(key_variable="LAB_KEY") == plain
    assert fingerprint(limits={"concurrency": 2}, prices=PRICES) == plain
    for options in ({"seed": 1}, {"extra": {"top_p": 0.5}}, {"longest_side": 32}, {"extra_tokens": 9}):
        assert fingerprint(**options) != plain
    assert fingerprint(served_as="the lab's") != plain
    reported = [{"system_fingerprint": "fp_1"}, {"system_fingerprint": "fp_2"}, {"model": "tiny-2"}]
    for fields in reported:
        endpoint.behave = body(json.dumps(completion("A") | fields))
        assert fingerprint() != plain
        assert (fingerprint(any_system=True) == plain) == ("model" not in fields)


def test_an_answer_of_another_system_is_unscored(endpoint):
    async def behave(asked: Asked) -> Response:
        return JSONResponse(completion("A", system_fingerprint="fp_1" if asked.introduces else "fp_2"))

    endpoint.behave = behave
    failure = endpoint.model().replies(one_question())[0].failure
    assert failure == "answered by the system 'fp_2', while this judge is 'fp_1'; see any_system"
    assert endpoint.model(any_system=True).replies(one_question())[0].text == "A"


def test_what_is_not_the_name_of_a_variable_is_not_repeated(endpoint, monkeypatch):
    for given in (KEY, "hf_AbCdEf0123456789", ""):
        if given:
            with pytest.raises(SettingsError) as caught:
                endpoint.model(key_variable=given)
            assert given not in str(caught.value) and "NAME" in str(caught.value)
    monkeypatch.delenv("LAB_KEY", raising=False)
    with pytest.raises(SettingsError, match="LAB_KEY holds no usable key"):
        endpoint.model(key_variable="LAB_KEY")


def test_nothing_of_openais_own_variables_reaches_another_endpoint(endpoint, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "private-value")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: private-value\nAuthorization: private-value")
    endpoint.model().replies(one_question())
    assert all("private-value" not in repr(asked.headers) for asked in endpoint.asked)
    assert all("authorization" not in asked.headers for asked in endpoint.asked)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://host/v1",
        "https://user:hunter2hunter2@host/v1",
        "https://host/v1?key=hunter2hunter2",
    ],
)
def test_an_address_that_is_none_or_holds_a_key_is_refused(url):
    with pytest.raises(UsageError) as caught:
        OpenAIChat("x", url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("limits", [{"concurrency": 0}, {"read_s": float("nan")}, {"parallel": 3}])
def test_limits_that_cannot_be_are_refused(limits):
    with pytest.raises(UsageError, match="limits cannot be used"):
        OpenAIChat("x", "http://localhost:1/v1", limits=limits)


def test_the_docs_explain_every_option_and_limit():
    page = (Path(__file__).parents[3] / "docs" / "judge-endpoints.md").read_text()
    options = [*inspect.signature(OpenAIChat).parameters, *Limits.__dataclass_fields__]
    assert not [name for name in options if f"`{name}`" not in page]


def test_each_image_is_encoded_once_and_then_forgotten(monkeypatch):
    encoded: list[int] = []

    def png_url(image: np.ndarray, longest_side: int) -> str:
        encoded.append(id(image))
        return f"data:{id(image)}"

    monkeypatch.setattr("evaluators.judge.openai_format.png_url", png_url)
    images = [np.full((4, 4, 3), n, np.uint8) for n in range(6)]
    orders = [(images[n], images[n + 1]) for n in (0, 2, 4)] + [(images[n + 1], images[n]) for n in (0, 2, 4)]
    asked = [Question(order) for order in orders] + [Question(("no image",)), Question((images[0], images[0]))]

    async def taken() -> tuple[Pictures, list[list[str]]]:
        pictures = Pictures(asked, 64)
        return pictures, await asyncio.gather(*(pictures.take(question) for question in asked))

    pictures, urls = asyncio.run(taken())
    assert urls[:6] == [[f"data:{id(one)}", f"data:{id(other)}"] for one, other in orders] and urls[6] == []
    assert sorted(encoded) == sorted(map(id, images)) and not pictures._urls
    assert sorted(range(8), key=pictures.group) == [0, 3, 1, 4, 2, 5, 6, 7]
