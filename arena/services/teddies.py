"""The embedded world enters the arena: its contestants, its prompts, and its real images."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from arena.backends.weights import PACKAGE_SCHEME, folder_sha256
from arena.domain import Contestant, Prompt
from arena.errors import EnvironmentFault, UsageError
from arena.teddy.contestants import TEDDIES
from arena.teddy.renderer import render
from arena.teddy.scenes import Scene, embedded_prompts, parse, sample_scene

if TYPE_CHECKING:
    from PIL.Image import Image

    from arena.bootstrap import Arena

SOURCE = "teddies"


def teddy_contestants() -> list[Contestant]:
    """The embedded contestants: real pipelines in the hub's format, shipped inside the package."""
    return [
        Contestant(
            teddy.name,
            "diffusers",
            {
                "model": f"{PACKAGE_SCHEME}arena.teddy/weights/{teddy.weights.name}",
                "weights_sha256": folder_sha256(teddy.weights),
                "height": teddy.size,
                "width": teddy.size,
                "call": dict(teddy.call),
            },
            asdict(teddy.card),
        )
        for teddy in TEDDIES
    ]


def register(arena: Arena) -> list[str]:
    """Add the embedded contestants and prompts, those that are new; returns a sentence per contestant kept out."""
    arena.store.add_prompts(Prompt(text, category, tuple(tags), SOURCE) for text, category, tags in embedded_prompts())
    refused = []
    for contestant in teddy_contestants():
        try:
            arena.store.add_contestant(contestant)
        except UsageError as error:
            refused.append(str(error))
    return refused


def scenes_of(prompts: Sequence[Prompt]) -> list[Scene]:
    """The scenes that teddy captions describe, in order; other prompts are left out."""
    scenes = []
    for prompt in prompts:
        try:
            scenes.append(parse(prompt.text))
        except ValueError:
            continue
    return scenes


def rendered(scenes: Sequence[Scene], n: int, seed: int) -> Iterator[Image]:
    """n real images: the scenes in turn, each time drawn a little differently. Same seed, same images."""
    rng = random.Random(seed)
    for index in range(n):
        yield render(scenes[index % len(scenes)], rng)


def write_rendered(folder: Path, n: int, seed: int) -> None:
    """Write n rendered random scenes as PNG; raises EnvironmentFault when the folder cannot be written."""
    rng = random.Random(seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(n):
            render(sample_scene(rng), rng).save(folder / f"teddy-{seed}-{index:05d}.png")
    except OSError as error:
        raise EnvironmentFault(f"The folder {str(folder)!r} cannot be written ({error.strerror}).") from error
