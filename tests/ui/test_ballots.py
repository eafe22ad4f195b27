"""Acts: what a browser sends is read with suspicion and done once."""

from __future__ import annotations

import math
from typing import Any

import pytest

from arena.bootstrap import Arena
from arena.domain import Outcome, ReasonTag, ReportReason, Side
from arena.errors import DatabaseError
from arena.services import battles
from arena.ui import ballots
from arena.ui.ballots import (
    MOST_ACTS,
    TAKEN_BACK,
    VOTED,
    Report,
    Sitting,
    Skip,
    Tag,
    Undo,
    Vote,
    perform_all,
    read_acts,
)
from arena.ui.surface import QUEUE, Place, surface_data
from db.voting import Voting

VOTER = "person:someone"


def entry(token: str = "abc", do: str = "vote", **values: Any) -> dict[str, Any]:
    return {"id": f"{do} {token}", "do": do, "token": token, "outcome": "left", "seconds": 1.5, **values}


def vote(token: str, outcome: Outcome = Outcome.LEFT) -> Vote:
    return Vote(f"vote {token}", token, outcome, 1.0)


def test_a_vote_is_read_with_its_token_outcome_and_time() -> None:
    sent = [entry(outcome="both_bad", seconds=2, swapped=True)]
    assert read_acts(sent) == [Vote("vote abc", "abc", Outcome.BOTH_BAD, 2.0, True)]


def test_every_other_act_is_read() -> None:
    sent = [
        entry(do="skip"), entry(do="undo"), entry(do="tag", tag="realism"),
        entry(do="report", reason="reveals", side="right"), entry(do="report", reason="unsafe", side=None),
    ]  # fmt: skip
    assert read_acts(sent) == [
        Skip("skip abc", "abc"),
        Undo("undo abc", "abc"),
        Tag("tag abc", "abc", ReasonTag.REALISM),
        Report("report abc", "abc", ReportReason.REVEALS, Side.RIGHT),
        Report("report abc", "abc", ReportReason.UNSAFE, None),
    ]


@pytest.mark.parametrize(
    "sent",
    [None, "left", 3, {}, [None], ["left"], [{}], [entry("")], [entry("x" * 9999)], [entry(outcome="LEFT")],
     [entry(outcome="")], [entry(1)], [entry(outcome=None)], [entry(outcome=["left"])], [entry(do="delete")],
     [entry(id=7)], [entry(id="x" * 65)], [entry(do="tag", tag="price")], [entry(do="report", reason="dull")]],
)  # fmt: skip
def test_what_is_not_an_act_is_dropped_and_never_becomes_a_tie(sent: Any) -> None:
    assert read_acts(sent) == []


@pytest.mark.parametrize("seconds", [None, "1", -1, math.nan, math.inf, 1e9, True, [1]])
def test_an_insane_time_is_unknown(seconds: Any) -> None:
    assert read_acts([entry(seconds=seconds)]) == [Vote("vote abc", "abc", Outcome.LEFT, None)]


def test_a_flood_is_cut() -> None:
    assert len(read_acts([entry(f"t{n}") for n in range(1000)])) == MOST_ACTS


def test_votes_are_stored_in_the_order_of_the_presses(seeded: Arena) -> None:
    offered = battles.open_battles(seeded, VOTER, n=3)
    outcomes = [Outcome.RIGHT, Outcome.TIE, Outcome.BOTH_BAD]
    perform_all(seeded, VOTER, [vote(b.token, o) for b, o in zip(offered, outcomes, strict=True)], Sitting())
    assert [vote.outcome for vote in seeded.store.votes()] == outcomes
    assert [vote.battle_id for vote in seeded.store.votes()] == [seeded.store.battle(b.token).id for b in offered]


def test_a_vote_sent_again_is_settled_again_and_counted_once(seeded: Arena) -> None:
    (battle,) = battles.open_battles(seeded, VOTER, n=1)
    first, after_reload = Sitting(), Sitting()
    for sitting in (first, first, after_reload):
        perform_all(seeded, VOTER, [vote(battle.token)], sitting)
        assert sitting.settled == [f"vote {battle.token}"]
        assert sitting.notice == ""
    assert len(seeded.store.votes()) == 1
    assert isinstance(first.told, battles.Reveal) and first.told.token == battle.token


