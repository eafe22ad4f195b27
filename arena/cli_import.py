"""`arena images`, `arena prompts`: images that people already have, and sets of prompts, in and out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from arena.console import DataDir, Json, bar, err, out, stoppable
from arena.settings import load_settings

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from arena.services.imported_images import Report

app = typer.Typer()
images = typer.Typer(no_args_is_help=True, help="Images: import what you already have, export a model's.")
prompts = typer.Typer(no_args_is_help=True, help="Sets of prompts: import, list.")
app.add_typer(images, name="images")
app.add_typer(prompts, name="prompts")

Ignore = Annotated[list[str] | None, typer.Option("--ignore", help="A column to pass over; may be repeated.")]


def _open(data_dir: Path | None) -> Arena:
    from arena.bootstrap import open_arena

    return open_arena(load_settings(data_dir=data_dir))


@images.command("import")
def import_images(
    folder: Annotated[Path, typer.Argument(help="The folder of the images, or of a Hugging Face data set.")],
    name: Annotated[str | None, typer.Option("--as", help="The model's name; not where rows name theirs.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="CSV, TSV, JSON lines or Parquet with a row each.")] = None,
    pattern: Annotated[str | None, typer.Option(help="How files are named, such as '{prompt_id}_{seed}.png'.")] = None,
    prompt_set: Annotated[str | None, typer.Option("--prompts", help="The prompt set whose ids rows have.")] = None,
    card: Annotated[
        list[str] | None, typer.Option(help="key=value of the model's card, such as licence=MIT; may be repeated.")
    ] = None,
    ignore: Ignore = None,
    image_column: Annotated[str | None, typer.Option(help="The data set's column, where several hold images.")] = None,
    split: Annotated[str | None, typer.Option(help="The data set's split, where it has several.")] = None,
    check: Annotated[bool, typer.Option(help="Compare images that are there already with their files.")] = False,
    renditions: Annotated[bool, typer.Option(help="Make what voters see now, and not at the first look.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Take in images that you already have, as a model's; goes on where it stopped."""
    from arena.services import display
    from arena.services.contestants import parsed
    from arena.services.imported_images import import_images as bring_in
    from arena.services.imported_rows import Request

    arena = _open(data_dir)
    request = Request(
        folder, name, manifest, pattern, prompt_set, image_column, split, tuple(ignore or ()), parsed(card or []), check
    )
    with stoppable("what was imported is kept, run it again to go on"), bar("Importing") as update:
        report = bring_in(arena, request, lambda done, total: update("images", done, total, ""))
        if renditions:
            display.prepare(arena)
    _say(report)


def _say(report: Report) -> None:
    news = f" New: {', '.join(map(repr, report.contestants))}." if report.contestants else ""
    differ = f", of which {report.differ:,} differ from their files" if report.differ else ""
    out.print(
        f"{report.made:,} images imported, {report.there:,} were there{differ}, {report.failed:,} failed.{news}",
        soft_wrap=True, markup=False, highlight=False,
    )  # fmt: skip
    for line in report.failures:
        err.print(f"failed: {line}", markup=False, highlight=False)
    for path in report.differing:
        err.print(f"differs: {path}; an image that is there is never replaced", markup=False, highlight=False)
    if report.unmatched:
        err.print(
            f"note: the pattern fits {len(report.unmatched):,} images not, such as {report.unmatched[0]!r}.",
            markup=False, highlight=False,
        )  # fmt: skip


@images.command("export")
def export_images(
    contestant: Annotated[str, typer.Argument(help="Name of the model.")],
    folder: Annotated[Path, typer.Argument(help="Where to write the files.")],
    data_dir: DataDir = None,
) -> None:
    """Copy a model's images into a folder, for `arena fid` and the like."""
    from arena.services.generation import write_images

    count = write_images(_open(data_dir), contestant, folder)
    out.print(f"{count} images of {contestant!r} in {str(folder)!r}.", soft_wrap=True)


@prompts.command("import")
def import_prompts(
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON lines, JSON or Parquet with a prompt in each row.")],
    name: Annotated[str | None, typer.Option(help="The set's name (default: the file's).")] = None,
    licence: Annotated[str, typer.Option(help="Of the prompts, where their rows say none.")] = "",
    ignore: Ignore = None,
    data_dir: DataDir = None,
) -> None:
    """Add a file's prompts as a set: all of them, or none."""
    from arena.services import prompt_sets

    found = prompt_sets.import_prompts(_open(data_dir), file, name, licence=licence, ignore=tuple(ignore or ()))
    repeated = f", {found.repeated:,} rows repeat a prompt" if found.repeated else ""
    state = "is new" if found.new else "was there"
    out.print(
        f"The prompt set {found.set.version} {state}: {found.set.prompts:,} prompts{repeated}.",
        soft_wrap=True, markup=False, highlight=False,
    )  # fmt: skip


@prompts.command("list")
def list_prompts(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the sets of prompts."""
    from arena.services import prompt_sets

    found = prompt_sets.listed(_open(data_dir))
    if as_json:
        print(json.dumps([{"version": one.version, **asdict(one)} for one in found], default=str))
        return
    table = Table()
    for heading in ("Set", "Prompts", "Categories", "Licence", "From"):
        table.add_column(heading, justify="right" if heading in ("Prompts", "Categories") else "left")
    for one in found:
        source = (escape(one.licence), escape(one.source))
        table.add_row(one.version, f"{one.prompts:,}", str(one.categories), *source)
    out.print(table)
