"""What else moves votes: found where it was put, and said where it cannot be told."""

from __future__ import annotations

import random

import numpy as np
import pytest

from arena.bootstrap import Arena
from arena.domain import VoteFilter
from arena.rating import covariates
from arena.services import audit, battles
from arena.services.leaderboard import leaderboard
from tests.conftest import fill_with_swatches


def vote_for_the_left(arena: Arena, voters: int, share: float, reversed_voter: bool = False) -> None:
    """Voters who take the left image in this share of battles, and the contestant of the earlier name otherwise."""
    rng = random.Random(0)
    for n in range(voters):
        for battle in battles.open_battles(arena, f"person:{n}", n=24, rng=rng):
            stored = arena.store.battle(battle.token)
            earlier = stored.left.contestant_id < stored.right.contestant_id
            left = True if rng.random() < share else earlier if rng.random() < 0.8 else not earlier
            battles.vote(arena, f"person:{n}", battle.token, "left" if left != (reversed_voter and n == 0) else "right")


def test_a_habit_of_the_left_hand_is_found(arena: Arena) -> None:
    vote_for_the_left(fill_with_swatches(arena, prompts=8), voters=8, share=0.5)
    found = audit.audit(arena)
    assert found.left is not None and found.left.low > 50 and found.left.points > 100
    assert found.voters_in_all == 8 and len(found.voters) == 8


def test_a_voter_who_votes_against_everyone_is_the_first_of_the_list(arena: Arena) -> None:
    vote_for_the_left(fill_with_swatches(arena, prompts=8), voters=8, share=0.0, reversed_voter=True)
    worst, *others = audit.audit(arena).voters
    assert worst.reliability < 0 < min(voter.reliability for voter in others)
    assert worst.agreement is not None and worst.expected is not None and worst.agreement < worst.expected


def test_style_is_measured_once_and_kept(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    vote_for_the_left(fill_with_swatches(arena, prompts=8), voters=6, share=0.3)
    first = audit.audit(arena)
    assert {influence.name for influence in first.style} <= set(covariates.STYLE)
    assert first.style and set(first.controlled) == {"Swatch A", "Swatch B", "Swatch C"}
    assert np.mean(list(first.controlled.values())) == pytest.approx(1000)
    monkeypatch.setattr(covariates, "image_style", None)
    assert audit.audit(arena) == first


def test_an_arena_without_votes_says_what_cannot_be_told(seeded: Arena) -> None:
    found = audit.audit(seeded)
    assert (found.left, found.style, found.voters) == (None, (), ()) and len(found.notes) == 3


def test_a_category_leans_on_the_others(arena: Arena) -> None:
    vote_for_the_left(fill_with_swatches(arena, prompts=8), voters=4, share=0.2)
    for row in leaderboard(arena, VoteFilter(category="cards")).rows:
        assert row.pooled is not None and row.pooled_low is not None and row.pooled_high is not None
        assert row.borrowed is not None and 0 <= row.borrowed <= 1 and row.pooled_low < row.pooled < row.pooled_high
    assert {row.pooled for row in leaderboard(arena).rows} == {None}
