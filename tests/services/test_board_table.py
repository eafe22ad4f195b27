"""A published board: one protocol a column, nothing made up, the same in every format, and never changed once kept."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest

from arena.bootstrap import Arena
from arena.domain import Contestant, Generation, ImageRef, Protocol, Score, VoteFilter
from arena.errors import DataError, UsageError
from arena.rating import board as boards
from arena.services import board_table, counting, exchange, snapshots
from arena.services.board_table import Table, chosen, published
from arena.services.board_view import View
from arena.ui.board_html import board_html
from tests.services.test_leaderboard import vote_in_turn
from tests.services.test_tally import dated_votes

FID = Protocol("fid-clean", "1", {"resize": "bicubic"})
OTHER_FID = Protocol("fid-clean", "1", {"resize": "nearest"})


@pytest.fixture
def voted(seeded: Arena) -> Arena:
    vote_in_turn(seeded, voters=4)
    for name, value in (("Swatch A", 20.0), ("Swatch B", 0.0)):
        details = {"low": value - 1, "high": value + 1, "reference_set": "cards", "n_generated": 4}
        seeded.store.add_score(Score(name, "fid-clean", FID, value, details=details))
    seeded.store.add_score(Score("Swatch C", "fid-clean", OTHER_FID, 5.0, details={"reference_set": "cards"}))
    return seeded


def table_of(arena: Arena, view: View | None = None) -> Table:
    found = published(arena, view or View())
    assert found is not None
    return found.table


def test_the_rows_are_the_board_of_the_same_votes(voted: Arena) -> None:
    table, board = table_of(voted), boards.board(counting.comparisons(voted), flips=False)
    shared = ("rank", "rank_low", "rank_high", "rating", "low", "high", "p_best", "votes", "wins", "ties", "both_bad")
    assert [[row["name"], *(row[name] for name in shared)] for row in table.rows] == [
        [row.model, *(getattr(row, name) for name in shared)] for row in board.board
    ]
    assert table.about["votes"] == 64 and table.about["last_vote_id"] == voted.store.newest()[0]
    assert table.about["voters"] == 4


def test_a_column_holds_one_fingerprint_and_what_is_missing_is_none(voted: Arena) -> None:
    table = table_of(voted)
    (fid,) = [figure for figure in table.figures if figure["key"] == "fid"]
    assert fid["fingerprint"] == FID.fingerprint and fid["reference"] == "cards"
    values = {row["name"]: board_table.value(row, "fid") for row in table.rows}
    assert values == {"Swatch A": 20.0, "Swatch B": 0.0, "Swatch C": None}
    assert {figure["key"] for figure in table.figures} == {"fid", "seconds"}, "no one has a cost, so there is no column"


def test_what_images_cost_stands_in_the_table_and_in_its_files(voted: Arena) -> None:
    """Two images of 0.5 megapixels at 0.01 and 0.03 USD: 0.04 USD a megapixel, 50 images for a dollar."""
    first, second, *_ = voted.store.prompts()
    for name, costs in (("Swatch A", (0.01, 0.03)), ("Swatch B", (2.0,))):
        contestant = voted.store.contestant(name)
        voted.store.add_generations(
            Generation(contestant.id or 0, prompt.id or 0, 1, ImageRef(f"{n}" * 64, 1000, 500), 1.0, usd,
                       cost_source="provider")
            for n, (prompt, usd) in enumerate(zip((first, second), costs, strict=False))
        )  # fmt: skip
    table = table_of(voted)
    columns = {figure["key"]: figure for figure in table.figures}
    assert [*columns] == ["fid", "seconds", "cost", "images_per_usd"]
    assert columns["images_per_usd"]["higher_is_better"] and not columns["cost"]["higher_is_better"]
    found = {row["name"]: [board_table.value(row, key) for key in ("cost", "images_per_usd")] for row in table.rows}
    assert found["Swatch A"] == pytest.approx([0.04, 50.0]) and found["Swatch B"] == pytest.approx([4.0, 0.5])
    assert found["Swatch C"] == [None, None], "its images have no known cost"
    page = board_html(table, table.rows, View())
    for shown in (
        "$ / megapixel", "<td>0.04<br><small>50 per $</small></td>",
        "<td>4<br><small>0.5 per $</small></td>",
    ):  # fmt: skip
        assert shown in page
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(board_table.as_csv(table, table.rows).decode()))}
    assert [float(rows["Swatch A"][key]) for key in ("cost", "images_per_usd")] == pytest.approx([0.04, 50.0])
    assert rows["Swatch C"]["images_per_usd"] == ""
    assert [row["name"][-1] for row in chosen(table, View(sort="-images_per_usd"))] == ["A", "B", "C"]


@pytest.mark.parametrize(("sort", "order"), [("fid", "BAC"), ("-fid", "ABC"), ("name", "ABC"), ("-name", "CBA")])
def test_rows_are_sorted_and_what_is_missing_comes_last(voted: Arena, sort: str, order: str) -> None:
    rows = chosen(table_of(voted), View(sort=sort))
    assert "".join(row["name"][-1] for row in rows) == order


def test_rows_are_found_by_name_and_card_and_keep_their_ranks(voted: Arena) -> None:
    voted.store.add_contestant(
        Contestant("Swatch A", "swatch", {"tint": "A"}, {"licence": "MIT", "open_weights": False, "organisation": "Us"})
    )
    table = table_of(voted)
    ranks = {row["name"]: row["rank"] for row in table.rows}
    for view in (View(search=" swatch a"), View(licence="MIT"), View(weights="closed")):
        (row,) = chosen(table, view)
        assert (row["name"], row["rank"], row["organisation"]) == ("Swatch A", ranks["Swatch A"], "Us")
    assert len(chosen(table, View(weights="unknown"))) == 2 and len(chosen(table, View(backend="swatch"))) == 3
    assert chosen(table, View(search="nobody")) == []


def test_the_filters_are_those_of_the_votes(voted: Arena, tmp_path: Path) -> None:
    exchange.import_votes(voted, dated_votes(tmp_path / "votes.csv"))
    view = View(category="cards", time="2026-11-03..2026-11-05")
    table = table_of(voted, view)
    votes = view.votes(None)  # type: ignore[arg-type]
    assert table.about["votes"] == counting.comparisons(voted, votes).votes > 0
    assert table.about["since"] == "2026-11-03T00:00:00+00:00" and table.about["until"] == "2026-11-06T00:00:00+00:00"


def test_a_category_has_pooled_ratings_and_no_elo(voted: Arena) -> None:
    whole, part = table_of(voted), table_of(voted, View(category="cards"))
    assert all(row["elo"] is not None and row["pooled"] is None for row in whole.rows)
    assert all(row["elo"] is None for row in part.rows) and any(row["pooled"] is not None for row in part.rows)


def test_style_that_cannot_be_taken_out_is_said(seeded: Arena) -> None:
    with pytest.raises(DataError, match="no vote was cast on images"):
        published(seeded, View(style="controlled"))


def test_every_file_holds_the_same_numbers(voted: Arena) -> None:
    table = table_of(voted)
    rows = chosen(table, View())
    records = board_table.as_records(table, rows)
    parquet = pyarrow.parquet.read_table(io.BytesIO(board_table.as_parquet(table, rows)))
    assert parquet.to_pylist() == records
    assert json.loads(parquet.schema.metadata[b"arena"])["about"] == json.loads(json.dumps(dict(table.about)))
    read = [*csv.DictReader(io.StringIO(board_table.as_csv(table, rows).decode()))]
    for line, record in zip(read, records, strict=True):
        assert line == {name: "" if cell is None else str(cell) for name, cell in record.items()}
        assert line["fid"] == ("" if record["fid"] is None else repr(record["fid"]))
    assert Table.of_json(json.loads(board_table.as_json(table, rows))) == Table.of_json(
        json.loads(json.dumps(table.as_json()))
    )


def test_a_file_of_no_rows_is_one(voted: Arena) -> None:
    table = table_of(voted)
    assert board_table.as_csv(table, []) == b"name\n"
    assert json.loads(board_table.as_json(table, []))["rows"] == []


# Snapshots


def test_a_snapshot_stays_though_votes_come_in_and_go(voted: Arena, tmp_path: Path) -> None:
    before = table_of(voted)
    id = snapshots.keep(voted, before)
    vote_in_turn(voted, voters=6, votes=2)
    exchange.import_votes(voted, dated_votes(tmp_path / "votes.csv"))
    voted.store.exclude_vote(1, "a test")
    voted.store.add_score(Score("Swatch A", "fid-clean", FID, 1.0, details={"reference_set": "cards"}))
    assert table_of(voted).rows != before.rows
    found = snapshots.opened(voted, id)
    assert found.table == Table.of_json(json.loads(json.dumps(before.as_json())))


def test_a_snapshot_is_what_its_recipe_makes_again(voted: Arena) -> None:
    """The ledger up to the vote that the snapshot names gives its ratings again, to the last bit."""
    id = snapshots.keep(voted, table_of(voted))
    vote_in_turn(voted, voters=6, votes=2)
    kept = snapshots.opened(voted, id).table
    again = boards.board(counting.comparisons(voted, VoteFilter(up_to=kept.about["last_vote_id"])), flips=False)
    assert [(row["name"], row["rating"], row["low"], row["high"]) for row in kept.rows] == [
        (row.model, row.rating, row.low, row.high) for row in again.board
    ]


def test_the_same_board_has_one_address_and_another_has_another(voted: Arena) -> None:
    first = snapshots.keep(voted, table_of(voted))
    assert snapshots.keep(voted, table_of(voted)) == first
    assert snapshots.keep(voted, table_of(voted, View(category="cards"))) != first
    voted.store.exclude_vote(2, "a test")
    assert snapshots.keep(voted, table_of(voted)) != first


@pytest.mark.parametrize("id", ["", "0" * 16, "../../etc/passwd", "<script>", "0" * 400])
def test_a_snapshot_that_there_is_not_is_a_sentence(voted: Arena, id: str) -> None:
    with pytest.raises(UsageError, match="There is no snapshot"):
        snapshots.opened(voted, id)


def test_strangers_cannot_fill_the_disk(voted: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MOST", 1)
    table = table_of(voted)
    id = snapshots.keep(voted, table)
    assert snapshots.keep(voted, table) == id
    with pytest.raises(UsageError, match="try again tomorrow"):
        snapshots.keep(voted, replace(table, about={**table.about, "last_vote_id": 1}))
