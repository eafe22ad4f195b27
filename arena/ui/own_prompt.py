"""Own prompt: type one, wait for two pictures, and vote on them blind on the same surface as ever."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import streamlit as st

from arena.bootstrap import Arena
from arena.errors import ArenaError
from arena.services import battles, named, own_prompts
from arena.services.own_prompts import Standing
from arena.ui import vote
from arena.ui.ballots import Sitting, Undo, perform_all, read_acts
from arena.ui.common import (
    empty_state,
    heading,
    picture,
    plain,
    quoted,
    said_plainly,
    the_arena,
    this_sitting,
    this_voter,
)
from arena.ui.reveal import told
from arena.ui.surface import offered
from db.own_prompts import OwnPrompt, Stage

KEY = "own-surface"
TYPED = "own-prompt"
EVERY = 1.0
"""Seconds between two looks at a prompt that is being drawn."""
EXAMPLE = "a brown teddy bear with a red hat on a meadow"


def page() -> None:
    heading("Own prompt", "Type what you want to see. Two models draw it, and you say which did better, blind as ever.")
    with said_plainly():
        arena = the_arena()
        found = own_prompts.standing(arena, this_voter(arena))
        active = found.request is not None and found.request.is_active
        st.fragment(draw, run_every=EVERY if active else None)(active)


def draw(was_active: bool) -> None:
    with said_plainly():
        arena = the_arena()
        found = own_prompts.standing(arena, this_voter(arena))
        request = found.request
        is_active = request is not None and request.is_active
        if is_active != was_active:
            st.rerun()  # the whole page: something came to watch, or nothing is left
        if request is not None and is_active:
            draw_waiting(found, request)
            return
        if request is not None and request.token and not request.answered:
            if not own_prompts.is_expired(request):
                draw_pair(arena, request)
                return
            st.warning(
                f"The pair for {plain(quoted(request.prompt.text, 80))} waited for you for more than "
                f"{battles.LIFETIME.days} days and takes no vote any more. Ask again to see a new one.",
                icon=":material/hourglass_disabled:",
            )
        if request is not None and request.stage is Stage.FAILED:
            st.warning(
                f"{plain(quoted(request.prompt.text, 80))} came to nothing: {plain(request.reason)}. "
                "There is nothing to vote on.",
                icon=":material/error:",
            )
        elif request is not None and request.answered and request.token:
            draw_reveal(request)
        if said := st.session_state.pop("own-said", None):
            st.info(said, icon=":material/undo:")
        draw_form(arena)


# Asking


def draw_form(arena: Arena) -> None:
    if not arena.settings.own_prompts_per_hour:
        empty_state("This arena takes no prompts", "Open **Vote** for pairs of its own prompts.")
        return
    if len(own_prompts.contestants(arena)) < 2:
        empty_state(
            "Nobody can draw here yet",
            "An own prompt needs two models that make pictures on this machine. Whoever runs this arena can load them "
            f"with `arena init` and `arena generate`. {own_prompts.left_out(arena)}",
        )
        return
    with st.form("own-prompt", border=True):
        st.text_area("Your prompt", key=TYPED, height=96, placeholder=f"For example: {EXAMPLE}")
        st.form_submit_button("Draw it twice", type="primary", icon=":material/brush:", on_click=ask)
    if sentence := st.session_state.pop("own-refused", None):
        st.error(plain(sentence), icon=":material/error:")
    st.caption(what_happens(arena))


def what_happens(arena: Arena) -> str:
    settings = arena.settings
    counted = "counts on the leaderboard" if settings.own_prompts_count else "counts on **My board** alone"
    return (
        f"One at a time, {settings.own_prompts_per_hour} an hour, {settings.own_prompts_longest} characters at most. "
        f"{own_prompts.left_out(arena)} "
        f"Your vote {counted}, under the category “own prompt”. Nobody else is shown your prompt; whoever runs this "
        "arena can read it, and **My board** deletes it."
    )


def ask() -> None:
    """Streamlit's callback: before the page is drawn, so that it shows the queue at once."""
    text = str(st.session_state.get(TYPED, ""))
    try:
        arena = the_arena()
        own_prompts.ask(arena, this_voter(arena), text)
    except ArenaError as error:
        st.session_state["own-refused"] = str(error)
        return
    st.session_state[TYPED] = ""
    this_sitting().notice = " ".join(own_prompts.remarks(text))


