"""From a name to an object: literal tables in the code first, then entry points of installed packages."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any

from arena.errors import EnvironmentFault, UnknownName


def known_names(kind: str, table: Mapping[str, str]) -> list[str]:
    """Every name of this kind: the table's and those of the entry point group `arena.<kind>s`."""
    return sorted({*table, *(point.name for point in entry_points(group=f"arena.{kind}s"))})


def resolve(kind: str, table: Mapping[str, str], name: str) -> Any:
    """The object behind a name, imported now and not before.

    Raises UnknownName, which lists the known ones, and EnvironmentFault where the import fails.
    """
    target = table.get(name)
    if target is None:
        for point in entry_points(group=f"arena.{kind}s", name=name):
            target = point.value
    if target is None:
        raise UnknownName(kind, name, known_names(kind, table))
    try:
        return resolve_name(target)
    except ImportError as error:
        raise EnvironmentFault(
            f"The {kind} {name!r} needs a package that does not import here ({error}); "
            "`arena doctor` says how to get it."
        ) from error
