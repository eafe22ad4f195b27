"""Contextual Bradley–Terry against slow plain fits, closed forms, linear programs and simulated truth."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from scipy.special import expit, log_expit

from arena.errors import DataError, UsageError
from arena.rating import bradley_terry as bt
from arena.rating import covariates, uncertainty
from arena.rating.bradley_terry import Ties
from arena.rating.comparisons import Code, Comparisons, aggregate
from arena.rating.covariates import LEFT, STYLE, fit, image_style, left_effect, one_row_each, style_difference

LLMFAO = Path(__file__).parents[2].parent / "shared" / "data" / "llmfao"
NAMES = tuple("abcdefgh")


def simulated(
    rng: np.random.Generator, votes: int, theta: np.ndarray, beta: np.ndarray, left: float = 0.0, ties: float = 0.0
) -> tuple[Comparisons, np.ndarray]:
    """Votes between random pairs with standard normal features, of known strengths and effects."""
    size = len(theta)
    a = rng.integers(0, size, votes)
    b = (a + rng.integers(1, size, votes)) % size
    x = rng.standard_normal((votes, len(beta)))
    won = rng.random(votes) < expit(theta[a] - theta[b] + x @ beta + left)
    outcome = np.where(rng.random(votes) < ties, Code.TIE, np.where(won, Code.LEFT, Code.RIGHT))
    return one_row_each(NAMES[:size], a, b, outcome, weight=rng.uniform(0.5, 2, votes)), x


def design(comparisons: Comparisons, x: np.ndarray) -> np.ndarray:
    """Dense rows (n, M + p): +1 at left, -1 at right, features."""
    identity = np.eye(comparisons.size)
    return np.column_stack([identity[comparisons.left] - identity[comparisons.right], x])


def test_derivatives_are_those_of_finite_differences() -> None:
    rng = np.random.default_rng(0)
    votes, x = simulated(rng, 40, np.array([0.5, 0, -0.5]), np.array([0.7, -0.2]), ties=0.2)
    problem = covariates._Problem(votes, bt.left_score(votes.outcome), x)
    at = rng.standard_normal(5) / 2
    slope, information = problem.derivatives(at)
    # Central differences with a step of 1e-5: truncation and rounding are both near 1e-10 of the value.
    steps = 1e-5 * np.eye(5)
    found = [(problem.log_likelihood(at + s) - problem.log_likelihood(at - s)) / 2e-5 for s in steps]
    assert slope == pytest.approx(found, abs=1e-7)
    curved = [(problem.derivatives(at + s)[0] - problem.derivatives(at - s)[0]) / 2e-5 for s in steps]
    assert -information == pytest.approx(np.array(curved), abs=1e-7)


@pytest.mark.parametrize("ties", list(Ties))
def test_fit_and_jackknife_equal_a_slow_plain_version(ties: Ties) -> None:
    rng = np.random.default_rng(1)
    votes, x = simulated(rng, 300, np.array([0.6, 0.1, 0, -0.7]), np.array([0.5, -0.3]), left=0.2, ties=0.25)
    cluster = rng.integers(0, 30, 300).astype(np.int32)
    clustered = Comparisons(**{**votes.__dict__, "cluster": cluster})
    result = fit(clustered, x, ["u", "v"], ties=ties)

    used = (votes.outcome != Code.TIE) | (ties is Ties.HALF)
    z = design(votes, np.column_stack([np.ones(300), x]))[used][:, 1:]  # the first strength is the reference
    y, w = np.array([1, 0, 0.5])[votes.outcome][used], votes.weight[used]

    def loss(g: np.ndarray) -> tuple[float, np.ndarray]:
        eta = z @ g
        return float(-(w * (y * log_expit(eta) + (1 - y) * log_expit(-eta))).sum()), -((w * (y - expit(eta))) @ z)

    plain = optimize.minimize(loss, np.zeros(6), jac=True, method="BFGS", options={"gtol": 1e-7}).x
    theta = np.concatenate([[0], plain[:3]])
    # BFGS stops at a gradient of 1e-7, which the information (about 10) turns into 1e-8.
    assert result.theta == pytest.approx(theta - theta.mean(), abs=1e-6)
    assert result.beta == pytest.approx(plain[3:], abs=1e-6)

    p = expit(z @ plain)
    one = w * p * (1 - p)
    covariance = np.zeros((6, 6))
    for c in range(30):  # each voter is left out in turn, in one step of Newton's method
        own = cluster[used] == c
        rest = (z[~own] * one[~own, None]).T @ z[~own]
        shift = np.linalg.solve(rest, (w * (y - p))[own] @ z[own])
        covariance += np.outer(shift, shift) * 29 / 30
    centre = np.eye(4)[:, 1:] - 0.25  # the reference's strength is 0, then the mean is taken off
    whole = np.block([[centre, np.zeros((4, 3))], [np.zeros((3, 3)), np.eye(3)]])
    # The leaving out is solved with 1e-6 added for the sake of singular cases.
    assert result.covariance == pytest.approx(whole @ covariance @ whole.T, rel=1e-4, abs=1e-6)
    votes_of = np.bincount(cluster[used], w)
    assert result.names == (LEFT, "u", "v")
    assert result.factor == pytest.approx(stats.t.ppf(0.975, votes_of.sum() ** 2 / (votes_of**2).sum() - 1))


@pytest.mark.parametrize("clustered", [False, True])
def test_without_features_it_is_the_board(clustered: bool) -> None:
    rng = np.random.default_rng(2)
    votes, _ = simulated(rng, 200, np.array([0.5, 0, -0.5]), np.zeros(0), ties=0.2)
    if clustered:
        votes = Comparisons(**{**votes.__dict__, "cluster": (np.arange(200) % 17).astype(np.int32)})
    result = fit(votes, left_side=False)
    theta = bt.fit(bt.win_matrix(votes))
    assert result.theta == pytest.approx(theta, abs=1e-9)
    covariance = uncertainty.covariance(votes, theta)
    assert result.covariance == pytest.approx(covariance, abs=1e-9)
    assert result.factor == uncertainty.factor(votes)
    assert result.ratings == pytest.approx(bt.points(theta), abs=1e-6)
    assert result.half_widths == pytest.approx(uncertainty.half_widths(covariance, result.factor), abs=1e-6)
    assert result.effects == ()


def test_left_effect_of_two_models_in_closed_form() -> None:
    # A on the left wins 30 of 40: logit ln 3 = d + l. B on the left wins 20 of 50: logit ln(2/3) = l - d.
    votes = aggregate(
        ["A", "B"], np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]), np.array([0, 1, 0, 1]), np.array([30, 10, 20, 30.0])
    )
    effect = left_effect(votes)
    assert effect.estimate == pytest.approx((np.log(3) + np.log(2 / 3)) / 2, abs=1e-10)
    # Delta method: each logit has variance 1 / (n p (1 - p)), and the effect is half their sum.
    error = np.sqrt(1 / (40 * 0.75 * 0.25) + 1 / (50 * 0.4 * 0.6)) / 2
    assert effect.error == pytest.approx(error, abs=1e-9)
    assert (effect.low, effect.high) == pytest.approx(
        (effect.estimate - 1.959964 * error, effect.estimate + 1.959964 * error), abs=1e-6
    )
    assert effect.points[0] == pytest.approx(400 * np.log10(2) / 2, abs=1e-7)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """150 arenas of 400 votes whose voters lean left or right by their own habit: 95% needs the clusters."""
    rng = np.random.default_rng(3)
    theta, beta = np.array([0.6, 0.2, -0.2, -0.6]), np.array([0.4])
    held = np.zeros((150, 3))
    for row in held:
        habit = np.repeat(rng.normal(0, 1, 40), 10)
        a = rng.integers(0, 4, 400)
        b = (a + rng.integers(1, 4, 400)) % 4
        x = rng.standard_normal((400, 1))
        won = rng.random(400) < expit(theta[a] - theta[b] + x @ beta + habit)
        outcome = np.where(won, Code.LEFT, Code.RIGHT)
        result = fit(one_row_each(NAMES[:4], a, b, outcome, cluster=np.repeat(np.arange(40), 10)), x, ["u"])
        left, u = result.effects
        alone = left_effect(one_row_each(NAMES[:4], a, b, outcome))
        # Habits that are averaged out shrink logits (by about 1 / sqrt(1 + 0.35)), so u is held against that limit.
        row[:] = left.low < 0 < left.high, u.low < 0.4 / np.sqrt(1.35) < u.high, alone.low < 0 < alone.high
    cover = held.mean(0)
    # Three standard errors of a share of 150 near 95% are 5 points.
    assert cover[0] > 0.9 and cover[1] > 0.9
    assert cover[2] < 0.85


def test_effects_are_found_and_the_ratings_freed_of_them() -> None:
    """A model with a better look: the plain board pays it for the look, the controlled one does not."""
    rng = np.random.default_rng(4)
    theta, n = np.array([0.5, 0.0, -0.5]), 20_000
    a = rng.integers(0, 3, n)
    b = (a + rng.integers(1, 3, n)) % 3
    look = np.array([-0.5, 0, 1.0])
    x = (look[a] - look[b] + rng.standard_normal(n))[:, None]
    won = rng.random(n) < expit(theta[a] - theta[b] + 0.8 * x[:, 0] + 0.15)
    votes = one_row_each(NAMES[:3], a, b, np.where(won, Code.LEFT, Code.RIGHT))
    result = fit(votes, x, ["look"])
    assert result.beta == pytest.approx([0.15, 0.8], abs=0.07)  # 4 standard errors of about 0.017
    assert result.theta == pytest.approx(theta, abs=0.08)
    plain = fit(votes)
    assert plain.theta[2] > result.theta[2] + 0.3


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_mirror_relabelling_and_doubling(seed: int) -> None:
    rng = np.random.default_rng(seed)
    votes, x = simulated(rng, 120, rng.normal(0, 0.3, 3), np.array([0.4]), left=0.3, ties=0.2)
    base = fit(votes, x, ["u"])

    mirrored = np.array([Code.RIGHT, Code.LEFT, Code.TIE, Code.BOTH_BAD])[votes.outcome]
    mirror = one_row_each(NAMES[:3], votes.right, votes.left, mirrored, weight=votes.weight)
    other = fit(mirror, -x, ["u"])
    assert other.theta == pytest.approx(base.theta, abs=1e-8)
    assert other.beta == pytest.approx(base.beta * [-1, 1], abs=1e-8)

    order = np.array([2, 0, 1])
    named = one_row_each([NAMES[i] for i in order], np.argsort(order)[votes.left], np.argsort(order)[votes.right],
                         votes.outcome, weight=votes.weight)  # fmt: skip
    other = fit(named, x, ["u"])
    assert other.theta == pytest.approx(base.theta[order], abs=1e-8)
    assert other.beta == pytest.approx(base.beta, abs=1e-8)

    heavy = Comparisons(**{**votes.__dict__, "weight": 2 * votes.weight, "square": 2 * votes.square})
    twice = Comparisons(
        NAMES[:3], *(np.tile(v, 2) for v in (votes.left, votes.right, votes.outcome, votes.count, votes.weight)),
        np.tile(votes.square, 2),
    )  # fmt: skip
    one, two = fit(heavy, x, ["u"]), fit(twice, np.tile(x, (2, 1)), ["u"])
    assert one.beta == pytest.approx(two.beta, abs=1e-8) and two.beta == pytest.approx(base.beta, abs=1e-8)
    assert one.covariance == pytest.approx(two.covariance, abs=1e-8)
    assert two.covariance == pytest.approx(base.covariance / 2, abs=1e-8)


def test_a_feature_in_other_units_is_the_same_effect() -> None:
    votes, x = simulated(np.random.default_rng(5), 200, np.array([0.3, 0, -0.3]), np.array([0.4]))
    one, other = fit(votes, x, ["u"]), fit(votes, 1e6 * x, ["u"])
    assert other.effect("u").estimate == pytest.approx(one.effect("u").estimate / 1e6, rel=1e-8)
    assert other.effect("u").error == pytest.approx(one.effect("u").error / 1e6, rel=1e-8)
    assert other.half_widths == pytest.approx(one.half_widths, rel=1e-8)


def separated(votes: Comparisons, x: np.ndarray) -> bool:
    """Whether some direction makes no vote less likely and one vote more likely, by linear programming."""
    z = design(votes, x)
    signs = np.where(votes.outcome == Code.LEFT, 1.0, -1.0)[:, None] * z
    tied = votes.outcome == Code.TIE
    found = optimize.linprog(
        -signs[~tied].sum(0), A_ub=-signs[~tied], b_ub=np.zeros((~tied).sum()),
        A_eq=z[tied] if tied.any() else None, b_eq=np.zeros(tied.sum()) if tied.any() else None, bounds=(-1, 1),
    )  # fmt: skip
    return bool(-found.fun > 1e-7)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000), st.sampled_from([8, 14, 20]), st.sampled_from([0.0, 0.15]))
def test_there_is_a_maximum_exactly_where_nothing_separates(seed: int, n: int, ties: float) -> None:
    rng = np.random.default_rng(seed)
    votes, x = simulated(rng, n, np.zeros(3), np.array([2.0]), ties=ties)
    if len(bt.components(bt.win_matrix(votes)).rated) < 3:
        return
    x = np.round(x, 1)
    if separated(votes, np.column_stack([np.ones(n), x])):
        with pytest.raises(DataError, match="has no maximum"):
            fit(votes, x, ["u"])
    else:
        assert np.isfinite(fit(votes, x, ["u"]).covariance).all()


def test_what_the_votes_cannot_tell_is_refused_by_name() -> None:
    votes, x = simulated(np.random.default_rng(6), 100, np.zeros(3), np.array([0.5, 0.1]))
    u, v = x.T
    size = np.array([1.0, 3.0, 4.0])
    for column, message in (
        (np.zeros(100), "'new' is 0 in every vote"),
        (np.full(100, 2.5), "'new' is 2.5 in every vote"),
        (2 * u - v + 1, "'new' is a combination of the models and the features before"),
        (size[votes.left] - size[votes.right], "'new' is a combination of the models"),
        (np.where(votes.outcome == Code.LEFT, 1.0, -1.0), "no maximum: 'new' separates"),
        (np.where(np.arange(100) == 7, np.nan, u), "'new' is nan in row 7"),
    ):
        with pytest.raises(DataError, match=message):
            fit(votes, np.column_stack([u, v, column]), ["u", "v", "new"])
    with pytest.raises(UsageError, match=r"shape \(100, 2\) do not fit 100 rows of comparisons and 1 names"):
        fit(votes, x, ["u"])
    with pytest.raises(UsageError, match="No effect 'sharp' was fitted; known: left side, u, v"):
        fit(votes, x, ["u", "v"]).effect("sharp")
    with pytest.raises(DataError, match="'left side' is a combination of the models"):
        left_effect(aggregate(["a", "b"], np.zeros(9, int), np.ones(9, int), np.array([0, 1, 0] * 3)))
    with pytest.raises(UsageError, match="'a' is compared with itself"):
        one_row_each(["a", "b"], np.array([0]), np.array([0]), np.array([0]))
    with pytest.raises(DataError, match="No two models can be rated"):
        left_effect(aggregate(["a", "b"], np.array([0]), np.array([1]), np.array([0])))


def test_models_that_cannot_be_rated_are_left_out_with_their_reason() -> None:
    votes, x = simulated(np.random.default_rng(7), 100, np.zeros(3), np.array([0.5]))
    more = one_row_each(
        (*NAMES[:3], "best"), np.append(votes.left, [3, 0]), np.append(votes.right, [0, 3]),
        np.append(votes.outcome, [Code.LEFT, Code.BOTH_BAD]), weight=np.append(votes.weight, [1, 1]),
    )  # fmt: skip
    result = fit(more, np.vstack([x, [[0.1], [9.0]]]), ["u"])
    assert result.contestants == NAMES[:3] and result.votes == 100
    assert "never lost" in result.unrated["best"]
    assert result.beta == pytest.approx(fit(votes, x, ["u"]).beta, abs=1e-9)


def test_an_image_of_two_halves_by_hand() -> None:
    # Left half pure red, right half pure green. Luma .299 and .587; rg = ±255, yb = 127.5 in both.
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[:, :3, 0] = rgb[:, 3:, 1] = 255
    style = image_style(rgb)
    assert tuple(style) == STYLE
    assert style["megapixels"] == 24e-6 and style["aspect"] == 1.5
    assert style["brightness"] == pytest.approx(0.443, abs=1e-12)
    assert style["contrast"] == pytest.approx(0.144, abs=1e-12)
    assert style["colourfulness"] == pytest.approx(255 + 0.3 * 127.5, abs=1e-9)
    # Inner columns have Laplacians 0, +.288, -.288, 0: variance .288^2 / 2.
    assert style["sharpness"] == pytest.approx(0.288**2 / 2, abs=1e-12)
    grey = image_style(np.full((5, 5, 3), 51, np.uint8))
    assert grey["brightness"] == pytest.approx(0.2, abs=1e-12)
    assert [grey[k] for k in ("contrast", "colourfulness", "sharpness")] == pytest.approx([0, 0, 0], abs=1e-12)
    assert image_style(np.zeros((1, 2, 3), np.uint8))["sharpness"] == 0.0
    for bad in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(DataError, match="cannot be measured"):
            image_style(bad)


def test_style_differences_are_fair_to_both_sides() -> None:
    left = np.array([[3.0, 0, 2], [1, 0, 2], [1, 5, 2]])
    right = np.array([[1.0, 0, 2], [1, 4, 2], [3, 0, 2]])
    # Relative differences: ½, 0, -½ (root mean square sqrt(1/6)); 0, -1, 1 (sqrt(2/3)); 0, 0, 0.
    expected = np.array([[np.sqrt(1.5), 0, 0], [0, -np.sqrt(1.5), 0], [-np.sqrt(1.5), np.sqrt(1.5), 0]])
    assert style_difference(left, right) == pytest.approx(expected, abs=1e-12)
    assert style_difference(right, left) == pytest.approx(-expected, abs=1e-12)
    assert style_difference(np.zeros((0, 2)), np.zeros((0, 2))).shape == (0, 2)
    with pytest.raises(DataError, match="feature is -1"):
        style_difference(-np.ones((1, 1)), np.ones((1, 1)))
    with pytest.raises(DataError, match="feature is nan"):
        style_difference(np.full((1, 1), np.nan), np.ones((1, 1)))
    with pytest.raises(UsageError, match="do not make pairs"):
        style_difference(np.ones((1, 2)), np.ones((2, 2)))


@pytest.mark.skipif(not LLMFAO.is_dir(), reason="the optional data folder with the LLMFAO votes is not here")
def test_left_effect_of_real_votes() -> None:
    """8,931 crowd votes: the first of two answers wins 53.3% of the decisive ones."""
    with (LLMFAO / "crowd-comparisons.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = sorted({row[side] for row in rows for side in ("left", "right")})
    at = {name: i for i, name in enumerate(names)}
    code = {"left": Code.LEFT, "right": Code.RIGHT, "tie": Code.TIE}
    arrays = (
        np.array([at[row["left"]] for row in rows]), np.array([at[row["right"]] for row in rows]),
        np.array([code[row["winner"]] for row in rows]),
    )  # fmt: skip
    workers = np.array([int(row["worker"]) for row in rows])
    effect = left_effect(aggregate(names, *arrays, cluster=workers), Ties.DROP)
    decisive = arrays[2] != Code.TIE
    share = (arrays[2][decisive] == Code.LEFT).mean()
    assert share == pytest.approx(0.533, abs=5e-4)
    # The strengths make votes surer, so the effect between equals exceeds the logit of the share, though by little.
    assert np.log(share / (1 - share)) < effect.estimate < 1.5 * np.log(share / (1 - share))
    assert effect.low < effect.estimate < effect.high
    naive = left_effect(aggregate(names, *arrays), Ties.DROP)
    assert naive.estimate == pytest.approx(effect.estimate, abs=1e-9)
    assert effect.error > 1.2 * naive.error
