"""Does the memory of `arena stats` depend on the number of images? `make bench-memory` prints the table.

Folders of growing size are made from 64 drawn pictures, each file a copy, and `arena stats FOLDER` runs in a process of
its own, network included. A picture that has been seen before comes from the feature cache, so the network runs 64
times and 50,000 images take a minute; what is read, kept and added up is the same as for 50,000 different ones.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PICTURES = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 5_000, 50_000])
    options = parser.parse_args()
    print("| images | seconds | peak memory |\n|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as scratch:
        pictures = Path(scratch) / "pictures"
        command = [sys.executable, "-m", "arena.cli", "teddies", str(pictures), "--n", str(PICTURES)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for size in options.sizes:
            print("| {:,} | {:.0f} | {:.0f} MB |".format(size, *measured(Path(scratch), pictures, size)), flush=True)


def measured(scratch: Path, pictures: Path, size: int) -> tuple[float, float]:
    """Wall seconds and peak MB (1e6 bytes) of `arena stats` on so many files, with an empty cache."""
    folder = scratch / f"{size}"
    folder.mkdir()
    sources = sorted(pictures.iterdir())
    for number in range(size):
        os.link(sources[number % PICTURES], folder / f"{number:06d}.png")
    data = scratch / f"data-{size}"
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "arena.cli", "stats", "make", str(folder), "-o", str(scratch / "out.npz")],
        env={**os.environ, "ARENA_DATA_DIR": str(data)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"arena stats failed with status {status}")
    seconds = time.perf_counter() - started
    shutil.rmtree(folder)
    return seconds, usage.ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
