"""What is a Fréchet distance of few images worth? Simulated features with known truth, one table row for each kind.

    python benchmarks/simulate_fid.py

Features are Gaussian with a falling spectrum, or skewed: max(0, a linear map of Gaussian factors), as after a network's
last ReLU. `far` is a generator whose map has nothing in common with the real one. The reference is exact unless a row
gives its number of images. Truth: the closed form, or the distance of very many features, itself deconvolved.

Estimators: the plain distance; its half-split jackknife 2 F(n) - mean F(n / 2); the three-point extrapolation from n,
n / 2 and n / 4; FID-infinity, a line in 1 / n through 8 sizes; deconvolution alone; and ours, which is deconvolution
and then a half-split jackknife. `se / sd`: mean standard error over the standard deviation that repeats show;
`coverage`: share of 95% intervals that hold the truth.

The last table needs no simulation: features of 2,500 drawn and 2,500 blurred teddies, of which few are asked what all
say. Intervals are for all the bears that could be drawn, so they hold what these say a little too often.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluators.distribution import frechet, kernel, neighbours, uncertainty
from evaluators.distribution.frechet import Side, prepare
from evaluators.distribution.statistics import Accumulator, Moments, of_features
from evaluators.distribution.uncertainty import Reference

Rng = np.random.Generator
Draw = Callable[[int, Rng], np.ndarray]
MANY = 200_000
"""Features behind the truth of skewed families."""
POWER = 1.1
NAMES = ("plain", "half-split", "three-point", "FID-infinity", "deconvolved", "ours")


@dataclass(frozen=True)
class World:
    """A real and a generated family, the exact reference, and the true distance."""

    real: Draw
    generated: Draw
    reference: Side
    truth: float


def gaussian(dim: int, seed: int = 0) -> World:
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    spread = 1 / (1 + np.arange(dim)) ** POWER
    other = spread * np.exp(0.4 * rng.standard_normal(dim))
    shift = 0.02 * rng.standard_normal(dim)
    truth = (shift**2).sum() + ((np.sqrt(spread) - np.sqrt(other)) ** 2).sum()
    return World(
        lambda n, r: (r.standard_normal((n, dim)) * np.sqrt(spread)) @ axes.T,
        lambda n, r: (r.standard_normal((n, dim)) * np.sqrt(other)) @ axes.T + shift,
        prepare(Moments(np.zeros(dim), (axes * spread) @ axes.T)),
        float(truth),
    )


def skewed(dim: int, far: bool = False, seed: int = 0) -> World:
    rng = np.random.default_rng(seed)
    bias = 0.05 * rng.standard_normal(dim) + 0.05
    first = 8 / np.sqrt(dim) * rng.standard_normal((dim, dim))
    noise = rng.standard_normal((dim, dim))
    second = 8 / np.sqrt(dim) * noise if far else first * (1 + 0.15 * noise)
    real, generated = rectified(first, bias), rectified(second, bias)
    reference = prepare(moments(real, rng))
    other = moments(generated, rng)
    return World(real, generated, reference, exact_distance(reference, other))


def rectified(weights: np.ndarray, bias: np.ndarray) -> Draw:
    spectrum = (1 + np.arange(len(weights))) ** (-POWER / 2)
    mapped = (spectrum[:, None] * weights).astype(np.float32)
    offset = bias.astype(np.float32)
    return lambda n, rng: np.maximum(rng.standard_normal((n, len(weights)), np.float32) @ mapped + offset, 0)


def moments(draw: Draw, rng: Rng) -> Moments:
    accumulator = Accumulator()
    for _ in range(MANY // 10_000):
        accumulator.add(draw(10_000, rng))
    return accumulator.statistics().moments


def exact_distance(reference: Side, generated: Moments) -> float:
    other = prepare(generated)
    values = frechet.spectrum(reference, other).values
    return uncertainty.deconvolve(reference, other, values, Reference.FIXED).value


def part(features: np.ndarray, share: int, rng: Rng) -> list[np.ndarray]:
    return np.array_split(features[rng.permutation(len(features))], share)


def estimates(world: World, features: np.ndarray, rng: Rng) -> list[float]:
    """Of all estimators but ours."""

    def plain(x: np.ndarray) -> float:
        return frechet.frechet(world.reference, x).value

    side = prepare(features)
    whole, half, quarter = (float(np.mean([plain(x) for x in part(features, share, rng)])) for share in (1, 2, 4))
    sizes = np.linspace(max(len(features) // 10, 20), len(features), 8).astype(int)
    line = np.polyfit(1 / sizes, [plain(features[rng.permutation(len(features))[:size]]) for size in sizes], 1)
    values = uncertainty.couple(world.reference, side).values
    deconvolved = uncertainty.deconvolve(world.reference, side, values, Reference.FIXED).value
    return [whole, 2 * whole - half, (8 * whole - 6 * half + quarter) / 3, float(line[1]), deconvolved]


def bias_table(name: str, world: World, sizes: list[int], repeats: int, seed: int) -> None:
    for n in sizes:
        found, errors = [], []
        for repeat in range(repeats):
            rng = np.random.default_rng([seed, n, repeat])
            features = world.generated(n, rng)
            ours = uncertainty.debiased(world.reference, features)
            found.append([*estimates(world, features, rng), ours.value])
            errors.append([ours.se, ours.low <= world.truth <= ours.high, ours.unseen])
        off, error = np.array(found) - world.truth, np.array(errors, float).mean(0)
        sd = off[:, -1].std(ddof=1)
        cells = " | ".join(f"{value:+.3g}" for value in off.mean(0))
        print(
            f"| {name} | {n:,} | {world.truth:.3g} | {cells} | {off[:, 1].std(ddof=1):.2g} | {sd:.2g} "
            f"| {error[0] / sd:.2f} | {error[1]:.0%} | {error[2]:.0%} |",
            flush=True,
        )


def sample_table(name: str, world: World, sizes: list[tuple[int, int]], repeats: int, seed: int) -> None:
    for n_real, n in sizes:
        rows = []
        for repeat in range(repeats):
            rng = np.random.default_rng([seed, n_real, n, repeat])
            ours = uncertainty.debiased(world.real(n_real, rng), world.generated(n, rng), reference=Reference.SAMPLE)
            rows.append([ours.plain, ours.value, ours.se, ours.low <= world.truth <= ours.high])
        table = np.array(rows, float)
        sd = table[:, 1].std(ddof=1)
        mean = table.mean(0)
        print(
            f"| {name} | {n_real:,} | {n:,} | {mean[0] - world.truth:+.3g} | {mean[1] - world.truth:+.3g} | {sd:.2g} "
            f"| {mean[2] / sd:.2f} | {mean[3]:.0%} |",
            flush=True,
        )


def paired_table(dim: int, sizes: list[int], repeats: int, seed: int) -> None:
    """Two generators near each other that share the prompt's factors."""
    rng = np.random.default_rng(seed)
    bias = 0.05 * rng.standard_normal(dim) + 0.05
    first = 8 / np.sqrt(dim) * rng.standard_normal((dim, dim))
    draws = [rectified(first * (1 + by * rng.standard_normal((dim, dim))), bias) for by in (0, 0.15, 0.2)]
    reference = prepare(moments(draws[0], rng))
    one, two = (exact_distance(reference, moments(draw, rng)) for draw in draws[1:])
    for n in sizes:
        rows = []
        for repeat in range(repeats):
            x, y = (draw(n, np.random.default_rng([seed, n, repeat])) for draw in draws[1:])
            found = uncertainty.paired_difference(reference, x, y)
            apart = np.hypot(*(uncertainty.debiased(reference, each).se for each in (x, y)))
            rows.append([found.value, found.se, found.low <= one - two <= found.high, found.se / apart])
        table = np.array(rows, float)
        sd, mean = table[:, 0].std(ddof=1), table.mean(0)
        print(
            f"| {n:,} | {one - two:+.3f} | {mean[0] - one + two:+.3g} | {sd:.2g} | {mean[1] / sd:.2f} | {mean[2]:.0%} "
            f"| {mean[3]:.2f} |",
            flush=True,
        )


