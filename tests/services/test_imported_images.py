"""Images that people have become a contestant's: byte for byte, once, and what cannot be used is said with its row."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from arena.backends.base import create_backend
from arena.bootstrap import Arena
from arena.domain import FOLDER_BACKEND, Contestant, Generation, ImportedVote, Outcome, Prompt, Side
from arena.errors import ArenaError, DataError, UsageError
from arena.services import battles, display, exchange, generation
from arena.services.image_files import MAX_PIXELS, look
from arena.services.imported_images import Report, import_images
from arena.services.imported_rows import Request
from arena.services.prompt_sets import import_prompts
from db import imported as stored
from tests.conftest import fill_with_swatches

HEADER = "path,prompt,seed\n"


def picture(n: int, kind: str = "PNG", size: tuple[int, int] = (12, 8)) -> bytes:
    pixels = np.random.default_rng(n).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def pictures(folder: Path, names: list[str]) -> Path:
    for n, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(n))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures of two prompts, listed in a manifest."""
    made = pictures(tmp_path / "pics", [f"{n}.png" for n in range(4)])
    (made / "manifest.csv").write_text(HEADER + "".join(f"{n}.png,bear {n // 2},{n}\n" for n in range(4)))
    return made


def bring(arena: Arena, folder: Path, name: str | None = "Mine", **options: object) -> Report:
    return import_images(arena, Request(folder, name, **options))  # type: ignore[arg-type]


def attempts(arena: Arena, name: str = "Mine") -> list[Generation]:
    return arena.store.generations(arena.store.contestant(name).id or 0)


def cells(arena: Arena, name: str = "Mine") -> list[tuple[str, int]]:
    return [(arena.store.prompt(one.prompt_id).text, one.seed) for one in attempts(arena, name)]


def test_images_are_kept_byte_for_byte_with_all_that_is_said_of_them(any_arena: Arena, tmp_path: Path) -> None:
    made = tmp_path / "pics"
    made.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture(1))).save(buffer, "JPEG", exif=turned)
    files = {"a.png": picture(0), "b.jpg": buffer.getvalue(), "c.webp": picture(2, "WEBP")}
    for name, content in files.items():
        (made / name).write_bytes(content)
    (made / "manifest.csv").write_text(
        "file_name,text,seed,seconds,cost_usd,category,license\n"
        "a.png,a bear,7,1.5,0.02,animals,CC0-1.0\nb.jpg,a bear,-8,,,,MIT\nc.webp,a  bo\u0061\u030at ,9,0,0,,\n"
    )
    report = bring(any_arena, made, card={"organisation": "Ours"})
    assert (report.made, report.failed, report.contestants) == (3, 0, ("Mine",))
    contestant = any_arena.store.contestant("Mine")
    assert contestant.backend == FOLDER_BACKEND
    assert contestant.card == {"licence": "CC0-1.0, MIT", "organisation": "Ours"}
    first, second, third = attempts(any_arena)
    assert [any_arena.blobs.get(one.image.sha256) for one in (first, second, third) if one.image] == [*files.values()]
    assert [(one.image.width, one.image.height, one.image.media_type) for one in (first, second, third) if one.image] \
        == [(12, 8, "image/png"), (8, 12, "image/jpeg"), (12, 8, "image/webp")]  # fmt: skip
    assert (first.seed, first.seconds, first.cost_usd, first.cost_source) == (7, 1.5, 0.02, "manifest")
    assert (second.seed, second.seconds, second.cost_usd, second.cost_source) == (-8, None, None, None)
    assert (third.seconds, third.cost_usd) == (0.0, 0.0)
    texts = {one.text: one.category for one in any_arena.store.prompts()}
    assert texts == {"a bear": "animals", "a bo\u00e5t": "general"}, "normalised"
    assert stored.source(any_arena.store, second.id or 0) == stored.Source("b.jpg", "MIT")


