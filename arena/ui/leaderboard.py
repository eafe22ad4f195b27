"""The leaderboard page: who is best by people's votes, how sure that is, what it costs, and what would change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from math import isnan
from time import monotonic
from typing import Any

import pandas as pd
import streamlit as st

from arena.bootstrap import Arena
from arena.domain import PEOPLE, VoteFilter
from arena.errors import DataError
from arena.rating import rank_agreement
from arena.services import benchmarks, board_table, deriving, judging, snapshots
from arena.services.audit import Audit, Influence
from arena.services.board_table import FILES, SORTS, Published, Table, chosen, published, short_judge, valued
from arena.services.board_view import CONTROLLED, DAYS, DEFAULTS, EVERYTHING, WEIGHTS, Choices, View, asked
from arena.services.fused import Together
from arena.services.history import Changes
from arena.services.snapshots import Snapshot
from arena.ui import benchmarks as benchmarks_page
from arena.ui import gate, plots
from arena.ui.board_html import STYLE, board_html, chance_short, rank_set
from arena.ui.common import empty_state, plain, said_plainly, the_arena

Row = Mapping[str, Any]
MANY_VOTES = 100_000
MOVES_NAMED = 3
EARLIEST, LATEST = date(2000, 1, 1), date(2099, 12, 31)
"""Days that a calendar offers."""
TIMES = {EVERYTHING: "All time", "7d": "Last 7 days", "30d": "Last 30 days", "90d": "Last 90 days"}
PLOTS = {
    "board": "Board", "trade-offs": "Cost and speed", "history": "Over time", "meetings": "Head to head",
    "scores": "Automatic scores", "votes": "Votes",
}  # fmt: skip
AGAINST = {"cost": "USD per megapixel", "seconds": "seconds per image"}


def page() -> None:
    st.title("Leaderboard", anchor=False)
    st.html(STYLE)
    with said_plainly():
        arena = the_arena()
        if "snapshot" in st.query_params:
            draw_snapshot(arena, st.query_params["snapshot"])
        elif contestants := arena.store.contestants():
            draw_now(arena, choices(arena, contestants))
        else:
            st.markdown(ranked_by(View()))
            empty_state(
                "No models yet",
                "Whoever runs this arena can add the embedded ones with `arena demo`, or their own with "
                "`arena generate`.",
            )


def choices(arena: Arena, contestants: Sequence[Any]) -> Choices:
    licences = {board_table.licence(one) for one in contestants} - {None}
    return Choices(
        arena.store.categories(), arena.store.judges(), sorted(map(str, licences)),
        sorted({one.backend for one in contestants}), [*SORTS],
    )  # fmt: skip


def draw_now(arena: Arena, known: Choices) -> None:
    """The board that the address asks for."""
    view, complaints = asked(dict(st.query_params), known)
    st.markdown(ranked_by(view))
    plot = st.query_params.get("plot", "board")
    if plot not in PLOTS:
        complaints.append(f"The address asks for the plot {plot[:40]!r}; there are {', '.join(PLOTS)}.")
        plot = "board"
    for complaint in complaints:
        st.warning(plain(complaint), icon=":material/info:")
    draw_changes(arena, view)
    draw_filters(known, view)
    draw_plots(plot)
    found = published(arena, view)
    if found is None:
        draw_waiting(view)
    else:
        draw_chosen(arena, view, found, plot)


def draw_chosen(arena: Arena, view: View, found: Published, plot: str) -> None:
    rows = chosen(found.table, view)
    if plot == "board":
        draw_board(arena, view, found, rows)
    elif plot == "trade-offs":
        draw_trade_offs(found.table, rows)
    elif plot == "history":
        draw_history(arena, view, rows)
    elif plot == "meetings":
        draw_meetings(found, rows)
    elif plot == "scores":
        draw_scores(arena, view, found.table, rows)
        draw_judges(arena, None if view.category == EVERYTHING else view.category)
    else:
        draw_votes(arena, view)


# Who voted


def whose(view: View) -> str:
    """The voters of a view, as words of a sentence; not escaped."""
    return "people" if view.voters == PEOPLE else f"the judge {short_judge(view.voters)}"


def ranked_by(view: View) -> str:
    if view.voters == PEOPLE:
        return "Models ranked by people who did not know which was which."
    return f"Models ranked by {plain(whose(view))} alone. It may be biased, and its intervals do not say so."


# The address and its widgets


def written(name: str, default: str, key: str) -> None:
    """Puts a widget's value into the address; what is usual needs no word there."""
    word = st.session_state[key]
    if word is None or word == default:
        st.query_params.pop(name, None)
    else:
        st.query_params[name] = word


