"""Automatic scores beside people: the figures are those of a plain count, vote by vote."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from scipy.stats import spearmanr
from sqlalchemy import event

from arena.bootstrap import Arena
from arena.domain import ImageValue, Outcome, Protocol, Score, VoteFilter
from arena.rating.agreement import Share
from arena.rating.comparisons import Code
from arena.services import battles, judging, leaderboard, proxies
from arena.services.judging import Request
from db.image_values import image_values
from db.statements import battles as all_battles
from db.store import _battle
from db.verdicts import Verdicts, Words
from evaluators.images import decode
from evaluators.judge import JUDGES
from evaluators.judge.base import Question, Reply, Token
from evaluators.judge.scripted import Scripted
from tests.conftest import fill_with_swatches


def brighter(arena: Arena, left: str, right: str) -> Outcome:
    gap = float(decode(arena.blobs.get(left)).mean()) - float(decode(arena.blobs.get(right)).mean())
    return Outcome.TIE if abs(gap) < 0.5 else Outcome.LEFT if gap > 0 else Outcome.RIGHT


def people_vote(arena: Arena, voters: int = 3, right: float = 1.0) -> None:
    """People who see which image is brighter with this chance, and else answer at random."""
    for n in range(voters):
        rng = Random(n)
        for blind in battles.open_battles(arena, f"person:{n}", n=100, rng=rng):
            battle = arena.store.battle(blind.token)
            assert battle.left.image and battle.right.image
            seen = brighter(arena, battle.left.image.sha256, battle.right.image.sha256)
            said = seen if rng.random() < right else rng.choice([*Outcome])
            battles.vote(arena, f"person:{n}", blind.token, said)


def only(arena: Arena) -> proxies.Proxy:
    [proxy] = proxies.panel(arena).proxies
    return proxy


def test_without_votes_or_judges_there_is_nothing(seeded: Arena) -> None:
    assert (proxies.panel(seeded).proxies, proxies.panel(seeded).votes) == ((), 0)
    people_vote(seeded, 1)
    assert proxies.panel(seeded).proxies == () and proxies.panel(seeded).votes == 18


def test_a_judge_that_sees_what_people_see_agrees_in_everything(any_arena: Arena) -> None:
    fill_with_swatches(any_arena)
    people_vote(any_arena)
    judging.run(any_arena, Request("scripted"))
    found = only(any_arena)
    assert (found.name, found.seen, found.votes) == ("scripted-brightest", 54, 54)
    figures = {name: estimate for name, estimate, _ in found.figures()}
    assert figures["Decisive accuracy"].value == 1.0
    assert figures["Cohen's kappa"].value == 1.0
    assert figures["Same in both orders"].value == 1.0
    assert figures["First − second"].value == 0.0
    assert figures["Spearman's ρ"].value == pytest.approx(1.0)
    assert found.verdict.sound and found.with_rest.value == 1.0


def test_the_figures_are_those_of_a_plain_count(any_arena: Arena) -> None:
    fill_with_swatches(any_arena, prompts=8)
    people_vote(any_arena, voters=3, right=0.5)
    came_to = judging.run(any_arena, Request("scripted", limit=20))
    said = {
        frozenset((one.battle.left.id, one.battle.right.id)): (one.battle.left.id, one.outcome)
        for one in Verdicts(any_arena.store).judged(came_to.judge_id or "")
    }
    both = same = picked = right = 0
    for row in votes_with_generations(any_arena):
        key = frozenset(row[:2])
        if key not in said:
            continue
        left, outcome = said[key]
        outcome = outcome if left == row[0] else outcome.mirrored
        both += 1
        same += outcome is row[2]
        if {outcome, row[2]} <= {Outcome.LEFT, Outcome.RIGHT}:
            picked += 1
            right += outcome is row[2]
    found = only(any_arena)
    assert (found.seen, found.votes) == (both, 72) and both < 72
    assert found.agreement.accuracy4 == Share(same, both)
    assert found.agreement.decisive == Share(right, picked) and 0 < right < picked
    assert found.agreement.coverage == Share(both, both)


def votes_with_generations(arena: Arena) -> list[tuple[int | None, int | None, Outcome]]:
    """Left and right generation and outcome of every vote of people."""
    with arena.store._reading() as session:
        battles_ = {row[0].id: _battle(*row) for row in session.execute(all_battles())}
    people = [vote for vote in arena.store.votes() if vote.voter_id.startswith("person:")]
    return [(battles_[v.battle_id].left.id, battles_[v.battle_id].right.id, v.outcome) for v in people]


def test_always_first_is_unmasked_in_one_sentence(arena: Arena) -> None:
    fill_with_swatches(arena)
    people_vote(arena)
    judging.run(arena, Request("scripted:always-first"))
    found = only(arena)
    assert not found.verdict.sound
    assert "it picks the first side" in found.verdict.sentence and "goes by the place" in found.verdict.sentence
    figures = {name: estimate for name, estimate, _ in found.figures()}
    assert figures["First − second"].value == 1.0 and figures["Same in both orders"].value == 0.0


def test_an_unscored_judge_covers_nothing_and_the_sound_one_stands_first(arena: Arena) -> None:
    fill_with_swatches(arena)
    people_vote(arena)
    judging.run(arena, Request("scripted:undecided"))
    judging.run(arena, Request("scripted"))
    first, second = proxies.panel(arena).proxies
    assert (first.name, second.name) == ("scripted-brightest", "scripted-undecided")
    assert second.agreement.coverage.value == 0.0 and second.ranks is None and second.notes
    assert second.verdict.sentence == "Scores none of 54 pairs: nothing can be said."


def test_one_person_against_the_others_is_the_line_to_reach(arena: Arena) -> None:
    """Three who agree; a fourth who says the opposite of each pick: each of the three agrees with the majority of the
    others, the fourth with none."""
    fill_with_swatches(arena)
    people_vote(arena, 3)
    for blind in battles.open_battles(arena, "person:contrary", n=100):
        battle = arena.store.battle(blind.token)
        assert battle.left.image and battle.right.image
        seen = brighter(arena, battle.left.image.sha256, battle.right.image.sha256)
        battles.vote(arena, "person:contrary", blind.token, seen.mirrored)
    found = proxies.panel(arena)
    assert found.single_human == Share(54, 72)
    judging.run(arena, Request("scripted"))
    assert only(arena).with_rest == Share(72, 72)  # the majority of the others is right in every case


# Probabilities


class Unsure(Scripted):
    """The brightest, with 70% on the image it picks."""

    def _reply(self, question: Question) -> Reply:
        plain = super()._reply(question)
        word = (plain.text or "A")[0]
        other = {"A": "B", "B": "A"}[word]
        return Reply(plain.text, tokens=(Token(word, {word: np.log(0.7), other: np.log(0.3)}),))


def test_reliability_compares_what_the_judge_says_with_what_people_do(
    any_arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(JUDGES, "unsure", f"{__name__}:Unsure")
    fill_with_swatches(any_arena)
    people_vote(any_arena)
    judging.run(any_arena, Request("unsure"))
    found = only(any_arena).reliability
    assert found is not None and found.n == 54
    stated = found.predicted[found.count > 0]
    assert stated == pytest.approx([0.3, 0.7]) and found.observed[found.count > 0] == pytest.approx([0.0, 1.0])
    assert found.ece == pytest.approx(0.3)


def test_the_chance_of_the_left_image_is_the_mean_of_both_orders() -> None:
    row = Words("a", "b", "A", "B", (0.6, 0.2), (0.1, 0.4))
    assert proxies.left_chance(row) == pytest.approx((0.75 + 0.8) / 2)
    turned = Words("a", "b", "A", "B", (0.1, 0.4), (0.6, 0.2))
    assert proxies.left_chance(turned) == pytest.approx(1 - proxies.left_chance(row))
    assert np.isnan(proxies.left_chance(row._replace(right_first_shares=(None, None))))


def test_mirroring_twice_changes_nothing() -> None:
    codes = np.array([*Code, -1, -2])
    turned = np.ones(len(codes), bool)
    assert list(proxies.mirrored(codes, turned)) == [1, 0, 2, 3, -1, -2]
    assert (proxies.mirrored(proxies.mirrored(codes, turned), turned) == codes).all()


# Scores of whole models


def test_a_score_of_whole_models_prefers_the_better_one_in_every_pair(arena: Arena) -> None:
    fill_with_swatches(arena)
    people_vote(arena)
    protocol = Protocol("fid-clean", "1", {})
    values = {"Swatch A": 30.0, "Swatch B": 10.0}
    for name, value in values.items():
        arena.store.add_score(Score(name, "fid-clean", protocol, value))
    arena.store.add_score(Score("a folder", "fid-clean", protocol, 5.0))
    names = {c.id: c.name for c in arena.store.contestants()}
    picked = right = 0
    for row in arena.store.voted_images(VoteFilter()):
        left, right_name = names[row.left_id], names[row.right_id]
        if {left, right_name} == {*values} and row.outcome < 2:
            picked += 1
            right += (values[left] < values[right_name]) == (row.outcome == 0)
    found = only(arena)
    assert found.agreement.decisive == Share(right, picked) and found.seen == 18
    assert found.agreement.orders is None and "too narrow" in found.notes[0]
    assert "each of 2 models" in found.notes[0] and found.ranks is None


def test_values_of_whole_models_are_ranked_as_people_rank_the_models(arena: Arena) -> None:
    fill_with_swatches(arena)
    people_vote(arena, right=0.7)
    values = {"Swatch A": 30.0, "Swatch B": 10.0, "Swatch C": 20.0}
    for name, value in values.items():
        arena.store.add_score(Score(name, "fid-clean", Protocol("fid-clean", "1", {}), value))
    rows = leaderboard.leaderboard(arena).rows
    by_people = [next(row.rating for row in rows if row.name == name) for name in values]
    found = only(arena).ranks
    assert found is not None and found.n == 3 and found.spearman is not None
    assert found.spearman.value == pytest.approx(spearmanr(by_people, [-one for one in values.values()]).statistic)


# Scores of single images


def brightness_of(arena: Arena, name: str, blind: int = 0, sign: float = 1.0) -> Score:
    """A score that sees what people see, image by image, with a mean that says the same of every model."""
    contestant = arena.store.contestant(name)
    made = [one for one in arena.store.generations(contestant.id or 0) if one.image]
    images = tuple(
        ImageValue(one.image.sha256, one.prompt_id, None, "an empty answer")
        if place < blind
        else ImageValue(one.image.sha256, one.prompt_id, sign * float(decode(arena.blobs.get(one.image.sha256)).mean()))
        for place, one in enumerate(made)
        if one.image
    )
    return Score(name, "pickscore", Protocol("pickscore", "1", {}), 20.0, contestant_id=contestant.id, images=images)


def test_values_of_single_images_decide_their_own_pairs(any_arena: Arena) -> None:
    """The means are equal: were they to decide, every pair would be a tie."""
    fill_with_swatches(any_arena)
    people_vote(any_arena)
    for name in ("Swatch A", "Swatch B", "Swatch C"):
        any_arena.store.add_score(brightness_of(any_arena, name))
    found = only(any_arena)
    assert (found.name, found.seen, found.notes) == ("pickscore", 54, ())
    assert found.agreement.decisive.value == 1.0 and found.agreement.decisive.of == 54


def test_an_image_without_a_value_is_unscored_and_one_never_measured_is_not_seen(arena: Arena) -> None:
    fill_with_swatches(arena)
    people_vote(arena, 1)
    arena.store.add_score(brightness_of(arena, "Swatch A", blind=2))
    arena.store.add_score(brightness_of(arena, "Swatch B"))
    found = only(arena)
    assert (found.seen, found.agreement.coverage) == (6, Share(4, 6))


def test_the_newest_value_of_an_image_counts_and_an_old_one_rather_than_none(arena: Arena) -> None:
    fill_with_swatches(arena)
    people_vote(arena, 1)
    for name in ("Swatch A", "Swatch B"):
        arena.store.add_score(brightness_of(arena, name, sign=-1.0))
        arena.store.add_score(brightness_of(arena, name))
        arena.store.add_score(brightness_of(arena, name, blind=6))
    found = only(arena)
    assert found.agreement.decisive.value == 1.0 and found.agreement.coverage == Share(6, 6)


def test_where_only_a_mean_is_known_the_panel_says_so(arena: Arena) -> None:
    fill_with_swatches(arena)
    people_vote(arena, 1)
    for name in ("Swatch A", "Swatch B"):
        arena.store.add_score(brightness_of(arena, name))
    arena.store.add_score(Score("Swatch C", "pickscore", Protocol("pickscore", "1", {}), 30.0))
    found = only(arena)
    assert found.seen == 6
    assert found.notes[0] == "Only a mean is kept of Swatch C; measure them again to have their images compared."


def test_scores_are_read_without_the_values_of_their_images(arena: Arena) -> None:
    """10,000 images are a megabyte, and pages read scores at every visit."""
    fill_with_swatches(arena)
    arena.store.add_score(brightness_of(arena, "Swatch A"))
    asked: list[str] = []
    event.listen(arena.store.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    [score] = arena.store.scores()
    assert score.images == () and any("scores.details" in one for one in asked)
    assert not any("scores.images" in one for one in asked)
    values = image_values(arena.store, "pickscore", score.protocol.fingerprint)
    assert len(values.of) == 6 and values.subjects == {"Swatch A"}
