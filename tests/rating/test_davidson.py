"""Davidson's model against closed forms, finite differences, a general optimiser and a linear programme."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize

from arena.errors import DataError
from arena.rating import board as boards
from arena.rating import bradley_terry as bt
from arena.rating import davidson
from arena.rating.comparisons import Comparisons, aggregate


def two(wins: int, losses: int, ties: int) -> Comparisons:
    outcome = np.repeat([0, 1, 2], [wins, losses, ties])
    return aggregate(["a", "b"], np.zeros(len(outcome)), np.ones(len(outcome)), outcome)


def counts(seed: int, size: int = 5, votes: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Wins and ties (M, M) of random outcomes."""
    rng = np.random.default_rng(seed)
    wins = rng.poisson(votes / size**2, (size, size)) * (1 - np.eye(size))
    ties = np.triu(rng.poisson(votes / size**2 / 2, (size, size)), 1)
    return wins, ties + ties.T


def sampled(seed: int, size: int = 6, votes: int = 900, voters: int = 0) -> Comparisons:
    """Votes drawn from the model, nu = 1, a few both-bad among them."""
    rng = np.random.default_rng(seed)
    theta = np.linspace(-1, 1, size)
    left = rng.integers(0, size, votes)
    right = (left + rng.integers(1, size, votes)) % size
    win, tie = davidson.probabilities(theta, 0.0)
    draw = rng.random(votes)
    win, tie = win[left, right], tie[left, right]
    outcome = np.where(draw < win, 0, np.where(draw < win + tie, 2, 1))
    outcome = np.where(rng.random(votes) < 0.05, 3, outcome)
    cluster = rng.integers(0, voters, votes) if voters else None
    return aggregate([f"m{i}" for i in range(size)], left, right, outcome, cluster=cluster)


def fitted(comparisons: Comparisons) -> tuple[np.ndarray, float]:
    wins = bt.win_matrix(comparisons, bt.Ties.DROP)
    return davidson.fit(wins, davidson.tie_matrix(comparisons))


def test_probabilities_are_davidsons() -> None:
    """pi = 2 and 8, nu = 1/2: D = 2 + 8 + 1/2 * 4 = 12."""
    win, tie = davidson.probabilities(np.log([2.0, 8.0]), np.log(0.5))
    np.testing.assert_allclose(win, [[0.4, 2 / 12], [8 / 12, 0.4]], rtol=1e-14)
    assert tie[0, 1] == tie[1, 0] == pytest.approx(2 / 12, rel=1e-14)


def test_two_contestants_have_a_closed_form() -> None:
    """Two free parameters and three shares: odds are W/L, nu is T / sqrt(W L), variances by the delta method."""
    votes = two(30, 10, 20)
    theta, log_nu = fitted(votes)
    assert theta[0] - theta[1] == pytest.approx(np.log(3), abs=1e-10)
    assert np.exp(log_nu) == pytest.approx(20 / np.sqrt(300), abs=1e-10)
    covariance = davidson.covariance(votes, theta, log_nu)
    assert 4 * covariance[0, 0] == pytest.approx(1 / 30 + 1 / 10, rel=1e-9)
    assert covariance[2, 2] == pytest.approx(1 / 20 + 1 / 120 + 1 / 40, rel=1e-9)
    assert 2 * covariance[0, 2] == pytest.approx(-1 / 60 + 1 / 20, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_derivatives_by_finite_differences(seed: int) -> None:
    """Central differences of step 1e-5 are right to about 1e-10 of the function; 1e-5 leaves room."""
    wins, ties = counts(seed)
    at = np.random.default_rng(seed).normal(size=6)

    def numeric(function):
        steps = 1e-5 * np.eye(6)
        return np.array([(function(at + h) - function(at - h)) / 2e-5 for h in steps])

    slope = numeric(lambda x: davidson.log_likelihood(wins, ties, x[:-1], x[-1]))
    np.testing.assert_allclose(davidson.gradient(wins, ties, at[:-1], at[-1]), slope, atol=1e-5)
    bend = numeric(lambda x: davidson.gradient(wins, ties, x[:-1], x[-1]))
    np.testing.assert_allclose(davidson.information(wins + wins.T + ties, at[:-1], at[-1]), -bend, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_fit_is_what_a_general_optimiser_finds(seed: int) -> None:
    """BFGS on the likelihood alone, differences by itself: good to about 1e-5."""
    wins, ties = counts(seed)
    theta, log_nu = davidson.fit(wins, ties)
    assert abs(theta.sum()) < 1e-12
    np.testing.assert_allclose(davidson.gradient(wins, ties, theta, log_nu), 0, atol=1e-8)
    best = optimize.minimize(lambda x: -davidson.log_likelihood(wins, ties, x[:-1], x[-1]), np.zeros(6))
    np.testing.assert_allclose(theta, best.x[:-1] - best.x[:-1].mean(), atol=1e-4)
    assert log_nu == pytest.approx(best.x[-1], abs=1e-4)


def test_far_from_the_start_the_fit_still_arrives() -> None:
    """A chain of near-certain wins with one upset each, and hardly a tie."""
    wins, ties = np.zeros((6, 6)), np.zeros((6, 6))
    for i in range(5):
        wins[i, i + 1], wins[i + 1, i] = 5000, 1
    ties[0, 1] = ties[1, 0] = 1
    theta, log_nu = davidson.fit(wins, ties)
    np.testing.assert_allclose(davidson.gradient(wins, ties, theta, log_nu), 0, atol=1e-6)


edges = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), min_size=1, max_size=9)


