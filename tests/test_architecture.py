"""The rooms: imports go down only, the page's process stays light, and the docs name everything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from arena.backends import BACKENDS
from arena.settings import Settings
from evaluators import EVALUATORS
from evaluators.judge import JUDGES

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "transformers", "diffusers", "torchmetrics", "open_clip"}


def test_imports_go_down_only() -> None:
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_rooms_of_the_page_import_nothing_heavy() -> None:
    """Every module of the page's process, imported in a fresh interpreter."""
    modules = [
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        for room in ("arena/services", "arena/web", "arena/ui", "db")
        for path in (ROOT / room).rglob("*.py")
        if "migrations" not in path.parts and path.name != "main.py"
    ]
    program = f"import sys, importlib\nfor m in {modules}: importlib.import_module(m)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["arena.domain", "arena.errors", "evaluators", "arena.backends", "arena.teddy.scenes"]
)
def test_the_words_cost_nothing_to_import(module: str) -> None:
    program = f"import sys, {module}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {*HEAVY, "numpy", "sqlalchemy", "streamlit", "pandas"} & set(done.stdout.split())


def test_the_docs_name_every_backend_evaluator_setting_and_command() -> None:
    docs = "\n".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    from arena.cli import app
    from arena.cli_metrics import app as metrics

    registered = [*app.registered_commands, *metrics.registered_commands]
    commands = [c.name or c.callback.__name__ for c in registered if c.callback and not c.hidden]
    for name in [
        *BACKENDS,
        *EVALUATORS,
        *(f"`{judge}" for judge in JUDGES),
        *(f"`{field}`" for field in Settings.model_fields),
        *(f"arena {c}" for c in commands),
    ]:
        assert name in docs, f"{name} is in no page of the docs"


def test_links_in_the_docs_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} points at {target}, which is not there"
