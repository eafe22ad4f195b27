"""Data sets of the library `datasets` in every layout it writes: Arrow, Parquet in nested folders, splits, a card."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from arena.bootstrap import Arena
from arena.errors import ArenaError, DataError, UsageError
from arena.services import dataset_files
from arena.services.manifests import EMBEDDED_ROWS, open_source
from tests.services.test_imported_images import attempts, bring, cells, picture

N = 2 * EMBEDDED_ROWS + 3
"""More images than are in memory at once, so that parts of a batch are read."""


def table(first: int = 0, n: int = N) -> pa.Table:
    """Images with their prompts, as `datasets` lays them out: a struct of bytes and path."""
    numbers = range(first, first + n)
    images = pa.array(
        [{"bytes": picture(k), "path": None} for k in numbers],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    return pa.table({"image": images, "prompt": [f"bear {k}" for k in numbers]})


def arrow(file: Path, found: pa.Table, batch: int = 1000) -> None:
    """An IPC stream, as `datasets` writes its Arrow files."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, found.schema) as writer:
        writer.write_table(found, max_chunksize=batch)


def saved(folder: Path, *parts: pa.Table, split: str | None = None) -> Path:
    """What `Dataset.save_to_disk` leaves."""
    names = [f"data-{k:05}-of-{len(parts):05}.arrow" for k in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        arrow(folder / name, part)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "b40537f3fa6c95e7", "_split": split}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text('{"features": {}}')
    return folder


def kept(arena: Arena) -> list[bytes]:
    return [arena.blobs.get(one.image.sha256) for one in attempts(arena) if one.image]


def test_what_save_to_disk_wrote(arena: Arena, tmp_path: Path) -> None:
    made = saved(tmp_path / "set", table(0, N), table(N, 2))
    arrow(made / "cache-0123456789abcdef.arrow", table(500, 1))
    assert bring(arena, made).made == N + 2, "and not what is left of an earlier step"
    assert kept(arena) == [picture(k) for k in range(N + 2)]
    assert {text for text, _ in cells(arena)} == {f"bear {k}" for k in range(N + 2)}
    assert bring(arena, made, check=True).differ == 0


def test_the_splits_of_a_saved_dict(arena: Arena, tmp_path: Path) -> None:
    made = tmp_path / "set"
    saved(made / "train", table(0, 3), split="train")
    saved(made / "test", table(3, 2), split="test")
    (made / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(UsageError, match="has the splits 'test', 'train'; choose one with --split"):
        bring(arena, made)
    with pytest.raises(UsageError, match="has no split 'validation'; it has 'test', 'train'"):
        bring(arena, made, split="validation")
    assert bring(arena, made, split="test").made == 2
    assert kept(arena) == [picture(3), picture(4)]


def test_arrow_files_of_the_cache(arena: Arena, tmp_path: Path) -> None:
    arrow(tmp_path / "set" / "imagefolder-train.arrow", table(0, 4), batch=3)
    assert bring(arena, tmp_path / "set").made == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "'data-00000-of-00001.arrow' is no whole Arrow stream; save it again with save_to_disk"),
        (b"ARROW1\0\0 and so on", "is no whole Arrow stream"),
        ("cut", "is no whole Arrow stream"),
    ],
)
def test_arrow_files_that_are_none(arena: Arena, tmp_path: Path, content: bytes | str, said: str) -> None:
    made = saved(tmp_path / "set", table(0, 5))
    file = made / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[:-400] if isinstance(content, str) else content)
    with pytest.raises(DataError, match=re.escape(said)):
        bring(arena, made)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00001.parquet", "train"),
        ("default/train/0000.parquet", "default/train"),
        ("train/part-a.parquet", "train"),
        ("en/test-00000-of-00001.parquet", "en/test"),
        ("data/en/validation/x.parquet", "en/validation"),
        ("shards/0000.parquet", "shards"),
        ("images.parquet", "images"),
    ],
)
def test_where_parquet_files_may_lie(arena: Arena, tmp_path: Path, name: str, split: str) -> None:
    file = tmp_path / "set" / name
    file.parent.mkdir(parents=True)
    parquet.write_table(table(0, 3), file)
    (tmp_path / "set" / ".cache").mkdir()
    parquet.write_table(table(9, 3), tmp_path / "set" / ".cache" / "other.parquet")
    assert [*dataset_files.splits(tmp_path / "set")] == [split]
    assert bring(arena, tmp_path / "set", split=split.rpartition("/")[2]).made == 3, "the last word will do"