def bound(name: str, word: str, default: str) -> dict[str, Any]:
    """What makes a widget show a word of the address and change it: the address is the only memory."""
    key = f"address-{name}"
    st.session_state[key] = word
    return {"key": key, "on_change": written, "args": (name, default, key)}


def choose(name: str, label: str, options: Mapping[str, str], view: View, width: int = 165) -> None:
    word = getattr(view, name)
    st.selectbox(
        label, [*options], format_func=lambda one: options[one], width=width, **bound(name, word, DEFAULTS[name])
    )


def draw_filters(known: Choices, view: View) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        if len(known.categories) > 1:
            choose("category", "Prompts", {EVERYTHING: "All categories", **_same(known.categories)}, view)
        if known.judges:
            judges = {judge: f"Judge {short_judge(judge)}" for judge in known.judges}
            choose("voters", "Voters", {PEOPLE: "People", **judges}, view)
        own = {} if view.time in TIMES else {view.time: view.time.replace("..", " to ")}
        choose("time", "Time", {**TIMES, **own}, view)
        sorts = {word: text for key, text in SORTS.items() for word, text in _both_ways(key, text)}
        choose("sort", "Sorted by", sorts, view)
        st.text_input("Search", placeholder="Model name", width=150, **bound("search", view.search, ""))
        draw_more(known, view)


def _same(words: Sequence[str]) -> dict[str, str]:
    return {word: word for word in words}


def _both_ways(key: str, text: str) -> list[tuple[str, str]]:
    return [(key, f"{text} ↑"), (f"-{key}", f"{text} ↓")]


def draw_more(known: Choices, view: View) -> None:
    """Filters that few people need."""
    active = sum(getattr(view, name) != EVERYTHING for name in ("licence", "weights", "backend", "style"))
    with st.popover(f"More ({active})" if active else "More", icon=":material/tune:"):
        choose("licence", "Licence", {EVERYTHING: "All licences", **_same(known.licences)}, view, 260)
        choose("weights", "Weights", {EVERYTHING: "All", **{w: w.capitalize() for w in WEIGHTS}}, view, 260)
        choose("backend", "Backend", {EVERYTHING: "All backends", **_same(known.backends)}, view, 260)
        st.caption("These three choose rows; ratings and ranks stay those among all models.")
        styles = {EVERYTHING: "As people voted", CONTROLLED: "Looks taken out"}
        choose("style", "Style", styles, view, 260)
        st.caption("Looks taken out: as if all images were equally large, bright, colourful and sharp.")
        draw_days(view)


def draw_days(view: View) -> None:
    first, last = view.period(datetime.now(UTC).date()) if view.time not in DAYS else (None, None)
    with st.container(horizontal=True):
        for key, label, day in (("address-from", "From", first), ("address-to", "To (UTC)", last)):
            st.session_state[key] = day and min(max(day, EARLIEST), LATEST)
            st.date_input(
                label, None, EARLIEST, LATEST, key=key, on_change=days_written, width=125, format="YYYY-MM-DD"
            )


def days_written() -> None:
    first, last = (st.session_state[key] for key in ("address-from", "address-to"))
    if first or last:
        st.query_params["time"] = f"{_iso(first)}..{_iso(last)}"
    else:
        st.query_params.pop("time", None)


def _iso(day: date | None) -> str:
    return day.isoformat() if day else ""


def draw_plots(plot: str) -> None:
    st.segmented_control(
        "What to look at", [*PLOTS], format_func=PLOTS.__getitem__, label_visibility="collapsed",
        **bound("plot", plot, "board"),
    )  # fmt: skip


def draw_waiting(view: View) -> None:
    """Until a board of many votes is there for the first time: looks again every second, and then draws it."""
    st.info(
        "The votes are being counted; the board appears by itself in a moment. Boards that were asked for before are "
        "there at once.",
        icon=":material/hourglass_top:",
    )
    st.skeleton(height=320)
    st.fragment(look_again, run_every=1.0)(view)


def look_again(view: View) -> None:
    with said_plainly():
        if published(the_arena(), view) is not None:
            st.rerun()


# What changed


