"""What would change our mind: votes that hold a neighbour's place, and votes still needed to settle it.

Votes to flip: T. Broderick, R. Giordano and R. Meager (arXiv:2011.14999), applied to arenas by J. Huang and others,
Dropping Just a Handful of Preferences Can Change Top Large Language Model Rankings (arXiv:2508.11847).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from arena.rating import bradley_terry as bt
from arena.rating.bradley_terry import Ties
from arena.rating.comparisons import Comparisons, Floats
from arena.rating.uncertainty import ROUNDING, inverse_information, residuals


def influence(comparisons: Comparisons, theta: Floats, upper: int, lower: int, ties: Ties = Ties.HALF) -> Floats:
    """How much one vote of each row (n,) adds to theta[upper] - theta[lower], to first order, by being there."""
    bread = inverse_information(bt.win_matrix(comparisons, ties), theta)
    return _influence(comparisons, residuals(comparisons, theta, ties), bread[upper] - bread[lower])


def _influence(comparisons: Comparisons, residual: Floats, contrast: Floats) -> Floats:
    weight = np.divide(comparisons.weight, comparisons.count)
    return weight * residual * (contrast[comparisons.left] - contrast[comparisons.right])


def votes_to_flip(
    comparisons: Comparisons, theta: Floats, upper: int, lower: int, ties: Ties = Ties.HALF
) -> int | None:
    """Fewest votes, by influence, whose removal puts `lower` level with `upper` or above, verified by a refit.

    Comparisons without clusters. None if the votes that can be removed before the graph falls apart do not suffice.
    The true minimum may be smaller: the order of removal is that of influence at the full fit.
    """

    def refitted(thinned: Comparisons) -> float:
        again = bt.fit(bt.win_matrix(thinned, ties)[None], theta)[0]
        return float(again[upper] - again[lower])

    gain = influence(comparisons, theta, upper, lower, ties)
    return fewest_removed(comparisons, gain, float(theta[upper] - theta[lower]), refitted)


def fewest_removed(
    comparisons: Comparisons, gain: Floats, gap: float, refitted: Callable[[Comparisons], float]
) -> int | None:
    """Fewest votes, those of the greatest `gain` (n,) first, without which a gap is no longer positive; None if none.

    `gain`: what one vote of each row adds to the gap, to first order. `refitted`: fewer comparisons -> the gap that
    they give, NaN where they give none.
    """
    order = np.argsort(-gain, kind="stable")
    order = order[gain[order] > 0]
    held = np.cumsum(comparisons.count[order])
    if not len(order):
        return None

    def gap_without(removed: int) -> float:
        taken = np.clip(removed - (held - comparisons.count[order]), 0, comparisons.count[order])
        left = comparisons.count.copy()
        left[order] -= taken
        share = np.divide(left, comparisons.count)
        return refitted(replace(comparisons, count=left, weight=comparisons.weight * share))

    guess, most, lowest = _first_guess(gain[order], comparisons.count[order], gap), int(held[-1]), 0
    # Grow the guess until it flips or the graph falls apart, then halve the bracket: a gap falls as supporting votes
    # go, and what has fallen apart stays apart.
    while (at := gap_without(guess)) > ROUNDING:
        if guess >= most:
            return None
        lowest, guess = guess, min(most, guess + max(1, guess // 8))
    highest = guess
    while highest - lowest > 1:
        middle = (highest + lowest) // 2
        if (found := gap_without(middle)) > ROUNDING:
            lowest = middle
        else:
            highest, at = middle, found
    return None if np.isnan(at) else highest


def _first_guess(gain: Floats, count: Floats, gap: float) -> int:
    """How many votes, the greatest gain first, hold the gap to first order; all if they do not."""
    cumulative, held = np.cumsum(count * gain), np.cumsum(count)
    enough = int(np.searchsorted(cumulative, gap))
    if enough == len(gain):
        return int(held[-1])
    before, taken = (cumulative[enough - 1], held[enough - 1]) if enough else (0.0, 0.0)
    return max(1, int(np.ceil(taken + (gap - before) / gain[enough])))


def votes_needed(
    wins: Floats, theta: Floats, covariance: Floats, upper: int, lower: int, critical: float
) -> int | None:
    """Further votes between the two that would make their difference exceed `critical` standard errors.

    k battles of information h = p (1 - p) each turn the variance r of the difference into r / (1 + k h r)
    (Sherman-Morrison on the information), times the design effect that the votes so far have shown. Supposes that the
    difference stays what it is now. 0 where it suffices already, None where the two are level.
    """
    gap = float(theta[upper] - theta[lower])
    bread = inverse_information(wins, theta)
    naive = float(bread[upper, upper] + bread[lower, lower] - 2 * bread[upper, lower])
    robust = float(covariance[upper, upper] + covariance[lower, lower] - 2 * covariance[upper, lower])
    if abs(gap) <= ROUNDING:
        return None
    if abs(gap) > critical * np.sqrt(max(robust, 0.0)):
        return 0
    if naive <= 0:
        return None
    p = 1 / (1 + np.exp(-gap))
    return int(np.ceil((robust * (critical / gap) ** 2 - 1) / (p * (1 - p) * naive)))
