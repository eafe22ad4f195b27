"""What a page shows of many votes is what all votes say, made by whichever process."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from arena.bootstrap import Arena
from arena.domain import VoteFilter
from arena.errors import UnknownName
from arena.rating import board as boards
from arena.services import counting, deriving, exchange, history, leaderboard
from arena.services.deriving import Answer, Question
from tests.services.test_leaderboard import vote_in_turn
from tests.services.test_tally import FIRST, dated_votes


@pytest.fixture
def many_is_few(monkeypatch: pytest.MonkeyPatch, seeded: Arena) -> Iterator[Arena]:
    """An arena whose few votes count as many: they are answered by a child process."""
    vote_in_turn(seeded, voters=3)
    monkeypatch.setattr(deriving, "MANY", 10)
    yield seeded
    deriving.stop(seeded)


def awaited(arena: Arena, kind: str, *arguments: object, seconds: float = 120) -> Answer:
    """The answer once it is as of now."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = deriving.answer(arena, kind, *arguments)
        if found is not None and found.newest == arena.store.newest():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{kind} was not answered")


def same_board(found: leaderboard.Rated, arena: Arena, votes: VoteFilter) -> None:
    assert found.board == boards.board(counting.comparisons(arena, votes), flips=False)


def test_few_votes_are_answered_at_once_and_the_answer_is_kept(seeded: Arena) -> None:
    vote_in_turn(seeded, voters=3)
    found = deriving.answer(seeded, "board", VoteFilter())
    assert found is not None and found.newest == seeded.store.newest()
    same_board(found.value, seeded, VoteFilter())
    assert deriving.answer(seeded, "board", VoteFilter()) is found
    vote_in_turn(seeded, voters=1, votes=1)
    later = deriving.answer(seeded, "board", VoteFilter())
    assert later is not None and later.value.board.n_votes == 49


def test_many_votes_are_answered_by_a_child_and_nobody_waits(many_is_few: Arena) -> None:
    start = time.monotonic()
    assert deriving.answer(many_is_few, "board", VoteFilter()) is None
    assert time.monotonic() - start < 5  # a child takes longer to start than a board of 48 votes to make
    same_board(awaited(many_is_few, "board", VoteFilter()).value, many_is_few, VoteFilter())
    cards = VoteFilter(category="cards")
    deriving.prepare(many_is_few, [Question("board", (cards,))])
    same_board(awaited(many_is_few, "board", cards).value, many_is_few, cards)


