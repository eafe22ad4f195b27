"""Votes as Chatbot Arena (LMArena) and GenAI-Arena publish them, imported as they are."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from arena.bootstrap import Arena
from arena.domain import Outcome
from arena.services import exchange
from arena.services.counting import comparisons
from arena.services.votes_files import read_rows

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
