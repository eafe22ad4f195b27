"""Scripted judges follow their rule through the very same questions as any model."""

from __future__ import annotations

import numpy as np
import pytest

from arena.domain import Outcome
from arena.errors import UnknownName
from evaluators.judge.modes import Judge, Pair, Shown
from evaluators.judge.scripted import RULES, Scripted


def card(level: int) -> np.ndarray:
    return np.full((8, 8, 3), level, np.uint8)


def verdict(rule: str, left: int, right: int):  # type: ignore[no-untyped-def]
    return Judge(Scripted(rule)).compare([Pair("a card", card(left), card(right))])[0]


@pytest.mark.parametrize(
    ("left", "right", "outcome"),
    [(200, 100, Outcome.LEFT), (100, 200, Outcome.RIGHT), (90, 90, Outcome.TIE), (3, 9, Outcome.BOTH_BAD)],
)
def test_the_brightest_wins_in_both_orders(left: int, right: int, outcome: Outcome) -> None:
    found = verdict("brightest", left, right)
    assert (found.outcome, found.consistent, len(found.reasons)) == (outcome, True, 2)


def test_always_first_is_inconsistent_and_undecided_is_unscored() -> None:
    torn = verdict("always-first", 200, 100)
    assert (torn.outcome, torn.consistent, torn.picked_first) == (Outcome.TIE, False, 2)
    assert "unparsable: 'Both are great!'" in (verdict("undecided", 200, 100).unscored or "")


def test_each_rule_is_a_judge_of_its_own_and_costs_what_it_says() -> None:
    assert len({Judge(Scripted(rule)).voter_id for rule in RULES}) == len(RULES)
    found = Judge(Scripted(cost_usd=0.25)).compare([Pair("a card", card(1), card(200))])[0]
    assert found.cost_usd == 0.5 and found.seconds == 0


def test_other_questions_and_rules_are_refused() -> None:
    [shown] = Judge(Scripted()).shows([Shown("a card", card(1))])
    assert shown.unscored == "a scripted judge compares two images, and was shown 1"
    with pytest.raises(UnknownName, match="brightest, undecided"):
        Scripted("oracle")
