"""What the browser asks for besides pages: pictures by opaque token, health, and the voter's cookie."""

from collections.abc import Sequence

from starlette.routing import Route


def below(path: str, routes: Sequence[Route]) -> list[Route]:
    """The routes as they are and, where pages are served below a path, below it too."""
    path = path.strip("/")
    under = [Route(f"/{path}{one.path}", one.endpoint, methods=one.methods) for one in routes] if path else []
    return [*under, *routes]
