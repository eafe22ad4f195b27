"""What every client of a server over HTTP needs: an address that is one, when to come again, keys that stay unseen."""

from __future__ import annotations

import functools
import logging
import random
import ssl
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from arena.errors import UsageError
from arena.keys import query, struck

HEADERS = {"host", "connection", "accept", "content-type", "content-length"}
"""What is sent of a client's headers. It would add others, some of them from the environment of OpenAI's tools."""
SHORTEST_KEY = 8
"""Shorter keys ("EMPTY", "none") are no secrets, and striking them out would spoil answers."""
LOGGERS = ("openai._base_client", "httpx2", "httpcore2.connection", "httpcore2.proxy", "httpcore2.http11")
NOT_NOW = {408, 409, 425, 429}
NEVER = {401: "the key is refused", 402: "there is nothing left to pay with", 404: "no such address or model"}


def checked_url(base_url: str, parameters: Collection[str] = ()) -> str:
    """The address without a slash at its end. Raises UsageError for what is no address, or holds a key or password.

    `parameters`: names that may stand behind a question mark.
    """
    if "@" in base_url:
        raise UsageError(
            "The address of an endpoint holds a user or a password (not shown); leave them out, export the key in an "
            "environment variable and give that variable's NAME as key_variable."
        )
    try:
        parts = urlsplit(base_url)
        parts.port  # noqa: B018 - raises ValueError where it is no number
    except ValueError as error:
        raise UsageError(f"{struck(base_url)[:80]!r} is no address of an endpoint ({error}).") from error
    if parts.fragment or not query(base_url).keys() <= set(parameters):
        raise UsageError(
            f"The address of {parts.hostname} holds more than scheme, host and path (not shown); leave that out, "
            "export the key in an environment variable and give that variable's NAME as key_variable."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{struck(base_url)!r} is no address of an endpoint; one looks like http://localhost:8000/v1.")
    return base_url.rstrip("/")


@functools.cache
def authorities() -> ssl.SSLContext:
    """Read once: that takes longer than many a question."""
    import httpx2

    return httpx2.create_ssl_context()


def comes_again(status: int) -> bool:
    """Whether a request that was answered so may fare better later."""
    return status in NOT_NOW or (status >= 500 and status != 501)


def never(status: int, body: str) -> str | None:
    """Why no request will fare better than one that was answered so; None where another one may."""
    # OpenAI says with a 429 that an account is empty, which no waiting mends.
    return NEVER.get(402 if "insufficient_quota" in body else status)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float:
    """Seconds that a server asks to wait (RFC 9110, section 10.2.3: seconds or a date); 0 without a usable value."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value, now or datetime.now(UTC))
    return seconds if seconds > 0 else 0.0


def _seconds_until(date: str, now: datetime) -> float:
    try:
        return (parsedate_to_datetime(date) - now).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def backoff(attempt: int, first_s: float, longest_s: float) -> float:
    """Seconds before the next attempt, doubling with every one (the first is 1).

    Half of it is drawn, so that those who failed together do not return together.
    """
    return min(longest_s, first_s * 2 ** (attempt - 1)) * random.uniform(0.5, 1)


def cleared(text: str, key: str | None) -> str:
    """The text with every occurrence of the key struck out."""
    return text if key is None or len(key) < SHORTEST_KEY else text.replace(key, "[key]")


class Clearing(logging.Filter):
    """Strikes the key out of what a client's libraries log: a server may send it back in a header."""

    def __init__(self, clear: Callable[[str], str]) -> None:
        super().__init__()
        self._clear = clear

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._clear(record.getMessage()), None
        return True
