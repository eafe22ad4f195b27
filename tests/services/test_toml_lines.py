"""Where values of a TOML text begin: whatever is written before them, and quickly."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.errors import SettingsError
from arena.services import contestants
from arena.services.toml_lines import lines_of

FILLER = [
    "# note",
    "",
    "x = 1 # a, [",
    "y = [\n 1,\n 2\n]",
    's = """\n[[t]]\nwanted = 2,\n"""',
    "z = {a = [1, {b = 2}]}\r",
]


@given(st.lists(st.sampled_from(FILLER), max_size=6), st.data())
def test_the_line_of_a_value_is_where_it_stands(filler: list[str], data: st.DataObject) -> None:
    """Against a plain way to know: the line is marked when the text is put together."""
    blocks = [f"{line[:1]}{n}{line[1:]}" if line[:1] in "xysz" and line else line for n, line in enumerate(filler)]
    place = data.draw(st.integers(0, len(blocks)))
    text = "[[t]]\nfirst = 1\n[[t]]\n" + "\n".join([*blocks[:place], "wanted = 1", *blocks[place:], ""])
    tomllib.loads(text)
    assert lines_of(text)["t", 1, "wanted"] == text[: text.index("wanted = 1")].count("\n") + 1


def test_every_way_of_writing_a_table() -> None:
    text = "\n".join(
        ["[a.b]", "c = 1", "[[t]]", "n.m = 2", "[t.card]", "x = 3", "[[t]]", "[[t.inner]]", "[[t.inner]]",
         'y."z w" = 4', "list = [", "  {k = 5},", "  {k = 6},", "]", "[a]", "d = 7"]
    )  # fmt: skip
    found = lines_of(text)
    assert found["a", "b", "c"] == 2 and found["a", "d"] == 16 and found["a",] == 1
    assert found["t", 0, "n", "m"] == 4 and found["t", 0, "card", "x"] == 6 and found["t", 1] == 7
    assert found["t", 1, "inner", 0] == 8 and found["t", 1, "inner", 1, "y", "z w"] == 10
    assert found["t", 1, "inner", 1, "list", 1, "k"] == 11, "where its statement begins"
    assert {path for path, _ in _leaves(tomllib.loads(text))} <= {*found}


def _leaves(found: Any, path: tuple[str | int, ...] = ()) -> Any:
    if isinstance(found, dict | list):
        for key, value in found.items() if isinstance(found, dict) else enumerate(found):
            yield from _leaves(value, (*path, key))
    else:
        yield path, found


@pytest.mark.parametrize("inline", [False, True])
def test_many_wrong_entries_are_said_soon(tmp_path: Path, inline: bool) -> None:
    """Five hundred; to read the text anew for every error took 11 s for one hundred."""
    entries = [f'name = "M{n}"\nbackend = "swatch"\nsize = "large"\n' for n in range(500)]
    text = "".join(f"[[contestants]]\n{entry}" for entry in entries)
    if inline:
        tables = "".join(f"  {{{', '.join(entry.splitlines())}}},\n" for entry in entries)
        text = f"contestants = [\n{tables}]\n"
    file = tmp_path / "arena.toml"
    file.write_text(text)
    started = time.process_time()
    with pytest.raises(SettingsError) as raised:
        contestants.from_file(file)
    assert time.process_time() - started < 3
    said = str(raised.value).splitlines()
    line = 1 if inline else 8
    assert said[1].startswith(f"{file}, line {line}: 'M1': setting 'size'") and said[-1] == "… and 480 more"
