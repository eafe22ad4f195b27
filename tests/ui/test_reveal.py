"""The reveal says what the rating did, with this pair's own numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from arena.domain import Outcome
from arena.rating import elo
from arena.services.battles import Crowd, Reveal, RevealedSide
from arena.ui.common import quoted
from arena.ui.reveal import OWN_BOARD_ONLY, marked, signed, told, why


def reveal(outcome: Outcome, left: float = 900.0, right: float = 1000.0, k: float = 32.0) -> Reveal:
    def side(name: str, own: float, other: float, score: float) -> RevealedSide:
        expected = elo.expected(own, other)
        return RevealedSide(name, own, own + k * (score - expected), expected, score)

    score = outcome.left_score
    return Reveal(
        "tok/en", outcome, "a bear", side("Weak", left, right, score), side("Strong", right, left, 1 - score), 3, k
    )


def test_an_underdogs_win_is_explained_with_its_own_numbers() -> None:
    assert why(reveal(Outcome.LEFT)) == (
        "Weak was expected to score 0.360; it won, so it gains 32 × (1 − 0.360) = 20.5. "
        "Had it beaten an equal, it would have gained 16.0: the stronger the beaten, the more it earns."
    )


def test_the_favourites_win_earns_less_than_beating_an_equal() -> None:
    sentence = why(reveal(Outcome.RIGHT))
    assert sentence.startswith("Strong was expected to score 0.640; it won, so it gains 32 × (1 − 0.640) = 11.5.")


def test_equals() -> None:
    assert "so it gains 32 × (1 − 0.500) = 16.0. The two were rated equal" in why(reveal(Outcome.LEFT, 1000, 1000))
    assert "nothing moves" in why(reveal(Outcome.TIE, 1000, 1000))


@pytest.mark.parametrize(
    ("outcome", "says"), [(Outcome.TIE, "It was a tie"), (Outcome.BOTH_BAD, "Both bad counts like a tie here")]
)
def test_half_a_win_goes_to_the_one_expected_to_lose(outcome: Outcome, says: str) -> None:
    sentence = why(reveal(outcome))
    assert sentence.startswith(says)
    assert "Weak was expected to score only 0.360, so it gains 32 × (0.5 − 0.360) = 4.5." in sentence


def test_what_is_told_of_both_sides() -> None:
    left, right = told(reveal(Outcome.LEFT))["sides"]
    assert left == {"name": "Weak", "elo": "900.0 → 920.5", "gain": "▲ +20.5", "image": "img/tok%2Fen/left"}
    assert right == {"name": "Strong", "elo": "1000.0 → 979.5", "gain": "▼ −20.5", "image": "img/tok%2Fen/right"}


def test_swapped_sides_are_told_as_they_were_seen() -> None:
    news = told(replace(reveal(Outcome.LEFT), swapped=True))
    assert news["verdict"].startswith("You chose B")
    assert [side["name"] for side in news["sides"]] == ["Strong", "Weak"]


def test_the_share_of_people_who_agree() -> None:
    assert told(reveal(Outcome.LEFT))["crowd"] == ""
    agreed = told(replace(reveal(Outcome.LEFT), crowd=Crowd(7, 9)))["crowd"]
    assert agreed == "7 of 9 other people (78%) said the same of this pair."


def test_small_words() -> None:
    assert [signed(x) for x in (14.83, -14.83, 0.01, -0.01)] == ["+14.8", "−14.8", "±0.0", "±0.0"]
    assert [marked(x) for x in (14.83, -14.83, 0.01)] == ["▲ +14.8", "▼ −14.8", "■ ±0.0"]
    assert quoted("a  b\nc") == "“\u2068a b c\u2069”"
    assert len(quoted("word " * 100)) <= 64


def test_a_prompt_does_not_turn_the_sentence_around_it() -> None:
    """Hebrew stays as it is typed; signs that would turn what follows it are gone, and its end is marked."""
    assert quoted("דובי \u202egnihton\u2067 ") == "“\u2068דובי gnihton\u2069”"


def test_a_vote_that_moves_no_rating_is_told_so() -> None:
    news = told(replace(reveal(Outcome.LEFT), counts=False))
    assert news["why"] == OWN_BOARD_ONLY
    assert [(side["elo"].count("→"), side["gain"]) for side in news["sides"]] == [(0, "")] * 2
