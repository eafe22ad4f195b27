"""The OpenAI-compatible backend against a real server: what it sends, what it makes of answers, and what it refuses."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from PIL import Image

from arena.backends.base import Drawn
from arena.backends.openai_images import OpenAIImages
from arena.backends.prices import Tokens
from arena.errors import EndpointError, GenerationError, SettingsError, UsageError
from tests.backends.conftest import Answer, ImageServer, answered, encoded, endless, png

KEY = "sk-very-secret-key-123456"


@pytest.fixture
def backend(server: ImageServer) -> Iterator[Callable[..., OpenAIImages]]:
    made: list[OpenAIImages] = []

    def make(**options: Any) -> OpenAIImages:
        made.append(OpenAIImages("painter", server.url, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def failure(results: list[Drawn | GenerationError]) -> str:
    [result] = results
    assert isinstance(result, GenerationError), result
    return str(result)


def test_the_request_carries_prompt_seed_size_and_the_providers_own_fields(server, backend) -> None:
    one = backend(size="16x16", quality="high", seed_field="random_seed", extra={"num_inference_steps": 4})
    server.answer = lambda body, _: answered(encoded(png(body["random_seed"])), usage={"cost": 0.02})
    [drawn] = one.generate(["a bear"], [5])
    path, headers, body = server.asked[0]
    assert path == "/v1/images/generations" and "authorization" not in headers
    assert body == {
        "model": "painter", "n": 1, "size": "16x16", "quality": "high", "prompt": "a bear", "random_seed": 5,
        "num_inference_steps": 4,
    }  # fmt: skip
    assert drawn.image.getpixel((3, 3)) == (25, 20, 90) and drawn.cost_usd == 0.02 and drawn.seconds > 0


def test_an_endpoint_without_seeds_gets_none(server, backend) -> None:
    server.answer = lambda body, _: answered(encoded(png()), usage={"input_tokens": 12, "output_tokens": 1056})
    [drawn] = backend(seed_field="").generate(["a bear"], [5])
    assert "seed" not in server.asked[0][2] and drawn.tokens == Tokens(12, 1056) and drawn.cost_usd is None


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_base64_data_urls_and_urls_all_give_the_image(server, backend, form) -> None:
    picture = png(form=form)
    server.pages["/x.png"] = (200, {}, picture)
    data = "data:image/png;base64," + encoded(picture)["b64_json"]
    for item in (encoded(picture), {"b64_json": data}, {"url": data}, {"url": f"http://{server.host}/x.png"}):
        server.answer = lambda body, _, item=item: answered(item)
        [drawn] = backend(allow_private_urls=True).generate(["a bear"], [5])
        assert drawn.image.size == (16, 16) and drawn.image.mode == "RGB"


def test_the_key_goes_to_the_endpoint_and_nowhere_else(server, backend, monkeypatch, caplog) -> None:
    monkeypatch.setenv("LAB_KEY", KEY)
    server.pages["/x.png"] = (200, {}, png())
    server.answer = lambda body, _: answered({"url": f"http://{server.host}/x.png"})
    one = backend(key_variable="LAB_KEY", allow_private_urls=True)
    with caplog.at_level(logging.DEBUG):
        one.generate(["a bear"], [5])
        server.answer = lambda body, heads: (400, {"x-echo": heads["authorization"]}, heads["authorization"].encode())
        told = failure(one.generate(["a bear"], [6]))
    (_, asked, _), (path, fetched, _), _ = server.asked
    assert asked["authorization"] == f"Bearer {KEY}" and path == "/x.png" and "authorization" not in fetched
    assert told == "HTTP 400: Bearer [key]" and KEY not in repr(one) and KEY not in caplog.text
    assert KEY not in str(vars(one))


def test_the_environment_of_other_tools_reaches_no_endpoint(server, backend, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-123")
    backend().generate(["a bear"], [5])
    assert KEY not in str(server.asked) and "org-123" not in str(server.asked)


@pytest.mark.parametrize("variable", ["LAB_KEY", KEY])
def test_a_key_that_is_not_there_is_said_without_showing_one(backend, variable) -> None:
    with pytest.raises(SettingsError) as told:
        backend(key_variable=variable)
    assert KEY not in str(told.value)


def retry_after_date() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)


@pytest.mark.parametrize(
    ("status", "header", "least"), [(429, lambda: "1", 1.0), (429, retry_after_date, 0.9), (503, lambda: "", 0.2)]
)
def test_a_busy_endpoint_is_asked_again_when_it_says(server, backend, status, header, least) -> None:
    def busy_once(body: Any, _: Any) -> Answer:
        if len(server.asked) == 1:
            return status, {"retry-after": header()}, b'{"error": {"message": "busy"}}'
        return answered(encoded(png()))

    server.answer = busy_once
    started = time.monotonic()
    [drawn] = backend().generate(["a bear"], [5])
    waited = time.monotonic() - started - drawn.seconds
    assert len(server.asked) == 2 and waited >= least, "and waiting for a turn is no part of how fast it draws"


def test_an_endpoint_that_stays_busy_is_a_failure_with_its_words(server, backend) -> None:
    server.answer = lambda *_: (429, {"retry-after": "3600"}, b'{"error": {"message": "slow down"}}')
    assert failure(backend().generate(["a bear"], [5])) == "HTTP 429: slow down, and it asks to wait 3600 s"
    assert len(server.asked) == 1


BROKEN = png()[:60]
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, {}, b"<!DOCTYPE html><html>log in</html>"), "an HTML page instead of an answer"),
        ((200, {}, b"{]"), "no JSON object instead of an answer"),
        ((200, {}, b'{"data": []}'), "no image in the answer"),
        ((200, {}, b'{"error": "all GPUs are asleep"}'), "no image in the answer: all GPUs are asleep"),
        (answered({"revised_prompt": "x"}), "neither b64_json nor url"),
        (answered({"b64_json": "!!"}), "not an image: nothing at all"),
        (answered(encoded(BROKEN)), "a broken PNG"),
        (answered(encoded(SVG)), "an SVG, which has no pixels"),
        (answered(encoded(b"<html>")), "an HTML page"),
        ((200, {"content-encoding": "gzip"}, b"x"), "a compressed answer"),
        ((400, {}, b'{"error": {"code": "moderation_blocked", "message": "no bears"}}'), "safety filter: no bears"),
        ((422, {}, b'{"detail": "size must be 1024x1024"}'), "HTTP 422: size must be 1024x1024"),
    ],
)
def test_what_is_no_image_is_a_failure_with_its_reason(server, backend, answer, reason) -> None:
    server.answer = lambda *_: answer
    one = backend()
    assert reason in failure(one.generate(["a bear"], [5]))
    assert len(server.asked) == 1, "what may have been paid for, or was refused, is not asked again"
    server.answer = lambda *_: answered(encoded(png()))
    assert isinstance(one.generate(["a bear"], [6])[0], Drawn), "and the next image comes"


def test_half_a_gigabyte_is_not_read(server, backend) -> None:
    server.answer = lambda *_: (200, {}, endless())
    one = backend(most_megabytes=1)
    assert "more than 1,048,576 bytes" in failure(one.generate(["a bear"], [5]))
    server.answer = lambda *_: (200, {"content-length": "500000000"}, endless())
    assert "500,000,000 bytes" in failure(one.generate(["a bear"], [5]))
    server.pages["/big"] = (200, {}, endless())
    server.answer = lambda *_: answered({"url": f"http://{server.host}/big"})
    assert "more than 1,048,576" in failure(backend(most_megabytes=1, allow_private_urls=True).generate(["a"], [5]))


def test_an_image_that_unfolds_to_any_size_is_refused(server, backend) -> None:
    buffer = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(buffer, "PNG")
    server.answer = lambda *_: answered(encoded(buffer.getvalue()))
    assert "unfolds too far" in failure(backend().generate(["a bear"], [5]))


def test_an_answer_that_drips_is_ended(server, backend) -> None:
    server.answer = lambda *_: (200, {}, endless(b" ", pause=0.05))
    started = time.monotonic()
    assert "took more than 0.5 s" in failure(backend(timeout_s=0.5).generate(["a bear"], [5]))
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "url",
    ["http://{host}/x.png", "http://localhost:1/x", "http://169.254.169.254/latest/meta-data", "http://10.0.0.1/x",
     "http://[::1]/x", "http://[::ffff:127.0.0.1]/x", "http://0.0.0.0/x", "http://2130706433/x"],
)  # fmt: skip
def test_an_address_inside_is_not_fetched(server, backend, url) -> None:
    server.answer = lambda *_: answered({"url": url.format(host=server.host)})
    told = failure(backend().generate(["a bear"], [5]))
    assert "is not a public address; the setting allow_private_urls=true allows that" in told
    assert len(server.asked) == 1


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/x", "gopher://x", "http://", "http://\x00"])
def test_other_kinds_of_addresses_are_not_fetched(server, backend, url) -> None:
    server.answer = lambda *_: answered({"url": url})
    assert "cannot be fetched" in failure(backend(allow_private_urls=True).generate(["a bear"], [5]))


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, b'{"error": {"message": "bad key"}}', "HTTP 401, the key is refused: bad key"),
        (404, b"no such route", "no such address or model"),
        (429, b'{"error": {"message": "insufficient_quota"}}', "nothing left to pay with"),
        (307, b"", "it has moved"),
    ],
)
def test_what_no_request_can_mend_ends_the_contestant(server, backend, status, body, reason) -> None:
    server.answer = lambda *_: (status, {"location": "http://example.org"}, body)
    with pytest.raises(EndpointError, match=reason):
        backend().generate(["a bear"], [5])
    assert len(server.asked) == 1


def test_an_endpoint_that_nobody_answers_for_is_given_up(server) -> None:
    gone = OpenAIImages("painter", "http://127.0.0.1:9/v1", attempts=1)
    results: list[object] = []
    with pytest.raises(EndpointError, match=r"the last 32 requests had no answer, at last because: the connection"):
        for seed in range(40):
            results += gone.generate(["a bear"], [seed])
    assert len(results) == 31 and all("ConnectError" in str(one) for one in results)
    gone.close()


def test_many_threads_share_one_backend(server, backend) -> None:
    def slow(body: Any, _: Any) -> Answer:
        time.sleep(0.2)
        return answered(encoded(png(body["seed"])))

    server.answer = slow
    one = backend(concurrency=8)
    found: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda s=seed: found.update({s: one.generate(["a"], [s])[0]})) for seed in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {seed: drawn.image.getpixel((0, 0))[0] for seed, drawn in found.items()} == {s: s + 20 for s in range(16)}
    assert 2 <= server.most_at_once <= 8


@pytest.mark.parametrize("url", ["localhost:8000", "http://user:pw@host/v1", "http://host/v1?key=abc", "http://host:x"])
def test_an_address_that_is_none_is_refused(url) -> None:
    with pytest.raises(UsageError) as told:
        OpenAIImages("painter", url)
    assert "pw" not in str(told.value) and "abc" not in str(told.value)


def test_what_the_server_says_is_one_short_line(server, backend) -> None:
    server.answer = lambda *_: (400, {}, json.dumps({"error": {"message": "x\n\x1b[31m" + "y" * 5000}}).encode())
    told = failure(backend().generate(["a bear"], [5]))
    assert told.isprintable() and len(told) < 350


AZURE = "openai/deployments/painter"


@pytest.mark.parametrize("end", ["", "/", "/images/generations"])
def test_a_deployment_of_azure_is_asked_with_its_version_and_its_header(server, monkeypatch, caplog, end) -> None:
    monkeypatch.setenv("LAB_KEY", KEY)
    address = f"http://{server.host}/{AZURE}{end}?api-version=2025-04-01-preview"
    one = OpenAIImages("gpt-image-1", address, seed_field="", key_variable="LAB_KEY", size="1024x1024")
    server.answer = lambda *_: answered(encoded(png()), usage={"input_tokens": 12, "output_tokens": 1056})
    with caplog.at_level(logging.DEBUG):
        [drawn] = one.generate(["a bear"], [5])
        server.answer = lambda body, heads: (400, {}, heads["api-key"].encode())
        told = failure(one.generate(["a bear"], [6]))
    one.close()
    path, headers, body = server.asked[0]
    assert path == f"/{AZURE}/images/generations?api-version=2025-04-01-preview"
    assert headers["api-key"] == KEY and "authorization" not in headers
    assert body == {"model": "gpt-image-1", "n": 1, "size": "1024x1024", "prompt": "a bear"}
    assert drawn.image.size == (16, 16) and drawn.tokens == Tokens(12, 1056)
    assert told == "HTTP 400: [key]" and KEY not in caplog.text


def test_the_header_of_the_key_can_be_named(server, backend, monkeypatch) -> None:
    monkeypatch.setenv("LAB_KEY", KEY)
    backend(key_variable="LAB_KEY", key_header="X-Api-Key").generate(["a bear"], [5])
    _, headers, _ = server.asked[0]
    assert headers["x-api-key"] == KEY and "authorization" not in headers


def test_azures_own_refusals_are_said(server, monkeypatch) -> None:
    """The content filter's answer, and a deployment that is not there, in Azure's words."""
    monkeypatch.setenv("LAB_KEY", KEY)
    one = OpenAIImages("m", f"http://{server.host}/{AZURE}?api-version=1", key_variable="LAB_KEY")
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_results": {"violence": {"filtered": True}}}
    error = {
        "code": "contentFilter",
        "message": "Your task failed as a result of our safety system.",
        "innererror": inner,
    }
    server.answer = lambda *_: (400, {}, json.dumps({"error": error}).encode())
    assert "safety filter: Your task failed" in failure(one.generate(["a bear"], [5]))
    gone = {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}}
    server.answer = lambda *_: (404, {}, json.dumps(gone).encode())
    with pytest.raises(EndpointError, match="no such address or model: The API deployment"):
        one.generate(["a bear"], [5])
    one.close()
