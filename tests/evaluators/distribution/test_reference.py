"""Statistics as files: any split, order and number of workers gives the same score, and nothing counts twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from arena.errors import DataError, EnvironmentFault
from evaluators.distribution import statistics
from evaluators.distribution.audit import ImageFacts, look
from evaluators.distribution.cache import FeatureCache
from evaluators.distribution.measure import Setup, measure
from evaluators.distribution.recipes import metric_recipe
from evaluators.distribution.reference import build, merge, read_reference
from evaluators.distribution.workers import merged_shards

from .conftest import Measured

# Sums in another order differ in the last digits; the score follows.
ROUNDING = 1e-12
ROOT = Path(__file__).parents[3]


def saved(measured: Measured, path: Path, shard: tuple[int, int] = (1, 1)) -> Path:
    """The real folder's statistics, or a shard's, from the cache that the session has filled."""
    return save_folder(measured, path, measured.real, shard)


def save_folder(measured: Measured, path: Path, folder: Path, shard: tuple[int, int] = (1, 1)) -> Path:
    extractor = measured.setup.extractor(metric_recipe("fid-clean"))
    built = build(folder, extractor, cache=FeatureCache(measured.setup.cache_dir), shard=shard)
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
    """The features are found by their pixels in the cache, so KID works too; FID takes the statistics alone."""
    path = saved(measured, tmp_path / "real.npz")
    found = measure(path, measured.generated, ["fid-clean", "kid"], setup=measured.setup)
    assert found.figure("fid-clean").value == pytest.approx(measured.found.figure("fid-clean").value, rel=ROUNDING)
    assert found.figure("kid").value == measured.found.figure("kid").value
    assert found.figure("fid-clean").n_real == 14


@pytest.mark.parametrize("metrics", [["fid-clean"], ["fid-clean", "kid"]])
def test_a_reference_file_gives_one_answer_whether_its_features_are_cached_or_not(
    measured: Measured, tmp_path: Path, metrics: list[str]
) -> None:
    """All features in the cache, or those of the generated images alone: equal to the bit, also the debiased value."""
    path = saved(measured, tmp_path / "real.npz")
    few = Setup(tmp_path / "cache")
    generated = measured.found.sets["inception-clean@1"].generated
    extractor = few.extractor(metric_recipe("fid-clean"))
    FeatureCache(few.cache_dir).store_features(extractor.cache_key, generated.pixels, generated.features)
    with_features = measure(path, measured.generated, metrics, setup=measured.setup).figure("fid-clean")
    without = measure(path, measured.generated, ["fid-clean"], setup=few).figure("fid-clean")
    assert with_features.as_json() == without.as_json()
    assert with_features.details["reference"] == "fixed"


def test_images_are_a_sample_and_a_file_is_not_and_their_scores_stand_apart(measured: Measured, tmp_path: Path) -> None:
    """The file's debiased value keeps what few real images add, and says so; the fingerprint keeps the two apart."""
    folder = measured.found.figure("fid-clean")
    stored = measure(saved(measured, tmp_path / "real.npz"), measured.generated, setup=measured.setup).figures[0]
    assert (folder.details["reference"], stored.details["reference"]) == ("sample", "fixed")
    assert folder.protocol.settings["distance"]["reference"] == "sample"
    assert folder.protocol.fingerprint != stored.protocol.fingerprint
    assert folder.debiased is not None and stored.debiased is not None and folder.debiased < stored.debiased
    assert any("a file of statistics of 14 images" in warning for warning in stored.warnings)
    assert not any("a file of statistics" in warning for warning in folder.warnings)


def test_statistics_alone_do_for_frechet_and_say_so_for_the_rest(measured: Measured, tmp_path: Path) -> None:
    path = saved(measured, tmp_path / "real.npz")
    empty = FeatureCache(tmp_path / "empty")
    extractor = measured.setup.extractor(metric_recipe("fid-clean"))
    known = read_reference(path, extractor, empty)
    assert known.side.features is None and known.features is None
    statistics.export_npz(tmp_path / "mu.npz", statistics.load(path).statistics.moments)
    found = measure(tmp_path / "mu.npz", measured.generated, ["fid-clean"], setup=measured.setup)
    # From statistics alone the covariance's zero eigenvalues come back as rounding.
    assert found.figure("fid-clean").value == pytest.approx(measured.found.figure("fid-clean").value, rel=ROUNDING)
    assert "does not say by which protocol" in found.warnings[0] and found.figure("fid-clean").n_real is None
    with pytest.raises(DataError, match="statistics alone"):
        measure(tmp_path / "mu.npz", measured.generated, ["kid"], setup=measured.setup)


