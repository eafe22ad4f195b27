"""Comparisons: the only door from votes to arrays. Everything in this room starts from one.

Rows are votes that agree in everything the mathematics can see, added up, in one canonical order. So the cost of a
fit depends on the number of rows and not of votes, and the order in which votes came can change no bit of a board.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from arena.domain import Outcome
from arena.errors import UsageError

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]


class Code(IntEnum):
    """An Outcome as a small integer."""

    LEFT = 0
    RIGHT = 1
    TIE = 2
    BOTH_BAD = 3


FEW_CELLS = 1 << 20
"""So many counters fit into memory at once, which spares a sort: 512 contestants."""

CODES: dict[Outcome, Code] = {outcome: Code[outcome.name] for outcome in Outcome}


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Aggregated votes over `contestants`.

    `left`, `right`: int32 (n,), positions in `contestants`. `outcome`: int8 (n,), a `Code`. `count`: float64 (n,),
    votes in the row, whole and positive. `weight` and `square`: float64 (n,), the sums of the votes' weights and of
    their squares, equal to `count` where votes are not weighted. `cluster`: int32 (n,), whose votes depend on each
    other (one voter, or one prompt), numbered from 0; None where every vote stands alone.
    """

    contestants: tuple[str, ...]
    left: Ints
    right: Ints
    outcome: Ints
    count: Floats
    weight: Floats
    square: Floats
    cluster: Ints | None = None

    def __post_init__(self) -> None:
        n = len(self.left)
        arrays = (self.right, self.outcome, self.count, self.weight, self.square)
        if any(len(array) != n for array in arrays) or (self.cluster is not None and len(self.cluster) != n):
            raise ValueError("the arrays of Comparisons need one length")
        if n and (min(self.left.min(), self.right.min()) < 0 or max(self.left.max(), self.right.max()) >= self.size):
            raise ValueError("a position in Comparisons lies outside its contestants")

    @property
    def size(self) -> int:
        """Number of contestants M."""
        return len(self.contestants)

    @property
    def votes(self) -> int:
        """Number of votes, both-bad ones included."""
        return int(self.count.sum())

    @property
    def clusters(self) -> int:
        """Number of clusters; 0 where every vote stands alone."""
        return 0 if self.cluster is None or not len(self.cluster) else int(self.cluster.max()) + 1

    def where(self, keep: NDArray[np.bool_]) -> Comparisons:
        """The rows where `keep` (n,) is true, over the same contestants and clusters."""
        return replace(
            self,
            left=self.left[keep], right=self.right[keep], outcome=self.outcome[keep], count=self.count[keep],
            weight=self.weight[keep], square=self.square[keep],
            cluster=None if self.cluster is None else self.cluster[keep],
        )  # fmt: skip

    def among(self, members: Sequence[int]) -> Comparisons:
        """The votes between `members` (positions), which become the contestants, in the order given."""
        if tuple(members) == tuple(range(self.size)):
            return self
        position = np.full(self.size, -1, np.int32)
        position[list(members)] = np.arange(len(members), dtype=np.int32)
        kept = self.where((position[self.left] >= 0) & (position[self.right] >= 0))
        names = tuple(self.contestants[member] for member in members)
        return replace(kept, contestants=names, left=position[kept.left], right=position[kept.right])

    def without_clusters(self) -> Comparisons:
        """The same votes, each standing alone, in as few rows as there are."""
        return aggregate(
            self.contestants, self.left, self.right, self.outcome, self.count, weight=self.weight, square=self.square
        )

    def per_contestant(self, code: Code | None = None) -> Floats:
        """Votes (M,) on battles that each contestant fought in, of one outcome or of all."""
        counts = self.count if code is None else self.count * (self.outcome == code)
        return np.bincount(self.left, counts, self.size) + np.bincount(self.right, counts, self.size)

    @cached_property
    def outcome_counts(self) -> dict[str, Floats]:
        """How often each contestant (M,) won, lost, tied and was in a both-bad battle."""
        won = np.bincount(self.left, self.count * (self.outcome == Code.LEFT), self.size)
        won += np.bincount(self.right, self.count * (self.outcome == Code.RIGHT), self.size)
        ties, both_bad = self.per_contestant(Code.TIE), self.per_contestant(Code.BOTH_BAD)
        lost = self.per_contestant() - won - ties - both_bad
        return {"wins": won, "losses": lost, "ties": ties, "both_bad": both_bad}

    def outcomes(self, position: int) -> dict[str, int]:
        """How often one contestant won, lost, tied and was in a both-bad battle."""
        return {word: int(counts[position]) for word, counts in self.outcome_counts.items()}


