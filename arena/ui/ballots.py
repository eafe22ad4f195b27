"""From what the browser sends to votes: read, cast once, remember what was confirmed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import streamlit as st

from arena.bootstrap import Arena
from arena.domain import Outcome
from arena.errors import ArenaError, DuplicateVote, UsageError, VoteRefused
from arena.services import battles, gate

SKIP = "skip"
MOST_BALLOTS = 64
LONGEST_TOKEN = 512
LONGEST_DECISION = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Ballot:
    """One press: the battle's token, the outcome (None skips), and the seconds it took (None if unknown)."""

    token: str
    outcome: Outcome | None
    seconds: float | None = None


@dataclass
class Sitting:
    """What one open page knows: the ballots that are settled, the last reveal, and one sentence for the voter."""

    id: str = field(default_factory=lambda: uuid4().hex)
    settled: list[str] = field(default_factory=list)
    reveal: battles.Reveal | None = None
    notice: str = ""

    def settle(self, token: str) -> None:
        self.settled = [*self.settled, token][-MOST_BALLOTS:]


def this_sitting() -> Sitting:
    """The visitor's sitting: it ends with the page; what must last is in the database."""
    if "sitting" not in st.session_state:
        st.session_state["sitting"] = Sitting()
    return st.session_state["sitting"]


def read_ballots(sent: Any) -> list[Ballot]:
    """The ballots in what a browser sent; whatever is not a ballot is dropped, not guessed at."""
    entries = sent if isinstance(sent, list) else []
    return [ballot for entry in entries[:MOST_BALLOTS] if (ballot := read_ballot(entry)) is not None]


def read_ballot(entry: Any) -> Ballot | None:
    if not isinstance(entry, dict):
        return None
    token, outcome = entry.get("token"), entry.get("outcome")
    if not isinstance(token, str) or not 0 < len(token) <= LONGEST_TOKEN:
        return None
    if outcome == SKIP:
        return Ballot(token, None)
    if outcome not in list(Outcome):
        return None
    return Ballot(token, Outcome(outcome), read_seconds(entry.get("seconds")))


def read_seconds(value: Any) -> float | None:
    """Seconds in [0, one day], or None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) and 0 <= value <= LONGEST_DECISION else None


def cast_all(arena: Arena, voter_id: str, ballots: Iterable[Ballot], sitting: Sitting) -> None:
    """Cast each ballot once. A refused one is settled with a sentence; one that failed stays open and comes again."""
    sitting.notice = ""
    for ballot in ballots:
        if ballot.token in sitting.settled:
            continue
        try:
            cast(arena, voter_id, ballot, sitting)
        except DuplicateVote:
            pass  # sent twice, or from another tab: the first one counts
        except (VoteRefused, UsageError) as error:
            sitting.notice = f"That vote was not counted. {error}"
        except ArenaError as error:
            sitting.notice = f"Your vote is kept and will be sent again. {error}"
            continue
        sitting.settle(ballot.token)


def cast(arena: Arena, voter_id: str, ballot: Ballot, sitting: Sitting) -> None:
    if ballot.outcome is None:
        battles.skip(arena, voter_id, ballot.token)
    else:
        sitting.reveal = battles.vote(arena, voter_id, ballot.token, ballot.outcome, ballot.seconds)


def nothing_left(arena: Arena, sitting: Sitting) -> str:
    """Why there is no pair to vote on."""
    if closed := gate.closed(arena):
        return closed
    if sitting.reveal:
        return "That was every pair there is for you. Thank you! New pictures bring new pairs."
    return (
        "There is no pair for you to judge: either you have judged them all, or no two models have a picture of the "
        "same prompt yet. Whoever runs this arena can make pictures with the command “arena generate”."
    )
