"""Pictures of every page in light, dark and phone width: `python tests/browser/screenshots.py URL FOLDER`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 860}},
    "dark": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "has_touch": True,
        "is_mobile": True,
    },
}
PAGES = ["leaderboard", "benchmarks", "judge", "judge?view=verdicts", "judge?view=board", "how-it-works", "?ui=basic"]
SETTLE = 2500  # milliseconds for tables and charts to be drawn


def main(url: str, folder: Path, votes: int = 3) -> None:
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for look, options in LOOKS.items():
            context = browser.new_context(**options)
            shoot(context.new_page(), url, folder / look, votes)
            context.close()
        browser.close()


def shoot(page: Any, url: str, prefix: Path, votes: int) -> None:
    page.goto(url)
    page.locator('.surface:is([aria-busy="false"])').wait_for(timeout=30_000)
    page.screenshot(path=f"{prefix}-first-visit.png")
    for n in range(votes):
        page.keyboard.press(["ArrowLeft", "ArrowRight", "ArrowUp"][n % 3])
        page.wait_for_timeout(400)
    page.wait_for_timeout(SETTLE)
    page.screenshot(path=f"{prefix}-vote.png")
    for name in PAGES:
        page.goto(f"{url}/{name}")
        page.wait_for_timeout(SETTLE)
        page.screenshot(path=f"{prefix}-{name.removeprefix('?').replace('?', '-').replace('=', '-')}.png")


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), Path(sys.argv[2]))
