"""Whether a judge's probabilities mean what they say: of pairs given 70% to the left, does the left win 70%?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from arena.errors import DataError, UsageError
from arena.rating.agreement import UNSCORED, checked_codes
from arena.rating.comparisons import Code, Floats, Ints
from arena.rating.voters import wilson


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Stated probabilities of the left side against how often it won, over the `n` pairs that people decided.

    Each array (bins,), NaN where a bin is empty: mean `predicted` probability, `observed` share with Wilson's `low`
    and `high`, `count` pairs. `ece`: expected calibration error, the mean of |predicted - observed| over pairs; it is
    above 0 even for a perfect judge, for whom it would be `ece_if_calibrated` at these probabilities. `brier`: mean
    squared error of the probabilities.
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    count: Ints
    ece: float
    ece_if_calibrated: float
    brier: float

    @property
    def n(self) -> int:
        return int(self.count.sum())


def reliability(
    probability: ArrayLike, human: ArrayLike, *, bins: int = 10, rounds: int = 1000, seed: int = 0
) -> Reliability:
    """The reliability curve of P(left wins) (n,) against human codes (n,), in `bins` of equal width over [0, 1].

    Pairs without a probability (NaN) or whose vote picks no side are left out. `ece_if_calibrated` is a mean over
    `rounds` draws of outcomes from the probabilities themselves. Source of the error: M. Naeini, G. Cooper and M.
    Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning (AAAI 2015).
    Raises UsageError for a value outside [0, 1], DataError where no pair is left.
    """
    p, code = np.asarray(probability, np.float64), checked_codes(human, UNSCORED)
    if len(strange := p[(p < 0) | (p > 1)]):
        raise UsageError(f"{strange[0]} is no probability; give values from 0 to 1.")
    kept = ~np.isnan(p) & ((code == Code.LEFT) | (code == Code.RIGHT))
    p, won = p[kept], (code[kept] == Code.LEFT).astype(np.float64)
    if not len(p):
        raise DataError("No pair has both a probability and a vote that picks a side; there is no reliability.")
    place = np.minimum((p * bins).astype(np.int64), bins - 1)
    count, stated = np.bincount(place, minlength=bins), np.bincount(place, p, bins)
    wins = np.bincount(place, won, bins)
    with np.errstate(invalid="ignore"):
        observed, predicted = wins / count, stated / count
    low, high = wilson(observed, count.astype(np.float64))
    rng = np.random.default_rng(seed)
    expected = np.mean([_ece(stated, np.bincount(place, rng.random(len(p)) < p, bins), len(p)) for _ in range(rounds)])
    return Reliability(
        predicted, observed, low, high, count,
        ece=_ece(stated, wins, len(p)), ece_if_calibrated=float(expected), brier=float(((p - won) ** 2).mean()),
    )  # fmt: skip


def _ece(stated: Floats, wins: Floats, n: int) -> float:
    """Both are sums over a bin, so that its count cancels."""
    return float(np.abs(stated - wins).sum() / n)
