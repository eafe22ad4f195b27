"""How far a judge, or an automatic score, agrees with people, and how sure that is.

    human votes, verdicts -> counts -> Agreement -> Verdict

A verdict is a `Code`, seen from A, the side that people saw first; or UNSCORED: the judge was asked and gave none; or
NOT_ASKED. An unscored pair is neither right nor wrong: it lowers the coverage and has no part in any other figure.
Which pairs each figure counts is said at its property of `Agreement`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from arena.errors import UsageError
from arena.rating.comparisons import Code, Ints
from arena.rating.uncertainty import LEVEL
from arena.rating.voters import wilson

UNSCORED = -1
NOT_ASKED = -2
CODES = len(Code)
NEARLY_ALWAYS = 0.95
"""A judge with one answer for so large a share of the pairs tells nothing by it."""
LEAN = 0.1
"""How far the share of first sides may lie from the expected one before it is called a lean."""
FEW = 5
"""Fewer verdicts than this always look like one answer."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `of`. The share of nothing is None, not 0."""

    hits: int
    of: int

    @property
    def value(self) -> float | None:
        return self.hits / self.of if self.of else None

    @property
    def estimate(self) -> Estimate | None:
        """With Wilson's score interval, which supposes that the pairs are independent."""
        if not self.of:
            return None
        share = self.hits / self.of
        low, high = (float(np.clip(end, 0, 1)) for end in wilson(np.float64(share), np.float64(self.of)))
        return Estimate(share, min(low, share), max(high, share))


@dataclass(frozen=True, slots=True)
class Places:
    """How many verdicts picked the side shown first, the side shown second, and neither."""

    first: int
    second: int
    neither: int

    @property
    def of(self) -> int:
        return self.first + self.second + self.neither

    @property
    def picks_first(self) -> Share:
        """P(first), of all verdicts."""
        return Share(self.first, self.of)

    @property
    def picks_second(self) -> Share:
        """P(second), of all verdicts."""
        return Share(self.second, self.of)

    @property
    def first_of_picks(self) -> Share:
        """The first side's share of the verdicts that pick a side: 1/2 where the place does not count."""
        return Share(self.first, self.first + self.second)

    @property
    def bias(self) -> Estimate | None:
        """P(first) - P(second), between -1 and 1.

        The interval is put together from the two Wilson intervals and the correlation of two shares of one whole:
        R. Newcombe, Improved Confidence Intervals for the Difference Between Binomial Proportions Based on Paired
        Data, Statistics in Medicine 17 (1998), method 10.
        """
        first, second = self.picks_first.estimate, self.picks_second.estimate
        if first is None or second is None:
            return None
        odds = (self.of - self.first) * (self.of - self.second)
        together = -np.sqrt(self.first * self.second / odds) if odds else -float(not self.neither)
        gap = first.value - second.value
        down = _joined(first.value - first.low, second.high - second.value, together)
        up = _joined(first.high - first.value, second.value - second.low, together)
        return Estimate(gap, max(-1.0, gap - down), min(1.0, gap + up))


def _joined(one: float, other: float, together: float) -> float:
    """The half-width of a difference whose parts have half-widths `one` and `other` and a correlation."""
    return float(np.sqrt(max(0.0, one**2 - 2 * together * one * other + other**2)))


