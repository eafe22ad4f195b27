"""Whether a judge's board, or a score of single images, ranks as people do.

    human votes, verdicts -> two boards -> ranks        scores, human ratings -> ranks

Percentile intervals of a rank correlation reach further down than up: every draw shakes both orders once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse, stats

from arena.errors import DataError
from arena.rating import bradley_terry as bt
from arena.rating.agreement import Estimate
from arena.rating.comparisons import Floats, Ints
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
    members = sorted(_rated(paired, paired.human) & _rated(paired, paired.judge))
    if len(members) < 3:
        raise DataError(
            f"{len(members)} models can be rated both by people and by the judge; rank agreement takes three."
        )
    kept = paired.among(members)
    one, other = (_fit_all(kept, codes) for codes in (kept.human, kept.judge))
    whole = np.ones((1, len(kept.left)))
    theta, judged = one(whole, None)[0], other(whole, None)[0]
    rng = np.random.default_rng(seed)
    drawn = [(one(weights, theta), other(weights, judged)) for weights in _drawn(kept, rounds, rng)]
    rows = [(a, b) for many, others in drawn for a, b in zip(many, others, strict=True)]
    return BoardAgreement(
        kept.contestants, tuple(bt.points(theta).tolist()), tuple(bt.points(judged).tolist()),
        _summary((theta, judged), rows),
    )  # fmt: skip


def _rated(paired: Paired, codes: Ints) -> set[int]:
    votes = Paired(paired.contestants, paired.left, paired.right, codes, codes).votes()
    return set(bt.components(bt.win_matrix(votes)).rated)


def _fit_all(paired: Paired, codes: Ints) -> Callable[[Floats, Floats | None], Floats]:
    """A function from weights of the battles (rounds, n) to strengths (rounds, M), NaN where there is no maximum."""
    size, n = len(paired.contestants), len(paired.left)
    score = bt.left_score(np.asarray(codes, np.int64))
    rows = np.flatnonzero(~np.isnan(score))
    forth, back = paired.left[rows] * size + paired.right[rows], paired.right[rows] * size + paired.left[rows]
    cells = (np.concatenate([rows, rows]), np.concatenate([forth, back]))
    wins = sparse.csr_array((np.concatenate([score[rows], 1 - score[rows]]), cells), shape=(n, size * size))
    return lambda weights, start: bt.fit((weights @ wins).reshape(-1, size, size), start)


def _drawn(paired: Paired, rounds: int, rng: np.random.Generator, part: int = 50) -> Iterator[Floats]:
    """Weights of the battles (part, n), units drawn anew with replacement."""
    unit = np.arange(len(paired.left)) if paired.voter is None else np.unique(paired.voter, return_inverse=True)[1]
    units = int(unit.max()) + 1
    for start in range(0, rounds, part):
        times = rng.multinomial(units, np.full(units, 1 / units), min(part, rounds - start))
        yield times[:, unit].astype(np.float64)


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
