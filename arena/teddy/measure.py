"""`python -m arena.teddy.measure`: how much of its caption each contestant draws, how fast, and what it looks like.

The captions are held out: no contestant saw those scenes. The first line is the reader on rendered pictures,
the ceiling of all others.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging
from PIL import Image

from arena.teddy.attributes import AttributeReader
from arena.teddy.contestants import TEDDIES, WEIGHTS, TeddyContestant
from arena.teddy.renderer import render
from arena.teddy.scenes import ATTRIBUTES, Scene, caption, sample_scenes
from arena.teddy.sheets import contact_sheet, picture_grid


@dataclass(frozen=True)
class Measurement:
    """One line of the table: shares in [0, 1] over `n` pictures; seconds of a single call, None for rendering."""

    name: str
    n: int
    overall: float
    per_attribute: dict[str, float]
    seconds_per_image: float | None


def generate(pipeline: DiffusionPipeline, contestant: TeddyContestant, texts: Sequence[str], seed: int) -> np.ndarray:
    """uint8 RGB (n, 3, 64, 64): picture i comes from text i and seed `seed + i`, whatever the batch."""
    generators = [torch.Generator("cpu").manual_seed(seed + i) for i in range(len(texts))]
    size = {"height": contestant.size, "width": contestant.size}
    drawn = pipeline(list(texts), generator=generators, output_type="pil", **size, **contestant.call).images
    return as_array(drawn)


def generate_in_batches(
    pipeline: DiffusionPipeline, contestant: TeddyContestant, texts: Sequence[str], seed: int, batch: int = 32
) -> np.ndarray:
    """The same for any number of texts."""
    parts = range(0, len(texts), batch)
    return np.concatenate([generate(pipeline, contestant, texts[k : k + batch], seed + k) for k in parts])


def as_array(images: Sequence[Image.Image]) -> np.ndarray:
    """uint8 RGB (n, 3, h, w)."""
    return np.stack([np.asarray(image.convert("RGB")).transpose(2, 0, 1) for image in images])


def load(contestant: TeddyContestant) -> DiffusionPipeline:
    """The contestant's pipeline, from its folder alone, without a progress bar."""
    pipeline = DiffusionPipeline.from_pretrained(contestant.weights, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def weights_bytes(folder: Path = WEIGHTS) -> int:
    """Size of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measurements(n: int, seed: int, chosen: Sequence[TeddyContestant]) -> Iterator[tuple[Measurement, np.ndarray]]:
    """One measurement and its pictures for rendered scenes and for each chosen contestant."""
    scenes = sample_scenes(n, random.Random(seed), held_out=True)
    reader, texts = AttributeReader.load(), [caption(scene) for scene in scenes]
    real = rendered(scenes, seed)
    yield _measured("rendered scenes", reader, real, scenes, None), real
    for contestant in chosen:
        pipeline = load(contestant)
        drawn = generate_in_batches(pipeline, contestant, texts, seed)
        yield _measured(contestant.name, reader, drawn, scenes, _seconds(pipeline, contestant, texts[0])), drawn


def rendered(scenes: Sequence[Scene], seed: int) -> np.ndarray:
    """A real picture of each scene, uint8 RGB (n, 3, 64, 64)."""
    return as_array([render(scene, random.Random(f"{seed}/real/{i}")) for i, scene in enumerate(scenes)])


def table(lines: Sequence[Measurement]) -> str:
    """The measurements as a Markdown table, shares in percent."""
    head = ["contestant", "overall", *ATTRIBUTES, "s/image"]
    rows = [
        [m.name, _percent(m.overall), *(_percent(m.per_attribute[a]) for a in ATTRIBUTES), _time(m.seconds_per_image)]
        for m in lines
    ]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def main(arguments: list[str] | None = None) -> None:
    """Prints the table or JSON, and writes contact sheets if a folder is given."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    chosen = [teddy for teddy in TEDDIES if teddy.slug in (options.only or [t.slug for t in TEDDIES])]
    lines, pictures = [], {}
    for line, drawn in measurements(options.n, options.seed, chosen):
        lines.append(line)
        pictures[line.name] = drawn
    if options.sheets:
        _write_sheets(options.sheets, options.n, options.seed, chosen, pictures)
    if options.json:
        print(json.dumps({"weights_bytes": weights_bytes(), "lines": [asdict(line) for line in lines]}, indent=2))
    else:
        print(table(lines))
        print(f"\n{options.n} held-out captions, seed {options.seed}; all weights {weights_bytes() / 1e6:.1f} MB")


def _write_sheets(
    folder: Path, n: int, seed: int, chosen: Sequence[TeddyContestant], pictures: dict[str, np.ndarray]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    texts = [caption(scene) for scene in sample_scenes(n, random.Random(seed), held_out=True)]
    picture_grid(pictures["rendered scenes"]).save(folder / "rendered.png", optimize=True)
    for contestant in chosen:
        sheet = contact_sheet(contestant.name, texts, pictures["rendered scenes"], pictures[contestant.name])
        sheet.save(folder / f"{contestant.slug}.png", optimize=True)


def _measured(
    name: str, reader: AttributeReader, images: np.ndarray, scenes: tuple[Scene, ...], seconds: float | None
) -> Measurement:
    accuracy = reader.attribute_accuracy(images, scenes)
    return Measurement(name, accuracy.n, accuracy.overall, accuracy.per_attribute, seconds)


def _seconds(pipeline: DiffusionPipeline, contestant: TeddyContestant, text: str, repeats: int = 5) -> float:
    """Median seconds of a call for one picture, after one call to warm up."""
    taken = []
    for seed in range(repeats + 1):
        start = time.perf_counter()
        generate(pipeline, contestant, [text], seed)
        taken.append(time.perf_counter() - start)
    return sorted(taken[1:])[repeats // 2]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.2f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m arena.teddy.measure", description=__doc__)
    parser.add_argument("--n", type=int, default=256, help="number of held-out captions")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=[teddy.slug for teddy in TEDDIES], help="default: all")
    parser.add_argument("--sheets", type=Path, metavar="DIR", help="write one contact sheet for each contestant here")
    parser.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    main()
