"""Inference Providers through huggingface_hub's own client, against a server that speaks the providers' protocols."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.hf_api import InferenceProviderMapping
from huggingface_hub.inference._providers._common import HARDCODED_MODEL_INFERENCE_MAPPING

from arena.backends.base import BadSetting, Drawn
from arena.backends.inference_providers import InferenceProviders
from arena.errors import EndpointError, GenerationError, UsageError
from tests.backends.conftest import ImageServer, endless, png

KEY = "hf_very_secret_123456"
PICTURE = {"content-type": "image/png"}


@pytest.fixture
def backend(server: ImageServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., InferenceProviders]]:
    monkeypatch.setenv("LAB_KEY", KEY)
    server.answer = lambda body, _: (200, PICTURE, png(body["parameters"]["seed"]))
    made: list[InferenceProviders] = []

    def make(**options: Any) -> InferenceProviders:
        chosen = {"base_url": server.url, "key_variable": "LAB_KEY", "attempts": 1} | options
        made.append(InferenceProviders(**chosen))
        return made[-1]

    yield make
    for one in made:
        one.close()


def failure(results: list[Drawn | GenerationError]) -> str:
    [result] = results
    assert isinstance(result, GenerationError), result
    return str(result)


def test_an_endpoint_of_ones_own_gets_all_that_was_set(server, backend) -> None:
    one = backend(height=16, width=32, steps=4, guidance=2.5, extra={"negative_prompt": "blue"})
    [drawn] = one.generate(["a bear"], [2**31 + 5])
    path, headers, body = server.asked[0]
    assert path == "/v1" and headers["authorization"] == f"Bearer {KEY}"
    assert body["inputs"] == "a bear"
    assert body["parameters"] == {
        "height": 16, "width": 32, "num_inference_steps": 4, "guidance_scale": 2.5, "seed": 5,
        "negative_prompt": "blue",
    }  # fmt: skip
    assert drawn.image.getpixel((0, 0)) == (25, 20, 90) and drawn.seconds > 0


def test_the_hubs_own_login_goes_to_no_other_address(server, backend, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", KEY)
    backend(key_variable=None).generate(["a bear"], [5])
    assert KEY not in str(server.asked)


def test_a_model_that_is_an_address_gets_no_login(server, backend, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", KEY)
    address = f"http://me:hunter2@{server.host}/x?token=hunter2"
    with pytest.raises(UsageError, match=r"is an address; a model is an id of the hub.* goes into base_url") as told:
        backend(base_url=None, model=address, key_variable=None)
    with pytest.raises(BadSetting, match="is an address") as registering:
        InferenceProviders.pinned({"model": address})
    assert "hunter2" not in f"{told.value}{registering.value}" and server.asked == []


@pytest.fixture
def fal(server: ImageServer, monkeypatch: pytest.MonkeyPatch) -> ImageServer:
    """fal's own protocol behind the hub's router: the answer holds an address, which is fetched."""
    monkeypatch.setattr(constants, "INFERENCE_PROXY_TEMPLATE", f"http://{server.host}/{{provider}}")
    mapping = InferenceProviderMapping(
        provider="fal-ai", providerId="fal-ai/painter", hf_model_id="lab/painter", task="text-to-image", status="live"
    )
    monkeypatch.setitem(HARDCODED_MODEL_INFERENCE_MAPPING, "fal-ai", {"lab/painter": mapping})
    server.pages["/picture.png"] = (200, PICTURE, png())
    return server


def test_fal_is_asked_in_its_own_words_and_its_address_is_fetched(fal, backend) -> None:
    fal.answer = lambda body, _: (200, {}, f'{{"images": [{{"url": "http://{fal.host}/picture.png"}}]}}'.encode())
    one = backend(base_url=None, model="lab/painter", provider="fal-ai", height=16, width=32, allow_private_urls=True)
    [drawn] = one.generate(["a bear"], [5])
    (path, _, body), (fetched, headers, _) = fal.asked
    assert path == "/fal-ai/fal-ai/painter" and body["image_size"] == {"width": 32, "height": 16} and body["seed"] == 5
    assert fetched == "/picture.png" and "authorization" not in headers and drawn.image.size == (16, 16)


@pytest.mark.parametrize("status", [400, 401])
def test_the_hubs_login_is_in_no_failure_and_no_log(fal, backend, monkeypatch, caplog, status) -> None:
    """A server that sends back what it was sent."""
    login = "hf_login_of_the_hub_1234"
    monkeypatch.setenv("HF_TOKEN", login)
    fal.answer = lambda body, heads: (status, {"x-echo": heads["authorization"]}, heads["authorization"].encode())
    one = backend(base_url=None, model="lab/painter", provider="fal-ai", key_variable=None, allow_private_urls=True)
    with caplog.at_level(logging.DEBUG):
        try:
            told = failure(one.generate(["a bear"], [5]))
        except EndpointError as error:
            told = str(error)
    assert fal.asked[0][1]["authorization"] == f"Bearer {login}"
    assert f"HTTP {status}" in told and "Bearer [key]" in told and login not in told + caplog.text


def test_one_that_is_closed_leaves_the_others_guarded(server, backend) -> None:
    """The hub's client is one for the process."""
    first, second = backend(most_megabytes=1), backend(most_megabytes=1)
    first.close()
    server.answer = lambda *_: (200, PICTURE, endless())
    assert "more than 1,048,576 bytes" in failure(second.generate(["a bear"], [5]))
    first.close()
    assert "more than 1,048,576 bytes" in failure(second.generate(["a bear"], [5])), "closing twice changes nothing"


