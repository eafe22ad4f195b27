"""The contract of a backend, and how one is made from a Contestant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from arena.backends import BACKENDS
from arena.domain import Contestant
from arena.errors import UsageError
from arena.plugins import resolve

if TYPE_CHECKING:
    from PIL.Image import Image


class Backend(Protocol):
    """Made once per contestant with its settings as keyword arguments; heavy loading happens there."""

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image]:
        """One RGB image per (prompt, seed), in order: the same pair gives the same image again.

        Raises GenerationError with the reason. The caller then asks for the images one by one.
        """
        ...


def create_backend(contestant: Contestant) -> Backend:
    """The contestant's backend, loaded.

    Raises UnknownName, UsageError for settings it does not take, or the backend's own error.
    """
    make = resolve("backend", BACKENDS, contestant.backend)
    try:
        return make(**contestant.settings)
    except TypeError as error:
        raise UsageError(
            f"The settings {dict(contestant.settings)} of {contestant.name!r} do not fit "
            f"the backend {contestant.backend!r}: {error}."
        ) from error
