"""Real image files on disk; small, seeded, and with enough structure for Inception to tell the sets apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def blocks(seed: int, count: int, size: tuple[int, int] = (48, 48), top: int = 256) -> list[np.ndarray]:
    """Images of 8-pixel colour blocks, uint8 (h, w, 3), values below `top`."""
    height, width = size
    cells = np.random.default_rng(seed).integers(0, top, (count, height // 8, width // 8, 3), dtype=np.uint8)
    return list(cells.repeat(8, axis=1).repeat(8, axis=2))


def write_pngs(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:04d}.png")
    return folder


@pytest.fixture(scope="session")
def weights_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of ported weights for the session: porting takes a second or two."""
    return tmp_path_factory.mktemp("weights")
