"""`arena fid`, `kid`, `metrics`, `inspect` and `stats`: folders of images in, figures out; no database needed."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from arena.console import DataDir, Json, bar, err, out, stoppable
from arena.errors import DataError, UsageError
from arena.settings import Settings, load_settings

if TYPE_CHECKING:
    from evaluators.distribution.measure import Difference, Figure, Measurement, Setup

app = typer.Typer()

Folders = Annotated[
    list[Path], typer.Argument(help="REAL GENERATED, or GENERATED alone with --reference; each may be a .npz file.")
]
ReferenceName = Annotated[
    str | None,
    typer.Option("--reference", help="A reference set of `arena stats --name`, or a .npz file, in place of REAL."),
]
Limit = Annotated[int | None, typer.Option(min=2, help="Use the first N images of each folder.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Images a forward pass (default: 8 on a CPU, 64 on a GPU).")]
Device = Annotated[
    str | None,
    typer.Option(help="auto (cuda where there is one, else cpu), cpu, cuda, cuda:1, …; default: the setting, auto."),
]
Engine = Annotated[
    Literal["torch", "openvino"] | None,
    typer.Option(help="What runs the network on a CPU; default: the setting, torch."),
]
Weights = Annotated[Path | None, typer.Option(help="The network's weights; otherwise found, see `arena doctor`.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither read nor keep features.")]
Csv = Annotated[
    bool,
    typer.Option(
        "--csv",
        help="Print comma-separated values and nothing else: a row a figure, and with --versus one a difference, whose "
        "column `minus` names the other folder.",
    ),
]
Versus = Annotated[
    Path | None, typer.Option(help="Another generated folder: the difference on images of the same names.")
]
ProtocolName = Annotated[str, typer.Option(help="Which FID: an id of docs/fid.md, such as fid-pytorch@0.3.")]
CSV_COLUMNS = ("metric", "value", "debiased", "standard_error", "low", "high", "n_real", "n_generated", "protocol",
               "fingerprint", "minus")  # fmt: skip
REFERENCES = "references"


@app.command()
def fid(
    folders: Folders,
    reference: ReferenceName = None,
    protocol: ProtocolName = "fid-clean@1",
    versus: Versus = None,
    limit: Limit = None,
    batch_size: BatchSize = None,
    device: Device = None,
    engine: Engine = None,
    weights: Weights = None,
    no_cache: NoCache = False,
    data_dir: DataDir = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Fréchet Inception distance between two sets of images, with its interval and what it means at this N."""
    settings = load_settings(data_dir=data_dir)
    _require_frechet(protocol)
    setup = _setup(settings, protocol, weights, device, engine, batch_size, no_cache)
    found, differences = _measured(settings, setup, folders, reference, [protocol], limit, versus)
    if not as_json:
        _show(found, differences, as_csv, versus)
        return
    [figure] = found.figures
    first = {
        "fid": figure.value,
        "n_real": figure.n_real,
        "n_generated": figure.n_generated,
        "protocol": figure.protocol.id,
        "fingerprint": figure.protocol.fingerprint,
        "seconds": found.seconds,
    }
    rest = {name: value for name, value in figure.as_json().items() if name not in (*first, "metric", "value")}
    _print_json({**first, **rest, "warnings": [*found.warnings, *figure.warnings]}, differences)


