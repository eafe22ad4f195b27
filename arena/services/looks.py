"""What a visitor was shown with names is not drawn for their votes any more: see docs/decisions/0008."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from db.looks import looked_at

if TYPE_CHECKING:
    from arena.bootstrap import Arena


def unseen(arena: Arena, voter_id: str, prompts_of: Mapping[int, list[int]]) -> dict[int, list[int]]:
    """Contestant id -> prompts, without those whose pictures the visitor was shown with their makers' names."""
    seen = looked_at(arena.store, voter_id)
    return {id: [prompt for prompt in prompts if prompt not in seen] for id, prompts in prompts_of.items()}
