"""Fixtures for the whole suite: prepared arenas on SQLite and on a real PostgreSQL, filled by the swatch backend."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arena.backends.base import create_backend
from arena.bootstrap import Arena, open_arena
from arena.domain import Contestant, Prompt
from arena.services import generation
from arena.settings import Settings, load_settings

# A shell lets what it starts in the background ignore Ctrl-C, and with it the commands that are to be interrupted here.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Nothing in the suite may reach a hub.
os.environ["HF_HUB_OFFLINE"] = "1"


def missing_in_ci(what: str) -> None:
    """Skip on a machine that lacks something; fail where CI promised it."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI promises it")
    pytest.skip(f"{what} is missing")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True, scope="module")
def _what_is_loaded_stays_loaded() -> Iterator[None]:
    """Libraries that a file loaded are millions of objects, which every later full collection would look through:
    by the end of the suite one took seconds. Frozen, they cost nothing."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _and_is_let_go_in_the_end() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the developer's machine leaks in: no ARENA_ variables, no arena.toml."""
    for name in [name for name in os.environ if name.startswith("ARENA_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path / "data", batch_size=4)


@pytest.fixture
def arena(settings: Settings) -> Arena:
    """An empty prepared arena on SQLite."""
    return open_arena(settings, prepare=True)


def fill_with_swatches(arena: Arena, contestants: int = 3, prompts: int = 6) -> Arena:
    """Contestants "Swatch A", "Swatch B", … with an image of every prompt."""
    arena.store.add_prompts(Prompt(f"a card number {n}", "cards" if n % 2 else "colour") for n in range(prompts))
    for n in range(contestants):
        arena.store.add_contestant(Contestant(f"Swatch {chr(65 + n)}", "swatch", {"tint": chr(65 + n)}))
    generation.fill(arena, generation.plan(arena), create_backend)
    return arena


@pytest.fixture
def seeded(arena: Arena) -> Arena:
    return fill_with_swatches(arena)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a fresh PostgreSQL server of this session's own."""
    bin_dir = _postgres_bin()
    if bin_dir is None:
        missing_in_ci("PostgreSQL (initdb)")
        raise AssertionError
    # A short folder: the socket's path may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    as_owner: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        as_owner = ["runuser", "-u", "postgres", "--"]
    port = free_port()
    data = folder / "data"
    subprocess.run(
        [*as_owner, str(bin_dir / "initdb"), "-D", str(data), "-A", "trust", "-U", "arena", "--no-sync"],
        check=True, capture_output=True, cwd=folder,
    )  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*as_owner, str(bin_dir / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder),
             "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
            stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
    try:
        _await_port(port, folder / "log")
        yield f"postgresql://arena@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def _postgres_bin() -> Path | None:
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    candidates = [Path(found).parent] if found else []
    return next((folder for folder in [*folders, *candidates] if (folder / "initdb").exists()), None)


def _await_port(port: int, log: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            time.sleep(0.3)  # it listens a moment before it is ready
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"PostgreSQL did not start: {log.read_text()}")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def any_arena(request: pytest.FixtureRequest, tmp_path: Path) -> Arena:
    """An empty prepared arena, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return open_arena(load_settings(data_dir=tmp_path / "data", batch_size=4), prepare=True)
    from sqlalchemy import create_engine, text

    url = request.getfixturevalue("postgres_url")
    name = f"arena_{time.monotonic_ns()}"
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    own = url.rpartition("/")[0] + "/" + name
    opened = open_arena(load_settings(data_dir=tmp_path / "data", database_url=own, batch_size=4), prepare=True)
    request.addfinalizer(opened.store.engine.dispose)
    return opened
