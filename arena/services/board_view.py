"""Which board a page shows: the words of its address, and what they choose. Pure: no page, no database."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time, timedelta

from arena.domain import PEOPLE, VoteFilter

EVERYTHING = "all"
DAYS = {"7d": 7, "30d": 30, "90d": 90}
PERIOD = re.compile(r"(\d{4}-\d{2}-\d{2})?\.\.(\d{4}-\d{2}-\d{2})?")
CONTROLLED = "controlled"
WEIGHTS = ("open", "closed", "unknown")
LONGEST = 200


@dataclass(frozen=True, slots=True)
class View:
    """The words of the address. Each has a default, which the address leaves out.

    `voters`: `people`, or a judge's voter id. `time`: `all`, `7d`, `30d`, `90d`, or `FROM..TO` with both days (UTC)
    included and either left open. `style`: `all`, or `controlled` for ratings with the look of images taken out.
    `licence`, `weights` and `backend` choose rows and leave the ratings as they are. `sort`: a column, `-` before it
    for the other way round.
    """

    category: str = EVERYTHING
    voters: str = PEOPLE
    time: str = EVERYTHING
    style: str = EVERYTHING
    licence: str = EVERYTHING
    weights: str = EVERYTHING
    backend: str = EVERYTHING
    sort: str = "rank"
    search: str = ""

    @property
    def controlled(self) -> bool:
        return self.style == CONTROLLED

    def query(self) -> dict[str, str]:
        """What the address says of it: everything that is not the default."""
        return {name: getattr(self, name) for name, default in DEFAULTS.items() if getattr(self, name) != default}

    def votes(self, today: date, up_to: int | None = None) -> VoteFilter:
        """The votes that it lets through; `today` (UTC) is what the last days are counted from."""
        since, until = self.period(today)
        category = None if self.category == EVERYTHING else self.category
        return VoteFilter(self.voters, category, _midnight(since), _midnight(until, 1), up_to)

    def period(self, today: date) -> tuple[date | None, date | None]:
        """First and last day, None where open."""
        if self.time in DAYS:
            return today - timedelta(days=DAYS[self.time]), None
        found = PERIOD.fullmatch(self.time)
        return (_day(found[1]), _day(found[2])) if found else (None, None)


DEFAULTS: Mapping[str, str] = {field.name: field.default for field in fields(View)}  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class Choices:
    """What may be asked for, besides what `View` says: the values that this arena knows."""

    categories: Sequence[str] = ()
    judges: Sequence[str] = ()
    licences: Sequence[str] = ()
    backends: Sequence[str] = ()
    sorts: Sequence[str] = ()


def asked(query: Mapping[str, str], choices: Choices) -> tuple[View, list[str]]:
    """The view that an address asks for, and a sentence for each word of it that nobody here knows.

    What is not known is left at its default. Words of other parts of the page are not looked at.
    """
    view, complaints = View(), []
    allowed = {
        "category": choices.categories, "voters": [PEOPLE, *choices.judges], "style": [CONTROLLED],
        "licence": choices.licences, "weights": WEIGHTS, "backend": choices.backends,
        "sort": [f"{sign}{name}" for name in choices.sorts for sign in ("", "-")],
    }  # fmt: skip
    for name, default in DEFAULTS.items():
        word = query.get(name, default)
        if word == default:
            continue
        if name == "search":
            view = replace(view, search=word[:LONGEST])
        elif name == "time":
            fault = _period_fault(word)
            view, complaints = (view, [*complaints, fault]) if fault else (replace(view, time=word), complaints)
        elif word in allowed[name]:
            view = replace(view, **{name: word})
        else:
            complaints.append(_unknown(name, word, [default, *allowed[name]]))
    return view, complaints


def _unknown(name: str, word: str, known: Sequence[str]) -> str:
    listed = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return (
        f"The address asks for {name} {word[:40]!r}, which this arena does not have; it knows {listed}. All are shown."
    )


def _period_fault(word: str) -> str:
    """Why a time cannot be used, or nothing."""
    if word in DAYS:
        return ""
    found = PERIOD.fullmatch(word)
    try:
        first, last = (_day(found[1]), _day(found[2])) if found else (None, None)
    except ValueError:
        first = last = None
    if first is None and last is None:
        known = ", ".join(DAYS)
        return f"The address asks for time {word[:40]!r}; it takes {known} or 2026-01-31..2026-02-28. All are shown."
    if first and last and last < first:
        return f"The address asks for the time from {first} to {last}, which ends before it begins. All are shown."
    return ""


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _midnight(day: date | None, later: int = 0) -> datetime | None:
    """The start of a day (UTC), or of one so many days later; None where that is beyond the calendar."""
    try:
        return day and datetime.combine(day + timedelta(days=later), time(), UTC)
    except OverflowError:
        return None
