"""The leaderboard page: who is best by people's votes, how sure that is, and what would change it."""

from __future__ import annotations

from dataclasses import asdict, replace

import altair as alt
import pandas as pd
import streamlit as st

from arena.bootstrap import Arena
from arena.domain import VoteFilter
from arena.services.audit import Audit, Influence, audit
from arena.services.fused import Together, together
from arena.services.leaderboard import Leaderboard, LeaderboardRow, Meeting, running_leaderboard, settled_by
from arena.ui import gate
from arena.ui.common import QUIET, empty_state, heading, plain, said_plainly, the_arena

START = 1000
ROW_PIXELS = 34
AXIS_PIXELS = 56
CELL_WIDTH = 56
EVERY_CATEGORY = "all categories"

COLUMNS = {
    "ranks": st.column_config.TextColumn(
        "Rank", width=70, help="The ranks that the votes leave open, for all models at once with 95% confidence"
    ),
    "name": st.column_config.TextColumn("Model", width="medium"),
    "rating": st.column_config.NumberColumn(
        "Rating", format="%.0f", help="Bradley–Terry strength; the mean of all is 1000, 400 points are odds of 10 to 1"
    ),
    "interval": st.column_config.TextColumn("95% interval", help="Allows for voters who vote alike all along"),
    "p_best": st.column_config.NumberColumn(
        "Best", format="percent", help="The chance that this model is the best of all, as far as these votes can tell"
    ),
    "pooled": st.column_config.NumberColumn(
        "Pooled", format="%.0f", help="The rating here that leans on the other categories, as far as these differ"
    ),
    "borrowed": st.column_config.NumberColumn(
        "Borrowed", format="percent", help="How much of the pooled rating comes from the other categories"
    ),
    "elo": st.column_config.NumberColumn(
        "Elo", format="%.1f", help="The live rating: starts at 1000 and moves with every vote, in their order"
    ),
    "votes": st.column_config.NumberColumn("Votes", help="Votes on battles that this model fought in"),
    "record": st.column_config.TextColumn("Won–lost–tied", help="Votes for it, for the other, and for neither"),
    "both_bad_rate": st.column_config.NumberColumn(
        "Both bad", format="percent", help="Share of its votes that said both pictures are bad"
    ),
    "seconds_per_image": st.column_config.NumberColumn(
        "s / image", format="%.2f", help="Mean time to make one picture"
    ),
    "note": st.column_config.TextColumn(
        "Note",
        help="Established: the interval is at most ±30 points; usable: at most ±60; preliminary: wider. "
        "Provisional: too few votes to trust the order",
    ),
}


def page() -> None:
    heading("Leaderboard", "Models ranked by people who did not know which was which.")
    with said_plainly():
        arena = the_arena()
        board = running_leaderboard(arena, VoteFilter(category=chosen_category(arena.store.categories())))
        draw(arena, board)
        if board.votes and st.toggle("What else moves the votes?", help="The side, the look of the images, the voters"):
            draw_audit(audit(arena, board.votes_filter))
        gate.draw(arena)
        draw_judges(arena, board.votes_filter.category)


def chosen_category(categories: list[str]) -> str | None:
    """The visitor's choice, kept in the page's address."""
    if len(categories) < 2:
        return None
    options = [EVERY_CATEGORY, *categories]
    asked = st.query_params.get("category", EVERY_CATEGORY)
    choice = st.selectbox("Prompts", options, index=options.index(asked) if asked in options else 0, width=320)
    if choice == EVERY_CATEGORY:
        st.query_params.pop("category", None)
        return None
    st.query_params["category"] = choice
    return choice


def draw(arena: Arena, board: Leaderboard) -> None:
    if not board.rows:
        empty_state(
            "No models yet",
            "Whoever runs this arena can add the embedded ones with `arena demo`, or their own with `arena generate`.",
        )
        return
    if board.votes == 0:
        st.info("Nobody has voted here yet, so no model is rated. Open **Vote** and press a key.")
    st.dataframe(
        table(board), column_config=COLUMNS, column_order=shown_columns(board), hide_index=True, placeholder="–",
        width="stretch",
    )  # fmt: skip
    rated = [row for row in board.rows if row.rating is not None]
    if rated:
        st.altair_chart(chart(rated), width="stretch")
    elif board.votes:
        st.info("No order follows from these votes yet: " + plain(" ".join(board.warnings)))
    st.caption(explained(board))
    if board.votes:
        draw_why(arena, board)
        draw_meetings(board)


