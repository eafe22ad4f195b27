"""Whether a judge's board, or a score of single images, ranks as people do.

    human votes, verdicts -> two boards -> ranks        scores, human ratings -> ranks

Percentile intervals of a rank correlation reach further down than up: every draw shakes both orders once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, stats

from arena.errors import DataError
from arena.rating import bradley_terry as bt
from arena.rating.agreement import Estimate
from arena.rating.comparisons import Floats, Ints, aggregate
from arena.rating.fusion import Paired
from arena.rating.uncertainty import LEVEL


@dataclass(frozen=True, slots=True)
class RankAgreement:
    """Spearman's rho and Kendall's tau-b over `n` things, with percentile bootstrap intervals.

    `rounds` that gave a figure: one in which a board has no maximum or a score is constant gives none. None where the
    whole gives none.
    """

    spearman: Estimate | None
    kendall: Estimate | None
    n: int
    rounds: int


@dataclass(frozen=True, slots=True)
class BoardAgreement:
    """The judge's board against that of people, over the contestants that both can rate, and how their ranks agree."""

    contestants: tuple[str, ...]
    human: tuple[float, ...]
    judge: tuple[float, ...]
    ranks: RankAgreement


def boards(paired: Paired, *, rounds: int = 1000, seed: int = 0) -> BoardAgreement:
    """Bradley–Terry boards (a tie is half a win for both) of people and judge on the same battles, in rating points.

    Each round draws whole voters anew, or battles where voters are unknown, with their verdicts: the two boards share
    the battles, so they are never drawn apart. A verdict that is missing is coded both-bad in `paired` and has no part.
    Raises DataError where fewer than three contestants are rated on both boards: two always agree or not.
    """
    if not len(paired.left):
        raise DataError("No battle has both a human vote and a verdict; there are no boards to compare.")
    unit, times = _units(paired)
    human, judge = (_Board.of(paired, codes, unit, len(times)) for codes in (paired.human, paired.judge))
    shared = sorted({*human.members} & {*judge.members})
    if len(shared) < 3:
        raise DataError(
            f"{_models(len(shared))} can be rated both by people and by the judge; rank agreement takes three."
        )
    places = [[board.members.index(member) for member in shared] for board in (human, judge)]
    starts = [board.fit(times[None].astype(np.float64))[0] for board in (human, judge)]
    whole = [theta[place] for theta, place in zip(starts, places, strict=True)]
    rng = np.random.default_rng(seed)
    drawn = (
        (one[places[0]], other[places[1]])
        for weights in _drawn(times, rounds, rng)
        for one, other in zip(human.fit(weights, starts[0]), judge.fit(weights, starts[1]), strict=True)
    )
    return BoardAgreement(
        tuple(paired.contestants[member] for member in shared),
        *(tuple(bt.points(theta).tolist()) for theta in whole),
        _summary((whole[0], whole[1]), drawn),
    )


def with_score(paired: Paired, score: ArrayLike, *, rounds: int = 1000, seed: int = 0) -> RankAgreement:
    """People's board against one value (K,) for each contestant, the larger the better; NaN where it has none.

    The rounds are those of `boards`: they draw the votes, so intervals tell nothing of the values' own errors. Verdicts
    in `paired` have no part. Raises DataError where fewer than three contestants have a rating and a value.
    """
    if not len(paired.left):
        raise DataError("No battle has a human vote; there is no board to compare with.")
    values = np.asarray(score, np.float64)
    unit, times = _units(paired)
    human = _Board.of(paired, paired.human, unit, len(times))
    places = [place for place, member in enumerate(human.members) if not np.isnan(values[member])]
    if len(places) < 3:
        raise DataError(f"{_models(len(places))} can be rated by people and have a value; rank agreement takes three.")
    known = values[[human.members[place] for place in places]]
    start = human.fit(times[None].astype(np.float64))[0]
    drawn = (
        (one[places], known)
        for weights in _drawn(times, rounds, np.random.default_rng(seed))
        for one in human.fit(weights, start)
    )
    return _summary((start[places], known), drawn)


def _models(n: int) -> str:
    return "1 model" if n == 1 else f"{n} models"