CARD = """---
license: cc0-1.0
configs:
- config_name: default
  data_files:
  - split: train
    path: parts/a-*
  - split: test
    path: [parts/b-0.parquet, parts/b-1.parquet]
---
# Bears
"""
TWO = """---
configs:
- config_name: en
  data_dir: parts
  data_files: a-*.parquet
- config_name: de
  data_files: parts/b-*.parquet
---
"""


@pytest.mark.parametrize(
    ("card", "splits"),
    [(CARD, {"train": 4, "test": 4}), (TWO, {"en/train": 4, "de/train": 4}), ("---\nconfigs: [\n---\n", None),
     ("# no card", None), ("---\nconfigs:\n- data_files: gone/*.parquet\n---\n", None)],
)  # fmt: skip
def test_the_card_says_which_files_are_which_split(
    arena: Arena, tmp_path: Path, card: str, splits: dict[str, int] | None
) -> None:
    for number, name in enumerate(["a-0", "a-1", "b-0", "b-1"]):
        (tmp_path / "parts").mkdir(exist_ok=True)
        parquet.write_table(table(2 * number, 2), tmp_path / "parts" / f"{name}.parquet")
    (tmp_path / "README.md").write_text(card)
    found = dataset_files.splits(tmp_path)
    if splits is None:
        assert [*found] == ["parts/a-0", "parts/a-1", "parts/b-0", "parts/b-1"], "as if there were no card"
        return
    assert {name: 2 * len(files) for name, files in found.items()} == splits
    assert bring(arena, tmp_path, split=[*splits][1]).made == 4
    assert kept(arena) == [picture(k) for k in range(4, 8)]


@pytest.mark.parametrize("path", ["../*.parquet", "/etc/*.parquet"])
def test_a_card_names_nothing_outside_of_its_folder(arena: Arena, tmp_path: Path, path: str) -> None:
    parquet.write_table(table(0, 2), tmp_path / "secret.parquet")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "README.md").write_text(f"---\nconfigs:\n- data_files: {path}\n---\n")
    with pytest.raises(DataError, match=r"README\.md of .* names .* which is not in that folder"):
        bring(arena, tmp_path / "set")


@pytest.mark.parametrize("name", ["../data.arrow", "/etc/passwd", "gone.arrow"])
def test_a_state_names_nothing_outside_of_its_folder(arena: Arena, tmp_path: Path, name: str) -> None:
    made = saved(tmp_path / "set", table(0, 2))
    arrow(tmp_path / "data.arrow", table(0, 2))
    (made / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(ArenaError):
        bring(arena, made)
    assert not arena.store.contestants()


def test_folders_of_images_with_their_lists(arena: Arena, tmp_path: Path) -> None:
    for split, first in (("train", 0), ("test", 5)):
        folder = tmp_path / "set" / split
        folder.mkdir(parents=True)
        for k in range(first, first + 2):
            (folder / f"{k}.png").write_bytes(picture(k))
        rows = "".join(f"{k}.png,bear {k}\n" for k in range(first, first + 2))
        (folder / "metadata.csv").write_text(f"file_name,prompt\n{rows}")
    with pytest.raises(UsageError, match="has the splits 'test', 'train'; choose one with --split"):
        bring(arena, tmp_path / "set")
    assert bring(arena, tmp_path / "set", split="test").made == 2 and kept(arena) == [picture(5), picture(6)]
    assert [row.path for row in open_source(tmp_path / "set", split="train").rows(False)] == [
        "train/0.png", "train/1.png",
    ]  # fmt: skip
    for path in ("../../secret.png", "/etc/passwd"):
        (tmp_path / "set" / "test" / "metadata.csv").write_text(f"file_name,prompt\n{path},bear\n")
        with pytest.raises(DataError, match=r"Row 2 of 'metadata\.csv'"):
            bring(arena, tmp_path / "set", split="test")