def shown_columns(board: Leaderboard) -> list[str]:
    """Elo and time belong to the board of all votes, pooling to that of a category."""
    pooled = any(row.pooled is not None for row in board.rows)
    absent = {"elo", "seconds_per_image"} if board.votes_filter != VoteFilter() else set()
    return [name for name in COLUMNS if name not in absent | (set() if pooled else {"pooled", "borrowed"})]


def table(board: Leaderboard) -> pd.DataFrame:
    rows = [
        {**asdict(row), "ranks": rank_set(row), "interval": interval(row), "record": record(row), "note": note(row)}
        for row in board.rows
    ]
    shown = pd.DataFrame(rows, columns=list(COLUMNS))
    # Whole percent: two decimals of a share of some dozens of votes would be noise.
    return shown.assign(
        both_bad_rate=shown["both_bad_rate"].astype(float).round(2),
        borrowed=shown["borrowed"].astype(float).round(2),
        p_best=shown["p_best"].astype(float).round(2),
        rating=shown["rating"].astype(float),
        pooled=shown["pooled"].astype(float),
    )


def rank_set(row: LeaderboardRow) -> str:
    if row.rank_low is None:
        return "–"
    return str(row.rank_low) if row.rank_low == row.rank_high else f"{row.rank_low}–{row.rank_high}"


def interval(row: LeaderboardRow) -> str:
    return "–" if row.low is None else f"{row.low:.0f} – {row.high:.0f}"


def record(row: LeaderboardRow) -> str:
    return f"{row.wins}–{row.losses}–{row.ties}"


def note(row: LeaderboardRow) -> str:
    if row.rating is None:
        return "not rated yet"
    return "provisional" if row.provisional else row.status


def explained(board: Leaderboard) -> str:
    votes = "1 vote" if board.votes == 1 else f"{board.votes:,} votes"
    return (
        f"Computed from {votes} (up to vote {board.last_vote_id}). **Rating**: Bradley–Terry by maximum likelihood, "
        "whatever the order of the votes, with a mean of 1000 (the dashed line); a tie is half a win, “both bad” "
        "prefers nobody and is counted apart. "
        "**Rank**: two models share a rank as long as their difference could be chance. "
        f"**Elo**, with K = {board.k_factor:g}, takes the votes in their order: a win over a stronger model earns more "
        "than one over a weaker, and “both bad” counts as a tie. "
        f"With fewer than {board.provisional_below} votes a model is **provisional**."
    )


def chart(rated: list[LeaderboardRow]) -> alt.LayerChart | alt.FacetChart:
    """Ratings with their 95% intervals, best first."""
    shown = pd.DataFrame([asdict(row) for row in rated])[["name", "rating", "low", "high", "votes", "status"]]
    y = alt.Y(
        "name:N", sort=None, title=None, axis=alt.Axis(labelLimit=220, ticks=False, domain=False, labelPadding=12)
    )
    title = "Rating and 95% interval"
    x = alt.X("low:Q", title=title, scale=alt.Scale(zero=False, nice=True, padding=12), axis=alt.Axis(tickCount=6))
    tooltip = [
        alt.Tooltip("name:N", title="Model"),
        alt.Tooltip("rating:Q", format=".0f", title="Rating"),
        alt.Tooltip("low:Q", format=".0f", title="From"),
        alt.Tooltip("high:Q", format=".0f", title="To"),
        alt.Tooltip("votes:Q", title="Votes"),
        alt.Tooltip("status:N", title="Status"),
    ]
    base = alt.Chart(shown).encode(y=y, tooltip=tooltip)
    mean = alt.Chart(pd.DataFrame({"mean": [START]})).mark_rule(strokeDash=[3, 3], color=QUIET).encode(x="mean:Q")
    bars = base.mark_bar(height=6, opacity=0.35, cornerRadius=3).encode(x=x, x2="high:Q")
    dots = base.mark_circle(size=130, opacity=1).encode(x="rating:Q")
    words = "; ".join(f"{row.name} {row.rating:.0f}, {row.low:.0f} to {row.high:.0f}" for row in rated[:12])
    return alt.layer(mean, bars, dots).properties(
        height=ROW_PIXELS * len(rated) + AXIS_PIXELS, description=f"Ratings with 95% intervals: {words}"
    )


