"""Judges without a model that follow a rule: for tests, for the docs, and to try an arena without any weights.

They answer the question of a pair and no other. Like a real model they are shown images in an order, and know nothing
of who made them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from arena.errors import UnknownName
from arena.questions import FIRST, NEITHER, SECOND, TIE
from evaluators.judge.base import Image, Question, Reply

DARK = 16.0
"""Mean grey level below which an image is called black."""
LEAST = 0.5
"""Grey levels that two means must differ by to be told apart."""
Rule = Callable[[Image, Image], str]


def brightest(first: Image, second: Image) -> str:
    """The image with the higher mean; neither where both are black."""
    one, other = float(first.mean()), float(second.mean())
    if max(one, other) < DARK:
        return f"{NEITHER}\nBoth images are black."
    if abs(one - other) < LEAST:
        return f"{TIE}\nBoth images are equally bright."
    return f"{FIRST if one > other else SECOND}\nMean grey levels: {one:.1f} and {other:.1f}."


def always_first(first: Image, second: Image) -> str:
    """The image shown first, whatever it is: the failure that an accuracy alone does not show."""
    return f"{FIRST}\nThe first image is better."


def undecided(first: Image, second: Image) -> str:
    """No answer that can be read."""
    return "Both are great!"


RULES: dict[str, Rule] = {"brightest": brightest, "always-first": always_first, "undecided": undecided}


class Scripted:
    """A judge that follows one of `RULES`. Raises UnknownName for another one.

    `pause` is how many seconds each answer takes, to see a progress bar or to stop in the middle; `cost_usd` is what
    each answer is said to cost.
    """

    repeats_itself = True

    def __init__(self, rule: str = "brightest", *, pause: float = 0.0, cost_usd: float | None = None):
        if rule not in RULES:
            raise UnknownName("rule of the scripted judge", rule, RULES)
        self.name = f"scripted-{rule}"
        self.rule, self.pause, self.cost_usd = RULES[rule], pause, cost_usd
        self.settings: Mapping[str, Any] = {"rule": rule, "version": 1}

    def replies(self, asked: Sequence[Question]) -> list[Reply]:
        return [self._reply(question) for question in asked]

    def _reply(self, question: Question) -> Reply:
        time.sleep(self.pause)
        images = [part for part in question.parts if isinstance(part, np.ndarray)]
        if len(images) != 2:
            return Reply(failure=f"a scripted judge compares two images, and was shown {len(images)}")
        return Reply(self.rule(*images), seconds=self.pause, cost_usd=self.cost_usd)
