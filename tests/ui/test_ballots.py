"""Ballots: what a browser sends is read with suspicion and cast once."""

from __future__ import annotations

import math
from typing import Any

import pytest

from arena.bootstrap import Arena
from arena.domain import Outcome
from arena.errors import DatabaseError
from arena.services import battles
from arena.ui import ballots
from arena.ui.ballots import MOST_BALLOTS, Ballot, Sitting, cast_all, read_ballots
from arena.ui.vote import surface_data

VOTER = "person:someone"


def entry(token: str, outcome: str = "left", seconds: Any = 1.5) -> dict[str, Any]:
    return {"token": token, "outcome": outcome, "seconds": seconds}


def test_a_ballot_is_read_with_its_token_outcome_and_time() -> None:
    assert read_ballots([entry("abc", "both_bad", 2)]) == [Ballot("abc", Outcome.BOTH_BAD, 2.0)]


def test_skip_is_a_ballot_without_an_outcome() -> None:
    assert read_ballots([entry("abc", "skip")]) == [Ballot("abc", None)]


@pytest.mark.parametrize(
    "sent",
    [None, "left", 3, {}, [None], ["left"], [{}], [entry("")], [entry("x" * 9999)], [entry("abc", "LEFT")],
     [entry("abc", "")], [{"token": 1, "outcome": "left"}], [{"token": "abc"}], [entry("abc", ["left"])]],
)  # fmt: skip
def test_what_is_not_a_ballot_is_dropped_and_never_becomes_a_tie(sent: Any) -> None:
    assert read_ballots(sent) == []


@pytest.mark.parametrize("seconds", [None, "1", -1, math.nan, math.inf, 1e9, True, [1]])
def test_an_insane_time_is_unknown(seconds: Any) -> None:
    assert read_ballots([entry("abc", seconds=seconds)]) == [Ballot("abc", Outcome.LEFT, None)]


def test_a_flood_is_cut() -> None:
    assert len(read_ballots([entry(f"t{n}") for n in range(1000)])) == MOST_BALLOTS


def test_votes_are_stored_in_the_order_of_the_presses(seeded: Arena) -> None:
    offered = battles.open_battles(seeded, VOTER, n=3)
    outcomes = [Outcome.RIGHT, Outcome.TIE, Outcome.BOTH_BAD]
    cast_all(seeded, VOTER, [Ballot(b.token, o, 1.0) for b, o in zip(offered, outcomes, strict=True)], Sitting())
    assert [vote.outcome for vote in seeded.store.votes()] == outcomes
    assert [vote.battle_id for vote in seeded.store.votes()] == [seeded.store.battle(b.token).id for b in offered]


def test_a_ballot_sent_again_is_settled_again_and_counted_once(seeded: Arena) -> None:
    (battle,) = battles.open_battles(seeded, VOTER, n=1)
    ballot = Ballot(battle.token, Outcome.LEFT, 1.0)
    first, after_reload = Sitting(), Sitting()
    for sitting in (first, first, after_reload):
        cast_all(seeded, VOTER, [ballot], sitting)
        assert sitting.settled == [battle.token]
        assert sitting.notice == ""
    assert len(seeded.store.votes()) == 1
    assert first.reveal is not None and first.reveal.token == battle.token


def test_a_refused_ballot_is_settled_with_a_sentence_and_voting_goes_on(seeded: Arena) -> None:
    (battle,) = battles.open_battles(seeded, VOTER, n=1)
    (foreign,) = battles.open_battles(seeded, "person:else", n=1)
    sitting = Sitting()
    cast_all(seeded, VOTER, [Ballot("forged", Outcome.LEFT), Ballot(foreign.token, Outcome.LEFT)], sitting)
    assert sitting.settled == ["forged", foreign.token]
    assert sitting.notice.startswith("That vote was not counted.")
    cast_all(seeded, VOTER, [Ballot(battle.token, Outcome.LEFT)], sitting)
    assert sitting.notice == ""
    assert [vote.voter_id for vote in seeded.store.votes()] == [VOTER]


def test_a_ballot_that_failed_stays_open_and_succeeds_later(seeded: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    (battle,) = battles.open_battles(seeded, VOTER, n=1)
    sitting, ballot = Sitting(), Ballot(battle.token, Outcome.LEFT)

    def away(*_: object) -> None:
        raise DatabaseError("The database is away.")

    with monkeypatch.context() as broken:
        broken.setattr(ballots.battles, "vote", away)
        cast_all(seeded, VOTER, [ballot], sitting)
    assert sitting.settled == []
    assert sitting.notice == "Your vote is kept and will be sent again. The database is away."
    cast_all(seeded, VOTER, [ballot], sitting)
    assert sitting.settled == [battle.token]
    assert len(seeded.store.votes()) == 1


def test_skipping_reveals_nothing_and_is_not_offered_again(seeded: Arena) -> None:
    (battle,) = battles.open_battles(seeded, VOTER, n=1)
    sitting = Sitting()
    cast_all(seeded, VOTER, [Ballot(battle.token, None)], sitting)
    assert sitting.reveal is None and sitting.settled == [battle.token]
    assert battle.token not in [b.token for b in battles.open_battles(seeded, VOTER)]


def test_the_browser_is_told_nothing_of_the_makers_before_the_vote(seeded: Arena) -> None:
    told = str(surface_data(seeded, VOTER, Sitting()))
    for contestant in seeded.store.contestants():
        assert contestant.name not in told and contestant.fingerprint not in told
        for generation in seeded.store.generations(contestant.id or 0):
            assert generation.image is not None and generation.image.sha256 not in told


def test_the_queue_is_offered_again_after_a_reload(seeded: Arena) -> None:
    before, after = (surface_data(seeded, VOTER, Sitting()) for _ in range(2))
    assert before["queue"] == after["queue"] and len(before["queue"]) >= 4
    assert before["sitting"] != after["sitting"]


def test_when_every_pair_is_judged_the_page_says_so(seeded: Arena) -> None:
    sitting = Sitting()
    while queue := surface_data(seeded, VOTER, sitting)["queue"]:
        cast_all(seeded, VOTER, [Ballot(pair["token"], Outcome.TIE) for pair in queue], sitting)
    assert len(seeded.store.votes()) == 18
    assert "every pair" in surface_data(seeded, VOTER, sitting)["idle"]
