"""A hub of this test's own: real folders behind the addresses that huggingface_hub asks, gated or not."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Repo:
    """A repository: a folder for each commit, the newest last; `token`: what a gated one wants."""

    commits: dict[str, Path] = field(default_factory=dict)
    token: str | None = None


class HubServer:
    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.asked: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(body=True)

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def _answer(self, body: bool) -> None:
                path, sent = self.path.partition("?")[0], self.headers.get("authorization")
                outer.asked.append((path, sent))
                status, headers, content = outer.found(path, sent)
                self.send_response(status, headers.pop("reason", None))
                for name, value in {**headers, "content-length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def found(self, path: str, sent: str | None) -> tuple[int, dict[str, str], bytes]:
        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        name, rest = ("/".join(parts[2:4]), parts[4:]) if api else ("/".join(parts[:2]), parts[2:])
        repo = self.repos.get(name)
        if repo is None:
            return self._no(404, "RepoNotFound")
        if repo.token is not None and sent != f"Bearer {repo.token}":
            return self._no(403, "GatedRepo")
        revision = rest[1] if len(rest) > 1 else "main"
        sha = [*repo.commits][-1] if revision == "main" else revision
        if sha not in repo.commits:
            return self._no(404, "RevisionNotFound")
        folder = repo.commits[sha]
        files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
        if api and rest[:1] == ["tree"]:
            listed = [
                {"type": "file", "path": file, "size": (folder / file).stat().st_size, "oid": file} for file in files
            ]
            return 200, {"content-type": "application/json"}, json.dumps(listed).encode()
        if api:
            told = {"id": name, "modelId": name, "sha": sha, "siblings": [{"rfilename": file} for file in files]}
            return 200, {"content-type": "application/json"}, json.dumps(told).encode()
        file = folder / "/".join(rest[2:])
        if not file.is_file():
            return self._no(404, "EntryNotFound")
        content = file.read_bytes()
        return 200, {"x-repo-commit": sha, "etag": f'"{hashlib.sha256(content).hexdigest()}"'}, content

    @staticmethod
    def _no(status: int, code: str) -> tuple[int, dict[str, str], bytes]:
        return status, {"x-error-code": code, "x-error-message": code}, json.dumps({"error": code}).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
