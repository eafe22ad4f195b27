"""My board: what a visitor's own votes say, how far others agree, and their data."""

from __future__ import annotations

from dataclasses import asdict

import altair as alt
import pandas as pd
import streamlit as st

from arena.bootstrap import Arena
from arena.domain import Outcome
from arena.rating.agreement import Share
from arena.rating.board import Board, BoardRow
from arena.services import personal
from arena.services.personal import NEEDED, Mine, Taste
from arena.ui.common import empty_state, heading, plain, said_plainly, the_arena, this_voter
from arena.ui.judge import COIN, START, between, dots, ranks
from db.personal import Erased

ANSWERS = {
    Outcome.LEFT: "A better",
    Outcome.RIGHT: "B better",
    Outcome.TIE: "tie",
    Outcome.BOTH_BAD: "both bad",
}
COLUMNS = {
    "ranks": st.column_config.TextColumn("Rank", width=70),
    "model": st.column_config.TextColumn("Model", width="medium"),
    "rating": st.column_config.NumberColumn("Rating", format="%.0f"),
    "interval": st.column_config.TextColumn("95% interval", help="Your opinion, as far as your votes tell it"),
    "votes": st.column_config.NumberColumn("Your votes"),
    "wins": st.column_config.NumberColumn("Wins"),
    "losses": st.column_config.NumberColumn("Losses"),
    "ties": st.column_config.NumberColumn("Ties"),
    "both_bad": st.column_config.NumberColumn("Both bad"),
}

WHAT_GOES = """
**Deleted.** Every vote of yours stops counting, on every board, at once. Prompts that you typed and their pictures are
removed. The link between this browser and your votes is cut: your id is closed for good, and the cookie is replaced.

**Kept.** The votes stay in the ledger, because nothing in it is ever changed, each marked “deleted by the voter”, under
a random number that leads to nobody. So do pairs that you reported and prompts that others typed as well.

There is nothing else to delete: no name, no address, and nothing of your network or browser is stored.
"""


def page() -> None:
    heading("My board", "Your own ranking of the models, from your votes alone.")
    with said_plainly():
        arena = the_arena()
        if "erased" in st.session_state:
            draw_erased(st.session_state.pop("erased"))
        voter_id = this_voter(arena)
        found = personal.mine(arena, voter_id)
        if found.missing:
            draw_waiting(found)
        else:
            draw_board(found)
            draw_agreement(found)
            draw_taste(found)
        draw_data(arena, voter_id, found)


def draw_waiting(found: Mine) -> None:
    """How far it is to the board."""
    left = f"{found.missing} more vote{'s' if found.missing > 1 else ''}"
    with st.container(border=True):
        st.subheader(f"{left} to your own board", anchor=False)
        st.progress(found.votes / NEEDED, text=f"{found.votes} of {NEEDED} votes")
        st.markdown(
            "Open **Vote** and press a key: ← or → for the better picture. Then this page shows which models *you* "
            "prefer, how far other people and the judge agree with you, and what kind of picture you favour."
        )


# The board


def draw_board(found: Mine) -> None:
    st.caption(counted(found))
    if found.board is None:
        empty_state("No order follows from your votes yet", plain(found.reason))
        return
    rated = [row for row in found.board.board if row.rating is not None]
    st.altair_chart(board_chart(rated), width="stretch")
    st.markdown(how_sure(rated))
    st.dataframe(table(found.board), column_config=COLUMNS, hide_index=True, placeholder="–", width="stretch")
    for row in found.board.board:
        if row.rating is None and row.votes:
            st.caption(f"{plain(row.model)} is not rated: it {plain(row.reason)}")


def counted(found: Mine) -> str:
    parts = [f"{label} {found.answers[kind]:,}" for kind, label in ANSWERS.items() if found.answers.get(kind)]
    return f"{found.votes:,} votes: {', '.join(parts)}."


def board_chart(rated: list[BoardRow]) -> alt.LayerChart:
    rows = [
        {"name": row.model, "value": row.rating, "low": row.low, "high": row.high, "of": row.votes} for row in rated
    ]
    lines = [{"at": START, "what": "mean"}]
    return dots(rows, "name", "Your rating and its 95% interval", lines, alt.Scale(zero=False, padding=12), ".0f")


def how_sure(rated: list[BoardRow]) -> str:
    """One sentence: how wide the intervals are, and what order they allow."""
    halves = [row.high - row.rating for row in rated if row.high is not None and row.rating is not None]
    wide = f"Of one person's votes such intervals are wide: up to **±{max(halves):.0f} points** here."
    settled = sum(row.rank_low == row.rank_high for row in rated)
    if settled == len(rated):
        return f"{wide} Even so your votes settle every place."
    if settled:
        return f"{wide} They settle the place of {settled} of {len(rated)} models; the others may change places."
    return f"{wide} No place is settled: every further vote of yours narrows them."


def table(board: Board) -> pd.DataFrame:
    shown = [{**asdict(row), "ranks": ranks(row), "interval": between(row)} for row in board.board if row.votes]
    found = pd.DataFrame(shown, columns=list(COLUMNS))
    return found.assign(rating=found["rating"].astype(float))


