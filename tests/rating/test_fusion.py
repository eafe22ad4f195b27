"""Prediction-powered Bradley-Terry against its own objective, plain loops, limits, simulated judges and real ones."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

from arena.errors import DataError, UsageError
from arena.rating import board as boards
from arena.rating import bradley_terry as bt
from arena.rating import fusion, uncertainty
from arena.rating.comparisons import Comparisons, aggregate

PPR = Path(__file__).parents[2].parent / "shared" / "data" / "ppr_chatbot_arena"
NAMES = tuple(f"m{i}" for i in range(6))
TRUTH = np.linspace(-1, 1, 6)


def arena(
    seed: int, n: int = 500, elsewhere: int = 2500, *, together: float = 0.8, to_left: float = 0.0, wrong: float = 0.0,
    voters: int | None = 50,
) -> tuple[fusion.Paired, Comparisons]:  # fmt: skip
    """Human votes from TRUTH. The judge's taste goes with the human's of the same battle by a normal copula of
    correlation `together`; it favours the left by `to_left` logits and strengths that are off by `wrong`."""
    rng = np.random.default_rng(seed)
    total = n + elsewhere
    left = rng.integers(0, 6, total)
    right = (left + rng.integers(1, 6, total)) % 6
    mood = rng.normal(size=total)
    judge_mood = together * mood + np.sqrt(1 - together**2) * rng.normal(size=total)
    judged = TRUTH + wrong * np.array([1, -1, 1, -1, 1, -1])
    human = stats.norm.cdf(mood) > 1 / (1 + np.exp(TRUTH[right] - TRUTH[left]))
    judge = stats.norm.cdf(judge_mood) > 1 / (1 + np.exp(judged[right] - judged[left] - to_left))
    human, judge = human.astype(int), judge.astype(int)
    human[rng.random(total) < 0.1], judge[rng.random(total) < 0.1] = 2, 2
    human[rng.random(total) < 0.05] = 3
    voter = None if voters is None else rng.integers(0, voters, n)
    paired = fusion.Paired(NAMES, left[:n], right[:n], human[:n], judge[:n], voter)
    return paired, aggregate(NAMES, left[n:], right[n:], judge[n:])


@pytest.mark.parametrize("voters", [None, 50])
def test_lam_zero_is_the_humans_to_the_bit(voters: int | None) -> None:
    paired, elsewhere = arena(1, voters=voters)
    fused = fusion.fuse(paired, elsewhere, lam=0.0)
    votes = paired.votes()
    theta = bt.fit(bt.win_matrix(votes))
    assert (fused.theta == theta).all() and (fused.human.theta == theta).all()
    assert (fused.covariance == uncertainty.covariance(votes, theta)).all()
    assert (fused.lam, fused.width_ratio) == (0, 1)


def test_theta_minimises_the_objective_written_out() -> None:
    """Every battle's loss in a loop-free but literal form, minimised by BFGS: good to about 1e-5."""
    paired, elsewhere = arena(2, n=300, to_left=0.5)
    lam = 0.4
    soft = np.array([1, 0, 0.5, 0.5])
    bias = np.average(soft[elsewhere.outcome], weights=elsewhere.count) - 0.5

    def loss(theta, left, right, label, weight):
        gap = theta[left] - theta[right]
        return (weight * (np.logaddexp(0, gap) - label * gap)).sum()

    def pairs(left, right):
        return np.minimum(left, right) * 6 + np.maximum(left, right)

    voted = np.bincount(pairs(paired.left, paired.right), minlength=36)
    seen = np.bincount(pairs(elsewhere.left, elsewhere.right), elsewhere.count, 36)
    assert ((seen > 0) >= (voted > 0)).all()
    share = elsewhere.count * (voted / np.maximum(seen, 1))[pairs(elsewhere.left, elsewhere.right)]
    counted = paired.human != 3

    def objective(theta):
        humans = loss(theta, paired.left, paired.right, soft[paired.human], counted)
        there = loss(theta, elsewhere.left, elsewhere.right, soft[elsewhere.outcome] - bias, share)
        here = loss(theta, paired.left, paired.right, soft[paired.judge] - bias, np.ones(300))
        return humans + lam * (there - here)

    best = optimize.minimize(objective, np.zeros(6))
    fused = fusion.fuse(paired, elsewhere, lam=lam)
    np.testing.assert_allclose(fused.theta, best.x - best.x.mean(), atol=1e-4)
    assert np.abs(fused.theta - fused.human.theta).max() > 0.01


