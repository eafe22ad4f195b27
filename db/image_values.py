"""The values of single images behind stored scores: read where images are compared, and never with the scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import select

from arena.domain import ImageValue
from db.schema import ScoreRow
from db.store import Store

Key = tuple[str, int]
"""An image's sha256 and its prompt's id."""


class ImageValues(NamedTuple):
    """What one protocol said of images: the newest of each, a value before a reason why there is none.

    `subjects`: whose scores keep the values of their images.
    """

    of: Mapping[Key, ImageValue]
    subjects: frozenset[str]


def image_values(store: Store, metric: str, fingerprint: str) -> ImageValues:
    """The values that scores of this metric and protocol keep; a score that keeps none is left out."""
    query = (
        select(ScoreRow.subject, ScoreRow.images)
        .where(ScoreRow.metric == metric, ScoreRow.protocol_fingerprint == fingerprint, ScoreRow.images.is_not(None))
        .order_by(ScoreRow.id.desc())
    )
    found: dict[Key, ImageValue] = {}
    subjects = set()
    with store._reading() as session:
        for subject, images in session.execute(query):
            subjects.add(subject)
            for one in (ImageValue(*plain) for plain in images):
                key = (one.sha256, one.prompt_id)
                if key not in found or (found[key].value is None and one.value is not None):
                    found[key] = one
    return ImageValues(found, frozenset(subjects))
