"""A board that is carried along says what a board of all votes says, whatever happened to the votes in between."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from arena.bootstrap import Arena, open_arena
from arena.domain import Contestant, VoteFilter
from arena.rating.live import LiveBoard
from arena.services import battles, carried, counting, exchange, running
from arena.services.leaderboard import Leaderboard, leaderboard, running_leaderboard, settled_by
from arena.settings import load_settings
from tests.conftest import fill_with_swatches
from tests.services import voter_process

MODELS, VOTERS = [f"Swatch {letter}" for letter in "ABCD"], 12


def votes_file(path: Path, n: int, seed: int = 0, models: list[str] = MODELS) -> Path:
    """n votes of twelve voters; the first model is the best and none wins all."""
    rng = Random(seed)
    lines = ["model_a,model_b,winner,voter,category"]
    for _ in range(n):
        a, b = rng.sample(range(len(models)), 2)
        winner = rng.choices(["model_a", "model_b", "tie", "bothbad"], [3 + b - a, 3 + a - b, 1, 0.3])[0]
        category = rng.choice(["cards", "colour"])
        lines.append(f"{models[a]},{models[b]},{winner},voter {rng.randrange(VOTERS)},{category}")
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(autouse=True)
def many_is_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boards of a hundred votes are carried along, as those of twenty thousand are."""
    monkeypatch.setattr(running, "MANY", 100)


def made_busy(arena: Arena, folder: Path) -> Arena:
    fill_with_swatches(arena, contestants=len(MODELS))
    exchange.import_votes(arena, votes_file(folder / "votes.csv", 400))
    return arena


@pytest.fixture
def busy(arena: Arena, tmp_path: Path) -> Arena:
    return made_busy(arena, tmp_path)


@pytest.fixture
def busy_anywhere(any_arena: Arena, tmp_path: Path) -> Arena:
    """On SQLite, and on PostgreSQL."""
    return made_busy(any_arena, tmp_path)


def vote_once(arena: Arena, voter: str, outcome: str = "left") -> None:
    [battle] = battles.open_battles(arena, voter, n=1)
    battles.vote(arena, voter, battle.token, outcome)


def alike(found: Leaderboard, whole: Leaderboard) -> None:
    """Counts and strengths to rounding; intervals to 3%, since a hundred votes move strengths by points."""
    exact = ("name", "rank", "votes", "wins", "losses", "ties", "both_bad", "both_bad_rate", "elo", "provisional")
    for row, other in zip(found.rows, whole.rows, strict=True):
        assert [getattr(row, name) for name in exact] == [getattr(other, name) for name in exact]
        assert row.rating == pytest.approx(other.rating, abs=1e-6)
        if row.rating is not None:
            assert row.high - row.low == pytest.approx(other.high - other.low, rel=0.03)
            assert row.p_best == pytest.approx(other.p_best, abs=0.05)
    assert (found.votes, found.last_vote_id) == (whole.votes, whole.last_vote_id)
    for one, other in zip(found.meetings, whole.meetings, strict=True):
        assert (one.name, one.opponent, one.votes, one.score) == (other.name, other.opponent, other.votes, other.score)
        assert one.expected == pytest.approx(other.expected, abs=1e-9)
    assert found.warnings == whole.warnings
    assert found.parameters == whole.parameters


def is_live(arena: Arena, votes: VoteFilter | None = None) -> bool:
    return isinstance(carried.carried(arena, running.Running, votes or VoteFilter(), lambda kept: kept), running._Live)


