"""Ready-made entries of well-known models: the settings their authors recommend, and what their model cards say.

Facts are from the model cards on the hub and the technical reports; no weights come with this package. Parameters are
those of the denoising network, in units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from arena.errors import UnknownName

HUB = "https://huggingface.co/"


@dataclass(frozen=True, slots=True)
class Preset:
    """A backend with settings, and the facts of the card."""

    settings: Mapping[str, Any]
    card: Mapping[str, Any]
    backend: str = "diffusers"
    running: Mapping[str, Any] = field(default_factory=dict)

    @property
    def everything(self) -> dict[str, Any]:
        return {**self.settings, **self.running}


def _card(
    organisation: str, licence: str, parameters: int, text_encoder: str, network: str, steps: int, url: str,
    space: str = "latent", open_weights: bool = True,
) -> Mapping[str, Any]:  # fmt: skip
    return MappingProxyType(
        {
            "organisation": organisation,
            "licence": licence,
            "parameters": parameters,
            "space": space,
            "text_encoder": text_encoder,
            "network": network,
            "steps": steps,
            "url": HUB + url,
            "open_weights": open_weights,
        }
    )


def _settings(model: str, steps: int, guidance: float, side: int = 1024, **more: Any) -> Mapping[str, Any]:
    named = {"model": model, "dtype": "bfloat16", "steps": steps, "guidance": guidance, "height": side, "width": side}
    return MappingProxyType({**named, **more})


_COMMUNITY = "Stability AI Community"
_RAIL = "CreativeML Open RAIL++-M"
_FLUX_NC = "FLUX Non-Commercial"
_LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct"
_OFFLOAD = MappingProxyType({"offload": "model"})

PRESETS: dict[str, Preset] = {
    "flux2-dev": Preset(
        _settings("black-forest-labs/FLUX.2-dev", 50, 4.0),
        _card("Black Forest Labs", _FLUX_NC, 32_000_000_000, "Mistral Small 3.2, 24B",
              "rectified-flow transformer, double and single streams", 50, "black-forest-labs/FLUX.2-dev"),
        running=_OFFLOAD,
    ),
    "flux2-klein": Preset(
        _settings("black-forest-labs/FLUX.2-klein-4B", 4, 1.0),
        _card("Black Forest Labs", "Apache-2.0", 4_000_000_000, "Qwen3, 4B",
              "rectified-flow transformer, double and single streams, step-distilled", 4,
              "black-forest-labs/FLUX.2-klein-4B"),
    ),
    "qwen-image": Preset(
        _settings("Qwen/Qwen-Image", 50, 4.0, side=1328, call={"negative_prompt": " "}),
        _card("Alibaba, Qwen", "Apache-2.0", 20_000_000_000, "Qwen2.5-VL, 7B", "multimodal diffusion transformer", 50,
              "Qwen/Qwen-Image"),
        running=_OFFLOAD,
    ),
    "hidream-i1": Preset(
        _settings("HiDream-ai/HiDream-I1-Full", 50, 5.0, parts={"tokenizer_4": _LLAMA, "text_encoder_4": _LLAMA}),
        _card("HiDream.ai", "MIT (Llama 3.1 Community for a text encoder)", 17_000_000_000,
              "CLIP-L, CLIP-G, T5-XXL and Llama 3.1 8B", "sparse diffusion transformer, mixture of experts", 50,
              "HiDream-ai/HiDream-I1-Full"),
        running=_OFFLOAD,
    ),
    "sd35-large": Preset(
        _settings("stabilityai/stable-diffusion-3.5-large", 28, 3.5),
        _card("Stability AI", _COMMUNITY, 8_100_000_000, "CLIP-L, CLIP-G and T5-XXL",
              "multimodal diffusion transformer", 28, "stabilityai/stable-diffusion-3.5-large"),
    ),
    "sdxl": Preset(
        _settings("stabilityai/stable-diffusion-xl-base-1.0", 50, 5.0, dtype="float16", variant="fp16"),
        _card("Stability AI", _RAIL, 2_600_000_000, "CLIP-L and CLIP-G", "convolutional U-Net with cross-attention", 50,
              "stabilityai/stable-diffusion-xl-base-1.0"),
    ),
    "sdxl-turbo": Preset(
        _settings("stabilityai/sdxl-turbo", 1, 0.0, side=512, dtype="float16", variant="fp16"),
        _card("Stability AI", _COMMUNITY, 2_600_000_000, "CLIP-L and CLIP-G",
              "convolutional U-Net with cross-attention, adversarially distilled", 1, "stabilityai/sdxl-turbo"),
    ),
    "pixart-sigma": Preset(
        # Left alone, the pipeline rewrites prompts where beautifulsoup4 happens to be installed.
        _settings("PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", 20, 4.5, dtype="float16", call={"clean_caption": False}),
        _card("PixArt-alpha", _RAIL, 600_000_000, "T5-XXL", "diffusion transformer with cross-attention", 20,
              "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS"),
    ),
    "z-image-turbo": Preset(
        _settings("Tongyi-MAI/Z-Image-Turbo", 9, 0.0),
        _card("Alibaba, Tongyi", "Apache-2.0", 6_000_000_000, "Qwen3, 4B",
              "single-stream diffusion transformer, step-distilled", 9, "Tongyi-MAI/Z-Image-Turbo"),
    ),
}  # fmt: skip
"""Name -> entry, for `arena contestants add --preset`."""


def preset(name: str) -> Preset:
    """Raises UnknownName with the known ones."""
    if name not in PRESETS:
        raise UnknownName("preset", name, PRESETS)
    return PRESETS[name]