@app.command()
def kid(
    folders: Folders,
    reference: ReferenceName = None,
    versus: Versus = None,
    limit: Limit = None,
    batch_size: BatchSize = None,
    device: Device = None,
    engine: Engine = None,
    weights: Weights = None,
    no_cache: NoCache = False,
    data_dir: DataDir = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Kernel Inception distance (kid@1): unbiased at any N, all pairs, no random subsets."""
    settings = load_settings(data_dir=data_dir)
    setup = _setup(settings, "kid@1", weights, device, engine, batch_size, no_cache)
    found, differences = _measured(settings, setup, folders, reference, ["kid@1"], limit, versus)
    if as_json:
        [figure] = found.figures
        _print_json({"kid": figure.value, **figure.as_json(), "seconds": found.seconds}, differences)
    else:
        _show(found, differences, as_csv, versus)


@app.command()
def metrics(
    folders: Folders,
    wanted: Annotated[
        str, typer.Option("--metrics", help="Ids or names with commas between, or `all`: the arena's own.")
    ] = "all",
    reference: ReferenceName = None,
    versus: Versus = None,
    curve: Annotated[bool, typer.Option(help="Also of halves, quarters, … of the generated images.")] = False,
    limit: Limit = None,
    batch_size: BatchSize = None,
    device: Device = None,
    engine: Engine = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="NETWORK=PATH of a network's weights; may be repeated.")
    ] = None,
    no_cache: NoCache = False,
    data_dir: DataDir = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Every metric between two sets of images in one go: each image passes each network once."""
    from evaluators.distribution.measure import Setup

    settings = load_settings(data_dir=data_dir)
    paths = {**settings.known_weights, **dict(_network_and_path(text) for text in weights or ())}
    cache_dir = None if no_cache else settings.cache_dir
    setup = Setup(cache_dir, paths, device or settings.device, engine or settings.engine, batch_size)
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    found, differences = _measured(settings, setup, folders, reference, names, limit, versus, curve)
    if as_json:
        _print_json(found.as_json(), differences)
    else:
        _show(found, differences, as_csv, versus)
    if not found.figures:
        reasons = "; ".join(f"{metric}: {reason.rstrip('.')}" for metric, reason in found.unscored)
        raise DataError(f"Nothing was measured: {reasons}.")


@app.command()
def benchmark(
    models: Annotated[list[str] | None, typer.Argument(help="Models of the arena; all of them by default.")] = None,
    wanted: Annotated[
        str, typer.Option("--metrics", help="Ids with commas between: distances, and scores of text and image.")
    ] = "fid-clean@1,kid@1",
    reference: Annotated[
        str | None, typer.Option(help="A reference set of `arena stats --name`; by default the rendered teddies.")
    ] = None,
    n_real: Annotated[int, typer.Option("--n-real", min=2, help="Rendered teddies to compare with.")] = 500,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Score the arena's own images, as the Benchmarks page does, and keep the scores beside people's votes."""
    from arena.bootstrap import open_arena
    from arena.services import benchmarks

    arena = open_arena(load_settings(data_dir=data_dir))
    names = tuple(models or (contestant.name for contestant in benchmarks.contestants(arena)))
    metrics = tuple(name.strip() for name in wanted.split(",") if name.strip())
    request = benchmarks.Request(names, metrics, reference or benchmarks.TEDDIES, n_real)
    with stoppable("features so far are kept, run it again to go on"), _rates("Scoring") as update:
        run = benchmarks.run(arena, request, update)
    scores = [score for score in benchmarks.scores(arena) if score.run_id == run.id]
    if as_json:
        print(json.dumps({"run": run.id, "message": run.message, "scores": [benchmarks.as_json(s) for s in scores]}))
        return
    table = Table("Model", "Figure", "Value", "95% interval", "Images", "Protocol")
    for score in reversed(scores):
        facts = benchmarks.as_json(score)
        low, high = facts["low"], facts["high"]
        table.add_row(
            escape(score.subject), score.metric, score.unscored or f"{score.value:.4g}",
            "–" if low is None else f"{low:.4g} to {high:.4g}", "–" if facts["n"] is None else f"{facts['n']:,}",
            score.protocol.id,
        )  # fmt: skip
    out.print(table)


@app.command("inspect")
def inspect_sets(
    real: Annotated[Path, typer.Argument(help="Folder of real images.")],
    generated: Annotated[Path, typer.Argument(help="Folder of generated images.")],
    as_json: Json = False,
) -> None:
    """Say what two folders differ in before any network looks: sizes, formats, compression, alpha, grey, copies."""
    from evaluators.distribution.audit import audit_folders

    with stoppable("nothing was stored"), _rates("Looking") as update:
        found = audit_folders(real, generated, update)
    if as_json:
        print(json.dumps(found.as_json()))
        return
    table = Table("", "Real", "Generated")
    for name, show in (
        ("images", lambda side: str(side.n)),
        ("sizes", lambda side: _most(side.sizes)),
        ("formats", lambda side: _most(side.formats)),
        ("JPEG quality", lambda side: "–" if side.jpeg_quality is None else f"{side.jpeg_quality:.0f}"),
        ("with alpha", lambda side: str(side.alpha)),
        ("grey", lambda side: str(side.grey)),
        ("copies within", lambda side: str(side.copies)),
        ("marked as AI-made", lambda side: str(len(side.marked))),
    ):
        table.add_row(name, show(found.real), show(found.generated))
    out.print(table)
    for sentence in found.findings or ("Nothing that a distance would see apart from the pictures.",):
        out.print(f"- {escape(sentence)}", soft_wrap=True, highlight=False)


class _MakeByDefault(TyperGroup):
    """`arena stats DIR` means `arena stats make DIR`; a folder named like a command is written ./merge."""

    def parse_args(self, context: Any, arguments: list[str]) -> list[str]:
        if arguments and arguments[0] not in self.commands and arguments[0] not in ("--help", "-h"):
            arguments = ["make", *arguments]
        return super().parse_args(context, arguments)


stats = typer.Typer(
    cls=_MakeByDefault,
    no_args_is_help=True,
    help="Statistics of images as a file: made in parts, merged, and used in place of the images.",
)
app.add_typer(stats, name="stats")

Out = Annotated[Path, typer.Option("--out", "-o", help="The .npz file to write.")]


@stats.command("make")
def make_statistics(
    folder: Annotated[Path, typer.Argument(help="Folder of images.")],
    target: Annotated[Path | None, typer.Option("--out", "-o", help="The .npz file to write.")] = None,
    name: Annotated[str | None, typer.Option(help="Keep it as the reference set of that name instead.")] = None,
    protocol: ProtocolName = "fid-clean@1",
    shard: Annotated[str, typer.Option(help="i/N: only every N-th image from the i-th on.")] = "1/1",
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = 1,
    limit: Limit = None,
    batch_size: BatchSize = None,
    device: Device = None,
    engine: Engine = None,
    weights: Weights = None,
    no_cache: NoCache = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Count, mean and scatter of a folder's features, in memory that does not grow with it."""
    from evaluators.distribution import statistics
    from evaluators.distribution.cache import FeatureCache
    from evaluators.distribution.recipes import metric_recipe
    from evaluators.distribution.reference import build
    from evaluators.images import list_folder

    settings = load_settings(data_dir=data_dir)
    path = _statistics_path(settings, folder, target, name)
    if workers > 1:
        if shard != "1/1" or limit is not None:
            raise UsageError("--workers splits the folder itself: leave out --shard and --limit.")
        workers = min(workers, len(list_folder(folder).images) or 1)
    if workers > 1:
        saved = _by_workers(workers, folder, settings, protocol, device, engine, batch_size, weights, no_cache)
        facts, made = saved.facts, saved.statistics
        statistics.save(path, made, saved.protocol, **facts)
    else:
        setup = _setup(settings, protocol, weights, device, engine, batch_size, no_cache)
        extractor, cache = setup.extractor(metric_recipe(protocol)), FeatureCache(setup.cache_dir)
        with stoppable("what was computed is in the cache, run it again to go on"), _rates("Statistics") as update:
            built = build(folder, extractor, cache=cache, shard=_shard(shard), limit=limit, progress=update)
        cache.close()
        facts, made = built.facts, built.statistics
        _tell(built.report.dropped, built.report.notices)
        statistics.save(path, made, extractor.protocol, **facts)
    from evaluators.distribution.audit import marked_in

    for sentence in marked_in(folder):
        err.print(f"warning: {sentence}", markup=False, highlight=False)
    _saved(path, made, facts, as_json)


@stats.command("merge")
def merge_statistics(
    files: Annotated[list[Path], typer.Argument(help="Files of `arena stats`, in any order.")],
    target: Out,
    as_json: Json = False,
) -> None:
    """Put shards together: the same statistics as of all images at once."""
    from evaluators.distribution import statistics
    from evaluators.distribution.reference import merge

    saved = merge(files)
    if saved.facts["shards"] != [[1, 1]]:
        err.print(
            f"warning: {len(saved.facts['shards'])} of {saved.facts['shards'][0][1]} shards so far: merge the others "
            "to it before it is used.", markup=False,
        )  # fmt: skip
    statistics.save(target, saved.statistics, saved.protocol, **saved.facts)
    _saved(target, saved.statistics, saved.facts, as_json)


@stats.command("export")
def export_statistics(
    file: Annotated[Path, typer.Argument(help="A file of `arena stats`.")],
    target: Annotated[Path, typer.Argument(help="The .npz to write, with mu and sigma.")],
) -> None:
    """Write mu and sigma as pytorch-fid and clean-fid read them."""
    from evaluators.distribution import statistics
    from evaluators.distribution.reference import require_whole

    saved = statistics.load(file)
    require_whole(file, saved)
    statistics.export_npz(target, saved.statistics.moments)
    out.print(f"mu and sigma of {saved.statistics.n} images in {str(target)!r}.", soft_wrap=True, markup=False)


def _setup(
    settings: Settings,
    protocol: str,
    weights: Path | None,
    device: str | None,
    engine: str | None,
    batch_size: int | None,
    no_cache: bool,
) -> Setup:
    from evaluators.distribution.measure import Setup
    from evaluators.distribution.recipes import feature_recipe, metric_recipe

    paths = dict(settings.known_weights)
    if weights is not None:
        paths[feature_recipe(metric_recipe(protocol).features).network] = weights
    cache_dir = None if no_cache else settings.cache_dir
    return Setup(cache_dir, paths, device or settings.device, engine or settings.engine, batch_size)


def _require_frechet(protocol: str) -> None:
    from evaluators.distribution.recipes import metric_recipe

    recipe = metric_recipe(protocol)
    if recipe.distance != "frechet":
        raise UsageError(f"{recipe.id} is not a Fréchet distance: use `arena metrics --metrics {recipe.id}`.")


def _network_and_path(text: str) -> tuple[str, Path]:
    network, equals, path = text.partition("=")
    if not equals:
        raise UsageError(f"--weights takes NETWORK=PATH, got {text!r}.")
    return network, Path(path)


def _measured(
    settings: Settings,
    setup: Setup,
    folders: Sequence[Path],
    reference: str | None,
    names: Sequence[str],
    limit: int | None,
    versus: Path | None,
    curve: bool = False,
) -> tuple[Measurement, list[Difference]]:
    from evaluators.distribution.measure import differences, measure

    real, generated = _sides(settings, folders, reference)
    if versus and generated.suffix == ".npz":
        raise UsageError("--versus compares image by image: give the folder of the generated images, not a .npz file.")
    with stoppable("what was computed is in the cache, run it again to go on"), _rates("Measuring") as update:
        found = measure(real, generated, names, setup=setup, limit=limit, curve=curve, progress=update)
        compared = differences(found, versus, setup=setup, limit=limit, progress=update) if versus else []
    for line in found.converted:
        err.print(f"converted: {line[0]}: {line[1]}", markup=False)
    for metric, reason in found.unscored:
        err.print(f"unscored: {metric}: {reason}", markup=False)
    _tell(found.dropped, [*found.warnings, *_said(found.figures)])
    return found, compared


def _said(figures: Sequence[Figure]) -> list[str]:
    return list(dict.fromkeys(f"{figure.metric}: {warning}" for figure in figures for warning in figure.warnings))


def _sides(settings: Settings, folders: Sequence[Path], reference: str | None) -> tuple[Path, Path]:
    if reference is not None and len(folders) == 1:
        return _reference_path(settings, reference), folders[0]
    if reference is None and len(folders) == 2:
        return folders[0], folders[1]
    given = " ".join(map(str, folders))
    raise UsageError(f"Give REAL and GENERATED, or --reference NAME and GENERATED; got {given!r}.")


def _reference_path(settings: Settings, name: str) -> Path:
    named = settings.data_dir / REFERENCES / f"{name}.npz"
    if Path(name).suffix == ".npz":
        return Path(name)
    if not named.is_file():
        known = sorted(path.stem for path in named.parent.glob("*.npz"))
        raise UsageError(
            f"There is no reference set {name!r}: known: {', '.join(known) or 'none yet'}; "
            f"make it with `arena stats FOLDER --name {name}`."
        )
    return named


def _statistics_path(settings: Settings, folder: Path, target: Path | None, name: str | None) -> Path:
    if (target is None) == (name is None):
        raise UsageError("Say where the statistics go: --out FILE.npz, or --name NAME for a reference set.")
    if name is not None:
        if not name or set(name) & set("/\\") or name.startswith("."):
            raise UsageError(f"A reference set's name is a plain word, got {name!r}.")
        return settings.data_dir / REFERENCES / f"{name}.npz"
    assert target is not None
    if target.suffix != ".npz":
        raise UsageError(f"Statistics are kept in a .npz file, got {str(target)!r}.")
    return target


def _shard(text: str) -> tuple[int, int]:
    i, slash, n = text.partition("/")
    if not slash or not i.isdecimal() or not n.isdecimal() or not 1 <= int(i) <= int(n):
        raise UsageError(f"--shard is i/N with 1 <= i <= N, got {text!r}.")
    return int(i), int(n)


def _by_workers(
    workers: int,
    folder: Path,
    settings: Settings,
    protocol: str,
    device: str | None,
    engine: str | None,
    batch_size: int | None,
    weights: Path | None,
    no_cache: bool,
) -> Any:
    """Each worker makes a shard in a process of its own; one that dies is started once more and goes on."""
    from evaluators.distribution.workers import merged_shards

    options = ["--protocol", protocol]
    options += ["--device", device] if device else []
    options += ["--engine", engine] if engine else []
    options += ["--batch-size", str(batch_size)] if batch_size else []
    options += ["--weights", str(weights)] if weights else []
    options += ["--no-cache"] if no_cache else []
    program = [sys.executable, "-m", "arena.cli", "stats", "make", str(folder), *options]
    with stoppable("what was computed is in the cache, run it again to go on"):
        return merged_shards(program, workers, settings.as_environment(), settings.cache_dir)


def _saved(path: Path, made: Any, facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"file": str(path), "n": made.n, "dim": made.dim, "dropped": facts.get("dropped", 0)}))
        return
    out.print(f"Statistics of {made.n} images in {str(path)!r}.", soft_wrap=True, markup=False)


