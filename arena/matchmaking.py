"""Which two contestants meet, on which prompt, on which side: pure, the random numbers come in.

Policy `uniform@1`: a pair of contestants uniformly among those that still have a common prompt for this voter,
then a prompt uniformly among these, then the sides by a fair coin. Every cell keeps a known positive probability,
which is stored with the battle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from random import Random

POLICY = "uniform@1"
Pair = tuple[int, int]
Cell = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Draw:
    """A drawn battle: contestant ids by side, the prompt, and the probability of this pair and prompt."""

    left_id: int
    right_id: int
    prompt_id: int
    probability: float


def candidates(prompts_of: Mapping[int, Collection[int]], seen: Iterable[Cell] = ()) -> dict[Pair, list[int]]:
    """For each pair of contestants (lower id first), the prompts both have an image for and the voter has not seen.

    `prompts_of`: contestant id -> prompt ids with an image. `seen`: (lower id, higher id, prompt id). Pairs with no
    prompt left are absent.
    """
    done: dict[Pair, set[int]] = {}
    for low, high, prompt in seen:
        done.setdefault((low, high), set()).add(prompt)
    sets = {contestant: set(prompts) for contestant, prompts in prompts_of.items()}
    open_prompts = {
        pair: sorted((sets[pair[0]] & sets[pair[1]]) - done.get(pair, set())) for pair in combinations(sorted(sets), 2)
    }
    return {pair: prompts for pair, prompts in open_prompts.items() if prompts}


def draw(choices: Mapping[Pair, list[int]], rng: Random) -> Draw | None:
    """One battle from the candidates, or None when there are none."""
    if not choices:
        return None
    pair = rng.choice(list(choices))
    prompt = rng.choice(choices[pair])
    left, right = pair if rng.random() < 0.5 else pair[::-1]
    return Draw(left, right, prompt, 1.0 / (len(choices) * len(choices[pair])))
