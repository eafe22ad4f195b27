"""The standing that matchmaking draws by is that of the votes."""

from __future__ import annotations

import numpy as np
import pytest

from arena import matchmaking
from arena.bootstrap import Arena, open_arena
from arena.domain import VoteFilter
from arena.rating import bradley_terry
from arena.services import battles, counting
from arena.services.leaderboard import leaderboard
from arena.settings import load_settings
from tests.conftest import fill_with_swatches

OUTCOMES = ["left", "right", "tie", "both_bad"]


def vote_some(arena: Arena, voters: int = 4) -> None:
    for voter in range(voters):
        for n, battle in enumerate(battles.open_battles(arena, f"person:{voter}", n=12)):
            battles.vote(arena, f"person:{voter}", battle.token, OUTCOMES[(n + voter) % 4])


def test_an_arena_without_votes_has_no_standing(seeded: Arena) -> None:
    found = counting.standing(seeded)
    assert set(found.strengths.values()) == {0.0} and found.votes == {}


def test_the_standing_is_the_boards(any_arena: Arena) -> None:
    """Strengths are shrunk by as much as the prior says: the slope of the votes there equals theta / variance."""
    fill_with_swatches(any_arena)
    vote_some(any_arena)
    found = counting.standing_of(any_arena.store.counts(VoteFilter(), cluster=None))
    rows = leaderboard(any_arena).rows
    wins = bradley_terry.win_matrix(counting.comparisons(any_arena, cluster=None))
    theta = np.array([found.strengths[row.contestant_id] for row in sorted(rows, key=lambda row: row.name)])
    np.testing.assert_allclose(bradley_terry.gradient(wins, theta), theta / matchmaking.PRIOR_VARIANCE, atol=1e-9)
    assert sorted(rows, key=lambda row: -row.rating) == sorted(
        rows, key=lambda row: -found.strengths[row.contestant_id]
    )
    assert sum(found.votes.values()) == sum(row.votes - row.both_bad for row in rows) / 2
    assert all(low < high for low, high in found.votes)


def test_a_new_contestant_is_drawn_first_and_the_probability_is_stored(seeded: Arena) -> None:
    vote_some(seeded)
    fill_with_swatches(seeded, contestants=4)
    drawn = battles.open_battles(seeded, "person:new", n=8)
    stored = [seeded.store.battle(battle.token) for battle in drawn]
    new = seeded.store.contestant("Swatch D").id
    assert sum(new in (b.left.contestant_id, b.right.contestant_id) for b in stored) >= 5
    assert {b.policy for b in stored} == {matchmaking.ADAPTIVE} and len({b.probability for b in stored}) > 1


def test_uniform_matchmaking_can_be_chosen(arena: Arena) -> None:
    fill_with_swatches(arena)
    uniform = open_arena(load_settings(data_dir=arena.settings.data_dir, matchmaking="uniform@1"))
    [battle] = battles.open_battles(uniform, "person:u", n=1)
    stored = uniform.store.battle(battle.token)
    assert (stored.policy, stored.probability) == (matchmaking.POLICY, pytest.approx(1 / (3 * 6)))
