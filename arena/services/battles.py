"""Battles and votes: draw blind pairs for a voter, take the vote, move both ratings, and only then say who it was.

A voter may also skip a pair, take the last vote back, report a pair, and give reasons for a vote. Pairs whose makers
are shown are another service's, `named`.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from random import Random, SystemRandom
from typing import TYPE_CHECKING, TypeVar

from arena import matchmaking
from arena.domain import PEOPLE, Battle, Outcome, ReasonTag, ReportReason, Side, VotedPair
from arena.errors import UnknownBattle, UsageError
from arena.rating import elo
from arena.services import counting, display, gate, looks, moderation
from arena.services.display import Size
from db import drawing
from db.drawing import Drawn
from db.named import NamedBattles
from db.voting import Voting

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from db.store import CastVote

Choice = TypeVar("Choice", bound=StrEnum)
Choices = Mapping[matchmaking.Pair, tuple[int, ...]]
BOARD = PEOPLE
SYSTEM = "elo@1"
OWN_POLICY = "own-prompt@1"
"""Of battles on a prompt that the voter typed."""
NAMED = "n."
"""How the tokens of named pairs begin; no other token has a dot."""
LIFETIME = timedelta(days=7)
"""A pair that was drawn longer ago is offered no more, and no vote on it is taken."""
ENOUGH_OTHERS = 5
"""Fewer other people's votes on a pair are not told: a share of them says little, and may say who they were."""


@dataclass(frozen=True, slots=True)
class BlindBattle:
    """What a voter may know of a battle before the vote: nothing of who made the images."""

    token: str
    prompt: str
    category: str


@dataclass(frozen=True, slots=True)
class RevealedSide:
    """One side after the vote: who it was, its ratings (points), its expected score E and its score S."""

    name: str
    elo_before: float
    elo_after: float
    expected: float
    score: float


@dataclass(frozen=True, slots=True)
class Crowd:
    """Of `total` other people who voted on the same prompt and contestants, how many said the `same`."""

    same: int
    total: int


@dataclass(frozen=True, slots=True)
class Reveal:
    """What a voter is told after the vote, by the battle's own sides.

    `swapped`: the voter saw them exchanged. `withdrawn`: one of them was retired while the pair was on screen.
    `counts`: False for an own prompt in an arena that keeps these off its board; then the ratings after are those
    that the vote would have led to.
    """

    token: str
    outcome: Outcome
    prompt: str
    left: RevealedSide
    right: RevealedSide
    voter_votes: int
    k_factor: float
    crowd: Crowd | None = None
    swapped: bool = False
    withdrawn: bool = False
    counts: bool = True


def elo_parameters(arena: Arena) -> dict[str, float | str]:
    """What the live ratings depend on besides the votes; a change makes them be computed anew."""
    return {"system": SYSTEM, "k": arena.settings.k_factor, "start": elo.START, "scale": elo.SCALE}


def elo_rate(arena: Arena) -> partial[dict[int, float]]:
    """The function from votes and ratings to ratings that the store calls inside the vote's transaction."""
    return partial(_rate, k=arena.settings.k_factor)


def _rate(pairs: Iterable[VotedPair], ratings: Mapping[int, float], k: float) -> dict[int, float]:
    return elo.replay(pairs, k, ratings)


def open_battles(
    arena: Arena,
    voter_id: str,
    n: int = 4,
    category: str | None = None,
    rng: Random | None = None,
    at_least: int | None = None,
) -> list[BlindBattle]:
    """Up to n battles this voter has yet to judge: those left open before, then freshly drawn ones.

    Drawing starts once fewer than `at_least` are left (n unless given): several at once cost little more than one.
    Empty when there are no two images of one prompt that this voter has not been shown.
    """
    waiting = arena.store.open_battles(voter_id, category, _oldest())[:n]
    if len(waiting) < (n if at_least is None else at_least):
        waiting += _draw_battles(arena, voter_id, n - len(waiting), category, rng or SystemRandom())
    return [BlindBattle(battle.token, battle.prompt.text, battle.prompt.category) for battle in waiting]


