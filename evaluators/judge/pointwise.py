"""Scores of single images by a judge: P(yes) (VQAScore) and the rubric, with a value or a reason for each image.

    score = Pointwise("vqascore", Judge(embedded()))
    score.values(prompts, images)

torch loads when a local judge is opened, not when this is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arena.domain import Prompt, Protocol, Score
from arena.errors import UnknownName
from evaluators.alignment.summary import Mean, mean
from evaluators.judge.base import Image, Rating, YesProbability
from evaluators.judge.modes import VERSION, Judge, Shown

NOTHING_APPLIES = "no criterion of the rubric applies"


@dataclass(frozen=True, slots=True)
class JudgeRecipe:
    """One score. Its version is that of the modes, and its protocol holds all settings of the judge."""

    name: str
    title: str
    version: str = VERSION

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}"


RECIPES: Mapping[str, JudgeRecipe] = {
    recipe.name: recipe
    for recipe in (JudgeRecipe("vqascore", "VQAScore of the judge"), JudgeRecipe("rubric", "Rubric of the judge"))
}


@dataclass(frozen=True, slots=True)
class ImageScore:
    """An image's value, or unscored with a reason. `parts`: a rubric's levels, 1 to 5, None for what does not apply."""

    value: float | None = None
    unscored: str | None = None
    parts: Mapping[str, float | None] | None = None


@dataclass(frozen=True)
class Pointwise:
    """The evaluator: "vqascore", P(yes) / (P(yes) + P(no)) in [0, 1], or "rubric", the geometric mean of the levels
    that apply, 1 to 5."""

    name: str
    judge: Judge

    def __post_init__(self) -> None:
        if self.name not in RECIPES:
            raise UnknownName("score of a judge", self.name, RECIPES)

    @property
    def protocol(self) -> Protocol:
        return self.judge.protocol(self.name)

    def values(self, prompts: Sequence[str], images: Iterable[Image]) -> list[ImageScore]:
        """What the judge says of each image (uint8 RGB, (h, w, 3), any size), made for the prompt in its place."""
        shown = [Shown(prompt, image) for prompt, image in zip(prompts, images, strict=True)]
        if self.name == "vqascore":
            return [*map(_of_yes, self.judge.shows(shown))]
        return [*map(_of_rating, self.judge.rate(shown))]

    def evaluate(self, prompt: Prompt, images: Sequence[Image]) -> Score:
        """The mean over the images of one prompt; unscored where none has a value."""
        found = self.values([prompt.text] * len(images), images)
        return as_score(prompt.text, self.protocol, found, [prompt.text] * len(images))


def as_score(
    subject: str,
    protocol: Protocol,
    found: Sequence[ImageScore],
    prompts: Sequence[str],
    unscored: str | None = None,
    **more: Any,
) -> Score:
    """The mean with its interval over prompts. `unscored`: why there is none to give; `more`: as in Score, its
    `details` beside what is said here."""
    values = [float("nan") if one.value is None else one.value for one in found]
    whole = mean(values, prompts)
    reasons = [one.unscored for one in found if one.unscored]
    if whole.value is None and unscored is None:
        unscored = f"no image was scored, the first because: {reasons[0]}" if reasons else "there is no image"
    details = {
        "low": whole.low, "high": whole.high, "interval": "95%, Student's t over prompts", "n": whole.n,
        "prompts": whole.units, "unscored": len(reasons), "unscored_because": sorted({*reasons})[:5],
        **({"levels": levels} if (levels := _levels(found, prompts)) else {}),
        **more.pop("details", {}),
    }  # fmt: skip
    value = None if unscored else whole.value
    return Score(subject, protocol.name, protocol, value=value, unscored=unscored, details=details, **more)


def _levels(found: Sequence[ImageScore], prompts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The mean of each criterion of a rubric, over the images to which it applies."""
    names = list(dict.fromkeys(name for one in found for name in one.parts or ()))
    means: dict[str, Mean] = {}
    for name in names:
        parts = [(one.parts or {}).get(name) for one in found]
        means[name] = mean([float("nan") if part is None else part for part in parts], prompts)
    return {name: {"value": of.value, "low": of.low, "high": of.high, "n": of.n} for name, of in means.items()}


def _of_yes(said: YesProbability) -> ImageScore:
    return ImageScore(said.value, said.unscored)


def _of_rating(said: Rating) -> ImageScore:
    if said.unscored is not None:
        return ImageScore(unscored=said.unscored)
    parts = {name: level.value for name, level in said.levels.items()}
    if said.overall is None:
        return ImageScore(unscored=NOTHING_APPLIES, parts=parts)
    return ImageScore(said.overall, parts=parts)


# What `evaluators.EVALUATORS` names: the constructor of each evaluator, with the embedded judge unless one is given.


def vqascore(judge: Judge | None = None) -> Pointwise:
    return Pointwise("vqascore", judge or _embedded())


def rubric(judge: Judge | None = None) -> Pointwise:
    return Pointwise("rubric", judge or _embedded())


def _embedded() -> Judge:
    from evaluators.judge.local import embedded

    return Judge(embedded())
