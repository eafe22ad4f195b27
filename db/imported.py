"""Images that were not made here: which cells they fill, and where they came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import select, text

from arena.domain import Contestant, Generation, ImageRef, Prompt
from db import origins
from db.prompt_sets import parts, put
from db.schema import GenerationRow, ImageSourceRow
from db.store import Store, _generation_values

Cell = tuple[int, int]
"""(prompt id, seed)"""


class Source(NamedTuple):
    """The path of an image in its folder or data set, and its licence ("" where none is said)."""

    path: str
    licence: str = ""


class Attempt(NamedTuple):
    """An image for a prompt, or the reason why there is none; see `Generation`. A prompt without an id is new.

    `origin`: what the image says of where it is from, None where nobody could read it.
    """

    prompt: Prompt
    seed: int
    source: Source
    image: ImageRef | None = None
    failure: str | None = None
    seconds: float | None = None
    cost_usd: float | None = None
    cost_source: str | None = None
    origin: origins.Origin | None = None

    def values(self, contestant_id: int, prompt_id: int) -> dict[str, Any]:
        return _generation_values(
            Generation(
                contestant_id, prompt_id, self.seed, self.image, self.seconds, self.cost_usd, self.failure,
                cost_source=self.cost_source,
            )
        )  # fmt: skip


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


def add(store: Store, contestant: Contestant, attempts: Sequence[Attempt]) -> Contestant:
    """Store attempts, and their contestant and prompts where these are new: all or none. Returns the contestant with
    its id. An image is never replaced; a failure is."""
    insert = store._insert(GenerationRow.__table__)
    with store._writing() as session:
        contestant_id = contestant.id or store._put_contestant(session, contestant).id
        new = [one.prompt for one in attempts if one.prompt.id is None]
        ids = dict(zip((one.text for one in new), put(store, session, new), strict=True))
        values = [one.values(contestant_id, one.prompt.id or ids[one.prompt.text]) for one in attempts]
        session.execute(
            insert.on_conflict_do_update(
                index_elements=["contestant_id", "prompt_id", "seed"],
                set_={name: insert.excluded[name] for name in values[0]},
                where=GenerationRow.__table__.c.failure.is_not(None),
            ),
            values,
        )
        sources = [
            {**one.source._asdict(), **{name: row[name] for name in ("contestant_id", "prompt_id", "seed", "sha256")}}
            for row, one in zip(values, attempts, strict=True)
            if one.image
        ]
        if sources:
            session.execute(NOTE_SOURCE, sources)
        origins.put(store, session, {one.image.sha256: one.origin for one in attempts if one.image and one.origin})
    return replace(contestant, id=contestant_id)


def source(store: Store, generation_id: int) -> Source | None:
    """Where an image came from; None for one that was made here."""
    with store._reading() as session:
        row = session.get(ImageSourceRow, generation_id)
        return row and Source(row.path, row.licence)
