"""`python -m arena.teddy.train MODEL --out FOLDER`: makes the teddies' weights again, in three hours of a CPU's core.

Every model is seeded and resumable; `export` writes what the checkpoints hold, at any time, in the hub's format.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from arena.teddy.training import recipes


def main(arguments: list[str] | None = None) -> None:
    """Trains the chosen model, or all in order, then exports if a folder is given."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = [*recipes.RECIPES] if options.model == "all" else [options.model]
    for name in chosen:
        if name != "export":
            recipes.train(name, options.out, options.seed, options.minutes, options.steps, options.resume, _say)
    if options.export:
        for name in recipes.export(options.out, options.export):
            _say(f"exported {name} to {options.export}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m arena.teddy.train", description=__doc__)
    parser.add_argument("model", choices=[*recipes.RECIPES, "all", "export"])
    parser.add_argument("--out", type=Path, required=True, help="folder of pictures, latents and checkpoints")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in --out")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after this long, with a checkpoint")
    parser.add_argument("--steps", type=int, help="optimizer steps, instead of the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--export", type=Path, metavar="DIR", help="write hub-format folders from the checkpoints here")
    return parser


_say: Callable[[str], None] = lambda line: print(line, flush=True)  # noqa: E731

if __name__ == "__main__":
    main()
