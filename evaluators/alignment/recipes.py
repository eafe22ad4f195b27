"""What each score is made of, as data: a row here is all that tells one score from another.

    clipscore-l14      100 max(cos, 0) of CLIP ViT-L/14, torchmetrics' default model and scale, clamped image by image
    clipscore-hessel   2.5 max(cos, 0) of CLIP ViT-B/32 with its prefix: J. Hessel and others, CLIPScore (EMNLP 2021,
                       arXiv:2104.08718), eq. 1; about 0 to 1
    pickscore          the logit of Y. Kirstain and others, Pick-a-Pic (arXiv:2305.01569), eq. 1: exp(logit scale) cos,
                       natural logarithm of odds between two images of one prompt
    hpsv2.1            cos of X. Wu and others, Human Preference Score v2 (arXiv:2306.09341), weights of version 2.1
    aesthetic-laion-v2 LAION's aesthetic predictor 2 (sac+logos+ava1-l14-linearMSE), 1 to 10; looks at the image alone

Only images of one prompt can be compared by pickscore and hpsv2.1: their texts shift all values together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluators import weights as pretrained
from evaluators.weights import Source, Weights

Floats = NDArray[np.float64]
CONTEXT = 77
"""Tokens a text may have, its two ends included."""


class Towers(StrEnum):
    """How the two networks are kept, and so which library reads them."""

    OPEN_CLIP_FOLDER = "open_clip folder"
    OPEN_CLIP_CHECKPOINT = "open_clip checkpoint"
    TRANSFORMERS = "transformers folder"


class Fit(StrEnum):
    """How an image becomes square: its middle is cut out, or black is added on both sides."""

    CROP = "crop"
    PAD = "pad"


FORMULAS: Mapping[str, Callable[[Floats, float], Floats]] = {
    "100 max(cos, 0)": lambda cosine, _: 100 * np.maximum(cosine, 0),
    "2.5 max(cos, 0)": lambda cosine, _: 2.5 * np.maximum(cosine, 0),
    "exp(logit scale) cos": lambda cosine, scale: scale * cosine,
    "cos": lambda cosine, _: cosine,
}
"""From cosines (n,) and exp(logit scale) to values (n,)."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One score. `weights` and `head` name rows of `SOURCES`; a recipe with a head has no text and no formula.

    `architecture` is open_clip's name of what a bare checkpoint belongs to; `quick_gelu` is the activation that
    OpenAI's weights need.
    """

    name: str
    version: str
    title: str
    weights: str
    towers: Towers
    formula: str = ""
    head: str = ""
    prefix: str = ""
    fit: Fit = Fit.CROP
    architecture: str = ""
    quick_gelu: bool = False

    def __post_init__(self) -> None:
        if bool(self.formula) == bool(self.head) or (self.formula and self.formula not in FORMULAS):
            raise ValueError(f"a Recipe has a formula of {', '.join(FORMULAS)} or a head, got {self.formula!r}")

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def reads_text(self) -> bool:
        return not self.head


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "clipscore-l14", "1", "CLIPScore, ViT-L/14", "clip-vit-l14", Towers.OPEN_CLIP_FOLDER, "100 max(cos, 0)",
            quick_gelu=True,
        ),
        Recipe(
            "clipscore-hessel", "1", "CLIPScore as published", "clip-vit-b32", Towers.OPEN_CLIP_FOLDER,
            "2.5 max(cos, 0)", prefix="A photo depicts ", quick_gelu=True,
        ),
        Recipe("pickscore", "1", "PickScore", "pickscore", Towers.TRANSFORMERS, "exp(logit scale) cos"),
        Recipe(
            "hpsv2.1", "1", "HPS v2.1", "hpsv2.1", Towers.OPEN_CLIP_CHECKPOINT, "cos", fit=Fit.PAD,
            architecture="ViT-H-14",
        ),
        Recipe(
            "aesthetic-laion-v2", "1", "LAION's aesthetic score", "clip-vit-l14", Towers.OPEN_CLIP_FOLDER,
            head="aesthetic-laion-v2", quick_gelu=True,
        ),
    )
}  # fmt: skip

OPEN_CLIP_FILES = ("open_clip_config.json", "open_clip_model.safetensors")


def _from_hub(title: str, repository: str, *files: str) -> Source:
    remedy = f"run `hf download {repository}` where the hub can be reached, or give the path of a copy"
    return Source(title, remedy, repository=repository, files=files)


SOURCES: Mapping[str, Source] = {
    "clip-vit-l14": _from_hub("CLIP ViT-L/14", "timm/vit_large_patch14_clip_224.openai", *OPEN_CLIP_FILES),
    "clip-vit-b32": _from_hub("CLIP ViT-B/32", "timm/vit_base_patch32_clip_224.openai", *OPEN_CLIP_FILES),
    "pickscore": _from_hub("PickScore", "yuvalkirstain/PickScore_v1", "config.json", "model.safetensors"),
    "hpsv2.1": _from_hub("HPSv2.1", "xswu/HPSv2", "HPS_v2.1_compressed.pt"),
    "aesthetic-laion-v2": _from_hub(
        "LAION's aesthetic head", "trl-lib/ddpo-aesthetic-predictor", "aesthetic-model.pth"
    ),
}  # fmt: skip
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def find_weights(
    name: str, chosen: Path | str | None = None, sources: Mapping[str, Source] = SOURCES, *, download: bool = True
) -> Weights:
    """The weights of a row of `SOURCES`, or those that the caller chose: a folder, a file, or a repository of the hub.

    `download` False takes what is on this machine.

    Raises WeightsError, with what to do, where they are not found or damaged.
    """
    source = sources[name]
    if chosen is not None and Path(chosen).is_file():
        source, chosen = replace(source, files=(Path(chosen).name,)), Path(chosen).parent
    elif isinstance(chosen, str) and HUB_ID.fullmatch(chosen) and not Path(chosen).exists():
        source, chosen = replace(source, repository=chosen, remedy=f"look whether {chosen} is on the hub"), None
    found = pretrained.find(name, chosen, sources={name: source}, download=download)
    return replace(found, path=found.path / source.files[0]) if len(source.files) == 1 else found
