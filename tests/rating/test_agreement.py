"""Agreement against closed forms, statsmodels' figures, a plain recount, properties, and published judges."""

from __future__ import annotations

import importlib.util
import re
import sys
import textwrap
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.errors import UsageError
from arena.rating.agreement import (
    NOT_ASKED,
    UNSCORED,
    Places,
    Share,
    agreement,
    kappa,
    of_both_orders,
    preference,
    rest_of_voters,
    verdict,
)
from arena.rating.comparisons import Code

ROOT = Path(__file__).parents[2]
PPR = ROOT.parent / "shared" / "data" / "ppr_chatbot_arena"
IMAGENHUB = ROOT.parent / "shared" / "data" / "imagenhub_t2i"
A, B, TIE, BAD = Code
NONE = UNSCORED
MIRROR = {A: B, B: A, TIE: TIE, BAD: BAD, UNSCORED: UNSCORED, NOT_ASKED: NOT_ASKED}

pairs = st.lists(st.tuples(st.sampled_from([*Code, NONE]), st.sampled_from([*Code, NONE])), max_size=40)


def codes(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.array(pairs, np.int64).reshape(-1, 2).T)


def figures(human: np.ndarray, judge: np.ndarray) -> dict[str, object]:
    found = agreement(human, judge)
    return {
        "coverage": found.coverage, "four": found.accuracy4, "three": found.accuracy3, "decisive": found.decisive,
        "decisive coverage": found.decisive_coverage, "kappa": found.kappa4 and round(found.kappa4.value, 12),
    }  # fmt: skip


def test_every_denominator_by_hand() -> None:
    """Ten pairs, one without a human vote: what is unscored or undecided leaves each figure as its definition says."""
    human = [A, A, A, B, B, TIE, TIE, BAD, BAD, NONE]
    judge = [A, B, NONE, B, TIE, TIE, BAD, BAD, NONE, A]
    found = agreement(human, judge)
    assert found.n == 9
    assert found.coverage == Share(7, 9)
    assert found.accuracy4 == Share(4, 7)
    assert found.accuracy3 == Share(5, 7), "tie and both bad are one of three"
    assert found.decisive == Share(2, 3), "a tie is no pick, a missing verdict is none either"
    assert found.decisive_coverage == Share(3, 5)
    assert found.human_places == Places(3, 2, 4)
    assert found.judge_places == Places(1, 2, 4), "a verdict without a human vote has no part"
    assert found.orders is None
    # People said A, A, B, B, tie, tie, bad; the judge A, B, B, tie, tie, bad, bad. Chance: (2·1+2·2+2·2+1·2)/49.
    chance = 12 / 49
    assert found.kappa4.value == pytest.approx((4 / 7 - chance) / (1 - chance))


@given(pairs)
def test_figures_are_those_of_a_plain_recount(pairs: list[tuple[int, int]]) -> None:
    human, judge = codes(pairs)
    found = agreement(human, judge)
    voted = [(h, j) for h, j in pairs if h != NONE]
    scored = [(h, j) for h, j in voted if j != NONE]
    decided = [h for h, j in voted if h in (A, B)]
    picked = [(h, j) for h, j in voted if h in (A, B) and j in (A, B)]
    assert found.coverage == Share(len(scored), len(voted))
    assert found.accuracy4 == Share(sum(h == j for h, j in scored), len(scored))
    assert found.decisive == Share(sum(h == j for h, j in picked), len(picked))
    assert found.decisive_coverage == Share(len(picked), len(decided))
    assert found.judge_places.picks_first == Share(sum(j == A for _, j in scored), len(scored))
    assert found.human_places.picks_first == Share(sum(h == A for h, _ in voted), len(voted))
    assert verdict(found).sentence


@given(pairs)
def test_a_mirror_changes_the_places_and_nothing_else(pairs: list[tuple[int, int]]) -> None:
    human, judge = codes(pairs)
    turned = codes([(MIRROR[h], MIRROR[j]) for h, j in pairs])
    assert figures(*turned) == figures(human, judge)
    places, mirrored = agreement(human, judge).judge_places, agreement(*turned).judge_places
    assert (mirrored.first, mirrored.second, mirrored.neither) == (places.second, places.first, places.neither)
    if places.of:
        assert mirrored.bias.value == -places.bias.value
        assert (mirrored.bias.low, mirrored.bias.high) == pytest.approx((-places.bias.high, -places.bias.low))