def test_votes_without_a_verdict_count_as_they_are() -> None:
    """The same objective with a verdict on every third vote only: good to about 1e-5, and lam 0 is the humans'."""
    paired, elsewhere = arena(12, n=600, to_left=0.5)
    judge = np.where(np.arange(600) % 3 == 0, paired.judge, fusion.UNSEEN)
    part, soft, lam = replace(paired, judge=judge), np.array([1, 0, 0.5, 0.5]), 0.5
    bias = np.average(soft[elsewhere.outcome], weights=elsewhere.count) - 0.5
    seen = part.seen

    def pairs(left, right):
        return np.minimum(left, right) * 6 + np.maximum(left, right)

    voted = np.bincount(pairs(part.left[seen], part.right[seen]), minlength=36)
    others = np.bincount(pairs(elsewhere.left, elsewhere.right), elsewhere.count, 36)
    share = elsewhere.count * (voted / np.maximum(others, 1))[pairs(elsewhere.left, elsewhere.right)]

    def loss(theta, left, right, label, weight):
        gap = theta[left] - theta[right]
        return (weight * (np.logaddexp(0, gap) - label * gap)).sum()

    def objective(theta):
        humans = loss(theta, part.left, part.right, soft[part.human], part.human != 3)
        there = loss(theta, elsewhere.left, elsewhere.right, soft[elsewhere.outcome] - bias, share)
        here = loss(theta, part.left[seen], part.right[seen], soft[judge[seen]] - bias, np.ones(seen.sum()))
        return humans + lam * (there - here)

    best = optimize.minimize(objective, np.zeros(6))
    fused = fusion.fuse(part, elsewhere, lam=lam)
    np.testing.assert_allclose(fused.theta, best.x - best.x.mean(), atol=1e-4)
    assert (fused.n, fused.n_seen) == (600, 200)
    assert (fusion.fuse(part, elsewhere, lam=0).theta == bt.fit(bt.win_matrix(paired.votes()))).all()


@pytest.mark.parametrize("wrong", [0.0, 1.0])
def test_a_judge_that_saw_a_part_never_widens_and_helps_less(wrong: float) -> None:
    """Verdicts on all, half, a tenth and none of the votes: widths grow from the fused to the humans' own."""
    widths = []
    for share in (1.0, 0.5, 0.1, 0.0):
        found = []
        for seed in range(6):
            paired, elsewhere = arena(20 + seed, n=600, wrong=wrong)
            unseen = np.random.default_rng(seed).random(600) >= share
            part = replace(paired, judge=np.where(unseen, fusion.UNSEEN, paired.judge))
            fused = fusion.fuse(part, elsewhere)
            assert fused.width_ratio <= 1
            found.append(fused.width_ratio)
        widths.append(np.mean(found))
    assert widths == sorted(widths) and widths[0] < 0.97 and widths[-1] == 1


