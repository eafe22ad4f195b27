"""Doctor: what is installed, which weights are found, what is missing and how to get it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from arena.errors import ArenaError
from arena.settings import Settings

REQUIRED = ("streamlit", "sqlalchemy", "alembic", "scipy", "pandas", "pillow", "torch", "torchvision", "torchmetrics",
            "torch-fidelity", "diffusers", "transformers", "open-clip-torch")  # fmt: skip
OPTIONAL = {"psycopg": "pip install 'psycopg[binary]' to keep the arena in PostgreSQL"}
FREE_BYTES = 2 * 10**9


class Verdict(StrEnum):
    OK = "ok"
    MISSING = "missing"
    OPTIONAL = "optional"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what was found, and what to do when it is not as it should be."""

    subject: str
    verdict: Verdict
    found: str
    remedy: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Everything the arena needs, in the order in which it is needed. Imports torch: not for the page's process."""
    return [
        _python(),
        *(_package(name) for name in REQUIRED),
        *(_optional(name, remedy) for name, remedy in OPTIONAL.items()),
        _torch_pair(),
        _device(),
        _inception(settings),
        *_other_networks(),
        *_teddies(),
        _data_dir(settings),
        _database(settings),
        _port(settings),
    ]


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    fits = sys.version_info >= (3, 11)
    return Finding("Python", Verdict.OK if fits else Verdict.MISSING, found, "" if fits else "use Python 3.11 or newer")


def _package(name: str) -> Finding:
    try:
        return Finding(name, Verdict.OK, version(name))
    except PackageNotFoundError:
        return Finding(name, Verdict.MISSING, "not installed", f"make install, or pip install {name}")


def _optional(name: str, remedy: str) -> Finding:
    found = _package(name)
    return found if found.verdict is Verdict.OK else Finding(name, Verdict.OPTIONAL, "not installed", remedy)


def _torch_pair() -> Finding:
    subject = "torch with torchvision"
    try:
        import_module("torchvision")
        return Finding(subject, Verdict.OK, "import together")
    except Exception as error:  # a mismatched pair raises RuntimeError or OSError from native code
        reason = str(error).strip().splitlines()[0]
        return Finding(subject, Verdict.MISSING, reason, "pip install torch==2.15.0 torchvision==0.29.2 (a pair)")


def _device() -> Finding:
    try:
        torch = import_module("torch")
    except Exception as error:
        return Finding("accelerator", Verdict.OPTIONAL, str(error), "")
    if torch.cuda.is_available():
        return Finding("accelerator", Verdict.OK, torch.cuda.get_device_name(0))
    return Finding("accelerator", Verdict.OPTIONAL, f"none; {os.cpu_count()} CPU cores", "the teddies need none")


def _inception(settings: Settings) -> Finding:
    from evaluators.weights import find_inception

    try:
        found = find_inception(settings.inception_weights)
    except ArenaError as error:
        return Finding("FID's Inception weights", Verdict.MISSING, "not found", str(error))
    return Finding("FID's Inception weights", Verdict.OK, f"{found.path} (sha256 {found.sha256[:12]}…)")


def _other_networks() -> list[Finding]:
    """Weights of metrics beyond FID; nothing is downloaded."""
    from evaluators import weights

    findings = []
    for name, source in weights.SOURCES.items():
        if name == weights.INCEPTION:
            continue
        try:
            found = weights.find(name, download=False)
            findings.append(Finding(source.title, Verdict.OK, f"{found.path} (sha256 {found.sha256[:12]}…)"))
        except ArenaError:
            findings.append(Finding(source.title, Verdict.OPTIONAL, "not found", source.remedy))
    return findings


def _teddies() -> list[Finding]:
    from arena.teddy.contestants import TEDDIES

    findings = []
    for teddy in TEDDIES:
        there = (teddy.weights / "model_index.json").is_file()
        found = str(teddy.weights) if there else f"{teddy.weights} is missing"
        verdict = Verdict.OK if there else Verdict.MISSING
        findings.append(Finding(f"weights of {teddy.name}", verdict, found, "" if there else "reinstall the package"))
    return findings


def _data_dir(settings: Settings) -> Finding:
    folder = settings.data_dir
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        return Finding(
            "data folder", Verdict.MISSING, f"{existing} is read-only", "set data_dir to one that can be written"
        )
    free = shutil.disk_usage(existing).free
    enough = free >= FREE_BYTES
    found = f"{folder}, {free / 1e9:.0f} GB free"
    return Finding("data folder", Verdict.OK if enough else Verdict.MISSING, found, "" if enough else "make room")


def _database(settings: Settings) -> Finding:
    from db import engine as engines

    if not settings.database_url and not (settings.data_dir / "arena.sqlite").exists():
        return Finding("database", Verdict.OPTIONAL, "not made yet", "arena init, or make demo")
    try:
        engine = engines.open_engine(settings.url)
        engines.check(engine)
    except ArenaError as error:
        return Finding("database", Verdict.MISSING, str(error), "see the sentence")
    return Finding("database", Verdict.OK, f"{engines.shown(engine)}, revision {engines.HEAD}")


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError:
        return False
    return True


def _port(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    if port_is_free(settings.host, settings.port):
        return Finding("port", Verdict.OK, f"{where} is free")
    return Finding("port", Verdict.OPTIONAL, f"{where} is in use", "fine if that is this arena; otherwise --port")
