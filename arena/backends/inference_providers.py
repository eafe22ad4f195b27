"""Hugging Face Inference Providers: fal, Together, Replicate, Nscale, hf-inference and others behind one client."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field

from arena.backends.base import BadSetting, Drawn
from arena.backends.pictures import upright
from arena.backends.web import (
    MEGABYTE,
    Asking,
    Limits,
    Trouble,
    Unreadable,
    bounded,
    checking_address,
    guarded,
    refused,
)
from arena.endpoints import LOGGERS, Clearing, authorities, checked_url, cleared
from arena.errors import GenerationError, UsageError
from arena.keys import struck
from arena.settings import secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2


class Within(NamedTuple):
    """The limits of requests that are sent for an image, and the host that the operator named."""

    limits: Limits
    named: str | None
    allow_private: bool


_within: ContextVar[Within | None] = ContextVar("within", default=None)


class InferenceProviders:
    """`InferenceClient.text_to_image` of huggingface_hub, `concurrency` images under way at once."""

    RUNNING = frozenset(
        {"key_variable", "bill_to", "concurrency", "attempts", "timeout_s", "most_megabytes", "allow_private_urls"}
    )

    def __init__(
        self,
        model: str = "",
        provider: str = "hf-inference",
        *,
        base_url: str | None = None,
        height: Annotated[int, Field(ge=1)] | None = None,
        width: Annotated[int, Field(ge=1)] | None = None,
        steps: Annotated[int, Field(ge=1)] | None = None,
        guidance: float | None = None,
        extra: dict[str, Any] | None = None,
        key_variable: str | None = None,
        bill_to: str | None = None,
        concurrency: Annotated[int, Field(ge=1, le=256)] = 8,
        attempts: Annotated[int, Field(ge=1)] = 4,
        timeout_s: Annotated[float, Field(gt=0)] = 180.0,
        most_megabytes: Annotated[float, Field(gt=0)] = 64.0,
        allow_private_urls: bool = False,
    ):
        """`model`: an id of the hub. `provider`: such as fal-ai, together, replicate, nscale, hf-inference.

        `base_url`: an inference endpoint of your own, which needs no model. `extra`: fields of the provider.
        `key_variable`: the NAME of the environment variable with the key; without it the hub's own login is used.
        Raises UsageError and SettingsError for what cannot be used.
        """
        import huggingface_hub

        self.model, self.provider, self.concurrency = model, provider, concurrency
        self._arguments = {"height": height, "width": width, "num_inference_steps": steps, "guidance_scale": guidance}
        self._extra = dict(extra or {})
        limits = Limits(attempts, total_s=timeout_s, body_bytes=int(most_megabytes * MEGABYTE))
        named = urlsplit(checked_url(base_url)).hostname if base_url else None
        self._limits = Within(limits, named, allow_private_urls)
        if "://" in model:
            raise UsageError(_no_id(model))
        login = huggingface_hub.get_token()
        # The hub's own login is for the hub: an address of one's own gets a key only where one is named.
        key = secret(key_variable) if key_variable else None if base_url else login
        self._clear = lambda text: cleared(cleared(text, key), login)
        self._client = huggingface_hub.InferenceClient(
            model=base_url or model,
            provider=provider,
            token=key,
            timeout=timeout_s,
            bill_to=bill_to,
            headers={"authorization": None} if base_url and key is None else None,
        )
        self._asking = Asking(limits, f"{base_url or provider}", self._clear)
        self._log_filter = Clearing(self._clear)
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self._log_filter)
        _guard_the_hubs_client()
        self._closed = False

    def __repr__(self) -> str:
        return f"InferenceProviders({self.model!r}, {self.provider!r})"

    @staticmethod
    def pinned(settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings as they are registered, their address checked."""
        if "://" in settings.get("model", ""):
            raise BadSetting("model", _no_id(settings["model"]))
        return checking_address(settings, checked_url)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        _leave_the_hubs_client()
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(self._log_filter)

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Drawn | GenerationError]:
        return [self._drawn(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]

    def _drawn(self, prompt: str, seed: int) -> Drawn | GenerationError:
        # The providers take seeds of 32 bits, some of them signed.
        found = self._asking.ask(lambda: self._sent(prompt, seed % 2**31))
        if isinstance(found, Trouble):
            return GenerationError(self._clear(found.reason), paid=found.paid)
        return found

    def _sent(self, prompt: str, seed: int) -> Drawn | Trouble:
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError
        from PIL import UnidentifiedImageError

        started = time.perf_counter()
        try:
            with _limited(self._limits):
                opened = self._client.text_to_image(prompt, seed=seed, extra_body=self._extra, **self._arguments)
            return Drawn(upright(opened), seconds=time.perf_counter() - started)
        except GenerationError as error:
            return Trouble(str(error), paid=True)
        except UnidentifiedImageError:
            return Trouble("the answer is not an image", paid=True)
        except HfHubHTTPError as error:
            return _of_status(error)
        except InferenceTimeoutError:
            return Trouble(f"no answer in {self._limits.limits.total_s:g} s", paid=True)
        except Unreadable as error:
            return Trouble(str(error), paid=True)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            return Trouble(f"the connection failed: {type(error).__name__}: {error}", again=True)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            return Trouble(f"the connection failed: {type(error).__name__}: {error}", paid=True)
        except (KeyError, IndexError, TypeError) as error:
            return Trouble(f"no image in the answer ({type(error).__name__}: {error})", paid=True)
        except ValueError as error:  # a provider that does not exist, or does not serve this model
            return Trouble(str(error), final=True)


def _no_id(model: str) -> str:
    return (
        f"The model {struck(model)[:80]!r} is an address; a model is an id of the hub, such as lab/painter, and the "
        "address of an endpoint of your own goes into base_url."
    )


_guards, _guarding = 0, threading.Lock()


def _guard_the_hubs_client() -> None:
    """The hub's client is one for the process: it is guarded as long as one backend here is in use."""
    import huggingface_hub

    global _guards
    with _guarding:
        _guards += 1
        if _guards == 1:
            huggingface_hub.set_client_factory(_session)


def _leave_the_hubs_client() -> None:
    from huggingface_hub.utils import _http, set_client_factory

    global _guards
    with _guarding:
        _guards -= 1
        if _guards == 0:
            set_client_factory(_http.default_client_factory)


def _of_status(error: Any) -> Trouble:
    import httpx2

    response: httpx2.Response = error.response
    try:
        body = response.text
    except httpx2.ResponseNotRead:
        body = error.server_message or ""
    headers: Mapping[str, str] = response.headers
    return refused(response.status_code, headers, body)


@contextmanager
def _limited(within: Within) -> Iterator[None]:
    token = _within.set(within)
    try:
        yield
    finally:
        _within.reset(token)


def _session() -> httpx2.Client:
    """The hub's client. Requests that are sent for an image are bounded and guarded, its downloads of weights are not.

    It is one for the process, so the limits travel with the thread that asks.
    """
    import httpx2

    plain = httpx2.HTTPTransport(verify=authorities(), limits=httpx2.Limits(max_connections=None))
    guards = {allow: guarded(plain, allow) for allow in (False, True)}

    class Limiting(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            within = _within.get()
            if within is None:
                return plain.handle_request(request)
            request.headers["accept-encoding"] = "identity"
            transport = plain if request.url.host == within.named else guards[within.allow_private]
            response = transport.handle_request(request)
            bounded(within.limits)(response)
            return response

        def close(self) -> None:
            plain.close()

    return httpx2.Client(transport=Limiting(), follow_redirects=True, timeout=None)
