"""What generation costs beside the drawing itself: overhead over a bare pipeline loop, and images/s of an endpoint.

    python benchmarks/generation.py [--images 32] [--batch 8] [--requests 200] [--latency 0.5] [--concurrency 16]

First part: the embedded contestant "Teddy Flow 24" draws the same prompts and seeds in the same batches, once in a bare
loop over diffusers' own pipeline that keeps the images in a list, once through the backend, once through the whole of
`arena generate` with encoding, files and database. The three take turns, so that a busy machine disturbs all alike; the
median of the rounds is shown, in CPU seconds and by the wall.

Second part: `arena generate` against an OpenAI-compatible endpoint in another process on this machine, which answers
`--latency` seconds after a request. `concurrency / latency` images per second are the most there can be.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import multiprocessing
import random
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from arena.backends.base import create_backend
from arena.backends.diffusers import DiffusersBackend
from arena.bootstrap import Arena, open_arena
from arena.domain import Contestant, Prompt
from arena.services import generation
from arena.services.teddies import teddy_contestants
from arena.settings import load_settings
from arena.teddy.scenes import caption, sample_scenes

CONTESTANT = "Teddy Flow 24"
SIDES = (64, 512, 1024)


def new_arena(folder: Path, prompts: list[str], contestant: Contestant, **settings: object) -> Arena:
    arena = open_arena(load_settings(data_dir=folder, **settings), prepare=True)
    arena.store.add_prompts(Prompt(text) for text in prompts)
    arena.store.add_contestant(contestant)
    return arena


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


class Kept(DiffusersBackend):
    """Stays loaded from one round to the next: loading is no part of what is compared."""

    def close(self) -> None:
        return


def overhead(images: int, batch: int, rounds: int) -> None:
    import torch

    teddy = next(one for one in teddy_contestants() if one.name == CONTESTANT)
    backend = Kept(**teddy.settings)
    prompts = [caption(scene) for scene in sample_scenes(images, random.Random(1), held_out=False)]
    seeds = [generation.first_seed(prompt) for prompt in prompts]
    batches = [(prompts[k : k + batch], seeds[k : k + batch]) for k in range(0, images, batch)]

    def bare() -> None:
        kept = []
        with torch.inference_mode():
            for texts, numbers in batches:
                noise = [torch.Generator("cpu").manual_seed(seed) for seed in numbers]
                kept += backend.pipeline(list(texts), generator=noise, **backend.call).images

    def through_backend() -> None:
        for texts, numbers in batches:
            backend.generate(texts, numbers)

    def whole() -> None:
        with tempfile.TemporaryDirectory() as folder:
            arena = new_arena(Path(folder), prompts, teddy, batch_size=batch)
            report = generation.fill(arena, generation.plan(arena), lambda _: backend)
            assert report.made == len(set(prompts)), report

    ways = {"bare loop": bare, "backend": through_backend, "arena generate": whole}
    bare()  # warms up what is compiled and allocated once
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            took[name].append(timed(work))
    print(f"{images} images of {CONTESTANT} in batches of {batch}, median of {rounds} rounds\n")
    print("| way | CPU s | over bare | wall s | over bare |\n|---|--:|--:|--:|--:|")
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in took.items()}
    for name, (cpu, wall) in medians.items():
        more_cpu, more_wall = (a / b - 1 for a, b in zip((cpu, wall), medians["bare loop"], strict=True))
        print(f"| {name} | {cpu:.2f} | {more_cpu:+.1%} | {wall:.2f} | {more_wall:+.1%} |")


def serve(listening: socket.socket, latency: float, sides: tuple[int, ...]) -> None:
    """Answers every request `latency` seconds later with a picture of the side that its `size` asks for."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    answers = {side: json.dumps({"data": [{"b64_json": picture(side)}]}).encode() for side in sides}

    async def answer(request: Request) -> Response:
        body = await request.json()
        await asyncio.sleep(latency)
        return Response(answers[int(body["size"].partition("x")[0])], media_type="application/json")

    app = Starlette(routes=[Route("/v1/images/generations", answer, methods=["POST"])])
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])


def picture(side: int) -> str:
    """A rendered teddy, enlarged, as PNG in base64."""
    from arena.teddy.renderer import render

    rng = random.Random(side)
    buffer = io.BytesIO()
    render(sample_scenes(1, rng, held_out=False)[0], rng, 128).resize((side, side)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def endpoint(requests: int, latency: float, concurrency: int) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    context = multiprocessing.get_context("spawn")
    server = context.Process(target=serve, args=(listening, latency, SIDES), daemon=True)
    server.start()
    most = concurrency / latency
    print(f"\n{requests} requests, {concurrency} at once, {latency:g} s each: {most:.0f} images/s at most\n")
    print("| image | images/s | of the most | CPU s here |\n|---|--:|--:|--:|")
    try:
        for side in SIDES:
            running = {"concurrency": concurrency}
            settings = {"model": "slow", "base_url": url, "size": f"{side}x{side}"}
            contestant = Contestant("Slow", "openai", settings, running=running)
            with tempfile.TemporaryDirectory() as folder:
                arena = new_arena(Path(folder), [f"request {k}" for k in range(requests)], contestant)
                backend = create_backend(contestant)
                backend.generate(["first"], [0])  # the server has started, and the libraries are imported
                missing = generation.plan(arena)
                cpu, wall = timed(lambda: generation.fill(arena, missing, lambda _: backend))  # noqa: B023
                made = len(arena.store.generations(arena.store.contestant("Slow").id or 0, images_only=True))
            if made != requests:
                raise SystemExit(f"{requests - made} of {requests} images failed")
            print(f"| {side} x {side} | {made / wall:.1f} | {made / wall / most:.0%} | {cpu:.1f} |")
    finally:
        server.terminate()
        server.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--latency", type=float, default=0.5, help="seconds that the endpoint takes for an answer")
    parser.add_argument("--concurrency", type=int, default=16)
    options = parser.parse_args()
    overhead(options.images, options.batch, options.rounds)
    endpoint(options.requests, options.latency, options.concurrency)


if __name__ == "__main__":
    main()
