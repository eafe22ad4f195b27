"""Contestants enter the arena: from a command's words or from tables of a TOML file, all checked before one is stored.

table > preset > backend's own checks > Contestant > store      (nothing is loaded, and no network is asked)
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena.backends.base import BadSetting, backend_class, split_settings
from arena.backends.presets import preset
from arena.domain import Contestant
from arena.errors import ArenaError, SettingsError, UsageError
from arena.keys import holds_key
from arena.services import commits, moderation, toml_lines
from arena.services.costs import CostAndSpeed, costs
from arena.settings import variable_name

if TYPE_CHECKING:
    from arena.bootstrap import Arena

OURS = ("name", "backend", "preset", "card")
"""Fields of an entry that are no settings of its backend."""
MOST_ERRORS = 20

Blame = Callable[[Sequence[str | int], str], str]
"""(where in the entry, what is wrong) -> the sentence that says so."""
OPERATOR = moderation.Admin("operator")


@dataclass(frozen=True, slots=True)
class Listed:
    """A contestant with what is known of it: whether it is retired, and its cost and speed."""

    contestant: Contestant
    retired: bool
    costs: CostAndSpeed


def add(arena: Arena, contestants: Sequence[Contestant]) -> list[Contestant]:
    """Store all of them or none. Raises UsageError for a name that is taken by other settings.

    Commits of the hub that one was loaded from stay with it.
    """
    known = {one.name: one for one in arena.store.contestants()}
    return arena.store.add_contestants([commits.kept(one, known.get(one.name)) for one in contestants])


def listed(arena: Arena) -> list[Listed]:
    """Every contestant, oldest first."""
    known, retired = costs(arena), arena.store.withdrawn().contestants
    return [Listed(one, one.id in retired, known.get(one.id or 0, CostAndSpeed())) for one in arena.store.contestants()]


def shown(arena: Arena, name: str) -> Listed:
    """Raises UnknownName."""
    wanted = arena.store.contestant(name).id
    return next(one for one in listed(arena) if one.contestant.id == wanted)


def retire(arena: Arena, name: str, reason: str) -> None:
    """From now on it meets nobody and makes no images; its votes and images stay. Raises UnknownName, UsageError."""
    moderation.retire_contestant(arena, OPERATOR, name, reason)


def restore(arena: Arena, name: str, reason: str) -> None:
    """It meets others again. Raises UnknownName, UsageError."""
    moderation.restore_contestant(arena, OPERATOR, name, reason)


# From words and tables to contestants


def contestant(entry: Mapping[str, Any], blame: Blame = lambda _, reason: reason) -> Contestant:
    """The contestant of an entry: name, backend or preset, card, and the backend's settings beside them.

    Raises UsageError with what `blame` makes of the place and the reason.
    """

    def wrong(where: Sequence[str | int], reason: str) -> UsageError:
        return UsageError(blame(where, reason))

    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        raise wrong(["name"] if "name" in entry else [], f"a contestant needs a name, got {name!r}")
    if not isinstance(entry.get("card", {}), Mapping):
        raise wrong(["card"], f"{name!r}: a card is a table of facts, got {entry['card']!r}")
    backend, given, card = _with_preset(entry, name, wrong)
    _refuse_keys(given, name, wrong)
    if holds_key("card", card):
        raise wrong(["card"], f"{name!r}: the card seems to hold a key (not shown), and all may read it; leave it out")
    try:
        kind = backend_class(backend)
    except ArenaError as error:
        raise wrong(["backend"] if "backend" in entry else [], f"{name!r}: {error}") from error
    try:
        settings, running = split_settings(kind, given)
        settings = getattr(kind, "pinned", dict)(settings)
        return Contestant(name, backend, settings, card, running=running)
    except BadSetting as error:
        place = [error.name] if error.name in entry else []
        named = f"setting {error.name!r}: " if error.name else ""
        raise wrong(place, f"{name!r}: {named}{error.reason}") from error
    except TypeError as error:
        raise wrong([], f"{name!r}: settings and card hold plain values only ({error})") from error
    except ArenaError as error:
        raise wrong([], f"{name!r}: {error}") from error


def _with_preset(
    entry: Mapping[str, Any], name: str, wrong: Callable[[Sequence[str | int], str], UsageError]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Backend, settings and card: the preset's, with the entry's own over them."""
    own = {key: value for key, value in entry.items() if key not in OURS}
    card = dict(entry.get("card", {}))
    if "preset" not in entry:
        if not isinstance(entry.get("backend"), str):
            raise wrong(["backend"] if "backend" in entry else [], f"{name!r} needs a backend or a preset")
        return entry["backend"], own, card
    try:
        ready = preset(str(entry["preset"]))
    except ArenaError as error:
        raise wrong(["preset"], f"{name!r}: {error}") from error
    return str(entry.get("backend", ready.backend)), {**ready.everything, **own}, {**ready.card, **card}


def _refuse_keys(given: Mapping[str, Any], name: str, wrong: Callable[[Sequence[str | int], str], UsageError]) -> None:
    """A key belongs into an environment variable: what holds one is refused, and never shown."""
    for setting, value in given.items():
        if setting == "key_variable" and value is not None:
            try:
                variable_name(str(value))
            except SettingsError as error:
                raise wrong([setting], f"{name!r}: {error}") from None
        elif setting != "key_variable" and holds_key(setting, value):
            raise wrong(
                [setting],
                f"{name!r}: {setting!r} seems to hold a key (not shown); export it in an environment variable and "
                "give that variable's NAME as key_variable",
            )


def parsed(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` words of a command; a value that is JSON is taken as such, any other as text. Raises UsageError."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key.isidentifier():
            raise UsageError(f"A setting is key=value, such as steps=28, not {key[:40]!r} without a value.")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def from_file(file: Path) -> list[Contestant]:
    """The contestants of a file's [[contestants]] tables.

    Raises SettingsError with every entry that cannot be used, each with its line, so that all can be mended at once.
    """
    try:
        text = file.read_text(encoding="utf-8")
        tables = tomllib.loads(text).get("contestants", [])
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{str(file)!r} is not valid TOML ({error}); mend that line.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The file {str(file)!r} cannot be read ({error}).") from error
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SettingsError(f"{str(file)!r}: contestants are [[contestants]] tables, with two brackets each.")
    lines = cache(lambda: toml_lines.lines_of(text))  # read once, and only where something is wrong

    def blame(where: Sequence[str | int], reason: str) -> str:
        return f"{file}, line {lines().get(('contestants', *where), 1)}: {reason}"

    return _all_of(tables, blame)


def _all_of(tables: Sequence[Mapping[str, Any]], blame: Blame) -> list[Contestant]:
    found, errors = [], []
    names: dict[object, int] = {}
    for number, table in enumerate(tables):

        def here(where: Sequence[str | int], reason: str, number: int = number) -> str:
            return blame([number, *where], reason)

        try:
            found.append(contestant(table, here))
            if found[-1].name in names:
                errors.append(here(["name"], f"the name {found[-1].name!r} is there twice; names differ"))
            names[found[-1].name] = number
        except UsageError as error:
            errors.append(str(error))
    if errors:
        more = f"\n… and {len(errors) - MOST_ERRORS} more" if len(errors) > MOST_ERRORS else ""
        raise SettingsError("\n".join(errors[:MOST_ERRORS]) + more)
    return found