def test_vote_by_vote_it_is_the_whole_board(busy_anywhere: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    alike(running_leaderboard(busy_anywhere), leaderboard(busy_anywhere))
    assert is_live(busy_anywhere)
    monkeypatch.setattr(LiveBoard, "__post_init__", None)  # No board is made anew from here on.
    for n in range(12):
        vote_once(busy_anywhere, f"person:{n % 3}", ["left", "right", "tie", "both_bad"][n % 4])
        alike(running_leaderboard(busy_anywhere), leaderboard(busy_anywhere))


def test_an_excluded_vote_is_counted_out(busy_anywhere: Arena) -> None:
    vote_once(busy_anywhere, "person:x")
    before = running_leaderboard(busy_anywhere)
    busy_anywhere.store.exclude_vote(busy_anywhere.store.votes()[-1].id or 0, "a test")
    after = running_leaderboard(busy_anywhere)
    assert after.votes == before.votes - 1
    alike(after, leaderboard(busy_anywhere))
    # The number of the ballot that went may be given again.
    vote_once(busy_anywhere, "person:y", "right")
    alike(running_leaderboard(busy_anywhere), leaderboard(busy_anywhere))


def test_contestants_and_files_that_come_later_are_on_it(busy: Arena, tmp_path: Path) -> None:
    running_leaderboard(busy)
    busy.store.add_contestant(Contestant("Swatch Z", "swatch", {"tint": "Z"}))
    found = running_leaderboard(busy)
    assert found.rows[-1].name == "Swatch Z" and found.rows[-1].rating is None
    alike(found, leaderboard(busy))
    exchange.import_votes(busy, votes_file(tmp_path / "more.csv", 50, seed=1, models=[*MODELS, "Swatch Z"]))
    found = running_leaderboard(busy)
    assert all(row.rating is not None for row in found.rows) and found.votes == 450
    alike(found, leaderboard(busy))


def test_a_category_is_carried_along_too(busy: Arena) -> None:
    cards = VoteFilter(category="cards")
    before = running_leaderboard(busy, cards)
    assert is_live(busy, cards)
    vote_once(busy, "person:x")
    vote_once(busy, "person:x")
    vote_once(busy, "person:x")
    alike(running_leaderboard(busy, cards), leaderboard(busy, cards))
    assert 0 <= running_leaderboard(busy, cards).votes - before.votes <= 3


def test_a_filter_with_an_end_stays_as_it_was(busy: Arena) -> None:
    until = VoteFilter(up_to=300)
    before = running_leaderboard(busy, until)
    vote_once(busy, "person:x")
    assert running_leaderboard(busy, until).votes == before.votes == 300


def test_more_votes_than_are_read_one_by_one_are_counted_by_the_database(
    busy: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_leaderboard(busy)
    monkeypatch.setattr(carried, "MOST_READ", 1)
    vote_once(busy, "person:x")
    vote_once(busy, "person:x")
    alike(running_leaderboard(busy), leaderboard(busy))


def test_what_would_change_the_order_is_found_for_a_row(busy: Arena) -> None:
    vote_once(busy, "person:x")
    found = running_leaderboard(busy)
    exact = leaderboard(busy).rows
    assert {row.votes_to_flip for row in found.rows} == {None}, "a running board leaves it out"
    for row, whole in zip(found.rows, exact, strict=True):
        flip, needed = settled_by(busy, found, row.name)
        assert flip == whole.votes_to_flip
        assert (needed is None) == (whole.votes_needed is None)
        if needed is not None:
            assert needed == pytest.approx(whole.votes_needed, rel=0.05, abs=3)


def test_few_votes_are_rated_anew(seeded: Arena) -> None:
    alike(running_leaderboard(seeded), leaderboard(seeded))
    for n in range(8):
        vote_once(seeded, f"person:{n % 2}", ["left", "right", "tie"][n % 3])
    assert not is_live(seeded)
    found, whole = running_leaderboard(seeded), leaderboard(seeded)
    assert found.rows == whole.rows
    for row in found.rows:
        assert settled_by(seeded, found, row.name) == (row.votes_to_flip, row.votes_needed)


def test_two_processes_vote_while_a_third_looks_on(busy_anywhere: Arena) -> None:
    """Whatever moment the board is looked at, it has every vote up to its last once."""
    environment = {**os.environ, **busy_anywhere.settings.as_environment()}
    workers = [
        subprocess.Popen(
            [sys.executable, voter_process.__file__, f"person:{n}", str(n)], env=environment, stdout=subprocess.PIPE
        )
        for n in range(2)
    ]
    seen = set()
    while any(worker.poll() is None for worker in workers):
        found = running_leaderboard(busy_anywhere)
        seen.add(found.votes)
        up_to = counting.comparisons(busy_anywhere, VoteFilter(up_to=found.last_vote_id))
        assert abs(found.votes - up_to.votes) <= 10, "read one after the other, with votes in between"
    for worker in workers:
        assert worker.communicate()[1] is None and worker.returncode == 0
    assert len(seen) > 2
    cast = len(busy_anywhere.store.votes())
    assert cast == 2 * 36 and running_leaderboard(busy_anywhere).votes == 400 + cast
    alike(running_leaderboard(busy_anywhere), leaderboard(busy_anywhere))


def test_the_standing_that_pairs_are_drawn_by_is_carried_along(busy: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    counting.standing(busy)
    counted = []
    monkeypatch.setattr(counting._Wins, "counted", lambda *_: counted.append(1))
    for n in range(6):
        vote_once(busy, "person:x", ["left", "both_bad", "tie"][n % 3])
    found = counting.standing(busy)
    whole = counting.standing_of(busy.store.counts(VoteFilter(), cluster=None))
    assert found.votes == whole.votes and not counted
    assert found.strengths == pytest.approx(whole.strengths, abs=1e-9)
    monkeypatch.undo()
    busy.store.exclude_vote(busy.store.votes()[-1].id or 0, "a test")
    assert counting.standing(busy).votes == counting.standing_of(busy.store.counts(VoteFilter(), cluster=None)).votes


def test_arenas_do_not_mix(busy: Arena, tmp_path: Path) -> None:
    other = open_arena(load_settings(data_dir=tmp_path / "other"), prepare=True)
    assert running_leaderboard(busy).votes == 400 and running_leaderboard(other).votes == 0
    assert counting.standing(busy).votes and not counting.standing(other).votes