def test_a_refused_vote_is_settled_with_a_sentence_and_voting_goes_on(seeded: Arena) -> None:
    (battle,) = battles.open_battles(seeded, VOTER, n=1)
    (foreign,) = battles.open_battles(seeded, "person:else", n=1)
    sitting = Sitting()
    perform_all(seeded, VOTER, [vote("forged"), vote(foreign.token)], sitting)
    assert sitting.settled == ["vote forged", f"vote {foreign.token}"]
    assert sitting.notice.startswith("That vote was not counted.")
    perform_all(seeded, VOTER, [vote(battle.token)], sitting)
    assert sitting.notice == ""
    assert [vote.voter_id for vote in seeded.store.votes()] == [VOTER]


def test_what_is_refused_is_said_also_where_further_acts_came_with_it(seeded: Arena) -> None:
    one, two = battles.open_battles(seeded, VOTER, n=2)
    sitting = Sitting()
    perform_all(seeded, VOTER, [vote("forged"), vote(one.token), Skip("s", two.token)], sitting)
    assert sitting.notice.startswith("That vote was not counted.") and len(seeded.store.votes()) == 1


def test_another_vote_on_the_same_pair_is_said_and_the_same_again_is_not(seeded: Arena) -> None:
    (battle,) = battles.open_battles(seeded, VOTER, n=1)
    perform_all(seeded, VOTER, [vote(battle.token)], Sitting())
    same, other = Sitting(), Sitting()
    perform_all(seeded, VOTER, [vote(battle.token)], same)
    perform_all(seeded, VOTER, [vote(battle.token, Outcome.RIGHT)], other)
    assert (same.notice, other.notice) == ("", VOTED)
    assert [one.outcome for one in seeded.store.votes()] == [Outcome.LEFT]


def test_the_last_vote_can_be_taken_back_after_a_reload(seeded: Arena) -> None:
    one, two = battles.open_battles(seeded, VOTER, n=2)
    assert surface_data(seeded, VOTER, Sitting())["last"] is None
    perform_all(seeded, VOTER, [vote(one.token), vote(two.token)], Sitting())
    assert surface_data(seeded, VOTER, Sitting())["last"] == two.token
    assert surface_data(seeded, VOTER, Sitting(), Place(names=True))["last"] is None
    perform_all(seeded, VOTER, [Undo("u", two.token)], Sitting())
    assert surface_data(seeded, VOTER, Sitting())["last"] == one.token


