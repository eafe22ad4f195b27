"""The commits that a contestant is loaded from where its settings pin none: recorded once, the same ever after."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from arena.domain import Contestant
from arena.errors import UsageError

if TYPE_CHECKING:
    from arena.backends.base import Backend
    from arena.bootstrap import Arena

COMMITS = "commits"


def opened(arena: Arena, contestant: Contestant) -> Backend:
    """The contestant's backend, loaded, and its commits recorded. Raises what `create_backend` raises."""
    from arena.backends.base import create_backend

    backend = create_backend(contestant)
    loaded = getattr(backend, COMMITS, None)
    if loaded and COMMITS in getattr(type(backend), "RUNNING", ()):
        now = next((one for one in arena.store.contestants() if one.name == contestant.name), None)
        if now is not None and any(name not in now.running.get(COMMITS, {}) for name in loaded):
            recorded = {**loaded, **now.running.get(COMMITS, {})}
            arena.store.add_contestant(replace(now, running={**now.running, COMMITS: recorded}))
    return backend


def kept(new: Contestant, before: Contestant | None) -> Contestant:
    """A contestant that is registered again, with the commits it has. Raises UsageError for others."""
    recorded = before.running.get(COMMITS) if before is not None and before.fingerprint == new.fingerprint else None
    if not recorded:
        return new
    given = new.running.get(COMMITS) or {}
    for model, sha in given.items():
        if recorded.get(model, sha) != sha:
            raise UsageError(
                f"{new.name!r} was loaded from the commit {recorded[model][:12]} of {model!r}, not {sha[:12]}, and "
                "votes are on that one; register the other under another name, with revision."
            )
    return replace(new, running={**new.running, COMMITS: {**given, **recorded}})