# Agreement


def draw_agreement(found: Mine) -> None:
    st.subheader("Who agrees with you", anchor="agreement")
    rows = [
        {"name": name, **asdict(share.estimate), "of": share.of}
        for name, share in shares(found).items()
        if share.estimate
    ]
    if rows:
        lines = [{"at": COIN, "what": "a coin"}]
        chart = dots(rows, "name", "Same choice as you", lines, alt.Scale(domain=[0, 1]), ".0%")
        st.altair_chart(chart, width="stretch")
    st.markdown("\n".join(agreement_told(found)))


def shares(found: Mine) -> dict[str, Share]:
    with_judge = found.with_judge.decisive if found.with_judge else Share(0, 0)
    with_others = found.with_others.decisive if found.with_others else Share(0, 0)
    return {"Other voters": with_others, "Their leaderboard": found.with_board, "The judge": with_judge}


def agreement_told(found: Mine) -> list[str]:
    """Each figure in words with its counts, or why there is none."""
    others, board, judge = shares(found).values()
    return [
        "- **Other voters**: "
        + told(others, "pairs in which both you and most of the others preferred a picture", "the same one")
        if others.of
        else "- **Other voters**: nobody else has preferred a picture in a pair of yours yet.",
        "- **Their leaderboard**: "
        + told(board, "choices of yours between two rated models", "the one that others rate higher")
        if board.of
        else "- **Their leaderboard**: the votes of the others do not rate the models yet.",
        "- **The judge**: " + told(judge, "pairs in which both you and the judge preferred a picture", "the same one")
        if judge.of
        else "- **The judge**: it has not preferred a picture in a pair of yours yet.",
    ]


def told(share: Share, of: str, what: str) -> str:
    found = share.estimate
    assert found is not None
    return (
        f"{share.hits:,} of {share.of:,} {of} went to {what}: {found.value:.0%} "
        f"({found.low:.0%} to {found.high:.0%}, Wilson's 95% interval)."
    )


# Taste


def draw_taste(found: Mine) -> None:
    st.subheader("Your taste", anchor="taste")
    clear = [taste for taste in found.tastes if taste.is_told]
    st.markdown(
        "\n".join(f"- You favour **{one.words}**: worth {abs(one.points):.0f} points ({span(one)})." for one in clear)
    )
    if not clear:
        st.markdown("Nothing stands out: no preference for a side or a look can be told from chance with these votes.")
    st.caption(
        "Between models of equal strength, for a typical difference between two pictures; one feature at a time. A "
        "taste is named only where its interval excludes none, and all intervals hold at once with 95%."
    )
    with st.expander("Everything that was looked at"):
        st.dataframe(taste_table(found), hide_index=True, width="stretch", height="content", placeholder="–")


def span(taste: Taste) -> str:
    low, high = sorted((abs(taste.low), abs(taste.high)))
    return f"{low:.0f} to {high:.0f}"


def taste_table(found: Mine) -> pd.DataFrame:
    rows = [
        {"Towards": personal.WORDS[taste.feature][0], "Points": f"{taste.points:+.0f}".replace("-", "−"),
         "From": f"{taste.low:+.0f}".replace("-", "−"), "To": f"{taste.high:+.0f}".replace("-", "−")}
        for taste in found.tastes
    ]  # fmt: skip
    rows += [
        {"Towards": personal.WORDS[name][0], "Points": None, "From": "cannot be told from these votes", "To": None}
        for name in found.untold
    ]
    return pd.DataFrame(rows)


# Data


def draw_data(arena: Arena, voter_id: str, found: Mine) -> None:
    st.subheader("Your data", anchor="data")
    rows = personal.download(arena, voter_id)
    if not rows:
        st.markdown("You have not voted yet, so nothing is stored about you but a random number in a cookie.")
        return
    with st.container(horizontal=True):
        for label, make, kind in (("CSV", personal.as_csv, "text/csv"), ("JSON", personal.as_json, "application/json")):
            st.download_button(
                f"Download {len(rows):,} votes as {label}",
                make(rows),
                file_name=f"my-votes.{label.lower()}",
                mime=kind,
                icon=":material/download:",
                on_click="ignore",
            )
    with st.expander("Delete my data", icon=":material/delete:"):
        st.markdown(WHAT_GOES)
        sure = st.checkbox(f"I want my {len(rows):,} votes deleted, and know that this cannot be undone.")
        st.button("Delete my data", type="primary", disabled=not sure, on_click=erase, args=(voter_id,))


def erase(voter_id: str) -> None:
    with said_plainly():
        st.session_state["erased"] = personal.delete(the_arena(), voter_id)


def draw_erased(done: Erased) -> None:
    """Said once; below it stands what a newcomer sees."""
    st.success(
        f"Done. {done.votes:,} vote{'s' if done.votes != 1 else ''} no longer count, "
        f"{done.prompts} prompt{'s' if done.prompts != 1 else ''} and {len(done.images)} pictures are gone, and this "
        "browser is nobody's any more.",
        icon=":material/check_circle:",
    )
    st.markdown("The boards are made without your votes from now on. If you vote again, you begin as a new voter.")
