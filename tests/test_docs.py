"""What the documentation shows is run as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SNIPPET = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def snippets(page: str) -> list[str]:
    return SNIPPET.findall((ROOT / page).read_text())


def test_fid_in_five_lines(tmp_path: Path) -> None:
    """The README's lines, word for word, beside two folders of rendered teddies."""
    [code] = snippets("README.md")
    assert len(code.strip().splitlines()) == 5, "an import, a blank line and three more: five lines"
    for name, seed in (("real", "1"), ("generated", "2")):
        subprocess.run(
            [sys.executable, "-m", "arena.cli", "teddies", name, "--n", "8", "--seed", seed], cwd=tmp_path, check=True
        )
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["fid-clean@1", "kid@1"]
