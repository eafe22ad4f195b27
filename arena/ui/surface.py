"""What the voting surface is told. Nothing here knows whether a page or a route tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from arena.bootstrap import Arena
from arena.domain import Side
from arena.services import battles, named
from arena.ui.ballots import Sitting, nothing_left
from arena.ui.common import picture_url
from arena.ui.reveal import told
from db.named import last_vote

QUEUE = 8
REFILL_BELOW = 4
"""Pairs at hand, enough for hasty presses; and below how many further ones are drawn, several at once."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the address says: one category or all of them (None), and whether the makers' names are shown."""

    category: str | None = None
    names: bool = False


def surface_data(arena: Arena, voter_id: str, sitting: Sitting, place: Place | None = None) -> dict[str, Any]:
    """All that the browser is told when the page is drawn."""
    place = place or Place()
    categories = sitting.categories = sitting.categories or arena.store.prompt_categories()
    unknown = place.category is not None and place.category not in categories
    return {
        "sitting": sitting.id,
        "stamp": uuid4().hex,  # Streamlit hands the same data over again whenever it draws the element anew
        "place": {"category": place.category, "names": place.names},
        "categories": [*categories, place.category] if unknown else categories,
        "last": None if place.names else last_vote(arena.store, voter_id),  # which an undo would take back
        **news(arena, voter_id, sitting, place),
    }


def news(arena: Arena, voter_id: str, sitting: Sitting, place: Place) -> dict[str, Any]:
    """Open pairs without their makers, the makers of the pair last voted on, and what came of what was sent."""
    queue = returned(arena, voter_id, sitting) + open_pairs(arena, voter_id, place)
    return {
        "queue": queue,
        "acked": sitting.settled,
        "reveal": told(sitting.told) if sitting.told else None,
        "notice": sitting.notice,
        "idle": "" if queue else nothing_left(arena, sitting, place.category, place.names),
    }


def open_pairs(arena: Arena, voter_id: str, place: Place) -> list[dict[str, Any]]:
    """The pairs to come."""
    if place.names:
        return [offered(pair) for pair in named.open_pairs(arena, voter_id, QUEUE, place.category)]
    blind = battles.open_battles(arena, voter_id, QUEUE, place.category, at_least=REFILL_BELOW)
    return [offered(battle) for battle in blind]


def returned(arena: Arena, voter_id: str, sitting: Sitting) -> list[dict[str, Any]]:
    """The pairs that an undo brought back, which come first; looked for only where there may be one."""
    pairs = named.came_back(arena, voter_id) if sitting.may_return else []
    sitting.may_return = bool(pairs)
    return [offered(pair) for pair in pairs]


def offered(pair: battles.BlindBattle | named.NamedPair) -> dict[str, Any]:
    known = isinstance(pair, named.NamedPair)
    return {
        "token": pair.token,
        "prompt": pair.prompt,
        "left": picture_url(pair.token, Side.LEFT),
        "right": picture_url(pair.token, Side.RIGHT),
        "names": list(pair.names) if known else None,
        "undone": pair.undone if known else None,
    }
