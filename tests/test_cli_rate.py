"""`arena rate` through its front door."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from arena.cli import app, main
from arena.errors import ArenaError, UsageError

LLMFAO = Path(__file__).parents[1].parent / "shared" / "data" / "llmfao"
CROWD = LLMFAO / "crowd-comparisons.csv"
needs_votes = pytest.mark.skipif(not LLMFAO.is_dir(), reason="the optional folder of LLMFAO votes is not here")
SMALL = "model_a,model_b,winner,count,voter,category\n" + "".join(
    f"{a},{b},{winner},{count},{voter},{category}\n"
    for a, b, winner, count, voter, category in [
        ("[red]x[/red]", "NA", "model_a", 5, "ann", "cats"),
        ("NA", "[red]x[/red]", "left", 3, "bob", "cats"),
        ("NA", "null", "tie", 2, "cid", "dogs"),
        ("null", "[red]x[/red]", "bothbad", 4, "ann", "dogs"),
        ("null", "NA", "model_a", 2, "bob", "cats"),
    ]
)


def rate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["rate", *map(str, arguments)], catch_exceptions=True, env={"COLUMNS": "200"})


def board(*arguments: object) -> dict:
    done = rate(*arguments, "--json")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "votes.csv"
    path.write_text(SMALL)
    return path


def golden(algorithm: str) -> dict[str, float]:
    with (LLMFAO / "llmfao-golden.csv").open() as file:
        return {row["item"]: float(row["score"]) for row in csv.DictReader(file) if row["algorithm"] == algorithm}


def ratings(found: dict) -> dict[str, float]:
    return {row["model"]: row["rating"] for row in found["board"]}


@needs_votes
def test_bradley_terry_of_real_votes_is_the_golden_one() -> None:
    """Tolerance: evalica's iteration stops at 1e-6 of a strength."""
    logs = {name: 400 / math.log(10) * math.log(score) for name, score in golden("bradley_terry").items()}
    mean = sum(logs.values()) / len(logs)
    found = board(CROWD)
    assert found["n_votes"] == 8931 and found["system"] == "bt" and not found["warnings"]
    assert ratings(found) == pytest.approx({name: 1000 + log - mean for name, log in logs.items()}, abs=1e-4)


@needs_votes
def test_elo_of_real_votes_is_the_golden_one() -> None:
    assert ratings(board(CROWD, "--system", "elo", "--k", 4)) == pytest.approx(golden("elo"), abs=1e-9)


@needs_votes
def test_elo_follows_the_order_and_nothing_else_does(tmp_path: Path) -> None:
    first, *rows = CROWD.read_text().splitlines(keepends=True)
    turned = tmp_path / "turned.csv"
    turned.write_text("".join([first, *reversed(rows)]))
    for how in ([], ["--cluster", "prompt"]):
        assert rate(turned, "--json", *how).stdout == rate(CROWD, "--json", *how).stdout, "to the byte"
    assert ratings(board(turned, "--system", "elo")) != ratings(board(CROWD, "--system", "elo"))


@pytest.mark.parametrize("system", ["bt", "elo", "davidson"])
def test_json_holds_what_is_promised_and_nothing_else(small: Path, system: str) -> None:
    found = board(small, "--system", system)
    assert list(found) == ["system", "parameters", "n_votes", "board", "warnings"]
    assert found["system"] == system and found["n_votes"] == 16
    keys = ["rank", "rank_low", "rank_high", "model", "rating", "low", "high", "votes", "both_bad_rate", "status"]
    assert [list(row) for row in found["board"]] == [keys] * 3
    assert {row["model"]: (row["votes"], row["both_bad_rate"]) for row in found["board"]} == {
        "[red]x[/red]": (12, 4 / 12), "NA": (12, 0), "null": (8, 4 / 8)
    }  # fmt: skip
    no_intervals = [all(row[key] is None for key in ("rank_low", "rank_high", "low", "high")) for row in found["board"]]
    assert no_intervals == [system == "elo"] * 3
    assert any("depends on the order" in warning for warning in found["warnings"]) == (system == "elo")


