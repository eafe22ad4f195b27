"""The prompt page: every model's picture for one prompt side by side, and the votes on them."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from arena.errors import UsageError
from arena.services import showcase
from arena.services.showcase import Picture, PromptBoard
from arena.ui.board_html import STYLE, figure_html, gallery_html, name_link
from arena.ui.common import empty_state, heading, plain, said_plainly, the_arena, this_voter
from arena.ui.model import record_words


def page() -> None:
    with said_plainly():
        arena = the_arena()
        st.html(STYLE)
        asked = st.query_params.get("id", "")
        if not asked:
            heading("Prompt", "All pictures for one prompt.")
            empty_state("Which prompt?", "Open a model on the **Leaderboard**; its pictures lead to their prompts.")
            return
        draw(showcase.prompt_board(arena, this_voter(arena), prompt_id(asked)))


def prompt_id(word: str) -> int:
    """Raises UsageError for what is no number."""
    if not (word.isascii() and word.isdigit() and len(word) < 20):
        raise UsageError(
            f"A prompt is asked for by its number, not by {word[:40]!r}; the pages of models link to them."
        )
    return int(word)


def draw(found: PromptBoard) -> None:
    tags = ", ".join([found.prompt.category, *found.prompt.tags])
    heading(plain(found.prompt.text), f"Category: {plain(tags)}. Every model's picture, best record first.")
    if found.waits:
        st.info(
            "You have a battle on this prompt that waits for your vote. Open **Vote** first; then the pictures and "
            "their makers are shown here.",
            icon=":material/visibility_off:",
        )
        return
    if not found.pictures:
        empty_state("No pictures yet", "No model has drawn this prompt: `arena generate` does what is missing.")
        return
    st.html(gallery_html(figure_html([one], caption(one)) for one in found.pictures))
    st.caption("Now that you saw who drew what, this prompt is not drawn for your votes any more.")
    draw_votes(found)


def caption(one: Picture) -> str:
    return f"<b>{name_link(one.contestant)}</b>{escape(record_words(one.record))}"


def draw_votes(found: PromptBoard) -> None:
    st.subheader("Votes on this prompt", anchor=False)
    if not found.pairs:
        st.markdown("Nobody has voted on it yet.")
        return
    columns = ["Model", "Against", "Won", "Lost", "Tied", "Both bad"]
    rows = [(one, other, r.wins, r.losses, r.ties, r.both_bad) for one, other, r in found.pairs]
    st.dataframe(pd.DataFrame(rows, columns=columns), hide_index=True, width="stretch")
