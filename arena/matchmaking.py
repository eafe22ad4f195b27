"""Which two contestants meet, on which prompt, on which side: pure, the random numbers come in.

Policy `uniform@1`: a pair of contestants uniformly among those that still have a common prompt for this voter,
then a prompt uniformly among these, then the sides by a fair coin. Every cell keeps a known positive probability,
which is stored with the battle.

Policy `adaptive@2`: the same, except that the pair is drawn by `adaptive_chances`: mostly where one more vote tells
most about differences that are still open and will be settled soonest, so new contestants first, then pairs that are
nearly apart; and with a share EPSILON uniformly, so that no pair's probability falls to zero. Before any votes both
policies are one. (adaptive@1, of battles drawn before, also went for differences that are too small to be settled.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from random import Random

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

POLICY = "uniform@1"
ADAPTIVE = "adaptive@2"
EPSILON = 0.1
"""Share of battles that adaptive@2 draws uniformly."""
PRIOR_VARIANCE = 1.0
"""Of a strength before any vote, in squared natural logarithms of odds: plus or minus 174 rating points."""
LEVEL = 0.95
"""Confidence with which all differences are to be settled at once, as in a board's rank sets."""
LEAST, MOST, BLUR = 1.5, 0.95, 0.3
"""Differences below so many standard errors are all as open; above such a share of the critical value, all as near to
being settled; and so many standard errors around it they leave off mattering. Chosen, as SHARPNESS and EPSILON are, by
benchmarks/simulate_matchmaking.py."""
SHARPNESS = 8.0
"""Chances go with this power of the gain: the gains of good and bad pairs differ by less than a factor of two."""

Pair = tuple[int, int]
Cell = tuple[int, int, int]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Draw:
    """A drawn battle: contestant ids by side, the prompt, and the probability of this pair and prompt."""

    left_id: int
    right_id: int
    prompt_id: int
    probability: float


def candidates(prompts_of: Mapping[int, Collection[int]], seen: Iterable[Cell] = ()) -> dict[Pair, tuple[int, ...]]:
    """For each pair of contestants (lower id first), the prompts both have an image for and the voter has not seen.

    `prompts_of`: contestant id -> prompt ids with an image. `seen`: (lower id, higher id, prompt id). Pairs with no
    prompt left are absent.
    """
    done: dict[Pair, set[int]] = {}
    for low, high, prompt in seen:
        done.setdefault((low, high), set()).add(prompt)
    # Many contestants have images of the very same prompts: equal sets become one object, quickly known again.
    same: dict[frozenset[int], frozenset[int]] = {}
    sets = {one: same.setdefault(found := frozenset(ids), found) for one, ids in sorted(prompts_of.items())}
    common = cache(lambda one, other: tuple(sorted(one & other)))
    found = {}
    for low, high in combinations(sets, 2):
        prompts = common(sets[low], sets[high])
        if (low, high) in done:
            prompts = tuple(prompt for prompt in prompts if prompt not in done[low, high])
        if prompts:
            found[low, high] = prompts
    return found


def without(choices: Mapping[Pair, tuple[int, ...]], drawn: Draw) -> dict[Pair, tuple[int, ...]]:
    """The candidates that are left once a battle was drawn from them."""
    low, high = sorted((drawn.left_id, drawn.right_id))
    rest = tuple(prompt for prompt in choices[low, high] if prompt != drawn.prompt_id)
    return {pair: prompts for pair, prompts in {**choices, (low, high): rest}.items() if prompts}


def draw(
    choices: Mapping[Pair, Sequence[int]], rng: Random, chances: Mapping[Pair, float] | None = None
) -> Draw | None:
    """One battle from the candidates, or None when there are none.

    `chances`: the probability of each pair, as `adaptive_chances` gives them; uniform where absent.
    Raises ValueError for chances of other pairs than the candidates'.
    """
    if not choices:
        return None
    if chances is not None and chances.keys() != choices.keys():
        raise ValueError("chances need the same pairs as choices")
    pairs = list(choices)
    if chances is None:
        pair, chance = rng.choice(pairs), 1.0 / len(pairs)
    else:
        pair = rng.choices(pairs, [chances[pair] for pair in pairs])[0]
        chance = chances[pair]
    prompt = rng.choice(choices[pair])
    left, right = pair if rng.random() < 0.5 else pair[::-1]
    return Draw(left, right, prompt, chance / len(choices[pair]))


