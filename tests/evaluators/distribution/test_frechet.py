"""The Fréchet distance against closed forms, against the textbook with a square root, and at the edges of rank."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from arena.errors import DataError
from evaluators.distribution import frechet as module
from evaluators.distribution.frechet import contrasts, frechet, prepare
from evaluators.distribution.statistics import Moments, Statistics, of_features

ROOT = Path(__file__).parents[3]


def skewed(n: int, dim: int, seed: int, scale: float = 1.0) -> np.ndarray:
    """As after a last ReLU: max(0, ...), with a spectrum that falls over two orders of magnitude; float32."""
    rng = np.random.default_rng([seed, n, dim])
    weights = np.random.default_rng(dim).standard_normal((dim, dim)) / np.sqrt(np.arange(1, dim + 1))[:, None]
    return np.maximum(scale * rng.standard_normal((n, dim)) @ weights + 0.1, 0).astype(np.float32)


def exact_sample(n: int, spread: np.ndarray, axes: np.ndarray, mean: np.ndarray, seed: int) -> np.ndarray:
    """Features whose sample covariance is axes diag(spread) axes' and whose sample mean is `mean`, to rounding."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, int((spread > 0).sum())))
    x -= x.mean(0)
    white = linalg.qr(x, mode="economic")[0] * np.sqrt(n - 1)
    return white * np.sqrt(spread[spread > 0]) @ axes[:, spread > 0].T + mean


def textbook(x: np.ndarray, y: np.ndarray) -> float:
    """With scipy's matrix square root, as pytorch-fid and clean-fid have it."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    a, b = np.cov(x.T), np.cov(y.T)
    gap = x.mean(0) - y.mean(0)
    return float(gap @ gap + np.trace(a) + np.trace(b) - 2 * np.trace(linalg.sqrtm(a @ b).real))


@pytest.mark.parametrize(("n", "m", "path"), [(200, 150, "cholesky"), (20, 15, "nuclear"), (200, 20, "low-rank")])
def test_commuting_covariances_have_a_closed_form(n, m, path):
    """|m1 - m2|^2 + sum (sqrt a - sqrt b)^2, to 1e-10: samples are exact to rounding, so only rounding is left."""
    dim = 30
    rng = np.random.default_rng(0)
    axes = linalg.qr(rng.standard_normal((dim, dim)))[0]
    a, b = np.exp(rng.standard_normal((2, dim)))
    a[min(n - 1, dim) :] = 0
    b[min(m - 1, dim) :] = 0
    first, second = rng.standard_normal((2, dim))
    truth = ((first - second) ** 2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    x, y = exact_sample(n, a, axes, first, 1), exact_sample(m, b, axes, second, 2)
    found = frechet(x, y)
    assert found.value == pytest.approx(truth, rel=1e-10)
    assert found.path == path
    assert found.mean_term + found.trace_term - 2 * found.cross == pytest.approx(found.value, rel=1e-12)


@pytest.mark.parametrize("rank", [60, 20])
def test_commuting_covariances_without_features(rank):
    """Statistics alone: at full rank as exact, below it to 1e-9 of the trace, far inside the 1e-6 asked for."""
    dim = 60
    rng = np.random.default_rng(1)
    axes = linalg.qr(rng.standard_normal((dim, dim)))[0]
    a, b = np.exp(rng.standard_normal((2, dim)))
    a[rank:] = b[rank:] = 0
    real, generated = (Moments(np.zeros(dim), (axes * spread) @ axes.T) for spread in (a, b))
    found = frechet(real, generated)
    truth = ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    if rank == dim:
        assert found.value == pytest.approx(truth, rel=1e-10)
        assert (found.path, found.clamped) == ("cholesky", 0)
    else:
        assert found.value == pytest.approx(truth, abs=1e-9 * a.sum())
        assert found.path == "pivoted"
        assert 0 < found.clamped_share < 1e-12
        assert found.rank == rank


@pytest.mark.parametrize(("n", "m"), [(20, 300), (300, 20), (20, 15), (59, 59), (2, 300)])
def test_singular_statistics_by_pivoting_are_as_by_eigenvectors(n, m, monkeypatch):
    """And both as with features, to the rounding that statistics alone leave."""
    x, y = skewed(n, 60, 0), skewed(m, 60, 1, 1.3)
    found = frechet(of_features(x), of_features(y))
    assert found.path == "pivoted" and found.rank <= min(n, m) - 1
    assert found.value == pytest.approx(frechet(x, y).value, rel=1e-8)
    monkeypatch.setattr(module, "_pivoted", lambda covariance: None)
    slow = frechet(of_features(x), of_features(y))
    assert slow.path == "eigh" and found.value == pytest.approx(slow.value, rel=1e-8)
    spectra = [prepare(of_features(x)).eigenvalues, prepare(x).eigenvalues]
    np.testing.assert_allclose(*(each[-(min(n, 60) - 1) // 2 :] for each in spectra), rtol=1e-9)


def test_a_covariance_of_float32_is_not_pivoted():
    """Rounded to 7 digits it has eigenvalues below 0, where pivoting would go astray: eigenvectors are taken."""
    x, y = skewed(20, 60, 0), skewed(300, 60, 1, 1.3)
    rounded = np.cov(x.T).astype(np.float32).astype(np.float64)
    assert linalg.eigvalsh(rounded)[0] < -1e-10
    found = frechet(Moments(x.mean(0).astype(float), rounded), of_features(y))
    assert found.path == "eigh"
    assert found.value == pytest.approx(frechet(x, y).value, rel=1e-3), "as far as 7 digits go"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=9), st.lists(st.floats(-50, 50), min_size=2, max_size=9))
def test_one_dimension_is_school_arithmetic(x, y):
    """(m1 - m2)^2 + (s1 - s2)^2."""
    expected = (np.mean(x) - np.mean(y)) ** 2 + (np.std(x, ddof=1) - np.std(y, ddof=1)) ** 2
    found = frechet(np.array(x)[:, None], np.array(y)[:, None]).value
    scale = 1 + np.var(x) + np.var(y)
    assert found == pytest.approx(expected, rel=1e-10, abs=1e-10 * scale)


def test_one_apart_in_every_dimension():
    """pytorch-fid's own test, at a smaller dimension: means 0 and 1, both identity, is d. The benchmark has 2048."""
    dim = 128
    assert frechet(Moments(np.zeros(dim), np.eye(dim)), Moments(np.ones(dim), np.eye(dim))).value == dim


