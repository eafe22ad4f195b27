"""The ledger of judges: append-only, a pair claimed by one run at a time, a vote for every scored battle only."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from arena.bootstrap import Arena
from arena.domain import Battle, JudgeAnswer, JudgeCard, JudgeVerdict, Outcome, RunKind, RunState
from arena.services import battles
from db.verdicts import Pair, Verdicts
from tests.conftest import fill_with_swatches

CARD = JudgeCard("judge:test@1", "test", {"rule": "none"})
A, B = JudgeAnswer("A", "A", shares={"A": 0.75, "B": 0.25}, seconds=0.5, cost_usd=0.01), JudgeAnswer("B", "B")
MUTE = JudgeAnswer(None, unscored="timed out")


@pytest.fixture
def ledger(any_arena: Arena) -> Verdicts:
    fill_with_swatches(any_arena, contestants=2, prompts=3)
    found = Verdicts(any_arena.store)
    found.add_judge(CARD)
    return found


def drawn(arena: Arena, n: int = 3) -> list[Battle]:
    """Battles of this judge that are not stored yet."""
    open_ = battles.open_battles(arena, "person:x", n=n)
    found = [arena.store.battle(battle.token) for battle in open_]
    return [replace(one, id=None, drawn_for=CARD.id, token=f"judge-{i}") for i, one in enumerate(found)]


def verdict(battle: Battle, outcome: Outcome | None = Outcome.LEFT, **changes: object) -> JudgeVerdict:
    pair = Pair.of(battle)
    values = {"answers": (A, B), "consistent": True} if outcome else {"answers": (MUTE, MUTE), "unscored": "timed out"}
    return JudgeVerdict(
        judge_id=CARD.id, prompt_id=pair.prompt_id, left=pair.left, right=pair.right, question_sha256="0" * 64,
        outcome=outcome, **{**values, **changes},
    )  # type: ignore[arg-type]  # fmt: skip


def settle(arena: Arena, *judged: tuple[JudgeVerdict, Battle]) -> int:
    parameters = battles.elo_parameters(arena)
    return len(Verdicts(arena.store).settle(judged, board=battles.BOARD, parameters=parameters))


def a_run(arena: Arena) -> int:
    return arena.store.add_run(RunKind.JUDGE, "test").id or 0


# Append-only


@pytest.mark.parametrize("table", ["judges", "verdicts", "verdict_battles"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET {}"])
def test_the_database_refuses_to_change_a_verdict(
    any_arena: Arena, ledger: Verdicts, table: str, statement: str
) -> None:
    [battle, *_] = drawn(any_arena)
    settle(any_arena, (verdict(battle), battle))
    change = {"judges": "source = 'x'", "verdicts": "unscored = 'x'", "verdict_battles": "battle_id = 1"}[table]
    with pytest.raises(DBAPIError, match="append-only"), any_arena.store.engine.connect() as connection:
        connection.execute(text(statement.format(table, change)))


def test_what_was_stored_comes_back_whole(any_arena: Arena, ledger: Verdicts) -> None:
    [battle, *_] = drawn(any_arena)
    run_id = a_run(any_arena)
    settle(any_arena, (verdict(battle, run_id=run_id), battle))
    [found] = ledger.judged(CARD.id)
    assert found.verdict.answers == (A, B) and found.verdict.seconds == 0.5 and found.verdict.cost_usd == 0.01
    assert found.verdict == verdict(battle, run_id=run_id, id=found.verdict.id, at=found.verdict.at)
    assert ledger.judges() == [CARD] and ledger.newest("test") == CARD.id and ledger.newest("other") is None
    [words] = ledger.words(CARD.id)
    assert (words.left_first, words.right_first) == ("A", "B")
    assert words.left_first_shares == (0.75, 0.25) and words.right_first_shares == (None, None)


# Votes


def test_a_vote_for_a_scored_battle_and_none_for_an_unscored_one(any_arena: Arena, ledger: Verdicts) -> None:
    one, two, _ = drawn(any_arena)
    assert settle(any_arena, (verdict(one), one), (verdict(two, None), two)) == 2
    [vote] = any_arena.store.votes(CARD.id)
    turned = one.left.image is not None and one.left.image.sha256 != verdict(one).left
    assert vote.outcome is (Outcome.RIGHT if turned else Outcome.LEFT)
    assert any_arena.store.judges() == [CARD.id] and any_arena.store.voted_pairs() == []
    tally = ledger.tally(CARD.id)
    assert (tally.asked, tally.scored, tally.inconsistent, tally.unscored) == (2, 1, 0, 1)


def test_settling_again_changes_nothing(any_arena: Arena, ledger: Verdicts) -> None:
    [battle, *_] = drawn(any_arena)
    settle(any_arena, (verdict(battle), battle))
    [found] = ledger.judged(CARD.id)
    assert settle(any_arena, (found.verdict, replace(battle, token="another"))) == 0
    assert len(any_arena.store.votes()) == 1 and len(any_arena.store.seen_cells(CARD.id)) == 1


def test_another_attempt_supersedes_an_unscored_verdict(any_arena: Arena, ledger: Verdicts) -> None:
    [battle, *_] = drawn(any_arena)
    settle(any_arena, (verdict(battle, None), battle))
    [waiting] = any_arena.store.open_battles(CARD.id)
    settle(any_arena, (verdict(waiting, attempt=1), waiting))
    [found] = ledger.judged(CARD.id)
    assert found.verdict.attempt == 1 and len(any_arena.store.votes()) == 1
    assert any_arena.store.open_battles(CARD.id) == []
    assert (ledger.tally().asked, ledger.tally().unscored) == (2, 0)


def test_the_same_attempt_twice_is_refused_and_leaves_nothing(any_arena: Arena, ledger: Verdicts) -> None:
    one, two, _ = drawn(any_arena)
    settle(any_arena, (verdict(one), one))
    with pytest.raises(DBAPIError):
        settle(any_arena, (verdict(two), two), (verdict(one), one))
    assert ledger.tally().asked == 1 and len(any_arena.store.votes()) == 1


# Claims


def test_a_pair_is_claimed_by_one_working_run(any_arena: Arena, ledger: Verdicts) -> None:
    pairs = [Pair.of(battle) for battle in drawn(any_arena)]
    first, second = a_run(any_arena), a_run(any_arena)
    assert ledger.claim(CARD.id, first, pairs[:2]) == ({pairs[0]: 0, pairs[1]: 0}, {})
    assert ledger.claim(CARD.id, first, pairs[:1]) == ({pairs[0]: 0}, {})
    assert ledger.claim(CARD.id, second, pairs) == ({pairs[2]: 0}, {})
    any_arena.store.end_run(first, RunState.FAILED)
    assert ledger.claim(CARD.id, second, pairs)[0].keys() == {*pairs}


def test_a_claim_ends_with_the_verdict(any_arena: Arena, ledger: Verdicts) -> None:
    [battle, *_] = drawn(any_arena)
    pair, first, second = Pair.of(battle), a_run(any_arena), a_run(any_arena)
    ledger.claim(CARD.id, first, [pair])
    settle(any_arena, (verdict(battle), battle))
    ask, known = ledger.claim(CARD.id, second, [pair, pair])
    assert ask == {} and known[pair].outcome is Outcome.LEFT
    with any_arena.store.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM verdict_claims")) == 0


def test_an_unscored_pair_is_asked_again_only_on_demand(any_arena: Arena, ledger: Verdicts) -> None:
    [battle, *_] = drawn(any_arena)
    pair = Pair.of(battle)
    settle(any_arena, (verdict(battle, None), battle))
    assert ledger.claim(CARD.id, a_run(any_arena), [pair])[0] == {}
    assert ledger.claim(CARD.id, a_run(any_arena), [pair], again=True) == ({pair: 1}, {})


# What cannot be


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outcome": None}, "an outcome or unscored"),
        ({"consistent": None}, "consistent or not"),
        ({"left": "b" * 64, "right": "a" * 64}, "alphabetical order"),
    ],
)
def test_a_verdict_that_makes_no_sense_cannot_be_built(changes: dict, words: str) -> None:
    good = {
        "judge_id": "judge:x@1", "prompt_id": 1, "left": "a" * 64, "right": "b" * 64, "answers": (A, B),
        "question_sha256": "0" * 64, "outcome": Outcome.TIE, "consistent": False,
    }  # fmt: skip
    with pytest.raises(ValueError, match=words):
        JudgeVerdict(**{**good, **changes})


def test_an_answer_is_a_word_or_unscored_and_a_judge_is_named_as_one() -> None:
    with pytest.raises(ValueError, match="a word or unscored"):
        JudgeAnswer("A")
    with pytest.raises(ValueError, match="begins with 'judge:'"):
        JudgeCard("person:x", "teddy", {})
