"""`make bench-app-board`: the leaderboard's page with a million votes on 200 models, in a real Chromium.

Votes are drawn with a seed as in board_from_sql.py, over six categories and ninety days, and imported into an empty
arena. The server is `streamlit run app.py`, as `arena serve` starts it. Measured, with the board made and the browser's
cache warm: from the address to the table of ratings on screen; from a filter's choice to the table that it makes; and
the memory of the page's process and of the child that counts. The same page on an arena of 200 models with few votes is
the yardstick: what it takes is Streamlit and Chromium, and what the million takes more is ours. Nothing is timed while
the boards are made for the first time; how long that takes is printed apart.
"""

from __future__ import annotations

import argparse
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
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from board_from_sql import draw_votes

from arena.bootstrap import Arena, open_arena
from arena.domain import VoteFilter
from arena.rating import board as boards
from arena.services import counting, exchange
from arena.settings import load_settings

ROOT = Path(__file__).parents[1]
CATEGORIES = ("people", "places", "text", "counting", "style", "everything")
DAYS = 90
MODELS = 200
FIRST_PAINT, FILTER_CHANGE, MEMORY = 1.5, 0.5, 400
PATIENCE = 600_000
READY = "document.querySelectorAll('.board tbody tr').length > 0"


@dataclass(frozen=True)
class Measured:
    """Seconds and MB. `counted`: until the first board of all votes was there, the child's start included."""

    votes: int
    counted: float
    first_paint: float
    filter_change: float
    slowest_filter: float
    page_memory: float
    child_memory: float


def filled(folder: Path, votes: int, seed: int = 0) -> Arena:
    rng = np.random.default_rng(seed)
    table = draw_votes(votes, MODELS, seed)
    category = np.array(CATEGORIES, object)[rng.integers(0, len(CATEGORIES), votes)]
    at = (time.time() - DAYS * 86_400 * np.sort(rng.random(votes))[::-1]).astype(int).astype(str)
    table = table.append_column("category", pa.array(category)).append_column("timestamp", pa.array(at))
    file = folder / f"votes-{votes}.parquet"
    pyarrow.parquet.write_table(table, file)
    arena = open_arena(load_settings(data_dir=folder / f"arena-{votes}"), prepare=True)
    exchange.import_votes(arena, file)
    return arena


@contextmanager
def served(arena: Arena) -> Iterator[tuple[str, int]]:
    """The page's address, and the number of its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), "--server.port", str(port)]
    environment = {**os.environ, **arena.settings.as_environment()}
    log = (arena.settings.data_dir / "server.log").open("wb")
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
    try:
        url = f"http://localhost:{port}"
        await_health(url)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def await_health(url: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("The server did not start.")


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def child_megabytes(pid: int) -> float:
    """Resident memory of the process that counts for this page, 0 where there is none."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    pids = {int(word) for file in children for word in file.read_text().split()}
    counting_ones = [p for p in pids if "derive" in Path(f"/proc/{p}/cmdline").read_text()]
    return sum(map(megabytes, counting_ones))


def painted(page: Any, url: str) -> float:
    """Seconds from the address to the table of ratings."""
    start = time.perf_counter()
    page.goto(f"{url}/leaderboard", wait_until="commit")
    page.wait_for_function(READY, timeout=PATIENCE)
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return time.perf_counter() - start


def filtered(page: Any, category: str) -> float:
    """Seconds from the choice of a category to the table that it makes."""
    before = page.locator(".board tbody").inner_text()
    page.get_by_label("Prompts").first.click()
    option = page.get_by_role("option", name=category, exact=True)
    option.wait_for(timeout=PATIENCE)
    start = time.perf_counter()
    option.click()
    another = "old => { const now = document.querySelector('.board tbody'); return now && now.innerText !== old; }"
    page.wait_for_function(another, arg=before, timeout=PATIENCE)
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return time.perf_counter() - start


def measured(browser: Any, arena: Arena, votes: int, repeats: int) -> Measured:
    with served(arena) as (url, pid):
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        counted = painted(page, url)
        for category in CATEGORIES:  # made once, as the first visitor of each has them made
            filtered(page, category)
        paints = [painted(page, url) for _ in range(repeats)]
        changes = [filtered(page, category) for _ in range(repeats) for category in CATEGORIES]
        memory = megabytes(pid), child_megabytes(pid)
        check(page, url, arena)
        page.context.close()
    return Measured(votes, counted, median(paints), median(changes), max(changes), *memory)


def check(page: Any, url: str, arena: Arena) -> None:
    """The ratings on screen are those of all votes, rated the slow way."""
    painted(page, url)
    shown = page.locator(".board .rating b").all_inner_texts()
    board = boards.board(counting.comparisons(arena, VoteFilter()), flips=False)
    slow = [f"{row.rating:.0f}" for row in board.board if row.rating is not None]
    if shown != slow:
        raise SystemExit("The ratings on screen are not those of all votes.")


def report(found: Measured, alone: Measured) -> str:
    return "\n".join(
        [
            "| votes | first board | first paint | target | few votes | filter change | slowest | target | few votes "
            "| page's memory | target | child's memory |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
            f"| {found.votes:,} | {found.counted:.1f} s | {found.first_paint:.2f} s | {FIRST_PAINT} s "
            f"| {alone.first_paint:.2f} s | {1000 * found.filter_change:.0f} ms | {1000 * found.slowest_filter:.0f} ms "
            f"| {1000 * FILTER_CHANGE:.0f} ms | {1000 * alone.filter_change:.0f} ms | {found.page_memory:.0f} MB "
            f"| {MEMORY} MB | {found.child_memory:.0f} MB |",
        ]
    )


def run(votes: int = 1_000_000, few: int = 10_000, repeats: int = 5) -> Measured:
    """Measure and print; what `make bench-app` calls."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        raise SystemExit("Chromium is missing; install it and try again.")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        found, alone = (
            measured(browser, filled(Path(folder), n), n, repeats if n == votes else 2) for n in (votes, few)
        )
        browser.close()
    print(report(found, alone))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--votes", type=int, default=1_000_000)
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    run(options.votes, options.few, options.repeats)


if __name__ == "__main__":
    main()