def adaptive_chances(
    pairs: Collection[Pair],
    strengths: Mapping[int, float],
    votes: Mapping[Pair, float],
    epsilon: float = EPSILON,
) -> dict[Pair, float]:
    """The probability of each candidate pair (lower id first) under adaptive@2; at least epsilon / len(pairs), sum 1.

    `strengths`: contestant id -> natural logarithm of odds, mean 0; who is absent (new, or unrated) counts as 0.
    `votes`: votes so far by pair, both-bad ones left out; contestants that are no candidates any more may be in it.
    """
    if not pairs:
        return {}
    open_ = sorted({contestant for pair in pairs for contestant in pair})
    known = sorted({contestant for pair in votes for contestant in pair} - set(open_))
    position = {contestant: i for i, contestant in enumerate(open_ + known)}
    theta = np.array([strengths.get(contestant, 0.0) for contestant in position])
    games = np.zeros((len(theta), len(theta)))
    np.add.at(games, _places(votes, position), np.fromiter(votes.values(), np.float64, len(votes)))
    games += games.T
    rows, columns = _places(pairs, position)
    gain = gains(theta, games, relevance(theta, games, len(open_)))[rows, columns]
    # The best gain is 1 before the power, which might underflow otherwise; where nothing is left to gain, uniform.
    share = (gain / gain.max()) ** SHARPNESS if gain.max() > 0 else np.ones(len(gain))
    chance = epsilon / len(gain) + (1 - epsilon) * share / share.sum()
    return dict(zip(pairs, chance.tolist(), strict=True))


def _places(pairs: Collection[Pair], position: Mapping[int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of pairs in a matrix of contestants, (n,) each."""
    found = np.fromiter((position[contestant] for pair in pairs for contestant in pair), np.intp, 2 * len(pairs))
    return found[::2], found[1::2]


def shared(
    pairs: Collection[Pair], shares: Mapping[int, float], chances: Mapping[Pair, float] | None = None
) -> dict[Pair, float]:
    """Chances of pairs (uniform where absent) times the shares of both contestants, made to sum to 1.

    `shares`: contestant id -> weight above 0; who is absent has 1. A pair's chance stays above 0, so its votes can be
    weighed. Raises ValueError for a share that is not above 0 and finite.
    """
    for contestant, share in shares.items():
        if not 0 < share < float("inf"):
            raise ValueError(f"a share is a number above 0, got {share!r} for contestant {contestant}")
    weight = {
        (one, other): (1.0 if chances is None else chances[one, other]) * shares.get(one, 1.0) * shares.get(other, 1.0)
        for one, other in pairs
    }
    whole = sum(weight.values())
    return {pair: share / whole for pair, share in weight.items()}


def _one_vote(theta: Floats) -> Floats:
    """Information (M, M) that one vote on each pair has on the pair's difference: p (1 - p)."""
    return 1 / (2 * np.cosh((theta[:, None] - theta[None, :]) / 2)) ** 2


def _covariance(theta: Floats, games: Floats) -> Floats:
    """Of the strengths (M, M), given votes by pair (M, M) and the prior: finite for new and unconnected ones too."""
    edges = games * _one_vote(theta)
    return np.linalg.inv(np.diag(edges.sum(1) + 1 / PRIOR_VARIANCE) - edges)


def _quadratic(matrix: Floats) -> Floats:
    """(e_i - e_j)' matrix (e_i - e_j) for all pairs (M, M)."""
    diagonal = np.diag(matrix)
    return diagonal[:, None] + diagonal[None, :] - 2 * matrix


def critical_value(members: int) -> float:
    """Standard errors from which a difference is settled, with LEVEL confidence for all pairs at once (Sidak 1967)."""
    pairs = max(1, members * (members - 1) // 2)
    return float(-ndtri((1 - LEVEL ** (1 / pairs)) / 2))


def relevance(theta: Floats, games: Floats, members: int | None = None) -> Floats:
    """How much each pair's difference matters (M, M), 0 or more: the fewer votes would settle it, the more.

    A difference of z standard errors needs (c / z)^2 - 1 times the information it has to reach the critical value c
    (see `rating.influence.votes_needed`); it matters by one over the root of that, and once settled not at all.
    Only differences among the first `members` (default: all) matter.
    """
    members = len(theta) if members is None else members
    variance = _quadratic(_covariance(theta, games))
    np.fill_diagonal(variance, 1.0)
    critical = critical_value(members)
    errors_away = np.abs(theta[:, None] - theta[None, :]) / np.sqrt(variance)
    near = np.clip(errors_away, min(LEAST, MOST * critical), MOST * critical)
    weight = ndtr((critical - errors_away) / BLUR) / np.sqrt((critical / near) ** 2 - 1)
    np.fill_diagonal(weight, 0.0)
    weight[members:] = weight[:, members:] = 0.0
    return weight


def gains(theta: Floats, games: Floats, weight: Floats) -> Floats:
    """Drop of the weighted sum of the variances of all differences that one more vote on each pair brings (M, M).

    With covariance V, u = e_i - e_j and a vote of information h, V becomes V - h V u u' V / (1 + h u' V u) (Sherman
    and Morrison 1950). The weighted sum is tr(W V) with W the Laplacian of `weight` (M, M, symmetric, diagonal 0), so
    it drops by h u' V W V u / (1 + h u' V u).
    """
    covariance, one = _covariance(theta, games), _one_vote(theta)
    laplacian = np.diag(weight.sum(1)) - weight
    dropped = one * _quadratic(covariance @ laplacian @ covariance)
    return dropped / (1 + one * _quadratic(covariance))
