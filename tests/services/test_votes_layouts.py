"""Votes as Chatbot Arena (LMArena) and GenAI-Arena publish them, imported as they are."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv, parquet
from typer.testing import CliRunner

from arena.bootstrap import Arena
from arena.cli import app
from arena.domain import Outcome
from arena.errors import DataError
from arena.services import exchange, json_lists, rating_files
from arena.services.counting import comparisons
from arena.services.votes_files import read_rows, read_votes

LMARENA = {
    "question_id": ["q1", "q2", "q3", "q4"],
    "model_a": ["alpha", "beta", "alpha", "gamma"],
    "model_b": ["beta", "gamma", "gamma", "alpha"],
    "winner": ["model_a", "tie", "tie (bothbad)", "model_b"],
    "judge": ["arena_user_1", "arena_user_2", "arena_user_1", "arena_user_3"],
    "turn": [1, 1, 2, 1],
    "language": ["English", "German", "English", "unknown"],
    "conversation_a": [[{"role": "user", "content": "a bear"}]] * 4,
    "tstamp": [1682351591.5, 1682351592.0, 1682351593.0, 1682351594.0],
}
"""The columns of the data set of 33,000 conversations (2023), with what is nested in it."""


def test_the_columns_of_chatbot_arena(arena: Arena, tmp_path: Path) -> None:
    file = tmp_path / "battles.parquet"
    parquet.write_table(pa.table(LMARENA), file)
    report = exchange.import_votes(arena, file)
    assert report == exchange.ImportReport(4, ("alpha", "beta", "gamma"))
    assert comparisons(arena).clusters == 3, "three people"
    first, *_ = arena.store.exported("people")
    assert first.at == datetime(2023, 4, 24, 15, 53, 11, 500000, UTC)
    assert [vote.outcome for vote in arena.store.exported("people")] == [
        Outcome.LEFT, Outcome.TIE, Outcome.BOTH_BAD, Outcome.RIGHT,
    ]  # fmt: skip


GENAI_BENCH = {
    "prompt": ["a bear", "a bear", "two boats", "a cat"],
    "left_model": ["SDXLTurbo", "PixArtAlpha", "OpenJourney", "SDXL"],
    "left_image": [{"bytes": b"png", "path": "l.png"}] * 4,
    "right_model": ["PixArtAlpha", "SDXL", "SDXLTurbo", "LCM"],
    "right_image": [{"bytes": b"png", "path": "r.png"}] * 4,
    "vote_type": ["leftvote", "rightvote", "tievote", "bothbad_vote"],
}
"""The columns of the image votes of GenAI-Arena, published as GenAI-Bench (configuration image_generation)."""


def test_the_columns_of_genai_arena_s_published_votes(arena: Arena, tmp_path: Path) -> None:
    file = tmp_path / "test_v1-00000-of-00001.parquet"
    parquet.write_table(pa.table(GENAI_BENCH), file)
    report = exchange.import_votes(arena, file)
    assert report == exchange.ImportReport(4, ("LCM", "OpenJourney", "PixArtAlpha", "SDXL", "SDXLTurbo"))
    assert [(vote.left, vote.right, vote.outcome, vote.prompt) for vote in arena.store.exported("people")] == [
        ("SDXLTurbo", "PixArtAlpha", Outcome.LEFT, "a bear"), ("PixArtAlpha", "SDXL", Outcome.RIGHT, "a bear"),
        ("OpenJourney", "SDXLTurbo", Outcome.TIE, "two boats"), ("SDXL", "LCM", Outcome.BOTH_BAD, "a cat"),
    ]  # fmt: skip
    assert rating_files.rate(file).n_votes == 4


def logged(type_: str, shown: list[str | None], names: list[str], ip: str = "203.0.113.7") -> dict[str, object]:
    """An entry of the conversation logs, as the servers of FastChat and GenAI-Arena write it."""
    states = [
        {"template_name": "one", "conv_id": f"{n}", "model_name": name, "prompt": "a bear", "output": None}
        for n, name in enumerate(names)
    ]
    return {"tstamp": 1709164800.25, "type": type_, "models": shown, "states": states, "ip": ip}


LOG = [
    {"tstamp": 1709164799.0, "type": "chat", "model": "SDXL", "gen_params": {}, "state": {}, "ip": "203.0.113.7"},
    logged("leftvote", ["", ""], ["SDXL", "LCM"]),
    logged("bothbad_vote", ["Model A", "Model B"], ["LCM", "SDXL"], "203.0.113.8"),
    logged("tievote", ["SDXL", "LCM"], ["SDXL", "LCM"]),
    logged("tievote", ["### Model A: SDXL", "### Model B: LCM"], ["SDXL", "LCM"]),
    logged("rightvote", ["", "LCM"], ["SDXL", "LCM"]),
    logged("rightvote", [None, None], ["SDXL", "LCM"]),
    logged("rightvote", ["SDXL", "LCM"], ["LCM", "SDXL"]),
    {"tstamp": 1709164801.0, "type": "upvote", "model": "SDXL", "state": {}, "ip": "203.0.113.7"},
    logged("share", ["", ""], ["SDXL", "LCM"]),
]


@pytest.mark.parametrize("name", ["2024-02-29-conv.jsonl", "conv.json"])
def test_conversation_logs_of_genai_arena(arena: Arena, tmp_path: Path, name: str) -> None:
    text = "".join(json.dumps(one) + "\n" for one in LOG) if name.endswith("l") else json.dumps(LOG)
    (tmp_path / name).write_text(text)
    report = exchange.import_votes(arena, tmp_path / name)
    assert report == exchange.ImportReport(2, ("LCM", "SDXL"), 2), (
        "two with names in sight; chats and the like are none"
    )
    found = list(arena.store.exported("people"))
    assert [(vote.left, vote.right, vote.outcome) for vote in found] == [
        ("SDXL", "LCM", Outcome.LEFT), ("LCM", "SDXL", Outcome.BOTH_BAD),
    ]  # fmt: skip
    assert found[0].at == datetime(2024, 2, 29, 0, 0, 0, 250000, UTC) and found[0].prompt == "a bear"
    assert comparisons(arena).clusters == 2
    rows = [*read_rows(tmp_path / name)]
    assert rows[0].voter != rows[1].voter and "203.0" not in repr(rows), "addresses stay out"


def test_a_log_without_votes_says_so(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(LOG[0]) + "\n")
    with pytest.raises(DataError, match=r"'log\.jsonl' holds no vote\."):
        read_votes(tmp_path / "log.jsonl")


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("leftvote", Outcome.LEFT), ("rightvote", Outcome.RIGHT), ("tievote", Outcome.TIE),
        ("bothbad_vote", Outcome.BOTH_BAD), ("model_a", Outcome.LEFT), ("tie (bothbad)", Outcome.BOTH_BAD),
    ],
)  # fmt: skip
def test_the_words_of_genai_arena_s_logs(tmp_path: Path, word: str, outcome: Outcome) -> None:
    file = tmp_path / "votes.jsonl"
    file.write_text(f'{{"model_a": "a", "model_b": "b", "winner": "{word}", "user": "u1", "turn": 3}}\n')
    [row] = read_rows(file)
    assert (row.winner, row.voter) == (outcome, "u1")


def test_the_own_name_of_a_column_stands_before_another_s(tmp_path: Path) -> None:
    file = tmp_path / "votes.csv"
    file.write_text("model_a,model_b,winner,judge,voter\na,b,tie,the judge,the voter\n")
    [row] = read_rows(file)
    assert row.voter == "the voter"


# One list of objects, as LMArena publishes its battles

BATTLES = [
    {
        "question_id": f"q{n}", "model_a": "alpha" if n % 2 else "beta", "model_b": "gamma",
        "winner": ("model_a", "model_b", "tie", "tie (bothbad)")[n % 4], "judge": f"arena_user_{n % 3}", "turn": 1,
        "anony": n % 5 != 0, "language": "Español 🧸", "tstamp": 1682351591.5 + n,
        "conv_metadata": {"sum_user_tokens": n, "bold_count_a": {"**": 1}}, "is_code": False, "is_refusal": None,
        "dedup_tag": {"high_freq": False, "sampled": True}, "category_tag": {"creative_writing_v0.1": {"score": 2}},
    }
    for n in range(20)
]  # fmt: skip
"""The columns of the battles published in August 2024, with what is nested in them."""
WRITE: dict[str, Callable[[Path], object]] = {
    "b.json": lambda file: file.write_text(json.dumps(BATTLES)),
    "b.json.gz": lambda file: file.write_bytes(gzip.compress(json.dumps(BATTLES, indent=2).encode())),
    "b.jsonl": lambda file: file.write_text("".join(json.dumps(one) + "\n" for one in BATTLES)),
    "b.parquet": lambda file: parquet.write_table(pa.Table.from_pylist(BATTLES), file),
    "b.csv": lambda file: csv.write_csv(
        pa.Table.from_pylist([{k: v for k, v in one.items() if not isinstance(v, dict)} for one in BATTLES]), file
    ),
}


@pytest.mark.parametrize("name", WRITE)
def test_battles_in_every_format_are_the_same_votes(arena: Arena, tmp_path: Path, name: str) -> None:
    WRITE[name](tmp_path / name)
    assert exchange.import_votes(arena, tmp_path / name) == exchange.ImportReport(16, ("alpha", "beta", "gamma"), 4)
    blind = [one for one in BATTLES if one["anony"]]
    found = list(arena.store.exported("people"))
    assert [vote.left for vote in found] == [one["model_a"] for one in blind]
    words = {"model_a": Outcome.LEFT, "model_b": Outcome.RIGHT, "tie": Outcome.TIE, "tie (bothbad)": Outcome.BOTH_BAD}
    assert [vote.outcome for vote in found] == [words[str(one["winner"])] for one in blind]
    assert found[0].at == datetime(2023, 4, 24, 15, 53, 12, 500000, UTC)


def test_votes_cast_with_names_in_sight_rate_nobody_and_are_said(arena: Arena, tmp_path: Path) -> None:
    WRITE["b.json"](tmp_path / "b.json")
    assert read_votes(tmp_path / "b.json").named == 4
    board = rating_files.rate(tmp_path / "b.json")
    assert board.n_votes == 16 and rating_files.NAMED.format(4) in board.warnings
    words = ["votes", "import", str(tmp_path / "b.json"), "--data-dir", str(arena.settings.data_dir)]
    assert "16 votes imported" in (said := CliRunner().invoke(app, words).output) and "4 cast with names" in said
    named = [{**BATTLES[1], "anony": False}]
    (tmp_path / "named.json").write_text(json.dumps(named))
    for read in (read_votes, lambda path: exchange.import_votes(arena, path)):
        with pytest.raises(DataError, match="has only votes that were cast with the models' names in sight"):
            read(tmp_path / "named.json")


GOOD = '{"model_a": "a", "model_b": "b", "winner": "tie"}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"[{GOOD}, {GOOD.replace('tie', 'nobody')}]", "Entry 2 of 'b.json' has the winner 'nobody'; accepted are"),
        (f"[{GOOD}, 3]", "Entry 2 of 'b.json' is '3', no object."),
        (f"[{GOOD}, [{GOOD}]]", "Entry 2 of 'b.json' is '[{"),
        (f"[{GOOD}, {{\"model_a\": tie}}]", "Entry 2 of 'b.json' is cut off, or no JSON (Expecting value)."),
        (f"[{GOOD}", "'b.json' is no JSON: its list is cut off after 1 entries."),
        (f"[{GOOD},", "'b.json' is no JSON: its list is cut off after 1 entries."),
        (f"[{GOOD}, {GOOD[:-5]}", "Entry 2 of 'b.json' is cut off, or no JSON"),
        (f"[{GOOD} {GOOD}]", "Entry 1 of 'b.json' is followed by '{', neither a comma nor the list's end."),
        (f"[{GOOD},]", "Entry 2 of 'b.json' is ']', no object."),
        (f"[{GOOD}] [{GOOD}]", "'b.json' is no JSON: more text follows its list of 1 entries."),
        (f"[{GOOD}, {GOOD[:-1]}, \"winner\": \"tie\"}}]", "Entry 2 of 'b.json' has 'winner' twice; keep one."),
        (f"{GOOD}\n{GOOD}\n", "if each line holds an object, name it .jsonl."),
        (f"[{GOOD}, {GOOD[:-1]}, \"anony\": \"maybe\"}}]", "Entry 2 of 'b.json' has 'maybe' as 'anony'; it has to be"),
        ("[]", "'b.json' is empty"),
        ("[" + GOOD[:-1] + ', "x": ' + "[" * 100_000, "Entry 1 of 'b.json' is nested too deeply."),
        ('[{"model_a": "' + "a" * (3 << 20), "Entry 1 of 'b.json' has more than 2,097,152 characters"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_list_is_said_with_its_entry(arena: Arena, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(DataError) as caught:
        exchange.import_votes(arena, tmp_path / "b.json")
    assert said in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert not list(arena.store.exported("people")), "all or none"


def test_a_list_that_is_not_utf_8_is_said_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_bytes(f"[{GOOD}, ".encode() + GOOD.replace("a", "é").encode("latin-1") + b"]")
    with pytest.raises(DataError, match=r"'b\.json' is not UTF-8"):
        read_votes(tmp_path / "b.json")


class _Counted(io.BytesIO):
    """Counts the bytes that were read."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.taken += len(found)
        return found


def test_a_list_is_never_in_memory_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lists, "CHUNK", 1000)
    file = _Counted(json.dumps([{"n": n, "text": "x" * 50} for n in range(5000)]).encode())
    for number, found in json_lists.entries(file, 10_000):
        assert found["n"] == number - 1 and file.taken <= 2000 + 80 * number
    assert number == 5000


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6,
)  # fmt: skip


@given(st.lists(st.dictionaries(st.text(), values, max_size=4), max_size=5), st.sampled_from([None, 1]), st.booleans())
def test_any_list_is_what_the_whole_reader_makes_of_it(found: list[dict], indent: int | None, ascii: bool) -> None:
    text = ("\ufeff" if indent else "") + json.dumps(found, indent=indent, ensure_ascii=ascii)
    content = text.encode("utf-8", "surrogatepass" if ascii else "strict")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_lists, "CHUNK", random.Random(len(text)).randint(1, 9))
        assert list(json_lists.entries(io.BytesIO(content), 10_000)) == list(enumerate(found, start=1))
