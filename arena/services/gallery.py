"""A judge's verdicts to look at: both images, what was said in each order, and what people said of the same pair.

Nothing here helps a voter who has yet to vote: a pair that waits for this visitor's vote is left out, and who made the
images is told only of pairs that the visitor has voted on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from arena.domain import Battle, JudgeAnswer, Outcome, Side, VoteFilter
from arena.errors import UnknownBattle
from arena.services import display
from db import ballots
from db.verdicts import Head, Pair, Verdicts

if TYPE_CHECKING:
    from arena.bootstrap import Arena

LARGEST_ID = 1 << 63
Images = frozenset[str]
"""The sha256 of two images."""


class Kind(StrEnum):
    """Which verdicts are looked at."""

    ALL = "all"
    DISAGREE = "disagree"
    INCONSISTENT = "inconsistent"
    UNSCORED = "unscored"


@dataclass(frozen=True, slots=True)
class People:
    """What people said of a pair, seen from its battle's sides; `leading` is the most frequent answer, if one is."""

    counts: Mapping[Outcome, int]

    @property
    def leading(self) -> Outcome | None:
        most = Counter(self.counts).most_common(2)
        return most[0][0] if most and (len(most) == 1 or most[0][1] > most[1][1]) else None


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One verdict. `answers`: with the left image shown first, then with the right one first. `names` of the left and
    right model are None until the visitor has voted on the pair."""

    verdict_id: int
    prompt: str
    turned: bool
    outcome: Outcome | None
    consistent: bool | None
    unscored: str | None
    answers: tuple[JudgeAnswer, JudgeAnswer]
    people: People
    names: tuple[str, str] | None

    @property
    def disagrees(self) -> bool:
        """The judge and most people gave different answers."""
        return _differ(self.outcome, self.people.leading)

    def picture(self, side: Side) -> Side:
        """The side of the verdict, whose images are in alphabetical order, that stands on this side of the exhibit."""
        return side if not self.turned else {Side.LEFT: Side.RIGHT, Side.RIGHT: Side.LEFT}[side]


@dataclass(frozen=True, slots=True)
class Gallery:
    """A page of exhibits, and how many there are in all."""

    exhibits: tuple[Exhibit, ...]
    total: int


def gallery(
    arena: Arena, judge_id: str, visitor: str, kind: Kind = Kind.ALL, *, page: int = 1, size: int = 12
) -> Gallery:
    """Verdicts of this kind, newest first; of those that disagree with people, opposite picks before ties."""
    said = _said(arena)
    waiting = {_images(battle) for battle in arena.store.open_battles(visitor)}
    found = [
        head
        for head in _chosen(Verdicts(arena.store).heads(judge_id), kind, said)
        if frozenset((head.left, head.right)) not in waiting
    ]
    shown = found[(page - 1) * size : page * size]
    return Gallery(tuple(_exhibits(arena, judge_id, visitor, shown, said)), len(found))


def picture(arena: Arena, verdict_id: int, side: Side | str) -> tuple[bytes, str]:
    """The rendition and media type of one image of a verdict: what a voter sees of it, and no more.

    Raises UnknownBattle where there is none.
    """
    verdict = Verdicts(arena.store).verdict(verdict_id) if verdict_id < LARGEST_ID else None
    sha256 = {Side.LEFT.value: verdict.left, Side.RIGHT.value: verdict.right}.get(str(side)) if verdict else None
    if sha256 is None:
        raise UnknownBattle(f"There is no {str(side)[:40]!r} image of a verdict {verdict_id}.")
    return display.alone(arena, sha256), display.MEDIA_TYPE


def _chosen(heads: list[Head], kind: Kind, said: _Said) -> list[Head]:
    if kind is Kind.INCONSISTENT:
        return [head for head in heads if head.consistent is False]
    if kind is Kind.UNSCORED:
        return [head for head in heads if head.outcome is None]
    if kind is Kind.ALL:
        return heads
    leading = {head.battle_id: said(head.left, head.right).leading for head in heads}
    against = [head for head in heads if _differ(head.outcome, leading[head.battle_id])]
    picks = {Outcome.LEFT, Outcome.RIGHT}
    return sorted(against, key=lambda head: {head.outcome, leading[head.battle_id]} != picks)


def _differ(one: Outcome | None, other: Outcome | None) -> bool:
    return None not in (one, other) and one is not other


def _exhibits(arena: Arena, judge_id: str, visitor: str, shown: list[Head], said: _Said) -> Iterator[Exhibit]:
    ledger = Verdicts(arena.store)
    names = {contestant.id: contestant.name for contestant in arena.store.contestants()}
    known = {_images(battle) for battle in ledger.voted_by_people(visitor)}
    judged = {one.battle.id: one for one in ledger.judged(judge_id, [head.battle_id for head in shown])}
    for head in shown:
        verdict, battle = judged[head.battle_id]
        turned = head.left != verdict.left
        yield Exhibit(
            verdict_id=head.verdict_id,
            prompt=battle.prompt.text,
            turned=turned,
            outcome=head.outcome,
            consistent=head.consistent,
            unscored=verdict.unscored,
            answers=(verdict.answers[1], verdict.answers[0]) if turned else verdict.answers,
            people=said(head.left, head.right),
            names=(names[battle.left.contestant_id], names[battle.right.contestant_id])
            if _images(battle) in known
            else None,
        )


# What people said


_Said = Callable[[str, str], People]
_counts: dict[str, tuple[tuple[int, int, int], dict[tuple[str, str], Counter[Outcome]]]] = {}


def _said(arena: Arena) -> _Said:
    """A function from a left and a right image to what people said of them, counted anew only when a vote came."""
    key, newest = str(arena.store.engine.url), arena.store.newest()
    if _counts.get(key, (None,))[0] != newest:
        _counts[key] = (newest, _counted(arena))
    counts = _counts[key][1]

    def of(left: str, right: str) -> People:
        if left <= right:
            return People(counts.get((left, right), {}))
        return People({outcome.mirrored: n for outcome, n in counts.get((right, left), {}).items()})

    return of


def _counted(arena: Arena) -> dict[tuple[str, str], Counter[Outcome]]:
    """People's votes by images in alphabetical order."""
    counts: dict[tuple[str, str], Counter[Outcome]] = {}
    for row in arena.store.voted_images(VoteFilter()):
        outcome, pair = ballots.OUTCOMES[row.outcome], (row.left_sha256, row.right_sha256)
        turned = pair[0] > pair[1]
        counts.setdefault(pair[::-1] if turned else pair, Counter())[outcome.mirrored if turned else outcome] += 1
    return counts


def _images(battle: Battle) -> Images:
    pair = Pair.of(battle)
    return frozenset((pair.left, pair.right))
