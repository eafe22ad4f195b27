"""How fast a judge behind a slow endpoint is: 64 pairs in both orders, against a server that takes 1 s for an answer.

    python benchmarks/judge_endpoint.py [--pairs 64] [--latency 1.0] [--concurrency 16]

128 questions, 16 at a time, take 8 s at least. The server is another process on this machine, so that its work is in
the measured time as well. Images are rendered teddies, enlarged; every question carries two of them as PNG.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import random
import socket
import time

import numpy as np

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
    """Captions with their own picture and that of another scene."""
    rng = random.Random(side)
    scenes = sample_scenes(n + 1, rng, held_out=False)
    pictures = [np.asarray(render(scene, rng, min(side, 128)).resize((side, side))) for scene in scenes]
    return [Pair(caption(scenes[i]), pictures[i], pictures[i + 1]) for i in range(n)]


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
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
