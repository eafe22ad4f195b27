"""The words refuse to be built wrong."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from arena.domain import Battle, Contestant, Generation, ImageRef, Outcome, Prompt, Protocol, Score, Vote

IMAGE = ImageRef("a" * 64, 64, 64)
PROMPT = Prompt("a teddy", id=1)


def generation(contestant_id: int, prompt_id: int = 1, image: ImageRef | None = IMAGE) -> Generation:
    return Generation(contestant_id, prompt_id, 7, image=image, failure=None if image else "out of memory")


def battle(left: Generation, right: Generation, probability: float = 0.5) -> Battle:
    return Battle(PROMPT, left, right, "uniform@1", probability, "token", "person:x")


def test_outcomes_score_as_in_chess_and_both_bad_is_not_a_tie() -> None:
    assert [outcome.left_score for outcome in Outcome] == [1.0, 0.0, 0.5, 0.5]
    assert Outcome.BOTH_BAD is not Outcome.TIE


def test_a_generation_is_an_image_or_a_failure() -> None:
    for image, failure in ((None, None), (IMAGE, "both"), (None, "  ")):
        with pytest.raises(ValueError):
            Generation(1, 1, 7, image=image, failure=failure)


@pytest.mark.parametrize(
    ("left", "right", "probability", "reason"),
    [
        (generation(1), generation(1), 0.5, "two contestants"),
        (generation(1), generation(2, prompt_id=9), 0.5, "its own Prompt"),
        (generation(1), generation(2, image=None), 0.5, "cannot fight"),
        (generation(1), generation(2), 0.0, r"\(0, 1\]"),
        (generation(1), generation(2), float("nan"), r"\(0, 1\]"),
    ],
)
def test_an_impossible_battle_cannot_be_built(
    left: Generation, right: Generation, probability: float, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        battle(left, right, probability)


def test_a_contestants_identity_is_its_settings_not_its_card() -> None:
    one = Contestant("A", "diffusers", {"steps": 4, "guidance": 1.5}, {"licence": "MIT"})
    same = Contestant("B", "diffusers", {"guidance": 1.5, "steps": 4})
    assert one.fingerprint == same.fingerprint
    assert one.fingerprint != Contestant("A", "diffusers", {"steps": 5, "guidance": 1.5}).fingerprint
    with pytest.raises(TypeError):
        one.settings["steps"] = 5  # type: ignore[index]


def test_a_vote_needs_a_known_outcome_and_a_timezone() -> None:
    with pytest.raises(ValueError):
        Vote(1, "person:x", "lfet", datetime.now(UTC))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timezone"):
        Vote(1, "person:x", Outcome.LEFT, datetime(2026, 1, 1))


def test_a_score_is_a_value_or_unscored_never_both() -> None:
    protocol = Protocol("fid", "1", {})
    for value, unscored in ((None, None), (0.0, "refused")):
        with pytest.raises(ValueError):
            Score("A", "fid", protocol, value, unscored)


def test_a_protocols_fingerprint_changes_with_every_setting() -> None:
    assert (
        Protocol("fid", "1", {"resize": "bicubic"}).fingerprint
        != Protocol("fid", "1", {"resize": "bilinear"}).fingerprint
    )