def test_a_second_import_does_nothing_and_never_replaces(arena: Arena, folder: Path) -> None:
    bring(arena, folder)
    before = attempts(arena)
    (folder / "2.png").write_bytes(picture(99))
    again = bring(arena, folder)
    assert (again.made, again.there, again.differ, again.contestants) == (0, 4, 0, ())
    checked = bring(arena, folder, check=True)
    assert (checked.there, checked.differ, checked.differing) == (4, 1, ["2.png"])
    assert attempts(arena) == before


def test_prompts_are_found_by_their_words_as_they_stand_or_normalised(arena: Arena, folder: Path) -> None:
    arena.store.add_prompts([Prompt("bear  0", "animals"), Prompt("bear 1", "animals")])
    text = (folder / "manifest.csv").read_text().replace("bear 0", "bear  0")
    (folder / "manifest.csv").write_text(text)
    bring(arena, folder)
    assert cells(arena) == [("bear  0", 0), ("bear  0", 1), ("bear 1", 2), ("bear 1", 3)]
    assert len(arena.store.prompts()) == 2


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "tsv", "jsonl", "parquet"])
def test_manifests_of_every_format(arena: Arena, folder: Path, kind: str) -> None:
    rows = [{"image": f"{n}.png", "caption": f"bear {n}", "seed": n, "model": f"M{n % 2}"} for n in range(4)]
    lines = [",".join(map(str, row.values())) for row in rows]
    text = "\n".join([",".join(rows[0]), *lines]) + "\n"
    file = folder / f"list.{kind}"
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), file)
    elif kind == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        text = text.replace(",", "\t") if kind == "tsv" else text
        file.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    assert bring(arena, folder, None, manifest=file).contestants == ("M0", "M1")
    assert cells(arena, "M1") == [("bear 1", 1), ("bear 3", 3)]


