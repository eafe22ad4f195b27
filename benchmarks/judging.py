"""What judging costs beside the judge itself: claims, draws, the ledger, votes. `python benchmarks/judging.py`

A board of swatches is judged by a rule that takes next to no time, so that what is left is the arena's own work; then
again, where nothing may be asked. Processor time, because the machine may be shared.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from arena.backends.base import create_backend
from arena.bootstrap import Arena, open_arena
from arena.domain import Contestant, Prompt
from arena.services import generation, judging
from arena.services.judging import Request
from arena.settings import load_settings
from evaluators.judge import JUDGES
from evaluators.judge.base import Question, Reply
from evaluators.judge.scripted import Scripted

WANTED = 15.0
"""Verdicts a second that the embedded judge has to give."""


class Counting(Scripted):
    """Counts its questions, and the processor seconds that it takes itself."""

    asked = 0
    seconds = 0.0

    def replies(self, asked: Sequence[Question]) -> list[Reply]:
        started = time.process_time()
        found = super().replies(asked)
        Counting.seconds += time.process_time() - started
        Counting.asked += len(asked)
        return found


def filled(folder: Path, contestants: int, prompts: int) -> Arena:
    arena = open_arena(load_settings(data_dir=folder), prepare=True)
    arena.store.add_prompts(Prompt(f"a card number {n}") for n in range(prompts))
    for n in range(contestants):
        arena.store.add_contestant(Contestant(f"Swatch {n}", "swatch", {"tint": str(n)}))
    generation.fill(arena, generation.plan(arena), create_backend)
    return arena


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contestants", type=int, default=6)
    parser.add_argument("--prompts", type=int, default=40)
    options = parser.parse_args()
    JUDGES["counting"] = f"{__name__}:Counting"
    with tempfile.TemporaryDirectory() as folder:
        arena = filled(Path(folder), options.contestants, options.prompts)
        started = time.process_time()
        came_to = judging.run(arena, Request("counting"))
        own = time.process_time() - started - Counting.seconds
        verdicts, asked = came_to.tally.asked, Counting.asked
        again = judging.run(arena, Request("counting"))
        print(f"{verdicts} verdicts, {asked} questions: {1000 * own / verdicts:.1f} ms of the arena's own for each")
        print(f"at {WANTED:g} verdicts a second: {100 * own / verdicts * WANTED:.0f}% of one core")
        print(f"the same board again: {again.tally.asked} verdicts, {Counting.asked - asked} questions")
        arena.store.engine.dispose()


if __name__ == "__main__":
    main()
