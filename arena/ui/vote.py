"""The voting page. The surface runs in the browser with a queue of decoded pairs; here its acts are performed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from arena.bootstrap import Arena
from arena.domain import Side
from arena.errors import ArenaError
from arena.services import battles, named
from arena.ui import vote_basic
from arena.ui.ballots import Sitting, nothing_left, perform_all, read_acts, this_sitting
from arena.ui.common import picture_url, said_plainly, the_arena, this_voter
from arena.ui.reveal import told

QUEUE = 6
REFILL_BELOW = 4
"""Pairs at hand, enough for hasty presses; and below how many further ones are drawn, several at once."""
KEY = "surface"
NAMES = "names"
FOLDER = Path(__file__).with_name("vote_component")

surface = st.components.v2.component(
    "arena_vote",
    html=(FOLDER / "vote.html").read_text(encoding="utf-8"),
    css=(FOLDER / "vote.css").read_text(encoding="utf-8"),
    js=(FOLDER / "vote.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """What the address says: one category or all of them (None), and whether the makers' names are shown."""

    category: str | None = None
    names: bool = False


def page() -> None:
    if st.query_params.get("ui") == "basic":
        vote_basic.page()
    else:
        draw_surface()


@st.fragment
def draw_surface() -> None:
    """A fragment: a vote reruns nothing but this."""
    with said_plainly():
        arena = the_arena()
        data = surface_data(arena, this_voter(arena), this_sitting(), this_place())
        surface(key=KEY, data=data, on_acts_change=take_acts, on_place_change=move)


def this_place() -> Place:
    """From `?category=…&mode=names`."""
    return Place(st.query_params.get("category") or None, st.query_params.get("mode") == NAMES)


def move() -> None:
    """Streamlit's callback: the voter chose another category or mode, and the address follows."""
    wanted = sent("place")
    category, names = (wanted.get("category"), wanted.get("names")) if isinstance(wanted, dict) else (None, None)
    say("category", category if isinstance(category, str) else None)
    say("mode", NAMES if names is True else None)
    this_sitting().notice = ""


def say(key: str, value: str | None) -> None:
    if value:
        st.query_params[key] = value
    else:
        st.query_params.pop(key, None)


def take_acts() -> None:
    """Streamlit's callback: perform what the surface sent."""
    acts = read_acts(sent("acts"))
    try:
        arena = the_arena()
        perform_all(arena, this_voter(arena), acts, this_sitting())
    except ArenaError as error:
        this_sitting().notice = str(error)


def sent(event: str) -> Any:
    """What the surface sent just now under this name; None where it sent nothing, or no surface did."""
    return st.session_state.get(KEY, {}).get(event)


def surface_data(arena: Arena, voter_id: str, sitting: Sitting, place: Place | None = None) -> dict[str, Any]:
    """All that the browser is told: open pairs without their makers, and the maker of pairs already voted on."""
    place = place or Place()
    categories = sitting.categories = sitting.categories or arena.store.prompt_categories()
    unknown = place.category is not None and place.category not in categories
    queue = returned(arena, voter_id, sitting) + open_pairs(arena, voter_id, place)
    return {
        "sitting": sitting.id,
        "place": {"category": place.category, "names": place.names},
        "categories": [*categories, place.category] if unknown else categories,
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
