"""The model page: its card, its place in every category, its pictures, its best and worst battles, its failures."""

from __future__ import annotations

import json
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from arena import keys
from arena.bootstrap import Arena
from arena.domain import Contestant
from arena.services import board_table, deriving, provenance, showcase
from arena.services.board_table import Figure
from arena.services.board_view import View
from arena.services.showcase import SIZE, Fought, Record
from arena.ui import plots
from arena.ui.board_html import STYLE, figure_html, gallery_html, name_link, number, prompt_link, rank_set
from arena.ui.common import empty_state, heading, plain, said_plainly, the_arena, this_voter

CARD = {
    "organisation": "Organisation", "organization": "Organisation", "maker": "Organisation", "licence": "Licence",
    "license": "Licence", "parameters": "Size", "space": "Works in", "network": "Network",
    "text_encoder": "Text encoder", "sampler": "Sampler", "released": "Released",
}  # fmt: skip
"""Facts of a card -> what the page calls them; others stand under their own name."""
STEPS = ("num_inference_steps", "steps")


def page() -> None:
    name = st.query_params.get("name", "")
    with said_plainly():
        arena = the_arena()
        st.html(STYLE)
        if not name:
            heading("Model", "The page of one model.")
            draw_list(arena)
            return
        heading(plain(name[:120]), "What it is, where it stands, and what it draws.")
        st.html('<a class="back" href="leaderboard" target="_self">← Leaderboard</a>')
        draw(arena, showcase.contestant(arena, name))


def draw_list(arena: Arena) -> None:
    """Links to every model, for an address without a name."""
    names = sorted(one.name for one in arena.store.contestants())
    if not names:
        empty_state("No models yet", "Whoever runs this arena can add the embedded ones with `arena demo`.")
    st.html('<ul class="links">' + "".join(f"<li>{name_link(name)}</li>" for name in names) + "</ul>")


def draw(arena: Arena, contestant: Contestant) -> None:
    draw_standing(arena, contestant)
    facts, failed = st.columns([3, 2], gap="large")
    with facts:
        draw_card(contestant, provenance.of_contestant(arena, contestant.id or 0))
    with failed:
        draw_failures(arena, contestant)
    draw_categories(arena, contestant)
    draw_gallery(arena, contestant)
    draw_battles(arena, contestant)
    draw_settings(contestant)


# Where it stands


def draw_standing(arena: Arena, contestant: Contestant) -> None:
    found = board_table.published(arena, View())
    row = next((row for row in found.table.rows if row["name"] == contestant.name), None) if found else None
    if row is None or row["rating"] is None:
        st.info(why_not(row))
    with st.container(horizontal=True, gap="small"):
        if row is not None and row["rating"] is not None:
            st.metric("Rating", f"{row['rating']:.0f}", help=f"95% interval {row['low']:.0f} to {row['high']:.0f}")
            st.metric("95% interval", f"± {row['high'] - row['rating']:.0f}")
            st.metric("Rank", rank_set(row), help="The ranks that the votes leave open, with 95% confidence")
        if row is not None:
            st.metric("Votes", f"{row['votes']:,}")
        for figure in board_table.figures(arena):
            if contestant.name in figure.values:
                st.metric(figure.title, number(figure.values[contestant.name][0]), help=said_of(figure, contestant))


def why_not(row: Any) -> str:
    if row is None:
        return "The votes are being counted; its rating is on the leaderboard in a moment."
    return f"It is not rated: it {plain(row['reason']) or 'has no vote that compares it with others'}. Open **Vote**."


def said_of(figure: Figure, contestant: Contestant) -> str:
    _, low, high = figure.values[contestant.name]
    interval = "" if low is None or high is None else f" 95% interval {number(low)} to {number(high)}."
    return plain(figure.about) + interval


def draw_categories(arena: Arena, contestant: Contestant) -> None:
    """Its rating among all models by the votes on each category's prompts."""
    boards = showcase.by_category(arena)
    rows = []
    for category, rated in boards.items():
        found = [row for row in (rated.board.board if rated else ()) if row.model == contestant.name]
        rows += [
            {"name": category, "rating": row.rating, "low": row.low, "high": row.high, "votes": row.votes}
            for row in found
            if row.rating is not None
        ]
    st.subheader("By category", anchor=False)
    if not rows:
        st.markdown("In no category do the votes rate it yet.")
        return
    unrated = f" Not rated yet in {len(boards) - len(rows)} of {len(boards)}." if len(rows) < len(boards) else ""
    plots.figure(
        plots.interval_bars(rows, "Rating among all models, 95% interval"), pd.DataFrame(rows),
        f"{contestant.name} by category",
        "By the votes on prompts of that category alone; the dashed line is the mean of all models." + unrated,
    )  # fmt: skip


# What it is


def draw_card(contestant: Contestant, origins: list[str]) -> None:
    """Its facts; `origins`: where its images came from, nothing where they were drawn here."""
    st.subheader("What it is", anchor=False)
    rows = card_rows(contestant)
    st.html('<dl class="card">' + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows) + "</dl>")
    if origins:
        st.caption("Imported images: " + plain("; ".join(origins)) + ".")


