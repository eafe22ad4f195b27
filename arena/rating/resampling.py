"""The bootstrap: votes are drawn anew, and every redrawn board is fitted again.

Rounds are drawn exactly (see `redrawn`) and fitted to rounding, in batches that stay in a processor's cache, by as
many threads as there are processors. A batch has random numbers of its own, so the number of threads changes no bit.
A round that has no maximum of the likelihood is NaN, never a made-up number.

Source: B. Efron, Bootstrap Methods: Another Look at the Jackknife, Annals of Statistics 7 (1979).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from arena.rating import bradley_terry as bt
from arena.rating.bradley_terry import Ties
from arena.rating.comparisons import Comparisons, Floats, Ints
from arena.rating.uncertainty import invert

BATCH_CELLS = 250_000
GROUPS = 1000
"""At most so many groups of clusters are resampled; whole groups stay independent of each other."""
SHORT = 2.5
"""So many standard deviations fewer votes than wanted are drawn at first; 0.6% of rounds still have too many."""
MOST_LISTED = 10_000_000
"""Votes that are listed one by one to draw from; beyond, the list costs more memory than it saves time."""
EXACT_IN_SINGLE = 2**23
"""Sums of half votes up to this number are exact in single precision."""
STEPS, TOLERANCE = 15, 1e-10


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of contestants that met (P,), positions of the lower and the higher one, in order; of M = `size`."""

    low: Ints
    high: Ints
    size: int

    def wins(self, games: Floats, scored: Floats) -> Floats:
        """Wins (..., M, M) from each pair's games and the lower one's score (..., P)."""
        wins = np.zeros((*games.shape[:-1], self.size, self.size))
        wins[..., self.low, self.high], wins[..., self.high, self.low] = scored, games - scored
        return wins

    def adder(self) -> Callable[[Floats], Floats]:
        """The function from what each pair's lower one gains (R, P) to what each contestant does (R, M)."""
        order = np.argsort(self.high, kind="stable")
        lows, low_starts = np.unique(self.low, return_index=True)
        highs, high_starts = np.unique(self.high[order], return_index=True)

        def added(gain: Floats) -> Floats:
            found = np.zeros((len(gain), self.size))
            found[:, lows] = np.add.reduceat(gain, low_starts, axis=1)
            found[:, highs] -= np.add.reduceat(gain[:, order], high_starts, axis=1)
            return found

        return added


@dataclass(frozen=True, eq=False)
class Source:
    """What rounds are drawn from. `games`, `scored` (P,): those of all votes. `draw`: random numbers and a number of
    rounds R -> games and scores (R, P). `cells`: numbers drawn for a round."""

    pairs: Pairs
    games: Floats
    scored: Floats
    draw: Callable[[np.random.Generator, int], tuple[Floats, Floats]]
    cells: int


