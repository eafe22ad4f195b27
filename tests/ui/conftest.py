"""The pages as Streamlit runs them, without a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from streamlit.testing.v1 import AppTest

from arena.bootstrap import Arena
from arena.ui import common

PatchEnvironment = Callable[[Arena], None]


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