def test_names_of_files_and_ids_of_a_set(arena: Arena, tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("prompt\na bear\na boat\n")
    import_prompts(arena, tmp_path / "set.csv")
    made = pictures(tmp_path / "pics", ["00000/samples/0000.png", "00001/samples/0003.png", "grid.png"])
    report = bring(arena, made, pattern="{prompt_id}/samples/{seed}.png", prompt_set="set")
    assert (report.made, report.unmatched) == (2, ("grid.png",))
    assert cells(arena) == [("a bear", 0), ("a boat", 3)], "a set without ids counts from 0"
    with pytest.raises(DataError, match=r"The file 'grid.png' has the prompt_id 'grid', which the prompt set 'set'"):
        bring(arena, made, "Other", pattern="{prompt_id}.png", prompt_set="set")
    named = pictures(tmp_path / "named", ["a red bear/5.png", "a red bear/6.webp"])
    bring(arena, named, "Named", pattern="{prompt}/{seed}.*")
    assert cells(arena, "Named") == [("a red bear", 5), ("a red bear", 6)]


def test_a_sets_own_ids(arena: Arena, tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("id,prompt\nx1,a bear\n0007,a boat\n")
    import_prompts(arena, tmp_path / "set.csv")
    made = pictures(tmp_path / "pics", ["x1.png", "7.png"])
    bring(arena, made, pattern="{prompt_id}.png", prompt_set="set")
    assert {*cells(arena)} == {("a bear", 0), ("a boat", 0)}


def test_what_is_exported_comes_back(seeded: Arena, tmp_path: Path) -> None:
    generation.write_images(seeded, "Swatch A", tmp_path / "out")
    bring(seeded, tmp_path / "out", pattern="prompt-{prompt_id}-seed-{seed}.png")
    mine, theirs = attempts(seeded), attempts(seeded, "Swatch A")
    assert {(a.prompt_id, a.seed, a.image) for a in mine} == {(a.prompt_id, a.seed, a.image) for a in theirs}


def test_an_exported_file_is_called_by_its_format(arena: Arena, tmp_path: Path) -> None:
    made = pictures(tmp_path / "pics", ["a bear.jpg"])
    (made / "a bear.jpg").write_bytes(picture(0, "JPEG"))
    bring(arena, made, pattern="{prompt}.jpg")
    generation.write_images(arena, "Mine", tmp_path / "out")
    [file] = (tmp_path / "out").iterdir()
    assert (file.name, file.read_bytes()) == ("prompt-00001-seed-0.jpeg", picture(0, "JPEG"))


def test_without_seeds_a_prompts_images_are_counted(arena: Arena, folder: Path) -> None:
    (folder / "manifest.csv").write_text("path,prompt\n0.png,a\n1.png,b\n2.png,a\n3.png,a \n")
    bring(arena, folder)
    assert cells(arena) == [("a", 0), ("b", 0), ("a", 1), ("a", 2)]
    assert bring(arena, folder).there == 4


def dataset(folder: Path, rows: int = 5, **columns: list[object]) -> Path:
    """Two shards of a data set as Hugging Face writes it; the third image has no bytes, but a file."""
    (folder / "data").mkdir(parents=True)
    images = [{"bytes": picture(n), "path": f"{n}.png"} for n in range(rows)]
    images[2] = {"bytes": None, "path": "beside.png"}
    (folder / "beside.png").write_bytes(picture(2))
    table = pa.table({"image": images, "prompt": [f"bear {n}" for n in range(rows)], "seed": [*range(rows)], **columns})
    parquet.write_table(table.slice(0, 3), folder / "data" / "train-00000-of-00002.parquet")
    parquet.write_table(table.slice(3), folder / "data" / "train-00001-of-00002.parquet")
    return folder


def test_a_hugging_face_data_set(arena: Arena, tmp_path: Path) -> None:
    made = dataset(tmp_path / "set")
    assert bring(arena, made).made == 5
    assert [arena.blobs.get(one.image.sha256) for one in attempts(arena) if one.image] == [picture(n) for n in range(5)]
    assert bring(arena, made, check=True).differ == 0


ARROW_PEAK = """
import sys
from pathlib import Path
import pyarrow as pa
from arena.services import tables
from arena.services.manifests import open_source
tables.ROWS = 500
rows = sum(1 for _ in open_source(Path(sys.argv[1])).rows(True))
print(rows, pa.default_memory_pool().max_memory())
"""


def arrow_peak(folder: Path) -> tuple[int, int]:
    """How many rows a folder's source has, and the most bytes that pyarrow held while they were read.

    In a process of its own: the pool knows its peak since the process began, and other pools miss what is read ahead.
    """
    words = [sys.executable, "-c", ARROW_PEAK, str(folder)]
    said = subprocess.run(words, cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True).stdout
    rows, peak = map(int, said.split())
    return rows, peak


def test_a_huge_row_group_of_images_is_read_a_page_at_a_time(tmp_path: Path) -> None:
    """Of a row group of 26 MB in pages of 0.8 MB, EMBEDDED_ROWS images (3.2 MB) and some pages are in memory."""
    table = pa.table({
        "image": [{"bytes": os.urandom(200_000), "path": f"{n}.png"} for n in range(128)],
        "prompt": [f"bear {n}" for n in range(128)],
    })  # fmt: skip
    file = tmp_path / "train.parquet"
    parquet.write_table(table, file, row_group_size=128, write_batch_size=4, compression="none")
    assert parquet.ParquetFile(file).num_row_groups == 1
    rows, peak = arrow_peak(tmp_path)
    assert rows == 128 and 1 << 20 < peak < 12 << 20


def test_a_huge_row_group_of_text_is_read_a_page_at_a_time(tmp_path: Path) -> None:
    table = pa.table({
        "path": [f"{n}.png" for n in range(20_000)], "prompt": [os.urandom(500).hex() for _ in range(20_000)],
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "manifest.parquet", row_group_size=20_000, compression="none")
    rows, peak = arrow_peak(tmp_path)
    assert rows == 20_000 and 1 << 20 < peak < 10 << 20, "of 20 MB"


def test_a_data_set_of_many_splits_and_pictures_says_so(arena: Arena, tmp_path: Path) -> None:
    made = dataset(tmp_path / "set", other=[picture(n) for n in range(5)], score=[*range(5)])
    with pytest.raises(UsageError, match="has images in 'image', 'other'; choose one with --image-column"):
        bring(arena, made)
    with pytest.raises(DataError, match=r"'train-00000-of-00002.parquet' has the unknown column 'score'; known are"):
        bring(arena, made, image_column="other")
    assert bring(arena, made, image_column="other", ignore=("score",)).made == 5
    (made / "data" / "test-00000-of-00001.parquet").write_bytes(b"")
    with pytest.raises(UsageError, match="has the splits 'test', 'train'; choose one with --split"):
        bring(arena, made)
    with pytest.raises(DataError, match=r"'test-00000-of-00001.parquet' is no whole Parquet file"):
        bring(arena, made, split="test")


def test_an_imagefolder(arena: Arena, folder: Path) -> None:
    (folder / "manifest.csv").rename(folder / "metadata.csv")
    (folder / "metadata.csv").write_text((folder / "metadata.csv").read_text().replace("path", "file_name"))
    assert bring(arena, folder).made == 4


def bomb() -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (10_001, MAX_PIXELS // 10_001 + 1)).save(buffer, "PNG")
    return buffer.getvalue()


def test_images_that_cannot_be_used_are_cells_with_a_reason(arena: Arena, folder: Path) -> None:
    whole = picture(5, size=(64, 64))
    bad = {
        "cut.png": whole[: len(whole) // 2], "flipped.png": whole[:200] + b"xxxx" + whole[204:], "empty.png": b"",
        "a.svg": b'<?xml version="1.0"?><svg/>', "page.png": b"<html></html>", "bomb.png": bomb(),
        "script.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }  # fmt: skip
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    outside = folder.parent / "outside.png"
    outside.write_bytes(picture(1))
    (folder / "link.png").symlink_to(outside)
    (folder / "door").symlink_to(folder.parent)
    (folder / "inside.png").symlink_to(folder / "0.png")
    os.mkfifo(folder / "pipe.png")
    names = [*bad, "gone.png", "link.png", "door/outside.png", "pipe.png", "inside.png"]
    with (folder / "manifest.csv").open("a") as file:
        file.writelines(f"{name},bear,{n}\n" for n, name in enumerate(names))
    report = bring(arena, folder)
    assert (report.made, report.failed) == (5, 11)
    reasons = "\n".join(report.failures)
    for said in (
        "cut.png is damaged (", "flipped.png is damaged (", "empty.png is empty (0 bytes)", "a.svg is an SVG",
        "page.png is not an image", "bomb.png has more than 89,478,485 pixels", "script.png is not an image",
        "gone.png cannot be read (No such file", "link.png leads out", "door/outside.png leads out",
        "pipe.png is no file",
    ):  # fmt: skip
        assert said in reasons
    assert {one.failure for one in attempts(arena) if one.failure} == {*report.failures}
    (folder / "gone.png").write_bytes(picture(7))
    again = bring(arena, folder)
    assert (again.made, again.there, again.failed) == (1, 5, 10), "a failed cell is tried again"


def test_if_nothing_can_be_used_nothing_is_left_behind(arena: Arena, folder: Path) -> None:
    for n in range(4):
        (folder / f"{n}.png").write_text("no")
    with pytest.raises(DataError, match=r"None of the first 4 images of 'manifest.csv' can be used, so nothing was"):
        bring(arena, folder)
    assert arena.store.contestants() == [] and arena.store.prompts() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'manifest.csv' is empty; a manifest has the columns path."),
        ("path,prompt\n", "'manifest.csv' lists no images."),
        ("path,promt\n0.png,a\n", "has the unknown column 'promt'; known are 'caption', 'category', 'cost_usd'"),
        ("prompt,seed\na,1\n", "'manifest.csv' has no column 'path'; it has 'prompt', 'seed'."),
        (HEADER + "0.png,a,1\n../x.png,a,2\n", "Row 3 of 'manifest.csv' (the header is row 1) has the path '../x.png'"),
        (HEADER + "a/../../x.png,a,2\n", "which is not inside the folder"),
        (HEADER + "/etc/passwd,a,2\n", "has the path '/etc/passwd', which is not inside the folder"),
        (HEADER + "C:\\x.png,a,2\n", "which is not inside the folder"),
        (HEADER + "0.png,a,1\n1.png,b,1\n2.png, a,1\n", "Row 4 of 'manifest.csv' (the header is row 1) has the prompt "
         "and seed of row 2; one image has them"),
        ("path,prompt_id,prompt\n0.png,1,a\n1.png,1,b\n", "has the prompt_id of row 2, and another prompt"),
        ("path,prompt_id\n0.png,77\n", "has the prompt_id 77, which the arena does not know; import the prompts"),
        ("path,prompt_id\n0.png,x\n", "has the prompt_id 'x', which the arena does not know"),
        ("path,prompt_id\n0.png,\n", "has neither prompt nor prompt_id."),
        (HEADER + "0.png,,1\n", "has neither prompt nor prompt_id."),
        (HEADER + "0.png,a,one\n", "has the seed 'one', not a number."),
        (HEADER + "0.png,a,9223372036854775808\n", "not a number."),
        (HEADER + "0.png,a,1\n1.png,a,\n", "has no seed, unlike those before; give all rows one, or none."),
        ("path,prompt,seconds\n0.png,a,-1\n", "has the seconds '-1', not a number from 0 upwards."),
        ("path,prompt,cost_usd\n0.png,a,nan\n", "has the cost_usd 'nan', not a number from 0 upwards."),
        ("path,prompt,category\n0.png,a," + "c" * 65, "longer than 64 characters."),
        ("path,prompt,model\n0.png,a,M\n", "names the model 'M', and 'Mine' was given"),
        ("path,prompt\n" + '0.png,"a\n', "opens a quotation mark that is never closed"),
        (HEADER + "0.png,a\n", "Row 2 of 'manifest.csv' (the header is row 1) has 2 values, not 3"),
    ],
)  # fmt: skip
def test_bad_manifests_are_said_with_their_row_and_leave_nothing(
    arena: Arena, folder: Path, text: str, said: str
) -> None:
    (folder / "manifest.csv").write_text(text)
    with pytest.raises(ArenaError) as raised:
        bring(arena, folder)
    assert said in str(raised.value)
    assert arena.store.contestants() == [] and arena.store.prompts() == []


def test_a_manifest_in_another_encoding(arena: Arena, folder: Path) -> None:
    (folder / "manifest.csv").write_bytes(HEADER.encode() + "0.png,b\xe4r,1\n".encode("latin-1"))
    with pytest.raises(DataError, match="is not UTF-8; save the file as UTF-8"):
        bring(arena, folder)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": None}, "names no model; give one with --as."),
        ({"pattern": "{seed}.png"}, "needs {prompt} or {prompt_id}."),
        ({"pattern": "{prompts}.png"}, "{prompts} in '{prompts}.png' is no field; fields are 'category', 'model'"),
        ({"pattern": "{prompt}{prompt}.png"}, "is there twice; fields are"),
        ({"pattern": "{prompt}.gif"}, "fits no image in"),
        ({"pattern": "{prompt}.png", "manifest": Path("x.csv")}, "give one of the two."),
        ({"manifest": Path("x.csv")}, "'x.csv' cannot be read: No such file or directory."),
        ({"prompt_set": "none"}, "Unknown prompt set 'none'"),
    ],
)
def test_wrong_requests_are_said(arena: Arena, folder: Path, options: dict[str, object], said: str) -> None:
    if "prompt_set" in options:
        (folder / "manifest.csv").write_text("path,prompt_id\n0.png,1\n")
    name = options.pop("name", "Mine")
    with pytest.raises(ArenaError) as raised:
        bring(arena, folder, name, **options)  # type: ignore[arg-type]
    assert said in str(raised.value)


def test_a_folder_without_a_list_says_what_to_give(arena: Arena, tmp_path: Path) -> None:
    made = pictures(tmp_path / "pics", ["0.png"])
    with pytest.raises(DataError, match=r"has no file manifest.csv or metadata.csv \(or .jsonl, .parquet\)"):
        bring(arena, made)
    with pytest.raises(DataError, match="is not there; give the images' folder"):
        bring(arena, tmp_path / "gone")


def test_a_contestant_that_draws_keeps_its_name_and_one_known_by_votes_gets_its_images(
    seeded: Arena, folder: Path
) -> None:
    with pytest.raises(UsageError, match="'Swatch A' draws its images itself \\(backend 'swatch'\\)"):
        bring(seeded, folder, "Swatch A")
    seeded.store.import_votes(
        "x", [ImportedVote("Voted", "Swatch A", Outcome.LEFT)], lambda name: Contestant(name, "votes"),
        board=battles.BOARD, parameters=exchange.elo_parameters(seeded), rate=exchange.elo_rate(seeded),
    )  # fmt: skip
    assert bring(seeded, folder, "Voted").made == 4


def test_it_draws_nothing_and_says_so(seeded: Arena, folder: Path) -> None:
    bring(seeded, folder)
    assert "Mine" not in {one.name for one in generation.plan(seeded)}
    with pytest.raises(UsageError, match="'Mine' draws nothing"):
        generation.plan(seeded, ["Mine"])
    with pytest.raises(UsageError, match="its images are imported, with `arena images import`"):
        create_backend(seeded.store.contestant("Mine"))


def test_imported_images_fight_and_are_shown_like_all_others(arena: Arena, tmp_path: Path) -> None:
    fill_with_swatches(arena, contestants=1, prompts=2)
    made = pictures(tmp_path / "pics", ["a card number 0.png", "a card number 1.png"])
    bring(arena, made, pattern="{prompt}.png")
    assert len(battles.open_battles(arena, "person:1", n=2)) == 2
    battle = arena.store.open_battles("person:1")[0]
    shown = [display.side(arena, battle, side, display.Size.PAIR) for side in Side]
    assert shown[0] != shown[1] and len(shown[0]) == len(shown[1])


def test_ctrl_c_keeps_what_was_imported_and_the_next_run_goes_on(arena: Arena, tmp_path: Path) -> None:
    made = pictures(tmp_path / "pics", [f"bear {n}.png" for n in range(300)])

    def stop(done: int, total: int) -> None:
        assert total == 300
        if done >= 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_images(arena, Request(made, "Mine", pattern="{prompt}.png"), stop)
    kept = len(attempts(arena))
    assert 0 < kept < 300
    report = bring(arena, made, pattern="{prompt}.png")
    assert (report.made, report.there) == (300 - kept, kept) and len(attempts(arena)) == 300


def test_an_interrupt_of_the_command_says_how_to_go_on(arena: Arena, tmp_path: Path) -> None:
    made = pictures(tmp_path / "pics", [f"bear {n}.png" for n in range(2000)])
    command = [
        sys.executable,
        "-m",
        "arena.cli",
        "images",
        "import",
        str(made),
        "--as",
        "M",
        "--pattern",
        "{prompt}.png",
    ]
    child = subprocess.Popen(
        command, env={**os.environ, **arena.settings.as_environment()}, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    while child.poll() is None and not arena.store.contestants():
        pass
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert (child.returncode, said) == (130, "arena: stopped; what was imported is kept, run it again to go on.\n")
    assert 0 < len(attempts(arena, "M")) < 2000


def test_the_largest_image_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arena.services.image_files.MAX_PIXELS", 96)
    assert look(picture(0), "x") == (12, 8, "image/png")
    with pytest.raises(DataError, match="has more than 96 pixels"):
        look(picture(0, size=(97, 1)), "x")