@given(pairs, st.permutations([*Code]))
def test_other_names_for_the_answers_change_neither_accuracy_nor_kappa(pairs: list, names: list[Code]) -> None:
    human, judge = codes(pairs)
    renamed = np.array([*map(int, names), UNSCORED])
    one, other = agreement(human, judge), agreement(renamed[human], renamed[judge])
    assert one.accuracy4 == other.accuracy4 and one.coverage == other.coverage
    assert (one.kappa4 is None) == (other.kappa4 is None)
    if one.kappa4:
        assert one.kappa4.value == pytest.approx(other.kappa4.value, abs=1e-12)
        assert one.kappa4.low == pytest.approx(other.kappa4.low, abs=1e-6)


@given(pairs, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_count(pairs: list, random: object) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert (agreement(*codes(pairs)).counts == agreement(*codes(shuffled)).counts).all()


@given(pairs)
def test_an_unscored_pair_lowers_coverage_alone(pairs: list[tuple[int, int]]) -> None:
    more = figures(*codes([*pairs, (TIE, NONE)]))
    less = figures(*codes(pairs))
    assert more.pop("coverage").of == less.pop("coverage").of + 1
    assert more == less


def test_wilson_is_statsmodels() -> None:
    """statsmodels 0.15, proportion_confint(hits, of, method="wilson"); tolerance: rounding."""
    for hits, of, low, high in [
        (0, 10, 0.0, 0.27753279986288926),
        (1, 10, 0.017876213095072924, 0.40415002679523854),
        (83, 100, 0.7445199523239887, 0.8910643388594006),
        (1734, 1735, 0.9967423534824873, 0.9998982494942461),
        (10, 10, 1 - 0.27753279986288926, 1.0),
    ]:
        found = Share(hits, of).estimate
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    assert Share(0, 0).value is None and Share(0, 0).estimate is None


def test_kappa_and_its_interval_are_statsmodels() -> None:
    """statsmodels 0.15, cohens_kappa of this table; scikit-learn 1.9 gives the same kappa. Tolerance: rounding."""
    found = kappa([[20, 5, 3, 1], [4, 18, 2, 2], [6, 7, 9, 3], [1, 2, 4, 13]])
    assert found.value == pytest.approx(0.4622933189944885, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((0.33456387763852663, 0.5900227603504504), abs=1e-9)


def test_kappa_of_special_tables() -> None:
    assert kappa(np.diag([5, 5, 5, 5])).value == 1
    assert kappa([[5, 5], [5, 5]]).value == 0
    assert kappa([[0, 5], [5, 0]]).value == -1
    assert kappa([[3, 0], [7, 0]]).value == 0, "one answer always: no more than chance"
    assert kappa([[9, 0], [0, 0]]) is None, "both gave one answer always: chance alone is perfect"
    assert kappa(np.zeros((4, 4))) is None


def test_the_bias_holds_what_it_promises() -> None:
    """Coverage of the 95% interval over 2,000 draws; sampling error 0.5 points, the method's own a point."""
    rng = np.random.default_rng(0)
    for share in ([0.5, 0.3, 0.2], [0.9, 0.05, 0.05]):
        drawn = [Places(*map(int, row)).bias for row in rng.multinomial(60, share, 2000)]
        held = np.mean([found.low <= share[0] - share[1] <= found.high for found in drawn])
        assert 0.93 < held < 0.98
    always = Places(100, 0, 0).bias
    wilson = Share(100, 100).estimate
    assert (always.value, always.high) == (1, 1)
    assert always.low == pytest.approx(2 * wilson.low - 1), "without ties P(first) - P(second) is 2 P(first) - 1"
    assert Places(0, 0, 0).bias is None


# Both orders.


def test_two_orders_make_one_verdict() -> None:
    plain = np.array([A, A, A, TIE, TIE, A, NONE, A, NOT_ASKED, NOT_ASKED])
    swapped = np.array([A, B, TIE, BAD, TIE, NONE, NONE, NOT_ASKED, B, NONE])
    assert of_both_orders(plain, swapped).tolist() == [A, TIE, TIE, TIE, TIE, NONE, NONE, A, B, NONE]
    found = agreement([A] * 10, plain, swapped)
    assert found.coverage == Share(7, 10)
    assert found.orders.consistent == Share(2, 5)
    assert (found.orders.to_first, found.orders.to_second) == (1, 0)
    # Shown first: A plain is first, A swapped is second.
    assert found.judge_places == Places(5 + 2, 0 + 1, 2 + 3)


@given(st.lists(st.tuples(*[st.sampled_from([*Code, NONE])] * 3), max_size=30))
def test_swapping_all_orders_mirrors_the_places(rows: list[tuple[int, int, int]]) -> None:
    human, plain, swapped = np.array(rows, np.int64).reshape(-1, 3).T
    one, other = agreement(human, plain, swapped), agreement(human, swapped, plain)
    assert (one.counts == other.counts).all()
    assert one.judge_places.first == other.judge_places.second
    if one.orders and one.orders.consistent.of:
        assert one.orders.consistent == other.orders.consistent
        assert one.orders.to_first == other.orders.to_second


def test_consistent_verdicts_have_no_bias_whatever_they_are() -> None:
    verdicts = np.array([A, A, A, B, TIE])
    found = agreement(verdicts, verdicts, verdicts)
    assert found.orders.consistent == Share(5, 5) and found.judge_places.bias.value == 0
    assert found.decisive == Share(4, 4)


# The sentence.


def sentence(human: list[int], judge: list[int], swapped: list[int] | None = None) -> str:
    said = verdict(agreement(human, judge, swapped))
    assert not said.sound
    return said.sentence


def test_a_judge_that_answers_first_always_is_unmasked_whatever_its_accuracy() -> None:
    right_often = [A] * 90 + [B] * 10
    assert agreement(right_often, [A] * 100).decisive.estimate.low > 0.8
    assert sentence(right_often, [A] * 100).startswith(
        "In every one of 100 verdicts it picks the first side (people: 90%)"
    )
    assert "picks the second side" in sentence([A, B] * 50, [B] * 99 + [A])
    assert sentence([A, B] * 867 + [A], [A] * 1734 + [B]).startswith("In 1734 of 1735 verdicts it picks the first side")
    # Judged in both orders it contradicts itself, its ties hide it, and its places show it.
    assert "picks the first side" in sentence([A, B] * 10, [A] * 20, [B] * 20)


def test_the_other_sentences() -> None:
    assert sentence([A, B], [NONE, NONE]) == "Scores none of 2 pairs: nothing can be said."
    assert "prefers neither side" in sentence([A, B] * 10, [TIE, BAD] * 10)
    assert "so do people" in sentence([A] * 40, [A] * 40)
    assert "Picks no side" in sentence([TIE] * 6 + [A], [A, B] * 3 + [TIE])
    assert "Leans to the second side: picks it in 80%" in sentence([A, B] * 50, [A, B, B, B, B] * 20)
    assert "it would be 50%" in sentence([A, B] * 50, [A, A, A, A, B] * 20, [B, B, B, A, B] * 20)
    assert "less than a coin" in sentence([A, B] * 50, [B, A] * 50)
    assert "no better than a coin" in sentence([A, B, A, B], [A, B, B, A])
    sound = verdict(agreement([A, B] * 50, [A, B] * 45 + [B, A] * 5))
    assert sound.sound and sound.sentence.startswith("Agrees with people on 90% of 100 decisive pairs (83% to 94%)")


def test_what_is_no_verdict_is_refused() -> None:
    with pytest.raises(UsageError, match="2 human votes for 1 verdicts"):
        agreement([A, B], [A])
    with pytest.raises(UsageError, match="7 is no verdict"):
        agreement([7], [A])
    with pytest.raises(UsageError, match="-2 is no verdict; give the codes -1 to 3"):
        agreement([NOT_ASKED], [A])
    with pytest.raises(UsageError, match="whole numbers, not float64"):
        agreement([np.nan], [A])
    assert agreement([], []).n == 0


# Scores of single images.


def test_scores_become_preferences() -> None:
    nan = np.nan
    left, right = [0.9, 0.1, 0.5, 0.5, nan, 0.5, nan], [0.1, 0.9, 0.5, 0.55, 0.5, nan, nan]
    assert preference(left, right).tolist() == [A, B, TIE, B, NONE, NONE, NONE]
    assert preference(left, right, tie_within=0.1).tolist() == [A, B, TIE, TIE, NONE, NONE, NONE]
    for bad in (-1, nan, np.inf):
        with pytest.raises(UsageError, match="cannot tie within"):
            preference(left, right, tie_within=bad)


def test_the_snippet_of_the_docs_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "agreement.md").read_text()
    snippet = next(block for block in re.findall(r"(?:^(?:    .*)?\n)+", page, re.MULTILINE) if "from arena" in block)
    exec(textwrap.dedent(snippet), {})
    assert "Agrees with people on 100% of 2 decisive pairs" in capsys.readouterr().out


# One person against the rest.


def test_the_rest_is_the_most_frequent_answer_of_the_others() -> None:
    votes = [
        ("p", "ann", A), ("p", "bob", A), ("p", "cid", B),
        ("q", "ann", A), ("q", "bob", B),
        ("r", "ann", TIE),
        ("s", "ann", A), ("s", "ann", A), ("s", "bob", B), ("s", "cid", B), ("s", "dan", TIE),
    ]  # fmt: skip
    pair, voter, outcome = zip(*votes, strict=True)
    rest = rest_of_voters(pair, voter, outcome)
    # p: ann sees A and B, no lead; cid sees A twice. s: ann's two votes are both hers.
    assert rest.tolist() == [NONE, NONE, A, B, A, NONE, B, B, A, A, NONE]
    assert rest_of_voters([], [], []).tolist() == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([*Code])), max_size=30))