def bootstrap(
    comparisons: Comparisons, theta: Floats, rounds: int = 1000, ties: Ties = Ties.HALF, seed: int = 0
) -> Floats:
    """Strengths (rounds, M) refitted to votes that were drawn anew; NaN in a round that has no maximum.

    With clusters, whole clusters are drawn (multinomial weights); of more than 1,000, fixed groups of them, which
    are as independent of each other. Without, votes are drawn (multinomial counts of those that say the same).
    `theta` (M,): the strengths that all votes give, from which the rounds are sought.
    """
    source = (_of_votes if comparisons.cluster is None else _of_clusters)(comparisons, ties, seed)
    refit = refitter(source.pairs, source.games, source.scored, theta)
    batch = int(np.clip(BATCH_CELLS // max(1, source.cells), 10, 50))
    starts = range(0, rounds, batch)

    def one(start: int) -> Floats:
        return refit(*source.draw(np.random.default_rng([seed, start]), min(batch, rounds - start)))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate([np.empty((0, comparisons.size)), *pool.map(one, starts)])


def _seen_from_lower(comparisons: Comparisons, ties: Ties) -> tuple[Ints, Ints, Floats]:
    """Which rows (n,) have a part in the fit, their pair as a number, and the score of its lower one."""
    score = bt.left_score(comparisons.outcome, ties)
    rows = np.flatnonzero(~np.isnan(score))
    left, right, score = comparisons.left[rows], comparisons.right[rows], score[rows]
    pair = np.minimum(left, right).astype(np.int64) * comparisons.size + np.maximum(left, right)
    return rows, pair, np.where(left < right, score, 1 - score)


def _of_votes(comparisons: Comparisons, ties: Ties, seed: int) -> Source:
    rows, pair, score = _seen_from_lower(comparisons, ties)
    count, size = comparisons.count[rows], comparisons.size
    each = comparisons.weight[rows] / count
    # Votes that say and weigh the same are one cell of the multinomial, whichever side they were on.
    order = np.lexsort((each, score, pair))
    pair, score, each, count = pair[order], score[order], each[order], count[order]
    said = np.stack([pair, score, each])
    cells = np.flatnonzero((said != np.roll(said, 1, axis=1)).any(0) | (np.arange(len(pair)) == 0))
    counts = np.add.reduceat(count, cells).astype(np.int64)
    pair, weight, scored = pair[cells], each[cells], each[cells] * score[cells]
    numbers, starts = np.unique(pair, return_index=True)
    fresh = redrawn(counts)

    def sums(drawn: Floats) -> tuple[Floats, Floats]:
        return np.add.reduceat(drawn * weight, starts, axis=1), np.add.reduceat(drawn * scored, starts, axis=1)

    games, whole = sums(counts[None].astype(np.float64))
    pairs = Pairs(numbers // size, numbers % size, size)
    return Source(pairs, games[0], whole[0], lambda rng, rounds: sums(fresh(rng, rounds)), len(cells))


def redrawn(counts: Ints) -> Callable[[np.random.Generator, int], Ints]:
    """The function from random numbers and a number of rounds R to multinomial counts (R, K) of as many votes.

    Multinomial counts of n votes are Poisson's, given their sum; and those of k votes and of n - k more add up to
    those of n. So Poisson counts that fall a little short are drawn, and the votes that are missing are drawn one by
    one: exact, and twice as fast as a chain of binomials. Rounds with too many are drawn again.
    """
    votes = int(counts.sum())
    if votes > MOST_LISTED:
        return lambda rng, rounds: rng.multinomial(votes, counts / votes, rounds)
    listed = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    rate = counts * max(0.0, 1 - SHORT / np.sqrt(max(1, votes)))

    def fresh(rng: np.random.Generator, rounds: int) -> Ints:
        drawn = rng.poisson(rate, (rounds, len(counts)))
        while len(over := np.flatnonzero(drawn.sum(1) > votes)):
            drawn[over] = rng.poisson(rate, (len(over), len(counts)))
        missing = votes - drawn.sum(1)
        more = listed[rng.integers(0, max(1, votes), missing.sum())] + np.repeat(np.arange(rounds), missing) * len(
            counts
        )
        return drawn + np.bincount(more, minlength=drawn.size).reshape(drawn.shape)

    return fresh


def _of_clusters(comparisons: Comparisons, ties: Ties, seed: int) -> Source:
    rows, pair, score = _seen_from_lower(comparisons, ties)
    size, weight = comparisons.size, comparisons.weight[rows]
    numbers = np.flatnonzero(np.bincount(pair, minlength=size**2))
    place = np.zeros(size**2, np.int64)
    place[numbers] = np.arange(len(numbers))
    place = place[pair]
    groups, width = min(GROUPS, comparisons.clusters), len(numbers)
    # Clusters are shared out at random, not by number: numbers may follow time or kind.
    group = np.random.default_rng(seed).permutation(comparisons.clusters)[comparisons.cluster[rows]] % groups
    exact = np.array_equal(comparisons.weight, comparisons.count) and weight.sum() <= EXACT_IN_SINGLE
    by_group = np.empty((2, groups, width), np.float32 if exact else np.float64)
    for table, values in zip(by_group, (weight, weight * score), strict=True):
        table[:] = np.bincount(group * width + place, values, groups * width).reshape(groups, width)

    def draw(rng: np.random.Generator, rounds: int) -> tuple[Floats, Floats]:
        times = rng.multinomial(groups, np.full(groups, 1 / groups), rounds).astype(by_group.dtype)
        games, scored = (times @ table for table in by_group)
        return games.astype(np.float64), scored.astype(np.float64)

    games, scored = by_group.sum(1, dtype=np.float64)
    return Source(Pairs(numbers // size, numbers % size, size), games, scored, draw, 2 * width)


def refitter(pairs: Pairs, games: Floats, scored: Floats, theta: Floats) -> Callable[[Floats, Floats], Floats]:
    """The function that fits boards (R, M) to games and scores (R, P) like those of all votes (P,), fitted by `theta`.

    All boards go uphill by Newton's method with the curvature of the whole board, which costs no matrix a board, until
    a step is below TOLERANCE: steps are the slope times a fixed matrix, so only at the maximum can they vanish. What
    has not settled then, or is not safely connected, is left to `bradley_terry.fit`.
    """
    wins, added = pairs.wins(games, scored), pairs.adder()
    inverse = invert(bt.information(wins, theta))
    start = 1 / (1 + np.exp(theta[pairs.high] - theta[pairs.low]))
    tree = _backbone(np.minimum(wins, wins.T))[pairs.low, pairs.high]
    spans = tree.sum() == pairs.size - 1

    def refit(games: Floats, scored: Floats) -> Floats:
        # A tree along which both have won connects everyone with everyone (Ford 1957).
        both = (scored[:, tree] > 0) & (scored[:, tree] < games[:, tree])
        settled = both.all(1) & spans
        found, probability = np.tile(theta, (len(games), 1)), start
        step = found
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(STEPS):
                step = added(scored - games * probability) @ inverse
                found += step
                if not (np.abs(step[settled]) >= TOLERANCE).any():
                    break
                probability = 1 / (1 + np.exp(found[:, pairs.high] - found[:, pairs.low]))
            settled &= (np.abs(step) < TOLERANCE).all(1)
        if not settled.all():
            found[~settled] = bt.fit(pairs.wins(games[~settled], scored[~settled]), theta)
        return found - found.mean(1, keepdims=True)

    return refit


def _backbone(both: Floats) -> np.ndarray:
    """Which pairs (M, M), lower one first, form the tree along the greatest numbers; without those of 0 (Prim 1957)."""
    size = len(both)
    tree, inside = np.zeros((size, size), bool), np.zeros(size, bool)
    inside[0], best, parent = True, both[0].copy(), np.zeros(size, int)
    for _ in range(size - 1):
        new = int(np.argmax(np.where(inside, -1.0, best)))
        if best[new] <= 0:
            break
        tree[min(new, parent[new]), max(new, parent[new])] = inside[new] = True
        nearer = both[new] > best
        best[nearer], parent[nearer] = both[new][nearer], new
    return tree
