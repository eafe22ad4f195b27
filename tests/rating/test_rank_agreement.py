"""Rank agreement against scipy, plain loops over drawn voters, and published judges of text and of images."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from arena.errors import DataError
from arena.rating import bradley_terry as bt
from arena.rating.comparisons import Code, aggregate
from arena.rating.fusion import Paired
from arena.rating.rank_agreement import boards, correlation, with_score

ROOT = Path(__file__).parents[2]
PPR = ROOT.parent / "shared" / "data" / "ppr_chatbot_arena"
IMAGENHUB = ROOT.parent / "shared" / "data" / "imagenhub_t2i"
NAMES = tuple("abcde")


def votes(seed: int, n: int = 600, noise: float = 1.0, voters: int | None = None) -> Paired:
    rng = np.random.default_rng(seed)
    strength = np.linspace(1, -1, 5)
    left = rng.integers(0, 5, n)
    right = (left + rng.integers(1, 5, n)) % 5
    gap = strength[left] - strength[right]
    human, judge = (np.where(rng.logistic(size=n) * s < gap, Code.LEFT, Code.RIGHT) for s in (1, noise))
    human[rng.random(n) < 0.1], judge[rng.random(n) < 0.1] = Code.TIE, Code.BOTH_BAD
    return Paired(NAMES, left, right, human, judge, None if voters is None else rng.integers(0, voters, n))


def board_of(paired: Paired, codes: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Strengths of those who fought in these rows."""
    names = NAMES[: 1 + max(paired.left[rows].max(), paired.right[rows].max())]
    return bt.fit(bt.win_matrix(aggregate(names, paired.left[rows], paired.right[rows], codes[rows])))


def test_boards_are_bradley_terrys_and_ranks_are_scipys() -> None:
    paired = votes(0, noise=3.0)
    found = boards(paired, rounds=20)
    human, judge = board_of(paired, paired.human), board_of(paired, paired.judge)
    assert found.contestants == NAMES
    assert found.human == pytest.approx(bt.points(human)) and found.judge == pytest.approx(bt.points(judge))
    assert found.ranks.spearman.value == pytest.approx(stats.spearmanr(human, judge).statistic)
    assert found.ranks.kendall.value == pytest.approx(stats.kendalltau(human, judge).statistic)
    assert (found.ranks.n, found.ranks.rounds) == (5, 20)


@pytest.mark.parametrize("voters", [None, 30])
def test_intervals_are_those_of_boards_refitted_to_drawn_rows(voters: int | None) -> None:
    """The same draws in a plain loop: rows repeated and fitted one board at a time. Tolerance: the fit's."""
    paired = votes(1, noise=2.0, voters=voters)
    found = boards(paired, rounds=40, seed=5)
    if voters is None:
        same = np.stack([paired.left, paired.right, paired.human, paired.judge])
        _, first, counts = np.unique(same, axis=1, return_index=True, return_counts=True)
    else:
        counts = np.ones(voters)
    rng = np.random.default_rng(5)
    taus = []
    for times in rng.multinomial(int(counts.sum()), counts / counts.sum(), 40):
        rows = np.repeat(first, times) if voters is None else np.repeat(np.arange(600), times[paired.voter])
        taus.append(stats.kendalltau(board_of(paired, paired.human, rows), board_of(paired, paired.judge, rows))[0])
    interval = (found.ranks.kendall.low, found.ranks.kendall.high)
    assert interval == pytest.approx(np.quantile(taus, [0.025, 0.975]), abs=1e-9)
    assert boards(paired, rounds=40, seed=5) == found


