"""The judge that ships with the arena, on rendered teddies that its training never saw.

Bars are below the measured figures of docs/judge.md by three standard deviations of the sample taken here.
"""

import random

import numpy as np
import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from arena import questions
from arena.domain import Outcome
from arena.plugins import resolve
from arena.teddy import judge_data as ask
from arena.teddy.renderer import render
from arena.teddy.scenes import caption, sample_scenes
from evaluators.judge import JUDGES, injections
from evaluators.judge.base import Question
from evaluators.judge.local import EMBEDDED, embedded
from evaluators.judge.modes import Judge, Pair, Shown, answer

SCENES = sample_scenes(40, random.Random(99), held_out=True)
SHOWN = [*map(ask.labels_of, SCENES)]
CAPTIONS = ask.captions(held_out=True)


def picture(scene, seed, size=64) -> np.ndarray:
    return np.asarray(render(scene, random.Random(f"test/{seed}"), size))


IMAGES = [picture(scene, i) for i, scene in enumerate(SCENES)]


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(embedded())


def pairs(n: int) -> list[tuple[Pair, Outcome]]:
    """A picture of the caption against one with two or three attributes wrong, on either side."""
    rng, found = random.Random(5), []
    for i in range(n):
        other = ask.scene_of(ask.perturbed(SHOWN[i], rng.choice((2, 3)), rng))
        sides = [IMAGES[i], picture(other, 1000 + i)]
        text = CAPTIONS[SHOWN[i]]
        found.append((Pair(text, *sides), Outcome.LEFT) if i % 2 else (Pair(text, *sides[::-1]), Outcome.RIGHT))
    return found


def test_the_shipped_files_are_small_and_plain():
    assert sum(path.stat().st_size for path in EMBEDDED.rglob("*")) < 15e6
    assert not [*EMBEDDED.glob("*.py")]
    assert type(AutoModelForImageTextToText.from_pretrained(EMBEDDED)).__name__ == "LlavaForConditionalGeneration"
    assert type(AutoProcessor.from_pretrained(EMBEDDED)).__name__ == "LlavaProcessor"
    assert resolve("judge", JUDGES, "teddy") is embedded


def test_questions_about_unseen_scenes(judge):
    rng = random.Random(0)
    qas = [
        (image, ask_one(seen, rng)) for image, seen in zip(IMAGES, SHOWN, strict=True) for ask_one in ask.KINDS.values()
    ]
    words = tuple({qa.answer for _, qa in qas})
    replies = judge.model.replies([Question((image, "\n" + qa.question), words, max_tokens=8) for image, qa in qas])
    right = sum(answer(reply, words).word == qa.answer for reply, (_, qa) in zip(replies, qas, strict=True))
    assert right / len(qas) > 0.9


def test_the_better_picture_wins_from_either_side(judge):
    matches = pairs(24)
    verdicts = judge.compare([pair for pair, _ in matches])
    assert sum(verdict.outcome is truth for verdict, (_, truth) in zip(verdicts, matches, strict=True)) >= 20
    assert sum(bool(verdict.consistent) for verdict in verdicts) >= 20
    assert all(verdict.reasons for verdict in verdicts)


def test_two_pictures_of_the_caption_are_a_tie(judge):
    verdicts = judge.compare(
        [Pair(CAPTIONS[seen], IMAGES[i], picture(SCENES[i], 2000 + i)) for i, seen in enumerate(SHOWN[:16])]
    )
    assert sum(verdict.outcome is Outcome.TIE and verdict.consistent for verdict in verdicts) >= 12


def test_p_yes_separates_right_from_wrong_captions(judge):
    rng = random.Random(1)
    wrong = [caption(ask.scene_of(ask.perturbed(seen, 3, rng))) for seen in SHOWN]
    right = judge.shows([Shown(CAPTIONS[seen], image) for seen, image in zip(SHOWN, IMAGES, strict=True)])
    others = judge.shows([Shown(text, image) for text, image in zip(wrong, IMAGES, strict=True)])
    assert np.mean([one.value > 0.5 for one in right]) > 0.8
    assert np.mean([one.value < 0.5 for one in others]) > 0.9
    assert all(one.yes + one.no > 0.9 for one in right + others)


def test_levels_fall_with_every_wrong_attribute(judge):
    rng = random.Random(2)
    means = []
    for n in (0, 2, 4):
        asked = [caption(ask.scene_of(ask.perturbed(seen, n, rng))) for seen in SHOWN]
        ratings = judge.rate([Shown(text, image) for text, image in zip(asked, IMAGES, strict=True)])
        assert not [rating.unscored for rating in ratings if rating.unscored]
        assert {rating.levels["aesthetics"].word for rating in ratings} == {questions.NOT_APPLICABLE}
        assert all(rating.levels["prompt_adherence"].expected for rating in ratings)
        means.append(np.mean([rating.levels["prompt_adherence"].value for rating in ratings]))
    assert means[0] > means[1] + 0.5 > means[2] + 1


def test_words_in_the_prompt_or_on_an_image_reverse_hardly_any_verdict(judge):
    found = injections.flips(judge, [pair for pair, _ in pairs(2)])
    assert len(injections.IN_PROMPT) + len(injections.ON_IMAGE) >= 40
    assert len(found.reversed) <= 0.05 * len(found.cases)
    assert found.rate < 0.3


def test_large_pictures_are_judged_like_small_ones(judge):
    matches = [
        Pair(CAPTIONS[SHOWN[i]], picture(SCENES[i], i, 256), picture(SCENES[(i + 1) % 40], i, 192)) for i in range(8)
    ]
    assert sum(verdict.outcome is Outcome.LEFT for verdict in judge.compare(matches)) >= 7
