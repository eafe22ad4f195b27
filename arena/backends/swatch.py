"""A backend without a model: a card in colours drawn from the prompt and the seed.

It checks an installation, fills an arena in tests, and fails on demand.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

from PIL import Image, ImageDraw

from arena.errors import GenerationError


class SwatchBackend:
    RUNNING = frozenset({"pause"})
    here = True

    def __init__(self, size: int = 64, tint: str = "", fails_on: str = "", pause: float = 0.0):
        """`size` in pixels; `tint` makes two contestants differ; prompts that contain `fails_on` raise.

        `pause` is how many seconds each image takes, to see a progress bar or to stop in the middle.
        """
        self.size, self.tint, self.fails_on, self.pause = size, tint, fails_on, pause

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
        return [self._card(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]

    def _card(self, prompt: str, seed: int) -> Image.Image:
        if self.fails_on and self.fails_on in prompt:
            raise GenerationError(f"the swatch refuses prompts with {self.fails_on!r}")
        time.sleep(self.pause)
        ink = hashlib.sha256(f"{self.tint}|{prompt}|{seed}".encode()).digest()
        card = Image.new("RGB", (self.size, self.size), tuple(ink[:3]))
        box = [self.size // 4, self.size // 4, self.size * 3 // 4, self.size * 3 // 4]
        ImageDraw.Draw(card).ellipse(box, fill=tuple(ink[3:6]))
        return card
