"""A judge with many questions under way at once is never left waiting for the slowest of a batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError

import pytest

from arena.backends.base import create_backend
from arena.bootstrap import Arena
from arena.domain import Contestant, Prompt, RunKind, RunState
from arena.errors import EndpointError, UsageError
from arena.services import generation, judges, judging, runs
from arena.services.judge_lanes import Lanes
from arena.services.judging import Request
from db.verdicts import Verdicts
from evaluators.judge import JUDGES
from evaluators.judge.base import Question, Reply
from evaluators.judge.modes import Judge
from evaluators.judge.scripted import Scripted
from tests.conftest import fill_with_swatches


class Many(Scripted):
    """Answers eight questions at once. A call ends once another one is under way, the last by itself."""

    concurrency = 8
    most = calls = 0
    cancelled = False
    alone_s = 5.0
    fails_at: int | None = None

    def __init__(self, **options: object) -> None:
        super().__init__("brightest", **options)  # type: ignore[arg-type]
        self._two = threading.Condition()
        self._under_way = self._entered = 0

    def replies(self, asked: Sequence[Question]) -> list[Reply]:
        with self._two:
            Many.calls += 1
            mine = self._entered = self._entered + 1
            if mine == Many.fails_at:
                raise RuntimeError("the network is gone")
            self._under_way += 1
            Many.most = max(Many.most, self._under_way)
            self._two.notify_all()
            self._two.wait_for(lambda: self._entered > mine or Many.cancelled, timeout=Many.alone_s)
            self._under_way -= 1
            if Many.cancelled:
                raise CancelledError
        return super().replies(asked)

    def cancel(self) -> None:
        Many.cancelled = True
        with self._two:
            self._two.notify_all()


@pytest.fixture(autouse=True)
def _judge(monkeypatch: pytest.MonkeyPatch) -> None:
    Many.most = Many.calls = 0
    Many.cancelled, Many.alone_s, Many.fails_at = False, 5.0, None
    monkeypatch.setitem(JUDGES, "many", f"{__name__}:Many")


def test_the_next_batch_is_under_way_before_the_first_is_answered(any_arena: Arena) -> None:
    """Each call but the last waits for the next one: one after the other, this would take five seconds a batch."""
    fill_with_swatches(any_arena, prompts=8)
    started = time.monotonic()
    came_to = judging.run(any_arena, Request("many"))
    assert (came_to.tally.asked, came_to.tally.scored) == (24, 24)
    assert (Many.calls, Many.most) == (6, 2) and time.monotonic() - started < 4 * Many.alone_s
    assert len(any_arena.store.votes()) == 24


@pytest.mark.parametrize(
    ("concurrency", "batch", "size", "most"),
    [(None, 16, 16, 1), (1, 16, 16, 1), (16, 16, 8, 2), (16, 2, 2, 5), (3, 16, 1, 3)],
)
def test_as_many_batches_as_fill_the_slots_and_one_more(
    concurrency: int | None, batch: int, size: int, most: int
) -> None:
    model = Scripted()
    if concurrency is not None:
        model.concurrency = concurrency  # type: ignore[attr-defined]
    lanes: Lanes[int, int] = Lanes(Judge(model), batch)
    assert (lanes.size, lanes.most) == (size, most)


def test_images_that_two_contestants_share_are_asked_about_once(arena: Arena) -> None:
    """Also where the second pair comes up while the first is asked about: it gets the same verdict."""
    arena.store.add_prompts(Prompt(f"a card number {n}", "cards") for n in range(12))
    for name in ("A", "B", "C", "D"):
        settings = {"tint": "A" if name < "C" else "B", "size": 64}
        arena.store.add_contestant(Contestant(f"Swatch {name}", "swatch", settings, {"of": name}))
    generation.fill(arena, generation.plan(arena), create_backend)
    came_to = judging.run(arena, Request("many"))
    pairs = {(v.prompt_id, *sorted((b.left.image.sha256, b.right.image.sha256))) for v, b in
             Verdicts(arena.store).judged(came_to.judge_id or "") if b.left.image and b.right.image}  # fmt: skip
    assert len(arena.store.votes()) == 72 and came_to.tally.asked == len(pairs) < 72
    assert not arena.store.open_battles(came_to.judge_id or "")


def test_limits_hold_for_all_that_is_under_way(arena: Arena) -> None:
    fill_with_swatches(arena, prompts=8)
    came_to = judging.run(arena, Request("many", limit=10))
    assert came_to.tally.asked == 10 and "stopped at the limit of 10" in came_to.run.message
    Many.alone_s = 0.1
    came_to = judging.run(arena, Request("many", {"cost_usd": 0.01}, budget_usd=0.15))
    assert came_to.tally.asked == 7 and came_to.tally.cost_usd == pytest.approx(0.14)
    assert "stopped before 0.15 USD would be overspent (0.14 spent)" in came_to.run.message


def test_what_goes_wrong_ends_what_is_under_way_and_keeps_the_rest(arena: Arena) -> None:
    fill_with_swatches(arena, prompts=8)
    Many.fails_at, Many.alone_s = 4, 60.0
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="the network is gone"):
        judging.run(arena, Request("many"))
    assert time.monotonic() - started < 30 and Many.cancelled
    [run] = runs.latest(arena, RunKind.JUDGE)
    assert run.state is RunState.FAILED and Verdicts(arena.store).tally().asked == len(arena.store.votes()) in (8, 12)
    Many.cancelled, Many.fails_at, Many.alone_s = False, None, 5.0
    assert judging.run(arena, Request("many")).judge_id
    assert len(arena.store.votes()) == 24


def test_a_judge_that_is_opened_early_is_the_one_that_is_asked(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Scripted] = []

    def slow(*arguments: object, **options: object) -> Scripted:
        time.sleep(0.2)
        made.append(Scripted())
        return made[-1]

    monkeypatch.setitem(JUDGES, "openai", f"{__name__}:slow")
    monkeypatch.setattr(f"{__name__}.slow", slow, raising=False)
    options = {"base_url": "http://h/v1"}
    judges.prepare("openai:m", options, arena.settings)
    judges.prepare("scripted", {}, arena.settings)
    assert made == [], "nobody waits for it"
    assert judges.open_judge("openai:m", options, arena.settings).model is made[0]
    assert judges.open_judge("openai:m", options, arena.settings).model is made[1], "it is not kept"
    assert judges.open_judge("openai:m", {}, arena.settings).model is made[2], "other options are another judge"


def test_what_is_wrong_with_a_judge_opened_early_is_said_where_it_is_asked_for(arena: Arena) -> None:
    gone = {"base_url": "http://127.0.0.1:1/v1", "limits": {"attempts": 1}}
    judges.prepare("openai:m", gone, arena.settings)
    with pytest.raises(EndpointError, match="does not answer a first question"):
        judges.open_judge("openai:m", gone, arena.settings)
    judges.prepare("openai:m", {"base_uri": "x"}, arena.settings)
    with pytest.raises(UsageError, match="does not fit"):
        judges.open_judge("openai:m", {"base_uri": "x"}, arena.settings)
