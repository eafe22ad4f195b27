"""What an admin does: withdraw contestants, prompts and images, set sampling shares, take votes off the board and put
them back. Everything is a row with who, when and why; the newest row on a subject holds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from arena.domain import OWN_PROMPT, Generation, Prompt, Side, VoteFilter
from arena.errors import DataError, UsageError
from arena.rating import bradley_terry as bt
from arena.rating.comparisons import Floats
from arena.services import counting, running
from db.decisions import Action, Decision, Topic
from db.moderation import LedgerVote, Moderation, VoterVotes
from db.personal import exclusions_by_reason
from db.voting import Report, Voting

if TYPE_CHECKING:
    from arena.bootstrap import Arena

LONGEST_REASON = 500
LONGEST_NAME = 64
LARGEST_SHARE = 100.0
SMALLEST_SHARE = 0.01
LONGEST_PROMPT = 2000


@dataclass(frozen=True, slots=True)
class Admin:
    """Who is at it; the name stands in every row."""

    name: str


def checked_reason(reason: str) -> str:
    """Raises UsageError for none, or an endless one."""
    reason = " ".join(reason.split())
    if not reason:
        raise UsageError("Say why: the reason is kept with what you decide.")
    if len(reason) > LONGEST_REASON:
        raise UsageError(f"The reason has {len(reason)} characters, and {LONGEST_REASON} are the most; shorten it.")
    return reason


def _decide(
    arena: Arena, admin: Admin, topic: Topic, subject: object, action: Action, reason: str, **value: object
) -> None:  # fmt: skip
    Moderation(arena.store).decide(Decision(admin.name, topic, str(subject), action, checked_reason(reason), value))


def log(arena: Arena, limit: int = 200) -> list[Decision]:
    """The latest decisions, newest first."""
    return Moderation(arena.store).log(limit)


# Contestants, prompts and images


def retire_contestant(arena: Arena, admin: Admin, name: str, reason: str) -> None:
    """Draw it no more; its votes stay. Raises UnknownName."""
    _decide(arena, admin, Topic.CONTESTANT, arena.store.contestant(name).id, Action.RETIRE, reason)


def restore_contestant(arena: Arena, admin: Admin, name: str, reason: str) -> None:
    """Draw it again."""
    _decide(arena, admin, Topic.CONTESTANT, arena.store.contestant(name).id, Action.RESTORE, reason)


def add_prompt(arena: Arena, admin: Admin, text: str, category: str, reason: str) -> Prompt:
    """A further prompt for everyone. Raises UsageError for an empty, an endless and a known one."""
    text, category = " ".join(text.split()), " ".join(category.split())
    if not text or len(text) > LONGEST_PROMPT:
        raise UsageError(f"A prompt has 1 to {LONGEST_PROMPT} characters, this one has {len(text)}.")
    if not category or len(category) > 64 or category == OWN_PROMPT:
        raise UsageError(f"The category {category[:40]!r} cannot be used; name one with 1 to 64 characters.")
    if any(prompt.text == text for prompt in arena.store.prompts()):
        raise UsageError(f"The prompt {text[:40]!r} is in the arena already.")
    reason = checked_reason(reason)
    [prompt] = arena.store.add_prompts([Prompt(text, category, (), "admin")])
    _decide(arena, admin, Topic.PROMPT, prompt.id, Action.ADD, reason)
    return prompt


def retire_prompt(arena: Arena, admin: Admin, prompt_id: int, reason: str) -> None:
    """Draw it no more; votes on it stay."""
    _decide(arena, admin, Topic.PROMPT, _prompt(arena, prompt_id).id, Action.RETIRE, reason)


def restore_prompt(arena: Arena, admin: Admin, prompt_id: int, reason: str) -> None:
    _decide(arena, admin, Topic.PROMPT, _prompt(arena, prompt_id).id, Action.RESTORE, reason)


def _prompt(arena: Arena, prompt_id: int) -> Prompt:
    found = next((prompt for prompt in arena.store.prompts() if prompt.id == prompt_id), None)
    if found is None:
        raise UsageError(f"There is no prompt {prompt_id}; the list names those there are.")
    return found


# Reports


@dataclass(frozen=True, slots=True)
class OpenReport:
    """A report, and what was decided of it: None while it is open."""

    report: Report
    decision: Decision | None

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides it is about; both where it names none."""
        return (self.report.side,) if self.report.side else (Side.LEFT, Side.RIGHT)


def reports(arena: Arena, limit: int = 200) -> list[OpenReport]:
    """What voters reported, open ones first, newest first."""
    decided = Moderation(arena.store).newest(Topic.REPORT)
    found = [OpenReport(report, decided.get(str(report.id))) for report in Voting(arena.store).reports(limit)]
    return sorted(found, key=lambda one: one.decision is not None)


def hide(arena: Arena, admin: Admin, report: Report, sides: Collection[Side], reason: str) -> None:
    """Keep the reported images from battles, and close the report. Votes on them stay."""
    reason = checked_reason(reason)
    images = [_side(report, side) for side in sides]
    if not images:
        raise UsageError("Choose the picture to hide: A, B or both.")
    made = [Decision(admin.name, Topic.IMAGE, str(image.id), Action.HIDE, reason, {"report": report.id})
            for image in images]  # fmt: skip
    Moderation(arena.store).decide(*made, Decision(admin.name, Topic.REPORT, str(report.id), Action.HIDE, reason))


def show(arena: Arena, admin: Admin, generation_id: int, reason: str) -> None:
    """Show a hidden image again."""
    _decide(arena, admin, Topic.IMAGE, generation_id, Action.SHOW, reason)


