"""What the method page says of this arena as it stands: which votes count and which do not, and in which version."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from arena.domain import Protocol
from arena.services import display, judging, leaderboard, moderation

if TYPE_CHECKING:
    from arena.bootstrap import Arena

PACKAGE = "image-arena"
PACKAGES = ("numpy", "scipy", "torch", "diffusers", "transformers")
"""Whose versions numbers may depend on."""


@dataclass(frozen=True, slots=True)
class Counted:
    """`counting`: votes on people's board, imported ones among them. `not_counting`: by reason, the most frequent
    first."""

    counting: int
    not_counting: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Versions:
    """Everything a number here depends on besides the votes. `judges`: voter id -> settings' fingerprint."""

    package: str
    libraries: dict[str, str]
    board: dict[str, Any]
    matchmaking: str
    shares: dict[str, float]
    pictures: str
    protocols: tuple[Protocol, ...]
    judges: dict[str, str]


def counted(arena: Arena) -> Counted:
    """As of the last vote."""
    return Counted(leaderboard.running_leaderboard(arena).votes, tuple(moderation.uncounted(arena)))


def versions(arena: Arena) -> Versions:
    """Of the package from its metadata, of the board from its parameters, of scores from their protocols."""
    names = {one.id: one.name for one in arena.store.contestants()}
    return Versions(
        package=installed(PACKAGE),
        libraries={name: installed(name) for name in PACKAGES},
        board=dict(leaderboard.running_leaderboard(arena).parameters),
        matchmaking=arena.settings.matchmaking,
        shares={names[id]: share for id, share in moderation.shares(arena).items()},
        pictures=display.RECIPE,
        protocols=protocols(arena),
        judges={card.id: card.fingerprint for card in judging.known(arena)},
    )


def protocols(arena: Arena) -> tuple[Protocol, ...]:
    """Those of the scores there are, by name."""
    found = {score.protocol.fingerprint: score.protocol for score in arena.store.scores(limit=10_000)}
    return tuple(sorted(found.values(), key=lambda protocol: (protocol.id, protocol.fingerprint)))


def installed(package: str) -> str:
    """The version of an installed package, without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
