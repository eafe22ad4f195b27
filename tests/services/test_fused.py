"""A judge beside people: it narrows their intervals, moves their board by no bias of its own, and is marked."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from arena.bootstrap import Arena
from arena.domain import VoterKind
from arena.services import battles, counting, exchange, fused
from arena.services.leaderboard import leaderboard
from arena.ui import leaderboard as page
from db.store import VotedImages
from tests.conftest import fill_with_swatches

JUDGE = "judge:x@1"


def vote_on_all(arena: Arena, voter: str, seed: int, share: float = 1.0) -> None:
    """The earlier contestant wins in three of four battles."""
    rng = random.Random(seed)
    while opened := battles.open_battles(arena, voter, n=20, rng=rng):
        for battle in opened:
            if rng.random() > share:
                battles.skip(arena, voter, battle.token)
                continue
            stored = arena.store.battle(battle.token)
            earlier = stored.left.contestant_id < stored.right.contestant_id
            battles.vote(arena, voter, battle.token, "left" if earlier == (rng.random() < 0.75) else "right")


@pytest.fixture
def judged(arena: Arena) -> Arena:
    fill_with_swatches(arena, contestants=3, prompts=24)
    for n in range(3):
        vote_on_all(arena, f"person:{n}", seed=n, share=0.25)
    arena.store.add_voter(JUDGE, VoterKind.JUDGE)
    vote_on_all(arena, JUDGE, seed=9)
    return arena


def test_a_judge_stands_beside_people_and_not_among_them(judged: Arena) -> None:
    assert judged.store.judges() == [JUDGE]
    found = fused.together(judged, JUDGE)
    assert found.human is not None and found.fused is not None and found.judge is not None
    assert found.human.n_votes == leaderboard(judged).votes == found.fused.n_votes
    assert found.judge.n_votes == 3 * 24 and found.lam is not None and 0 <= found.lam <= 1
    assert found.width_ratio is not None and found.width_ratio <= 1
    shown = page.beside(found)
    assert list(shown.columns)[-1] == "Judge alone (unchecked)" and len(shown) == 3 and "±" in shown.iloc[0, 1]


def images(vote: VotedImages) -> tuple[str, str]:
    return vote.left_sha256, vote.right_sha256


def test_verdicts_are_paired_by_their_images_whatever_the_side(judged: Arena) -> None:
    people = judged.store.voted_images(counting.VoteFilter())
    verdicts = judged.store.voted_images(counting.VoteFilter(board=JUDGE))
    both, rest = fused.paired(judged, people, verdicts)
    assert len(both.left) == len(people) and rest.votes == 72 - len({frozenset(images(r)) for r in people})
    by_images = {images(r): r for r in verdicts}
    for row, verdict in zip(people, both.judge.tolist(), strict=True):
        straight = by_images.get(images(row))
        assert verdict == (straight.outcome if straight else 1 - by_images[images(row)[::-1]].outcome)


def test_a_judge_that_saw_a_part_of_the_battles_helps_with_those(arena: Arena, tmp_path: Path) -> None:
    """Half of people's battles, and votes from elsewhere without images: all count, and the board is no wider."""
    fill_with_swatches(arena, contestants=3, prompts=24)
    for n in range(3):
        vote_on_all(arena, f"person:{n}", seed=n, share=0.5)
    votes = tmp_path / "votes.csv"
    votes.write_text(
        "model_a,model_b,winner,voter\n" + "Swatch A,Swatch B,model_a,v\nSwatch B,Swatch C,model_b,w\n" * 6
    )
    exchange.import_votes(arena, votes)
    arena.store.add_voter(JUDGE, VoterKind.JUDGE)
    vote_on_all(arena, JUDGE, seed=9, share=0.5)
    found = fused.together(arena, JUDGE)
    assert found.human is not None and found.fused is not None
    assert found.fused.n_votes == found.human.n_votes == leaderboard(arena).votes
    assert found.lam is not None and 0 <= found.lam <= 1 and found.width_ratio is not None and found.width_ratio <= 1
    assert 0 < found.fused.parameters["checked"] < found.human.n_votes - 12
    assert any("battles that people voted on" in note for note in found.notes)
    assert fused.together(arena, JUDGE) is found, "kept until a vote is cast"
    vote_on_all(arena, "person:9", seed=4, share=0.1)
    assert fused.together(arena, JUDGE) is not found


def test_without_any_judge_the_board_of_people_stands(seeded: Arena) -> None:
    assert seeded.store.judges() == []
    found = fused.together(seeded, "judge:nobody@1")
    assert (found.human, found.fused, found.judge) == (None, None, None) and len(found.notes) == 3


def test_weights_count_every_pair_and_prompt_alike(judged: Arena) -> None:
    compared, weights = counting.weighted(judged)
    assert compared.votes == leaderboard(judged).votes and weights.weight.mean() == pytest.approx(1)
    assert weights.effective <= compared.votes
    plain, weighted = leaderboard(judged), leaderboard(judged, weighted=True)
    assert plain.votes == weighted.votes and [r.rating for r in plain.rows] != [r.rating for r in weighted.rows]
