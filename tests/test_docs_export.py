"""docs/export.md, followed word for word. Put in place: the arena it starts from, certificates, and a bucket."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import fsspec
import pytest
from typer.testing import CliRunner, Result

from arena.bootstrap import Arena, open_arena
from arena.cli import app
from arena.services import battles, dataset_layout
from arena.services.leaderboard import leaderboard
from arena.settings import load_settings
from tests.conftest import fill_with_swatches

PAGE = Path(__file__).parents[1] / "docs" / "export.md"
TEXT = PAGE.read_text()


def section(title: str) -> str:
    parts = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    return next(part for part in parts if part.partition("\n")[0] == title)


def commands(title: str) -> list[str]:
    return re.findall(r"^    ((?:arena|export) .*)$", section(title), re.MULTILINE)


def run(line: str) -> Result:
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    assert done.exit_code == 0, (line, done.output, done.exception)
    return done


@pytest.fixture
def here(tmp_path: Path) -> Arena:
    """An arena in the default place of the working folder, with some votes."""
    arena = fill_with_swatches(open_arena(load_settings(batch_size=4), prepare=True), prompts=4)
    for n in range(3):
        for battle in battles.open_battles(arena, f"person:{n}", n=4):
            battles.vote(arena, f"person:{n}", battle.token, "left" if n else "right")
    return arena


def test_out_and_in(here: Arena) -> None:
    for line in commands("Out"):
        run(line)
    files = [path.relative_to("swatches").as_posix() for path in Path("swatches").rglob("*") if path.is_file()]
    for name in ("README.md", "croissant.json", "arena.json", "SHA256SUMS", "boards/people.json"):
        assert name in files and f"`{name.replace('people', '*')}`" in TEXT
    imported, board = (run(line) for line in commands("In"))
    assert "the board is the exported one to the byte" in imported.output.replace("\n", " ")
    assert board.output == Path("swatches/boards/people.json").read_text() == run("arena board --json").output


def test_votes_from_elsewhere(here: Arena) -> None:
    [rows] = re.findall(r"^```json\n(.*?)^```", section("Votes from elsewhere"), re.DOTALL | re.MULTILINE)
    Path("battles.jsonl").write_text(rows)
    for line in commands("Votes from elsewhere"):
        assert "2 votes imported" in run(line).output


def test_scores_on_models_pages(here: Arena) -> None:
    for line in commands("Scores on models' pages"):
        run(line)
    # Pairs are drawn by chance, so that one of the three may have won or lost everything and have no rating.
    rated = [row.name for row in leaderboard(here).rows if row.rating is not None]
    files = [*Path("scored/eval_results").glob("*/.eval_results/arena.yaml")]
    assert len(files) == len(rated) >= 1


def test_where_an_image_is_from(here: Arena, tmp_path_factory: pytest.TempPathFactory) -> None:
    from tests.services.test_provenance import certificates

    made = certificates(tmp_path_factory.mktemp("pem"))
    Path("chain.pem").write_bytes(made["chain"].read_bytes())
    Path("key.pem").write_bytes(made["key"].read_bytes())
    generation = here.store.generations(here.store.contestants()[0].id or 0)[0]
    assert generation.image
    Path("picture.png").write_bytes(here.blobs.get(generation.image.sha256))
    beside, inside, said, of_all = (run(line) for line in commands("Where an image is from"))
    assert "12 images signed." in beside.output and "12 images signed." in inside.output
    assert len([*Path("inside/signed/00000").glob("*.png")]) == 12
    assert "No C2PA manifest." in said.output
    assert "No image here came from elsewhere." in of_all.output


def test_images_in_object_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is set as it stands; fsspec's memory stands for the bucket here, tests/db has a real S3 server."""
    [line] = commands("Images in object storage")
    name, _, url = line.removeprefix("export ").partition("=")
    monkeypatch.setenv(name, url.replace("s3://", "memory://"))
    arena = fill_with_swatches(open_arena(load_settings(batch_size=4), prepare=True), contestants=2, prompts=1)
    assert len(fsspec.filesystem("memory").find("/bucket/arena")) == 2
    assert not [path for path in arena.settings.images_dir.rglob("*") if path.is_file()]


def test_the_page_names_every_table() -> None:
    assert [name for name in dataset_layout.SCHEMAS if f"`{name}`" not in TEXT] == []
