"""`arena …`: the same services as the pages, from the command line.

Exit codes: 0 done, 1 an error said in one sentence, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from arena import cli_admin, cli_contestants, cli_exchange, cli_import, cli_judge, cli_metrics
from arena.console import DataDir, Json, bar, err, out, stoppable
from arena.errors import ArenaError, EnvironmentFault
from arena.settings import TOML_FILE, Settings, load_settings

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from arena.services import generation

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The image-generation arena: blind votes on pairs of images, Elo ratings, FID.",
)


app.add_typer(cli_metrics.app)
app.add_typer(cli_judge.app)
app.add_typer(cli_contestants.app)
app.add_typer(cli_admin.app)
app.add_typer(cli_import.app)
app.add_typer(cli_exchange.app)


def main() -> None:
    """Run the command; an ArenaError becomes one sentence on stderr and exit code 1."""
    try:
        app()
    except ArenaError as error:
        err.print(f"arena: {error}", markup=False, highlight=False)
        raise SystemExit(1) from None


def _open(settings: Settings, *, prepare: bool = False) -> Arena:
    from arena.bootstrap import open_arena

    return open_arena(settings, prepare=prepare)


@app.command()
def init(data_dir: DataDir = None) -> None:
    """Prepare the data folder and database, and register the embedded teddies with their prompts."""
    settings = load_settings(data_dir=data_dir)
    _init(settings)
    out.print(f"Ready in {str(settings.data_dir)!r}: next `arena generate`, then `arena serve`.", soft_wrap=True)


def _init(settings: Settings) -> Arena:
    from arena.services import teddies

    arena = _open(settings, prepare=True)
    for sentence in teddies.register(arena):
        err.print(f"note: {sentence}", markup=False)
    if settings.contestants:
        from arena.services import contestants

        contestants.add(arena, contestants.from_file(Path(TOML_FILE)))
    return arena


@app.command()
def demo(
    data_dir: DataDir = None,
    port: Annotated[int | None, typer.Option(help="Port of the page (default: 8501).")] = None,
) -> None:
    """Everything in one go: init, generate what is missing, serve. Run it again to go on where it stopped."""
    settings = load_settings(data_dir=data_dir, port=port)
    _require_free_port(settings)
    arena = _init(settings)
    if free := _free(arena):  # an empty list would be all of them
        for name, reason in _generate(arena, free).unavailable.items():
            err.print(f"note: {name} stays out: {reason}", markup=False)
    _serve(settings)


def _free(arena: Arena) -> list[str]:
    """Contestants that this command draws with: it asks for no budget, so those that cost money stay out."""
    from arena.services import generation

    paying = {one.id for one in generation.paying(arena)}
    for one in generation.plan(arena):
        if one.id in paying:
            err.print(f"note: {one.name} costs money; `arena generate --budget USD` makes its images.", markup=False)
    return [one.name for one in generation.plan(arena) if one.id not in paying]


@app.command()
def serve(
    data_dir: DataDir = None,
    port: Annotated[int | None, typer.Option(help="Port of the page (default: 8501).")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: localhost).")] = None,
) -> None:
    """Serve the arena's pages."""
    settings = load_settings(data_dir=data_dir, port=port, host=host)
    _require_free_port(settings)
    _open(settings)
    _serve(settings)


def _require_free_port(settings: Settings) -> None:
    from arena.services.doctor import port_is_free

    if not port_is_free(settings.host, settings.port):
        raise EnvironmentFault(
            f"Port {settings.port} on {settings.host} is in use; stop what runs there or choose another with --port."
        )


def page_file() -> Path:
    """app.py: beside the packages in a checkout, inside the package when installed from a wheel."""
    package = Path(__file__).parent
    for candidate in (package.parent / "app.py", package / "app.py"):
        if candidate.is_file():
            return candidate
    raise EnvironmentFault(f"app.py was not found beside {str(package)!r}; reinstall the package.")


def _serve(settings: Settings) -> None:
    """Become the page's process: a fresh one, so that nothing heavy that was imported here lives on in it."""
    page = page_file()
    out.print(f"\n[bold]The arena is at http://{settings.host}:{settings.port}[/bold]  (Ctrl-C stops it)\n")
    sys.stdout.flush()
    arguments = [
        sys.executable, "-m", "streamlit", "run", str(page),
        "--server.port", str(settings.port), "--server.address", settings.host, "--server.headless", "true",
    ]  # fmt: skip
    os.execve(sys.executable, arguments, {**os.environ, **settings.as_environment()})