def draw_changes(arena: Arena, view: View) -> None:
    """Of all votes of people, whatever is filtered: it says so where something is."""
    week = datetime.combine(datetime.now(UTC).date() - timedelta(days=7), time(), UTC)
    found = deriving.answer(arena, "changes", VoteFilter(), week)
    if found is not None and found.value is not None and found.value.votes + found.value.before:
        st.markdown(f":material/update: {changed(found.value, view.votes(week.date()) == VoteFilter())}")


def changed(found: Changes, unfiltered: bool = True) -> str:
    """What the last seven days changed on the board of all votes of people, in plain words."""
    when = "**This week**" if unfiltered else "On the board of all votes of people, **this week**"
    if not found.votes:
        return f"{when} nobody voted; the board is as it was."
    votes = "1 vote" if found.votes == 1 else f"{found.votes:,} votes"
    if not found.before:
        return f"{when} brought {votes}, the first ones here."
    said = [f"{when} brought {votes}."]
    if found.new:
        said.append(f"New on the board: {_listed([plain(name) for name in found.new])}.")
    moves = [f"{plain(one.name)} from {one.before} to {one.after}" for one in found.moves]
    said.append(f"Changed rank: {_listed(moves)}." if moves else "Nobody changed rank.")
    return " ".join(said)


def _listed(words: Sequence[str]) -> str:
    more = len(words) - MOVES_NAMED
    return "; ".join(words[:MOVES_NAMED]) + (f"; and {more} more" if more > 0 else "")


# The board


def draw_board(arena: Arena, view: View, found: Published, rows: Sequence[Row]) -> None:
    table = found.table
    if not table.about["votes"]:
        draw_no_votes(view)
    elif table.about["reason"]:
        st.info("No order follows from these votes yet: " + plain(table.about["reason"]))
    if rows:
        st.html(board_html(table, rows, view))
    else:
        empty_state("No model fits", "No model has this name, licence, weights and backend. Take a filter back.")
    st.caption(explained(table, found.behind))
    with st.container(horizontal=True, gap="small"):
        draw_files(table, rows)
        draw_keep(arena, table)
    if table.about["votes"] and view.voters == PEOPLE and not view.controlled:
        draw_why(arena, view, rows)
        draw_audit(arena, view)
    gate.draw(arena)


def draw_no_votes(view: View) -> None:
    if view == View():
        st.info("Nobody has voted here yet, so no model is rated. Open **Vote** and press a key.")
    else:
        st.info("No vote fits these filters, so no model is rated. Take a filter back, or open **Vote**.")


def explained(table: Table, behind: int = 0) -> str:
    about = table.about
    votes = "1 vote" if about["votes"] == 1 else f"{about['votes']:,} votes"
    newer = f" {behind:,} newer are being counted." if behind else ""
    taken_out = " The side and the look of the images are taken out." if about["effects"] else ""
    missing = [title for key, title in board_table.TITLES.items() if key not in {f["key"] for f in table.figures}]
    left_out = f" Nobody has a value yet for: {', '.join(missing)}." if missing else ""
    scores = "".join(f" **{plain(f['title'])}**: {plain(f['about'])}" for f in table.figures if f["protocol"])
    return (
        f"Computed from {votes} (up to vote {about['last_vote_id']}).{newer}{taken_out} **Rating**: Bradley–Terry by "
        "maximum likelihood, whatever the order of the votes, with a mean of 1000 (the dashed line); a tie is half a "
        "win, “both bad” prefers nobody and is counted apart. "
        "**Rank**: two models share a rank as long as their difference could be chance. "
        f"**Elo**, with K = {about['k_factor']:g}, takes the votes in their order: a win over a stronger model earns "
        "more than one over a weaker, and “both bad” counts as a tie. "
        f"With fewer than {about['provisional_below']} votes a model is **provisional**; else it is **established** "
        f"where the interval is at most ±30 points, **usable** up to ±60, and **preliminary** beyond.{scores}{left_out}"
    )


def draw_files(table: Table, rows: Sequence[Row]) -> None:
    for name, (write, media_type, extension) in FILES.items():
        st.download_button(
            name, partial(write, table, rows), f"leaderboard.{extension}", media_type, on_click="ignore",
            icon=":material/download:", key=f"file-{extension}",
        )  # fmt: skip


def draw_keep(arena: Arena, table: Table) -> None:
    hint = "The same numbers under an address that never changes"
    if st.button("Keep a snapshot", icon=":material/link:", help=hint):
        st.query_params.from_dict({"snapshot": snapshots.keep(arena, table)})
        st.rerun()


