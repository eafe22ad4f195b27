"""Inverse-probability weights: by hand, and what they buy under adaptive sampling of a truth with a cycle in it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.special import expit, logit

from arena.errors import DataError, UsageError
from arena.rating import bradley_terry as bt
from arena.rating.comparisons import Comparisons, aggregate
from arena.rating.uncertainty import sandwich
from arena.rating.weights import inverse_probability

PAIRS = np.array(list(combinations(range(4), 2)))


def test_weights_by_hand() -> None:
    found = inverse_probability(np.array([0.5, 0.25, 0.25]))
    # 1 / p = 2, 4, 4, whose mean is 10/3.
    assert found.weight == pytest.approx([0.6, 1.2, 1.2], abs=1e-15)
    assert found.effective == pytest.approx(9 / (0.36 + 1.44 + 1.44), abs=1e-12)
    assert (found.trimmed, found.removed) == (0, 0.0)


def test_equal_probabilities_are_no_weights() -> None:
    found = inverse_probability(np.full(7, 0.01), at_most=1)
    assert (found.weight == 1).all() and found.effective == 7 and found.trimmed == 0
    assert inverse_probability(np.zeros(0)).weight.shape == (0,)


def test_trimming_is_reported() -> None:
    # Weights 10/19 nine times and 100/19 = 5.26 once; cut to 2: mean (90/19 + 2) / 10 = 128/190.
    found = inverse_probability(np.array([0.1] * 9 + [0.01]), at_most=2)
    assert found.trimmed == 1
    assert found.removed == pytest.approx(1 - 128 / 190, abs=1e-12)
    assert found.weight.mean() == pytest.approx(1, abs=1e-12)
    assert found.weight[-1] == pytest.approx(2 * 190 / 128, abs=1e-12)


@pytest.mark.parametrize("value", [0.0, -0.25, 1.5, np.nan, np.inf])
def test_a_probability_that_is_none_is_refused_with_its_value(value: float) -> None:
    with pytest.raises(DataError, match=rf"Vote 1 has the sampling probability {value:g}, which lies outside"):
        inverse_probability(np.array([0.5, value]))


def test_a_limit_below_the_mean_is_refused() -> None:
    with pytest.raises(UsageError, match=r"at most 0\.5; choose a limit of 1 or more"):
        inverse_probability(np.array([0.5]), at_most=0.5)


def test_tiny_probabilities_do_not_overflow() -> None:
    found = inverse_probability(np.array([1.0, 1e-300, 1e-300]))
    assert found.weight == pytest.approx([0, 1.5, 1.5], abs=1e-12)


def adaptive_votes(
    truth: np.ndarray, seed: int, batches: int = 30, size: int = 4000
) -> tuple[Comparisons, Comparisons]:
    """Votes whose pairs a policy chooses after each batch, by how close the board so far sees them; and weighted.

    `truth` (M, M): chance that the row beats the column. The policy is a function of earlier votes only.
    """
    rng = np.random.default_rng(seed)
    probability = np.full(len(PAIRS), 1 / len(PAIRS))
    left, right, won, drawn = [], [], [], []
    for _ in range(batches):
        pair = rng.choice(len(PAIRS), size, p=probability)
        sides = np.where(rng.random(size)[:, None] < 0.5, PAIRS[pair], PAIRS[pair][:, ::-1])
        left.append(sides[:, 0])
        right.append(sides[:, 1])
        won.append(rng.random(size) < truth[sides[:, 0], sides[:, 1]])
        drawn.append(probability[pair])
        board = bt.fit(bt.win_matrix(aggregate("abcd", *map(np.concatenate, (left, right)), 1 - np.concatenate(won))))
        closeness = np.exp(-np.abs(board[PAIRS[:, 0]] - board[PAIRS[:, 1]]) / 0.25)
        probability = 0.9 * closeness / closeness.sum() + 0.1 / len(PAIRS)
    arrays = (*map(np.concatenate, (left, right)), 1 - np.concatenate(won))
    weight = inverse_probability(np.concatenate(drawn)).weight
    return aggregate("abcd", *arrays), aggregate("abcd", *arrays, weight=weight)


def beyond(comparisons: Comparisons, target: np.ndarray) -> np.ndarray:
    """By how many standard errors each strength misses the target."""
    theta = bt.fit(bt.win_matrix(comparisons))
    return np.abs(theta - target) / np.sqrt(np.diag(sandwich(comparisons, theta)))


def test_where_preferences_are_not_transitive_only_weights_hit_the_uniform_target() -> None:
    """a > b > c > d in strength, but d beats a: the target is the fit to the true chances, all pairs alike."""
    truth = np.full((4, 4), 0.5)
    for (i, j), p in zip(PAIRS, [0.60, 0.75, 0.40, 0.62, 0.75, 0.60], strict=True):
        truth[i, j], truth[j, i] = p, 1 - p
    target = bt.fit(truth - np.diag(np.diag(truth)))
    plain, weighted = adaptive_votes(truth, seed=1)
    assert beyond(weighted, target).max() < 3
    assert beyond(plain, target).max() > 10
    # The weighted fit pays for it: its intervals are wider.
    se = [np.sqrt(np.diag(sandwich(c, bt.fit(bt.win_matrix(c))))).mean() for c in (plain, weighted)]
    assert se[1] > 1.1 * se[0]


def test_where_bradley_terry_holds_adaptive_votes_need_no_weights() -> None:
    theta = np.array([0.7, 0.2, -0.2, -0.7])
    truth = expit(theta[:, None] - theta[None, :])
    assert logit(truth[0, 3]) == pytest.approx(1.4, abs=1e-12)
    plain, weighted = adaptive_votes(truth, seed=2)
    assert beyond(plain, theta).max() < 3 and beyond(weighted, theta).max() < 3
