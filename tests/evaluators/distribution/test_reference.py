"""Statistics as files: any split, order and number of workers gives the same score, and nothing counts twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from arena.errors import DataError, EnvironmentFault
from evaluators.distribution import statistics
from evaluators.distribution.cache import FeatureCache
from evaluators.distribution.measure import measure
from evaluators.distribution.recipes import metric_recipe
from evaluators.distribution.reference import build, merge, read_reference
from evaluators.distribution.workers import Shard, merged_shards

from .conftest import Measured

# Sums in another order differ in the last digits; the score follows.
ROUNDING = 1e-12
ROOT = Path(__file__).parents[3]


def saved(measured: Measured, path: Path, shard: tuple[int, int] = (1, 1)) -> Path:
    """The real folder's statistics, or a shard's, from the cache that the session has filled."""
    extractor = measured.setup.extractor(metric_recipe("fid-clean"))
    built = build(measured.real, extractor, cache=FeatureCache(measured.setup.cache_dir), shard=shard)
    statistics.save(path, built.statistics, extractor.protocol, **built.facts)
    return path


def fid(measured: Measured, reference: Path) -> float:
    return measure(reference, measured.generated, ["fid-clean"], setup=measured.setup).figure("fid-clean").value


@pytest.mark.parametrize("of", [2, 3])
def test_any_split_and_order_gives_the_same_statistics(measured: Measured, tmp_path: Path, of: int) -> None:
    whole = statistics.load(saved(measured, tmp_path / "whole.npz"))
    parts = [saved(measured, tmp_path / f"{i}.npz", (i, of)) for i in range(1, of + 1)]
    for order in permutations(parts):
        merged = merge(order)
        assert merged.statistics.n == whole.statistics.n == 14
        assert np.abs(merged.statistics.m2 - whole.statistics.m2).max() < ROUNDING * np.abs(whole.statistics.m2).max()
        assert sorted(merged.facts["pixels"]) == sorted(whole.facts["pixels"])
        assert merged.facts["shards"] == [[1, 1]]


def test_a_reference_file_scores_as_its_folder_does(measured: Measured, tmp_path: Path) -> None:
    """The features are found by their pixels in the cache, so KID works too, and FID takes the same path."""
    path = saved(measured, tmp_path / "real.npz")
    found = measure(path, measured.generated, ["fid-clean", "kid"], setup=measured.setup)
    assert found.figure("fid-clean").value == pytest.approx(measured.found.figure("fid-clean").value, rel=ROUNDING)
    assert found.figure("kid").value == measured.found.figure("kid").value
    assert found.figure("fid-clean").n_real == 14


def test_statistics_alone_do_for_frechet_and_say_so_for_the_rest(measured: Measured, tmp_path: Path) -> None:
    path = saved(measured, tmp_path / "real.npz")
    empty = FeatureCache(tmp_path / "empty")
    extractor = measured.setup.extractor(metric_recipe("fid-clean"))
    assert read_reference(path, extractor, empty).side.features is None
    statistics.export_npz(tmp_path / "mu.npz", statistics.load(path).statistics.moments)
    found = measure(tmp_path / "mu.npz", measured.generated, ["fid-clean"], setup=measured.setup)
    # From statistics alone the covariance's zero eigenvalues come back as rounding.
    assert found.figure("fid-clean").value == pytest.approx(measured.found.figure("fid-clean").value, rel=1e-6)
    assert "does not say by which protocol" in found.warnings[0] and found.figure("fid-clean").n_real is None
    with pytest.raises(DataError, match="statistics alone"):
        measure(tmp_path / "mu.npz", measured.generated, ["kid"], setup=measured.setup)


def test_statistics_of_another_protocol_are_refused(measured: Measured, tmp_path: Path) -> None:
    path = saved(measured, tmp_path / "real.npz")
    with pytest.raises(DataError, match=r"inception-clean@1 .* not of efficientnet-lite0@1"):
        measure(path, measured.generated, ["fd-efficientnet-lite0"], setup=measured.setup)


def test_a_shard_twice_or_missing_is_refused(measured: Measured, tmp_path: Path) -> None:
    first, second = (saved(measured, tmp_path / f"{i}.npz", (i, 2)) for i in (1, 2))
    with pytest.raises(DataError, match=r"Shard 1/2 is there twice"):
        merge([first, second, first])
    with pytest.raises(DataError, match=r"Shard 2/2 is missing"):
        merge([first])


def program(measured: Measured) -> tuple[list[str], dict[str, str]]:
    command = [sys.executable, "-m", "arena.cli", "stats", "make", str(measured.real)]
    data = measured.folder / "data"
    cache = data / "cache"
    if not cache.exists():
        data.mkdir(exist_ok=True)
        cache.symlink_to(measured.setup.cache_dir or "")
    return command, {"ARENA_DATA_DIR": str(data)}


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_gives_the_same_score(measured: Measured, tmp_path: Path, workers: int) -> None:
    command, environment = program(measured)
    merged = merged_shards(command, workers, environment, tmp_path)
    path = tmp_path / "merged.npz"
    statistics.save(path, merged.statistics, merged.protocol, **merged.facts)
    assert fid(measured, path) == pytest.approx(measured.found.figure("fid-clean").value, rel=ROUNDING)


def test_a_worker_that_is_killed_is_started_again(measured: Measured, tmp_path: Path) -> None:
    command, environment = program(measured)
    shard = Shard(command, 1, 2, tmp_path, environment)
    shard.start()
    assert shard.process is not None
    time.sleep(0.3)
    os.kill(shard.process.pid, signal.SIGKILL)
    shard.finish()
    assert statistics.load(shard.file).statistics.n == 7


def test_a_worker_that_fails_twice_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "arena.cli", "stats", "make", str(tmp_path / "nowhere")]
    with pytest.raises(EnvironmentFault, match=r"Worker 1/2 failed with exit status 1: No folder .*nowhere"):
        merged_shards(command, 2, {"ARENA_DATA_DIR": str(tmp_path)}, tmp_path)


def test_the_command_line_makes_merges_and_uses_statistics(measured: Measured, tmp_path: Path) -> None:
    _, environment = program(measured)

    def arena(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "arena.cli", *arguments], env={**os.environ, **environment}, capture_output=True,
            text=True, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    real, generated = str(measured.real), str(measured.generated)
    arena("stats", real, "--shard", "1/2", "-o", "1.npz")
    arena("stats", real, "--shard", "2/2", "-o", "2.npz")
    assert "14 images" in arena("stats", "merge", "2.npz", "1.npz", "-o", "real.npz")
    arena("stats", "export", "real.npz", "mu.npz")
    assert sorted(np.load(tmp_path / "mu.npz")) == ["mu", "sigma"]
    arena("stats", real, "--name", "blocks", "--workers", "2")
    rows = arena("metrics", generated, "--reference", "blocks", "--metrics", "fid-clean,kid", "--csv").splitlines()
    assert rows[0].startswith("metric,value,debiased") and len(rows) == 3
    assert float(rows[1].split(",")[1]) == pytest.approx(measured.found.figure("fid-clean").value, rel=ROUNDING)
