"""Folders and arrays through a real network: order, bad files, cache, shards, interruption, bounded memory.

The network is tiny (one multiplication an image), so that what is tested is the way to it; one test runs Inception.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arena.errors import ImageError, UsageError
from evaluators.distribution.cache import FILE_NAME, FeatureCache
from evaluators.distribution.extract import Report, extract, pixels_sha256, stream
from evaluators.distribution.features import Extractor, open_extractor
from evaluators.images import MAX_PIXELS

from ..conftest import blocks, write_pngs

ROOT = Path(__file__).parents[3]


# In this process and in others: a network of 16 features of an image's 16 x 16 means, in the place of DINOv2.
TINY = """
import torch
from evaluators.distribution import networks

class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        values = torch.randn(16, 3 * 14 * 14, generator=torch.Generator().manual_seed(1))
        self.weight = torch.nn.Parameter(values)

    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x, 16).flatten(1) @ self.weight.T

TINY_NETWORKS = {**networks.NETWORKS, "dinov2-vitl14": lambda weights: Tiny()}
"""


@pytest.fixture(scope="module")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fingerprint and the width are read from; the network itself is `TINY`."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "config.json").write_text(json.dumps({"hidden_size": 16}))
    (folder / "model.safetensors").write_bytes(b"see the test")
    return folder


@pytest.fixture(scope="module")
def tiny(tiny_weights: Path) -> Iterator[Extractor]:
    from evaluators.distribution import networks

    names: dict = {}
    exec(TINY, names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "NETWORKS", names["TINY_NETWORKS"])
        yield open_extractor("dinov2-vitl14@1", weights_path=tiny_weights, batch_size=4, threads=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """13 images of three sizes, two of them deeper, one grey; a damaged file, an empty one and a text between them."""
    write_pngs(tmp_path / "set", [*blocks(1, 5), *blocks(2, 5, (64, 40))])
    write_pngs(tmp_path / "set" / "deep" / "er", blocks(3, 2, (24, 24)))
    Image.new("L", (8, 8), 3).save(tmp_path / "set" / "grey.png")
    (tmp_path / "set" / "0003b.png").write_text("no image")
    (tmp_path / "set" / "0004b.jpg").write_bytes(b"")
    (tmp_path / "set" / "labels.csv").write_text("a,b")
    return tmp_path / "set"


def test_features_stand_in_path_order_with_all_that_happened(tiny, folder):
    found = extract(folder, tiny)
    assert found.names == (*(f"{n:04}.png" for n in range(10)), "deep/er/0000.png", "deep/er/0001.png", "grey.png")
    assert found.features.shape == (13, 16)
    assert found.features.dtype == np.float32
    assert found.sizes[5] == (40, 64)
    assert set(found.formats) == {"PNG"}
    assert [name for name, _ in found.dropped] == ["0003b.png", "0004b.jpg"]
    assert "not an image" in found.dropped[0][1]
    assert found.converted == (("grey.png", "grey repeated to RGB"),)
    assert found.ignored == ("labels.csv",)
    assert found.notices == ()
    assert found.cached == 0
    assert found.protocol == tiny.protocol
    assert found.pixels[0] == pixels_sha256(blocks(1, 1)[0])


def test_a_folder_and_its_arrays_have_the_same_features(tiny, folder):
    arrays = [*blocks(1, 5), *blocks(2, 5, (64, 40))]
    from_arrays = extract(arrays, tiny)
    np.testing.assert_array_equal(from_arrays.features, extract(folder, tiny).features[:10])
    np.testing.assert_array_equal(from_arrays.features, tiny(arrays))
    assert from_arrays.names == tuple(map(str, range(10)))
    from_iterator = extract(iter(arrays), tiny)
    np.testing.assert_array_equal(from_iterator.features, from_arrays.features)


def test_named_files_are_read_when_they_are_needed_and_bad_ones_are_dropped(tiny, folder):
    """As the arena's own images come: from a store that may have lost one."""
    whole = extract(folder, tiny)
    contents: dict[str, bytes] = {}

    def read(name: str) -> bytes:
        if name == "0001.png":
            raise ImageError("0001.png is missing: restore it.")
        return contents[name]

    for name in whole.names:
        contents[name] = (folder / name).read_bytes()
    found = extract({name: partial(read, name) for name in contents}, tiny)
    assert found.dropped == (("0001.png", "0001.png is missing: restore it."),)
    kept = [row for row, name in enumerate(whole.names) if name != "0001.png"]
    assert found.names == tuple(whole.names[row] for row in kept)
    assert np.array_equal(found.features, whole.features[kept])
    assert found.formats == tuple(whole.formats[row] for row in kept)


