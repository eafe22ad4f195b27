"""Precision, recall, density and coverage against their definitions, their expectations, and halves split by hand."""

from __future__ import annotations

import numpy as np
import pytest

from arena.errors import DataError, UsageError
from evaluators.distribution import neighbours as module
from evaluators.distribution.neighbours import Prdc, prdc

FIGURES = ("precision", "recall", "density", "coverage")


def normal(n: int, dim: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal((n, dim)) + shift


def values(found: Prdc) -> np.ndarray:
    return np.array([getattr(found, name).value for name in FIGURES])


def plain(x: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    """The definitions of clovaai/prdc on whole matrices; the k-th neighbour is the k + 1-th smallest, itself first."""

    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))

    real, generated = (np.sort(distances(each, each), axis=1)[:, k] for each in (x, y))
    across = distances(x, y)
    inside = across < real[:, None]
    return np.array(
        [
            inside.any(0).mean(),
            (across < generated).any(1).mean(),
            inside.sum(0).mean() / k,
            (across.min(1) < real).mean(),
        ]
    )


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 7)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("n", "m"), [(40, 30), (30, 41), (7, 60)])
def test_blocks_give_the_definition(small_blocks, k, n, m):
    x, y = normal(n, 3, 0), normal(m, 3, 1, 0.8, 0.4)
    np.testing.assert_array_equal(values(prdc(x, y, k)), plain(x, y, k))


def test_errors_are_those_of_halves_done_by_hand(small_blocks):
    x, y = normal(31, 2, 0), normal(31, 2, 1, 0.8, 0.4)
    rng = np.random.default_rng(3)
    apart = []
    for _ in range(32):
        order = rng.permutation(31)
        one, two = (plain(x[half], y[half], 4) for half in (order[:16], order[16:]))
        apart.append((one - two) ** 2)
    found = prdc(x, y, 4, seed=3)
    np.testing.assert_allclose([getattr(found, name).se for name in FIGURES], np.sqrt(np.mean(apart, 0) / 4), rtol=1e-9)


def test_few_images_have_figures_and_no_errors():
    found = prdc(normal(11, 2, 0), normal(40, 2, 1))
    assert found.precision.value > 0 and found.precision.se is found.density.high is None
    assert prdc(normal(12, 2, 0), normal(40, 2, 1)).precision.se is not None


def test_intervals_keep_to_the_range_of_the_figure():
    found = prdc(normal(40, 2, 0), normal(40, 2, 1))
    for name in FIGURES:
        figure = getattr(found, name)
        assert figure.low == pytest.approx(max(figure.value - 1.96 * figure.se, 0), rel=1e-3)
        top = figure.value + 1.96 * figure.se
        assert figure.high == pytest.approx(top if name == "density" else min(top, 1), rel=1e-3)


@pytest.mark.parametrize(("n", "m", "k"), [(150, 150, 5), (120, 60, 3), (60, 120, 5)])
def test_equal_distributions_have_their_expectations(n, m, k):
    """E density = 1, E coverage = 1 - prod (n - i) / (n + m - i); errors are those that repeats show, to 25%."""
    found = [prdc(normal(n, 8, 2 * i), normal(m, 8, 2 * i + 1), k) for i in range(100)]
    table = np.array([values(each) for each in found])
    sd = table.std(0)
    assert abs(table[:, 2].mean() - 1) < 3 * sd[2] / 10
    covered = 1 - np.prod([(n - i) / (n + m - i) for i in range(1, k + 1)])
    assert abs(table[:, 3].mean() - covered) < 3 * sd[3] / 10 + 2e-3  # the formula is for large n
    errors = np.sqrt(np.mean([[getattr(each, name).se ** 2 for name in FIGURES] for each in found], 0))
    assert (errors > 0.75 * sd).all()
    assert (errors < 1.25 * sd).all()


def test_swapping_the_sides_swaps_precision_and_recall():
    x, y = normal(50, 4, 0), normal(60, 4, 1, 0.7)
    forth, back = prdc(x, y), prdc(y, x)
    assert forth.precision == back.recall
    assert forth.recall == back.precision


def test_rotation_shift_and_scale_change_nothing():
    x, y = normal(50, 4, 0), normal(60, 4, 1, 0.7)
    turn = np.linalg.qr(normal(4, 4, 2))[0]
    assert prdc(5 * x @ turn + 100, 5 * y @ turn + 100) == prdc(x, y)


def test_a_set_covers_itself_and_ties_do_not_depend_on_rounding():
    """A real image's k-th neighbour lies on its ball, not in it: whichever product the distance came from."""
    x = normal(40, 6, 0).astype(np.float32)
    found = prdc(x, x.copy()[::-1], 3)
    assert values(found)[[0, 1, 3]].tolist() == [1, 1, 1]
    assert found.density.value == 1  # itself and the two nearer neighbours
    assert prdc(x + 1000, x[::-1] + 1000, 3).density.value == pytest.approx(1, abs=0.05)  # float32 has rounded these


def test_images_that_are_all_the_same_have_empty_balls():
    x, same = normal(20, 3, 0), np.ones((20, 3))
    found = prdc(same, same)
    assert values(found).tolist() == [0, 0, 0, 0]
    assert prdc(x, same).recall.value == 0


@pytest.mark.parametrize(
    ("x", "y", "k", "error", "reason"),
    [
        (normal(6, 3, 0), normal(9, 3, 1), 5, DataError, "real features have 6 rows, but at least 7"),
        (normal(12, 3, 0), normal(12, 4, 1), 5, DataError, "3 and 4 dimensions"),
        (normal(12, 3, 0), normal(12, 3, 1) * np.nan, 5, DataError, "generated features are NaN"),
        (normal(9, 3, 0), normal(9, 3, 1), 0, UsageError, "k must be at least 1, got 0"),
    ],
)
def test_bad_input_is_one_sentence(x, y, k, error, reason):
    with pytest.raises(error, match=reason):
        prdc(x, y, k)
