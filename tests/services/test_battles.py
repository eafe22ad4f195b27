"""Voting: each vote counted once, for the battle it names, and both ratings moved with it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from arena.bootstrap import Arena, open_arena
from arena.domain import Outcome, VoterKind
from arena.errors import DuplicateVote, UnknownBattle, UsageError
from arena.rating import elo
from arena.services import battles, leaderboard, moderation, voters
from arena.settings import Settings
from tests.conftest import fill_with_swatches
from tests.services import voter_process
from tests.services.voter_process import vote_on_everything

VOTER = "person:tester"


def test_a_voter_id_cannot_be_forged(arena: Arena) -> None:
    token = voters.new_voter_token(arena)
    voter = voters.voter_id(arena, token)
    assert voter is not None and voter.startswith("person:") and token.startswith(voter)
    for forged in (None, "", "person:me", token[:-1], token[:-1] + "é", "judge:x" + token[7:]):
        assert voters.voter_id(arena, forged) is None


def test_open_battles_are_served_again_until_judged(seeded: Arena) -> None:
    first = battles.open_battles(seeded, VOTER, n=4)
    assert len({battle.token for battle in first}) == 4
    assert battles.open_battles(seeded, VOTER, n=4) == first
    battles.vote(seeded, VOTER, first[0].token, Outcome.LEFT)
    battles.skip(seeded, VOTER, first[1].token)
    later = battles.open_battles(seeded, VOTER, n=4)
    assert later[:2] == first[2:] and len(later) == 4


def test_a_voter_sees_every_pair_once_and_then_nothing(any_arena: Arena) -> None:
    fill_with_swatches(any_arena)
    assert vote_on_everything(any_arena, VOTER) == 3 * 6
    assert battles.open_battles(any_arena, VOTER) == []
    assert len({v.battle_id for v in any_arena.store.votes(VOTER)}) == 18


def test_a_vote_moves_both_ratings_by_the_formula(seeded: Arena) -> None:
    one, two = battles.open_battles(seeded, VOTER, n=2)
    reveal = battles.vote(seeded, VOTER, one.token, "left", 2.5)
    assert (reveal.left.elo_before, reveal.left.elo_after) == (1000.0, 1016.0)
    assert (reveal.right.elo_before, reveal.right.elo_after) == (1000.0, 984.0)
    assert reveal.left.name != reveal.right.name and reveal.voter_votes == 1
    second = battles.vote(seeded, VOTER, two.token, "both_bad")
    gain = 32 * (0.5 - elo.expected(second.left.elo_before, second.right.elo_before))
    assert second.left.elo_after == second.left.elo_before + gain
    assert second.right.elo_after == second.right.elo_before - gain
    [vote, bad] = seeded.store.votes(VOTER)
    assert vote.decision_seconds == 2.5 and bad.outcome is Outcome.BOTH_BAD and bad.decision_seconds is None


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e9])
def test_an_impossible_decision_time_is_unknown(seeded: Arena, seconds: float) -> None:
    [battle] = battles.open_battles(seeded, VOTER, n=1)
    battles.vote(seeded, VOTER, battle.token, "tie", seconds)
    assert seeded.store.votes(VOTER)[0].decision_seconds is None


def test_refused_votes_change_nothing(any_arena: Arena) -> None:
    fill_with_swatches(any_arena)
    one, two = battles.open_battles(any_arena, VOTER, n=2)
    battles.vote(any_arena, VOTER, one.token, "left")
    board = any_arena.store.cached_ratings(battles.BOARD)
    with pytest.raises(DuplicateVote, match="your first vote stands"):
        battles.vote(any_arena, VOTER, one.token, "right")
    with pytest.raises(UnknownBattle, match="no battle 'nonsense'"):
        battles.vote(any_arena, VOTER, "nonsense", "left")
    with pytest.raises(UnknownBattle, match="drawn for another voter"):
        battles.vote(any_arena, "person:other", two.token, "left")
    with pytest.raises(UsageError, match=r"Unknown outcome 'lfet': choose one of left, right, tie, both_bad"):
        battles.vote(any_arena, VOTER, two.token, "lfet")
    with pytest.raises(UnknownBattle):
        battles.skip(any_arena, "person:other", two.token)
    assert len(any_arena.store.votes()) == 1
    assert any_arena.store.cached_ratings(battles.BOARD) == board


def test_replaying_all_votes_gives_the_live_ratings_to_the_last_bit(any_arena: Arena) -> None:
    fill_with_swatches(any_arena)
    for n in range(3):
        vote_on_everything(any_arena, f"person:{n}", seed=n)
    live = any_arena.store.cached_ratings(battles.BOARD)
    assert live == elo.replay(any_arena.store.voted_pairs(), 32.0)
    assert {row.contestant_id: row.elo for row in leaderboard.leaderboard(any_arena).rows} == live


def test_another_k_rates_every_vote_anew(seeded: Arena, settings: Settings) -> None:
    vote_on_everything(seeded, VOTER)
    other = open_arena(settings.model_copy(update={"k_factor": 8.0}))
    expected = elo.replay(seeded.store.voted_pairs(), 8.0)
    assert {row.contestant_id: row.elo for row in leaderboard.leaderboard(other).rows} == expected
    [battle] = battles.open_battles(other, "person:new", n=1)
    battles.vote(other, "person:new", battle.token, "left")
    assert other.store.cached_ratings(battles.BOARD) == elo.replay(other.store.voted_pairs(), 8.0)


def test_an_excluded_vote_stays_in_the_ledger_and_leaves_the_board(seeded: Arena) -> None:
    one, two = battles.open_battles(seeded, VOTER, n=2)
    battles.vote(seeded, VOTER, one.token, "left")
    battles.vote(seeded, VOTER, two.token, "right")
    seeded.store.exclude_vote(1, "a test")
    board = leaderboard.leaderboard(seeded)
    assert (board.votes, len(seeded.store.votes())) == (1, 2)
    assert {r.contestant_id: r.elo for r in board.rows if r.votes} == elo.replay(seeded.store.voted_pairs(), 32.0)


def test_an_excluded_voter_is_told_what_the_vote_would_have_moved(seeded: Arena) -> None:
    """What is kept aside moves nothing, and who sends it is not told so."""
    one, two = battles.open_battles(seeded, VOTER, n=2)
    battles.vote(seeded, VOTER, one.token, "left")
    moderation.exclude_voter(seeded, moderation.Admin("Ada"), VOTER, "a test")
    told = battles.vote(seeded, VOTER, two.token, "left")
    assert told.counts and told.left.elo_after - told.left.elo_before == pytest.approx(32 * (1 - told.left.expected))
    assert leaderboard.leaderboard(seeded).votes == 0


def test_a_judges_votes_are_not_on_the_peoples_board(seeded: Arena) -> None:
    seeded.store.add_voter("judge:x@1", VoterKind.JUDGE)
    [battle] = battles.open_battles(seeded, "judge:x@1", n=1)
    battles.vote(seeded, "judge:x@1", battle.token, "left")
    assert leaderboard.leaderboard(seeded).votes == 0


def start_voter(arena: Arena, voter: str, seed: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, voter_process.__file__, voter, str(seed)],
        env={**os.environ, **arena.settings.as_environment()},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_three_processes_voting_at_once_lose_and_double_nothing(any_arena: Arena) -> None:
    """Every process votes on all 12 battles of its voter; the board equals the replay in id order, to the bit."""
    fill_with_swatches(any_arena, prompts=4)
    names = [f"person:{n}" for n in range(3)]
    workers = [start_voter(any_arena, name, seed) for seed, name in enumerate(names)]
    assert [len(worker.communicate(timeout=120)[0].split()) for worker in workers] == [12] * 3
    assert [worker.returncode for worker in workers] == [0] * 3
    assert [len(any_arena.store.votes(name)) for name in names] == [12] * 3
    assert any_arena.store.cached_ratings(battles.BOARD) == elo.replay(any_arena.store.voted_pairs(), 32.0)


def test_a_process_killed_while_voting_loses_nothing_it_had_counted(any_arena: Arena) -> None:
    fill_with_swatches(any_arena)
    worker = start_voter(any_arena, VOTER, seed=1)
    assert worker.stdout is not None
    counted = [worker.stdout.readline().strip() for _ in range(5)]
    worker.kill()
    counted += worker.communicate()[0].split()
    tokens = {any_arena.store.battle(token).id for token in counted}
    stored = [vote.battle_id for vote in any_arena.store.votes(VOTER)]
    assert tokens <= set(stored) and len(stored) == len(set(stored)) <= len(tokens) + 1
    vote_on_everything(any_arena, VOTER)
    assert len(any_arena.store.votes(VOTER)) == 18
    assert any_arena.store.cached_ratings(battles.BOARD) == elo.replay(any_arena.store.voted_pairs(), 32.0)


def test_images_come_by_token_and_side_only(seeded: Arena) -> None:
    [battle] = battles.open_battles(seeded, VOTER, n=1)
    left, media_type = battles.image(seeded, battle.token, "left")
    right, _ = battles.image(seeded, battle.token, "right")
    assert media_type == "image/jpeg" and left.startswith(b"\xff\xd8\xff") and left != right
    for token, side, size in [
        (battle.token, "middle", "pair"),
        ("nonsense", "left", "pair"),
        (battle.token, "left", ""),
    ]:
        with pytest.raises(UnknownBattle):
            battles.image(seeded, token, side, size)
