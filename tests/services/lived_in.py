"""An arena in which everything has happened that an export has to carry, and what must not leave with it."""

from __future__ import annotations

from pathlib import Path
from random import Random

from arena.bootstrap import Arena
from arena.domain import Contestant, Generation, ImageRef, ImageValue, Protocol, ReasonTag, RunKind, Score
from arena.services import (
    battles,
    board_table,
    exchange,
    judging,
    moderation,
    own_prompts,
    personal,
    prompt_sets,
    runs,
    snapshots,
)
from arena.services.judging import Request
from arena.services.moderation import Admin
from db import imported
from db.decisions import Action, Topic
from db.imported import Attempt, Source
from db.own_prompts import OwnPrompts
from db.voting import Voting
from tests.conftest import fill_with_swatches

SECRETS = ("sk-abcdefghijklmnop1234", "hunter2-hunter2", "private words of a visitor", "person:", "nosy@example.org")
"""Words that stand in the arena and in no file of an export."""
VOTES = (
    "model_a,model_b,winner,count,voter,prompt,category,timestamp\n"
    "x,Swatch A,model_a,3,nosy@example.org,a bear,animals,2026-01-02T03:04:05.678+00:00\n"
    "Swatch B,x,tie,1,,a house,,\n"
    "x,Swatch C,tie (bothbad),2,bob,,,2026-01-02\n"
)
OUTCOMES = ("left", "right", "tie", "both_bad", "left")


def lived_in(arena: Arena, folder: Path) -> Arena:
    """Votes, undone, excluded, restored and deleted ones, skips, reports, tags, imported votes, a judge's verdicts,
    scores, failures, retired and hidden things, a voter's own prompt, a snapshot."""
    fill_with_swatches(arena, contestants=3, prompts=5)
    keyed = {"tint": "D", "api_key": "hunter2-hunter2", "note": "see https://me:hunter2-hunter2@host/"}
    _failing(arena, arena.store.add_contestant(Contestant("Swatch D", "swatch", keyed, {"licence": "MIT"})))
    for n in range(6):
        _vote(arena, f"person:{n}", 5)
    _gestures(arena)
    (folder / "votes.csv").write_text(VOTES)
    exchange.import_votes(arena, folder / "votes.csv")
    (folder / "set.csv").write_text("prompt,category,tag\na card number 1,cards,plain\na card of a set,cards,set\n")
    prompt_sets.import_prompts(arena, folder / "set.csv", licence="CC0-1.0", ignore=("tag",))
    _brought(arena)
    judging.run(arena, Request("scripted:brightest"))
    _own_prompt(arena)
    _moderated(arena)
    _scored(arena)
    for voter in ("person:late", "person:3"):
        _vote(arena, voter, 4)
    personal.delete(arena, "person:5")
    snapshots.keep(arena, board_table.Table(_about(arena), (), ({"name": "Swatch A", "figures": {}},)))
    return arena


def _failing(arena: Arena, contestant: Contestant) -> None:
    prompts = arena.store.prompts()
    arena.store.add_generations(
        [
            Generation(contestant.id or 0, prompts[0].id or 0, 0, failure="refused: sk-abcdefghijklmnop1234 is no key"),
            Generation(contestant.id or 0, prompts[1].id or 0, 0, failure="too large"),
        ]
    )


def _brought(arena: Arena) -> None:
    """A picture that was not made here, by a model of that name."""
    content = arena.blobs.get(_images(arena, "Swatch A")[0].sha256)
    prompt = arena.store.prompts()[0]
    attempt = Attempt(prompt, 1, Source("one/a.png", "CC0-1.0"), ImageRef(arena.blobs.put(content), 8, 8))
    imported.add(arena.store, Contestant("Brought", "folder", {"digest": "ab"}), [attempt])


def _images(arena: Arena, name: str) -> list[ImageRef]:
    made = arena.store.generations(arena.store.contestant(name).id or 0, images_only=True)
    return [one.image for one in made if one.image]


def _vote(arena: Arena, voter: str, n: int) -> None:
    for battle, outcome in zip(battles.open_battles(arena, voter, n=n, rng=Random(voter)), OUTCOMES, strict=False):
        battles.vote(arena, voter, battle.token, outcome, 1.25)


def _gestures(arena: Arena) -> None:
    undone = arena.store.votes("person:0")[-1]
    arena.store.exclude_vote(undone.id or 0, "undone by its voter")
    [open_] = battles.open_battles(arena, "person:1", n=1)
    arena.store.add_skip(arena.store.battle(open_.token).id or 0, "person:1")
    vote = arena.store.votes("person:1")[0]
    Voting(arena.store).add_tag(vote.battle_id, "person:1", ReasonTag.REALISM)


def _moderated(arena: Arena) -> None:
    admin = Admin("Ada Secretive")
    votes = [vote.id or 0 for vote in arena.store.votes("person:2")]
    moderation.exclude_votes(arena, admin, votes[:2], "clicked at random")
    moderation.restore_votes(arena, admin, votes[:1], "no, they did not")
    moderation.exclude_voter(arena, admin, "person:3", "a script")
    moderation.retire_contestant(arena, admin, "Swatch D", "fails too often")
    moderation.retire_prompt(arena, admin, arena.store.prompts()[-1].id or 0, "too easy")
    moderation.set_share(arena, admin, "Swatch B", 2.0, "new")
    hidden = arena.store.generations(arena.store.contestant("Swatch A").id or 0)[0]
    moderation.record(arena, admin, Topic.IMAGE, hidden.id, Action.HIDE, "unsafe")


def _own_prompt(arena: Arena) -> None:
    own_prompts.ask(arena, "person:1", "private words of a visitor", Random(1))
    run = arena.store.add_run(RunKind.GENERATE, own_prompts.SUBJECT)
    runs.perform(arena, run.id or 0)
    request = OwnPrompts(arena.store).newest("person:1")
    assert request is not None and request.token is not None
    battles.vote(arena, "person:1", request.token, "left")


def _scored(arena: Arena) -> None:
    contestant = arena.store.contestant("Swatch A")
    protocol = Protocol("fid-clean", "1", {"network": "inception", "n": 5})
    arena.store.add_score(
        Score(
            "Swatch A",
            "fid-clean",
            protocol,
            12.5,
            details={"low": 11.0, "n_real": 9},
            contestant_id=contestant.id,
            images=(ImageValue("ab" * 32, 1, 0.5), ImageValue("cd" * 32, 2, None, "an empty answer")),
        )
    )
    arena.store.add_score(Score("Swatch B", "fid-clean", protocol, unscored="too few images"))


def _about(arena: Arena) -> dict[str, object]:
    names = ("last_vote_id", "view", "since", "until", "system", "parameters", "provisional_below", "k_factor")
    return {**dict.fromkeys(names), "last_vote_id": arena.store.newest()[0]}