def aggregate(
    contestants: Sequence[str],
    left: Ints,
    right: Ints,
    outcome: Ints,
    count: Floats | None = None,
    *,
    weight: Floats | None = None,
    square: Floats | None = None,
    cluster: Ints | None = None,
) -> Comparisons:
    """Comparisons from arrays of votes or of counted votes, equal rows added up, in canonical order.

    `count` (n,) is 1 where absent. `weight` (n,) is the sum of a row's weights (default: its count) and `square` that
    of their squares (default: as if the row's votes weighed the same). `cluster` (n,) may be any integers; the votes
    of a row with a negative one stand alone: each becomes a cluster, or all stay unclustered if there is no other.
    Raises UsageError for a contestant that meets itself, naming it.
    """
    left, right, outcome = np.asarray(left, np.int32), np.asarray(right, np.int32), np.asarray(outcome, np.int8)
    if len(same := np.flatnonzero(left == right)):
        raise UsageError(f"{contestants[left[same[0]]]!r} is compared with itself; remove that vote.")
    count = np.ones(len(left)) if count is None else np.asarray(count, np.float64)
    weight = count if weight is None else np.asarray(weight, np.float64)
    if square is None:
        plain = weight is count
        square = count if plain else np.divide(weight**2, count, out=np.zeros_like(weight), where=count > 0)
    size = len(contestants)
    if cluster is not None and len(alone := np.asarray(cluster) < 0) and alone.any():
        if alone.all():
            cluster = None
        else:
            rows = np.repeat(np.arange(len(left)), np.where(alone, count, 1).astype(np.int64))
            share = np.where(alone, count, 1)[rows]
            left, right, outcome = left[rows], right[rows], outcome[rows]
            count, weight, square = count[rows] / share, weight[rows] / share, square[rows] / share
            cluster, single = np.asarray(cluster, np.int64)[rows], alone[rows]
            cluster[single] = cluster.max() + 1 + np.arange(single.sum())
    key = (left.astype(np.int64) * size + right) * len(Code) + outcome
    cells = size * size * len(Code)
    if cluster is None:
        return _add_up(tuple(contestants), key, count, weight, square, cells)
    cluster = np.asarray(cluster, np.int64)
    if len(cluster) and int(cluster.max()) >= np.iinfo(np.int64).max // cells - 1:
        cluster = np.unique(cluster, return_inverse=True)[1].astype(np.int64)
    return _add_up(tuple(contestants), cluster * cells + key, count, weight, square, cells, True)


