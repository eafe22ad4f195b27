"""Covariance by leaving out clusters: against plain loops, refits, and simulated voters of unequal diligence."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import stats

from arena.rating import board as boards
from arena.rating import bradley_terry as bt
from arena.rating import uncertainty
from arena.rating.comparisons import Comparisons, aggregate

NAMES = tuple(f"m{i}" for i in range(5))
TRUTH = np.linspace(-0.5, 0.5, 5)


def votes_of(seed: int, voters: int, votes: int, *, taste: float = 0.0, uneven: bool = False) -> Comparisons:
    """Voters whose own strengths vary around TRUTH by `taste`; uneven: their shares of votes go with 1 / place."""
    rng = np.random.default_rng(seed)
    share = 1 / (1 + np.arange(voters)) if uneven else np.ones(voters)
    voter = rng.choice(voters, votes, p=share / share.sum())
    own = TRUTH + taste * rng.normal(size=(voters, 5))
    left = rng.integers(0, 5, votes)
    right = (left + rng.integers(1, 5, votes)) % 5
    outcome = (rng.random(votes) > 1 / (1 + np.exp(own[voter, right] - own[voter, left]))).astype(int)
    outcome[rng.random(votes) < 0.05] = 3
    return aggregate(NAMES, left, right, outcome, cluster=voter)


def fitted(votes: Comparisons) -> np.ndarray:
    return bt.fit(bt.win_matrix(votes))


def test_each_voter_is_left_out_by_one_newton_step() -> None:
    """By loops; the voters have from 1% to 30% of the votes. Equal but for the 1e-6 that keeps 0 / 0 at 0."""
    votes = votes_of(1, 20, 600, uneven=True)
    theta, found = fitted(votes), np.zeros((5, 5))
    for voter in range(20):
        wins = bt.win_matrix(votes.where(votes.cluster != voter))
        step = np.linalg.pinv(bt.information(wins, theta)) @ bt.gradient(wins, theta)
        found += np.outer(step, step) * 19 / 20
    np.testing.assert_allclose(uncertainty.covariance(votes, theta), found, rtol=1e-4, atol=1e-8)


def test_one_newton_step_is_nearly_the_refit() -> None:
    votes = votes_of(2, 25, 1500, taste=0.5)
    theta = fitted(votes)
    refits = np.array([fitted(votes.where(votes.cluster != voter)) for voter in range(25)]) - theta
    np.testing.assert_allclose(uncertainty.covariance(votes, theta), refits.T @ refits * 24 / 25, atol=2e-4)


def test_many_light_voters_give_the_plain_sandwich() -> None:
    """3,000 voters of one vote each, leverage 4 / 3000: factors (C - 1) / C here, C / (C - 1) there."""
    votes = votes_of(3, 3000, 3000)
    one_each = aggregate(NAMES, *(np.repeat(getattr(votes, k), votes.count.astype(int)) for k in (
        "left", "right", "outcome")), cluster=np.arange(3000))  # fmt: skip
    theta = fitted(one_each)
    np.testing.assert_allclose(
        uncertainty.covariance(one_each, theta), uncertainty.sandwich(one_each, theta), rtol=1e-3
    )


def test_one_voter_says_nothing_about_voters_so_votes_stand_alone() -> None:
    votes = votes_of(4, 1, 300)
    alone = replace(votes, cluster=None)
    ours, theirs = boards.board(votes), boards.board(alone)
    assert [asdict(row) for row in ours.board] == [asdict(row) for row in theirs.board]
    assert (ours.board[0].high or 0) - (ours.board[0].low or 0) > 20
    assert ours.warnings == (
        "Only 1 voter: the intervals are those of its own opinion, not of voters at large.",
    )  # fmt: skip
    assert uncertainty.freedom(votes) == np.inf and uncertainty.factor(votes) == pytest.approx(1.959964, abs=1e-6)


def test_the_only_voter_of_a_contestant_breaks_nothing() -> None:
    """m5 has votes from voter 0 only, so without that voter it floats: no blow-up, and a finite, wide interval."""
    votes = votes_of(5, 10, 400)
    more = aggregate(
        (*NAMES, "m5"), [*votes.left, 5, 5], [*votes.right, 0, 0], [*votes.outcome, 0, 1],
        np.array([*votes.count, 3, 3]), cluster=[*votes.cluster, 0, 0],
    )  # fmt: skip
    theta = fitted(more)
    found = uncertainty.covariance(more, theta)
    assert np.isfinite(found).all() and np.abs(found.sum(0)).max() < 1e-9
    assert 0 < np.diag(found).max() < 1


def test_effective_voters() -> None:
    """Votes 6, 3, 3: 144 / 54 voters; equal votes: their number less one; an absent voter counts for nothing."""

    def shared(counts: list[int], cluster: list[int]) -> Comparisons:
        n = len(counts)
        return replace(
            aggregate(["a", "b"], [0] * n, [1] * n, [0] * n, np.array(counts, float), cluster=range(n)),
            cluster=np.array(cluster, np.int32),
        )

    assert uncertainty.freedom(shared([6, 3, 3], [0, 1, 2])) == pytest.approx(144 / 54 - 1)
    assert uncertainty.freedom(shared([4, 4, 4], [0, 2, 5])) == pytest.approx(2)
    assert uncertainty.factor(shared([4, 4, 4], [0, 1, 2])) == pytest.approx(stats.t.ppf(0.975, 2), abs=1e-9)
    assert uncertainty.freedom(shared([100, 1], [0, 1])) == 1


def test_critical_value_of_two_is_students() -> None:
    """For two contestants max-t is |t|: normal without degrees of freedom, else Student's. 200,000 draws: to 1%."""
    covariance = np.array([[1.0, -1.0], [-1.0, 1.0]])
    for freedom, exact in ((np.inf, stats.norm.ppf(0.975)), (5.0, stats.t.ppf(0.975, 5))):
        found = uncertainty.ranks(np.zeros(2), covariance, draws=200_000, freedom=freedom)
        assert found.critical == pytest.approx(exact, rel=0.01)


