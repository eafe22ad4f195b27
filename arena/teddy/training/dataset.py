"""The training pictures: rendered once by all cores, then read as arrays.

Only scenes outside the held-out part of the grammar are drawn, see `scenes.is_held_out`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
from pathlib import Path
from typing import NamedTuple

import numpy as np

from arena.teddy.renderer import render
from arena.teddy.scenes import Scene, caption, parse, sample_scenes


class Pictures(NamedTuple):
    """Scenes and their pictures, uint8 RGB (n, 3, 64, 64)."""

    scenes: tuple[Scene, ...]
    images: np.ndarray


def load_or_draw(folder: Path, n: int, seed: int) -> Pictures:
    """The `n` training pictures of `seed`, read from `folder` if an earlier call with the same arguments left them."""
    stem = folder / f"pictures-{n}-{seed}"
    images, captions = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if not (images.exists() and captions.exists()):
        drawn = draw(sample_scenes(n, random.Random(seed), held_out=False), seed, os.cpu_count() or 1)
        write_atomically(captions, json.dumps([caption(scene) for scene in drawn.scenes]).encode())
        part = images.with_suffix(".part.npy")
        np.save(part, drawn.images)
        part.replace(images)
    return Pictures(tuple(map(parse, json.loads(captions.read_text()))), np.load(images, mmap_mode="r"))


def draw(scenes: tuple[Scene, ...], seed: int, processes: int = 1) -> Pictures:
    """A picture of each scene; picture i varies by (seed, i) alone, however many processes draw."""
    jobs = [(scene, f"{seed}/{i}") for i, scene in enumerate(scenes)]
    if processes == 1:
        return Pictures(scenes, np.stack([*map(_draw, jobs)]))
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return Pictures(scenes, np.stack([*pool.imap(_draw, jobs, chunksize=64)]))


def write_atomically(path: Path, data: bytes) -> None:
    """Writes beside `path` and renames, so that a reader never sees half a file."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


def _draw(job: tuple[Scene, str]) -> np.ndarray:
    scene, seed = job
    return np.asarray(render(scene, random.Random(seed))).transpose(2, 0, 1)
