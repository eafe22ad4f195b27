"""What the gate keeps from people, said on every page where someone might look for it."""

from __future__ import annotations

import streamlit as st

from arena.bootstrap import Arena
from arena.services import gate
from arena.ui.common import plain


def draw(arena: Arena) -> None:
    """Who waits for the judge before people may meet it; nothing where the gate is off."""
    found = gate.gate(arena)
    if found is None:
        return
    waiting = "; ".join(f"{plain(name)} ({plain(why)})" for name, why in found.waiting.items())
    st.info(f"{plain(found.rule)} " + (f"Waiting: {waiting}." if waiting else "No model waits."))
