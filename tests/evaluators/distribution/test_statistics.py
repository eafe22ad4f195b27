"""Statistics: any split and order, files that know their protocol, and the .npz of other tools."""

from __future__ import annotations

import os
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.domain import Protocol
from arena.errors import DataError, EnvironmentFault
from evaluators.distribution.statistics import (
    Accumulator,
    Moments,
    Statistics,
    export_npz,
    import_npz,
    load,
    merge,
    of_features,
    save,
)

CLEAN = Protocol("fid-clean", "1", {"resize": "bicubic", "weights_sha256": "a" * 64})


def features(n: int = 50, dim: int = 4, seed: int = 0, mean: float = 3.0) -> np.ndarray:
    return (mean + np.random.default_rng(seed).standard_normal((n, dim))).astype(np.float32)


def assert_same(found: Statistics, expected: Statistics, tolerance: float = 1e-12) -> None:
    """Relative to the scatter and to the means' spread, which is what a distance sees."""
    assert found.n == expected.n
    scale = np.abs(expected.m2).max()
    np.testing.assert_allclose(found.m2, expected.m2, rtol=0, atol=tolerance * scale)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=tolerance)


def test_statistics_are_numpys():
    x = features()
    found = of_features(x).moments
    np.testing.assert_allclose(found.covariance, np.cov(x.T.astype(np.float64)), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.mean, x.mean(0, dtype=np.float64), rtol=1e-14)
    assert (found.covariance == found.covariance.T).all()
    assert found.n == 50


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 60),
    dim=st.integers(1, 5),
    mean=st.floats(-100, 100),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    seed=st.integers(0, 99),
)
def test_any_split_and_order_gives_the_same(n, dim, mean, cuts, seed):
    x = features(n, dim, seed, mean)
    whole = of_features(x)
    rng = np.random.default_rng(seed)
    shuffled = x[rng.permutation(n)]
    edges = [0, *sorted(min(cut, n) for cut in cuts), n]
    parts = [shuffled[low:high] for low, high in pairwise(edges)]
    known = [of_features(part) for part in parts if len(part)]
    assert_same(merge([known[i] for i in rng.permutation(len(known))]), whole)
    accumulator = Accumulator()
    for part in parts:
        accumulator.add(part)
    assert_same(accumulator.statistics(), whole)


def test_merging_merged_parts_gives_the_same():
    x = features(40)
    inner = merge([of_features(x[:3]), of_features(x[3:20])])
    assert_same(merge([of_features(x[20:]), inner]), of_features(x))


def test_a_mean_far_from_zero_costs_no_digits():
    """In float64 throughout: sums of squares would leave 1e12 * 1e-16 of a variance of 1."""
    x = features(500, 3).astype(np.float64) + 1e6
    centred = of_features(x - 1e6)
    assert_same(of_features(x), Statistics(500, centred.mean + 1e6, centred.m2), tolerance=1e-9)
    split = merge([of_features(part) for part in np.array_split(x, 50)])
    np.testing.assert_allclose(split.m2, centred.m2, rtol=0, atol=1e-9 * np.abs(centred.m2).max())


def test_statistics_may_be_asked_for_between_batches():
    x = features()
    accumulator = Accumulator()
    accumulator.add(x[:10])
    first = accumulator.statistics()
    accumulator.add(x[10:])
    assert_same(first, of_features(x[:10]))
    assert_same(accumulator.statistics(), of_features(x))


def test_memory_does_not_grow_with_the_number():
    def peak(batches: int) -> int:
        accumulator = Accumulator()
        batch = features(64, 32)
        tracemalloc.start()
        for _ in range(batches):
            accumulator.add(batch)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(200) < 1.5 * peak(5)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (np.array([[1.0, np.nan], [0, 0], [np.inf, 1]]), "2 of 3 rows of the features are NaN or infinite, .* row 0"),
        (np.zeros(4), r"shape \(4,\): give a matrix"),
        (np.zeros((3, 0)), r"shape \(3, 0\)"),
        (np.zeros((3, 2), complex), "complex128, not real numbers"),
        (np.zeros((0, 2)), "at least 1 image, got 0"),
    ],
)
def test_bad_features_are_one_sentence(bad, reason):
    with pytest.raises(DataError, match=reason):
        of_features(bad)


def test_what_does_not_fit_together_is_one_sentence():
    with pytest.raises(DataError, match="of 3 and of 4 dimensions cannot be merged"):
        merge([of_features(features(dim=4)), of_features(features(dim=3))])
    with pytest.raises(DataError, match="no statistics to merge"):
        merge([])
    accumulator = Accumulator()
    accumulator.add(features(dim=4))
    with pytest.raises(DataError, match="have 3 dimensions, those before had 4"):
        accumulator.add(features(dim=3))
    with pytest.raises(DataError, match="needs at least 2 images, got 1"):
        _ = of_features(features(1)).moments


def test_a_file_gives_back_every_bit(tmp_path):
    statistics = of_features(features())
    save(tmp_path / "new" / "ref.npz", statistics, CLEAN, source="coco", images=50)
    found = load(tmp_path / "new" / "ref.npz", CLEAN)
    assert (found.statistics.m2 == statistics.m2).all()
    assert (found.statistics.mean == statistics.mean).all()
    assert (found.statistics.n, found.protocol, found.facts) == (50, CLEAN, {"source": "coco", "images": 50})
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["ref.npz"]


