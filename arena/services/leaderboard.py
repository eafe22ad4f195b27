"""The leaderboard: a pure function of the votes that count, and of the filter that says which do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from arena.domain import PEOPLE, VoteFilter
from arena.errors import DataError
from arena.rating import board as boards
from arena.rating import bradley_terry, elo, influence, uncertainty
from arena.rating.board import Board, BoardRow, Estimate
from arena.rating.comparisons import Comparisons, Floats
from arena.rating.uncertainty import Status
from arena.services import audit, counting, running
from arena.services.battles import BOARD, elo_parameters, elo_rate
from arena.services.counting import comparisons, slices
from arena.services.tally import tally

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from arena.rating import pooling

REMEMBERED = 64
"""Boards that a process keeps; one is made anew only when a vote was cast or excluded since."""


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """A contestant: its row of the Bradley–Terry board, and what stands beside it. See `rating.board.BoardRow`.

    `elo`: the live rating after the last vote, None where the board is filtered. `provisional`: too few votes.
    `pooled`: of a category's board, the rating that leans on the other categories by the share `borrowed`, with its
    95% interval.
    """

    rank: int | None
    rank_low: int | None
    rank_high: int | None
    contestant_id: int
    name: str
    rating: float | None
    low: float | None
    high: float | None
    elo: float | None
    votes: int
    wins: int
    losses: int
    ties: int
    both_bad: int
    both_bad_rate: float | None
    status: str
    p_best: float | None
    p_top3: float | None
    votes_to_flip: int | None
    votes_needed: int | None
    reason: str
    seconds_per_image: float | None
    provisional: bool
    pooled: float | None = None
    pooled_low: float | None = None
    pooled_high: float | None = None
    borrowed: float | None = None


class Meeting(NamedTuple):
    """How one contestant fared against another: its score (a tie is half a win), and what the ratings expect."""

    name: str
    opponent: str
    score: float
    votes: int
    expected: float | None


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Rows from best to worst, those that cannot be rated last; and what they were made from."""

    rows: tuple[LeaderboardRow, ...]
    votes: int
    last_vote_id: int
    k_factor: float
    provisional_below: int
    votes_filter: VoteFilter = field(default_factory=VoteFilter)
    parameters: dict[str, Any] = field(default_factory=dict)
    meetings: tuple[Meeting, ...] = ()
    warnings: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


def leaderboard(
    arena: Arena, votes: VoteFilter | None = None, rounds: int = 0, *, weighted: bool = False
) -> Leaderboard:
    """The board of the votes that the filter lets through, as of now, with every contestant in it.

    `rounds` > 0 adds the intervals of so many bootstrap rounds to `details`. `weighted`: votes on battles drawn here,
    weighted as if every pair and prompt had been drawn equally often (see `rating.weights`).
    """
    votes = votes or VoteFilter()
    names = {contestant.id or 0: contestant.name for contestant in arena.store.contestants()}
    return _of_contestants(arena, votes, names, *_remembered(arena, votes, rounds, weighted))


def running_leaderboard(arena: Arena, votes: VoteFilter | None = None) -> Leaderboard:
    """The same board for a page, carried along from vote to vote (see `services.running`).

    With many votes it leaves out what takes longest, the votes to flip and needed; `settled_by` finds them for a row.
    """
    votes = votes or VoteFilter()
    found = running.board(arena, votes)
    return _of_contestants(arena, votes, found.names, *_met(found.board, found.pooled, found.reason))


def settled_by(arena: Arena, board: Leaderboard, name: str) -> tuple[int | None, int | None]:
    """Votes to flip, and votes needed to settle, the order of a contestant and the next one on a running board."""
    rated = [row.name for row in board.rows if row.rating is not None]
    if name not in rated[:-1]:
        return None, None
    return running.between(arena, board.votes_filter, name, rated[rated.index(name) + 1])


def _of_contestants(
    arena: Arena, votes: VoteFilter, names: Mapping[int, str], rated: Board, meetings: tuple[Meeting, ...],
    warnings: tuple[str, ...],
) -> Leaderboard:  # fmt: skip
    live, last_vote_id = arena.store.ratings(BOARD, elo_parameters(arena), elo_rate(arena))
    of = {row.model: row for row in rated.board}
    seconds = arena.store.mean_seconds()
    whole = votes == VoteFilter()
    pooled = _pooled(arena, votes) if votes == VoteFilter(category=votes.category) and votes.category else {}
    rows = [
        LeaderboardRow(
            contestant_id=id,
            name=name,
            elo=live.get(id, elo.START) if whole else None,
            seconds_per_image=seconds.get(id),
            provisional=of[name].votes < arena.settings.provisional_below,
            **{shared: getattr(of[name], shared) for shared in _SHARED},
            **pooled.get(name, {}),
        )
        for id, name in names.items()
    ]
    return Leaderboard(
        rows=tuple(sorted(rows, key=_best_first(rated))),
        votes=rated.n_votes,
        last_vote_id=last_vote_id,
        k_factor=arena.settings.k_factor,
        provisional_below=arena.settings.provisional_below,
        votes_filter=votes,
        parameters=dict(rated.parameters),
        meetings=meetings,
        warnings=warnings,
        details=dict(rated.details),
    )


