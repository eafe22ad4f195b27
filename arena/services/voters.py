"""Voters: who is at the other end. An anonymous id, signed so that it cannot be made up."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from itsdangerous import BadSignature, Signer

from db.personal import Personal

if TYPE_CHECKING:
    from arena.bootstrap import Arena

PREFIX = "person:"


def new_voter_token(arena: Arena) -> str:
    """A fresh signed anonymous id, to be kept by the browser. Nothing is stored until its first battle."""
    return _signer(arena).sign(PREFIX + secrets.token_urlsafe(16)).decode()


def voter_id(arena: Arena, token: str | None) -> str | None:
    """The id inside a token; None when it is missing, cut or forged, or its voter asked to be forgotten."""
    if not token:
        return None
    try:
        found = _signer(arena).unsign(token).decode()
    except (BadSignature, UnicodeDecodeError):
        return None
    return found if found.startswith(PREFIX) and not Personal(arena.store).is_erased(found) else None


def _signer(arena: Arena) -> Signer:
    return Signer(arena.secret, salt="arena.voter")
