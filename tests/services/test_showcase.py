"""Pages that show pictures with names help no vote."""

from __future__ import annotations

import pytest

from arena.bootstrap import Arena
from arena.domain import Generation, Outcome
from arena.errors import UnknownBattle, UsageError
from arena.services import battles, showcase
from arena.services.showcase import Fought, Record
from db.looks import looked_at
from db.personal import Personal

VISITOR = "person:visitor"


def prompt_ids(arena: Arena) -> list[int]:
    return [prompt.id or 0 for prompt in arena.store.prompts()]


def test_a_prompt_that_waits_for_the_visitors_vote_shows_nothing(seeded: Arena) -> None:
    waiting = {seeded.store.battle(one.token).prompt.id for one in battles.open_battles(seeded, VISITOR, n=2)}
    swatch = showcase.contestant(seeded, "Swatch A")
    shown = showcase.gallery(seeded, VISITOR, swatch).pictures
    assert {one.prompt.id for one in shown if one.token is None} == waiting & {one.prompt.id for one in shown}
    for prompt_id in waiting:
        found = showcase.prompt_board(seeded, VISITOR, prompt_id or 0)
        assert found.waits and all(one.token is None for one in found.pictures)
    # Somebody else sees them.
    assert not any(showcase.prompt_board(seeded, "person:other", id or 0).waits for id in waiting)


def test_a_prompt_that_was_seen_with_names_is_not_drawn_any_more(seeded: Arena) -> None:
    ids = prompt_ids(seeded)
    for prompt_id in ids[1:]:
        showcase.prompt_board(seeded, VISITOR, prompt_id)
    drawn = battles.open_battles(seeded, VISITOR, n=50)
    assert {seeded.store.battle(one.token).prompt.id for one in drawn} == {ids[0]}
    assert len(battles.open_battles(seeded, "person:other", n=50)) == 3 * len(ids)


def test_who_is_forgotten_leaves_no_looks(seeded: Arena) -> None:
    showcase.prompt_board(seeded, VISITOR, prompt_ids(seeded)[0])
    assert looked_at(seeded.store, VISITOR)
    Personal(seeded.store).erase(VISITOR, "a test")
    assert not looked_at(seeded.store, VISITOR)


def test_the_chance_that_is_stored_is_that_among_what_is_left(seeded: Arena) -> None:
    ids = prompt_ids(seeded)
    for prompt_id in ids[1:]:
        showcase.prompt_board(seeded, VISITOR, prompt_id)
    (battle,) = battles.open_battles(seeded, VISITOR, n=1)
    assert seeded.store.battle(battle.token).probability == pytest.approx(1 / 3)


def test_a_pictures_address_is_signed_and_opens_what_it_names(seeded: Arena) -> None:
    (first, *_) = showcase.prompt_board(seeded, VISITOR, prompt_ids(seeded)[0]).pictures
    content, media_type = showcase.picture(seeded, first.token or "")
    generation = seeded.store.generation_for(
        showcase.contestant(seeded, first.contestant).id or 0, first.prompt.id or 0
    )
    assert generation.image is not None
    assert (content, media_type) == (seeded.blobs.get(generation.image.sha256), generation.image.media_type)
    number, _, signature = (first.token or "").partition(".")
    for forged in (number, f"{int(number) + 1}.{signature}", f"x.{signature}", "", "9" * 40):
        with pytest.raises(UnknownBattle):
            showcase.picture(seeded, forged)


def test_the_same_prompts_come_first_for_every_model(seeded: Arena) -> None:
    galleries = [showcase.gallery(seeded, VISITOR, one) for one in seeded.store.contestants()]
    assert len({tuple(one.prompt.id for one in found.pictures) for found in galleries}) == 1
    assert all(found.total == len(prompt_ids(seeded)) for found in galleries)


def test_votes_on_a_prompt_are_counted_for_each_and_for_each_pair(seeded: Arena) -> None:
    names = {one.id: one.name for one in seeded.store.contestants()}
    expected: dict[str, Record] = {}
    prompt_id = prompt_ids(seeded)[0]
    for voter, outcome in zip("abcd", Outcome, strict=True):
        for one in battles.open_battles(seeded, f"person:{voter}", n=50):
            battle = seeded.store.battle(one.token)
            battles.vote(seeded, f"person:{voter}", one.token, outcome)
            if battle.prompt.id == prompt_id:
                for side, seen in ((battle.left, outcome), (battle.right, outcome.mirrored)):
                    name = names[side.contestant_id]
                    expected[name] = expected.get(name, Record()).plus(seen, 1)
    found = showcase.prompt_board(seeded, "person:visitor", prompt_id)
    assert {one.contestant: one.record for one in found.pictures} == expected
    assert sum(record.votes for *_, record in found.pairs) * 2 == sum(record.votes for record in expected.values())
    assert [one.record.score for one in found.pictures] == sorted((r.score for r in expected.values()), reverse=True)
    swatch = showcase.contestant(seeded, "Swatch A")
    fought = showcase.battles_of(seeded, swatch.id or 0)
    assert sum(one.record.votes for one in fought if one.prompt.id == prompt_id) == expected["Swatch A"].votes


def test_a_picture_that_only_lost_stands_before_one_without_votes(seeded: Arena) -> None:
    prompt_id = prompt_ids(seeded)[0]
    names = {one.id: one.name for one in seeded.store.contestants()}
    for battle in battles.open_battles(seeded, "person:x", n=50):
        whole = seeded.store.battle(battle.token)
        sides = [names[whole.left.contestant_id], names[whole.right.contestant_id]]
        if whole.prompt.id == prompt_id and sorted(sides) == ["Swatch B", "Swatch C"]:
            battles.vote(seeded, "person:x", battle.token, [Outcome.LEFT, Outcome.RIGHT][sides.index("Swatch B")])
    found = showcase.prompt_board(seeded, "person:visitor", prompt_id)
    assert [(one.contestant, one.record.score) for one in found.pictures] == [
        ("Swatch B", 1.0), ("Swatch C", 0.0), ("Swatch A", None),
    ]  # fmt: skip


def test_best_and_worst_are_told_apart(seeded: Arena) -> None:
    prompt = seeded.store.prompts()[0]
    records = [Record(3, 0), Record(2, 0), Record(2, 1), Record(1, 1), Record(0, 1), Record(0, 2)]
    fought = [Fought(prompt, "other", k, 100 + k, record) for k, record in enumerate(records)]
    best, worst = showcase.extremes(fought, 4)
    assert [one.own_generation for one in best] == [0, 1, 2]
    assert [one.own_generation for one in worst] == [5, 4]


def test_failures_are_told_with_their_reasons(seeded: Arena) -> None:
    swatch = showcase.contestant(seeded, "Swatch A")
    ids = prompt_ids(seeded)
    reasons = ["out of memory", "out of memory", "<b>refused</b>"]
    seeded.store.add_generations(
        Generation(swatch.id or 0, ids[k], seed=77, failure=reason) for k, reason in enumerate(reasons)
    )
    assert showcase.failures(seeded, swatch) == [("out of memory", 2), ("<b>refused</b>", 1)]


@pytest.mark.parametrize("number", [0, -1, 999, 1 << 70])
def test_a_prompt_that_there_is_not_is_a_sentence(seeded: Arena, number: int) -> None:
    with pytest.raises(UsageError, match="There is no prompt"):
        showcase.prompt_board(seeded, VISITOR, number)


def test_a_model_that_there_is_not_is_a_sentence(seeded: Arena) -> None:
    with pytest.raises(UsageError, match="There is no model '<script>"):
        showcase.contestant(seeded, "<script>alert(1)</script>" * 9)
