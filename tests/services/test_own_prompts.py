"""Own prompts from the sentence typed to the vote: limits, bad input, failures, a killed worker."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import update

from arena.backends.swatch import SwatchBackend
from arena.bootstrap import Arena, open_arena
from arena.domain import OWN_PROMPT, Contestant, Outcome, Run, RunKind, RunState, VoteFilter
from arena.errors import UsageError
from arena.services import battles, leaderboard, moderation, own_prompts, personal, runs
from arena.services.moderation import Admin
from arena.settings import Settings, load_settings
from db.own_prompts import KILLED, OwnPrompt, OwnPrompts, Stage
from db.schema import OwnPromptRow
from tests.conftest import fill_with_swatches

ME, OTHER = "person:me", "person:other"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path / "data", own_prompts_idle=0.05, own_prompts_per_hour=3, own_prompts_queue=2)


@pytest.fixture
def nobody_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_prompts, "wake", lambda _: None)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_prompts, "POLL_SECONDS", 0.01)


def work(arena: Arena) -> Run:
    """The worker in this process, until nothing is left."""
    run = arena.store.add_run(RunKind.GENERATE, own_prompts.SUBJECT)
    return runs.perform(arena, run.id or 0)


def stage(arena: Arena, voter: str = ME) -> Stage | None:
    request = OwnPrompts(arena.store).newest(voter)
    return request.stage if request else None


# The whole way


@pytest.mark.usefixtures("nobody_works")
def test_a_prompt_becomes_a_blind_battle_of_its_voter_and_the_vote_counts(any_arena: Arena) -> None:
    fill_with_swatches(any_arena, prompts=1)
    quick = open_arena(any_arena.settings.model_copy(update={"own_prompts_idle": 0.05}))
    own_prompts.ask(quick, ME, "  a bear\n in the   rain ", Random(1))
    found = own_prompts.standing(quick, ME)
    assert found.request is not None and found.request.prompt.text == "a bear in the rain" and found.ahead == 0
    assert work(quick).message == "1 prompts drawn, then nothing came"
    request = own_prompts.standing(quick, ME).request
    assert request is not None and request.stage is Stage.READY and request.done == 2 and not request.answered
    battle = quick.store.battle(request.token or "")
    assert (battle.policy, battle.prompt.category, battle.drawn_for) == (own_prompts.POLICY, OWN_PROMPT, ME)
    assert battle.probability == pytest.approx(1 / 3) and battle.left.seed == battle.right.seed
    assert [one.token for one in battles.open_battles(quick, OTHER, n=9)].count(battle.token) == 0
    reveal = battles.vote(quick, ME, battle.token, Outcome.LEFT)
    assert reveal.prompt == "a bear in the rain"
    board = leaderboard.leaderboard(quick, VoteFilter(category=OWN_PROMPT))
    assert board.votes == 1 and leaderboard.leaderboard(quick).votes == 1
    assert (own_prompts.standing(quick, ME).request or request).answered
    quick.store.engine.dispose()


@pytest.mark.usefixtures("nobody_works")
def test_where_own_prompts_do_not_count_the_vote_is_kept_aside(seeded: Arena, settings: Settings) -> None:
    arena = open_arena(settings.model_copy(update={"own_prompts_count": False}))
    own_prompts.ask(arena, ME, "a bear")
    work(arena)
    told = battles.vote(arena, ME, (OwnPrompts(arena.store).newest(ME)).token or "", Outcome.LEFT)
    assert not told.counts
    assert leaderboard.leaderboard(arena).votes == 0 and arena.store.judges() == []
    assert dict(moderation.uncounted(arena)) == {"on a prompt of the voter's own, which do not count here": 1}
    assert personal.mine(arena, ME).votes == 1
    arena.store.engine.dispose()


@pytest.mark.usefixtures("nobody_works")
def test_pairs_are_drawn_with_the_probability_that_is_stored(seeded: Arena) -> None:
    names = {one.id: one.name for one in seeded.store.contestants()}
    moderation.set_share(seeded, Admin("Ada"), "Swatch A", 4.0, "a test")
    rng, drawn, told = Random(5), Counter[frozenset[str]](), {}
    for n in range(150):
        own_prompts.ask(seeded, f"person:{n}", "a bear", rng)
        request = OwnPrompts(seeded.store).newest(f"person:{n}")
        assert request is not None
        pair = frozenset((names[request.left_id], names[request.right_id]))
        drawn[pair] += 1
        told[pair] = request.probability
        OwnPrompts(seeded.store).fail(request.id, "a test")
    assert sorted(told.values()) == pytest.approx([1 / 9, 4 / 9, 4 / 9])
    for pair, chance in told.items():  # 150 draws: four standard errors are 0.16
        assert drawn[pair] / 150 == pytest.approx(chance, abs=0.16)


def test_who_draws_is_neither_retired_nor_without_a_backend(seeded: Arena) -> None:
    seeded.store.add_contestant(Contestant("Imported", "votes"))
    seeded.store.add_contestant(Contestant("Elsewhere", "no such backend"))
    seeded.store.add_contestant(Contestant("Never tried", "diffusers", {"model": "somewhere/else"}))
    seeded.store.add_contestant(Contestant("Shipped", "diffusers", {"model": "package://arena.teddy/weights/flow"}))
    moderation.retire_contestant(seeded, Admin("Ada"), "Swatch B", "a test")
    assert [one.name for one in own_prompts.contestants(seeded)] == ["Swatch A", "Swatch C", "Shipped"]


# What may be typed


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "The prompt is empty; type what you want to see."),
        (" \n\t ", "The prompt is empty"),
        ("x" * 10_000, "The prompt has 10,000 characters, and 500 are the most; shorten it."),
        ("a bear \u202egnp.exe", r"invisible sign \(U\+202E, character 8\)"),
        ("a\u200bbear", r"invisible sign \(U\+200B, character 2\)"),
        ("\U000e0061 bear", r"invisible sign \(U\+E0061, character 1\)"),
        ("a \x00 bear", r"invisible sign \(U\+0000, character 3\)"),
        ("?!…", "holds no word"),
    ],
)
@pytest.mark.usefixtures("nobody_works")
def test_what_cannot_be_drawn_is_refused_with_one_sentence(seeded: Arena, text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        own_prompts.ask(seeded, ME, text)
    assert stage(seeded) is None


@pytest.mark.parametrize(
    "text",
    ["a 🧸 with a 👩\u200d🚀", "🧸", "دب صغير", "<script>alert(1)</script> bear", "**bold** [a](http://x)",
     "'; DROP TABLE votes; --", "x" * 500],
)  # fmt: skip
@pytest.mark.usefixtures("nobody_works")
def test_whatever_is_text_is_taken_as_it_is(seeded: Arena, text: str) -> None:
    own_prompts.ask(seeded, ME, text)
    request = OwnPrompts(seeded.store).newest(ME)
    assert request is not None and request.prompt.text == text
    assert bool(own_prompts.remarks(text)) == ("<" in text or "**" in text)


# Limits


@pytest.mark.usefixtures("nobody_works")
def test_one_at_a_time(seeded: Arena) -> None:
    own_prompts.ask(seeded, ME, "a bear")
    with pytest.raises(UsageError, match="Your last prompt is still being drawn"):
        own_prompts.ask(seeded, ME, "another bear")
    own_prompts.withdraw(seeded, ME)
    assert stage(seeded) is Stage.FAILED
    own_prompts.ask(seeded, ME, "another bear")


@pytest.mark.usefixtures("nobody_works")
def test_so_many_an_hour(seeded: Arena) -> None:
    for n in range(3):
        own_prompts.ask(seeded, ME, f"bear {n}")
        work(seeded)
    with pytest.raises(UsageError, match="You have asked for 3 prompts within an hour"):
        own_prompts.ask(seeded, ME, "bear 4")
    assert not any("bear 4" in prompt.text for prompt in [OwnPrompts(seeded.store).newest(ME).prompt])
    long_ago = update(OwnPromptRow).values(at=OwnPrompts(seeded.store).newest(ME).at - timedelta(hours=2))
    with seeded.store._writing() as session:
        session.execute(long_ago)
    own_prompts.ask(seeded, ME, "bear 4")


@pytest.mark.usefixtures("nobody_works")
def test_a_full_queue_takes_no_more_and_says_who_is_first(seeded: Arena) -> None:
    own_prompts.ask(seeded, ME, "a bear")
    own_prompts.ask(seeded, OTHER, "a bear")
    assert own_prompts.standing(seeded, OTHER).ahead == 1
    with pytest.raises(UsageError, match="2 prompts are waiting already"):
        own_prompts.ask(seeded, "person:third", "a bear")
    work(seeded)
    assert stage(seeded, ME) is stage(seeded, OTHER) is Stage.READY


@pytest.mark.usefixtures("nobody_works")
def test_an_arena_that_takes_none_says_so(seeded: Arena, settings: Settings) -> None:
    closed = open_arena(settings.model_copy(update={"own_prompts_per_hour": 0}))
    with pytest.raises(UsageError, match="takes no prompts of its visitors"):
        own_prompts.ask(closed, ME, "a bear")
    closed.store.engine.dispose()


@pytest.mark.usefixtures("nobody_works")
def test_without_two_models_there_is_no_battle(arena: Arena) -> None:
    fill_with_swatches(arena, contestants=1, prompts=1)
    with pytest.raises(UsageError, match="No two models can draw here"):
        own_prompts.ask(arena, ME, "a bear")


# Failures


@pytest.mark.usefixtures("nobody_works")
@pytest.mark.parametrize(
    ("settings_of_b", "reason"),
    [({"fails_on": "bear"}, "Swatch B made no picture: the swatch refuses prompts with 'bear'"),
     ({"nonsense": 1}, "Swatch B could not be loaded here")],
)  # fmt: skip
def test_a_side_that_fails_is_named_and_no_vote_is_taken(
    arena: Arena, settings_of_b: dict[str, object], reason: str
) -> None:
    fill_with_swatches(arena, contestants=1, prompts=1)
    broken = arena.store.add_contestant(Contestant("Swatch B", "swatch", settings_of_b))
    one = arena.store.contestant("Swatch A")
    image = arena.store.generations(one.id or 0)[0]
    from dataclasses import replace

    arena.store.add_generations([replace(image, contestant_id=broken.id, id=None)])  # it worked here once
    own_prompts.ask(arena, ME, "a bear")
    work(arena)
    request = OwnPrompts(arena.store).newest(ME)
    assert request is not None and (request.stage, request.reason, request.token) == (Stage.FAILED, reason, None)
    assert all(one.prompt != "a bear" for one in battles.open_battles(arena, ME, n=9))


@pytest.mark.usefixtures("nobody_works")
def test_a_request_whose_worker_died_is_taken_up_again_and_given_up_in_the_end(seeded: Arena) -> None:
    own_prompts.ask(seeded, ME, "a bear")
    queue = OwnPrompts(seeded.store)
    for _ in range(2):
        run = seeded.store.add_run(RunKind.GENERATE, own_prompts.SUBJECT)
        assert (queue.claim(run.id or 0) or pytest.fail()).prompt.text == "a bear"
        assert queue.claim(run.id or 0) is None  # a working process keeps it
        seeded.store.end_run(run.id or 0, RunState.FAILED, "killed")
    work(seeded)
    request = queue.newest(ME)
    assert request is not None and (request.stage, request.reason) == (Stage.FAILED, KILLED)


@pytest.mark.usefixtures("nobody_works")
def test_who_is_erased_while_it_is_drawn_leaves_no_picture(seeded: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    own_prompts.ask(seeded, ME, "my secret")
    made = OwnPrompts.made

    def erased_meanwhile(queue: OwnPrompts, request_id: int, done: int) -> None:
        made(queue, request_id, done)
        personal.delete(seeded, ME)

    before = {*seeded.blobs.folder.rglob("*")}
    monkeypatch.setattr(OwnPrompts, "made", erased_meanwhile)
    work(seeded)
    assert {path for path in seeded.blobs.folder.rglob("*") if path.is_file()} == {p for p in before if p.is_file()}
    assert stage(seeded) is Stage.FAILED and "my secret" not in str(seeded.store.prompt(7))


@pytest.mark.usefixtures("nobody_works")
def test_which_side_is_drawn_first_is_chance(
    seeded: Arena, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page shows how far it is: in one order always, the clock would tell a quick side from a slow one."""
    arena = open_arena(settings.model_copy(update={"own_prompts_per_hour": 1000}))
    drawn: list[int] = []
    picture = own_prompts._picture

    def noted(arena_: Arena, queue: OwnPrompts, request: OwnPrompt, contestant: Contestant, *rest: object) -> object:
        drawn.append(contestant.id or 0)
        return picture(arena_, queue, request, contestant, *rest)

    monkeypatch.setattr(own_prompts, "_picture", noted)
    first = Counter[str]()
    for n in range(20):
        own_prompts.ask(arena, ME, f"a bear {n}")
        work(arena)
        request = OwnPrompts(arena.store).newest(ME)
        assert request is not None and sorted(drawn) == sorted((request.left_id, request.right_id))
        battle = arena.store.battle(request.token or "")
        assert (battle.left.contestant_id, battle.right.contestant_id) == (request.left_id, request.right_id)
        first["left" if drawn[0] == request.left_id else "right"] += 1
        battles.skip(arena, ME, request.token or "")
        drawn.clear()
    assert first["left"] and first["right"]  # the same 20 times: twice in a million
    arena.store.engine.dispose()


