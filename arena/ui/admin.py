"""The admin page: what is drawn, what voters reported, which votes count, what runs; each act with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import streamlit as st

from arena.bootstrap import Arena
from arena.domain import DRAWS_NOTHING, RunKind, Side
from arena.errors import ArenaError, UsageError
from arena.services import admin, benchmarks, exchange, generation, judging, moderation, own_prompts
from arena.services import runs as jobs
from arena.services.moderation import Admin, OpenReport, Preview
from arena.ui import runs
from arena.ui.common import (
    ADMIN,
    empty_state,
    heading,
    picture,
    picture_url,
    plain,
    said_plainly,
    the_arena,
    this_admin,
)
from db import ballots
from db.decisions import Action, Topic

VIEWS = ("Reports", "Models", "Prompts", "Votes", "Runs", "Log")
SHOWN = 200
REPORTED = {"unsafe": "unsafe", "broken": "broken", "reveals": "shows who made it"}
SIDES = {Side.LEFT: "Picture A", Side.RIGHT: "Picture B"}


def page() -> None:
    heading("Admin", "Everything done here is kept with your name, the time and your reason. Votes are never changed.")
    with said_plainly():
        arena = the_arena()
        who = this_admin()
        if who is None:
            draw_login(arena)
            return
        bar, out = st.columns([5, 1], vertical_alignment="center")
        view = bar.segmented_control("View", VIEWS, default=VIEWS[0], key="admin-view", label_visibility="collapsed")
        out.button("Log out", on_click=logout, width="stretch")
        if sentence := st.session_state.pop("admin-said", None):
            st.success(plain(sentence), icon=":material/check_circle:")
        if sentence := st.session_state.pop("admin-refused", None):
            st.error(plain(sentence), icon=":material/error:")
        draw_view(arena, who, view or VIEWS[0])


def draw_view(arena: Arena, who: Admin, view: str) -> None:
    draw = {
        "Reports": draw_reports, "Models": draw_models, "Prompts": draw_prompts, "Votes": draw_votes,
        "Runs": draw_runs, "Log": draw_log,
    }  # fmt: skip
    draw[view](arena, who)


# Logging in


def draw_login(arena: Arena) -> None:
    if not admin.is_set_up(arena.settings):
        empty_state(
            "Nobody can log in yet",
            "Whoever runs this arena makes a token with the command `arena admin-token`; it is printed once.",
        )
        return
    with st.form("login", width=420):
        st.text_input("Your name", key="admin-name", max_chars=64, autocomplete="name")
        st.text_input("Token", key="admin-token", type="password", autocomplete="current-password")
        st.form_submit_button("Log in", type="primary", on_click=login)
    if sentence := st.session_state.pop("admin-refused", None):
        st.error(plain(sentence), icon=":material/error:")


def login() -> None:
    """Streamlit's callback. The token is forgotten at once, whether it opened or not."""
    name, token = str(st.session_state.get("admin-name", "")), str(st.session_state.get("admin-token", ""))
    st.session_state["admin-token"] = ""
    try:
        st.session_state[ADMIN] = admin.login(the_arena(), token, name, st.context.ip_address)
    except ArenaError as error:
        st.session_state["admin-refused"] = str(error)


def logout() -> None:
    st.session_state.pop(ADMIN, None)


def act(done: str, do: Callable[[Arena, Admin], object]) -> None:
    """An act of the admin who is logged in, then a sentence; `{}` in it is what the act returned."""
    who = this_admin()
    if who is None:
        return
    try:
        st.session_state["admin-said"] = done.format(do(the_arena(), who))
    except ArenaError as error:
        st.session_state["admin-refused"] = str(error)


def reason_given(key: str) -> str:
    return str(st.session_state.get(key, ""))


def ask_reason(key: str) -> None:
    st.text_input("Reason", key=key, placeholder="Kept with the decision", max_chars=moderation.LONGEST_REASON)


# Reports


