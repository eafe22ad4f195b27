"""Names become objects; an unknown one lists the known."""

from __future__ import annotations

import pytest

from arena.backends import BACKENDS
from arena.backends.base import create_backend
from arena.domain import Contestant
from arena.errors import EnvironmentFault, UnknownName, UsageError
from arena.plugins import resolve


def test_an_unknown_name_lists_the_known_and_guesses() -> None:
    with pytest.raises(
        UnknownName, match=r"Unknown backend 'difusers': did you mean 'diffusers'\? known: diffusers, .*swatch"
    ):
        resolve("backend", BACKENDS, "difusers")


def test_a_package_that_does_not_import_is_said() -> None:
    with pytest.raises(EnvironmentFault, match="'x' needs a package that does not import here"):
        resolve("backend", {"x": "no_such_package.at_all:X"}, "x")


def test_settings_that_do_not_fit_are_said() -> None:
    with pytest.raises(UsageError, match=r"'A' do not fit the backend 'swatch': .*steps"):
        create_backend(Contestant("A", "swatch", {"steps": 3}))
