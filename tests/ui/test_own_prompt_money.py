"""What the own-prompt page says of models that cost money."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from arena.backends.swatch import SwatchBackend
from arena.bootstrap import Arena
from arena.domain import Contestant
from arena.services import generation, own_prompts, own_spending
from tests.ui.test_pages import text_of

Serve = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def _nobody_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_prompts, "wake", lambda _: None)


def test_a_visitor_is_told_that_models_that_cost_money_do_not_draw(serve: Serve, seeded: Arena) -> None:
    assert own_spending.NEVER not in text_of(serve(seeded, "own_prompt"))
    seeded.store.add_contestant(Contestant("Closed", "openai", {"model": "m", "base_url": "https://api.x.ai/v1"}))
    generation.fill(seeded, generation.plan(seeded, ["Closed"]), lambda _: SwatchBackend())
    page = serve(seeded, "own_prompt")
    assert text_of(page).count(own_spending.NEVER) == 1 and page.text_area