def _tell(dropped: Sequence[tuple[str, str]], warnings: Sequence[str]) -> None:
    for path, reason in dropped:
        err.print(f"dropped: {path}: {reason}", markup=False)
    for warning in warnings:
        err.print(f"warning: {warning}", markup=False)


def _print_json(found: dict[str, Any], differences: Sequence[Difference]) -> None:
    versus = {"versus": [one.as_json() for one in differences]} if differences else {}
    print(json.dumps({**found, **versus}))


def _show(found: Measurement, differences: Sequence[Difference], as_csv: bool, versus: Path | None) -> None:
    if as_csv:
        rows = csv.DictWriter(sys.stdout, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
        rows.writeheader()
        rows.writerows(figure.as_json() for figure in found.figures)
        rows.writerows({**one.as_json(), "n_generated": one.n, "minus": versus} for one in differences)
        return
    if not found.figures:
        return
    table = Table()
    for heading in ("Figure", "Value", "Debiased", "95% interval"):
        table.add_column(heading, justify="left" if heading == "Figure" else "right", no_wrap=True)
    for one in found.figures:
        of = "" if one.protocol.name == one.metric else f"{one.metric}, "
        table.add_row(
            of + one.protocol.id, _short(one.value), _or_dash(one.debiased), _interval(one.low, one.high)
        )  # fmt: skip
    out.print(table)
    for one in {figure.protocol.id: figure.protocol for figure in found.figures}.values():
        out.print(f"{one.id}: fingerprint {one.fingerprint[:16]}…", highlight=False)
    for one in differences:
        closer = "first" if one.high < 0 else "second" if one.low > 0 else "neither certainly"
        out.print(
            f"{one.metric}, first minus second on {one.n} pairs: {_short(one.value)} "
            f"({_interval(one.low, one.high)}); closer: {closer}",
            soft_wrap=True,
        )
    for one in found.figures:
        for n, value in one.details.get("curve", ()):
            out.print(f"{one.metric} of {n:.0f} generated images: {_short(value)}")
    counts = found.figures[0]
    sizes = f"{counts.n_real or 'unknown'} real and {counts.n_generated or 'unknown'} generated images"
    out.print(
        f"{sizes}; {found.cached} of {found.images} features from the cache, {found.seconds:.1f} s", highlight=False
    )


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{_short(low)} … {_short(high)}"


def _or_dash(value: float | None) -> str:
    return "–" if value is None else _short(value)


def _short(value: float) -> str:
    """Four decimals for a figure about 1 and above, four digits below."""
    return f"{value:.4f}" if abs(value) >= 0.1 else f"{value:.4g}"


def _most(counted: Sequence[Sequence[Any]], shown: int = 3) -> str:
    named = [f"{name} ({count})" for name, count in counted[:shown]]
    return ", ".join(named) + (f" and {len(counted) - shown} more" if len(counted) > shown else "")


@contextmanager
def _rates(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr that says images a second."""
    with bar(title, console=err) as update:
        began: dict[str, float] = {}

        def report(stage: str, done: int, total: int) -> None:
            seconds = time.monotonic() - began.setdefault(stage, time.monotonic())
            note = f"{(done - 1) / seconds:.1f} images/s" if done > 1 and seconds > 0.2 else ""
            update(stage, done, total, note)

        yield report
