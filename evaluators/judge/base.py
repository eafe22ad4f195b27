"""The contract of a judge, in two halves.

A `VisionLanguageModel` knows how a question reaches a model and nothing of judging: texts and images in, text out,
with log probabilities where the model offers them. A judge (`evaluators.judge.modes`) knows what to ask and what
counts as an answer, and nothing of where the model runs.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from arena import questions
from arena.domain import Outcome

Image = np.ndarray
"""uint8 RGB (h, w, 3) of any size."""


class Token(NamedTuple):
    """One token of a reply, and the log probabilities of what could have stood there, by the token's text."""

    text: str
    alternatives: Mapping[str, float]


@dataclass(frozen=True)
class Question:
    """One turn of a user: `parts` are texts and uint8 RGB images (h, w, 3), in the order in which they are read.

    `answers` are the words that an answer may begin with, whose log probabilities the model should report;
    `schema` is the JSON schema of the answer where JSON is asked for.
    """

    parts: tuple[str | Image, ...]
    answers: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    max_tokens: int = 64

    @classmethod
    def about(cls, parts: questions.Parts, images: Sequence[Image], **settings: Any) -> Question:
        """The wording with the images in their places. Raises ValueError for an image that is not uint8 RGB."""
        places = parts.count(questions.IMAGE)
        if places != len(images):
            raise ValueError(f"the question has places for {places} images, got {len(images)}")
        following = iter([_checked(image) for image in images])
        return cls(tuple(next(following) if part == questions.IMAGE else part for part in parts), **settings)


@dataclass(frozen=True)
class Reply:
    """What came back: a text, or a failure with its reason (timed out, refused by the server, out of memory).

    `tokens` is None where the model gives no log probabilities. `seconds` is this question's share of the time.
    """

    text: str | None = None
    failure: str | None = None
    tokens: tuple[Token, ...] | None = None
    seconds: float | None = None
    cost_usd: float | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.failure is None):
            raise ValueError(f"a Reply is a text or a failure, got {self.text!r} and {self.failure!r}")


class VisionLanguageModel(typing.Protocol):
    """Where questions go.

    `settings` hold everything that changes an answer, as plain JSON: the weights' sha256 or revision, precision,
    versions. `repeats_itself` says that asking again gives the same answer, so that a retry is in vain.

    A model that has many questions under way at once says how many in `concurrency`. Then several threads may call
    `replies` at the same time, and `cancel()` ends these calls with CancelledError.
    """

    name: str
    settings: Mapping[str, Any]
    repeats_itself: bool

    def replies(self, asked: Sequence[Question]) -> list[Reply]:
        """One reply to each question, in order. What goes wrong with one is its failure, and never an exception."""


@dataclass(frozen=True)
class Answer:
    """A reply as a judge reads it: one of the allowed words, or None and the reason why not.

    `shares` are the probabilities of the allowed words, normalised among themselves; None without log probabilities.
    """

    raw: str | None
    word: str | None = None
    reason: str = ""
    unscored: str | None = None
    shares: Mapping[str, float] | None = None
    seconds: float | None = None
    cost_usd: float | None = None

    def __post_init__(self) -> None:
        if (self.word is None) == (self.unscored is None):
            raise ValueError(f"an Answer is a word or unscored, got {self.word!r} and {self.unscored!r}")


_OUTCOMES = {
    questions.FIRST: Outcome.LEFT,
    questions.SECOND: Outcome.RIGHT,
    questions.TIE: Outcome.TIE,
    questions.NEITHER: Outcome.BOTH_BAD,
}
_MIRROR = {Outcome.LEFT: Outcome.RIGHT, Outcome.RIGHT: Outcome.LEFT}


@dataclass(frozen=True)
class Verdict:
    """A pair judged in both orders.

    `outcome` is what both orders agree on. Where they disagree it is a TIE and `consistent` is False. Where an order
    has no answer the pair is unscored: `outcome` is None and `unscored` says why.
    """

    left_first: Answer
    right_first: Answer

    @property
    def unscored(self) -> str | None:
        orders = (("left first", self.left_first), ("right first", self.right_first))
        return "; ".join(f"{order}: {answer.unscored}" for order, answer in orders if answer.unscored) or None

    @property
    def outcomes(self) -> tuple[Outcome, Outcome] | None:
        """What each order says, both seen from left and right."""
        if self.unscored:
            return None
        second = _OUTCOMES[self.right_first.word]
        return _OUTCOMES[self.left_first.word], _MIRROR.get(second, second)

    @property
    def consistent(self) -> bool | None:
        return None if self.outcomes is None else self.outcomes[0] is self.outcomes[1]

    @property
    def outcome(self) -> Outcome | None:
        if self.outcomes is None:
            return None
        return self.outcomes[0] if self.consistent else Outcome.TIE

    @property
    def picked_first(self) -> int | None:
        """How many of the two orders preferred the image shown first; 1 is what a judge without position bias gives
        for a decided pair."""
        if self.unscored:
            return None
        return sum(answer.word == questions.FIRST for answer in (self.left_first, self.right_first))

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(answer.reason for answer in (self.left_first, self.right_first) if answer.reason)

    @property
    def seconds(self) -> float | None:
        return _total([self.left_first.seconds, self.right_first.seconds])

    @property
    def cost_usd(self) -> float | None:
        return _total([self.left_first.cost_usd, self.right_first.cost_usd])


@dataclass(frozen=True)
class YesProbability:
    """VQAScore: P(yes) / (P(yes) + P(no)) in [0, 1], with both raw probabilities, or unscored with a reason."""

    value: float | None
    yes: float | None = None
    no: float | None = None
    raw: str | None = None
    unscored: str | None = None


@dataclass(frozen=True)
class Level:
    """One criterion of a rubric: the word, and its worth from 1 (bad) to 5 (excellent).

    With log probabilities `value` is the expectation over the levels, otherwise the word's own worth.
    A criterion that does not apply has neither.
    """

    word: str
    value: float | None
    expected: bool


@dataclass(frozen=True)
class Rating:
    """An image's levels by criterion, or unscored with a reason."""

    levels: Mapping[str, Level] = field(default_factory=dict)
    raw: str | None = None
    unscored: str | None = None

    @property
    def overall(self) -> float | None:
        """The geometric mean of the levels that apply, 1 to 5, as in VIEScore: one bad level spoils the whole."""
        values = [level.value for level in self.levels.values() if level.value is not None]
        return math.prod(values) ** (1 / len(values)) if values else None


def _total(parts: Sequence[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def _checked(image: Image) -> Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image must be uint8 RGB (h, w, 3), got {image.dtype} {image.shape}")
    return image
