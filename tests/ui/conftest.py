"""The pages as Streamlit runs them, without a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from arena.bootstrap import Arena, open_arena
from arena.settings import Settings, load_settings
from arena.ui import common
from tests.conftest import fill_with_swatches


@pytest.fixture(scope="session")
def swatches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled arena to copy: filling one anew takes longer than most tests here."""
    data_dir = tmp_path_factory.mktemp("swatches") / "data"
    filled = fill_with_swatches(open_arena(load_settings(data_dir=data_dir), prepare=True))
    filled.store.engine.dispose()
    return data_dir


@pytest.fixture
def seeded(swatches: Path, settings: Settings) -> Iterator[Arena]:
    shutil.copytree(swatches, settings.data_dir)
    arena = open_arena(settings)
    yield arena
    arena.store.engine.dispose()


@pytest.fixture(autouse=True)
def _fresh_process() -> Iterator[None]:
    """Each test opens its own arena."""
    common.the_arena.cache_clear()
    yield
    if common.the_arena.cache_info().currsize:
        common.the_arena().store.engine.dispose()
    common.the_arena.cache_clear()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Arena, str], AppTest]:
    """Runs one page (a module of arena.ui) on an arena."""

    def run(arena: Arena, page: str, **query: str) -> AppTest:
        monkeypatch.setenv("ARENA_DATA_DIR", str(arena.settings.data_dir))
        test = AppTest.from_string(f"from arena.ui import {page}\n{page}.page()", default_timeout=20)
        for key, value in query.items():
            test.query_params[key] = value
        return test.run()

    return run
