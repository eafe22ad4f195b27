"""What images say of where they are from: read once, when they come in, and kept by their hash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from db.schema import GenerationRow, ImageOriginRow, ImageSourceRow
from db.store import Store


class Origin(NamedTuple):
    """What one image says; see `services.provenance.Facts`. Nothing at all is said by `Origin()`."""

    state: str | None = None
    generator: str | None = None
    signed_by: str | None = None
    mark: str | None = None


COLUMNS = tuple(getattr(ImageOriginRow, name) for name in Origin._fields)


def put(store: Store, session: Session, found: Mapping[str, Origin]) -> None:
    """Keep what was read, sha256 -> origin, in the session's transaction; what was read before is replaced."""
    if not found:
        return
    insert = store._insert(ImageOriginRow.__table__)
    session.execute(
        insert.on_conflict_do_update(
            index_elements=["sha256"], set_={name: insert.excluded[name] for name in Origin._fields}
        ),
        [{"sha256": sha256, **origin._asdict()} for sha256, origin in sorted(found.items())],
    )


def note(store: Store, found: Mapping[str, Origin]) -> None:
    """The same in a transaction of its own."""
    with store._writing() as session:
        put(store, session, found)


def brought(store: Store, *, again: bool = False) -> list[str]:
    """The hashes of images that came from elsewhere and that nobody has read so far; with `again` of all of them."""
    query = (
        select(GenerationRow.sha256)
        .join(ImageSourceRow, ImageSourceRow.generation_id == GenerationRow.id)
        .outerjoin(ImageOriginRow, ImageOriginRow.sha256 == GenerationRow.sha256)
        .where(GenerationRow.sha256.is_not(None))
        .distinct()
        .order_by(GenerationRow.sha256)
    )
    if not again:
        query = query.where(ImageOriginRow.sha256.is_(None))
    with store._reading() as session:
        return [str(sha256) for sha256 in session.scalars(query)]


def said(store: Store, contestant_id: int) -> list[tuple[Origin | None, int]]:
    """What a contestant's images say and how many of them, the most frequent first; None: nobody has read them.

    Images that were drawn here are left out.
    """
    count = func.count().label("images")
    query = (
        select(ImageOriginRow.sha256.is_not(None), *COLUMNS, count)
        .select_from(GenerationRow)
        .outerjoin(ImageOriginRow, ImageOriginRow.sha256 == GenerationRow.sha256)
        .outerjoin(ImageSourceRow, ImageSourceRow.generation_id == GenerationRow.id)
        .where(
            GenerationRow.contestant_id == contestant_id, GenerationRow.sha256.is_not(None),
            or_(ImageOriginRow.sha256.is_not(None), ImageSourceRow.generation_id.is_not(None)),
        )
        .group_by(ImageOriginRow.sha256.is_not(None), *COLUMNS)
        .order_by(count.desc(), *COLUMNS)
    )  # fmt: skip
    with store._reading() as session:
        return [(Origin(*row[1:-1]) if row[0] else None, row[-1]) for row in session.execute(query)]
