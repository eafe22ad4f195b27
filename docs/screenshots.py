"""Pictures of every page in light, in dark and on a phone: `make screenshots`, some minutes, nothing needs to run.

    python docs/screenshots.py                      builds a lively arena (`lively.py`), serves it, takes every picture
    python docs/screenshots.py --data-dir FOLDER    the images and scores of this arena instead (of a copy of it)
    python docs/screenshots.py --only judge admin   only what begins so; docs/screenshots.md is left as it is

It writes docs/screenshots.md and the folder docs/screenshots. Chromium has to be installed.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

from lively import liven
from PIL import Image

from arena.bootstrap import Arena, open_arena
from arena.domain import RunState
from arena.services import admin
from arena.settings import load_settings
from arena.ui.common import COOKIE

DOCS = Path(__file__).parent
FOLDER, PAGE = DOCS / "screenshots", DOCS / "screenshots.md"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 900}},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 390, "height": 844}, "device_scale_factor": 1.5, "has_touch": True, "is_mobile": True,
    },
}  # fmt: skip
WIDTHS = {"light": "41%", "dark": "41%", "phone": "15%"}
"""Of the three beside each other in the gallery."""
TALLEST = 1600
"""CSS pixels of a picture: a longer page is cut there."""
QUALITY = 62
PATIENCE = 60_000  # milliseconds; a shared machine may be slow
DRAWN = 1000  # milliseconds for charts, which are drawn after their page
SETTINGS = {"own_prompts_idle": 3, "gpu_usd_per_hour": 0.3}
WISH = "a pink teddy bear wearing a crown, holding a star, in the middle, on a yellow beach"

Page = Any
"""Playwright's, which is imported late."""


class Visitor(StrEnum):
    REGULAR = "somebody with a board of their own"
    NEWCOMER = "somebody who was never here"
    ADMIN = "whoever hosts"
    FIRST = "somebody in an arena in which there is nothing yet"


# What is done on a page before the picture


def nothing(_: Page) -> None:
    pass


def pressed(page: Page) -> None:
    """Three votes, and who made the last pair."""
    for key in ("ArrowLeft", "ArrowRight", "ArrowLeft"):
        surface = page.locator('.surface[data-state="voting"][aria-busy="false"]')
        surface.wait_for(timeout=PATIENCE)
        token = surface.get_attribute("data-token")
        page.keyboard.press(key)
        page.locator(f'.surface[aria-busy="false"]:not([data-token="{token}"])').wait_for(timeout=PATIENCE)


def asked(page: Page) -> None:
    page.wait_for_timeout(1500 * SETTINGS["own_prompts_idle"])  # a worker that is still there would be too quick
    page.get_by_label("Your prompt").fill(WISH)
    page.get_by_role("button", name="Draw it twice").click()
    page.get_by_text("Drawing").or_(page.get_by_text("You are next")).first.wait_for(timeout=PATIENCE)


def drawn(page: Page) -> None:
    asked(page)
    page.locator('.surface[data-state="voting"][aria-busy="false"]').wait_for(timeout=PATIENCE)


