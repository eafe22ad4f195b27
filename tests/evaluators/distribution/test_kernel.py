"""KID and CMMD against plain sums over all pairs, the tools that define them, and their expectations."""

from __future__ import annotations

import numpy as np
import pytest

from arena.errors import DataError, UsageError
from evaluators.distribution import kernel as module
from evaluators.distribution.kernel import (
    between,
    cmmd,
    gaussian,
    kid,
    kid_subsets,
    mmd2,
    paired_difference,
    polynomial,
    within,
)

# Sums of some thousand float64 terms in another order.
ROUNDING = 1e-11


def normal(n: int, dim: int, seed: int, spread: float = 1.0, shift: float = 0.0) -> np.ndarray:
    return np.sqrt(spread) * np.random.default_rng(seed).standard_normal((n, dim)) + shift


def on_sphere(n: int, dim: int, seed: int, mean: float = 0.5) -> np.ndarray:
    x = 0.5 * np.random.default_rng(seed).standard_normal((n, dim)) + mean
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def plain_mmd2(x, y, kernel, diagonal: bool = False) -> float:
    """From whole matrices, pair by pair."""
    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    if diagonal:
        return xx.mean() + yy.mean() - 2 * xy.mean()
    n, m = len(x), len(y)
    inner = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return inner - 2 * xy.mean()


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 7)


def test_blocks_give_the_whole_sum(small_blocks):
    x, y = normal(23, 5, 0), normal(17, 5, 1, 1.5)

    def cubic(a, b):
        return (a @ b.T / 5 + 1) ** 3

    def bell(a, b):
        return np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / 8)

    assert kid(x, y).value == pytest.approx(plain_mmd2(x, y, cubic), rel=ROUNDING)
    assert kid(x, y, scale=1000).value == pytest.approx(1000 * plain_mmd2(x, y, cubic), rel=ROUNDING)
    assert cmmd(x, y, sigma=2, scale=1).value == pytest.approx(plain_mmd2(x, y, bell), rel=ROUNDING)
    assert cmmd(x, y, sigma=2, scale=1, unbiased=False).value == pytest.approx(
        plain_mmd2(x, y, bell, diagonal=True), rel=ROUNDING
    )


def test_noise_is_the_mean_square_of_the_centred_kernel(small_blocks):
    """U-centred entries, written out: what is left of k(i, j) after the means of row and column."""
    x, y = normal(12, 3, 0), normal(9, 3, 1)
    n, k = 12, polynomial(x, x)
    np.fill_diagonal(k, 0)
    rows = k.sum(1)
    centred = k - rows[:, None] / (n - 2) - rows / (n - 2) + k.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0)
    assert within(x, polynomial).noise == pytest.approx((centred**2).sum() / (n * (n - 3)), rel=1e-9)
    across = polynomial(x, y)
    left = across - across.mean(0) - across.mean(1)[:, None] + across.mean()
    assert between(x, y, polynomial).noise == pytest.approx((left**2).sum() / (11 * 8), rel=1e-9)


def test_order_and_float32_and_a_known_reference_change_nothing():
    x, y = normal(60, 6, 0).astype(np.float32), normal(50, 6, 1).astype(np.float32)
    expected = kid(x.astype(np.float64), y.astype(np.float64))
    assert kid(x, y) == expected
    assert kid(x[::-1], y).value == pytest.approx(expected.value, rel=1e-9)
    assert kid(x, y, real_pairs=within(x, polynomial)) == expected
    assert kid(y, x).value == pytest.approx(expected.value, rel=1e-9)


def test_subsets_are_torch_fidelitys():
    """The same subsets by the same generator; it works in float32 here, as its features are."""
    import torch
    from torch_fidelity.defaults import DEFAULTS
    from torch_fidelity.metric_kid import kid_features_to_metric

    real, generated = normal(60, 16, 0).astype(np.float32), normal(70, 16, 1, 1.2).astype(np.float32)
    options = {**DEFAULTS, "kid_subsets": 10, "kid_subset_size": 40, "verbose": False}
    theirs = kid_features_to_metric(torch.from_numpy(generated), torch.from_numpy(real), **options)
    mean, deviation = kid_subsets(real, generated, subsets=10, size=40)
    assert mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-5)
    assert deviation == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-4)


def test_one_subset_is_torchmetrics():
    import torch
    from torchmetrics.image.kid import poly_mmd

    x, y = normal(40, 16, 0), normal(40, 16, 1, 1.2)
    assert mmd2(x, y) == pytest.approx(poly_mmd(torch.from_numpy(x), torch.from_numpy(y)).item(), rel=ROUNDING)


def test_one_subset_is_clean_fids_formula():
    """(sum of off-diagonal entries of both) / (m - 1) - 2 sum(xy) / m, divided by m: its definition, restated."""
    x, y = normal(40, 16, 0), normal(40, 16, 1, 1.2)
    inner = polynomial(x, x) + polynomial(y, y)
    plain = ((inner.sum() - np.trace(inner)) / 39 - 2 * polynomial(x, y).sum() / 40) / 40
    assert mmd2(x, y) == pytest.approx(plain, rel=ROUNDING)


def test_published_cmmd_is_the_v_statistic_in_float32():
    """Its own arithmetic: whole float32 matrices, the diagonal kept, sigma 10, times 1000."""
    x, y = on_sphere(80, 64, 0).astype(np.float32), on_sphere(70, 64, 1, 0.4).astype(np.float32)

    def mean(a, b):
        square = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
        return np.exp(-square / np.float32(200)).mean(dtype=np.float32)

    published = 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))
    assert cmmd(x, y, unbiased=False).value == pytest.approx(float(published), abs=2e-3)