def can_draw(arena: Arena) -> bool:
    """Whether any two contestants have an image of one prompt that people may be shown."""
    prompts_of = gate.for_people(arena, arena.store.prompts_with_images())
    prompts = [prompt for of_one in prompts_of.values() for prompt in of_one]
    return len({*prompts}) < len(prompts)


def _oldest() -> datetime:
    return datetime.now(UTC) - LIFETIME


def _draw_battles(arena: Arena, voter_id: str, n: int, category: str | None, rng: Random) -> list[Battle]:
    prompts_of = looks.unseen(arena, voter_id, gate.for_people(arena, arena.store.prompts_with_images(category)))
    seen = [*arena.store.seen_cells(voter_id), *NamedBattles(arena.store).cells(voter_id)]
    choices, of = matchmaking.candidates(prompts_of, seen), _chances(arena)
    chances, drawn = of(choices), list[Drawn]()
    while len(drawn) < n and (draw := matchmaking.draw(choices, rng, chances)):
        drawn.append(Drawn(draw.left_id, draw.right_id, draw.prompt_id, draw.probability, new_token()))
        rest = matchmaking.without(choices, draw)
        if len(rest) < len(choices):  # the same pairs have the same chances
            chances = of(rest)
        choices = rest
    return drawing.add(arena.store, drawn, voter_id, arena.settings.matchmaking) if drawn else []


def _chances(arena: Arena) -> Callable[[Choices], Mapping[matchmaking.Pair, float] | None]:
    """The probability of each pair among those that are left, as votes and shares stand now; None for uniform."""
    shares, adaptive = moderation.shares(arena), arena.settings.matchmaking == matchmaking.ADAPTIVE
    known = counting.standing(arena) if adaptive else None

    def of(choices: Choices) -> Mapping[matchmaking.Pair, float] | None:
        found = matchmaking.adaptive_chances(choices.keys(), known.strengths, known.votes) if known else None
        return matchmaking.shared(choices.keys(), shares, found) if shares and choices else found

    return of


def vote(
    arena: Arena,
    voter_id: str,
    token: str,
    outcome: Outcome | str,
    decision_seconds: float | None = None,
    swapped: bool | None = None,
) -> Reveal:
    """Count a vote and say who made the images.

    `outcome` is by the battle's own sides, also where the voter had `swapped` them on screen.
    Raises UsageError for an unknown outcome, UnknownBattle, BattleExpired and DuplicateVote; then nothing has changed.
    """
    cast = arena.store.cast_vote(
        token,
        voter_id,
        _one_of(Outcome, outcome),
        _seconds(decision_seconds),
        board=BOARD,
        parameters=elo_parameters(arena),
        start=elo.START,
        rate=elo_rate(arena),
        since=_oldest(),
        recipe=display.RECIPE,
        swapped=swapped,
    )
    return _reveal(arena, cast, bool(swapped))


def _one_of(kind: type[Choice], value: Choice | str) -> Choice:
    try:
        return kind(value)
    except ValueError as error:
        words = {Outcome: "outcome", Side: "side"}.get(kind, "reason")
        known = ", ".join(member.value for member in kind)
        raise UsageError(f"Unknown {words} {str(value)[:40]!r}: choose one of {known}.") from error


def _seconds(value: float | None) -> float | None:
    """Decision times come from the browser's clock: what is not a sane number is unknown, not zero."""
    return value if value is not None and math.isfinite(value) and 0 <= value < 86_400 else None


def _reveal(arena: Arena, cast: CastVote, swapped: bool) -> Reveal:
    battle, outcome = cast.battle, cast.vote.outcome
    more = Voting(arena.store).aftermath(battle, cast.vote.voter_id)
    left, right = battle.left.contestant_id, battle.right.contestant_id

    def side(own: int, other: int, score: float) -> RevealedSide:
        return RevealedSide(
            more.names[own],
            cast.before[own],
            cast.after[own],
            elo.expected(cast.before[own], cast.before[other]),
            score,
        )

    return Reveal(
        token=battle.token,
        outcome=outcome,
        prompt=battle.prompt.text,
        left=side(left, right, outcome.left_score),
        right=side(right, left, 1.0 - outcome.left_score),
        voter_votes=cast.voter_votes,
        k_factor=arena.settings.k_factor,
        crowd=_crowd(more.others, outcome),
        swapped=swapped,
        withdrawn=more.withdrawn,
        counts=arena.settings.own_prompts_count or battle.policy != OWN_POLICY,
    )