def test_the_rest_is_that_of_a_plain_recount(votes: list[tuple[int, int, int]]) -> None:
    expected = []
    for pair, voter, _ in votes:
        others = Counter(o for p, v, o in votes if p == pair and v != voter).most_common(2)
        lead = others and (len(others) == 1 or others[0][1] > others[1][1])
        expected.append(others[0][0] if lead else NONE)
    columns = tuple(zip(*votes, strict=True)) if votes else ((), (), ())
    assert rest_of_voters(*columns).tolist() == expected


# Published judges.


@pytest.mark.skipif(not PPR.is_dir(), reason="the optional folder of PPR's verdicts is not here")
def test_published_judges_of_chatbot_arena() -> None:
    """Three-way agreement and which place each judge leans to, of 26,919 votes; given to three digits."""
    spec = importlib.util.spec_from_file_location("fusion_benchmark", ROOT / "benchmarks" / "fusion.py")
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = benchmark
    spec.loader.exec_module(benchmark)
    battles = benchmark.load(PPR)
    for judge, three, leans in [
        ("gpt-4", 0.555, None),
        ("claude-3-opus", 0.475, "second"),
        ("gpt-3.5", 0.400, "first"),
    ]:
        found = agreement(battles.human, battles.judges[judge])
        assert found.n == 26_919 and round(found.accuracy3.value, 3) == three
        said = verdict(found)
        assert said.sound if leans is None else f"Leans to the {leans} side" in said.sentence


@pytest.mark.skipif(not IMAGENHUB.is_dir(), reason="the optional folder of ImagenHub's ratings is not here")
def test_one_rater_against_the_others_on_real_images() -> None:
    """12,411 votes of three raters, winner by sqrt(SC PQ): the recount in pandas is another road to the same figure."""
    votes = pd.read_csv(IMAGENHUB / "derived_pairwise_votes.csv")
    outcome = votes.winner.map({"model_a": A, "model_b": B, "tie": TIE}).to_numpy()
    pair = votes.uid + "|" + votes.model_a + "|" + votes.model_b
    rest = rest_of_voters(pair, votes.rater, outcome)
    found = agreement(rest, outcome)
    wide = votes.assign(pair=pair).pivot(index="pair", columns="rater", values="winner")
    right = of = 0
    for rater in wide:
        one, two = (wide[other] for other in wide if other != rater)
        clear = (one == two) & (one != "tie") & (wide[rater] != "tie")
        right, of = right + int((wide[rater] == one)[clear].sum()), of + int(clear.sum())
    assert len(votes) == 12_411 and found.decisive == Share(right, of)
    assert round(found.decisive.value, 3) == 0.925
