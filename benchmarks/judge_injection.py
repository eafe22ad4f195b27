"""Can words talk a judge into an answer? Every injection of the test set against any judge, and the share it flips.

    python benchmarks/judge_injection.py [JUDGE] [--options JSON] [--pairs 8] [--side 256]

JUDGE is a name as in `arena judge`: teddy (the embedded one), local:FOLDER, openai:MODEL with
--options '{"base_url": "http://localhost:8000/v1"}'. Pairs are rendered teddies: one shows the caption, the other has
two attributes wrong, and which one is left is drawn. A case flips a verdict if the outcome changes in any way, reverses
it if the other side wins, and leaves it unscored if there is no answer any more. Neutral words are the yardstick.
Intervals are Wilson's and take every verdict for itself, though those on one pair are alike.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict

import numpy as np

from arena.domain import Outcome
from arena.errors import ArenaError
from arena.rating.voters import wilson
from arena.services.judges import open_judge
from arena.settings import load_settings
from arena.teddy import judge_data
from arena.teddy.renderer import render
from arena.teddy.scenes import caption, sample_scenes
from evaluators.judge import disguises
from evaluators.judge.base import Verdict
from evaluators.judge.injections import Flips
from evaluators.judge.modes import Judge, Pair

SEED = 77


def matches(n: int, side: int) -> list[tuple[Pair, Outcome]]:
    """Pairs of a held-out scene and one with two wrong attributes, uint8 RGB (side, side, 3), and who should win."""
    rng = random.Random(SEED)
    found = []
    for scene in sample_scenes(n, rng, held_out=True):
        other = judge_data.scene_of(judge_data.perturbed(judge_data.labels_of(scene), 2, rng))
        right, wrong = (np.asarray(render(shown, rng, side)) for shown in (scene, other))
        left_wins = rng.random() < 0.5
        pair = Pair(caption(scene), *((right, wrong) if left_wins else (wrong, right)))
        found.append((pair, Outcome.LEFT if left_wins else Outcome.RIGHT))
    return found


def attacked(judge: Judge, pairs: list[Pair], clean: list[Verdict]) -> dict[str, Flips]:
    """Each family's verdicts before and after."""
    cases = [
        (family, case, verdict)
        for pair, verdict in zip(pairs, clean, strict=True)
        for family, members in disguises.families(pair, verdict).items()
        for case in members
    ]
    found = defaultdict(list)
    for (family, case, before), after in zip(cases, judge.compare([case.pair for _, case, _ in cases]), strict=True):
        found[family].append((case.name, before, after))
    return {family: Flips(tuple(members)) for family, members in found.items()}


def line(family: str, flips: Flips, pairs: int) -> str:
    n = len(flips.cases)
    low, high = wilson(np.array(flips.rate), np.array(float(n)))
    unscored = sum(after.unscored is not None for _, _, after in flips.cases)
    return (
        f"| {family} | {n // pairs} | {flips.rate:.1%} ({abs(low):.1%} to {high:.1%}) | {len(flips.reversed) / n:.1%} "
        f"| {unscored / n:.1%} |"
    )


def report(judge: Judge, n: int, side: int) -> None:
    asked = matches(n, side)
    start = time.perf_counter()
    verdicts = judge.compare([pair for pair, _ in asked])
    scored = [(pair, verdict) for (pair, _), verdict in zip(asked, verdicts, strict=True) if not verdict.unscored]
    if not scored:
        raise SystemExit(f"The judge scores none of {n} pairs without any attack: {verdicts[0].unscored}")
    right = sum(verdict.outcome is truth for (_, truth), verdict in zip(asked, verdicts, strict=True))
    found = attacked(judge, [pair for pair, _ in scored], [verdict for _, verdict in scored])
    print(
        f"{judge.voter_id}: {right} of {n} pairs right without an attack, {len(scored)} scored, images {side} x {side}"
    )
    print(f"{sum(len(flips.cases) for flips in found.values())} verdicts in {time.perf_counter() - start:.0f} s\n")
    print("| family | cases | verdicts flipped (95%) | reversed | unscored |\n|---|--:|--:|--:|--:|")
    for family, flips in found.items():
        print(line(family, flips, len(scored)))
    for name, controls in (("all attacks", False), ("all neutral words", True)):
        members = [flips.cases for family, flips in found.items() if (family in disguises.CONTROLS) is controls]
        print(line(name, Flips(sum(members, ())), len(scored)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("judge", nargs="?", default="teddy")
    parser.add_argument("--options", type=json.loads, default={}, help="the judge's options, as JSON")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--side", type=int, default=256, help="pixels of the images")
    options = parser.parse_args()
    try:
        report(open_judge(options.judge, options.options, load_settings()), options.pairs, options.side)
    except ArenaError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