def draw_reports(arena: Arena, who: Admin) -> None:
    found = moderation.reports(arena, SHOWN)
    open_ = [one for one in found if one.decision is None]
    if not open_:
        empty_state("No open reports", "Voters can report a pair on **Vote**. What they report comes here.")
    for one in open_[:20]:
        draw_report(one)
    closed = [one for one in found if one.decision is not None]
    if closed:
        with st.expander(f"{len(closed)} closed"):
            st.dataframe(closed_table(closed), hide_index=True, width="stretch")
    draw_hidden(arena)


def draw_report(one: OpenReport) -> None:
    report = one.report
    with st.container(border=True):
        about = f": {SIDES[report.side]}" if report.side else ""
        st.markdown(f"**Reported as {REPORTED[report.reason]}**{about} · {report.at:%d %b %Y, %H:%M} UTC")
        st.text(report.battle.prompt.text)
        for column, side in zip(st.columns(2), Side, strict=True):
            column.html(picture(picture_url(report.battle.token, side), SIDES[side], 240))
            column.caption(SIDES[side])
        key = f"report-{report.id}"
        left, right = st.columns([2, 3], vertical_alignment="bottom")
        left.pills("Hide", [*Side], default=[*one.sides], selection_mode="multi", key=f"{key}-sides",
                   format_func=SIDES.__getitem__)  # fmt: skip
        with right:
            ask_reason(f"{key}-reason")
        with st.container(horizontal=True):
            st.button("Hide from battles", key=f"{key}-hide", type="primary", on_click=hide, args=(one, key))
            st.button("Dismiss", key=f"{key}-dismiss", on_click=dismiss, args=(one, key))


def hide(one: OpenReport, key: str) -> None:
    sides = st.session_state.get(f"{key}-sides", [])
    reason = reason_given(f"{key}-reason")
    act(
        "Hidden from battles; votes on it stay.",
        lambda arena, who: moderation.hide(arena, who, one.report, sides, reason),
    )


def dismiss(one: OpenReport, key: str) -> None:
    reason = reason_given(f"{key}-reason")
    act("Report dismissed.", lambda arena, who: moderation.dismiss(arena, who, one.report, reason))


def closed_table(closed: Sequence[OpenReport]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Prompt": one.report.battle.prompt.text, "Reported as": REPORTED[one.report.reason],
            "Decision": one.decision.action.value, "By": one.decision.admin, "Reason": one.decision.reason,
        }
        for one in closed if one.decision
    )  # fmt: skip


def draw_hidden(arena: Arena) -> None:
    found = moderation.hidden(arena)
    if not found:
        return
    with st.expander(f"{len(found)} pictures hidden"), st.form("show", border=False):
        st.selectbox("Picture", found, key="show-id", format_func=lambda id: f"Picture {id}")
        ask_reason("show-reason")
        st.form_submit_button("Show again", on_click=show)


def show() -> None:
    id, reason = st.session_state["show-id"], reason_given("show-reason")
    act("Shown again.", lambda arena, who: moderation.show(arena, who, id, reason))


# Models


def draw_models(arena: Arena, who: Admin) -> None:
    contestants = arena.store.contestants()
    if not contestants:
        empty_state("No models", "`arena init` registers the embedded ones.")
        return
    retired, shares = arena.store.withdrawn().contestants, moderation.shares(arena)
    st.dataframe(
        pd.DataFrame(
            {"Model": one.name, "Backend": one.backend, "Drawn": "retired" if one.id in retired else "yes",
             "Share": shares.get(one.id or 0, 1.0)}
            for one in contestants
        ),
        hide_index=True, width="stretch",
    )  # fmt: skip
    names = [one.name for one in contestants]
    left, right = st.columns(2)
    with left.form("retire"):
        st.markdown("**Retire or restore.** A retired model is drawn no more; its votes stay.")
        st.selectbox("Model", names, key="retire-name")
        ask_reason("retire-reason")
        with st.container(horizontal=True):
            st.form_submit_button("Retire", on_click=retire, args=(Action.RETIRE,))
            st.form_submit_button("Restore", on_click=retire, args=(Action.RESTORE,))
    with right.form("share"):
        st.markdown("**Sampling share.** Its pairs are drawn so many times as often; the stored chance allows for it.")
        st.selectbox("Model", names, key="share-name")
        st.number_input("Share", min_value=moderation.SMALLEST_SHARE, max_value=moderation.LARGEST_SHARE, value=1.0,
                        step=0.5, key="share-value")  # fmt: skip
        ask_reason("share-reason")
        st.form_submit_button("Set", on_click=set_share)