def test_elo_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text('{"model_a":"a","model_b":"b","winner":"left","count":2}\n')
    # 1000 + 4 / 2, then 4 (1 - 1 / (1 + 10^(-4 / 400))) more.
    second = 4 * (1 - 1 / (1 + 10 ** (-4 / 400)))
    found = board(path, "--system", "elo")
    assert ratings(found) == {"a": pytest.approx(1002 + second, abs=1e-9), "b": pytest.approx(998 - second, abs=1e-9)}
    assert [row["rank"] for row in found["board"]] == [1, 2]
    assert found["parameters"]["k"] == 4 and found["parameters"]["scale"] == 400


def test_settings_change_what_they_say(small: Path) -> None:
    assert board(small)["parameters"]["cluster"] == "voter"
    plain = board(small, "--cluster", "none")
    assert plain["parameters"]["cluster"] is None and ratings(plain) == ratings(board(small))
    assert plain["board"] != board(small)["board"]
    assert board(small, "--category", "cats")["n_votes"] == 10
    dropped = board(small, "--ties", "drop")
    assert dropped["parameters"]["ties"] == "drop" and ratings(dropped).keys() == ratings(plain).keys()
    assert ratings(board(small, "--system", "elo", "--ties", "drop")) != ratings(board(small, "--system", "elo"))
    assert ratings(board(small, "--system", "elo", "--k", "32")) != ratings(board(small, "--system", "elo"))


def test_a_name_is_text_and_not_markup(small: Path) -> None:
    small.write_text(SMALL + '"esc\x1b[31m\n",NA,tie,1,ann,cats\n' + f"{'long' * 2500},NA,tie,1,ann,cats\n")
    done = rate(small)
    assert done.exit_code == 0
    assert "[red]x[/red]" in done.stdout and r"esc\x1b[31m\n" in done.stdout and "\x1b[31m" not in done.stdout
    assert "bt board of 18 votes" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--k", "4"], "K is Elo's step"),
        (["--system", "elo", "--k", "0"], "K is 0.0; it has to be a positive number"),
        (["--system", "elo", "--k", "nan"], "K is nan"),
        (["--system", "elo", "--cluster", "voter"], "Elo has no intervals"),
        (["--system", "davidson", "--ties", "half"], "Davidson's model says how likely a tie is"),
    ],
)
def test_a_setting_that_a_system_does_not_have_is_refused(small: Path, arguments: list[str], said: str) -> None:
    error = rate(small, *arguments).exception
    assert isinstance(error, UsageError) and said in str(error)


def test_files_that_cannot_be_rated_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    for rows, said in (
        ("a,b,model_a\n", "No two models can be rated"),
        ("a,b,tie (bothbad)\n", "nothing compares them"),
        ("a,b,win\n", "Row 2 of 'votes.csv' (the header is row 1) has the winner 'win'"),
    ):
        path.write_text("model_a,model_b,winner\n" + rows)
        for system in ("bt", "davidson"):
            error = rate(path, "--system", system).exception
            assert isinstance(error, ArenaError) and said in str(error) and "\n" not in str(error)


def test_an_error_is_a_sentence_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["arena", "rate", "none.csv"])
    with pytest.raises(SystemExit) as left:
        main()
    said = capfd.readouterr()
    assert (left.value.code, said.out) == (1, "")
    assert said.err == "arena: 'none.csv' cannot be read: No such file or directory.\n"


def test_an_unknown_system_is_wrong_usage(small: Path) -> None:
    assert rate(small, "--system", "glicko").exit_code == 2


def test_it_starts_without_torch_pandas_streamlit_or_a_database(small: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from arena.services.rating_files import rate; "
        f"rate(Path({str(small)!r})); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "streamlit", "sqlalchemy"} & set(done.stdout.split())
