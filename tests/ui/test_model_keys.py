"""The model page shows no key, also where an older version stored one."""

from __future__ import annotations

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from arena.bootstrap import Arena
from arena.domain import Contestant


def test_a_key_in_an_old_row_is_struck_out(seeded: Arena, serve: Callable[..., AppTest]) -> None:
    address = "https://me:hunter2@host/v1?api_key=hunter2"
    settings = {"model": "m", "base_url": address, "extra": {"subscription-key": "hunter2", "steps": 4}}
    card = {"url": "https://host/?token=hunter2", "licence": "MIT"}
    seeded.store.add_contestant(Contestant("Old", "openai", settings, card))
    page = serve(seeded, "model", name="Old")
    assert not page.exception
    [code] = page.code
    shown = code.value + "".join(str(one.proto) for one in page.get("html"))
    assert "hunter2" not in shown and '"steps": 4' in shown and "(not shown)" in shown and "MIT" in shown
