"""Votes in memory are the votes in the database, whatever the filter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import numpy as np
import pytest

from arena.bootstrap import Arena
from arena.domain import Contestant, VoteFilter
from arena.services import counting, exchange
from arena.services.tally import tally
from tests.conftest import fill_with_swatches
from tests.services.test_leaderboard import vote_in_turn

FIRST = datetime(2026, 11, 1, 12, tzinfo=UTC)


def dated_votes(path: Path, n: int = 120, models: str = "ABC") -> Path:
    """Votes of a known and of unknown voters, with and without a category, over some days, in no order of time."""
    rng = Random(1)
    lines = ["model_a,model_b,winner,voter,category,timestamp"]
    for k in range(n):
        a, b = rng.sample(models, 2)
        winner = rng.choice(["model_a", "model_b", "tie", "bothbad"])
        at = (FIRST + timedelta(hours=7 * rng.randrange(40))).isoformat() if k % 9 else ""
        voter = f"voter {k % 7}" if k % 5 else ""
        lines.append(f"Swatch {a},Swatch {b},{winner},{voter},{['cards', 'colour', ''][k % 3]},{at}")
    path.write_text("\n".join(lines))
    return path


def same(one: object, other: object) -> None:
    for field in ("left", "right", "outcome", "count", "weight", "square", "cluster"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)


FILTERS = [
    VoteFilter(),
    VoteFilter(category="cards"),
    VoteFilter(category="colour", until=FIRST + timedelta(days=5)),
    VoteFilter(since=FIRST + timedelta(hours=7)),
    VoteFilter(since=FIRST + timedelta(days=2), until=FIRST + timedelta(days=6, microseconds=1)),
    VoteFilter(up_to=60),
    VoteFilter(category="no such"),
]


def test_a_filter_lets_the_same_votes_through_as_in_sql(any_arena: Arena, tmp_path: Path) -> None:
    fill_with_swatches(any_arena)
    exchange.import_votes(any_arena, dated_votes(tmp_path / "votes.csv"))
    vote_in_turn(any_arena, voters=2)
    for votes in FILTERS:
        compared = tally(any_arena).comparisons(votes)
        assert compared.contestants == counting.comparisons(any_arena, votes).contestants
        same(compared, counting.comparisons(any_arena, votes))
    assert tally(any_arena).comparisons(VoteFilter()).votes == 152


def test_what_came_since_is_added_and_what_was_excluded_is_gone(seeded: Arena, tmp_path: Path) -> None:
    first = tally(seeded)
    vote_in_turn(seeded, voters=2)
    same(tally(seeded).comparisons(VoteFilter()), counting.comparisons(seeded))
    assert tally(seeded) is tally(seeded) and first.votes.ballot.size == 0
    seeded.store.exclude_vote(3, "a test")
    same(tally(seeded).comparisons(VoteFilter()), counting.comparisons(seeded))
    seeded.store.add_contestant(Contestant("Swatch Z", "swatch", {"tint": "Z"}))
    exchange.import_votes(seeded, dated_votes(tmp_path / "votes.csv", models="ABZ"))
    for votes in (VoteFilter(), VoteFilter(category="cards")):
        same(tally(seeded).comparisons(votes), counting.comparisons(seeded, votes))


def test_a_category_that_comes_later_is_one_to_filter_by(seeded: Arena, tmp_path: Path) -> None:
    tally(seeded)
    text = dated_votes(tmp_path / "votes.csv").read_text().replace("colour", "new category")
    (tmp_path / "votes.csv").write_text(text)
    exchange.import_votes(seeded, tmp_path / "votes.csv")
    votes = VoteFilter(category="new category")
    assert tally(seeded).comparisons(votes).votes == 40
    same(tally(seeded).comparisons(votes), counting.comparisons(seeded, votes))


def test_votes_are_counted_by_day_with_the_empty_ones(seeded: Arena, tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text(
        "model_a,model_b,winner,timestamp\n"
        "Swatch A,Swatch B,model_a,2026-11-01T23:59:59.9Z\n"
        "Swatch A,Swatch C,model_a,2026-11-04T00:00:00Z\n"
        "Swatch A,Swatch C,model_b,2026-11-04T10:00:00Z\n"
        "Swatch B,Swatch C,tie,\n"
    )
    exchange.import_votes(seeded, tmp_path / "votes.csv")
    days = tally(seeded).per_day(VoteFilter())
    assert days == [("2026-11-01", 1), ("2026-11-02", 0), ("2026-11-03", 0), ("2026-11-04", 2)]
    assert tally(seeded).per_day(VoteFilter(category="none")) == []


@pytest.mark.parametrize(("day", "expected"), [(1, 0), (4, 1), (30, 4)])
def test_the_ledger_before_a_time_ends_before_the_first_later_vote(
    seeded: Arena, tmp_path: Path, day: int, expected: int
) -> None:
    test_votes_are_counted_by_day_with_the_empty_ones(seeded, tmp_path)
    assert tally(seeded).before(datetime(2026, 11, day, tzinfo=UTC)) == expected