def other_table(sizes: list[tuple[int, int]], repeats: int, seed: int, dim: int = 32) -> None:
    """N(0, I) against N(0, 1.3 I) and against itself; truths of KID and CMMD in closed form, of the rest by repeats."""
    for n, m in sizes:
        for spread in (1.0, 1.3):
            rows = []
            for repeat in range(repeats):
                rng = np.random.default_rng([seed, n, m, repeat])
                x, y = rng.standard_normal((n, dim)), np.sqrt(spread) * rng.standard_normal((m, dim))
                shared = [kernel.kid(x, y), kernel.cmmd(x, y), kernel.cmmd(x, y, unbiased=False)]
                shape = neighbours.prdc(x, y)
                rows.append([*shared, shape.precision, shape.recall, shape.density, shape.coverage])
            inner = [(1 + (a + b) / 100) ** (-dim / 2) for a, b in ((1, 1), (spread, spread), (1, spread))]
            cmmd = 1000 * (inner[0] + inner[1] - 2 * inner[2])
            truths = [3 * (1 - spread) ** 2 / dim, cmmd, cmmd, *[None] * 4]
            names = ("KID", "CMMD, U", "CMMD, V", "precision", "recall", "density", "coverage")
            for name, truth, column in zip(names, truths, zip(*rows, strict=True), strict=True):
                value = np.array([each.value for each in column])
                truth = value.mean() if truth is None else truth
                held = np.mean([each.low <= truth <= each.high for each in column])
                se, sd = np.mean([each.se for each in column]), value.std(ddof=1)
                print(
                    f"| {name} | {n:,} | {m:,} | {spread} | {truth:.4g} | {value.mean() - truth:+.2g} | {sd:.2g} "
                    f"| {se / sd:.2f} | {held:.0%} |",
                    flush=True,
                )