@settings(max_examples=150, deadline=None)
@given(edges)
def test_refused_is_exactly_what_has_no_maximum(votes: list[tuple[int, int, bool]]) -> None:
    """A linear programme looks for a direction along which no vote ever gets less likely, and some vote more.

    Along (a, b) the exponent of a vote must stay the largest of its three: (a_i - a_j)/2, (a_j - a_i)/2 and b.
    """
    wins, ties = np.zeros((4, 4)), np.zeros((4, 4))
    for i, j, tied in votes:
        if i != j and tied:
            ties[i, j] = ties[j, i] = 1
        elif i != j:
            wins[i, j] = 1
    assume(ties.any())
    rows = []
    for i, j in combinations(range(4), 2):
        half = np.zeros(5)
        half[[i, j]] = 0.5, -0.5
        tie = np.eye(5)[4]
        for seen, others in ((wins[i, j] * half, (-half, tie)), (wins[j, i] * -half, (half, tie))):
            rows += [seen - other for other in others if seen.any()]
        if ties[i, j]:
            rows += [tie - half, tie + half]
    gains = np.array(rows)
    found = optimize.linprog(-gains.sum(0), A_ub=-gains, b_ub=np.zeros(len(gains)), bounds=[(0, 0), *[(-1, 1)] * 4])
    unconnected = len(bt.components(wins + ties).rated) < 4
    assert (davidson.refusal(wins, ties) is not None) == (found.fun < -1e-9 or unconnected)


def test_refusals_are_sentences() -> None:
    with pytest.raises(DataError, match="Every vote is a tie"):
        davidson.board(two(0, 0, 5))
    with pytest.raises(DataError, match="contradict each other too little"):
        davidson.board(two(5, 0, 5))
    with pytest.raises(DataError, match="no maximum"):
        davidson.fit(np.array([[0, 1.0, 1], [1, 0, 1], [0, 0, 0]]), np.array([[0, 1.0, 0], [1, 0, 0], [0, 0, 0]]))
    with pytest.raises(DataError, match="no votes"):
        davidson.board(aggregate(["a", "b"], [], [], []))


def test_without_ties_it_is_bradley_terry_to_the_bit() -> None:
    votes = sampled(1, voters=40)
    decided = votes.where(votes.outcome != 2)
    ours, theirs = davidson.board(decided), boards.board(decided)
    assert ours.details["nu"] == ours.details["nu_high"] == ours.details["level_tie_rate"] == 0
    for mine, other in zip(ours.board, theirs.board, strict=True):
        assert asdict(mine) | {"votes_needed": None} == asdict(other) | {"votes_needed": None}
        assert (mine.votes_needed is None) == (other.votes_needed is None)


def test_board_recovers_what_the_votes_were_drawn_from() -> None:
    """Truth: strengths -1 to 1, nu 1. Each within 4 standard errors, which are about 0.1."""
    board = davidson.board(sampled(2, votes=4000, voters=100))
    assert board.system == "davidson" and board.parameters["method"] == davidson.METHOD
    assert [row.model for row in board.board] == [f"m{i}" for i in range(5, -1, -1)]
    truth = bt.points(np.linspace(1, -1, 6))
    for row, true in zip(board.board, truth, strict=True):
        assert abs(row.rating - true) < 4 / 2 * (row.high - row.low) / 2
    assert board.details["nu_low"] < 1 < board.details["nu_high"]
    assert board.details["nu"] == pytest.approx(1, abs=0.2)
    assert board.board[0].votes_needed == 0 and board.board[-1].votes_needed is None
    assert all(row.votes_to_flip for row in board.board[:-1]) and board.board[-1].votes_to_flip is None
    assert {row.votes_to_flip for row in davidson.board(sampled(2), flips=False).board} == {None}


