"""The board: a pure function of the votes, with everything said that a reader needs to know before trusting it."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.errors import DataError
from arena.rating import bradley_terry as bt
from arena.rating.board import board
from arena.rating.bradley_terry import Ties
from arena.rating.comparisons import from_votes

Game = tuple[str, str, str]


def games(seed: int, votes: int = 600, size: int = 5) -> list[Game]:
    rng = np.random.default_rng(seed)
    left = rng.integers(0, size, votes)
    right = (left + rng.integers(1, size, votes)) % size
    kind = rng.random(votes)
    won = rng.random(votes) < 1 / (1 + np.exp((left - right) * 0.4))
    outcome = np.where(kind < 0.15, "tie", np.where(kind < 0.25, "both_bad", np.where(won, "left", "right")))
    return [(f"m{a}", f"m{b}", str(word)) for a, b, word in zip(left, right, outcome, strict=True)]


def whole(found) -> str:  # type: ignore[no-untyped-def]
    return json.dumps([found.as_json(), [repr(row) for row in found.board], repr(found.details)])


def test_rows_agree_with_the_parts_they_are_made_of() -> None:
    rows = games(0)
    comparisons = from_votes(rows)
    found = board(comparisons)
    assert found.system == "bt" and found.n_votes == len(rows) and found.warnings == ()
    rating = {row.model: row.rating for row in found.board}
    expected = bt.points(bt.fit(bt.win_matrix(comparisons)))
    assert [rating[name] for name in comparisons.contestants] == pytest.approx(list(expected))
    assert [row.rank for row in found.board] == [1, 2, 3, 4, 5]
    assert sum(row.p_best for row in found.board) == pytest.approx(1)
    assert sum(row.p_top3 for row in found.board) == pytest.approx(3)
    for row in found.board:
        own = [(a, b, word) for a, b, word in rows if row.model in (a, b)]
        assert row.votes == len(own) == row.wins + row.losses + row.ties + row.both_bad
        assert row.both_bad_rate == sum(word == "both_bad" for *_, word in own) / len(own)
        assert row.rank_low <= row.rank <= row.rank_high and row.low < row.rating < row.high
    assert all(row.votes_to_flip and row.votes_needed is not None for row in found.board[:-1])
    assert found.board[-1].votes_to_flip is None and found.board[-1].votes_needed is None


def test_json_has_the_documented_keys_in_order() -> None:
    found = board(from_votes(games(0)), flips=False).as_json()
    assert list(found) == ["system", "parameters", "n_votes", "board", "warnings"]
    keys = ["rank", "rank_low", "rank_high", "model", "rating", "low", "high", "votes", "both_bad_rate", "status"]
    assert all(list(row) == keys for row in found["board"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_the_order_of_votes_changes_no_byte(seed: int, with_voters: bool) -> None:
    rows = games(seed % 50, 300)
    voters = [f"v{n % 31}" for n in range(len(rows))]
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    first, second = (
        board(from_votes([rows[i] for i in each], [voters[i] for i in each] if with_voters else None), rounds=5)
        for each in (range(len(rows)), order)
    )
    assert whole(first) == whole(second)


def test_other_names_of_voters_change_no_byte() -> None:
    rows = games(3)
    first, second = (
        board(from_votes(rows, [f"{word}{n % 37}" for n in range(len(rows))]), rounds=5) for word in ("v", "zz")
    )
    assert whole(first) == whole(second)


def test_every_vote_twice_moves_no_rating_and_narrows_by_the_root_of_two() -> None:
    once, twice = board(from_votes(games(1))), board(from_votes(games(1) * 2))
    for one, two in zip(once.board, twice.board, strict=True):
        assert (one.model, one.rank) == (two.model, two.rank) and two.rating == pytest.approx(one.rating, abs=1e-8)
        assert two.high - two.low == pytest.approx((one.high - one.low) / np.sqrt(2), rel=1e-9)


def test_mirrored_votes_make_the_same_board() -> None:
    mirror = {"left": "right", "right": "left"}
    turned = board(from_votes([(b, a, mirror.get(word, word)) for a, b, word in games(2)])).as_json()
    for row, other in zip(board(from_votes(games(2))).as_json()["board"], turned["board"], strict=True):
        assert row == pytest.approx(other, abs=1e-8)


def test_who_cannot_be_rated_is_listed_with_the_reason() -> None:
    lonely = (
        [("x", "y", "left")] * 3 + [("zero", "m1", "right")] * 4 + [("m1", "hero", "right"), ("w", "m0", "both_bad")]
    )
    plain, found = board(from_votes(games(4))), board(from_votes(games(4) + lonely))
    rated, unrated = found.board[:5], found.board[5:]
    assert [row.rating for row in rated] == pytest.approx([row.rating for row in plain.board], abs=1e-9)
    assert [row.model for row in unrated] == ["hero", "w", "x", "y", "zero"]
    assert all(row.rank is row.rating is row.low is row.rank_high is None for row in unrated)
    reason = {row.model: row.reason for row in unrated}
    assert "never lost" in reason["hero"] and "never won" in reason["zero"]
    assert all("never compared" in reason[name] for name in "wxy")
    assert "9 of 609 votes involve unrated models and have no part in the ratings." in found.warnings
    assert sum("is not rated" in warning for warning in found.warnings) == 5
    assert all(row.status == "preliminary" and row.votes > 0 for row in unrated)


def test_both_bad_votes_move_no_rating() -> None:
    found = board(from_votes(games(5) + [("m0", "m1", "both_bad")] * 200))
    plain = board(from_votes(games(5)))
    for row, other in zip(found.board, plain.board, strict=True):
        assert (row.rating, row.low, row.high) == (other.rating, other.low, other.high)
        assert (row.both_bad_rate > other.both_bad_rate) == (row.model in ("m0", "m1"))


def test_ties_can_be_dropped() -> None:
    found = board(from_votes(games(6)), Ties.DROP)
    assert found.parameters["ties"] == "drop"
    without = board(from_votes([game for game in games(6) if game[2] != "tie"]), Ties.DROP)
    assert [row.rating for row in found.board] == pytest.approx([row.rating for row in without.board], abs=1e-9)


def test_level_models_share_a_rank_and_a_rank_set() -> None:
    found = board(from_votes([("a", "b", "left"), ("b", "a", "left"), ("a", "b", "tie")] * 9))
    assert [(row.rank, row.rank_low, row.rank_high) for row in found.board] == [(1, 1, 2), (1, 1, 2)]
    assert [row.rating for row in found.board] == pytest.approx([1000, 1000])


def test_few_voters_are_said() -> None:
    rows = games(7)
    found = board(from_votes(rows, [n % 4 for n in range(len(rows))]))
    assert found.parameters["clusters"] == 4 and any("4 voters" in warning for warning in found.warnings)
    ties = board(from_votes([("a", "b", "tie"), ("b", "c", "tie"), ("c", "a", "tie")]))
    assert "Every vote is a tie." in ties.warnings


def test_bootstrap_intervals_stand_beside_the_board() -> None:
    found = board(from_votes(games(8)), rounds=200).details["bootstrap"]
    assert found["rounds"] == 200 and found["rounds_without_maximum"] == 0
    for row in board(from_votes(games(8))).board:
        assert found["low"][row.model] == pytest.approx(row.low, abs=0.35 * (row.high - row.rating))
        assert found["high"][row.model] == pytest.approx(row.high, abs=0.35 * (row.high - row.rating))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "There are no votes to rate; add some."),
        ([("a", "b", "left")] * 5, "No two models can be rated"),
        ([("a", "b", "both_bad")] * 5, "nothing compares them"),
    ],
)
def test_what_cannot_be_rated_is_one_sentence(rows: list[Game], said: str) -> None:
    with pytest.raises(DataError, match=said):
        board(from_votes(rows))
