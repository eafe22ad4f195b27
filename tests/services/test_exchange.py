"""Votes go out and come in: nothing lost, nothing half done, and the board is the same to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arena.bootstrap import Arena, open_arena
from arena.domain import VOTES_BACKEND
from arena.errors import DataError, UsageError
from arena.rating import board as boards
from arena.rating import elo
from arena.services import battles, exchange, generation
from arena.services.counting import comparisons
from arena.services.leaderboard import leaderboard
from arena.services.rating_files import rate
from arena.settings import load_settings
from tests.conftest import fill_with_swatches

FILE = (
    "model_a,model_b,winner,count,voter,prompt,category,timestamp\n"
    'x,"y, ""the second""",model_a,3,ann,a bear,animals,2026-01-02T03:04:05+00:00\n'
    'Swatch A,x,tie,1,bob,a bear,animals,\n'
    'Swatch A,"y, ""the second""",model_b,2,bob,a house,buildings,1767323045\n'
    'x,Swatch A,model_b,1,,a house,buildings,2026-01-02\n'
    '"y, ""the second""",x,tie (bothbad),1,ann,,,\n'
)  # fmt: skip


def vote_some(arena: Arena) -> Arena:
    fill_with_swatches(arena)
    for n in range(3):
        for battle, outcome in zip(
            battles.open_battles(arena, f"person:{n}", n=8), ["left", "right", "tie", "both_bad"] * 2, strict=True
        ):
            battles.vote(arena, f"person:{n}", battle.token, outcome)
    return arena


def board_json(arena: Arena) -> str:
    found = boards.board(comparisons(arena), flips=False).as_json()
    return json.dumps({key: found[key] for key in ("n_votes", "board", "warnings")})


def file_json(path: Path) -> str:
    found = rate(path).as_json()
    return json.dumps({key: found[key] for key in ("n_votes", "board", "warnings")})


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_the_board_of_an_export_is_the_board_it_came_from_to_the_byte(arena: Arena, tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"votes.{kind}"
    assert exchange.export_votes(vote_some(arena), file) == 24
    assert file_json(file) == board_json(arena)
    other = open_arena(load_settings(data_dir=tmp_path / "other"), prepare=True)
    assert exchange.import_votes(other, file).new_contestants == ("Swatch A", "Swatch B", "Swatch C")
    assert board_json(other) == board_json(arena)
    again = tmp_path / f"again.{kind}"
    exchange.export_votes(other, again)
    assert again.read_bytes() == file.read_bytes()


def test_an_export_names_no_visitor(arena: Arena, tmp_path: Path) -> None:
    exchange.export_votes(vote_some(arena), tmp_path / "votes.csv")
    assert "person:" not in (tmp_path / "votes.csv").read_text()


def test_imported_votes_join_the_models_of_their_names_and_the_live_ratings(any_arena: Arena, tmp_path: Path) -> None:
    vote_some(any_arena)
    file = tmp_path / "votes.csv"
    file.write_text(FILE)
    report = exchange.import_votes(any_arena, file)
    assert report == exchange.ImportReport(8, ("x", 'y, "the second"'))
    board = leaderboard(any_arena)
    assert board.votes == 24 + 8 and {row.name for row in board.rows} >= {"x", 'y, "the second"', "Swatch A"}
    pairs = any_arena.store.voted_pairs()
    assert len(pairs) == 32 and any_arena.store.cached_ratings(battles.BOARD) == elo.replay(pairs, 32.0)
    # Live votes go on after an import, and generation leaves the new models alone.
    [battle] = battles.open_battles(any_arena, "person:9", n=1)
    battles.vote(any_arena, "person:9", battle.token, "left")
    assert any_arena.store.cached_ratings(battles.BOARD) == elo.replay(any_arena.store.voted_pairs(), 32.0)
    assert {c.backend for c in any_arena.store.contestants()} == {"swatch", VOTES_BACKEND}
    assert VOTES_BACKEND not in {c.backend for c in generation.plan(any_arena)}
    assert "animals" in any_arena.store.categories()


def test_a_vote_without_a_voter_stands_alone(arena: Arena, tmp_path: Path) -> None:
    file = tmp_path / "votes.csv"
    file.write_text(FILE)
    exchange.import_votes(arena, file)
    assert comparisons(arena).clusters == 3
    alone = tmp_path / "alone.csv"
    alone.write_text("model_a,model_b,winner,count\nx,z,tie,5\n")
    exchange.import_votes(arena, alone)
    assert comparisons(arena).clusters == 3 + 5


def test_a_file_is_imported_once(arena: Arena, tmp_path: Path) -> None:
    file = tmp_path / "votes.csv"
    file.write_text(FILE)
    exchange.import_votes(arena, file)
    with pytest.raises(UsageError, match="imported before"):
        exchange.import_votes(arena, file)
    assert leaderboard(arena).votes == 8


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x,x,tie,1,,,,", "x"),
        ("x,z,model_c,1,,,,", "model_c"),
        ("x,z,tie,-1,,,,", "-1"),
        ("x,z,tie,1.5,,,,", "1.5"),
        ("x,z,tie,1,,,,yesterday", "'yesterday'"),
        (f"{'n' * 10_000},z,tie,1,,,,", "10000 characters"),
        (f"x,z,tie,1,,,{'c' * 100},", "longer than 64"),
    ],
)
def test_one_bad_vote_and_nothing_is_imported(arena: Arena, tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "votes.csv"
    file.write_text(FILE + line + "\n")
    with pytest.raises(DataError) as refused:
        exchange.import_votes(arena, file)
    assert said in str(refused.value) and ("6" in str(refused.value) or "7" in str(refused.value))
    assert arena.store.contestants() == [] and arena.store.voted_pairs() == []
    assert not arena.store.has_imported(exchange.file_sha256(file))


def test_a_missing_file_is_one_sentence(arena: Arena, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing.csv.* cannot be read"):
        exchange.import_votes(arena, tmp_path / "nothing.csv")
