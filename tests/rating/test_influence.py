"""Influence against finite differences; votes to flip and votes needed against refits and every possible removal."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations_with_replacement

import numpy as np
import pytest

from arena.rating import bradley_terry as bt
from arena.rating.bradley_terry import Ties
from arena.rating.comparisons import Comparisons, aggregate
from arena.rating.influence import influence, votes_needed, votes_to_flip
from arena.rating.uncertainty import inverse_information


def drawn(seed: int, votes: int = 200, size: int = 4) -> Comparisons:
    rng = np.random.default_rng(seed)
    left = rng.integers(0, size, votes)
    right = (left + rng.integers(1, size, votes)) % size
    logit = (right - left) * 0.25
    outcome = np.where(rng.random(votes) < 0.2, 2, (rng.random(votes) > 1 / (1 + np.exp(-logit))).astype(int))
    return aggregate([f"m{i}" for i in range(size)], left, right, outcome)


def neighbours(comparisons: Comparisons) -> tuple[np.ndarray, int, int]:
    theta = bt.fit(bt.win_matrix(comparisons))
    best = np.argsort(-theta)
    return theta, int(best[0]), int(best[1])


def counts(comparisons: Comparisons, count: np.ndarray) -> Comparisons:
    return replace(comparisons, count=count, weight=count)


def test_influence_is_the_derivative_by_a_votes_weight() -> None:
    votes = drawn(0)
    theta, upper, lower = neighbours(votes)
    found, step = influence(votes, theta, upper, lower), 1e-4
    for row in range(len(votes.left)):
        more, less = votes.weight.copy(), votes.weight.copy()
        more[row] += step
        less[row] -= step
        up, down = (bt.fit(bt.win_matrix(replace(votes, weight=weight))) for weight in (more, less))
        slope = ((up[upper] - up[lower]) - (down[upper] - down[lower])) / (2 * step)
        assert found[row] == pytest.approx(slope, abs=1e-7)


def test_a_vote_of_half_weight_has_half_the_influence() -> None:
    votes = drawn(0)
    light = replace(votes, weight=votes.weight / 2)
    theta, upper, lower = neighbours(votes)
    # Half of all weights doubles the inverse information, which makes up for it.
    np.testing.assert_allclose(influence(light, theta, upper, lower), influence(votes, theta, upper, lower))


@pytest.mark.parametrize(("seed", "ties"), [(1, Ties.HALF), (2, Ties.HALF), (3, Ties.DROP)])
def test_so_many_votes_flip_and_one_fewer_does_not(seed: int, ties: Ties) -> None:
    votes = drawn(seed, 400)
    theta = bt.fit(bt.win_matrix(votes, ties))
    upper, lower = np.argsort(-theta)[:2]
    needed = votes_to_flip(votes, theta, upper, lower, ties)
    assert needed is not None and needed > 0
    gain = influence(votes, theta, upper, lower, ties)

    def gap(removed: int) -> float:
        count = votes.count.copy()
        for row in np.argsort(-gain, kind="stable"):
            taken = min(removed, count[row])
            count[row] -= taken
            removed -= taken
        again = bt.fit(bt.win_matrix(counts(votes, count), ties))
        return again[upper] - again[lower]

    assert gap(needed) <= 0 < gap(needed - 1)


def fewest(votes: Comparisons, upper: int, lower: int) -> int:
    """The fewest removals, of any votes, that leave a board on which `lower` is level or above."""
    for removed in range(1, votes.votes):
        for rows in combinations_with_replacement(range(len(votes.left)), removed):
            count = votes.count - np.bincount(rows, minlength=len(votes.count))
            if (count >= 0).all():
                [theta] = bt.fit(bt.win_matrix(counts(votes, count))[None])
                if theta[upper] - theta[lower] <= 1e-12:
                    return removed
    raise AssertionError("nothing flips")


@pytest.mark.parametrize("seed", range(5))
def test_tiny_data_need_as_many_as_the_best_of_all_removals(seed: int) -> None:
    """So it is in 58 of the first 60 seeds; in the others one more is named than the best removal needs."""
    votes = drawn(seed + 20, 24, 3)
    theta, upper, lower = neighbours(votes)
    assert votes_to_flip(votes, theta, upper, lower) == fewest(votes, upper, lower)


def test_a_lopsided_pair_is_level_when_one_win_is_left() -> None:
    """Far beyond what influence at the full fit foresees, and one vote short of a board that falls apart."""
    votes = aggregate("ab", [0, 0], [1, 1], [0, 1], np.array([90.0, 1.0]))
    assert votes_to_flip(votes, bt.fit(bt.win_matrix(votes)), 0, 1) == 89


def test_none_where_the_board_falls_apart_first() -> None:
    """b's only win over c has most influence on a against c; without it c never loses, and no board rates it."""
    votes = aggregate("abc", [0, 1, 1, 2], [1, 0, 2, 1], [0, 0, 0, 0], np.array([2.0, 1.0, 1.0, 1.0]))
    assert votes_to_flip(votes, bt.fit(bt.win_matrix(votes)), 0, 2) is None


def test_none_where_no_vote_holds_the_place() -> None:
    votes = drawn(0)
    assert votes_to_flip(votes, bt.fit(bt.win_matrix(votes)), 1, 1) is None


@pytest.mark.parametrize("design", [1.0, 2.5])
def test_votes_needed_settle_the_order(design: float) -> None:
    """Adding votes as expected leaves the strengths; the new inverse information decides."""
    votes = drawn(5)
    theta, upper, lower = neighbours(votes)
    wins, critical = bt.win_matrix(votes), 2.7
    needed = votes_needed(wins, theta, design * inverse_information(wins, theta), upper, lower, critical)
    assert needed is not None and needed > 10
    p = bt.win_probability(theta)

    def certain(added: int) -> bool:
        more = wins.copy()
        more[upper, lower] += added * p[upper, lower]
        more[lower, upper] += added * p[lower, upper]
        np.testing.assert_allclose(bt.fit(more), theta, atol=1e-9)
        v = design * inverse_information(more, theta)
        error = np.sqrt(v[upper, upper] + v[lower, lower] - 2 * v[upper, lower])
        return bool(theta[upper] - theta[lower] > critical * error)

    assert certain(needed) and not certain(needed - 1)


def test_no_votes_are_needed_for_what_is_settled_and_none_settle_what_is_level() -> None:
    wins = np.array([[0, 900.0], [100, 0]])
    theta = bt.fit(wins)
    covariance = inverse_information(wins, theta)
    assert votes_needed(wins, theta, covariance, 0, 1, 2.0) == 0
    level = np.array([[0, 50.0], [50, 0]])
    assert votes_needed(level, bt.fit(level), inverse_information(level, np.zeros(2)), 0, 1, 2.0) is None
