"""docs/import.md, followed word for word: its files are written as they stand, its commands run as they stand."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner, Result

from arena.bootstrap import Arena, open_arena
from arena.cli import app
from arena.cli_import import images, prompts
from arena.services import manifests, prompt_sets
from arena.services.image_files import LARGEST_FILE, MAX_PIXELS
from arena.services.imported_images import MOST_UNREADABLE
from arena.settings import load_settings

TEXT = (Path(__file__).parents[1] / "docs" / "import.md").read_text()


def section(title: str) -> str:
    [found] = [part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE) if part.partition("\n")[0] == title]
    return found


def block(title: str) -> str:
    [found] = re.findall(r"^```csv\n(.*?)^```", section(title), re.DOTALL | re.MULTILINE)
    return found


def run(line: str) -> Result:
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    assert done.exit_code == 0, (line, done.output, done.exception)
    return done


def follow(title: str) -> list[Result]:
    found = re.findall(r"^    (arena .*)$", section(title), re.MULTILINE)
    assert found
    return [run(line) for line in found]


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def pictures(*names: str) -> None:
    for seed, name in enumerate(names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(picture(seed))


@pytest.fixture
def here() -> Arena:
    """An arena in the default place."""
    return open_arena(load_settings(), prepare=True)


def cells(arena: Arena, name: str) -> list[tuple[str, int]]:
    found = arena.store.generations(arena.store.contestant(name).id or 0, images_only=True)
    return [(arena.store.prompt(one.prompt_id).text, one.seed) for one in found]


def test_a_folder_and_a_list(here: Arena) -> None:
    pictures("pictures/bear-1.png", "pictures/bear-2.png")
    Path("pictures/manifest.csv").write_text(block("A folder and a list"))
    imported, shown, exported = follow("A folder and a list")
    assert imported.stdout.endswith("2 images imported, 0 were there, 0 failed. New: 'My model'.\n")
    assert '"backend": "folder"' in shown.stdout and '"licence": "CC-BY-4.0"' in shown.stdout
    assert "2 images of 'My model'" in exported.stdout
    assert cells(here, "My model") == [("a brown bear", 1), ("two bears in a boat", 1)]
    assert {one.read_bytes() for one in Path("copies").iterdir()} == {picture(0), picture(1)}
    [back] = re.findall(r'`(--pattern "prompt-[^`]*)`', TEXT)
    run(f"arena images import copies --as Again {back}")
    assert cells(here, "Again") == cells(here, "My model")


def test_names_of_files(here: Arena) -> None:
    Path("bears.csv").write_text(block("Names of files"))
    pictures("numbered/0_7.png", "numbered/1_8.png", "named/a brown bear/3.png", "named/a brown bear/4.jpg")
    follow("Names of files")
    assert cells(here, "Numbered") == [("a brown bear", 7), ("two bears in a boat", 8)]
    assert cells(here, "Named") == [("a brown bear", 3), ("a brown bear", 4)]
    assert prompt_sets.one(here, "bears").licence == "CC0-1.0"


def test_data_sets(here: Arena) -> None:
    Path("data-set/data").mkdir(parents=True)
    rows = {"prompt": ["a bear"], "width": [8], "image": [{"bytes": picture(1), "path": "1.png"}], "mask": [b"x"]}
    for split in ("train", "test"):
        parquet.write_table(pa.table(rows), f"data-set/data/{split}-00000-of-00001.parquet")
    follow("Data sets")
    assert cells(here, "From a data set") == [("a bear", 0)]


def test_sets_of_prompts(here: Arena) -> None:
    Path("parti.tsv").write_text("Prompt\tCategory\tChallenge\tNote\na bear\tAnimals\tBasic\t\n")
    [done] = follow("Sets of prompts")
    [found] = prompt_sets.listed(here)
    assert f"The prompt set {found.version} is new: 1 prompts." in done.stdout
    assert (found.name, found.licence) == ("parti", "Apache-2.0")


def test_the_page_names_every_column_field_option_and_command_and_has_the_limits() -> None:
    known = [*manifests.COLUMNS, *manifests.ALIASES, *prompt_sets.ALIASES, *prompt_sets.DETAILS, "id", "tags"]
    renamed = {"prompt_id", "license"}  # said once, of a manifest
    wanted = [f"`{name}`" for name in known if name not in renamed | {"challenge", "note"}]
    wanted += [f"`{{{field}}}`" for field in manifests.FIELDS]
    for group, commands in (("images", images), ("prompts", prompts)):
        wanted += [f"arena {group} {one.name}" for one in commands.registered_commands]
    options = re.findall(
        r"(--[a-z-]+) ", CliRunner().invoke(app, ["images", "import", "--help"], env={"COLUMNS": "200"}).output
    )
    wanted += [one for one in options if one not in ("--data-dir", "--help") and not one.startswith("--no-")]
    wanted += [f"{MAX_PIXELS:,} pixels", f"{LARGEST_FILE >> 20} MB", "first thousand"]
    assert [name for name in wanted if name not in TEXT] == [] and MOST_UNREADABLE == 1000