_SHARED = {f.name for f in fields(BoardRow)} & {f.name for f in fields(LeaderboardRow)}


def _best_first(rated: Board) -> Callable[[LeaderboardRow], tuple[float, float, str]]:
    """In the order of the board, which says how many votes hold each in its place before the next; then the unrated."""
    places = {row.model: place for place, row in enumerate(rated.board) if row.rating is not None}
    return lambda row: (places.get(row.name, np.inf), -(row.elo or 0.0), row.name)


_WithMeetings = tuple[Board, tuple[Meeting, ...], tuple[str, ...]]
_memory: dict[tuple[str, VoteFilter, int, bool, tuple[int, int, int]], _WithMeetings] = {}


def _remembered(arena: Arena, votes: VoteFilter, rounds: int, weighted: bool) -> _WithMeetings:
    key = (str(arena.store.engine.url), votes, rounds, weighted, arena.store.newest())
    if key not in _memory:
        while len(_memory) >= REMEMBERED:
            _memory.pop(next(iter(_memory)))
        _memory[key] = _rate(counting.weighted(arena, votes)[0] if weighted else comparisons(arena, votes), rounds)
    return _memory[key]


def _pooled(arena: Arena, votes: VoteFilter) -> dict[str, dict[str, float]]:
    """What a category's board becomes when it leans on the others; empty where all votes together rate nobody."""
    key = (str(arena.store.engine.url), arena.store.newest())
    if key not in _pools:
        _pools.clear()
        _pools[key] = pooled_ratings(arena)
    return _pools[key].get(votes.category or "", {})


def pooled_ratings(arena: Arena) -> dict[str, dict[str, dict[str, float]]]:
    """By category and contestant: the rating that leans on the other categories, its interval, and how far it does.

    Empty where all votes together rate nobody.
    """
    # Imported here: scipy.optimize takes longer to load than a board takes to make.
    from arena.rating import pooling

    try:
        found = pooling.pool(slices(arena))
    except DataError:
        return {}
    return {part.name: _leaning(found.contestants, part) for part in found.slices}


def _leaning(contestants: tuple[str, ...], part: pooling.Slice) -> dict[str, dict[str, float]]:
    columns = (map(float, values) for values in (part.ratings, part.half_widths, part.borrowed))
    return {
        name: {"pooled": rating, "pooled_low": rating - half, "pooled_high": rating + half, "borrowed": share}
        for name, rating, half, share in zip(contestants, *columns, strict=True)
    }


_pools: dict[tuple[str, tuple[int, int, int]], dict[str, dict[str, dict[str, float]]]] = {}


def _rate(compared: Comparisons, rounds: int) -> _WithMeetings:
    try:
        return _met(boards.board(compared, rounds=rounds), compared, "")
    except DataError as error:
        return _met(None, compared, str(error) if compared.votes else "")


def _met(rated: Board | None, compared: Comparisons, reason: str) -> _WithMeetings:
    """The board with its meetings and warnings; where there is none, counts alone and the reason."""
    if rated is None:
        return _unrated(compared), meetings(compared, {}), (reason,) if reason else ()
    ratings = {row.model: row.rating for row in rated.board if row.rating is not None}
    return rated, meetings(compared, ratings), rated.warnings


def _unrated(compared: Comparisons) -> Board:
    """Counts alone, for votes that cannot be rated yet."""
    counts = {name: compared.outcomes(position) for position, name in enumerate(compared.contestants)}
    votes = {name: sum(of.values()) for name, of in counts.items()}
    rows = [
        BoardRow(
            rank=None, rank_low=None, rank_high=None, model=name, rating=None, low=None, high=None, votes=votes[name],
            both_bad_rate=of["both_bad"] / votes[name] if votes[name] else None,
            status=Status.PRELIMINARY.value, **of,
        )
        for name, of in counts.items()
    ]  # fmt: skip
    return Board("bt", {}, compared.votes, tuple(rows))


