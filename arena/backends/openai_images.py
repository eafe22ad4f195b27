"""Any OpenAI-compatible images endpoint: vLLM-Omni, SGLang, LocalAI, OpenAI, xAI, Azure and others."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from arena.backends.base import Drawn
from arena.backends.pictures import decoded
from arena.backends.prices import Tokens
from arena.backends.web import (
    MEGABYTE,
    Asking,
    Limits,
    Trouble,
    Unreadable,
    checking_address,
    client,
    excerpt,
    fetched,
    fetching_client,
    json_or_text,
    refused,
    said,
)
from arena.endpoints import LOGGERS, Clearing, checked_url, cleared
from arena.errors import GenerationError
from arena.keys import NO_SECRET, query
from arena.settings import secret

PATH = "/images/generations"


class OpenAIImages:
    """POST `base_url`/images/generations, `concurrency` images under way at once."""

    RUNNING = frozenset(
        {"key_variable", "key_header", "concurrency", "attempts", "timeout_s", "most_megabytes", "allow_private_urls",
         "cost_field"}
    )  # fmt: skip

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        size: Annotated[str, Field(pattern=r"^\d+x\d+$|^auto$")] | None = None,
        quality: str | None = None,
        seed_field: str = "seed",
        response_format: Literal["b64_json", "url"] | None = None,
        extra: dict[str, Any] | None = None,
        key_variable: str | None = None,
        key_header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")] | None = None,
        concurrency: Annotated[int, Field(ge=1, le=256)] = 16,
        attempts: Annotated[int, Field(ge=1)] = 4,
        timeout_s: Annotated[float, Field(gt=0)] = 180.0,
        most_megabytes: Annotated[float, Field(gt=0)] = 64.0,
        allow_private_urls: bool = False,
        cost_field: str = "usage.cost",
    ):
        """`model`: the id that the endpoint knows. `size`: such as 1024x1024.

        `base_url`: up to /v1, or that of an Azure deployment with its ?api-version=. `key_header`: the header that
        takes the key as it is; without one it is "api-key" where the address has an api-version, otherwise Bearer.

        `seed_field`: where the seed goes in the request, "" for an endpoint that takes none. `extra`: further fields of
        the request, such as {"num_inference_steps": 4}. `key_variable`: the NAME of the environment variable with the
        key. `cost_field`: where an answer states its cost in USD, as a dotted path.
        Raises UsageError and SettingsError for what cannot be used.
        """
        import openai

        self.model, self.base_url = model, _address(base_url)
        self.concurrency = concurrency
        self._limits = Limits(attempts, total_s=timeout_s, body_bytes=int(most_megabytes * MEGABYTE))
        self._seed_field, self._cost_field = seed_field, cost_field
        fields = {"model": model, "n": 1, "size": size, "quality": quality, "response_format": response_format}
        self._fields = {name: value for name, value in fields.items() if value is not None} | dict(extra or {})
        key = secret(key_variable) if key_variable else None
        self._clear = lambda text: cleared(text, key)
        self._log_filter = Clearing(self._clear)
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self._log_filter)
        versions = query(self.base_url)
        http = client(self._limits, key, concurrency, key_header or ("api-key" if versions else None))
        self._client = openai.OpenAI(
            api_key="unused", base_url=self.base_url.partition("?")[0], default_query=versions, http_client=http,
            timeout=http.timeout, max_retries=0,
        )  # fmt: skip
        self._browser = fetching_client(self._limits, concurrency, allow_private_urls)
        self._asking = Asking(self._limits, f"the endpoint {self.base_url}", self._clear)

    def __repr__(self) -> str:
        return f"OpenAIImages({self.model!r}, {self.base_url!r})"

    @staticmethod
    def pinned(settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings as they are registered, their address checked."""
        return checking_address(settings, _address)

    def close(self) -> None:
        self._client.close()
        self._browser.close()
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(self._log_filter)

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Drawn | GenerationError]:
        return [self._drawn(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]

    def _drawn(self, prompt: str, seed: int) -> Drawn | GenerationError:
        body = self._fields | {"prompt": prompt} | ({self._seed_field: seed} if self._seed_field else {})
        found = self._asking.ask(lambda: self._sent(body))
        if isinstance(found, Trouble):
            return GenerationError(self._clear(found.reason), paid=found.paid)
        text, seconds = found
        try:
            return replace(self._read(text), seconds=seconds)
        except GenerationError as error:
            return GenerationError(self._clear(str(error)), paid=True)

    def _sent(self, body: Mapping[str, Any]) -> tuple[str, float] | Trouble:
        """One attempt: the answer's text, and the seconds it took."""
        import httpx2
        import openai

        started = time.perf_counter()
        try:
            text = self._client.post(PATH, cast_to=httpx2.Response, body=body).text
            return text, time.perf_counter() - started
        except openai.APIStatusError as error:
            response = error.response
            return refused(response.status_code, response.headers, response.text)
        except Unreadable as error:
            return Trouble(str(error), paid=True)
        except openai.APITimeoutError as error:
            if isinstance(error.__cause__, httpx2.ConnectTimeout):
                return Trouble(f"no connection in {self._limits.connect_s:g} s", again=True)
            return Trouble(f"no answer in {self._limits.total_s:g} s", paid=True)
        except (openai.APIConnectionError, httpx2.HTTPError, OSError) as error:
            return _broken(error)
        except (openai.OpenAIError, ValueError) as error:
            return Trouble(f"the request cannot be sent ({error})")

    def _read(self, text: str) -> Drawn:
        answer = _json(text)
        item = next(iter(answer.get("data") or ()), None)
        if not isinstance(item, dict):
            raise GenerationError(f"no image in the answer: {excerpt(said(answer))}")
        usage = answer.get("usage")
        return Drawn(decoded(self._bytes(item)), _stated(answer, self._cost_field), _tokens(usage))

    def _bytes(self, item: Mapping[str, Any]) -> bytes:
        encoded, url = item.get("b64_json"), item.get("url")
        if isinstance(url, str) and url.startswith("data:"):
            encoded = url.partition(",")[2]
        if isinstance(encoded, str) and encoded:
            try:
                return base64.b64decode(encoded.partition(",")[2] if encoded.startswith("data:") else encoded)
            except (binascii.Error, ValueError) as error:
                raise GenerationError(f"the answer's base64 cannot be read ({error})") from None
        if isinstance(url, str) and url:
            return fetched(self._browser, url)
        raise GenerationError(f"neither b64_json nor url in the answer: {excerpt(json.dumps(item))}")


def _address(base_url: str) -> str:
    """Where requests begin. Azure shows its users the whole address of a request; its end is left out here."""
    path, mark, versions = checked_url(base_url, NO_SECRET).partition("?")
    return path.rstrip("/").removesuffix(PATH) + mark + versions


def _broken(error: BaseException) -> Trouble:
    import httpx2

    cause = error.__cause__ or error
    if isinstance(cause, Unreadable):
        return Trouble(str(cause), paid=True)
    # Only who was never connected has certainly paid nothing.
    reached = not isinstance(cause, httpx2.ConnectError)
    return Trouble(f"the connection failed: {type(cause).__name__}: {cause}", again=not reached, paid=reached)


def _json(text: str) -> dict[str, Any]:
    found = json_or_text(text)
    if not isinstance(found, dict):
        kind = "an HTML page" if text.lstrip()[:15].lower().startswith(("<!doctype", "<html")) else "no JSON object"
        raise GenerationError(f"{kind} instead of an answer: {excerpt(text)}")
    return found


def _stated(answer: Mapping[str, Any], path: str) -> float | None:
    """USD at a dotted path of the answer; None where there is no sane number."""
    found: Any = answer
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    sane = isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < 1e6
    return float(found) if sane else None


def _tokens(usage: Any) -> Tokens | None:
    if not isinstance(usage, dict):
        return None
    counts = usage.get("input_tokens"), usage.get("output_tokens")
    sane = all(isinstance(count, int) and 0 <= count < 10**9 for count in counts)
    return Tokens(*counts) if sane else None
