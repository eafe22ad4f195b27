"""Several threads ask through one event loop, which keeps to one number under way, ends with them, and can be ended."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from evaluators.judge.exchange import Exchange, Gates


def threads() -> int:
    return sum(thread.name == "judge-exchange" for thread in threading.enumerate())


def test_threads_share_the_gates_and_the_loop_ends_with_the_last() -> None:
    exchange = Exchange(3)
    under_way = most = 0

    async def work(gates: Gates) -> int:
        async def one() -> None:
            nonlocal under_way, most
            async with gates.under_way:
                under_way += 1
                most = max(most, under_way)
                await asyncio.sleep(0.02)
                under_way -= 1

        await asyncio.gather(*(one() for _ in range(6)))
        return 6

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: exchange.run(work), range(4))) == 24
    assert most == 3 and threads() == 0
    assert exchange.run(work) == 6, "another loop begins where the last has ended"


def test_what_work_raises_reaches_who_waits_for_it() -> None:
    async def work(_: Gates) -> None:
        raise ValueError("no key")

    with pytest.raises(ValueError, match="no key"):
        Exchange(1).run(work)
    assert threads() == 0


def test_cancelling_ends_all_that_is_under_way_and_cleans_up() -> None:
    exchange, begun, cleaned = Exchange(2), threading.Semaphore(0), []

    async def work(_: Gates) -> None:
        begun.release()
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(True)

    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(exchange.run, work) for _ in range(2)]
        for _ in waiting:
            begun.acquire(timeout=10)
        exchange.cancel()
        for one in waiting:
            with pytest.raises(CancelledError):
                one.result(timeout=10)
    assert time.monotonic() - started < 10 and len(cleaned) == 2 and threads() == 0
