"""Every error the arena raises on purpose, one small tree.

    ArenaError                 catch this to print one sentence and exit
    ├── UsageError             the request itself is wrong: change the argument
    │   └── UnknownName        a name that no table knows; the message lists the known ones
    ├── SettingsError          arena.toml or the environment holds a bad value
    ├── DataError              a file or folder cannot be used as it is
    │   └── ImageError         an image, or a folder of images
    ├── WeightsError           pretrained weights are missing or not the ones expected
    ├── EnvironmentFault       the machine: port in use, read-only folder, a package that does not import
    ├── EndpointError          a server that is asked over HTTP is out of reach, refuses, or makes no sense
    ├── DatabaseError          the database cannot be opened by this version
    │   └── DatabaseTooNew     it was written by a newer version
    ├── GenerationError        a backend could not make an image
    │   └── OutOfMemory        not so many at once
    └── VoteRefused            a vote that must not be counted
        ├── DuplicateVote      this voter already voted on this battle
        ├── UnknownBattle      no such battle was drawn for this voter
        └── BattleExpired      the battle was drawn too long ago

A message is one sentence that holds the bad value and says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ArenaError(Exception):
    """Base of all errors whose message is meant for the person who runs the arena."""


class UsageError(ArenaError):
    """The request itself is wrong."""


class UnknownName(UsageError):
    """A name that no table knows."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        choices = sorted(known)
        folded = {choice.casefold(): choice for choice in choices}
        close = get_close_matches(name.casefold(), folded, n=1)
        hint = f"did you mean {folded[close[0]]!r}? " if close else ""
        listed = ", ".join(choices) or "none yet"
        super().__init__(f"Unknown {kind} {name!r}: {hint}known: {listed}.")
        self.kind, self.name, self.known = kind, name, choices


class SettingsError(ArenaError):
    """A setting has a value that cannot be used."""


class DataError(ArenaError):
    """A file or folder cannot be used as it is."""


class ImageError(DataError):
    """An image file, or a folder of them, cannot be used."""


class WeightsError(ArenaError):
    """Pretrained weights are missing, or are not the expected ones."""


class EnvironmentFault(ArenaError):
    """Something on this machine stands in the way."""


class EndpointError(ArenaError):
    """A server that is asked over HTTP is out of reach, refuses, or does not answer as it should."""


class DatabaseError(ArenaError):
    """The database cannot be opened."""


class DatabaseTooNew(DatabaseError):
    """The database was written by a newer version of the arena."""


class GenerationError(ArenaError):
    """A backend could not make an image; the message becomes the Generation's failure.

    `paid`: the attempt may have cost something all the same.
    """

    def __init__(self, message: str, *, paid: bool = False):
        super().__init__(message)
        self.paid = paid


class OutOfMemory(GenerationError):
    """The images do not fit into memory at once; fewer may."""


class VoteRefused(ArenaError):
    """A vote that must not be counted."""


class DuplicateVote(VoteRefused):
    """The voter already voted on this battle."""


class UnknownBattle(VoteRefused):
    """No such battle was drawn for this voter."""


class BattleExpired(VoteRefused):
    """The battle was drawn too long ago: it is offered to nobody any more."""
