"""Contestants enter all or none, with the line of what is wrong, and never with a key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arena.backends.presets import PRESETS
from arena.bootstrap import Arena
from arena.cli_contestants import as_object
from arena.domain import Contestant, Prompt
from arena.errors import SettingsError, UnknownName, UsageError
from arena.services import contestants, generation

KEY = "sk-proj-abcdefghijklmnop"
GOOD = """
[[contestants]]
name = "Cards"
backend = "swatch"
size = 32
pause = 0.0
card = { licence = "MIT" }

[[contestants]]
name = "Klein"
preset = "flux2-klein"
steps = 8
device = "cpu"
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "arena.toml"
    file.write_text(text)
    return file


def test_tables_become_contestants_and_running_is_no_part_of_who_they_are(any_arena: Arena, tmp_path: Path) -> None:
    cards, klein = contestants.add(any_arena, contestants.from_file(write(tmp_path, GOOD)))
    assert (cards.settings, cards.running, cards.card) == ({"size": 32}, {"pause": 0.0}, {"licence": "MIT"})
    assert klein.settings["model"] == "black-forest-labs/FLUX.2-klein-4B" and klein.settings["steps"] == 8
    assert klein.running == {"device": "cpu"} and klein.card["licence"] == "Apache-2.0"
    moved = contestants.from_file(write(tmp_path, GOOD.replace('"cpu"', '"cuda:1"').replace("MIT", "CC0")))
    assert [one.id for one in contestants.add(any_arena, moved)] == [cards.id, klein.id]
    again = any_arena.store.contestant("Klein")
    assert again.running == {"device": "cuda:1"} and again.fingerprint == klein.fingerprint
    with pytest.raises(UsageError, match="'Klein' exists with other settings"):
        contestants.add(any_arena, contestants.from_file(write(tmp_path, GOOD.replace("steps = 8", "steps = 9"))))


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('[[contestants]]\nname = "A"\nbackend = "swatch"\nsize = "big"', 4, "'size': the value 'big'"),
        ('[[contestants]]\nname = "A"\nbackend = "swatch"\n\n# a hint\nsteps = 3', 6, "no such setting; this backend"),
        ('\n\n[[contestants]]\nbackend = "swatch"', 3, "needs a name, got None"),
        ('[[contestants]]\nname = 3\nbackend = "swatch"', 2, "needs a name, got 3"),
        ('[[contestants]]\nname = "A"\nbackend = "swach"', 3, "did you mean 'swatch'"),
        ('[[contestants]]\nname = "A"', 1, "needs a backend or a preset"),
        ('[[contestants]]\nname = "A"\npreset = "flux3"', 3, "Unknown preset 'flux3'"),
        ('[[contestants]]\nname = "A"\nbackend = "openai"\nmodel = "m"', 1, "the setting 'base_url' is missing"),
        ('[[contestants]]\nname = "A"\nbackend = "swatch"\ncard = "MIT"', 4, "a card is a table"),
        ('[[contestants]]\nname = "A"\nbackend = "swatch"\ncard = { since = 2026-01-01 }', 1, "plain values only"),
        ('[[contestants]]\nname = "A"\nbackend = "swatch"\n[[contestants]]\nname = "A"\nbackend = "swatch"', 5, "twice"),  # noqa: E501
        ('note = """\n[[contestants]]\n"""\n[[contestants]]\nname = "A"\nbackend = "diffusers"\nmodel = "m"\n'
         'adapters = [\n  { model = "a" },\n  { model = 3 },\n]', 8, r"'adapters': the value 3 at [1][model]"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(arena: Arena, tmp_path: Path, text: str, line: int, reason: str) -> None:
    with pytest.raises(SettingsError) as told:
        contestants.from_file(write(tmp_path, text))
    assert f"arena.toml, line {line}: " in str(told.value) and reason in str(told.value)


def test_all_errors_are_said_at_once_and_nothing_is_stored(arena: Arena, tmp_path: Path) -> None:
    bad = GOOD + '\n[[contestants]]\nname = "B"\nbackend = "swatch"\nsize = 0.5\n[[contestants]]\nname = "C"\n'
    with pytest.raises(SettingsError) as told:
        contestants.add(arena, contestants.from_file(write(tmp_path, bad)))
    assert [line.partition(":")[0].rpartition(" ")[2] for line in str(told.value).splitlines()] == ["18", "19"]
    assert arena.store.contestants() == []


def test_a_name_that_is_taken_stores_none_of_them(any_arena: Arena) -> None:
    contestants.add(any_arena, [contestants.contestant({"name": "B", "backend": "swatch"})])
    two = [contestants.contestant({"name": name, "backend": "swatch", "tint": "x"}) for name in "AB"]
    with pytest.raises(UsageError, match="'B' exists"):
        contestants.add(any_arena, two)
    assert [one.name for one in any_arena.store.contestants()] == ["B"]


@pytest.mark.parametrize(
    "settings",
    [
        {"key_variable": KEY}, {"api_key": KEY}, {"extra": {"api_key": "abc"}}, {"extra": {"a": [{"b": KEY}]}},
        {"extra": {"headers": {"Authorization": "x"}}}, {"model": KEY}, {"token": "hf_abcdefghijk"},
        {"extra": {"Ocp-Apim-Subscription-Key": "abc"}}, {"extra": {"headers": {"x-api-key": 12345}}},
        {"extra": {"accessToken": ["abc"]}}, {"extra": {"authorization": {"value": "abc"}}},
        {"base_url": "https://me:hunter2@host/v1"}, {"base_url": "https://hunter2@host/v1"},
        {"base_url": "https://host/v1?api_key=hunter2"}, {"base_url": "https://host/v1?code=hunter2"},
        {"base_url": "https://host/v1?api-version=1&x=hunter2"}, {"base_url": "https://host/v1#hunter2"},
        {"base_url": "https://me:hunter2@host:port/v1"}, {"base_url": "me:hunter2@host/v1"},
        {"extra": {"callback": "https://host/?access_token=hunter2"}},
    ],
)  # fmt: skip
def test_a_key_is_refused_and_not_shown(settings: dict[str, object], tmp_path: Path) -> None:
    entry = {"name": "A", "backend": "openai", "model": "m", "base_url": "http://h/v1", **settings}
    with pytest.raises(UsageError) as told:
        contestants.contestant(entry)
    assert not any(key in str(told.value) for key in (KEY, "hf_abcdefghijk", "hunter2", "abc", "12345"))
    assert "NAME as key_variable" in str(told.value) or "given by the NAME" in str(told.value)
    lines = [f"{name} = {_toml(value)}" for name, value in entry.items()]
    with pytest.raises(SettingsError, match=r"arena.toml, line \d+: 'A': .*(?i:key)") as told:
        contestants.from_file(write(tmp_path, "[[contestants]]\n" + "\n".join(lines)))
    assert not any(key in str(told.value) for key in (KEY, "hunter2"))


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def test_a_card_that_holds_a_key_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the card seems to hold a key \(not shown\)") as told:
        contestants.contestant({"name": "A", "backend": "swatch", "card": {"url": "https://me:hunter2@host/"}})
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "fal-ai/flux/schnell-image"}, {"model": "hf-internal-testing/tiny-diffusion-pipe"},
        {"extra": {"max_tokens": 5, "key_frames": "a", "trigger_token": "sks", "note": "see https://host/?page=2"}},
        {"base_url": "https://x.openai.azure.com/openai/deployments/d?api-version=2025-04-01-preview"},
    ],
)  # fmt: skip
def test_what_is_no_key_is_taken(settings: dict[str, object]) -> None:
    entry = {"name": "A", "backend": "openai", "model": "m", "base_url": "http://h/v1", **settings}
    assert contestants.contestant(entry).settings.items() >= settings.items()