def _add_up(
    contestants: tuple[str, ...],
    key: NDArray[np.int64],
    count: Floats,
    weight: Floats,
    square: Floats,
    cells: int,
    clustered: bool = False,
) -> Comparisons:
    plain = weight is count and square is count
    if plain and not clustered and cells < FEW_CELLS:
        sums = np.bincount(key, count, cells)
        found = np.flatnonzero(sums)
        counts = weights = squares = sums[found]
    else:
        # Sorted by weight as well, since a sum of fractions depends on its order; one of whole numbers does not.
        single = plain and bool((count == 1).all())
        order = np.zeros(0, int) if single else np.argsort(key) if plain else np.lexsort((weight, key))
        ordered = np.sort(key) if single else key[order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(key) else np.zeros(0, int)

        def total(values: Floats) -> Floats:
            return np.add.reduceat(values[order], starts) if len(key) else np.zeros(0)

        found = ordered[starts]
        counts = np.diff(np.append(starts, len(key))).astype(np.float64) if single else total(count)
        weights, squares = (counts, counts) if plain else (total(weight), total(square))
    cluster, cell, size = found // cells, found % cells, max(1, len(contestants))
    if clustered and len(found):
        cluster = _numbered_by_content(cluster, cell, counts, weights)
        order = np.argsort(cluster, kind="stable")
        cluster, cell, counts = cluster[order], cell[order], counts[order]
        weights, squares = (counts, counts) if plain else (weights[order], squares[order])
    return Comparisons(
        contestants=contestants,
        left=(cell // len(Code) // size).astype(np.int32),
        right=(cell // len(Code) % size).astype(np.int32),
        outcome=(cell % len(Code)).astype(np.int8),
        count=counts,
        weight=weights,
        square=squares,
        cluster=cluster.astype(np.int32) if clustered else None,
    )


def _numbered_by_content(
    cluster: NDArray[np.int64], cell: NDArray[np.int64], count: Floats, weight: Floats
) -> NDArray[np.int64]:
    """Clusters (n,) renumbered by what their votes say, so that their names cannot change a rounding error."""
    rows = _mixed(cell.astype(np.uint64) ^ _mixed(count.view(np.uint64) ^ _mixed(weight.view(np.uint64))))
    starts = np.flatnonzero(np.concatenate([[True], cluster[1:] != cluster[:-1]]))
    digest = np.add.reduceat(rows, starts)
    place = np.empty(len(starts), np.int64)
    place[np.argsort(digest, kind="stable")] = np.arange(len(starts))
    return np.repeat(place, np.diff(np.append(starts, len(cluster))))


def numbered_by_content(
    cluster: NDArray[np.int64], cell: NDArray[np.int64], count: Floats, weight: Floats
) -> NDArray[np.int64]:
    """Clusters (n,) in any order renumbered by their rows; the votes of a negative one stand alone and keep it."""
    if not len(cluster):
        return cluster
    order = np.argsort(cluster, kind="stable")
    found = np.empty(len(cluster), np.int64)
    found[order] = _numbered_by_content(cluster[order], cell[order], count[order], weight[order])
    return np.where(cluster < 0, cluster, found)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: a bijection of 64-bit numbers that looks random."""
    values = (values + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def from_votes(votes: Iterable[tuple[str, str, Outcome | str]], voters: Iterable[object] | None = None) -> Comparisons:
    """Comparisons of (left name, right name, outcome) in any order; contestants are sorted by name.

    `voters`, one for each vote, become the clusters. Raises UsageError for an unknown outcome.
    """
    rows = [(left, right, code_of(outcome)) for left, right, outcome in votes]
    names = sorted({name for left, right, _ in rows for name in (left, right)})
    position = {name: i for i, name in enumerate(names)}
    left = np.array([position[left] for left, _, _ in rows], np.int32)
    right = np.array([position[right] for _, right, _ in rows], np.int32)
    cluster = None
    if voters is not None:
        said = [str(voter) for voter in voters]
        number = {voter: i for i, voter in enumerate(sorted(set(said)))}
        cluster = np.array([number[voter] for voter in said], np.int64)
    return aggregate(names, left, right, np.array([code for *_, code in rows], np.int8), cluster=cluster)


def code_of(outcome: Outcome | str) -> Code:
    """Raises UsageError for a word that is no outcome: nothing unknown becomes a tie."""
    try:
        return CODES[Outcome(outcome)]
    except ValueError as error:
        known = ", ".join(member.value for member in Outcome)
        raise UsageError(f"Unknown outcome {str(outcome)[:40]!r}: choose one of {known}.") from error
