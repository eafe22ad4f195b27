"""Checkpoints: a board's ratings after ballots in the past, so that excluding a vote replays only those after it.

Derived like the board itself: without them a board is replayed from the first ballot, to the same ratings.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from db.schema import RatingCheckpointRow as Row
from db.schema import VoteExclusionRow

EVERY = 1_000
"""Ballots between two checkpoints: few enough to be replayed within an undo."""
KEPT = 8


def due(before: int, after: int) -> bool:
    """Whether a checkpoint lies between the ballots `before` and `after`."""
    return after // EVERY > before // EVERY


def save(session: Session, board_id: int, last: int, ratings: Mapping[int, float], exclusions: int) -> None:
    """Keep the ratings after the ballot `last`, at so many exclusions; all but the newest checkpoints go."""
    newest = session.scalar(select(func.coalesce(func.max(VoteExclusionRow.id), 0)))
    plain = {str(id): value for id, value in ratings.items()}
    session.merge(Row(board_id=board_id, last_vote_id=last, exclusions=exclusions, exclusion_id=newest, ratings=plain))
    session.flush()
    kept = session.scalars(_of(board_id).with_only_columns(Row.last_vote_id).limit(KEPT)).all()
    session.execute(delete(Row).where(Row.board_id == board_id, Row.last_vote_id < min(kept)))


def newest(session: Session, board_id: int, exclusions: int) -> tuple[int, dict[int, float]]:
    """The newest checkpoint that holds now that there are so many exclusions: its ballot and ratings, or (0, {}).

    It holds when every exclusion since took away a ballot after it.
    """
    for row in session.scalars(_of(board_id)):
        since = select(func.count()).where(
            VoteExclusionRow.id > row.exclusion_id, VoteExclusionRow.ballot_id > row.last_vote_id
        )
        if session.scalar(since) == exclusions - row.exclusions:
            return row.last_vote_id, {int(id): value for id, value in row.ratings.items()}
    return 0, {}


def forget(session: Session, board_id: int) -> None:
    session.execute(delete(Row).where(Row.board_id == board_id))


def _of(board_id: int) -> Select[tuple[Row]]:
    return select(Row).where(Row.board_id == board_id).order_by(Row.last_vote_id.desc())