def draw_why(arena: Arena, board: Leaderboard) -> None:
    """For one model: what its place rests on, and what would change it."""
    st.subheader("Why is it there?", anchor=False)
    names = [row.name for row in board.rows]
    chosen = st.selectbox("Model", names, label_visibility="collapsed", width=320)
    to_flip, needed = settled_by(arena, board, chosen)
    row = replace(board.rows[names.index(chosen)], votes_to_flip=to_flip, votes_needed=needed)
    below = board.rows[names.index(chosen) + 1] if names.index(chosen) + 1 < len(names) else None
    st.markdown(why(row, below))


def why(row: LeaderboardRow, below: LeaderboardRow | None) -> str:
    """The place of a model in plain words."""
    name = f"**{plain(row.name)}**"
    counted = f"{row.wins} won, {row.losses} lost, {row.ties} tied, {row.both_bad} both bad"
    if row.rating is None:
        return f"{name} is not rated: it {plain(row.reason) or 'has no vote that compares it with others.'} ({counted})"
    said = [
        f"{name} is rated {row.rating:.0f}, with 95% confidence between {row.low:.0f} and {row.high:.0f}, "
        f"from {row.votes} votes ({counted}).",
        f"The votes leave ranks {rank_set(row)} open. The chance that it is the best is {chance(row.p_best)}, "
        f"that it is among the first three {chance(row.p_top3)}.",
    ]
    if below is not None and below.rating is not None:
        said += neighbour(row, plain(below.name))
    return "\n\n".join(said)


def neighbour(row: LeaderboardRow, below: str) -> list[str]:
    said = []
    if row.votes_to_flip is not None:
        votes = "a single vote that speaks" if row.votes_to_flip == 1 else f"{row.votes_to_flip:,} votes that speak"
        said.append(f"Had {votes} for it not been cast, **{below}** would be level with it or above.")
    if row.votes_needed == 0:
        said.append(f"Its lead over **{below}** is beyond chance.")
    elif row.votes_needed is not None:
        votes = (
            f"{row.votes_needed:,} more votes" if row.votes_needed <= MANY_VOTES else "more votes than are practical"
        )
        said.append(f"If the difference is what it looks like now, {votes} between the two would settle their order.")
    return said


MANY_VOTES = 100_000


def chance(share: float | None) -> str:
    if share is None:
        return "unknown"
    return "below 1%" if share < 0.01 else "above 99%" if share > 0.99 else f"{share:.0%}"


def draw_audit(found: Audit) -> None:
    """What the votes show to matter beside the models."""
    said = [effect(found.left, "standing on the left")] if found.left else []
    said += [effect(influence, f"more {plain(influence.name)}") for influence in found.style]
    if said:
        st.markdown(
            "What an image gains, in rating points with 95% intervals, by standing on the left and by looking one "
            "standard deviation different from its rival:\n\n- " + "\n- ".join(said)
        )
    if found.controlled:
        st.markdown("Ratings as if all images looked alike and stood on no side:")
        ordered = sorted(found.controlled.items(), key=lambda item: -item[1])
        st.dataframe(
            pd.DataFrame(ordered, columns=["Model", "Controlled rating"]).round(0), hide_index=True, width="content"
        )
    for checked in found.voters[:1]:
        odd = sum(voter.high < 1 and voter.low < 0 for voter in found.voters)
        st.markdown(
            f"Of {found.voters_in_all} voters, {len(found.voters)} have enough votes to be judged. Reliability 1 is "
            f"the typical voter, 0 votes at random, below 0 votes against everyone else: {odd} may be no better than "
            f"random, and the lowest is {checked.reliability:.1f} ({checked.low:.1f} to {checked.high:.1f})."
        )
    for note in found.notes:
        st.caption(plain(note))


