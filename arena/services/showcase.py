"""The model page and the prompt page: what is known of one contestant, and all contestants' pictures for one prompt.

Pictures stand here with their makers' names, so they must not help a vote (docs/decisions/0008):
a prompt on which the visitor has an open battle shows none, and a prompt that was shown is not drawn for the visitor
any more (`services.looks`). A picture's address is signed and holds nothing that a battle's address holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from itsdangerous import BadSignature, Signer

from arena.domain import Contestant, Generation, Outcome, Prompt, VoteFilter
from arena.errors import UnknownBattle, UsageError
from arena.services import deriving
from arena.services.leaderboard import Rated
from db import ballots, looks, pictures
from db.pictures import Met

if TYPE_CHECKING:
    from arena.bootstrap import Arena

SIZE = 6
"""Prompts on one page of a gallery. Every model's gallery begins with the same ones: looking at many models spoils
few prompts for the looker's votes."""
LARGEST_ID = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Record:
    """How an image or a contestant fared: votes for it, for the other, and for neither."""

    wins: int = 0
    losses: int = 0
    ties: int = 0
    both_bad: int = 0

    @property
    def votes(self) -> int:
        return self.wins + self.losses + self.ties + self.both_bad

    @property
    def score(self) -> float | None:
        """Share of the votes that it took, a tie as half; both-bad ones prefer nobody. None without any."""
        games = self.wins + self.losses + self.ties
        return (self.wins + self.ties / 2) / games if games else None

    def plus(self, outcome: Outcome, votes: int) -> Record:
        """With so many more votes, seen from the left side."""
        counts = [self.wins, self.losses, self.ties, self.both_bad]
        counts[ballots.OUTCOMES.index(outcome)] += votes
        return Record(*counts)


@dataclass(frozen=True, slots=True)
class Picture:
    """An image to show: whose it is, for which prompt, and its signed address. `token` is None where the visitor may
    not see it yet."""

    contestant: str
    prompt: Prompt
    generation_id: int
    token: str | None
    record: Record = Record()


