"""Tables of verdicts: every format reads alike, both orders make one pair, what is unclear is refused with its row."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from arena.errors import DataError
from arena.rating.agreement import Share
from arena.services import tables
from arena.services.agreement import WORDS, Report, agreement

WORD = ["A>B", "B>A", "tie", "bothbad", ""]
TWO_ORDERS = [
    ("A>B", "A>B", "AB", "one"), ("A>B", "A>B", "BA", "one"),
    ("B>A", "A>B", "AB", "two"), ("", "B>A", "BA", "two"),
    ("tie", "tie", "BA", "three"), ("tie", "", "AB", "three"),
    ("bothbad", "bothbad", "AB", "four"),
]  # fmt: skip


def put(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return path


def csv_of(rows: list[tuple[str, ...]], header: str = "human,judge,order,pair") -> str:
    return "\n".join([",".join(header.split(",")[: len(rows[0]) if rows else None]), *map(",".join, rows)]) + "\n"


def held(folder: Path, rows: list[tuple[str, ...]]) -> Report:
    return agreement(put(folder, "table.csv", csv_of(rows)))


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        agreement(path)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 300
    return sentence


def test_the_documented_figures_by_hand(tmp_path: Path) -> None:
    rows = [
        ("A>B", "A>B"),
        ("A>B", ""),
        ("B>A", "A>B"),
        ("B>A", "tie"),
        ("tie", "tie"),
        ("bothbad", "B>A"),
        ("", "A>B"),
    ]
    report = held(tmp_path, rows)
    found = report.as_json()
    assert list(found) == [
        "n", "coverage", "accuracy4", "kappa4", "decisive_accuracy", "decisive_low", "decisive_high",
        "decisive_coverage", "picks_first_judge", "picks_first_human",
    ]  # fmt: skip
    assert report.without_vote == 1
    assert found["n"] == 6 and found["coverage"] == 5 / 6
    assert found["accuracy4"] == 2 / 5
    # People: A, B, B, tie, bad; the judge: A, A, tie, tie, B. Chance agrees in (1·2 + 2·1 + 1·2) / 25.
    assert found["kappa4"] == pytest.approx((2 / 5 - 6 / 25) / (1 - 6 / 25))
    assert found["decisive_accuracy"] == 1 / 2 and found["decisive_coverage"] == 3 / 4 - 1 / 4
    wilson = Share(1, 2).estimate
    assert (found["decisive_low"], found["decisive_high"]) == (wilson.low, wilson.high)
    assert found["picks_first_judge"] == 2 / 5 and found["picks_first_human"] == 2 / 6


def test_nothing_to_count_is_null_and_not_zero(tmp_path: Path) -> None:
    found = held(tmp_path, [("A>B", ""), ("tie", "")]).as_json()
    assert found["coverage"] == 0 and found["decisive_coverage"] == 0 and found["picks_first_human"] == 0.5
    missing = {"accuracy4", "kappa4", "decisive_accuracy", "decisive_low", "decisive_high", "picks_first_judge"}
    assert {name for name, value in found.items() if value is None} == missing
    json.loads(json.dumps(found, allow_nan=False))


def test_rows_of_one_pair_in_two_orders_are_one_pair(tmp_path: Path) -> None:
    found = held(tmp_path, TWO_ORDERS).agreement
    assert found.n == 4
    assert found.coverage == Share(3, 4), "an order without a verdict leaves the pair unscored"
    assert found.accuracy4 == Share(2, 3) and found.decisive == Share(1, 1) and found.decisive_coverage == Share(1, 2)
    assert found.orders.consistent == Share(1, 2) and found.orders.to_first == 1
    # one: first, second; two: first, first; three and four: neither.
    assert (found.judge_places.first, found.judge_places.second, found.judge_places.neither) == (3, 1, 2)


def test_order_or_pair_alone_joins_nothing(tmp_path: Path) -> None:
    ordered = held(tmp_path, [row[:3] for row in TWO_ORDERS if row[0]]).agreement
    assert ordered.n == 6 and ordered.orders is None
    assert ordered.judge_places.second == 1, "a verdict for A that was shown second"
    paired = agreement(put(tmp_path, "pair.csv", "human,judge,pair\nA>B,A>B,x\nB>A,A>B,x\n")).agreement
    assert paired.n == 2 and paired.decisive == Share(1, 2)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(WORD), st.sampled_from(WORD)), min_size=1, max_size=30))
def test_every_format_says_the_same(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    if not any(human for human, _ in rows):
        rows = [*rows, ("A>B", "A>B")]
    lines = "".join(json.dumps({"human": h or None, "judge": j or None, "extra": [1]}) + "\n" for h, j in rows)
    table = pa.table({name: [row[k] or None for row in rows] for k, name in enumerate(["human", "judge"])})
    parquet.write_table(table, tmp_path / "table.parquet")
    paths = [tmp_path / "table.parquet", put(tmp_path, "table.jsonl", lines), put(tmp_path, "table.jsonl.gz", lines)]
    paths += [put(tmp_path, name, csv_of(rows)) for name in ("table.csv", "table.csv.gz")]
    counts = [agreement(path).agreement.counts for path in paths]
    order = [*WORDS, ""]
    plain = np.zeros((5, 5), int)
    for human, judge in rows:
        plain[order.index(human), order.index(judge)] += 1
    for found in counts:
        np.testing.assert_array_equal(found, plain[:4])


def test_small_parts_give_what_one_part_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    human = rng.integers(0, 4, 200)
    rows = [(WORD[human[i // 2]], WORD[rng.integers(0, 5)], ["AB", "BA"][i % 2], f"p{i // 2}") for i in range(400)]
    lines = "".join(json.dumps(dict(zip(("human", "judge", "order", "pair"), row, strict=True))) + "\n" for row in rows)
    paths = [put(tmp_path, "t.jsonl", lines), put(tmp_path, "t.csv", csv_of(rows))]
    whole = [agreement(path).agreement for path in paths]
    monkeypatch.setattr(tables, "ROWS", 7)
    monkeypatch.setattr(tables, "BLOCK", 512)
    for path, before in zip(paths, whole, strict=True):
        after = agreement(path).agreement
        assert before.n == 200 and (after.counts == before.counts).all()
        assert (after.orders, after.judge_places) == (before.orders, before.judge_places)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty; a table of verdicts has the columns human, judge"),
        ("human,judge\n", "has no human vote"),
        ("human,judge\n,A>B\n", "has no human vote"),
        ("human\nA>B\n", "has no column 'judge'; it has 'human'"),
        (
            "human,judge\nA>B,A>B\nA>B,left\n",
            "Row 3 of 't.csv' (the header is row 1) has 'left' as 'judge'; accepted are",
        ),
        ("human,judge\nA<B,A>B\n", "Row 2 of 't.csv' (the header is row 1) has 'A<B' as 'human'"),
        ("human,judge\nA>B, tie\n", "has ' tie' as 'judge'"),
        ("human,judge\nA>B,nan\n", "has 'nan' as 'judge'"),
        ("human,judge\nA>B\n", "has 1 values, not 2"),
        ("human,judge,order\nA>B,tie,1\n", "has '1' as 'order'; accepted are AB, BA"),
        ("human,judge,order\nA>B,tie,AB\nA>B,tie,\n", "Row 3 of 't.csv' (the header is row 1) has no 'order'"),
        ("human,judge,order,pair\nA>B,tie,AB,x\nA>B,tie,BA,\n", "has no 'pair'; fill it in, or leave the column out"),
        (
            "human,judge,order,pair\nA>B,tie,AB,x\nA>B,tie,BA,x\nA>B,tie,AB,x\n",
            "Row 4 of 't.csv' (the header is row 1) is about a pair that has a row in this order already",
        ),
        (
            "human,judge,order,pair\nB>A,tie,AB,x\nA>B,tie,BA,x\n",
            "has another human vote than the other row of its pair",
        ),
        ("human,judge,judge\nA>B,tie,tie\n", "has two columns 'judge'"),
    ],
)
def test_what_is_unclear_is_refused_with_its_row(tmp_path: Path, content: str, said: str) -> None:
    assert said in refused(put(tmp_path, "t.csv", content))


def test_json_and_parquet_are_refused_as_clearly(tmp_path: Path) -> None:
    assert "Line 3 of 't.jsonl' has 'yes' as 'judge'" in refused(
        put(tmp_path, "t.jsonl", '{"human":"A>B","judge":"tie"}\n\n{"human":"A>B","judge":"yes"}\n')
    )
    assert "has '1' as 'judge', which is not text" in refused(put(tmp_path, "n.jsonl", '{"human":"A>B","judge":1}'))
    # An order that turns up late: the rows before it have none.
    late = '{"human":"A>B","judge":"tie"}\n{"human":"A>B","judge":"tie","order":"AB"}\n'
    assert "Line 1 of 'late.jsonl' has no 'order'" in refused(put(tmp_path, "late.jsonl", late))
    parquet.write_table(pa.table({"human": [1], "judge": [2]}), tmp_path / "t.parquet")
    assert "Column 'human' of 't.parquet' holds int64, not text" in refused(tmp_path / "t.parquet")
    assert "is no table of verdicts by its name" in refused(put(tmp_path, "t.txt", "human,judge\n"))
    assert "cannot be read: No such file" in refused(tmp_path / "absent.csv")
