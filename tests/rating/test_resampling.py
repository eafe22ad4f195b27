"""The fast bootstrap against the plain one: votes drawn one by one, and each board fitted from nothing."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from arena.rating import bradley_terry as bt
from arena.rating import resampling, uncertainty
from arena.rating.bradley_terry import Ties
from arena.rating.comparisons import Comparisons, aggregate


def cast(seed: int, votes: int = 1500, size: int = 5, voters: int | None = None) -> Comparisons:
    """Votes of known strengths, a fifth of them ties and some both bad; voters lean to some models."""
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
    outcome[rng.random(votes) < 0.03] = 3
    return aggregate([f"m{i}" for i in range(size)], left, right, outcome, cluster=voter)


def fitted(comparisons: Comparisons, ties: Ties = Ties.HALF) -> np.ndarray:
    return bt.fit(bt.win_matrix(comparisons, ties))


def plain_bootstrap(votes: Comparisons, rounds: int, ties: Ties) -> np.ndarray:
    """As the textbook has it: as many votes as there are, each one drawn from all of them; then a fit from zero."""
    rng, used = np.random.default_rng(0), votes.where(~np.isnan(bt.left_score(votes.outcome, ties)))
    each = np.repeat(np.arange(len(used.left)), used.count.astype(int))
    found = []
    for _ in range(rounds):
        rows = rng.choice(each, len(each))
        drawn = aggregate(used.contestants, used.left[rows], used.right[rows], used.outcome[rows])
        found.append(fitted(drawn, ties))
    return np.array(found)


@pytest.mark.parametrize("ties", list(Ties))
def test_it_is_the_plain_bootstrap(ties: Ties) -> None:
    """Kolmogorov and Smirnov see no difference between 600 rounds of each, in any rating or difference of two."""
    votes = cast(5)
    ours = resampling.bootstrap(votes, fitted(votes, ties), 600, ties)
    plain = plain_bootstrap(votes, 600, ties)
    for one, other in [
        *((ours[:, i], plain[:, i]) for i in range(5)),
        (ours[:, 0] - ours[:, 4], plain[:, 0] - plain[:, 4]),
    ]:
        assert stats.ks_2samp(one, other).pvalue > 1e-3
    # A standard deviation of 600 rounds is known to 3%.
    np.testing.assert_allclose(ours.std(0), plain.std(0), rtol=0.15)


def test_counts_are_multinomial() -> None:
    """Every outcome of four votes over three cells as often as the multinomial distribution says (chi-square)."""
    counts = np.array([2, 1, 1])
    drawn = resampling.redrawn(counts)(np.random.default_rng(1), 40_000)
    cells = [cell for cell in product(range(5), repeat=3) if sum(cell) == 4]
    seen = np.array([(drawn == cell).all(1).sum() for cell in cells])
    chance = stats.multinomial(4, counts / 4).pmf(cells)
    assert seen.sum() == 40_000
    assert stats.chisquare(seen, 40_000 * chance).pvalue > 1e-3


def test_counts_of_many_votes_have_the_moments_of_a_multinomial() -> None:
    """Mean n p and covariance n (diag p - p p'), to four standard errors of 20,000 rounds."""
    counts = np.array([5000, 300, 40, 3, 1])
    p, n, rounds = counts / counts.sum(), counts.sum(), 20_000
    drawn = resampling.redrawn(counts)(np.random.default_rng(2), rounds)
    assert (drawn.sum(1) == n).all() and drawn.min() >= 0
    covariance = n * (np.diag(p) - np.outer(p, p))
    spread = np.sqrt(np.diag(covariance))
    assert (np.abs(drawn.mean(0) - counts) < 4 * spread / np.sqrt(rounds)).all()
    # A count with a long tail knows its variance worse than a normal one: 1 / sqrt(n p) more.
    error = 4 * np.sqrt((2 + 1 / counts.min()) / rounds)
    assert (np.abs(np.cov(drawn.T) - covariance) / np.outer(spread, spread) < error).all()


def test_more_votes_than_a_list_holds_are_drawn_too() -> None:
    counts = np.array([10**12, 10**12])
    drawn = resampling.redrawn(counts)(np.random.default_rng(3), 50)
    assert (drawn.sum(1) == 2 * 10**12).all() and drawn.std() == pytest.approx(np.sqrt(2e12) / 2, rel=0.4)


@pytest.mark.parametrize("voters", [None, 30, 1300])
def test_every_round_is_a_maximum(voters: int | None) -> None:
    """The boards that were drawn, fitted from zero by Newton's method, have the same strengths; equal to 1e-9."""
    votes = cast(6, 4000, voters=voters)
    theta = fitted(votes)
    source = (resampling._of_clusters if voters else resampling._of_votes)(votes, Ties.HALF, 0)
    np.testing.assert_allclose(source.pairs.wins(source.games, source.scored), bt.win_matrix(votes))
    games, scored = source.draw(np.random.default_rng(4), 40)
    found = resampling.refitter(source.pairs, source.games, source.scored, theta)(games, scored)
    np.testing.assert_allclose(found, bt.fit(source.pairs.wins(games, scored)), atol=1e-9)


@pytest.mark.parametrize("voters", [None, 150])
def test_the_bootstrap_agrees_with_the_sandwich(voters: int | None) -> None:
    """400 rounds know a standard deviation to 3.5%; the rest is the curvature that the sandwich leaves out."""
    votes = cast(5, voters=voters)
    theta = fitted(votes)
    rounds = resampling.bootstrap(votes, theta, 400)
    assert np.isfinite(rounds).all()
    expected = np.sqrt(np.diag(uncertainty.sandwich(votes, theta)))
    np.testing.assert_allclose(rounds.std(0), expected, rtol=0.15)
    np.testing.assert_allclose(rounds.mean(0), theta, atol=0.3 * expected.max())


def test_a_seed_gives_the_same_rounds_by_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    votes = cast(7)
    theta = fitted(votes)
    found = resampling.bootstrap(votes, theta, 120, seed=7)
    monkeypatch.setattr(resampling.os, "cpu_count", lambda: 1)
    np.testing.assert_array_equal(resampling.bootstrap(votes, theta, 120, seed=7), found)
    assert (resampling.bootstrap(votes, theta, 120, seed=8) != found).all()


def test_a_round_without_a_maximum_is_not_a_number() -> None:
    votes = aggregate("ab", [0, 0], [1, 1], [0, 1], np.array([3.0, 1.0]))
    lost = np.isnan(resampling.bootstrap(votes, fitted(votes), 400)).any(1).mean()
    assert lost == pytest.approx(0.75**4 + 0.25**4, abs=0.08), "only wins or only losses were drawn"


def test_rounds_that_lose_a_model_are_told_from_those_that_keep_it() -> None:
    """A model with two votes is lost in every seventh round; what is left must not be given a number."""
    votes = aggregate(
        "abc", [0, 0, 0, 0, 2, 2], [1, 1, 1, 1, 0, 1], [0, 1, 0, 1, 0, 1], np.array([50.0, 40, 1, 1, 1, 1])
    )
    rounds = resampling.bootstrap(votes, fitted(votes), 300)
    source = resampling._of_votes(votes, Ties.HALF, 0)
    games, scored = source.draw(np.random.default_rng([0, 0]), 50)
    expected = bt.fit(source.pairs.wins(games, scored))
    np.testing.assert_array_equal(np.isnan(rounds[:50]), np.isnan(expected))
    np.testing.assert_allclose(rounds[:50], expected, atol=1e-8)
    assert 0.2 < np.isnan(rounds).any(1).mean() < 0.9


def test_weights_are_kept() -> None:
    """Votes of one pair that weigh differently are different cells; those of one row weigh its mean."""
    weights = np.array([0.5, 2.0, 1.0, 1.0])
    votes = aggregate("ab", [0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1], weight=weights)
    source = resampling._of_votes(votes, Ties.HALF, 0)
    games, scored = source.draw(np.random.default_rng(5), 2000)
    assert source.games == pytest.approx([4.5]) and source.scored == pytest.approx([3.5])
    assert games.mean() == pytest.approx(4.5, abs=0.1) and scored.mean() == pytest.approx(3.5, abs=0.1)
    assert games.std() == pytest.approx(np.sqrt(4) * np.std([1.25, 1.25, 1, 1]), rel=0.1)
