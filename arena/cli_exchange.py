"""`arena export` and `arena import`: a whole arena as a folder; `arena provenance`: what a picture says of itself."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from arena.console import DataDir, Json, bar, err, out, stoppable
from arena.errors import UsageError
from arena.settings import load_settings

if TYPE_CHECKING:
    from arena.services.provenance import Signer

app = typer.Typer()


@app.command("export")
def export_arena(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    licence: Annotated[str, typer.Option(help="Of the data, for the data card: an identifier such as cc-by-4.0.")] = (
        "unknown"
    ),
    name: Annotated[str, typer.Option(help="What the data card calls it.")] = "Image arena",
    everything: Annotated[
        bool,
        typer.Option("--everything", help="Also visitors' own prompts and hidden images: not to publish."),
    ] = False,
    sign: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="CERT KEY (PEM): sign where each image is from (C2PA, extra c2pa)."),
    ] = None,
    sign_as: Annotated[
        Literal["sidecar", "embedded"] | None,
        typer.Option(help="Manifests beside the images (the default), or in copies of them in the folder signed/."),
    ] = None,
    scores: Annotated[
        str | None, typer.Option(help="OWNER/DATASET: also .eval_results files, scores for pages of models.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write the whole arena as a data set: images, votes, scores, boards, data card, checksums."""
    from arena.bootstrap import open_arena
    from arena.services import dataset_export, eval_results

    arena = open_arena(load_settings(data_dir=data_dir))
    options = dataset_export.Options(licence, name, everything, _signer(sign, sign_as), scores)
    with stoppable("nothing was written"), bar("Exporting") as update:
        done = dataset_export.export(arena, folder, options, lambda table, rows: update(table, rows, 0, "rows"))
    out.print(
        f"{done.images:,} images, {done.rows['votes']:,} votes in {str(folder)!r}; {done.withheld:,} images withheld.",
        soft_wrap=True, markup=False,
    )  # fmt: skip
    if sign is not None:
        cannot = f", {done.unsigned:,} cannot be signed so" if done.unsigned else ""
        out.print(f"{done.signed:,} images signed{cannot}.", soft_wrap=True, markup=False)
    if scores is not None:
        out.print(f"Scores of {done.models_scored} models in {eval_results.FOLDER}/.", soft_wrap=True, markup=False)


def _signer(files: tuple[Path, Path] | None, sign_as: str | None) -> Signer | None:
    if files is None:
        if sign_as is not None:
            raise UsageError("--sign-as needs what to sign with; give --sign CERT KEY as well.")
        return None
    from arena.services import provenance

    return provenance.signer(*files, embeds=sign_as == "embedded")


@app.command("import")
def import_arena(
    folder: Annotated[Path, typer.Argument(help="A folder that `arena export` wrote.")], data_dir: DataDir = None
) -> None:
    """Fill a new, empty arena with an export: all of it, or nothing. Its boards are the same to the byte."""
    from arena.bootstrap import open_arena
    from arena.services import dataset_import

    found = dataset_import.checked(folder)
    arena = open_arena(load_settings(data_dir=data_dir), prepare=True)
    with stoppable("nothing was imported"), bar("Importing") as update:
        done = dataset_import.import_into(arena, found, lambda table, rows: update(table, rows, 0, "rows"))
    same = "; the board is the exported one to the byte" if done.same_board else ""
    out.print(f"{done.images:,} images, {done.rows['votes']:,} votes imported{same}.", soft_wrap=True, markup=False)
    for note in done.notes:
        err.print(f"note: {note}", markup=False)


@app.command()
def provenance(
    image: Annotated[
        Path | None, typer.Argument(help="An image file; without one, the arena's imported images, by model.")
    ] = None,
    sidecar: Annotated[Path | None, typer.Option(help="Its manifest, where it is a file of its own.")] = None,
    trust: Annotated[Path | None, typer.Option(help="PEM of the authorities whose signatures are trusted.")] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Say what an image tells of where it is from: its C2PA manifest, and marks that a model made it."""
    from arena.services import provenance as service

    if image is None and sidecar is not None:
        raise UsageError("A sidecar belongs to an image; name the image as well.")
    try:
        content, manifest, anchors = (path and path.read_bytes() for path in (image, sidecar, trust))
    except OSError as error:
        raise UsageError(f"{str(error.filename)!r} cannot be read ({error.strerror}); check the path.") from error
    if image is None:
        _say_of_all(data_dir, anchors, as_json)
        return
    found = service.facts(content or b"", manifest, anchors)
    if as_json:
        print(json.dumps(asdict(found)))
        return
    for sentence in found.sentences():
        out.print(sentence, soft_wrap=True, markup=False, highlight=False)


def _say_of_all(data_dir: Path | None, anchors: bytes | None, as_json: bool) -> None:
    """Read the arena's imported images that were not read yet, with `anchors` all, and say what those of each model
    tell."""
    from arena.bootstrap import open_arena
    from arena.services import provenance as service

    arena = open_arena(load_settings(data_dir=data_dir))
    with stoppable("what was read is kept, run it again to go on"), bar("Reading", err) as update:
        service.read_again(arena, anchors, lambda done, total: update("images", done, total, ""))
    found = {one.name: service.of_contestant(arena, one.id or 0) for one in arena.store.contestants()}
    if as_json:
        print(json.dumps({name: told for name, told in found.items() if told}, ensure_ascii=False))
        return
    for name, told in found.items():
        if told:
            out.print(f"{name}: {'; '.join(told)}.", soft_wrap=True, markup=False, highlight=False)
    if not any(found.values()):
        out.print("No image here came from elsewhere.", soft_wrap=True, markup=False)
