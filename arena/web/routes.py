"""Routes beside Streamlit's own: pictures by opaque token, and health."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from arena.bootstrap import Arena
from arena.errors import ArenaError, UnknownBattle
from arena.services import battles, gallery
from arena.services.display import Size

logger = logging.getLogger(__name__)

# No ETag and no Last-Modified: both are the same for one file under every token, and so would tell its maker.
PICTURE_HEADERS = {
    "Cache-Control": "private, max-age=86400, immutable",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def routes(the_arena: Callable[[], Arena]) -> list[Route]:
    """`the_arena` gives the one Arena of the process; it is opened at the first request, not at import."""

    def picture(request: Request) -> Response:
        return picture_response(the_arena, **request.path_params)

    def health(_: Request) -> Response:
        return health_response(the_arena)

    def verdict(request: Request) -> Response:
        return verdict_response(the_arena, **request.path_params)

    return [
        Route("/img/{token}/{side}", picture),
        Route("/img/{token}/{side}/{size}", picture),
        Route("/verdict/{verdict_id:int}/{side}", verdict),
        Route("/healthz", health),
    ]


def below(path: str, routes: Sequence[Route]) -> list[Route]:
    """The routes as they are and, where pages are served below a path, below it too."""
    path = path.strip("/")
    under = [Route(f"/{path}{one.path}", one.endpoint, methods=one.methods) for one in routes] if path else []
    return [*under, *routes]


def picture_response(the_arena: Callable[[], Arena], token: str, side: str, size: str = Size.PAIR) -> Response:
    """One side of a battle, under a name that tells nothing; `full` for the enlarged one."""
    return image_response(lambda: battles.image(the_arena(), token, side, size))


def verdict_response(the_arena: Callable[[], Arena], verdict_id: int, side: str) -> Response:
    """One image of a judge's verdict, under a name that tells nothing of who made it."""
    return image_response(lambda: gallery.picture(the_arena(), verdict_id, side))


def image_response(find: Callable[[], tuple[bytes, str]]) -> Response:
    """The bytes and media type that `find` returns, or a sentence."""
    try:
        content, media_type = find()
    except UnknownBattle:
        return PlainTextResponse("There is no such picture; reload the page for a new pair.", status_code=404)
    except ArenaError as error:
        logger.error("A picture could not be served: %s", error)  # the log only: the sentence names the file
        return PlainTextResponse("This picture cannot be shown just now.", status_code=503)
    return Response(content, media_type=media_type, headers=PICTURE_HEADERS)


def health_response(the_arena: Callable[[], Arena]) -> Response:
    """200 when the database opens, 503 with the reason when it does not."""
    try:
        the_arena()
    except ArenaError as error:
        return JSONResponse({"status": "unavailable", "reason": str(error)}, status_code=503)
    return JSONResponse({"status": "ok"})
