"""Judging: ask a judge about the pairs it has not seen, and go on where it stopped.

    what is missing > battles > claimed pairs > verdicts of both orders > the ledger > votes on the judge's own board

What is missing is `judge_todo`'s to say, the asking is `judge_work`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from arena import matchmaking
from arena.domain import JudgeCard, Run, RunKind, RunState
from arena.errors import UsageError
from arena.services import judge_board, judges, runs
from arena.services.judge_board import Precision
from arena.services.judge_todo import Todo
from arena.services.judge_work import Work
from db.verdicts import Tally, Verdicts

if TYPE_CHECKING:
    from arena.bootstrap import Arena


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a run. See `judges` for `judge` and `options`.

    `limit`: so many verdicts at most. `budget_usd`: no more money than this. `until`: a contestant whose 95% interval
    is at most so many rating points to either side needs no more verdicts. `again`: ask about unscored pairs again.
    """

    judge: str
    options: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    budget_usd: float | None = None
    until: float | None = None
    again: bool = False

    def __post_init__(self) -> None:
        for name in ("limit", "budget_usd", "until"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name} must be more than 0, got {value!r}; leave it out for no limit.")
        judges.checked_options(self.options)

    @property
    def parameters(self) -> dict[str, Any]:
        return {**asdict(self), "options": dict(self.options)}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a board holds for a judge: cells (two contestants and a prompt that both have an image of), and of these
    how many it has met, how many are missing, and how many of the missing ones people voted on."""

    cells: int
    met: int
    missing: int
    voted: int


@dataclass(frozen=True, slots=True)
class CameTo:
    """What a run came to: its own verdicts counted, and the judge's board afterwards. The judge is None where the run
    had nothing to ask it."""

    run: Run
    judge_id: str | None
    tally: Tally
    precision: Precision | None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON with the documented keys; None for what is not known."""
        known = self.precision
        return {
            "run": self.run.id, "state": self.run.state.value, "message": self.run.message, "judge": self.judge_id,
            "verdicts": self.tally.asked, "scored": self.tally.scored, "inconsistent": self.tally.inconsistent,
            "unscored": self.tally.asked - self.tally.scored, "seconds": self.tally.seconds,
            "cost_usd": self.tally.cost_usd, "board_verdicts": known and known.verdicts,
            "half_width": known and known.mean, "points_per_verdict": known and known.points_per_verdict,
        }  # fmt: skip


def known(arena: Arena) -> list[JudgeCard]:
    """Every judge that was let judge here, in the order in which they came."""
    return Verdicts(arena.store).judges()


def newest(arena: Arena, source: str) -> str | None:
    """The voter id of the judge that was last made known by this name."""
    return Verdicts(arena.store).newest(source)


def tally(arena: Arena, judge_id: str) -> Tally:
    """A judge's verdicts, counted."""
    return Verdicts(arena.store).tally(judge_id)


def plan(arena: Arena, source: str) -> Plan:
    """What the judge of this name has yet to see; everything for one that has not judged here yet."""
    judge_id = Verdicts(arena.store).newest(source)
    everything = matchmaking.candidates(arena.store.prompts_with_images())
    cells = sum(map(len, everything.values()))
    todo = Todo(arena, judge_id or "", Random(0))
    return Plan(cells, todo.met, len(todo), len(todo.voted))


# Runs


def start(arena: Arena, request: Request) -> int:
    """Judge in another process; returns the run's id at once. Raises UnknownName, UsageError, EnvironmentFault."""
    judges.checked_name(request.judge)
    return runs.start(arena, RunKind.JUDGE, request.judge, request.parameters)


def run(arena: Arena, request: Request, watch: runs.Report | None = None) -> CameTo:
    """Judge in this process."""
    judges.checked_name(request.judge)
    started = arena.store.add_run(RunKind.JUDGE, request.judge, request.parameters)
    return came_to(arena, runs.perform(arena, started.id or 0, watch))


def resume(arena: Arena, run_id: int) -> int:
    """Start a run again that ended early; what it judged is not judged again. Raises what `start` raises."""
    found = runs.one(arena, run_id)
    if found.state is RunState.RUNNING:
        raise UsageError(f"Run {run_id} is still at work.")
    return start(arena, Request(**found.parameters))


def came_to(arena: Arena, run: Run) -> CameTo:
    ledger = Verdicts(arena.store)
    judge_id = ledger.judge_of_run(run.id or 0) or ledger.newest(run.subject)
    precision = judge_board.precision(arena, judge_id) if judge_id else None
    return CameTo(run, judge_id, ledger.tally(run_id=run.id), precision)


def job(arena: Arena, run: Run, report: runs.Report) -> runs.Ended:
    """The job behind a run of this kind."""
    request = Request(**run.parameters)
    judge = judges.open_judge(request.judge, request.options, arena.settings, request.budget_usd)
    ledger = Verdicts(arena.store)
    ledger.add_judge(judges.card(request.judge, judge))
    reason = Work(arena, judge, request, run.id or 0, report).do()
    return runs.Ended(said(ledger.tally(run_id=run.id), judge_board.precision(arena, judge.voter_id), reason))


def said(tally: Tally, precision: Precision, reason: str = "") -> str:
    """A run's end in one sentence."""
    if not tally.asked:
        return reason or "nothing was missing"
    sentence = f"{tally.asked} verdicts, {tally.inconsistent} inconsistent, {tally.asked - tally.scored} unscored"
    if precision.mean is not None and precision.points_per_verdict is not None:
        narrows = f"{precision.points_per_verdict:.2g}"
        sentence += f"; ±{precision.mean:.0f} points on average, one more verdict narrows it by {narrows}"
    return f"{sentence}; {reason}" if reason else sentence
