"""Who may moderate: whoever knows the token. Compared in constant time, kept as a hash, tries are limited."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections import defaultdict, deque
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from arena.errors import EnvironmentFault, SettingsError, UsageError
from arena.services.moderation import LONGEST_NAME, Admin

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from arena.settings import Settings

TOKEN_FILE = "admin.sha256"
SHORTEST = 16
"""Characters of a token that a host makes up."""
LONGEST = 512
WINDOW = 60.0
EACH, ALL = 5, 60
"""Failed tries within WINDOW seconds, from one address and from all together."""


def new_token(settings: Settings) -> str:
    """A fresh token of 256 random bits; only its hash is kept, in the data folder. An older one no longer opens."""
    token = secrets.token_urlsafe(32)
    file = settings.data_dir / TOKEN_FILE
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        draft.touch(mode=0o600)
        draft.write_text(_digest(token).hex())
        draft.replace(file)
    except OSError as error:
        raise EnvironmentFault(
            f"The file {str(file)!r} cannot be written ({error.strerror}); mend the folder's permissions."
        ) from error
    return token


def is_set_up(settings: Settings) -> bool:
    """Whether anybody can log in at all."""
    return bool(settings.admin_token) or (settings.data_dir / TOKEN_FILE).exists()


def login(arena: Arena, token: str, name: str, address: str | None = None) -> Admin:
    """The admin of this name. Raises UsageError for a wrong token, too many tries or no name; never says the token."""
    name = " ".join(name.split())
    if not name or len(name) > LONGEST_NAME:
        raise UsageError(f"Give your name, {LONGEST_NAME} characters at most: it stands beside what you decide.")
    known = _known(arena.settings)
    if not known:
        raise UsageError(
            "No admin token is set; whoever runs this arena makes one with the command `arena admin-token`."
        )
    _tries.check(address or "here")
    given = _digest(token[:LONGEST])
    opens = [hmac.compare_digest(given, one) for one in known]  # every one is compared, whichever fits
    if not any(opens):
        _tries.add(address or "here")
        raise UsageError("That is not the token.")
    return Admin(name)


def _known(settings: Settings) -> list[bytes]:
    """The hashes of the tokens that open: the setting's and the one that was printed."""
    found = []
    if settings.admin_token:
        if len(settings.admin_token) < SHORTEST:
            raise SettingsError(f"The setting 'admin_token' is shorter than {SHORTEST} characters; make it longer.")
        found.append(_digest(settings.admin_token))
    if stored := _stored(settings.data_dir / TOKEN_FILE):
        found.append(stored)
    return found


def _stored(file: Path) -> bytes:
    try:
        return bytes.fromhex(file.read_text().strip())
    except FileNotFoundError:
        return b""
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"The file {str(file)!r} holds no usable token; make a new one with `arena admin-token`."
        ) from error


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class Tries:
    """Failed tries of the last minute, in this process."""

    def __init__(self) -> None:
        self.failed: defaultdict[str, deque[float]] = defaultdict(deque)
        self.lock = Lock()

    def check(self, address: str) -> None:
        """Raises UsageError, with the seconds to wait, where there were too many."""
        with self.lock:
            since = time.monotonic() - WINDOW
            for old in [who for who, times in self.failed.items() if not times or times[-1] < since]:
                del self.failed[old]
            own = [at for at in self.failed.get(address, ()) if at >= since]
            everyone = [at for times in self.failed.values() for at in times if at >= since]
            for times, most in ((own, EACH), (everyone, ALL)):
                if len(times) >= most:
                    wait = sorted(times)[-most] - since
                    raise UsageError(f"Too many wrong tokens; try again in {wait:.0f} seconds.")

    def add(self, address: str) -> None:
        with self.lock:
            self.failed[address].append(time.monotonic())

    def clear(self) -> None:
        with self.lock:
            self.failed.clear()


_tries = Tries()
