"""Own prompts: a voter types one, two contestants drawn for it draw it, the voter votes on it blind.

    ask > the queue in the database > a worker, started on demand > two pictures > a battle > the voter's vote

The worker is a run like any other: a process of its own that ends when nothing has come for a while. Whoever looks at a
request wakes it again where it is gone, and a request whose worker was killed is taken up by the next one.
"""

from __future__ import annotations

import re
import secrets
import sys
import time
import unicodedata
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from random import Random, SystemRandom
from threading import Lock
from typing import TYPE_CHECKING

from arena import matchmaking
from arena.backends import BACKENDS
from arena.backends.weights import PACKAGE_SCHEME
from arena.domain import OWN_PROMPT, VOTES_BACKEND, Battle, Contestant, Generation, Prompt, Run, RunKind, RunState
from arena.errors import EndpointError, UsageError
from arena.plugins import known_names
from arena.services import battles, display, gate, generation, moderation, own_spending, personal, runs
from arena.services.generation import Cell
from db.own_prompts import OwnPrompt, OwnPrompts
from db.personal import Personal

if TYPE_CHECKING:
    from arena.backends.base import Backend
    from arena.bootstrap import Arena

POLICY = battles.OWN_POLICY
SUBJECT = "own prompts"
"""Of the worker's run."""
POLL_SECONDS = 0.3
REPORT_SECONDS = 5.0
MOST_STARTS = 3
"""Workers that may fail in a row before a request is given up."""
LONGEST_REASON = 200

JOINERS = {"\u200c", "\u200d"}
"""Invisible, and part of many emoji and of some scripts."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a voter's last request stands: `ahead` others come first."""

    request: OwnPrompt | None
    ahead: int = 0


def ask(arena: Arena, voter_id: str, text: str, rng: Random | None = None) -> None:
    """Queue a prompt and see that a worker comes.

    Raises UsageError with one sentence for a prompt that cannot be used, for a second one at a time, for too many in an
    hour, for a full queue, and where no two contestants can draw here.
    """
    limit = arena.settings.own_prompts_per_hour
    if not limit:
        raise UsageError("This arena takes no prompts of its visitors; vote on its own.")
    text = checked(text, arena.settings.own_prompts_longest)
    rng = rng or SystemRandom()
    pairs = _pairs(arena)
    only_this = {pair: [0] for pair in pairs}
    draw = matchmaking.draw(only_this, rng, matchmaking.shared(pairs, moderation.shares(arena)))
    assert draw is not None
    prompt = Prompt(text, OWN_PROMPT, (), OWN_PROMPT)
    OwnPrompts(arena.store).add(
        voter_id, prompt, draw.left_id, draw.right_id, rng.randrange(1 << 31), POLICY, draw.probability,
        arena.settings.own_prompts_count, an_hour=limit, longest_queue=arena.settings.own_prompts_queue,
    )  # fmt: skip
    wake(arena)


def _pairs(arena: Arena) -> list[matchmaking.Pair]:
    able = sorted(contestant.id or 0 for contestant in contestants(arena))
    if len(able) < 2:
        said = "No two models can draw here just now; an own prompt needs two. Vote on the arena's prompts."
        raise UsageError(" ".join(filter(None, [said, left_out(arena)])))
    return [*combinations(able, 2)]


def contestants(arena: Arena) -> list[Contestant]:
    """Those that can draw any prompt here: not retired, let through by the gate, with a backend of this installation,
    with weights that are known to load: shipped in a package, or used here before; and without those that cost money,
    unless the day's limit allows for them (see `own_spending`)."""
    return [*own_spending.allowed(arena, _loadable(arena)).able]


def left_out(arena: Arena) -> str:
    """Tells a visitor why models that cost money do not draw; "" where none is left out."""
    return own_spending.allowed(arena, _loadable(arena)).sentence


def _loadable(arena: Arena) -> list[Contestant]:
    used, known = arena.store.prompts_with_images(), known_names("backend", BACKENDS)
    able = {
        one.id or 0: one
        for one in arena.store.contestants()
        if one.backend != VOTES_BACKEND and one.backend in known
        and (one.id in used or str(one.settings.get("model", "")).startswith(PACKAGE_SCHEME))
    }  # fmt: skip
    retired = arena.store.withdrawn().contestants
    return [one for id, one in gate.for_people(arena, able).items() if id not in retired]


