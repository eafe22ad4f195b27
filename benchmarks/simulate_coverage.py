"""Do the intervals and rank sets hold what they say? Simulated arenas with known truth, one table row for each kind.

    python benchmarks/simulate_coverage.py

12 models, strengths with a standard deviation of 100 points, 1,500 votes unless the row says otherwise. Truth is what
infinitely many such votes would give. `coverage`: share of 95% intervals that hold their model's true rating, with its
standard error over arenas; `all ranks`: share of arenas in which every rank set holds the true rank. Where models are
far apart rank sets are right nearly always; the rows with level models (1 point) put them to the hardest test.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from arena.errors import DataError
from arena.matchmaking import adaptive_chances
from arena.rating import bradley_terry as bt
from arena.rating import covariates, davidson, fusion, pooling, uncertainty
from arena.rating.comparisons import Comparisons, aggregate

MODELS = 12
NAMES = tuple(f"m{i:02}" for i in range(MODELS))
PAIRS = list(combinations(range(MODELS), 2))
LEFT, RIGHT = np.array(PAIRS).T
Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Result:
    """One system on one arena: strengths and truth (M,), mean 0, covariance (M, M), factor of the standard error."""

    truth: np.ndarray
    theta: np.ndarray
    covariance: np.ndarray
    factor: float
    freedom: float = np.inf

    def held(self) -> tuple[float, bool, float]:
        """Share of intervals that hold the truth, whether all rank sets do, and the mean half-width in points."""
        half = self.factor * np.sqrt(np.diag(self.covariance))
        ranks = uncertainty.ranks(self.theta, self.covariance, freedom=self.freedom)
        true = 1 + (self.truth[:, None] < self.truth[None, :]).sum(1)
        inside = (ranks.low <= true) & (true <= ranks.high)
        return (
            float((np.abs(self.theta - self.truth) <= half).mean()),
            bool(inside.all()),
            float(half.mean() * bt.SCALE),
        )


def centred(theta: np.ndarray) -> np.ndarray:
    return theta - theta.mean()


def strengths(rng: Rng, points: float = 100.0) -> np.ndarray:
    """`points`: standard deviation."""
    return centred(rng.normal(size=MODELS) * points / bt.SCALE)


def sides(pairs: np.ndarray, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of each battle by a fair coin; pairs are positions in PAIRS."""
    turned = rng.random(len(pairs)) < 0.5
    return np.where(turned, RIGHT[pairs], LEFT[pairs]), np.where(turned, LEFT[pairs], RIGHT[pairs])


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def rated(votes: Comparisons, truth: np.ndarray) -> Result:
    theta = bt.fit(bt.win_matrix(votes))
    return Result(
        truth, theta, uncertainty.covariance(votes, theta), uncertainty.factor(votes), uncertainty.freedom(votes)
    )


def plain(rng: Rng, votes: int = 1500, voters: int = 60, exposure: float = 0.0, points: float = 100.0) -> list[Result]:
    """`exposure`: models meet in proportion to the product of 1 / (place + 1)^exposure."""
    truth = strengths(rng, points)
    share = (1 + np.arange(MODELS)) ** -exposure
    chance = share[LEFT] * share[RIGHT]
    left, right = sides(rng.choice(len(PAIRS), votes, p=chance / chance.sum()), rng)
    outcome = (rng.random(votes) > logistic(truth[left] - truth[right])).astype(int)
    return [rated(aggregate(NAMES, left, right, outcome, cluster=rng.integers(0, voters, votes)), truth)]


def with_taste(theta: np.ndarray, taste: float) -> np.ndarray:
    """Strengths that infinitely many voters give, whose own strengths vary around theta by `taste` for each model."""
    points, weights = np.polynomial.hermite_e.hermegauss(41)
    gaps = theta[:, None] - theta[None, :]
    wins = (logistic(gaps[..., None] + np.sqrt(2) * taste * points) * weights).sum(-1) / weights.sum()
    np.fill_diagonal(wins, 0)
    return bt.fit(wins)


def clustered(
    rng: Rng, voters: int = 60, votes: int = 1500, taste: float = 0.6, uneven: bool = False, points: float = 100.0
) -> list[Result]:
    """Each voter has strengths of their own; `uneven`: voters' shares of votes go with 1 / place. Then the same with
    the plain sandwich, and as if votes stood alone."""
    theta = strengths(rng, points)
    share = 1 / (1 + np.arange(voters)) if uneven else np.ones(voters)
    voter = rng.choice(voters, votes, p=share / share.sum())
    own = theta + taste * rng.normal(size=(voters, MODELS))
    left, right = sides(rng.integers(0, len(PAIRS), votes), rng)
    outcome = (rng.random(votes) > logistic(own[voter, left] - own[voter, right])).astype(int)
    found = aggregate(NAMES, left, right, outcome, cluster=voter)
    ours = rated(found, with_taste(theta, taste))
    plain_factor = float(stats.t.ppf(0.975, voters - 1))
    sandwich = Result(ours.truth, ours.theta, uncertainty.sandwich(found, ours.theta), plain_factor)
    return [ours, sandwich, rated(found.without_clusters(), ours.truth)]


