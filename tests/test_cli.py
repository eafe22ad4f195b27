"""The command line through its front door."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from arena import cli
from arena.bootstrap import Arena
from arena.domain import Contestant, Prompt, RunState
from arena.services import battles


def arena_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "arena.cli", *arguments],
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
    )


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("arena: ")
    return line


def test_help_names_every_command() -> None:
    shown = arena_command("--help").stdout
    for command in ("init", "demo", "serve", "generate", "board", "replay", "fid", "teddies", "images", "doctor"):
        assert f" {command} " in shown
    assert "run-fid" not in shown


def test_init_then_board_and_replay(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    assert "next `arena generate`" in arena_command("init", "--data-dir", data).stdout
    assert arena_command("init", "--data-dir", data).returncode == 0, "init again changes nothing"
    board = json.loads(arena_command("board", "--data-dir", data, "--json").stdout)
    assert len(board["rows"]) == 4 and board["votes"] == 0
    assert "0 votes replayed" in arena_command("replay", "--data-dir", data).stdout


def test_replay_notices_a_rating_that_was_edited(seeded: Arena) -> None:
    [battle] = battles.open_battles(seeded, "person:x", n=1)
    battles.vote(seeded, "person:x", battle.token, "left")
    environment = seeded.settings.as_environment()
    assert "equal to the last bit" in arena_command("replay", **environment).stdout
    with seeded.store.engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("UPDATE ratings SET value = value + 1e-9")
    assert "are not the replay's" in one_sentence(arena_command("replay", **environment))


def test_a_port_in_use_is_said(seeded: Arena) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = arena_command("serve", "--port", port, **{**seeded.settings.as_environment(), "ARENA_HOST": "127.0.0.1"})
    assert f"Port {port} on 127.0.0.1 is in use" in one_sentence(done)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = arena_command("init", "--data-dir", str(tmp_path / "file" / "data"))
    assert "cannot be made (Not a directory)" in one_sentence(done)


@pytest.mark.skipif(not Path("/proc").exists(), reason="only Linux has this place that refuses every write")
def test_a_read_only_folder_is_said() -> None:
    """/proc refuses every write, also root's."""
    assert "cannot be made" in one_sentence(arena_command("init", "--data-dir", "/proc/arena-data"))


def test_a_database_that_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert "run `arena init`" in one_sentence(arena_command("board", "--data-dir", str(tmp_path / "data")))


def test_a_bad_setting_is_said() -> None:
    assert "'port' has the value '70000'" in one_sentence(arena_command("board", ARENA_PORT="70000"))


def test_images_and_teddies_write_folders(seeded: Arena, tmp_path: Path) -> None:
    environment = seeded.settings.as_environment()
    assert "6 images" in arena_command("images", "export", "Swatch A", str(tmp_path / "a"), **environment).stdout
    assert len(list((tmp_path / "a").glob("*.png"))) == 6
    for folder in ("r1", "r2"):
        arena_command("teddies", str(tmp_path / folder), "--n", "3", "--seed", "5")
    first, second = (sorted((tmp_path / folder).iterdir()) for folder in ("r1", "r2"))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second] and len(first) == 3
    said = one_sentence(arena_command("images", "export", "Swatch Z", "x", **environment))
    assert "Unknown contestant 'Swatch Z'" in said


def test_doctor_reports_and_fails_only_on_what_is_missing(arena: Arena) -> None:
    done = arena_command("doctor", "--json", **arena.settings.as_environment())
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert findings["Python"]["verdict"] == findings["torch with torchvision"]["verdict"] == "ok"
    assert findings["FID's Inception weights"]["verdict"] == "ok"
    assert "revision" in findings["database"]["found"]
    missing = [name for name, finding in findings.items() if finding["verdict"] == "missing"]
    assert done.returncode == (1 if missing else 0)
    assert not missing


def test_doctor_says_how_to_get_the_weights(arena: Arena, tmp_path: Path) -> None:
    done = arena_command(
        "doctor", ARENA_INCEPTION_WEIGHTS=str(tmp_path / "none.pth"), **arena.settings.as_environment()
    )
    assert done.returncode == 1 and "none.pth" in done.stdout


def test_the_page_file_is_found() -> None:
    assert cli.page_file().name == "app.py"


def test_ctrl_c_is_one_sentence_and_the_next_call_goes_on(arena: Arena) -> None:
    arena.store.add_prompts(Prompt(f"card {n}") for n in range(200))
    contestant = arena.store.add_contestant(Contestant("A", "swatch", {"pause": 0.02}))
    # Python ignores Ctrl-C when its parent does, as a shell's background jobs do.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from arena.cli import main; main()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, "generate"],
        env={**os.environ, **arena.settings.as_environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not arena.store.generations(contestant.id or 0):
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert said.strip() == "arena: stopped; what was made is kept, run it again to go on."
    assert arena.store.runs()[0].state is RunState.CANCELLED
    made = len(arena.store.generations(contestant.id or 0))
    assert 0 < made < 200
    assert f"{200 - made} images made, 0 failed" in arena_command("generate", **arena.settings.as_environment()).stdout


def test_fid_prints_what_it_promises(tmp_path: Path) -> None:
    for name, seed in (("real", "1"), ("generated", "2")):
        arena_command("teddies", str(tmp_path / name), "--n", "4", "--seed", seed)
    (tmp_path / "generated" / "note.png").write_text("not an image")
    folders = (str(tmp_path / "real"), str(tmp_path / "generated"))
    environment = {"ARENA_DATA_DIR": str(tmp_path / "data")}
    done = arena_command("fid", *folders, "--json", **environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found)[:6] == ["fid", "n_real", "n_generated", "protocol", "fingerprint", "seconds"]
    assert (found["n_real"], found["n_generated"], found["protocol"]) == (4, 4, "fid-clean@1") and found["fid"] > 0
    assert found["low"] < found["debiased"] < found["high"]
    assert "dropped" in done.stderr and "note.png" in done.stderr, "a dropped file is listed"
    kid = json.loads(arena_command("kid", *folders, "--versus", folders[1], "--json", **environment).stdout)
    assert kid["kid"] == kid["value"] and kid["protocol"] == "kid@1"
    assert [(one["n"], one["value"]) for one in kid["versus"]] == [(4, 0.0)], "a set is as close as itself"
    shown = arena_command("inspect", *folders, **environment).stdout
    assert "64×64 (4)" in shown


def test_fid_of_a_folder_without_images_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    sentence = one_sentence(arena_command("fid", str(tmp_path / "empty"), str(tmp_path / "empty")))
    assert str(tmp_path / "empty") in sentence
