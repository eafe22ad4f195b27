"""`arena contestants`: register models, look at them, retire them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from arena.console import DataDir, Json, out
from arena.settings import TOML_FILE, load_settings

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from arena.services.contestants import Listed

contestants = typer.Typer(no_args_is_help=True, help="Models: register, list, show, retire.")
app = typer.Typer()
app.add_typer(contestants, name="contestants")

Reason = Annotated[str, typer.Option(help="Why; kept with the decision.")]


def _open(data_dir: Path | None) -> Arena:
    from arena.bootstrap import open_arena

    return open_arena(load_settings(data_dir=data_dir))


@contestants.command()
def add(
    name: Annotated[str | None, typer.Argument(help="Its name on the board; without one, all of the file.")] = None,
    backend: Annotated[str | None, typer.Option(help="diffusers, openai, inference-providers, or a plugin's.")] = None,
    preset: Annotated[str | None, typer.Option(help="A ready-made entry, such as flux2-klein.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of the backend, such as steps=28; may be repeated.")
    ] = None,
    card: Annotated[
        list[str] | None, typer.Option(help="key=value of the card, such as licence=MIT; may be repeated.")
    ] = None,
    file: Annotated[Path, typer.Option(help="The file whose [[contestants]] are added.")] = Path(TOML_FILE),
    data_dir: DataDir = None,
) -> None:
    """Register one model, or all [[contestants]] of arena.toml: all of them or none."""
    from arena.services import contestants as service

    if name is None:
        new = service.from_file(file)
    else:
        words: dict[str, Any] = {"name": name, "backend": backend, "preset": preset}
        entry = {key: value for key, value in words.items() if value is not None}
        entry |= service.parsed(setting or []) | ({"card": service.parsed(card)} if card else {})
        new = [service.contestant(entry)]
    stored = service.add(_open(data_dir), new)
    listed = ", ".join(repr(one.name) for one in stored) or f"no [[contestants]] in {str(file)!r}"
    out.print(f"Registered: {listed}. Next: `arena generate --dry-run`.", soft_wrap=True, markup=False)


@contestants.command("list")
def list_all(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List every model with its images, speed and cost."""
    from arena.services import contestants as service

    found = service.listed(_open(data_dir))
    if as_json:
        print(json.dumps([as_object(one) for one in found]))
        return
    table = Table()
    for heading in ("Model", "Backend", "Images", "s/image", "USD/megapixel", "Images per USD", "Costs from", ""):
        table.add_column(heading, justify="left" if heading in ("Model", "Backend", "Costs from", "") else "right")
    for one in found:
        known = one.costs
        table.add_row(
            escape(one.contestant.name), one.contestant.backend, str(known.images), _figure(known.median_seconds),
            _figure(known.usd_per_megapixel), _figure(known.images_per_usd),
            ", ".join(f"{source} ({n})" for source, n in known.sources.items()), "retired" if one.retired else "",
        )  # fmt: skip
    out.print(table)


@contestants.command()
def show(name: str, data_dir: DataDir = None) -> None:
    """Print one model as JSON: settings, how it is run, card, cost and speed."""
    from arena.services import contestants as service

    print(json.dumps(as_object(service.shown(_open(data_dir), name)), indent=2))


@contestants.command()
def presets(as_json: Json = False) -> None:
    """List the ready-made entries."""
    from arena.backends.presets import PRESETS

    if as_json:
        plain = {name: {"backend": p.backend, "settings": p.everything, "card": dict(p.card)} for name, p in
                 PRESETS.items()}  # fmt: skip
        print(json.dumps(plain, default=dict))
        return
    table = Table()
    for heading in ("Preset", "Model", "Licence", "Parameters", "Steps"):
        table.add_column(heading)
    for name, ready in PRESETS.items():
        parameters = f"{ready.card['parameters'] / 1e9:g} billion"
        steps = str(ready.card["steps"])
        table.add_row(name, ready.settings["model"], ready.card["licence"], parameters, steps)
    out.print(table)


@contestants.command()
def retire(
    name: str,
    reason: Reason = "retired from the command line",
    back: Annotated[bool, typer.Option("--back", help="Take it back: it meets others again.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Let a model meet nobody any more; its votes and images stay, and it keeps its place on the board."""
    from arena.services import contestants as service

    (service.restore if back else service.retire)(_open(data_dir), name, reason)
    out.print(f"{name!r} {'meets others again' if back else 'is retired'}.", soft_wrap=True, markup=False)


def as_object(one: Listed) -> dict[str, Any]:
    """A contestant as plain JSON. Keys are in no part of it, also where an older version stored one."""
    from dataclasses import asdict

    from arena.keys import without_keys

    model = one.contestant
    return {
        "name": model.name,
        "backend": model.backend,
        "settings": without_keys(dict(model.settings)),
        "running": without_keys(dict(model.running)),
        "card": without_keys(dict(model.card)),
        "fingerprint": model.fingerprint,
        "retired": one.retired,
        "costs": asdict(one.costs),
    }


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