@dataclass(frozen=True, slots=True)
class Orders:
    """Pairs that were judged in both orders. `consistent`: those with the same verdict twice, of those scored twice.

    `to_first` and `to_second`: pairs in which the picked side moved with the place, both times the first, or second.
    """

    consistent: Share
    to_first: int
    to_second: int


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """A judge held against people, pair by pair.

    `counts`: int (4, 5), pairs by what people said (rows: `Code`) and the judge (columns: `Code`, then unscored).
    `human_places`, `judge_places`: where the picked sides stood; the judge's verdicts of both orders count there.
    `orders`: only where some pair was judged in both orders.
    """

    counts: Ints
    human_places: Places
    judge_places: Places
    orders: Orders | None = None

    @property
    def n(self) -> int:
        """Pairs with a human vote."""
        return int(self.counts.sum())

    @property
    def scored(self) -> Ints:
        """(4, 4): pairs that the judge scored."""
        return self.counts[:, :CODES]

    @property
    def coverage(self) -> Share:
        """Scored pairs, of all pairs."""
        return Share(int(self.scored.sum()), self.n)

    @property
    def accuracy4(self) -> Share:
        """Same answer of four, of the scored pairs."""
        return Share(int(np.trace(self.scored)), int(self.scored.sum()))

    @property
    def accuracy3(self) -> Share:
        """Same answer of three, of the scored pairs: a tie and both bad are one, no preference."""
        neither = int(self.scored[Code.TIE :, Code.TIE :].sum())
        return Share(self._right_picks + neither, int(self.scored.sum()))

    @property
    def kappa4(self) -> Estimate | None:
        """Cohen's kappa of the four answers over the scored pairs; None where one answer leaves no chance level."""
        return kappa(self.scored)

    @property
    def decisive(self) -> Share:
        """Same side, of the pairs in which both people and the judge picked one."""
        return Share(self._right_picks, int(self.scored[: Code.TIE, : Code.TIE].sum()))

    @property
    def decisive_coverage(self) -> Share:
        """Pairs in which the judge picked a side, of those in which people did."""
        picked = self.counts[: Code.TIE]
        return Share(int(picked[:, : Code.TIE].sum()), int(picked.sum()))

    @property
    def _right_picks(self) -> int:
        return int(np.trace(self.scored[: Code.TIE, : Code.TIE]))


def agreement(human: ArrayLike, judge: ArrayLike, swapped: ArrayLike | None = None) -> Agreement:
    """The agreement of verdicts with human votes, each (n,), seen from A in all three.

    `human`: a `Code`, or UNSCORED where there is no vote; such pairs are left out. `judge`: what it said with A shown
    first; `swapped`: with B shown first, where it was asked so. Two verdicts on a pair become one by `of_both_orders`.
    Raises UsageError where the arrays differ in length or hold something else.
    """
    human, judge = checked_codes(human, UNSCORED), checked_codes(judge, NOT_ASKED)
    swapped = np.full(len(judge), NOT_ASKED) if swapped is None else checked_codes(swapped, NOT_ASKED)
    if not len(human) == len(judge) == len(swapped):
        raise UsageError(f"{len(human)} human votes for {len(judge)} verdicts; give one of each for every pair.")
    voted = human != UNSCORED
    human, judge, swapped = human[voted], judge[voted], swapped[voted]
    one = of_both_orders(judge, swapped)
    cells = human * (CODES + 1) + np.where(one < 0, CODES, one)
    counts = np.bincount(cells, minlength=CODES * (CODES + 1)).reshape(CODES, CODES + 1)
    at_first, at_second = _places(judge), _places(swapped)
    return Agreement(
        counts=counts,
        human_places=_places(human),
        judge_places=Places(
            at_first.first + at_second.second, at_first.second + at_second.first, at_first.neither + at_second.neither
        ),
        orders=_orders(judge, swapped),
    )


def checked_codes(values: ArrayLike, lowest: int) -> NDArray[np.int64]:
    """Verdicts (n,) as int64; raises UsageError for what is no `Code` and not one of `lowest` to -1."""
    codes = np.asarray(values)
    if codes.size and codes.dtype.kind not in "iu":
        raise UsageError(f"Verdicts are whole numbers, not {codes.dtype}; give the codes {lowest} to {CODES - 1}.")
    codes = codes.astype(np.int64)
    if len(strange := codes[(codes < lowest) | (codes >= CODES)]):
        raise UsageError(f"{strange[0]} is no verdict; give the codes {lowest} to {CODES - 1}.")
    return codes