def test_an_act_that_failed_stays_open_and_what_follows_waits_for_it(
    seeded: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    (battle,) = battles.open_battles(seeded, VOTER, n=1)
    sitting, acts = Sitting(), [vote(battle.token), Undo("undo", battle.token)]

    def away(*_: object) -> None:
        raise DatabaseError("The database is away.")

    with monkeypatch.context() as broken:
        broken.setattr(ballots.battles, "vote", away)
        perform_all(seeded, VOTER, acts, sitting)
    assert sitting.settled == []
    assert sitting.notice == "Your vote is kept and will be sent again. The database is away."
    perform_all(seeded, VOTER, acts, sitting)
    assert sitting.settled == [act.id for act in acts]
    assert len(seeded.store.votes()) == 1 and seeded.store.voted_pairs() == []


def test_skipping_reveals_nothing_and_is_not_offered_again(seeded: Arena) -> None:
    (battle,) = battles.open_battles(seeded, VOTER, n=1)
    sitting = Sitting()
    perform_all(seeded, VOTER, [Skip("s", battle.token)], sitting)
    assert sitting.told is None and sitting.settled == ["s"]
    assert battle.token not in [b.token for b in battles.open_battles(seeded, VOTER)]


def test_a_vote_taken_back_hides_its_reveal_and_its_pair_comes_first_with_names(seeded: Arena) -> None:
    (battle,) = battles.open_battles(seeded, VOTER, n=1)
    sitting = Sitting()
    perform_all(seeded, VOTER, [vote(battle.token), Undo("undo", battle.token)], sitting)
    assert (sitting.told, sitting.notice) == (None, TAKEN_BACK)
    first = surface_data(seeded, VOTER, sitting)["queue"][0]
    assert first["undone"] == battle.token and first["token"] != battle.token
    assert all(name.startswith("Swatch") for name in first["names"])
    perform_all(seeded, VOTER, [vote(first["token"], Outcome.RIGHT)], sitting)
    told = surface_data(seeded, VOTER, sitting)["reveal"]
    assert told["why"].startswith("The names were shown") and told["tags"] == []
    assert seeded.store.voted_pairs() == []


def test_a_report_thanks_and_a_reason_says_nothing(seeded: Arena) -> None:
    one, two = battles.open_battles(seeded, VOTER, n=2)
    sitting = Sitting()
    perform_all(seeded, VOTER, [Report("r", one.token, ReportReason.BROKEN, Side.LEFT)], sitting)
    perform_all(seeded, VOTER, [Report("r", one.token, ReportReason.BROKEN, Side.LEFT)], sitting)
    assert sitting.notice.startswith("Thank you"), "what is sent again takes no sentence away"
    perform_all(seeded, VOTER, [vote(two.token), Tag("t", two.token, ReasonTag.TEXT)], sitting)
    assert sitting.notice == "" and Voting(seeded.store).tags() == {1: [ReasonTag.TEXT]}
    assert [(r.reason, r.side) for r in Voting(seeded.store).reports()] == [(ReportReason.BROKEN, Side.LEFT)]


def test_the_browser_is_told_nothing_of_the_makers_before_the_vote(seeded: Arena) -> None:
    data = surface_data(seeded, VOTER, Sitting())
    for pair in data["queue"]:
        assert pair.keys() == {"token", "prompt", "left", "right", "names", "undone"}
        assert pair["names"] is None and pair["left"] == f"img/{pair['token']}/left"
    for contestant in seeded.store.contestants():
        assert contestant.name not in str(data) and contestant.fingerprint not in str(data)
        for generation in seeded.store.generations(contestant.id or 0):
            assert generation.image is not None and generation.image.sha256 not in str(data)


def test_the_queue_is_offered_again_after_a_reload(seeded: Arena) -> None:
    before, after = (surface_data(seeded, VOTER, Sitting()) for _ in range(2))
    assert before["queue"] == after["queue"] and len(before["queue"]) >= 4
    assert before["sitting"] != after["sitting"]


def test_a_category_holds_only_its_own_pairs(seeded: Arena) -> None:
    data = surface_data(seeded, VOTER, Sitting(), Place("cards"))
    assert data["categories"] == ["cards", "colour"] and data["place"] == {"category": "cards", "names": False}
    assert {seeded.store.battle(pair["token"]).prompt.category for pair in data["queue"]} == {"cards"}
    nowhere = surface_data(seeded, VOTER, Sitting(), Place("<b>nowhere"))
    assert nowhere["queue"] == [] and "<b>nowhere" in nowhere["categories"]
    assert nowhere["idle"].startswith("There is no pair left for you in the category “<b>nowhere”.")


def test_side_by_side_shows_names_and_its_votes_count_nowhere(seeded: Arena) -> None:
    sitting = Sitting()
    queue = surface_data(seeded, VOTER, sitting, Place(names=True))["queue"]
    assert all(len(pair["names"]) == 2 for pair in queue)
    perform_all(seeded, VOTER, [vote(queue[0]["token"]), Skip("s", queue[1]["token"])], sitting)
    later = surface_data(seeded, VOTER, sitting, Place(names=True))
    assert later["queue"][: QUEUE - 2] == queue[2:] and later["acked"] == [f"vote {queue[0]['token']}", "s"]
    assert seeded.store.votes() == [] and seeded.store.voted_pairs() == []
    blind = {pair["token"] for pair in surface_data(seeded, VOTER, sitting)["queue"]}
    assert not blind & {pair["token"] for pair in queue}


def test_when_every_pair_is_judged_the_page_says_so(seeded: Arena) -> None:
    sitting = Sitting()
    while queue := surface_data(seeded, VOTER, sitting)["queue"]:
        perform_all(seeded, VOTER, [vote(pair["token"], Outcome.TIE) for pair in queue], sitting)
    assert len(seeded.store.votes()) == 18
    assert "every pair" in surface_data(seeded, VOTER, sitting)["idle"]
