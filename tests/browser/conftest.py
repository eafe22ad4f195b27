"""A real server and a real Chromium. Without the browser: skipped here, failed where CI promises it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from arena.backends.base import create_backend
from arena.bootstrap import Arena, open_arena
from arena.domain import Contestant, Prompt, Vote
from arena.services import generation, voters
from arena.settings import load_settings
from arena.ui.common import COOKIE

ROOT = Path(__file__).parents[2]
NAMES = ["Zebulon Prime", "Quagga Turbo", "Okapi Classic", "Tapir Mini"]
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script> **a card** number {n} \u202e🧸'
CHROMIUM_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
FIND = """(() => {
  const find = (node) => node.querySelector('.surface') ??
    [...node.querySelectorAll('*')].map((e) => e.shadowRoot && find(e.shadowRoot)).find(Boolean);
  return find(document);
})()"""
"""The surface, inside the shadow root of its element."""
PATIENCE = 30_000  # milliseconds; a shared machine may be slow


LONG = "a very long wish, " * 556 + "and its end"
"""10,019 characters."""


def fill(data_dir: Path, prompts: int = 24) -> Arena:
    """Four contestants with an image of every prompt; every other prompt tries to break out of the page."""
    arena = open_arena(load_settings(data_dir=data_dir), prepare=True)
    arena.store.add_prompts(
        Prompt(HOSTILE.format(n=n), "hostile") if n % 2 else Prompt(f"a calm card number {n}", "calm")
        for n in range(prompts)
    )
    arena.store.add_prompts([Prompt(LONG, "endless")])
    for name in NAMES:
        arena.store.add_contestant(Contestant(name, "swatch", {"tint": name}))
    generation.fill(arena, generation.plan(arena), create_backend)
    return arena


@dataclass
class Server:
    """`streamlit run app.py` in a process of its own, started from a folder that is not the repository."""

    arena: Arena
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)
    below: str = ""

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/{self.below}".rstrip("/")

    @property
    def log(self) -> Path:
        return self.arena.settings.data_dir / "server.log"

    def start(self) -> None:
        data_dir = self.arena.settings.data_dir
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), "--server.port", str(self.port),
                 "--server.baseUrlPath", self.below],
                env={**os.environ, "ARENA_DATA_DIR": str(data_dir)}, cwd=data_dir, stdout=log, stderr=log,
            )  # fmt: skip
        self._await()

    def _await(self, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as answer:
                    assert json.load(answer) == {"status": "ok"}
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"The server did not start: {self.log.read_text()}")

    def memory_maps(self) -> str:
        """The files mapped into the process, where the system tells them."""
        maps = Path(f"/proc/{self.process.pid}/maps") if self.process else None
        return maps.read_text() if maps and maps.exists() else ""

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(timeout=30)
            self.process = None


@dataclass
class Voter:
    """A browser of its own on the voting page; sees what a person sees."""

    page: Any
    server: Server

    def open(self, path: str = "") -> Voter:
        self.page.goto(f"{self.server.url}/{path}")
        return self

    def shown(self, other_than: str | None = None) -> str:
        """The token of the pair on screen, once it may be voted on."""
        unlike = f':not([data-token="{other_than}"])' if other_than else ""
        surface = self.page.locator(f'.surface[data-state="voting"][aria-busy="false"]{unlike}')
        surface.wait_for(timeout=PATIENCE)
        return str(surface.get_attribute("data-token"))

    def press(self, key: str, wait: bool = True) -> str:
        """Press, and wait for the next pair; the token that was pressed on."""
        token = self.shown()
        self.page.keyboard.press(key)
        if wait:
            self.shown(other_than=token)
        return token

    def settled(self) -> None:
        """Until the server has confirmed every press."""
        self.page.wait_for_function("sessionStorage.getItem('arena-unacked-acts') === '[]'", timeout=PATIENCE)

    @property
    def id(self) -> str:
        (token,) = [cookie["value"] for cookie in self.page.context.cookies() if cookie["name"] == COOKIE]
        found = voters.voter_id(self.server.arena, token)
        assert found is not None
        return found

    def votes(self) -> list[Vote]:
        return self.server.arena.store.votes(self.id)

    def battle_ids(self, tokens: list[str]) -> list[int | None]:
        return [self.server.arena.store.battle(token).id for token in tokens]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    arena = fill(tmp_path_factory.mktemp("arena"))
    running = Server(arena, free_port())
    try:
        running.start()
        yield running
    finally:
        running.stop()
        arena.store.engine.dispose()


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    """One browser profile for a file's tests: while Playwright lives, an event loop runs in this thread, which tests of
    asynchronous code cannot bear."""
    executable = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    if executable is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing, and CI promises it")
        pytest.skip("Chromium is missing")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield launched.new_context(viewport={"width": 1280, "height": 860})
        launched.close()


@pytest.fixture
def voter(context: Any, server: Server) -> Iterator[Voter]:
    """Someone who was never here before."""
    context.clear_cookies()
    if server.process is None:
        server.start()
    yield Voter(context.new_page(), server)
    for page in context.pages:
        page.close()


Axe = Callable[[Any], list[str]]


@pytest.fixture(scope="session")
def axe() -> Axe:
    """`axe(page)`: what axe-core finds serious or critical on the page as it stands, shadow roots included; [] is good.

    One line for each rule: its impact, its id, what it asks for, and where it is broken.
    """
    source = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")

    def run(page: Any) -> list[str]:
        page.evaluate(f"window.axe || (() => {{ {source} }})()")
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        return [told(one) for one in found["violations"] if one["impact"] in ("serious", "critical")]

    def told(violation: dict[str, Any]) -> str:
        places = [f"{node['target']} {node['html'][:120]}" for node in violation["nodes"][:5]]
        return f"{violation['impact']} {violation['id']}: {violation['help']}: {'; '.join(places)}"

    return run
