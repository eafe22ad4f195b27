"""CLIPScore, PickScore, HPSv2.1 and LAION's aesthetic score of images, each with its own protocol.

    score = TextImageScore("clipscore-l14").score(prompts, images)
    score.values, score.mean

Which score is which: `evaluators.alignment.recipes`. torch loads when a score is computed, not when this is imported.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arena.domain import ImageValue, Prompt, Protocol, Score
from arena.errors import EnvironmentFault, ImageError, UnknownName, UsageError
from evaluators.alignment.recipes import CONTEXT, FORMULAS, RECIPES, Floats, Recipe, Towers, find_weights
from evaluators.alignment.summary import Mean, mean
from evaluators.base import Progress, no_progress
from evaluators.images import RECIPE as DECODING
from evaluators.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from evaluators.alignment.towers import OpenClip, TransformersClip

MISSING = "there is no image"


@dataclass(frozen=True, slots=True, eq=False)
class AlignmentResult:
    """A value for each image, and their mean.

    `values` (n,): NaN where there was no image. `truncated` (n,): whose prompt lost words behind its 77th token.
    `prompts` (n,): whose images hang together in the interval of `mean`. `seconds`: wall time.
    """

    values: Floats
    truncated: NDArray[np.bool_]
    prompts: tuple[str, ...]
    protocol: Protocol
    seconds: float

    @property
    def mean(self) -> Mean:
        return mean(self.values, self.prompts)

    @property
    def unscored(self) -> int:
        return int(np.isnan(self.values).sum())

    def as_json(self) -> dict[str, Any]:
        found = self.mean
        return {
            self.protocol.name: found.value, "low": found.low, "high": found.high, "n": found.n,
            "prompts": found.units, "unscored": self.unscored, "truncated": int(self.truncated.sum()),
            "protocol": self.protocol.id, "fingerprint": self.protocol.fingerprint, "seconds": self.seconds,
        }  # fmt: skip

    def as_score(
        self,
        subject: str,
        contestant_id: int | None = None,
        run_id: int | None = None,
        images: Sequence[tuple[str, int]] = (),
    ) -> Score:
        """The mean as a Score; unscored where no image was. With the images' sha256 and prompts' ids it keeps the
        value of each."""
        found = self.mean
        details = {
            "low": found.low, "high": found.high, "interval": "95%, Student's t over prompts", "n": found.n,
            "prompts": found.units, "unscored": self.unscored, "truncated": int(self.truncated.sum()),
            "weights_sha256": self.protocol.settings["weights_sha256"], "seconds": self.seconds,
        }  # fmt: skip
        return Score(
            subject, self.protocol.name, self.protocol, value=found.value, details=details,
            unscored=MISSING if found.value is None else None, contestant_id=contestant_id, run_id=run_id,
            images=tuple(self._of_images(images)),
        )  # fmt: skip

    def _of_images(self, images: Sequence[tuple[str, int]]) -> Iterator[ImageValue]:
        if not images:
            return
        for (sha256, prompt_id), value in zip(images, self.values.tolist(), strict=True):
            missing = np.isnan(value)
            yield ImageValue(sha256, prompt_id, None if missing else value, MISSING if missing else None)


@dataclass(frozen=True, slots=True)
class TextImageScore:
    """The evaluator: the name of a recipe, with settings that do not change a value by more than rounding.

    `weights` and `head`: the caller's choice of what the recipe names, a path or a repository of the hub; others than
    the recipe's give another fingerprint. `batch_size`: images of one forward pass.
    """

    name: str
    weights: Path | str | None = None
    head: Path | str | None = None
    batch_size: int = 32
    device: str = "cpu"
    progress: Progress = no_progress

    def score(self, prompts: Sequence[str], images: Iterable[NDArray[np.uint8] | None]) -> AlignmentResult:
        """Values of images (uint8 RGB, (h, w, 3), any sizes), each of the prompt in its place.

        An image of None is missing: its value is NaN, never 0. Images are taken as they come, a batch at a time.
        Raises UnknownName, UsageError (settings, unequal numbers), ImageError (what is no image), WeightsError and
        EnvironmentFault (the device, memory, features that are not finite: never a number then).
        """
        started = time.perf_counter()
        if self.name not in RECIPES:
            raise UnknownName("text-image score", self.name, RECIPES)
        if self.batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, got {self.batch_size}.")
        scorer = self._open(RECIPES[self.name])
        values, truncated = scorer.values(prompts, images, self.batch_size, self.progress)
        seconds = time.perf_counter() - started
        return AlignmentResult(values, truncated, tuple(prompts), scorer.protocol, seconds)

    def evaluate(self, prompt: Prompt, images: Sequence[NDArray[np.uint8]]) -> Score:
        """The mean over the images of one prompt. Raises what `score` raises."""
        return self.score([prompt.text] * len(images), images).as_score(prompt.text)

    def _open(self, recipe: Recipe) -> _Scorer:
        weights = find_weights(recipe.weights, self.weights)
        head = find_weights(recipe.head, self.head) if recipe.head else None
        return _opened(recipe, weights, head, self.device)


class _Scorer(NamedTuple):
    """A recipe with its networks on a device."""

    recipe: Recipe
    towers: OpenClip | TransformersClip
    head: nn.Module | None
    device: Any
    protocol: Protocol

    def values(
        self, prompts: Sequence[str], images: Iterable[NDArray[np.uint8] | None], batch_size: int, progress: Progress
    ) -> tuple[Floats, NDArray[np.bool_]]:
        from evaluators.alignment.towers import exact

        values = np.full(len(prompts), np.nan)
        with exact(self.device):
            texts, place, cut = self._texts(prompts, batch_size, progress)
            done = 0
            for numbers, batch in self._batches(len(prompts), images, batch_size):
                at = texts[place[numbers]] if texts is not None else None
                values[numbers] = self._values(self.towers.images(batch.to(self.device)), at)
                done = numbers[-1] + 1
                progress(f"{self.recipe.name} images", int(done), len(prompts))
        return values, cut

    def _texts(
        self, prompts: Sequence[str], batch_size: int, progress: Progress
    ) -> tuple[Tensor | None, NDArray[np.int64], NDArray[np.bool_]]:
        """Features of the distinct prompts, the place (n,) of each prompt among them, and which (n,) were cut."""
        import torch

        from evaluators.alignment.towers import tokens

        if not self.recipe.reads_text or not len(prompts):
            return None, np.zeros(len(prompts), np.int64), np.zeros(len(prompts), bool)
        number: dict[str, int] = {}
        place = np.array([number.setdefault(prompt, len(number)) for prompt in prompts], np.int64)
        ids, cut = tokens([self.recipe.prefix + prompt for prompt in number])
        parts = []
        for part in ids.split(batch_size):
            parts.append(self.towers.texts(part.to(self.device)))
            progress(f"{self.recipe.name} prompts", sum(map(len, parts)), len(number))
        return torch.cat(parts), place, cut[place]

    def _batches(
        self, n: int, images: Iterable[NDArray[np.uint8] | None], batch_size: int
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Numbers (b,) and pixels (b, 3, side, side) of the images that are there."""
        import torch

        from evaluators.alignment.towers import pixels

        there = _there(n, images)
        while batch := list(islice(there, batch_size)):
            numbers = np.array([number for number, _ in batch])
            yield numbers, torch.stack([pixels(image, self.towers.side, self.recipe.fit) for _, image in batch])

    def _values(self, images: Tensor, texts: Tensor | None) -> Floats:
        if self.head is not None:
            found = self.head(images)[:, 0].double().cpu().numpy()
        else:
            # Unit vectors in float32; their product is summed in float64.
            cosine = (images.double() * texts.double()).sum(1).cpu().numpy()
            found = FORMULAS[self.recipe.formula](cosine, self.towers.scale)
        if not np.isfinite(found).all():
            raise EnvironmentFault(f"{self.recipe.name} came out as NaN or infinite: run again with device cpu.")
        return found


