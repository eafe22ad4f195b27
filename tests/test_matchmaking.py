"""Drawing battles: uniform, never the same cell twice, and with the probability it says."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.matchmaking import candidates, draw


def test_candidates_are_common_unseen_prompts() -> None:
    found = candidates({1: [10, 11], 2: [10, 11], 3: [11]}, seen=[(1, 2, 10)])
    assert found == {(1, 2): [11], (1, 3): [11], (2, 3): [11]}


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