def _units(paired: Paired) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What is drawn anew: the unit of each battle (n,), and how many of it there are (U,). A unit is a voter, or all
    battles that agree in everything, so that the cost of a round does not grow with the votes."""
    if paired.voter is not None:
        unit = np.unique(paired.voter, return_inverse=True)[1]
        return unit, np.ones(int(unit.max()) + 1, np.int64)
    pair = np.asarray(paired.left, np.int64) * len(paired.contestants) + paired.right
    _, unit, times = np.unique((pair * 4 + paired.human) * 4 + paired.judge, return_inverse=True, return_counts=True)
    return unit, times


def _drawn(
    times: NDArray[np.int64], rounds: int, rng: np.random.Generator, part: int = 50
) -> Iterator[NDArray[np.float64]]:
    """How often each unit is drawn (part, U), as many in all as there are."""
    total = int(times.sum())
    for start in range(0, rounds, part):
        yield rng.multinomial(total, times / total, min(part, rounds - start)).astype(np.float64)


@dataclass(frozen=True, eq=False)
class _Board:
    """Who can be rated (positions), and the wins (U, K K) among them in one of each unit."""

    members: tuple[int, ...]
    wins: sparse.csr_array

    @classmethod
    def of(cls, paired: Paired, codes: Ints, unit: Ints, units: int) -> _Board:
        votes = aggregate(paired.contestants, paired.left, paired.right, codes)
        members = bt.components(bt.win_matrix(votes)).rated
        place = np.full(len(paired.contestants), -1)
        place[list(members)] = np.arange(len(members))
        left, right, score = place[paired.left], place[paired.right], bt.left_score(np.asarray(codes, np.int64))
        rows = np.flatnonzero((left >= 0) & (right >= 0) & ~np.isnan(score))
        if paired.voter is None:
            rows = rows[np.unique(unit[rows], return_index=True)[1]]
        left, right, score, size = left[rows], right[rows], score[rows], len(members)
        cells = (np.tile(unit[rows], 2), np.concatenate([left * size + right, right * size + left]))
        wins = sparse.csr_array((np.concatenate([score, 1 - score]), cells), shape=(units, size * size))
        return cls(members, wins)

    def fit(self, times: Floats, start: Floats | None = None) -> Floats:
        """Strengths (rounds, K) of so many of each unit (rounds, U); NaN in a round that has no maximum."""
        size = len(self.members)
        return bt.fit((times @ self.wins).reshape(-1, size, size), start)


def correlation(
    score: ArrayLike, human: ArrayLike, *, unit: Sequence[object] | None = None, rounds: int = 1000, seed: int = 0
) -> RankAgreement:
    """Rank correlation of a score with human ratings, both (n,), thing by thing; what lacks either (NaN) is left out.

    `unit` (n,): what the bootstrap draws anew, such as the prompt that several images share (default: each thing).
    Raises DataError where fewer than three things have both.
    """
    x, y = np.asarray(score, np.float64), np.asarray(human, np.float64)
    kept = ~(np.isnan(x) | np.isnan(y))
    x, y = x[kept], y[kept]
    if len(x) < 3:
        raise DataError(f"{len(x)} things have both a score and a human rating; a rank correlation takes three.")
    names = np.arange(len(x)) if unit is None else np.asarray(unit)[kept]
    group = np.unique(names, return_inverse=True)[1]
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    rng = np.random.default_rng(seed)
    drawn = (
        np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))]) for _ in range(rounds)
    )  # fmt: skip
    return _summary((x, y), ((x[rows], y[rows]) for rows in drawn))


def _summary(whole: tuple[Floats, Floats], drawn: Iterable[tuple[Floats, Floats]]) -> RankAgreement:
    rounds = [found for found in (_both(*pair) for pair in drawn) if not np.isnan(found).any()]
    ends = np.quantile(rounds, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0) if rounds else np.full((2, 2), np.nan)
    rho, tau = (
        None if np.isnan(value) else Estimate(float(value), float(low), float(high))
        for value, low, high in zip(_both(*whole), *ends, strict=True)
    )
    return RankAgreement(rho, tau, len(whole[0]), len(rounds))


def _both(x: Floats, y: Floats) -> tuple[float, float]:
    """Spearman's rho and Kendall's tau-b; NaN where one is constant or not known."""
    if not np.isfinite(x).all() or not np.isfinite(y).all() or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan, np.nan
    rho = np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1]
    return float(rho), float(stats.kendalltau(x, y).statistic)
