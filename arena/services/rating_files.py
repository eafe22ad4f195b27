"""Rate a file of votes, with no database: `arena rate`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from arena.domain import VotedPair
from arena.errors import UsageError
from arena.rating import board as boards
from arena.rating import elo
from arena.rating.board import Board, BoardRow
from arena.rating.bradley_terry import Ties
from arena.rating.comparisons import Code
from arena.rating.uncertainty import Status
from arena.services.votes_files import OUTCOMES, Cluster, Order, Votes, read_votes

ELO_K = 4.0
"""Chatbot Arena's step for static models (FastChat), with its scale of 400 and start of 1000."""
ELO_METHOD = "elo@1"
ORDER_DEPENDENT = (
    "Elo depends on the order of the votes, here the file's, so it has no interval and no rank set; "
    "use the system bt or davidson for them."
)

NAMED = "{:,} votes were cast with the models' names in sight (anony is false) and are left out."


def rate(
    path: Path,
    system: str = "bt",
    *,
    ties: str | None = None,
    category: str | None = None,
    cluster: str | None = None,
    k: float | None = None,
) -> Board:
    """The board of a file's votes under "bt", "elo" or "davidson".

    `ties`: "half" a win for both (default) or "drop"; Davidson's model has ties of its own. `cluster`: whose votes
    hang together, "voter", "prompt" or "none" (default: by voter if the file says who voted). `k`: Elo's step.
    Raises UsageError for a setting that the system does not have, DataError for a file that cannot be rated.
    """
    if system not in ("bt", "elo", "davidson"):
        raise UsageError(f"Unknown system {system!r}: choose one of bt, davidson, elo.")
    if system != "elo" and k is not None:
        raise UsageError(f"K is Elo's step and the system {system} has none; leave it out.")
    if system == "davidson" and ties is not None:
        raise UsageError(f"Davidson's model says how likely a tie is and cannot take ties as {ties!r}; leave it out.")
    if system == "elo" and cluster not in (None, Cluster.NONE):
        raise UsageError("Elo has no intervals that clusters could widen; leave them out.")
    k = ELO_K if k is None else k
    if not (math.isfinite(k) and k > 0):
        raise UsageError(f"K is {k!r}; it has to be a positive number, as 4 or 32.")
    by = Cluster.NONE if system == "elo" else None if cluster is None else Cluster(cluster)
    votes = read_votes(path, cluster=by, category=category, ordered=system == "elo")
    found = _board(votes, system, Ties(ties or Ties.HALF), k)
    clustered = None if votes.cluster is Cluster.NONE else votes.cluster.value
    return replace(
        found,
        parameters={**found.parameters, "cluster": clustered, "category": category},
        warnings=(*found.warnings, *([NAMED.format(votes.named)] if votes.named else [])),
    )


def _board(votes: Votes, system: str, ties: Ties, k: float) -> Board:
    if system == "elo":
        return elo_board(votes, k, ties)
    if system == "davidson":
        from arena.rating import davidson

        return davidson.board(votes.comparisons, flips=False)
    return boards.board(votes.comparisons, ties, flips=False)


def elo_board(votes: Votes, k: float = ELO_K, ties: Ties = Ties.HALF) -> Board:
    """Online Elo in the order of the file, which `votes` has to know. A both-bad vote is half a win for both."""
    assert votes.order is not None
    comparisons = votes.comparisons
    ratings = elo.replay(_games(votes.order, ties), k)
    rating = [ratings.get(i, elo.START) for i in range(comparisons.size)]
    bad = comparisons.per_contestant(Code.BOTH_BAD)
    fought = comparisons.per_contestant()
    best_first = sorted(range(comparisons.size), key=lambda i: (-rating[i], comparisons.contestants[i]))
    return Board(
        system="elo",
        parameters={
            "method": ELO_METHOD, "k": k, "scale": elo.SCALE, "start": elo.START, "ties": ties.value,
            "both_bad": "half", "order": "file",
        },
        n_votes=comparisons.votes,
        board=tuple(
            BoardRow(
                rank=1 + sum(other > rating[i] for other in rating), rank_low=None, rank_high=None,
                model=comparisons.contestants[i], rating=rating[i], low=None, high=None, votes=int(fought[i]),
                both_bad_rate=float(bad[i] / fought[i]), status=Status.PRELIMINARY.value,
            )
            for i in best_first
        ),
        warnings=(ORDER_DEPENDENT,),
    )  # fmt: skip


def _games(order: Order, ties: Ties) -> Iterator[VotedPair]:
    number = 0
    for left, right, code, count in zip(*order, strict=True):
        if code == Code.TIE and ties is Ties.DROP:
            continue
        for _ in range(count):
            number += 1
            yield VotedPair(number, int(left), int(right), OUTCOMES[int(code)])
