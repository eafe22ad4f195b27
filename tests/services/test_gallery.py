"""The gallery shows what was said of which image, and tells nothing to a voter who has yet to vote."""

from __future__ import annotations

import re

import pytest

from arena.bootstrap import Arena
from arena.domain import Outcome, Side
from arena.errors import UnknownBattle
from arena.services import battles, gallery, judging
from arena.services.gallery import Kind
from arena.services.judging import Request
from db.verdicts import Verdicts
from evaluators.images import decode
from tests.conftest import fill_with_swatches

NOBODY = "person:nobody"
CELLS = 18


@pytest.fixture
def judge(any_arena: Arena) -> str:
    fill_with_swatches(any_arena)
    return judging.run(any_arena, Request("scripted")).judge_id or ""


def mean(arena: Arena, exhibit: gallery.Exhibit, side: Side) -> float:
    content, media_type = gallery.picture(arena, exhibit.verdict_id, exhibit.picture(side))
    assert media_type == "image/jpeg"
    return float(decode(content).mean())


def test_each_exhibit_shows_the_images_it_speaks_of(any_arena: Arena, judge: str) -> None:
    found = gallery.gallery(any_arena, judge, NOBODY, size=100)
    assert found.total == len(found.exhibits) == CELLS
    assert {one.turned for one in found.exhibits} == {True, False}
    for one in found.exhibits:
        left, right = mean(any_arena, one, Side.LEFT), mean(any_arena, one, Side.RIGHT)
        assert one.outcome is (Outcome.LEFT if left > right else Outcome.RIGHT)
        # The answer with the left image first names the brighter one by the place it had there.
        assert one.answers[0].word == ("A" if left > right else "B") != one.answers[1].word
        said = [float(level) for level in re.findall(r"\d+\.\d", one.answers[0].reason)]
        assert said == pytest.approx([left, right], abs=1)  # the image is a PNG, what is shown of it a JPEG


def test_pages_come_newest_first_and_hold_everything_once(any_arena: Arena, judge: str) -> None:
    pages = [gallery.gallery(any_arena, judge, NOBODY, page=n, size=5).exhibits for n in (1, 2, 3, 4)]
    ids = [one.verdict_id for page in pages for one in page]
    assert list(map(len, pages)) == [5, 5, 5, 3] and ids == sorted(ids, reverse=True) and len(set(ids)) == CELLS


def test_a_pair_that_waits_for_the_visitors_vote_is_not_shown_and_then_named(any_arena: Arena, judge: str) -> None:
    waiting = battles.open_battles(any_arena, "person:x", n=4)
    found = gallery.gallery(any_arena, judge, "person:x", size=100)
    assert found.total == CELLS - 4 and all(one.names is None for one in found.exhibits)
    assert gallery.gallery(any_arena, judge, NOBODY, size=100).total == CELLS
    battles.vote(any_arena, "person:x", waiting[0].token, "tie")
    battles.skip(any_arena, "person:x", waiting[1].token)
    found = gallery.gallery(any_arena, judge, "person:x", size=100)
    assert found.total == CELLS - 2
    [named] = [one for one in found.exhibits if one.names]
    assert named.prompt == waiting[0].prompt and {*named.names} < {"Swatch A", "Swatch B", "Swatch C"}
    assert all(one.names is None for one in gallery.gallery(any_arena, judge, NOBODY, size=100).exhibits)


def test_what_disagrees_with_people_is_found_opposite_picks_first(any_arena: Arena, judge: str) -> None:
    by_images = {head.left + head.right: head.outcome for head in Verdicts(any_arena.store).heads(judge)}
    by_images |= {h.right + h.left: h.outcome and h.outcome.mirrored for h in Verdicts(any_arena.store).heads(judge)}
    answers = ["same", "tie", "opposite", "both_bad", "same", "opposite"]
    for blind, answer in zip(battles.open_battles(any_arena, "person:x", n=6), answers, strict=True):
        battle = any_arena.store.battle(blind.token)
        assert battle.left.image and battle.right.image
        own = by_images[battle.left.image.sha256 + battle.right.image.sha256]
        assert own is not None
        said = {"same": own, "opposite": own.mirrored}.get(answer, answer)
        battles.vote(any_arena, "person:x", blind.token, said)
    found = gallery.gallery(any_arena, judge, "person:x", Kind.DISAGREE)
    assert found.total == 4 and all(one.disagrees and one.names for one in found.exhibits)
    picks = [one.people.leading in (Outcome.LEFT, Outcome.RIGHT) for one in found.exhibits]
    assert picks == [True, True, False, False]
    assert all(one.people.leading is one.outcome.mirrored for one in found.exhibits[:2] if one.outcome)


def test_nothing_leads_where_people_are_divided() -> None:
    assert gallery.People({Outcome.LEFT: 2, Outcome.TIE: 2}).leading is None
    assert gallery.People({Outcome.LEFT: 3, Outcome.TIE: 2}).leading is Outcome.LEFT
    assert gallery.People({}).leading is None


def test_inconsistent_and_unscored_verdicts_are_found(seeded: Arena) -> None:
    torn = judging.run(seeded, Request("scripted:always-first")).judge_id or ""
    assert gallery.gallery(seeded, torn, NOBODY, Kind.INCONSISTENT).total == CELLS
    assert gallery.gallery(seeded, torn, NOBODY, Kind.UNSCORED).total == 0
    mute = judging.run(seeded, Request("scripted:undecided")).judge_id or ""
    found = gallery.gallery(seeded, mute, NOBODY, Kind.UNSCORED)
    assert found.total == CELLS and "Both are great!" in (found.exhibits[0].unscored or "")
    assert gallery.gallery(seeded, mute, NOBODY, Kind.INCONSISTENT).total == 0


@pytest.mark.parametrize(("verdict_id", "side"), [(999, "left"), (1, "middle"), (1, "LEFT")])
def test_an_image_that_is_not_there(seeded: Arena, verdict_id: int, side: str) -> None:
    judging.run(seeded, Request("scripted", limit=1))
    with pytest.raises(UnknownBattle, match=f"of a verdict {verdict_id}"):
        gallery.picture(seeded, verdict_id, side)