@pytest.mark.usefixtures("nobody_works")
def test_a_second_worker_leaves_the_work_to_the_first(seeded: Arena) -> None:
    first = seeded.store.add_run(RunKind.GENERATE, own_prompts.SUBJECT)
    assert work(seeded).message == "another one was at work already"
    seeded.store.end_run(first.id or 0, RunState.DONE)


def test_a_worker_that_never_starts_is_given_up(seeded: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PROGRAM", ("/bin/false",))
    own_prompts.ask(seeded, ME, "a bear")
    deadline = time.monotonic() + 60
    while stage(seeded) is Stage.WAITING and time.monotonic() < deadline:
        own_prompts.standing(seeded, ME)
        time.sleep(0.05)
    request = OwnPrompts(seeded.store).newest(ME)
    assert request is not None and request.stage is Stage.FAILED and "does not start here" in request.reason
    assert len(own_prompts.workers(seeded)) == own_prompts.MOST_STARTS


# In a process of its own


def test_a_killed_worker_is_replaced_and_the_prompt_is_drawn(arena: Arena) -> None:
    fill_with_swatches(arena, contestants=1, prompts=1)
    image = arena.store.generations(1)[0]
    slow = arena.store.add_contestant(Contestant("Slow", "swatch", {"tint": "slow", "pause": 1.0}))
    from dataclasses import replace

    arena.store.add_generations([replace(image, contestant_id=slow.id, id=None)])
    own_prompts.ask(arena, ME, "a bear")
    killed: Run | None = None
    deadline = time.monotonic() + 120
    while stage(arena) is not Stage.READY and time.monotonic() < deadline:
        own_prompts.standing(arena, ME)
        worker = own_prompts.workers(arena)[0]
        if killed is None and stage(arena) is Stage.WORKING and worker.pid:
            os.kill(worker.pid, signal.SIGKILL)
            killed = worker
        time.sleep(0.05)
    assert killed is not None and stage(arena) is Stage.READY
    while own_prompts.workers(arena)[0].state is RunState.RUNNING and time.monotonic() < deadline:
        time.sleep(0.05)  # it ends by itself once nothing comes
    last, first = own_prompts.workers(arena)
    assert (last.state, first.state, first.id) == (RunState.DONE, RunState.FAILED, killed.id)


# What is kept loaded


class Held:
    """A backend that knows whether it was closed; `fault` is raised where it is loaded, or closed."""

    def __init__(self, name: str, open_now: list[str], fault: Exception | None = None):
        self.name, self.open_now, self.fault = name, open_now, fault
        open_now.append(name)

    def close(self) -> None:
        self.open_now.remove(self.name)
        if self.fault is not None:
            raise self.fault


def test_what_is_no_longer_kept_is_closed_before_the_next_is_loaded(seeded: Arena) -> None:
    arena = open_arena(seeded.settings.model_copy(update={"own_prompts_loaded": 2}))
    a, b, c = arena.store.contestants()
    open_now: list[str] = []
    at_loading: list[list[str]] = []

    def make(contestant: Contestant) -> Held:
        at_loading.append([*open_now])
        return Held(contestant.name, open_now, RuntimeError("stuck") if contestant == b else None)

    loaded = own_prompts.Loaded(arena)
    loaded.make = make  # type: ignore[assignment]
    first = loaded.get(a)
    loaded.get(b)
    assert loaded.get(a) is first, "used last, so b goes first"
    loaded.get(c)  # b raises when it is closed, and c comes all the same
    loaded.get(b)
    assert at_loading == [[], [a.name], [a.name], [c.name]] and open_now == [c.name, b.name]
    loaded.close()
    assert open_now == [] and not loaded.kept
    arena.store.engine.dispose()


@pytest.mark.usefixtures("nobody_works")
def test_the_worker_closes_what_it_loaded_and_outlives_a_backend_that_breaks(
    seeded: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A constructor that raises what no error of ours is fails its request alone."""
    closed: list[str] = []

    class Breaking(SwatchBackend):
        def __init__(self, tint: str = "x", **settings: object):
            if tint == broken.settings["tint"]:
                raise RuntimeError("CUDA error: invalid device ordinal")
            super().__init__(tint=tint, **settings)
            self.tint_of = tint

        def close(self) -> None:
            closed.append(self.tint_of)

    broken, *rest = seeded.store.contestants()
    monkeypatch.setattr("arena.backends.base.backend_class", lambda name: Breaking)
    rng = Random(1)
    for n in range(12):
        own_prompts.ask(seeded, f"person:{n}", "a bear", rng)
        assert work(seeded).state is RunState.DONE
    found = [OwnPrompts(seeded.store).newest(f"person:{n}") for n in range(12)]
    failed = [one for one in found if one is not None and one.stage is Stage.FAILED]
    assert 0 < len(failed) < 12 and {one.reason for one in failed} == {f"{broken.name} could not be loaded here"}
    assert {*closed} == {one.settings["tint"] for one in rest}
