"""Comparisons: equal votes add up, order and clusters' names leave no trace, nothing unknown is guessed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.domain import Outcome
from arena.errors import UsageError
from arena.rating.comparisons import Code, Comparisons, aggregate, code_of, from_votes

FIELDS = ("left", "right", "outcome", "count", "weight", "square", "cluster")
votes = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3), st.integers(0, 5)).filter(
        lambda v: v[0] != v[1]
    ),
    min_size=1,
    max_size=30,
)


def counted(rows: list[tuple[int, int, int, int]], clustered: bool = True) -> Comparisons:
    left, right, outcome, cluster = np.array(rows).T
    return aggregate("abcde", left, right, outcome, cluster=cluster if clustered else None)


def same(one: Comparisons, other: Comparisons) -> bool:
    return one.contestants == other.contestants and all(
        (getattr(one, name) is None and getattr(other, name) is None)
        or np.array_equal(getattr(one, name), getattr(other, name))
        for name in FIELDS
    )


def test_equal_votes_are_one_row() -> None:
    found = from_votes([("b", "a", "left"), ("a", "b", "tie"), ("b", "a", Outcome.LEFT), ("b", "a", "both_bad")])
    assert found.contestants == ("a", "b") and found.size == 2 and found.votes == 4 and found.clusters == 0
    rows = list(zip(found.left, found.right, found.outcome, found.count, strict=True))
    assert rows == [(0, 1, Code.TIE, 1), (1, 0, Code.LEFT, 2), (1, 0, Code.BOTH_BAD, 1)]
    assert found.outcomes(1) == {"wins": 2, "losses": 0, "ties": 1, "both_bad": 1}
    assert found.outcomes(0) == {"wins": 0, "losses": 2, "ties": 1, "both_bad": 1}
    assert found.per_contestant().tolist() == [4, 4] and found.per_contestant(Code.TIE).tolist() == [1, 1]


@settings(max_examples=30, deadline=None)
@given(votes, st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_votes_leaves_no_trace(rows: list, random, clustered: bool) -> None:  # type: ignore[no-untyped-def]
    turned = rows.copy()
    random.shuffle(turned)
    assert same(counted(rows, clustered), counted(turned, clustered))


@settings(max_examples=30, deadline=None)
@given(votes, st.permutations(range(6)))
def test_the_names_of_clusters_leave_no_trace(rows: list, names: list[int]) -> None:
    assert same(counted(rows), counted([(a, b, code, 10**9 * names[c]) for a, b, code, c in rows]))


@settings(max_examples=30, deadline=None)
@given(votes)
def test_nothing_is_lost(rows: list) -> None:
    found = counted(rows)
    assert found.votes == len(rows) and found.clusters == len({row[3] for row in rows})
    assert same(found.without_clusters(), counted(rows, clustered=False))
    codes, often = np.unique([row[2] for row in rows], return_counts=True)
    assert {int(c): int(n) for c, n in zip(codes, often, strict=True)} == {
        int(c): int(found.where(found.outcome == c).votes) for c in np.unique(found.outcome)
    }


def test_weights_and_their_squares_add_up() -> None:
    weight = np.array([0.5, 2.0, 3.0])
    found = aggregate("ab", [0, 0, 1], [1, 1, 0], [0, 0, 0], weight=weight)
    assert found.count.tolist() == [2, 1] and found.weight.tolist() == [2.5, 3] and found.square.tolist() == [4.25, 9]
    pooled = aggregate("ab", [0], [1], [0], np.array([4.0]), weight=np.array([2.0]))
    assert pooled.square.tolist() == [1.0], "four votes of 0.5 each"


def test_among_keeps_the_votes_between_its_members() -> None:
    found = from_votes([("a", "b", "left"), ("b", "c", "tie"), ("c", "d", "right")], voters="xyz").among([2, 1])
    assert found.contestants == ("c", "b") and found.votes == 1
    assert (found.left.tolist(), found.right.tolist()) == ([1], [0])


def test_nothing_is_nothing() -> None:
    empty = from_votes([])
    assert (empty.size, empty.votes, empty.clusters) == (0, 0, 0) and from_votes([], voters=[]).clusters == 0


@pytest.mark.parametrize("word", ["", "Left", "model_a", "bothbad", None])
def test_an_unknown_outcome_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="choose one of left, right, tie, both_bad"):
        code_of(word)


def test_a_model_against_itself_is_refused() -> None:
    with pytest.raises(UsageError, match="'b' is compared with itself"):
        from_votes([("a", "b", "left"), ("b", "b", "tie")])


def test_what_does_not_fit_cannot_be_built() -> None:
    one = np.ones(1)
    with pytest.raises(ValueError, match="one length"):
        Comparisons(("a", "b"), np.zeros(1, int), np.ones(2, int), one, one, one, one)
    with pytest.raises(ValueError, match="outside its contestants"):
        Comparisons(("a", "b"), np.zeros(1, int), np.full(1, 2), one, one, one, one)
