"""A real HTTP server on this machine that draws, and misbehaves as a prompt tells it to."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

Answer = tuple[int, dict[str, str], "bytes | Iterator[bytes]"]


def png(seed: int = 7, size: tuple[int, int] = (16, 16), form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (seed % 200 + 20, seed // 200 % 200 + 20, 90)).save(buffer, form)
    return buffer.getvalue()


def answered(item: dict[str, Any], **more: Any) -> Answer:
    return 200, {"content-type": "application/json"}, json.dumps({"created": 1, "data": [item], **more}).encode()


def encoded(content: bytes) -> dict[str, Any]:
    return {"b64_json": base64.b64encode(content).decode()}


class ImageServer:
    """`answer(body, headers) -> (status, headers, bytes)` for POST; `pages[path]` for GET. Everything asked is kept."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.at_once = self.most_at_once = 0
        self.pages: dict[str, Answer] = {}
        self.answer: Callable[[Any, dict[str, str]], Answer] = lambda body, _: answered(encoded(png(body["seed"])))
        self._count = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer._enter()
                try:
                    self._send(outer._recorded(self.path, self.headers, body, lambda heads: outer.answer(body, heads)))
                finally:
                    outer._leave()

            def do_GET(self) -> None:
                missing: Answer = (404, {}, b"nothing here")
                path = self.path.partition("?")[0]
                self._send(outer._recorded(self.path, self.headers, None, lambda _: outer.pages.get(path, missing)))

            def _send(self, answer: Answer) -> None:
                status, headers, content = answer
                self.send_response(status)
                if isinstance(content, bytes):
                    headers = {"content-length": str(len(content)), **headers}
                    content = iter([content])
                else:
                    headers = {"connection": "close", **headers}
                    self.close_connection = True
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    for chunk in content:
                        self.wfile.write(chunk)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                pass  # a client that hangs up is what several tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def _recorded(self, path: str, headers: Any, body: Any, answer: Callable[[dict[str, str]], Answer]) -> Answer:
        plain = {name.lower(): value for name, value in headers.items()}
        with self._count:
            self.asked.append((path, plain, body))
        return answer(plain)

    def _enter(self) -> None:
        with self._count:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)

    def _leave(self) -> None:
        with self._count:
            self.at_once -= 1

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[ImageServer]:
    running = ImageServer()
    yield running
    running.close()


def endless(chunk: bytes = b" " * 65536, pause: float = 0.0) -> Iterator[bytes]:
    """A body that does not end by itself (500 MB, then it does)."""
    for _ in range(500_000_000 // len(chunk)):
        time.sleep(pause)
        yield chunk