def test_the_second_time_everything_comes_from_the_cache(tiny, folder, tmp_path):
    with FeatureCache(tmp_path / "cache") as cache:
        first = extract(folder, tiny, cache=cache)
        second = extract(folder, tiny, cache=cache)
        np.testing.assert_array_equal(first.features, second.features)
        assert (first.cached, second.cached) == (0, 13)
        assert replace(first, features=second.features, cached=13) == second
        assert extract([*blocks(1, 5)], tiny, cache=cache).cached == 5  # the same pixels, no file


def test_new_images_cost_only_themselves(tiny, folder, tmp_path):
    with FeatureCache(tmp_path / "cache") as cache:
        before = extract(folder, tiny, cache=cache)
        write_pngs(folder / "new", blocks(9, 3))
        Image.fromarray(blocks(1, 1)[0]).save(folder / "renamed and saved anew.png", compress_level=9)
        after = extract(folder, tiny, cache=cache)
        assert len(after) == 17
        assert after.cached == 14
        kept = [after.names.index(name) for name in before.names]
        np.testing.assert_array_equal(after.features[kept], before.features)
        np.testing.assert_array_equal(after.features, extract(folder, tiny).features)


def test_a_changed_file_under_the_same_name_is_computed_anew(tiny, folder, tmp_path):
    with FeatureCache(tmp_path / "cache") as cache:
        extract(folder, tiny, cache=cache)
        state = (folder / "0000.png").stat()
        Image.fromarray(blocks(50, 1)[0]).save(folder / "0000.png")
        os.utime(folder / "0000.png", ns=(state.st_atime_ns, state.st_mtime_ns))
        after = extract(folder, tiny, cache=cache)
        assert after.cached == 12
        np.testing.assert_array_equal(after.features[0], tiny(blocks(50, 1))[0])


def test_damaged_entries_are_computed_anew_and_said(tiny, folder, tmp_path):
    import sqlite3

    with FeatureCache(tmp_path / "cache") as cache:
        first = extract(folder, tiny, cache=cache)
    connection = sqlite3.connect(tmp_path / "cache" / FILE_NAME)
    connection.execute("UPDATE features SET vector = randomblob(64) WHERE rowid % 3 = 0")
    connection.commit()
    connection.close()
    with FeatureCache(tmp_path / "cache") as cache:
        second = extract(folder, tiny, cache=cache)
    np.testing.assert_array_equal(first.features, second.features)
    assert second.cached == 9
    assert len(second.notices) == 1
    assert "4 damaged entries" in second.notices[0]


def test_a_cache_that_cannot_be_written_costs_a_notice_not_the_features(tiny, folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    found = extract(folder, tiny, cache=FeatureCache(tmp_path / "file"))
    assert len(found) == 13
    assert len(found.notices) == 1
    assert "is off" in found.notices[0]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_shards_are_the_whole_in_parts(tiny, folder, n):
    """To the bit, whatever the thread count and batches of each."""
    whole = extract(folder, tiny)
    parts = [extract(folder, replace(tiny, threads=1 + i % 2), shard=(i + 1, n), minimum=0) for i in range(n)]
    assert sorted(name for part in parts for name in part.names) == sorted(whole.names)
    by_name = {name: row for part in parts for name, row in zip(part.names, part.features, strict=True)}
    np.testing.assert_array_equal(np.stack([by_name[name] for name in whole.names]), whole.features)
    assert sum(len(part.dropped) for part in parts) == 2


def test_limit_takes_the_first_good_images(tiny, folder):
    found = extract(folder, tiny, limit=5)
    assert found.names == ("0000.png", "0001.png", "0002.png", "0003.png", "0004.png")
    assert [name for name, _ in found.dropped] == ["0003b.png"]
    endless = (image for _ in iter(int, 1) for image in blocks(1, 2))
    assert len(extract(endless, tiny, limit=6)) == 6


def test_progress_counts_every_file_and_what_it_raises_stops_the_work(tiny, folder, tmp_path):
    calls = []
    extract(folder, tiny, progress=lambda *call: calls.append(call), stage="real features")
    assert calls == [("real features", n, 15) for n in range(1, 16)]

    def stop(stage: str, done: int, total: int) -> None:
        if done == 9:
            raise KeyboardInterrupt

    with FeatureCache(tmp_path / "cache") as cache:
        with pytest.raises(KeyboardInterrupt):
            extract(folder, tiny, cache=cache, progress=stop)
        assert extract(folder, tiny, cache=cache).cached >= 8


def test_stream_hands_on_parts_in_order(tiny, folder):
    report = Report()
    parts = list(stream(folder, tiny, report=report))
    whole = extract(folder, tiny)
    assert [len(part.names) for part in parts] == [4, 4, 4, 1]
    assert tuple(name for part in parts for name in part.names) == whole.names
    np.testing.assert_array_equal(np.concatenate([part.features for part in parts]), whole.features)
    assert (report.done, len(report.dropped), report.ignored) == (13, 2, ("labels.csv",))


def test_a_gpus_way_is_the_same_set(tiny, folder):
    """Decoding in threads, the network in the main one. Walked here on the CPU under another of its names."""
    found = extract(folder, replace(tiny, asked_device="cpu:0"))
    whole = extract(folder, tiny)
    assert found.names == whole.names
    np.testing.assert_allclose(found.features, whole.features, atol=1e-5)


def test_a_stream_left_halfway_leaves_no_threads(tiny, folder):
    parts = stream(folder, tiny)
    next(parts)
    parts.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("features")]


