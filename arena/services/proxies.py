"""Every automatic score held against people: on the pairs that both have seen, how far do they agree?

    people's votes > what the score says of the same two images > agreement, ranks, reliability > one plain sentence

A judge says which of two images is better, and so do two values of a score of single images, such as CLIPScore. A score
of a whole model, such as FID, says it of any two of its images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from arena.domain import VoteFilter
from arena.errors import DataError
from arena.questions import FIRST, NEITHER, SECOND, TIE
from arena.rating import agreement as ratings
from arena.rating import rank_agreement, reliability
from arena.rating.agreement import NOT_ASKED, UNSCORED, Agreement, Estimate, Share
from arena.rating.comparisons import Code, Floats, Ints
from arena.rating.fusion import Paired
from arena.rating.rank_agreement import RankAgreement
from arena.rating.reliability import Reliability
from arena.services import benchmarks
from arena.services.counting import named_positions
from db.image_values import ImageValues, image_values
from db.verdicts import Verdicts, Words

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from arena.services.benchmarks import Column
    from db.store import VotedImages

MOST_VOTES = 200_000
"""People's votes that scores are held against, the latest ones."""
ROUNDS = 500
"""Of the bootstrap; its own error at the end of an interval is a tenth of the interval's half."""
BINS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Proxy:
    """One automatic score beside people's votes.

    `name` as people know it, `protocol` what exactly it is. `seen`: votes on pairs it has seen, of `votes`; all else
    counts these alone. `with_rest`: its accuracy on decisive pairs against the majority of the other voters, which is
    what `Panel.single_human` is for a person. What is None has its reason in `notes`.
    """

    name: str
    protocol: str
    seen: int
    votes: int
    agreement: Agreement
    verdict: ratings.Verdict
    with_rest: Share
    ranks: RankAgreement | None
    reliability: Reliability | None
    notes: tuple[str, ...]

    def figures(self) -> list[tuple[str, Estimate | None, int]]:
        """Every figure with its name, None where there is nothing to count, and how many votes it counts."""
        found, judge = self.agreement, self.agreement.judge_places
        ranks, n = self.ranks, self.ranks.n if self.ranks else 0
        return [
            ("Decisive accuracy", found.decisive.estimate, found.decisive.of),
            ("Four answers", found.accuracy4.estimate, found.accuracy4.of),
            ("Cohen's kappa", found.kappa4, found.accuracy4.of),
            ("Coverage", found.coverage.estimate, found.coverage.of),
            ("Decides", found.decisive_coverage.estimate, found.decisive_coverage.of),
            *(
                [("Same in both orders", found.orders.consistent.estimate, found.orders.consistent.of)]
                if found.orders
                else []
            ),
            ("First − second", judge.bias, judge.of),
            ("Spearman's ρ", ranks and ranks.spearman, n),
            ("Kendall's τ", ranks and ranks.kendall, n),
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """All scores, the best known first. `single_human`: how often one person agrees with the majority of the others,
    where both pick a side: no score can be expected to do better. `votes`: people's votes on images held here."""

    proxies: tuple[Proxy, ...]
    single_human: Share
    votes: int


def panel(arena: Arena) -> Panel:
    """Every score that exists here beside people's votes; remembered until a vote, a verdict or a score comes."""
    key = str(arena.store.engine.url)
    state = (arena.store.newest(), Verdicts(arena.store).tally().asked, arena.store.newest_score())
    if _panels.get(key, (None,))[0] != state:
        _panels[key] = (state, _made(arena))
    return _panels[key][1]


_panels: dict[str, tuple[object, Panel]] = {}


def _made(arena: Arena) -> Panel:
    votes = _Votes.of(arena)
    judges = [_judge(arena, votes, judge.id) for judge in Verdicts(arena.store).judges()]
    found = [proxy for proxy in [*judges, *_scores(arena, votes)] if proxy is not None]
    alone = ratings.agreement(votes.rest, votes.human) if len(votes.human) else None
    return Panel(tuple(sorted(found, key=_best_known)), alone.decisive if alone else Share(0, 0), len(votes.human))


def _best_known(proxy: Proxy) -> tuple[bool, float, str]:
    found = proxy.agreement.decisive.estimate
    return not proxy.verdict.sound, -(found.low if found else 0.0), proxy.name


@dataclass(frozen=True, eq=False)
class _Votes:
    """People's votes on images held here, each array (n,): `human` codes, sides as positions among `names`, and whose
    vote it is. `pairs`: the images' sha256, (left, right); `prompts`: the ids of what they were made for."""

    names: tuple[str, ...]
    human: Ints
    left: Ints
    right: Ints
    voter: Ints
    pairs: Sequence[tuple[str, str]]
    prompts: Sequence[int]

    @classmethod
    def of(cls, arena: Arena) -> _Votes:
        rows: list[VotedImages] = arena.store.voted_images(VoteFilter())[-MOST_VOTES:]
        names, position = named_positions(arena)
        return cls(
            tuple(names),
            np.array([row.outcome for row in rows], np.int64),
            np.array([position[row.left_id] for row in rows], np.int64),
            np.array([position[row.right_id] for row in rows], np.int64),
            np.unique([row.voter_key for row in rows], return_inverse=True)[1],
            [(row.left_sha256, row.right_sha256) for row in rows],
            [row.prompt_id for row in rows],
        )

    @cached_property
    def rest(self) -> Ints:
        """For each vote what the other voters said of the same two images, UNSCORED where none leads."""
        turned = np.array([left > right for left, right in self.pairs], bool)
        of = ratings.rest_of_voters(
            ["".join(sorted(pair)) for pair in self.pairs], self.voter.tolist(), mirrored(self.human, turned)
        )
        return mirrored(of, turned)

    def held(
        self,
        name: str,
        protocol: str,
        codes: Ints,
        swapped: Ints | None = None,
        left_wins: Floats | None = None,
        note: str = "",
        by_model: Floats | None = None,
    ) -> Proxy | None:
        """What a score's codes on these votes come to; None where it has seen none of them.

        `by_model`: its value (K,) for each of the names, the larger the better, where that is its board.
        """
        other = np.full(len(codes), NOT_ASKED) if swapped is None else swapped
        seen = np.flatnonzero((codes != NOT_ASKED) | (other != NOT_ASKED))
        if not len(seen):
            return None
        codes, other = codes[seen], other[seen]
        found = ratings.agreement(self.human[seen], codes, other)
        one = ratings.of_both_orders(codes, other)
        notes = [note] if note else []
        return Proxy(
            name=name,
            protocol=protocol,
            seen=len(seen),
            votes=len(self.human),
            agreement=found,
            verdict=ratings.verdict(found),
            with_rest=ratings.agreement(self.rest[seen], one).decisive,
            ranks=self._ranks(seen, one, by_model, notes),
            reliability=None if left_wins is None else self._reliability(left_wins[seen], seen, notes),
            notes=tuple(notes),
        )

    def _ranks(self, seen: Ints, judge: Ints, by_model: Floats | None, notes: list[str]) -> RankAgreement | None:
        codes = np.where(judge < 0, Code.BOTH_BAD, judge)
        paired = Paired(self.names, self.left[seen], self.right[seen], self.human[seen], codes, self.voter[seen])
        try:
            if by_model is not None:
                return rank_agreement.with_score(paired, by_model, rounds=ROUNDS)
            return rank_agreement.boards(paired, rounds=ROUNDS).ranks
        except DataError as error:
            notes.append(str(error))
            return None

    def _reliability(self, left_wins: Floats, seen: Ints, notes: list[str]) -> Reliability | None:
        try:
            return reliability.reliability(left_wins, self.human[seen], bins=BINS, rounds=200)
        except DataError as error:
            notes.append(str(error))
            return None


def mirrored(codes: Ints, turned: np.ndarray) -> Ints:
    """The codes (n,), with left and right swapped where `turned` (n,)."""
    swapped = np.select([codes == Code.LEFT, codes == Code.RIGHT], [Code.RIGHT, Code.LEFT], codes)
    return np.where(turned, swapped, codes)


# Judges


def _judge(arena: Arena, votes: _Votes, judge_id: str) -> Proxy | None:
    said = {(row.left, row.right): row for row in Verdicts(arena.store).words(judge_id)}
    rows = [said.get((min(pair), max(pair))) for pair in votes.pairs]
    turned = np.array([left > right for left, right in votes.pairs], bool)
    orders = np.array([_codes(row) for row in rows], np.int64).reshape(-1, 2)
    codes = mirrored(orders, turned[:, None])
    # People's left image was shown first in the order that began with it.
    first, second = np.where(turned, codes[:, 1], codes[:, 0]), np.where(turned, codes[:, 0], codes[:, 1])
    chance = np.array([np.nan if row is None else left_chance(row) for row in rows], np.float64)
    return votes.held(
        judge_id.removeprefix("judge:").partition("@")[0],
        judge_id,
        first,
        second,
        np.where(turned, 1 - chance, chance) if not np.isnan(chance).all() else None,
    )


_LEFT_FIRST = {FIRST: Code.LEFT, SECOND: Code.RIGHT, TIE: Code.TIE, NEITHER: Code.BOTH_BAD, None: UNSCORED}
_RIGHT_FIRST = {**_LEFT_FIRST, FIRST: Code.RIGHT, SECOND: Code.LEFT}


def _codes(row: Words | None) -> tuple[int, int]:
    """What each order says of the row's left and right image."""
    if row is None:
        return NOT_ASKED, NOT_ASKED
    return _LEFT_FIRST.get(row.left_first, UNSCORED), _RIGHT_FIRST.get(row.right_first, UNSCORED)


def left_chance(row: Words) -> float:
    """P(the row's left image is better), of the two, as the mean over both orders; NaN without log probabilities."""
    a, b = row.left_first_shares
    c, d = row.right_first_shares
    if None in (a, b, c, d) or not (a + b) or not (c + d):  # type: ignore[operator]
        return float("nan")
    return (a / (a + b) + d / (c + d)) / 2  # type: ignore[operator]


# Scores


def _scores(arena: Arena, votes: _Votes) -> Iterable[Proxy | None]:
    """Each column of comparable scores as a judge: of two images it prefers the one with the better value, and where
    only models have values, that of the better model."""
    columns = benchmarks.columns(arena)
    of_one_name = Counter(column.metric for column in columns)
    for column in columns:
        name = f"{column.metric} · {_which(column)}" if of_one_name[column.metric] > 1 else column.metric
        known = image_values(arena.store, column.metric, column.protocol.fingerprint)
        values = _values(column, votes)
        codes, note = _by_image(column, votes, known) if known.of else _by_model(column, votes, values)
        protocol = f"{column.protocol.id} {column.protocol.fingerprint[:12]}"
        yield votes.held(name, protocol, codes, note=note, by_model=values)


def _which(column: Column) -> str:
    """What tells columns of one metric apart: the reference set, or the judge who gave the values."""
    return column.reference or str(column.protocol.settings.get("judge", "")).removeprefix("judge:")


def _by_image(column: Column, votes: _Votes, known: ImageValues) -> tuple[Ints, str]:
    """What the values of the two images themselves say of each vote."""
    sides = [[known.of.get((pair[side], prompt)) for pair, prompt in zip(votes.pairs, votes.prompts, strict=True)]
             for side in (0, 1)]  # fmt: skip
    absent = np.array([left is None or right is None for left, right in zip(*sides, strict=True)], bool)
    sign = 1 if column.higher_is_better else -1
    left, right = (
        np.array([np.nan if one is None or one.value is None else sign * one.value for one in side], np.float64)
        for side in sides
    )
    means = sorted({score.subject for score in column.scores} - known.subjects)
    note = f"Only a mean is kept of {', '.join(means)}; measure them again to have their images compared."
    return np.where(absent, NOT_ASKED, ratings.preference(left, right)), note if means else ""


def _values(column: Column, votes: _Votes) -> Floats:
    """Of each name (K,), the larger the better; NaN where there is none."""
    value: dict[str, float | None] = dict.fromkeys(votes.names, np.nan)
    value |= {score.subject: benchmarks.best_guess(score) for score in column.scores if score.subject in value}
    return np.array([value[name] for name in votes.names], np.float64) * (1 if column.higher_is_better else -1)


def _by_model(column: Column, votes: _Votes, better: Floats) -> tuple[Ints, str]:
    """What one value for each model says of each vote."""
    left, right = better[votes.left], better[votes.right]
    note = (
        f"One value for each of {np.isfinite(better).sum()} models decides every pair, so the votes are not "
        "independent of each other and the intervals are too narrow."
    )
    return np.where(np.isnan(left) | np.isnan(right), NOT_ASKED, ratings.preference(left, right)), note