# What may be typed


def checked(text: str, longest: int) -> str:
    """The prompt on one line. Raises UsageError that says what is wrong with it."""
    text = " ".join(unicodedata.normalize("NFC", text).split())
    if not text or not any(sign.isprintable() and not sign.isspace() for sign in text):
        raise UsageError("The prompt is empty; type what you want to see.")
    if len(text) > longest:
        raise UsageError(f"The prompt has {len(text):,} characters, and {longest} are the most; shorten it.")
    for place, sign in enumerate(text, start=1):
        if _is_hidden(sign):
            raise UsageError(
                f"The prompt holds an invisible sign (U+{ord(sign):04X}, character {place}), which can turn or hide "
                "what follows; remove it."
            )
    if not any(sign.isalnum() or unicodedata.category(sign) == "So" for sign in text):
        raise UsageError(f"The prompt {text[:40]!r} holds no word; say what you want to see.")
    return text


def _is_hidden(sign: str) -> bool:
    """Control and format signs, direction marks among them, lone surrogates and private use."""
    return unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Cn") and sign not in JOINERS


def remarks(text: str) -> list[str]:
    """What to know about a prompt that is taken as it is."""
    marked = re.search(r"<[A-Za-z/!?]|\]\(|\*\*|```", text)
    return ["Markup in a prompt is read as plain letters: nothing in it is run or drawn as such."] if marked else []


# The worker, seen from outside


def standing(arena: Arena, voter_id: str) -> Standing:
    """The voter's last request; wakes the worker where it is needed and gone."""
    queue = OwnPrompts(arena.store)
    request = queue.newest(voter_id)
    if request is None or not request.is_active:
        return Standing(request)
    if _keeps_failing(arena, request):
        queue.fail(request.id, "the process that makes pictures does not start here; tell whoever runs this arena")
        return Standing(queue.newest(voter_id))
    wake(arena)
    return Standing(request, queue.ahead(request.id))


def is_expired(request: OwnPrompt) -> bool:
    """Whether its pair waited too long to take a vote: counted from when it was asked for, a little before the draw."""
    return datetime.now(UTC) - request.at > battles.LIFETIME


def withdraw(arena: Arena, voter_id: str) -> None:
    """Take back the voter's request, where it is not drawn yet."""
    queue = OwnPrompts(arena.store)
    request = queue.newest(voter_id)
    if request is not None:
        queue.fail(request.id, "you took it back")


_waking = Lock()


def wake(arena: Arena) -> None:
    """Start a worker unless one works."""
    with _waking:
        if not any(run.state is RunState.RUNNING for run in workers(arena)):
            runs.start(arena, RunKind.GENERATE, SUBJECT)


def workers(arena: Arena) -> list[Run]:
    """The latest runs of the worker, newest first."""
    return [run for run in runs.latest(arena, RunKind.GENERATE, 50) if run.subject == SUBJECT]


def _keeps_failing(arena: Arena, request: OwnPrompt) -> bool:
    since = [run for run in workers(arena) if run.started_at >= request.at]
    return len(since) >= MOST_STARTS and all(run.state is RunState.FAILED for run in since[:MOST_STARTS])


# The worker itself


def job(arena: Arena, run: Run, report: runs.Report) -> runs.Ended:
    """Draws what is in the queue, and ends once nothing came for `own_prompts_idle` seconds."""
    if any(other.state is RunState.RUNNING and (other.id or 0) < (run.id or 0) for other in workers(arena)):
        return runs.Ended("another one was at work already")
    loaded = Loaded(arena)
    try:
        made = _work(arena, run, report, loaded)
    finally:
        loaded.close()
    return runs.Ended(f"{made} prompts drawn, then nothing came")


def _work(arena: Arena, run: Run, report: runs.Report, loaded: Loaded) -> int:
    """How many prompts were drawn until nothing came any more."""
    queue = OwnPrompts(arena.store)
    made, idle_since, reported = 0, time.monotonic(), 0.0
    while (now := time.monotonic()) - idle_since < arena.settings.own_prompts_idle:
        request = queue.claim(run.id or 0) if queue.active() else None
        if request is not None:
            report(f"prompt {request.id}", made, 0)
            serve(arena, queue, request, loaded)
            made, idle_since = made + 1, time.monotonic()
            continue
        if now - reported > REPORT_SECONDS:
            report("waiting for prompts", made, 0)
            reported = now
        time.sleep(POLL_SECONDS)
    return made


