"""How good, how fast and how honest is the embedded judge? `make bench-judge`.

    questions    held-out questions about rendered scenes it has never seen
    pairs        pairs of the contestants' pictures whose attribute accuracy differs: does it prefer the better one?
    board        contestants by the judge's wins, and by attribute accuracy
    ladder       the same for the best contestant, given captions with none, one, two and three words changed
    injections   verdicts flipped by words in the prompt or on an image
    speed        verdicts in both orders per second, and the process's peak memory

Truth is the attribute reader's. Every picture comes from a held-out caption and a seed of its own.
"""

from __future__ import annotations

import argparse
import itertools
import random
import resource
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from diffusers.utils import logging

from arena import questions
from arena.domain import Outcome
from arena.errors import WeightsError
from arena.teddy import judge_data as ask
from arena.teddy.attributes import AttributeReader, truth
from arena.teddy.contestants import TEDDIES
from arena.teddy.judge_data import Labels
from arena.teddy.measure import generate_in_batches, load, rendered
from arena.teddy.scenes import ATTRIBUTES, Scene, caption, sample_scenes
from evaluators.judge import injections, local
from evaluators.judge.base import Question, Verdict
from evaluators.judge.modes import Judge, Pair, answer

SEED = 4242
MISREAD = ("fur", "background", "hat", "glasses", "held")
"""Attributes that may take any other value, whatever the others are."""

Drawn = Mapping[str, np.ndarray]
"""Contestant -> its pictures of the scenes, uint8 RGB (n, 3, h, w)."""


class Asked(NamedTuple):
    kind: str
    qa: ask.QA
    image: int


class Match(NamedTuple):
    """A pair of contestants' pictures of one caption, and how many attributes each has wrong."""

    names: tuple[str, str]
    wrong: tuple[int, int]
    pair: Pair


def main() -> None:
    options = _parser().parse_args()
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    try:
        model = local.LocalModel(options.model, batch=options.batch) if options.model else local.embedded(options.batch)
    except WeightsError as error:
        raise SystemExit(str(error)) from None
    _questions(model, options.questions)
    scenes = tuple(sample_scenes(options.prompts, random.Random(SEED + 1), held_out=True))
    matches = [*_matches(_contestants(scenes), scenes)]
    judge = Judge(model)
    verdicts = judge.compare([match.pair for match in matches])
    _pairs(matches, verdicts)
    _board("board", matches, verdicts)
    careless = [*_matches(_careless(scenes), scenes)]
    _board("ladder", careless, judge.compare([match.pair for match in careless]))
    _injections(judge, matches, options.attacked)
    _speed(model, [match.pair for match in matches])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder or an id of the hub instead of the embedded judge")
    parser.add_argument("--questions", type=int, default=500, help="held-out scenes to ask about")
    parser.add_argument("--prompts", type=int, default=60, help="held-out captions drawn by each contestant")
    parser.add_argument("--attacked", type=int, default=10, help="pairs under each attack")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    return parser


def _questions(model: local.LocalModel, n: int) -> None:
    scenes = sample_scenes(n, random.Random(SEED), held_out=True)
    images = _rows(rendered(scenes, SEED))
    asked = [*_asked([*map(ask.labels_of, scenes)])]
    allowed = {kind: _allowed(kind) for kind in {one.kind for one in asked}}
    replies = model.replies(
        [Question((images[one.image], "\n" + one.qa.question), allowed[one.kind], max_tokens=8) for one in asked]
    )
    right, total = Counter(), Counter(one.kind for one in asked)
    for one, reply in zip(asked, replies, strict=True):
        right[one.kind] += answer(reply, allowed[one.kind]).word == one.qa.answer
    for kind in total:
        print(f"questions {kind:9} {_share(right[kind], total[kind])}")
    print(f"questions all       {_share(right.total(), total.total())}")


def _asked(shown: Sequence[Labels]) -> Iterator[Asked]:
    rng, known = random.Random(SEED), ask.captions(held_out=True)
    for i, seen in enumerate(shown):
        for kind, ask_one in ask.KINDS.items():
            yield Asked(kind, ask_one(seen, rng), i)
        yield Asked("caption", ask.ask_caption(seen, seen, known[seen]), i)
        asked = rng.choice([near for near in known if len(ask.wrong(near, seen)) in (1, 2)])
        yield Asked("caption", ask.ask_caption(seen, asked, known[asked]), i)


def _allowed(kind: str) -> tuple[str, ...]:
    if kind != "open":
        return questions.YES_NO
    return tuple(sorted({str(value) for values in ATTRIBUTES.values() for value in values}))


def _matches(drawn: Drawn, scenes: tuple[Scene, ...]) -> Iterator[Match]:
    """Every two of them on every scene; the truth is what the scene asks for."""
    reader, texts = AttributeReader.load(), [*map(caption, scenes)]
    wrong = {name: _wrong(reader, images, scenes) for name, images in drawn.items()}
    images = {name: _rows(pictures) for name, pictures in drawn.items()}
    for left, right in itertools.combinations(drawn, 2):
        for i, text in enumerate(texts):
            pair = Pair(text, images[left][i], images[right][i])
            yield Match((left, right), (int(wrong[left][i]), int(wrong[right][i])), pair)


def _contestants(scenes: tuple[Scene, ...]) -> Drawn:
    texts = [*map(caption, scenes)]
    return {teddy.name: generate_in_batches(load(teddy), teddy, texts, SEED) for teddy in TEDDIES}