def test_so_many_votes_flip_and_one_fewer_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of removal is that of derivatives by a vote's weight (finite differences, to 1e-6); the count is
    refitted on both sides of it."""
    votes = sampled(7, votes=500)
    theta, log_nu = fitted(votes)
    upper, lower = map(int, np.argsort(-theta)[:2])
    kept = {}
    monkeypatch.setattr(
        davidson.influence, "fewest_removed", lambda *given: kept.update(zip("vgar", given, strict=True))
    )
    davidson.votes_to_flip(votes, theta, log_nu, upper, lower)
    monkeypatch.undo()
    for row in range(0, len(votes.left), 7):
        gaps = []
        for step in (1e-4, -1e-4):
            weight = votes.weight.copy()
            weight[row] += step
            again, _ = fitted(replace(votes, weight=weight))
            gaps.append(again[upper] - again[lower])
        assert kept["g"][row] == pytest.approx((gaps[0] - gaps[1]) / 2e-4, abs=1e-6)
    needed = davidson.votes_to_flip(votes, theta, log_nu, upper, lower)
    assert needed is not None and needed > 0

    def gap(removed: int) -> float:
        count = votes.count.copy()
        for row in np.argsort(-kept["g"], kind="stable"):
            taken = min(removed, count[row])
            count[row], removed = count[row] - taken, removed - taken
        again, _ = fitted(replace(votes, count=count, weight=count).where(count > 0))
        return again[upper] - again[lower]

    assert gap(needed) <= 0 < gap(needed - 1)


def test_clusters_of_one_vote_add_only_their_factor() -> None:
    """C clusters of one vote each: the sandwich over votes times (C - 1) / C, of the votes that have a score. The
    leverage of each is below a percent, so nothing is left out in earnest."""
    votes = sampled(3)
    n = votes.votes
    rows = np.repeat(np.arange(len(votes.left)), votes.count.astype(int))
    alone = aggregate(votes.contestants, votes.left[rows], votes.right[rows], votes.outcome[rows], cluster=np.arange(n))
    theta, log_nu = fitted(votes)
    used = int(votes.count[votes.outcome != 3].sum())
    np.testing.assert_allclose(
        davidson.covariance(alone, theta, log_nu),
        davidson.covariance(votes, theta, log_nu) * (used - 1) / used,
        rtol=1e-9, atol=1e-15,
    )  # fmt: skip


def test_clustered_covariance_leaves_out_each_voter() -> None:
    """By loops: one Newton step from the fit to all votes towards that without the voter; equal but for the 1e-6."""
    votes = sampled(6, votes=400, voters=12)
    theta, log_nu = fitted(votes)
    found = np.zeros((7, 7))
    for voter in range(12):
        rest = votes.where(votes.cluster != voter)
        wins, ties = bt.win_matrix(rest, bt.Ties.DROP), davidson.tie_matrix(rest)
        bend = davidson.information(wins + wins.T + ties, theta, log_nu)
        step = np.linalg.lstsq(bend, davidson.gradient(wins, ties, theta, log_nu))[0]
        step[:-1] -= step[:-1].mean()
        found += np.outer(step, step) * 11 / 12
    np.testing.assert_allclose(davidson.covariance(votes, theta, log_nu), found, rtol=1e-4, atol=1e-7)


def test_names_and_sides_do_not_matter() -> None:
    votes = sampled(4, voters=30)
    rows = np.repeat(np.arange(len(votes.left)), votes.count.astype(int))
    mirror = np.array([1, 0, 2, 3])
    turned = aggregate(
        votes.contestants, votes.right[rows], votes.left[rows], mirror[votes.outcome[rows]], cluster=votes.cluster[rows]
    )
    for mine, other in zip(davidson.board(votes).board, davidson.board(turned).board, strict=True):
        assert (mine.model, mine.rank_low, mine.rank_high) == (other.model, other.rank_low, other.rank_high)
        assert (mine.rating, mine.low) == (pytest.approx(other.rating, abs=1e-8), pytest.approx(other.low, abs=1e-8))


def test_votes_needed_is_what_the_covariance_becomes() -> None:
    """With k more expected votes in the information, the standard error is the gap over the critical value."""
    votes = sampled(5, votes=300)
    theta, log_nu = fitted(votes)
    wins, ties = bt.win_matrix(votes, bt.Ties.DROP), davidson.tie_matrix(votes)
    games = wins + wins.T + ties
    naive = davidson.generalised_inverse(davidson.information(games, theta, log_nu))[:-1, :-1]
    needed = davidson.votes_needed(games, theta, log_nu, naive, 3, 2, critical=3.0)
    assert needed is not None and needed > 10
    win, tie = davidson.probabilities(theta, log_nu)
    push = np.zeros(6)
    push[[3, 2]] = 1, -1
    variance = win[3, 2] + tie[3, 2] / 4 - (win[3, 2] + tie[3, 2] / 2) ** 2
    after = np.linalg.pinv(np.linalg.pinv(naive) + needed * variance * np.outer(push, push))
    assert (theta[3] - theta[2]) / 3.0 >= np.sqrt(push @ after @ push) * (1 - 1e-9)
    fewer = np.linalg.pinv(np.linalg.pinv(naive) + (needed - 1) * variance * np.outer(push, push))
    assert (theta[3] - theta[2]) / 3.0 < np.sqrt(push @ fewer @ push) * (1 + 1e-9)
