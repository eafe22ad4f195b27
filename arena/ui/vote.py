"""The voting page. The surface runs in the browser with a queue of decoded pairs; here its ballots are cast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from arena.bootstrap import Arena
from arena.domain import Side
from arena.errors import ArenaError
from arena.services import battles
from arena.ui import vote_basic
from arena.ui.ballots import Sitting, cast_all, nothing_left, read_ballots, this_sitting
from arena.ui.common import picture_url, said_plainly, the_arena, this_voter
from arena.ui.reveal import told

QUEUE = 5
KEY = "surface"
FOLDER = Path(__file__).with_name("vote_component")

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
        draw_surface()


@st.fragment
def draw_surface() -> None:
    """A fragment: a vote reruns nothing but this."""
    with said_plainly():
        arena = the_arena()
        data = surface_data(arena, this_voter(arena), this_sitting())
        surface(key=KEY, data=data, on_ballots_change=take_ballots)


def take_ballots() -> None:
    """Streamlit's callback: cast what the surface sent."""
    ballots = read_ballots(st.session_state[KEY].get("ballots"))
    try:
        arena = the_arena()
        cast_all(arena, this_voter(arena), ballots, this_sitting())
    except ArenaError as error:
        this_sitting().notice = str(error)


def surface_data(arena: Arena, voter_id: str, sitting: Sitting) -> dict[str, Any]:
    """All that the browser is told: open pairs without their makers, and the maker of pairs already voted on."""
    queue = battles.open_battles(arena, voter_id, n=QUEUE)
    return {
        "sitting": sitting.id,
        "queue": [offered(battle) for battle in queue],
        "acked": sitting.settled,
        "reveal": told(sitting.reveal) if sitting.reveal else None,
        "notice": sitting.notice,
        "idle": "" if queue else nothing_left(arena, sitting),
    }


def offered(battle: battles.BlindBattle) -> dict[str, str]:
    return {
        "token": battle.token,
        "prompt": battle.prompt,
        "left": picture_url(battle.token, Side.LEFT),
        "right": picture_url(battle.token, Side.RIGHT),
    }