@pytest.mark.parametrize("backend", ["openai", "inference-providers"])
def test_an_address_that_is_none_is_refused_where_it_stands(tmp_path: Path, backend: str) -> None:
    text = f'[[contestants]]\nname = "A"\nbackend = "{backend}"\nmodel = "m"\nbase_url = "localhost:8000"'
    with pytest.raises(SettingsError, match=r"line 5: 'A': setting 'base_url': 'localhost:8000' is no address"):
        contestants.from_file(write(tmp_path, text))


def test_keys_that_an_older_version_stored_are_not_shown(any_arena: Arena) -> None:
    address = "https://me:hunter2@host/v1?api_key=hunter2&x=hunter2"
    settings = {"model": "m", "base_url": address, "extra": {"subscription-key": "hunter2", "steps": 4}}
    card = {"note": "ask with Bearer hunter2hunter2", "licence": "MIT"}
    any_arena.store.add_contestant(Contestant("Old", "openai", settings, card, running={"token": "hunter2"}))
    shown = as_object(contestants.shown(any_arena, "Old"))
    assert "hunter2" not in json.dumps(shown)
    assert shown["settings"]["extra"] == {"subscription-key": "(not shown)", "steps": 4}
    assert shown["card"] == {"note": "ask with (not shown)", "licence": "MIT"}
    assert shown["settings"]["base_url"] == "https://(not shown)host/v1?api_key=(not shown)&x=(not shown)"


def test_words_of_a_command_are_json_or_text() -> None:
    assert contestants.parsed(["steps=28", "a=x=y", 'call={"b": 1}', "c=", "d=true"]) == {
        "steps": 28, "a": "x=y", "call": {"b": 1}, "c": "", "d": True,
    }  # fmt: skip
    with pytest.raises(UsageError, match="A setting is key=value"):
        contestants.parsed(["steps"])


def test_a_folder_is_registered_with_the_hash_of_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    one = contestants.contestant({"name": "A", "backend": "diffusers", "model": "mine"})
    assert one.settings["model"] == str(folder) and len(one.settings["weights_sha256"]) == 64
    (folder / "model_index.json").write_text("{ }")
    assert contestants.contestant({"name": "A", "backend": "diffusers", "model": "mine"}).fingerprint != one.fingerprint


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_taken_by_its_backend_and_says_its_facts(name: str) -> None:
    one = contestants.contestant({"name": "A", "preset": name})
    assert one.settings["steps"] == one.card["steps"]
    assert {"organisation", "licence", "parameters", "space", "text_encoder", "network", "url"} <= one.card.keys()
    assert one.card["url"].endswith(one.settings["model"])


def test_a_retired_one_is_not_drawn_for_and_comes_back(any_arena: Arena) -> None:
    any_arena.store.add_prompts([Prompt("a"), Prompt("b")])
    contestants.add(
        any_arena, [contestants.contestant({"name": name, "backend": "swatch", "tint": name}) for name in "AB"]
    )
    generation.fill(any_arena, generation.plan(any_arena), generation.backends(any_arena))
    contestants.retire(any_arena, "A", "superseded")
    assert [one.retired for one in contestants.listed(any_arena)] == [True, False]
    assert set(any_arena.store.prompts_with_images()) == {any_arena.store.contestant("B").id}
    assert [one.name for one in generation.plan(any_arena)] == ["B"]
    assert contestants.shown(any_arena, "A").costs.images == 2
    contestants.restore(any_arena, "A", "a mistake")
    assert len(any_arena.store.prompts_with_images()) == 2
    with pytest.raises(UnknownName):
        contestants.retire(any_arena, "C", "x")
