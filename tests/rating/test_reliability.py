"""Reliability against scikit-learn's curve, by hand, and with judges whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest

from arena.errors import DataError, UsageError
from arena.rating.agreement import UNSCORED, Share
from arena.rating.comparisons import Code
from arena.rating.reliability import reliability

LEFT, RIGHT, TIE, BAD = Code


def test_the_curve_is_scikit_learns() -> None:
    """scikit-learn 1.9, calibration_curve(y, p, n_bins=10); tolerance: its printed digits."""
    rng = np.random.default_rng(0)
    p = rng.random(200)
    won = rng.random(200) < p**2
    found = reliability(p, np.where(won, LEFT, RIGHT))
    observed = [0, 0.0625, 0, 0.05882353, 0.11111111, 0.45454545, 0.47058824, 0.72222222, 0.64, 0.96666667]
    predicted = [0.04410997, 0.15215764, 0.25986634, 0.35396752, 0.44486072,
                 0.55491959, 0.64571727, 0.74473642, 0.84947348, 0.95182609]  # fmt: skip
    assert found.observed == pytest.approx(observed, abs=1e-8)
    assert found.predicted == pytest.approx(predicted, abs=1e-8)
    assert found.n == 200
    gap = np.abs(np.array(observed) - predicted)
    assert found.ece == pytest.approx((gap * found.count).sum() / 200, abs=1e-7)
    assert found.brier == pytest.approx(np.mean((p - won) ** 2))


def test_by_hand() -> None:
    """Two bins: .2 and .4 of which one wins, .9 of which none does. Ties, and pairs without a probability, are out."""
    found = reliability([0.2, 0.4, 0.9, 1.0, np.nan, 0.5, 0.6], [LEFT, RIGHT, RIGHT, LEFT, LEFT, TIE, UNSCORED], bins=2)
    assert found.count.tolist() == [2, 2]
    assert found.predicted == pytest.approx([0.3, 0.95]) and found.observed == pytest.approx([0.5, 0.5])
    assert found.ece == pytest.approx((2 * 0.2 + 2 * 0.45) / 4)
    wilson = Share(1, 2).estimate
    assert found.low == pytest.approx([wilson.low] * 2) and found.high == pytest.approx([wilson.high] * 2)


def test_a_calibrated_judge_has_the_error_it_would_have_and_a_boaster_has_more() -> None:
    rng = np.random.default_rng(1)
    p = rng.beta(2, 2, 400)
    human = np.where(rng.random(400) < p, LEFT, RIGHT)
    honest = reliability(p, human, seed=3)
    assert 0 < honest.ece < 2 * honest.ece_if_calibrated
    boaster = reliability(np.where(p > 0.5, 0.99, 0.01), human)
    assert boaster.ece > 5 * boaster.ece_if_calibrated
    assert np.isnan(boaster.observed[5]) and np.isnan(boaster.low[5]) and boaster.count[5] == 0
    assert reliability(p, human, seed=3).ece_if_calibrated == honest.ece_if_calibrated


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(UsageError, match=r"1\.5 is no probability"):
        reliability([1.5], [LEFT])
    with pytest.raises(DataError, match="there is no reliability"):
        reliability([0.5, np.nan], [BAD, LEFT])
