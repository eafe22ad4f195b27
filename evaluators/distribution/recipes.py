"""Every recipe as a literal table: FEATURES (images -> features) and METRICS (features -> one figure).

    image -> decode -> crop -> resize -> scale -> network -> features           a FeatureRecipe
    features of two sets -> distance -> value                                   a MetricRecipe

A recipe is data: it is read, hashed and listed without loading a network. Its id is name@version; what a recipe
means never changes under one id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from arena.domain import Protocol
from arena.errors import UnknownName

DEFAULT_METRIC = "fid-clean@1"


@dataclass(frozen=True, slots=True)
class FeatureRecipe:
    """From an image file to `dim` float32 numbers: every choice that changes them.

    network     key of networks.NETWORKS and of weights.SOURCES
    side        the network sees side x side pixels
    resize      key of preprocess.RESIZES
    scale       key of preprocess.SCALES: from [0, 255] to the network's range
    decode      key of images.DECODERS: from file to uint8 RGB
    crop        "none" (the whole image, squashed to a square) or "centre" (the largest square in its middle)
    precision   of the network: "float32", "bfloat16" or "float16"
    unit        features are divided by their Euclidean length
    """

    name: str
    version: str
    network: str
    dim: int
    side: int
    resize: str
    scale: str
    decode: str = "seen"
    crop: str = "none"
    precision: str = "float32"
    unit: bool = False

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class MetricRecipe:
    """A named distance of named features. `distance` is what computes it, `settings` its parameters.

    `same_as` names the tool and version whose number this is; empty where the recipe is the arena's own.
    """

    name: str
    version: str
    features: str
    distance: str
    title: str
    same_as: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", MappingProxyType(dict(self.settings)))

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}"

    def protocol(self, features: Protocol, **decided: Any) -> Protocol:
        """The protocol of the score: this distance of features made by that protocol.

        `decided` are settings of the distance that follow from what is compared, such as what the reference is.
        """
        return Protocol(
            self.name,
            self.version,
            {
                "features": {"protocol": features.id, **features.settings},
                "distance": {"name": self.distance, **self.settings, **decided},
            },
        )


_INCEPTION = "inception-2015-12-05"
_TENSORFLOW = "(x - 128) / 128"
_FEATURES = (
    FeatureRecipe("inception-clean", "1", _INCEPTION, 2048, 299, "bicubic-aa", _TENSORFLOW),
    FeatureRecipe("inception-clean-fid", "0.1", _INCEPTION, 2048, 299, "bicubic-aa", _TENSORFLOW, decode="pillow-rgb"),
    FeatureRecipe("inception-pytorch-fid", "0.3", _INCEPTION, 2048, 299, "bilinear", "2 x / 255 - 1", "pillow-rgb"),
    FeatureRecipe("inception-torch-fidelity", "0.4", _INCEPTION, 2048, 299, "bilinear-tf1", _TENSORFLOW, "pillow-rgb"),
    FeatureRecipe("inception-torchmetrics", "1.7", _INCEPTION, 2048, 299, "bilinear-tf1", _TENSORFLOW),
    FeatureRecipe("inception-torchmetrics", "1.8", _INCEPTION, 2048, 299, "bilinear-aa", _TENSORFLOW),
    FeatureRecipe("inception-clean-draft", "1", _INCEPTION, 2048, 299, "bicubic-aa", _TENSORFLOW, precision="bfloat16"),
    FeatureRecipe("inception-clean-half", "1", _INCEPTION, 2048, 299, "bicubic-aa", _TENSORFLOW, precision="float16"),
    FeatureRecipe(
        "clip-vit-l14-336", "1", "clip-vit-l14-336", 768, 336, "bicubic-pillow", "clip", crop="centre", unit=True
    ),
    FeatureRecipe("clip-vit-b32", "1", "clip-vit-b32", 512, 224, "bicubic-pillow-shortest", "clip"),
    FeatureRecipe("dinov2-vitl14", "1", "dinov2-vitl14", 1024, 224, "bicubic-pillow", "imagenet"),
    FeatureRecipe("efficientnet-lite0", "1", "efficientnet-lite0", 1280, 224, "bicubic-aa", "(x - 127) / 128"),
)
FEATURES: Mapping[str, FeatureRecipe] = MappingProxyType({recipe.id: recipe for recipe in _FEATURES})

_FRECHET = {"covariance": "n - 1", "dtype": "float64"}
_KID = {"kernel": "(x . y / d + 1)^3", "estimate": "U-statistic of all pairs", "dtype": "float64"}
_CMMD = {"kernel": "exp(-|x - y|^2 / (2 sigma^2))", "sigma": 10.0, "scale": 1000.0, "dtype": "float64"}
_METRICS = (
    MetricRecipe("fid-clean", "1", "inception-clean@1", "frechet", "FID", settings=_FRECHET),
    MetricRecipe(
        "fid-clean-fid", "0.1", "inception-clean-fid@0.1", "frechet", "FID as clean-fid", "clean-fid 0.1.35", _FRECHET
    ),
    MetricRecipe(
        "fid-pytorch", "0.3", "inception-pytorch-fid@0.3", "frechet", "FID as pytorch-fid", "pytorch-fid 0.3.0",
        _FRECHET,
    ),
    MetricRecipe(
        "fid-torch-fidelity", "0.4", "inception-torch-fidelity@0.4", "frechet", "FID as torch-fidelity",
        "torch-fidelity 0.4", _FRECHET,
    ),
    MetricRecipe(
        "fid-torchmetrics", "1.7", "inception-torchmetrics@1.7", "frechet", "FID as torchmetrics to 1.7",
        "torchmetrics 1.0 to 1.7", _FRECHET,
    ),
    MetricRecipe(
        "fid-torchmetrics", "1.8", "inception-torchmetrics@1.8", "frechet", "FID as torchmetrics from 1.8",
        "torchmetrics 1.8 and 1.9", _FRECHET,
    ),
    MetricRecipe(
        "fid-clean-draft", "1", "inception-clean-draft@1", "frechet", "FID, draft in bfloat16", settings=_FRECHET
    ),
    MetricRecipe(
        "fid-clean-half", "1", "inception-clean-half@1", "frechet", "FID, float16 on a GPU", settings=_FRECHET
    ),
    MetricRecipe("kid", "1", "inception-clean@1", "kid", "KID", settings=_KID),
    MetricRecipe(
        "cmmd-u", "1", "clip-vit-l14-336@1", "cmmd", "CMMD, unbiased", settings={**_CMMD, "estimate": "U-statistic"}
    ),
    MetricRecipe(
        "cmmd", "google", "clip-vit-l14-336@1", "cmmd", "CMMD as published", "google-research/cmmd",
        {**_CMMD, "estimate": "V-statistic"},
    ),
    MetricRecipe("fd-dinov2", "1", "dinov2-vitl14@1", "frechet", "FD of DINOv2 features", settings=_FRECHET),
    MetricRecipe("fd-clip", "1", "clip-vit-b32@1", "frechet", "FD of CLIP features", settings=_FRECHET),
    MetricRecipe(
        "fd-efficientnet-lite0", "1", "efficientnet-lite0@1", "frechet", "FD of EfficientNet-lite0 features",
        settings=_FRECHET,
    ),
    MetricRecipe(
        "prdc", "1", "inception-clean@1", "prdc", "Precision, recall, density, coverage",
        settings={"k": 5, "dtype": "float64"},
    ),
)  # fmt: skip
METRICS: Mapping[str, MetricRecipe] = MappingProxyType({recipe.id: recipe for recipe in _METRICS})


def feature_recipe(name: str) -> FeatureRecipe:
    """By id. Raises UnknownName."""
    if name not in FEATURES:
        raise UnknownName("feature recipe", name, FEATURES)
    return FEATURES[name]


def metric_recipe(name: str) -> MetricRecipe:
    """By id, or by a name that has one version only. Raises UnknownName."""
    found = [recipe for recipe in _METRICS if name in (recipe.id, recipe.name)]
    if len(found) != 1:
        raise UnknownName("metric", name, METRICS)
    return found[0]
