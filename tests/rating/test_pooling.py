"""Pooled boards against dense optimisation, dense linear algebra, numerical integrals, limits and simulated truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, optimize
from scipy.special import expit

from arena.errors import DataError, UsageError
from arena.rating import bradley_terry as bt
from arena.rating import pooling, uncertainty
from arena.rating.bradley_terry import SCALE, Ties
from arena.rating.comparisons import Code, Comparisons, aggregate
from arena.rating.pooling import by_category, pool

NAMES = tuple("abcdefgh")


def drawn(
    rng: np.random.Generator, votes: list[int], size: int, tau: float, voters: int | None = None, ties: float = 0.0
) -> tuple[np.ndarray, dict[str, Comparisons]]:
    """True strengths (K, M), and votes of K slices; slices differ by tau."""
    theta = np.linspace(0.8, -0.8, size) + tau * rng.standard_normal((len(votes), size))
    theta -= theta.mean(1, keepdims=True)
    category = np.repeat(np.arange(len(votes)), votes)
    n = len(category)
    a = rng.integers(0, size, n)
    b = (a + rng.integers(1, size, n)) % size
    won = rng.random(n) < expit(theta[category, a] - theta[category, b])
    outcome = np.where(rng.random(n) < ties, Code.TIE, np.where(won, Code.LEFT, Code.RIGHT))
    cluster = None if voters is None else rng.integers(0, voters, n)
    return theta, by_category(NAMES[:size], a, b, outcome, category.astype(str), cluster=cluster)


def wins_of(slices: dict[str, Comparisons]) -> np.ndarray:
    return np.stack([bt.win_matrix(part) for part in slices.values()])


def test_mode_is_that_of_a_dense_optimiser() -> None:
    _, slices = drawn(np.random.default_rng(0), [15, 40, 90], 4, 0.5)
    wins, tau = wins_of(slices), 0.4

    def loss(free: np.ndarray) -> float:
        mu, *theta = free.reshape(4, 4)
        return -sum(
            bt.log_likelihood(w, t) - ((t - mu) ** 2).sum() / (2 * tau**2) for w, t in zip(wins, theta, strict=True)
        )

    plain = optimize.minimize(loss, np.zeros(16), method="BFGS", options={"gtol": 1e-6}).x.reshape(4, 4)
    found = pooling._posterior(wins, tau)
    centred = plain - plain.mean(1, keepdims=True)
    # BFGS with numerical derivatives stops near 1e-6.
    assert np.vstack([found.mu, found.theta]) == pytest.approx(centred, abs=2e-5)
    # At the mode each slice's u is tau^2 times its derivative.
    assert found.theta - found.mu == pytest.approx(tau**2 * bt.gradient(wins, found.theta), abs=1e-9)


@pytest.mark.parametrize("voters", [None, 12])
def test_covariance_is_that_of_dense_algebra(voters: int | None) -> None:
    """All parameters (mu, theta_1, theta_2) in one system H e = (votes' derivatives, minus the prior's pull of u)."""
    _, slices = drawn(np.random.default_rng(1), [30, 60], 3, 0.5, voters)
    parts, tau = list(slices.values()), 0.5
    found = pooling._posterior(wins_of(slices), tau)
    prior = np.kron([[2, -1, -1], [-1, 1, 0], [-1, 0, 1.0]], np.eye(3)) / tau**2
    hessian = prior.copy()
    for k in (0, 1):
        hessian[3 * k + 3 : 3 * k + 6, 3 * k + 3 : 3 * k + 6] += found.information[k]
    blocks, moved = [slice(3 * k + 3, 3 * k + 6) for k in (0, 1)], np.zeros((9, 9))
    if voters is None:
        for part, theta, block in zip(parts, found.theta, blocks, strict=True):
            moved[block, block] = uncertainty.meat(part, theta)
        moved = np.linalg.pinv(hessian) @ moved @ np.linalg.pinv(hessian)
    # Voters: as if each were left out of the derivatives and of the matrix, one after the other.
    for voter in range(voters or 0):
        score, without = np.zeros(9), hessian.copy()
        for part, theta, block in zip(parts, found.theta, blocks, strict=True):
            own = part.where(part.cluster == voter)
            score[block] = bt.gradient(bt.win_matrix(own), theta)
            without[block, block] -= bt.information(bt.win_matrix(own), theta)
        shift = np.linalg.pinv(without) @ score
        moved += np.outer(shift, shift) * (voters - 1) / voters
    # The errors of mu and of theta_k = estimate minus truth; the true u pulls at all of them through the prior.
    inverse = np.linalg.pinv(hessian)
    to_u = np.vstack([np.kron([[1, 1]], np.eye(3)), -np.eye(6)]) / tau**2
    error = moved + inverse @ (tau**2 * to_u @ to_u.T) @ inverse
    centre = np.eye(3) - 1 / 3
    whole, boards = pooling._covariances(parts, found, Ties.HALF)
    # The leaving out of voters is solved with 1e-6 added for the sake of singular cases.
    within = {"abs": 1e-10} if voters is None else {"rel": 1e-4, "abs": 1e-6}
    assert whole == pytest.approx(centre @ error[:3, :3] @ centre, **within)
    for k in (0, 1):
        block = slice(3 * k + 3, 3 * k + 6)
        assert boards[k] == pytest.approx(centre @ error[block, block] @ centre, **within)


def test_marginal_likelihood_is_that_of_an_integral() -> None:
    """Two models, four slices: mu and every u integrated out numerically, for the ratio at two tau and the peak."""
    won, lost = np.array([40, 55, 30, 48]), np.array([30, 20, 45, 27])
    wins = np.zeros((4, 2, 2))
    wins[:, 0, 1], wins[:, 1, 0] = won, lost
    d = np.linspace(-3, 3, 601)
    likelihood = won[:, None] * np.log(expit(d)) + lost[:, None] * np.log(expit(-d))
    likelihood = np.exp(likelihood - likelihood.max(1, keepdims=True))

    def marginal(tau: float) -> float:
        # The difference of two strengths varies with twice the variance of each.
        kernel = np.exp(-((d[:, None] - d[None, :]) ** 2) / (4 * tau**2)) / np.sqrt(4 * np.pi * tau**2)
        return float(np.log(integrate.simpson(np.prod(likelihood @ kernel * (d[1] - d[0]), axis=0), x=d)))

    for low, high in ((0.1, 0.3), (0.3, 1.0)):
        laplace = pooling._posterior(wins, high).marginal - pooling._posterior(wins, low).marginal
        # Laplace's error is of the order of 1 / votes of a slice, 0.013, in each of the factors.
        assert laplace == pytest.approx(marginal(high) - marginal(low), abs=0.02)
    peak = optimize.minimize_scalar(lambda tau: -marginal(tau), bounds=(0.05, 2), method="bounded").x
    tau, low, high = pooling._likeliest(wins)
    assert tau == pytest.approx(peak, rel=0.02) and low < 0.5 * tau and high > 2 * tau


def test_tau_of_huge_slices_is_the_spread_of_their_boards_beyond_chance() -> None:
    """With two models and equal slices restricted maximum likelihood is s^2 - v: a textbook one-way layout."""
    d = np.array([0.05, -0.02, 0.01, -0.06, 0.03])
    n = 4000.0
    wins = np.zeros((5, 2, 2))
    wins[:, 0, 1], wins[:, 1, 0] = n * expit(d), n * expit(-d)
    expected = np.sqrt((d.var(ddof=1) - 4 / n) / 2)
    # p (1 - p) differs from 1/4 by at most 0.1%.
    assert pooling._likeliest(wins)[0] == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("voters", [None, 25])
def test_tau_zero_is_the_board_of_all_votes(voters: int | None) -> None:
    _, slices = drawn(np.random.default_rng(2), [50, 100, 30], 4, 0.0, voters)
    result = pool(slices, tau=0)
    parts = list(slices.values())
    joined = Comparisons(
        parts[0].contestants,
        *(np.concatenate([getattr(p, key) for p in parts])
          for key in ("left", "right", "outcome", "count", "weight", "square")),
        cluster=None if voters is None else np.concatenate([p.cluster for p in parts]),
    )  # fmt: skip
    theta = bt.fit(bt.win_matrix(joined))
    covariance = uncertainty.covariance(joined, theta)
    for board in (result, *result.slices):
        assert board.theta == pytest.approx(theta, abs=1e-9)
        # The leaving out of voters is solved with 1e-6 added for the sake of singular cases.
        assert board.covariance == pytest.approx(covariance, rel=1e-4, abs=1e-7)
    for board in result.slices:
        assert (board.borrowed == 1).all()
        assert board.ratings == pytest.approx(bt.points(theta), abs=1e-6)
        assert board.factor == pytest.approx(uncertainty.factor(joined), abs=1e-12)


def test_one_voter_says_nothing_of_voters_at_large() -> None:
    """Votes are then taken to stand alone, as on every board."""
    _, slices = drawn(np.random.default_rng(9), [80, 90], 3, 0.3)
    alone = pool(slices)
    one = pool({name: replace(part, cluster=np.zeros(len(part.left), np.int32)) for name, part in slices.items()})
    for board, other in zip(one.slices, alone.slices, strict=True):
        assert board.half_widths == pytest.approx(other.half_widths, rel=0.25)
        assert board.factor == other.factor


def test_a_huge_tau_leaves_each_slice_its_own_board() -> None:
    _, slices = drawn(np.random.default_rng(3), [800, 900], 3, 0.3)
    result = pool(slices, tau=200.0)
    for board, part in zip(result.slices, slices.values(), strict=True):
        theta = bt.fit(bt.win_matrix(part))
        # What is left of the prior: its precision 1 / 200^2 against the votes' hundreds.
        assert board.theta == pytest.approx(theta, abs=1e-6)
        assert board.covariance == pytest.approx(uncertainty.sandwich(part, theta), abs=1e-6)
        assert board.borrowed == pytest.approx(0, abs=1e-6)


def test_equal_slices_have_tau_zero() -> None:
    _, slices = drawn(np.random.default_rng(4), [200], 4, 0.0)
    part = slices["0"]
    equal = {"x": part, "y": part, "z": part}
    result = pool(equal)
    assert result.tau == 0.0 and result.tau_points == 0.0
    for board in result.slices:
        assert board.theta == pytest.approx(bt.fit(bt.win_matrix(part)), abs=1e-9)
        # tau may still be larger than 0, which its interval allows for.
        assert board.half_widths.mean() > pool(equal, tau=0).slices[0].half_widths.mean()


def test_small_slices_lean_and_large_ones_stand() -> None:
    _, slices = drawn(np.random.default_rng(5), [20, 300, 30_000], 6, 0.4)
    small, middle, large = pool(slices).slices
    assert small.borrowed.min() > middle.borrowed.max() > large.borrowed.max()
    assert small.borrowed.min() > 0.6 and large.borrowed.max() < 0.03
    assert large.theta == pytest.approx(bt.fit(bt.win_matrix(slices["2"])), abs=0.01)
    assert small.half_widths.min() > middle.half_widths.max() > large.half_widths.max()


def test_a_contestant_without_a_vote_in_a_slice_has_the_whole_rating_and_a_wide_interval() -> None:
    _, slices = drawn(np.random.default_rng(6), [2000, 2000, 2000], 5, 0.3)
    part = slices["1"]
    slices["1"] = part.where((part.left != 3) & (part.right != 3))
    result = pool(slices)
    board = result.slice("1")
    assert board.votes[3] == 0 and board.borrowed[3] == pytest.approx(1, abs=1e-12)
    assert board.theta[3] == pytest.approx(result.theta[3], abs=1e-9)
    # Nothing but the spread between slices is known of it there.
    assert board.half_widths[3] > 1.96 * result.tau_points * 0.9
    assert board.half_widths[3] > 3 * np.delete(board.half_widths, 3).max()
    assert np.delete(board.borrowed, 3).max() < 0.2


def test_slices_that_have_no_board_of_their_own_get_one() -> None:
    _, slices = drawn(np.random.default_rng(7), [400, 400, 0], 3, 0.3)
    slices["sweep"] = aggregate(NAMES[:3], np.array([2, 2]), np.array([0, 1]), np.array([0, 0]), np.array([6.0, 6]))
    slices["empty"] = slices["0"].where(np.zeros(len(slices["0"].left), bool))
    result = pool(slices)
    sweep, empty = result.slice("sweep"), result.slice("empty")
    assert np.isfinite(sweep.covariance).all()
    assert sweep.theta[2] > result.theta[2] + 0.05
    assert (empty.borrowed == 1).all() and empty.theta == pytest.approx(result.theta, abs=1e-9)
    assert empty.half_widths.min() > pool(slices).slice("0").half_widths.max()


def test_one_slice_alone_is_its_board() -> None:
    _, slices = drawn(np.random.default_rng(8), [100], 3, 0.3)
    result = pool(slices)
    theta = bt.fit(bt.win_matrix(slices["0"]))
    assert result.tau == 0 and result.slices[0].theta == pytest.approx(theta, abs=1e-9)
    assert result.slices[0].covariance == pytest.approx(uncertainty.sandwich(slices["0"], theta), abs=1e-9)


def test_voters_who_repeat_themselves_add_nothing() -> None:
    """Every vote cast four times by the same voter: four times the dispersion, the same boards and intervals."""
    _, slices = drawn(np.random.default_rng(9), [150, 250], 4, 0.3, voters=40)
    fourfold = {
        name: replace(part, count=4 * part.count, weight=4 * part.weight, square=4 * part.square)
        for name, part in slices.items()
    }
    one, four = pool(slices), pool(fourfold)
    # The dispersion is taken at a first fit, whose tau still counts the repeats; so it is four times up to 2%.
    assert four.dispersion == pytest.approx(4 * one.dispersion, rel=0.02)
    assert four.tau == pytest.approx(one.tau, rel=0.05)
    for a, b in zip(one.slices, four.slices, strict=True):
        assert b.theta == pytest.approx(a.theta, abs=0.01)
        assert b.half_widths == pytest.approx(a.half_widths, rel=0.03)


def test_half_ties_are_less_dispersed_than_wins() -> None:
    _, slices = drawn(np.random.default_rng(10), [500, 500], 4, 0.2, ties=0.4)
    # A tie between equals has no residual: 40% ties leave about 60% of the variance.
    assert pool(slices).dispersion == pytest.approx(0.6, abs=0.06)
    assert pool(slices, Ties.DROP).dispersion == pytest.approx(1, abs=0.06)


def test_relabelling_and_mirroring_change_nothing() -> None:
    _, slices = drawn(np.random.default_rng(11), [40, 80, 120], 4, 0.4, ties=0.2)
    base = pool(slices)
    order = [2, 0, 3, 1]
    mirror = np.array([Code.RIGHT, Code.LEFT, Code.TIE, Code.BOTH_BAD])
    changed = {
        name: replace(part, left=part.right, right=part.left, outcome=mirror[part.outcome]).among(order)
        for name, part in reversed(slices.items())
    }
    other = pool(changed)
    assert other.contestants == tuple(base.contestants[i] for i in order)
    # tau is found to 1e-4 of itself.
    assert other.tau == pytest.approx(base.tau, rel=5e-4)
    for board in base.slices:
        twin = other.slice(board.name)
        assert twin.theta == pytest.approx(board.theta[order], abs=1e-4)
        assert twin.half_widths == pytest.approx(board.half_widths[order], rel=1e-3)
        assert twin.borrowed == pytest.approx(board.borrowed[order], abs=1e-3)


def test_simulated_slices_give_back_tau_and_their_truth() -> None:
    """Arenas of 5 slices and 6 models at tau = 0, 0.15 and 0.4 logits (0, 26, 69 points), 300 intervals each."""
    rng = np.random.default_rng(12)
    for truth, least in ((0.0, 0.95), (0.15, 0.89), (0.4, 0.89)):
        taus, held = [], []
        for _ in range(10):
            theta, slices = drawn(rng, [60, 120, 250, 500, 1000], 6, truth)
            result = pool(slices)
            taus.append(result.tau)
            held += [np.abs(b.theta - t) <= b.half_widths / SCALE for b, t in zip(result.slices, theta, strict=True)]
        # tau's standard error over 10 arenas is about 0.06 / 3; that of a share of 300 intervals near 95% is 1.3 points
        # and more, since those of one arena hang together. At tau = 0 intervals allow for a larger one.
        assert np.mean(taus) == pytest.approx(truth, abs=0.06)
        assert np.mean(held) >= least
    assert min(taus) > 0


def test_tastes_of_few_voters_are_not_differences_between_slices() -> None:
    """Slices alike, voters not, each voting in one slice: only clusters tell the two apart."""
    rng = np.random.default_rng(17)
    taus, held = np.zeros((2, 8)), np.zeros((2, 8))
    for n in range(8):
        truth, voter = np.linspace(0.8, -0.8, 6), np.repeat(np.arange(160), 25)
        theta = truth + 0.8 * rng.standard_normal((160, 6))
        a = rng.integers(0, 6, 4000)
        b = (a + rng.integers(1, 6, 4000)) % 6
        outcome = np.where(rng.random(4000) < expit(theta[voter, a] - theta[voter, b]), Code.LEFT, Code.RIGHT)
        # The mean over tastes of variance 2 * 0.8^2 shrinks logits, to about 0.86 of the truth.
        target = 0.86 * truth
        for k, cluster in enumerate((voter, None)):
            result = pool(by_category(NAMES[:6], a, b, outcome, voter // 40, cluster=cluster))
            taus[k, n] = result.tau
            held[k, n] = np.mean([np.abs(s.theta - target) <= s.half_widths / SCALE for s in result.slices])
    assert taus[0].mean() < 0.05 < 0.07 < taus[1].mean()
    assert held[0].mean() > 0.93 and held[1].mean() < held[0].mean() - 0.03


def test_pooled_ratings_are_closer_to_the_truth_than_either_extreme() -> None:
    rng = np.random.default_rng(13)
    missed = np.zeros(3)
    for _ in range(8):
        theta, slices = drawn(rng, [150, 150, 150, 150, 150], 5, 0.35)
        for n, tau in enumerate((None, 0.0, 50.0)):
            missed[n] += sum(
                ((b.theta - t) ** 2).sum() for b, t in zip(pool(slices, tau=tau).slices, theta, strict=True)
            )
    assert missed[0] < 0.8 * missed[1] and missed[0] < 0.8 * missed[2]


def test_by_category_keeps_a_voter_one_voter() -> None:
    left, right, outcome = np.array([0, 1, 0, 1]), np.array([1, 0, 1, 0]), np.array([0, 1, 2, 3])
    slices = by_category("ab", left, right, outcome, ["y", "x", "y", "x"], cluster=np.array([70, 50, 50, 90]))
    assert list(slices) == ["x", "y"]
    # Voter 50 is cluster 0 wherever it votes, 70 is 1 and 90 is 2.
    assert list(slices["x"].cluster) == [0, 2] and list(slices["y"].cluster) == [0, 1]
    assert list(slices["x"].outcome) == [1, 3] and list(slices["y"].outcome) == [2, 0]
    assert slices["x"].votes == slices["y"].votes == 2
    weighted = by_category("ab", left, right, outcome, ["y"] * 4, weight=np.array([1, 2, 3, 4.0]))
    assert weighted["y"].weight.sum() == 10 and weighted["y"].cluster is None


def test_the_order_of_votes_changes_no_bit() -> None:
    rng = np.random.default_rng(16)
    left = rng.integers(0, 3, 200)
    right, outcome = (left + rng.integers(1, 3, 200)) % 3, rng.integers(0, 4, 200)
    category, cluster, weight = rng.choice(["x", "y"], 200), rng.integers(-1, 30, 200), rng.uniform(0.5, 2, 200)
    order = rng.permutation(200)
    one, other = (
        pool(by_category("abc", left[at], right[at], outcome[at], category[at], weight=weight[at], cluster=cluster[at]))
        for at in (np.arange(200), order)
    )
    for a, b in zip(one.slices, other.slices, strict=True):
        assert (a.theta == b.theta).all() and (a.covariance == b.covariance).all()


def test_what_cannot_be_pooled_is_refused() -> None:
    _, slices = drawn(np.random.default_rng(14), [50, 50], 3, 0.1)
    with pytest.raises(UsageError, match="There is no category"):
        pool({})
    with pytest.raises(UsageError, match="'1' has other contestants"):
        pool({"0": slices["0"], "1": slices["1"].among([0, 1])})
    with pytest.raises(UsageError, match="'1' differs from the first in having clusters"):
        pool({"0": slices["0"], "1": replace(slices["1"], cluster=np.zeros(len(slices["1"].left), np.int32))})
    with pytest.raises(UsageError, match="cannot be -1"):
        pool(slices, tau=-1)
    with pytest.raises(UsageError, match="No category 'z' was pooled; known: 0, 1"):
        pool(slices).slice("z")
    with pytest.raises(DataError, match="No two models can be rated"):
        pool({"x": aggregate("ab", np.array([0]), np.array([1]), np.array([0]))})


def test_models_that_all_slices_together_cannot_rate_are_named() -> None:
    _, slices = drawn(np.random.default_rng(15), [60, 60], 3, 0.1)
    wider = {name: replace(part, contestants=(*part.contestants, "new")) for name, part in slices.items()}
    result = pool(wider)
    assert result.contestants == NAMES[:3] and "never compared" in result.unrated["new"]


def test_the_names_of_voters_change_no_bit() -> None:
    rng = np.random.default_rng(3)
    n, size = 300, 5
    left = rng.integers(0, size, n)
    right = (left + rng.integers(1, size, n)) % size
    outcome, category = rng.integers(0, 4, n), rng.integers(0, 3, n).astype(str)
    voter = rng.integers(0, 40, n)
    found = []
    for names in (np.arange(40), rng.permutation(40), rng.integers(0, 1 << 62, 40)):
        pooled = pool(by_category(NAMES[:size], left, right, outcome, category, cluster=names[voter]))
        found.append(b"".join(part.ratings.tobytes() + part.half_widths.tobytes() for part in pooled.slices))
    assert found[0] == found[1] == found[2]
