"""Davidson's ties: P(i beats j) = e^(d/2) / D and P(tie) = nu / D, D = e^(d/2) + e^(-d/2) + nu, d = theta_i - theta_j.

Source: R. Davidson, On Extending the Bradley-Terry Model to Accommodate Ties in Paired Comparison Experiments,
Journal of the American Statistical Association 65 (1970), with pi = e^theta. A tie is likelier the closer the two are.
Among decided votes the odds are e^d, so `bradley_terry.points` keeps its meaning: 400 points are ten to one.
nu is estimated with the strengths: level contestants tie with probability nu / (2 + nu). No prior and no penalty.

The parameters (M + 1,) are the strengths of mean 0 and then log nu. Without ties nu is 0, log nu minus infinity, and
everything equals Bradley-Terry. `refusal` says which other votes have no maximum of the likelihood.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from arena.errors import DataError
from arena.rating import bradley_terry as bt
from arena.rating import influence, uncertainty
from arena.rating.board import Board, Estimate, rateable, rows, warnings
from arena.rating.bradley_terry import Ties
from arena.rating.comparisons import Code, Comparisons, Floats

METHOD = "davidson@1"
NO_TIES = -np.inf
"""log nu where no vote is a tie."""


def tie_matrix(comparisons: Comparisons) -> Floats:
    """Weighted ties (M, M), symmetric: entry [i, j] is how often i and j tied."""
    tied = comparisons.where(comparisons.outcome == Code.TIE)
    size = comparisons.size
    flat = np.bincount(tied.left.astype(np.int64) * size + tied.right, tied.weight, size * size)
    return flat.reshape(size, size) + flat.reshape(size, size).T


def probabilities(theta: Floats, log_nu: float) -> tuple[Floats, Floats]:
    """P (M, M) that i beats j, and that i and j tie."""
    half = (theta[:, None] - theta[None, :]) / 2
    total = np.logaddexp(np.logaddexp(half, -half), log_nu)
    return np.exp(half - total), np.exp(log_nu - total)


def log_likelihood(wins: Floats, ties: Floats, theta: Floats, log_nu: float) -> float:
    """Sum of log P over decided votes `wins` (M, M) and `ties` (M, M), each tie standing there twice."""
    half = (theta[:, None] - theta[None, :]) / 2
    total = np.logaddexp(np.logaddexp(half, -half), log_nu)
    return float((wins * (half - total)).sum() + (ties[ties > 0] * (log_nu - total[ties > 0])).sum() / 2)


def gradient(wins: Floats, ties: Floats, theta: Floats, log_nu: float) -> Floats:
    """Derivative (M + 1,) of the log-likelihood: half-scores above what was expected, then ties above expected."""
    win, tie = probabilities(theta, log_nu)
    games = wins + wins.T + ties
    scored = wins + ties / 2 - games * (win + tie / 2)
    return np.append(scored.sum(1), (ties - games * tie).sum() / 2)


def information(games: Floats, theta: Floats, log_nu: float) -> Floats:
    """Minus the second derivative (M + 1, M + 1): the covariance of what `gradient` counts, over `games` (M, M)."""
    win, tie = probabilities(theta, log_nu)
    mean = win + tie / 2
    edges = games * (win + tie / 4 - mean**2)
    size = len(theta)
    found = np.empty((size + 1, size + 1))
    found[:size, :size] = np.diag(edges.sum(1)) - edges
    found[:size, size] = found[size, :size] = (games * tie * (0.5 - mean)).sum(1)
    found[size, size] = (games * tie * (1 - tie)).sum() / 2
    return found


def refusal(wins: Floats, ties: Floats) -> str | None:
    """Why these votes, at least one of them a tie, have no maximum of the likelihood; None where they have one.

    There is none where a shift of strengths explains every vote ever better, which a chain of wins and ties from
    everyone to everyone excludes, or where growing nu and spreading the strengths does. The latter is possible unless
    some circle of contestants, in which each step is a win or a tie, has more wins than ties (a system of difference
    constraints: win i over j asks theta_i - theta_j >= log nu twice, a tie asks at most that).
    """
    if not (wins > 0).any():
        return "Every vote is a tie, so all models are level and nothing says how likely a tie is; add decided votes."
    if len(bt.components(wins + ties).rated) < len(wins):
        return "These votes have no maximum of the likelihood: some model only wins or only loses."
    if not _more_wins_than_ties(wins > 0, ties > 0):
        return (
            "The votes contradict each other too little to tell how likely a tie is (in no circle of models are more "
            "wins than ties); add votes, or count a tie as half a win."
        )
    return None


def _more_wins_than_ties(win: NDArray[np.bool_], tie: NDArray[np.bool_]) -> bool:
    """Whether a circle exists with more wins than ties: a negative circle in the sense of Bellman and Ford."""
    cost = np.where(win, -1.0, np.where(tie, 1.0, np.inf))
    distance = np.zeros(len(win))
    for _ in range(len(win)):
        shorter = np.minimum(distance, (distance[:, None] + cost).min(0))
        if (shorter == distance).all():
            return False
        distance = shorter
    return True


def fit(wins: Floats, ties: Floats) -> tuple[Floats, float]:
    """The strengths (M,) of mean 0 and log nu that make the decided votes and ties likeliest, by Newton's method.

    `wins` (M, M): decided votes only; `ties` (M, M) symmetric. Without ties: Bradley-Terry's strengths and NO_TIES.
    Raises DataError, with `refusal`'s sentence, where no maximum exists.
    """
    if not ties.any():
        return bt.fit(wins), NO_TIES
    if reason := refusal(wins, ties):
        raise DataError(reason)
    games = wins + wins.T + ties
    at = np.append(np.zeros(len(wins)), np.log(ties.sum() / wins.sum()))
    value = log_likelihood(wins, ties, at[:-1], at[-1])
    for _ in range(bt.MAX_STEPS):
        slope = gradient(wins, ties, at[:-1], at[-1])
        step = generalised_inverse(information(games, at[:-1], at[-1])) @ slope
        step *= min(1.0, 2 / max(np.abs(step).max(), 1e-300))
        # Halved until the likelihood rises; rounding at the top must not halve for ever.
        while (ahead := log_likelihood(wins, ties, *_split(at + step))) < value - 1e-12 * abs(value):
            step /= 2
        at, value = at + step, ahead
        if np.abs(step).max() < bt.TOLERANCE:
            return at[:-1] - at[:-1].mean(), float(at[-1])
    raise DataError(f"Davidson's model did not settle in {bt.MAX_STEPS} steps; add votes, or count a tie as half.")


def _split(parameters: Floats) -> tuple[Floats, float]:
    return parameters[:-1], float(parameters[-1])


def generalised_inverse(matrix: Floats) -> Floats:
    """Inverse (M + 1, M + 1) on contrasts to the mean of the first M parameters; 0 for a log nu without information."""
    size = len(matrix) - 1
    if matrix[size, size] == 0:
        found = np.zeros_like(matrix)
        found[:size, :size] = uncertainty.invert(matrix[:size, :size])
        return found
    lifted = matrix.copy()
    lift = np.trace(matrix[:size, :size]) / size / size
    lifted[:size, :size] += lift
    found = np.linalg.inv(lifted)
    found[:size, :size] -= 1 / (lift * size * size)
    return found


def scores(comparisons: Comparisons, theta: Floats, log_nu: float) -> Floats:
    """One vote's derivative in each row: (n, 2), of the left side's strength (minus the right's) and of log nu."""
    win, tie = (table[comparisons.left, comparisons.right] for table in probabilities(theta, log_nu))
    score = bt.left_score(comparisons.outcome)
    used = ~np.isnan(score)
    return np.column_stack([
        np.where(used, np.nan_to_num(score) - win - tie / 2, 0.0),
        np.where(used, (comparisons.outcome == Code.TIE) - tie, 0.0),
    ])  # fmt: skip


def covariance(comparisons: Comparisons, theta: Floats, log_nu: float) -> Floats:
    """Covariance (M + 1, M + 1) of strengths and log nu, as `uncertainty.covariance`: by jackknife over clusters, by
    the sandwich over votes (Huber, White) where there are fewer than two."""
    size, n = comparisons.size, len(comparisons.left)
    if log_nu == NO_TIES:
        found = np.zeros((size + 1, size + 1))
        found[:-1, :-1] = uncertainty.covariance(comparisons, theta)
        return found
    wins, ties = bt.win_matrix(comparisons, Ties.DROP), tie_matrix(comparisons)
    bread = generalised_inverse(information(wins + wins.T + ties, theta, log_nu))
    push = scores(comparisons, theta, log_nu)
    row = np.tile(np.arange(n), 3)
    column = np.concatenate([comparisons.left, comparisons.right, np.full(n, size)])
    each = csr_array((np.concatenate([push[:, 0], -push[:, 0], push[:, 1]]), (row, column)), shape=(n, size + 1))
    if uncertainty.active_clusters(comparisons) < 2:
        return bread @ (each.T @ (each * comparisons.square[:, None])).toarray() @ bread
    shape = (comparisons.clusters, n)
    add_up = csr_array((comparisons.weight, (comparisons.cluster, np.arange(n))), shape=shape)
    leverage, information_of = _held(comparisons, theta, log_nu, bread)
    return uncertainty.jackknife(bread, (add_up @ each).toarray(), leverage, information_of)


def _held(
    comparisons: Comparisons, theta: Floats, log_nu: float, bread: Floats
) -> tuple[Floats, Callable[[NDArray[np.integer]], Floats]]:
    """What `uncertainty.jackknife` asks for: each cluster's leverage (C,), and the information of some of them."""
    used = comparisons.where(comparisons.outcome != Code.BOTH_BAD)
    size, clusters = comparisons.size, comparisons.clusters

    def information_of(part: NDArray[np.integer]) -> Floats:
        rows = used.where(np.isin(used.cluster, part))
        at = np.searchsorted(part, rows.cluster) * size
        flat = np.bincount((at + rows.left) * size + rows.right, rows.weight, len(part) * size * size)
        games = flat.reshape(-1, size, size)
        return np.stack([information(table + table.T, theta, log_nu) for table in games])

    # One vote between i and j informs (theta_i - theta_j, log nu); its leverage is that times their covariance.
    win, tie = (table[used.left, used.right] for table in probabilities(theta, log_nu))
    mean, gap = win + tie / 2, bread[used.left, -1] - bread[used.right, -1]
    spread = (uncertainty.difference_errors(bread[:-1, :-1]) ** 2)[used.left, used.right]
    one = (win + tie / 4 - mean**2) * spread + 2 * tie * (0.5 - mean) * gap + tie * (1 - tie) * bread[-1, -1]
    return np.bincount(used.cluster, used.weight * one, clusters), information_of


def votes_needed(
    games: Floats, theta: Floats, log_nu: float, covariance: Floats, upper: int, lower: int, critical: float
) -> int | None:
    """Further votes between the two that would make their difference exceed `critical` standard errors.

    As `influence.votes_needed`, with the information that one of Davidson's votes has on a difference.
    """
    gap = float(theta[upper] - theta[lower])
    win, tie = probabilities(theta[[upper, lower]], log_nu)
    one = float(win[0, 1] + tie[0, 1] / 4 - (win[0, 1] + tie[0, 1] / 2) ** 2)
    contrast = np.zeros(len(theta) + 1)
    contrast[[upper, lower]] = 1, -1
    naive = float(contrast @ generalised_inverse(information(games, theta, log_nu)) @ contrast)
    robust = float(contrast[:-1] @ covariance @ contrast[:-1])
    if abs(gap) <= uncertainty.ROUNDING:
        return None
    if abs(gap) > critical * np.sqrt(max(robust, 0.0)):
        return 0
    if naive <= 0:
        return None
    return int(np.ceil((robust * (critical / gap) ** 2 - 1) / (one * naive)))


def votes_to_flip(comparisons: Comparisons, theta: Floats, log_nu: float, upper: int, lower: int) -> int | None:
    """As `influence.votes_to_flip`, by the influence that votes and ties have under Davidson's model, refitted too."""

    def refitted(thinned: Comparisons) -> float:
        kept = thinned.where(thinned.count > 0)
        try:
            again, _ = fit(bt.win_matrix(kept, Ties.DROP), tie_matrix(kept))
        except DataError:
            return np.nan
        return float(again[upper] - again[lower])

    games = bt.win_matrix(comparisons, Ties.DROP)
    bread = generalised_inverse(information(games + games.T + tie_matrix(comparisons), theta, log_nu))
    contrast = bread[upper] - bread[lower]
    push = scores(comparisons, theta, log_nu) * np.divide(comparisons.weight, comparisons.count)[:, None]
    gain = push[:, 0] * (contrast[comparisons.left] - contrast[comparisons.right]) + push[:, 1] * contrast[-1]
    return influence.fewest_removed(comparisons, gain, float(theta[upper] - theta[lower]), refitted)


def board(comparisons: Comparisons, *, flips: bool = True, seed: int = 0) -> Board:
    """The board under Davidson's model, with clustered uncertainty where the comparisons have clusters.

    `flips` finds the votes that hold each neighbour's place. `details` has nu, its 95% interval, and
    the chance that level contestants tie. Raises DataError as `board.board` does, and with `refusal`'s sentence.
    """
    rated, unrated = rateable(comparisons)
    wins, ties = bt.win_matrix(rated, Ties.DROP), tie_matrix(rated)
    theta, log_nu = fit(wins, ties)
    whole = covariance(rated, theta, log_nu)
    estimate = Estimate(rated, theta, whole[:-1, :-1], uncertainty.factor(rated), uncertainty.freedom(rated))
    games = wins + wins.T + ties

    pooled = rated.without_clusters()

    def neighbours(upper: int, lower: int, critical: float) -> tuple[int | None, int | None]:
        to_flip = votes_to_flip(pooled, theta, log_nu, upper, lower) if flips else None
        return to_flip, votes_needed(games, theta, log_nu, estimate.covariance, upper, lower, critical)

    margin = estimate.factor * np.sqrt(whole[-1, -1])
    nu, low, high = (float(np.exp(log_nu + shift)) for shift in (0.0, -margin, margin))
    return Board(
        system="davidson",
        parameters={
            "method": METHOD, "ties": "own outcome", "both_bad": "own outcome", "scale": 400, "mean": 1000,
            "level": uncertainty.LEVEL, "clusters": uncertainty.active_clusters(rated) or None, "seed": seed,
        },
        n_votes=comparisons.votes,
        board=rows(comparisons, estimate, unrated, neighbours, seed),
        warnings=warnings(comparisons, rated, unrated, uncertainty.active_clusters(rated)),
        details={"nu": nu, "nu_low": low, "nu_high": high, "level_tie_rate": nu / (2 + nu)},
    )  # fmt: skip