def effect(influence: Influence, of: str) -> str:
    beyond = "" if influence.low <= 0 <= influence.high else ", beyond chance"
    return f"{of}: {influence.points:+.0f} ({influence.low:+.0f} to {influence.high:+.0f}){beyond}".replace("-", "−")


def draw_judges(arena: Arena, category: str | None) -> None:
    """Judges beside people, where a judge has voted: never mixed into the board above."""
    judges = arena.store.judges()
    if not judges:
        return
    st.subheader("People and judges", anchor=False)
    if category is not None:
        st.caption(f"Of {EVERY_CATEGORY}, not of {plain(category)} alone.")
    judge = judges[0] if len(judges) == 1 else st.selectbox("Judge", judges, width=320)
    found = together(arena, judge)
    st.dataframe(beside(found), hide_index=True, placeholder="–", width="stretch")
    for sentence in judge_said(found):
        st.caption(sentence)


def judge_said(found: Together) -> list[str]:
    """What the judge adds to people's board, and what must not be read into its own."""
    said = []
    if found.lam and found.width_ratio is not None:
        said.append(
            f"{plain(found.name)} is used to {found.lam:.0%}: its verdicts on pairs that nobody voted on narrow the "
            f"intervals to {found.width_ratio:.0%} of people's own, and what it gets wrong on pairs that people voted "
            "on is taken off again."
        )
    elif found.lam is not None:
        said.append(f"{plain(found.name)} narrows no interval here, so **People and judge** is people's own board.")
    if found.judge:
        said.append("**Judge alone** is no verdict of people: it may be biased, and its intervals do not say so.")
    return said + [plain(note) for note in found.notes]


def beside(found: Together) -> pd.DataFrame:
    """One row per model: its rating by people, by people and judge together, and by the judge alone."""
    boards = {"People": found.human, "People and judge": found.fused, "Judge alone (unchecked)": found.judge}
    said: dict[str, dict[str, str]] = {}
    for name, board in boards.items():
        for row in board.board if board else ():
            if row.rating is not None and row.high is not None:
                said.setdefault(row.model, {})[name] = f"{row.rating:.0f} ± {row.high - row.rating:.0f}"
    return pd.DataFrame([{"Model": model, **cells} for model, cells in said.items()], columns=["Model", *boards])


def draw_meetings(board: Leaderboard) -> None:
    st.subheader("Head to head", anchor=False)
    st.altair_chart(heat_map(board), width="content")
    st.caption("Share of the votes that the row's model took from the column's; a tie is half a win each.")


def heat_map(board: Leaderboard) -> alt.LayerChart:
    """Who beats whom: 50% is white, so that the eye finds what is decided."""
    order = [row.name for row in board.rows]
    shown = pd.DataFrame(board.meetings, columns=Meeting._fields)
    labels = {"labelLimit": 220, "labelOverlap": False, "ticks": False, "domain": False}
    base = alt.Chart(shown).encode(
        x=alt.X("opponent:N", sort=order, title=None, axis=alt.Axis(orient="top", labelAngle=-40, **labels)),
        y=alt.Y("name:N", sort=order, title=None, axis=alt.Axis(labelPadding=8, **labels)),
        tooltip=[
            alt.Tooltip("name:N", title="Model"),
            alt.Tooltip("opponent:N", title="Against"),
            alt.Tooltip("score:Q", format=".0%", title="Score"),
            alt.Tooltip("expected:Q", format=".0%", title="Expected from the ratings"),
            alt.Tooltip("votes:Q", title="Votes"),
        ],
    )
    # Orange to blue: told apart by every kind of colour vision.
    colour = alt.Color("score:Q", scale=alt.Scale(scheme="blueorange", domain=[0, 1], reverse=True), legend=None)
    cells = base.mark_rect(cornerRadius=3).encode(color=colour)
    words = base.mark_text(fontSize=12).encode(
        text=alt.Text("score:Q", format=".0%"),
        color=alt.condition("abs(datum.score - 0.5) > 0.35", alt.value("white"), alt.value("#222")),
    )
    return alt.layer(cells, words).properties(
        width=alt.Step(CELL_WIDTH),
        height=alt.Step(ROW_PIXELS),
        description="Share of votes each model took from others",
    )
