"""How fast the application is, as a voter and as fifty voters feel it: `make bench-app`, a few minutes.

    python benchmarks/app.py            everything
    python benchmarks/app.py --quick    a look at whether it runs; its figures are worth nothing

A real Chromium presses keys on the real page; "painted" is the moment after the frame with both new pictures, decoded,
was drawn. Then voters without a browser load the page and post votes as it does. After each round every vote that was
acknowledged is looked for in SQL: there once, and nothing else. What it prints are this machine's
figures, browser and server on the same cores; a slow line is a proxy that holds every byte back (`line.py`), and how
much a round trip takes is measured, not assumed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import httpx2
import websockets
from line import Line, round_trip
from sqlalchemy import text
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from arena.backends.base import create_backend
from arena.bootstrap import Arena, open_arena
from arena.domain import Contestant, Outcome, Prompt
from arena.services import display, generation, voters
from arena.settings import load_settings
from arena.ui.common import COOKIE

ROOT = Path(__file__).parents[1]

KEYS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]
PAUSE_MS = 300  # between two presses: people take longer
OUTCOMES = [outcome.value for outcome in Outcome]

PRESSED = """() => {
  const find = (node) => node.querySelector('.surface') ??
    [...node.querySelectorAll('*')].map((one) => one.shadowRoot && find(one.shadowRoot)).find(Boolean);
  const el = find(document);
  const before = el.dataset.token;
  window.painted = new Promise((done) => {
    let pressed = null;
    addEventListener('keydown', () => { pressed = performance.now(); }, { capture: true, once: true });
    new MutationObserver(async (_, observer) => {
      if (pressed === null || el.ariaBusy !== 'false' || el.dataset.token === before) return;
      observer.disconnect();
      await Promise.all([...el.querySelectorAll('.frame img')].map((image) => image.decode()));
      done(performance.now() - pressed);
    }).observe(el, { attributes: true });
  });
}"""


@dataclass
class Figure:
    """One line of the table: what was measured, and what it should be."""

    what: str
    value: str
    aim: str = ""


@dataclass
class Sizes:
    """How much is measured."""

    presses: int = 60
    voters: int = 50
    rounds: int = 12
    rush_votes: int = 30
    prompts: int = 60


QUICK = Sizes(presses=6, voters=6, rounds=2, rush_votes=4, prompts=12)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and worthless, to see that it runs")
    parser.add_argument("--only", choices=["presses", "voters", "board"], help="one part")
    asked = parser.parse_args()
    sizes = QUICK if asked.quick else Sizes()
    figures: list[Figure] = []
    if asked.only in (None, "board"):
        board(asked.quick)
    with tempfile.TemporaryDirectory() as folder:
        arena = filled(Path(folder) / "data", sizes.prompts)
        if asked.only in (None, "presses"):
            figures += presses(arena, sizes)
        if asked.only in (None, "voters"):
            figures += many_voters(arena, sizes)
        arena.store.engine.dispose()
    print_table(figures)


def board(quick: bool) -> None:
    """The leaderboard's figures: first paint, a changed filter, memory at a million votes on 200 contestants."""
    import app_board

    if quick:
        app_board.run(votes=20_000, few=1_000, repeats=1)
    else:
        app_board.run()


def filled(data_dir: Path, prompts: int) -> Arena:
    """Four contestants with an image of every prompt, and every rendition made, as after `arena generate`."""
    arena = open_arena(load_settings(data_dir=data_dir), prepare=True)
    arena.store.add_prompts(Prompt(f"a card number {n}", "cards" if n % 2 else "colour") for n in range(prompts))
    for name in "ABCD":
        arena.store.add_contestant(Contestant(f"Swatch {name}", "swatch", {"tint": name, "size": 1024}))
    generation.fill(arena, generation.plan(arena), create_backend)
    display.prepare(arena)
    return arena


# --- one voter in a browser


def presses(arena: Arena, sizes: Sizes) -> list[Figure]:
    """From a key press to the next pair, decoded and painted: on a direct line, and on one that is 100 ms longer."""
    with serving(arena) as port:
        line = Line(port, delay=0.05)
        try:
            near, far = round_trip(port), round_trip(line.port)
            direct, slow = pressed(port, sizes.presses), pressed(line.port, sizes.presses)
        finally:
            line.close()
    check_stored(arena, 2 * sizes.presses)
    return [
        Figure("key press to painted, median", ms(median(direct)), "35 ms"),
        Figure("key press to painted, p95", ms(percentile(direct, 95)), "60 ms"),
        Figure(f"… with {1000 * (far - near):.0f} ms more per round trip, median", ms(median(slow)), "35 ms"),
        Figure(f"… with {1000 * (far - near):.0f} ms more per round trip, p95", ms(percentile(slow, 95)), "60 ms"),
    ]