def test_statistics_of_another_protocol_are_refused(measured: Measured, tmp_path: Path) -> None:
    path = saved(measured, tmp_path / "real.npz")
    with pytest.raises(DataError, match=r"inception-clean@1 .* not of efficientnet-lite0@1"):
        measure(path, measured.generated, ["fd-efficientnet-lite0"], setup=measured.setup)


def test_a_reference_keeps_what_an_audit_needs_of_its_files(measured: Measured, tmp_path: Path) -> None:
    parts = [saved(measured, tmp_path / f"{i}.npz", (i, 2)) for i in (1, 2)]
    facts = merge(parts).facts
    kept = [ImageFacts(*row) for row in facts["files"]]
    assert len(kept) == len(facts["pixels"]) == 14
    assert sorted((one.format, one.width, one.height) for one in kept) == sorted(
        (one.format, one.width, one.height) for one in map(look, measured.real.glob("*.png"))
    )


def test_a_shard_twice_is_refused(measured: Measured, tmp_path: Path) -> None:
    first, second = (saved(measured, tmp_path / f"{i}.npz", (i, 2)) for i in (1, 2))
    with pytest.raises(DataError, match=r"Shard 1/2 is there twice"):
        merge([first, second, first])


def test_shards_are_merged_in_steps_and_used_once_all_are_there(measured: Measured, tmp_path: Path) -> None:
    whole = statistics.load(saved(measured, tmp_path / "whole.npz"))
    parts = [saved(measured, tmp_path / f"{i}.npz", (i, 4)) for i in range(1, 5)]

    def step(name: str, *files: Path) -> Path:
        merged = merge(files)
        statistics.save(tmp_path / name, merged.statistics, merged.protocol, **merged.facts)
        return tmp_path / name

    first = step("first.npz", parts[2], parts[0])
    with pytest.raises(DataError, match=r"first.npz holds shards 1/4, 3/4 of .*real.*merge it with shards 2/4, 4/4"):
        fid(measured, first)
    with pytest.raises(DataError, match=r"Shard 3/4 is there twice"):
        merge([first, parts[2]])
    done = statistics.load(step("all.npz", step("three.npz", first, parts[3]), parts[1]))
    assert done.statistics.n == 14 and done.facts["shards"] == [[1, 1]]
    assert np.abs(done.statistics.m2 - whole.statistics.m2).max() < ROUNDING * np.abs(whole.statistics.m2).max()
    assert fid(measured, tmp_path / "all.npz") == pytest.approx(fid(measured, tmp_path / "whole.npz"), rel=ROUNDING)


def test_an_image_in_two_sets_is_refused(measured: Measured, tmp_path: Path) -> None:
    """The same file twice, a set and a part of it, and a set and a merge that holds it."""
    whole = saved(measured, tmp_path / "whole.npz")
    half = saved(measured, tmp_path / "half.npz", (1, 2))
    other = save_folder(measured, tmp_path / "other.npz", measured.generated)
    with pytest.raises(DataError, match=r"whole.npz and in .*whole.npz \(14 in both\), and would count twice"):
        merge([whole, whole])
    with pytest.raises(DataError, match=r"half.npz is a shard of .*merge shard 2/2 of the same folder"):
        merge([half, whole])
    both = merge([other, whole])
    assert both.statistics.n == 28 and both.facts["shards"] == [[1, 1]]
    statistics.save(tmp_path / "both.npz", both.statistics, both.protocol, **both.facts)
    with pytest.raises(DataError, match=r"\(14 in both\)"):
        merge([tmp_path / "both.npz", other])


