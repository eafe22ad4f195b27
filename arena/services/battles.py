"""Battles and votes: draw blind pairs for a voter, take the vote, move both ratings, and only then say who it was."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random, SystemRandom
from typing import TYPE_CHECKING

from arena import matchmaking
from arena.domain import PEOPLE, Battle, Outcome, Side, VotedPair
from arena.errors import UnknownBattle, UsageError
from arena.rating import elo
from arena.services import counting, gate

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from db.store import CastVote

BOARD = PEOPLE
SYSTEM = "elo@1"


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
class Reveal:
    token: str
    outcome: Outcome
    prompt: str
    left: RevealedSide
    right: RevealedSide
    voter_votes: int
    k_factor: float


def elo_parameters(arena: Arena) -> dict[str, float | str]:
    """What the live ratings depend on besides the votes; a change makes them be computed anew."""
    return {"system": SYSTEM, "k": arena.settings.k_factor, "start": elo.START, "scale": elo.SCALE}


def elo_rate(arena: Arena) -> partial[dict[int, float]]:
    """The function from votes and ratings to ratings that the store calls inside the vote's transaction."""
    return partial(_rate, k=arena.settings.k_factor)


def _rate(pairs: Iterable[VotedPair], ratings: Mapping[int, float], k: float) -> dict[int, float]:
    return elo.replay(pairs, k, ratings)


def open_battles(
    arena: Arena, voter_id: str, n: int = 4, category: str | None = None, rng: Random | None = None
) -> list[BlindBattle]:
    """Up to n battles this voter has yet to judge: those left open before, then freshly drawn ones.

    Empty when there are no two images of one prompt that this voter has not been shown.
    """
    waiting = arena.store.open_battles(voter_id, category)[:n]
    if len(waiting) < n:
        waiting += _draw_battles(arena, voter_id, n - len(waiting), category, rng or SystemRandom())
    return [BlindBattle(battle.token, battle.prompt.text, battle.prompt.category) for battle in waiting]


def _draw_battles(arena: Arena, voter_id: str, n: int, category: str | None, rng: Random) -> list[Battle]:
    prompts_of = gate.for_people(arena, arena.store.prompts_with_images(category))
    seen = arena.store.seen_cells(voter_id)
    drawn: list[Battle] = []
    while len(drawn) < n and (draw := _draw(arena, matchmaking.candidates(prompts_of, seen), rng)):
        low, high = sorted((draw.left_id, draw.right_id))
        seen.append((low, high, draw.prompt_id))
        drawn.append(
            arena.store.add_battle(
                Battle(
                    prompt=arena.store.prompt(draw.prompt_id),
                    left=arena.store.generation_for(draw.left_id, draw.prompt_id),
                    right=arena.store.generation_for(draw.right_id, draw.prompt_id),
                    policy=arena.settings.matchmaking,
                    probability=draw.probability,
                    token=secrets.token_urlsafe(16),
                    drawn_for=voter_id,
                )
            )
        )
    return drawn


def _draw(arena: Arena, choices: Mapping[matchmaking.Pair, list[int]], rng: Random) -> matchmaking.Draw | None:
    if arena.settings.matchmaking == matchmaking.POLICY:
        return matchmaking.draw(choices, rng)
    known = counting.standing(arena)
    return matchmaking.draw(choices, rng, matchmaking.adaptive_chances(choices.keys(), known.strengths, known.votes))


def vote(
    arena: Arena, voter_id: str, token: str, outcome: Outcome | str, decision_seconds: float | None = None
) -> Reveal:
    """Count a vote and say who made the images.

    Raises UsageError for an unknown outcome, UnknownBattle and DuplicateVote; then nothing has changed.
    """
    cast = arena.store.cast_vote(
        token,
        voter_id,
        _outcome(outcome),
        _seconds(decision_seconds),
        board=BOARD,
        parameters=elo_parameters(arena),
        start=elo.START,
        rate=elo_rate(arena),
    )
    return _reveal(arena, cast)


def _outcome(outcome: Outcome | str) -> Outcome:
    try:
        return Outcome(outcome)
    except ValueError as error:
        known = ", ".join(member.value for member in Outcome)
        raise UsageError(f"Unknown outcome {str(outcome)[:40]!r}: choose one of {known}.") from error


def _seconds(value: float | None) -> float | None:
    """Decision times come from the browser's clock: what is not a sane number is unknown, not zero."""
    return value if value is not None and math.isfinite(value) and 0 <= value < 86_400 else None


def _reveal(arena: Arena, cast: CastVote) -> Reveal:
    names = {contestant.id: contestant.name for contestant in arena.store.contestants()}
    battle, outcome = cast.battle, cast.vote.outcome
    left, right = battle.left.contestant_id, battle.right.contestant_id

    def side(own: int, other: int, score: float) -> RevealedSide:
        return RevealedSide(
            names[own], cast.before[own], cast.after[own], elo.expected(cast.before[own], cast.before[other]), score
        )

    return Reveal(
        token=battle.token,
        outcome=outcome,
        prompt=battle.prompt.text,
        left=side(left, right, outcome.left_score),
        right=side(right, left, 1.0 - outcome.left_score),
        voter_votes=cast.voter_votes,
        k_factor=arena.settings.k_factor,
    )


def skip(arena: Arena, voter_id: str, token: str) -> None:
    """Put a battle aside for good; raises UnknownBattle for one that is not this voter's."""
    battle = arena.store.battle(token)
    if battle.drawn_for != voter_id or battle.id is None:
        raise UnknownBattle(f"The battle {token[:40]!r} was drawn for another voter; reload the page to get your own.")
    arena.store.add_skip(battle.id, voter_id)


def image(arena: Arena, token: str, side: Side | str) -> tuple[bytes, str]:
    """The bytes and media type to show for one side; raises UnknownBattle, also for a side that does not exist."""
    battle = arena.store.battle(token)
    generation = {Side.LEFT.value: battle.left, Side.RIGHT.value: battle.right}.get(str(side))
    if generation is None or generation.image is None:
        raise UnknownBattle(f"A battle has a left and a right image, not {str(side)[:40]!r}.")
    return arena.blobs.get(generation.image.sha256), generation.image.media_type
