"""Votes in and out of an arena: files that others made, and files that make the same board elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from arena.domain import VOTES_BACKEND, Contestant, ImportedVote
from arena.errors import DataError, UsageError
from arena.services.battles import BOARD, elo_parameters, elo_rate
from arena.services.votes_files import VoteRow, only_named, read_rows, write_votes

if TYPE_CHECKING:
    from arena.bootstrap import Arena

LONGEST_NAME, LONGEST_CATEGORY = 128, 64
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import brought: votes (equal ones counted), and the contestants that were not there before. `named`:
    votes that were left out, for they were cast with the models' names in sight."""

    votes: int
    new_contestants: tuple[str, ...]
    named: int = 0


def import_votes(arena: Arena, path: Path) -> ImportReport:
    """Add a file's votes to the people's board: all of them, or none.

    A model joins the contestant of its name; other models become contestants without images. Raises DataError with
    the vote at fault, and UsageError for a file that was imported before; then nothing has changed.
    """
    source = file_sha256(path)
    if arena.store.has_imported(source):
        raise UsageError(f"{str(path)!r} was imported before (sha256 {source[:12]}…); its votes count already.")
    known = {contestant.name for contestant in arena.store.contestants()}
    names: dict[str, None] = {}
    votes = named = 0

    def left_out(count: int) -> None:
        nonlocal named
        named += count

    def checked() -> Iterator[ImportedVote]:
        nonlocal votes
        for number, row in enumerate(read_rows(path, left_out), start=1):
            vote = _imported(number, row)
            names.update(dict.fromkeys((vote.left, vote.right)))
            votes += vote.count
            yield vote
        if not votes and named:
            raise DataError(only_named(path))

    arena.store.import_votes(
        source,
        checked(),
        lambda name: Contestant(name, VOTES_BACKEND),
        board=BOARD,
        parameters=elo_parameters(arena),
        rate=elo_rate(arena),
    )
    return ImportReport(votes, tuple(sorted(names.keys() - known)), named)


def file_sha256(path: Path) -> str:
    """Hex digest of a file. Raises DataError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror}; give a file of votes.") from error
    return digest.hexdigest()


def _imported(number: int, row: VoteRow) -> ImportedVote:
    for name in (row.model_a, row.model_b):
        if len(name) > LONGEST_NAME:
            raise DataError(
                f"Vote {number}: the model name {name[:40]!r}… has {len(name)} characters; "
                f"an arena takes {LONGEST_NAME} at most, shorten it."
            )
    if len(row.category or "") > LONGEST_CATEGORY:
        raise DataError(
            f"Vote {number}: the category {row.category[:40]!r}… is longer than {LONGEST_CATEGORY} characters."  # type: ignore[index]
        )
    return ImportedVote(
        row.model_a,
        row.model_b,
        row.winner,
        row.count,
        row.voter,
        row.prompt,
        row.category,
        _time(number, row.timestamp),
    )


def _time(number: int, text: str | None) -> datetime | None:
    """ISO 8601 or seconds since 1970; without a zone it is UTC."""
    if text is None:
        return None
    try:
        found = datetime.fromtimestamp(float(text), UTC) if _is_number(text) else datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError) as error:
        raise DataError(
            f"Vote {number}: the timestamp {text[:40]!r} is neither ISO 8601 nor seconds since 1970."
        ) from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).lstrip("-").isdigit()


def export_votes(arena: Arena, path: Path) -> int:
    """Write every vote that counts on the people's board, in their order; returns the number of votes.

    `arena rate` and `import_votes` make the same board of it. A visitor's id is replaced by a number that is the same
    in every export and says nothing more.
    """
    votes = 0

    def rows() -> Iterator[VoteRow]:
        nonlocal votes
        for vote in arena.store.exported(BOARD):
            votes += vote.count
            yield VoteRow(
                vote.left, vote.right, vote.outcome, vote.count, vote.voter, vote.prompt, vote.category,
                vote.at and vote.at.isoformat(),
            )  # fmt: skip

    write_votes(path, rows())
    return votes
