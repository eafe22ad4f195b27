"""Undo, reports, reasons, pairs with names, the crowd, and pairs that are too old."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from sqlalchemy import select

from arena.bootstrap import Arena
from arena.domain import PEOPLE, Outcome, ReasonTag, ReportReason, Side
from arena.errors import BattleExpired, DuplicateVote, UnknownBattle, UsageError
from arena.rating import elo
from arena.services import battles, leaderboard, named
from db import checkpoints
from db.schema import BattleRow, VoteExclusionRow, VoteRow
from db.voting import Voting
from tests.conftest import fill_with_swatches
from tests.services.voter_process import vote_on_everything

VOTER = "person:tester"


@pytest.fixture
def filled(any_arena: Arena) -> Arena:
    return fill_with_swatches(any_arena)


def replayed(arena: Arena) -> dict[int, float]:
    return elo.replay(arena.store.voted_pairs(), arena.settings.k_factor)


def live(arena: Arena) -> dict[int, float]:
    ratings, _ = arena.store.ratings(battles.BOARD, battles.elo_parameters(arena), battles.elo_rate(arena))
    return ratings


def test_an_undone_vote_stays_in_the_ledger_and_its_pair_returns_with_names(filled: Arena) -> None:
    one, two = battles.open_battles(filled, VOTER, n=2)
    battles.vote(filled, VOTER, one.token, "left")
    told = battles.vote(filled, VOTER, two.token, "right")
    battles.undo(filled, VOTER, two.token)
    battles.undo(filled, VOTER, two.token)  # asked for twice, done once
    assert len(filled.store.votes()) == 2 and len(filled.store.voted_pairs()) == 1
    assert live(filled) == replayed(filled)
    (pair,) = named.came_back(filled, VOTER)
    assert (pair.undone, pair.prompt) == (two.token, two.prompt)
    assert pair.names == (told.left.name, told.right.name)
    left, _ = battles.image(filled, pair.token, "left")
    assert left == battles.image(filled, two.token, "left")[0]

    answered = named.answer(filled, VOTER, pair.token, "left")
    assert answered is not None and answered.outcome is Outcome.LEFT
    with pytest.raises(DuplicateVote):
        named.answer(filled, VOTER, pair.token, "right")
    with pytest.raises(UnknownBattle):
        battles.vote(filled, VOTER, pair.token, "left")
    assert named.came_back(filled, VOTER) == [] and len(filled.store.votes()) == 2
    next_one = battles.open_battles(filled, VOTER, n=1)[0]
    assert battles.vote(filled, VOTER, next_one.token, "tie").voter_votes == 2
    assert filled.store.cached_ratings(PEOPLE) == replayed(filled)


def test_only_the_last_vote_of_the_voter_is_taken_back(filled: Arena) -> None:
    one, two, three = battles.open_battles(filled, VOTER, n=3)
    battles.vote(filled, VOTER, one.token, "left")
    battles.vote(filled, VOTER, two.token, "left")
    for voter, token, error in (
        (VOTER, one.token, "Only your last vote"),
        (VOTER, three.token, "no vote of yours"),
        ("person:other", two.token, "another voter"),
        (VOTER, "nonsense", "no battle"),
    ):
        with pytest.raises((UsageError, UnknownBattle), match=error):
            battles.undo(filled, voter, token)
    assert len(filled.store.voted_pairs()) == 2
    battles.undo(filled, VOTER, two.token)
    battles.undo(filled, VOTER, one.token)
    assert filled.store.voted_pairs() == [] and [pair.undone for pair in named.came_back(filled, VOTER)] == [
        two.token, one.token
    ]  # fmt: skip


def test_an_undone_skip_is_open_again_and_blind(filled: Arena) -> None:
    (battle,) = battles.open_battles(filled, VOTER, n=1)
    battles.skip(filled, VOTER, battle.token)
    battles.undo(filled, VOTER, battle.token)
    assert battles.open_battles(filled, VOTER, n=1) == [battle] and named.came_back(filled, VOTER) == []


def test_undoing_among_many_votes_gives_the_replay_to_the_last_bit(
    filled: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints every five ballots, and undone votes before, between and after them."""
    monkeypatch.setattr(checkpoints, "EVERY", 5)
    for n in range(3):
        vote_on_everything(filled, f"person:{n}", seed=n)
    assert len(filled.store.voted_pairs()) == 54
    for step, n in enumerate((2, 0, 1, 2, 2)):
        undo_last(filled, f"person:{n}")
        assert live(filled) == replayed(filled)
        (battle,) = battles.open_battles(filled, f"person:new-{step}", n=1)
        battles.vote(filled, f"person:new-{step}", battle.token, "left")
        assert filled.store.cached_ratings(PEOPLE) == live(filled) == replayed(filled)
        filled.store.exclude_vote(10 * step + 1, "by a moderator")
        assert live(filled) == replayed(filled)


def test_an_undo_replays_only_from_the_last_checkpoint(filled: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 10)
    for n in range(2):
        vote_on_everything(filled, f"person:{n}", seed=n)
    assert len(filled.store.voted_pairs()) == 36
    undo_last(filled, "person:1")
    rated: list[int] = []

    def counting(pairs, ratings):
        rated.extend(pair.vote_id for pair in pairs)
        return battles.elo_rate(filled)(pairs, ratings)

    found, newest = filled.store.ratings(battles.BOARD, battles.elo_parameters(filled), counting)
    assert rated == [31, 32, 33, 34, 35] and newest == 35
    assert found == replayed(filled)