def retire(action: Action) -> None:
    name, reason = st.session_state["retire-name"], reason_given("retire-reason")
    if action is Action.RETIRE:
        act(f"{name} is drawn no more.".replace("{", "{{").replace("}", "}}"),
            lambda arena, who: moderation.retire_contestant(arena, who, name, reason))  # fmt: skip
    else:
        act("It is drawn again.", lambda arena, who: moderation.restore_contestant(arena, who, name, reason))


def set_share() -> None:
    name, share, reason = st.session_state["share-name"], st.session_state["share-value"], reason_given("share-reason")
    act("Share set.", lambda arena, who: moderation.set_share(arena, who, name, share, reason))


# Prompts


def draw_prompts(arena: Arena, who: Admin) -> None:
    prompts, retired = arena.store.prompts(), arena.store.withdrawn().prompts
    with st.form("add-prompt"):
        st.text_area("New prompt", key="prompt-text", height=80)
        left, right = st.columns(2)
        left.text_input("Category", key="prompt-category", placeholder="general", max_chars=64)
        with right:
            ask_reason("prompt-reason")
        st.form_submit_button("Add", type="primary", on_click=add_prompt)
    if not prompts:
        empty_state("No prompts", "Add one above; then make pictures for it under **Runs**.")
        return
    shown = st.dataframe(
        pd.DataFrame(
            {"Prompt": one.text, "Category": one.category, "Source": one.source,
             "Drawn": "retired" if one.id in retired else "yes"}
            for one in prompts
        ),
        hide_index=True, width="stretch", on_select="rerun", selection_mode="multi-row", key="prompts",
    )  # fmt: skip
    chosen = [prompts[row].id or 0 for row in shown.selection.rows]
    ask_reason("prompts-reason")
    with st.container(horizontal=True):
        for label, do in (("Retire", moderation.retire_prompt), ("Restore", moderation.restore_prompt)):
            text = f"{label} {len(chosen)} prompt{'' if len(chosen) == 1 else 's'}"
            st.button(text, disabled=not chosen, on_click=each_prompt, args=(do, chosen), key=f"prompts-{label}")


def add_prompt() -> None:
    text, reason = reason_given("prompt-text"), reason_given("prompt-reason")
    category = reason_given("prompt-category") or "general"
    act("Added; make its pictures under Runs.",
        lambda arena, who: moderation.add_prompt(arena, who, text, category, reason))  # fmt: skip


def each_prompt(do: Callable[[Arena, Admin, int, str], None], chosen: Sequence[int]) -> None:
    reason = reason_given("prompts-reason")
    act("Done.", lambda arena, who: [do(arena, who, id, reason) for id in chosen])


# Votes


def draw_votes(arena: Arena, who: Admin) -> None:
    for reason, count in moderation.uncounted(arena):
        st.caption(f"{count:,} votes do not count: {plain(reason)}")
    st.caption("The page **Method** shows these reasons to everyone, so name nobody in them.")
    draw_export(arena)
    by = st.segmented_control("By", ["Voter", "Vote"], default="Voter", key="votes-by")
    if by == "Vote":
        draw_by_vote(arena)
    else:
        draw_by_voter(arena)


def number_of(voter_id: str) -> str:
    """A voter's name in exports: it leads to nobody."""
    return f"voter-{ballots.key(voter_id):016x}"


