"""Verdicts of a judge as cards: both images, what it said in each order, and what people said."""

from __future__ import annotations

from html import escape
from pathlib import Path

import streamlit as st

from arena.bootstrap import Arena
from arena.domain import JudgeAnswer, Outcome, Side
from arena.questions import FIRST, NEITHER, SECOND, TIE
from arena.services.gallery import Exhibit, Gallery, Kind, gallery
from arena.ui.common import the_arena, this_voter

SIZE = 12
LONGEST = 400
"""Characters that are shown of a reason."""
STYLE = Path(__file__).with_name("judge.css")

KINDS = {
    Kind.ALL: "All",
    Kind.DISAGREE: "Against people",
    Kind.INCONSISTENT: "Inconsistent",
    Kind.UNSCORED: "Unscored",
}
OUTCOMES = {
    Outcome.LEFT: "the left image is better",
    Outcome.RIGHT: "the right image is better",
    Outcome.TIE: "a tie",
    Outcome.BOTH_BAD: "both are bad",
}
SHORT = {Outcome.LEFT: "left", Outcome.RIGHT: "right", Outcome.TIE: "tie", Outcome.BOTH_BAD: "both bad"}
SIDES = {Side.LEFT: "Left", Side.RIGHT: "Right"}
NONE_OF_A_KIND = {
    Kind.ALL: "No verdicts yet.",
    Kind.DISAGREE: "On no pair do the judge and most people give different answers.",
    Kind.INCONSISTENT: "Every verdict was the same in both orders.",
    Kind.UNSCORED: "Every pair got an answer that could be read.",
}


def draw(arena: Arena, judge_id: str) -> None:
    """The gallery of one judge; a fragment, so that leafing through it reruns nothing else."""
    st.html(STYLE)
    st.fragment(draw_gallery)(judge_id)


def draw_gallery(judge_id: str) -> None:
    arena = the_arena()
    kind = chosen_kind()
    visitor = this_voter(arena)
    found = gallery(arena, judge_id, visitor, kind, size=SIZE)
    pages = -(-found.total // SIZE)
    if not found.total:
        st.info(NONE_OF_A_KIND[kind])
        return
    page = st.pagination(pages, key=f"page-{judge_id}-{kind}") if pages > 1 else 1
    if page > 1:
        found = gallery(arena, judge_id, visitor, kind, page=page, size=SIZE)
    st.caption(counted(found, page))
    st.html(cards(found))


def chosen_kind() -> Kind:
    """The visitor's choice, kept in the page's address."""
    asked = st.query_params.get("verdicts", Kind.ALL.value)
    default = Kind(asked) if asked in [*Kind] else Kind.ALL
    chosen = st.segmented_control(
        "Which verdicts", [*KINDS], default=default, format_func=KINDS.__getitem__, label_visibility="collapsed"
    )
    kind = chosen or Kind.ALL
    st.query_params["verdicts"] = kind.value
    return kind


def counted(found: Gallery, page: int) -> str:
    first = (page - 1) * SIZE + 1
    verdicts = "1 verdict" if found.total == 1 else f"{found.total:,} verdicts"
    hidden = any(one.names is None for one in found.exhibits)
    shown = f"{first:,} to {first + len(found.exhibits) - 1:,} of {verdicts}"
    return shown + (". Who made the images is told once you have voted on a pair." if hidden else ".")


def cards(found: Gallery) -> str:
    return f'<div class="verdicts">{"".join(map(card, found.exhibits))}</div>'


def card(one: Exhibit) -> str:
    """One verdict as HTML; every text in it is escaped."""
    images = "".join(figure(one, side) for side in Side)
    return (
        f'<article class="verdict"><p class="prompt">{escape(one.prompt)}</p><div class="pair">{images}</div>'
        f'<p class="said">{said(one)}</p><ul class="orders">{orders(one)}</ul></article>'
    )


def figure(one: Exhibit, side: Side) -> str:
    better = one.outcome is not None and one.outcome.value == side.value
    name = SIDES[side] if one.names is None else one.names[0 if side is Side.LEFT else 1]
    source = f"verdict/{one.verdict_id}/{one.picture(side)}"
    mark = " ✓" if better else ""
    return (
        f'<figure{" class=better" if better else ""}><img src="{source}" loading="lazy" '
        f'alt="{SIDES[side]} image"><figcaption>{escape(name)}{mark}</figcaption></figure>'
    )


def said(one: Exhibit) -> str:
    """The verdict, whether the two orders agree, and what people said."""
    parts = [f"<b>Judge: {OUTCOMES[one.outcome] if one.outcome else 'unscored'}</b>"]
    if one.consistent is not None:
        parts.append(badge("same in both orders", "good") if one.consistent else badge("inconsistent", "bad"))
    if one.disagrees:
        parts.append(badge("disagrees with people", "bad"))
    votes = ", ".join(f"{n} {SHORT[outcome]}" for outcome, n in sorted(one.people.counts.items(), key=lambda i: -i[1]))
    return "".join([*parts, f'<span class="people">People: {votes or "no votes yet"}</span>'])


def badge(text: str, kind: str) -> str:
    return f'<span class="badge {kind}">{text}</span>'


def orders(one: Exhibit) -> str:
    return "".join(order(side, answer) for side, answer in zip(Side, one.answers, strict=True))


def order(first: Side, answer: JudgeAnswer) -> str:
    """What was said when this side was shown first, with the reason or what was said instead of an answer."""
    words = shorten(answer.reason if answer.unscored is None else answer.unscored)
    reason = f": {escape(words)}" if words else ""
    return f'<li><span class="order">{SIDES[first]} shown first →</span> {meaning(first, answer)}{reason}</li>'


def meaning(first: Side, answer: JudgeAnswer) -> str:
    """The answer's word, read from the order in which the images were shown."""
    second = Side.RIGHT if first is Side.LEFT else Side.LEFT
    words = {FIRST: str(first), SECOND: str(second), TIE: "tie", NEITHER: "neither"}
    return f"<b>{words.get(answer.word or '', 'no answer')}</b>"


def shorten(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
