"""Does the memory of `arena export` and `arena import` depend on the number of images? `make bench-export` prints it.

Arenas of growing size are filled with images of noise of 1 MB each, which no compression makes smaller; each command
runs in a process of its own. The memory of the images alone stands beside.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from arena.bootstrap import open_arena
from arena.domain import Contestant, Generation, ImageRef, Prompt
from arena.settings import load_settings

SIDE = 577
"""A square of RGB noise of this side is 1 MB as PNG."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 400, 1_600])
    options = parser.parse_args()
    print("| images | MB of images | export: s | peak MB | import: s | peak MB |\n|--:|--:|--:|--:|--:|--:|")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as scratch:
            megabytes = fill(Path(scratch) / "first", size)
            out = str(Path(scratch) / "out")
            figures = [
                *measured("export", out, "--data-dir", str(Path(scratch) / "first")),
                *measured("import", out, "--data-dir", str(Path(scratch) / "second")),
            ]
            print(
                "| {:,} | {:,.0f} | {:.1f} | {:.0f} | {:.1f} | {:.0f} |".format(size, megabytes, *figures), flush=True
            )


def fill(data: Path, size: int) -> float:
    """An arena of two contestants with so many images in all; returns their MB."""
    import numpy as np
    from PIL import Image

    from arena.services.generation import png_bytes

    arena = open_arena(load_settings(data_dir=data), prepare=True)
    contestants = [arena.store.add_contestant(Contestant(name, "swatch", {"tint": name})) for name in "AB"]
    prompts = arena.store.add_prompts(Prompt(f"noise {n}") for n in range(size // 2))
    rng, total = np.random.default_rng(0), 0
    for prompt in prompts:
        for contestant in contestants:
            content = png_bytes(Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)))
            total += len(content)
            image = ImageRef(arena.blobs.put(content), SIDE, SIDE)
            arena.store.add_generations([Generation(contestant.id or 0, prompt.id or 0, 0, image)])
    return total / 1e6


def measured(*words: str) -> tuple[float, float]:
    """Wall seconds and peak MB (1e6 bytes) of an `arena` command."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "arena.cli", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"arena {words[0]} failed with status {status}")
    return time.perf_counter() - started, usage.ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
