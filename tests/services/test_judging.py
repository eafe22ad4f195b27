"""A judge sees every pair once, its votes stay on its own board, and a run goes on where another stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from random import Random

import numpy as np
import pytest

from arena.backends.base import create_backend
from arena.bootstrap import Arena
from arena.domain import PEOPLE, Contestant, Outcome, Prompt, RunKind, RunState, VoteFilter
from arena.errors import EnvironmentFault, SettingsError, UnknownName, UsageError
from arena.services import battles, generation, judge_board, judge_work, judges, judging, leaderboard, runs
from arena.services.judging import Request
from db.verdicts import Verdicts
from evaluators.images import decode
from evaluators.judge import JUDGES
from evaluators.judge.base import Question, Reply
from evaluators.judge.scripted import Scripted
from tests.conftest import fill_with_swatches

CELLS = 3 * 6
"""Three contestants, six prompts."""


class Counting(Scripted):
    """A scripted judge that counts what it is asked."""

    asked = 0

    def replies(self, asked: Sequence[Question]) -> list[Reply]:
        Counting.asked += len(asked)
        return super().replies(asked)


@pytest.fixture(autouse=True)
def _nothing_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    Counting.asked = 0
    monkeypatch.setitem(JUDGES, "counting", f"{__name__}:Counting")


def judged(arena: Arena, judge: str = "counting", **request: object) -> judging.CameTo:
    return judging.run(arena, Request(judge, **request))  # type: ignore[arg-type]


def brightness(arena: Arena, sha256: str) -> float:
    return float(decode(arena.blobs.get(sha256)).mean())


# Votes


def test_every_pair_is_judged_once_and_counts_on_the_judges_own_board(any_arena: Arena) -> None:
    fill_with_swatches(any_arena)
    came_to = judged(any_arena)
    assert (came_to.run.state, came_to.tally.asked, came_to.tally.scored) == (RunState.DONE, CELLS, CELLS)
    assert came_to.judge_id is not None and Counting.asked == 2 * CELLS
    board = judge_board.board(any_arena, came_to.judge_id)
    assert board.n_votes == CELLS and any_arena.store.judges() == [came_to.judge_id]
    assert any_arena.store.counts(VoteFilter(board=PEOPLE)).count.sum() == 0
    assert leaderboard.leaderboard(any_arena).votes == 0
    assert {vote.voter_id for vote in any_arena.store.votes()} == {came_to.judge_id}


def test_the_same_board_again_costs_no_call(arena: Arena) -> None:
    fill_with_swatches(arena)
    judged(arena)
    Counting.asked = 0
    again = judged(arena)
    assert Counting.asked == 0 and again.tally.asked == 0
    assert again.run.message == "nothing was missing" and again.as_json()["board_verdicts"] == CELLS


def test_a_vote_is_what_the_verdict_says_seen_from_its_battle(arena: Arena) -> None:
    fill_with_swatches(arena)
    came_to = judged(arena)
    outcomes = {vote.battle_id: vote.outcome for vote in arena.store.votes()}
    flipped = 0
    for one in Verdicts(arena.store).judged(came_to.judge_id or ""):
        left, right = one.battle.left.image, one.battle.right.image
        assert left and right
        gap = brightness(arena, left.sha256) - brightness(arena, right.sha256)
        expected = Outcome.TIE if abs(gap) < 0.5 else Outcome.LEFT if gap > 0 else Outcome.RIGHT
        assert outcomes[one.battle.id or 0] is one.outcome is expected
        flipped += left.sha256 != one.verdict.left
    assert 0 < flipped < CELLS


def test_the_ledger_keeps_what_was_said_in_both_orders(arena: Arena) -> None:
    fill_with_swatches(arena)
    came_to = judged(arena, options={"cost_usd": 0.01})
    one = Verdicts(arena.store).judged(came_to.judge_id or "")[0]
    first, second = one.verdict.answers
    assert {first.word, second.word} == {"A", "B"} and first.raw == f"{first.word}\n{first.reason}"
    assert first.reason.startswith("Mean grey levels: ") and first.cost_usd == 0.01
    assert one.verdict.cost_usd == 0.02 and one.verdict.run_id == came_to.run.id and one.verdict.at is not None
    assert len(one.verdict.question_sha256) == 64
    [card] = Verdicts(arena.store).judges()
    assert card.id == came_to.judge_id and card.source == "counting" and card.settings["model"]["rule"] == "brightest"
    assert came_to.judge_id.endswith(card.fingerprint[:12])


def test_a_judge_that_goes_by_the_place_only_ties_and_is_marked(arena: Arena) -> None:
    fill_with_swatches(arena)
    came_to = judged(arena, "scripted:always-first")
    assert came_to.tally.inconsistent == CELLS
    assert {vote.outcome for vote in arena.store.votes()} == {Outcome.TIE}
    assert {head.consistent for head in Verdicts(arena.store).heads(came_to.judge_id or "")} == {False}


def test_an_unscored_pair_casts_no_vote_and_is_kept_with_its_reason(any_arena: Arena) -> None:
    fill_with_swatches(any_arena)
    came_to = judged(any_arena, "scripted:undecided")
    assert (came_to.tally.scored, came_to.tally.unscored) == (0, CELLS) and any_arena.store.votes() == []
    kept = Verdicts(any_arena.store).judged(came_to.judge_id or "")
    assert len(kept) == CELLS and all("'Both are great!'" in (one.verdict.unscored or "") for one in kept)
    assert kept[0].verdict.answers[0].raw == "Both are great!"
    assert judged(any_arena, "scripted:undecided").tally.asked == 0


def test_what_is_unscored_is_asked_again_only_where_that_is_wanted(
    any_arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_with_swatches(any_arena)
    monkeypatch.setattr(Counting, "replies", lambda self, asked: [Reply(failure="timed out")] * len(asked))
    assert judged(any_arena).tally.unscored == CELLS
    monkeypatch.undo()
    monkeypatch.setitem(JUDGES, "counting", f"{__name__}:Counting")
    assert judged(any_arena).tally.asked == 0
    again = judged(any_arena, again=True)
    assert (again.tally.asked, again.tally.scored) == (CELLS, CELLS)
    assert Verdicts(any_arena.store).tally(again.judge_id).unscored == 0
    assert len(any_arena.store.votes()) == CELLS
    assert len(Verdicts(any_arena.store).judged(again.judge_id or "")) == CELLS


def test_a_verdict_is_of_images_and_is_not_bought_twice(arena: Arena) -> None:
    """Two contestants that draw the same images share every verdict."""
    arena.store.add_prompts([Prompt("a card")])
    for name, tint in [("A", "a"), ("A's twin", "a"), ("B", "b")]:
        arena.store.add_contestant(Contestant(name, "swatch", {"tint": tint, "size": 64}, {"of": name}))
    generation.fill(arena, generation.plan(arena), create_backend)
    came_to = judged(arena)
    assert came_to.tally.asked == 2 and Counting.asked == 4  # A with its twin, and either with B
    assert len(arena.store.votes()) == 3 and len(Verdicts(arena.store).judged(came_to.judge_id or "")) == 3


def test_an_image_that_is_gone_is_unscored_and_the_run_goes_on(arena: Arena) -> None:
    fill_with_swatches(arena)
    lost = arena.store.generations(1, images_only=True)[0].image
    assert lost is not None
    arena.blobs.path(lost.sha256).unlink()
    came_to = judged(arena)
    assert came_to.tally.unscored == 2 and came_to.tally.scored == CELLS - 2
    unscored = [one.verdict.unscored for one in Verdicts(arena.store).judged(came_to.judge_id or "") if not one.outcome]
    assert len(unscored) == 2 and all(f"The image {lost.sha256[:12]}… is missing" in (why or "") for why in unscored)


def test_whatever_a_judge_says_can_be_stored(any_arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_with_swatches(any_arena, contestants=2, prompts=1)
    nasty = "A\0 \ud800 '; DROP TABLE votes; -- " + "x" * 10**6
    monkeypatch.setattr(Counting, "replies", lambda self, asked: [Reply(nasty)] * len(asked))
    came_to = judged(any_arena)
    [one] = Verdicts(any_arena.store).judged(came_to.judge_id or "")
    raw = one.verdict.answers[0].raw or ""
    assert raw.startswith("A\ufffd \ufffd '; DROP TABLE") and len(raw) == judge_work.LONGEST


# What is missing


def people_vote(arena: Arena, voter: str, n: int, seed: int = 0) -> None:
    rng = Random(seed)
    for battle in battles.open_battles(arena, voter, n=n, rng=rng):
        battles.vote(arena, voter, battle.token, rng.choice([*Outcome]))


def test_pairs_that_people_voted_on_come_first(any_arena: Arena) -> None:
    fill_with_swatches(any_arena)
    people_vote(any_arena, "person:a", 4)
    people_vote(any_arena, "person:b", 4, seed=1)
    voted = {frozenset((b.left.id, b.right.id)) for b in Verdicts(any_arena.store).voted_by_people()}
    before = judging.plan(any_arena, "counting")
    assert (before.cells, before.met, before.missing, before.voted) == (CELLS, 0, CELLS, len(voted))
    came_to = judged(any_arena, limit=len(voted))
    assert came_to.tally.asked == len(voted)
    assert Verdicts(any_arena.store).generations_met(came_to.judge_id or "") == voted
    after = judging.plan(any_arena, "counting")
    assert (after.met, after.missing, after.voted) == (len(voted), CELLS - len(voted), 0)


def test_drawn_battles_keep_the_probability_they_were_drawn_with(arena: Arena) -> None:
    fill_with_swatches(arena)
    came_to = judged(arena)
    found = [one.battle for one in Verdicts(arena.store).judged(came_to.judge_id or "")]
    assert {battle.policy for battle in found} == {"adaptive@2"}
    # The last cell left was certain, and the first was one of all.
    assert max(battle.probability for battle in found) == 1.0
    assert min(battle.probability for battle in found) <= 1 / CELLS + 1e-9


def test_a_contestant_that_is_known_well_enough_needs_no_more_verdicts(arena: Arena) -> None:
    # Wide settings: whatever the first verdicts say is narrow enough.
    arena = Arena(arena.settings.model_copy(update={"judge_batch": 4}), arena.store, arena.blobs, arena.secret)
    fill_with_swatches(arena, prompts=12)
    came_to = judged(arena, until=1e6)
    assert 0 < came_to.tally.asked < 36 and "every model is known to ±1e+06 points" in came_to.run.message
    known = came_to.precision
    assert known is not None and known.points_per_verdict == pytest.approx(known.mean / (2 * known.verdicts))
    assert judged(arena, until=1e6).tally.asked == 0
    assert judged(arena, until=1e-6).tally.asked == 36 - came_to.tally.asked


def test_points_per_verdict_is_the_slope_of_the_half_width() -> None:
    """Half-widths fall with 1/sqrt(n); the closed form is the derivative, to first order."""
    half = 400 / np.sqrt(100)
    next_half = 400 / np.sqrt(101)
    found = judge_board.Precision(100, {"A": half}).points_per_verdict
    assert found == pytest.approx(half - next_half, rel=0.01)
    assert judge_board.Precision(0, {}).points_per_verdict is None


# Limits


def test_a_limit_counts_verdicts_and_the_next_run_goes_on(arena: Arena) -> None:
    fill_with_swatches(arena)
    assert judged(arena, limit=5).tally.asked == 5
    second = judged(arena, limit=5)
    assert second.tally.asked == 5 and "stopped at the limit of 5" in second.run.message
    assert judged(arena).tally.asked == CELLS - 10
    assert len(arena.store.votes()) == CELLS


@pytest.mark.parametrize(("budget", "verdicts"), [(0.1, 5), (0.119, 5), (0.02, 1), (100, CELLS)])
def test_a_budget_is_not_overspent(arena: Arena, budget: float, verdicts: int) -> None:
    fill_with_swatches(arena)
    came_to = judged(arena, options={"cost_usd": 0.01}, budget_usd=budget)
    assert came_to.tally.asked == verdicts and (came_to.tally.cost_usd or 0) <= budget + 1e-12
    assert ("would be overspent" in came_to.run.message) == (verdicts < CELLS)


def test_a_budget_for_a_judge_that_names_no_cost_is_refused_after_one_verdict(arena: Arena) -> None:
    fill_with_swatches(arena)
    with pytest.raises(UsageError, match="names no cost, so a budget of 1 USD cannot be kept"):
        judged(arena, budget_usd=1.0)
    assert len(arena.store.votes()) == 1


def test_an_endpoint_with_prices_is_told_the_budget(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, object] = {}

    def make(model: str, **options: object) -> Scripted:
        told.update(options, model=model)
        return Scripted(cost_usd=0.1)

    monkeypatch.setitem(JUDGES, "openai", f"{__name__}:Scripted")
    monkeypatch.setattr(judges, "resolve", lambda *_: make)
    fill_with_swatches(arena, contestants=2, prompts=2)
    prices = {"input": 1.0, "output": 2.0}
    judged(arena, "openai:some-model", budget_usd=1.0, options={"prices": prices})
    assert told == {"model": "some-model", "prices": prices, "limit_usd": 1.0}


class Refusing(Scripted):
    """An endpoint that stops answering after so many questions."""

    left = 10

    def replies(self, asked: Sequence[Question]) -> list[Reply]:
        found = super().replies(asked)
        Refusing.left -= len(asked)
        return found if Refusing.left >= 0 else [Reply(failure="not asked: the spend limit")] * len(asked)


def test_what_was_not_asked_is_still_missing(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(JUDGES, "refusing", f"{__name__}:Refusing")
    monkeypatch.setattr(Refusing, "left", 10)
    arena = Arena(arena.settings.model_copy(update={"judge_batch": 4}), arena.store, arena.blobs, arena.secret)
    fill_with_swatches(arena)
    came_to = judged(arena, "refusing")
    assert came_to.tally.asked == came_to.tally.scored == 4
    assert "stopped: not asked: the spend limit" in came_to.run.message
    assert judging.plan(arena, "refusing").missing == CELLS - 4


def test_a_judge_that_answers_nothing_is_given_up(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_work, "HOPELESS", 6)
    fill_with_swatches(arena)
    with pytest.raises(EnvironmentFault, match=r"none of the last 6 pairs \(left first: unparsable: 'Both are great!'"):
        judged(arena, "scripted:undecided")
    [run] = runs.latest(arena, RunKind.JUDGE)
    assert run.state is RunState.FAILED and "let it judge again" in run.message


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        ({"limit": 0}, UsageError, "limit must be more than 0, got 0"),
        ({"budget_usd": -1.0}, UsageError, "budget_usd must be more than 0"),
        ({"until": float("nan")}, UsageError, "until must be more than 0"),
        ({"options": {"api_key": "sk-123"}}, SettingsError, "NAME of its environment variable"),
        ({"options": {"extra": {"api_key": "sk-123"}}}, SettingsError, r"'extra' .*holds a key .*as key_variable"),
        ({"options": {"extra": {"h": [{"Authorization": "sk-123"}]}}}, SettingsError, "'extra' .*holds a key"),
        ({"options": {"extra": {"user": "Bearer sk-12345678"}}}, SettingsError, "'extra' .*holds a key"),
        ({"options": {"extra": '{"api_key": "sk-123'}}, UsageError, "'extra' .*begins as JSON and is none"),
        ({"options": {"base_url": "http://h/v1?api_key=sk-123"}}, SettingsError, "'base_url' .*holds a key"),
        ({"options": {"served_as": "http://me:sk-123@h/v1"}}, SettingsError, "'served_as' .*holds a key"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(request_: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words) as said:
        Request("teddy", **request_)
    assert "sk-123" not in str(said.value)


def test_options_that_hold_no_key_are_taken_as_they_are() -> None:
    options = {
        "base_url": "http://localhost:8000/v1", "key_variable": "LAB_KEY", "prices": {"input": 0, "output": 1.5},
        "extra": {"chat_template_kwargs": {"enable_thinking": False}, "max_tokens": 9, "stop": ["</s>"]},
        "revision": "a" * 40, "limits": {"concurrency": 4},
    }  # fmt: skip
    assert Request("openai:m", options).parameters["options"] == options


def test_an_unknown_judge_is_refused_before_anything_starts(arena: Arena) -> None:
    with pytest.raises(UnknownName, match="Unknown judge 'tedy': did you mean 'teddy'"):
        judging.start(arena, Request("tedy"))
    assert runs.latest(arena, RunKind.JUDGE) == []
    with pytest.raises(UsageError, match=r"'scripted' with the options \{'colour': 1\} does not fit"):
        judged(arena, "scripted", options={"colour": 1})


# Several processes, and their ends


def command(arena: Arena, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "arena.cli", "judge", "--json", *arguments],
        env={**os.environ, **arena.settings.as_environment()}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def verdicts(arena: Arena) -> int:
    return Verdicts(arena.store).tally().asked


def await_verdicts(arena: Arena, n: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while verdicts(arena) < n:
        assert time.monotonic() < deadline
        time.sleep(0.05)


SLOW = ("--judge", "scripted", "--option", "pause=0.02")


def test_two_processes_at_once_judge_no_pair_twice(any_arena: Arena) -> None:
    fill_with_swatches(any_arena, contestants=4, prompts=10)
    both = [command(any_arena, *SLOW) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
    shares = [Verdicts(any_arena.store).tally(run_id=run.id).asked for run in runs.latest(any_arena, RunKind.JUDGE)]
    assert sum(shares) == verdicts(any_arena) == len(any_arena.store.votes()) == 60
    assert len({(v.left, v.right) for v in Verdicts(any_arena.store).words(any_arena.store.judges()[0])}) == 60
    cells = any_arena.store.seen_cells(any_arena.store.judges()[0])
    assert len(cells) == len(set(cells)) == 60


def test_a_killed_run_loses_a_batch_at_most_and_the_next_goes_on(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SILENT_AFTER", timedelta(seconds=2))  # the killed one; the next beats more often
    monkeypatch.setattr(runs, "BEAT_SECONDS", 0.2)
    fill_with_swatches(arena, prompts=12)
    process = command(arena, *SLOW)
    await_verdicts(arena, 8)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    kept = verdicts(arena)
    assert 8 <= kept < 36 and len(arena.store.votes()) == kept
    came_to = judged(arena, "scripted")
    assert came_to.tally.asked == 36 - kept and len(arena.store.votes()) == 36
    time.sleep(runs.SILENT_AFTER.total_seconds())
    assert [run.state for run in runs.latest(arena, RunKind.JUDGE)] == [RunState.DONE, RunState.FAILED]


def test_a_run_from_the_page_can_be_cancelled_and_started_again(arena: Arena) -> None:
    fill_with_swatches(arena, prompts=12)
    run_id = judging.start(arena, Request("scripted", {"pause": 0.02}))
    await_verdicts(arena, 8)
    runs.cancel(arena, run_id)
    deadline = time.monotonic() + 30
    while (kept := verdicts(arena)) != (time.sleep(1.5), verdicts(arena))[1]:
        assert time.monotonic() < deadline
    assert runs.one(arena, run_id).state is RunState.CANCELLED and kept < 36
    assert judged(arena, "scripted").tally.asked == 36 - kept


# The board


def test_the_board_ranks_by_brightness_as_the_judge_does(arena: Arena) -> None:
    fill_with_swatches(arena, prompts=24)
    came_to = judged(arena)
    board = judge_board.board(arena, came_to.judge_id or "")
    wins = dict.fromkeys("ABC", 0.0)
    for one in Verdicts(arena.store).judged(came_to.judge_id or ""):
        for generation_, score in [(one.battle.left, 1.0), (one.battle.right, 0.0)]:
            own = one.outcome.left_score if one.outcome else 0
            wins["ABC"[generation_.contestant_id - 1]] += own if score else 1 - own
    by_wins = sorted(wins, key=lambda name: -wins[name])
    assert [row.model[-1] for row in board.board] == by_wins