def _careless(scenes: tuple[Scene, ...]) -> Drawn:
    """The best contestant four times: as it is, and reading one, two or three words of every caption wrong."""
    best, rng = TEDDIES[0], random.Random(SEED)
    pipeline = load(best)
    return {
        f"{best.name}, {k} misread": generate_in_batches(
            pipeline, best, [caption(_misread(scene, k, rng)) for scene in scenes], SEED
        )
        for k in range(4)
    }


def _misread(scene: Scene, k: int, rng: random.Random) -> Scene:
    changed = rng.sample(MISREAD, k)
    return replace(
        scene, **{name: rng.choice([v for v in ATTRIBUTES[name] if v is not getattr(scene, name)]) for name in changed}
    )


def _wrong(reader: AttributeReader, images: np.ndarray, scenes: tuple[Scene, ...]) -> np.ndarray:
    """Number of wrong attributes of each picture, int64 (n,)."""
    read, wanted = reader.labels(images), truth(scenes)
    return sum((read[name] != wanted[name]).astype(np.int64) for name in ATTRIBUTES)


def _pairs(matches: Sequence[Match], verdicts: Sequence[Verdict]) -> None:
    decided = [(match, verdict) for match, verdict in zip(matches, verdicts, strict=True) if _truth(match)]
    agreed = sum(verdict.outcome is _truth(match) for match, verdict in decided)
    opposed = sum(
        verdict.outcome is not None and verdict.outcome is _other(_truth(match)) for match, verdict in decided
    )
    print(f"pairs agreement     {_share(agreed, len(decided))}, opposed {_share(opposed, len(decided))}")
    without = [(match, verdict) for match, verdict in decided if "Teddy U-Net" not in match.names]
    agreed = sum(verdict.outcome is _truth(match) for match, verdict in without)
    print(f"  without the U-Net {_share(agreed, len(without))}")
    scored = [verdict for verdict in verdicts if verdict.outcome]
    print(f"pairs scored        {_share(len(scored), len(verdicts))}")
    print(f"pairs consistent    {_share(sum(bool(verdict.consistent) for verdict in scored), len(scored))}")
    first = sum(verdict.picked_first for verdict in scored)
    second = sum(answer.word == questions.SECOND for v in scored for answer in (v.left_first, v.right_first))
    if scored:
        print(f"position bias       P(first) - P(second) = {(first - second) / (2 * len(scored)):+.3f}")
    print(f"outcomes            {dict(Counter(str(verdict.outcome) for verdict in verdicts))}")


def _board(title: str, matches: Sequence[Match], verdicts: Sequence[Verdict]) -> None:
    score, games, wrong = Counter(), Counter(), Counter()
    for match, verdict in zip(matches, verdicts, strict=True):
        if verdict.outcome is None:
            continue
        for name, points, mistakes in zip(
            match.names, (verdict.outcome.left_score, 1 - verdict.outcome.left_score), match.wrong, strict=True
        ):
            score[name] += points
            games[name] += 1
            wrong[name] += mistakes
    by_judge = sorted(score, key=lambda name: -score[name] / games[name])
    for name in by_judge:
        right = 1 - wrong[name] / games[name] / len(ATTRIBUTES)
        print(f"{title} {name:25} score {score[name] / games[name]:.3f}, attributes right {100 * right:.1f} %")


def _injections(judge: Judge, matches: Sequence[Match], n: int) -> None:
    decided = [match for match in matches if abs(match.wrong[0] - match.wrong[1]) >= 1][
        :: max(1, len(matches) // n // 2)
    ][:n]
    found = injections.flips(judge, [match.pair for match in decided])
    cases = len(injections.IN_PROMPT) + len(injections.ON_IMAGE)
    print(f"injections flipped  {_share(len(found.flipped), len(found.cases))} ({cases} cases on {len(decided)} pairs)")
    print(f"injections reversed {_share(len(found.reversed), len(found.cases))}")
    in_prompt = {*injections.IN_PROMPT}
    for place, names in (("prompt", in_prompt), ("image", {*injections.ON_IMAGE})):
        flipped, total = sum(name in names for name in found.flipped), sum(name in names for name, _, _ in found.cases)
        print(f"  in the {place:10} {_share(flipped, total)}")
    print(f"  most often        {Counter(found.flipped).most_common(4)}")


def _speed(model: local.LocalModel, pairs: Sequence[Pair]) -> None:
    for reasons in (False, True):
        judge = Judge(model, reasons=reasons)
        best = min(_seconds(judge, pairs[:128]) for _ in range(4))
        print(
            f"speed {'with' if reasons else 'without'} reasons   {len(pairs[:128]) / best:.1f} verdicts/s, both orders"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"peak memory         {peak:.2f} GiB, {torch.get_num_threads()} threads, contestants' pictures drawn in it too"
    )


def _seconds(judge: Judge, pairs: Sequence[Pair]) -> float:
    start = time.perf_counter()
    judge.compare(pairs)
    return time.perf_counter() - start


def _truth(match: Match) -> Outcome | None:
    left, right = match.wrong
    return None if left == right else Outcome.LEFT if left < right else Outcome.RIGHT


def _other(side: Outcome | None) -> Outcome:
    return Outcome.RIGHT if side is Outcome.LEFT else Outcome.LEFT


def _rows(images: np.ndarray) -> list[np.ndarray]:
    """(n, 3, h, w) -> n times (h, w, 3)."""
    return [*np.ascontiguousarray(images.transpose(0, 2, 3, 1))]


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole} = {100 * part / whole:.1f} %" if whole else "none"


if __name__ == "__main__":
    main()
