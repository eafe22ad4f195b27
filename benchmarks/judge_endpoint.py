"""How fast a judge behind a slow endpoint is: 64 pairs in both orders, against a server that takes 1 s for an answer.

    python benchmarks/judge_endpoint.py [--pairs 64] [--latency 1.0] [--concurrency 16]

128 questions, 16 at a time, take 8 s at least; a whole `arena judge` takes one second more, for the first question.
The server is another process on this machine, so that its work is in the measured time as well. Images are rendered
teddies, enlarged; every question carries two of them as PNG. The command judges two models with 64 such images each,
from the start of its process to its end, on SQLite.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from arena.bootstrap import open_arena
from arena.domain import Contestant, Prompt
from arena.services import generation
from arena.settings import load_settings
from arena.teddy.renderer import render
from arena.teddy.scenes import caption, sample_scenes
from evaluators.judge.modes import Judge, Pair
from evaluators.judge.openai_chat import OpenAIChat

SIDES = (64, 512, 1024)
ANSWER = {
    "model": "slow",
    "choices": [{"message": {"role": "assistant", "content": "A\nIt has the hat."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 900, "completion_tokens": 8},
}


def serve(listening: socket.socket, latency: float) -> None:
    """Answers every question `latency` seconds after the last of its bytes."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def answer(request: Request) -> Response:
        await request.body()
        await asyncio.sleep(latency)
        return Response(json.dumps(ANSWER), media_type="application/json")

    app = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])


def pairs(n: int, side: int) -> list[Pair]:
    """Different captions with their own picture and that of another scene."""
    rng = random.Random(side)
    scenes = [*{caption(scene): scene for scene in sample_scenes(2 * n + 8, rng, held_out=False)}.values()][: n + 1]
    pictures = [np.asarray(render(scene, rng, min(side, 128)).resize((side, side))) for scene in scenes]
    return [Pair(caption(scenes[i]), pictures[i], pictures[i + 1]) for i in range(n)]


class Painter:
    """Draws the scenes of the captions it is given, for the second model those of other captions."""

    def __init__(self, images: dict[str, np.ndarray]) -> None:
        self.images = images

    def generate(self, texts: list[str], seeds: list[int]) -> list[Image.Image]:
        return [Image.fromarray(self.images[text]) for text in texts]


def filled(folder: Path, asked: list[Pair]) -> None:
    """An arena with the pairs' images: those on the left by one model, those on the right by another."""
    arena = open_arena(load_settings(data_dir=folder), prepare=True)
    arena.store.add_prompts(Prompt(pair.prompt) for pair in asked)
    sides = {
        "Left": {pair.prompt: pair.left for pair in asked}, "Right": {pair.prompt: pair.right for pair in asked},
    }  # fmt: skip
    for name in sides:
        arena.store.add_contestant(Contestant(name, "swatch", {"tint": name}))
    generation.fill(arena, generation.plan(arena), lambda contestant: Painter(sides[contestant.name]))
    arena.store.engine.dispose()


def command(folder: Path, url: str, concurrency: int) -> dict:
    """What `arena judge --json` said of its run. Raises SystemExit where it failed."""
    options = [f"base_url={url}", f'limits={{"concurrency": {concurrency}}}']
    done = subprocess.run(
        [sys.executable, "-m", "arena.cli", "judge", "--judge", "openai:slow", "--data-dir", str(folder), "--json"]
        + [word for option in options for word in ("--option", option)],
        capture_output=True,
        text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds that the endpoint takes for an answer")
    parser.add_argument("--concurrency", type=int, default=16)
    options = parser.parse_args()
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    context = multiprocessing.get_context("spawn")
    server = context.Process(target=serve, args=(listening, options.latency), daemon=True)
    server.start()
    try:
        start = time.perf_counter()
        judge = Judge(OpenAIChat("slow", url, limits={"concurrency": options.concurrency}))
        print(f"first question, with the server's start: {time.perf_counter() - start:.1f} s")
        least = math.ceil(2 * options.pairs / options.concurrency) * options.latency
        print(f"{options.pairs} pairs in both orders, {options.concurrency} at a time, at least {least:.1f} s\n")
        print("| image | seconds | times the least | pairs per second | CPU seconds here |\n|---|--:|--:|--:|--:|")
        for side in SIDES:
            asked = pairs(options.pairs, side)
            start, busy = time.perf_counter(), time.process_time()
            verdicts = judge.compare(asked)
            seconds, busy = time.perf_counter() - start, time.process_time() - busy
            if unscored := [verdict.unscored for verdict in verdicts if verdict.unscored]:
                raise SystemExit(f"{len(unscored)} verdicts are unscored, the first: {unscored[0]}")
            rate = options.pairs / seconds
            print(f"| {side} x {side} | {seconds:.2f} | {seconds / least:.2f} | {rate:.1f} | {busy:.2f} |")
        least += options.latency
        print(f"\n`arena judge` as a whole, at least {least:.1f} s\n")
        print("| image | seconds | times the least |\n|---|--:|--:|")
        for side in SIDES:
            with tempfile.TemporaryDirectory() as folder:
                filled(Path(folder), pairs(options.pairs, side))
                start = time.perf_counter()
                found = command(Path(folder), url, options.concurrency)
                seconds = time.perf_counter() - start
            if found["scored"] != options.pairs:
                raise SystemExit(f"{found['scored']} of {options.pairs} verdicts are scored: {found['message']}")
            print(f"| {side} x {side} | {seconds:.2f} | {seconds / least:.2f} |")
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
