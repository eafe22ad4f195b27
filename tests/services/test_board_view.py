"""An address and a view are two ways to say one thing, and nothing in an address is trusted."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.domain import VoteFilter
from arena.services.board_view import DAYS, DEFAULTS, WEIGHTS, Choices, View, asked

JUDGE = "judge:teddy@0123"
CHOICES = Choices(["cards", "colour & form"], [JUDGE], ["Apache-2.0"], ["swatch"], ["rank", "fid"])
TODAY = date(2026, 11, 25)
views = st.builds(
    View,
    category=st.sampled_from(["all", *CHOICES.categories]), voters=st.sampled_from(["people", JUDGE]),
    time=st.sampled_from(["all", *DAYS, "2026-01-31..2026-02-28", "..2026-01-01", "2026-01-01.."]),
    style=st.sampled_from(["all", "controlled"]), licence=st.sampled_from(["all", "Apache-2.0"]),
    weights=st.sampled_from(["all", *WEIGHTS]), backend=st.sampled_from(["all", "swatch"]),
    sort=st.sampled_from(["rank", "-rank", "fid", "-fid"]), search=st.text(max_size=20),
)  # fmt: skip


@given(views)
def test_an_address_brings_its_view_back(view: View) -> None:
    assert asked(view.query(), CHOICES) == (view, [])


def test_the_usual_view_needs_no_words() -> None:
    assert View().query() == {} and View().votes(TODAY) == VoteFilter()


@given(st.dictionaries(st.sampled_from([*DEFAULTS]), st.text(max_size=40)))
def test_whatever_an_address_says_there_is_a_view(query: dict[str, str]) -> None:
    view, complaints = asked(query, CHOICES)
    view.votes(TODAY)
    assert asked(view.query(), CHOICES) == (view, [])
    assert len(complaints) <= len(query)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"category": "<b>cats</b>"}, "category '<b>cats</b>', which this arena does not have; it knows all, cards"),
        ({"voters": "robots"}, "voters 'robots'"),
        ({"sort": "price"}, "sort 'price'"),
        ({"weights": "leaked"}, "it knows all, open, closed, unknown"),
        ({"style": "yes"}, "it knows all, controlled"),
        ({"time": "yesterday"}, "it takes 7d, 30d, 90d or 2026-01-31..2026-02-28"),
        ({"time": "2026-02-30..2026-03-01"}, "'2026-02-30..2026-03-01'"),
        ({"time": ".."}, "'..'"),
        ({"time": "2026-03-01..2026-02-01"}, "ends before it begins"),
    ],
)
def test_a_word_that_nobody_knows_is_named_and_left_out(query: dict[str, str], said: str) -> None:
    view, (complaint,) = asked(query, CHOICES)
    assert said in complaint and view == View()


def test_days_are_whole_days_in_utc() -> None:
    def at(*day: int) -> datetime:
        return datetime(*day, tzinfo=UTC)  # type: ignore[misc, arg-type]

    assert View(time="7d").votes(TODAY) == VoteFilter(since=at(2026, 11, 18))
    assert View(time="2026-01-31..2026-02-28").votes(TODAY) == VoteFilter(since=at(2026, 1, 31), until=at(2026, 3, 1))
    assert View(time="..2026-02-28").votes(TODAY, 7) == VoteFilter(until=at(2026, 3, 1), up_to=7)
    assert View(time="..9999-12-31").votes(TODAY).until is None