def test_sets_that_do_not_say_their_pixels_are_refused_twice_all_the_same(measured: Measured, tmp_path: Path) -> None:
    whole = statistics.load(saved(measured, tmp_path / "whole.npz"))
    statistics.save(tmp_path / "bare.npz", whole.statistics, whole.protocol)
    with pytest.raises(DataError, match=r"bare.npz \(1 in both\)"):
        merge([tmp_path / "bare.npz", tmp_path / "bare.npz"])


def test_shards_of_two_folders_are_no_set(measured: Measured, tmp_path: Path) -> None:
    """Also where one copy has the other's name; a copy of the same files elsewhere is the same folder."""
    first = saved(measured, tmp_path / "1.npz", (1, 2))
    second = save_folder(measured, tmp_path / "2.npz", measured.generated, (2, 2))
    with pytest.raises(DataError, match=r"is a shard of .*, and .* is of another folder or another split"):
        merge([first, second])
    third = saved(measured, tmp_path / "3.npz", (2, 3))
    with pytest.raises(DataError, match=r"another folder or another split"):
        merge([first, third])
    copy = tmp_path / "elsewhere"
    shutil.copytree(measured.real, copy)
    assert merge([first, save_folder(measured, tmp_path / "4.npz", copy, (2, 2))]).statistics.n == 14
    with pytest.raises(DataError, match=r"Shard|another folder"):
        merge([first, second, save_folder(measured, tmp_path / "5.npz", measured.generated, (1, 2))])


def test_a_damaged_file_is_called_damaged(measured: Measured, tmp_path: Path) -> None:
    """And not a file of another tool, which has no header: that one is told what it lacks."""
    path = saved(measured, tmp_path / "real.npz")
    arrays = dict(np.load(path))
    arrays["mean"] = arrays["mean"] + 1
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=r"real.npz is damaged \(its checksum does not fit\)"):
        fid(measured, path)
    np.savez(path, mean=arrays["mean"])
    with pytest.raises(DataError, match=r"\['mean'\] in it, not mu and sigma"):
        fid(measured, path)


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
    assert fid(measured, path) == pytest.approx(fid(measured, saved(measured, tmp_path / "whole.npz")), rel=ROUNDING)


# `arena` in a process that SIGKILL ends once, after three features of shard 1 are stored. Each stored feature is
# a line of the log: the process that stored it.
DYING = """
import os, signal, sys, threading
from pathlib import Path
from evaluators.distribution import cache

log, shard, one_by_one = Path(sys.argv.pop(1)), sys.argv[sys.argv.index("--shard") + 1], threading.Lock()
store = cache.FeatureCache.store_features

def store_and_die(self, key, pixels, features):
    with one_by_one:
        store(self, key, pixels, features)
        with log.open("a") as lines:
            lines.writelines(f"{shard} {os.getpid()}\\n" for _ in pixels)
        done = [line for line in log.read_text().splitlines() if line.startswith("1/")]
        if len(done) == 3 and shard.startswith("1/"):
            os.kill(os.getpid(), signal.SIGKILL)

cache.FeatureCache.store_features = store_and_die
from arena.cli import main
main()
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_killed_in_the_midst_of_its_work_changes_no_score(
    measured: Measured, tmp_path: Path, workers: int
) -> None:
    """What it had computed is not computed again, and nothing counts twice."""
    log = tmp_path / "stored"
    log.touch()
    command = [sys.executable, "-c", DYING, str(log), "stats", "make", str(measured.real), "--batch-size", "1"]
    merged = merged_shards(command, workers, {"ARENA_DATA_DIR": str(tmp_path / "data")}, tmp_path)
    first = [line.split()[1] for line in log.read_text().splitlines() if line.startswith("1/")]
    assert first[0] == first[2] != first[3], "killed after three images, and another process took over"
    assert len(first) == 14 // workers, "each image of the shard is computed once"
    path = tmp_path / "merged.npz"
    statistics.save(path, merged.statistics, merged.protocol, **merged.facts)
    assert merged.statistics.n == 14
    assert fid(measured, path) == pytest.approx(measured.found.figure("fid-clean").value, rel=ROUNDING)


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