def card_rows(contestant: Contestant) -> list[tuple[str, str]]:
    """Facts of the card and the settings that a reader looks for; what nobody said is said to be unknown."""
    card, rows = keys.without_keys(dict(contestant.card)), []
    for missing in ("organisation", "licence"):
        if getattr(board_table, missing)(contestant) is None:
            rows.append((CARD[missing], "not said"))
    for name, fact in card.items():
        if name != "open_weights":
            rows.append((CARD.get(name, name.replace("_", " ").capitalize()), fact_in_words(name, fact)))
    rows.append(("Weights", board_table.weights(contestant)))
    call = contestant.settings.get("call", contestant.settings)
    steps = next((call[key] for key in STEPS if isinstance(call, dict) and key in call), None)
    if steps is not None:
        rows.append(("Steps", str(steps)))
    width, height = contestant.settings.get("width"), contestant.settings.get("height")
    if width and height:
        rows.append(("Image", f"{width} × {height} pixels"))
    return [*rows, ("Backend", contestant.backend)]


def fact_in_words(name: str, fact: Any) -> str:
    if name == "parameters" and isinstance(fact, int | float):
        return f"{fact / 1e9:.3g} billion parameters" if fact >= 1e9 else f"{fact / 1e6:.3g} million parameters"
    return fact if isinstance(fact, str) else json.dumps(fact, ensure_ascii=False)


def draw_failures(arena: Arena, contestant: Contestant) -> None:
    st.subheader("Failures", anchor=False)
    found = showcase.failures(arena, contestant)
    if not found:
        st.markdown("Every attempt made an image.")
        return
    frame = pd.DataFrame(found, columns=["Reason", "Attempts"])
    st.dataframe(frame, hide_index=True, width="stretch")
    st.caption("An attempt that failed makes no battle and counts neither for nor against the model.")


def draw_settings(contestant: Contestant) -> None:
    with st.expander("Settings and fingerprint", icon=":material/fingerprint:"):
        st.markdown(f"Fingerprint `{contestant.fingerprint}`: another setting is another model with votes of its own.")
        st.code(json.dumps(keys.without_keys(dict(contestant.settings)), indent=2, ensure_ascii=False), language="json")


# What it draws


def draw_gallery(arena: Arena, contestant: Contestant) -> None:
    st.subheader("Pictures", anchor=False)
    visitor = this_voter(arena)
    page = int(st.session_state.get("gallery-page", 1))
    found = showcase.gallery(arena, visitor, contestant, page)
    if not found.total:
        empty_state("No pictures", "Its votes came from elsewhere, or nothing was generated yet: `arena generate`.")
        return
    shown = [figure_html([one], prompt_link(one.prompt.id, one.prompt.text)) for one in found.pictures]
    st.html(gallery_html(shown, "six"))
    if found.total > SIZE:
        st.pagination(-(-found.total // SIZE), key="gallery-page")
    st.caption("A prompt whose pictures you saw here with their makers' names is not drawn for your votes any more.")


def draw_battles(arena: Arena, contestant: Contestant) -> None:
    """Its best and worst battles; the pictures only when asked for, since each spoils a prompt for one's own votes."""
    found = deriving.answer(arena, "battles", contestant.id or 0)
    st.subheader("Best and worst battles", anchor=False)
    if found is None:
        st.caption("The votes are being counted; look again in a moment.")
        return
    best, worst = showcase.extremes(found.value or [])
    if not best and not worst:
        st.markdown("No vote on its pictures prefers one yet.")
        return
    pictures = st.toggle("Show the pictures", help="Their prompts will not come up in your votes any more")
    for title, fought in (("Won most clearly", best), ("Lost most clearly", worst)):
        if fought:
            st.markdown(f"**{title}**")
            draw_fought(arena, contestant, fought, pictures)


def draw_fought(arena: Arena, contestant: Contestant, fought: list[Fought], pictures: bool) -> None:
    visitor = this_voter(arena)
    captions = [battle_caption(one) for one in fought]
    if pictures:
        pairs = [showcase.pair(arena, visitor, one, contestant.name) for one in fought]
        figures = [figure_html(pair, caption) for pair, caption in zip(pairs, captions, strict=True)]
        st.html(gallery_html(figures, "pairs"))
    else:
        st.html('<ul class="links">' + "".join(f"<li>{caption}</li>" for caption in captions) + "</ul>")


def battle_caption(one: Fought) -> str:
    prompt = prompt_link(one.prompt.id, one.prompt.text)
    return f"<b>Against {escape(one.opponent)}: {record_words(one.record)}</b> {prompt}"


def record_words(record: Record) -> str:
    """Votes in words, those that there are."""
    parts = ((record.wins, "for it"), (record.losses, "against"), (record.ties, "tied"), (record.both_bad, "both bad"))
    return ", ".join(f"{count} {word}" for count, word in parts if count) or "no votes"
