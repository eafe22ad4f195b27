"""Which judge is asked: from a name such as "teddy", "local:FOLDER" or "openai:MODEL" to the judge itself."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena.domain import JudgeCard, fingerprint
from arena.errors import SettingsError, UnknownName, UsageError
from arena.keys import holds_key
from arena.plugins import known_names, resolve
from arena.settings import Settings, variable_name
from evaluators.judge import JUDGES

if TYPE_CHECKING:
    from evaluators.judge.modes import Judge

KIND = "judge"
ENDPOINT = "openai"


def known() -> list[str]:
    """The names that a judge's name may begin with."""
    return known_names(KIND, JUDGES)


def parts(source: str) -> tuple[str, tuple[str, ...]]:
    """The name in the table and what follows its colon, if anything. An existing folder is a local model."""
    if Path(source).is_dir():
        return "local", (source,)
    name, colon, what = source.partition(":")
    return name, (what,) if colon else ()


def checked_name(source: str) -> None:
    """Raises UnknownName for a judge that no table knows; loads nothing."""
    name, _ = parts(source)
    if name not in known():
        raise UnknownName(KIND, source, known())


def checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options. Raises SettingsError where a key stands in place of the variable that holds it, or inside an option
    such as `extra`, and UsageError for broken JSON, which could hold one."""
    for name, value in options.items():
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            raise UsageError(f"The option {name!r} of the judge begins as JSON and is none (not shown); correct it.")
        if "key" in name or "token" in name.split("_"):
            variable_name(str(value))
        elif holds_key(name, value):
            raise SettingsError(
                f"The option {name!r} of the judge holds a key or a password (not shown); export it in an environment "
                "variable and give that variable's NAME as key_variable."
            )
    return dict(options)


def prepare(source: str, options: Mapping[str, Any], settings: Settings, budget_usd: float | None = None) -> None:
    """Begin to open a judge behind an endpoint, in a thread: its first question takes as long as any, and other things
    can be done meanwhile. `open_judge` of the same waits for it, and raises what went wrong."""
    if parts(source)[0] != ENDPOINT:
        return
    from evaluators.judge.openai_http import load

    load()  # in two threads at once imports take as long, and the question would wait for both
    opening: Future[Judge] = Future()

    def work() -> None:
        try:
            opening.set_result(_opened(source, options, settings, budget_usd))
        except BaseException as error:
            opening.set_exception(error)

    _prepared[_key(source, options, budget_usd)] = opening
    threading.Thread(target=work, name="judge-opening", daemon=True).start()


_prepared: dict[str, Future[Judge]] = {}


def _key(source: str, options: Mapping[str, Any], budget_usd: float | None) -> str:
    return fingerprint(source=source, options=dict(options), budget_usd=budget_usd)


def open_judge(source: str, options: Mapping[str, Any], settings: Settings, budget_usd: float | None = None) -> Judge:
    """The judge, loaded; its model may be heavy. An endpoint with prices keeps a budget itself, before it asks.

    Raises UnknownName, UsageError for options it does not take, or the model's own error.
    """
    opening = _prepared.pop(_key(source, options, budget_usd), None)
    return _opened(source, options, settings, budget_usd) if opening is None else opening.result()


def _opened(source: str, options: Mapping[str, Any], settings: Settings, budget_usd: float | None) -> Judge:
    from evaluators.judge.modes import Judge

    name, what = parts(source)
    make = resolve(KIND, JUDGES, name)
    known = checked_options(options)
    if name == ENDPOINT and budget_usd is not None and "prices" in known:
        known.setdefault("limit_usd", budget_usd)
    try:
        model = make(*what, **known)
    except TypeError as error:
        raise UsageError(f"The judge {source!r} with the options {dict(options)} does not fit: {error}.") from error
    if settings.threads and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(settings.threads)
    return Judge(model)


def card(source: str, judge: Judge) -> JudgeCard:
    """The judge as the ledger knows it."""
    return JudgeCard(judge.voter_id, source, judge.settings)
