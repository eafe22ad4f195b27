"""Debiased distances against known truths, left-out images against leaving them out, errors against repeats."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate

from arena.errors import DataError, UsageError
from evaluators.distribution import uncertainty as module
from evaluators.distribution.deconvolution import below, curve, trace
from evaluators.distribution.frechet import Side, frechet, prepare, spectrum
from evaluators.distribution.statistics import Moments, of_features
from evaluators.distribution.uncertainty import (
    Reference,
    contributions,
    couple,
    debiased,
    deconvolve,
    influence,
    left_out,
    paired_difference,
    reliability,
)

DIM = 48
RNG = np.random.default_rng(0)
AXES = np.linalg.qr(RNG.standard_normal((DIM, DIM)))[0]
SPREAD = 1 / (1 + np.arange(DIM)) ** 1.1
OTHER = SPREAD * np.exp(0.4 * RNG.standard_normal(DIM))
SHIFT = 0.02 * RNG.standard_normal(DIM)
TRUTH = float((SHIFT**2).sum() + ((np.sqrt(SPREAD) - np.sqrt(OTHER)) ** 2).sum())
FIXED, SAMPLE = Reference.FIXED, Reference.SAMPLE


@pytest.fixture(scope="module")
def exact() -> Side:
    """The real distribution itself."""
    return prepare(Moments(np.zeros(DIM), (AXES * SPREAD) @ AXES.T))


def real(n: int, seed: int) -> np.ndarray:
    return (np.random.default_rng([1, n, seed]).standard_normal((n, DIM)) * np.sqrt(SPREAD)) @ AXES.T


def generated(n: int, seed: int) -> np.ndarray:
    return (np.random.default_rng([2, n, seed]).standard_normal((n, DIM)) * np.sqrt(OTHER)) @ AXES.T + SHIFT


@pytest.mark.parametrize("n", [24, 48, 60, 200])
def test_bias_goes_and_the_interval_holds(exact, n):
    """80 repeats: the mean errs by sd / 9, the sd by 8%, a coverage of 95% by 2.4 points."""
    found = [debiased(exact, generated(n, i), seed=i) for i in range(80)]
    value, se, plain = (np.array([getattr(each, name) for each in found]) for name in ("value", "se", "plain"))
    assert plain.mean() - TRUTH > 8 * value.std() * (1 if n < 100 else 0.5)  # what is to be taken off is large
    assert abs(value.mean() - TRUTH) < 0.5 * value.std()
    assert np.sqrt((se**2).mean()) == pytest.approx(value.std(), rel=0.35)
    assert np.mean([each.low <= TRUTH <= each.high for each in found]) >= 0.87
    assert all((each.unseen > 0) == (n <= DIM) for each in found)


def test_a_reference_that_is_a_sample_is_debiased_too():
    found = [debiased(real(90, i), generated(70, i), reference=SAMPLE) for i in range(60)]
    value = np.array([each.value for each in found])
    assert np.mean([each.plain for each in found]) > 2 * TRUTH
    assert abs(value.mean() - TRUTH) < 0.6 * value.std()
    assert np.sqrt(np.mean([each.se**2 for each in found])) == pytest.approx(value.std(), rel=0.35)
    fixed = debiased(real(90, 0), generated(70, 0))
    assert fixed.value > found[0].value  # its own part of the bias is left in
    assert fixed.se < found[0].se


def test_very_many_images_need_no_correction(exact):
    x = generated(40_000, 0)
    found = debiased(exact, x, splits=1)
    assert found.value == pytest.approx(TRUTH, abs=4 * found.se)
    assert found.plain - found.value == pytest.approx(0, abs=0.01 * TRUTH)


def test_the_trace_without_sampling_error_is_the_sum_of_roots():
    """w = u where both sides are exact: the closed form of the plain part, checked by quadrature of its definition."""
    values = np.array([0.3, 1.0, 7.0])
    seen = curve(values, np.inf, np.inf)
    assert trace(values, seen) == pytest.approx(np.sqrt(values).sum(), rel=1e-9)
    assert not seen.blind


def test_the_trace_with_sampling_error_is_its_integral():
    """(1/pi) ∫ G dw / sqrt(w), by an adaptive rule over log u."""
    values, real_freedom, freedom = np.array([0.3, 1.0, 2.0, 7.0]), 9.0, 6.0

    def integrand(log_u: float) -> float:
        u = np.exp(log_u)

        def w(u: float) -> float:
            g = (values / (values + u)).sum()
            return u / ((1 - g / real_freedom) * (1 - g / freedom))

        slope = (w(u * 1.0001) - w(u / 1.0001)) / np.log(1.0001**2)
        return (values / (values + u)).sum() * slope / np.sqrt(w(u)) / np.pi

    expected = integrate.quad(integrand, -40, 60, limit=500)[0]
    assert trace(values, curve(values, real_freedom, freedom)) == pytest.approx(expected, rel=1e-5)


def test_marchenko_and_pastur_is_inverted():
    """Eigenvalues of a large sample of equal true ones, at n = 2 d and n = d / 2: the true trace comes back."""
    dim = 400
    for n in (800, 200):
        x = np.random.default_rng(n).standard_normal((n, dim))
        values = np.linalg.eigvalsh(x.T @ x / n)[-min(n, dim) :]
        seen = curve(values, np.inf, n)
        plain = np.sqrt(values).sum()
        edge = below(np.ones(dim), seen.g[0]) / np.pi * seen.g[0] * np.sqrt(seen.w[0]) if seen.blind else 0.0
        assert trace(values, seen) + edge == pytest.approx(dim, rel=0.02)
        assert plain < 0.95 * dim


@pytest.mark.parametrize("n", [20, 47, 48, 49, 120])
def test_left_out_images_are_as_if_they_were_left_out(exact, n):
    """Everything computed anew without the image, but for the form of the spectrum: to 2% of how far images differ."""
    x = generated(n, 0)
    side = prepare(x)
    coupling = couple(exact, side)
    whole = deconvolve(exact, side, coupling.values, FIXED)
    found, nothing = left_out(exact, side, coupling, whole, FIXED)
    assert nothing is None
    again = []
    for i in range(12):
        rest = prepare(np.delete(x, i, 0))
        again.append(deconvolve(exact, rest, couple(exact, rest).values, FIXED, whole.form).value)
    assert np.abs(found[:12] - again).max() < 0.02 * np.std(again)


@pytest.mark.parametrize(("n", "m"), [(30, 80), (80, 30), (100, 120)])
def test_left_out_real_images_too(n, m):
    """Where the curve is cut is found anew for every set, so below d images they agree less: to 15%."""
    x, y = real(n, 0), generated(m, 0)
    a, b = prepare(x), prepare(y)
    coupling = couple(a, b)
    whole = deconvolve(a, b, coupling.values, SAMPLE)
    found = left_out(a, b, coupling, whole, SAMPLE)
    for side, known in zip((1, 0), found, strict=True):
        again = []
        for i in range(12):
            sets = [x, y]
            sets[side] = np.delete(sets[side], i, 0)
            first, second = (prepare(each) for each in sets)
            again.append(deconvolve(first, second, couple(first, second).values, SAMPLE, whole.form).value)
        tolerance = 0.02 if min(n, m) > DIM else 0.3
        assert np.abs(known[:12] - again).max() < tolerance * np.std(again)


@pytest.mark.parametrize(("n", "m"), [(200, 120), (200, 20), (20, 30), (30, 20), (20, 100), (None, 30), (None, 90)])
def test_coordinates_average_to_the_eigenvalues(exact, n, m):
    a = exact if n is None else prepare(real(n, 0))
    b = prepare(generated(m, 0))
    found = couple(a, b)
    np.testing.assert_allclose(found.values, spectrum(a, b).values, rtol=1e-6)
    for side, coordinates in ((a, found.real), (b, found.generated)):
        if side.features is None:
            assert coordinates is None
        else:
            points = coordinates(slice(None))
            np.testing.assert_allclose((points**2).sum(0) / (side.n - 1), found.values, rtol=1e-6)
            np.testing.assert_allclose(points.sum(0), 0, atol=1e-9)


def test_half_spectra_from_coordinates_are_those_of_the_features(exact):
    side = prepare(generated(30, 0))
    rows = np.arange(15)
    half = prepare(side.features[rows])
    found = module._half_values(exact, side, half, couple(exact, side), rows)
    np.testing.assert_allclose(found, spectrum(exact, half).values, rtol=1e-9)


def test_contributions_find_the_images_that_hurt(exact):
    x = np.vstack([generated(60, 0), 3 * generated(3, 1) + 1])
    added = contributions(exact, x)
    assert set(np.argsort(added)[-3:]) == {60, 61, 62}
    assert (debiased(exact, x).contributions == added).all()
    phi = influence(exact, x)
    assert phi.mean() == pytest.approx(0, abs=1e-12)
    assert np.corrcoef(phi, added)[0, 1] == pytest.approx(1)


def test_paired_difference_cancels_what_both_share(exact):
    """Two contestants that answer the same 40 prompts almost alike; the truth is that of very many."""

    def contestants(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        shared = generated(n, seed)
        rng = np.random.default_rng([3, n, seed])
        return shared + 0.05 * rng.standard_normal((n, DIM)), 1.1 * shared + 0.06 * rng.standard_normal((n, DIM))

    one, two = (frechet(exact, each).value for each in contestants(200_000, 0))
    found = [paired_difference(exact, *contestants(40, i), seed=i) for i in range(40)]
    value = np.array([each.value for each in found])
    assert abs(value.mean() - (one - two)) < 0.6 * value.std()
    error = np.sqrt(np.mean([each.se**2 for each in found]))
    assert 0.85 * value.std() < error < 1.7 * value.std()  # on the wide side below d images
    assert np.mean([each.low <= one - two <= each.high for each in found]) >= 0.87
    apart = [debiased(exact, each).se for each in contestants(40, 0)]
    assert found[0].se < 0.85 * np.hypot(*apart)
    same = paired_difference(exact, *[generated(40, 0)] * 2)
    assert (same.value, same.se) == (0, 0)


def test_paired_difference_against_a_sample_joins_both_sides():
    x, y = generated(60, 0), 1.2 * generated(60, 0)
    reference = real(80, 0)
    found = paired_difference(reference, x, y, reference=SAMPLE)
    fixed = paired_difference(reference, x, y)
    assert found.value < 0
    assert found.se > fixed.se
    assert found.n == 60


def test_deterministic_and_the_seed_only_chooses_halves(exact):
    x = generated(30, 0)
    assert debiased(exact, x) == debiased(exact, x)
    assert debiased(exact, x, seed=1).value == pytest.approx(debiased(exact, x).value, abs=debiased(exact, x).se)
    assert debiased(exact, x, seed=1).value != debiased(exact, x).value
    assert debiased(exact, x, splits=0) == debiased(exact, x, splits=0, seed=5)


def test_axes_and_units_do_not_matter(exact):
    x = generated(30, 0)
    plain = debiased(exact, x)
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((DIM, DIM)))[0]
    turned = debiased(Moments(np.zeros(DIM), turn.T @ exact.covariance @ turn), x @ turn)
    scaled = debiased(Moments(np.zeros(DIM), 9 * exact.covariance), 3 * x)
    for found, factor in ((turned, 1), (scaled, 9)):
        assert found.value == pytest.approx(factor * plain.value, rel=1e-5)
        assert found.se == pytest.approx(factor * plain.se, rel=1e-4)


def test_a_set_against_its_own_distribution_is_0_within_its_error(exact):
    found = [debiased(exact, real(40, i)) for i in range(40)]
    value = np.array([each.value for each in found])
    assert abs(value.mean()) < 0.6 * value.std()
    assert (value < 0).any()  # an unbiased estimate of 0 must be
    assert np.mean([each.low <= 0 <= each.high for each in found]) >= 0.85


def test_few_images_give_a_number_or_a_sentence(exact):
    assert np.isfinite(debiased(exact, generated(3, 0)).se)
    assert np.isfinite(debiased(exact, generated(4, 0)).value)
    with pytest.raises(DataError, match="An error needs at least 3 images, got 2"):
        debiased(exact, generated(2, 0))


def test_images_that_are_all_the_same_or_partly_doubled_are_finite(exact):
    same = debiased(exact, np.ones((10, DIM)))
    assert same.value == pytest.approx(frechet(exact, np.ones((10, DIM))).value)
    assert same.se == pytest.approx(0, abs=1e-9)
    single, double = (debiased(exact, generated(30, 0)[rows]) for rows in (slice(None), [*range(30), 0]))
    assert double.value == pytest.approx(single.value, abs=2 * single.se)  # and not a spectrum that ends
    assert double.unseen > 0


def test_what_is_missing_is_said(exact):
    statistics = of_features(generated(60, 0))
    with pytest.raises(DataError, match="generated features are needed, not only their statistics"):
        debiased(exact, statistics)
    with pytest.raises(UsageError, match="The reference's features are needed"):
        debiased(of_features(real(60, 0)), generated(60, 0), reference=SAMPLE)
    with pytest.raises(DataError, match="one row each for a prompt, got 20 and 21"):
        paired_difference(exact, generated(20, 0), generated(21, 0))


@pytest.mark.parametrize(
    ("n", "words"), [(60, "Unreliable at N = 60"), (3000, "mostly bias at N = 3000"), (9000, None)]
)
def test_reliability_names_the_number_and_what_to_use(n, words):
    found = reliability(n, 2048)
    if words is None:
        assert found is None
    else:
        assert words in found
        assert "2048" in found
        assert "KID (kid) or CMMD (cmmd-u)" in found