@dataclass(frozen=True, slots=True)
class Gallery:
    pictures: tuple[Picture, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Fought:
    """A contestant's battles against one opponent on one prompt, added up."""

    prompt: Prompt
    opponent: str
    own_generation: int
    other_generation: int
    record: Record


@dataclass(frozen=True, slots=True)
class PromptBoard:
    """A prompt with everyone's picture for it, best record first, and how each pair fared: (name, name, record)."""

    prompt: Prompt
    pictures: tuple[Picture, ...]
    pairs: tuple[tuple[str, str, Record], ...]

    @property
    def waits(self) -> bool:
        """The visitor has to vote on this prompt first."""
        return any(picture.token is None for picture in self.pictures)


# A contestant


def contestant(arena: Arena, name: str) -> Contestant:
    """Raises UsageError for a name that nobody has."""
    found = next((one for one in arena.store.contestants() if one.name == name), None)
    if found is None:
        raise UsageError(f"There is no model {name[:60]!r} here; the leaderboard lists those there are.")
    return found


def failures(arena: Arena, contestant: Contestant) -> list[tuple[str, int]]:
    """Reasons for attempts without an image, and how often each."""
    return pictures.failures(arena.store, contestant.id or 0)


def by_category(arena: Arena) -> dict[str, Rated | None]:
    """The board of each category as `services.deriving` has it: None while it is being made."""
    found = {}
    for category in arena.store.categories():
        answer = deriving.answer(arena, "board", VoteFilter(category=category), False)
        found[category] = None if answer is None else answer.value
    return found


def gallery(arena: Arena, visitor: str, contestant: Contestant, page: int = 1) -> Gallery:
    """One page of a contestant's pictures, in the order of the prompts."""
    found, total = pictures.shown(arena.store, contestant.id or 0, (page - 1) * SIZE, SIZE)
    shown = [Picture(contestant.name, prompt, id, None) for prompt, id in found]
    return Gallery(tuple(_allowed(arena, visitor, shown)), total)


def battles_of(arena: Arena, contestant_id: int) -> list[Fought]:
    """A contestant's battles that people voted on, its best first: by share of the votes, then by how many."""
    found: dict[tuple[int, int, int], tuple[int, Record]] = {}
    for row in pictures.met(arena.store, contestant_id=contestant_id):
        own, other, other_id, outcome = _seen_from(row, contestant_id)
        _, record = found.get((own, other, other_id), (0, Record()))
        found[own, other, other_id] = row.prompt_id, record.plus(outcome, row.votes)
    prompts = pictures.prompts_by_id(arena.store, sorted({prompt for prompt, _ in found.values()}))
    names = {one.id: one.name for one in arena.store.contestants()}
    fought = [
        Fought(prompts[prompt], names[other_id], own, other, record)
        for (own, other, other_id), (prompt, record) in found.items()
        if record.score is not None
    ]
    return sorted(fought, key=lambda one: (-(one.record.score or 0), -one.record.votes, one.prompt.id or 0))


def _seen_from(row: Met, contestant_id: int) -> tuple[int, int, int, Outcome]:
    """Own and other generation, the other contestant, and the outcome with the contestant on the left."""
    outcome = ballots.OUTCOMES[row.outcome]
    if row.left_id == contestant_id:
        return row.left_generation, row.right_generation, row.right_id, outcome
    return row.right_generation, row.left_generation, row.left_id, outcome.mirrored


def extremes(fought: Sequence[Fought], n: int = 3) -> tuple[list[Fought], list[Fought]]:
    """The best and the worst battles, at most n each: those that it took most and least of; none is in both."""
    best = [one for one in fought[:n] if (one.record.score or 0) > 0.5]
    worst = sorted(fought, key=lambda one: (one.record.score or 0, -one.record.votes, one.prompt.id or 0))
    return best, [one for one in worst[:n] if (one.record.score or 0) < 0.5]


def pair(arena: Arena, visitor: str, fought: Fought, name: str) -> list[Picture]:
    """Both pictures of a battle, the contestant's own first."""
    return _allowed(
        arena,
        visitor,
        [
            Picture(name, fought.prompt, fought.own_generation, None, fought.record),
            Picture(fought.opponent, fought.prompt, fought.other_generation, None),
        ],
    )


# A prompt


def prompt_board(arena: Arena, visitor: str, prompt_id: int) -> PromptBoard:
    """Raises UsageError for a prompt that there is not, or that is only its writer's."""
    prompt, found = pictures.of_prompt(arena.store, prompt_id) if 0 < prompt_id <= LARGEST_ID else (None, [])
    if prompt is None:
        raise UsageError(f"There is no prompt {prompt_id}; the pages of models link to those there are.")
    names = {one.id: one.name for one in arena.store.contestants()}
    records, pairs = _fared(pictures.met(arena.store, prompt_id=prompt_id), names)
    shown = [_picture(names, prompt, one, records) for one in found]
    ordered = sorted(shown, key=lambda one: (-_share_taken(one.record), one.contestant))
    return PromptBoard(prompt, tuple(_allowed(arena, visitor, ordered)), pairs)


def _share_taken(record: Record) -> float:
    """The record's score; below every other where no vote gives one."""
    return -1.0 if record.score is None else record.score


def _picture(
    names: Mapping[int | None, str], prompt: Prompt, one: Generation, records: Mapping[str, Record]
) -> Picture:
    name = names[one.contestant_id]
    return Picture(name, prompt, one.id or 0, None, records.get(name, Record()))


def _fared(
    rows: Sequence[Met], names: Mapping[int | None, str]
) -> tuple[dict[str, Record], tuple[tuple[str, str, Record], ...]]:
    """How each contestant and each pair, in alphabetical order, fared."""
    each: dict[str, Record] = {}
    pairs: dict[tuple[str, str], Record] = {}
    for row in rows:
        left, right, outcome = names[row.left_id], names[row.right_id], ballots.OUTCOMES[row.outcome]
        each[left] = each.get(left, Record()).plus(outcome, row.votes)
        each[right] = each.get(right, Record()).plus(outcome.mirrored, row.votes)
        first, second = sorted((left, right))
        seen = outcome if first == left else outcome.mirrored
        pairs[first, second] = pairs.get((first, second), Record()).plus(seen, row.votes)
    return each, tuple((first, second, record) for (first, second), record in sorted(pairs.items()))


# Blindness


def _allowed(arena: Arena, visitor: str, shown: Sequence[Picture]) -> list[Picture]:
    """The pictures with their addresses where the visitor may see them now, which is remembered."""
    waiting = {battle.prompt.id for battle in arena.store.open_battles(visitor)}
    free = [one for one in shown if one.prompt.id not in waiting]
    looks.note(arena.store, visitor, [one.prompt.id or 0 for one in free])
    signer = _signer(arena)
    return [
        Picture(one.contestant, one.prompt, one.generation_id, signer.sign(str(one.generation_id)).decode(), one.record)
        if one in free
        else one
        for one in shown
    ]


def picture(arena: Arena, token: str) -> tuple[bytes, str]:
    """The bytes and media type of a picture that was shown; raises UnknownBattle for an address that was not given."""
    try:
        found = pictures.generation(arena.store, int(_signer(arena).unsign(token)))
    except (BadSignature, ValueError):
        found = None
    if found is None or found.image is None:
        raise UnknownBattle(f"There is no picture {token[:40]!r}.")
    return arena.blobs.get(found.image.sha256), found.image.media_type


def _signer(arena: Arena) -> Signer:
    return Signer(arena.secret, salt="arena.showcase")
