"""The process behind a run, as `arena run ID` is, with a job that does as its parameters say."""

from __future__ import annotations

import os
import signal
import sys
import time

from arena.bootstrap import Arena, open_arena
from arena.domain import Run, RunKind
from arena.errors import DataError
from arena.services import runs
from arena.settings import load_settings


def job(arena: Arena, run: Run, report: runs.Report) -> runs.Ended:
    """`steps` steps of `seconds` each; the end may be "error", "bug" or "kill"."""
    asked = run.parameters
    for step in range(asked.get("steps", 1)):
        report("working", step, asked.get("steps", 1))
        time.sleep(asked.get("seconds", 0))
    if asked.get("end") == "error":
        raise DataError("The folder is empty; fill it.")
    if asked.get("end") == "bug":
        raise ZeroDivisionError("division by zero")
    if asked.get("end") == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return runs.Ended("all done")


if __name__ == "__main__":
    runs.JOBS[RunKind.JUDGE] = f"{__name__}:job"
    runs.perform(open_arena(load_settings()), int(sys.argv[1]))
