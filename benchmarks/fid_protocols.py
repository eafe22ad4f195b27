"""How far apart are the protocols of FID on the same images? `make bench-fid-protocols` prints the table.

Two sets of 32 drawn pictures (those of benchmarks/fid.py) of each size are scored by every protocol, and the
second set once more as JPEG files of quality 75. The distances themselves say little at so few images; what counts
is how much one and the same pair of folders differs from column to column.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from fid import draw_sets  # its neighbour: run as a script
from PIL import Image

from evaluators.distribution.measure import Setup, measure

PROTOCOLS = (
    "fid-clean@1",
    "fid-pytorch@0.3",
    "fid-torch-fidelity@0.4",
    "fid-torchmetrics@1.8",
    "fid-clean-draft@1",
    "fd-efficientnet-lite0@1",
)
SIZES = (64, 256, 512, 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description="The same folders by every protocol of FID.")
    parser.add_argument("--n", type=int, default=32, help="images in each set")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--engine", choices=("torch", "openvino"), default="openvino")
    options = parser.parse_args()
    print(f"2 x {options.n} images, engine {options.engine}")
    print(f"{'images':<22}" + "".join(f"{name:>25}" for name in PROTOCOLS))
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        setup = Setup(cache_dir=work / "cache", engine=options.engine)
        for size in options.sizes:
            folders = draw_sets(work / str(size), options.n, size, "png")
            row(f"{size} x {size}, PNG", folders["real"], folders["generated"], setup)
            row(f"{size} x {size}, JPEG 75", folders["real"], as_jpeg(folders["generated"]), setup)


def row(name: str, real: Path, generated: Path, setup: Setup) -> None:
    found = measure(real, generated, PROTOCOLS, setup=setup)
    by_protocol = {figure.protocol.id: figure.value for figure in found.figures}
    print(f"{name:<22}" + "".join(f"{by_protocol[protocol]:25.3f}" for protocol in PROTOCOLS), flush=True)


def as_jpeg(folder: Path) -> Path:
    out = folder.with_name("jpeg")
    out.mkdir()
    for file in sorted(folder.iterdir()):
        Image.open(file).save(out / f"{file.stem}.jpg", quality=75)
    return out


if __name__ == "__main__":
    main()
