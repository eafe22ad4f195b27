"""Batches at a judge: one after the other, or several under way where the judge has many questions under way at once.

A batch waits for its slowest answer. Where only one were under way, whoever answers would be idle at the end of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from evaluators.judge.modes import Judge

Ticket = TypeVar("Ticket")
Result = TypeVar("Result")


class Lanes(Generic[Ticket, Result]):
    """Work under way, each with the ticket it was given; used by one thread.

    `size`: pairs of a batch, `batch` at most. Leaving it by an exception ends what is under way.
    """

    def __init__(self, judge: Judge, batch: int) -> None:
        self._judge = judge
        questions = int(getattr(judge.model, "concurrency", 1))
        self.size = max(1, min(batch, questions // 2)) if questions > 1 else batch
        self.most = math.ceil(questions / (2 * self.size)) + 1 if questions > 1 else 1
        self._pool = ThreadPoolExecutor(self.most, "judge") if self.most > 1 else None
        self._under_way: dict[Future[Result], Ticket] = {}

    def __enter__(self) -> Lanes[Ticket, Result]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._pool is None:
            return
        if error is not None:
            for future in self._under_way:
                future.cancel()
            self._judge.model.cancel()  # type: ignore[attr-defined]
        self._pool.shutdown(cancel_futures=True)

    @property
    def free(self) -> bool:
        return len(self._under_way) < self.most

    @property
    def under_way(self) -> list[Ticket]:
        return [*self._under_way.values()]

    def start(self, ticket: Ticket, work: Callable[[], Result]) -> None:
        """Under way from now on; with one lane it is done at once, and raises what it raises."""
        if self._pool is not None:
            self._under_way[self._pool.submit(work)] = ticket
            return
        future: Future[Result] = Future()
        future.set_result(work())
        self._under_way[future] = ticket

    def finished(self) -> tuple[Ticket, Result]:
        """What is finished first; waits for it, and raises what it raised."""
        done, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
        future = next(future for future in self._under_way if future in done)
        return self._under_way.pop(future), future.result()
