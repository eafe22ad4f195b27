"""`arena judge`: let a judge see the pairs it has not seen, and count its verdicts on a board of its own."""

from __future__ import annotations

import atexit
import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from arena.console import DataDir, Json, bar, err, out, stoppable
from arena.errors import UsageError
from arena.settings import load_settings

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from arena.services.judging import CameTo

app = typer.Typer()


@app.command()
def judge(
    judge: Annotated[
        str | None, typer.Option(help="teddy, local:FOLDER_OR_ID, openai:MODEL, scripted:RULE, or a model's folder.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="An option of the judge as name=value, such as base_url=http://…/v1.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="So many verdicts at most.")] = None,
    budget: Annotated[float | None, typer.Option(help="USD; stops before they would be overspent.")] = None,
    until: Annotated[
        float | None, typer.Option(help="Rating points; a model whose 95% interval is ± this needs no more verdicts.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Ask about unscored pairs again.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what is missing.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Judge the missing pairs of the board in both orders; goes on where it stopped."""
    from arena.services import judges

    settings = load_settings(data_dir=data_dir)
    source = judge or settings.judge
    options = parsed(option) if option else dict(settings.judge_options) if source == settings.judge else {}
    with _uncollected():
        if not plan and settings.data_dir.exists() and all(most is None or most > 0 for most in (limit, budget, until)):
            judges.prepare(source, options, settings, budget)

        from arena.bootstrap import open_arena
        from arena.services import judging

        arena = open_arena(settings)
    request = judging.Request(source, options, limit, budget, until, again)
    if plan:
        say_plan(arena, source, as_json)
        return
    with stoppable("every verdict so far is kept, run it again to go on"), bar("Judging", console=err) as update:
        came_to = judging.run(arena, request, lambda stage, done, total: update(stage, done, total, ""))
    atexit.register(gc.freeze)  # half a second less to the end: nothing is searched for garbage that goes anyway
    if as_json:
        print(json.dumps(came_to.as_json()))
        return
    say(arena, came_to)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector: it takes a fifth of the time of imports, and finds nothing in them."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def parsed(options: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs; a value that is JSON is taken as such, any other as text. Raises UsageError without "="."""
    found: dict[str, Any] = {}
    for option in options:
        name, sign, value = option.partition("=")
        if not sign or not name.isidentifier():
            raise UsageError(f"An option of a judge is name=value, such as base_url=http://localhost:8000/v1, not "
                             f"{name[:40]!r} without a value.")  # fmt: skip
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def say_plan(arena: Arena, source: str, as_json: bool) -> None:
    from dataclasses import asdict

    from arena.services import judging

    found = judging.plan(arena, source)
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        out.print(
            f"{found.missing} pairs are missing, {found.voted} of them with votes of people; {found.met} were seen.",
            highlight=False,
        )


def say(arena: Arena, came_to: CameTo) -> None:
    """What the run came to, and the judge's board."""
    from arena.errors import DataError
    from arena.services import judge_board

    out.print(f"{came_to.judge_id or came_to.run.subject}: {came_to.run.message}.", soft_wrap=True, markup=False)
    if came_to.judge_id is None:
        return
    try:
        board = judge_board.board(arena, came_to.judge_id)
    except DataError as error:
        err.print(f"note: {error}", markup=False)
        return
    table = Table(title=f"The judge alone, unchecked: {board.n_votes} verdicts, mean 1000, 95% intervals")
    for heading in ("Ranks", "Model", "Rating", "±", "Verdicts", "Both bad"):
        table.add_column(heading, justify="left" if heading == "Model" else "right")
    for row in board.board:
        known = row.rating is not None and row.high is not None
        table.add_row(
            f"{row.rank_low}–{row.rank_high}" if known else "–", escape(row.model),
            f"{row.rating:.0f}" if known else "–", f"{row.high - row.rating:.0f}" if known else "–",
            str(row.votes), "–" if row.both_bad_rate is None else f"{row.both_bad_rate:.0%}",
        )  # fmt: skip
    out.print(table)