def test_a_value_for_each_model_stands_against_people_s_board() -> None:
    """Of one that never loses too, which no board of verdicts could place; who has no value is left out."""
    paired = votes(3, voters=40)
    score = np.array([5.0, 3.0, 4.0, np.nan, 1.0])
    found = with_score(paired, score, rounds=200)
    human = board_of(paired, paired.human)
    known = [0, 1, 2, 4]
    assert found.spearman.value == pytest.approx(stats.spearmanr(human[known], score[known]).statistic)
    assert found.kendall.value == pytest.approx(stats.kendalltau(human[known], score[known]).statistic)
    assert found.spearman.low <= found.spearman.value and (found.n, found.rounds) == (4, 200)
    rng, taus = np.random.default_rng(0), []
    for times in np.concatenate([rng.multinomial(40, np.full(40, 1 / 40), 50) for _ in range(4)]):
        rows = np.repeat(np.arange(600), times[paired.voter])
        taus.append(stats.kendalltau(board_of(paired, paired.human, rows)[known], score[known]).statistic)
    assert (found.kendall.low, found.kendall.high) == pytest.approx(np.quantile(taus, [0.025, 0.975]), abs=1e-9)
    with pytest.raises(DataError, match=r"^2 models can be rated by people and have a value"):
        with_score(paired, [1, np.nan, np.nan, np.nan, 2])


def test_voters_who_hang_together_widen_the_interval() -> None:
    """Ten voters who each vote one way about everything against the same votes taken as independent."""
    rng = np.random.default_rng(2)
    voter = np.repeat(np.arange(10), 60)
    left = np.tile(np.arange(3), 200)
    right = (left + 1) % 3
    taste = rng.normal((0.4, 0, -0.4), size=(10, 3))
    human = np.where(taste[voter, left] > taste[voter, right], Code.LEFT, Code.RIGHT)
    judge = np.where(rng.random(600) < 0.55 + 0.1 * (left < right), Code.LEFT, Code.RIGHT)
    alone = boards(Paired(tuple("abc"), left, right, human, judge), rounds=200).ranks
    together = boards(Paired(tuple("abc"), left, right, human, judge, voter), rounds=200).ranks
    assert alone.spearman.value == together.spearman.value
    assert together.spearman.high - together.spearman.low >= alone.spearman.high - alone.spearman.low


def test_only_whom_both_can_rate_is_compared() -> None:
    """e never loses in the judge's eyes, so the judge's board has no place for it; a board of two is no comparison."""
    paired = votes(3)
    touches = (paired.left == 4) | (paired.right == 4)
    judge = np.where(touches, np.where(paired.left == 4, Code.LEFT, Code.RIGHT), paired.judge)
    found = boards(Paired(NAMES, paired.left, paired.right, paired.human, judge), rounds=5)
    assert found.contestants == NAMES[:4]
    # Each board is its own, e's votes included where it is rated.
    assert found.human == pytest.approx(bt.points(board_of(paired, paired.human))[:4])
    assert found.judge == pytest.approx(bt.points(board_of(paired, judge, ~touches)))
    small = (paired.left < 2) & (paired.right < 2)
    with pytest.raises(DataError, match="2 models can be rated both"):
        boards(Paired(NAMES, *(a[small] for a in (paired.left, paired.right, paired.human, paired.judge))))
    left, right = np.array([0, 0, 1, 1]), np.array([1, 1, 2, 2])
    human, judge = (
        np.array([Code.LEFT, Code.RIGHT, Code.BOTH_BAD, Code.BOTH_BAD]),
        np.array([Code.BOTH_BAD, Code.BOTH_BAD, Code.LEFT, Code.RIGHT]),
    )
    with pytest.raises(DataError, match="1 model can be rated both"):
        boards(Paired(tuple("abc"), left, right, human, judge))
    with pytest.raises(DataError, match="no boards to compare"):
        boards(Paired(NAMES, *(np.zeros(0, int) for _ in range(4))))


def test_rounds_without_a_board_are_counted_out() -> None:
    """Eight votes: many a draw leaves someone without a win."""
    left, right = np.array([0, 1, 2, 0, 1, 2, 0, 0]), np.array([1, 2, 0, 1, 2, 0, 2, 1])
    codes = np.array([Code.LEFT] * 5 + [Code.RIGHT] * 3)
    found = boards(Paired(tuple("abc"), left, right, codes, codes), rounds=100).ranks
    assert 0 < found.rounds < 100
    assert found.kendall.value == found.kendall.low == found.kendall.high == 1


