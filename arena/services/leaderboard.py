"""The leaderboard: a pure function of the votes that count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arena.domain import Contestant, Outcome
from arena.rating import elo
from arena.services.battles import BOARD, elo_parameters, elo_rate

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from db.store import Tally


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    rank: int
    contestant_id: int
    name: str
    elo: float
    votes: int
    wins: int
    losses: int
    ties: int
    both_bad: int
    both_bad_rate: float | None
    seconds_per_image: float | None
    provisional: bool


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Rows from best to worst, and what they were made from."""

    rows: tuple[LeaderboardRow, ...]
    votes: int
    last_vote_id: int
    k_factor: float
    provisional_below: int


def leaderboard(arena: Arena) -> Leaderboard:
    """The board of people's votes as of now: every contestant, those without votes at the starting rating."""
    ratings, last_vote_id = arena.store.ratings(BOARD, elo_parameters(arena), elo_rate(arena))
    tallies = arena.store.tallies()
    counts = count_outcomes(tallies)
    seconds = arena.store.mean_seconds()
    ordered = sorted(arena.store.contestants(), key=lambda c: (-ratings.get(c.id or 0, elo.START), c.name))
    board_ratings = [ratings.get(contestant.id or 0, elo.START) for contestant in ordered]
    return Leaderboard(
        rows=tuple(
            _row(contestant, rating, rank, counts, seconds, arena.settings.provisional_below)
            for contestant, rating, rank in zip(ordered, board_ratings, ranks(board_ratings), strict=True)
        ),
        votes=sum(tally.count for tally in tallies),
        last_vote_id=last_vote_id,
        k_factor=arena.settings.k_factor,
        provisional_below=arena.settings.provisional_below,
    )


def ranks(descending: list[float]) -> list[int]:
    """1 + how many are strictly above: equal ratings share a rank."""
    first = {rating: position for position, rating in reversed(list(enumerate(descending, start=1)))}
    return [first[rating] for rating in descending]


def count_outcomes(tallies: Iterable[Tally]) -> Counter[tuple[int, str]]:
    """(contestant id, "wins" | "losses" | "ties" | "both_bad") -> how often."""
    counts: Counter[tuple[int, str]] = Counter()
    words = {
        Outcome.LEFT: ("wins", "losses"),
        Outcome.RIGHT: ("losses", "wins"),
        Outcome.TIE: ("ties", "ties"),
        Outcome.BOTH_BAD: ("both_bad", "both_bad"),
    }
    for tally in tallies:
        left, right = words[tally.outcome]
        counts[tally.left_id, left] += tally.count
        counts[tally.right_id, right] += tally.count
    return counts


def _row(
    contestant: Contestant,
    rating: float,
    rank: int,
    counts: Counter[tuple[int, str]],
    seconds: dict[int, float],
    provisional_below: int,
) -> LeaderboardRow:
    id = contestant.id or 0
    of = {word: counts[id, word] for word in ("wins", "losses", "ties", "both_bad")}
    votes = sum(of.values())
    return LeaderboardRow(
        rank=rank,
        contestant_id=id,
        name=contestant.name,
        elo=rating,
        votes=votes,
        **of,
        both_bad_rate=of["both_bad"] / votes if votes else None,
        seconds_per_image=seconds.get(id),
        provisional=votes < provisional_below,
    )
