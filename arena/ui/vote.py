"""The voting page. The surface runs in the browser with a queue of decoded pairs, and posts what the voter does there
to a route of its own (`arena.web.voting`): a vote reruns no script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from arena.ui import vote_basic
from arena.ui.common import own_token, said_plainly, the_arena, this_sitting, this_voter
from arena.ui.surface import Place, surface_data

POST = "vote/acts"
"""Where the surface posts acts."""
KEY = "surface"
NAMES = "names"
FOLDER = Path(__file__).with_name("vote_component")

WIDE = "<style>[data-testid=stMainBlockContainer]{max-width:1560px}</style>"
"""A large screen is for large pictures."""

surface = st.components.v2.component(
    "arena_vote",
    html=(FOLDER / "vote.html").read_text(encoding="utf-8"),
    css=(FOLDER / "vote.css").read_text(encoding="utf-8"),
    js=(FOLDER / "vote.js").read_text(encoding="utf-8"),
)


def page() -> None:
    if st.query_params.get("ui") == "basic":
        vote_basic.page()
    else:
        st.html(WIDE)
        draw_surface()


@st.fragment
def draw_surface() -> None:
    """A fragment: another category or mode reruns nothing but this."""
    with said_plainly():
        arena = the_arena()
        data = surface_data(arena, this_voter(arena), this_sitting(), this_place())
        surface(key=KEY, data={**data, "post": POST, "voter": own_token(arena)}, on_place_change=move)


def this_place() -> Place:
    """From `?category=…&mode=names`."""
    return Place(st.query_params.get("category") or None, st.query_params.get("mode") == NAMES)


def move() -> None:
    """Streamlit's callback: the voter chose another category or mode, and the address follows."""
    wanted = sent("place")
    category, names = (wanted.get("category"), wanted.get("names")) if isinstance(wanted, dict) else (None, None)
    say("category", category if isinstance(category, str) else None)
    say("mode", NAMES if names is True else None)


def say(key: str, value: str | None) -> None:
    if value:
        st.query_params[key] = value
    else:
        st.query_params.pop(key, None)


def sent(event: str) -> Any:
    """What the surface sent just now under this name; None where it sent nothing, or no surface did."""
    return st.session_state.get(KEY, {}).get(event)