def undo_last(arena: Arena, voter: str) -> None:
    """Take back the voter's last vote that was not excluded."""
    query = (
        select(BattleRow.token)
        .join(VoteRow, VoteRow.battle_id == BattleRow.id)
        .where(VoteRow.voter_id == voter, VoteRow.id.not_in(select(VoteExclusionRow.vote_id)))
        .order_by(VoteRow.id.desc())
    )
    with arena.store.engine.connect() as connection:
        token = connection.execute(query).first()
    assert token is not None
    battles.undo(arena, voter, token[0])


def test_a_report_puts_the_pair_aside_and_is_kept_for_the_operator(filled: Arena) -> None:
    one, two = battles.open_battles(filled, VOTER, n=2)
    battles.report(filled, VOTER, one.token, "reveals", "left")
    battles.report(filled, VOTER, one.token, "unsafe")  # asked for twice, kept once
    battles.report(filled, VOTER, two.token, ReportReason.BROKEN)
    second, first = Voting(filled.store).reports()
    assert (first.battle.token, first.reason, first.side) == (one.token, ReportReason.REVEALS, Side.LEFT)
    assert (second.battle.token, second.side, second.voter_id) == (two.token, None, VOTER)
    assert not {one.token, two.token} & {b.token for b in battles.open_battles(filled, VOTER)}
    with pytest.raises(UsageError, match="Unknown reason 'dull': choose one of unsafe, broken, reveals"):
        battles.report(filled, VOTER, one.token, "dull")
    with pytest.raises(UnknownBattle):
        battles.report(filled, "person:other", one.token, "broken")


def test_reasons_are_added_to_a_vote_of_ones_own(filled: Arena) -> None:
    one, two = battles.open_battles(filled, VOTER, n=2)
    battles.vote(filled, VOTER, one.token, "left")
    for tag in ("text", "realism", "text"):
        battles.tag(filled, VOTER, one.token, tag)
    assert Voting(filled.store).tags() == {1: [ReasonTag.REALISM, ReasonTag.TEXT]}
    with pytest.raises(UsageError, match="none of yours"):
        battles.tag(filled, VOTER, two.token, "text")
    with pytest.raises(UsageError, match="choose one of prompt, realism, aesthetics, text"):
        battles.tag(filled, VOTER, one.token, "price")


def test_the_crowd_is_told_from_the_fifth_vote_of_others_and_by_the_voters_own_sides(filled: Arena) -> None:
    (blind,) = battles.open_battles(filled, VOTER, n=1)
    battle = filled.store.battle(blind.token)
    mirrored = replace(battle, left=battle.right, right=battle.left)
    for n, outcome in enumerate(["left", "left", "right", "tie", "left"]):
        # Every other one saw the sides the other way round.
        other = replace(mirrored if n % 2 else battle, token=f"t{n}", drawn_for=f"person:{n}", id=None)
        filled.store.add_battle(other)
        said = Outcome(outcome).mirrored if n % 2 else outcome
        crowd = battles.vote(filled, other.drawn_for, other.token, said).crowd
        assert crowd is None, "four others at most"
    told = battles.vote(filled, VOTER, blind.token, "left")
    assert told.crowd == battles.Crowd(same=3, total=5)


def test_how_a_pair_was_shown_is_kept_with_the_vote(filled: Arena) -> None:
    one, two = battles.open_battles(filled, VOTER, n=2)
    battles.vote(filled, VOTER, one.token, "left", swapped=True)
    battles.vote(filled, VOTER, two.token, "left")
    assert [(vote.recipe, vote.swapped) for vote in filled.store.votes()] == [("display@1", True), ("display@1", None)]


def test_a_pair_from_last_week_is_offered_no_more_and_takes_no_vote(
    filled: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = battles.open_battles(filled, VOTER, n=1)
    monkeypatch.setattr(battles, "LIFETIME", timedelta(seconds=-1))
    with pytest.raises(BattleExpired, match="too long ago"):
        battles.vote(filled, VOTER, old.token, "left")
    assert filled.store.votes() == [] and filled.store.cached_ratings(PEOPLE) == {}


def test_side_by_side_pairs_have_names_and_reach_no_board(filled: Arena) -> None:
    before = leaderboard.leaderboard(filled)
    seen = []
    while pairs := named.open_pairs(filled, VOTER, n=4, rng=Random(3)):
        for pair in pairs:
            assert named.is_named(pair.token) and pair.undone is None
            named.answer(filled, VOTER, pair.token, "left")
            seen.append((pair.prompt, *sorted(pair.names)))
    assert len(seen) == len(set(seen)) == 18
    assert leaderboard.leaderboard(filled) == before and filled.store.votes() == []
    assert battles.open_battles(filled, VOTER) == [], "these prompts were seen with names"
    assert len(battles.open_battles(filled, "person:other")) == 4


def test_a_blind_pair_that_waits_is_not_told_side_by_side(filled: Arena) -> None:
    waiting = {battle.prompt for battle in battles.open_battles(filled, VOTER, n=3)}
    assert not waiting & {pair.prompt for pair in named.open_pairs(filled, VOTER, n=20)}


def test_a_named_pair_is_its_voters_own(filled: Arena) -> None:
    (pair,) = named.open_pairs(filled, VOTER, n=1)
    with pytest.raises(UnknownBattle, match="was drawn for you"):
        named.answer(filled, "person:other", pair.token, "left")
    with pytest.raises(UsageError, match="Unknown outcome"):
        named.answer(filled, VOTER, pair.token, "lfet")
    assert named.answer(filled, VOTER, pair.token, None) is None
