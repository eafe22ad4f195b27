"""The board adds up."""

from __future__ import annotations

from arena.bootstrap import Arena
from arena.services import battles
from arena.services.leaderboard import leaderboard, ranks


def test_equal_ratings_share_a_rank() -> None:
    assert ranks([1010.0, 1000.0, 1000.0, 990.0]) == [1, 2, 2, 4]


def test_an_arena_without_votes_has_everyone_at_the_start(seeded: Arena) -> None:
    board = leaderboard(seeded)
    assert [(row.rank, row.elo, row.votes, row.both_bad_rate, row.provisional) for row in board.rows] == [
        (1, 1000.0, 0, None, True)
    ] * 3


def test_the_counts_add_up(seeded: Arena) -> None:
    outcomes = ["left", "right", "tie", "both_bad"] * 4
    for outcome in outcomes:
        [battle] = battles.open_battles(seeded, "person:x", n=1)
        battles.vote(seeded, "person:x", battle.token, outcome)
    board = leaderboard(seeded)
    assert board.votes == board.last_vote_id == 16
    assert sum(row.votes for row in board.rows) == 2 * 16
    assert sum(row.wins for row in board.rows) == sum(row.losses for row in board.rows) == 8
    assert sum(row.ties for row in board.rows) == sum(row.both_bad for row in board.rows) == 8
    for row in board.rows:
        assert row.votes == row.wins + row.losses + row.ties + row.both_bad
        assert row.both_bad_rate == row.both_bad / row.votes
        assert row.provisional == (row.votes < board.provisional_below)
        assert row.seconds_per_image is not None and row.seconds_per_image >= 0
    assert [row.elo for row in board.rows] == sorted((row.elo for row in board.rows), reverse=True)
