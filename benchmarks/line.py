"""A line between browser and server that can be slow, and can be cut: a TCP proxy in a thread of its own.

`Line(port, delay)` listens on `line.port` and passes everything on after `delay` seconds, so that a round trip takes
twice as long more; how much it is, `round_trip` measures. `cut` drops every connection and refuses new ones until
`mend`.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import suppress

CHUNK = 1 << 16


class Line:
    def __init__(self, server: int, delay: float = 0.0):
        self.server, self.delay = server, delay
        self.whole = True
        self.port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen()), daemon=True)
        self._thread.start()
        self._ready.wait()

    def cut(self) -> None:
        self.whole = False
        self._loop.call_soon_threadsafe(self._drop)

    def mend(self) -> None:
        self.whole = True

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    async def _listen(self) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        listener = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = int(listener.sockets[0].getsockname()[1])
        self._ready.set()
        await self._closing.wait()
        listener.close()
        self._drop()
        await asyncio.sleep(0.2 + self.delay)  # sockets are closed by the loop, which ends here

    def _drop(self) -> None:
        for writer in [*self._open]:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.whole:
            writer.transport.abort()
            return
        with suppress(OSError, asyncio.CancelledError):  # the end of the line ends its calls
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.server)
            self._open |= {writer, far_writer}
            try:
                await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
            finally:
                self._open -= {writer, far_writer}
                far_writer.close()
        writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bytes leave `delay` after they came, however many are on their way."""
        travelling: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arrival = asyncio.create_task(self._deliver(travelling, writer))
        with suppress(OSError):
            while content := await reader.read(CHUNK):
                travelling.put_nowait((self._loop.time() + self.delay, content))
        travelling.put_nowait((self._loop.time() + self.delay, b""))
        await arrival

    async def _deliver(self, travelling: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                due, content = await travelling.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                if not content:
                    break
                writer.write(content)
                await writer.drain()
        with suppress(OSError):
            writer.close()


def round_trip(port: int, times: int = 9) -> float:
    """Seconds, median: a small HTTP request on a connection that stands already."""
    took = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(times):
            started = time.perf_counter()
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            connection.recv(CHUNK)
            took.append(time.perf_counter() - started)
    return sorted(took)[times // 2]
