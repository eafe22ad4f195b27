"""Does FID order the teddies as the attributes they get right do? `make bench-teddies` prints the table.

For every contestant: pictures of the same held-out captions, the share of attributes right, and FID against rendered
scenes. First the floor: FID between two disjoint halves of the rendered scenes. Orders are compared where there is
one: on pairs of contestants whose shares differ by more than two standard errors.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
from pathlib import Path

import numpy as np
from diffusers.utils import logging as diffusers_logging

from arena.services.teddies import rendered
from arena.teddy.contestants import TEDDIES
from arena.teddy.measure import measurements
from arena.teddy.scenes import ATTRIBUTES, sample_scenes
from evaluators.distribution.measure import Figure, Setup, measure


def as_list(pictures: np.ndarray) -> list[np.ndarray]:
    """uint8 (n, 3, h, w) to n arrays (h, w, 3)."""
    return list(pictures.transpose(0, 2, 3, 1))


def fid(real: list[np.ndarray], generated: list[np.ndarray], setup: Setup) -> Figure:
    return measure(real, generated, ["fid-clean"], setup=setup).figures[0]


def beyond_chance(one: float, other: float, n: int) -> bool:
    """Whether two shares of n attributes each differ by more than two standard errors."""
    return abs(one - other) > 2 * math.sqrt((one * (1 - one) + other * (1 - other)) / n)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=256, help="pictures of each contestant, and in each half")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("arena-data/cache"), help="where features are kept")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()

    scenes = sample_scenes(options.n, random.Random(options.seed), held_out=True)
    real = [np.asarray(image) for image in rendered(scenes, 2 * options.n, options.seed + 1)]
    halves = real[: options.n], real[options.n :]
    setup = Setup(options.cache)
    floor = fid(*halves, setup)
    lines = [("half of the rendered scenes", None, floor.value, floor.debiased)]
    for measured, pictures in measurements(options.n, options.seed, TEDDIES):
        if measured.seconds_per_image is not None:
            figure = fid(halves[0], as_list(pictures), setup)
            lines.append((measured.name, measured.overall, figure.value, figure.debiased))
    contestants = sorted((line for line in lines if line[1] is not None), key=lambda line: -(line[1] or 0))
    attributes = options.n * len(ATTRIBUTES)
    pairs = [*itertools.combinations(contestants, 2)]
    apart = [(a, b) for a, b in pairs if beyond_chance(a[1], b[1], attributes)]
    alike = [(a, b) for a, b in apart if a[2] < b[2]]
    if options.json:
        found = {"pairs": len(pairs), "pairs_apart": len(apart), "pairs_ordered_alike": len(alike)}
        print(json.dumps({"lines": lines, **found, "protocol": floor.protocol.id}))
        return
    print(f"{'':30} attributes right      FID  debiased   (N = {options.n} against {options.n}, {floor.protocol.id})")
    for name, right, value, debiased in [lines[0], *contestants]:
        share = "–" if right is None else f"{right:.1%}"
        print(f"{name:30} {share:>16} {value:8.2f} {debiased:9.2f}")
    print(
        f"{len(apart)} of {len(pairs)} pairs differ in attributes beyond chance (two standard errors of {attributes} "
        f"attributes each);\nFID orders {len(alike)} of these {len(apart)} as the attributes do."
    )


if __name__ == "__main__":
    main()
