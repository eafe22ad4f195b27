"""The contract of a backend, what it may say of itself, and how one is made from a Contestant."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from arena.backends import BACKENDS
from arena.backends.prices import Tokens
from arena.domain import FOLDER_BACKEND, Contestant
from arena.errors import GenerationError, UsageError
from arena.keys import without_keys
from arena.plugins import resolve

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Drawn:
    """An image with what its maker says of it: what it cost in USD, the tokens it took, seconds of its own."""

    image: Image
    cost_usd: float | None = None
    tokens: Tokens | None = None
    seconds: float | None = None


BATCH_SIZE = "batch_size"
"""A running setting of every backend: how many images at once, instead of the arena's setting of that name. It is not
handed to the constructor, unless that has an argument of this name."""


class Backend(Protocol):
    """Made once per contestant with its settings as keyword arguments; heavy loading happens there.

    The annotations of the constructor are checked before a contestant is stored. A class may also say:

    - `RUNNING`: names of arguments that change how it runs and not what it draws. They are no part of the contestant's
      identity, and may be changed later. (none)
    - `here`: it computes on this machine, so that its seconds cost what this machine costs. (False)
    - `concurrency`, on the object: it waits for others rather than computes, so this many calls of `generate`, each
      with one image, are under way at once, from threads. (1: batches, one after the other)
    - `close()`, on the object: called once, after the last image.
    - `prefetch(settings)`, static: gets what a contestant's backend will load onto this machine, while another one
      draws. `settings` are the constructor's arguments. What it raises is not heeded: the constructor will say it.
    - `commits`, on the object, with an argument of that name in RUNNING: which commits of a hub it loaded where none
      was pinned, by hub id. They are recorded and given to it from then on, so that a contestant never changes.
    """

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Sequence[Image | Drawn | GenerationError]:
        """One RGB image per (prompt, seed), in order: the same pair gives the same image again.

        What failed for one of them alone stands in its place as a GenerationError. Raises GenerationError with the
        reason if all failed; the caller then asks for the images one by one, and after OutOfMemory for half as many at
        once. Raises EndpointError if no further image can be had: nothing is stored for these then.
        """
        ...


def backend_class(name: str) -> Any:
    """The class behind a backend's name. Raises UnknownName, or EnvironmentFault where it does not import.

    Raises UsageError for the one that only holds imported images.
    """
    if name == FOLDER_BACKEND:
        raise UsageError(
            "A model of the backend 'folder' draws nothing: its images are imported, with `arena images import`."
        )
    return resolve("backend", BACKENDS, name)


def create_backend(contestant: Contestant) -> Backend:
    """The contestant's backend, loaded.

    Raises UnknownName, UsageError for settings it does not take, or the backend's own error.
    """
    make = backend_class(contestant.backend)
    try:
        return make(**contestant.settings, **_own(make, contestant.running))
    except TypeError as error:
        raise UsageError(
            f"The settings {without_keys(dict(contestant.settings))} of {contestant.name!r} do not fit "
            f"the backend {contestant.backend!r}: {error}."
        ) from error


def prefetch(contestant: Contestant) -> None:
    """Have ready what the contestant's backend will load, where its class knows how. Raises whatever that raises."""
    make = backend_class(contestant.backend)
    if fetch := getattr(make, "prefetch", None):
        fetch({**contestant.settings, **_own(make, contestant.running)})


@dataclass(frozen=True, slots=True)
class BadSetting(Exception):
    """A setting that a backend does not take, by name ("" for one that is missing), and why."""

    name: str
    reason: str


def split_settings(kind: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was given as (settings, running), checked against the annotations of the backend's constructor.

    Nothing is loaded. Raises BadSetting.
    """
    size = {name: value for name, value in given.items() if name not in _own(kind, given)}
    if size and (type(size[BATCH_SIZE]) is not int or size[BATCH_SIZE] < 1):
        raise BadSetting(BATCH_SIZE, f"the value {size[BATCH_SIZE]!r}: it is a whole number from 1 upwards")
    given = _own(kind, given)
    parameters = inspect.signature(kind).parameters
    if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        for name in given:
            if name not in parameters:
                raise BadSetting(name, f"there is no such setting; this backend takes {', '.join(parameters)}")
    for name, one in parameters.items():
        needed = one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        if needed and name not in given:
            raise BadSetting("", f"the setting {name!r} is missing")
    _check_types(kind, given)
    running = getattr(kind, "RUNNING", frozenset())
    return (
        {name: value for name, value in given.items() if name not in running},
        {name: value for name, value in given.items() if name in running} | size,
    )


def _own(kind: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """What goes to the constructor."""
    named = BATCH_SIZE in inspect.signature(kind).parameters
    return {name: value for name, value in given.items() if name != BATCH_SIZE or named}


def _check_types(kind: Any, given: Mapping[str, Any]) -> None:
    hints = get_type_hints(kind.__init__, include_extras=True)
    wanted = {name: (hints[name], ...) for name in given if name in hints}
    # Such names as model_ and schema are reserved by pydantic's own models, so the fields get a prefix.
    model = create_model(
        "Settings",
        __config__=ConfigDict(strict=True, arbitrary_types_allowed=True),
        **{f"x_{name}": hint for name, hint in wanted.items()},  # type: ignore[call-overload]
    )
    try:
        model(**{f"x_{name}": given[name] for name in wanted})
    except ValidationError as error:
        first = error.errors()[0]
        name, *inner = (str(part) for part in first["loc"])
        where = "".join(f"[{part}]" for part in inner if not part.isupper())
        raise BadSetting(name.removeprefix("x_"), f"the value {first['input']!r}{where and ' at ' + where}: "
                         f"{first['msg'][:1].lower()}{first['msg'][1:]}") from error  # fmt: skip