def test_intervals_hold_with_unequal_voters_of_their_own_taste() -> None:
    """200 arenas of 5 contrasts: 30 voters, the first with a quarter of the votes. Coverage of 95% within 3 points,
    four standard errors over arenas; the plain sandwich with Student's t of C - 1 covers fewer than 92%."""
    points, weights = np.polynomial.hermite_e.hermegauss(31)
    taste, gaps = 0.8, TRUTH[:, None] - TRUTH[None, :]
    wins = (weights / weights.sum() / (1 + np.exp(-gaps[..., None] - np.sqrt(2) * taste * points))).sum(-1)
    target = bt.fit(wins * (1 - np.eye(5)))
    ours, plain = [], []
    for seed in range(200):
        votes = votes_of(1000 + seed, 30, 900, taste=taste, uneven=True)
        theta = fitted(votes)
        away = np.abs(theta - target)
        ours.append(away < uncertainty.factor(votes) * np.sqrt(np.diag(uncertainty.covariance(votes, theta))))
        plain.append(
            away < stats.t.ppf(0.975, votes.clusters - 1) * np.sqrt(np.diag(uncertainty.sandwich(votes, theta)))
        )
    assert np.mean(ours) == pytest.approx(0.95, abs=0.03)
    assert np.mean(plain) < 0.92


@pytest.mark.parametrize("cells", [1, 40, uncertainty.CELLS])
def test_few_equations_a_voter_leave_out_what_many_do(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    """Woodbury's identity against a system of all contestants for every voter; voters have from 1 row to hundreds.

    Equal to 1e-9: both solve for the same numbers, conditioned by the votes that are left.
    """
    votes = votes_of(3, 40, 900, taste=0.3, uneven=True)
    theta = fitted(votes)
    bread = uncertainty.inverse_information(bt.win_matrix(votes), theta)
    scores = uncertainty.cluster_scores(votes, theta)
    chance = bt.win_probability(theta)[votes.left, votes.right]
    one = votes.weight * chance * (1 - chance) * ~np.isnan(bt.left_score(votes.outcome))
    leverage = np.bincount(
        votes.cluster, one * (uncertainty.difference_errors(bread) ** 2)[votes.left, votes.right], len(scores)
    )

    def information_of(part: np.ndarray) -> np.ndarray:
        found = np.zeros((len(part), votes.size, votes.size))
        for row in range(len(votes.left)):
            if votes.cluster[row] in part:
                i, j, k = votes.left[row], votes.right[row], np.searchsorted(part, votes.cluster[row])
                found[k, [i, j], [i, j]] += one[row]
                found[k, [i, j], [j, i]] -= one[row]
        return found

    monkeypatch.setattr(uncertainty, "CELLS", cells)
    assert (np.bincount(votes.cluster) >= votes.size).any() and (np.bincount(votes.cluster) < votes.size).any()
    dense = uncertainty.jackknife(bread, scores, leverage, information_of)
    rows = uncertainty.jackknife_pairs(bread, scores, votes.cluster, votes.left, votes.right, one)
    np.testing.assert_allclose(rows, dense, rtol=1e-9, atol=1e-12)
