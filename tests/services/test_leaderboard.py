"""The board adds up."""

from __future__ import annotations

import pytest

from arena.bootstrap import Arena
from arena.domain import VoteFilter
from arena.rating import board as boards
from arena.rating.comparisons import from_votes
from arena.services import battles, leaderboard
from tests.conftest import fill_with_swatches

OUTCOMES = ["left", "right", "tie", "both_bad"]


def vote_in_turn(arena: Arena, voters: int = 1, votes: int = 16) -> None:
    for voter in range(voters):
        for n in range(votes):
            [battle] = battles.open_battles(arena, f"person:{voter}", n=1)
            battles.vote(arena, f"person:{voter}", battle.token, OUTCOMES[(n + voter) % 4])


def test_an_arena_without_votes_rates_nobody_and_starts_elo(seeded: Arena) -> None:
    board = leaderboard.leaderboard(seeded)
    assert [(row.rank, row.rating, row.elo, row.votes, row.both_bad_rate, row.provisional) for row in board.rows] == [
        (None, None, 1000.0, 0, None, True)
    ] * 3
    assert [row.name for row in board.rows] == ["Swatch A", "Swatch B", "Swatch C"] and board.meetings == ()


def test_the_counts_add_up(seeded: Arena) -> None:
    vote_in_turn(seeded)
    board = leaderboard.leaderboard(seeded)
    assert board.votes == board.last_vote_id == 16
    assert sum(row.votes for row in board.rows) == 2 * 16
    assert sum(row.wins for row in board.rows) == sum(row.losses for row in board.rows) == 8
    assert sum(row.ties for row in board.rows) == sum(row.both_bad for row in board.rows) == 8
    for row in board.rows:
        assert row.votes == row.wins + row.losses + row.ties + row.both_bad
        assert row.both_bad_rate == row.both_bad / row.votes
        assert row.provisional == (row.votes < board.provisional_below)
        assert row.seconds_per_image is not None and row.seconds_per_image >= 0
    # Each of the twelve votes that are not both-bad is seen from both sides.
    assert sum(meeting.votes for meeting in board.meetings) == 2 * 12


def test_the_board_is_that_of_the_votes_in_the_ledger(any_arena: Arena) -> None:
    """Rated from SQL's counts as from the votes one by one, to the last bit."""
    fill_with_swatches(any_arena)
    vote_in_turn(any_arena, voters=4)
    names = {c.id: c.name for c in any_arena.store.contestants()}
    pairs = any_arena.store.voted_pairs()
    voters = [vote.voter_id for vote in any_arena.store.votes()]
    plain = boards.board(from_votes(((names[p.left_id], names[p.right_id], p.outcome) for p in pairs), voters))
    shared = ("rating", "low", "high", "rank_low", "rank_high", "p_best", "p_top3", "votes_to_flip", "votes_needed")

    def values(row: object) -> list[object]:
        return [getattr(row, name) for name in shared]

    rows = leaderboard.leaderboard(any_arena).rows
    assert [(row.name, *values(row)) for row in rows] == [(row.model, *values(row)) for row in plain.board]
    assert leaderboard.leaderboard(any_arena).parameters["clusters"] == 4


def test_a_category_counts_its_own_votes_and_shows_no_elo(seeded: Arena) -> None:
    vote_in_turn(seeded, voters=2)
    parts = [leaderboard.leaderboard(seeded, VoteFilter(category=category)) for category in seeded.store.categories()]
    assert sum(part.votes for part in parts) == 32 and len(parts) == 2
    assert all(row.elo is None for part in parts for row in part.rows)


def test_an_excluded_vote_changes_the_board_at_once(seeded: Arena) -> None:
    vote_in_turn(seeded)
    before = leaderboard.leaderboard(seeded)
    seeded.store.exclude_vote(1, "a test")
    after = leaderboard.leaderboard(seeded)
    assert after.votes == before.votes - 1 and after.rows != before.rows


def test_votes_that_allow_no_rating_are_counted_and_said(seeded: Arena) -> None:
    [battle] = battles.open_battles(seeded, "person:x", n=1)
    battles.vote(seeded, "person:x", battle.token, "left")
    board = leaderboard.leaderboard(seeded)
    assert board.votes == 1 and {row.rating for row in board.rows} == {None}
    assert sorted(row.votes for row in board.rows) == [0, 1, 1]
    (warning,) = board.warnings
    assert "add votes" in warning


@pytest.mark.parametrize("outcome", ["tie", "both_bad"])
def test_a_tie_compares_and_both_bad_does_not(seeded: Arena, outcome: str) -> None:
    for battle in battles.open_battles(seeded, "person:x", n=18):
        battles.vote(seeded, "person:x", battle.token, outcome)
    ratings = {row.rating for row in leaderboard.leaderboard(seeded).rows}
    assert ratings == ({1000.0} if outcome == "tie" else {None})