def test_an_address_inside_is_not_fetched(fal, backend) -> None:
    fal.answer = lambda body, _: (200, {}, b'{"images": [{"url": "http://169.254.169.254/latest"}]}')
    one = backend(base_url=f"http://{fal.host}", model="", provider="hf-inference")
    one._client.model, one._client.provider = "lab/painter", "fal-ai"  # the router is named here, so it may be private
    assert "169.254.169.254, which is not a public address" in failure(one.generate(["a bear"], [5]))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, PICTURE, b"<html>sleeping</html>"), "not an image"),
        ((200, PICTURE, png()[:50]), "broken PNG"),
        ((200, PICTURE, b"<svg></svg>"), "not an image"),
        ((400, {}, b'{"error": "NSFW content detected"}'), "safety filter"),
        ((422, {}, b'{"error": "too many steps"}'), "HTTP 422: .*too many steps"),
        ((503, {}, b'{"error": "loading"}'), "HTTP 503: .*loading"),
        ((200, {**PICTURE, "content-encoding": "gzip"}, b"x"), "compressed"),
    ],
)
def test_what_is_no_image_is_a_failure_with_its_reason(server, backend, answer, reason) -> None:
    import re

    server.answer = lambda *_: answer
    assert re.search(reason, failure(backend().generate(["a bear"], [5])))


def test_half_a_gigabyte_is_not_read(server, backend) -> None:
    server.answer = lambda *_: (200, PICTURE, endless())
    assert "more than 1,048,576 bytes" in failure(backend(most_megabytes=1).generate(["a bear"], [5]))


def test_a_busy_provider_is_asked_again_when_it_says(server, backend) -> None:
    def busy_once(body: Any, _: Any) -> Any:
        return (429, {"retry-after": "1"}, b"busy") if len(server.asked) == 1 else (200, PICTURE, png())

    server.answer = busy_once
    [drawn] = backend(attempts=3).generate(["a bear"], [5])
    assert isinstance(drawn, Drawn) and len(server.asked) == 2


@pytest.mark.parametrize(("status", "reason"), [(401, "the key is refused"), (402, "nothing left to pay with")])
def test_what_no_request_can_mend_ends_the_contestant(server, backend, status, reason) -> None:
    server.answer = lambda *_: (status, {}, b"no")
    with pytest.raises(EndpointError, match=reason):
        backend().generate(["a bear"], [5])


def test_a_provider_that_there_is_not_ends_the_contestant(backend) -> None:
    with pytest.raises(EndpointError, match="nobody-ai"):
        backend(base_url=None, model="lab/painter", provider="nobody-ai").generate(["a bear"], [5])


def test_the_key_is_in_no_message_and_no_log(server, backend, caplog) -> None:
    server.answer = lambda body, heads: (400, {"x-echo": heads["authorization"]}, heads["authorization"].encode())
    one = backend()
    with caplog.at_level(logging.DEBUG):
        told = failure(one.generate(["a bear"], [5]))
    assert KEY not in told and KEY not in caplog.text and KEY not in repr(one)


def test_downloads_of_the_hub_are_not_bounded(server, backend) -> None:
    from huggingface_hub.utils import get_session

    backend(most_megabytes=1)
    server.pages["/weights"] = (200, {}, b"x" * 3_000_000)
    assert len(get_session().get(f"http://{server.host}/weights").content) == 3_000_000
