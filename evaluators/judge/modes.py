"""What a judge is asked: which of two images, in both orders; whether an image shows its prompt; how good it is.

judge = Judge(embedded())
verdict = judge.compare([Pair("a pink teddy bear, …", left, right)])[0]
verdict.outcome, verdict.consistent, verdict.reasons
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from arena import questions
from arena.domain import Protocol, fingerprint
from evaluators.judge import parse
from evaluators.judge.base import (
    Answer,
    Image,
    Level,
    Question,
    Rating,
    Reply,
    Verdict,
    VisionLanguageModel,
    YesProbability,
)

VERSION = "1"
REASON_TOKENS = 96
VERDICT_TOKENS = 4
"""Enough for "Answer: neither"; the shortest answer ends by itself."""
RUBRIC_TOKENS = 160
LEAST_MASS = 0.01
"""Where yes and no together are less likely than this, the model answers some other question."""

Read = TypeVar("Read", Answer, YesProbability, Rating)


class Pair(NamedTuple):
    """Two images made for one prompt."""

    prompt: str
    left: Image
    right: Image


class Shown(NamedTuple):
    """One image made for a prompt."""

    prompt: str
    image: Image


@dataclass(frozen=True)
class Judge:
    """A model with the rules of judging. What has no clear answer is asked again up to `attempts` times, if asking
    again can change anything, and is then unscored."""

    model: VisionLanguageModel
    attempts: int = 3
    reasons: bool = True
    criteria: tuple[str, ...] = tuple(questions.CRITERIA)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything that changes a verdict: the model's settings, the wording, and the rules."""
        wording = (questions.pair("{}"), questions.shows("{}"), questions.rubric("{}", self.criteria))
        return {
            "model": dict(self.model.settings),
            "wording": fingerprint(wording=wording),
            "version": VERSION,
            "attempts": self.attempts,
            "reasons": self.reasons,
            "criteria": list(self.criteria),
        }

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of `settings`."""
        return fingerprint(**self.settings)

    @property
    def voter_id(self) -> str:
        """The judge as a voter."""
        return f"judge:{self.model.name}@{self.fingerprint[:12]}"

    def protocol(self, name: str) -> Protocol:
        """The protocol of a score of this judge, for example "vqascore"; it names the judge, and holds its settings."""
        return Protocol(name, VERSION, {"judge": self.voter_id, **self.settings})

    def compare(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Judges each pair in both orders."""
        orders = [(pair.left, pair.right) for pair in pairs] + [(pair.right, pair.left) for pair in pairs]
        texts = [pair.prompt for pair in pairs] * 2
        asked = [self._pair_question(text, images) for text, images in zip(texts, orders, strict=True)]
        answers = self._ask(asked, _pair_answer)
        return [Verdict(*both) for both in zip(answers[: len(pairs)], answers[len(pairs) :], strict=True)]

    def shows(self, images: Sequence[Shown]) -> list[YesProbability]:
        """P(yes) to "Does this figure show …?" (VQAScore); needs log probabilities."""
        asked = [
            Question.about(questions.shows(text), [image], answers=questions.YES_NO, max_tokens=1)
            for text, image in images
        ]
        return self._ask(asked, yes_probability)

    def rate(self, images: Sequence[Shown]) -> list[Rating]:
        """A level for each of the judge's criteria."""
        schema = questions.rubric_schema(self.criteria)
        asked = [
            Question.about(
                questions.rubric(text, self.criteria),
                [image],
                answers=(*questions.LEVELS, questions.NOT_APPLICABLE),
                schema=schema,
                max_tokens=RUBRIC_TOKENS,
            )
            for text, image in images
        ]
        return self._ask(asked, lambda reply: rating(reply, self.criteria))

    def _pair_question(self, text: str, images: tuple[Image, Image]) -> Question:
        length = REASON_TOKENS if self.reasons else VERDICT_TOKENS
        return Question.about(questions.pair(text), images, answers=questions.PAIR_ANSWERS, max_tokens=length)

    def _ask(self, asked: Sequence[Question], read: Callable[[Reply], Read]) -> list[Read]:
        """What is read from the replies; whatever is unscored is asked again while that can help."""
        found = [read(reply) for reply in self.model.replies(asked)]
        for _ in range(0 if self.model.repeats_itself else self.attempts - 1):
            again = [i for i, one in enumerate(found) if one.unscored]
            if not again:
                break
            for i, reply in zip(again, self.model.replies([asked[i] for i in again]), strict=True):
                found[i] = read(reply)
        return found


def _pair_answer(reply: Reply) -> Answer:
    return answer(reply, questions.PAIR_ANSWERS)


def answer(reply: Reply, allowed: Sequence[str]) -> Answer:
    """One of the allowed words on the reply's first line."""
    used = {"seconds": reply.seconds, "cost_usd": reply.cost_usd}
    if reply.text is None:
        return Answer(None, unscored=reply.failure, **used)
    text, tokens = parse.answered(reply.text, reply.tokens)
    word, reason, unscored = parse.first_line(text, allowed)
    shares = None
    if word is not None and tokens:
        shares = parse.normalised(parse.answer_shares(tokens[0].alternatives, allowed))
    return Answer(reply.text, word, reason, unscored, shares, **used)


def yes_probability(reply: Reply) -> YesProbability:
    """P(yes) / (P(yes) + P(no)) of the first token of the reply, behind any thinking."""
    if reply.text is None:
        return YesProbability(None, unscored=reply.failure)
    _, tokens = parse.answered(reply.text, reply.tokens)
    if not tokens:
        return YesProbability(None, raw=reply.text, unscored="the model gives no log probabilities")
    shares = parse.answer_shares(tokens[0].alternatives, questions.YES_NO)
    normal = parse.normalised(shares) if sum(shares.values()) >= LEAST_MASS else None
    if normal is None:
        return YesProbability(None, raw=reply.text, unscored=f"neither yes nor no: {parse.excerpt(reply.text)}")
    return YesProbability(normal[questions.YES], shares[questions.YES], shares[questions.NO], reply.text)


def rating(reply: Reply, criteria: Sequence[str]) -> Rating:
    """The levels of a JSON reply."""
    if reply.text is None:
        return Rating(unscored=reply.failure)
    text, tokens = parse.answered(reply.text, reply.tokens)
    found = parse.levels(text, criteria, tokens)
    levels: Mapping[str, Level] = found.levels
    return Rating(levels, reply.text, found.unscored)
