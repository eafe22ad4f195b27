"""The mean of a score over images, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of `n` scored images of `units` prompts, with its 95% interval; None where there is nothing to say."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    units: int


def mean(values: ArrayLike, unit: Sequence[object] | None = None, level: float = LEVEL) -> Mean:
    """The mean of values (n,), with Student's t over prompts; NaN is missing and has no part.

    Images of one `unit` (n,), the prompt, hang together, so that the variance is that of the units' sums of deviations
    (cluster-robust, G / (G - 1), G - 1 degrees of freedom). With one image for each prompt it is the plain t interval.
    One prompt alone has a mean and no interval. For two contestants on the same prompts, give the differences.
    """
    values = np.asarray(values, np.float64)
    scored = ~np.isnan(values)
    x = values[scored]
    if not len(x):
        return Mean(None, None, None, 0, 0)
    names = np.arange(len(x)) if unit is None else np.asarray(unit)[scored]
    group = np.unique(names, return_inverse=True)[1]
    value, units = float(x.mean()), int(group.max()) + 1
    if units == 1:
        return Mean(value, None, None, len(x), 1)
    sums = np.bincount(group, x - value)
    error = float(np.sqrt((sums**2).sum() * units / (units - 1))) / len(x)
    half = float(stats.t.ppf((1 + level) / 2, units - 1)) * error
    return Mean(value, value - half, value + half, len(x), units)