@pytest.mark.parametrize("voters", [None, 20])
def test_covariance_by_plain_loops(voters: int | None) -> None:
    paired, elsewhere = arena(3, n=200, elsewhere=900, voters=voters)
    lam, soft = 0.3, [1, 0, 0.5, 0.5]
    fused = fusion.fuse(paired, elsewhere, lam=lam)
    bias = sum(c * soft[o] for c, o in zip(elsewhere.count, elsewhere.outcome, strict=True)) / 900 - 0.5
    here: dict[tuple[int, int], list[float]] = {}
    there: dict[tuple[int, int], list[float]] = {}

    def seen(left, right, code):
        value = soft[code] - 0.5 - bias
        return ((left, right), value) if left < right else ((right, left), -value)

    for row in zip(paired.left, paired.right, paired.judge, strict=True):
        here.setdefault(seen(*row)[0], []).append(seen(*row)[1])
    for *row, count in zip(elsewhere.left, elsewhere.right, elsewhere.outcome, elsewhere.count, strict=True):
        there.setdefault(seen(*row)[0], []).extend([seen(*row)[1]] * int(count))
    probability = bt.win_probability(fused.theta)
    by_voter: dict[int, np.ndarray] = {}
    for i in range(200):
        left, right = paired.left[i], paired.right[i]
        push = 0.0 if paired.human[i] == 3 else soft[paired.human[i]] - probability[left, right]
        pair, value = seen(left, right, paired.judge[i])
        known = here[pair] + there[pair]
        scaled = (value - np.mean(known)) * np.sqrt(len(known) / (len(known) - 1))
        push -= lam * scaled * (1 if left < right else -1)
        score = by_voter.setdefault(i if voters is None else int(paired.voter[i]), np.zeros(6))
        score[left] += push
        score[right] -= push
    votes = paired.votes()
    whole = bt.information(bt.win_matrix(votes), fused.theta)
    bread = np.linalg.pinv(whole)
    expected = np.zeros((6, 6))
    for voter, score in by_voter.items():
        # Votes that stand alone: the sandwich. Voters: as if each were left out of the information too.
        keep = np.ones(200, bool) if voters is None else paired.voter != voter
        rest = aggregate(NAMES, paired.left[keep], paired.right[keep], paired.human[keep])
        shift = np.linalg.pinv(bt.information(bt.win_matrix(rest), fused.theta)) @ score
        expected += np.outer(shift, shift) * (1 if voters is None else (voters - 1) / voters)
    for pair in here:
        known = here[pair] + there[pair]
        edge = lam**2 * len(here[pair]) ** 2 / len(there[pair]) * np.var(known, ddof=1)
        contrast = bread @ (np.eye(6)[pair[0]] - np.eye(6)[pair[1]])
        expected += edge * np.outer(contrast, contrast)
    np.testing.assert_allclose(fused.covariance, expected, rtol=1e-4, atol=1e-7)


def test_a_perfect_judge_is_worth_its_verdicts() -> None:
    """Verdicts equal to the votes on N = 3 n other battles: lam is N / (N + n) = .75 and widths halve.

    Here lam and widths vary by a few percent with the draw; the strengths become those of all verdicts together.
    """
    paired, elsewhere = arena(4, n=1500, elsewhere=4500, together=1.0, voters=None)
    paired = replace(paired, human=paired.judge)
    fused = fusion.fuse(paired, elsewhere)
    assert fused.lam == pytest.approx(0.75, abs=0.02)
    assert fused.width_ratio == pytest.approx(0.5, abs=0.02)
    everything = bt.fit(bt.win_matrix(paired.votes()) + bt.win_matrix(elsewhere))
    np.testing.assert_allclose(fused.theta, everything, atol=0.03)


def test_the_lam_found_is_the_narrowest() -> None:
    paired, elsewhere = arena(5, voters=None)
    fused = fusion.fuse(paired, elsewhere)
    grid = [fusion.fuse(paired, elsewhere, lam=lam).width_ratio for lam in np.linspace(0, 1, 21)]
    # The grid's covariances are at their own strengths, the lam is found at the humans': within a percent.
    assert 0.1 < fused.lam < 0.9 and fused.width_ratio < min(grid) * 1.01 and fused.width_ratio < 0.95


@pytest.mark.parametrize(
    "judge", [{"to_left": 2.5}, {"wrong": 1.0}, {"together": 0.0, "wrong": 1.5, "to_left": 1.0}, {"together": -0.7}]
)
def test_no_judge_breaks_the_intervals(judge: dict[str, float]) -> None:
    """60 arenas of 6 contrasts each, clustered by voter: coverage of 95% within 4 standard errors of 360 tries (4.6
    points, as if independent), and no wider than humans alone but for the noise of lam."""
    inside, ratios = [], []
    for seed in range(60):
        fused = fusion.fuse(*arena(seed, n=300, elsewhere=1500, **judge))
        half = fused.factor * np.sqrt(np.diag(fused.covariance))
        inside.append((np.abs(fused.theta - TRUTH) < half).mean())
        ratios.append(fused.width_ratio)
    assert np.mean(inside) > 0.95 - 0.046
    assert np.mean(ratios) <= 1.0 and max(ratios) < 1.02