# Waiting


def draw_waiting(found: Standing, request: OwnPrompt) -> None:
    with st.container(border=True):
        st.text(request.prompt.text)
        st.progress(share(request), text=progress_text(found, request))
        if this_sitting().notice:
            st.caption(plain(this_sitting().notice))
        if request.stage is Stage.WAITING:
            st.button("Take it back", on_click=withdraw)
    st.caption("You may leave this page: the pair will wait for you here and on **Vote**.")


def share(request: OwnPrompt) -> float:
    """0 to 1: being taken up counts as a tenth, each picture as the half of the rest."""
    return {Stage.WAITING: 0.0}.get(request.stage, 0.1 + 0.45 * request.done)


def progress_text(found: Standing, request: OwnPrompt) -> str:
    if request.stage is Stage.WAITING and found.ahead:
        return f"In the queue: {found.ahead} prompt{'s' if found.ahead > 1 else ''} before yours"
    if request.stage is Stage.WAITING:
        return "You are next: getting ready"
    return f"Drawing: {request.done} of 2 pictures" if request.done else "Drawing the first of 2 pictures"


def withdraw() -> None:
    with said_plainly():
        own_prompts.withdraw(the_arena(), this_voter(the_arena()))


# The vote


def draw_pair(arena: Arena, request: OwnPrompt) -> None:
    data = surface_data(arena, this_voter(arena), this_sitting(), request)
    vote.surface(key=KEY, data=data, on_acts_change=take_acts, on_place_change=lambda: None)


def surface_data(arena: Arena, voter_id: str, sitting: Sitting, request: OwnPrompt) -> dict[str, Any]:
    """What the voting surface is told: this pair and no other."""
    blind = battles.BlindBattle(request.token or "", request.prompt.text, request.prompt.category)
    return {
        "sitting": sitting.id,
        "stamp": uuid4().hex,
        "place": {"category": None, "names": False},
        "categories": [],
        "queue": [*map(offered, named.came_back(arena, voter_id)), offered(blind)],
        "acked": sitting.settled,
        "reveal": None,
        "notice": sitting.notice,
        "idle": "",
    }


def take_acts() -> None:
    """Streamlit's callback: perform what the surface sent."""
    acts = read_acts(st.session_state[KEY].get("acts"))
    try:
        arena = the_arena()
        perform_all(arena, this_voter(arena), acts, this_sitting())
    except ArenaError as error:
        this_sitting().notice = str(error)


def draw_reveal(request: OwnPrompt) -> None:
    """Who made the two, once the vote is cast; nothing after a skip."""
    known = this_sitting().told
    if not isinstance(known, battles.Reveal) or known.token != request.token:
        return
    news = told(known)
    with st.container(border=True):
        st.caption(plain(news["verdict"]))
        for column, side in zip(st.columns(2), news["sides"], strict=True):
            column.html(picture(side["image"], f"Picture by {side['name']}", 220))
            column.text(f"{side['name']}\n{side['elo']}" + (f" ({side['gain']})" if side["gain"] else ""))
        if news["crowd"]:
            st.text(news["crowd"])
        st.text(news["why"])
        texts = {one["tag"]: one["text"] for one in news["tags"]}
        key = f"reasons-{request.token}"
        st.pills(
            "Why? If you like to say", [*texts], selection_mode="multi", format_func=texts.__getitem__, key=key,
            on_change=give_reasons, args=(request.token, key),
        )  # fmt: skip
        st.button("Take the vote back", icon=":material/undo:", on_click=take_back, args=(request.token,))


def give_reasons(token: str, key: str) -> None:
    """Streamlit's callback. A reason is only ever added; the same again is kept once."""
    with said_plainly():
        arena = the_arena()
        for tag in st.session_state[key]:
            battles.tag(arena, this_voter(arena), token, tag)


def take_back(token: str) -> None:
    """Streamlit's callback: the vote stops counting, and the pair comes back with names, on Vote."""
    sitting = this_sitting()
    with said_plainly():
        arena = the_arena()
        perform_all(arena, this_voter(arena), [Undo(uuid4().hex, token)], sitting)
    if sitting.notice:
        st.session_state["own-said"] = f"{sitting.notice} The pair waits for you on **Vote**."
        sitting.notice = ""
