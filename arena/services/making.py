"""The process that makes pictures: what is missing, or voters' own prompts as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena.services import generation, own_prompts, runs

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from arena.domain import Run


def job(arena: Arena, run: Run, report: runs.Report) -> runs.Ended:
    """The job behind every run that makes pictures."""
    wanted = own_prompts.job if run.subject == own_prompts.SUBJECT else generation.job
    return wanted(arena, run, report)
