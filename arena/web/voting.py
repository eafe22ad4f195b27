"""What a voter does on the voting surface, over HTTP: acts come as JSON, and what came of them goes back.

A script of Streamlit's costs more than the vote itself, so a vote runs none. The address takes JSON only: a form of
another site cannot send that, nor the voter's cookie.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from threading import Semaphore
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from arena.bootstrap import Arena
from arena.errors import ArenaError
from arena.services import voters
from arena.ui.ballots import LONGEST_TOKEN, Sitting, Undo, perform_all, read_acts, read_text
from arena.ui.surface import Place, news

MOST_BYTES = 1 << 17
"""More than 64 acts have."""
LONGEST_CATEGORY = 512
AT_ONCE = 8
"""Votes performed at the same time where the database is a server that they wait for."""
WAITING = 40
"""Votes that may wait for their turn in threads; the pictures' threads are others."""
NEVER_KEPT = {"Cache-Control": "no-store"}


def routes(the_arena: Callable[[], Arena], cookie: str) -> list[Route]:
    """`the_arena` gives the one Arena of the process; `cookie` is the name of the voter's."""

    async def acts(request: Request) -> Response:
        sent = await read_json(request)
        if not isinstance(sent, dict):
            return refused("Only JSON is taken here, 128 KiB at most; reload the page.", 400)
        perform = partial(answer, the_arena, request.cookies.get(cookie), sent)
        return await to_thread.run_sync(perform, limiter=waiting_room())

    def moved(request: Request) -> Response:
        """Streamlit serves its first page at `/` alone; who types `/vote` wants it."""
        return RedirectResponse(f"./?{request.url.query}")  # relative: a proxy may have put https or a path before it

    return [Route("/vote/acts", acts, methods=["POST"]), Route("/vote", moved)]


@cache
def waiting_room() -> CapacityLimiter:
    """Of the process, made in its event loop."""
    return CapacityLimiter(WAITING)


@cache
def turn(dialect: str) -> Semaphore:
    """SQLite has one writer, who would hold its lock the longer the more others share the interpreter: one by one,
    votes take two thirds of the time."""
    return Semaphore(1 if dialect == "sqlite" else AT_ONCE)


async def read_json(request: Request) -> Any:
    """The body, or None for anything but JSON of a sane size."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def answer(the_arena: Callable[[], Arena], cookie: str | None, sent: dict[str, Any]) -> Response:
    """Perform the acts, and tell the surface what it wants to know then."""
    try:
        arena = the_arena()
        voter_id = voters.voter_id(arena, cookie) or voters.voter_id(arena, read_text(sent.get("voter"), LONGEST_TOKEN))
        if voter_id is None:
            return refused("This page does not know who you are any more; reload it.", 403)
        acts, sitting = read_acts(sent.get("acts")), Sitting()
        # Only an undo brings a pair back; the surface says whether it has one waiting.
        sitting.may_return = sent.get("returning") is True or any(isinstance(act, Undo) for act in acts)
        with turn(arena.store.engine.dialect.name):
            perform_all(arena, voter_id, acts, sitting)
            found = news(arena, voter_id, sitting, read_place(sent.get("place")))
        return JSONResponse(found, headers=NEVER_KEPT)
    except ArenaError as error:
        return refused(f"Your votes are kept here and will be sent again. {error}", 503)


def read_place(sent: Any) -> Place:
    found = sent if isinstance(sent, dict) else {}
    return Place(read_text(found.get("category"), LONGEST_CATEGORY), found.get("names") is True)


def refused(sentence: str, status: int) -> Response:
    return JSONResponse({"notice": sentence}, status_code=status, headers=NEVER_KEPT)
