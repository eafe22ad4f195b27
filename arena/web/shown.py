"""Pictures with their makers' names, by an address that a page gave out: see docs/decisions/0008."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from arena.bootstrap import Arena
from arena.services import showcase
from arena.web.routes import image_response


def routes(the_arena: Callable[[], Arena]) -> list[Route]:
    """`the_arena` gives the one Arena of the process; it is opened at the first request, not at import."""

    def shown(request: Request) -> Response:
        return image_response(lambda: showcase.picture(the_arena(), request.path_params["token"]))

    return [Route("/shown/{token}", shown)]
