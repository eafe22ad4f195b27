"""A client for backends behind HTTP: bounded in time and size, careful where it is sent, its key unseen.

What a server sends is bounded while it is read. An address that stands in an answer is not the operator's choice: it is
fetched without the key, and only from public addresses, checked after every DNS answer and every redirect.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from arena.backends.base import BadSetting
from arena.endpoints import HEADERS, authorities, backoff, comes_again, never, retry_after
from arena.errors import EndpointError, GenerationError, UsageError

if TYPE_CHECKING:
    import httpx2

MEGABYTE = 2**20
REDIRECTS = 3
PATIENCE = 32
"""After so many requests in a row that nobody answered, no more are sent."""
FILTERED = ("moderation_blocked", "content_policy_violation", "content_filter", "safety system", "nsfw")
SAID = 300

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Limits:
    """How an endpoint is treated; nothing here changes an image.

    A request is sent up to `attempts` times, with `first_wait_s` doubling in between, or what the endpoint asks for, if
    that is no more than `longest_wait_s`. One takes up to `total_s`. No more than `body_bytes` of an answer are read.
    """

    attempts: int = 4
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0
    connect_s: float = 10.0
    total_s: float = 180.0
    body_bytes: int = 64 * MEGABYTE


class Unreadable(Exception):
    """A body that is not read to its end, or an address that is not fetched."""


def checking_address(settings: Mapping[str, Any], check: Callable[[str], str]) -> dict[str, Any]:
    """The settings, unless their address is none or holds a key: then BadSetting says so by its name."""
    try:
        if settings.get("base_url"):
            check(settings["base_url"])
    except UsageError as error:
        raise BadSetting("base_url", str(error)) from None
    return dict(settings)


def client(limits: Limits, key: str | None, connections: int, key_header: str | None = None) -> httpx2.Client:
    """For requests to the endpoint itself: with its key, and without redirects, so that the key goes nowhere else.

    `key_header`: the header that takes the key as it is; without one the key is a Bearer's.
    """
    import httpx2

    def outgoing(request: httpx2.Request) -> None:
        for name in {*request.headers} - HEADERS:
            del request.headers[name]
        _plain(request)
        if key is not None:
            request.headers[key_header or "authorization"] = key if key_header else f"Bearer {key}"

    return httpx2.Client(
        verify=authorities(),
        follow_redirects=False,
        timeout=httpx2.Timeout(limits.total_s, connect=limits.connect_s, pool=None),
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        event_hooks={"request": [outgoing], "response": [bounded(limits)]},
    )


def fetching_client(limits: Limits, connections: int, allow_private: bool) -> httpx2.Client:
    """For addresses that stand in answers."""
    import httpx2

    transport = httpx2.HTTPTransport(
        verify=authorities(), limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    )
    return httpx2.Client(
        transport=guarded(transport, allow_private),
        follow_redirects=True,
        max_redirects=REDIRECTS,
        timeout=httpx2.Timeout(limits.total_s, connect=limits.connect_s, pool=None),
        event_hooks={"request": [_plain], "response": [bounded(limits)]},
    )


def fetched(browser: httpx2.Client, url: str) -> bytes:
    """The bytes behind an address from an answer. Raises GenerationError."""
    import httpx2

    try:
        response = browser.get(url)
    except (Unreadable, httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise GenerationError(f"the image's address cannot be fetched ({error})", paid=True) from None
    if response.status_code != 200:
        raise GenerationError(f"the image's address answers HTTP {response.status_code}", paid=True)
    return response.content


def _plain(request: httpx2.Request) -> None:
    request.headers["user-agent"] = "image-arena"
    # Compressed, a small body could unfold to any size.
    request.headers["accept-encoding"] = "identity"


def bounded(limits: Limits) -> Callable[[Any], None]:
    """A hook that ends a response where its body has become too long, or takes too long."""
    import httpx2

    class Bounded(httpx2.SyncByteStream):
        def __init__(self, stream: Any) -> None:
            self.stream, self.until = stream, time.monotonic() + limits.total_s

        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for chunk in self.stream:
                size += len(chunk)
                if size > limits.body_bytes:
                    raise Unreadable(f"an answer of more than {limits.body_bytes:,} bytes")
                if time.monotonic() > self.until:
                    raise Unreadable(f"an answer that took more than {limits.total_s:g} s")
                yield chunk

        def close(self) -> None:
            self.stream.close()

    def incoming(response: httpx2.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise Unreadable("a compressed answer, though none was asked for")
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > limits.body_bytes:
            raise Unreadable(f"an answer of {int(announced):,} bytes, more than {limits.body_bytes:,}")
        response.stream = Bounded(response.stream)

    return incoming


def guarded(transport: httpx2.BaseTransport, allow_private: bool) -> httpx2.BaseTransport:
    """A transport that connects to the very address it has checked, so that no second DNS answer can differ."""
    import httpx2

    class Guarded(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            host = request.url.host
            address = checked_address(host, request.url.port or _port(request.url.scheme), allow_private)
            pinned = httpx2.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            return transport.handle_request(pinned)

        def close(self) -> None:
            transport.close()

    return Guarded()


def _port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def checked_address(host: str, port: int, allow_private: bool) -> str:
    """An IP address of the host. Raises Unreadable if it has none, or one that is not public."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreadable(f"{host[:80]!r} has no address ({error})") from None
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not allow_private and not is_public(address):
            raise Unreadable(
                f"{host[:80]!r} leads to {address}, which is not a public address; "
                "the setting allow_private_urls=true allows that"
            )
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also where it carries an IPv4 address inside."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.sixtofour or ip.teredo or ip in ipaddress.ip_network("64:ff9b::/96"):
            return False
        if ip.ipv4_mapped:
            return is_public(str(ip.ipv4_mapped))
    return ip.is_global and not ip.is_multicast


