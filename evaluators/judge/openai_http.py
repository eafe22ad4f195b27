"""One chat endpoint over HTTP: a question is sent, and an answer or a trouble comes back, in a time and a size.

No exception leaves `Connection.send`, and no key: the errors of the client carry the headers of their request and end
here, and what a server says is cleared of the key.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from arena.endpoints import HEADERS, LOGGERS, Clearing, authorities, cleared, comes_again, never, retry_after
from evaluators.judge.base import Token
from evaluators.judge.openai_format import Completion, Trouble, error_text, read

if TYPE_CHECKING:
    import httpx2
    import openai


FORBIDDEN = "this key may not use this model, or not from here"
MODERATED = re.compile(r"moderat|flagged|content.?(policy|filter)|safety", re.IGNORECASE)
"""Some services refuse a single question so, for what it shows; others are still answered."""


def load() -> None:
    """Loads all that a first question needs."""
    import openai
    import PIL.PngImagePlugin

    import evaluators.judge.modes
    import evaluators.judge.openai_chat  # noqa: F401

    openai.AsyncOpenAI, PIL.PngImagePlugin  # noqa: B018
    authorities()


@dataclass(frozen=True)
class Limits:
    """How an endpoint is treated; nothing here changes an answer.

    `concurrency` questions are under way at once. A question is sent up to `attempts` times, with `first_wait_s`
    doubling in between, or what the endpoint asks for, if that is no more than `longest_wait_s`. One attempt takes
    up to `total_s`, its connection `connect_s`, each silence `read_s`. `body_bytes` is the size of an answer. After
    `patience` questions in a row without an answer no more are asked.
    """

    concurrency: int = 16
    attempts: int = 4
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0
    connect_s: float = 10.0
    read_s: float = 60.0
    total_s: float = 120.0
    body_bytes: int = 4 * 2**20
    patience: int = 32

    def __post_init__(self) -> None:
        for name, value in self.__dict__.items():
            if not value > 0:
                raise ValueError(f"{name} must be more than 0, got {value!r}")


class Connection:
    """A client of one endpoint: `async with Connection(...) as line: await line.send(body)`.

    The key travels as "Authorization: Bearer" and is kept nowhere else. Redirects are not followed: the key and the
    images go to the address that was named, and to no other.
    """

    def __init__(self, base_url: str, key: str | None, limits: Limits) -> None:
        self._limits = limits
        self._client = _client(base_url, key, limits)
        self._clear = lambda text: cleared(text, key)
        self._log_filter = Clearing(self._clear)

    async def __aenter__(self) -> Connection:
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self._log_filter)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(self._log_filter)

    async def send(self, body: Mapping[str, Any]) -> Completion | Trouble:
        """One attempt."""
        clock = asyncio.get_running_loop().time
        start = clock()
        found = await self._sent(body)
        if isinstance(found, Completion):
            found = found._replace(seconds=clock() - start)
        return _without_key(found, self._clear)

    async def _sent(self, body: Mapping[str, Any]) -> Completion | Trouble:
        import httpx2
        import openai

        try:
            async with asyncio.timeout(self._limits.total_s):
                response = await self._client.post("/chat/completions", cast_to=httpx2.Response, body=body)
            return read(response.text)
        except TimeoutError:
            return Trouble(f"timed out after {self._limits.total_s:g} s", again=True, paid=True)
        except _Unreadable as error:
            return Trouble(str(error), paid=True)
        except openai.APIStatusError as error:
            return refused(error.response.status_code, error.response.headers, error.response.text)
        except openai.APITimeoutError as error:
            return self._timed_out(error.__cause__)
        except (openai.APIConnectionError, httpx2.HTTPError, OSError) as error:
            return _broken(error.__cause__ or error)
        except (openai.OpenAIError, ValueError) as error:
            return Trouble("the question cannot be sent", str(error))

    def _timed_out(self, cause: BaseException | None) -> Trouble:
        import httpx2

        if isinstance(cause, httpx2.ConnectTimeout):
            return Trouble(f"timed out: no connection in {self._limits.connect_s:g} s", again=True)
        return Trouble(f"timed out: silence for {self._limits.read_s:g} s", again=True, paid=True)


def _broken(cause: BaseException) -> Trouble:
    import httpx2

    paid = not isinstance(cause, httpx2.ConnectError)
    return Trouble(f"the connection failed with {type(cause).__name__}", str(cause), again=True, paid=paid)


class _Unreadable(Exception):
    """A body that is not read to its end."""


def _client(base_url: str, key: str | None, limits: Limits) -> openai.AsyncOpenAI:
    import httpx2
    import openai

    async def outgoing(request: httpx2.Request) -> None:
        for name in {*request.headers} - HEADERS:
            del request.headers[name]
        request.headers["user-agent"] = "image-arena"
        # Compressed, a small body could unfold to any size.
        request.headers["accept-encoding"] = "identity"
        if key is not None:
            request.headers["authorization"] = f"Bearer {key}"

    http = openai.DefaultAsyncHttpxClient(
        verify=authorities(),
        follow_redirects=False,
        timeout=openai.Timeout(limits.read_s, connect=limits.connect_s, pool=None),
        limits=httpx2.Limits(max_connections=limits.concurrency),
        event_hooks={"request": [outgoing], "response": [_measured(limits.body_bytes)]},
    )
    return openai.AsyncOpenAI(
        api_key="unused", base_url=base_url, http_client=http, timeout=http.timeout, max_retries=0
    )


def _measured(most: int) -> Any:
    """A hook that ends a response where its body has become too long."""
    import httpx2

    class Measured(httpx2.AsyncByteStream):
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in self.stream:
                size += len(chunk)
                if size > most:
                    raise _Unreadable(f"an answer of more than {most:,} bytes")
                yield chunk

        async def aclose(self) -> None:
            await self.stream.aclose()

    async def incoming(response: httpx2.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _Unreadable("a compressed answer, though none was asked for")
        response.stream = Measured(response.stream)

    return incoming


def refused(status: int, headers: Mapping[str, str], body: str) -> Trouble:
    """What a status other than 200 means."""
    try:
        said = error_text(json.loads(body))
    except (ValueError, RecursionError):
        said = body
    what = f"HTTP {status}"
    if 300 <= status < 400:
        return Trouble(f"{what}, the endpoint has moved; name its new address", status=status, final=True)
    if reason := never(status, body) or (FORBIDDEN if status == 403 and not MODERATED.search(body) else None):
        return Trouble(f"{what}, {reason}", said, status=status, final=True)
    return Trouble(what, said, comes_again(status), retry_after(headers), status=status)


def _without_key(found: Completion | Trouble, clear: Callable[[str], str]) -> Completion | Trouble:
    """Every text of it cleared: in JSON a key may be escaped, and shows only once it is read."""
    texts = {name: clear(value) for name, value in found._asdict().items() if isinstance(value, str)}
    if isinstance(found, Completion) and found.tokens is not None:
        texts["tokens"] = tuple(_clear_token(token, clear) for token in found.tokens)
    return found._replace(**texts)


def _clear_token(token: Token, clear: Callable[[str], str]) -> Token:
    return Token(clear(token.text), {clear(text): logprob for text, logprob in token.alternatives.items()})
