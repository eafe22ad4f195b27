"""The cache holds what was stored, says what was damaged, and never costs a score."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from evaluators.distribution.cache import FILE_NAME, FeatureCache, FileFacts

ROOT = Path(__file__).parents[3]
RECIPE, DECODER = "ab" * 32, "cd" * 32
FACTS = FileFacts("12" * 32, (640, 480), "PNG", ("grey repeated to RGB",))


def key(number: int) -> str:
    return f"{number:064x}"


def vectors(count: int, dim: int = 5) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, dim)).astype(np.float32)


def filled(folder: Path, count: int = 3) -> np.ndarray:
    cache = FeatureCache(folder)
    stored = vectors(count)
    cache.store_features(RECIPE, [key(n) for n in range(count)], stored)
    cache.store_file(key(7), DECODER, FACTS)
    assert cache.notices == ()
    cache.close()
    return stored


def test_comes_back_as_it_was_stored(tmp_path):
    stored = filled(tmp_path)
    cache = FeatureCache(tmp_path)
    for number in range(3):
        found = cache.features(key(number), RECIPE, 5)
        assert found is not None
        np.testing.assert_array_equal(found, stored[number])
        assert found.dtype == np.float32
    assert cache.file(key(7), DECODER) == FACTS
    assert cache.notices == ()


def test_another_recipe_decoder_or_width_is_not_known(tmp_path):
    filled(tmp_path)
    cache = FeatureCache(tmp_path)
    assert cache.features(key(0), "00" * 32, 5) is None
    assert cache.features(key(99), RECIPE, 5) is None
    assert cache.features(key(0), RECIPE, 6) is None
    assert cache.file(key(7), "00" * 32) is None
    assert cache.notices == ()


def test_no_folder_no_cache():
    cache = FeatureCache(None)
    cache.store_features(RECIPE, [key(0)], vectors(1))
    assert cache.features(key(0), RECIPE, 5) is None
    assert cache.notices == ()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE features SET vector = zeroblob(20) WHERE pixels = (SELECT min(pixels) FROM features)",
        "UPDATE features SET checksum = checksum + 1 WHERE pixels = (SELECT min(pixels) FROM features)",
        "UPDATE features SET vector = 'text' WHERE pixels = (SELECT min(pixels) FROM features)",
        "UPDATE features SET vector = (SELECT vector FROM features ORDER BY pixels DESC LIMIT 1) "
        "WHERE pixels = (SELECT min(pixels) FROM features)",
    ],
)
def test_a_damaged_row_is_missing_and_said(tmp_path, damage):
    stored = filled(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(damage)
    connection.close()
    cache = FeatureCache(tmp_path)
    assert cache.features(key(0), RECIPE, 5) is None
    np.testing.assert_array_equal(cache.features(key(1), RECIPE, 5), stored[1])
    assert len(cache.notices) == 1
    assert "1 damaged entries" in cache.notices[0]
    cache.store_features(RECIPE, [key(0)], stored[:1])
    np.testing.assert_array_equal(cache.features(key(0), RECIPE, 5), stored[0])


def test_damaged_facts_of_a_file_are_missing_and_said(tmp_path):
    filled(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE files SET facts = '[1, 1, \"PNG\", []]'")
    connection.close()
    cache = FeatureCache(tmp_path)
    assert cache.file(key(7), DECODER) is None
    assert "1 damaged entries" in cache.notices[0]


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be one" * 50, b"SQLite format 3\x00" + b"\xff" * 4096]
)
def test_a_file_that_is_no_database_is_started_anew(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    cache = FeatureCache(tmp_path)
    assert "was damaged" in cache.notices[0]
    cache.store_features(RECIPE, [key(0)], vectors(1))
    np.testing.assert_array_equal(cache.features(key(0), RECIPE, 5), vectors(1)[0])


def test_pages_overwritten_in_the_middle_never_give_wrong_features(tmp_path):
    """SQLite itself finds some of it; the checksums find the rest."""
    stored = filled(tmp_path, 400)
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for start in rng.integers(4096, len(content) - 64, 40):
        content[start : start + 64] = rng.bytes(64)
    path.write_bytes(content)
    cache = FeatureCache(tmp_path)
    found = [cache.features(key(n), RECIPE, 5) for n in range(400)]
    assert any(each is None for each in found)
    assert all(each is None or np.array_equal(each, stored[n]) for n, each in enumerate(found))
    assert cache.notices


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_turns_it_off_with_one_notice(small_disk):
    cache = FeatureCache(small_disk)
    many = vectors(64, 2048)
    for start in range(0, 64, 8):
        cache.store_features(RECIPE, [key(n) for n in range(start, start + 8)], many[start : start + 8])
    assert len(cache.notices) == 1
    assert "is off" in cache.notices[0]
    assert "full" in cache.notices[0]
    assert cache.features(key(0), RECIPE, 2048) is None


def test_a_read_only_disk_turns_it_off(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    cache = FeatureCache(small_disk / "deeper")
    cache.store_features(RECIPE, [key(0)], vectors(1))
    assert len(cache.notices) == 1
    assert "is off" in cache.notices[0]


def test_a_file_in_the_way_of_the_folder_turns_it_off(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "is off" in FeatureCache(tmp_path / "file").notices[0]


STORE = """
import os, signal, sys
import numpy as np
from evaluators.distribution.cache import FeatureCache
first, count, killed = map(int, sys.argv[2:5])
cache = FeatureCache(sys.argv[1])
for n in range(first, first + count):
    cache.store_features("ab" * 32, [f"{n:064x}"], np.full((1, 5), n, np.float32))
if killed:
    os.kill(os.getpid(), signal.SIGKILL)
print(*cache.notices)
"""


def start(folder: Path, first: int, count: int, killed: bool = False) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", STORE, str(folder), str(first), str(count), str(int(killed))]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_what_a_killed_process_stored_stays(tmp_path):
    with start(tmp_path, 0, 20, killed=True) as process:
        assert process.wait() == -9
    cache = FeatureCache(tmp_path)
    assert [float(cache.features(key(n), RECIPE, 5)[0]) for n in range(20)] == list(range(20))
    assert cache.notices == ()


def test_processes_write_at_once(tmp_path):
    """One of them is killed in the middle; the others lose nothing and see no locked database."""
    running = [start(tmp_path, 0, 150), start(tmp_path, 100, 150), start(tmp_path, 1000, 50, killed=True)]
    said = [process.communicate()[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0, -9]
    assert said == ["", "", ""]
    cache = FeatureCache(tmp_path)
    assert all(float(cache.features(key(n), RECIPE, 5)[4]) == n for n in [*range(250), *range(1000, 1050)])
