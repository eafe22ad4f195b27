"""From settings to the assembled Arena: the only module that knows every layer."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from arena.errors import EnvironmentFault
from arena.settings import Settings, load_settings
from db import engine as engines
from db.blobs import BlobStore, open_blobs
from db.store import Store

SECRET_FILE = "secret.key"


@dataclass(frozen=True)
class Arena:
    """Everything a service needs. Open one per process; it is safe to share between threads."""

    settings: Settings
    store: Store
    blobs: BlobStore
    secret: str


def open_arena(settings: Settings | None = None, *, prepare: bool = False) -> Arena:
    """The arena of these settings.

    `prepare` makes the folders and brings the database to this version; without it, a database that is missing,
    older or newer is refused with a DatabaseError that says what to do.
    """
    settings = settings or load_settings()
    if prepare:
        _make_folders(settings)
    engine = engines.open_engine(settings.url)
    if prepare:
        engines.migrate(engine)
    else:
        engines.check(engine)
    blobs = open_blobs(settings.images_url, settings.images_dir)
    return Arena(settings, Store(engine), blobs, read_secret(settings.data_dir))


def _make_folders(settings: Settings) -> None:
    for folder in (settings.data_dir, settings.images_dir, settings.cache_dir):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFault(
                f"The folder {str(folder)!r} cannot be made ({error.strerror}); set data_dir to another."
            ) from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise EnvironmentFault(f"The folder {str(folder)!r} cannot be written; set data_dir to one that can.")


def read_secret(data_dir: Path) -> str:
    """The key that signs voters' ids, made at the first call and readable by its owner only.

    Written beside its place and linked there, so that two processes that start at once end up with one key.
    """
    file = data_dir / SECRET_FILE
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        if not file.exists():
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_hex(32))
            try:
                os.link(draft, file)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return file.read_text().strip()
    except OSError as error:
        raise EnvironmentFault(
            f"The key {str(file)!r} that signs voters' ids cannot be read or made ({error.strerror}); "
            "mend the folder's permissions."
        ) from error
