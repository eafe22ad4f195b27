"""Prompt sets: prompts that came together, under a name and the hash of what they say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from arena.domain import OWN_PROMPT, Prompt
from db import ballots
from db.schema import PromptRow, PromptSetMemberRow, PromptSetRow, text_sha256
from db.store import Store, now

T = TypeVar("T")
PART = 500
"""Rows in one statement: SQLite takes 32,766 values at most."""


@dataclass(frozen=True, slots=True)
class PromptSet:
    """A stored set. `sha256` is of what its prompts say, so that `version` names the same prompts everywhere."""

    name: str
    sha256: str
    source: str = ""
    licence: str = ""
    prompts: int = 0
    categories: int = 0
    at: datetime | None = None
    id: int | None = None

    @property
    def version(self) -> str:
        return f"{self.name}@{self.sha256[:12]}"


@dataclass(frozen=True, slots=True)
class Member:
    """A prompt with what its set says of it: its id there ("" for none), its licence, and whatever else."""

    prompt: Prompt
    item: str = ""
    licence: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


class Place(NamedTuple):
    """Where a prompt stands in a set: from 0, with its id there, and its id in the arena."""

    position: int
    item: str
    prompt_id: int


def parts(items: Iterable[T], size: int = PART) -> Iterator[list[T]]:
    """The items in lists of `size`, the last one shorter."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def known(store: Store, texts: Iterable[str]) -> dict[str, int]:
    """The ids of the prompts that have these very texts, without those that only a voter typed."""
    with store._reading() as session:
        return _ids(session, texts, PromptRow.source != OWN_PROMPT)


def existing(store: Store, ids: Iterable[int]) -> set[int]:
    """Those of the ids that are a prompt of everyone's."""
    query = select(PromptRow.id).where(PromptRow.source != OWN_PROMPT)
    with store._reading() as session:
        return {id for part in parts(ids) for id in session.scalars(query.where(PromptRow.id.in_(part)))}


def put(store: Store, session: Session, prompts: Sequence[Prompt]) -> list[int]:
    """The prompts' ids, in order; those whose text is new are stored in the session's transaction.

    What only a voter had typed so far becomes everyone's, as `Store.add_prompts` has it.
    """
    found = _ids(session, (one.text for one in prompts), PromptRow.source != OWN_PROMPT)
    new = {one.text: one for one in reversed(prompts) if one.text not in found}  # of equal ones the first
    if new:
        insert = store._insert(PromptRow.__table__)
        values = {name: insert.excluded[name] for name in ("category", "tags", "source")}
        session.execute(
            insert.on_conflict_do_update(
                index_elements=["text_sha256"], set_=values, where=PromptRow.__table__.c.source == OWN_PROMPT
            ),
            [
                {"text": one.text, "category": one.category, "tags": list(one.tags), "source": one.source}
                for one in reversed(new.values())
            ],
        )
        found |= _ids(session, new)
    return [found[one.text] for one in prompts]


def add(store: Store, new: PromptSet, members: Iterable[Member]) -> PromptSet:
    """Store a set with its prompts, all or none. Raises whatever `members` raises, and then nothing is stored."""
    with store._writing() as session:
        row = PromptSetRow(name=new.name, sha256=new.sha256, source=new.source, licence=new.licence, at=now())
        session.add(row)
        session.flush()
        count, categories = 0, set[str]()
        for part in parts(members):
            ids = put(store, session, [one.prompt for one in part])
            session.execute(
                store._insert(PromptSetMemberRow.__table__),
                [
                    {
                        "set_id": row.id, "position": count + n, "prompt_id": id, "item": one.item,
                        "prompt_key": ballots.key(one.prompt.text), "category": one.prompt.category,
                        "tags": list(one.prompt.tags), "licence": one.licence, "details": dict(one.details),
                    }
                    for n, (id, one) in enumerate(zip(ids, part, strict=True))
                ],
            )  # fmt: skip
            count += len(part)
            categories |= {one.prompt.category for one in part}
        return replace(new, id=row.id, prompts=count, categories=len(categories), at=row.at)


def stored(store: Store, name: str | None = None) -> list[PromptSet]:
    """Every set, or those of a name, oldest first."""
    member = PromptSetMemberRow
    query = (
        select(PromptSetRow, func.count(member.position), func.count(member.category.distinct()))
        .outerjoin(member, member.set_id == PromptSetRow.id)
        .group_by(PromptSetRow.id)
        .order_by(PromptSetRow.id)
    )
    if name is not None:
        query = query.where(PromptSetRow.name == name)
    with store._reading() as session:
        return [
            PromptSet(row.name, row.sha256, row.source, row.licence, prompts, categories, row.at, row.id)
            for row, prompts, categories in session.execute(query)
        ]


def places(store: Store, set_id: int) -> list[Place]:
    """The prompts of a set, in its order."""
    member = PromptSetMemberRow
    query = (
        select(member.position, member.item, member.prompt_id).where(member.set_id == set_id).order_by(member.position)
    )
    with store._reading() as session:
        return [Place(*row) for row in session.execute(query)]


def members(store: Store, set_id: int) -> list[Member]:
    """The prompts of a set with what it says of them, in its order."""
    query = (
        select(PromptSetMemberRow, PromptRow)
        .join(PromptRow, PromptRow.id == PromptSetMemberRow.prompt_id)
        .where(PromptSetMemberRow.set_id == set_id)
        .order_by(PromptSetMemberRow.position)
    )
    with store._reading() as session:
        return [
            Member(Prompt(row.text, one.category, tuple(one.tags), row.source, row.id), one.item, one.licence,
                   one.details)
            for one, row in session.execute(query)
        ]  # fmt: skip


def prompt_keys(store: Store, set_id: int) -> set[int]:
    """The keys by which ballots know the prompts of a set."""
    with store._reading() as session:
        query = select(PromptSetMemberRow.prompt_key).where(PromptSetMemberRow.set_id == set_id)
        return {*session.scalars(query)}


def _ids(session: Session, texts: Iterable[str], *where: Any) -> dict[str, int]:
    query = select(PromptRow.text, PromptRow.id).where(*where)
    return {
        text: id
        for part in parts(map(text_sha256, texts))
        for text, id in session.execute(query.where(PromptRow.text_sha256.in_(part)))
    }
