"""A small arena for tests: rendered teddies, made worse for each contestant in its own way. No torch."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageEnhance, ImageFilter

from arena.bootstrap import Arena, open_arena
from arena.domain import Contestant, Generation, ImageRef, Prompt
from arena.settings import load_settings
from arena.teddy.renderer import render
from arena.teddy.scenes import caption, sample_scenes

Damage = Callable[[Image.Image], Image.Image]

CONTESTANTS: dict[str, Damage] = {
    "Zebulon Prime": lambda image: image,
    "Quagga Turbo": lambda image: image.filter(ImageFilter.GaussianBlur(1.2)),
    "Okapi Classic": lambda image: ImageEnhance.Color(image).enhance(0.25),
    "Tapir Mini": lambda image: image.resize((12, 12)).resize(image.size),
}


def seed_arena(data_dir: Path, prompts: int = 12) -> Arena:
    """A prepared arena with four contestants and one picture of each for every prompt."""
    arena = open_arena(load_settings(data_dir=data_dir), prepare=True)
    scenes = sample_scenes(prompts, random.Random(7), held_out=False)
    stored = arena.store.add_prompts(Prompt(caption(scene), "teddies", (), "test") for scene in scenes)
    for name, damage in CONTESTANTS.items():
        contestant = arena.store.add_contestant(Contestant(name, "folder", {"folder": f"secret-{name}"}))
        arena.store.add_generations(
            Generation(contestant.id or 0, prompt.id or 0, 1, put(arena, damage(render(scene, random.Random(3)))), 0.8)
            for prompt, scene in zip(stored, scenes, strict=True)
        )
    return arena


def put(arena: Arena, image: Image.Image) -> ImageRef:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return ImageRef(arena.blobs.put(buffer.getvalue()), *image.size)
