"""The gate keeps contestants that a judge thinks little of away from people, and lets nobody out again."""

from __future__ import annotations

from random import Random

import pytest
from PIL import Image

from arena.bootstrap import Arena
from arena.domain import Contestant, Prompt
from arena.services import battles, gate, generation, judging
from arena.services.judging import Request

LEVELS = {"Night": 40, "Dusk": 90, "Morning": 150, "Noon": 220}


class Grey:
    """Images of one brightness, with some noise: the brightest judge knows their order."""

    def __init__(self, level: int):
        self.level = level

    def generate(self, texts: list[str], seeds: list[int]) -> list[Image.Image]:
        shades = [min(255, max(17, round(Random(f"{self.level}{t}").gauss(self.level, 60)))) for t in texts]
        return [Image.new("RGB", (8, 8), (shade, shade, shade)) for shade in shades]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "SECONDS", -1.0)


def gated(arena: Arena, **settings: object) -> Arena:
    values = {"judge": "scripted", **settings}
    return Arena(arena.settings.model_copy(update=values), arena.store, arena.blobs, arena.secret)


@pytest.fixture
def shades(arena: Arena) -> Arena:
    arena.store.add_prompts(Prompt(f"a card number {n}") for n in range(18))
    for name, level in LEVELS.items():
        arena.store.add_contestant(Contestant(name, "swatch", {"tint": name}, {"level": level}))
    generation.fill(arena, generation.plan(arena), lambda c: Grey(c.card["level"]))  # type: ignore[arg-type]
    return arena


def met(arena: Arena, voter: str = "person:x") -> set[str]:
    names = {c.id: c.name for c in arena.store.contestants()}
    drawn = [arena.store.battle(b.token) for b in battles.open_battles(arena, voter, n=36)]
    return {names[side.contestant_id] for battle in drawn for side in (battle.left, battle.right)}


def test_it_is_off_by_default(shades: Arena) -> None:
    assert gate.gate(shades) is None and met(shades) == {*LEVELS}


def test_without_a_judge_nobody_gets_in_and_the_reason_is_said(shades: Arena) -> None:
    closed = gated(shades, gate_rating=1000.0)
    found = gate.gate(closed)
    assert found is not None and found.admitted == frozenset()
    assert set(found.waiting.values()) == {"not rated by the judge yet"} and met(closed) == set()
    assert found.rule == "People meet a model once the judge scripted rates it at least 1000."


def test_a_rating_that_is_high_enough_lets_in(shades: Arena) -> None:
    judging.run(shades, Request("scripted"))
    half_open = gated(shades, gate_rating=1000.0)
    assert met(half_open) == {"Morning", "Noon"}
    found = gate.gate(half_open)
    assert found is not None and set(found.waiting) == {"Night", "Dusk"} and "by the judge" in found.waiting["Night"]
    assert met(gated(shades, gate_rating=1.0), "person:y") == {*LEVELS}


def test_the_better_half_and_whoever_cannot_be_told_from_it_gets_in(shades: Arena) -> None:
    judging.run(shades, Request("scripted", limit=12))
    wide = gate.gate(gated(shades, gate_top_half=True))
    judging.run(shades, Request("scripted"))
    narrow = gate.gate(gated(shades, gate_top_half=True))
    assert wide is not None and narrow is not None
    assert set(narrow.waiting) == {"Night", "Dusk"} and len(wide.admitted) >= len(narrow.admitted)


def test_either_rule_is_enough(shades: Arena) -> None:
    judging.run(shades, Request("scripted"))
    found = gate.gate(gated(shades, gate_rating=5000.0, gate_top_half=True))
    assert found is not None and set(found.waiting) == {"Night", "Dusk"}
    assert "rates it at least 5000 or cannot tell it from the better half" in found.rule


def test_whoever_people_have_voted_on_stays(shades: Arena) -> None:
    judging.run(shades, Request("scripted"))
    names = {c.id: c.name for c in shades.store.contestants()}
    for battle in battles.open_battles(shades, "person:x", n=36):
        found = shades.store.battle(battle.token)
        if {names[found.left.contestant_id], names[found.right.contestant_id]} == {"Night", "Noon"}:
            battles.vote(shades, "person:x", battle.token, "both_bad")
            break
    assert met(gated(shades, gate_rating=1000.0), "person:y") == {"Night", "Morning", "Noon"}


def test_a_battle_that_was_drawn_before_stays_open(shades: Arena) -> None:
    before = battles.open_battles(shades, "person:x", n=36)
    closed = gated(shades, gate_rating=1000.0)
    assert battles.open_battles(closed, "person:x", n=36) == before


@pytest.mark.parametrize(("ratings", "limit"), [([1.0], 1.0), ([1.0, 2.0], 2.0), ([3.0, 1.0, 2.0], 2.0)])
def test_the_better_half(ratings: list[float], limit: float) -> None:
    assert gate.better_half(ratings) == limit
