"""uint8 RGB images -> the network's input, exactly as each tool does it.

A tool's recipe is a crop, a resize and a scale. Resizes take float32 (b, 3, h, w) in [0, 255] and return float32
(b, 3, side, side); they run on the device of their input, image by image or in batches, with the same result.
Pillow's resize rounds to 8 bits and runs on the CPU alone. Arithmetic is float32 throughout.
This module imports torch, so import it late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from evaluators.distribution.recipes import FeatureRecipe

# A resize in float32 takes 12 bytes a pixel: above this many pixels the channels go one at a time.
PIXELS_AT_ONCE = 2**24


def prepare(images: Tensor, recipe: FeatureRecipe) -> Tensor:
    """uint8 (b, h, w, 3) -> float32 (b, 3, side, side) on the same device, in the network's range."""
    cropped = crop(images, recipe.crop)
    if recipe.resize in PILLOW_RESIZES:
        resize = PILLOW_RESIZES[recipe.resize]
        resized = torch.from_numpy(np.stack([resize(image.numpy(), recipe.side) for image in cropped]))
        return SCALES[recipe.scale](resized.permute(0, 3, 1, 2).float())
    return SCALES[recipe.scale](_channels_apart(RESIZES[recipe.resize], cropped.permute(0, 3, 1, 2), recipe.side))


def crop(images: Tensor, kind: str) -> Tensor:
    """(b, h, w, 3) -> a view of the largest square in the middle ("centre"), or all of it ("none").

    An odd pixel too many is left at the right or the bottom, as in google-research/cmmd.
    """
    if kind == "none":
        return images
    height, width = images.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, top : top + side, left : left + side]


def bicubic_antialiased(x: Tensor, side: int) -> Tensor:
    """clean-fid's "clean": Pillow's bicubic (a = -0.5) on float channels, clamped to [0, 255], not rounded.

    torch has the same coefficients in float32, Pillow in float64: they differ by 0.0002 of 255 in the mean.
    """
    resized = interpolate(x, size=(side, side), mode="bicubic", align_corners=False, antialias=True)
    return resized.clamp_(0, 255)


def bilinear(x: Tensor, side: int) -> Tensor:
    """pytorch-fid: half-pixel centres, four neighbours however large the image (so it aliases)."""
    return interpolate(x, size=(side, side), mode="bilinear", align_corners=False)


def bilinear_antialiased(x: Tensor, side: int) -> Tensor:
    """torchmetrics from 1.8."""
    return interpolate(x, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


def bilinear_tensorflow_1(x: Tensor, side: int) -> Tensor:
    """torch-fidelity, torchmetrics to 1.7, and the first FID: TensorFlow 1's resize_bilinear.

    Output pixel i reads at i * in / out, without the half-pixel shift: the picture moves towards its lower right.
    """
    row, next_row, down = _tensorflow_1_grid(x, x.shape[2], side)
    column, next_column, right = _tensorflow_1_grid(x, x.shape[3], side)
    upper, lower = x[:, :, row], x[:, :, next_row]
    top = upper[..., column] + (upper[..., next_column] - upper[..., column]) * right
    bottom = lower[..., column] + (lower[..., next_column] - lower[..., column]) * right
    return top + (bottom - top) * down[:, None]


def _tensorflow_1_grid(x: Tensor, length: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each output position: the input position below it, the next one, and the fraction between, float32."""
    position = torch.arange(side, dtype=torch.float32, device=x.device) * torch.tensor(length / side)
    below = position.long()
    return below, (below + 1).clamp_max(length - 1), position - below


def bicubic_pillow(image: np.ndarray, side: int) -> np.ndarray:
    """dgm-eval and CMMD: uint8 (h, w, 3) -> uint8 (side, side, 3), squashed, antialiased, rounded twice on the way."""
    resized = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(resized)


def bicubic_pillow_shortest(image: np.ndarray, side: int) -> np.ndarray:
    """clean-fid's CLIP: uint8 (h, w, 3) -> the shorter edge to `side`, then the middle, uint8 (side, side, 3)."""
    height, width = image.shape[:2]
    short = min(height, width)
    size = (side * width // short, side * height // short)
    resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    left, top = (round((length - side) / 2) for length in size)
    return resized[top : top + side, left : left + side]


RESIZES: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "bicubic-aa": bicubic_antialiased,
    "bilinear": bilinear,
    "bilinear-aa": bilinear_antialiased,
    "bilinear-tf1": bilinear_tensorflow_1,
}
PILLOW_RESIZES: Mapping[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "bicubic-pillow": bicubic_pillow,
    "bicubic-pillow-shortest": bicubic_pillow_shortest,
}


def _normalised(mean: tuple[float, float, float], deviation: tuple[float, float, float]) -> Callable[[Tensor], Tensor]:
    def scale(x: Tensor) -> Tensor:
        return (x / 255 - x.new_tensor(mean)[:, None, None]) / x.new_tensor(deviation)[:, None, None]

    return scale


SCALES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "(x - 128) / 128": lambda x: (x - 128) / 128,
    "(x - 127) / 128": lambda x: (x - 127) / 128,
    "2 x / 255 - 1": lambda x: 2 * (x / 255) - 1,
    "clip": _normalised((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "imagenet": _normalised((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def _channels_apart(resize: Callable[[Tensor, int], Tensor], pixels: Tensor, side: int) -> Tensor:
    """A resize treats each channel alone, so a huge image needs only one of them as float32 at a time."""
    if pixels[:, 0].numel() <= PIXELS_AT_ONCE:
        return resize(_planes(pixels), side)
    return torch.cat([resize(_planes(pixels[:, c : c + 1]), side) for c in range(3)], dim=1)


def _planes(pixels: Tensor) -> Tensor:
    """As float32, a plane for each channel: other layouts take other kernels, with other rounding."""
    return pixels.to(torch.float32, memory_format=torch.contiguous_format)