class Loaded:
    """Backends that are kept loaded, the latest few; others are closed, as each of them takes much memory."""

    def __init__(self, arena: Arena):
        self.make, self.most = generation.backends(arena), arena.settings.own_prompts_loaded
        self.kept: OrderedDict[int, Backend] = OrderedDict()

    def get(self, contestant: Contestant) -> Backend:
        """Raises what the backend raises when it does not load."""
        id = contestant.id or 0
        if id not in self.kept:
            while len(self.kept) >= self.most:
                self._close(self.kept.popitem(last=False)[1])
            self.kept[id] = self.make(contestant)
        self.kept.move_to_end(id)
        return self.kept[id]

    def close(self) -> None:
        """Let go of all of them."""
        while self.kept:
            self._close(self.kept.popitem()[1])

    @staticmethod
    def _close(backend: Backend) -> None:
        try:
            getattr(backend, "close", lambda: None)()
        except Exception as error:  # a backend of somebody's own may raise anything
            print(f"{backend!r} does not close: {error}", file=sys.stderr)


class SideFailed(Exception):
    """One side has no picture; the message names it."""


def serve(arena: Arena, queue: OwnPrompts, request: OwnPrompt, loaded: Loaded) -> None:
    """Two pictures and the battle; or the request fails with the side that did, and there is nothing to vote on."""
    by_id = {one.id: one for one in arena.store.contestants()}
    made: dict[int, Generation] = {}
    sides = [request.left_id, request.right_id]
    try:
        # In an order by chance: the page shows how far it is, and whose turn it is must not be told by the clock.
        for contestant_id in SystemRandom().sample(sides, 2):
            made[contestant_id] = one = _picture(arena, queue, request, by_id[contestant_id], loaded)
            if one.image:
                display.rendition(arena, one.image.sha256, display.Size.PAIR)  # before anyone looks
            queue.made(request.id, len(made))
        queue.ready(request.id, _battle(request, *(made[contestant_id] for contestant_id in sides)))
    except SideFailed as failed:
        queue.fail(request.id, str(failed))
    if Personal(arena.store).is_erased(request.voter_id):  # while it was drawn
        personal.remove_pictures(arena, [one.image.sha256 for one in made.values() if one.image])


def _picture(
    arena: Arena, queue: OwnPrompts, request: OwnPrompt, contestant: Contestant, loaded: Loaded
) -> Generation:  # fmt: skip
    """The contestant's picture of the prompt with the request's seed, made unless it is there."""
    cell = contestant.id or 0, request.prompt.id or 0, request.seed
    if (found := queue.generation(*cell)) is None or found.image is None:
        try:
            backend = loaded.get(contestant)
        except Exception as error:  # a backend of somebody's own may raise anything
            # The log: the sentence may name folders of this machine.
            print(f"{contestant.name} could not be loaded: {type(error).__name__}: {error}", file=sys.stderr)
            raise SideFailed(f"{contestant.name} could not be loaded here") from error
        if (budget := own_spending.budget(arena, contestant)) is None:
            raise SideFailed(f"{contestant.name} costs money, and today's budget for such models is spent")
        try:
            generation.make(arena, contestant, [Cell(request.prompt, request.seed)], backend, budget)
        except EndpointError as error:
            print(error, file=sys.stderr)
            raise SideFailed(f"{contestant.name} is out of reach just now") from error
        found = queue.generation(*cell)
    if found is None or found.image is None:
        reason = found.failure if found and found.failure else "no picture came"
        raise SideFailed(f"{contestant.name} made no picture: {shortened(reason)}")
    return found


def shortened(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 1]}…"


def _battle(request: OwnPrompt, left: Generation, right: Generation) -> Battle:
    return Battle(
        prompt=request.prompt,
        left=left,
        right=right,
        policy=request.policy,
        probability=request.probability,
        token=secrets.token_urlsafe(16),
        drawn_for=request.voter_id,
    )
