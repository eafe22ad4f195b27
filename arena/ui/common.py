"""What every page needs: the arena, the visitor, and a sentence instead of a traceback."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from html import escape
from urllib.parse import quote

import streamlit as st

from arena.bootstrap import Arena, open_arena
from arena.domain import Side
from arena.errors import ArenaError
from arena.services import admin, voters
from arena.services.moderation import Admin
from arena.ui.ballots import Sitting

COOKIE = "arena_voter"
ADMIN = "admin"
FIRST_STRONG, END_OF_ISOLATE = "\u2068", "\u2069"
WITHOUT_DIRECTIONS = dict.fromkeys([0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
"""For str.translate: removes what turns the direction of the text that follows."""
QUIET = "#8a837b"
"""The colour of lines that only guide the eye: seen on light and on dark."""
LABEL_PIXELS = 140
"""Of a name beside a chart, so that the chart keeps more than half of a phone's 358; the rest of it is in the tip."""


@lru_cache(maxsize=1)
def the_arena() -> Arena:
    """The one Arena of this process, shared by pages and routes. A failed opening is tried again at the next call."""
    return open_arena()


def this_voter(arena: Arena) -> str:
    """The visitor's voter id: from the signed cookie, or for this sitting only where cookies are refused."""
    if known := cookie_voter(arena):
        return known
    if held := voters.voter_id(arena, st.session_state.get("voter_token")):
        return held
    st.session_state["voter_token"] = voters.new_voter_token(arena)
    return voters.voter_id(arena, st.session_state["voter_token"]) or ""


def own_token(arena: Arena) -> str | None:
    """The signed voter of this sitting where the browser refuses cookies; None where its cookie says who it is."""
    return st.session_state.get("voter_token") if this_voter(arena) != cookie_voter(arena) else None


def cookie_voter(arena: Arena) -> str | None:
    return voters.voter_id(arena, st.context.cookies.get(COOKIE))


def this_sitting() -> Sitting:
    """The visitor's sitting: it ends with the page; what must last is in the database."""
    if "sitting" not in st.session_state:
        st.session_state["sitting"] = Sitting()
    return st.session_state["sitting"]


def this_admin() -> Admin | None:
    """Who is logged in, for as long as the page stays open."""
    return st.session_state.get(ADMIN)


def may_run(arena: Arena) -> bool:
    """Whether this visitor may start and stop what takes the machine's time, and a judge's money.

    On one's own machine whoever opens the page may; once there is an admin token, whoever is logged in with it.
    """
    return this_admin() is not None or not admin.is_set_up(arena.settings)


@contextmanager
def said_plainly() -> Iterator[None]:
    """An error meant for a person is shown as its sentence."""
    try:
        yield
    except ArenaError as error:
        st.error(str(error), icon=":material/error:")


def picture_url(token: str, side: Side) -> str:
    """Where the browser finds one side of a battle; the token says nothing about who made it.

    Relative, as all addresses here: pages are one level deep, and a proxy may put a path before them.
    """
    return f"img/{quote(token, safe='')}/{side}"


def picture(url: str, alt: str, pixels: int) -> str:
    """HTML of a picture by its address, no wider than so many pixels: st.image would read it as a file's name."""
    return f'<img src="{escape(url)}" alt="{escape(alt)}" style="width:100%;max-width:{pixels}px;border-radius:8px">'


def plain(text: str) -> str:
    """The text with Markdown's signs escaped: names and messages are not markup."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|<>~:$])", r"\\\1", text)


def quoted(text: str, longest: int = 60) -> str:
    """A prompt in a sentence: shortened, on one line, and kept from turning the rest of it to read from the right."""
    flat = " ".join(text.translate(WITHOUT_DIRECTIONS).split())
    short = flat if len(flat) <= longest else f"{flat[: longest - 1].rstrip()}…"
    return f"“{FIRST_STRONG}{short}{END_OF_ISOLATE}”"


def empty_state(title: str, text: str) -> None:
    """What a page shows when it has nothing to show: what is missing, and what to do next."""
    with st.container(border=True):
        st.subheader(title, anchor=False)
        st.markdown(text)


def runs_are_not_yours() -> None:
    st.caption("Runs are started and stopped by whoever runs this arena: log in on the page [Admin](admin).")


def heading(title: str, text: str) -> None:
    st.title(title, anchor=False)
    st.markdown(text)
