"""Files of votes: all formats read and write alike, names stay verbatim, what is unclear is refused by its row."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from arena.domain import Outcome
from arena.errors import DataError
from arena.services import tables, votes_files
from arena.services.tables import EXTENSIONS
from arena.services.votes_files import Cluster, VoteRow, read_rows, read_votes, write_votes

HEADER = b"model_a,model_b,winner\n"
COUNTED = b"model_a,model_b,winner,count\n"
ODD = [
    VoteRow('comma, "quote"\r\n', "x" * 10_000, Outcome.BOTH_BAD, 3, "v", None, "é", "2026-01-02T03:04:05Z"),
    VoteRow("NA", " null \r", Outcome.LEFT),
    VoteRow("\ufeffmark", "[bold]熊🧸\x00", Outcome.TIE, 2, None, "p\n1"),
    VoteRow("NaN", "NA", Outcome.RIGHT, 2**40),
]


def put(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def refused(path: Path, **how) -> str:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError) as caught:
        read_votes(path, **how)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 400
    return sentence


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_what_is_written_is_read_and_written_again_to_the_byte(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"votes{extension}"
    assert write_votes(path, ODD) == len(ODD)
    first = path.read_bytes()
    assert list(read_rows(path)) == ODD
    write_votes(path, list(read_rows(path)))
    assert path.read_bytes() == first
    assert [found.name for found in tmp_path.iterdir()] == [path.name], "nothing is left beside it"


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
vote_rows = st.builds(
    VoteRow, texts, texts, st.sampled_from(Outcome), st.integers(1, 10**12), *[st.none() | texts] * 4
).filter(lambda row: row.model_a != row.model_b and row.model_a.strip() and row.model_b.strip())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(vote_rows, min_size=1, max_size=5), st.sampled_from([".csv", ".jsonl", ".parquet"]))
def test_any_text_survives(tmp_path: Path, rows: list[VoteRow], extension: str) -> None:
    write_votes(tmp_path / f"votes{extension}", rows)
    assert list(read_rows(tmp_path / f"votes{extension}")) == rows


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_all_formats_say_the_same(tmp_path: Path, extension: str) -> None:
    write_votes(tmp_path / f"votes{extension}", ODD)
    comparisons = read_votes(tmp_path / f"votes{extension}", cluster=Cluster.NONE).comparisons
    assert comparisons.contestants == tuple(sorted({name for row in ODD for name in row[:2]}))
    found = {
        (comparisons.contestants[a], comparisons.contestants[b], code): count
        for a, b, code, count in zip(
            comparisons.left, comparisons.right, comparisons.outcome, comparisons.count, strict=True
        )
    }
    codes = {Outcome.LEFT: 0, Outcome.RIGHT: 1, Outcome.TIE: 2, Outcome.BOTH_BAD: 3}
    assert found == {(row.model_a, row.model_b, codes[row.winner]): row.count for row in ODD}


@pytest.mark.parametrize("word", sorted(votes_files.WINNERS))
def test_every_accepted_winner(tmp_path: Path, word: str) -> None:
    [row] = read_rows(put(tmp_path, "v.csv", HEADER + f"a,b,{word}\n".encode()))
    assert row.winner is votes_files.WINNERS[word]


def test_the_arenas_own_columns_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = put(tmp_path, "v.CSV", b"\xef\xbb\xbfid,left,winner,right\r\n\r\n7,a,left,b\r\n8,b,both_bad,c\r\n")
    assert list(read_rows(path)) == [VoteRow("a", "b", Outcome.LEFT), VoteRow("b", "c", Outcome.BOTH_BAD)]


def test_pandas_and_its_float_counts_and_categories(tmp_path: Path) -> None:
    table = pa.table({
        "model_a": pa.array(["a", "b"]).dictionary_encode(), "model_b": pa.array(["b", "NA"], pa.large_string()),
        "winner": ["model_a", "tie"], "count": [2.0, 1e15], "voter": [1, 2],
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "v.parquet")
    found = read_votes(tmp_path / "v.parquet")
    assert found.cluster is Cluster.VOTER and found.comparisons.clusters == 2
    assert found.comparisons.votes == 10**15 + 2


def test_voters_prompts_or_nobody_hang_together(tmp_path: Path) -> None:
    path = put(tmp_path, "v.csv", b"model_a,model_b,winner,voter,prompt\na,b,tie,x,p\na,b,tie,x,q\na,b,tie,y,q\n")
    assert [read_votes(path).comparisons.clusters, *read_votes(path).comparisons.count] == [2, 1, 2]
    assert read_votes(path, cluster=Cluster.PROMPT).comparisons.clusters == 2
    plain = read_votes(path, cluster=Cluster.NONE)
    assert plain.comparisons.cluster is None and list(plain.comparisons.count) == [3]
    assert read_votes(put(tmp_path, "w.csv", HEADER + b"a,b,tie\n")).cluster is Cluster.NONE


def test_the_order_is_that_of_the_file(tmp_path: Path) -> None:
    path = put(tmp_path, "v.csv", b"model_a,model_b,winner,count,category\nb,a,tie,1,x\nz,y,tie,1,y\na,c,left,5,x\n")
    found = read_votes(path, category="x", ordered=True)
    assert found.comparisons.contestants == ("a", "b", "c") and found.order is not None
    assert [column.tolist() for column in found.order] == [[1, 0], [0, 2], [2, 0], [1, 5]]


def test_small_parts_give_what_one_part_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = [
        VoteRow(f"m{a}", f"m{(a + 1 + b) % 9}", Outcome.LEFT if b % 2 else Outcome.TIE, 1 + a, f"v{b}", "p" * b)
        for a, b in zip(rng.integers(0, 9, 900).tolist(), rng.integers(0, 7, 900).tolist(), strict=True)
    ]
    rows = [row for row in rows if row.model_a != row.model_b]
    for extension in (".csv", ".jsonl", ".parquet"):
        path = tmp_path / f"v{extension}"
        write_votes(path, rows)
        whole = read_votes(path).comparisons
        with monkeypatch.context() as small:
            small.setattr(tables, "BLOCK", 512)
            small.setattr(tables, "ROWS", 7)
            again = read_votes(path).comparisons
        for name in ("left", "right", "outcome", "count", "cluster"):
            np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("v.csv", b"", "'v.csv' is empty"),
        ("v.csv", b"\n\r\n", "'v.csv' is empty"),
        ("v.csv", HEADER, "has no votes, only the names of its columns"),
        ("v.csv", HEADER + b"a,b,tie\nc,c,tie\n", "Row 3 of 'v.csv' (the header is row 1) compares 'c' with itself"),
        ("v.csv", HEADER + b'"a\n",c,tie\n\na,"",tie\n', "Row 3 of 'v.csv' (the header is row 1) has an empty"),
        ("v.csv", HEADER + b"a, ,tie\n", "has an empty 'model_b'"),
        ("v.csv", HEADER + b"a,b,Tie\n", "has the winner 'Tie'; accepted are 'model_a', 'left', 'model_b', "),
        ("v.csv", HEADER + b"a,b,\n", "has the winner ''; accepted are"),
        ("v.csv", COUNTED + b"a,b,tie,1\na,b,tie,-1\n", "Row 3 of 'v.csv' (the header is row 1) has the count '-1'"),
        ("v.csv", COUNTED + b"a,b,tie,1.5\n", "has the count '1.5'; it has to be a whole number from 1 upwards"),
        ("v.csv", COUNTED + b"a,b,tie,0\n", "has the count '0'"),
        ("v.csv", COUNTED + b"a,b,tie,\n", "has the count ''"),
        ("v.csv", COUNTED + b"a,b,tie,many\n", "has the count 'many'"),
        ("v.csv", COUNTED + b"a,b,tie,9007199254740992\na,b,tie,1\n", "add up to more than 9007199254740992"),
        ("v.csv", b"model_a,Winner,x\na,b,tie\n", "has no column 'model_b'; it has 'Winner', 'model_a', 'x'"),
        ("v.csv", b"model_a,model_b,winner,winner\na,b,tie,tie\n", "has two columns 'winner'"),
        ("v.csv", HEADER + b"a,b,tie\na,b\n", "Row 3 of 'v.csv' (the header is row 1) has 2 values, not 3: 'a,b'"),
        ("v.csv", HEADER + b"a,b,tie,x\n", "has 4 values, not 3"),
        ("v.csv", HEADER + b"a,b,tie\na,\xff,tie\n", "Row 3 of 'v.csv' (the header is row 1) is not UTF-8"),
        ("v.csv", HEADER.decode().encode("utf-16"), "is not UTF-8"),
        ("v.csv", HEADER + b'a,b,tie\na,"b' + b"x" * (5 << 20), "has a row longer than 2 MB; is a quotation mark"),
        ("v.csv", HEADER + b'a,b,tie\na,b,"tie', "Row 3 of 'v.csv' (the header is row 1) opens a quotation mark"),
        ("v.csv", HEADER[:-1] + b',id\na,b,tie,"7\n', "Row 2 of 'v.csv' (the header is row 1) opens a quotation mark"),
        ("v.csv", HEADER[:-1] + b',id\r\na,b,tie,"""\r\n', "opens a quotation mark that is never closed: '\"\\r\\n'"),
        ("v.csv.gz", gzip.compress(HEADER + b"a,b,tie\n" * 999)[:-9], "is damaged or cut off"),
        ("v.csv.gz", b"plain text", "is damaged or cut off"),
        ("v.txt", HEADER, "has to end in .csv, .csv.gz, .jsonl, .jsonl.gz, .parquet"),
        ("v.jsonl", b"\n \n", "'v.jsonl' is empty"),
        ("v.jsonl", b'{"a": 1}\n', "has no column 'model_a'; it has 'a'"),
        ("v.jsonl", b"[\n", "Line 1 of 'v.jsonl' is no JSON: '['"),
        ("v.jsonl", b"[1]\n", "Line 1 of 'v.jsonl' is no JSON object"),
        ("v.jsonl", b" " * (2 << 20), "is longer than 2 MB"),
        ("v.parquet", b"PAR1 and no more", "is no whole Parquet file"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_counted_is_one_sentence(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    assert said in refused(put(tmp_path, name, content))


@pytest.mark.parametrize("last", ['""', '""""', '","""', '"a\nb"', '5" screen', "", 'x"', '"a,""b"""'])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_marks_that_are_closed_or_mean_themselves_are_no_fault(tmp_path: Path, last: str, end: str) -> None:
    [row] = read_rows(put(tmp_path, "v.csv", HEADER[:-1] + f",id\na,b,tie,{last}{end}".encode()))
    assert row == VoteRow("a", "b", Outcome.TIE)


def test_a_large_file_is_read_in_parts(tmp_path: Path) -> None:
    """Forty megabytes of votes in parts of 64 kB, some dozens of which are read ahead: never more than eight in memory,
    neither pyarrow's nor Python's."""
    line = b"a" * 500 + b"," + b"b" * 500 + b",model_a\n"
    path = put(tmp_path, "v.csv", HEADER + line * (40_000_000 // len(line)))
    program = (
        "import sys, tracemalloc; from pathlib import Path; import pyarrow as pa; "
        "from arena.services import tables; tables.BLOCK = 1 << 16; "
        "from arena.services.votes_files import read_votes; tracemalloc.start(); "
        "print(read_votes(Path(sys.argv[1])).comparisons.votes, pa.default_memory_pool().max_memory(), "
        "tracemalloc.get_traced_memory()[1])"
    )
    said = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True).stdout
    votes, arrow, python = map(int, said.split())
    assert votes == 40_000_000 // len(line) and max(arrow, python) < 8_000_000


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"model_a":"a","model_b":"c"}', "Line 3 of 'v.jsonl' has no 'winner'"),
        (b'{"model_a":5,"model_b":"c","winner":"tie"}', "has '5' as 'model_a', which is not text"),
        (b'{"model_a":"a","model_a":"b"}', "has 'model_a' twice"),
        (b'{"model_a":"a","model_b":"\\ud800","winner":"tie"}', "half a surrogate pair in 'model_b'"),
        (b'{"model_a":"a","model_b":"c","winner":"tie","count":true}', "'true' as 'count', neither text nor a number"),
        (b'{"model_a":"a","model_b":"c","winner":"tie","count":null}', "has no 'count'"),
        (b'{"model_a":"a","model_b":"c","winner":"tie","count":1.5}', "has the count '1.5'"),
        (b'{"model_a":"a","model_b":"c","winner":"tie","voter":"x"}', "names a voter and those before it do not"),
        (b'{"model_a":"a","model_b":"\xff","winner":"tie"}', "is not UTF-8"),
        (b'{"model_a":"a","mod', "is no JSON"),
    ],
)
def test_a_bad_line_of_json_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    sentence = refused(put(tmp_path, "v.jsonl", b'{"model_a":"a","model_b":"b","winner":"tie"}\n\n' + line + b"\n"))
    assert said in sentence and "Line 3 of 'v.jsonl'" in sentence


