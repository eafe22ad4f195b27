"""The pictures of the docs: of every page, in every look, and all of them in the gallery. Nothing is drawn here."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from arena.ui import main_path

DOCS = Path(__file__).parents[1] / "docs"
MEGABYTES = 6


@pytest.fixture
def screenshots(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(DOCS)
    import screenshots

    return screenshots


def addresses() -> set[str]:
    """Of the pages in the menu: every `url_path` of main.py, which cannot be imported outside of Streamlit."""
    calls = [node for node in ast.walk(ast.parse(Path(main_path()).read_text())) if isinstance(node, ast.Call)]
    words = [word for call in calls for word in call.keywords if word.arg == "url_path"]
    return {word.value.value for word in words if isinstance(word.value, ast.Constant)}


def test_every_page_is_shown(screenshots: ModuleType) -> None:
    assert len(addresses()) >= 10
    assert {shot.page for shot in screenshots.SHOTS} == addresses() == set(screenshots.PAGES)


def test_every_picture_has_a_name_of_its_own_and_words(screenshots: ModuleType) -> None:
    names = [shot.name for shot in screenshots.SHOTS]
    assert len(names) == len(set(names)) and all(shot.alt for shot in screenshots.SHOTS)


def test_the_gallery_is_the_one_that_the_command_writes(screenshots: ModuleType) -> None:
    assert screenshots.PAGE.read_text() == screenshots.gallery()


def test_the_pictures_are_there_and_no_others(screenshots: ModuleType) -> None:
    wanted = {shot.file(look) for shot in screenshots.SHOTS for look in screenshots.LOOKS}
    assert {path.name for path in screenshots.FOLDER.iterdir()} == wanted
    assert sum(path.stat().st_size for path in screenshots.FOLDER.iterdir()) < MEGABYTES * 1e6


def test_a_picture_is_as_wide_as_its_window(screenshots: ModuleType) -> None:
    for look, options in screenshots.LOOKS.items():
        wide = options["viewport"]["width"] * options.get("device_scale_factor", 1)
        for shot in screenshots.SHOTS:
            with Image.open(screenshots.FOLDER / shot.file(look)) as picture:
                assert picture.format == "WEBP" and picture.width == wide, shot.file(look)
