"""Bradley–Terry against a published example, finite differences, a plain slow fit, and its invariants."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize

from arena.errors import DataError
from arena.rating import bradley_terry as bt
from arena.rating.bradley_terry import Ties
from arena.rating.comparisons import Comparisons, aggregate, from_votes

WIKIPEDIA = np.array([[0, 2, 0, 1], [3, 0, 5, 0], [0, 3, 0, 1], [4, 0, 3, 0]], float)
"""Row beats column, A to D: https://en.wikipedia.org/wiki/Bradley-Terry_model, worked example."""


def wins_of(seed: int, size: int = 5, most: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, most, (size, size)) * (1 - np.eye(size))


def plain(wins: np.ndarray) -> np.ndarray:
    """The likelihood in two loops, given to a general optimiser."""
    size = len(wins)

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        total, slope = 0.0, np.zeros(size)
        for i in range(size):
            for j in range(size):
                if wins[i, j]:
                    p = 1 / (1 + math.exp(theta[j] - theta[i]))
                    total -= wins[i, j] * math.log(p)
                    slope[i] -= wins[i, j] * (1 - p)
                    slope[j] += wins[i, j] * (1 - p)
        return total, slope

    rough = optimize.minimize(loss, np.zeros(size), jac=True, method="L-BFGS-B").x
    # The last digits by a root of the slope, theta_0 held at 0.
    exact = optimize.root(lambda rest: loss(np.append(0, rest))[1][1:], (rough - rough[0])[1:], tol=1e-13).x
    theta = np.append(0, exact)
    return theta - theta.mean()


sizes = st.integers(2, 5)
matrices = sizes.flatmap(
    lambda m: st.lists(st.integers(0, 4), min_size=m * m, max_size=m * m).map(
        lambda flat: np.array(flat, float).reshape(m, m) * (1 - np.eye(m))
    )
)


def test_the_worked_example() -> None:
    strength = np.exp(bt.fit(WIKIPEDIA))
    np.testing.assert_allclose(strength / strength.sum(), [0.139, 0.226, 0.143, 0.492], atol=5e-4)


def test_two_contestants_in_closed_form() -> None:
    theta = bt.fit(np.array([[0, 30.0], [10, 0]]))
    assert theta == pytest.approx([math.log(3) / 2, -math.log(3) / 2], abs=1e-14)
    assert bt.points(np.array([0, math.log(10)])) == pytest.approx([1000, 1400], abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_fast_fit_equals_the_slow_one(seed: int) -> None:
    wins = wins_of(seed, 6)
    np.testing.assert_allclose(bt.fit(wins), plain(wins), atol=1e-8)


def test_gradient_and_information_are_the_derivatives() -> None:
    """Central differences: truncation and rounding are near 1e-8 of values near 10."""
    wins, theta, step = wins_of(1), np.array([0.3, -0.9, 0.1, 1.2, -0.7]), 1e-5
    each = step * np.eye(5)
    slope = [(bt.log_likelihood(wins, theta + e) - bt.log_likelihood(wins, theta - e)) / (2 * step) for e in each]
    np.testing.assert_allclose(bt.gradient(wins, theta), slope, atol=1e-6)
    bend = [-(bt.gradient(wins, theta + e) - bt.gradient(wins, theta - e)) / (2 * step) for e in each]
    np.testing.assert_allclose(bt.information(wins, theta), bend, atol=1e-6)
    # Many boards at once are the boards one by one.
    both = np.stack([wins, wins_of(2)])
    np.testing.assert_allclose(bt.information(both, np.stack([theta, theta]))[0], bt.information(wins, theta))


@settings(max_examples=40, deadline=None)
@given(matrices)
def test_a_fit_exists_exactly_where_wins_lead_everywhere(wins: np.ndarray) -> None:
    [theta] = bt.fit(wins[None])
    assert np.isfinite(theta).all() == (len(bt.components(wins).rated) == len(wins))
    if np.isfinite(theta).all():
        np.testing.assert_allclose(bt.gradient(wins, theta), 0, atol=1e-8)
        assert abs(theta.mean()) < 1e-12
    else:
        with pytest.raises(DataError, match="no maximum"):
            bt.fit(wins)


@settings(max_examples=30, deadline=None)
@given(matrices, st.randoms(use_true_random=False), st.floats(-3, 3))
def test_labels_scale_and_start_do_not_matter(wins: np.ndarray, random, shift: float) -> None:  # type: ignore[no-untyped-def]
    assume(len(bt.components(wins).rated) == len(wins))
    theta = bt.fit(wins)
    order = list(range(len(wins)))
    random.shuffle(order)
    np.testing.assert_allclose(bt.fit(wins[np.ix_(order, order)]), theta[order], atol=1e-9)
    np.testing.assert_allclose(bt.fit(wins * 3), theta, atol=1e-9)
    np.testing.assert_allclose(bt.fit(wins, theta + shift), theta, atol=1e-9)
    # Whoever wins loses: strengths turn around.
    np.testing.assert_allclose(bt.fit(wins.T), -theta, atol=1e-9)


games = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.sampled_from(["left", "right", "tie", "both_bad"])),
    min_size=5,
    max_size=25,
).map(lambda rows: [row for row in rows if row[0] != row[1]])
MIRROR = {"left": "right", "right": "left"}