def teddies(count: int, seed: int, blur: float) -> np.ndarray:
    """Features (count, 1280) of drawn bears, by the EfficientNet-lite0 that comes with a package."""
    from PIL import ImageFilter

    from arena.teddy.renderer import render
    from arena.teddy.scenes import sample_scene
    from evaluators.distribution.features import open_extractor

    extractor, rng, found = open_extractor("efficientnet-lite0@1"), random.Random(seed), []
    for start in range(0, count, 64):
        drawn = [render(sample_scene(rng), rng) for _ in range(min(64, count - start))]
        blurred = [image.filter(ImageFilter.GaussianBlur(blur)) if blur else image for image in drawn]
        found.append(extractor(np.stack([np.asarray(image) for image in blurred])))
    return np.concatenate(found)


def image_table(sizes: list[int], repeats: int, seed: int, count: int = 2500) -> None:
    """Few of `count` blurred bears against what all of them say; the reference is `count` sharp ones, as it is."""
    reference = prepare(of_features(teddies(count, seed + 1, 0)).moments)
    generated = teddies(count, seed + 2, 0.6)
    whole = uncertainty.debiased(reference, generated)
    print(f"| {count:,} (all) | {whole.plain:.2f} | | {whole.value:.2f} | {whole.se:.2f} | | | {whole.unseen:.0%} |")
    for n in sizes:
        rows = []
        for repeat in range(repeats):
            rng = np.random.default_rng([seed, n, repeat])
            features = generated[rng.choice(count, n, replace=False)]
            found = uncertainty.debiased(reference, features)
            held = found.low <= whole.value <= found.high
            rows.append([*estimates_short(reference, features), found.value, found.se, held, found.unseen])
        table = np.array(rows, float)
        plain, half, ours, se, held, unseen = table.mean(0)
        sd = table[:, 2].std(ddof=1)
        print(
            f"| {n:,} | {plain:.2f} | {half:.2f} | {ours:.2f} | {se:.2f} | {sd:.2f} | {held:.0%} | {unseen:.0%} |",
            flush=True,
        )


def estimates_short(reference: Side, features: np.ndarray) -> tuple[float, float]:
    """The plain distance and its half-split jackknife."""
    halves = [frechet.frechet(reference, half).value for half in np.array_split(features, 2)]
    whole = frechet.frechet(reference, features).value
    return whole, 2 * whole - float(np.mean(halves))


def heading(title: str, *columns: str) -> None:
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|---|{'--:|' * (len(columns) - 1)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="tables whose title contains this")
    options = parser.parse_args()
    repeats, seed = options.repeats, options.seed
    few = max(2, repeats * 2 // 5)
    columns = ("features", "n", "truth", *(f"bias, {name}" for name in NAMES), "sd, half-split", "sd, ours", "se / sd",
               "coverage", "unseen")  # fmt: skip

    def wanted(title: str, *columns: str) -> bool:
        if options.only not in title:
            return False
        heading(title, *columns)
        return True

    print(f"{repeats} repeats of each row ({few} of those with 2,048 dimensions), seed {seed}")
    small = [64, 128, 200, 256, 500, 1000, 2000, 5000]
    if wanted("Bias and error at 256 dimensions", *columns):
        bias_table("Gaussian", gaussian(256), small, repeats, seed)
        bias_table("skewed", skewed(256), small, repeats, seed)
        bias_table("skewed, far", skewed(256, far=True), [64, 256, 1000], repeats, seed)
    if wanted("Bias and error at 2,048 dimensions", *columns):
        bias_table("skewed", skewed(2048), [100, 250, 500, 1000], few, seed)
    if wanted("The reference as a sample", "features", "real", "generated", "bias, plain", "bias, ours", "sd, ours",
              "se / sd", "coverage"):  # fmt: skip
        pairs = [(100, 100), (200, 200), (500, 500), (1000, 1000), (5000, 200), (5000, 5000)]
        sample_table("Gaussian", gaussian(256), pairs, repeats, seed)
        sample_table("skewed", skewed(256), pairs, repeats, seed)
    if wanted("Difference of two contestants on the same prompts", "n", "true difference", "bias", "sd", "se / sd",
              "coverage", "se over se of unpaired"):  # fmt: skip
        paired_table(256, [64, 256, 1000], repeats, seed)
    if wanted("Kernel distances and neighbours", "figure", "real", "generated", "spread", "truth", "bias", "sd",
              "se / sd", "coverage"):  # fmt: skip
        other_table([(100, 100), (500, 200)], repeats, seed)
    if wanted("Features of images", "n", "plain", "half-split", "ours", "mean se", "sd", "holds what all say",
              "unseen"):  # fmt: skip
        image_table([60, 100, 250, 500, 1000], few, seed)


if __name__ == "__main__":
    main()
