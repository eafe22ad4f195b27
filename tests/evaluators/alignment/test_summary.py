"""Means and intervals against scipy, a plain loop over prompts, simulated coverage, and published means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evaluators.alignment.summary import Mean, mean

IMAGENHUB = Path(__file__).parents[3].parent / "shared" / "data" / "imagenhub_t2i"


def test_one_image_for_each_prompt_is_scipys_t_interval() -> None:
    x = np.random.default_rng(0).normal(3, 2, 17)
    found = mean(x)
    theirs = stats.ttest_1samp(x, 0).confidence_interval(0.95)
    assert found.value == pytest.approx(x.mean()) and (found.n, found.units) == (17, 17)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=1e-12)
    assert mean(x, [f"prompt {n}" for n in range(17)]) == found


def test_images_of_one_prompt_hang_together() -> None:
    """As many copies of each image as one likes say no more than one; and the formula in a plain loop."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=9)
    once, thrice = mean(x), mean(np.repeat(x, 3), np.repeat(np.arange(9), 3))
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), rel=1e-12) and thrice.n == 27
    y, unit = rng.normal(size=20), rng.integers(0, 6, 20)
    of_units = sum((sum(v - y.mean() for v, u in zip(y, unit, strict=True) if u == g)) ** 2 for g in set(unit))
    half = stats.t.ppf(0.975, 5) * np.sqrt(of_units * 6 / 5) / 20
    assert (mean(y, unit).low, mean(y, unit).high) == pytest.approx((y.mean() - half, y.mean() + half))


def test_missing_is_left_out_and_nothing_is_none() -> None:
    nan = np.nan
    assert mean([1.0, nan, 3.0], ["a", "a", "b"]) == mean([1.0, 3.0], ["a", "b"])
    assert mean([1.0, 2.0], ["a", "a"]) == Mean(1.5, None, None, 2, 1)
    assert mean([nan, nan]) == mean([]) == Mean(None, None, None, 0, 0)


def test_the_interval_holds_what_it_promises() -> None:
    """Prompts differ as much as images of one prompt: 1,000 draws, sampling error 0.7 points."""
    rng = np.random.default_rng(2)
    unit = np.repeat(np.arange(25), 4)
    held = naive = 0
    for _ in range(1000):
        x = rng.normal(size=25)[unit] + rng.normal(size=100)
        found, alone = mean(x, unit), mean(x)
        held, naive = held + (found.low <= 0 <= found.high), naive + (alone.low <= 0 <= alone.high)
    assert 930 <= held <= 970
    assert naive < 850, "taking images of one prompt as independent promises too much"


@pytest.mark.skipif(not IMAGENHUB.is_dir(), reason="the optional folder of ImagenHub's ratings is not here")
def test_published_means_of_imagenhub() -> None:
    """Mean sqrt(SC PQ) of 197 prompts and three raters, published to three digits."""
    ratings = pd.read_csv(IMAGENHUB / "ratings_long.csv")
    ratings["overall"] = np.sqrt(ratings.SC * ratings.PQ)
    published = {
        "DALLE3": 0.759, "Midjourney": 0.734, "DeepFloydIF": 0.591, "SDXL": 0.585, "DALLE": 0.542,
        "OpenJourney": 0.504, "SD": 0.495,
    }  # fmt: skip
    for model, value in published.items():
        rows = ratings[ratings.model == model]
        found = mean(rows.overall, rows.uid)
        assert round(found.value, 3) == value and (found.n, found.units) == (591, 197)
        assert found.low < value < found.high and 0.02 < found.high - found.low < 0.12
