"""A voter in a process of its own: votes on everything there is, printing each token after its vote was counted."""

from __future__ import annotations

import sys
from random import Random

from arena.bootstrap import Arena, open_arena
from arena.domain import Outcome
from arena.services import battles
from arena.settings import load_settings


def vote_on_everything(arena: Arena, voter: str, seed: int = 0) -> int:
    """Votes at random until nothing is left; returns how many."""
    rng, count = Random(seed), 0
    while waiting := battles.open_battles(arena, voter, n=2):
        for battle in waiting:
            battles.vote(arena, voter, battle.token, rng.choice(list(Outcome)))
            print(battle.token, flush=True)
            count += 1
    return count


if __name__ == "__main__":
    vote_on_everything(open_arena(load_settings()), sys.argv[1], seed=int(sys.argv[2]))
