"""The leaderboard's plots: rows in, one chart with its description out; and the frame that shows chart and numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from arena.services.board_table import value
from arena.services.history import Moment
from arena.services.leaderboard import Rated
from arena.ui.common import LABEL_PIXELS, QUIET

HEIGHT = 380
ROW_PIXELS, CELL_WIDTH = 34, 56
AXIS_LETTERS = 42
"""Of a line beside an upright axis: what is longer would be cut off."""
MOST_MET = 20
"""Models in the head-to-head map: more would be squares without words."""
MOST_LINES = 5
"""Lines that colours and dashes tell apart."""
MEAN = 1000
Row = Mapping[str, Any]


def figure(
    chart: alt.TopLevelMixin,
    numbers: pd.DataFrame,
    name: str,
    about: str,
    width: Literal["stretch", "content"] = "stretch",
) -> None:
    """A chart, what it shows in a sentence, and the numbers behind it as a table and a file."""
    st.altair_chart(chart, width=width)
    st.caption(about)
    with st.expander("The numbers behind this plot", icon=":material/table_rows:"):
        st.dataframe(numbers, hide_index=True, placeholder="–", width="stretch")
        file = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        st.download_button(
            "CSV", lambda: numbers.to_csv(index=False).encode(), f"{file}.csv", "text/csv", key=f"file-{file}",
            on_click="ignore", icon=":material/download:",
        )  # fmt: skip


# Quality against what it takes


def with_figure(rows: Sequence[Row], key: str) -> pd.DataFrame:
    """Rated rows that have the figure: name, rating with interval, and the figure with its own."""
    kept = [row for row in rows if row["rating"] is not None and row["figures"].get(key)]
    return pd.DataFrame(
        [
            {
                "name": row["name"], "rating": row["rating"], "low": row["low"], "high": row["high"],
                "votes": row["votes"], "value": value(row, key), "value_low": row["figures"][key][1],
                "value_high": row["figures"][key][2],
            }
            for row in kept
        ],
        columns=["name", "rating", "low", "high", "votes", "value", "value_low", "value_high"],
    )  # fmt: skip


def on_front(cost: Sequence[float], quality: Sequence[float]) -> list[bool]:
    """Which points (n,) no other beats: none costs no more, is no worse, and differs in one of the two."""
    x, y = np.asarray(cost, float), np.asarray(quality, float)
    better = (x[None] <= x[:, None]) & (y[None] >= y[:, None]) & ((x[None] < x[:, None]) | (y[None] > y[:, None]))
    return (~better.any(1)).tolist()


def trade_off(numbers: pd.DataFrame, title: str) -> alt.LayerChart:
    """Rating against a cost on a logarithmic axis, with the front of those that no other model beats in both."""
    front = numbers[numbers["front"]].sort_values("value")
    logarithmic = bool((numbers["value"] > 0).all())
    scale = alt.Scale(type="log" if logarithmic else "linear", nice=False, padding=60, zero=False)
    base = alt.Chart(numbers).encode(
        x=alt.X("value:Q", title=title, scale=scale, axis=alt.Axis(tickCount=6, format=".6~r")),
        tooltip=[
            alt.Tooltip("name:N", title="Model"),
            alt.Tooltip("value:Q", title=title, format=".3g"),
            alt.Tooltip("rating:Q", title="Rating", format=".0f"),
            alt.Tooltip("low:Q", title="From", format=".0f"),
            alt.Tooltip("high:Q", title="To", format=".0f"),
        ],
    )
    y = alt.Y("low:Q", scale=alt.Scale(zero=False, nice=True, padding=12), title="Rating and 95% interval")
    bars = base.mark_rule(strokeWidth=3, opacity=0.6, color=QUIET).encode(y=y, y2="high:Q")
    dots = base.mark_point(filled=True, size=120, opacity=1).encode(
        y="rating:Q",
        shape=alt.Shape("front:N", scale=alt.Scale(domain=[True, False], range=["circle", "diamond"]), legend=None),
        fillOpacity=alt.condition("datum.front", alt.value(1), alt.value(0.35)),
    )
    line = alt.Chart(front).mark_line(interpolate="step-after", strokeDash=[5, 3], color=QUIET)
    words = base.mark_text(align="left", dx=9, dy=-9, fontSize=12, color=QUIET).encode(y="rating:Q", text="name:N")
    words = words.transform_filter("datum.front") if len(numbers) > 12 else words
    said = "; ".join(f"{r.name_} {r.value:.3g}, rating {r.rating:.0f}" for r in _named(front))
    return alt.layer(line.encode(x="value:Q", y="rating:Q"), bars, dots, words).properties(
        height=HEIGHT, description=f"Rating against {title}. No model is better and takes less than these: {said}"
    )


def _named(frame: pd.DataFrame) -> list[Any]:
    """Rows as objects; a column called name would be the row's own."""
    return list(frame.rename(columns={"name": "name_"}).itertuples(index=False))


