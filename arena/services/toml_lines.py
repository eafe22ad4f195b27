"""On which line of a TOML text each value begins, found in one reading.

A statement (a header, or a key with its value) is parsed alone, so the time grows with the text and no faster.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str | int, ...]


def lines_of(text: str) -> Mapping[Path, int]:
    """Where every table and value of a valid text begins: its keys and places in lists -> the line, from 1.

    What is written in one statement (an inline table, a list) is on the line where the statement begins.
    """
    known: dict[Path, int] = {}
    root: dict[str, Any] = {}
    here: dict[str, Any] = root
    at: Path = ()
    for number, statement, found in _statements(text):
        if statement.lstrip().startswith("["):
            here, at = _opened(root, found, known, number)
        else:
            _note(here, at, found, known, number)
    return known


def _statements(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """(first line, text, what it says alone). A statement of several lines is not whole before its last."""
    waiting: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        waiting.append(line)
        if len(waiting) > 1 and line.rstrip().endswith((",", "[")):
            continue  # the middle of a list, whose beginning need not be parsed once more for every line
        statement = "\n".join(waiting) + "\n"
        try:
            found = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if found:
            yield number - len(waiting) + 1, statement, found
        waiting = []


def _opened(
    root: dict[str, Any], header: dict[str, Any], known: dict[Path, int], line: int
) -> tuple[dict[str, Any], Path]:
    """The table that a header opens, and its path."""
    here, at, rest = root, (), header
    while rest:
        [(key, inner)] = rest.items()
        at = (*at, key)
        known.setdefault(at, line)
        if isinstance(inner, list):
            here.setdefault(key, []).append({})
            inner = inner[0]
        else:
            here.setdefault(key, {})
        if isinstance(here[key], list):
            at = (*at, len(here[key]) - 1)
            known.setdefault(at, line)
            here = here[key][-1]
        else:
            here = here[key]
        rest = inner
    return here, at


def _note(here: dict[str, Any], at: Path, found: Any, known: dict[Path, int], line: int) -> None:
    """Notes what a statement says below a path; tables are kept, so that headers find them."""
    for key, value in found.items():
        known.setdefault((*at, key), line)
        if isinstance(value, dict):
            _note(here.setdefault(key, {}), (*at, key), value, known, line)
        else:
            here[key] = value
            _note_list((*at, key), value, known, line)


def _note_list(at: Path, value: Any, known: dict[Path, int], line: int) -> None:
    if not isinstance(value, dict | list):
        return
    for key, one in value.items() if isinstance(value, dict) else enumerate(value):
        known.setdefault((*at, key), line)
        _note_list((*at, key), one, known, line)
