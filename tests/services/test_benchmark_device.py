"""What scores images is a setting: a GPU where there is one, also for the page, whose process never loads torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from arena.bootstrap import open_arena
from arena.errors import SettingsError
from arena.services import benchmarks
from arena.settings import load_settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("chosen", "device", "engine"),
    [({}, "auto", "torch"), ({"device": "cuda:1"}, "cuda:1", "torch"), ({"engine": "openvino"}, "auto", "openvino")],
)
def test_a_run_computes_where_the_settings_say(
    tmp_path: Path, chosen: dict[str, str], device: str, engine: str
) -> None:
    arena = open_arena(load_settings(data_dir=tmp_path, **chosen), prepare=True)
    setup = benchmarks._setup(arena)
    assert (setup.device, setup.engine) == (device, engine)
    # The process that the page starts is told by its environment.
    told = arena.settings.as_environment()
    assert (told["ARENA_DEVICE"], told["ARENA_ENGINE"]) == (device, engine)


def test_an_unknown_device_is_refused_when_settings_are_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"auto\|cpu\|cuda"):
        load_settings(data_dir=tmp_path, device="gpu")


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_what_the_page_asks_loads_no_torch(tmp_path: Path, device: str) -> None:
    program = f"""
import sys
from arena.bootstrap import open_arena
from arena.services import benchmarks
from arena.settings import load_settings
arena = open_arena(load_settings(data_dir={str(tmp_path)!r}, device={device!r}), prepare=True)
usable, missing = benchmarks.offered(arena)
print("fid-clean@1" in [recipe.id for recipe in usable], "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["True", "False"], done.stderr