def test_one_slow_batch_does_not_stop_the_others(tiny, monkeypatch):
    """The line waits for the first in it only while every thread has work."""
    run, prepare = Extractor.run, Extractor.prepare
    batches, images, nearly_all_read = itertools.count(1), itertools.count(1), threading.Event()
    waited: list[bool] = []

    def slow_once(self, batch):
        if next(batches) == 2:
            waited.append(nearly_all_read.wait(30))
        return run(self, batch)

    def counted(self, pixels):
        if next(images) == 90:
            nearly_all_read.set()
        return prepare(self, pixels)

    monkeypatch.setattr(Extractor, "run", slow_once)
    monkeypatch.setattr(Extractor, "prepare", counted)
    extract(blocks(1, 100), tiny)
    assert waited == [True]


def test_cached_images_do_not_pile_up_behind_one_that_is_not(tiny, tmp_path, monkeypatch):
    """A batch that never fills runs as it is once many wait behind it."""
    from evaluators.distribution import extract as module

    monkeypatch.setattr(module, "MOST_WAITING", 6)
    images = blocks(60, 30)
    with FeatureCache(tmp_path / "cache") as cache:
        extract(images, tiny, cache=cache)
        mixed = [blocks(61, 1)[0], *images]
        parts = stream(iter(mixed), tiny, cache=cache)
        first = next(parts)
        assert first.names[0] == "0"
        assert sum(len(part.names) for part in parts) + len(first.names) == 31


def test_links_out_of_the_folder_are_read_and_said(tiny, tmp_path):
    elsewhere = write_pngs(tmp_path / "elsewhere", blocks(4, 3))
    inside = write_pngs(tmp_path / "set", blocks(5, 2))
    (inside / "link.png").symlink_to(elsewhere / "0002.png")
    (inside / "within.png").symlink_to(inside / "0000.png")
    (inside / "folder").symlink_to(elsewhere)
    (inside / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    found = extract(inside, tiny)
    assert found.names == (
        "0000.png", "0001.png", "folder/0000.png", "folder/0001.png", "folder/0002.png", "link.png", "within.png"
    )  # fmt: skip
    assert [name for name, _ in found.dropped] == ["dangling.png"]
    assert len(found.notices) == 1
    assert "5 images" in found.notices[0]
    assert "links to files outside of it" in found.notices[0]


def test_a_large_image_and_a_bomb(tiny, tmp_path):
    """30 megapixels are scored; what is above Pillow's limit is dropped before it is decoded."""
    write_pngs(tmp_path, blocks(6, 2))
    Image.new("1", (6_000, 5_000), 1).save(tmp_path / "large.png")
    Image.new("1", (10_000, 10_000), 1).save(tmp_path / "larger.png")
    found = extract(tmp_path, tiny)
    assert found.names == ("0000.png", "0001.png", "large.png")
    assert found.dropped[0][0] == "larger.png"
    assert f"limit of {MAX_PIXELS}" in found.dropped[0][1] or "too many pixels" in found.dropped[0][1]


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"limit": 1}, "limit must be at least 2 images, got 1"),
        ({"shard": (0, 4)}, "shard is i/n with 1 <= i <= n, got 0/4"),
        ({"shard": (5, 4)}, "got 5/4"),
        ({"shard": (1, 2), "limit": 4}, "do not go together"),
    ],
)
def test_bad_choices_are_one_sentence(tiny, folder, choices, reason):
    with pytest.raises(UsageError, match=reason):
        extract(folder, tiny, **choices)