def pressed(port: int, times: int) -> list[float]:
    """Seconds from key press to paint, each."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"http://localhost:{port}/")
        page.locator('.surface[data-state="voting"][aria-busy="false"]').wait_for(timeout=120_000)
        page.wait_for_timeout(2000)
        took = []
        for n in range(times):
            page.evaluate(PRESSED)
            page.keyboard.press(KEYS[n % len(KEYS)])
            took.append(page.evaluate("window.painted") / 1000)
            page.wait_for_timeout(PAUSE_MS)
        page.wait_for_function("sessionStorage.getItem('arena-unacked-acts') === '[]'", timeout=60_000)
        browser.close()
    return took


# --- many voters without one


@dataclass
class Voter:
    """A voter who speaks the page's protocol."""

    port: int
    cookie: str
    acts: Iterator[int]
    data: dict[str, Any] = field(default_factory=dict)
    socket: Any = None
    http: Any = None

    async def enter(self) -> None:
        self.http = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", cookies={COOKIE: self.cookie}, timeout=120
        )
        self.socket = await websockets.connect(
            f"ws://127.0.0.1:{self.port}/_stcore/stream",
            additional_headers={"Cookie": f"{COOKIE}={self.cookie}"},
            subprotocols=[websockets.Subprotocol("streamlit")],
            max_size=None,
            ping_interval=None,
        )
        message = BackMsg()
        message.rerun_script.query_string = ""
        await self.socket.send(message.SerializeToString())
        await self.run()

    async def run(self) -> None:
        """Read what a run of the script says, to its end."""
        while True:
            message = ForwardMsg()
            message.ParseFromString(await asyncio.wait_for(self.socket.recv(), 120))
            kind = message.WhichOneof("type")
            if kind == "delta":
                self.read(message.delta)
            elif kind == "script_finished":
                return

    def read(self, delta: Any) -> None:
        if delta.WhichOneof("type") != "new_element" or not delta.new_element.HasField("bidi_component"):
            return
        found = delta.new_element.bidi_component
        self.data = json.loads(found.mixed.json or found.json)

    async def vote(self, random: Random) -> float:
        """Vote on the first pair of the queue; seconds until the vote is acknowledged and the next pair is there."""
        id, token = str(next(self.acts)), self.data["queue"][0]["token"]
        act = {"id": id, "do": "vote", "token": token, "outcome": random.choice(OUTCOMES), "seconds": 1.0}
        started = time.perf_counter()
        answer = await self.http.post(self.data["post"], json={"acts": [act], "place": self.data["place"]})
        took = time.perf_counter() - started
        self.data |= answer.raise_for_status().json()
        if self.data["acked"] != [id]:
            raise SystemExit(f"A vote was not acknowledged: {self.data}")
        return took


def many_voters(arena: Arena, sizes: Sizes) -> list[Figure]:
    """Fifty voters who think for two seconds, and fifty who do not think, in one process and in two."""
    with serving(arena) as port:
        thinking, _ = asyncio.run(crowd(arena, port, sizes.voters, sizes.rounds, think=2.0))
    with serving(arena) as port:
        rushed, seconds = asyncio.run(crowd(arena, port, sizes.voters, sizes.rush_votes))
    with serving(arena, workers=2) as port:
        shared, shared_seconds = asyncio.run(crowd(arena, port, sizes.voters, sizes.rush_votes))
    return [
        Figure(f"{sizes.voters} voters, 2 s to think: server, median", ms(median(thinking)), "20 ms"),
        Figure(f"{sizes.voters} voters, 2 s to think: server, p95", ms(percentile(thinking, 95))),
        Figure("one process, sustained", f"{len(rushed) / seconds:.0f} votes/s", "100 votes/s"),
        Figure("two workers, sustained", f"{len(shared) / shared_seconds:.0f} votes/s", "140 votes/s"),
        Figure("votes stored exactly once", f"all {len(thinking) + len(rushed) + len(shared):,}"),
    ]


async def crowd(arena: Arena, port: int, voters_: int, votes: int, think: float = 0.0) -> tuple[list[float], float]:
    """Seconds of each vote, and of the whole; raises where a vote is not in the database once."""
    before, acts = stored(arena), count()
    people = [Voter(port, voters.new_voter_token(arena), acts) for _ in range(voters_)]
    for person in people:
        await person.enter()
    started = time.perf_counter()
    took = await asyncio.gather(*[go(person, votes, think, Random(n)) for n, person in enumerate(people)])
    seconds = time.perf_counter() - started
    for person in people:
        await person.socket.close()
        await person.http.aclose()
    check_stored(arena, before + voters_ * votes)
    return [one for each in took for one in each], seconds


async def go(person: Voter, votes: int, think: float, random: Random) -> list[float]:
    await asyncio.sleep(random.uniform(0, think))
    took = []
    for _ in range(votes):
        took.append(await person.vote(random))
        await asyncio.sleep(random.uniform(0.5, 1.5) * think)
    return took


# --- what both need


@contextmanager
def serving(arena: Arena, workers: int = 1) -> Iterator[int]:
    """The application in processes of its own, started as an operator would; its port."""
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    if workers > 1:
        command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--workers", str(workers),
                   "--log-level", "warning"]  # fmt: skip
    environment = {**os.environ, **arena.settings.as_environment()}
    with Path(arena.settings.data_dir / "server.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            await_health(port)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=60)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_health(port: int, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("The server did not start.")


def stored(arena: Arena) -> int:
    with arena.store.engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM votes")) or 0)


def check_stored(arena: Arena, expected: int) -> None:
    """Every vote once, in the ledger and among those that count."""
    with arena.store.engine.connect() as connection:
        distinct = connection.scalar(text("SELECT count(*) FROM (SELECT DISTINCT battle_id, voter_id FROM votes) v"))
        counted = connection.scalar(text("SELECT count(DISTINCT vote_id) FROM ballots"))
    found = stored(arena), distinct, counted
    if found != (expected, expected, expected):
        raise SystemExit(f"{expected} votes were cast; rows, distinct ones and counted ones are {found}.")


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


def print_table(figures: list[Figure]) -> None:
    wide = max((len(figure.what) for figure in figures), default=0)
    print(f"{'':{wide}}  {'measured':>14}  {'aim':>12}")
    for figure in figures:
        print(f"{figure.what:{wide}}  {figure.value:>14}  {figure.aim:>12}")


if __name__ == "__main__":
    main()