def clicked(text: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_text(text, exact=True).first.click()


def battles_with_pictures(page: Page) -> None:
    page.get_by_text("Show the pictures").first.click()
    page.get_by_text("Won most clearly").first.wait_for(timeout=PATIENCE)
    settle(page)
    page.get_by_text("Best and worst battles").evaluate("one => one.scrollIntoView()")


# The pictures


@dataclass(frozen=True, slots=True)
class Shot:
    """One screen: where it is, who looks, what they do there first, and what is to be seen (the text for those who
    cannot). `tall`: the whole page, not only what fits the window."""

    name: str
    address: str
    alt: str
    who: Visitor = Visitor.REGULAR
    act: Callable[[Page], None] = nothing
    tall: bool = True

    @property
    def page(self) -> str:
        """The address of the page in the menu."""
        return self.address.partition("?")[0] or "vote"

    def file(self, look: str) -> str:
        return f"{self.name}-{look}.webp"


PAGES = {
    "vote": ("Vote", "Two pictures, four keys; who made them is told after the vote. See [voting](voting.md)."),
    "own-prompt": ("Own prompt", "A visitor's prompt, drawn live by two models. See [own prompts](own-prompts.md)."),
    "leaderboard": ("Leaderboard", "Who is best, how sure that is, what it costs. See [leaderboard](leaderboard.md)."),
    "my-board": ("My board", "A visitor's own ranking after 30 votes. See [personal boards](personal.md)."),
    "benchmarks": ("Benchmarks", "Automatic scores with error bars. See [FID](fid.md)."),
    "judge": ("Judge", "A vision-language model's verdicts, held against people's. See [judging](judging.md)."),
    "model": ("Model", "What one model is, where it stands, and what it draws."),
    "prompt": ("Prompt", "Every model's picture for one prompt."),
    "how-it-works": ("Method", "Every number of the site, with its formula."),
    "admin": ("Admin", "What whoever hosts can see and decide. See [moderation](admin.md)."),
}
"""The pages of `arena/ui/main.py`: what each is called here, and what it is for."""

SHOTS = (
    Shot("vote", "", "Two teddies for one prompt, four answers, and who made the last pair", Visitor.NEWCOMER, pressed,
         tall=False),
    Shot("vote-first", "", "A first visit: two pictures, and the keys in words", Visitor.NEWCOMER, tall=False),
    Shot("vote-names", "?mode=names", "Two pictures side by side with their makers' names", Visitor.NEWCOMER,
         tall=False),
    Shot("vote-basic", "?ui=basic", "The voting page with plain buttons", Visitor.NEWCOMER),
    Shot("vote-empty", "", "A new arena says how it gets its first pictures", Visitor.FIRST, tall=False),
    Shot("own-prompt", "own-prompt", "A box for a prompt, and what happens with it", Visitor.NEWCOMER),
    Shot("own-prompt-waiting", "own-prompt", "A prompt while it is drawn, with its progress", Visitor.NEWCOMER, asked),
    Shot("own-prompt-pair", "own-prompt", "Two pictures of the visitor's own prompt, blind", Visitor.NEWCOMER, drawn,
         tall=False),
    Shot("leaderboard", "leaderboard", "The board: rank sets, ratings with intervals, votes, scores, cost and speed"),
    Shot("leaderboard-cost", "leaderboard?plot=trade-offs", "Quality against dollars and seconds, with Pareto fronts"),
    Shot("leaderboard-history", "leaderboard?plot=history", "Ratings over five weeks with their intervals"),
    Shot("leaderboard-meetings", "leaderboard?plot=meetings", "Head to head: the share each model took from each"),
    Shot("leaderboard-scores", "leaderboard?plot=scores", "FID against people's rating, and people beside the judge"),
    Shot("leaderboard-votes", "leaderboard?plot=votes", "Votes by day"),
    Shot("leaderboard-empty", "leaderboard", "The leaderboard of an arena without models", Visitor.FIRST),
    Shot("my-board", "my-board", "A voter's own ranking, who agrees with it, and their taste"),
    Shot("my-board-first", "my-board", "How many votes are missing to a board of one's own", Visitor.NEWCOMER),
    Shot("benchmarks", "benchmarks", "FID of every model with intervals and paired differences"),
    Shot("benchmarks-files", "benchmarks", "What a distance would see apart from the pictures: sizes, formats, copies",
         act=clicked("Files")),
    Shot("benchmarks-worst", "benchmarks", "The images that hurt FID most", act=clicked("Images that hurt most")),
    Shot("judge", "judge", "How often the judges and every score prefer the same picture as people"),
    Shot("judge-verdicts", "judge?view=verdicts", "Verdicts with both pictures, what was said in either order, and "
         "what people said"),
    Shot("judge-board", "judge?view=board", "The judge's own board, marked as unchecked"),
    Shot("judge-empty", "judge", "No judge has voted yet", Visitor.FIRST),
    Shot("model", "model?name=Teddy Turbo", "A model's standing, card, ratings by category, pictures and battles"),
    Shot("model-battles", "model?name=Teddy U-Net", "The battles that a model won and lost most clearly, with pictures",
         act=battles_with_pictures, tall=False),
    Shot("prompt", "prompt?id=3", "All pictures for one prompt with their makers and their votes"),
    Shot("how-it-works", "how-it-works", "The method in plain words and formulas"),
    Shot("admin", "admin", "A report with its two pictures, to hide or to dismiss", Visitor.ADMIN),
    Shot("admin-models", "admin", "Models to retire and their sampling shares", Visitor.ADMIN,
         clicked("Models")),
    Shot("admin-login", "admin", "The door: a name and a token"),
)  # fmt: skip
"""In the order of the gallery."""


# The gallery


def gallery(shots: Sequence[Shot] = SHOTS) -> str:
    """docs/screenshots.md."""
    parts = [HEAD]
    for page, of_page in groupby(shots, key=lambda shot: shot.page):
        title, about = PAGES[page]
        parts.append(f"## {title}\n\n{about}\n")
        parts += [f"**{shot.alt}**\n\n{row(shot)}\n" for shot in of_page]
    return "\n".join(parts)


HEAD = """# Screenshots

Every page in light, in dark and on a phone. `make screenshots` makes them anew and needs nothing running: it builds an
arena of the embedded teddies with some weeks of made-up votes, serves it, and looks at it with a real Chromium. The
images, scores and verdicts are real. The votes are made up in `docs/lively.py`: most go by what the judge sees, others
are drawn from strengths that it names. So neither the order of the models nor the judge's agreement with people says
anything. A page of more than 1,600 pixels is cut there.
"""


def row(shot: Shot) -> str:
    return "\n".join(
        f'<img src="screenshots/{shot.file(look)}" width="{WIDTHS[look]}" align="top" alt="{shot.alt}, {look}">'
        for look in LOOKS
    )


# Serving


@contextmanager
def served(arena: Arena) -> Iterator[str]:
    """`arena serve` on a free port: the address."""
    data_dir = arena.settings.data_dir
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "arena.cli", "serve", "--port", str(port)]
    environment = {**os.environ, **arena.settings.as_environment()}
    with (data_dir / "server.log").open("wb") as log, subprocess.Popen(
        command, env=environment, cwd=data_dir, stdout=log, stderr=log
    ) as server:  # fmt: skip
        try:
            url = f"http://localhost:{port}"
            await_health(url, data_dir / "server.log")
            yield url
        finally:
            server.terminate()