# Over time


def over_time(moments: Sequence[Moment], names: Sequence[str]) -> alt.LayerChart:
    """Lines of ratings with their 95% bands, told apart by colour, dash and mark."""
    frame = pd.DataFrame([moment for moment in map(_moment, moments) if moment["name"] in names])
    dashes = alt.StrokeDash("name:N", sort=list(names), legend=None)
    # Two names in a row fit a phone; without a stroke the marks are not drawn with their line's dashes.
    legend = alt.Legend(
        title=None, orient="top", columns=2, labelLimit=LABEL_PIXELS, symbolSize=90, symbolOpacity=1,
        symbolStrokeWidth=0,
    )  # fmt: skip
    colour = alt.Color("name:N", sort=list(names), legend=legend)
    x = alt.X("day:T", title=None, axis=alt.Axis(format="%-d %b %Y", tickCount=6, labelOverlap=True))
    base = alt.Chart(frame).encode(x=x, color=colour)
    band = base.mark_area(opacity=0.14).encode(
        y=alt.Y("low:Q", scale=alt.Scale(zero=False, nice=True), title="Rating and 95% interval"), y2="high:Q"
    )
    lines = base.mark_line(strokeWidth=2.5).encode(y="rating:Q", strokeDash=dashes)
    marks = base.mark_point(size=60, filled=True, opacity=1).encode(
        y="rating:Q",
        shape=alt.Shape("name:N", sort=list(names), legend=legend),
        tooltip=[
            alt.Tooltip("name:N", title="Model"),
            alt.Tooltip("day:T", title="Up to", format="%-d %b %Y"),
            alt.Tooltip("rating:Q", title="Rating", format=".0f"),
            alt.Tooltip("low:Q", title="From", format=".0f"),
            alt.Tooltip("high:Q", title="To", format=".0f"),
            alt.Tooltip("votes:Q", title="Votes by then"),
        ],
    )
    last = frame[frame["day"] == frame["day"].max()]
    said = "; ".join(f"{row.name_} {row.rating:.0f}" for row in _named(last))
    return alt.layer(band, lines, marks).properties(
        height=HEIGHT, description=f"Ratings from {frame['day'].min()} to {frame['day'].max()}; at the end: {said}"
    )


def _moment(one: Moment) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Moment.__dataclass_fields__}


def votes_per_day(days: Sequence[tuple[str, int]]) -> alt.Chart:
    """One bar a day, from zero."""
    frame = pd.DataFrame(days, columns=["day", "votes"])
    most = frame.loc[frame["votes"].idxmax()]
    return (
        alt.Chart(frame)
        .mark_bar(cornerRadiusTopLeft=2, cornerRadiusTopRight=2)
        .encode(
            x=alt.X("day:T", timeUnit="yearmonthdate", title=None, axis=alt.Axis(format="%-d %b", labelOverlap=True)),
            y=alt.Y("votes:Q", title="Votes", scale=alt.Scale(zero=True), axis=alt.Axis(tickMinStep=1)),
            tooltip=[alt.Tooltip("day:T", title="Day (UTC)"), alt.Tooltip("votes:Q", title="Votes")],
        )
        .properties(
            height=260,
            description=f"{frame['votes'].sum():,} votes from {frame['day'].iloc[0]} to {frame['day'].iloc[-1]}; "
            f"most, {most['votes']:,}, on {most['day']}",
        )
    )


# Head to head


def met(rated: Rated, names: Sequence[str]) -> pd.DataFrame:
    """How the named models fared against each other: share of the votes (a tie is half), votes, and what the ratings
    expect."""
    place = {name: k for k, name in enumerate(rated.contestants)}
    rating = {row.model: row.rating for row in rated.board.board if row.rating is not None}
    found = []
    for one in names:
        for other in names:
            won, lost = rated.wins[place[one], place[other]], rated.wins[place[other], place[one]]
            if won + lost:
                gap = rating[other] - rating[one] if one in rating and other in rating else None
                expected = None if gap is None else 1 / (1 + 10 ** (gap / 400))
                found.append((one, other, won / (won + lost), round(won + lost), expected))
    return pd.DataFrame(found, columns=["name", "opponent", "score", "votes", "expected"])


