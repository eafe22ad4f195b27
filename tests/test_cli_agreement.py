"""`arena agreement` through its front door."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from arena.cli import app
from arena.errors import DataError

PPR = Path(__file__).parents[1].parent / "shared" / "data" / "ppr_chatbot_arena"
WORDS = {"model_a": "A>B", "model_b": "B>A", "tie": "tie", "tie (bothbad)": "bothbad"}
ALWAYS_FIRST = "human,judge\n" + "A>B,A>B\nA>B,A>B\nB>A,A>B\ntie,A>B\n" * 25


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["agreement", *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "verdicts.csv"
    path.write_text(ALWAYS_FIRST)
    return path


def test_json_holds_what_is_promised_and_nothing_else(table: Path) -> None:
    done = run(table, "--json")
    assert done.exit_code == 0 and done.stderr == ""
    found = json.loads(done.stdout)
    assert list(found) == [
        "n", "coverage", "accuracy4", "kappa4", "decisive_accuracy", "decisive_low", "decisive_high",
        "decisive_coverage", "picks_first_judge", "picks_first_human",
    ]  # fmt: skip
    assert (found["n"], found["coverage"], found["accuracy4"], found["kappa4"]) == (100, 1, 0.5, 0)
    assert found["decisive_accuracy"] == 50 / 75 and found["decisive_coverage"] == 1
    assert (found["picks_first_judge"], found["picks_first_human"]) == (1, 0.5)


def test_the_first_line_unmasks_a_judge_that_answers_first_always(table: Path) -> None:
    done = run(table)
    first, *rest = done.stdout.splitlines()
    assert first.startswith("In every one of 100 verdicts it picks the first side (people: 50%)")
    assert any("Same side, where both pick one" in line and "0.667" in line for line in rest)
    assert "100 pairs with a human vote" in done.stdout


def test_pairs_without_a_human_vote_are_told(table: Path) -> None:
    table.write_text(ALWAYS_FIRST + ",A>B\n")
    done = run(table)
    assert done.stderr.strip() == "note: 1 pairs have no human vote and are left out."
    assert "100 pairs with a human vote" in done.stdout


def test_a_bad_row_is_one_sentence_and_exit_code_1(table: Path) -> None:
    table.write_text("human,judge\nA>B,A>B\nA>B,first\n")
    assert isinstance(run(table, "--json").exception, DataError)
    done = subprocess.run(
        [sys.executable, "-m", "arena.cli", "agreement", str(table), "--json"], capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (
        "arena: Row 3 of 'verdicts.csv' (the header is row 1) has 'first' as 'judge'; "
        "accepted are A>B, B>A, tie, bothbad, or nothing.\n"
    )


@pytest.mark.skipif(not PPR.is_dir(), reason="the optional folder of PPR's verdicts is not here")
@pytest.mark.parametrize(
    ("file", "three", "decisive"),
    [
        ("gpt-4-0125-preview", 0.555, 0.833),
        ("claude-3-opus-20240229", 0.475, 0.723),
        ("gpt-3.5-turbo", 0.400, 0.570),
    ],
)
def test_published_judges_of_chatbot_arena(tmp_path: Path, file: str, three: float, decisive: float) -> None:
    """Three-way agreement is published; the accuracy on decisive pairs is ours, of 26,919 votes."""

    def winners(name: str) -> list[str]:
        with gzip.open(PPR / f"{name}.jsonl.gz", "rt") as lines:
            return [WORDS[json.loads(line)["winner"]] for line in lines]

    path = tmp_path / "ppr.csv"
    path.write_text("human,judge\n" + "".join(map("{},{}\n".format, winners("human"), winners(file))))
    found = json.loads(run(path, "--json").stdout)
    assert found["n"] == 26_919 and found["coverage"] == 1
    assert round(found["decisive_accuracy"], 3) == decisive
    line = next(line for line in run(path).stdout.splitlines() if "Same answer of three" in line)
    assert f"{three:.3f}" in line