def _crowd(others: Mapping[Outcome, int], outcome: Outcome) -> Crowd | None:
    total = sum(others.values())
    return Crowd(others[outcome], total) if total >= ENOUGH_OTHERS else None


def outcome_of(arena: Arena, voter_id: str, token: str) -> Outcome | None:
    """What this voter said of a blind battle; None where nothing."""
    return Voting(arena.store).outcome_of(token, voter_id)


def skip(arena: Arena, voter_id: str, token: str) -> None:
    """Put a battle aside; raises UnknownBattle for one that is not this voter's."""
    arena.store.add_skip(_own(arena, voter_id, token), voter_id)


def undo(arena: Arena, voter_id: str, token: str) -> None:
    """Take back a skip, or the voter's last vote.

    A skipped pair is open again. A vote stays in the ledger with a row that excludes it; since its makers were told,
    the pair comes back with their names, and an answer to it counts on no board (`named`).
    Raises UnknownBattle, and UsageError where there is nothing of this voter's to take back.
    """
    if not Voting(arena.store).take_back_skip(_own(arena, voter_id, token), voter_id):
        NamedBattles(arena.store).take_back(token, voter_id, new_token(named=True))


def report(arena: Arena, voter_id: str, token: str, reason: ReportReason | str, side: Side | str | None = None) -> None:
    """Keep what is wrong with a battle for the operator, and put the battle aside.

    `side`: the picture it is about; None for both. Raises UnknownBattle, and UsageError for an unknown reason or side.
    """
    known = _one_of(ReportReason, reason), None if side is None else _one_of(Side, side)
    Voting(arena.store).add_report(_own(arena, voter_id, token), voter_id, *known)


def tag(arena: Arena, voter_id: str, token: str, reason: ReasonTag | str) -> None:
    """Add a reason to a vote. Raises UnknownBattle, and UsageError for an unknown reason or a battle without a vote."""
    if not Voting(arena.store).add_tag(_own(arena, voter_id, token), voter_id, _one_of(ReasonTag, reason)):
        raise UsageError("A reason belongs to a vote, and there is none of yours on that pair.")


def _own(arena: Arena, voter_id: str, token: str) -> int:
    """The id of a battle that was drawn for this voter."""
    battle = arena.store.battle(token)
    if battle.drawn_for != voter_id or battle.id is None:
        raise UnknownBattle(f"The battle {token[:40]!r} was drawn for another voter; reload the page to get your own.")
    return battle.id


def new_token(named: bool = False) -> str:
    """A name for a battle that cannot be guessed, and tells nothing but whether the makers are shown."""
    return f"{NAMED if named else ''}{secrets.token_urlsafe(16)}"


def image(arena: Arena, token: str, side: Side | str, size: Size | str = Size.PAIR) -> tuple[bytes, str]:
    """The bytes and media type to show for one side; raises UnknownBattle, also for a side that does not exist."""
    battle = _shown_battle(arena, token)
    if str(side) not in list(Side) or str(size) not in list(Size):
        raise UnknownBattle(f"A battle has a left and a right image, not {str(side)[:40]!r}.")
    return display.side(arena, battle, Side(side), Size(size)), display.MEDIA_TYPE


def _shown_battle(arena: Arena, token: str) -> Battle:
    """A blind battle or a named one."""
    if not token.startswith(NAMED):
        return arena.store.battle(token)
    named = NamedBattles(arena.store).battle(token)
    if named is None:
        raise UnknownBattle(f"There is no pair {token[:40]!r}; reload the page to get a new one.")
    return named.battle