def of_both_orders(judge: Ints, swapped: Ints) -> NDArray[np.int64]:
    """One verdict (n,) for each pair: the common one, or a tie where the two contradict each other, never a coin flip.

    A pair with one of its two verdicts missing is unscored; one that was asked in one order has that verdict.
    """
    judge, swapped = np.asarray(judge, np.int64), np.asarray(swapped, np.int64)
    both = np.where(judge == swapped, judge, np.int64(Code.TIE))
    both[(judge == UNSCORED) | (swapped == UNSCORED)] = UNSCORED
    return np.where(swapped == NOT_ASKED, judge, np.where(judge == NOT_ASKED, swapped, both))


def _places(codes: Ints) -> Places:
    counts = np.bincount(codes[codes >= 0], minlength=CODES).tolist()
    return Places(counts[Code.LEFT], counts[Code.RIGHT], counts[Code.TIE] + counts[Code.BOTH_BAD])


def _orders(judge: Ints, swapped: Ints) -> Orders | None:
    if not ((judge != NOT_ASKED) & (swapped != NOT_ASKED)).any():
        return None
    twice = (judge >= 0) & (swapped >= 0)
    judge, swapped = judge[twice], swapped[twice]
    return Orders(
        Share(int((judge == swapped).sum()), len(judge)),
        int(((judge == Code.LEFT) & (swapped == Code.RIGHT)).sum()),
        int(((judge == Code.RIGHT) & (swapped == Code.LEFT)).sum()),
    )


def kappa(table: ArrayLike) -> Estimate | None:
    """Cohen's kappa of a table (k, k) of counts, with its large-sample interval; None where chance alone gives 1.

    Sources: J. Cohen, A Coefficient of Agreement for Nominal Scales, Educational and Psychological Measurement 20
    (1960); the variance is that of J. Fleiss, J. Cohen and B. Everitt, Psychological Bulletin 72 (1969).
    """
    table = np.asarray(table, np.float64)
    n = table.sum()
    rows, columns = table.sum(1), table.sum(0)
    if not n or rows @ columns == n * n:
        return None
    p, row, column = table / n, rows / n, columns / n
    chance = row @ column
    value = (np.trace(p) - chance) / (1 - chance)
    on = (np.diag(p) * (1 - (row + column) * (1 - value)) ** 2).sum()
    off = (p * (column[:, None] + row[None, :]) ** 2)[~np.eye(len(p), dtype=bool)].sum() * (1 - value) ** 2
    variance = (on + off - (value - chance * (1 - value)) ** 2) / (n * (1 - chance) ** 2)
    half = float(ndtri((1 + LEVEL) / 2)) * float(np.sqrt(max(0.0, variance)))
    return Estimate(float(value), max(-1.0, float(value) - half), min(1.0, float(value) + half))


