"""Side by side: pairs whose makers' names are shown. What people say of them is kept, and counts on no board."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random, SystemRandom
from typing import TYPE_CHECKING

from arena import matchmaking
from arena.domain import Outcome
from arena.errors import UsageError
from arena.services import battles
from db import looks
from db.drawing import Drawn
from db.named import NamedBattle, NamedBattles

if TYPE_CHECKING:
    from arena.bootstrap import Arena


@dataclass(frozen=True, slots=True)
class NamedPair:
    """A pair with its makers' names, left first; `undone`: the token of the battle whose vote was taken back for it."""

    token: str
    prompt: str
    category: str
    names: tuple[str, str]
    undone: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A pair with the answer that was kept; `swapped`: the voter saw the sides exchanged."""

    pair: NamedPair
    outcome: Outcome
    swapped: bool = False


def came_back(arena: Arena, voter_id: str) -> list[NamedPair]:
    """The pairs that this voter's undone votes brought back, oldest first."""
    return [_pair(named) for named in NamedBattles(arena.store).open(voter_id, undone=True)]


def open_pairs(
    arena: Arena, voter_id: str, n: int = 4, category: str | None = None, rng: Random | None = None
) -> list[NamedPair]:
    """Up to n pairs this voter has yet to answer, drawn uniformly. Their prompts come blind to this voter no more."""
    known = NamedBattles(arena.store)
    waiting = known.open(voter_id, undone=False, category=category)[:n]
    if drawn := _draw(arena, voter_id, n - len(waiting), category, rng or SystemRandom()):
        known.add(drawn, voter_id)
        looks.note(arena.store, voter_id, [one.prompt_id for one in drawn])
        waiting = known.open(voter_id, undone=False, category=category)[:n]
    return [_pair(named) for named in waiting]


def _draw(arena: Arena, voter_id: str, n: int, category: str | None, rng: Random) -> list[Drawn]:
    """Pairs that this voter has seen neither blind nor named, of prompts on which no blind pair waits for this voter.

    Contestants that the gate keeps from votes may meet here: no vote counts.
    """
    if not n:
        return []
    seen = [*arena.store.seen_cells(voter_id), *NamedBattles(arena.store).cells(voter_id)]
    blind = {battle.prompt.id for battle in arena.store.open_battles(voter_id)}
    prompts_of = {
        id: [prompt for prompt in prompts if prompt not in blind]
        for id, prompts in arena.store.prompts_with_images(category).items()
    }
    choices = matchmaking.candidates(prompts_of, seen)
    drawn: list[Drawn] = []
    while len(drawn) < n and (draw := matchmaking.draw(choices, rng)):
        token = battles.new_token(named=True)
        drawn.append(Drawn(draw.left_id, draw.right_id, draw.prompt_id, draw.probability, token))
        choices = matchmaking.without(choices, draw)
    return drawn


def answer(
    arena: Arena, voter_id: str, token: str, outcome: Outcome | str | None, swapped: bool = False
) -> Answered | None:
    """Keep what a voter says of a named pair; None puts it aside. Raises UnknownBattle and DuplicateVote."""
    try:
        said = None if outcome is None else Outcome(outcome)
    except ValueError as error:
        raise UsageError(f"Unknown outcome {str(outcome)[:40]!r}: choose one of {', '.join(Outcome)}.") from error
    named = NamedBattles(arena.store).answer(token, voter_id, said)
    return None if said is None else Answered(_pair(named), said, swapped)


def is_named(token: str) -> bool:
    """Whether the token is that of a named pair."""
    return token.startswith(battles.NAMED)


def _pair(named: NamedBattle) -> NamedPair:
    battle = named.battle
    return NamedPair(battle.token, battle.prompt.text, battle.prompt.category, named.names, named.undone)
