"""Reliabilities and agreements against finite differences, plain optimisers, exact refits and simulated voters."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit, log_expit

from arena.errors import DataError, UsageError
from arena.rating import bradley_terry as bt
from arena.rating import voters
from arena.rating.bradley_terry import Ties
from arena.rating.comparisons import Code, Comparisons, aggregate
from arena.rating.covariates import one_row_each
from arena.rating.voters import agreements, by_voter, reliabilities, shortest_half, wilson

LLMFAO = Path(__file__).parents[2].parent / "shared" / "data" / "llmfao"
NAMES = tuple("abcdefghijklmnopqrst")


def voted(
    rng: np.random.Generator, size: int, s: np.ndarray, votes: int, ties: float = 0.0
) -> tuple[np.ndarray, Comparisons]:
    """True strengths (M,), and `votes` votes of each voter of reliability s (U,)."""
    theta = np.linspace(1, -1, size)
    u = np.repeat(np.arange(len(s)), votes)
    a = rng.integers(0, size, len(u))
    b = (a + rng.integers(1, size, len(u))) % size
    won = rng.random(len(u)) < expit(s[u] * (theta[a] - theta[b]))
    outcome = np.where(rng.random(len(u)) < ties, Code.TIE, np.where(won, Code.LEFT, Code.RIGHT))
    return theta, one_row_each(NAMES[:size], a, b, outcome, cluster=u)


def problem_of(comparisons: Comparisons, spread: float = 1.0) -> voters._Problem:
    groups = comparisons.clusters
    return voters._Problem(comparisons, bt.left_score(comparisons.outcome), comparisons.cluster, groups, spread)


def test_derivatives_are_those_of_finite_differences() -> None:
    rng = np.random.default_rng(0)
    _, comparisons = voted(rng, 3, np.array([1, 0.5, -1, 0]), 20, ties=0.2)
    problem = problem_of(comparisons, spread=0.7)
    at = rng.standard_normal(7)

    def value(x: np.ndarray) -> float:
        return problem.value(x[:3], x[3:])

    def slope(x: np.ndarray) -> np.ndarray:
        return np.concatenate(problem.slopes(x[:3], x[3:]))

    steps = 1e-5 * np.eye(7)
    assert slope(at) == pytest.approx([(value(at + e) - value(at - e)) / 2e-5 for e in steps], abs=1e-6)
    # Where every score is what was expected, the second derivative is minus the expected information.
    eta = at[3:][problem.group] * problem.gap(at[:3])
    problem = replace(problem, score=expit(eta))
    of_theta, of_both, of_s = problem.informations(at[:3], at[3:])
    information = np.block([[of_theta, of_both.T], [of_both, np.diag(of_s)]])
    curved = np.array([(slope(at + e) - slope(at - e)) / 2e-5 for e in steps])
    assert -information == pytest.approx(curved, abs=1e-6)


def test_fit_and_errors_equal_a_slow_plain_version() -> None:
    rng = np.random.default_rng(1)
    _, comparisons = voted(rng, 4, np.array([1, 1, 1, 0.3, -0.8]), 60, ties=0.15)
    result = reliabilities(comparisons, spread=0.8)
    score = np.array([1, 0, 0.5])[comparisons.outcome]

    def loss(x: np.ndarray) -> float:
        theta = np.append(0, x[:3])
        s = x[3:]
        eta = s[comparisons.cluster] * (theta[comparisons.left] - theta[comparisons.right])
        fit = (score * log_expit(eta) + (1 - score) * log_expit(-eta)).sum()
        return float(-fit + ((s - 1) ** 2).sum() / (2 * 0.8**2))

    plain = optimize.minimize(loss, np.append(np.linspace(-0.5, -1.5, 3), np.ones(5)), options={"gtol": 1e-5}).x
    typical = shortest_half(plain[3:])
    theta = np.append(0, plain[:3]) * typical
    # BFGS with numerical derivatives stops near 1e-5.
    assert result.reliability == pytest.approx(plain[3:] / typical, abs=1e-4)
    assert result.theta == pytest.approx(theta - theta.mean(), abs=1e-4)
    assert result.converged and np.isnan(result.others) and (result.votes == 60).all()

    eta = plain[3:][comparisons.cluster] * (theta[comparisons.left] - theta[comparisons.right]) / typical
    p = expit(eta)
    at = np.eye(4)[:, 1:]
    rows = np.hstack([
        (at[comparisons.left] - at[comparisons.right]) * plain[3:][comparisons.cluster][:, None],
        np.eye(5)[comparisons.cluster] * ((theta[comparisons.left] - theta[comparisons.right]) / typical)[:, None],
    ])  # fmt: skip
    information = (rows * (p * (1 - p))[:, None]).T @ rows + np.diag([0] * 3 + [1 / 0.8**2] * 5)
    error = np.sqrt(np.diag(np.linalg.inv(information)))[3:] / typical
    assert (result.high - result.low) / 2 == pytest.approx(1.959964 * error, abs=1e-3)


@pytest.mark.parametrize("bad", [(100, 0, 0), (70, 30, 0), (70, 0, 30), (70, 15, 15)])
def test_simulated_voters_are_told_apart(bad: tuple[int, int, int]) -> None:
    """100 voters of 60 votes each on 8 models: honest, random and reversed ones."""
    rng = np.random.default_rng(2)
    s = np.repeat([1.0, 0.0, -1.0], bad)
    theta, comparisons = voted(rng, 8, s, 60)
    result = reliabilities(comparisons)
    honest, random, reverse = np.split(result.reliability, np.cumsum(bad)[:2])
    assert result.converged
    # One voter's s has a standard error of about 0.3, and the scale one of about 0.05.
    assert honest.mean() == pytest.approx(1, abs=0.15) and honest.min() > 0.1
    if len(random):
        assert random.mean() == pytest.approx(0, abs=0.2) and np.abs(random).max() < 1
    if len(reverse):
        assert reverse.max() < 0 and reverse.mean() == pytest.approx(-1, abs=0.25)
    assert ((result.low <= s) & (s <= result.high)).mean() > 0.9
    # The board is that of the honest: its scale is theirs, where the plain board shrinks towards level.
    plain = bt.fit(bt.win_matrix(comparisons))
    slope, plain_slope = result.theta @ theta / (theta @ theta), plain @ theta / (theta @ theta)
    assert slope == pytest.approx(1, abs=0.15)
    if bad != (100, 0, 0):
        assert plain_slope < 0.75
        assert ((result.theta - theta) ** 2).sum() < 0.5 * ((plain - theta) ** 2).sum()


def test_few_votes_are_not_judged_but_count() -> None:
    rng = np.random.default_rng(3)
    _, comparisons = voted(rng, 4, np.repeat([1.0, 1.0], (20, 30)), 40)
    keep = (comparisons.cluster < 20) | (np.arange(len(comparisons.left)) % 10 == 0)
    result = reliabilities(comparisons.where(keep), least=5)
    assert np.isfinite(result.reliability[:20]).all() and np.isnan(result.reliability[20:]).all()
    assert np.isnan(result.low[20:]).all() and np.isnan(result.high[20:]).all()
    assert result.others == pytest.approx(1, abs=0.5) and result.votes[20] == 4


def test_one_voter_is_the_plain_board() -> None:
    _, comparisons = voted(np.random.default_rng(4), 4, np.array([1.0]), 300)
    result = reliabilities(comparisons)
    assert result.reliability == pytest.approx([1], abs=1e-12)
    assert result.theta == pytest.approx(bt.fit(bt.win_matrix(comparisons)), abs=1e-8)
    assert result.ratings == pytest.approx(bt.points(result.theta), abs=1e-9)


def test_mirror_relabelling_and_order_change_nothing() -> None:
    rng = np.random.default_rng(5)
    _, comparisons = voted(rng, 5, np.array([1, 1, 1, 0.5, -1]), 80, ties=0.2)
    base, agreed = reliabilities(comparisons), agreements(comparisons)
    mirror = np.array([Code.RIGHT, Code.LEFT, Code.TIE, Code.BOTH_BAD])[comparisons.outcome]
    models, people, rows = rng.permutation(5), rng.permutation(5), rng.permutation(len(comparisons.left))
    changed = replace(
        comparisons, left=comparisons.right, right=comparisons.left, outcome=mirror,
        cluster=np.argsort(people)[comparisons.cluster].astype(np.int32),
    ).where(rows).among(models)  # fmt: skip
    other, other_agreed = reliabilities(changed), agreements(changed)
    assert other.theta == pytest.approx(base.theta[models], abs=1e-7)
    assert other.reliability == pytest.approx(base.reliability[people], abs=1e-7)
    assert other_agreed.share == pytest.approx(agreed.share[people], abs=1e-12)
    assert other_agreed.z == pytest.approx(agreed.z[people], abs=1e-7)


def test_a_row_of_two_votes_is_two_rows() -> None:
    _, comparisons = voted(np.random.default_rng(6), 4, np.array([1, 1, -1]), 60)
    rows = (comparisons.left, comparisons.right, comparisons.outcome)
    who = np.array(["x", "y", "z"])[comparisons.cluster]
    names, once = by_voter(NAMES[:4], *rows, who, count=np.full(180, 2.0))
    _, twice = by_voter(NAMES[:4], *(np.tile(v, 2) for v in rows), np.tile(who, 2))
    assert names == ("x", "y", "z") and once.votes == twice.votes == 360
    one, two = reliabilities(once), reliabilities(twice)
    assert one.reliability == pytest.approx(two.reliability, abs=1e-8) and one.votes == pytest.approx(two.votes)
    assert one.low == pytest.approx(two.low, abs=1e-8)
    assert agreements(once).z == pytest.approx(agreements(twice).z, abs=1e-9)


def test_by_voter_keeps_who_is_who() -> None:
    names, rows = by_voter("ab", np.array([0, 1, 0]), np.array([1, 0, 1]), np.array([0, 1, 2]), ["zoe", "ann", "zoe"])
    assert names == ("ann", "zoe") and list(rows.cluster) == [0, 1, 1] and list(rows.outcome) == [1, 0, 2]


def test_the_order_of_votes_changes_no_bit() -> None:
    _, comparisons = voted(np.random.default_rng(12), 4, np.array([1, 1, 0.5, -1]), 60, ties=0.2)
    arrays = (comparisons.left, comparisons.right, comparisons.outcome, comparisons.cluster.astype(str))
    weight = np.random.default_rng(13).uniform(0.5, 2, 240)
    order = np.random.default_rng(14).permutation(240)
    one, other = (
        reliabilities(by_voter(NAMES[:4], *(array[at] for array in arrays), weight=weight[at])[1])
        for at in (np.arange(240), order)
    )
    assert (one.reliability == other.reliability).all() and (one.theta == other.theta).all()


def without(comparisons: Comparisons, u: int) -> dict[str, float]:
    """The board of decisive votes without voter u, refitted exactly, by name."""
    rest = comparisons.where((comparisons.cluster != u) & (comparisons.outcome < Code.TIE))
    wins = bt.win_matrix(rest)
    rated = list(bt.components(wins).rated)
    return dict(zip([rest.contestants[i] for i in rated], bt.fit(wins[np.ix_(rated, rated)]), strict=True))


def counted(comparisons: Comparisons, u: int) -> tuple[float, float, float, float]:
    """Agreed, votes, expected number and its variance for voter u, one vote at a time."""
    board = without(comparisons, u)
    agreed = votes = expected = variance = 0.0
    for k in np.flatnonzero((comparisons.cluster == u) & (comparisons.outcome < Code.TIE)):
        left, right = (comparisons.contestants[side[k]] for side in (comparisons.left, comparisons.right))
        if left in board and right in board:
            gap = board[left] - board[right]
            agreed += (gap > 0) == (comparisons.outcome[k] == Code.LEFT)
            votes += 1
            expected += expit(abs(gap))
            variance += expit(gap) * expit(-gap)
    return agreed, votes, expected, variance


@pytest.mark.parametrize(("people", "heavy"), [(8, True), (96, False)])
def test_agreement_is_that_of_exact_refits(people: int, heavy: bool) -> None:
    """With 8 voters boards are refitted; with 96 (1% of the votes each) they are one step away."""
    rng = np.random.default_rng(7)
    _, comparisons = voted(rng, 5, np.repeat([1.0, -1.0], (people - 3, 3)), 50, ties=0.3)
    result = agreements(comparisons)
    for u in range(0, people, people // 8):
        agreed, votes, expected, variance = counted(comparisons, u)
        assert (result.agreed[u], result.votes[u]) == (agreed, votes)
        # The step's error: 10^-4 of a logit, against 0 where refitted.
        tolerance = 1e-8 if heavy else 2e-4
        assert result.expected[u] == pytest.approx(expected / votes, abs=tolerance)
        assert result.z[u] == pytest.approx((agreed - expected) / np.sqrt(variance), abs=50 * tolerance)


def test_one_step_without_a_voter_is_near_the_refit() -> None:
    rng = np.random.default_rng(8)
    _, comparisons = voted(rng, 6, np.ones(40), 100)
    whole = bt.win_matrix(comparisons)
    theta = bt.fit(whole)
    rest = np.stack([whole - bt.win_matrix(comparisons.where(comparisons.cluster == u)) for u in range(40)])
    exact, step = bt.fit(rest, theta), voters._one_step(rest, theta)
    # Each voter has 2.5% of the votes: the board moves by up to 0.05, and the step misses it by a hundredth of that.
    assert np.abs(exact - theta).max() > 0.02
    assert np.abs(step - exact).max() < 5e-4


def test_votes_that_nobody_else_can_judge_are_not_counted() -> None:
    """Voter 0 alone has seen model c win; without that vote c cannot be rated, and votes on it say nothing."""
    votes = [(0, 1, 0), (1, 0, 1), (0, 1, 1)] * 4  # others on a and b
    own = [(2, 0, 0), (0, 2, 0), (0, 1, 0), (1, 0, 0)]
    others = [(1, 2, 0), (0, 2, 0)]
    rows = [(*v, 1 + k % 3) for k, v in enumerate(votes + others)] + [(*v, 0) for v in own]
    left, right, outcome, voter = np.array(rows).T
    result = agreements(one_row_each("abc", left, right, outcome, cluster=voter), least=2)
    assert result.votes[0] == 2 and result.agreed[0] == 1
    # a beat b 8 times of 12 in the others' votes, so a vote agrees with chance 2/3.
    assert result.expected[0] == pytest.approx(2 / 3, abs=1e-9)
    assert result.z[0] == pytest.approx((1 - 4 / 3) / np.sqrt(4 / 9), abs=1e-8)


def test_expected_agreement_makes_low_mean_something() -> None:
    """Honest voters lie around what is expected of them, with the spread it claims; others far below."""
    rng = np.random.default_rng(9)
    _, comparisons = voted(rng, 6, np.repeat([1.0, 0.0, -1.0], (190, 5, 5)), 60, ties=0.2)
    result = agreements(comparisons)
    honest, random, reverse = np.split(result.z, [190, 195])
    # 190 standard normal numbers: the mean's standard error is 0.07. Ten bad voters in 200 lift the honest a little.
    assert honest.mean() == pytest.approx(0.15, abs=0.25) and honest.std() == pytest.approx(1, abs=0.15)
    assert random.max() < 0 and random.mean() < -2 and reverse.max() < -3
    assert np.mean((result.low <= result.expected) & (result.expected <= result.high)) > 0.88


def test_shares_of_little_are_not_given() -> None:
    _, comparisons = voted(np.random.default_rng(10), 4, np.ones(8), 30)
    result = agreements(comparisons.where((comparisons.cluster > 0) | (np.arange(240) < 10)), least=25)
    for column in (result.share, result.low, result.high, result.expected, result.z):
        assert np.isnan(column[0]) and np.isfinite(column[1:]).all()


def test_wilson_by_hand() -> None:
    # 8 of 10 at 95%: (0.8 + 0.19207 ± 1.96 sqrt(0.016 + 0.009604)) / 1.38415.
    low, high = wilson(np.array([0.8, 0.0, np.nan]), np.array([10.0, 5.0, 0.0]))
    assert (low[0], high[0]) == pytest.approx((0.490162, 0.943318), abs=1e-6)
    assert (low[1], high[1]) == pytest.approx((0, 1.959964**2 / (5 + 1.959964**2)), abs=1e-6)
    assert np.isnan(low[2]) and np.isnan(high[2])


def test_the_shortest_half_by_hand() -> None:
    assert shortest_half(np.array([-1, -1, 0, 0.9, 1.0, 1.1, 1.2, 1.3])) == pytest.approx(1.1, abs=1e-12)
    assert shortest_half(np.array([3.0])) == 3.0 and shortest_half(np.array([1.0, 2.0])) == 1.5


def test_what_cannot_be_judged_is_refused() -> None:
    _, comparisons = voted(np.random.default_rng(11), 3, np.ones(3), 10)
    with pytest.raises(UsageError, match="do not say who cast them"):
        reliabilities(aggregate("ab", np.array([0]), np.array([1]), np.array([0])))
    with pytest.raises(UsageError, match="do not say who cast them"):
        agreements(aggregate("ab", np.array([0]), np.array([1]), np.array([0])))
    with pytest.raises(DataError, match="No voter has 11 votes"):
        reliabilities(comparisons, least=11)
    with pytest.raises(UsageError, match="A spread of 0 and 20 votes"):
        reliabilities(comparisons, spread=0)
    with pytest.raises(UsageError, match="0 votes at least is no limit"):
        agreements(comparisons, least=0)
    with pytest.raises(DataError, match="No two models can be rated"):
        agreements(one_row_each("ab", np.array([0]), np.array([1]), np.array([0]), cluster=np.array([0])))


@pytest.mark.skipif(not LLMFAO.is_dir(), reason="the optional data folder with the LLMFAO votes is not here")
def test_real_workers_agree_with_each_other() -> None:
    """8,931 votes of 124 workers on 59 models: nearly all are of good will, and exact refits say the same."""
    with (LLMFAO / "crowd-comparisons.csv").open() as file:
        rows = list(csv.DictReader(file))
    models = sorted({row[side] for row in rows for side in ("left", "right")})
    at = {name: i for i, name in enumerate(models)}
    code = {"left": Code.LEFT, "right": Code.RIGHT, "tie": Code.TIE}
    names, comparisons = by_voter(
        models, [at[row["left"]] for row in rows], [at[row["right"]] for row in rows],
        [code[row["winner"]] for row in rows], [row["worker"] for row in rows],
    )  # fmt: skip
    assert len(names) == 124
    result, found = agreements(comparisons), reliabilities(comparisons, Ties.DROP)
    judged = ~np.isnan(result.share)
    for u in np.flatnonzero(judged)[::25]:
        agreed, votes, expected, _ = counted(comparisons, u)
        assert result.votes[u] == votes and result.agreed[u] == pytest.approx(agreed, abs=1)
        assert result.expected[u] == pytest.approx(expected / votes, abs=2e-3)
    assert judged.sum() > 50 and found.converged
    assert np.median(result.share[judged]) > 0.6
    assert (found.reliability[~np.isnan(found.reliability)] > 0).mean() > 0.85
    # Both views of a voter are of one mind.
    both = judged & ~np.isnan(found.reliability)
    assert np.corrcoef(result.z[both], found.reliability[both])[0, 1] > 0.7