# One sentence about a judge.


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the figures come to, in one sentence; `sound` where the judge agrees with people beyond chance, and does
    not go by the place."""

    sound: bool
    sentence: str


def verdict(found: Agreement) -> Verdict:
    """The plain sentence that stands above the figures. A judge of one answer is named first, whatever its accuracy."""
    if not found.coverage.hits:
        return Verdict(False, f"Scores none of {found.n} pairs: nothing can be said.")
    return _one_answer(found) or _lean(found) or _against_a_coin(found.decisive)


def _one_answer(found: Agreement) -> Verdict | None:
    judge, human = found.judge_places, found.human_places
    answers = {
        "picks the first side": (judge.first, human.first),
        "picks the second side": (judge.second, human.second),
        "prefers neither side": (judge.neither, human.neither),
    }
    answer, (said, people_said) = max(answers.items(), key=lambda item: item[1][0])
    if judge.of < FEW or said < NEARLY_ALWAYS * judge.of:
        return None
    how_often = f"In {_of(said, judge.of)} it {answer}"
    if people_said >= NEARLY_ALWAYS * human.of:
        return Verdict(False, f"{how_often}, and so do people: these pairs cannot tell them apart.")
    why = "rarely tells two images apart" if answer.startswith("prefers") else "goes by the place and not by the image"
    people = f"people: {people_said / human.of:.0%}"
    return Verdict(False, f"{how_often} ({people}): this judge {why}, and its accuracy means nothing.")


def _lean(found: Agreement) -> Verdict | None:
    """Judged in both orders a fair judge picks either place equally often; else as often as people do."""
    picks = found.judge_places.first_of_picks.estimate
    people = Estimate(0.5, 0.5, 0.5) if found.orders else found.human_places.first_of_picks.estimate
    if picks is None or people is None or abs(picks.value - people.value) < LEAN:
        return None
    if picks.low <= people.high and people.low <= picks.high:
        return None
    first = picks.value > people.value
    share, expected = (picks.value, people.value) if first else (1 - picks.value, 1 - people.value)
    whose = "it would be 50% if the place did not count" if found.orders else f"people: {expected:.0%}"
    agrees, of = found.decisive.value, found.decisive.of
    also = "" if agrees is None else f"; agrees with people on {agrees:.0%} of {of} decisive pairs"
    side = "first" if first else "second"
    return Verdict(False, f"Leans to the {side} side: picks it in {share:.0%} of its choices ({whose}){also}.")


def _against_a_coin(decisive: Share) -> Verdict:
    found = decisive.estimate
    if found is None:
        return Verdict(False, "Picks no side in any pair in which people do: nothing can be said.")
    how = f"on {found.value:.0%} of {decisive.of} decisive pairs ({found.low:.0%} to {found.high:.0%})"
    if found.low > 0.5:
        return Verdict(True, f"Agrees with people {how}, more than a coin would.")
    if found.high < 0.5:
        return Verdict(False, f"Agrees with people {how}, less than a coin would.")
    return Verdict(False, f"Agrees with people {how}: no better than a coin, as far as these pairs can tell.")


def _of(some: int, all_: int) -> str:
    return f"every one of {all_} verdicts" if some == all_ else f"{some} of {all_} verdicts"


# Scores of single images become verdicts on pairs.


def preference(left: ArrayLike, right: ArrayLike, tie_within: float = 0.0) -> NDArray[np.int64]:
    """What two scores (n,) say of each pair: the higher one, a tie where they differ by at most `tie_within`.

    A score of NaN is missing: the pair is UNSCORED. Scores know no "both bad". Raises UsageError for a bad threshold.
    """
    if not (np.isfinite(tie_within) and tie_within >= 0):
        raise UsageError(f"Scores cannot tie within {tie_within}; give a difference from 0 upwards.")
    gap = np.asarray(left, np.float64) - np.asarray(right, np.float64)
    codes = np.select([gap > tie_within, gap < -tie_within], [Code.LEFT, Code.RIGHT], Code.TIE)
    return np.where(np.isnan(gap), UNSCORED, codes)


# One person against the others: the line that a judge can be expected to reach.


def rest_of_voters(pair: Sequence[object], voter: Sequence[object], outcome: ArrayLike) -> NDArray[np.int64]:
    """For each vote (n,) what the other voters said of its pair: their most frequent code.

    UNSCORED where no one else voted or no single code leads. `agreement(rest, outcome)` is then one person against the
    rest, and `agreement(rest, judge)` a judge on the same footing. Votes hang together, so Wilson's interval is narrow.
    """
    code = checked_codes(outcome, 0)
    pairs = np.unique(np.asarray(pair), return_inverse=True)[1]
    voters = np.unique(np.asarray(voter), return_inverse=True)[1]
    own_of = np.unique(pairs * (voters.max(initial=0) + 1) + voters, return_inverse=True)[1]
    others = _tally(pairs, code)[pairs] - _tally(own_of, code)[own_of]
    most = others.max(1, initial=0)
    leads = (most > 0) & ((others == most[:, None]).sum(1) == 1)
    return np.where(leads, others.argmax(1), UNSCORED)


def _tally(group: Ints, code: Ints) -> NDArray[np.int64]:
    """(groups, 4) votes of each code."""
    groups = int(group.max(initial=-1)) + 1
    return np.bincount(group * CODES + code, minlength=groups * CODES).reshape(groups, CODES)