@pytest.mark.parametrize("n", [500, 60, 41, 40, 20, 2])
def test_a_set_is_0_from_itself(n):
    """To 1e-9 of the trace with features, to 1e-6 from statistics alone; also with dead features among them."""
    for x in (skewed(n, 40, 0), np.hstack([skewed(n, 30, 0), np.zeros((n, 10), np.float32)])):
        trace = np.trace(np.cov(x.T))
        assert frechet(x, x).value <= 1e-9 * trace
        assert frechet(x, x.copy()[::-1]).value <= 1e-9 * trace
        statistics = of_features(x)
        assert frechet(statistics, statistics).value <= 1e-6 * trace
        assert frechet(x, statistics).value <= 1e-6 * trace


@pytest.mark.parametrize(("n", "m"), [(300, 200), (300, 20), (25, 20), (40, 41), (2, 300), (2, 2)])
def test_every_path_is_symmetric_and_knows_no_axes_or_units(n, m):
    dim = 40
    x, y = skewed(n, dim, 0).astype(np.float64), skewed(m, dim, 1, 1.3).astype(np.float64)
    value = frechet(x, y).value
    turn = linalg.qr(np.random.default_rng(2).standard_normal((dim, dim)))[0]
    assert frechet(y, x).value == pytest.approx(value, rel=1e-9)
    assert frechet(x @ turn + 5, y @ turn + 5).value == pytest.approx(value, rel=1e-9)
    assert frechet(3 * x, 3 * y).value == pytest.approx(9 * value, rel=1e-9)
    assert frechet(of_features(x), y).value == pytest.approx(value, rel=1e-7)
    assert frechet(of_features(x), of_features(y).moments).value == pytest.approx(value, rel=1e-7)


def test_full_rank_equals_the_textbook():
    x, y = skewed(400, 40, 0), skewed(300, 40, 1, 1.3)
    assert frechet(x, y).value == pytest.approx(textbook(x, y), rel=1e-10)