def await_health(url: str, log: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"The server did not start: {log.read_text()}")


def await_workers(arena: Arena, seconds: float = 60) -> None:
    """Until the process that draws own prompts has ended, which it does by itself."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(run.state is RunState.RUNNING for run in arena.store.runs()):
        time.sleep(0.5)


# Looking


@dataclass(frozen=True, slots=True)
class Scene:
    """Two arenas that are served, and who can be let in."""

    lively: str
    empty: str
    regular: str
    admin: str


def open_page(browser: Any, scene: Scene, shot: Shot, look: str) -> Page:
    """A browser of its own in front of the page, as this visitor."""
    url = scene.empty if shot.who is Visitor.FIRST else scene.lively
    context = browser.new_context(**LOOKS[look])
    if shot.who is Visitor.REGULAR:
        context.add_cookies([{"name": COOKIE, "value": scene.regular, "url": url}])
    page = context.new_page()
    page.goto(f"{url}/{shot.address}")
    settle(page)
    if page.get_by_text("Page not found").count():
        raise SystemExit(f"There is no page {shot.address!r}; mend the address of {shot.name!r}.")
    if shot.who is Visitor.ADMIN:
        log_in(page, scene.admin)
    return page


def log_in(page: Page, token: str) -> None:
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("Log out").wait_for(timeout=PATIENCE)
    settle(page)


SETTLED = """() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
  && !document.querySelector('[data-testid=stSkeleton]')
  && [...document.images].every(one => one.complete || one.loading === 'lazy')"""
HEIGHT = """() => { const main = document.querySelector('[data-testid=stMain]');
  return main.scrollHeight + innerHeight - main.clientHeight; }"""


def settle(page: Page) -> None:
    page.wait_for_function(SETTLED, timeout=PATIENCE)
    page.wait_for_timeout(DRAWN)


def unroll(page: Page, look: str) -> None:
    """A window as tall as the page, which scrolls in a box of its own."""
    size = LOOKS[look]["viewport"]
    height = min(max(page.evaluate(HEIGHT), size["height"]), TALLEST)
    page.set_viewport_size({**size, "height": height})
    settle(page)


def take(browser: Any, scene: Scene, shot: Shot, look: str) -> bytes:
    """The picture as PNG."""
    page = open_page(browser, scene, shot, look)
    shot.act(page)
    if shot.act is not asked:  # the wish would be drawn by then
        settle(page)
        if shot.tall:
            unroll(page, look)
    taken: bytes = page.screenshot()
    page.context.close()
    return taken


def small(png: bytes) -> bytes:
    """The picture as WebP."""
    file = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").save(file, "WEBP", quality=QUALITY, method=6)
    return file.getvalue()


def take_all(scene: Scene, shots: Sequence[Shot], folder: Path) -> int:
    """Writes every picture; returns their bytes. Who has a board looks first: what newcomers do moves the numbers."""
    from playwright.sync_api import sync_playwright

    total = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        for shot in sorted(shots, key=lambda shot: shot.who is not Visitor.REGULAR):
            for look in LOOKS:
                content = small(take(browser, scene, shot, look))
                (folder / shot.file(look)).write_bytes(content)
                total += len(content)
                print(f"{shot.file(look)}: {len(content) / 1000:.0f} kB", flush=True)
        browser.close()
    return total


def chromium() -> str:
    names = ["chromium", "chromium-browser", "google-chrome"]
    if found := next(filter(None, map(shutil.which, names)), None):
        return found
    raise SystemExit(f"Chromium is missing: none of {', '.join(names)} is on the path; install one.")


# All of it


def prepared(folder: Path, model: Path | None = None) -> Arena:
    """An arena in this folder: a copy of another one, or empty."""
    if model is None:
        folder.mkdir()
    else:
        shutil.copytree(model, folder)
    return open_arena(load_settings(data_dir=folder, **SETTINGS), prepare=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="an arena whose images and scores to use, copied")
    parser.add_argument("--only", nargs="+", default=[""], help="only pictures whose names begin so")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the pictures go")
    asked_for = parser.parse_args()
    asked_for.out.mkdir(parents=True, exist_ok=True)
    shots = [shot for shot in SHOTS if shot.name.startswith(tuple(asked_for.only))]
    if not shots:
        raise SystemExit(f"No picture begins with {asked_for.only!r}; there are {', '.join(s.name for s in SHOTS)}.")
    with tempfile.TemporaryDirectory(prefix="arena-", ignore_cleanup_errors=True) as folder:
        lively, empty = prepared(Path(folder) / "lively", asked_for.data_dir), prepared(Path(folder) / "empty")
        regular = liven(lively, lambda stage: print(f"building: {stage}", flush=True))
        with served(lively) as url, served(empty) as nothing_there:
            scene = Scene(url, nothing_there, regular, admin.new_token(lively.settings))
            total = take_all(scene, shots, asked_for.out)
            await_workers(lively)
    if asked_for.out == FOLDER and len(shots) == len(SHOTS):
        PAGE.write_text(gallery())
    print(f"{len(shots) * len(LOOKS)} pictures, {total / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
