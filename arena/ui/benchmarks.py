"""The benchmarks page: start a run in a process of its own, watch it, read the stored scores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

from arena.bootstrap import Arena
from arena.domain import Run, RunState, Score
from arena.services import benchmarks
from arena.ui.common import empty_state, heading, plain, said_plainly, the_arena

QUIET_AFTER = timedelta(seconds=30)
SHORT = 10
RUNS_SHOWN = 5

ENDINGS = {
    RunState.DONE: (":material/check_circle:", "done"),
    RunState.FAILED: (":material/error:", "failed"),
    RunState.CANCELLED: (":material/cancel:", "cancelled"),
}

COLUMNS = {
    "subject": st.column_config.TextColumn("Model", width="medium"),
    "metric": st.column_config.TextColumn("Metric"),
    "value": st.column_config.NumberColumn("Value", format="%.2f", help="FID: smaller is closer to the real pictures"),
    "unscored": st.column_config.TextColumn("Unscored because"),
    "n_real": st.column_config.NumberColumn("Real", help="Real pictures compared with"),
    "n_generated": st.column_config.NumberColumn("Generated", help="Pictures of the model"),
    "seconds": st.column_config.NumberColumn("Seconds", format="%.1f"),
    "at": st.column_config.DatetimeColumn("When (UTC)", format="D MMM YYYY, HH:mm"),
    "protocol": st.column_config.TextColumn("Protocol", help="Name and version of the recipe"),
    "fingerprint": st.column_config.TextColumn("Fingerprint", help="Hash of every setting of the recipe"),
    "weights": st.column_config.TextColumn("Weights", help="sha256 of the feature network"),
}

COMPARE = """
FID measures how far the features of a model's pictures lie from those of real ones; smaller is closer.
**Compare two values only when protocol, fingerprint and both counts agree.** Another resize, other weights or another
library version shifts FID by more than models differ, and FID falls as the number of pictures grows, because the
covariance of 2,048 features is estimated from them: a model measured on more pictures looks better without being so.
"""


def page() -> None:
    heading(
        "Benchmarks",
        "Automatic scores beside people's votes. A run works in a process of its own; you may leave this page.",
    )
    with said_plainly():
        arena = the_arena()
        draw_start(arena)
        watch(arena)
        draw_scores(benchmarks.scores(arena))


def draw_start(arena: Arena) -> None:
    names = [contestant.name for contestant in benchmarks.contestants(arena)]
    if not names:
        empty_state(
            "Nothing to measure yet",
            "Whoever runs this arena can add the embedded models and their pictures with `arena demo`.",
        )
        return
    with st.form("start", border=True):
        left, middle, right = st.columns([3, 2, 1], vertical_alignment="bottom")
        name = left.selectbox("Model", names)
        n_real = middle.number_input(
            "Reference scenes", min_value=2, max_value=50_000, value=benchmarks.DEFAULT_N_REAL, step=100,
            help="Real pictures to compare with. More are slower and less biased.",
        )  # fmt: skip
        pressed = right.form_submit_button("Run FID", type="primary", width="stretch")
    if pressed:
        with said_plainly():
            run_id = benchmarks.start_fid(arena, name, int(n_real))
            st.toast(f"Run {run_id} started for {plain(name)}.")


def watch(arena: Arena) -> None:
    """The latest runs, looked at every second for as long as one of them works."""
    active = has_active(benchmarks.runs(arena, RUNS_SHOWN))
    st.fragment(draw_runs, run_every=1.0 if active else None)(active)


def draw_runs(was_active: bool) -> None:
    with said_plainly():
        runs = benchmarks.runs(the_arena(), RUNS_SHOWN)
        if was_active and not has_active(runs):
            st.rerun()  # the whole page: its score is there now, and nothing is left to watch
        if runs:
            st.subheader("Runs", anchor=False)
        for run in runs:
            draw_run(run)


def has_active(runs: list[Run]) -> bool:
    return any(run.state is RunState.RUNNING for run in runs)


def draw_run(run: Run) -> None:
    if run.state is RunState.RUNNING:
        draw_active(run, datetime.now(UTC))
    else:
        icon, word = ENDINGS[run.state]
        took = (run.finished_at or run.heartbeat_at) - run.started_at
        reason = f": {plain(run.message)}" if run.message else ""
        st.markdown(f"{icon} Run {run.id} · {plain(run.subject)} · {word} after {clock(took)}{reason}")


def draw_active(run: Run, now: datetime) -> None:
    progress, button = st.columns([5, 1], vertical_alignment="center")
    progress.progress(share_done(run), text=plain(progress_text(run, now)))
    button.button("Cancel", key=f"cancel-{run.id}", on_click=cancel, args=(run.id,), width="stretch")
    silence = now - run.heartbeat_at
    if silence > QUIET_AFTER:
        st.warning(
            f"Run {run.id} has said nothing for {clock(silence)}. If that goes on, cancel it and start it again."
        )


def cancel(run_id: int) -> None:
    with said_plainly():
        benchmarks.cancel(the_arena(), run_id)


def share_done(run: Run) -> float:
    return min(run.done / run.total, 1.0) if run.total else 0.0


def progress_text(run: Run, now: datetime) -> str:
    count = f" {run.done} of {run.total}" if run.total > 1 else ""
    return f"Run {run.id} · {run.subject} · {run.stage or 'starting'}{count} · {clock(now - run.started_at)}"


def clock(span: timedelta) -> str:
    minutes, seconds = divmod(max(0, int(span.total_seconds())), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def draw_scores(scores: list[Score]) -> None:
    st.subheader("Scores", anchor=False)
    if scores:
        st.dataframe(table(scores), column_config=COLUMNS, hide_index=True, placeholder="–", width="stretch")
    else:
        st.markdown("No scores yet. Choose a model above and press **Run FID**; the result is kept here.")
    st.caption(COMPARE)


def table(scores: list[Score]) -> pd.DataFrame:
    rows = pd.DataFrame([score_row(score) for score in scores], columns=list(COLUMNS))
    return rows if rows["unscored"].any() else rows.drop(columns="unscored")


def score_row(score: Score) -> dict[str, Any]:
    details = score.details
    return {
        "subject": score.subject,
        "metric": score.metric.upper(),
        "value": score.value,
        "unscored": score.unscored,
        "n_real": details.get("n_real"),
        "n_generated": details.get("n_generated"),
        "protocol": score.protocol.id,
        "fingerprint": score.protocol.fingerprint[:SHORT],
        "weights": str(details.get("weights_sha256") or "")[:SHORT],
        "seconds": details.get("seconds"),
        "at": score.at,
    }
