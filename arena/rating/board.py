"""The board: comparisons in, ratings with everything that says how far to trust them out. One pure function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from arena.errors import DataError
from arena.rating import bradley_terry as bt
from arena.rating import influence, resampling, uncertainty
from arena.rating.bradley_terry import Ties
from arena.rating.comparisons import Code, Comparisons, Floats
from arena.rating.uncertainty import Ranks, Status

METHOD = "bt@1"
"""Names every formula behind a board; a change of any of them makes it another."""


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One contestant. Ratings in points (mean 1000, 400 points are odds of ten to one).

    `rank`: 1 + how many are rated strictly higher. `rank_low` to `rank_high`: the rank set, which holds for all rows
    at once. `low` to `high`: the 95% interval of the rating. `p_best`, `p_top3`: chances. `votes_to_flip`: fewest
    votes whose removal puts the next row level; `votes_needed`: battles of the two that would settle their order.
    A contestant that the votes cannot rate has None throughout and a `reason`.
    """

    rank: int | None
    rank_low: int | None
    rank_high: int | None
    model: str
    rating: float | None
    low: float | None
    high: float | None
    votes: int
    both_bad_rate: float | None
    status: str
    wins: int = 0
    losses: int = 0
    ties: int = 0
    both_bad: int = 0
    p_best: float | None = None
    p_top3: float | None = None
    votes_to_flip: int | None = None
    votes_needed: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Board:
    """Rows from best to worst, then the unrated by name; and what they were made with."""

    system: str
    parameters: Mapping[str, Any]
    n_votes: int
    board: tuple[BoardRow, ...]
    warnings: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The documented keys and no others, in a fixed order."""
        keys = ("rank", "rank_low", "rank_high", "model", "rating", "low", "high", "votes", "both_bad_rate", "status")
        rows = [asdict(row) for row in self.board]
        return {
            "system": self.system,
            "parameters": dict(self.parameters),
            "n_votes": self.n_votes,
            "board": [{key: row[key] for key in keys} for row in rows],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, eq=False)
class Estimate:
    """Strengths (M,) of the rated contestants, mean 0, their covariance (M, M), and how well it is known itself: its
    degrees of freedom, which give the factor of a standard error in an interval."""

    comparisons: Comparisons
    theta: Floats
    covariance: Floats
    factor: float
    freedom: float = np.inf


def board(
    comparisons: Comparisons, ties: Ties = Ties.HALF, *, rounds: int = 0, flips: bool = True, seed: int = 0
) -> Board:
    """The Bradley–Terry board of these comparisons, with clustered uncertainty where they have clusters.

    `rounds` > 0 adds bootstrap intervals to `details`; `flips` finds the votes that hold each neighbour's place.
    Raises DataError if there are no votes or fewer than two contestants that votes can compare.
    """
    rated, unrated = rateable(comparisons, ties)
    wins = bt.win_matrix(rated, ties)
    theta = bt.fit(wins)
    covariance = uncertainty.covariance(rated, theta, ties)
    estimate = Estimate(rated, theta, covariance, uncertainty.factor(rated), uncertainty.freedom(rated))
    pooled = rated.without_clusters()

    def neighbours(upper: int, lower: int, critical: float) -> tuple[int | None, int | None]:
        to_flip = influence.votes_to_flip(pooled, theta, upper, lower, ties)
        return to_flip, influence.votes_needed(wins, theta, covariance, upper, lower, critical)

    details = {"bootstrap": _bootstrap(estimate, rounds, ties, seed)} if rounds else {}
    voters = uncertainty.active_clusters(rated)
    found = rows(comparisons, estimate, unrated, neighbours if flips else None, seed)
    return assembled(comparisons, rated, unrated, found, voters, ties=ties, seed=seed, details=details)


def assembled(
    comparisons: Comparisons, rated: Comparisons, unrated: Mapping[str, str], found: tuple[BoardRow, ...], voters: int,
    *, ties: Ties = Ties.HALF, seed: int = 0, details: Mapping[str, Any] | None = None,
) -> Board:  # fmt: skip
    """A Bradley–Terry board from its rows; `voters` is how many clusters have votes among the rated."""
    return Board(
        system="bt",
        parameters={
            "method": METHOD, "ties": ties.value, "both_bad": "own outcome", "scale": 400, "mean": 1000,
            "level": uncertainty.LEVEL, "clusters": voters or None, "seed": seed,
        },
        n_votes=comparisons.votes,
        board=found,
        warnings=warnings(comparisons, rated, unrated, voters),
        details=details or {},
    )  # fmt: skip


def rateable(comparisons: Comparisons, ties: Ties = Ties.HALF) -> tuple[Comparisons, dict[str, str]]:
    """The votes among the contestants that they can rate, and for each other contestant why not.

    Raises DataError if there are no votes or fewer than two contestants that votes can compare.
    """
    if not comparisons.votes:
        raise DataError("There are no votes to rate; add some.")
    if comparisons.size < 2:
        raise DataError(f"There is one model, {comparisons.contestants[0]!r}; a rating compares at least two.")
    wins = bt.win_matrix(comparisons, ties)
    if not wins.any():
        raise DataError("No vote prefers a model or calls two alike, so nothing compares them; add such votes.")
    found = bt.components(wins)
    if len(found.rated) < 2:
        raise DataError(
            "No two models can be rated: in every pair one has won all votes; add votes, or tell ties apart."
        )
    return comparisons.among(found.rated), bt.unrated_because(comparisons, found)


Neighbours = Callable[[int, int, float], tuple[int | None, int | None]]
"""(upper, lower, critical value) -> (votes to flip, votes needed), positions among the rated."""


def rows(
    comparisons: Comparisons, estimate: Estimate, unrated: Mapping[str, str], neighbours: Neighbours | None, seed: int,
    ranks: Ranks | None = None,
) -> tuple[BoardRow, ...]:  # fmt: skip
    """The rated from best to worst, then the unrated by name, whatever system estimated the strengths.

    `ranks` are drawn with `seed` where they are not known already.
    """
    rated, theta = estimate.comparisons, estimate.theta
    ratings = bt.points(theta)
    half = uncertainty.half_widths(estimate.covariance, estimate.factor)
    ranks = ranks or uncertainty.ranks(theta, estimate.covariance, seed=seed, freedom=estimate.freedom)
    order = sorted(range(rated.size), key=lambda i: (-ratings[i], rated.contestants[i]))
    made = []
    for i, below in zip(order, [*order[1:], None], strict=True):
        to_flip = needed = None
        if below is not None and neighbours is not None:
            to_flip, needed = neighbours(i, below, ranks.critical)
        made.append(
            BoardRow(
                rank=1 + int((ratings > ratings[i]).sum()),
                rank_low=int(ranks.low[i]),
                rank_high=int(ranks.high[i]),
                rating=float(ratings[i]),
                low=float(ratings[i] - half[i]),
                high=float(ratings[i] + half[i]),
                status=uncertainty.status(half[i]).value,
                p_best=float(ranks.best[i]),
                p_top3=float(ranks.top3[i]),
                votes_to_flip=to_flip,
                votes_needed=needed,
                **_counted(comparisons, rated.contestants[i]),
            )
        )
    for name in sorted(unrated):
        made.append(
            BoardRow(
                rank=None, rank_low=None, rank_high=None, rating=None, low=None, high=None,
                status=Status.PRELIMINARY.value, reason=unrated[name], **_counted(comparisons, name),
            )
        )  # fmt: skip
    return tuple(made)


def _counted(comparisons: Comparisons, name: str) -> dict[str, Any]:
    counts = comparisons.outcomes(comparisons.contestants.index(name))
    votes = sum(counts.values())
    return {
        "model": name, "votes": votes, "both_bad_rate": counts["both_bad"] / votes if votes else None, **counts,
    }  # fmt: skip


def warnings(comparisons: Comparisons, rated: Comparisons, unrated: Mapping[str, str], voters: int) -> tuple[str, ...]:
    """What a reader must know before trusting the board; `voters` is how many clusters have votes among the rated."""
    found = [f"{name!r} is not rated: it {reason}" for name, reason in sorted(unrated.items())]
    lost = comparisons.votes - rated.votes
    if lost:
        found.append(f"{lost} of {comparisons.votes} votes involve unrated models and have no part in the ratings.")
    if voters == 1:
        found.append("Only 1 voter: the intervals are those of its own opinion, not of voters at large.")
    elif 1 < voters < 20:
        found.append(f"Only {voters} voters: intervals that allow for their habits are rough below 20.")
    if not (rated.outcome != Code.TIE).any():
        found.append("Every vote is a tie.")
    return tuple(found)


def _bootstrap(estimate: Estimate, rounds: int, ties: Ties, seed: int) -> dict[str, Any]:
    drawn = resampling.bootstrap(estimate.comparisons, estimate.theta, rounds, ties, seed)
    whole = ~np.isnan(drawn).any(1)
    tail = (1 - uncertainty.LEVEL) / 2
    low, high = np.quantile(bt.points(drawn[whole]), [tail, 1 - tail], axis=0) if whole.any() else (None, None)
    names = estimate.comparisons.contestants
    return {
        "rounds": rounds,
        "rounds_without_maximum": int((~whole).sum()),
        "low": {} if low is None else dict(zip(names, map(float, low), strict=True)),
        "high": {} if high is None else dict(zip(names, map(float, high), strict=True)),
    }