def test_a_file_of_another_protocol_is_refused_with_both_fingerprints(tmp_path):
    save(tmp_path / "ref.npz", of_features(features()), CLEAN)
    other = Protocol("fid-clean", "1", {"resize": "bilinear", "weights_sha256": "a" * 64})
    with pytest.raises(DataError) as caught:
        load(tmp_path / "ref.npz", other)
    assert CLEAN.fingerprint[:12] in str(caught.value)
    assert other.fingerprint[:12] in str(caught.value)
    assert "they differ in resize:" in str(caught.value)
    with pytest.raises(DataError, match="not of kid@1"):
        load(tmp_path / "ref.npz", Protocol("kid", "1", {}))


def test_every_damage_is_found(tmp_path):
    """A bit turned anywhere, or a part missing, never gives other statistics."""
    path = tmp_path / "ref.npz"
    statistics = of_features(features(dim=2))
    save(path, statistics, CLEAN)
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        path.write_bytes(content[:position] + bytes([content[position] ^ 16]) + content[position + 1 :])
        try:
            found = load(path)
        except DataError as error:
            assert str(path) in str(error)
        else:  # a bit of the container that nothing is read from
            assert (found.statistics.m2 == statistics.m2).all()
            assert (found.statistics.n, found.protocol) == (50, CLEAN)
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match="damaged"):
            load(path)


def test_what_is_no_statistics_file_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="No statistics file"):
        load(tmp_path / "missing.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(DataError, match="damaged"):
        load(tmp_path / "array.npy")
    export_npz(tmp_path / "other.npz", of_features(features()).moments)
    with pytest.raises(DataError, match="mu and sigma without a protocol; use import_npz"):
        load(tmp_path / "other.npz")
    np.savez(tmp_path / "strange.npz", x=np.zeros(3))
    with pytest.raises(DataError, match="no header in it"):
        load(tmp_path / "strange.npz")


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "ref.npz"
    save(path, of_features(features()), CLEAN)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentFault, match="No space left on device"):
        save(path, of_features(features(seed=1)), CLEAN)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["ref.npz"]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        save(tmp_path / "file" / "ref.npz", of_features(features()), CLEAN)


def test_npz_of_other_tools_go_out_and_come_in(tmp_path):
    moments = of_features(features()).moments
    export_npz(tmp_path / "out.npz", moments)
    with np.load(tmp_path / "out.npz") as file:  # as pytorch-fid and clean-fid read it
        mu, sigma = file["mu"][:], file["sigma"][:]
    np.savez_compressed(tmp_path / "in.npz", mu=mu, sigma=sigma)  # as they write it
    found = import_npz(tmp_path / "in.npz")
    assert (found.mean == moments.mean).all()
    assert (found.covariance == moments.covariance).all()
    assert found.n is None


def test_float32_files_are_made_symmetric(tmp_path):
    sigma = np.cov(features(dim=3).T).astype(np.float32)
    sigma[0, 1] *= 1 + 1e-7
    np.savez(tmp_path / "in.npz", mu=np.zeros(3, np.float32), sigma=sigma)
    found = import_npz(tmp_path / "in.npz").covariance
    assert (found == found.T).all()
    assert found.dtype == np.float64


@pytest.mark.parametrize(
    ("mu", "sigma", "reason"),
    [
        (np.zeros(2), np.array([[1.0, 0.5], [0.2, 1.0]]), "sigma is not symmetric"),
        (np.zeros(2), np.array([[1.0, np.nan], [np.nan, 1.0]]), "NaN or infinite"),
        (np.array([np.inf, 0]), np.eye(2), "NaN or infinite"),
        (np.zeros(3), np.eye(2), r"mu has shape \(3,\), sigma \(2, 2\)"),
        (np.zeros(2), np.diag([1.0, -1.0]), "negative variance"),
        (np.array(["a", "b"]), np.eye(2), "not real numbers"),
    ],
)
def test_bad_npz_are_one_sentence(tmp_path, mu, sigma, reason):
    np.savez(tmp_path / "in.npz", mu=mu, sigma=sigma)
    with pytest.raises(DataError, match=reason) as caught:
        import_npz(tmp_path / "in.npz")
    assert "in.npz" in str(caught.value)


def test_npz_without_mu_or_with_pickles_are_refused(tmp_path):
    np.savez(tmp_path / "in.npz", mean=np.zeros(2))
    with pytest.raises(DataError, match=r"has \['mean'\] in it, not mu and sigma"):
        import_npz(tmp_path / "in.npz")
    np.savez(tmp_path / "objects.npz", mu=np.array([{}]), sigma=np.eye(1))
    with pytest.raises(DataError, match="damaged"):
        import_npz(tmp_path / "objects.npz")


def test_moments_that_do_not_fit_cannot_be_built():
    with pytest.raises(DataError, match=r"shape \(2,\) does not fit covariance of shape \(3, 3\)"):
        Moments(np.zeros(2), np.eye(3))
