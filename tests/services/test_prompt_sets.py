"""Files of prompts become sets: known layouts, each prompt once, one version for the same words, all or nothing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from arena.bootstrap import Arena
from arena.domain import OWN_PROMPT, Outcome, Prompt
from arena.errors import ArenaError, DataError, UnknownName, UsageError
from arena.services import battles, prompt_sets
from arena.services.prompt_sets import import_prompts, normalised
from db import ballots
from db import prompt_sets as stored
from db.prompt_sets import Member
from tests.conftest import fill_with_swatches

GENEVAL = {
    "tag": "counting", "include": [{"class": "bear", "count": 2}], "exclude": [{"class": "bear", "count": 3}],
    "prompt": "a photo of two bears",
}  # fmt: skip
GENAI = {
    "00000": {"id": "00000", "prompt": "a baker", "prompt in Chinese": "面包师", "models": {"DALLE_3": [5, 5, 5]}},
    "00001": {"id": "00001", "prompt": "a bear", "prompt in Chinese": "熊", "models": {}},
}
PARTI = (
    "Prompt\tCategory\tChallenge\tNote\n"
    'A robot. The words "Fly an airplane" are on it.\tOutdoor Scenes\tComplex\t\n'
    '"Hello" is what the sign says\tArts\tWriting & Symbols\tquoted first\n'
    '"a ""quoted"" value"\tArts\tBasic\t\n'
)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def members(arena: Arena, file: Path, **options: object) -> list[Member]:
    found = import_prompts(arena, file, **options)  # type: ignore[arg-type]
    assert found.new
    return stored.members(arena.store, found.set.id or 0)


def test_partiprompts(arena: Arena, tmp_path: Path) -> None:
    robot, sign, quoted = members(arena, write(tmp_path, "PartiPrompts.tsv", PARTI))
    assert robot.prompt.text == 'A robot. The words "Fly an airplane" are on it.'
    assert (robot.prompt.category, dict(robot.details)) == ("Outdoor Scenes", {"challenge": "Complex"})
    assert sign.prompt.text == '"Hello" is what the sign says', "a mark that does not close the value is a mark"
    assert sign.details == {"challenge": "Writing & Symbols", "note": "quoted first"}
    assert quoted.prompt.text == 'a "quoted" value'


def test_drawbench(arena: Arena, tmp_path: Path) -> None:
    [car] = members(arena, write(tmp_path, "drawbench.csv", "Prompts,Category\nA red colored car.,Colors\n"))
    assert (car.prompt.text, car.prompt.category) == ("A red colored car.", "Colors")


def test_geneval(arena: Arena, tmp_path: Path) -> None:
    [bears] = members(arena, write(tmp_path, "evaluation_metadata.jsonl", json.dumps(GENEVAL) + "\n"))
    assert (bears.prompt.text, bears.prompt.category) == ("a photo of two bears", "counting")
    assert bears.details == {"include": GENEVAL["include"], "exclude": GENEVAL["exclude"]}


def test_genai_bench_as_json_and_as_parquet(arena: Arena, tmp_path: Path) -> None:
    found = members(arena, write(tmp_path, "genai_image.json", json.dumps(GENAI)))
    assert [(one.prompt.text, one.item) for one in found] == [("a baker", "00000"), ("a bear", "00001")]
    table = pa.table(
        {
            "Index": ["00007"], "Prompt": ["a lamp"], "HumanRatings": [{"DALLE_3": [5, 4, 3]}],
            "Tags": [{"advanced": ["counting", "negation"], "basic": ["scene"]}],
            "DALLE_3": [{"bytes": b"x", "path": None}],
        }
    )  # fmt: skip
    parquet.write_table(table, tmp_path / "genai.parquet")
    [lamp] = members(arena, tmp_path / "genai.parquet")
    assert (lamp.item, lamp.prompt.tags) == ("00007", ("counting", "negation", "scene"))


def test_the_same_words_are_the_same_set_from_every_format(arena: Arena, tmp_path: Path) -> None:
    rows = [{"prompt": "a bear", "category": "animals", "licence": "MIT"}, {"prompt": "éa", "category": "b"}]
    text = "prompt,category,licence\na bear,animals,MIT\n  e\u0301a ,b,\néa,b,\n"
    files = [
        write(tmp_path, "bears.csv", text),
        write(tmp_path, "bears.tsv", text.replace(",", "\t")),
        write(tmp_path, "bears.jsonl", "".join(json.dumps(row) + "\n" for row in rows)),
        write(tmp_path, "bears.csv.gz", gzip.compress(text.encode())),
        tmp_path / "bears.parquet",
    ]
    parquet.write_table(pa.Table.from_pylist(rows), files[-1])
    found = [import_prompts(arena, file, licence="CC0-1.0") for file in files]
    assert [one.new for one in found] == [True] + [False] * 4
    assert len({one.set.version for one in found}) == 1 and found[0].set.version.startswith("bears@")
    assert (found[0].set.prompts, found[0].repeated, found[0].set.licence) == (2, 1, "MIT, CC0-1.0")
    assert [one.licence for one in stored.members(arena.store, found[0].set.id or 0)] == ["MIT", "CC0-1.0"]


def test_a_change_is_another_version_and_a_name_alone_must_be_clear(arena: Arena, tmp_path: Path) -> None:
    first = import_prompts(arena, write(tmp_path, "set.csv", "prompt\na bear\n"))
    assert prompt_sets.one(arena, "set") == first.set
    second = import_prompts(arena, write(tmp_path, "set.csv", "prompt\na bear\na boat\n"))
    assert first.set.sha256 != second.set.sha256 and [one.prompts for one in prompt_sets.listed(arena)] == [1, 2]
    assert [prompt.text for prompt in arena.store.prompts()] == ["a bear", "a boat"], "sets share prompts"
    with pytest.raises(UsageError, match=f"say which: {first.set.version}, {second.set.version}"):
        prompt_sets.one(arena, "set")
    assert prompt_sets.one(arena, second.set.version).id == second.set.id
    with pytest.raises(UnknownName, match="Unknown prompt set 'sets'"):
        prompt_sets.one(arena, "sets")


def test_a_set_knows_its_prompts_as_ballots_do(arena: Arena, tmp_path: Path) -> None:
    fill_with_swatches(arena, contestants=2, prompts=2)
    found = import_prompts(arena, write(tmp_path, "set.csv", "prompt\na card number 1\n")).set
    for battle in battles.open_battles(arena, "person:1", n=2):
        battles.vote(arena, "person:1", battle.token, Outcome.LEFT.value)
    with arena.store.engine.connect() as connection:
        keys = {key for (key,) in connection.exec_driver_sql("SELECT prompt_key FROM ballots")}
    assert stored.prompt_keys(arena.store, found.id or 0) == {ballots.key("a card number 1")} < keys


def test_an_own_prompt_becomes_everyones(any_arena: Arena, tmp_path: Path) -> None:
    [typed] = any_arena.store.add_prompts([Prompt("a bear", OWN_PROMPT, (), OWN_PROMPT)])
    [bear] = members(any_arena, write(tmp_path, "set.csv", "prompt,category\na bear,animals\n"))
    assert bear.prompt.id == typed.id
    assert [(one.category, one.source) for one in any_arena.store.prompts()] == [("animals", "set.csv")]


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "'a.csv' is empty; a file of prompts has the columns prompt."),
        ("a.csv", "prompt\n", "'a.csv' has no prompts, only the names of its columns."),
        ("a.csv", "prompts_text\na\n", "'a.csv' has the unknown column 'prompts_text'; known are 'Category'"),
        ("a.csv", "prompt,text\na,b\n", "'a.csv' has the columns 'prompt' and 'text', which mean the same; keep one."),
        ("a.csv", "prompt,prompt\na,b\n", "'a.csv' has two columns 'prompt'; keep one."),
        ("a.csv", "category\na\n", "'a.csv' has no column 'prompt'; it has 'category'."),
        ("a.csv", "prompt,category\na,b\n ,c\n", "Row 3 of 'a.csv' (the header is row 1) has no prompt"),
        ("a.csv", 'prompt\na\n"b\nc\n', "opens a quotation mark that is never closed: 'b\\nc\\n'."),
        ("a.csv", "prompt,category\na,b,c\n", "Row 2 of 'a.csv' (the header is row 1) has 3 values, not 2"),
        ("a.csv", "prompt\na\nb\xe9\n".encode("latin-1"), "is not UTF-8; save"),
        ("a.csv", "prompt\na\n".encode("utf-16"), "Row 1 of 'a.csv' (the header is row 1) is not UTF-8; save"),
        ("a.csv", f"prompt,category\na,{'c' * 65}\n", "longer than 64 characters."),
        ("a.csv", "prompt\na\0b\n", "Row 2 of 'a.csv' (the header is row 1) has a NUL character in 'prompt'"),
        ("a.jsonl", '{"prompt": "a"}\n{"prompt": "b", "x": 1}\n', "Line 2 of 'a.jsonl' has the unknown column 'x'"),
        ("a.jsonl", '{"prompt": "a"}\n{"prompt": 3}\n', "Line 2 of 'a.jsonl' has '3' as 'prompt', which is not text."),
        ("a.json", '"a"', "'a.json' holds"),
        ("a.json", '[{"prompt": "a"}, 3]', "Entry 2 of 'a.json' is '3', no object."),
        ("a.json", "[", "'a.json' is no JSON"),
        ("a.parquet", "PAR1", "'a.parquet' is no whole Parquet file; it may be cut off."),
        ("a.txt", "a bear\n", "'a.txt' is no file of prompts by its name; it has to end in .csv"),
        ("a b.csv", "prompt\na\n", "A prompt set's name has letters"),
    ],
)  # fmt: skip
def test_bad_files_are_said_and_leave_nothing(
    arena: Arena, tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    with pytest.raises(ArenaError) as raised:
        import_prompts(arena, write(tmp_path, name, content))
    assert said in str(raised.value)
    assert prompt_sets.listed(arena) == [] and arena.store.prompts() == []


def test_a_file_that_changes_while_it_is_read_is_refused_whole(
    any_arena: Arena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, "set.csv", "prompt\na bear\n")
    add = stored.add

    def meanwhile(*arguments: object) -> object:
        write(tmp_path, "set.csv", "prompt\na boat\n")
        return add(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stored, "add", meanwhile)
    with pytest.raises(DataError, match="changed while it was read"):
        import_prompts(any_arena, file)
    assert prompt_sets.listed(any_arena) == [] and any_arena.store.prompts() == []


def test_an_unknown_column_may_be_passed_over(arena: Arena, tmp_path: Path) -> None:
    file = write(tmp_path, "set.csv", "prompt,score\na bear,3\n")
    assert import_prompts(arena, file, ignore=("score",)).set.prompts == 1


def test_more_prompts_than_one_statement_holds(any_arena: Arena, tmp_path: Path) -> None:
    file = write(tmp_path, "many.csv", "prompt\n" + "".join(f"bear {n}\n" for n in range(1203)))
    found = import_prompts(any_arena, file).set
    places = stored.places(any_arena.store, found.id or 0)
    assert [place.position for place in places] == list(range(1203)) and found.prompts == 1203
