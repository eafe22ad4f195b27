"""Inverse-probability weights: votes weighted as if every pair had been drawn equally often.

Source: D. Horvitz and D. Thompson, A Generalization of Sampling Without Replacement from a Finite Universe, JASA 47
(1952); for arenas with active sampling W.-L. Chiang and others, Chatbot Arena (arXiv:2403.04132).

When they are needed: if Bradley–Terry holds, the unweighted fit is consistent whatever pairs were drawn, even where
earlier votes chose them, and weights only cost precision (see `Weights.effective`). Real preferences are not quite
transitive. Then a fit estimates the strengths that lie closest to the truth on average over the pairs drawn, so a
policy that changes which pairs meet also changes the board. The weighted fit estimates the strengths closest to the
truth over all pairs alike, which no policy can move.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arena.errors import DataError, UsageError
from arena.rating.comparisons import Floats


@dataclass(frozen=True, eq=False)
class Weights:
    """One weight for each vote (n,), of mean 1.

    `effective`: the votes that equal weights would need for the same precision, (sum w)^2 / sum w^2 (Kish 1965).
    `trimmed`: how many votes were cut to the limit; `removed`: the share of all weight in [0, 1) that was cut off.
    """

    weight: Floats
    effective: float
    trimmed: int = 0
    removed: float = 0.0


def inverse_probability(probability: Floats, at_most: float | None = None) -> Weights:
    """Weights (n,) in proportion to 1 / probability, with mean 1.

    `probability` (n,): with which each vote's unordered pair was drawn at that moment, given all that the policy knew
    then. The target is uniform over the pairs that have votes; its own probability is the same factor in every
    weight, so the mean of 1 takes it out. A pair that could not be drawn for a while counts as if it had met less.
    `at_most` cuts weights above that many times the mean, which trades a bias towards the drawn pairs for less
    variance, and scales the result to mean 1 again. For `aggregate`, pass `weight`; a vote's square is its own.

    Raises DataError for a probability outside (0, 1], with its value; UsageError for a limit below 1.
    """
    probability = np.asarray(probability, np.float64)
    bad = np.flatnonzero(~((probability > 0) & (probability <= 1)))
    if len(bad):
        raise DataError(
            f"Vote {bad[0]} has the sampling probability {probability[bad[0]]:g}, which lies outside (0, 1]; "
            "store the one its battle was drawn with, or leave the vote out."
        )
    if at_most is not None and not at_most >= 1:
        raise UsageError(f"Weights of mean 1 cannot all be at most {at_most:g}; choose a limit of 1 or more.")
    if not len(probability):
        return Weights(np.zeros(0), 0.0)
    # Divided by the smallest first: 1 / 1e-300 is finite, a sum of such is not for ever.
    weight = probability.min() / probability
    weight /= weight.mean()
    above = weight > (np.inf if at_most is None else at_most)
    cut = np.where(above, at_most or 0.0, weight)
    removed = 1 - cut.mean() if above.any() else 0.0
    cut = cut / cut.mean()
    return Weights(cut, float(cut.sum() ** 2 / (cut**2).sum()), int(above.sum()), float(removed))
