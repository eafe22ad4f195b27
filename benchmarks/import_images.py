"""What it takes to import images: the first time, and the same again; a peer in the same run is a plain copy.

    python benchmarks/import_images.py                  10,000 images of 512 x 512
    python benchmarks/import_images.py --n 200          a quick look
    python benchmarks/import_images.py --rows 1000000   a manifest of so many rows whose last one is wrong: only memory

Each command is a process of its own; memory is the most that it held at once, as the system counts it. The images are
smooth fields with some noise, so that they take as many bytes as photographs in PNG do (about half a megabyte).
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

VARIANTS = 50
"""So many fields are drawn; each image adds a patch of its own, so that no two have the same bytes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rows", type=int, help="Instead: a manifest of so many rows.")
    parser.add_argument("--folder", type=Path, help="Where to work; by default a temporary folder.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        work = Path(name)
        arena(work, "init", empty=True)
        if options.rows:
            refuse_rows(work, options.rows)
        else:
            compare(work, options.n, options.size)


def compare(work: Path, n: int, size: int) -> None:
    """Print the import, the same again, and a plain copy of the files."""
    draw(work / "pictures", n, size)
    total = sum(file.stat().st_size for file in (work / "pictures").glob("*.png"))
    print(f"{n:,} images of {size} x {size}, {total / n / 1e3:.0f} kB each, {os.cpu_count()} cores")
    print(f"{'':24}{'seconds':>9}{'images/s':>10}{'peak MB':>9}")
    started = time.perf_counter()
    shutil.copytree(work / "pictures", work / "copies")
    os.sync()
    copied = said("copy of the files", n, time.perf_counter() - started)
    words = ["images", "import", str(work / "pictures"), "--as", "Imported"]
    first = said("arena images import", n, *arena(work, *words))
    again = said("the same again", n, *arena(work, *words))
    said("the same with --check", n, *arena(work, *words, "--check"))
    print(f"import / copy {first / copied:.1f}, again / import {again / first:.3f}")


def refuse_rows(work: Path, rows: int) -> None:
    """Print what the check of a long manifest takes, whose last row repeats the first."""
    (work / "pictures").mkdir()
    with (work / "pictures" / "manifest.csv").open("w") as file:
        file.write("path,prompt,seed\n")
        file.writelines(f"{row}.png,a bear with the number {row // 4},{row % 4}\n" for row in range(rows - 1))
        file.write("again.png,a bear with the number 0,0\n")
    print(f"{'':24}{'seconds':>9}{'rows/s':>10}{'peak MB':>9}")
    words = ["images", "import", str(work / "pictures"), "--as", "Imported"]
    said(f"{rows:,} rows, refused", rows, *arena(work, *words, expected=1))
    words = ["prompts", "import", str(work / "pictures" / "manifest.csv"), "--ignore", "path", "--ignore", "seed"]
    said(f"{rows:,} rows of prompts", rows, *arena(work, *words))


def said(what: str, n: int, seconds: float, peak: float | None = None) -> float:
    print(f"{what:24}{seconds:9.2f}{n / seconds:10,.0f}{'' if peak is None else f'{peak:9.0f}'}", flush=True)
    return seconds


def arena(work: Path, *words: str, expected: int = 0, empty: bool = False) -> tuple[float, float]:
    """Run a command in a process of its own: seconds, and the most memory it held in MB."""
    program = [sys.executable, "-m", "arena.cli", *words]
    if empty:
        prepare = "from arena.bootstrap import open_arena; open_arena(prepare=True)"
        program = [sys.executable, "-c", prepare]
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        out = os.open(work / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.environ["ARENA_DATA_DIR"] = str(work / "data")
        os.execv(sys.executable, program)
    _, status, used = os.wait4(child, 0)
    seconds = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status) != expected:
        raise SystemExit((work / "said.txt").read_text())
    return seconds, peak_megabytes(used)


def peak_megabytes(used: resource.struct_rusage) -> float:
    """Of a process; macOS counts bytes, Linux kilobytes."""
    return used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def draw(folder: Path, n: int, size: int) -> None:
    """The images, with their manifest: four seeds for each prompt."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    fields = [field(rng, size) for _ in range(min(VARIANTS, n))]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda k: one(folder / f"{k}.png", fields[k % len(fields)], k), range(n)))
    with (folder / "manifest.csv").open("w") as file:
        file.write("path,prompt,seed\n")
        file.writelines(f"{k}.png,a bear with the number {k // 4},{k % 4}\n" for k in range(n))


def field(rng: np.random.Generator, size: int) -> np.ndarray:
    """uint8 RGB (size, size, 3)."""
    coarse = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)).astype(np.int16)
    return (smooth + rng.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8)


def one(file: Path, pixels: np.ndarray, k: int) -> None:
    own = pixels.copy()
    own[:4, :4] = np.frombuffer(k.to_bytes(4, "big") * 12, np.uint8).reshape(4, 4, 3)
    Image.fromarray(own).save(file, "PNG", compress_level=1)


if __name__ == "__main__":
    main()