def test_a_bad_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    good = {"model_a": ["a", "b"], "model_b": ["b", "c"], "winner": ["tie", "tie"]}
    for change, said in (
        ({"model_a": ["a", None]}, "Row 2 of 'v.parquet' (the first vote is row 1) has no 'model_a'"),
        ({"model_a": [1, 2]}, "Column 'model_a' of 'v.parquet' holds int64, not text"),
        ({"count": [1, 0]}, "Row 2 of 'v.parquet' (the first vote is row 1) has the count '0'"),
        ({"count": [1.0, 1.5]}, "has the count '1.5'"),
        ({"count": [[1], [1]]}, "neither text nor numbers"),
    ):
        parquet.write_table(pa.table({**good, **change}), path)
        assert said in refused(path)
    parquet.write_table(pa.table(good), path)
    assert "it may be cut off" in refused(put(tmp_path, "w.parquet", path.read_bytes()[:-9]))
    parquet.write_table(pa.table(good).slice(0, 0), path)
    assert "has no votes" in refused(path)


def test_what_a_setting_needs_has_to_be_there(tmp_path: Path) -> None:
    plain = put(tmp_path, "v.csv", HEADER + b"a,b,tie\n")
    assert "has no column 'voter'; it has 'model_a', 'model_b', 'winner'" in refused(plain, cluster=Cluster.VOTER)
    assert "has no column 'category'" in refused(plain, category="x")
    rich = put(tmp_path, "w.csv", b"model_a,model_b,winner,voter,category\na,b,tie,x,red\na,b,tie,,blue\n")
    assert "Row 3 of 'w.csv' (the header is row 1) has no 'voter' to cluster by" in refused(rich)
    assert "no votes of the category 'green'; it has 'blue', 'red'" in refused(
        rich, category="green", cluster=Cluster.NONE
    )
    assert "cannot be read: No such file" in refused(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "cannot be read: Is a directory" in refused(tmp_path / "folder.csv")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (VoteRow("a", "a", Outcome.TIE), "it needs two models by name"),
        (VoteRow("a", " ", Outcome.TIE), "it needs two models by name"),
        (VoteRow("a", "b", Outcome.TIE, 0), "has the count 0"),
        (VoteRow("a", "\ud800", Outcome.TIE), "half a surrogate pair"),
    ],
)
def test_a_row_that_could_not_be_read_is_not_written(tmp_path: Path, row: VoteRow, said: str) -> None:
    path = tmp_path / "v.csv"
    write_votes(path, ODD)
    before = path.read_bytes()
    with pytest.raises(DataError, match=f"Vote 2 to write.*{said}"):
        write_votes(path, [ODD[1], row])
    assert path.read_bytes() == before and [found.name for found in tmp_path.iterdir()] == ["v.csv"]


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written: No such file"):
        write_votes(tmp_path / "none" / "v.csv", ODD)
