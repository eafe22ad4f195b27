"""An arena as it looks after some busy weeks, made of the embedded teddies: for pictures of the pages.

images > two judges > five weeks of imported votes > voters of today > a report > automatic scores
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from random import Random

from arena.bootstrap import Arena
from arena.domain import Outcome, Prompt, Side
from arena.services import battles, benchmarks, display, exchange, generation, judging, teddies, voters
from arena.services.benchmarks import Request as Measured
from arena.services.judging import Request as Judged
from arena.services.votes_files import VoteRow, write_votes
from arena.teddy.scenes import embedded_prompts

PROMPTS = 24
STRENGTHS = {"Teddy Flow 24": 1130.0, "Teddy Turbo": 1030.0, "Teddy U-Net": 960.0, "Teddy Flow 2": 880.0}
"""What people of this arena think, in rating points: 400 are odds of 10 to 1."""
TIES, BOTH_BAD = 0.1, 0.06
Verdicts = Mapping[tuple[str, str, str], Outcome]
"""What a judge said of two contestants' images of a prompt."""
DAYS, FIRST_DAY, GROWTH = 35, 18, 0.3
"""Imported votes: over so many days, so many on the first, and so many more on each further one."""
TODAY = {f"person:{name}": votes for name, votes in (("ann", 34), ("ben", 28), ("cem", 22), ("dora", 16), ("eli", 9))}
REGULAR_VOTES = 46
JUDGES = {"scripted:always-first": 60, "teddy": None}
"""And how many verdicts at most. One that does not look at the images comes first, so that the page Judge has something
to warn of."""
SEEING = 0.7
"""The share of votes that go by what is on the images, which the judge tells, where it prefers one."""
METRICS = ("fid-clean@1", "kid@1")
N_REAL = 200

Say = Callable[[str], None]


def liven(arena: Arena, say: Say = lambda _: None) -> str:
    """Brings an arena to life, the images and scores it has taken as they are; returns the signed token of a voter who
    has a board of their own."""
    say("images")
    draw(arena)
    for judge, limit in JUDGES.items():
        say(f"judge {judge}")
        judging.run(arena, Judged(judge, limit=limit))
    say("votes")
    found = verdicts(arena, judging.newest(arena, judge) or "")
    weeks = arena.settings.data_dir / "weeks.csv"
    write_votes(weeks, rows(found, Random(5), datetime.now(UTC)))
    exchange.import_votes(arena, weeks)
    for voter, votes in TODAY.items():
        cast(arena, found, voter, votes, Random(voter))
    token = voters.new_voter_token(arena)
    cast(arena, found, voters.voter_id(arena, token) or "", REGULAR_VOTES, Random(9))
    report(arena, "person:ann")
    if not benchmarks.columns(arena):
        say("scores")
        benchmarks.run(arena, Measured(tuple(STRENGTHS), METRICS, n_real=N_REAL))
    return token


def draw(arena: Arena, prompts: int = PROMPTS) -> None:
    """The embedded contestants, and an image of each for some of the embedded prompts."""
    if not arena.store.prompts():
        found = embedded_prompts(prompts)
        arena.store.add_prompts(Prompt(one.text, one.category, tuple(one.tags), teddies.SOURCE) for one in found)
    for contestant in teddies.teddy_contestants():
        arena.store.add_contestant(contestant)
    generation.fill(arena, generation.plan(arena), generation.backends(arena))
    display.prepare(arena)


def verdicts(arena: Arena, judge_id: str) -> Verdicts:
    """Of this judge, either way round."""
    turned = {Outcome.LEFT: Outcome.RIGHT, Outcome.RIGHT: Outcome.LEFT}
    found = {(one.left, one.right, one.prompt or ""): one.outcome for one in arena.store.exported(judge_id)}
    return found | {(right, left, text): turned.get(said, said) for (left, right, text), said in found.items()}


def rows(found: Verdicts, rng: Random, until: datetime) -> Iterator[VoteRow]:
    """Votes from the weeks before, more from day to day."""
    for day in range(DAYS):
        for _ in range(int(FIRST_DAY + GROWTH * day) + rng.randrange(6)):
            left, right = rng.sample(sorted(STRENGTHS), 2)
            at = until - timedelta(days=DAYS - day, seconds=rng.randrange(60_000))
            prompt = rng.choice(embedded_prompts(PROMPTS))
            choice = answer(left, right, found.get((left, right, prompt.text)), rng)
            yield VoteRow(
                left, right, choice, 1, f"guest {rng.randrange(20)}", prompt.text, prompt.category,
                at.isoformat(),
            )  # fmt: skip


def answer(left: str, right: str, seen: Outcome | None, rng: Random) -> Outcome:
    """One of the four answers: what is to be seen, or drawn as Bradley and Terry say of these strengths."""
    kind = rng.random()
    if kind < TIES + BOTH_BAD:
        return Outcome.TIE if kind < TIES else Outcome.BOTH_BAD
    if seen in (Outcome.LEFT, Outcome.RIGHT) and rng.random() < SEEING:
        return seen
    chance = 1 / (1 + 10 ** ((STRENGTHS[right] - STRENGTHS[left]) / 400))
    return Outcome.LEFT if rng.random() < chance else Outcome.RIGHT


def cast(arena: Arena, found: Verdicts, voter: str, votes: int, rng: Random) -> None:
    """Votes of one voter on pairs that are drawn for them."""
    names = {one.id: one.name for one in arena.store.contestants()}
    for open_ in battles.open_battles(arena, voter, n=votes, rng=rng):
        battle = arena.store.battle(open_.token)
        left, right = names[battle.left.contestant_id], names[battle.right.contestant_id]
        choice = answer(left, right, found.get((left, right, open_.prompt)), rng)
        battles.vote(arena, voter, open_.token, choice, rng.lognormvariate(0.9, 0.5))


def report(arena: Arena, voter: str) -> None:
    """A pair that a voter finds broken."""
    for open_ in battles.open_battles(arena, voter, n=1, rng=Random(3)):
        battles.report(arena, voter, open_.token, "broken", Side.RIGHT)
