"""A table of human votes and a judge's verdicts, with no database: `arena agreement`.

Columns: `human` and `judge`, each `A>B`, `B>A`, `tie`, `bothbad`, or empty where there is none. Optional: `order`, `AB`
or `BA`, which side the judge was shown first, and `pair`, a name of the two images. Verdicts name images, not places:
"A" is the same image in both orders. Whatever is unclear is refused with its row, and nothing is counted then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.errors import DataError
from arena.rating import agreement as ratings
from arena.rating.agreement import NOT_ASKED, UNSCORED, Agreement, Estimate, Verdict
from arena.rating.comparisons import Code, Ints
from arena.services.tables import Column, Layout, Table, one_sentence, open_table, short

LAYOUT = Layout("table of verdicts", "verdict", ("human", "judge", "order", "pair"), ("human", "judge"))
WORDS: dict[str, int] = {"A>B": Code.LEFT, "B>A": Code.RIGHT, "tie": Code.TIE, "bothbad": Code.BOTH_BAD}
ORDERS = {"AB": 0, "BA": 1}
"""Whether A was shown first, or B."""


@dataclass(frozen=True, eq=False)
class Report:
    """The agreement found in a file. `without_vote`: pairs that no human voted on, which no figure counts."""

    agreement: Agreement
    verdict: Verdict
    without_vote: int

    def as_json(self) -> dict[str, Any]:
        """The documented keys and no others; None for a share of nothing."""
        found = self.agreement
        decisive, kappa = found.decisive.estimate, found.kappa4
        return {
            "n": found.n,
            "coverage": found.coverage.value,
            "accuracy4": found.accuracy4.value,
            "kappa4": kappa and kappa.value,
            "decisive_accuracy": decisive and decisive.value,
            "decisive_low": decisive and decisive.low,
            "decisive_high": decisive and decisive.high,
            "decisive_coverage": found.decisive_coverage.value,
            "picks_first_judge": found.judge_places.picks_first.value,
            "picks_first_human": found.human_places.picks_first.value,
        }

    def figures(self) -> list[tuple[str, Estimate | None, int]]:
        """Every figure with its name, None where there is nothing to count, and how many it counts."""
        found, judge, human = self.agreement, self.agreement.judge_places, self.agreement.human_places
        shares = {
            "Coverage": found.coverage,
            "Same answer of four": found.accuracy4,
            "Same answer of three (both bad is a tie)": found.accuracy3,
            "Same side, where both pick one": found.decisive,
            "Coverage where people pick a side": found.decisive_coverage,
            "Judge picks the first side": judge.picks_first,
            "People pick the first side": human.picks_first,
        } | ({"Same answer in both orders": found.orders.consistent} if found.orders else {})
        figures = [(name, share.estimate, share.of) for name, share in shares.items()]
        figures.insert(2, ("Cohen's kappa of the four answers", found.kappa4, found.accuracy4.of))
        return [*figures, ("Judge's P(first) - P(second)", judge.bias, judge.of)]


@dataclass(frozen=True, eq=False)
class _Rows:
    """The table's rows, each array (n,), -1 where nothing is written. `number`: the row's, as `where` names it."""

    where: Callable[[int], str]
    number: Ints
    human: Ints
    judge: Ints
    order: Ints
    pair: Ints

    def refuse(self, bad: NDArray[np.bool_], fault: str) -> None:
        """Raises DataError for the first bad row."""
        if bad.any():
            raise DataError(f"{self.where(int(self.number[bad.argmax()]))} {fault}.")


def agreement(path: Path) -> Report:
    """How far the judge of this table agrees with people.

    Rows of the same `pair` and different `order` are one pair, judged in both orders. Where the table lacks one of
    these columns every row stands alone. Raises DataError, with the row, for what cannot be counted as written.
    """
    with one_sentence(path):
        rows = _read(open_table(path, LAYOUT))
    human, judge, swapped = _pairs(rows)
    if not (human != UNSCORED).any():
        raise DataError(f"{path.name!r} has no human vote to hold a verdict against; fill in the column 'human'.")
    found = ratings.agreement(human, judge, swapped)
    return Report(found, ratings.verdict(found), int((human == UNSCORED).sum()))


def _read(table: Table) -> _Rows:
    parts: dict[str, list[Ints]] = {name: [np.zeros(0, np.int64)] for name in ("number", *LAYOUT.columns)}
    pairs: dict[str, int] = {"": -1}
    for first, columns in table.batches(set(LAYOUT.columns)):
        n = len(columns["human"].codes)
        parts["number"].append(first + np.arange(n))
        for name, words in (("human", WORDS), ("judge", WORDS), ("order", ORDERS)):
            parts[name].append(_coded(columns.get(name), n, words, name, table, first))
        pair = columns.get("pair", Column.of([None] * n))
        numbers = np.array([*(pairs.setdefault(word, len(pairs) - 1) for word in pair.words), -1])
        parts["pair"].append(numbers[pair.codes])
    return _Rows(table.where, *(np.concatenate(part) for part in parts.values()))


def _coded(
    column: Column | None, n: int, words: Mapping[str, int], name: str, table: Table, first: int
) -> NDArray[np.int64]:
    if column is None:
        return np.full(n, -1)
    strange = np.array([bool(word) and word not in words for word in [*column.words, ""]])[column.codes]
    if strange.any():
        row = int(strange.argmax())
        said = short(column.words[column.codes[row]])
        raise DataError(
            f"{table.where(first + row)} has {said} as {name!r}; accepted are {', '.join(words)}, or nothing."
        )
    return np.array([*(words.get(word, -1) for word in column.words), -1])[column.codes]


def _pairs(rows: _Rows) -> tuple[Ints, Ints, Ints]:
    """For each pair its human vote, the verdict with A shown first, and that with B shown first; each (pairs,)."""
    for name in ("order", "pair"):
        empty = getattr(rows, name) < 0
        if not empty.all():
            rows.refuse(empty, f"has no {name!r}; fill it in, or leave the column out")
    n = len(rows.human)
    order = np.maximum(rows.order, 0)
    both = n and rows.order[0] >= 0 and rows.pair[0] >= 0
    pair = np.unique(rows.pair, return_inverse=True)[1] if both else np.arange(n)
    again = np.ones(n, bool)
    again[np.unique(pair * 2 + order, return_index=True)[1]] = False
    rows.refuse(again, "is about a pair that has a row in this order already; name the pairs apart, or keep one")
    human = np.full(pair.max(initial=-1) + 1, UNSCORED)
    np.maximum.at(human, pair, rows.human)
    differs = (rows.human != UNSCORED) & (rows.human != human[pair])
    rows.refuse(differs, "has another human vote than the other row of its pair; a pair has one")
    judge, swapped = (np.full(len(human), NOT_ASKED) for _ in ORDERS)
    judge[pair[order == 0]], swapped[pair[order == 1]] = rows.judge[order == 0], rows.judge[order == 1]
    return human, judge, swapped