def draw_snapshot(arena: Arena, id: str) -> None:
    found = snapshots.opened(arena, id)
    st.html('<a class="back" href="leaderboard" target="_self">← The leaderboard as it is now</a>')
    view = View(**found.table.about["view"])
    st.markdown(ranked_by(view))
    rows = chosen(found.table, view)
    st.info(snapshot_said(found), icon=":material/link:")
    st.html(board_html(found.table, rows, view, sortable=False))
    st.caption(explained(found.table))
    with st.container(horizontal=True, gap="small"):
        draw_files(found.table, rows)
    draw_trade_offs(found.table, rows)


def snapshot_said(found: Snapshot) -> str:
    """What a snapshot is of, in words."""
    view = found.table.about["view"]
    filters = "; ".join(f"{name}: {plain(word)}" for name, word in view.items()) or "all votes of people"
    return (
        f"Snapshot **{found.id}** of {found.at:%-d %B %Y, %H:%M} UTC ({filters}). Its numbers stay as they are; the "
        "address of this page leads back to them."
    )


# Why


def draw_why(arena: Arena, view: View, rows: Sequence[Row]) -> None:
    """For one model: what its place rests on, and what would change it."""
    if not rows:
        return
    st.subheader("Why is it there?", anchor=False)
    names = [row["name"] for row in rows]
    name = st.selectbox("Model", names, label_visibility="collapsed", width=320)
    st.markdown(why(rows[names.index(name)]))
    rated = sorted((row for row in rows if row["rank"] is not None), key=lambda row: (row["rank"], row["name"]))
    order = [row["name"] for row in rated]
    if name in order[:-1]:
        below = order[order.index(name) + 1]
        found = deriving.answer(arena, "between", view.votes(datetime.now(UTC).date()), name, below)
        if found is None:
            st.caption("What would change its place is being worked out.")
        elif found.value:
            st.markdown("\n\n".join(neighbour(*found.value, plain(below))))


def why(row: Row) -> str:
    """The place of a model in plain words."""
    name = f"**{plain(row['name'])}**"
    counted = f"{row['wins']} won, {row['losses']} lost, {row['ties']} tied, {row['both_bad']} both bad"
    if row["rating"] is None:
        return (
            f"{name} is not rated: it {plain(row['reason']) or 'has no vote that compares it with others.'} ({counted})"
        )
    return (
        f"{name} is rated {row['rating']:.0f}, with 95% confidence between {row['low']:.0f} and {row['high']:.0f}, "
        f"from {row['votes']:,} votes ({counted}).\n\n"
        f"The votes leave {ranks_open(row)} open. The chance that it is the best is {chance(row['p_best'])}, "
        f"that it is among the first three {chance(row['p_top3'])}."
    )


def ranks_open(row: Row) -> str:
    return f"only rank {row['rank']}" if row["rank_low"] == row["rank_high"] else f"ranks {rank_set(row)}"


def neighbour(to_flip: int | None, needed: int | None, below: str) -> list[str]:
    said = []
    if to_flip is not None:
        votes = "a single vote that speaks" if to_flip == 1 else f"{to_flip:,} votes that speak"
        said.append(f"Had {votes} for it not been cast, **{below}** would be level with it or above.")
    if needed == 0:
        said.append(f"Its lead over **{below}** is beyond chance.")
    elif needed is not None:
        votes = f"{needed:,} more votes" if needed <= MANY_VOTES else "more votes than are practical"
        said.append(f"If the difference is what it looks like now, {votes} between the two would settle their order.")
    return said


def chance(value: float | None) -> str:
    """As the column Best has it, in words."""
    words = {"": "unknown", "<1%": "below 1%", ">99%": "above 99%"}
    return words.get(chance_short(value), chance_short(value))


def draw_audit(arena: Arena, view: View) -> None:
    """What the votes show to matter beside the models, where someone asks."""
    if not st.toggle("What else moves the votes?", help="The side, the look of the images, the voters"):
        return
    found = deriving.answer(arena, "audit", view.votes(datetime.now(UTC).date()))
    if found is None:
        st.caption("This is being worked out; look again in a moment.")
    else:
        draw_found(valued(found))


