"""A voter's own board against the same votes rated by hand, and an erasure that leaves the ledger whole."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest

from arena.backends.base import create_backend
from arena.bootstrap import Arena
from arena.domain import OWN_PROMPT, Contestant, JudgeAnswer, JudgeCard, JudgeVerdict, Outcome, Prompt, VoteFilter
from arena.rating import board as boards
from arena.rating.comparisons import from_votes
from arena.services import audit, battles, generation, leaderboard, personal, voters
from arena.services.personal import NEEDED
from arena.services.votes_files import Cluster, read_votes
from db.own_prompts import OwnPrompts, Stage
from db.personal import Personal, exclusions_by_reason
from db.verdicts import Pair, Verdicts
from tests.conftest import fill_with_swatches

ME = "person:me"


def vote(arena: Arena, voter: str, n: int, seed: int = 0) -> None:
    rng = Random(seed)
    for battle in battles.open_battles(arena, voter, n=n, rng=rng):
        battles.vote(arena, voter, battle.token, rng.choice([*Outcome]), 1.0)


@pytest.fixture
def busy(arena: Arena) -> Arena:
    """Three models, twelve prompts, 36 pairs; two voters on all of them."""
    fill_with_swatches(arena, prompts=12)
    vote(arena, ME, 36)
    vote(arena, "person:other", 36, seed=1)
    return arena


def test_before_enough_votes_it_says_how_many_are_missing(arena: Arena) -> None:
    fill_with_swatches(arena, prompts=12)
    vote(arena, ME, 3)
    found = personal.mine(arena, ME)
    assert (found.votes, found.missing, found.board) == (3, NEEDED - 3, None)
    assert sum(found.answers.values()) == 3


def test_the_board_is_that_of_ones_own_votes_alone(busy: Arena) -> None:
    found = personal.mine(busy, ME)
    assert found.missing == 0 and found.board is not None
    names = {contestant.id: contestant.name for contestant in busy.store.contestants()}
    own = Personal(busy.store).votes(ME)
    by_hand = boards.board(
        from_votes(
            [(names[one.left_id], names[one.right_id], one.outcome) for one in own], [one.prompt_id for one in own]
        )
    )
    assert found.board.board == by_hand.board
    before = found.board
    vote(busy, "person:third", 36, seed=2)
    assert personal.mine(busy, ME).board == before


def test_agreement_with_others_counts_pairs_both_voted_on(busy: Arena) -> None:
    found = personal.mine(busy, ME).with_others
    assert found is not None and found.n == 36
    cell = {(vote.prompt_id, frozenset((vote.left_id, vote.right_id))): vote for vote in votes_of(busy, "person:other")}
    same = both = 0
    for mine in votes_of(busy, ME):
        theirs = cell[mine.prompt_id, frozenset((mine.left_id, mine.right_id))]
        if {mine.outcome, theirs.outcome} <= {Outcome.LEFT, Outcome.RIGHT}:
            both += 1
            same += winner(mine) == winner(theirs)
    assert (found.decisive.hits, found.decisive.of) == (same, both) and 0 < same < both


def votes_of(arena: Arena, voter: str) -> list:
    return Personal(arena.store).votes(voter)


def winner(vote) -> int:  # type: ignore[no-untyped-def]
    return vote.left_id if vote.outcome is Outcome.LEFT else vote.right_id


def test_ones_own_votes_are_no_part_of_the_board_of_the_others(arena: Arena) -> None:
    fill_with_swatches(arena, prompts=12)
    vote(arena, ME, 36)
    assert personal.mine(arena, ME).with_board.of == 0  # nobody else voted
    vote(arena, "person:other", 36, seed=1)
    ratings = {row.name: row.rating for row in leaderboard.leaderboard(arena).rows}
    theirs = boards.board(personal.compared(arena, votes_of(arena, "person:other"), cluster=False))
    names = {contestant.id: contestant.name for contestant in arena.store.contestants()}
    rating = {row.model: row.rating for row in theirs.board}
    decided = [one for one in votes_of(arena, ME) if one.outcome in (Outcome.LEFT, Outcome.RIGHT)]
    hits = sum(rating[names[winner(one)]] == max(rating[names[one.left_id]], rating[names[one.right_id]])
               for one in decided)  # fmt: skip
    share = personal.mine(arena, ME).with_board
    assert (share.hits, share.of) == (hits, len(decided)) and ratings != rating


def test_agreement_with_the_judge_is_seen_from_ones_own_sides(busy: Arena) -> None:
    card = JudgeCard("judge:test@1", busy.settings.judge, {"rule": "none"})
    ledger = Verdicts(busy.store)
    ledger.add_judge(card)
    both = JudgeAnswer("A", "A"), JudgeAnswer("B", "B")
    decided = [one for one in votes_of(busy, ME) if one.outcome in (Outcome.LEFT, Outcome.RIGHT)]
    for n, one in enumerate(decided[:8]):
        pair = Pair(one.prompt_id, *sorted((one.left_sha256, one.right_sha256)))
        agrees = n % 4 != 0
        picks_left = (one.outcome is Outcome.LEFT) == agrees
        outcome = Outcome.LEFT if picks_left == (pair.left == one.left_sha256) else Outcome.RIGHT
        verdict = JudgeVerdict(card.id, *pair, both, "0" * 64, outcome, True)
        battle = next(b for b in ledger.voted_by_people(ME) if Pair.of(b) == pair)
        ledger.settle([(verdict, judges_own(battle, card.id, n))], board=battles.BOARD,
                      parameters=battles.elo_parameters(busy))  # fmt: skip
    found = personal.mine(busy, ME)
    assert found.judge == card.id and found.with_judge is not None
    assert (found.with_judge.decisive.hits, found.with_judge.decisive.of) == (6, 8)


def judges_own(battle, judge_id: str, n: int):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    return replace(battle, id=None, drawn_for=judge_id, token=f"j{n}")


# Taste


def test_a_taste_for_bright_pictures_is_found_and_no_other_is_made_up(arena: Arena) -> None:
    arena.store.add_prompts(Prompt(f"card {n}") for n in range(60))
    for letter in "ABCD":
        arena.store.add_contestant(Contestant(letter, "swatch", {"tint": letter, "size": 16}))
    generation.fill(arena, generation.plan(arena), create_backend)
    rng = Random(3)
    for battle in battles.open_battles(arena, ME, n=240, rng=rng):
        whole = arena.store.battle(battle.token)
        images = [side.image.sha256 for side in (whole.left, whole.right) if side.image]
        style = audit.styles(arena, {*images})
        left, right = (style[sha][2] for sha in images)  # brightness
        chance = 1 / (1 + np.exp(-8 * (left - right) / (left + right)))
        battles.vote(arena, ME, battle.token, Outcome.LEFT if rng.random() < chance else Outcome.RIGHT)
    found = personal.mine(arena, ME)
    told = {taste.feature: taste.words for taste in found.tastes if taste.is_told}
    assert told.pop("brightness") == "brighter pictures" and "left side" not in told
    assert set(found.untold) == {"megapixels", "aspect"}  # all alike


# Data


def test_the_download_makes_the_same_board_elsewhere(busy: Arena, tmp_path: Path) -> None:
    rows = personal.download(busy, ME)
    file = tmp_path / "my-votes.csv"
    file.write_text(personal.as_csv(rows), encoding="utf-8")
    again = boards.board(read_votes(file, cluster=Cluster.PROMPT).comparisons)
    found = personal.mine(busy, ME).board
    assert found is not None and [row.model for row in again.board] == [row.model for row in found.board]
    assert [row.rating for row in again.board] == pytest.approx([row.rating for row in found.board], abs=1e-6)
    assert len(rows) == 36 and all(row["counts"] and row["excluded"] is None for row in rows)


def test_a_spreadsheet_runs_nothing_of_the_download() -> None:
    row = dict.fromkeys(personal.COLUMNS, "") | {"prompt": '=HYPERLINK("http://x")', "model_a": 'a, "b"\nc'}
    text = personal.as_csv([row])
    assert '"\'=HYPERLINK(""http://x"")"' in text and '"a, ""b""\nc"' in text


def test_deleting_takes_every_vote_off_and_keeps_the_ledger(any_arena: Arena) -> None:
    arena = any_arena
    fill_with_swatches(arena, prompts=4)
    vote(arena, "person:other", 12, seed=1)
    alone = leaderboard.leaderboard(arena).rows
    token = voters.new_voter_token(arena)
    me = voters.voter_id(arena, token)
    assert me is not None
    vote(arena, me, 12)
    ledger = arena.store.votes()
    assert leaderboard.leaderboard(arena).votes == 24
    erased = personal.delete(arena, me)
    assert (erased.votes, erased.prompts) == (12, 0)
    assert leaderboard.leaderboard(arena).rows == alone
    assert arena.store.votes() == ledger
    assert exclusions_by_reason(arena.store) == [("deleted by the voter", 12)]
    assert voters.voter_id(arena, token) is None
    assert personal.delete(arena, me).votes == 0
    rows = personal.download(arena, me)
    assert {row["excluded"] for row in rows} == {"deleted by the voter"} and not any(row["counts"] for row in rows)


def test_deleting_removes_what_was_typed_and_its_pictures(seeded: Arena) -> None:
    one, other = seeded.store.contestants()[:2]
    [typed] = seeded.store.add_prompts([Prompt("my secret garden", OWN_PROMPT, (), OWN_PROMPT)])
    [shared] = seeded.store.add_prompts([Prompt("a shared thought", OWN_PROMPT, (), OWN_PROMPT)])
    queue = OwnPrompts(seeded.store)
    limits = {"an_hour": 9, "longest_queue": 9}
    for voter, prompt in ((ME, typed), (ME, shared), ("person:other", shared)):
        queue.add(voter, prompt, one.id or 0, other.id or 0, 1, "own-prompt@1", 1.0, True, **limits)
        made = queue.newest(voter)
        assert made is not None
        for c in (one, other):
            generation.make(seeded, c, [generation.Cell(prompt, 1)], create_backend(c))
        queue.fail(made.id, "a test")
    shas = [a.image.sha256 for a in seeded.store.generations(one.id or 0) if a.image and a.prompt_id == typed.id]
    kept = [a.image.sha256 for a in seeded.store.generations(one.id or 0) if a.image and a.prompt_id == shared.id]
    erased = personal.delete(seeded, ME)
    assert erased.prompts == 1 and {*shas} <= {*erased.images} and not {*kept} & {*erased.images}
    assert seeded.store.prompt(typed.id or 0).text == f"(deleted prompt {typed.id})"
    assert seeded.store.prompt(shared.id or 0).text == "a shared thought"
    assert not any(seeded.blobs.path(sha).exists() for sha in erased.images)
    assert all(seeded.blobs.path(sha).exists() for sha in kept)
    assert (queue.newest(ME) or made).stage is Stage.FAILED


def test_ones_own_prompts_reach_nobody_else(seeded: Arena) -> None:
    before = seeded.store.prompts_with_images()
    [typed] = seeded.store.add_prompts([Prompt("mine alone", OWN_PROMPT, (), OWN_PROMPT)])
    for c in seeded.store.contestants():
        generation.make(seeded, c, [generation.Cell(typed, 1)], create_backend(c))
    assert seeded.store.prompts_with_images() == before
    assert typed not in seeded.store.prompts()
    assert generation.plan(seeded) == {one: [] for one in seeded.store.contestants()}
    [public] = seeded.store.add_prompts([Prompt("mine alone", "cards", (), "bank")])
    assert public.id == typed.id and public in seeded.store.prompts()
    assert leaderboard.leaderboard(seeded, VoteFilter()).votes == 0
