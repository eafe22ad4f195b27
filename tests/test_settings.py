"""Settings come from arguments, environment and arena.toml, in this order, and bad ones are said in one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from arena.errors import SettingsError
from arena.settings import Settings, load_settings


def test_arguments_beat_the_environment_which_beats_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("arena.toml").write_text("port = 1111\nk_factor = 16\nbatch_size = 2\n")
    monkeypatch.setenv("ARENA_PORT", "2222")
    monkeypatch.setenv("ARENA_BATCH_SIZE", "4")
    settings = load_settings(port=3333)
    assert (settings.port, settings.batch_size, settings.k_factor) == (3333, 4, 16.0)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("port = 99999", r"'port' has the value 99999: .*less than or equal to 65535"),
        ("k_factor = 'fast'", r"'k_factor' has the value 'fast'"),
        ("prot = 80", r"'prot' .* no such setting; known: .*port"),
        ("port = ", "arena.toml is not valid TOML"),
    ],
)
def test_a_bad_file_is_one_sentence(content: str, sentence: str) -> None:
    Path("arena.toml").write_text(content)
    with pytest.raises(SettingsError, match=sentence):
        load_settings()


def test_a_child_process_gets_the_same_settings(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data", k_factor=12.5, port=4444)
    program = "from arena.settings import load_settings; print(load_settings().model_dump_json())"
    child = subprocess.run(
        [sys.executable, "-c", program], env=settings.as_environment(), capture_output=True, text=True, check=True
    )
    again = Settings.model_validate_json(child.stdout)
    assert again == settings.model_copy(update={"database_url": settings.url, "data_dir": settings.data_dir.absolute()})


def test_options_of_the_judge_reach_a_child_process_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("arena.toml").write_text('judge = "openai:m"\njudge_options = { base_url = "http://x/v1", seed = 3 }\n')
    settings = load_settings(gate_rating=1050, gate_top_half=True)
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    Path("arena.toml").unlink()
    assert load_settings() == settings.model_copy(
        update={"data_dir": Path("arena-data").absolute(), "database_url": settings.url}
    )
    assert load_settings().judge_options == {"base_url": "http://x/v1", "seed": 3}
