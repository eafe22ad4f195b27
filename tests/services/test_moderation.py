"""What an admin decides: a row each, what it does to battles and boards, and that it can be taken back."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from arena.bootstrap import Arena
from arena.domain import Outcome, ReportReason, Side
from arena.errors import UnknownName, UsageError
from arena.rating import elo
from arena.services import battles, generation, leaderboard, moderation, personal
from arena.services.moderation import Admin
from db.decisions import Action, Topic
from db.voting import Voting
from tests.conftest import fill_with_swatches

ADA = Admin("Ada")
ME, OTHER = "person:me", "person:other"


def vote(arena: Arena, voter: str, n: int, seed: int = 0) -> None:
    rng = Random(seed)
    for battle in battles.open_battles(arena, voter, n=n, rng=rng):
        battles.vote(arena, voter, battle.token, rng.choice([*Outcome]), 1.0)


def live(arena: Arena) -> dict[str, float | None]:
    """Elo by name, after checking that it is the replay of the votes that count."""
    board = leaderboard.leaderboard(arena)
    found = {row.name: row.elo for row in board.rows}
    replayed = elo.replay(arena.store.voted_pairs(), arena.settings.k_factor)
    names = {one.id: one.name for one in arena.store.contestants()}
    assert {name: found[name] for name in map(names.get, replayed)} == {names[id]: r for id, r in replayed.items()}
    return found


# The ledger


CHANGES = [
    "UPDATE decisions SET reason = 'x'", "DELETE FROM decisions", "UPDATE erased_voters SET voter_id = 'x'",
    "DELETE FROM erased_voters",
]  # fmt: skip


@pytest.mark.parametrize("statement", CHANGES)
def test_the_database_refuses_to_change_a_decision(any_arena: Arena, statement: str) -> None:
    fill_with_swatches(any_arena, contestants=2, prompts=1)
    moderation.retire_contestant(any_arena, ADA, "Swatch A", "broken")
    personal.delete(any_arena, ME)
    with pytest.raises(DBAPIError, match="append-only"), any_arena.store.engine.connect() as connection:
        connection.execute(text(statement))


def test_every_act_says_who_when_and_why(seeded: Arena) -> None:
    moderation.retire_contestant(seeded, ADA, "Swatch A", "  broken\n weights ")
    moderation.set_share(seeded, ADA, "Swatch B", 2.5, "new")
    last, first = moderation.log(seeded)
    assert (first.admin, first.topic, first.action, first.reason) == (
        "Ada", Topic.CONTESTANT, Action.RETIRE, "broken weights",
    )  # fmt: skip
    assert last.value == {"share": 2.5} and last.at is not None and last.at.tzinfo is not None


@pytest.mark.parametrize("reason", ["", "  \n", "x" * 501])
def test_nothing_is_decided_without_a_reason(seeded: Arena, reason: str) -> None:
    with pytest.raises(UsageError):
        moderation.retire_contestant(seeded, ADA, "Swatch A", reason)
    with pytest.raises(UsageError):
        moderation.add_prompt(seeded, ADA, "a new prompt", "cards", reason)
    assert moderation.log(seeded) == [] and len(seeded.store.prompts()) == 6


# Contestants and prompts


def test_a_retired_contestant_is_drawn_no_more_and_keeps_its_votes(any_arena: Arena) -> None:
    fill_with_swatches(any_arena, prompts=4)
    waiting = battles.open_battles(any_arena, ME, n=6)
    vote(any_arena, OTHER, 12)
    before = leaderboard.leaderboard(any_arena).rows
    moderation.retire_contestant(any_arena, ADA, "Swatch A", "broken")
    assert leaderboard.leaderboard(any_arena).rows == before
    retired = any_arena.store.contestant("Swatch A").id
    for battle in [*battles.open_battles(any_arena, ME, n=99), *battles.open_battles(any_arena, "person:new", n=99)]:
        whole = any_arena.store.battle(battle.token)
        assert retired not in (whole.left.contestant_id, whole.right.contestant_id)
    assert retired not in [one.id for one in generation.plan(any_arena)]
    moderation.restore_contestant(any_arena, ADA, "Swatch A", "mended")
    assert {one.token for one in waiting} <= {one.token for one in battles.open_battles(any_arena, ME, n=99)}
    with pytest.raises(UnknownName):
        moderation.retire_contestant(any_arena, ADA, "Swatch Z", "x")


def test_prompts_are_added_and_retired(seeded: Arena) -> None:
    made = moderation.add_prompt(seeded, ADA, "  a new\nprompt ", "cards", "asked for")
    assert made.text == "a new prompt" and made in seeded.store.prompts()
    with pytest.raises(UsageError, match="in the arena already"):
        moderation.add_prompt(seeded, ADA, "a new prompt", "cards", "again")
    first = seeded.store.prompts()[0]
    moderation.retire_prompt(seeded, ADA, first.id or 0, "ambiguous")
    drawn = battles.open_battles(seeded, ME, n=99)
    assert len(drawn) == 15 and first.text not in {one.prompt for one in drawn}
    assert all(cell.prompt.id != first.id for cells in generation.plan(seeded).values() for cell in cells)
    moderation.restore_prompt(seeded, ADA, first.id or 0, "clear after all")
    assert len(battles.open_battles(seeded, ME, n=99)) == 18
    with pytest.raises(UsageError, match="There is no prompt 999"):
        moderation.retire_prompt(seeded, ADA, 999, "x")


# Reports


def reported(arena: Arena, side: Side | None) -> moderation.OpenReport:
    [battle] = battles.open_battles(arena, ME, n=1)
    whole = arena.store.battle(battle.token)
    Voting(arena.store).add_report(whole.id or 0, ME, ReportReason.UNSAFE, side)
    return moderation.reports(arena)[0]


def test_a_reported_picture_is_hidden_from_battles_and_shown_again(any_arena: Arena) -> None:
    fill_with_swatches(any_arena, prompts=4)
    vote(any_arena, OTHER, 12)
    before = leaderboard.leaderboard(any_arena).rows
    report = reported(any_arena, Side.LEFT)
    assert report.decision is None and report.sides == (Side.LEFT,)
    moderation.hide(any_arena, ADA, report.report, report.sides, "unsafe indeed")
    guilty = report.report.battle.left
    drawn = [any_arena.store.battle(one.token) for one in battles.open_battles(any_arena, "person:new", n=99)]
    assert len(drawn) == 10  # of 12 pairs, those of this picture with two others are gone
    assert guilty.id not in {side.id for battle in drawn for side in (battle.left, battle.right)}
    assert moderation.hidden(any_arena) == [guilty.id] and leaderboard.leaderboard(any_arena).rows == before
    [closed] = moderation.reports(any_arena)
    assert closed.decision is not None and closed.decision.action is Action.HIDE
    moderation.show(any_arena, ADA, guilty.id or 0, "a mistake")
    assert len(battles.open_battles(any_arena, "person:newer", n=99)) == 12


def test_a_report_is_dismissed_with_a_reason(seeded: Arena) -> None:
    report = reported(seeded, None)
    assert report.sides == (Side.LEFT, Side.RIGHT)
    moderation.dismiss(seeded, ADA, report.report, "nothing wrong")
    [closed] = moderation.reports(seeded)
    assert closed.decision is not None and closed.decision.reason == "nothing wrong" and not moderation.hidden(seeded)
    with pytest.raises(UsageError, match="Choose the picture"):
        moderation.hide(seeded, ADA, report.report, (), "x")


# Shares


@pytest.mark.parametrize("policy", ["uniform@1", "adaptive@2"])
def test_a_share_draws_more_often_and_the_stored_probability_says_so(seeded: Arena, policy: str) -> None:
    arena = Arena(seeded.settings.model_copy(update={"matchmaking": policy}), seeded.store, seeded.blobs, "x")
    moderation.set_share(arena, ADA, "Swatch A", 4.0, "new")
    favoured, rng = arena.store.contestant("Swatch A").id, Random(2)
    met, told = Counter[bool](), {}
    for n in range(120):
        [battle] = battles.open_battles(arena, f"person:{n}", n=1, rng=rng)
        whole = arena.store.battle(battle.token)
        both = {whole.left.contestant_id, whole.right.contestant_id}
        met[favoured in both] += 1
        told[frozenset(both)] = whole.probability * 6  # six prompts
    assert sorted(told.values()) == pytest.approx([1 / 9, 4 / 9, 4 / 9])
    assert met[True] / 120 == pytest.approx(8 / 9, abs=0.12)  # four standard errors
    moderation.set_share(arena, ADA, "Swatch A", 1.0, "enough")
    assert moderation.shares(arena) == {}


@pytest.mark.parametrize("share", [0.0, -1.0, 101.0, float("nan")])
def test_a_share_that_would_hide_a_contestant_is_refused(seeded: Arena, share: float) -> None:
    with pytest.raises(UsageError, match="to draw a model no more, retire it"):
        moderation.set_share(seeded, ADA, "Swatch A", share, "x")


# Votes


def test_votes_are_excluded_restored_and_excluded_again(any_arena: Arena) -> None:
    fill_with_swatches(any_arena, prompts=4)
    vote(any_arena, ME, 12)
    vote(any_arena, OTHER, 6, seed=1)
    whole, ledger = leaderboard.leaderboard(any_arena), any_arena.store.votes()
    live(any_arena)
    some = [one.id or 0 for one in ledger[3:7]]
    assert moderation.exclude_votes(any_arena, ADA, some, "a test") == 4
    assert moderation.exclude_votes(any_arena, ADA, some, "twice") == 0
    assert leaderboard.leaderboard(any_arena).votes == 14 and dict(moderation.uncounted(any_arena)) == {"a test": 4}
    live(any_arena)
    assert moderation.restore_votes(any_arena, ADA, some, "a mistake") == 4
    again = leaderboard.leaderboard(any_arena)
    assert [(row.name, row.votes, row.wins, row.ties) for row in again.rows] == [
        (row.name, row.votes, row.wins, row.ties) for row in whole.rows
    ]
    assert [row.rating for row in again.rows] == pytest.approx([row.rating for row in whole.rows], abs=1e-9)
    assert moderation.uncounted(any_arena) == []
    live(any_arena)
    vote(any_arena, OTHER, 2, seed=2)
    assert moderation.exclude_votes(any_arena, ADA, some, "after all") == 4
    live(any_arena)
    vote(any_arena, OTHER, 2, seed=3)
    assert leaderboard.leaderboard(any_arena).votes == 18 and dict(moderation.uncounted(any_arena)) == {"after all": 4}
    live(any_arena)
    assert any_arena.store.votes()[:18] == ledger


def test_an_excluded_voter_counts_nowhere_and_back_again(any_arena: Arena) -> None:
    fill_with_swatches(any_arena, prompts=4)
    vote(any_arena, OTHER, 12, seed=1)
    alone = leaderboard.leaderboard(any_arena)
    vote(any_arena, ME, 6)
    mine = [one.id or 0 for one in any_arena.store.votes(ME)]
    moderation.exclude_votes(any_arena, ADA, mine[:1], "this one is wrong")
    assert moderation.exclude_voter(any_arena, ADA, ME, "a robot") == 5
    vote(any_arena, ME, 3, seed=4)  # it may go on, and does not notice
    board = leaderboard.leaderboard(any_arena)
    assert board.rows == alone.rows and board.votes == 12
    live(any_arena)
    assert moderation.excluded_voters(any_arena) == {ME}
    assert dict(moderation.uncounted(any_arena)) == {
        "a robot": 5, "this one is wrong": 1, "by a voter who is excluded": 3,
    }  # fmt: skip
    assert moderation.restore_voter(any_arena, ADA, ME, "a person after all") == 8
    assert leaderboard.leaderboard(any_arena).votes == 20
    assert dict(moderation.uncounted(any_arena)) == {"this one is wrong": 1}
    live(any_arena)
    with pytest.raises(UsageError, match="not excluded"):
        moderation.restore_voter(any_arena, ADA, ME, "again")


def test_votes_kept_aside_are_seen_at_once_when_their_voter_is_restored(any_arena: Arena) -> None:
    fill_with_swatches(any_arena, prompts=4)
    vote(any_arena, OTHER, 6, seed=1)
    moderation.exclude_voter(any_arena, ADA, ME, "a robot")
    vote(any_arena, ME, 3)  # the last ballots there are
    assert leaderboard.leaderboard(any_arena).votes == 6
    live(any_arena)
    assert moderation.restore_voter(any_arena, ADA, ME, "a person after all") == 3
    assert leaderboard.leaderboard(any_arena).votes == 9
    live(any_arena)


def test_what_a_voter_deleted_no_admin_restores(seeded: Arena) -> None:
    vote(seeded, ME, 4)
    mine = [one.id or 0 for one in seeded.store.votes(ME)]
    moderation.exclude_votes(seeded, ADA, mine[:2], "a test")
    personal.delete(seeded, ME)
    assert moderation.restore_votes(seeded, ADA, mine, "back") == 0
    assert leaderboard.leaderboard(seeded).votes == 0


def test_the_preview_is_what_comes(seeded: Arena) -> None:
    for voter in range(4):
        vote(seeded, f"person:{voter}", 18, seed=voter)
    before = {row.name: row.rating for row in leaderboard.leaderboard(seeded).rows}
    told = moderation.preview(seeded, voter_id="person:2")
    assert told.votes == 18 and leaderboard.leaderboard(seeded).votes == 72
    assert {row.name: row.before for row in told.rows} == pytest.approx(before, abs=1e-6)
    moderation.exclude_voter(seeded, ADA, "person:2", "a test")
    after = {row.name: row for row in leaderboard.leaderboard(seeded).rows}
    assert {row.name: row.after for row in told.rows} == pytest.approx(
        {name: row.rating for name, row in after.items()}, abs=1e-6
    )
    assert {row.name: row.rank_after for row in told.rows} == {name: row.rank for name, row in after.items()}
    assert moderation.preview(seeded, voter_id="person:2").votes == 0
