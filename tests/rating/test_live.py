"""One vote at a time or all at once: the same strengths to the bit, the same intervals to a thousandth."""

from __future__ import annotations

import numpy as np
import pytest

from arena.errors import UsageError
from arena.rating import bradley_terry as bt
from arena.rating import uncertainty
from arena.rating.comparisons import Code, Comparisons
from arena.rating.live import LiveBoard

MODELS, VOTERS = 6, 40


def votes(n: int, seed: int = 0) -> np.ndarray:
    """(n, 4): left, right, outcome, voter."""
    rng = np.random.default_rng(seed)
    theta, voter = np.linspace(-1, 1, MODELS), rng.integers(0, VOTERS, n)
    left = rng.integers(0, MODELS, n)
    right = (left + rng.integers(1, MODELS, n)) % MODELS
    won = rng.random(n) < 1 / (1 + np.exp(theta[right] - theta[left]))
    outcome = np.where(won, Code.LEFT, Code.RIGHT)
    outcome[rng.random(n) < 0.2] = Code.TIE
    outcome[rng.random(n) < 0.05] = Code.BOTH_BAD
    return np.stack([left, right, outcome, voter], axis=1)


def compared(rows: np.ndarray) -> Comparisons:
    left, right, outcome, voter = rows.T
    one = np.ones(len(rows))
    names = tuple(f"model {i}" for i in range(MODELS))
    return Comparisons(names, left, right, outcome, one, one, one, voter)


def test_vote_by_vote_is_all_at_once() -> None:
    rows = votes(3000)
    live = LiveBoard(compared(rows[:2600]))
    for left, right, outcome, voter in rows[2600:].tolist():
        live.add(left, right, Code(outcome), voter)
    found, whole = live.standing(), compared(rows)
    theta = bt.fit(bt.win_matrix(whole))
    covariance = uncertainty.covariance(whole, theta)
    np.testing.assert_allclose(found.ratings, bt.points(theta), atol=1e-9)
    # The covariance is that of strengths up to 0.5 points away, of half-widths near 30.
    half = uncertainty.half_widths(covariance, uncertainty.factor(whole))
    np.testing.assert_allclose(found.half_widths, half, rtol=2e-3)
    low, high = uncertainty.rank_sets(theta, covariance, found.ranks.critical)
    assert (found.ranks.low == low).all() and (found.ranks.high == high).all() and found.votes == 3000


def test_between_two_drifts_a_vote_counts_at_once() -> None:
    live = LiveBoard(compared(votes(3000)))
    before = live.standing()
    live.add(0, 5, Code.LEFT, VOTERS)
    after = live.standing()
    assert after.ratings[0] > before.ratings[0] and after.ratings[5] < before.ratings[5] and after.votes == 3001
    live.add(0, 5, Code.BOTH_BAD, 0)
    # Newton's last step from another start: equal but for the last bits of the machine's linear algebra.
    np.testing.assert_allclose(live.standing().ratings, after.ratings, rtol=1e-12)


@pytest.mark.parametrize(("vote", "said"), [((1, 1, Code.TIE, 0), "itself"), ((0, 1, Code.TIE, 99), "no cluster 99")])
def test_what_is_no_vote_is_refused(vote: tuple[int, int, Code, int], said: str) -> None:
    live = LiveBoard(compared(votes(500)))
    with pytest.raises(UsageError, match=said):
        live.add(*vote)


def test_a_live_board_needs_voters_and_a_maximum() -> None:
    rows = votes(500)
    with pytest.raises(UsageError, match="who cast them"):
        LiveBoard(compared(rows).without_clusters())
    with pytest.raises(UsageError, match="rate every contestant"):
        LiveBoard(compared(rows[:1]))