def heat_map(numbers: pd.DataFrame, order: Sequence[str]) -> alt.LayerChart:
    """Who beats whom: 50% is white, so that the eye finds what is decided."""
    labels = {"labelLimit": 180, "labelOverlap": False, "ticks": False, "domain": False}
    base = alt.Chart(numbers).encode(
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
    closest = [f"{r.name_} took {r.score:.0%} from {r.opponent}" for r in _named(numbers.head(6))]
    return alt.layer(cells, words).properties(
        width=alt.Step(CELL_WIDTH), height=alt.Step(ROW_PIXELS),
        description=f"Share of votes each model took from others: {'; '.join(closest)}",
    )  # fmt: skip


# Votes and automatic scores


def scatter(numbers: pd.DataFrame, title: str, higher_is_better: bool, voters: str, said: str) -> alt.LayerChart:
    """An automatic score against the rating by these voters, both with their 95% intervals where they have one. The
    axis of a score of which less is better is turned, so that agreement always goes up to the right."""
    scale = alt.Scale(zero=False, nice=True, padding=60, reverse=not higher_is_better)
    axis = alt.Axis(tickCount=6, format=".6~r")
    heading = title if higher_is_better else f"{title} (smaller is better: turned)"
    rating = f"Rating by {voters}"
    base = alt.Chart(numbers).encode(
        tooltip=[
            alt.Tooltip("name:N", title="Model"),
            alt.Tooltip("value:Q", title=title, format=".4g"),
            alt.Tooltip("rating:Q", title=rating, format=".0f"),
        ]
    )
    y = alt.Y("low:Q", title=wrap(rating, AXIS_LETTERS), scale=alt.Scale(zero=False, nice=True, padding=12))
    x = alt.X("value:Q", title=heading, scale=scale, axis=axis)
    upright = base.mark_rule(strokeWidth=3, opacity=0.6, color=QUIET).encode(x=x, y=y, y2="high:Q")
    level = base.transform_filter("isValid(datum.value_low)").mark_rule(strokeWidth=3, opacity=0.6, color=QUIET)
    level = level.encode(x=alt.X("value_low:Q", title=heading, scale=scale, axis=axis), x2="value_high:Q", y="rating:Q")
    dots = base.mark_circle(size=120, opacity=1).encode(x="value:Q", y="rating:Q")
    words = base.mark_text(align="left", dx=9, dy=-9, fontSize=12, color=QUIET)
    layers = [upright, level, dots]
    if len(numbers) <= 12:
        layers.append(words.encode(x="value:Q", y="rating:Q", text="name:N"))
    return alt.layer(*layers).properties(height=HEIGHT, description=f"{title} against the rating by {voters}. {said}")


# One model


def interval_bars(rows: Sequence[Mapping[str, Any]], title: str) -> alt.LayerChart:
    """A dot with its 95% interval for each row (name, rating, low, high, votes), in their order."""
    frame, order = pd.DataFrame(rows), [row["name"] for row in rows]
    axis = alt.Axis(labelLimit=LABEL_PIXELS, ticks=False, domain=False, labelPadding=12)
    base = alt.Chart(frame).encode(
        y=alt.Y("name:N", sort=order, title=None, axis=axis),
        tooltip=[
            alt.Tooltip("name:N", title="Prompts"),
            alt.Tooltip("rating:Q", format=".0f", title="Rating"),
            alt.Tooltip("low:Q", format=".0f", title="From"),
            alt.Tooltip("high:Q", format=".0f", title="To"),
            alt.Tooltip("votes:Q", title="Votes"),
        ],
    )
    scale = alt.Scale(zero=False, nice=True, padding=12)
    mean = alt.Chart(pd.DataFrame({"mean": [MEAN]})).mark_rule(strokeDash=[3, 3], color=QUIET).encode(x="mean:Q")
    bars = base.mark_bar(height=6, opacity=0.35, cornerRadius=3).encode(
        x=alt.X("low:Q", title=title, scale=scale, axis=alt.Axis(tickCount=6)), x2="high:Q"
    )
    dots = base.mark_circle(size=130, opacity=1).encode(x="rating:Q")
    said = "; ".join(f"{row['name']} {row['rating']:.0f}, {row['low']:.0f} to {row['high']:.0f}" for row in rows)
    return alt.layer(mean, bars, dots).properties(height=ROW_PIXELS * len(rows) + 56, description=f"{title}: {said}")