@pytest.mark.parametrize(("a", "b", "n", "m"), [(1.0, 1.0, 60, 60), (1.0, 1.6, 60, 90), (1.0, 1.6, 40, 200)])
def test_expectation_error_and_coverage_over_repeats(a, b, n, m):
    """E KID = 3 (a - b)^2 / d for N(0, aI) and N(0, bI). 300 repeats: the mean errs by sd / 17, the sd by 4%."""
    dim = 16
    found = [kid(normal(n, dim, 2 * i, a), normal(m, dim, 2 * i + 1, b)) for i in range(300)]
    value, se = (np.array([getattr(each, name) for each in found]) for name in ("value", "se"))
    truth = 3 * (a - b) ** 2 / dim
    assert abs(value.mean() - truth) < 3 * value.std() / np.sqrt(300)
    assert np.sqrt((se**2).mean()) == pytest.approx(value.std(), rel=0.2)
    assert np.mean([each.low <= truth <= each.high for each in found]) > 0.91
    if a == b:
        assert (value < 0).any()


def test_cmmd_has_its_expectation_and_the_v_statistic_its_bias():
    """E k = (1 + (a + b) / 100)^(-d / 2) for sigma 10."""
    dim, a, b = 24, 1.0, 1.5

    def inner(p: float, q: float) -> float:
        return (1 + (p + q) / 100) ** (-dim / 2)

    truth = 1000 * (inner(a, a) + inner(b, b) - 2 * inner(a, b))
    pairs = [(normal(50, dim, 2 * i, a), normal(40, dim, 2 * i + 1, b)) for i in range(200)]
    unbiased = np.array([cmmd(x, y).value for x, y in pairs])
    biased = np.array([cmmd(x, y, unbiased=False).value for x, y in pairs])
    error = unbiased.std() / np.sqrt(200)
    assert abs(unbiased.mean() - truth) < 3 * error
    bias = 1000 * ((1 - inner(a, a)) / 50 + (1 - inner(b, b)) / 40)
    assert abs(biased.mean() - truth - bias) < 3 * error
    assert bias > 4 * truth


def test_cmmd_on_the_sphere_is_the_shift_of_the_mean():
    """9.9005 |difference of means|^2 = 1000 exp(-1/100) / 100 |...|^2, to first order in 1 / sigma^2."""
    x, y = on_sphere(400, 96, 0), on_sphere(300, 96, 1, 0.3)
    n, m = len(x), len(y)
    gap = x.mean(0) - y.mean(0)
    own = [(each.sum(0) ** 2).sum() for each in (x, y)]  # the unbiased square leaves out pairs of one
    unbiased = (own[0] - n) / (n * (n - 1)) + (own[1] - m) / (m * (m - 1)) - 2 * x.mean(0) @ y.mean(0)
    assert cmmd(x, y).value == pytest.approx(9.9005 * unbiased, rel=0.01)
    assert cmmd(x, y, unbiased=False).value == pytest.approx(9.9005 * (gap**2).sum(), rel=0.01)


def test_paired_difference_is_the_difference_and_its_error_is_smaller_on_the_same_prompts():
    found, apart = [], []
    for i in range(200):
        real, shared = normal(80, 8, 3 * i), normal(60, 8, 3 * i + 1)
        first, second = (shared + 0.3 * normal(60, 8, 3 * i + 2 + 10**6 * j) + 0.2 * j for j in (1, 2))
        found.append(paired_difference(real, first, second))
        apart.append((kid(real, first), kid(real, second)))
    difference = np.array([each.value for each in found])
    np.testing.assert_allclose(difference, [x.value - y.value for x, y in apart], rtol=1e-9)
    se = np.sqrt(np.mean([each.se**2 for each in found]))
    assert 0.9 < se / difference.std() < 1.3  # second-order terms are left in
    assert se < 0.75 * np.sqrt(np.mean([x.se**2 + y.se**2 for x, y in apart]))
    assert np.mean([each.low <= difference.mean() <= each.high for each in found]) > 0.92


def test_two_and_three_images_are_enough_for_a_value():
    for n in (2, 3):
        found = kid(normal(n, 4, 0), normal(n, 4, 1))
        assert np.isfinite([found.value, found.se, found.low, found.high]).all()
        assert (found.n_real, found.n_generated) == (n, n)


@pytest.mark.parametrize(
    ("call", "error", "reason"),
    [
        (lambda: kid(normal(1, 4, 0), normal(5, 4, 1)), DataError, "real features have 1 rows"),
        (lambda: kid(normal(5, 4, 0), normal(5, 3, 1)), DataError, "4 and 3 dimensions"),
        (lambda: kid(normal(5, 4, 0), normal(5, 4, 1) * np.inf), DataError, "rows of the generated features are NaN"),
        (lambda: kid_subsets(normal(5, 4, 0), normal(9, 4, 1)), DataError, "Subsets of 1000 need .* got 5 and 9"),
        (lambda: cmmd(normal(5, 4, 0), normal(5, 4, 1), sigma=0), UsageError, "sigma must be above 0, got 0"),
        (
            lambda: paired_difference(normal(5, 4, 0), normal(5, 4, 1), normal(6, 4, 1)),
            DataError,
            "one row each for a prompt, got 5 and 6",
        ),
        (lambda: gaussian(-1), UsageError, "got -1"),
    ],
)
def test_bad_input_is_one_sentence(call, error, reason):
    with pytest.raises(error, match=reason):
        call()