def dismiss(arena: Arena, admin: Admin, report: Report, reason: str) -> None:
    """Close a report and leave the images as they are."""
    _decide(arena, admin, Topic.REPORT, report.id, Action.DISMISS, reason)


def _side(report: Report, side: Side) -> Generation:
    return report.battle.left if side is Side.LEFT else report.battle.right


def hidden(arena: Arena) -> list[int]:
    """The generations that are hidden."""
    return sorted(arena.store.withdrawn().generations)


# Sampling shares


def shares(arena: Arena) -> dict[int, float]:
    """Contestant id -> its weight in matchmaking, of those that have another than 1."""
    held = Moderation(arena.store).newest(Topic.SHARE)
    found = {int(id): float(decision.value["share"]) for id, decision in held.items()}
    return {id: share for id, share in found.items() if share != 1.0}


def set_share(arena: Arena, admin: Admin, name: str, share: float, reason: str) -> None:
    """Draw a contestant's pairs so many times as often. The probability stored with each battle allows for it.

    Raises UsageError outside [0.01, 100]: what is never drawn is retired instead, so that every chance stays known.
    """
    if not SMALLEST_SHARE <= share <= LARGEST_SHARE:
        raise UsageError(
            f"A share lies between {SMALLEST_SHARE:g} and {LARGEST_SHARE:g}, not {share!r}; to draw a model no more, "
            "retire it."
        )
    _decide(arena, admin, Topic.SHARE, arena.store.contestant(name).id, Action.SET, reason, share=float(share))


# Votes


def votes(arena: Arena, limit: int = 200, voter_id: str | None = None) -> list[LedgerVote]:
    """People's votes, newest first."""
    return Moderation(arena.store).votes(limit, voter_id)


def voters(arena: Arena, limit: int = 200) -> list[VoterVotes]:
    """The people with the most votes."""
    return Moderation(arena.store).voters(limit)


def excluded_voters(arena: Arena) -> set[str]:
    return Moderation(arena.store).standing(Topic.VOTER, Action.EXCLUDE)


def exclude_votes(arena: Arena, admin: Admin, vote_ids: Collection[int], reason: str) -> int:
    """Stop counting votes; returns how many did."""
    return Moderation(arena.store).exclude_votes(admin.name, vote_ids, checked_reason(reason)).votes


def restore_votes(arena: Arena, admin: Admin, vote_ids: Collection[int], reason: str) -> int:
    """Count votes again that an admin excluded; returns how many do. What voters took back themselves stays so."""
    return Moderation(arena.store).restore_votes(admin.name, vote_ids, checked_reason(reason)).votes


def exclude_voter(arena: Arena, admin: Admin, voter_id: str, reason: str) -> int:
    """Stop counting a voter's votes, also those to come; returns how many stopped."""
    return Moderation(arena.store).exclude_voter(admin.name, voter_id, checked_reason(reason)).votes


def restore_voter(arena: Arena, admin: Admin, voter_id: str, reason: str) -> int:
    """Count a voter's votes again; returns how many do."""
    return Moderation(arena.store).restore_voter(admin.name, voter_id, checked_reason(reason)).votes


@dataclass(frozen=True, slots=True)
class Moved:
    """A contestant's rating in points and rank before and after; None where it is not rated."""

    name: str
    before: float | None
    after: float | None
    rank_before: int | None
    rank_after: int | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What leaving out some votes would do to people's board. `votes`: how many of them count now."""

    votes: int
    rows: tuple[Moved, ...]


def preview(arena: Arena, vote_ids: Collection[int] = (), voter_id: str | None = None) -> Preview:
    """People's board without these votes, or without all of one voter's; nothing is changed."""
    removed = Moderation(arena.store).counted(vote_ids, voter_id)
    names, position = counting.named_positions(arena)
    before = bt.win_matrix(running.board(arena, VoteFilter()).pooled)
    after = before.copy()
    for _, left, right, code in removed:
        score = float(bt.left_score(np.array([code]))[0])
        if not np.isnan(score):
            after[position[left], position[right]] -= score
            after[position[right], position[left]] -= 1 - score
    then, now = _ratings(before), _ratings(np.maximum(after, 0))
    rows = (Moved(name, then.get(k), now.get(k), _rank(then, k), _rank(now, k)) for k, name in enumerate(names))
    return Preview(len(removed), tuple(sorted(rows, key=lambda row: -(row.before or 0.0))))


def _ratings(wins: Floats) -> dict[int, float]:
    """Ratings in points by position, of those that the wins can rate."""
    rated = bt.components(wins).rated if wins.any() else ()
    if len(rated) < 2:
        return {}
    try:
        theta = bt.fit(wins[np.ix_(rated, rated)])
    except DataError:
        return {}
    return dict(zip(rated, map(float, bt.points(theta)), strict=True))


def _rank(ratings: dict[int, float], position: int) -> int | None:
    own = ratings.get(position)
    return None if own is None else 1 + sum(other > own for other in ratings.values())


def uncounted(arena: Arena) -> list[tuple[str, int]]:
    """Votes of people that are kept and count on no board of theirs, by reason."""
    return [*exclusions_by_reason(arena.store), *Moderation(arena.store).aside()]


def record(arena: Arena, admin: Admin, topic: Topic, subject: object, action: Action, reason: str) -> None:
    """Write down what was done elsewhere: a run started or cancelled, a download."""
    _decide(arena, admin, topic, subject, action, reason)