def draw_by_voter(arena: Arena) -> None:
    found, excluded = moderation.voters(arena, SHOWN), moderation.excluded_voters(arena)
    if not found:
        empty_state("No votes yet", "Votes come from **Vote**.")
        return
    shown = st.dataframe(
        pd.DataFrame(
            {"Voter": number_of(one.voter_id), "Votes": one.votes, "Count": one.counted,
             "Seconds, mean": one.mean_seconds, "Last": one.last,
             "": "excluded" if one.voter_id in excluded else ""}
            for one in found
        ),
        hide_index=True, width="stretch", on_select="rerun", selection_mode="single-row", key="voters",
        column_config={"Seconds, mean": st.column_config.NumberColumn(format="%.1f")},
    )  # fmt: skip
    if not shown.selection.rows:
        st.caption("Choose a voter to see what leaving out their votes would change.")
        return
    voter_id = found[shown.selection.rows[0]].voter_id
    if voter_id not in excluded:
        draw_preview(moderation.preview(arena, voter_id=voter_id))
    ask_reason("voter-reason")
    with st.container(horizontal=True):
        st.button("Exclude this voter", type="primary", disabled=voter_id in excluded, on_click=voter_out,
                  args=(voter_id,))  # fmt: skip
        st.button("Restore this voter", disabled=voter_id not in excluded, on_click=voter_in, args=(voter_id,))


def voter_out(voter_id: str) -> None:
    reason = reason_given("voter-reason")
    act("{} votes no longer count.", lambda arena, who: moderation.exclude_voter(arena, who, voter_id, reason))


def voter_in(voter_id: str) -> None:
    reason = reason_given("voter-reason")
    act("{} votes count again.", lambda arena, who: moderation.restore_voter(arena, who, voter_id, reason))


def draw_by_vote(arena: Arena) -> None:
    found = moderation.votes(arena, SHOWN)
    if not found:
        empty_state("No votes yet", "Votes come from **Vote**.")
        return
    shown = st.dataframe(
        pd.DataFrame(
            {"Vote": one.vote_id, "Voter": number_of(one.voter_id), "Left": one.left, "Right": one.right,
             "Said": one.outcome.value, "Prompt": one.prompt, "Seconds": one.seconds, "At": one.at,
             "Counts": "yes" if one.board == "people" else one.board or one.excluded or "no"}
            for one in found
        ),
        hide_index=True, width="stretch", on_select="rerun", selection_mode="multi-row", key="votes",
        column_config={"Seconds": st.column_config.NumberColumn(format="%.1f")},
    )  # fmt: skip
    chosen = [found[row].vote_id for row in shown.selection.rows]
    if chosen:
        draw_preview(moderation.preview(arena, chosen))
    ask_reason("votes-reason")
    with st.container(horizontal=True):
        for label, do in (("Exclude", moderation.exclude_votes), ("Restore", moderation.restore_votes)):
            text = f"{label} {len(chosen)} vote{'' if len(chosen) == 1 else 's'}"
            st.button(text, disabled=not chosen, on_click=each_vote, args=(do, chosen), key=f"votes-{label}")


def each_vote(do: Callable[[Arena, Admin, Sequence[int], str], int], chosen: Sequence[int]) -> None:
    reason = reason_given("votes-reason")
    act("{} votes changed.", lambda arena, who: do(arena, who, chosen, reason))


def draw_preview(found: Preview) -> None:
    """What leaving these votes out would do, before anything is done."""
    if not found.votes:
        st.caption("None of these votes counts now, so leaving them out changes nothing.")
        return
    st.markdown(f"**Without these {found.votes:,} votes** the board would be:")
    st.dataframe(
        pd.DataFrame(
            {"Model": row.name, "Rank now": row.rank_before, "Rank then": row.rank_after, "Rating now": row.before,
             "Rating then": row.after, "Change": None if None in (row.before, row.after) else row.after - row.before}
            for row in found.rows
        ),
        hide_index=True, width="stretch", placeholder="–",
        column_config={
            "Rating now": st.column_config.NumberColumn(format="%.0f"),
            "Rating then": st.column_config.NumberColumn(format="%.0f"),
            "Change": st.column_config.NumberColumn(format="%+.1f"),
        },
    )  # fmt: skip