@app.command()
def generate(
    contestant: Annotated[list[str] | None, typer.Option(help="Only this contestant; may be repeated.")] = None,
    prompts: Annotated[str, typer.Option(help="Only this prompt set: its name, or name@hash for an older one.")] = "",
    images_per_prompt: Annotated[int, typer.Option(min=1, help="How many seeds per prompt.")] = 1,
    retry_failed: Annotated[bool, typer.Option(help="Try again what failed before.")] = False,
    budget: Annotated[float | None, typer.Option(help="USD; stops before they would be overspent.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many, how long and how much.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Make the missing images of every (contestant, prompt, seed); goes on where it stopped."""
    settings = load_settings(data_dir=data_dir)
    arena = _open(settings)
    if dry_run:
        _say_estimate(arena, contestant or (), images_per_prompt, retry_failed, prompts)
        return
    report = _generate(arena, contestant or (), images_per_prompt, retry_failed, prompts, budget)
    for name, reason in report.unavailable.items():
        err.print(f"arena: {name} stays out: {reason}", markup=False)
    if report.unspent:
        err.print(f"arena: stopped by {report.unspent}.", markup=False)
    if report.unavailable or report.unspent:
        raise typer.Exit(1)


def _say_estimate(
    arena: Arena, names: list[str] | tuple[str, ...], per_prompt: int, retry_failed: bool, prompt_set: str
) -> None:
    from arena.services import generation

    found = generation.estimate(arena, generation.plan(arena, names, per_prompt, retry_failed, prompt_set))
    table = Table(title=f"{sum(one.images for one in found):,} images are missing")
    for heading in ("Model", "Images", "Minutes", "from", "USD", "from"):
        table.add_column(heading, justify="left" if heading in ("Model", "from") else "right")
    for one in found:
        minutes = None if one.seconds is None else one.seconds / 60
        table.add_row(
            escape(one.contestant), f"{one.images:,}", _number(minutes, "{:.1f}"), one.seconds_source,
            _number(one.usd, "{:.2f}"), one.usd_source,
        )  # fmt: skip
    out.print(table)
    sums = [[getattr(one, what) for one in found] for what in ("seconds", "usd")]
    minutes, usd = (sum(filter(None, values)) for values in sums)
    open_ends = ", and more where it is not known" if any(None in values for values in sums) else ""
    out.print(f"In all: {minutes / 60:.1f} minutes, {usd:.2f} USD{open_ends}.", highlight=False)


def _generate(
    arena: Arena,
    names: list[str] | tuple[str, ...] = (),
    images_per_prompt: int = 1,
    retry_failed: bool = False,
    prompt_set: str = "",
    budget: float | None = None,
) -> generation.Report:
    from arena.services import display, generation

    missing = generation.plan(arena, names, images_per_prompt, retry_failed, prompt_set)
    total = sum(map(len, missing.values()))
    failed_before = sum(
        attempt.failure is not None for contestant in missing for attempt in arena.store.generations(contestant.id or 0)
    )
    if not total:
        display.prepare(arena)
        out.print(f"Every image is there{_failures(failed_before, retry_failed)}.")
        return generation.Report()
    with stoppable("what was made is kept, run it again to go on"), bar("Generating") as update:
        report = generation.fill(
            arena,
            missing,
            generation.backends(arena),
            lambda p: update(p.contestant, p.done, p.total, f"{p.seconds_per_image:.2f} s each"),
            budget,
        )
        display.prepare(arena)
    spent = f" for {report.spent_usd:.4f} USD" if report.spent_usd else ""
    failures = _failures(failed_before, retry_failed)
    out.print(f"{report.made} images made{spent}, {len(report.failed)} failed{failures}.", highlight=False)
    for line in report.failed[:10]:
        err.print(f"failed: {line}", markup=False)
    return report


def _failures(count: int, retried: bool) -> str:
    return f"; {count} failed earlier, --retry-failed tries them again" if count and not retried else ""


@app.command()
def board(
    category: Annotated[str | None, typer.Option(help="Only prompts of this category.")] = None,
    bootstraps: Annotated[int, typer.Option(min=0, help="Rounds of the bootstrap whose intervals --json adds.")] = 0,
    weighted: Annotated[bool, typer.Option(help="Weigh votes as if every pair had been drawn equally often.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Print the leaderboard."""
    from arena.domain import VoteFilter
    from arena.services import leaderboard as service

    arena = _open(load_settings(data_dir=data_dir))
    result = service.leaderboard(arena, VoteFilter(category=category), rounds=bootstraps, weighted=weighted)
    if as_json:
        print(json.dumps(service.as_json(result)))
        return
    table = Table(title=f"Bradley–Terry board of {result.votes} votes, mean 1000, 95% intervals")
    for heading in ("Rank", "Model", "Rating", "±", "Elo", "Votes", "W", "L", "T", "Both bad", "s/image", ""):
        table.add_column(heading, justify="left" if heading in ("Model", "") else "right")
    for row in result.rows:
        ranks = "–" if row.rank is None else f"{row.rank_low}–{row.rank_high}"
        half = None if row.rating is None or row.high is None else row.high - row.rating
        table.add_row(
            ranks, escape(row.name), _number(row.rating, "{:.1f}"), _number(half, "{:.1f}"), _number(row.elo, "{:.1f}"),
            str(row.votes), str(row.wins), str(row.losses), str(row.ties), _number(row.both_bad_rate, "{:.0%}"),
            _number(row.seconds_per_image, "{:.2f}"), row.status if row.rating is not None else "not rated",
        )  # fmt: skip
    out.print(table)
    for warning in result.warnings:
        err.print(f"note: {warning}", markup=False)


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


@app.command()
def rate(
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines or Parquet with model_a, model_b, winner.")],
    system: Annotated[Literal["bt", "elo", "davidson"], typer.Option(help="How votes become ratings.")] = "bt",
    ties: Annotated[
        Literal["half", "drop"] | None, typer.Option(help="A tie is half a win for both (default), or is left out.")
    ] = None,
    category: Annotated[str | None, typer.Option(help="Only the votes of this category.")] = None,
    cluster: Annotated[
        Literal["voter", "prompt", "none"] | None,
        typer.Option(help="Whose votes hang together (default: a voter's, if the file says who voted)."),
    ] = None,
    k: Annotated[float | None, typer.Option(help="Elo's step K (default: 4).")] = None,
    as_json: Json = False,
) -> None:
    """Rate a file of votes; needs no database."""
    from arena.services.rating_files import rate as rate_file

    result = rate_file(file, system, ties=ties, category=category, cluster=cluster, k=k)
    if as_json:
        print(json.dumps(result.as_json()))
        return
    for warning in result.warnings:
        err.print(f"warning: {warning}", markup=False, highlight=False)
    table = Table(title=f"{system} board of {result.n_votes} votes" + ("" if system == "elo" else ", 95% intervals"))
    for heading in ("#", "Ranks", "Model", "Rating", "±", "Votes", "Both bad", ""):
        table.add_column(heading, justify="left" if heading in ("Model", "") else "right", overflow="fold")
    for row in result.board:
        name = "".join(c if c.isprintable() else repr(c)[1:-1] for c in row.model)
        half = None if row.rating is None or row.high is None else row.high - row.rating
        table.add_row(
            _or_dash("{}", row.rank), _or_dash("{}–{}", row.rank_low, row.rank_high),
            escape(name if len(name) <= 60 else name[:59] + "…"), _or_dash("{:.1f}", row.rating),
            _or_dash("{:.1f}", half), str(row.votes), _or_dash("{:.0%}", row.both_bad_rate),
            row.status,
        )  # fmt: skip
    out.print(table)


def _or_dash(pattern: str, *values: float | None) -> str:
    return "–" if None in values else pattern.format(*values)


@app.command("audit")
def audit_votes(
    category: Annotated[str | None, typer.Option(help="Only prompts of this category.")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Say what moves votes beside the models: the side, the look of the images, voters unlike the rest."""
    from arena.domain import VoteFilter
    from arena.services import audit as service

    found = service.audit(_open(load_settings(data_dir=data_dir)), VoteFilter(category=category))
    if as_json:
        print(json.dumps(asdict(found)))
        return
    for influence in ([found.left] if found.left else []) + list(found.style):
        out.print(f"{influence.name}: {influence.points:+.1f} points ({influence.low:+.1f} to {influence.high:+.1f})")
    out.print(f"{len(found.voters)} of {found.voters_in_all} voters have enough votes to be judged.")
    for voter in found.voters[:10]:
        agreed = "" if voter.agreement is None else f", agrees with the rest in {voter.agreement:.0%}"
        out.print(
            f"voter {voter.number}: {voter.votes} votes, reliability {voter.reliability:.2f} "
            f"({voter.low:.2f} to {voter.high:.2f}){agreed}",
            soft_wrap=True,
        )
    for note in found.notes:
        err.print(f"note: {note}", markup=False)


@app.command()
def agreement(
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines or Parquet with human, judge; optional order, pair.")],
    as_json: Json = False,
) -> None:
    """Hold a judge's verdicts against human votes on the same pairs; needs no database."""
    from arena.services.agreement import agreement as hold

    report = hold(file)
    if as_json:
        print(json.dumps(report.as_json()))
        return
    out.print(report.verdict.sentence, style="bold green" if report.verdict.sound else "bold red", highlight=False)
    table = Table(title=f"{report.agreement.n} pairs with a human vote, 95% intervals")
    for heading in ("", "Value", "From", "To", "Of"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, estimate, of in report.figures():
        value, low, high = (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)
        table.add_row(name, *(_number(figure, "{:.3f}") for figure in (value, low, high)), str(of))
    out.print(table)
    if report.without_vote:
        err.print(f"note: {report.without_vote} pairs have no human vote and are left out.", markup=False)


votes_app = typer.Typer(no_args_is_help=True, help="Votes in and out: files of votes cast elsewhere, and our own.")
app.add_typer(votes_app, name="votes")


@votes_app.command("import")
def import_votes(
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines, a JSON list or Parquet; see `arena rate --help`.")],
    data_dir: DataDir = None,
) -> None:
    """Add a file's votes to the board of people's votes: all of them, or none."""
    from arena.services import exchange

    report = exchange.import_votes(_open(load_settings(data_dir=data_dir)), file)
    new = f", {len(report.new_contestants)} new models" if report.new_contestants else ""
    named = f"; {report.named:,} cast with names in sight are left out" if report.named else ""
    out.print(f"{report.votes:,} votes imported from {str(file)!r}{new}{named}.", soft_wrap=True, markup=False)


@votes_app.command("export")
def export_votes(
    file: Annotated[Path, typer.Argument(help="What to write: .csv, .jsonl or .parquet.")], data_dir: DataDir = None
) -> None:
    """Write every vote that counts; `arena rate FILE` makes the same board of it."""
    from arena.services import exchange

    count = exchange.export_votes(_open(load_settings(data_dir=data_dir)), file)
    out.print(f"{count:,} votes in {str(file)!r}.", soft_wrap=True, markup=False)


@app.command()
def replay(data_dir: DataDir = None) -> None:
    """Rate every vote again from the first, and check that the live ratings are the same to the last bit."""
    from arena.rating import elo
    from arena.services.battles import BOARD

    settings = load_settings(data_dir=data_dir)
    arena = _open(settings)
    votes = arena.store.voted_pairs()
    live, again = arena.store.cached_ratings(BOARD), elo.replay(votes, settings.k_factor)
    if live != again:
        raise ArenaError(f"The live ratings {live} are not the replay's {again}; the next vote computes them anew.")
    out.print(f"{len(votes)} votes replayed: {len(live)} live ratings are equal to the last bit.")


@app.command("run", hidden=True)
def run_job(run_id: int) -> None:
    """The process behind a run that a page started."""
    from arena.services import runs

    runs.perform(_open(load_settings()), run_id)


@app.command("derive", hidden=True)
def derive(
    give_way: Annotated[bool, typer.Option("--give-way", help="Run when nothing else wants to.")] = False,
) -> None:
    """The process that counts many votes for the pages: questions on stdin, answers on stdout."""
    from arena.services import deriving

    if give_way and hasattr(os, "nice"):
        os.nice(19)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not end up among the answers
    deriving.end_with_parent()
    deriving.serve(_open(load_settings()), sys.stdin.buffer, answers)


@app.command()
def teddies(
    folder: Annotated[Path, typer.Argument(help="Where to write the PNG files.")],
    n: Annotated[int, typer.Option(min=1, help="How many.")] = 500,
    seed: Annotated[int, typer.Option(help="Same seed, same images.")] = 0,
) -> None:
    """Write rendered teddies, the real images of the embedded world, into a folder."""
    from arena.services.teddies import write_rendered

    write_rendered(folder, n, seed)
    out.print(f"{n} rendered teddies in {str(folder)!r}.", soft_wrap=True)


@app.command()
def doctor(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Say what is installed, which weights are found, what is missing (then exit code 1) and how to get it."""
    from arena.services.doctor import Verdict, examine

    findings = examine(load_settings(data_dir=data_dir))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        marks = {Verdict.OK: "[green]ok[/green]     ", Verdict.OPTIONAL: "[yellow]–[/yellow]      "}
        for finding in findings:
            mark = marks.get(finding.verdict, "[red]missing[/red]")
            out.print(f"{mark} [bold]{escape(finding.subject)}[/bold]: {escape(finding.found)}", soft_wrap=True)
            if finding.remedy:
                out.print(f"          {escape(finding.remedy)}", soft_wrap=True, highlight=False)
    if any(finding.verdict is Verdict.MISSING for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
