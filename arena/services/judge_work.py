"""A judge at work: pairs claimed, asked about in both orders, and settled, batch by batch.

Where the judge has many questions under way at once, as an endpoint has, the next batches are asked while one waits for
its slowest answer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from arena import questions
from arena.domain import Battle, JudgeAnswer, JudgeVerdict, Prompt, fingerprint
from arena.errors import ArenaError, EnvironmentFault, UsageError
from arena.services import battles, judge_board, runs
from arena.services.judge_lanes import Lanes
from arena.services.judge_todo import Todo
from db.verdicts import Pair, Verdicts

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from arena.services.judging import Request
    from evaluators.judge.base import Answer, Image
    from evaluators.judge.base import Verdict as Said
    from evaluators.judge.modes import Judge

WAIT_SECONDS = 1.0
HOPELESS = 48
"""A judge that answers none of so many pairs in a row is asked no more."""
LONGEST = 20_000
"""Characters that are kept of an answer."""


class _Batch(NamedTuple):
    """Battles whose pairs a judge is asked about just now: the prompt and the attempt of each pair."""

    battles: list[Battle]
    prompts: dict[Pair, Prompt]
    attempts: Mapping[Pair, int]


class _Answers(NamedTuple):
    """What the judge said of pairs, and why others could not be shown to it."""

    said: dict[Pair, Said]
    unseen: dict[Pair, str]


class Work:
    """One run: claims, asks, settles, and counts what it spent. Only the asking leaves this thread."""

    def __init__(self, arena: Arena, judge: Judge, request: Request, run_id: int, report: runs.Report) -> None:
        self.arena, self.judge, self.request, self.run_id, self.report = arena, judge, request, run_id, report
        self.ledger = Verdicts(arena.store)
        self.todo = Todo(arena, judge.voter_id, Random(run_id), again=request.again)
        self.total = min(len(self.todo), request.limit or len(self.todo))
        self.lanes: Lanes[_Batch, _Answers] = Lanes(judge, arena.settings.judge_batch)
        self.asked = self.hopeless = self.checked = 0
        self.spent = 0.0
        self.dearest: float | None = None
        self.elsewhere: list[Battle] = []
        self.narrow = ""
        self.refused = ""

    def do(self) -> str:
        """Until nothing is missing or a limit is reached; returns which limit."""
        self.report("judging", 0, self.total)
        with self.lanes:
            while True:
                reason = self._fill()
                if not self.lanes.under_way:
                    return reason
                self._finish(*self.lanes.finished())
                self.report("judging", self.asked, self.total)

    def _fill(self) -> str:
        """Start what there is room for; returns why there is nothing more to start, "" where there may be."""
        while self.lanes.free:
            if self.refused:
                return f"stopped: {self.refused}"
            self._narrow()
            size, limit = self._room()
            if not size:
                return limit
            batch = self.todo.next(size) or self._returned()
            if not batch:
                return self.narrow
            self._start(batch)
        return ""

    def _room(self) -> tuple[int, str]:
        """How many pairs may be asked about now, and for none which limit stands in the way."""
        limit, budget = self.request.limit, self.request.budget_usd
        under_way = sum(len(batch.prompts) for batch in self.lanes.under_way)
        size = self.lanes.size
        if limit is not None and (size := min(size, limit - self.asked - under_way)) < 1:
            return 0, f"stopped at the limit of {limit}"
        if budget is not None and (size := min(size, self._affordable(budget, size + under_way) - under_way)) < 1:
            return 0, f"stopped before {budget:g} USD would be overspent ({self.spent:.4g} spent)"
        return size, ""

    def _affordable(self, budget: float, size: int) -> int:
        """So many more verdicts, each as dear as the dearest so far; one until a first has told what they cost."""
        if self.dearest is None:
            return 1
        return int((budget - self.spent) / self.dearest) if self.dearest else size

    def _narrow(self) -> None:
        """Leave out cells whose contestants are both known well enough; looked at again after 5% more verdicts."""
        if self.request.until is None or self.asked < self.checked:
            return
        known = judge_board.precision(self.arena, self.judge.voter_id)
        self.checked = self.asked + max(1, known.verdicts // 20)
        contestants = self.arena.store.contestants()
        narrow = {name for name, half in known.half_widths.items() if half <= self.request.until}
        self.todo.keep(contestant.id or 0 for contestant in contestants if contestant.name not in narrow)
        if len(narrow) == len(contestants):
            self.narrow = f"every model is known to ±{self.request.until:g} points"

    def _returned(self) -> list[Battle]:
        """Pairs that another run had claimed, once more: it may have judged them by now, or be gone."""
        if self.lanes.under_way:
            return []
        found, self.elsewhere = self.elsewhere, []
        if found:
            time.sleep(WAIT_SECONDS)
            runs.close_silent(self.arena)
            self.report("waiting for another run", self.asked, self.total)
        return found

    def _start(self, found: Sequence[Battle]) -> None:
        """Settle what is known already, ask about what is not, and put aside what another run asks about."""
        batch = self._without_those_under_way(found)
        pairs = [Pair.of(battle) for battle in batch]
        ask, known = self.ledger.claim(self.judge.voter_id, self.run_id, pairs, again=self.request.again)
        self._settle([(known[pair], battle) for pair, battle in zip(pairs, batch, strict=True) if pair in known])
        self.elsewhere += [b for pair, b in zip(pairs, batch, strict=True) if pair not in known and pair not in ask]
        prompts = {pair: battle.prompt for pair, battle in zip(pairs, batch, strict=True) if pair in ask}
        if not prompts:
            self.report("judging", self.asked, self.total)
            return
        mine = [battle for pair, battle in zip(pairs, batch, strict=True) if pair in ask]
        self.lanes.start(_Batch(mine, prompts, ask), partial(self._answers, prompts))

    def _without_those_under_way(self, found: Sequence[Battle]) -> list[Battle]:
        """Without pairs that are asked about just now, for other contestants: these get the verdict when it comes."""
        busy = {pair: batch for batch in self.lanes.under_way for pair in batch.prompts}
        for battle in found:
            if (pair := Pair.of(battle)) in busy:
                busy[pair].battles.append(battle)
        return [battle for battle in found if Pair.of(battle) not in busy]

    def _answers(self, prompts: Mapping[Pair, Prompt]) -> _Answers:
        """What the judge says of pairs; touches nothing but images and the judge."""
        from evaluators.judge.modes import Pair as Asked

        images = {pair: self._images(pair) for pair in prompts}
        unseen = {pair: found for pair, found in images.items() if isinstance(found, str)}
        whole = {pair: found for pair, found in images.items() if not isinstance(found, str)}
        said = self.judge.compare([Asked(prompts[pair].text, *found) for pair, found in whole.items()])
        return _Answers(dict(zip(whole, said, strict=True)), unseen)

    def _finish(self, batch: _Batch, answers: _Answers) -> None:
        verdicts = self._verdicts(batch, answers)
        pairs = [(Pair.of(battle), battle) for battle in batch.battles]
        self._settle([(verdicts[pair], battle) for pair, battle in pairs if pair in verdicts])
        self._count(verdicts.values())

    def _settle(self, judged: Sequence[tuple[JudgeVerdict, Battle]]) -> None:
        self.ledger.settle(judged, board=battles.BOARD, parameters=battles.elo_parameters(self.arena))

    def _verdicts(self, batch: _Batch, answers: _Answers) -> dict[Pair, JudgeVerdict]:
        self.refused = self.refused or next(filter(None, map(_not_asked, answers.said.values())), "")
        verdicts = {pair: _verdict(one) for pair, one in answers.said.items() if not _not_asked(one)}
        verdicts |= {pair: _unseen(reason) for pair, reason in answers.unseen.items()}
        return {
            pair: JudgeVerdict(
                judge_id=self.judge.voter_id, prompt_id=pair.prompt_id, left=pair.left, right=pair.right,
                question_sha256=fingerprint(question=questions.pair(batch.prompts[pair].text)), run_id=self.run_id,
                attempt=batch.attempts[pair], **verdicts[pair],
            )
            for pair in verdicts
        }  # fmt: skip

    def _images(self, pair: Pair) -> tuple[Image, Image] | str:
        """Both images, or the reason why one cannot be shown."""
        from evaluators.images import decode

        try:
            left, right = (decode(self.arena.blobs.get(sha256)) for sha256 in (pair.left, pair.right))
            return left, right
        except ArenaError as error:
            return str(error)

    def _count(self, verdicts: Iterable[JudgeVerdict]) -> None:
        for verdict in verdicts:
            self.asked += 1
            if verdict.cost_usd is not None:
                self.spent += verdict.cost_usd
                self.dearest = max(self.dearest or 0.0, verdict.cost_usd)
            self.hopeless = 0 if verdict.outcome else self.hopeless + 1
            if self.hopeless >= HOPELESS:
                raise EnvironmentFault(
                    f"The judge answered none of the last {HOPELESS} pairs ({verdict.unscored}); mend that, then let "
                    "it judge again what is unscored."
                )
            if self.request.budget_usd is not None and verdict.outcome and verdict.cost_usd is None:
                raise UsageError(
                    f"The judge {self.request.judge!r} names no cost, so a budget of {self.request.budget_usd:g} USD "
                    "cannot be kept; leave the budget out, or set a limit on verdicts."
                )


# From what a judge says to what is kept


def _not_asked(said: Said) -> str:
    """Why an order was not asked at all, in which case the pair is still missing; "" where both were."""
    from evaluators.judge.openai_chat import NOT_ASKED

    reasons = [answer.unscored or "" for answer in (said.left_first, said.right_first)]
    return next((reason for reason in reasons if reason.startswith(NOT_ASKED)), "")


def _verdict(said: Said) -> dict[str, Any]:
    answers = (_answer(said.left_first), _answer(said.right_first))
    unscored = None if said.unscored is None else storable(said.unscored)
    return {"answers": answers, "outcome": said.outcome, "consistent": said.consistent, "unscored": unscored}


def _unseen(reason: str) -> dict[str, Any]:
    answer = JudgeAnswer(None, unscored=storable(reason))
    return {"answers": (answer, answer), "unscored": answer.unscored}


def _answer(said: Answer) -> JudgeAnswer:
    return JudgeAnswer(
        raw=None if said.raw is None else storable(said.raw),
        word=said.word,
        reason=storable(said.reason),
        unscored=None if said.unscored is None else storable(said.unscored),
        shares=said.shares,
        seconds=said.seconds,
        cost_usd=said.cost_usd,
    )


def storable(text: str) -> str:
    """The text as every database can keep it: no NUL, no half of a surrogate pair, not endless."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
    return whole if len(whole) <= LONGEST else whole[: LONGEST - 1] + "…"
