"""The leaderboard's table and the galleries as HTML. Every text in them is escaped.

Addresses are relative to those of the pages, which are all one word long: a proxy may have put a path before them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from arena.services.board_table import SORTS, Table
from arena.services.board_view import View
from arena.services.showcase import Picture

STYLE = Path(__file__).with_name("board.css")
MEAN = 1000
NONE = '<span class="none">–</span>'
"""What stands where nothing is known."""
ANGLES = str.maketrans("<>", "‹›")
Row = Mapping[str, Any]
PER_DOLLAR = "images_per_usd"
"""Stands below what a megapixel costs: a column of its own would push others out of sight."""

HEADS = {
    "rank": ("Rank", "The ranks that the votes leave open, for all models at once with 95% confidence"),
    "name": ("Model", ""),
    "rating": ("Rating and 95% interval", "Bradley–Terry; the mean of all is 1000, 400 points are odds of 10 to 1"),
    "votes": ("Votes", "Votes on battles that this model fought in: won, lost, tied"),
    "p_best": ("Best", "The chance that this model is the best of all, as far as these votes can tell"),
    "pooled": ("Pooled", "The rating that leans on the other categories, and how much of it comes from these"),
    "both_bad_rate": ("Both bad", "Share of its votes that said both pictures are bad"),
    "elo": ("Elo", "The live rating: starts at 1000 and moves with every vote, in their order"),
}


def board_html(table: Table, rows: Sequence[Row], view: View, sortable: bool = True) -> str:
    """The rows as one table that scrolls inside its own frame. `sortable`: the heads of its columns sort it."""
    columns = shown_columns(table)
    scale = _Scale.of(table.rows)
    heads = "".join(head(key, table, view, sortable) for key in columns)
    body = "".join(f"<tr>{''.join(cell(key, row, scale) for key in columns)}</tr>" for row in rows)
    caption = f"Models, {in_words(view.sort)}, with ratings from {table.about['votes']:,} votes"
    return (
        '<div class="board" role="region" tabindex="0" aria-label="Leaderboard"><table>'
        f"<caption>{caption}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def shown_columns(table: Table) -> list[str]:
    """Columns in which nobody has anything are left out."""

    def anywhere(key: str) -> bool:
        return any(row.get(key) is not None for row in table.rows)

    optional = [key for key in ("pooled", "both_bad_rate") if anywhere(key)]
    figures = [figure["key"] for figure in table.figures if figure["key"] != PER_DOLLAR]
    live = ["elo"] if anywhere("elo") else []
    return ["rank", "name", "rating", "votes", "p_best", *optional, *figures, *live]


def in_words(sort: str) -> str:
    """The order of the rows, as a caption says it."""
    key, downwards = sort.lstrip("-"), sort.startswith("-")
    if key == "rank":
        return "best last" if downwards else "best first"
    first, last = ("A to Z", "Z to A") if key == "name" else ("smallest first", "largest first")
    return f"sorted by {SORTS[key]}, {last if downwards else first}"


def head(key: str, table: Table, view: View, sortable: bool = True) -> str:
    figures = {figure["key"]: (figure["title"], figure["about"]) for figure in table.figures}
    title, about = HEADS[key] if key in HEADS else figures[key]
    if key == "cost" and PER_DOLLAR in figures:
        about = f"{about}; below it {figures[PER_DOLLAR][1][0].lower()}{figures[PER_DOLLAR][1][1:]}"
    order = {key: "ascending", f"-{key}": "descending"}.get(view.sort)
    sort = f' aria-sort="{order}"' if order else ""
    hint = f' title="{escape(about)}"' if about else ""
    kind = f' class="{key}"' if key in ("name", "rating") else ""
    words = escape(title)
    if sortable and key in SORTS:
        words = f'<a href="{escape(sorting(key, table, view))}" target="_self">{words}</a>'
    return f'<th scope="col"{kind}{sort}{hint}>{words}</th>'


def sorting(key: str, table: Table, view: View) -> str:
    """The address of the same board sorted by a column: the best or most first, and the other way round if it was."""
    most = {figure["key"] for figure in table.figures if figure["higher_is_better"]} | {"votes", "p_best"}
    first, second = (f"-{key}", key) if key in most else (key, f"-{key}")
    return "leaderboard?" + urlencode(replace(view, sort=second if view.sort == first else first).query())


def cell(key: str, row: Row, scale: _Scale) -> str:
    if key == "name":
        return f'<th scope="row" class="name">{name_link(row["name"])}{_card(row)}</th>'
    if key == "rating":
        return f'<td class="rating">{_rating(row, scale)}</td>'
    if key in CELLS:
        return f"<td>{CELLS[key](row)}</td>"
    if key == "cost":
        return f"<td>{_figure(row['figures'].get(key))}{_per_dollar(row['figures'].get(PER_DOLLAR))}</td>"
    return f"<td>{_figure(row['figures'].get(key))}</td>"


def name_link(name: str) -> str:
    return f'<a href="model?name={quote(name, safe="")}" target="_self">{escape(name)}</a>'


def _card(row: Row) -> str:
    said = [text for text in (note(row), row["organisation"], row["licence"]) if text]
    return f"<small>{escape(' · '.join(said))}</small>"


class _Scale:
    """From rating points to percent of the track."""

    def __init__(self, low: float, high: float):
        self.low, self.width = low, max(high - low, 1e-9)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> _Scale:
        ends = [end for row in rows if row["rating"] is not None for end in (row["low"], row["high"])]
        return cls(min([MEAN, *ends]), max([MEAN, *ends]))

    def at(self, points: float) -> float:
        """Percent, with room for the dot at both ends."""
        return 3 + 94 * (points - self.low) / self.width


def _rating(row: Row, scale: _Scale) -> str:
    if row["rating"] is None:
        return NONE
    left, right = scale.at(row["low"]), scale.at(row["high"])
    words = f"{row['low']:.0f} to {row['high']:.0f}"
    return (
        f'<span title="95% interval {words}"><b>{row["rating"]:.0f}</b><small>{words}</small><span class="track">'
        f'<u style="left:{scale.at(MEAN):.1f}%"></u><i style="left:{left:.1f}%;width:{right - left:.1f}%"></i>'
        f'<em style="left:{scale.at(row["rating"]):.1f}%"></em></span></span>'
    )


def rank_set(row: Row) -> str:
    if row["rank_low"] is None:
        return "–"
    return str(row["rank_low"]) if row["rank_low"] == row["rank_high"] else f"{row['rank_low']}–{row['rank_high']}"


def _votes(row: Row) -> str:
    return f"{row['votes']:,}<br><small>{row['wins']:,}–{row['losses']:,}–{row['ties']:,}</small>"


def _pooled(row: Row) -> str:
    if row["pooled"] is None:
        return NONE
    return f"{row['pooled']:.0f}<br><small>{row['borrowed']:.0%} borrowed</small>"


def note(row: Row) -> str:
    if row["rating"] is None:
        return "not rated yet"
    return "provisional" if row["provisional"] else str(row["status"])


def chance_short(value: float | None) -> str:
    """Whole percent, never all or nothing: votes leave a rest of doubt. Empty where unknown."""
    if value is None:
        return ""
    return "<1%" if value < 0.01 else ">99%" if value > 0.99 else f"{value:.0%}"


def share(value: float | None) -> str:
    """Whole percent: two decimals of a share of some dozens of votes would be noise."""
    if value is None:
        return NONE
    return "&lt;1%" if 0 < value < 0.005 else f"{value:.0%}"


def _figure(found: Sequence[float | None] | None) -> str:
    if not found or found[0] is None:
        return NONE
    value, low, high = found
    interval = "" if low is None or high is None else f"<br><small>{number(low)} to {number(high)}</small>"
    return f"{number(value)}{interval}"


def _per_dollar(found: Sequence[float | None] | None) -> str:
    if not found or found[0] is None:
        return ""
    return f"<br><small>{compact(found[0])} per $</small>"


def compact(value: float) -> str:
    """Three digits that tell, with k and M for thousands and millions."""
    for unit, sign in ((1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * unit:
            return f"{value / unit:.3g}{sign}"
    return number(value)


def number(value: float) -> str:
    """Three or four digits that tell, with a minus sign that is one."""
    digits = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return digits.replace("-", "−")


CELLS = {
    "rank": lambda row: rank_set(row),
    "votes": _votes,
    "p_best": lambda row: escape(chance_short(row["p_best"])) or NONE,
    "pooled": _pooled,
    "both_bad_rate": lambda row: share(row["both_bad_rate"]),
    "elo": lambda row: NONE if row["elo"] is None else f"{row['elo']:.1f}",
}


# Galleries


def gallery_html(pictures: Iterable[str], kind: str = "") -> str:
    return f'<div class="pictures {kind}">{"".join(pictures)}</div>'


def figure_html(shown: Sequence[Picture], caption: str) -> str:
    """One picture, or two beside each other, with a caption that is HTML already."""
    images = "".join(image_html(one) for one in shown)
    inside = images if len(shown) == 1 else f'<div class="two">{images}</div>'
    return f"<figure>{inside}<figcaption>{caption}</figcaption></figure>"


def image_html(one: Picture) -> str:
    if one.token is None:
        return '<div class="waits">You have yet to vote on this prompt; the picture is shown after.</div>'
    # The browser's cleaner takes away a description that looks as if it closed a tag.
    words = escape(f"{one.contestant}: {one.prompt.text}".translate(ANGLES))
    return f'<img src="shown/{quote(one.token, safe="")}" loading="lazy" alt="{words}">'


def prompt_link(prompt_id: int | None, text: str) -> str:
    return f'<a href="prompt?id={prompt_id}" target="_self">{escape(text)}</a>'
