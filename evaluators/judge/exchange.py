"""An event loop for callers that wait: several threads may, and all together keep to one number under way at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

Found = TypeVar("Found")


class Gates(NamedTuple):
    """How many questions may be prepared, and how many of these under way: images are encoded while others wait."""

    prepared: asyncio.Semaphore
    under_way: asyncio.Semaphore


class _Loop(NamedTuple):
    loop: asyncio.AbstractEventLoop
    gates: Gates
    thread: threading.Thread


class Exchange:
    """Runs coroutines in a thread of its own, which is there as long as anyone waits for one.

    `concurrency`: of the gates, which all that run at the same time share.
    """

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._lock = threading.Lock()
        self._open: _Loop | None = None
        self._waiting: set[Future[Any]] = set()

    def run(self, work: Callable[[Gates], Coroutine[Any, Any, Found]]) -> Found:
        """What comes of the work. Raises what it raises, and CancelledError after `cancel`."""
        with self._lock:
            self._open = self._open or self._opened()
            future = asyncio.run_coroutine_threadsafe(work(self._open.gates), self._open.loop)
            self._waiting.add(future)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise
        finally:
            self._leave(future)

    def cancel(self) -> None:
        """Ends whatever is under way; whoever waits for it is told so by CancelledError."""
        with self._lock:
            for future in self._waiting:
                future.cancel()

    def _leave(self, future: Future[Any]) -> None:
        with self._lock:
            self._waiting.discard(future)
            done = None if self._waiting else self._open
            self._open = self._open if self._waiting else None
        if done is not None:
            done.loop.call_soon_threadsafe(done.loop.stop)
            done.thread.join()

    def _opened(self) -> _Loop:
        ready: Future[asyncio.AbstractEventLoop] = Future()
        thread = threading.Thread(target=_serve, args=(ready,), name="judge-exchange", daemon=True)
        thread.start()
        gates = Gates(asyncio.Semaphore(2 * self._concurrency), asyncio.Semaphore(self._concurrency))
        return _Loop(ready.result(), gates, thread)


def _serve(ready: Future[asyncio.AbstractEventLoop]) -> None:
    # Its end cancels what is left and waits for it.
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        ready.set_result(loop)
        loop.run_forever()