@settings(max_examples=30, deadline=None)
@given(games)
def test_sides_do_not_matter(rows: list[tuple[str, str, str]]) -> None:
    turned = from_votes((b, a, MIRROR.get(outcome, outcome)) for a, b, outcome in rows)
    for ties in Ties:
        np.testing.assert_array_equal(bt.win_matrix(turned, ties), bt.win_matrix(from_votes(rows), ties))


def test_many_boards_at_once_are_the_boards_one_by_one() -> None:
    boards = np.stack([*(wins_of(seed) for seed in range(4)), np.triu(wins_of(4))])
    found = bt.fit(boards, bt.fit(boards[0]))
    assert np.isnan(found[-1]).all(), "without a maximum"
    np.testing.assert_allclose(found[:-1], [bt.fit(wins) for wins in boards[:-1]], atol=1e-10)


def test_large_gaps_and_large_counts_are_fitted() -> None:
    """Of a thousand million votes the rounding error alone is 1e-7 votes, here 3e-8 logits."""
    wins = np.array([[0, 1e6, 0], [1, 0, 1e9], [0, 10, 0]])
    theta = bt.fit(wins)
    assert theta[0] - theta[1] == pytest.approx(math.log(1e6), abs=1e-6)
    assert theta[1] - theta[2] == pytest.approx(math.log(1e8), abs=1e-6)
    assert bt.fit(np.array([[0, 1e7], [10, 0]]))[0] == pytest.approx(math.log(1e6) / 2, abs=1e-9)


def test_a_tie_is_half_a_win_for_both_or_nothing() -> None:
    votes = from_votes([("a", "b", "tie"), ("a", "b", "left"), ("b", "a", "left"), ("a", "b", "both_bad")])
    assert bt.win_matrix(votes).tolist() == [[0, 1.5], [1.5, 0]]
    assert bt.win_matrix(votes, Ties.DROP).tolist() == [[0, 1], [1, 0]]


def test_both_bad_is_no_tie() -> None:
    decided = [("a", "b", "left"), ("a", "b", "left"), ("b", "a", "left"), ("b", "c", "tie"), ("a", "c", "tie")]
    bad = [("a", "b", "both_bad")] * 5
    theta = bt.fit(bt.win_matrix(from_votes(decided)))
    np.testing.assert_array_equal(bt.fit(bt.win_matrix(from_votes(decided + bad))), theta)
    assert np.abs(bt.fit(bt.win_matrix(from_votes(decided + [("a", "b", "tie")] * 5))) - theta).max() > 0.1
    assert bt.both_bad_rates(from_votes(decided + bad)).tolist() == [5 / 9, 5 / 9, 0]


def test_weights_count_as_votes_do() -> None:
    twice = aggregate("ab", [0, 1], [1, 0], [0, 0], weight=np.array([3.0, 1.5]))
    assert bt.win_matrix(twice).tolist() == [[0, 3], [1.5, 0]]


def apart() -> Comparisons:
    """b and c beat each other; a beats them, d loses to them, e and f know only each other, g saw both-bad only."""
    return from_votes([
        ("b", "c", "left"), ("c", "b", "left"), ("a", "b", "left"), ("c", "d", "left"), ("e", "f", "left"),
        ("g", "b", "both_bad"),
    ])  # fmt: skip


def test_who_cannot_be_rated_is_named_with_what_is_missing() -> None:
    found = bt.components(bt.win_matrix(apart()))
    names = {part: "".join(apart().contestants[i] for i in getattr(found, part)) for part in found.__slots__}
    assert names == {"rated": "bc", "always_above": "a", "always_below": "d", "apart": "efg"}
    because = bt.unrated_because(apart(), found)
    assert because.keys() == set("adefg")
    assert "never lost to the 2 rated models" in because["a"] and "never won against" in because["d"]
    assert all("was never compared with" in because[name] for name in "efg")
    with pytest.raises(DataError, match="no maximum"):
        bt.fit(bt.win_matrix(apart()))


def test_the_larger_island_is_rated_and_votes_decide_between_equals() -> None:
    two = np.zeros((5, 5))
    two[0, 1] = two[1, 0] = 9
    two[2, 3] = two[3, 4] = two[4, 2] = 1
    assert bt.components(two).rated == (2, 3, 4)
    assert bt.components(two[:4, :4]).rated == (0, 1)


def test_shrunk_strengths_are_finite_and_where_the_prior_and_the_votes_agree() -> None:
    """At the top the slope of the votes is theta / variance; with many votes nothing is left of the shrinking."""
    wins = np.array([[0, 9, 0, 0], [0, 0, 4, 0], [0, 2, 0, 0], [0, 0, 0, 0.0]])
    theta = bt.shrunk(wins, 0.7)
    np.testing.assert_allclose(bt.gradient(wins, theta), theta / 0.7, atol=1e-9)
    assert theta[0] == theta.max() and theta[3] == 0 and abs(theta.sum()) < 1e-9
    many = np.array([[0, 3, 2], [1, 0, 4], [2, 2, 0.0]]) * 1e7
    np.testing.assert_allclose(bt.shrunk(many), bt.fit(many), atol=1e-6)
