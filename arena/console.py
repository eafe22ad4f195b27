"""What the commands share: where they print, the options many of them take, progress, and a quiet Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

out = Console()
err = Console(stderr=True, soft_wrap=True)
QUIET_SECONDS = 5

DataDir = Annotated[Path | None, typer.Option(help="Where the database and images live (default: arena-data).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@contextmanager
def stoppable(consequence: str) -> Iterator[None]:
    """Ctrl-C ends the command with a sentence and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        err.print(f"arena: stopped; {consequence}.")
        raise typer.Exit(130) from None


@contextmanager
def bar(title: str, console: Console = out) -> Iterator[Callable[[str, int, int, str], None]]:
    """A progress bar, or a line every few seconds where nobody watches; yields update(stage, done, total, note)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=None, note="")
        said = time.monotonic()

        def update(stage: str, done: int, total: int, note: str) -> None:
            nonlocal said
            progress.update(task, description=f"{title}: {stage}", completed=done, total=total or None, note=note)
            if not console.is_terminal and (done == total or time.monotonic() - said > QUIET_SECONDS):
                said = time.monotonic()
                console.print(f"{title}: {stage} {done}/{total} {note}", soft_wrap=True, highlight=False)

        yield update