def test_what_grows_with_contestants_is_answered_by_a_child_where_there_are_many(
    seeded: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    vote_in_turn(seeded, voters=3)
    monkeypatch.setattr(deriving, "MANY_CONTESTANTS", 2)
    try:
        assert deriving.answer(seeded, "pooled") is None
        assert deriving.answer(seeded, "board", VoteFilter()) is not None
        assert awaited(seeded, "pooled").value == leaderboard.pooled_ratings(seeded)
    finally:
        deriving.stop(seeded)


def test_a_new_vote_shows_the_last_answer_until_the_next_is_made(many_is_few: Arena) -> None:
    before = awaited(many_is_few, "board", VoteFilter())
    vote_in_turn(many_is_few, voters=1, votes=1)
    assert deriving.answer(many_is_few, "board", VoteFilter()).newest == before.newest  # type: ignore[union-attr]
    same_board(awaited(many_is_few, "board", VoteFilter()).value, many_is_few, VoteFilter())


def test_a_child_that_is_killed_is_replaced(many_is_few: Arena) -> None:
    awaited(many_is_few, "elo")
    worker = deriving._workers[str(many_is_few.store.engine.url), False]
    assert worker.child is not None
    worker.child.kill()
    same_board(awaited(many_is_few, "board", VoteFilter()).value, many_is_few, VoteFilter())


def test_a_process_in_the_middle_of_an_answer_ends_with_its_parent() -> None:
    busy = "from arena.services import deriving; import time; deriving.end_with_parent(); time.sleep(100)"
    parent = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdin=-1); "
        "print(child.pid, flush=True); time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", parent, busy], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        time.sleep(1)
        os.kill(child, 0)
        process.kill()
    deadline = time.monotonic() + 60
    while is_running(child):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    """Whether there is such a process that is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_no_board_waits_behind_what_takes_minutes(many_is_few: Arena) -> None:
    slow = [Question(kind) for kind in sorted(deriving.SLOW)] + [Question("board", (VoteFilter(), True))]
    quick = [Question("board", (VoteFilter(), False)), Question("board", (VoteFilter(),)), Question("elo")]
    boards = deriving._worker(many_is_few, quick[0])
    assert all(deriving._worker(many_is_few, one) is boards for one in quick)
    assert all(deriving._worker(many_is_few, one) is not boards for one in slow)


def test_trouble_is_an_answer(seeded: Arena) -> None:
    found = deriving.answer(seeded, "board", VoteFilter(), True)
    assert found is not None and found.value is None and "no vote was cast on images" in found.trouble


def test_an_unknown_question_is_refused_with_the_known_ones(seeded: Arena) -> None:
    with pytest.raises(UnknownName, match=r"known: .*board"):
        deriving.answer(seeded, "bored")


def test_the_child_answers_until_there_are_no_more_questions(seeded: Arena) -> None:
    asked = io.BytesIO(pickle.dumps(Question("board", (VoteFilter(),))) + pickle.dumps(Question("elo")))
    said = io.BytesIO()
    deriving.serve(seeded, asked, said)
    said.seek(0)
    assert pickle.load(said).value.board.n_votes == 0
    assert pickle.load(said).value == leaderboard.live_ratings(seeded)


def test_every_question_leads_to_a_function() -> None:
    from arena.plugins import resolve

    assert all(callable(resolve("question", deriving.QUESTIONS, kind)) for kind in deriving.QUESTIONS)


# What is asked


def test_an_order_is_settled_as_the_whole_board_says(seeded: Arena) -> None:
    vote_in_turn(seeded, voters=4)
    rows = leaderboard.leaderboard(seeded).rows
    for row, below in pairwise(rows):
        found = leaderboard.between(seeded, VoteFilter(), row.name, below.name)
        assert found == (row.votes_to_flip, row.votes_needed)
    assert leaderboard.between(seeded, VoteFilter(), rows[0].name, "nobody") is None


def test_style_taken_out_gives_a_board_with_rank_sets(seeded: Arena) -> None:
    vote_in_turn(seeded, voters=6)
    found = leaderboard.rated(seeded, VoteFilter(), controlled=True)
    _, whole = leaderboard.audit.style_fit(seeded, VoteFilter())
    assert {row.model: row.rating for row in found.board.board} == pytest.approx(
        dict(zip(whole.contestants, whole.ratings, strict=True))
    )
    assert all(row.low < row.rating < row.high and row.rank_low <= row.rank_high for row in found.board.board)
    assert {effect.name for effect in found.effects} == set(whole.names)


def test_a_history_ends_with_the_board_as_it_is(seeded: Arena, tmp_path: Path) -> None:
    exchange.import_votes(seeded, dated_votes(tmp_path / "votes.csv", 240))
    votes = VoteFilter(since=FIRST - timedelta(days=9))
    moments = history.history(seeded, votes, points=4)
    days = sorted({moment.day for moment in moments})
    assert len(days) == 4
    board = boards.board(counting.comparisons(seeded, votes), flips=False)
    last = {moment.name: moment for moment in moments if moment.day == days[-1]}
    for row in board.board:
        end = last.pop(row.model)
        assert (end.rating, end.low, end.high) == pytest.approx((row.rating, row.low, row.high))
    assert not last
    middle = datetime.fromisoformat(days[1]).replace(tzinfo=UTC) + timedelta(days=1)
    then = boards.board(counting.comparisons(seeded, VoteFilter(since=votes.since, until=middle)), flips=False)
    assert {m.name: m.rating for m in moments if m.day == days[1]} == pytest.approx(
        {row.model: row.rating for row in then.board}
    )


def test_changes_are_those_of_the_votes_since(seeded: Arena, tmp_path: Path) -> None:
    lines = ["model_a,model_b,winner,timestamp"]
    lines += ["Swatch A,Swatch B,model_a,2026-11-01T00:00:00Z"] * 3 + ["Swatch A,Swatch B,model_b,2026-11-01T00:00:00Z"]
    lines += ["Swatch A,Swatch B,model_b,2026-11-20T00:00:00Z"] * 5
    lines += [f"Swatch C,Swatch B,{winner},2026-11-21T00:00:00Z" for winner in ("model_a", "model_a", "model_b")]
    (tmp_path / "votes.csv").write_text("\n".join(lines))
    exchange.import_votes(seeded, tmp_path / "votes.csv")
    found = history.changes(seeded, VoteFilter(), datetime(2026, 11, 14, tzinfo=UTC))
    assert (found.votes, found.before, found.new) == (8, 4, ("Swatch C",))
    assert {(move.name, move.before, move.after) for move in found.moves} == {("Swatch A", 1, 3)}
    everything = history.changes(seeded, VoteFilter(), datetime(2026, 10, 1, tzinfo=UTC))
    assert (everything.votes, everything.before, everything.new, everything.moves) == (12, 0, (), ())
