"""Elo against its formula by hand, and its invariants."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.domain import Outcome, VotedPair
from arena.rating import elo

LLMFAO = Path(__file__).parents[2].parent / "shared" / "data" / "llmfao"

pairs = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from(Outcome)).filter(lambda p: p[0] != p[1]),
    max_size=60,
).map(lambda games: [VotedPair(n, *game) for n, game in enumerate(games, start=1)])


def test_four_hundred_points_are_ten_to_one() -> None:
    assert elo.expected(1400, 1000) == pytest.approx(10 / 11, abs=1e-15)
    assert elo.expected(1000, 1000) == 0.5


def test_one_vote_by_hand() -> None:
    # E of 1000 against 1200 is 1/(1+10^0.5) = 0.240253…; winning earns 32 (1 - E).
    after = elo.update({1: 1000.0, 2: 1200.0}, VotedPair(1, 1, 2, Outcome.LEFT), k=32)
    assert after == {1: pytest.approx(1024.3119016527, abs=1e-9), 2: pytest.approx(1175.6880983473, abs=1e-9)}


def test_beating_the_stronger_earns_more() -> None:
    win = VotedPair(1, 1, 2, Outcome.LEFT)
    gains = [elo.update({1: 1000.0, 2: rating}, win, k=32)[1] - 1000 for rating in (800.0, 1000.0, 1200.0)]
    assert gains == sorted(gains) and gains[0] < 16 < gains[2]


@pytest.mark.parametrize("outcome", [Outcome.TIE, Outcome.BOTH_BAD])
def test_tie_and_both_bad_are_half_a_win(outcome: Outcome) -> None:
    equal = elo.update({}, VotedPair(1, 1, 2, outcome), k=32)
    assert equal == {1: 1000.0, 2: 1000.0}
    unequal = elo.update({1: 1100.0, 2: 1000.0}, VotedPair(1, 1, 2, outcome), k=32)
    assert unequal[1] < 1100 and unequal[2] > 1000


@given(pairs)
def test_no_points_are_made_or_lost(votes: list[VotedPair]) -> None:
    ratings = elo.replay(votes, 32)
    assert sum(ratings.values()) == pytest.approx(1000 * len(ratings), abs=1e-9)


@given(pairs, st.integers(0, 60))
def test_going_on_from_a_snapshot_is_the_replay_to_the_last_bit(votes: list[VotedPair], cut: int) -> None:
    resumed = elo.replay(votes[cut:], 32, elo.replay(votes[:cut], 32))
    assert resumed == elo.replay(votes, 32)


@given(pairs)
def test_sides_do_not_matter(votes: list[VotedPair]) -> None:
    mirror = {Outcome.LEFT: Outcome.RIGHT, Outcome.RIGHT: Outcome.LEFT}
    swapped = [VotedPair(v.vote_id, v.right_id, v.left_id, mirror.get(v.outcome, v.outcome)) for v in votes]
    assert elo.replay(swapped, 32) == pytest.approx(elo.replay(votes, 32), abs=1e-9)


@pytest.mark.skipif(not LLMFAO.is_dir(), reason="the optional data folder with the LLMFAO votes is not here")
def test_golden_ratings_of_real_votes() -> None:
    """8,931 crowd votes with K=4 in file order against the ratings evalica publishes for them, to 1e-9."""
    with (LLMFAO / "crowd-comparisons.csv").open() as file:
        rows = list(csv.DictReader(file))
    ids = {name: n for n, name in enumerate(sorted({row[side] for row in rows for side in ("left", "right")}))}
    outcomes = {"left": Outcome.LEFT, "right": Outcome.RIGHT, "tie": Outcome.TIE}
    votes = [
        VotedPair(n, ids[row["left"]], ids[row["right"]], outcomes[row["winner"]])
        for n, row in enumerate(rows, start=1)
    ]
    ratings = elo.replay(votes, 4)
    with (LLMFAO / "llmfao-golden.csv").open() as file:
        golden = {row["item"]: float(row["score"]) for row in csv.DictReader(file) if row["algorithm"] == "elo"}
    assert len(golden) == len(ids) == 59
    assert {name: ratings[ids[name]] for name in golden} == pytest.approx(golden, abs=1e-9)
