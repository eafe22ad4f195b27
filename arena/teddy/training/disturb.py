"""What makes a picture worse without changing what it shows: blur, noise, ragged edges, and words written over it.

The level of a disturbance is known, so that visual quality can be learned: 0 is as drawn, 4 is hardly readable.
"""

from __future__ import annotations

import random

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

LEVELS = 5
KINDS = 3


def with_quality(images: Tensor, levels: Tensor, rng: torch.Generator) -> Tensor:
    """float32 RGB [-1, 1] (n, 3, h, w), each disturbed as its level says (int64 (n,), 0 to 4), and all recoloured."""
    n = len(images)
    strength = torch.where(levels > 0, (levels - 0.6 * torch.rand(n, generator=rng)) / (LEVELS - 1), 0.0)
    kind = torch.randint(KINDS, (n,), generator=rng)
    images = blurred(images, 2.2 * strength * (kind == 0))
    images = ragged(images, 4.5 * strength * (kind == 2), rng)
    sigma = 0.02 * torch.rand(n, generator=rng) + 0.5 * strength * (kind == 1)
    images = images + sigma[:, None, None, None] * torch.randn(images.shape, generator=rng)
    contrast = 1 + 0.2 * (torch.rand((n, 1, 1, 1), generator=rng) - 0.5)
    shift = 0.1 * (torch.rand((n, 3, 1, 1), generator=rng) - 0.5)
    return (images * contrast + shift).clamp(-1, 1)


def blurred(images: Tensor, sigma: Tensor, radius: int = 5) -> Tensor:
    """A Gaussian blur with a deviation in pixels for each picture, (n,); 0 leaves it as it is."""
    n, channels = images.shape[:2]
    offsets = torch.arange(-radius, radius + 1).float()
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]
    padded = F.pad(images, (radius,) * 4, mode="replicate").flatten(0, 1)[None]
    rows = F.conv2d(padded, kernel[:, :, None, :], groups=n * channels)
    return F.conv2d(rows, kernel[:, :, :, None], groups=n * channels).view_as(images)


def ragged(images: Tensor, pixels: Tensor, rng: torch.Generator) -> Tensor:
    """Moves every point by a smooth random field of a deviation in pixels, (n,)."""
    n, _, height, width = images.shape
    field = F.interpolate(torch.randn((n, 2, 16, 16), generator=rng), (height, width), mode="bilinear")
    moved = field * (pixels[:, None, None, None] / torch.tensor([width, height])[:, None, None])
    straight = F.affine_grid(torch.eye(2, 3).expand(n, 2, 3), images.shape, align_corners=False)
    return F.grid_sample(images, straight + moved.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)


def written_over(image: np.ndarray, text: str, rng: random.Random) -> np.ndarray:
    """uint8 RGB (3, h, w) with the text on it in small letters, on a band or bare, broken into lines."""
    canvas = Image.fromarray(image.transpose(1, 2, 0))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=rng.choice((6, 7, 8, 9, 10)))
    ink, paper = rng.choice(
        (((0, 0, 0), (255, 255, 255)), ((255, 255, 255), (0, 0, 0)), ((200, 0, 0), (255, 255, 210)))
    )
    lines = "\n".join(_lines(text, rng.randint(10, 18)))
    place = (rng.uniform(0, 8), rng.uniform(0, canvas.height - 8))
    if rng.random() < 0.5:
        draw.rectangle(draw.multiline_textbbox(place, lines, font=font, spacing=1), paper)
    draw.multiline_text(place, lines, ink, font=font, spacing=1)
    return np.asarray(canvas).transpose(2, 0, 1)


def _lines(text: str, width: int) -> list[str]:
    return [text[start : start + width] for start in range(0, min(len(text), 3 * width), width)]
