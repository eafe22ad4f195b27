"""What is made of all votes: here where that is quick, else in a process of its own, so that no visitor waits.

    page > answer > few votes: made now        many: what was made last, and a new one is asked for

An answer says as of which votes it is (`Answer.newest`) and is shared by all visitors. Many votes are counted by a
child process, `arena derive`, which keeps them in its own memory and ends when this process does; what may take minutes
is answered by a second one.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from arena.errors import ArenaError
from arena.plugins import resolve

if TYPE_CHECKING:
    from arena.bootstrap import Arena

logger = logging.getLogger(__name__)

QUESTIONS: Mapping[str, str] = {
    "board": "arena.services.leaderboard:rated",
    "elo": "arena.services.leaderboard:live_ratings",
    "pooled": "arena.services.leaderboard:pooled_ratings",
    "between": "arena.services.leaderboard:between",
    "per day": "arena.services.history:per_day",
    "history": "arena.services.history:history",
    "changes": "arena.services.history:changes",
    "audit": "arena.services.audit:audit",
    "together": "arena.services.fused:together",
    "battles": "arena.services.showcase:battles_of",
}
"""What can be asked -> the function (arena, *arguments) that answers, as "module:function"."""
SLOW = frozenset({"pooled", "history", "audit", "together", "battles"})
"""Questions that may take minutes: a child of their own answers them, so that no board waits behind one."""
PROGRAM = (sys.executable, "-m", "arena.cli", "derive")
PARENT_SECONDS = 1.0
"""How often a child looks whether its parent is still there."""
MANY = 20_000
"""Votes from which an answer takes longer than a visitor should wait."""
MANY_CONTESTANTS = 20
"""Contestants from which a slow question does, however few the votes: some grow with their cube."""
REMEMBERED = 256
"""Answers that a process keeps; the one that was asked for longest ago goes first."""
NOW, LATER = 0, 1
Newest = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for: a key of `QUESTIONS`, and its arguments."""

    kind: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A value, or the trouble that stands in its way, as of `newest` (`Store.newest`)."""

    value: Any
    newest: Newest
    trouble: str = ""


_answers: OrderedDict[tuple[str, Question], Answer] = OrderedDict()
_workers: dict[tuple[str, bool], _Worker] = {}
_lock = threading.Lock()


def answer(arena: Arena, kind: str, *arguments: Any) -> Answer | None:
    """The answer as of now; where votes are many, as of a moment ago, or None until the first one is made.

    Raises UnknownName for a kind that there is not.
    """
    question, newest = Question(kind, arguments), arena.store.newest()
    known = _remembered(arena, question)
    if known is not None and known.newest == newest:
        return known
    if not _takes_long(newest, question):
        return _remember(arena, question, answered(arena, question))
    _worker(arena, question).ask(question, NOW)
    return known


def prepare(arena: Arena, questions: Iterable[Question]) -> None:
    """Have these answered before anyone asks, where votes are many."""
    newest = arena.store.newest()
    for question in questions:
        known = _remembered(arena, question)
        if _takes_long(newest, question) and (known is None or known.newest != newest):
            _worker(arena, question).ask(question, LATER)


def _takes_long(newest: Newest, question: Question) -> bool:
    """Whether a visitor should not wait for the answer; contestants are numbered from 1."""
    return newest[0] > MANY or (newest[2] > MANY_CONTESTANTS and is_slow(question))


def answered(arena: Arena, question: Question) -> Answer:
    """The answer, made in this process."""
    function, newest = resolve("question", QUESTIONS, question.kind), arena.store.newest()
    try:
        return Answer(function(arena, *question.arguments), newest)
    except ArenaError as error:
        return Answer(None, newest, str(error))


def _remembered(arena: Arena, question: Question) -> Answer | None:
    key = (str(arena.store.engine.url), question)
    with _lock:
        if key in _answers:
            _answers.move_to_end(key)
        return _answers.get(key)


def _remember(arena: Arena, question: Question, found: Answer) -> Answer:
    with _lock:
        _answers[str(arena.store.engine.url), question] = found
        while len(_answers) > REMEMBERED:
            _answers.popitem(last=False)
    return found


def _worker(arena: Arena, question: Question) -> _Worker:
    """Who answers questions of this kind."""
    with _lock:
        slow = is_slow(question)
        return _workers.setdefault((str(arena.store.engine.url), slow), _Worker(arena, slow))


def is_slow(question: Question) -> bool:
    """Whether its answer may take minutes; a board without the looks of images does too."""
    return question.kind in SLOW or question.arguments[1:] == (True,)


@dataclass(eq=False)
class _Worker:
    """Hands questions to the child one by one, the urgent ones first, and remembers its answers."""

    arena: Arena
    slow: bool = False
    waiting: queue.PriorityQueue[tuple[int, int, Question]] = field(default_factory=queue.PriorityQueue)
    asked: dict[Question, int] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    child: subprocess.Popen[bytes] | None = None
    thread: threading.Thread | None = None

    def ask(self, question: Question, urgency: int) -> None:
        with _lock:
            if self.asked.get(question, LATER + 1) <= urgency:
                return
            self.asked[question] = urgency
            self.waiting.put((urgency, next(self.numbers), question))
            if self.thread is None:
                self.thread = threading.Thread(target=self._work, name="deriving", daemon=True)
                self.thread.start()

    def _work(self) -> None:
        while True:
            *_, question = self.waiting.get()
            with _lock:
                answered_already = question not in self.asked  # it was asked again when it became urgent
            if not answered_already:
                _remember(self.arena, question, self._of_child(question))
                with _lock:
                    self.asked.pop(question, None)

    def _of_child(self, question: Question) -> Answer:
        """The child's answer; a child that died is replaced once."""
        for _ in range(2):
            try:
                return self._told(question)
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                logger.error("The process that counts votes stopped (%s).", error)
                self.stop()
        return Answer(None, (-1, 0, 0), "The votes cannot be counted just now; reload the page in a minute.")

    def _told(self, question: Question) -> Answer:
        if self.child is None:
            environment = {**os.environ, **self.arena.settings.as_environment()}
            program = PROGRAM
            if self.slow:  # what takes minutes gives way to pages and votes: one core, and that when nobody wants it
                environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
                program = (*PROGRAM, "--give-way")
            self.child = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert self.child.stdin and self.child.stdout
        pickle.dump(question, self.child.stdin)
        self.child.stdin.flush()
        # Our own child: nobody else can write to this pipe.
        found: Answer = pickle.load(self.child.stdout)
        return found

    def stop(self) -> None:
        child, self.child = self.child, None
        if child is not None:
            child.kill()
            with suppress(OSError), child:  # closes the pipes and waits
                pass


def stop(arena: Arena) -> None:
    """End the child processes of an arena, if there are any; the next question starts another."""
    for slow in (False, True):
        worker = _workers.get((str(arena.store.engine.url), slow))
        if worker is not None:
            worker.stop()


def serve(arena: Arena, questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer pickled questions until there are no more: the child's whole life."""
    while True:
        try:
            question = pickle.load(questions)
        except EOFError:
            return
        pickle.dump(answered(arena, question), answers)
        answers.flush()


def end_with_parent() -> None:
    """From now on this process ends soon after its parent, also in the middle of an answer that takes minutes."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(0)
