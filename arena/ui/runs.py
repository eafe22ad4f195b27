"""Long jobs as a page shows them: at work with progress and a way to stop, or ended with what came of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import streamlit as st

from arena.bootstrap import Arena
from arena.domain import Run, RunKind, RunState
from arena.services import runs
from arena.ui.common import may_run, plain, said_plainly, the_arena

QUIET_AFTER = timedelta(seconds=30)
SHOWN = 5

ENDINGS = {
    RunState.DONE: (":material/check_circle:", "done"),
    RunState.FAILED: (":material/error:", "failed"),
    RunState.CANCELLED: (":material/cancel:", "cancelled"),
}
Resume = Callable[[Arena, int], int]
"""Starts a run again that ended early, and returns the new one's id."""
Stop = Callable[[int], None]
"""Streamlit's callback that cancels a run."""


def cancel(run_id: int) -> None:
    with said_plainly():
        runs.cancel(the_arena(), run_id)


def watch(kind: RunKind, resume: Resume, stop: Stop = cancel, title: str = "Runs") -> None:
    """The latest runs of a kind, looked at every second for as long as one of them works."""
    active = has_active(runs.latest(the_arena(), kind, SHOWN))
    st.fragment(draw_runs, run_every=1.0 if active else None)(kind, resume, active, stop, title)


def draw_runs(kind: RunKind, resume: Resume, was_active: bool, stop: Stop = cancel, title: str = "Runs") -> None:
    with said_plainly():
        found = runs.latest(the_arena(), kind, SHOWN)
        if was_active and not has_active(found):
            st.rerun()  # the whole page: what came of it is there now, and nothing is left to watch
        if found:
            st.subheader(title, anchor=False)
        for run in found:
            draw_run(run, resume, stop)


def has_active(found: list[Run]) -> bool:
    return any(run.state is RunState.RUNNING for run in found)


def draw_run(run: Run, resume: Resume, stop: Stop) -> None:
    if run.state is RunState.RUNNING:
        draw_active(run, datetime.now(UTC), stop)
        return
    icon, word = ENDINGS[run.state]
    took = (run.finished_at or run.heartbeat_at) - run.started_at
    reason = f": {plain(run.message)}" if run.message else ""
    line = f"{icon} Run {run.id} · {plain(run.subject)} · {word} after {clock(took)}{reason}"
    if run.state is RunState.DONE or not run.parameters or not may_run(the_arena()):
        st.markdown(line)
        return
    text, button = st.columns([5, 1], vertical_alignment="center")
    text.markdown(line)
    button.button("Resume", key=f"resume-{run.id}", on_click=again, args=(resume, run.id), width="stretch")


def draw_active(run: Run, now: datetime, stop: Stop) -> None:
    progress, button = st.columns([5, 1], vertical_alignment="center")
    progress.progress(share_done(run), text=plain(progress_text(run, now)))
    if may_run(the_arena()):
        button.button("Cancel", key=f"cancel-{run.id}", on_click=stop, args=(run.id,), width="stretch")
    silence = now - run.heartbeat_at
    if silence > QUIET_AFTER:
        st.warning(
            f"Run {run.id} has said nothing for {clock(silence)}. If that goes on, cancel it and start it again."
        )


def again(resume: Resume, run_id: int) -> None:
    with said_plainly():
        st.toast(f"Run {resume(the_arena(), run_id)} goes on where run {run_id} stopped.")


def share_done(run: Run) -> float:
    return min(run.done / run.total, 1.0) if run.total else 0.0


def progress_text(run: Run, now: datetime) -> str:
    count = f" {run.done} of {run.total}" if run.total > 1 else ""
    return f"Run {run.id} · {run.subject} · {run.stage or 'starting'}{count} · {clock(now - run.started_at)}"


def clock(span: timedelta) -> str:
    minutes, seconds = divmod(max(0, int(span.total_seconds())), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
