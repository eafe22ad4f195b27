"""Images that were not made here: which cells they fill, and where they came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import select, text

from arena.domain import Generation, ImageRef
from db.prompt_sets import parts
from db.schema import GenerationRow, ImageSourceRow
from db.store import Store, _generation_values

Cell = tuple[int, int]
"""(prompt id, seed)"""


class Source(NamedTuple):
    """The path of an image in its folder or data set, and its licence ("" where none is said)."""

    path: str
    licence: str = ""


NOTE_SOURCE = text(
    "INSERT INTO image_sources (generation_id, path, licence) SELECT id, :path, :licence FROM generations "
    "WHERE contestant_id = :contestant_id AND prompt_id = :prompt_id AND seed = :seed AND sha256 = :sha256 "
    "ON CONFLICT DO NOTHING"
)


def kept(store: Store, contestant_id: int, prompt_ids: Iterable[int]) -> dict[Cell, ImageRef]:
    """The images that a contestant has for these prompts, by cell."""
    row = GenerationRow
    query = select(row.prompt_id, row.seed, row.sha256, row.width, row.height, row.media_type).where(
        row.contestant_id == contestant_id, row.sha256.is_not(None)
    )
    with store._reading() as session:
        return {
            (prompt_id, seed): ImageRef(*image)
            for part in parts({*prompt_ids})
            for prompt_id, seed, *image in session.execute(query.where(row.prompt_id.in_(part)))
        }


def add(store: Store, attempts: Sequence[tuple[Generation, Source]]) -> None:
    """Store attempts with their sources, all or none. An image is never replaced; a failure is."""
    values = [_generation_values(one) for one, _ in attempts]
    insert = store._insert(GenerationRow.__table__)
    put = insert.on_conflict_do_update(
        index_elements=["contestant_id", "prompt_id", "seed"],
        set_={name: insert.excluded[name] for name in values[0]},
        where=GenerationRow.__table__.c.failure.is_not(None),
    )
    sources = [
        {**source._asdict(), **{name: one[name] for name in ("contestant_id", "prompt_id", "seed", "sha256")}}
        for one, (_, source) in zip(values, attempts, strict=True)
        if one["sha256"]
    ]
    with store._writing() as session:
        session.execute(put, values)
        if sources:
            session.execute(NOTE_SOURCE, sources)


def source(store: Store, generation_id: int) -> Source | None:
    """Where an image came from; None for one that was made here."""
    with store._reading() as session:
        row = session.get(ImageSourceRow, generation_id)
        return row and Source(row.path, row.licence)
