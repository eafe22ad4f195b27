"""Intervals and rank sets against closed forms, and published quantiles."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from arena.rating import bradley_terry as bt
from arena.rating import uncertainty
from arena.rating.bradley_terry import SCALE, Ties
from arena.rating.comparisons import Comparisons, aggregate
from arena.rating.uncertainty import Status


def drawn(seed: int, votes: int = 1500, size: int = 5, voters: int | None = None) -> Comparisons:
    """Votes of known strengths, a fifth of them ties; each voter leans to some model."""
    rng = np.random.default_rng(seed)
    theta = np.linspace(-0.8, 0.8, size)
    left = rng.integers(0, size, votes)
    right = (left + rng.integers(1, size, votes)) % size
    logit = theta[left] - theta[right]
    voter = None
    if voters:
        voter = rng.integers(0, voters, votes)
        lean = rng.normal(0, 1, (voters, size))
        logit = logit + lean[voter, left] - lean[voter, right]
    outcome = (rng.random(votes) > 1 / (1 + np.exp(-logit))).astype(int)
    outcome[rng.random(votes) < 0.2] = 2
    return aggregate([f"m{i}" for i in range(size)], left, right, outcome, cluster=voter)


def fitted(comparisons: Comparisons) -> np.ndarray:
    return bt.fit(bt.win_matrix(comparisons))


def test_the_inverse_is_that_on_contrasts() -> None:
    comparisons = drawn(0)
    wins, theta = bt.win_matrix(comparisons), fitted(comparisons)
    found = uncertainty.inverse_information(wins, theta)
    np.testing.assert_allclose(found, np.linalg.pinv(bt.information(wins, theta)), atol=1e-12)


def test_two_contestants_in_closed_form() -> None:
    """n decided votes: the variance of the difference is 1 / (n p q), a quarter of it for each to the mean."""
    comparisons = aggregate("ab", [0, 0], [1, 1], [0, 1], np.array([30.0, 10.0]))
    covariance = uncertainty.sandwich(comparisons, fitted(comparisons))
    expected = 1 / (40 * 0.75 * 0.25) / 4
    np.testing.assert_allclose(covariance, [[expected, -expected], [-expected, expected]], rtol=1e-12)
    half = uncertainty.half_widths(covariance, uncertainty.factor(comparisons))
    np.testing.assert_allclose(half, stats.norm.ppf(0.975) * SCALE * np.sqrt(expected), rtol=1e-12)


@pytest.mark.parametrize("ties", list(Ties))
def test_one_vote_per_cluster_is_the_unclustered_one(ties: Ties) -> None:
    """Up to C / (C - 1), where C counts the votes that have a part in the fit."""
    pooled = drawn(1)
    rows = np.repeat(np.arange(len(pooled.left)), pooled.count.astype(int))
    alone = aggregate(
        pooled.contestants, pooled.left[rows], pooled.right[rows], pooled.outcome[rows], cluster=np.arange(len(rows))
    )
    theta = bt.fit(bt.win_matrix(pooled, ties))
    used = np.count_nonzero(~np.isnan(bt.left_score(pooled.outcome[rows], ties)))
    np.testing.assert_allclose(
        uncertainty.sandwich(alone, theta, ties),
        uncertainty.sandwich(pooled, theta, ties) * used / (used - 1),
        rtol=1e-9,
    )


def test_a_voter_who_says_everything_twice_adds_nothing() -> None:
    once = drawn(2, voters=60)
    twice = aggregate(
        once.contestants, once.left, once.right, once.outcome, 2 * once.count, cluster=once.cluster
    )  # fmt: skip
    theta = fitted(once)
    np.testing.assert_allclose(uncertainty.sandwich(twice, theta), uncertainty.sandwich(once, theta), rtol=1e-9)
    plain = [uncertainty.sandwich(each.without_clusters(), theta) for each in (once, twice)]
    np.testing.assert_allclose(plain[1], plain[0] / 2, rtol=1e-9)


def test_voters_habits_widen_intervals() -> None:
    votes = drawn(3, voters=40)
    theta = fitted(votes)
    clustered, plain = (np.diag(uncertainty.sandwich(each, theta)) for each in (votes, votes.without_clusters()))
    assert (clustered > 2 * plain).all()
    assert 2.0227 < uncertainty.factor(votes) < 2.06, (
        "Student's with 39 degrees of freedom, and fewer for unequal voters"
    )


def test_both_bad_votes_leave_uncertainty_alone() -> None:
    votes = drawn(4)
    more = aggregate(
        votes.contestants, [*votes.left, 0], [*votes.right, 1], [*votes.outcome, 3], np.append(votes.count, 99.0)
    )
    theta = fitted(votes)
    np.testing.assert_array_equal(uncertainty.sandwich(more, theta), uncertainty.sandwich(votes, theta))


def test_draws_have_the_covariance() -> None:
    covariance = uncertainty.sandwich(drawn(6), fitted(drawn(6)))
    draws = uncertainty.normal_draws(covariance)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.05 * covariance.max())
    assert np.abs(draws.sum(1)).max() < 1e-6, "the mean is fixed, so nothing is drawn along it"


@pytest.mark.parametrize("size", [2, 3, 8])
def test_the_critical_value_is_tukeys(size: int) -> None:
    """All contestants alike and independent: the studentised range over the root of 2."""
    covariance = 0.04 * (np.eye(size) - 1 / size)
    found = uncertainty.critical_value(covariance, uncertainty.normal_draws(covariance, 40_000))
    assert found == pytest.approx(stats.studentized_range.ppf(0.95, size, 1e6) / np.sqrt(2), abs=0.03)
    assert uncertainty.critical_value(np.zeros((1, 1)), np.zeros((5, 1))) == 0


def test_rank_sets_hold_for_all_at_once() -> None:
    """Of 200 boards drawn around the truth, about 95% have every true rank in its set; never far fewer."""
    truth, covariance = np.array([0.5, 0.45, 0.0, -0.3, -0.65]), 0.03 * (np.eye(5) - 0.2)
    held = 0
    for theta in truth + uncertainty.normal_draws(covariance, 200, seed=1):
        found = uncertainty.ranks(theta, covariance, draws=500)
        held += bool(((found.low <= np.arange(1, 6)) & (np.arange(1, 6) <= found.high)).all())
    assert held >= 182


def test_ranks_of_what_is_certain_and_what_is_not() -> None:
    theta, covariance = np.array([-5.0, 5.0, 0.0, 0.0]), 0.01 * (np.eye(4) - 0.25)
    found = uncertainty.ranks(theta, covariance)
    assert found.low.tolist() == [4, 1, 2, 2] and found.high.tolist() == [4, 1, 3, 3]
    assert found.best.tolist() == [0, 1, 0, 0] and found.top3.tolist() == [0, 1, 1, 1]
    level = uncertainty.ranks(np.zeros(4), covariance)
    assert level.best.sum() == pytest.approx(1) and level.top3.sum() == pytest.approx(3)
    np.testing.assert_allclose(level.best, 0.25, atol=0.02)


def test_contestants_with_the_same_results_share_their_ranks() -> None:
    """Their difference has no error, and a strength that rounding made larger wins nothing."""
    covariance = np.array([[1.0, 1.0, -2.0], [1.0, 1.0, -2.0], [-2.0, -2.0, 4.0]]) / 100
    found = uncertainty.ranks(np.array([1.0, 1.0 + 1e-13, -2.0]), covariance)
    assert found.low.tolist() == [1, 1, 3] and found.high.tolist() == [2, 2, 3]


def test_status_follows_the_half_width() -> None:
    found = [uncertainty.status(half) for half in (0, 30, 30.1, 60, 60.1, float("inf"))]
    E, U, P = Status.ESTABLISHED, Status.USABLE, Status.PRELIMINARY
    assert found == [E, E, U, U, P, P]
