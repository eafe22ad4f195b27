"""The judge page in a real browser: images that load, a run that is watched, and nothing told before the vote."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from arena.domain import RunState
from arena.services import judging, runs
from arena.services.judging import Request
from tests.browser.conftest import NAMES, PATIENCE, Server, Voter

pytestmark = pytest.mark.browser

LOADED = """() => {
  const all = [...document.querySelectorAll(".verdict img")];
  all.forEach((image) => { image.loading = "eager"; });
  return all.length >= {n} && all.every((image) => image.complete && image.naturalWidth > 0);
}"""


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch, server: Server) -> Iterator[None]:
    """The server asks the scripted judge."""
    monkeypatch.setenv("ARENA_JUDGE", "scripted")
    server.stop()
    server.start()
    yield


def test_verdicts_show_their_images_and_no_maker_to_who_has_yet_to_vote(voter: Voter) -> None:
    judging.run(voter.server.arena, Request("scripted", limit=30))
    voter.open("judge?view=verdicts")
    voter.page.wait_for_function(LOADED.replace("{n}", "24"), timeout=PATIENCE)
    shown = voter.page.locator(".verdicts").inner_text()
    assert not any(name in shown for name in NAMES)
    assert voter.page.evaluate("window.hacked") is None and "<img src=x" in shown
    voter.page.get_by_role("button", name="Page 2").click()
    voter.page.get_by_text("13 to 24 of 30 verdicts").wait_for(timeout=PATIENCE)
    voter.page.get_by_text("Inconsistent", exact=True).last.click()
    voter.page.get_by_text("Every verdict was the same in both orders.").wait_for(timeout=PATIENCE)


def test_a_run_is_started_watched_and_cancelled(voter: Voter) -> None:
    arena = voter.server.arena
    next_run = (arena.store.runs(limit=1)[0].id or 0) + 1
    voter.open("judge")
    voter.page.get_by_text("Ask scripted").click()
    voter.page.get_by_text("pairs are missing").wait_for(timeout=PATIENCE)
    voter.page.get_by_role("button", name="Judge", exact=True).click()
    voter.page.get_by_text(f"Run {next_run} · scripted · done after").wait_for(timeout=PATIENCE * 2)
    assert runs.one(arena, next_run).state is RunState.DONE
    assert "libtorch" not in voter.server.memory_maps()

    slow = judging.start(arena, Request("scripted:always-first", {"pause": 0.2}))
    voter.page.reload()
    voter.page.get_by_role("button", name="Cancel").first.click(timeout=PATIENCE)
    voter.page.get_by_text("cancelled after").first.wait_for(timeout=PATIENCE)
    assert runs.one(arena, slow).state is RunState.CANCELLED


def test_the_page_fits_a_phone(voter: Voter) -> None:
    judging.run(voter.server.arena, Request("scripted", limit=2))
    voter.page.set_viewport_size({"width": 390, "height": 844})
    for view in ("agreement", "verdicts", "board"):
        voter.open(f"judge?view={view}")
        voter.page.get_by_text("Pairs judged").wait_for(timeout=PATIENCE)
        voter.page.wait_for_timeout(500)
        wide = voter.page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
        assert wide <= 390, view