def test_sets_that_cannot_be_scored_are_one_sentence(tiny, tmp_path):
    write_pngs(tmp_path / "one", blocks(7, 1))
    (tmp_path / "one" / "bad.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for images, reason in {
        tmp_path / "one": r"only one usable image \(1 dropped.*0 bytes",
        tmp_path / "empty": "it is empty",
        tmp_path / "missing": "check the path",
        tmp_path / "one" / "0000.png": "is a file, not a folder",
    }.items():
        with pytest.raises(ImageError, match=reason):
            extract(images, tiny)
    with pytest.raises(ImageError, match="The set has only one usable image"):
        extract(blocks(7, 1), tiny)
    with pytest.raises(ImageError, match="give uint8 RGB arrays"):
        extract([np.zeros((4, 4))] * 3, tiny)


RUN = (
    f"TINY = {TINY!r}\n"
    + """
import json, resource, sys
from evaluators.distribution.cache import FeatureCache
from evaluators.distribution.extract import stream
from evaluators.distribution.features import open_extractor
weights, cache, *folders = sys.argv[1:]
extractor = open_extractor("dinov2-vitl14@1", weights_path=weights, batch_size=4, threads=2)
run = type(extractor).run
def tiny_run(self, prepared):
    if "Tiny" not in globals():
        exec(TINY, globals())
        networks.NETWORKS = TINY_NETWORKS
    return run(self, prepared)
type(extractor).run = tiny_run
peaks = []
for folder in folders:
    count = total = 0
    for part in stream(folder, extractor, cache=FeatureCache(cache or None)):
        count, total = count + len(part.names), total + float(abs(part.features).sum())
        print(count, flush=True)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(json.dumps({"count": count, "total": total, "torch": "torch" in sys.modules, "peaks": peaks}))
"""
)


def run(*arguments: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **options)


def last_line(process: subprocess.Popen[str]) -> dict:
    printed = process.communicate()[0]
    assert process.returncode == 0
    return json.loads(printed.splitlines()[-1])


def test_a_cached_run_never_imports_torch(tiny_weights, tiny, folder, tmp_path):
    with FeatureCache(tmp_path / "cache") as cache:
        whole = extract(folder, tiny, cache=cache)
    again = last_line(run(tiny_weights, tmp_path / "cache", folder))
    assert again["count"] == 13
    assert again["torch"] is False
    assert again["total"] == pytest.approx(float(np.abs(whole.features).sum()), rel=1e-5)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_goes_on_where_it_was(how, tiny_weights, tiny, tmp_path):
    folder = write_pngs(tmp_path / "set", blocks(8, 160, (16, 16)))
    with run(tiny_weights, tmp_path / "cache", folder, stderr=subprocess.DEVNULL) as process:
        for line in process.stdout or ():
            if int(line) >= 24:
                break
        process.send_signal(how)
        assert process.wait(timeout=30) != 0
    with FeatureCache(tmp_path / "cache") as cache:
        found = extract(folder, tiny, cache=cache)
        assert 24 <= found.cached < 160
        assert found.notices == ()
    np.testing.assert_array_equal(found.features, extract(folder, tiny).features)


def test_two_processes_share_one_cache(tiny_weights, tiny, tmp_path):
    folder = write_pngs(tmp_path / "set", blocks(9, 60, (16, 16)))
    both = [run(tiny_weights, tmp_path / "cache", folder) for _ in range(2)]
    answers = [last_line(process) for process in both]
    assert answers[0]["total"] == answers[1]["total"]
    with FeatureCache(tmp_path / "cache") as cache:
        assert extract(folder, tiny, cache=cache).cached == 60


def test_memory_does_not_grow_with_the_number_of_images(tiny_weights, tmp_path):
    """Links to the same small files: 100 and 1,000 of them. What grows is their names alone."""
    files = list(write_pngs(tmp_path / "files", blocks(10, 10, (16, 16))).iterdir())
    folders = {count: tmp_path / str(count) for count in (100, 1000)}
    for count, many in folders.items():
        many.mkdir()
        for n in range(count):
            os.link(files[n % 10], many / f"{n}.png")
    few, many = last_line(run(tiny_weights, "", *folders.values()))["peaks"]
    assert many < few + 30_000  # KiB; 900 images prepared for this network would be 540,000


def test_inception_from_a_folder_is_inception_of_its_pixels(folder):
    """The default recipe whole: the mixed folder, and the same images by hand."""
    from evaluators.images import decode

    extractor = open_extractor("inception-clean@1", batch_size=4, threads=2)
    found = extract(folder, extractor, limit=6)
    expected = extractor([decode(folder / name) for name in found.names])
    np.testing.assert_array_equal(found.features, expected)