def meetings(compared: Comparisons, ratings: dict[str, float]) -> tuple[Meeting, ...]:
    """Every ordered pair that has decided or tied against each other."""
    wins = bradley_terry.win_matrix(compared)
    games, names = wins + wins.T, compared.contestants
    known = np.array([ratings.get(name, np.nan) for name in names]) / bradley_terry.SCALE
    i, j = np.nonzero(games)
    chances = bradley_terry.win_probability(known)[i, j]
    columns = (
        np.array(names, object)[i], np.array(names, object)[j], wins[i, j] / games[i, j], games[i, j].astype(int),
        np.where(np.isnan(chances), None, chances),
    )  # fmt: skip
    return tuple(map(Meeting._make, zip(*(column.tolist() for column in columns), strict=True)))


# Boards as the pages ask for them: see `services.deriving`


@dataclass(frozen=True, slots=True, eq=False)
class Rated:
    """A board, and how its contestants met: `wins` (M, M), a tie as half to each side, over `contestants` by name.

    `reason`: why nobody is rated; then the board holds counts alone. `last_ballot`: the last vote that was looked at.
    `voters`: how many cast the votes, 0 where unknown. `effects`: what side and style are worth, where taken out.
    """

    board: Board
    contestants: tuple[str, ...]
    wins: Floats
    last_ballot: int
    voters: int
    reason: str = ""
    effects: tuple[audit.Influence, ...] = ()


def rated(arena: Arena, votes: VoteFilter, controlled: bool = False) -> Rated:
    """The board of the votes that the filter lets through, without votes to flip and needed: `between` finds those.

    `controlled`: as if all images looked alike and stood on no side, by the votes on images of this arena. A judge's
    board is clustered by prompt, since it is one voter. Raises DataError where style cannot be taken out.
    """
    if controlled:
        return _controlled(arena, votes)
    compared, last = _compared(arena, votes)
    try:
        return _rated(boards.board(compared, flips=False), compared, last)
    except DataError as error:
        return _rated(_unrated(compared), compared, last, str(error) if compared.votes else "")


def _compared(arena: Arena, votes: VoteFilter) -> tuple[Comparisons, int]:
    if votes.board == PEOPLE:
        found = tally(arena)
        return found.comparisons(votes), found.newest[0]
    last = arena.store.newest()[0]
    return comparisons(arena, votes, "prompt"), last


def _rated(
    board: Board, compared: Comparisons, last: int, reason: str = "", effects: tuple[audit.Influence, ...] = ()
) -> Rated:
    wins = bradley_terry.win_matrix(compared)
    return Rated(board, compared.contestants, wins, last, uncertainty.active_clusters(compared), reason, effects)


def _controlled(arena: Arena, votes: VoteFilter) -> Rated:
    last = arena.store.newest()[0]
    compared, fitted = audit.style_fit(arena, votes)
    among = compared.among([compared.contestants.index(name) for name in fitted.contestants])
    size = len(fitted.contestants)
    estimate = Estimate(among, fitted.theta, fitted.covariance[:size, :size], fitted.factor, uncertainty.freedom(among))
    found = boards.rows(compared, estimate, fitted.unrated, None, 0)
    board = boards.assembled(compared, among, fitted.unrated, found, uncertainty.active_clusters(among))
    board = replace(board, parameters={**board.parameters, "taken out": list(fitted.names)})
    effects = tuple(audit.Influence(effect.name, *map(float, effect.points)) for effect in fitted.effects)
    return _rated(board, compared, last, effects=effects)


def live_ratings(arena: Arena) -> dict[int, float]:
    """Elo by contestant id, after the last vote."""
    return arena.store.ratings(BOARD, elo_parameters(arena), elo_rate(arena))[0]


def between(arena: Arena, votes: VoteFilter, upper: str, lower: str) -> tuple[int, int | None] | None:
    """Votes to flip, and votes needed to settle, the order of two rated contestants; None where one is not rated."""
    compared, _ = _compared(arena, votes)
    among, _ = boards.rateable(compared)
    if not {upper, lower} <= {*among.contestants}:
        return None
    wins = bradley_terry.win_matrix(among)
    theta = bradley_terry.fit(wins)
    covariance = uncertainty.covariance(among, theta)
    critical = uncertainty.ranks(theta, covariance, freedom=uncertainty.freedom(among)).critical
    pair = among.contestants.index(upper), among.contestants.index(lower)
    to_flip = influence.votes_to_flip(among.without_clusters(), theta, *pair)
    return to_flip, influence.votes_needed(wins, theta, covariance, *pair, critical)


def as_json(board: Leaderboard) -> dict[str, Any]:
    """The board as plain JSON, times as ISO 8601."""
    plain = asdict(replace(board, meetings=()))
    plain["meetings"] = [meeting._asdict() for meeting in board.meetings]
    for name in ("since", "until"):
        value = plain["votes_filter"][name]
        plain["votes_filter"][name] = value and value.isoformat()
    return plain
