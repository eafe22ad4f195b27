"""Drawing battles: uniform, never the same cell twice, and with the probability it says."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from arena import matchmaking
from arena.matchmaking import (
    EPSILON,
    PRIOR_VARIANCE,
    adaptive_chances,
    candidates,
    critical_value,
    draw,
    gains,
    relevance,
)


def test_candidates_are_common_unseen_prompts() -> None:
    found = candidates({1: [10, 11], 2: [10, 11], 3: [11]}, seen=[(1, 2, 10)])
    assert found == {(1, 2): (11,), (1, 3): (11,), (2, 3): (11,)}


def test_nothing_left_draws_nothing() -> None:
    assert draw(candidates({1: [10], 2: [11]}), Random(0)) is None
    assert draw(candidates({1: [10], 2: [10]}, seen=[(1, 2, 10)]), Random(0)) is None


@given(st.dictionaries(st.integers(1, 5), st.sets(st.integers(1, 6)), max_size=5), st.integers())
def test_every_draw_is_possible(prompts_of: dict[int, set[int]], seed: int) -> None:
    drawn = draw(candidates(prompts_of), Random(seed))
    if drawn is not None:
        assert drawn.left_id != drawn.right_id
        assert drawn.prompt_id in prompts_of[drawn.left_id] & prompts_of[drawn.right_id]
        assert 0 < drawn.probability <= 1


def test_draws_happen_as_often_as_their_probability_says() -> None:
    """20,000 draws over cells of unequal probability: each frequency within 5 standard errors, sides too."""
    choices = candidates({1: [10, 11, 12], 2: [10, 11, 12], 3: [12]})
    rng, n = Random(1), 20_000
    drawn = [draw(choices, rng) for _ in range(n)]
    cells = Counter((*sorted((d.left_id, d.right_id)), d.prompt_id) for d in drawn if d)
    stated = {(*sorted((d.left_id, d.right_id)), d.prompt_id): d.probability for d in drawn if d}
    assert sum(stated.values()) == pytest.approx(1.0)
    for cell, p in stated.items():
        assert abs(cells[cell] - n * p) < 5 * (n * p * (1 - p)) ** 0.5
    left_is_lower = sum(d.left_id < d.right_id for d in drawn if d)
    assert abs(left_is_lower - n / 2) < 5 * (n / 4) ** 0.5


pair_ids = st.tuples(st.integers(1, 7), st.integers(1, 7)).filter(lambda pair: pair[0] < pair[1])


@given(
    st.lists(pair_ids, min_size=1, max_size=20, unique=True),
    st.dictionaries(st.integers(1, 7), st.floats(-20, 20)),
    st.dictionaries(pair_ids, st.integers(0, 10**6)),
    st.floats(0.01, 1),
)
def test_every_candidate_keeps_a_known_chance(
    pairs: list[tuple[int, int]], strengths: dict[int, float], votes: dict[tuple[int, int], int], epsilon: float
) -> None:
    chances = adaptive_chances(pairs, strengths, votes, epsilon)
    assert list(chances) == pairs
    assert sum(chances.values()) == pytest.approx(1, abs=1e-12)
    assert min(chances.values()) >= epsilon / len(pairs) * (1 - 1e-12)


def test_no_candidates_no_chances() -> None:
    assert adaptive_chances([], {}, {}) == {}
    assert draw({}, Random(0), {}) is None


def test_before_any_vote_adaptive_is_uniform() -> None:
    pairs = list(combinations(range(1, 6), 2))
    assert adaptive_chances(pairs, {}, {}) == pytest.approx(dict.fromkeys(pairs, 0.1), abs=1e-15)


def everyone(pairs: list[tuple[int, int]], number: int) -> dict[tuple[int, int], int]:
    return dict.fromkeys(pairs, number)


def test_new_contestants_come_first() -> None:
    """Four known ones with 300 votes on each pair, and a fifth without any: 4 of 10 pairs, most of the chance."""
    pairs = list(combinations(range(1, 6), 2))
    known = everyone(list(combinations(range(1, 5), 2)), 300)
    chances = adaptive_chances(pairs, {1: 0.3, 2: 0.1, 3: -0.1, 4: -0.3}, known)
    new = sum(chance for pair, chance in chances.items() if 5 in pair)
    assert new > 0.8 > 0.4
    assert min(chances[pair] for pair in pairs if 5 in pair) > max(chances[pair] for pair in pairs if 5 not in pair)


def test_close_neighbours_come_before_settled_differences() -> None:
    """Equal votes; 1 and 2 are close, 3 and 4 are close, and the two groups are far apart."""
    pairs = list(combinations(range(1, 5), 2))
    chances = adaptive_chances(pairs, {1: 2.05, 2: 1.95, 3: -1.95, 4: -2.05}, everyone(pairs, 100))
    assert min(chances[1, 2], chances[3, 4]) > 5 * max(chances[pair] for pair in [(1, 3), (1, 4), (2, 3), (2, 4)])


def test_a_difference_matters_more_the_fewer_votes_would_settle_it() -> None:
    """Four contestants, equal votes: relevance grows from level to nearly settled, and ends at the critical value."""
    critical = critical_value(4)
    assert critical == pytest.approx(stats.norm.ppf(1 - (1 - 0.95 ** (1 / 6)) / 2), rel=1e-12)
    # So many votes that strengths are small and each vote informs by a quarter: variance 2 / (1 + 4 n / 4).
    games, error = 1e6 * (1 - np.eye(4)), np.sqrt(2 / (1 + 1e6))
    shares = (0.1, 0.6, 0.8, 0.9, 1.5)
    matter = [relevance(np.array([share * critical * error, 0, 0, 0]), games)[0, 1] for share in shares]
    assert matter[1:3] == pytest.approx([(share**-2 - 1) ** -0.5 for share in shares[1:3]], rel=0.05)
    assert sorted(matter[:4]) == matter[:4] and matter[4] < 1e-3


def test_retired_contestants_inform_but_do_not_matter() -> None:
    """9 is retired: a close one that many votes tie to 1 makes 1 known, and no difference to 9 draws votes."""
    pairs = [(1, 2), (1, 3), (2, 3)]
    alone = adaptive_chances(pairs, {}, {})
    tied = adaptive_chances(pairs, {}, {(1, 9): 1000, (2, 9): 1000})
    assert alone[2, 3] == pytest.approx(1 / 3)
    assert tied[1, 2] < tied[1, 3] == pytest.approx(tied[2, 3])


@pytest.mark.parametrize("seed", range(3))
def test_gain_is_what_one_more_vote_changes(seed: int) -> None:
    """The inverse anew with one more vote on each pair, all differences summed in a loop: equal to 1e-9."""
    rng = np.random.default_rng(seed)
    theta, games = rng.normal(size=5), np.triu(rng.poisson(20, (5, 5)), 1).astype(float)
    games += games.T
    weight = relevance(theta, games)
    assert (weight > 0).sum() > 6

    def spread(games: np.ndarray) -> float:
        information = np.eye(5) / PRIOR_VARIANCE
        for i, j in combinations(range(5), 2):
            p, u = 1 / (1 + np.exp(theta[j] - theta[i])), np.eye(5)[i] - np.eye(5)[j]
            information += games[i, j] * p * (1 - p) * np.outer(u, u)
        v = np.linalg.inv(information)
        return sum(weight[i, j] * (v[i, i] + v[j, j] - 2 * v[i, j]) for i, j in combinations(range(5), 2))

    found = gains(theta, games, weight)
    for i, j in combinations(range(5), 2):
        more = games.copy()
        more[i, j] += 1
        more[j, i] += 1
        assert found[i, j] == pytest.approx(spread(games) - spread(more), rel=1e-9)


def test_names_do_not_matter() -> None:
    pairs, new = list(combinations(range(1, 6), 2)), {1: 50, 2: 40, 3: 30, 4: 20, 5: 10}
    strengths = {1: 0.5, 2: 0.4, 3: -0.2, 4: -0.7}
    votes = {pair: 10 * pair[0] + pair[1] for pair in pairs[:7]}

    def renamed(pair: tuple[int, int]) -> tuple[int, int]:
        return (new[pair[1]], new[pair[0]])

    chances = adaptive_chances(pairs, strengths, votes)
    again = adaptive_chances(
        [renamed(pair) for pair in pairs],
        {new[one]: strength for one, strength in strengths.items()},
        {renamed(pair): number for pair, number in votes.items()},
    )
    assert again == pytest.approx({renamed(pair): chance for pair, chance in chances.items()}, rel=1e-9)


def test_adaptive_draws_happen_as_often_as_their_probability_says() -> None:
    """20,000 draws: each cell's frequency within 5 standard errors of what the draw says; at least epsilon's share."""
    choices = candidates({1: [10, 11, 12], 2: [10, 11, 12], 3: [12], 4: [10, 12]})
    chances = adaptive_chances(list(choices), {1: 1.0, 2: 0.9, 3: -1.9}, {(1, 2): 200, (2, 3): 100})
    rng, n = Random(1), 20_000
    drawn = [draw(choices, rng, chances) for _ in range(n)]
    cells = Counter((*sorted((d.left_id, d.right_id)), d.prompt_id) for d in drawn if d)
    stated = {(*sorted((d.left_id, d.right_id)), d.prompt_id): d.probability for d in drawn if d}
    assert sum(stated.values()) == pytest.approx(1.0)
    for cell, p in stated.items():
        assert abs(cells[cell] - n * p) < 5 * (n * p * (1 - p)) ** 0.5
        assert p >= EPSILON / len(choices) / len(choices[cell[0], cell[1]])
    left_is_lower = sum(d.left_id < d.right_id for d in drawn if d)
    assert abs(left_is_lower - n / 2) < 5 * (n / 4) ** 0.5


def test_chances_of_other_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="same pairs"):
        draw({(1, 2): [10]}, Random(0), {(1, 3): 1.0})


# Shares


def test_shares_multiply_a_pairs_chance_and_leave_none_at_zero() -> None:
    pairs = [(1, 2), (1, 3), (2, 3)]
    assert matchmaking.shared(pairs, {}) == pytest.approx(dict.fromkeys(pairs, 1 / 3))
    found = matchmaking.shared(pairs, {1: 4.0})
    assert found == pytest.approx({(1, 2): 4 / 9, (1, 3): 4 / 9, (2, 3): 1 / 9})
    base = {(1, 2): 0.5, (1, 3): 0.25, (2, 3): 0.25}
    assert matchmaking.shared(pairs, {3: 0.5}, base) == pytest.approx({(1, 2): 2 / 3, (1, 3): 1 / 6, (2, 3): 1 / 6})


@pytest.mark.parametrize("share", [0.0, -1.0, float("nan"), float("inf")])
def test_a_share_that_would_hide_a_pair_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="a share is a number above 0"):
        matchmaking.shared([(1, 2)], {1: share})


def test_a_drawn_battle_leaves_the_candidates() -> None:
    choices = {(1, 2): (7, 8), (1, 3): (7,)}
    assert matchmaking.without(choices, matchmaking.Draw(2, 1, 7, 0.25)) == {(1, 2): (8,), (1, 3): (7,)}
    assert matchmaking.without(choices, matchmaking.Draw(1, 3, 7, 0.5)) == {(1, 2): (7, 8)}
    assert choices == {(1, 2): (7, 8), (1, 3): (7,)}
