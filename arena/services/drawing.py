"""From cells to what came of each: in batches on this machine, or many at once from others; within a budget.

cells > backend.generate (batches, halved when memory is short; or threads) > Outcome      each with its cost
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arena.backends.base import Backend, Drawn
from arena.backends.prices import Cost
from arena.domain import Prompt
from arena.errors import ArenaError, EndpointError, GenerationError, OutOfMemory

if TYPE_CHECKING:
    from PIL.Image import Image

    from arena.services.accounts import Account

GATHER_SECONDS = 0.5
"""Images that come one by one are stored together after so long, so that a commit holds more than one."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One image to make."""

    prompt: Prompt
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """An image or a failure, the seconds it took (of a batch: its share), and what it cost where that is known."""

    cell: Cell
    result: Image | GenerationError
    seconds: float
    cost: Cost | None = None


def draw(backend: Backend, todo: Sequence[Cell], batch_size: int, account: Account) -> Iterator[list[Outcome]]:
    """Groups of outcomes as they come, until all is done or the budget does not allow another image.

    Raises EndpointError, after the last outcome, where no further image can be had.
    """
    at_once = getattr(backend, "concurrency", 1)
    if at_once > 1:
        return _many_at_once(backend, todo, at_once, account)
    return _in_batches(backend, todo, batch_size, account)


def _in_batches(backend: Backend, todo: Sequence[Cell], size: int, account: Account) -> Iterator[list[Outcome]]:
    left = deque(todo)
    while left:
        batch, held = _affordable(left, size, account)
        if not batch:
            return
        started = time.perf_counter()
        try:
            results = _generated(backend, batch)
        except OutOfMemory as error:
            if len(batch) > 1:
                size = len(batch) // 2
                left.extendleft(reversed(batch))
                for amount in held:
                    account.release(amount)
                continue
            results = [error]
        except BaseException:
            for amount in held:
                account.release(amount)
            raise
        seconds = (time.perf_counter() - started) / len(batch)
        yield [
            _outcome(cell, result, seconds, account, amount)
            for cell, result, amount in zip(batch, results, held, strict=True)
        ]


def _affordable(left: deque[Cell], size: int, account: Account) -> tuple[list[Cell], list[float]]:
    """The next cells, taken off the queue, and what is held for each: as many as fit into a batch and the budget."""
    batch: list[Cell] = []
    held: list[float] = []
    while left and len(batch) < size:
        amount = account.hold(left[0].prompt.text)
        if amount is None:
            break
        batch.append(left.popleft())
        held.append(amount)
    return batch, held


def _generated(backend: Backend, batch: Sequence[Cell]) -> Sequence[Image | Drawn | GenerationError]:
    """One result per cell; when a batch fails its cells are tried alone, so that only the guilty ones fail."""
    try:
        results = backend.generate([cell.prompt.text for cell in batch], [cell.seed for cell in batch])
        if len(results) != len(batch):
            raise GenerationError(f"the backend returned {len(results)} images for {len(batch)} prompts")
        return results
    except OutOfMemory:
        raise
    except Exception as error:
        if isinstance(error, ArenaError) and not isinstance(error, GenerationError):
            raise
        if len(batch) == 1:
            return [error if isinstance(error, GenerationError) else _unexpected(error)]
        return [result for cell in batch for result in _alone(backend, cell)]


def _unexpected(error: Exception) -> GenerationError:
    """A backend of somebody's own may raise anything; one image is no reason to lose the others."""
    reason = (str(error).strip().splitlines() or [""])[0]
    return GenerationError(f"{type(error).__name__}: {reason}", paid=True)


def _alone(backend: Backend, cell: Cell) -> Sequence[Image | Drawn | GenerationError]:
    try:
        return _generated(backend, [cell])
    except OutOfMemory as error:
        return [error]


def _outcome(
    cell: Cell, result: Image | Drawn | GenerationError, seconds: float, account: Account, held: float
) -> Outcome:
    if isinstance(result, Drawn) and result.seconds is not None:
        seconds = result.seconds
    cost = account.settle(held, result, seconds)
    return Outcome(cell, _sound(result), seconds, cost)


def _sound(result: Image | Drawn | GenerationError) -> Image | GenerationError:
    from arena.backends.pictures import checked

    if isinstance(result, ArenaError):
        return result
    try:
        return checked(result.image if isinstance(result, Drawn) else result)
    except GenerationError as error:
        return error


def _many_at_once(backend: Backend, todo: Sequence[Cell], at_once: int, account: Account) -> Iterator[list[Outcome]]:
    left = deque(todo)
    under_way: dict[Future[tuple[Image | Drawn | GenerationError, float]], tuple[Cell, float]] = {}
    ended: EndpointError | None = None
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="drawing")
    gathered: list[Outcome] = []
    since = time.monotonic()
    try:
        while True:
            while left and ended is None and len(under_way) < at_once:
                batch, held = _affordable(left, 1, account)
                if not batch:
                    break
                under_way[pool.submit(_timed, backend, batch[0])] = (batch[0], held[0])
            if not under_way:
                break
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                cell, held_usd = under_way.pop(future)
                try:
                    result, seconds = future.result()
                except EndpointError as error:
                    account.release(held_usd)
                    ended = error
                    continue
                gathered.append(_outcome(cell, result, seconds, account, held_usd))
            if gathered and (time.monotonic() - since > GATHER_SECONDS or len(gathered) >= at_once):
                yield gathered
                gathered, since = [], time.monotonic()
        if gathered:
            yield gathered
        if ended is not None:
            raise ended
    finally:
        # Whoever was interrupted does not wait for answers: closing the backend ends them.
        pool.shutdown(wait=not under_way, cancel_futures=True)


def _timed(backend: Backend, cell: Cell) -> tuple[Image | Drawn | GenerationError, float]:
    started = time.perf_counter()
    [result] = _generated(backend, [cell])
    return result, time.perf_counter() - started
