"""The cookie that makes a browser one voter: a signed anonymous id, given with the first page."""

from __future__ import annotations

from collections.abc import Callable
from http.cookies import SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arena.bootstrap import Arena
from arena.errors import ArenaError
from arena.services import voters

ONE_YEAR = 365 * 24 * 3600


def middleware(the_arena: Callable[[], Arena], cookie: str) -> list[Middleware]:
    """`the_arena` gives the one Arena of the process; `cookie` is the name under which pages look for the voter."""
    return [Middleware(VoterCookie, the_arena=the_arena, cookie=cookie)]


class VoterCookie:
    """Gives a page load without a valid voter cookie a new one. Plain ASGI: websockets pass untouched."""

    def __init__(self, app: ASGIApp, the_arena: Callable[[], Arena], cookie: str):
        self.app, self.the_arena, self.cookie = app, the_arena, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        header = self.set_cookie(scope) if is_page_load(scope) else None
        if header is None:
            return await self.app(scope, receive, send)

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("set-cookie", header)
            await send(message)

        await self.app(scope, receive, send_with_cookie)

    def set_cookie(self, scope: Scope) -> str | None:
        """A Set-Cookie value, or None when the browser already has a valid voter or the arena cannot open."""
        try:
            arena = self.the_arena()
            if voters.voter_id(arena, HTTPConnection(scope).cookies.get(self.cookie)):
                return None
            return cookie_header(self.cookie, voters.new_voter_token(arena), secure=scope.get("scheme") == "https")
        except ArenaError:
            return None  # the page itself says what is wrong


def is_page_load(scope: Scope) -> bool:
    """A browser asking for a page; its pictures, scripts and health checks do not ask for HTML."""
    wants_html = scope["type"] == "http" and "text/html" in Headers(scope=scope).get("accept", "")
    return wants_html and scope["method"] == "GET"


def cookie_header(name: str, value: str, secure: bool) -> str:
    jar = SimpleCookie({name: value})
    cookie = jar[name]
    cookie["max-age"], cookie["path"], cookie["samesite"] = str(ONE_YEAR), "/", "Lax"
    cookie["httponly"] = True
    cookie["secure"] = secure
    return cookie.OutputString()
