"""The plain voting page (`?ui=basic`): Streamlit's own buttons, for browsers and tools that cannot run the surface."""

from __future__ import annotations

from html import escape

import streamlit as st

from arena.domain import Outcome, Side
from arena.errors import ArenaError
from arena.services import battles
from arena.ui.ballots import Sitting, Skip, Vote, nothing_left, perform_all
from arena.ui.common import picture_url, said_plainly, the_arena, this_sitting, this_voter
from arena.ui.reveal import told

CHOICES = [
    ("A is better", Outcome.LEFT, "Left"),
    ("Tie", Outcome.TIE, "Up"),
    ("Both bad", Outcome.BOTH_BAD, "Down"),
    ("B is better", Outcome.RIGHT, "Right"),
    ("Skip", None, "S"),
]

PAIR = """<div style="display:grid;grid-template-columns:1fr 1fr;gap:16px">
<img src="{left}" alt="Picture A" style="width:100%;aspect-ratio:1;max-height:46vh;object-fit:contain">
<img src="{right}" alt="Picture B" style="width:100%;aspect-ratio:1;max-height:46vh;object-fit:contain">
</div>"""


@st.fragment
def page() -> None:
    with said_plainly():
        arena = the_arena()
        if this_sitting().notice:
            st.info(this_sitting().notice)
        queue = battles.open_battles(arena, this_voter(arena), n=1)
        if queue:
            draw_battle(queue[0])
        else:
            st.info(nothing_left(arena, this_sitting()))
        draw_reveal(this_sitting())


def draw_battle(battle: battles.BlindBattle) -> None:
    st.caption("Which picture fits the prompt better?")
    st.text(battle.prompt)
    st.html(PAIR.format(**{side: escape(picture_url(battle.token, side)) for side in Side}))
    for column, (label, outcome, shortcut) in zip(st.columns(len(CHOICES)), CHOICES, strict=True):
        # The button belongs to this battle: a late click never falls on the next one.
        column.button(
            label,
            key=f"{label}:{battle.token}",
            shortcut=shortcut,
            on_click=press,
            args=(battle.token, outcome),
            width="stretch",
        )


def press(token: str, outcome: Outcome | None) -> None:
    id = f"{token}:{outcome}"
    act = Skip(id, token) if outcome is None else Vote(id, token, outcome)
    try:
        arena = the_arena()
        perform_all(arena, this_voter(arena), [act], this_sitting())
    except ArenaError as error:
        this_sitting().notice = str(error)


def draw_reveal(sitting: Sitting) -> None:
    if sitting.told is None:
        return
    with st.container(border=True):
        news = told(sitting.told)
        st.caption(news["verdict"])
        for side in news["sides"]:
            st.text(f"{side['name']}: {side['elo']} ({side['gain']})")
        st.text(" ".join(filter(None, [news["why"], news["crowd"]])))