def tied(rng: Rng, votes: int = 1500, voters: int = 60, nu: float = 1.0) -> list[Result]:
    """Davidson's ties: by Davidson's model, and as half a win, whose truth is nearer together."""
    truth = strengths(rng)
    left, right = sides(rng.integers(0, len(PAIRS), votes), rng)
    win, tie = davidson.probabilities(truth, np.log(nu))
    draw = rng.random(votes)
    outcome = np.where(draw < win[left, right], 0, np.where(draw < (win + tie)[left, right], 2, 1))
    found = aggregate(NAMES, left, right, outcome, cluster=rng.integers(0, voters, votes))
    theta, log_nu = davidson.fit(bt.win_matrix(found, bt.Ties.DROP), davidson.tie_matrix(found))
    covariance = davidson.covariance(found, theta, log_nu)[:-1, :-1]
    half = win + tie / 2
    np.fill_diagonal(half, 0)
    ours = Result(truth, theta, covariance, uncertainty.factor(found), uncertainty.freedom(found))
    return [ours, rated(found, bt.fit(half))]


def adaptive(rng: Rng, votes: int = 1500, voters: int = 60, batch: int = 50, points: float = 100.0) -> list[Result]:
    """adaptive@2 sees the board every `batch` votes."""
    truth = strengths(rng, points)
    wins, lefts, rights, outcomes = np.zeros((MODELS, MODELS)), [], [], []
    for _ in range(votes // batch):
        now, games = dict(enumerate(bt.shrunk(wins))), wins + wins.T
        chances = adaptive_chances(PAIRS, now, {pair: games[pair] for pair in PAIRS if games[pair]})
        chance = np.array(list(chances.values()))
        left, right = sides(rng.choice(len(PAIRS), batch, p=chance / chance.sum()), rng)
        lost = rng.random(batch) > logistic(truth[left] - truth[right])
        np.add.at(wins, (np.where(lost, right, left), np.where(lost, left, right)), 1)
        lefts, rights, outcomes = [*lefts, left], [*rights, right], [*outcomes, lost.astype(int)]
    arrays = (np.concatenate(each) for each in (lefts, rights, outcomes))
    return [rated(aggregate(NAMES, *arrays, cluster=rng.integers(0, voters, votes)), truth)]


def judged(
    rng: Rng, biased: bool, votes: int = 800, elsewhere: int = 6000, voters: int = 60, together: float = 0.7,
    seen: float = 1.0,
) -> list[Result]:  # fmt: skip
    """Human votes alone, then with a judge whose taste goes with the human's of the same battle (a normal copula). A
    biased judge also favours the left by 1 logit and has strengths of its own, 100 points off. It saw the share `seen`
    of the battles that people voted on."""
    truth, total = strengths(rng), votes + elsewhere
    left, right = sides(rng.integers(0, len(PAIRS), total), rng)
    mood = rng.normal(size=total)
    judge_mood = together * mood + np.sqrt(1 - together**2) * rng.normal(size=total)
    taste = truth + biased * rng.normal(size=MODELS) * 100 / bt.SCALE
    human = (stats.norm.cdf(mood) > logistic(truth[left] - truth[right])).astype(int)
    judge = (stats.norm.cdf(judge_mood) > logistic(taste[left] - taste[right] + biased)).astype(int)
    here, there = slice(None, votes), slice(votes, None)
    voter = rng.integers(0, voters, votes)
    known = np.where(rng.random(votes) < seen, judge[here], fusion.UNSEEN)
    paired = fusion.Paired(NAMES, left[here], right[here], human[here], known, voter)
    fused = fusion.fuse(paired, aggregate(NAMES, left[there], right[there], judge[there]))
    alone = aggregate(NAMES, left, right, judge)
    theta = bt.fit(bt.win_matrix(alone))
    return [
        Result(truth, fused.human.theta, fused.human.covariance, fused.factor, fused.freedom),
        Result(truth, fused.theta, fused.covariance, fused.factor, fused.freedom),
        Result(truth, theta, uncertainty.sandwich(alone, theta), uncertainty.factor(alone)),
    ]


def controlled(rng: Rng, voters: int = 60, votes: int = 1500, taste: float = 0.6, to_left: float = 0.4) -> list[Result]:
    """Voters with tastes of their own and unequal shares, and an effect of the left side that is taken out again."""
    theta, share = strengths(rng), 1 / (1 + np.arange(voters))
    voter = rng.choice(voters, votes, p=share / share.sum())
    own = theta + taste * rng.normal(size=(voters, MODELS))
    left, right = sides(rng.integers(0, len(PAIRS), votes), rng)
    lost = (rng.random(votes) > logistic(own[voter, left] - own[voter, right] + to_left)).astype(int)
    found = covariates.fit(aggregate(NAMES, left, right, lost, cluster=voter))
    covariance = found.covariance[:MODELS, :MODELS]
    freedom = uncertainty.freedom(aggregate(NAMES, left, right, lost, cluster=voter))
    return [Result(with_taste(theta, taste), found.theta, covariance, found.factor, freedom)]


def pooled(rng: Rng, voters: int = 60, votes: int = 1500, taste: float = 0.6, apart: float = 60.0) -> list[Result]:
    """The smallest of three categories, a sixth of the votes, whose strengths differ by `apart` points; voters as
    above. Then the same category without the help of the others."""
    common, share = strengths(rng), 1 / (1 + np.arange(voters))
    theta = [centred(common + rng.normal(size=MODELS) * apart / bt.SCALE) for _ in range(3)]
    category = rng.choice(3, votes, p=[1 / 6, 1 / 3, 1 / 2])
    voter = rng.choice(voters, votes, p=share / share.sum())
    own = np.stack(theta)[:, None] + taste * rng.normal(size=(1, voters, MODELS))
    left, right = sides(rng.integers(0, len(PAIRS), votes), rng)
    chance = logistic(own[category, voter, left] - own[category, voter, right])
    lost = (rng.random(votes) > chance).astype(int)
    slices = pooling.by_category(NAMES, left, right, lost, category.astype(str), cluster=voter)
    found = pooling.pool(slices).slice("0")
    truth = with_taste(theta[0], taste)
    return [Result(truth, found.theta, found.covariance, found.factor), rated(slices["0"], truth)]


SANDWICH, ALONE = "- by the plain sandwich and C - 1", "- as if votes stood alone"
KINDS: tuple[tuple[tuple[str, ...], Callable[[Rng], list[Result]]], ...] = (
    (("baseline, 60 voters of one taste",), plain),
    (("few votes (300)",), lambda rng: plain(rng, votes=300)),
    (("level models",), lambda rng: plain(rng, points=1)),
    (("60 voters with tastes of their own", SANDWICH, ALONE), clustered),
    (("20 such voters", SANDWICH, ALONE), lambda rng: clustered(rng, voters=20)),
    (("10 such voters", SANDWICH, ALONE), lambda rng: clustered(rng, voters=10)),
    (("10 such voters, level models", SANDWICH, ALONE), lambda rng: clustered(rng, voters=10, points=1)),
    (("60 such voters, the first with a fifth of all votes", SANDWICH, ALONE), lambda rng: clustered(rng, uneven=True)),
    (
        ("the same, level models", SANDWICH, ALONE),
        lambda rng: clustered(rng, uneven=True, points=1),
    ),
    (("60 voters, the first with a fifth of all votes; the left side's effect taken out",), controlled),
    (("such voters, the smallest of three categories, pooled", "- by its own votes alone"), pooled),
    (("ties (a third), Davidson", "the same votes, a tie as half a win"), tied),
    (("unequal exposure, 12 to 1",), lambda rng: plain(rng, exposure=1.0)),
    (("adaptive@2",), adaptive),
    (("adaptive@2, level models",), lambda rng: adaptive(rng, points=1)),
    (
        ("800 human votes alone", "with a judge's verdicts on 6,000 other battles", "that judge alone"),
        lambda rng: judged(rng, False),
    ),
    (
        ("800 human votes alone", "with a biased judge's verdicts on 6,000 others", "that judge alone"),
        lambda rng: judged(rng, True),
    ),
    (
        ("800 human votes alone", "with verdicts of a judge that saw a third of those battles", "that judge alone"),
        lambda rng: judged(rng, False, seen=1 / 3),
    ),
    (
        ("800 human votes alone", "with a biased judge's that saw a third of those battles", "that judge alone"),
        lambda rng: judged(rng, True, seen=1 / 3),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arenas", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds whose first name contains this")
    parser.add_argument("--times", action="store_true", help="seconds of each kind")
    options = parser.parse_args()
    print(f"{options.arenas} arenas of each kind, seed {options.seed}\n")
    print("| arenas | coverage of 95% | s.e. | all ranks | mean half-width | without maximum |")
    print("|---|--:|--:|--:|--:|--:|")
    for number, (names, make) in enumerate(KINDS):
        if options.only not in names[0]:
            continue
        began, held, refused = time.perf_counter(), [], 0
        for arena in range(options.arenas):
            try:
                found = make(np.random.default_rng([options.seed, number, arena]))
            except DataError:
                refused += 1
                continue
            held.append([result.held() for result in found])
        table = np.array(held, float)
        mean, error = table.mean(0), table.std(0) / np.sqrt(len(table))
        for k, name in enumerate(names):
            coverage, ranks, width = mean[k]
            print(
                f"| {name} | {coverage:.1%} | {error[k, 0]:.1%} | {ranks:.1%} | {width:.1f} | {refused} |", flush=True
            )
        if options.times:
            print(f"{time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
