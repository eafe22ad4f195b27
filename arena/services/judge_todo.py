"""What a judge has yet to see, and in which order it gets to see it.

Battles that people voted on come first: only on these can a judge be held against them. The others are drawn by
`adaptive@2`, where one more verdict tells most, from the judge's own standing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from arena import matchmaking
from arena.domain import Battle, VoteFilter
from arena.services import counting
from db.verdicts import Verdicts

if TYPE_CHECKING:
    from arena.bootstrap import Arena

VOTED = "voted@1"
"""Policy of a battle that a judge gets because people voted on it."""


class Todo:
    """What a judge has yet to see: with `again` the battles it left unscored, those people voted on, cells to draw."""

    def __init__(self, arena: Arena, judge_id: str, rng: Random, *, again: bool = False) -> None:
        ledger = Verdicts(arena.store)
        self.arena, self.judge_id, self.rng = arena, judge_id, rng
        self.again = arena.store.open_battles(judge_id) if again else []
        met = ledger.generations_met(judge_id)
        self.met = len(met)
        self.voted = [b for b in ledger.voted_by_people() if frozenset((b.left.id, b.right.id)) not in met]
        seen = [*arena.store.seen_cells(judge_id), *map(_cell, self.voted)]
        every = matchmaking.candidates(arena.store.prompts_with_images(), seen)
        self.choices = {pair: [*prompts] for pair, prompts in every.items()}

    def __len__(self) -> int:
        return len(self.again) + len(self.voted) + sum(map(len, self.choices.values()))

    def next(self, n: int) -> list[Battle]:
        """Up to n battles that the judge has not met; they are no longer to do."""
        found = [self.again.pop() for _ in range(min(n, len(self.again)))]
        voted, self.voted = self.voted[: n - len(found)], self.voted[n - len(found) :]
        found += [self._own(battle) for battle in voted]
        return found + self._drawn(n - len(found))

    def keep(self, contestants: Iterable[int]) -> None:
        """Leave out cells of which neither contestant is one of these."""
        wide = set(contestants)
        self.choices = {pair: prompts for pair, prompts in self.choices.items() if wide & {*pair}}

    def _own(self, battle: Battle) -> Battle:
        """People's battle as the judge's own: it was to be judged in any case, so with probability 1."""
        return replace(
            battle, drawn_for=self.judge_id, policy=VOTED, probability=1.0, token=secrets.token_urlsafe(16), id=None
        )

    def _drawn(self, n: int) -> list[Battle]:
        if n < 1 or not self.choices:
            return []
        known = counting.standing_of(self.arena.store.counts(VoteFilter(board=self.judge_id), cluster=None))
        chances = matchmaking.adaptive_chances(self.choices.keys(), known.strengths, known.votes)
        found = []
        while len(found) < n and (draw := matchmaking.draw(self.choices, self.rng, chances)):
            found.append(self._battle(draw))
            pair = (min(draw.left_id, draw.right_id), max(draw.left_id, draw.right_id))
            self.choices[pair].remove(draw.prompt_id)
            if not self.choices[pair]:
                del self.choices[pair]
                del chances[pair]
                rest = sum(chances.values())
                chances = {one: chance / rest for one, chance in chances.items()}
        return found

    def _battle(self, draw: matchmaking.Draw) -> Battle:
        return Battle(
            prompt=self.arena.store.prompt(draw.prompt_id),
            left=self.arena.store.generation_for(draw.left_id, draw.prompt_id),
            right=self.arena.store.generation_for(draw.right_id, draw.prompt_id),
            policy=matchmaking.ADAPTIVE,
            probability=draw.probability,
            token=secrets.token_urlsafe(16),
            drawn_for=self.judge_id,
        )


def _cell(battle: Battle) -> matchmaking.Cell:
    low, high = sorted((battle.left.contestant_id, battle.right.contestant_id))
    return low, high, battle.prompt.id or 0
