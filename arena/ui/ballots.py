"""From what the browser sends to what a voter did: read with suspicion, done once, and confirmed.

An act is a JSON object with its own `id`, what to `do`, and the `token` of the pair it is about. The browser sends
every act again until its id is among the settled ones, so each may be done more than once and counts once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar
from uuid import uuid4

from arena.bootstrap import Arena
from arena.domain import Outcome, ReasonTag, ReportReason, Side
from arena.errors import ArenaError, DuplicateVote, UsageError, VoteRefused
from arena.services import battles, gate, named

MOST_ACTS = 64
LONGEST_ID = 64
LONGEST_TOKEN = 512
LONGEST_DECISION = 24 * 3600.0

REPORTED = "Thank you. The pair is put aside, and the report is kept for whoever runs this arena."
TAKEN_BACK = (
    "Your last vote is taken back. You have been told who made these two, so an answer now is kept, but counts on no "
    "leaderboard."
)
VOTED = "You had voted on that pair already, perhaps in another tab; your first vote counts."
WITHDRAWN = "One of these two was withdrawn while you looked. Your vote is kept; the model meets nobody any more."


@dataclass
class Sitting:
    """What one open page knows: the acts that are settled, what was last told, and one sentence for the voter."""

    id: str = field(default_factory=lambda: uuid4().hex)
    settled: list[str] = field(default_factory=list)
    told: battles.Reveal | named.Answered | None = None
    notice: str = ""
    categories: list[str] | None = None
    may_return: bool = True  # whether a pair may be waiting that an undo brought back

    def settle(self, id: str) -> None:
        self.settled = [*self.settled, id][-MOST_ACTS:]


@dataclass(frozen=True, slots=True)
class Act:
    """Something a voter did to a pair."""

    id: str
    token: str

    def perform(self, arena: Arena, voter_id: str, sitting: Sitting) -> None:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Vote(Act):
    """`outcome` is by the pair's own sides; `seconds` it took, None if unknown."""

    outcome: Outcome
    seconds: float | None = None
    swapped: bool = False

    def perform(self, arena: Arena, voter_id: str, sitting: Sitting) -> None:
        if named.is_named(self.token):
            sitting.told = named.answer(arena, voter_id, self.token, self.outcome, self.swapped)
        else:
            reveal = battles.vote(arena, voter_id, self.token, self.outcome, self.seconds, self.swapped)
            sitting.told, sitting.notice = reveal, WITHDRAWN if reveal.withdrawn else ""


@dataclass(frozen=True, slots=True)
class Skip(Act):
    def perform(self, arena: Arena, voter_id: str, sitting: Sitting) -> None:
        if named.is_named(self.token):
            named.answer(arena, voter_id, self.token, None)
        else:
            battles.skip(arena, voter_id, self.token)


@dataclass(frozen=True, slots=True)
class Undo(Act):
    """Takes back a skip, or the last vote."""

    def perform(self, arena: Arena, voter_id: str, sitting: Sitting) -> None:
        battles.undo(arena, voter_id, self.token)
        sitting.may_return = True
        if sitting.told and told_token(sitting.told) == self.token:
            sitting.told = None
        if any(pair.undone == self.token for pair in named.came_back(arena, voter_id)):
            sitting.notice = TAKEN_BACK


@dataclass(frozen=True, slots=True)
class Report(Act):
    reason: ReportReason
    side: Side | None = None

    def perform(self, arena: Arena, voter_id: str, sitting: Sitting) -> None:
        battles.report(arena, voter_id, self.token, self.reason, self.side)
        sitting.notice = REPORTED


@dataclass(frozen=True, slots=True)
class Tag(Act):
    """A reason for a vote."""

    tag: ReasonTag

    def perform(self, arena: Arena, voter_id: str, sitting: Sitting) -> None:
        battles.tag(arena, voter_id, self.token, self.tag)


def told_token(told: battles.Reveal | named.Answered) -> str:
    return told.token if isinstance(told, battles.Reveal) else told.pair.token


def read_acts(sent: Any) -> list[Act]:
    """The acts in what a browser sent; whatever is not an act is dropped, not guessed at."""
    entries = sent if isinstance(sent, list) else []
    return [act for entry in entries[:MOST_ACTS] if (act := read_act(entry)) is not None]


def read_act(entry: Any) -> Act | None:
    if not isinstance(entry, dict):
        return None
    id, token = read_text(entry.get("id"), LONGEST_ID), read_text(entry.get("token"), LONGEST_TOKEN)
    return read_deed(id, token, entry) if id and token else None


def read_deed(id: str, token: str, entry: dict[str, Any]) -> Act | None:
    match entry.get("do"):
        case "vote" if outcome := read_choice(Outcome, entry.get("outcome")):
            return Vote(id, token, outcome, read_seconds(entry.get("seconds")), entry.get("swapped") is True)
        case "skip":
            return Skip(id, token)
        case "undo":
            return Undo(id, token)
        case "report" if reason := read_choice(ReportReason, entry.get("reason")):
            return Report(id, token, reason, read_choice(Side, entry.get("side")))
        case "tag" if tag := read_choice(ReasonTag, entry.get("tag")):
            return Tag(id, token, tag)
    return None


Choice = TypeVar("Choice", bound=StrEnum)


def read_choice(kind: type[Choice], value: Any) -> Choice | None:
    """The member with this value, or None for anything else."""
    return kind(value) if isinstance(value, str) and value in list(kind) else None


def read_text(value: Any, longest: int) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= longest else None


def read_seconds(value: Any) -> float | None:
    """Seconds in [0, one day], or None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) and 0 <= value <= LONGEST_DECISION else None


def perform_all(arena: Arena, voter_id: str, acts: Iterable[Act], sitting: Sitting) -> None:
    """Perform acts in their order, each once. A refused one is settled with a sentence; one that failed stays open.

    What follows a failed one waits for it: a vote must not be taken back before it was cast.
    """
    new = [act for act in acts if act.id not in sitting.settled]  # the others were sent again on their way
    said: list[str] = []
    for act in new:
        sitting.notice = ""
        try:
            act.perform(arena, voter_id, sitting)
        except DuplicateVote:
            sitting.notice = other_vote(arena, voter_id, act)
        except (VoteRefused, UsageError) as error:
            sitting.notice = (
                f"{'That vote was not counted.' if isinstance(act, Vote) else 'That did not work.'} {error}"
            )
        except ArenaError as error:
            said.append(f"Your vote is kept and will be sent again. {error}")
            break
        sitting.settle(act.id)
        said += [sitting.notice] if sitting.notice and sitting.notice not in said else []
    if new:
        sitting.notice = " ".join(said)


def other_vote(arena: Arena, voter_id: str, act: Act) -> str:
    """A sentence where another tab had said something else. The same again is a vote that was sent twice."""
    if not isinstance(act, Vote):
        return ""
    return VOTED if battles.outcome_of(arena, voter_id, act.token) not in (None, act.outcome) else ""


def nothing_left(arena: Arena, sitting: Sitting, category: str | None = None, names: bool = False) -> str:
    """Why there is no pair to vote on."""
    if not names and (closed := gate.closed(arena)):
        return closed
    if not battles.can_draw(arena):
        return (
            "There is nothing to vote on yet: no two models have a picture of the same prompt. Whoever runs this arena "
            "can make pictures with the command “arena generate”."
        )
    if category:
        return f"There is no pair left for you in the category “{category}”. Choose another one, or all of them."
    thanks = "Thank you! " if sitting.told else ""
    return f"You have seen every pair there is for you. {thanks}New pictures bring new pairs."
