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


def printed(page: str, folder: Path) -> list[str]:
    """What the page's snippets print, word for word, one after the other beside two folders of rendered teddies."""
    code = "\n".join(snippets(page))
    for name, seed in (("real", "1"), ("generated", "2")):
        command = [sys.executable, "-m", "arena.cli", "teddies", name, "--n", "8", "--seed", seed]
        subprocess.run(command, cwd=folder, check=True)
    environment = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_fid_in_five_lines(tmp_path: Path) -> None:
    assert len(snippets("README.md")[0].strip().splitlines()) == 5, "an import, a blank line and three more"
    assert [line.split()[0] for line in printed("README.md", tmp_path)] == ["fid-clean@1", "kid@1"]


def test_features_and_distance_step_by_step(tmp_path: Path) -> None:
    first, second, third = printed("docs/fid.md", tmp_path)
    value, fingerprint = first.split()
    assert float(value) > 0 and len(fingerprint) == 64 and second == "() ()"
    by_batches, kid = map(float, third.split())
    # From statistics alone the covariance's zero eigenvalues come back as rounding.
    assert abs(by_batches / float(value) - 1) < 1e-6 and -1 < kid < 1