def draw_export(arena: Arena) -> None:
    st.download_button(
        "Download every vote that counts", lambda: exported(the_arena()), file_name="votes.csv", mime="text/csv",
        icon=":material/download:", on_click=downloaded,
    )  # fmt: skip


def exported(arena: Arena) -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "votes.csv"
        exchange.export_votes(arena, file)
        return file.read_bytes()


def downloaded() -> None:
    act("Downloaded.", lambda arena, who: moderation.record(
        arena, who, Topic.EXPORT, "votes", Action.DOWNLOAD, "votes.csv"))  # fmt: skip


# Runs


def draw_runs(arena: Arena, who: Admin) -> None:
    drawing = [one for one in arena.store.contestants() if one.backend not in DRAWS_NOTHING]
    with st.container(border=True):  # no form: a budget is asked for as soon as a chosen model costs money
        st.markdown("**Make pictures.** Those that are missing, in a process of its own.")
        names = st.multiselect(
            "Models", [one.name for one in drawing], key="generate-names", placeholder="All that are not retired"
        )
        left, right = st.columns(2, vertical_alignment="bottom")
        left.number_input("Pictures for each prompt", min_value=1, max_value=100, value=1, key="generate-n")
        right.checkbox("Try failed ones again", key="generate-retry")
        if paying := generation.paying(arena, names):
            st.number_input(
                "Budget, USD", min_value=0.01, value=1.0, step=0.5, key="generate-budget",
                help="The run stops before it would be overspent. A run that is resumed has what is left of it.",
            )  # fmt: skip
            st.caption(f"Costs money: {plain(', '.join(one.name for one in paying))}.")
        st.button("Start", type="primary", key="generate-start", on_click=start_generation)
    waiting = own_prompts.OwnPrompts(arena.store).active()
    st.caption(f"Own prompts waiting or being drawn: {waiting}.")
    for title, kind, resume in (
        ("Pictures", RunKind.GENERATE, generation.resume),
        ("Benchmarks", RunKind.BENCHMARK, benchmarks.resume),
        ("Judges", RunKind.JUDGE, judging.resume),
    ):
        runs.watch(kind, resume, cancel, title)


def cancel(run_id: int) -> None:
    def do(arena: Arena, who: Admin) -> None:
        moderation.record(arena, who, Topic.RUN, run_id, Action.CANCEL, "cancelled on the admin page")
        jobs.cancel(arena, run_id)

    act(f"Run {run_id} was told to stop.", do)


def start_generation() -> None:
    names, n = st.session_state["generate-names"], st.session_state["generate-n"]
    retry, budget = st.session_state["generate-retry"], st.session_state.get("generate-budget")

    def start(arena: Arena, who: Admin) -> int:
        if budget is None and (paying := generation.paying(arena, names)):
            raise UsageError(f"{paying[0].name!r} costs money; give a budget in USD.")
        run_id = generation.start(arena, names, n, retry, budget_usd=budget)
        moderation.record(arena, who, Topic.RUN, run_id, Action.START, "pictures that were missing")
        return run_id

    act("Run {} started.", start)


# The log


def draw_log(arena: Arena, who: Admin) -> None:
    found = moderation.log(arena, SHOWN)
    if not found:
        empty_state("Nothing was decided yet", "Every act on this page becomes a row here.")
        return
    st.dataframe(
        pd.DataFrame(
            {"When": one.at, "Who": one.admin, "What": f"{one.action.value} {one.topic.value}",
             "Subject": number_of(one.subject) if one.topic is Topic.VOTER else one.subject, "Why": one.reason}
            for one in found
        ),
        hide_index=True, width="stretch",
    )  # fmt: skip
