"""Elo's online update: R' = R + K (S - E), with E = 1 / (1 + 10^((Ro - R) / 400)).

Source: A. Elo, The Rating of Chessplayers, Past and Present (1978), section 1.6 and 8.4 (logistic form).
Ratings are in rating points: 400 points are odds of ten to one. A tie and both-bad count as half.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from arena.domain import VotedPair

START = 1000.0
SCALE = 400.0


def expected(rating: float, opponent: float) -> float:
    """The score, in (0, 1), that a contestant is expected to take from an opponent."""
    return 1.0 / (1.0 + 10.0 ** ((opponent - rating) / SCALE))


def update(ratings: Mapping[int, float], pair: VotedPair, k: float) -> dict[int, float]:
    """Both new ratings after one vote, by contestant id; who has none yet starts at 1000.

    What one side gains the other loses, to the bit, so that no points are made or lost.
    """
    left, right = ratings.get(pair.left_id, START), ratings.get(pair.right_id, START)
    gain = k * (pair.outcome.left_score - expected(left, right))
    return {pair.left_id: left + gain, pair.right_id: right - gain}


def replay(pairs: Iterable[VotedPair], k: float, ratings: Mapping[int, float] | None = None) -> dict[int, float]:
    """Ratings after all votes in the order given, going on from `ratings`; equal to the live ones to the last bit."""
    current = dict(ratings or {})
    for pair in pairs:
        current.update(update(current, pair, k))
    return current
