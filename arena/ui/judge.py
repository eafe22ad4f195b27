"""The judge page: what a vision-language model says of the images, and how far it agrees with people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from arena.bootstrap import Arena
from arena.domain import RunKind
from arena.errors import DataError
from arena.rating.agreement import Estimate
from arena.rating.board import BoardRow
from arena.rating.reliability import Reliability
from arena.services import judge_board, judging, proxies
from arena.services.judging import Request
from arena.services.proxies import Panel, Proxy
from arena.ui import gate, plots, runs, verdicts
from arena.ui.common import (
    LABEL_PIXELS,
    QUIET,
    empty_state,
    heading,
    may_run,
    plain,
    runs_are_not_yours,
    said_plainly,
    the_arena,
)

ROW_PIXELS = 34
AXIS_PIXELS = 84
COIN = 0.5
START = 1000
VIEWS = {"agreement": "Agreement", "verdicts": "Verdicts", "board": "Its own board"}
PAID = "openai"
"""Judges whose name begins so may cost money: a run of theirs needs a budget."""

FIGURES = """
In brackets the 95% interval and how many are counted. **Decisive accuracy**: same side, where people and the score both
pick one. **Four answers**: left, right, tie and both bad; **kappa** takes off what chance would agree on. **Coverage**:
scored, of what it has seen. **Decides**: picks a side, where people do. **First − second**: 0 where the place does not
count, 1 for a judge that always picks the image shown first. **ρ** and **τ** compare its board with that of people.
**With most others**: decisive accuracy against the majority of the other voters, as one person's is taken.
"""

BOARD_COLUMNS = {
    "ranks": st.column_config.TextColumn("Rank", width=70),
    "model": st.column_config.TextColumn("Model", width="medium"),
    "rating": st.column_config.NumberColumn("Rating", format="%.0f"),
    "interval": st.column_config.TextColumn(
        "95% interval", help="Allows for verdicts on one prompt that hang together"
    ),
    "votes": st.column_config.NumberColumn("Verdicts"),
    "wins": st.column_config.NumberColumn("Wins"),
    "losses": st.column_config.NumberColumn("Losses"),
    "ties": st.column_config.NumberColumn("Ties", help="Inconsistent verdicts among them"),
    "both_bad_rate": st.column_config.NumberColumn("Both bad", format="percent"),
}


def page() -> None:
    heading(
        "Judge",
        "A vision-language model votes too, on a board of its own and never on people's. Trust it as far as it has "
        "agreed with people.",
    )
    with said_plainly():
        arena = the_arena()
        judges = [card.id for card in judging.known(arena)]
        gate.draw(arena)
        if judges:
            draw_judge(arena, chosen_judge(judges, judging.newest(arena, arena.settings.judge)))
        else:
            empty_state(
                "No judge has voted yet",
                "Whoever runs this arena can let one judge with `arena judge`, or on this page.",
            )
        draw_start(arena)
        runs.watch(RunKind.JUDGE, judging.resume)


def chosen_judge(judges: Sequence[str], usual: str | None) -> str:
    """The visitor's choice, kept in the page's address; else the usual judge, or the one that came last."""
    if len(judges) == 1:
        return judges[0]
    options = [*reversed(judges)]
    asked = st.query_params.get("judge", usual)
    choice = st.selectbox(
        "Judge", options, index=options.index(asked) if asked in options else 0, width=420, format_func=short_name
    )
    st.query_params["judge"] = choice
    return choice


def short_name(judge_id: str) -> str:
    name, _, mark = judge_id.removeprefix("judge:").rpartition("@")
    return f"{name} · {mark[:6]}"


def draw_judge(arena: Arena, judge_id: str) -> None:
    found = proxies.panel(arena)
    own = next((proxy for proxy in found.proxies if proxy.protocol == judge_id), None)
    draw_sentence(own)
    draw_figures(judging.tally(arena, judge_id), judge_board.precision(arena, judge_id))
    view = chosen_view()
    if view == "agreement":
        draw_agreement(found, own)
    elif view == "verdicts":
        verdicts.draw(arena, judge_id)
    else:
        draw_board(arena, judge_id)


def chosen_view() -> str:
    """The visitor's choice, kept in the page's address."""
    asked = st.query_params.get("view")
    default = asked if asked in VIEWS else "agreement"
    chosen = st.segmented_control(
        "View", [*VIEWS], default=default, format_func=VIEWS.__getitem__, label_visibility="collapsed"
    )
    st.query_params["view"] = chosen or "agreement"
    return st.query_params["view"]


def draw_sentence(own: Proxy | None) -> None:
    """The plain sentence: a judge that goes by the place is named before any figure is seen."""
    if own is None:
        st.warning("People have not voted on any pair that this judge has seen: nobody knows whether it is right.")
        return
    said = f"{plain(own.verdict.sentence)}"
    (st.success if own.verdict.sound else st.error)(
        said, icon=":material/check_circle:" if own.verdict.sound else ":material/error:"
    )


def draw_figures(tally: judging.Tally, known: judge_board.Precision) -> None:
    pairs = tally.scored + tally.unscored
    narrows = known.points_per_verdict
    figures = [
        ("Pairs judged", f"{pairs:,}", "Each in both orders"),
        ("Inconsistent", share(tally.inconsistent, tally.scored), "The two orders disagree: a tie, and marked"),
        ("Unscored", share(tally.unscored, pairs), "No answer that could be read: no vote"),
        ("Interval", "–" if known.mean is None else f"± {known.mean:.0f}", "Mean of the models, 95%, in rating points"),
        (
            "Points per verdict",
            "–" if narrows is None else f"{narrows:.2g}",
            "So much narrower one more verdict makes the mean interval",
        ),
    ]
    with st.container(horizontal=True, gap="medium"):
        for label, value, about in figures:
            st.metric(label, value, help=about, width="content")


def share(some: int, of: int) -> str:
    return f"{some / of:.0%}" if of else "–"


# Agreement


def draw_agreement(found: Panel, own: Proxy | None) -> None:
    if not found.proxies:
        st.info("No automatic score has seen a pair that people voted on. Open **Vote** and press a key.")
        return
    if any(proxy.agreement.decisive.of for proxy in found.proxies):
        st.altair_chart(accuracy_chart(found), width="stretch")
    st.caption(
        f"How often a score prefers the same image as people where both prefer one, with Wilson's 95% interval. A coin "
        f"is right in half of them. {human_line(found)} A pair with two votes counts twice."
    )
    for proxy in found.proxies:
        if proxy is not own and not proxy.verdict.sound:
            st.markdown(f":material/error: **{plain(proxy.name)}**: {plain(proxy.verdict.sentence)}")
    st.dataframe(figures_table(found.proxies), width="stretch", height="content", placeholder="–")
    st.caption(FIGURES)
    for note, names in notes(found.proxies).items():
        st.caption(f"{plain(', '.join(names))}: {plain(note)}")
    if own is not None and own.reliability is not None:
        draw_reliability(own.reliability)


def notes(found: Sequence[Proxy]) -> dict[str, list[str]]:
    """Each note once, with the scores that it is about."""
    about: dict[str, list[str]] = {}
    for proxy in found:
        for note in proxy.notes:
            about.setdefault(note, []).append(proxy.name)
    return about


def human_line(found: Panel) -> str:
    one = found.single_human.estimate
    if one is None:
        return "No pair has the votes of two people yet, so one person cannot be held against the others."
    return (
        f"**One person** agrees with most of the others in {one.value:.0%} of {found.single_human.of:,} votes: a score "
        "that comes near is worth about one more person."
    )


def accuracy_chart(found: Panel) -> alt.LayerChart:
    rows = [
        {"name": proxy.name, **interval(proxy.agreement.decisive.estimate), "of": proxy.agreement.decisive.of}
        for proxy in found.proxies
        if proxy.agreement.decisive.of
    ]
    lines = [{"at": COIN, "what": "a coin"}]
    if found.single_human.value is not None:
        lines = sorted([*lines, {"at": found.single_human.value, "what": "one person"}], key=lambda line: line["at"])
    return dots(rows, "name", "Same side as people", lines, alt.Scale(domain=[0, 1]), ".0%")


def interval(found: Estimate | None) -> dict[str, float | None]:
    return {"value": None, "low": None, "high": None} if found is None else asdict(found)


def dots(
    rows: Sequence[dict[str, Any]], name: str, title: str, lines: Sequence[dict[str, Any]], scale: alt.Scale, form: str
) -> alt.LayerChart:
    """A dot with its interval for each row, in their order, and upright lines with a word on top."""
    order = [row[name] for row in rows]
    axis = alt.Axis(labelLimit=LABEL_PIXELS, ticks=False, domain=False, labelPadding=12)
    tooltip = [
        alt.Tooltip(f"{name}:N", title="Name"),
        alt.Tooltip("value:Q", format=form, title="Value"),
        alt.Tooltip("low:Q", format=form, title="From"),
        alt.Tooltip("high:Q", format=form, title="To"),
        alt.Tooltip("of:Q", title="Of"),
    ]
    y = alt.Y(f"{name}:N", sort=order, scale=alt.Scale(domain=order), title=None, axis=axis)
    base = alt.Chart(pd.DataFrame(rows)).encode(y=y, tooltip=tooltip)
    x = alt.X("low:Q", title=title, scale=scale, axis=alt.Axis(format=form, tickCount=6))
    bars = base.mark_bar(height=6, opacity=0.35, cornerRadius=3).encode(x=x, x2="high:Q")
    marks = base.mark_circle(size=130, opacity=1).encode(x="value:Q")
    rules = alt.Chart(pd.DataFrame(lines)).mark_rule(strokeDash=[4, 4], color=QUIET).encode(x="at:Q")
    words = [word(line, "right" if line is lines[0] and len(lines) > 1 else "left") for line in lines]
    said = "; ".join(f"{row[name]} {row['value']:{form}}" for row in rows if row["value"] is not None)
    return alt.layer(rules, *words, bars, marks).properties(
        height=ROW_PIXELS * len(rows) + AXIS_PIXELS, description=f"{title}: {said}", padding={"top": 18}
    )


def word(line: dict[str, Any], align: str) -> alt.Chart:
    """The word on top of an upright line, on the side on which it runs into no other."""
    mark = alt.Chart(pd.DataFrame([line])).mark_text(
        align=align, baseline="bottom", dx=4 if align == "left" else -4, dy=-4, fontSize=12, color=QUIET
    )
    return mark.encode(x="at:Q", y=alt.value(0), text="what:N")


def figures_table(found: Sequence[Proxy]) -> pd.DataFrame:
    """One row for each figure, one column for each score."""
    columns: dict[str, dict[str, str]] = {}
    for proxy in found:
        cells = {"Votes seen": f"{proxy.seen:,} of {proxy.votes:,}"}
        cells |= {name: worded(estimate, of) for name, estimate, of in proxy.figures()}
        cells["With most others"] = worded(proxy.with_rest.estimate, proxy.with_rest.of)
        columns[proxy.name if proxy.name not in columns else f"{proxy.name} ({proxy.protocol[-6:]})"] = cells
    return pd.DataFrame(columns).rename_axis("Figure")


def worded(found: Estimate | None, of: int) -> str:
    """A figure with its interval; of too few to say anything, a dash."""
    if found is None:
        return "–"
    return f"{found.value:.2f}  ({found.low:.2f} to {found.high:.2f}; {of:,})".replace("-", "−")


def draw_reliability(found: Reliability) -> None:
    st.markdown("##### Does it mean what it says?")
    rows = pd.DataFrame(
        {"stated": found.predicted, "value": found.observed, "low": found.low, "high": found.high, "n": found.count}
    ).dropna()
    about = (
        f"{found.n:,} votes that prefer an image. On the dashed line the judge's chances mean what they say. Mean "
        f"distance from it: {found.ece:.2f}; a judge without fault would show {found.ece_if_calibrated:.2f} by luck."
    )
    with st.container(width=420):
        plots.figure(reliability_chart(rows), rows, "stated chance and people", about)


def reliability_chart(rows: pd.DataFrame) -> alt.LayerChart:
    """The chance that a judge gives the left image against how often people prefer it, with intervals and a diagonal.
    `rows`: stated, value, low, high, n."""
    scale = alt.Scale(domain=[0, 1])
    tooltip = [
        alt.Tooltip("stated:Q", format=".0%", title="It says"),
        alt.Tooltip("value:Q", format=".0%", title="People say"),
        alt.Tooltip("n:Q", title="Pairs"),
    ]
    x = alt.X("stated:Q", title="Chance it gives the left image", scale=scale, axis=alt.Axis(format="%"))
    base = alt.Chart(rows).encode(x=x, tooltip=tooltip)
    bars = base.mark_rule(strokeWidth=3, color=QUIET).encode(
        y=alt.Y("low:Q", title="Left preferred by people", scale=scale, axis=alt.Axis(format="%")), y2="high:Q"
    )
    marks = base.mark_circle(opacity=1).encode(
        y="value:Q", size=alt.Size("n:Q", legend=None, scale=alt.Scale(range=[60, 300]))
    )
    diagonal = alt.Chart(pd.DataFrame({"x": [0, 1], "y": [0, 1]})).mark_line(
        strokeDash=[4, 4], opacity=0.6, strokeWidth=1
    )
    said = "; ".join(f"it says {row.stated:.0%}, people {row.value:.0%} of {row.n:.0f}" for row in rows.itertuples())
    return alt.layer(diagonal.encode(x="x:Q", y="y:Q"), bars, marks).properties(
        height=320, description=f"Stated chance against how often people preferred the left image: {said}"
    )


# Its own board


def draw_board(arena: Arena, judge_id: str) -> None:
    try:
        found = judge_board.board(arena, judge_id)
    except DataError as error:
        st.info(f"No board yet: {plain(str(error))}")
        return
    st.warning(
        "**The judge alone, unchecked.** It may be biased, and its intervals do not say so.", icon=":material/info:"
    )
    rated = [row for row in found.board if row.rating is not None]
    rows = [
        {"name": row.model, "value": row.rating, "low": row.low, "high": row.high, "of": row.votes} for row in rated
    ]
    lines = [{"at": START, "what": "mean"}]
    st.altair_chart(
        dots(rows, "name", "Rating and 95% interval", lines, alt.Scale(zero=False, padding=12), ".0f"), width="stretch"
    )
    st.dataframe(
        board_table(found.board), column_config=BOARD_COLUMNS, hide_index=True, placeholder="–", width="stretch"
    )
    for warning in found.warnings:
        if "voter" not in warning:  # its clusters are prompts
            st.caption(plain(warning))


def board_table(rows: Sequence[BoardRow]) -> pd.DataFrame:
    shown = [{**asdict(row), "ranks": ranks(row), "interval": between(row)} for row in rows]
    table = pd.DataFrame(shown, columns=list(BOARD_COLUMNS))
    return table.assign(
        both_bad_rate=table["both_bad_rate"].astype(float).round(2), rating=table["rating"].astype(float)
    )


def ranks(row: BoardRow) -> str:
    if row.rank_low is None:
        return "–"
    return str(row.rank_low) if row.rank_low == row.rank_high else f"{row.rank_low}–{row.rank_high}"


def between(row: BoardRow) -> str:
    return "–" if row.low is None else f"{row.low:.0f} – {row.high:.0f}"


# Asking


def draw_start(arena: Arena) -> None:
    if not may_run(arena):
        runs_are_not_yours()
        return
    source = arena.settings.judge
    found = judging.plan(arena, source)
    paid = source.split(":")[0] == PAID
    with st.expander(f"Ask {plain(source)}", icon=":material/gavel:"), st.form("judge", border=False):
        st.markdown(
            f"**{found.missing:,}** pairs are missing, {found.voted:,} of them with votes of people; these come first."
        )
        left, middle, right = st.columns(3, vertical_alignment="bottom")
        limit = left.number_input("Verdicts at most", min_value=1, max_value=1_000_000, value=100, step=50)
        until = middle.number_input(
            "Stop at ± points", min_value=1, max_value=1000, value=None, placeholder="never",
            help="A model whose 95% interval is this narrow needs no more verdicts",
        )  # fmt: skip
        budget = right.number_input("Budget, USD", min_value=0.01, value=1.0, step=0.5) if paid else None
        pressed = st.form_submit_button(
            "Judge", type="primary", icon=":material/play_arrow:", disabled=not found.missing
        )
        st.caption("Another judge, or unscored pairs once more: `arena judge --help`.")
    if pressed:
        with said_plainly():
            request = Request(source, dict(arena.settings.judge_options), int(limit), budget, until)
            st.toast(f"Run {judging.start(arena, request)} started.")