def test_correlations_are_scipys_and_missing_is_left_out() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 200).astype(float)
    x = y + rng.normal(size=200)
    x[:5], y[5:9] = np.nan, np.nan
    found = correlation(x, y, rounds=200)
    assert found.n == 191
    assert found.spearman.value == pytest.approx(stats.spearmanr(x[9:], y[9:]).statistic, abs=1e-12)
    assert found.kendall.value == pytest.approx(stats.kendalltau(x[9:], y[9:]).statistic, abs=1e-12)
    # Fisher's interval with Bonett and Wright's variance for Spearman; a bootstrap of 200 rounds is within .04 of it.
    rho = found.spearman.value
    half = 1.96 * np.sqrt((1 + rho**2 / 2) / (191 - 3))
    fisher = np.tanh(np.arctanh(rho) + np.array([-half, half]))
    assert (found.spearman.low, found.spearman.high) == pytest.approx(fisher, abs=0.04)
    assert correlation(x**3, np.exp(y), rounds=200) == found, "ranks know no units"
    flat = correlation([1, 1, 1], [1, 2, 3])
    assert flat.spearman is None and flat.kendall is None and flat.rounds == 0
    with pytest.raises(DataError, match="2 things have both"):
        correlation([1, 2, np.nan], [1, 2, 3])


def test_things_of_one_unit_are_drawn_together() -> None:
    """Each thing ten times over says no more than once: the interval by unit is that of the single things."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    y = x + 2 * rng.normal(size=60)
    once = correlation(x, y, rounds=300)
    tenfold = correlation(np.repeat(x, 10), np.repeat(y, 10), unit=np.repeat(np.arange(60), 10), rounds=300)
    assert tenfold.spearman.low == pytest.approx(once.spearman.low, abs=1e-9)
    assert tenfold.spearman.high == pytest.approx(once.spearman.high, abs=1e-9)
    naive = correlation(np.repeat(x, 10), np.repeat(y, 10), rounds=300)
    assert naive.spearman.high - naive.spearman.low < 0.5 * (once.spearman.high - once.spearman.low)


@pytest.mark.skipif(not PPR.is_dir(), reason="the optional folder of PPR's verdicts is not here")
def test_published_boards_of_chatbot_arena() -> None:
    """Kendall's tau of each judge's board to that of 26,919 human votes; given to three digits."""
    spec = importlib.util.spec_from_file_location("fusion_benchmark", ROOT / "benchmarks" / "fusion.py")
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = benchmark
    spec.loader.exec_module(benchmark)
    battles = benchmark.load(PPR)
    for judge, tau in [("gpt-4", 0.916), ("claude-3-opus", 0.947), ("gpt-3.5", 0.821)]:
        found = boards(battles.paired(judge, np.arange(len(battles.left))), rounds=50).ranks
        assert found.n == 20 and found.rounds == 50
        assert round(found.kendall.value, 3) == tau
        assert found.kendall.low < tau < found.kendall.high + 0.03, "percentile intervals reach further down than up"


@pytest.mark.skipif(not IMAGENHUB.is_dir(), reason="the optional folder of ImagenHub's ratings is not here")
def test_published_judges_of_images() -> None:
    """Spearman of sqrt(SC PQ), or of CLIPScore, to the mean human one, over images.

    The published .51, .50, .44 and -.09 are these three digits rounded half up.
    """
    human = pd.read_csv(IMAGENHUB / "ratings_long.csv")
    human["overall"] = np.sqrt(human.SC * human.PQ)
    human = human.groupby(["model", "uid"]).overall.mean().rename("human").reset_index()
    judges = pd.read_csv(IMAGENHUB / "vlm_judge_scores.csv").replace({"model": {"DALLE2": "DALLE"}})
    # The file holds CLIPScore's one figure in the column SC.
    clip = judges.judge == "CLIPScore"
    judges["overall"] = np.where(clip, judges.SC, np.sqrt(judges.SC * judges.PQ))
    scored = judges.merge(human, on=["model", "uid"])
    for judge, n, rho in [
        ("gpt4v", 873, 0.513), ("gemini", 983, 0.495), ("gpt4o", 985, 0.435), ("CLIPScore", 985, -0.089)
    ]:  # fmt: skip
        rows = scored[scored.judge == judge]
        found = correlation(rows.overall, rows.human, unit=rows.uid, rounds=100)
        assert found.n == n and round(found.spearman.value, 3) == rho
        assert found.spearman.low < rho < found.spearman.high