def draw_found(found: Audit) -> None:
    said = [effect(found.left, "standing on the left")] if found.left else []
    said += [effect(influence, f"more {plain(influence.name)}") for influence in found.style]
    if said:
        st.markdown(
            "What an image gains, in rating points with 95% intervals, by standing on the left and by looking one "
            "standard deviation different from its rival:\n\n- " + "\n- ".join(said)
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


# Plots


def draw_trade_offs(table: Table, rows: Sequence[Row]) -> None:
    for key, title in AGAINST.items():
        numbers = plots.with_figure(rows, key)
        st.subheader(f"Quality and {title}", anchor=False)
        if numbers.empty:
            st.info("No rated model has a value for this yet: it is measured while images are generated.")
            continue
        numbers["front"] = plots.on_front(numbers["value"], numbers["rating"])
        plots.figure(
            plots.trade_off(numbers, title), numbers.drop(columns=["value_low", "value_high"]), f"quality and {title}",
            "Up is better, left takes less; the bars are 95% intervals of the rating. No other model is better and "
            "takes less than those on the dashed line (the Pareto front, by the ratings as they are).",
        )  # fmt: skip


def draw_history(arena: Arena, view: View, rows: Sequence[Row]) -> None:
    if view.controlled:
        st.info("Ratings over time are shown as people voted; set Style back to see them.")
        return
    found = deriving.answer(arena, "history", view.votes(datetime.now(UTC).date()))
    if found is None:
        draw_pending()
        return
    known = {moment.name for moment in valued(found)}
    names = [row["name"] for row in rows if row["name"] in known]
    if not names:
        empty_state("Nothing over time yet", "No vote that fits these filters says when it was cast.")
        return
    picked = st.multiselect(
        "Models", names, default=names[: plots.MOST_LINES], max_selections=plots.MOST_LINES, placeholder="Choose models"
    )
    if picked:
        numbers = pd.DataFrame([moment for moment in found.value if moment.name in picked])
        plots.figure(
            plots.over_time(found.value, picked), numbers, "rating over time",
            "Each point is the board of all votes cast up to the end of that day (UTC); the band is the 95% interval. "
            "A model's rating also moves when others join, because the mean of all stays 1000.",
        )  # fmt: skip


def draw_pending() -> None:
    """For an answer that is being made elsewhere: looks again by itself every other second."""
    st.info("This is being computed from all votes and appears by itself.", icon=":material/hourglass_top:")
    asked_at = st.session_state.get("looked")
    st.fragment(look_once_more, run_every=2.0)(asked_at)


def look_once_more(asked_at: float | None) -> None:
    """The first run draws with the page; a later one runs the page again."""
    if st.session_state.get("looked") != asked_at:
        st.rerun()
    st.session_state["looked"] = monotonic()


def draw_meetings(found: Published, rows: Sequence[Row]) -> None:
    assert found.rated is not None
    names = [row["name"] for row in rows if row["votes"]]
    shown = names if len(names) <= plots.MOST_MET else names[: plots.MOST_MET]
    numbers = plots.met(found.rated, shown)
    if numbers.empty:
        empty_state("Nobody has met yet", "No vote that fits these filters compares two models.")
        return
    cut = f" The first {len(shown)} of {len(names)} models in this order." if len(shown) < len(names) else ""
    plots.figure(
        plots.heat_map(numbers, shown), numbers, "head to head",
        "Share of the votes that the row's model took from the column's; a tie is half a win each." + cut,
        "content",
    )  # fmt: skip


def draw_scores(arena: Arena, view: View, table: Table, rows: Sequence[Row]) -> None:
    """Each automatic score against these voters, and how far their orders agree."""
    offered = against(view, table.figures)
    if not offered:
        empty_state(
            "No automatic scores yet",
            "Measure models on **Benchmarks**, or let a judge vote on **Judge**; then they stand against "
            f"{plain(whose(view))} here.",
        )
        return
    key = st.segmented_control(
        "Score", [*offered], default=next(iter(offered)), format_func=lambda key: offered[key]["title"],
        label_visibility="collapsed",
    ) or next(iter(offered))  # fmt: skip
    figure, numbers = offered[key], plots.with_figure(rows, key)
    if numbers.empty:
        st.info("No model has both a rating by these votes and this score.")
        return
    said = agreement_said(numbers, figure["higher_is_better"])
    plots.figure(
        plots.scatter(numbers, titled(figure), figure["higher_is_better"], whose(view), said), numbers,
        f"{whose(view)} and {key}",
        f"{said} {plain(figure['about'])}",
    )  # fmt: skip
    draw_curves(arena, key, figure["fingerprint"])


def against(view: View, figures: Sequence[Row]) -> dict[str, Row]:
    """The scores that say something beside the view's ratings: a judge is not held against itself."""
    return {
        figure["key"]: figure
        for figure in figures
        if figure["key"] in (*board_table.METRICS, "judge")
        and not (figure["key"] == "judge" and view.voters != PEOPLE and figure["protocol"] == short_judge(view.voters))
    }


def titled(figure: Row) -> str:
    """A score's name on an axis; a judge's with which it is, since the voters may be another."""
    return f"Rating by the judge {figure['protocol']}" if figure["key"] == "judge" else figure["title"]


def agreement_said(numbers: pd.DataFrame, higher_is_better: bool) -> str:
    """How far a score orders the models as the voters do, in words."""
    sign = 1 if higher_is_better else -1
    try:
        found = rank_agreement.correlation(sign * numbers["value"], numbers["rating"], rounds=500)
    except DataError:
        both = "1 model has both" if len(numbers) == 1 else f"{len(numbers)} models have both"
        return f"{both}; a correlation takes three."
    if found.spearman is None or found.kendall is None:
        return "All models have the same value, so nothing can be said of their order."
    rho = found.spearman
    known = not isnan(rho.low)
    doubt = "" if known and not rho.low <= 0 <= rho.high else " With so few models this may be chance."
    interval = f" (95% interval {_signed(rho.low)} to {_signed(rho.high)})" if known else ""
    return (
        f"Over {found.n} models the two orders agree with Spearman's ρ = {_signed(rho.value)}{interval} and Kendall's "
        f"τ = {_signed(found.kendall.value)}; 1 is the same order, 0 none, −1 the opposite.{doubt}"
    )


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def draw_curves(arena: Arena, key: str, fingerprint: str) -> None:
    """The score against the number of images, where it was measured so."""
    fitting = [column for column in benchmarks.columns(arena) if column.protocol.fingerprint == fingerprint]
    column = max(fitting, key=lambda column: len(column.scores), default=None)
    if column is not None and any(score.details.get("curve") for score in column.scores):
        st.markdown(f"**{plain(board_table.METRICS.get(key, key))} against the number of images**")
        benchmarks_page.draw_curves(column)


def draw_votes(arena: Arena, view: View) -> None:
    found = deriving.answer(arena, "per day", view.votes(datetime.now(UTC).date()))
    if found is None:
        draw_pending()
        return
    days = valued(found)
    if not days:
        empty_state("No votes by day yet", "No vote that fits these filters says when it was cast. Open **Vote**.")
        return
    numbers = pd.DataFrame(days, columns=["day", "votes"])
    plots.figure(
        plots.votes_per_day(days), numbers, "votes per day",
        f"{numbers['votes'].sum():,} votes by day (UTC). Votes that say no time are left out.",
    )  # fmt: skip


# Judges beside people


def draw_judges(arena: Arena, category: str | None) -> None:
    """Judges beside people, where a judge has voted: never mixed into the board above."""
    judges = arena.store.judges()
    if not judges:
        return
    st.subheader("People and judges", anchor=False)
    if category is not None:
        st.caption(f"Of all categories, not of {plain(category)} alone.")
    usual = judging.newest(arena, arena.settings.judge)
    first = judges.index(usual) if usual in judges else 0
    judge = judges[0] if len(judges) == 1 else st.selectbox("Judge", judges, first, short_judge, width=320)
    found = deriving.answer(arena, "together", judge)
    if found is None:
        draw_pending()
        return
    st.dataframe(beside(valued(found)), hide_index=True, placeholder="–", width="stretch")
    for sentence in judge_said(found.value):
        st.caption(sentence)


def judge_said(found: Together) -> list[str]:
    """What the judge adds to people's board, and what must not be read into its own."""
    said, name = [], plain(short_judge(found.name))
    if found.lam and found.width_ratio is not None:
        said.append(
            f"{name} is used to {found.lam:.0%}: its verdicts on pairs that nobody voted on narrow the "
            f"intervals to {found.width_ratio:.0%} of people's own, and what it gets wrong on pairs that people voted "
            "on is taken off again."
        )
    elif found.lam is not None:
        said.append(f"{name} narrows no interval here, so **People and judge** is people's own board.")
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
