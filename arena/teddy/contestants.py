"""The embedded contestants: a weights folder and frozen settings each, in one literal table. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

WEIGHTS = Path(__file__).parent / "weights"
SIZE = 64


@dataclass(frozen=True)
class Card:
    """What a model card would say."""

    space: str
    network: str
    text_encoder: str
    sampler: str
    parameters: int
    licence: str = "Apache-2.0"


@dataclass(frozen=True)
class TeddyContestant:
    """Weights in the hub's format and the keyword arguments its pipeline is always called with."""

    slug: str
    name: str
    weights: Path
    call: Mapping[str, Any]
    card: Card
    size: int = SIZE

    @property
    def steps(self) -> int:
        return self.call["num_inference_steps"]

    @property
    def guidance(self) -> float:
        return self.call["guidance_scale"]


def _settings(**call: Any) -> Mapping[str, Any]:
    return MappingProxyType(call)


_PIXART = {"use_resolution_binning": False, "clean_caption": False, "max_sequence_length": 32}
_FLOW = "rectified-flow transformer (PixArt-Sigma architecture)"
_TEXT = "T5 encoder, 2 layers of 128, 61 words"

TEDDIES: tuple[TeddyContestant, ...] = (
    TeddyContestant(
        slug="teddy-flow-24",
        name="Teddy Flow 24",
        weights=WEIGHTS / "flow",
        call=_settings(num_inference_steps=24, guidance_scale=2.0, **_PIXART),
        card=Card("latent 16x16x4", _FLOW, _TEXT, "DPM-Solver++ of order 2", 2_584_272),
    ),
    TeddyContestant(
        slug="teddy-flow-2",
        name="Teddy Flow 2",
        weights=WEIGHTS / "flow",
        call=_settings(num_inference_steps=2, guidance_scale=1.5, **_PIXART),
        card=Card("latent 16x16x4", _FLOW, _TEXT, "DPM-Solver++ of order 2", 2_584_272),
    ),
    TeddyContestant(
        slug="teddy-turbo",
        name="Teddy Turbo",
        weights=WEIGHTS / "turbo",
        call=_settings(num_inference_steps=4, guidance_scale=1.0, **_PIXART),
        card=Card("latent 16x16x4", _FLOW + ", distilled", _TEXT, "Euler", 2_584_272),
    ),
    TeddyContestant(
        slug="teddy-unet",
        name="Teddy U-Net",
        weights=WEIGHTS / "unet",
        call=_settings(num_inference_steps=20, guidance_scale=2.0, clean_caption=False),
        card=Card("pixels 64x64x3", "convolutional U-Net with cross-attention", _TEXT, "DDIM", 2_784_758),
    ),
)
"""Every embedded contestant; `weights` loads with `DiffusionPipeline.from_pretrained(weights)`."""
