"""The leaderboard page: who is best by people's votes, and what that rests on."""

from __future__ import annotations

from dataclasses import asdict

import altair as alt
import pandas as pd
import streamlit as st

from arena.services.leaderboard import Leaderboard, leaderboard
from arena.ui.common import empty_state, heading, said_plainly, the_arena

START = 1000
ROW_PIXELS = 34
AXIS_PIXELS = 56

COLUMNS = {
    "rank": st.column_config.NumberColumn("Rank", width=55, help="1 + how many models are rated strictly higher"),
    "name": st.column_config.TextColumn("Model", width="medium"),
    "elo": st.column_config.NumberColumn(
        "Elo", format="%.1f", help="Everyone starts at 1000; 400 points are odds of 10 to 1"
    ),
    "votes": st.column_config.NumberColumn("Votes", help="Votes on battles that this model fought in"),
    "wins": st.column_config.NumberColumn("Wins"),
    "losses": st.column_config.NumberColumn("Losses"),
    "ties": st.column_config.NumberColumn("Ties"),
    "both_bad_rate": st.column_config.NumberColumn(
        "Both bad", format="percent", help="Share of its votes that said both pictures are bad"
    ),
    "seconds_per_image": st.column_config.NumberColumn(
        "s / image", format="%.2f", help="Mean time to make one picture"
    ),
    "note": st.column_config.TextColumn("Note", help="Provisional: too few votes to trust the order"),
}


def page() -> None:
    heading("Leaderboard", "Models ranked by people who did not know which was which.")
    with said_plainly():
        draw(leaderboard(the_arena()))


def draw(board: Leaderboard) -> None:
    if not board.rows:
        empty_state(
            "No models yet",
            "Whoever runs this arena can add the embedded ones with `arena demo`, or their own with `arena generate`.",
        )
        return
    if board.votes == 0:
        st.info("Nobody has voted yet, so every model is at its starting rating. Open **Vote** and press a key.")
    st.dataframe(table(board), column_config=COLUMNS, hide_index=True, placeholder="–", width="stretch")
    if board.votes:
        st.altair_chart(chart(board), width="stretch")
    st.caption(explained(board))


def table(board: Leaderboard) -> pd.DataFrame:
    rows = [{**asdict(row), "note": "provisional" if row.provisional else ""} for row in board.rows]
    shown = pd.DataFrame(rows, columns=list(COLUMNS))
    # Whole percent: two decimals of a share of some dozens of votes would be noise.
    return shown.assign(both_bad_rate=shown["both_bad_rate"].astype(float).round(2))


def explained(board: Leaderboard) -> str:
    votes = "1 vote" if board.votes == 1 else f"{board.votes:,} votes"
    return (
        f"Computed from {votes} (up to vote {board.last_vote_id}). Elo with K = {board.k_factor:g}, in the order of "
        "the votes: a win over a stronger model earns more than one over a weaker. A tie and “both bad” both count as "
        f"half a win; “both bad” is counted apart as well. A model with fewer than {board.provisional_below} votes is "
        "**provisional**: a handful of further votes may still change its place."
    )


def chart(board: Leaderboard) -> alt.LayerChart | alt.FacetChart:
    """Each model's distance from the rating that everyone starts with."""
    base = alt.Chart(table(board).assign(start=START)).encode(
        x=alt.X(
            "elo:Q",
            title="Elo (everyone starts at 1000)",
            scale=alt.Scale(zero=False, nice=True, padding=12),
            axis=alt.Axis(tickCount=6, format="d"),
        ),
        y=alt.Y(
            "name:N", sort=None, title=None, axis=alt.Axis(labelLimit=220, ticks=False, domain=False, labelPadding=12)
        ),
        tooltip=[alt.Tooltip("name:N", title="Model"), alt.Tooltip("elo:Q", format=".1f", title="Elo"), "votes:Q"],
    )
    stem = base.mark_bar(height=2, opacity=0.55).encode(x2="start:Q")
    dot = base.mark_circle(size=150, opacity=1)
    described = "Elo rating of each model, as a distance from 1000"
    return alt.layer(stem, dot).properties(height=ROW_PIXELS * len(board.rows) + AXIS_PIXELS, description=described)
