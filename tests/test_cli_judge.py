"""`arena judge` through its front door."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from starlette.responses import JSONResponse, Response

from arena.bootstrap import Arena
from arena.cli_judge import parsed
from arena.domain import RunKind, RunState
from arena.errors import UsageError
from arena.services import runs
from db.verdicts import Verdicts
from tests.conftest import fill_with_swatches
from tests.evaluators.judge.test_openai_chat import Asked, Endpoint, completion
from tests.test_cli import one_sentence


def command(arena: Arena, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "arena.cli", "judge", "--data-dir", str(arena.settings.data_dir), *arguments]


def judge(arena: Arena, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COLUMNS": "200", **environment}
    return subprocess.run(command(arena, *arguments), env=env, capture_output=True, text=True)


def test_json_holds_what_is_documented_and_nothing_else(seeded: Arena) -> None:
    done = judge(seeded, "--judge", "scripted", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == [
        "run", "state", "message", "judge", "verdicts", "scored", "inconsistent", "unscored", "seconds", "cost_usd",
        "board_verdicts", "half_width", "points_per_verdict",
    ]  # fmt: skip
    assert (found["state"], found["verdicts"], found["scored"], found["unscored"]) == ("done", 18, 18, 0)
    assert found["points_per_verdict"] == pytest.approx(found["half_width"] / (2 * 18))
    again = json.loads(judge(seeded, "--judge", "scripted", "--json").stdout)
    assert (again["verdicts"], again["message"], again["judge"]) == (0, "nothing was missing", found["judge"])


def test_the_readable_end_says_that_the_board_is_the_judges_alone(seeded: Arena) -> None:
    done = judge(seeded, "--limit", "10", "--again", ARENA_JUDGE="scripted:brightest")
    assert done.returncode == 0 and "10 verdicts, 0 inconsistent, 0 unscored" in done.stdout
    assert "The judge alone, unchecked: 10 verdicts" in done.stdout and "Swatch C" in done.stdout
    plan = judge(seeded, "--plan", "--json", ARENA_JUDGE="scripted:brightest")
    assert json.loads(plan.stdout) == {"cells": 18, "met": 10, "missing": 8, "voted": 0}
    said = judge(seeded, "--plan", ARENA_JUDGE="scripted:brightest").stdout
    assert said.strip() == "8 pairs are missing, 0 of them with votes of people; 10 were seen."


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--judge", "tedy"], "Unknown judge 'tedy': did you mean 'teddy'?"),
        (["--judge", "scripted", "--limit", "0"], "limit must be more than 0, got 0"),
        (["--judge", "scripted", "--option", "pause"], "An option of a judge is name=value"),
        (["--judge", "scripted", "--option", "api_key=sk-secret"], "NAME of its environment variable"),
        (["--judge", "openai:m", "--option", 'extra={"api_key": "sk-secret"}'], "'extra' of the judge holds a"),
        (["--judge", "scripted:oracle"], "Unknown rule of the scripted judge 'oracle'"),
        (["--judge", "scripted", "--budget", "1"], "names no cost"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(seeded: Arena, arguments: list[str], sentence: str) -> None:
    done = judge(seeded, *arguments)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Judging")]
    done.stderr = "\n".join(lines)
    assert sentence in one_sentence(done) and "sk-secret" not in done.stderr
    assert not any("sk-secret" in str(run.parameters) for run in runs.latest(seeded, RunKind.JUDGE))


def test_ctrl_c_keeps_what_was_judged_and_the_next_call_goes_on(arena: Arena) -> None:
    fill_with_swatches(arena, prompts=12)
    slow = ("--judge", "scripted", "--option", "pause=0.03")
    process = subprocess.Popen(command(arena, *slow), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not Verdicts(arena.store).tally().asked:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "every verdict so far is kept, run it again to go on" in err
    kept = Verdicts(arena.store).tally().asked
    assert 0 < kept < 36 and runs.latest(arena, RunKind.JUDGE)[0].state is RunState.CANCELLED
    done = json.loads(judge(arena, *slow, "--json").stdout)
    assert done["verdicts"] == 36 - kept


def test_options_are_json_where_they_can_be_and_text_elsewhere() -> None:
    assert parsed(["base_url=http://x/v1?a=b", "seed=3", 'prices={"input": 1}', "any_system=true", "name=a b"]) == {
        "base_url": "http://x/v1?a=b", "seed": 3, "prices": {"input": 1}, "any_system": True, "name": "a b",
    }  # fmt: skip
    for bad in ("seed", "=3", "a-b=3"):
        with pytest.raises(UsageError, match="name=value"):
            parsed([bad])


def test_ctrl_c_does_not_wait_for_an_endpoint(seeded: Arena) -> None:
    """Sixteen questions are under way, and none of them will be answered for a minute."""
    server = Endpoint()

    async def stuck(asked: Asked) -> Response:
        await asyncio.sleep(0 if asked.introduces else 60)
        return JSONResponse(completion("A"))

    server.behave = stuck
    options = ("--judge", "openai:lab/tiny", "--option", f"base_url={server.url}")
    process = subprocess.Popen(command(seeded, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(server.questions) < 16:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    server.stop()
    assert process.returncode == 130 and "every verdict so far is kept" in err and "Traceback" not in err
    assert runs.latest(seeded, RunKind.JUDGE)[0].state is RunState.CANCELLED
    assert len(server.asked) - len(server.questions) == 1, "one first question, though the judge is opened early"