def test_verdicts_on_voted_battles_only_gain_nothing() -> None:
    paired, _ = arena(6)
    fused = fusion.fuse(paired, aggregate(NAMES, [], [], []))
    assert fused.lam == 0 and "nothing to gain" in fused.note and fused.n_judge == 0
    assert (fused.covariance == fused.human.covariance).all()
    assert "nothing to gain" in fusion.board(paired, aggregate(NAMES, [], [], [])).warnings[-1]


def test_a_contrary_judge_is_not_used() -> None:
    paired, elsewhere = arena(7, together=-0.9)
    fused = fusion.fuse(paired, elsewhere)
    assert fused.lam == 0 and "not used" in fused.note and fused.width_ratio == 1


def test_sides_do_not_matter() -> None:
    paired, elsewhere = arena(8, to_left=1.0)
    mirror = np.array([1, 0, 2, 3])
    turned = replace(
        paired, left=paired.right, right=paired.left, human=mirror[paired.human], judge=mirror[paired.judge]
    )
    back = replace(elsewhere, left=elsewhere.right, right=elsewhere.left, outcome=mirror[elsewhere.outcome])
    one, other = fusion.fuse(paired, elsewhere), fusion.fuse(turned, back)
    np.testing.assert_allclose(one.theta, other.theta, atol=1e-9)
    np.testing.assert_allclose(one.covariance, other.covariance, atol=1e-12)


def test_who_humans_cannot_rate_stays_unrated() -> None:
    paired, elsewhere = arena(9)
    keep = (paired.left != 5) & (paired.right != 5)
    fewer = fusion.Paired(NAMES, *(a[keep] for a in (paired.left, paired.right, paired.human, paired.judge)))
    fused = fusion.fuse(fewer, elsewhere)
    assert fused.contestants == NAMES[:5] and list(fused.unrated) == ["m5"]
    board = fusion.board(fewer, elsewhere)
    assert board.system == "fused" and board.board[-1].model == "m5" and board.board[-1].rating is None
    best = board.board[0]
    assert (best.high - best.low) / 2 < board.details["human_half_widths"][best.model]
    assert best.votes == boards.board(fewer.votes(), flips=False).board[0].votes


def test_refusals() -> None:
    paired, elsewhere = arena(10, n=50)
    with pytest.raises(UsageError, match=r"lam is 1\.5"):
        fusion.fuse(paired, elsewhere, lam=1.5)
    with pytest.raises(UsageError, match="different models"):
        fusion.fuse(paired, aggregate(NAMES[:5], [0], [1], [0]))
    with pytest.raises(DataError, match="no votes"):
        fusion.fuse(fusion.Paired(NAMES, *[np.zeros(0, int)] * 4), elsewhere)
    with pytest.raises(ValueError, match="one length"):
        replace(paired, human=paired.human[:-1])


def benchmark():
    """benchmarks/fusion.py, which is a command and no package."""
    path = Path(__file__).parents[2] / "benchmarks" / "fusion.py"
    spec = importlib.util.spec_from_file_location("benchmark_fusion", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not PPR.is_dir(), reason="the optional data folder with the votes and verdicts is not here")
def test_real_judges_order_models_as_published_and_narrow_the_humans() -> None:
    """Kendall's tau of each judge's board to the humans' on 26,919 battles (a tie as half a win), three-way agreement,
    and one draw of 1,000 human votes with gpt-4's verdicts on all."""
    command = benchmark()
    battles = command.load(PPR)
    human = command.strengths(battles, battles.human)
    published = {"gpt-4": (0.916, 0.555), "claude-3-opus": (0.947, 0.475), "gpt-3.5": (0.821, 0.400)}
    for judge, (tau, agreement) in published.items():
        codes = battles.judges[judge]
        assert round(stats.kendalltau(human, command.strengths(battles, codes)).statistic, 3) == tau
        assert round(fusion.agreement(battles.human, codes), 3) == agreement
    fused = fusion.fuse(*battles.split("gpt-4", 1000, np.random.default_rng(0)))
    assert not fused.unrated and 0.1 < fused.lam < 0.6 and 0.9 < fused.width_ratio < 1
    human_ranks = uncertainty.ranks(fused.human.theta, fused.human.covariance)
    both = uncertainty.ranks(fused.theta, fused.covariance)
    truth = 1 + (human[:, None] < human[None, :]).sum(1)
    assert command.covers(both, truth) and command.covers(human_ranks, truth)