@pytest.mark.parametrize("exponent", range(1, 10))
def test_a_grid_of_sizes_is_finite_and_agrees_with_the_nuclear_norm(exponent):
    """torch-fidelity's grid: standard normal features, N = 2^1 ..., C = 2^1 ..., to 5 decimals."""
    n = 2**exponent
    for dim in (2, 4, 16, 64):
        rng = np.random.RandomState(2023)
        x, y = rng.randn(n, dim), rng.randn(n, dim)
        a, b = ((each - each.mean(0)) / np.sqrt(n - 1) for each in (x, y))
        expected = (
            ((x.mean(0) - y.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum()
            - 2 * linalg.svdvals(a @ b.T).sum()
        )  # fmt: skip
        assert frechet(x, y).value == pytest.approx(expected, abs=1e-5)


def test_four_images_of_four_features_are_a_number():
    rng = np.random.RandomState(1)
    found = frechet(rng.randn(4, 4), rng.randn(4, 4))
    assert np.isfinite(found.value)
    assert found.value > 0


def test_a_spectrum_that_squares_would_lose_takes_singular_values(monkeypatch):
    """Variances over 14 orders of magnitude: the square root of the product's rounding is above the tolerance."""
    rng = np.random.default_rng(3)
    spread = 10.0 ** -np.linspace(0, 7, 40)
    x, y = (rng.standard_normal((300, 40)) * spread for _ in range(2))
    found = frechet(x, y)
    assert found.path == "nuclear"
    assert found.rounding < 1e-14
    root = linalg.svdvals(module._triangle(x, x.mean(0)) @ module._triangle(y, y.mean(0)).T).sum()
    assert found.cross == pytest.approx(root, rel=1e-12)
    monkeypatch.setattr(module, "TOLERANCE", np.inf)
    coarse = frechet(x, y)
    assert coarse.path == "cholesky"
    assert abs(coarse.value - found.value) <= coarse.rounding


def test_the_estimate_of_rounding_holds():
    """Eigenvalues of the square against singular values, over spectra of all steepness."""
    rng = np.random.default_rng(4)
    for steep in (0, 2, 4, 6):
        x, y = (rng.standard_normal((n, 60)) * 10.0 ** -np.linspace(0, steep, 60) for n in (30, 20))
        a, b = prepare(x), prepare(y)
        values = linalg.eigvalsh(next(module.products(a, b))[0])
        off = np.sqrt(np.clip(values, 0, None)).sum() - linalg.svdvals(a.rows @ b.rows.T).sum()
        assert abs(off) <= module._rounding(values) + 4 * module.EPSILON * np.sqrt(a.trace * b.trace)


def test_a_prepared_reference_gives_the_same_and_its_factor_is_made_once(monkeypatch):
    real = prepare(skewed(300, 30, 0))
    expected = [frechet(skewed(300, 30, 0), skewed(n, 30, n)) for n in (20, 100)]
    assert [frechet(real, skewed(n, 30, n)) for n in (20, 100)] == expected
    monkeypatch.setattr(linalg, "cholesky", None)
    assert frechet(real, skewed(100, 30, 100)) == expected[1]


def test_contrasts_have_the_same_covariance_and_one_row_less():
    for n in (2, 3, 17):
        x = skewed(n, 5, 0).astype(np.float64)
        rows = contrasts(x - x.mean(0))
        assert rows.shape == (n - 1, 5)
        np.testing.assert_allclose(rows.T @ rows, np.cov(x.T), atol=1e-14)


def test_float32_and_integers_are_computed_in_float64():
    x, y = skewed(50, 8, 0), skewed(60, 8, 1)
    assert frechet(x, y) == frechet(x.astype(np.float64), y.astype(np.float64))
    whole = np.arange(12).reshape(6, 2) ** 2
    assert frechet(whole, whole + 1).value == pytest.approx(2)


def test_images_that_are_all_the_same_have_no_spread():
    same, x = np.ones((5, 3)), skewed(30, 3, 0)
    assert frechet(same, same).value == 0
    assert frechet(same, same + 2).value == pytest.approx(12)
    found = frechet(x, same)
    assert found.value == pytest.approx(((x.mean(0, np.float64) - 1) ** 2).sum() + np.cov(x.T).trace(), rel=1e-6)
    assert found.rank == 0


@pytest.mark.parametrize(
    ("real", "generated", "reason"),
    [
        (np.zeros((5, 3)), np.zeros((5, 4)), "Real features have 3 dimensions, generated ones 4"),
        (np.zeros((1, 3)), np.zeros((5, 3)), "The real features have 1 rows, but at least 2 images are needed"),
        (np.zeros((5, 3)), np.full((5, 3), np.nan), "5 of 5 rows of the generated features are NaN"),
        (Statistics(1, np.zeros(2), np.zeros((2, 2))), np.zeros((5, 2)), "needs at least 2 images, got 1"),
    ],
)
def test_bad_input_is_one_sentence(real, generated, reason):
    with pytest.raises(DataError, match=reason):
        frechet(real, generated)


def test_nothing_here_imports_torch():
    modules = ("statistics", "frechet", "kernel", "neighbours", "uncertainty")
    program = (
        f"import sys\nfor m in {modules}: __import__('evaluators.distribution.' + m)\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
