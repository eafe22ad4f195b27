"""The commits of a contestant: recorded once, kept when it is registered again, and no part of who it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from arena.bootstrap import Arena
from arena.domain import Contestant
from arena.errors import UsageError
from arena.services import commits, contestants

OLD, NEW = "a" * 40, "b" * 40


class Floating:
    """A backend of somebody's own that loads from a hub."""

    RUNNING = frozenset({"commits", "pause"})

    def __init__(self, commits: dict[str, str] | None = None, pause: float = 0.0):
        self.commits = {"lab/a": NEW, "lab/b": NEW} | (commits or {})


class Silent(Floating):
    RUNNING = frozenset({"pause"})


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"floating": Floating, "silent": Silent}
    monkeypatch.setattr("arena.backends.base.backend_class", kinds.__getitem__)
    monkeypatch.setattr("arena.services.contestants.backend_class", kinds.__getitem__)


def entry(**more: object) -> Contestant:
    return contestants.contestant({"name": "A", "backend": "floating", **more})


def test_what_was_loaded_first_is_recorded_and_stays(any_arena: Arena) -> None:
    [stored] = contestants.add(any_arena, [entry(commits={"lab/a": OLD})])
    commits.opened(any_arena, stored)
    recorded = any_arena.store.contestant("A")
    assert recorded.running["commits"] == {"lab/a": OLD, "lab/b": NEW} and recorded.fingerprint == stored.fingerprint
    [again] = contestants.add(any_arena, [entry(pause=1.0)])
    assert again.running == {"pause": 1.0, "commits": {"lab/a": OLD, "lab/b": NEW}}
    [same] = contestants.add(any_arena, [entry(commits={"lab/b": NEW})])
    assert same.running == {"commits": {"lab/a": OLD, "lab/b": NEW}}
    with pytest.raises(UsageError, match=r"'A' was loaded from the commit aaaaaaaaaaaa of 'lab/a', not bbbbbbbbbbbb"):
        contestants.add(any_arena, [entry(commits={"lab/a": NEW})])
    assert any_arena.store.contestant("A").running == same.running


def test_what_another_process_recorded_first_holds(any_arena: Arena) -> None:
    [stored] = contestants.add(any_arena, [entry()])
    any_arena.store.add_contestant(replace(stored, running={"commits": {"lab/a": OLD}, "pause": 2.0}))
    commits.opened(any_arena, stored)
    assert any_arena.store.contestant("A").running == {"commits": {"lab/a": OLD, "lab/b": NEW}, "pause": 2.0}


def test_one_that_takes_no_commits_gets_none(any_arena: Arena) -> None:
    [stored] = contestants.add(any_arena, [replace(entry(), backend="silent")])
    commits.opened(any_arena, stored)
    assert any_arena.store.contestant("A").running == {}
