"""The admin's token: hashed, compared whole, limited in tries, never said again."""

from __future__ import annotations

import stat

import pytest

from arena.bootstrap import Arena, open_arena
from arena.errors import SettingsError, UsageError
from arena.services import admin


@pytest.fixture(autouse=True)
def _no_tries_yet() -> None:
    admin._tries.clear()


def test_a_printed_token_opens_and_only_its_hash_is_kept(arena: Arena) -> None:
    assert not admin.is_set_up(arena.settings)
    token = admin.new_token(arena.settings)
    file = arena.settings.data_dir / admin.TOKEN_FILE
    assert admin.is_set_up(arena.settings) and token not in file.read_text() and len(token) >= 43
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert admin.login(arena, token, "  Ada  Lovelace ").name == "Ada Lovelace"
    again = admin.new_token(arena.settings)
    assert admin.login(arena, again, "Ada").name == "Ada"
    with pytest.raises(UsageError, match="not the token"):
        admin.login(arena, token, "Ada")


def test_the_settings_token_opens_too_and_is_never_shown(arena: Arena) -> None:
    settings = arena.settings.model_copy(update={"admin_token": "a long enough secret"})
    host = open_arena(settings)
    assert admin.login(host, "a long enough secret", "Ada").name == "Ada"
    assert "a long enough secret" not in repr(settings) + str(host)
    assert settings.as_environment()["ARENA_ADMIN_TOKEN"] == "a long enough secret"  # for the page's own process
    short = open_arena(arena.settings.model_copy(update={"admin_token": "short"}))
    with pytest.raises(SettingsError, match="shorter than 16") as refused:
        admin.login(short, "short", "Ada")
    assert "'short'" not in str(refused.value)
    for one in (host, short):
        one.store.engine.dispose()


def test_without_a_token_nobody_gets_in(arena: Arena) -> None:
    for given in ("", "x", "None"):
        with pytest.raises(UsageError, match="No admin token is set"):
            admin.login(arena, given, "Ada")


@pytest.mark.parametrize("name", ["", "  ", "x" * 65])
def test_an_admin_has_a_name(arena: Arena, name: str) -> None:
    token = admin.new_token(arena.settings)
    with pytest.raises(UsageError, match="Give your name"):
        admin.login(arena, token, name)


def test_tries_are_limited_for_each_address_and_in_all(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    token = admin.new_token(arena.settings)
    clock = [1000.0]
    monkeypatch.setattr(admin.time, "monotonic", lambda: clock[0])
    for _ in range(admin.EACH):
        with pytest.raises(UsageError, match="not the token"):
            admin.login(arena, "wrong", "Eve", "1.2.3.4")
    with pytest.raises(UsageError, match="try again in 60 seconds"):
        admin.login(arena, token, "Eve", "1.2.3.4")
    assert admin.login(arena, token, "Ada", "5.6.7.8")
    clock[0] += 61
    assert admin.login(arena, token, "Ada", "1.2.3.4")
    for n in range(admin.ALL):
        with pytest.raises(UsageError, match="not the token"):
            admin.login(arena, "wrong", "Eve", f"host-{n}")
    with pytest.raises(UsageError, match="Too many wrong tokens"):
        admin.login(arena, token, "Ada", "5.6.7.8")


def test_a_damaged_file_is_said(arena: Arena) -> None:
    (arena.settings.data_dir / admin.TOKEN_FILE).write_text("no hex")
    with pytest.raises(SettingsError, match="holds no usable token"):
        admin.login(arena, "x", "Ada")