class Trouble(NamedTuple):
    """Why there is no answer. `again`: another attempt may help, after `wait_s`; `paid`: it may have cost something;
    `final`: no other request would fare better."""

    reason: str
    again: bool = False
    wait_s: float = 0.0
    paid: bool = False
    final: bool = False


class Asking:
    """Asks one endpoint until it answers, within the limits; from many threads."""

    def __init__(self, limits: Limits, who: str, clear: Callable[[str], str]) -> None:
        self._limits, self._who, self._clear = limits, who, clear
        self._unanswered, self._turn = 0, threading.Lock()

    def ask(self, send: Callable[[], Found | Trouble]) -> Found | Trouble:
        """What `send` finds, or the last trouble after as many attempts as make sense: none after one that may be paid.

        Raises EndpointError where no request will be answered any more.
        """
        found: Found | Trouble = Trouble("not asked")
        for attempt in range(1, self._limits.attempts + 1):
            found = send()
            if not isinstance(found, Trouble) or not found.again or attempt == self._limits.attempts:
                break
            if found.wait_s > self._limits.longest_wait_s:
                found = found._replace(reason=f"{found.reason}, and it asks to wait {found.wait_s:.0f} s")
                break
            time.sleep(max(found.wait_s, backoff(attempt, self._limits.first_wait_s, self._limits.longest_wait_s)))
        self._note(found)
        return found

    def _note(self, found: object) -> None:
        trouble = found if isinstance(found, Trouble) else None
        with self._turn:
            self._unanswered = self._unanswered + 1 if trouble and trouble.again else 0
            unanswered = self._unanswered
        if trouble and (trouble.final or unanswered >= PATIENCE):
            lead = "" if trouble.final else f"the last {unanswered} requests had no answer, at last because: "
            raise EndpointError(f"Nothing more is asked of {self._who}: {lead}{self._clear(trouble.reason)}.")


def refused(status: int, headers: Mapping[str, str], body: str) -> Trouble:
    """What a status other than 200 means."""
    what, why = f"HTTP {status}", excerpt(said(json_or_text(body)))
    if 300 <= status < 400:
        return Trouble(f"{what}, it has moved; name its new address", final=True)
    if status in (400, 403, 422) and any(sign in body.lower() for sign in FILTERED):
        return Trouble(f"refused by the service's safety filter: {why}")
    if reason := never(status, body):
        return Trouble(f"{what}, {reason}: {why}", final=True)
    return Trouble(f"{what}: {why}", comes_again(status), retry_after(headers))


def json_or_text(text: str) -> Any:
    """The JSON in a text, or the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def said(found: Any) -> str:
    """The sentence in the JSON of an error, wherever this server puts it; or all of it."""
    if isinstance(found, dict):
        error = found.get("error")
        inner = error.get("message") if isinstance(error, dict) else error
        found = inner or found.get("message") or found.get("detail") or found
    return found if isinstance(found, str) else json.dumps(found)


def excerpt(text: str) -> str:
    """The text on one line, and not too long."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if len(plain) <= SAID else plain[:SAID] + "…"