def _there(n: int, images: Iterable[NDArray[np.uint8] | None]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The images that are there, with their numbers. Raises UsageError unless there are n places."""
    count = 0
    for count, image in enumerate(images, 1):
        if count > n:
            break
        if image is not None:
            yield count - 1, _checked(count - 1, image)
    if count != n:
        said = f"more than {n}" if count > n else str(count)
        raise UsageError(
            f"There are {said} images for {n} prompts; give each prompt its image, or None for a missing one."
        )


def _checked(number: int, image: Any) -> NDArray[np.uint8]:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(
            f"Image {number} is {image.dtype} {image.shape}: give uint8 RGB arrays (h, w, 3), values 0 to 255."
        )
    return image


@lru_cache(maxsize=1)
def _opened(recipe: Recipe, weights: Weights, head: Weights | None, device: str) -> _Scorer:
    """Kept until another is asked for: such networks take up to 4 GB, and seconds to load."""
    from evaluators.alignment import towers

    target = towers.device_of(device)
    loaded = towers.load(recipe, weights, target)
    aesthetic = towers.head(head, loaded.width, target) if head else None
    return _Scorer(recipe, loaded, aesthetic, target, protocol(recipe, loaded.side, weights, head))


def protocol(recipe: Recipe, side: int, weights: Weights, head: Weights | None = None) -> Protocol:
    """The recipe's name, version and every setting that changes the number, with the installed versions."""
    library = "transformers" if recipe.towers is Towers.TRANSFORMERS else "open-clip-torch"
    settings: dict[str, Any] = {
        "weights": recipe.weights,
        "weights_sha256": weights.sha256,
        "settings_sha256": weights.settings_sha256,
        "towers": recipe.towers.value,
        "architecture": recipe.architecture,
        "quick_gelu": recipe.quick_gelu,
        "decode": DECODING,
        "resize": {"to": [side, side], "fit": recipe.fit.value, "filter": "bicubic, Pillow, 8 bits"},
        "network_dtype": "float32",
        "tf32": False,
        "packages": {name: version(name) for name in sorted({library, "open-clip-torch", "torch", "pillow"})},
    }
    if head is None:
        tokenizer = "byte pairs of open_clip, lower case"
        settings["text"] = {"prefix": recipe.prefix, "tokens": CONTEXT, "end": "kept", "tokenizer": tokenizer}
        settings["formula"] = recipe.formula
    else:
        settings["head_sha256"] = head.sha256
    return Protocol(recipe.name, recipe.version, settings)


# What `evaluators.EVALUATORS` names: the constructor of each evaluator.


def clipscore_l14(**settings: Any) -> TextImageScore:
    return TextImageScore("clipscore-l14", **settings)


def clipscore_hessel(**settings: Any) -> TextImageScore:
    return TextImageScore("clipscore-hessel", **settings)


def pickscore(**settings: Any) -> TextImageScore:
    return TextImageScore("pickscore", **settings)


def hpsv2_1(**settings: Any) -> TextImageScore:
    return TextImageScore("hpsv2.1", **settings)


def aesthetic_laion(**settings: Any) -> TextImageScore:
    return TextImageScore("aesthetic-laion-v2", **settings)
