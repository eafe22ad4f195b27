"""Scores as `.eval_results/*.yaml`, which a hub shows on a model's page beside the data set they refer to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena.domain import Score
from arena.services import leaderboard

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from arena.services.leaderboard import Leaderboard, LeaderboardRow

FOLDER = "eval_results"
PLACE = ".eval_results/arena.yaml"
RATING = "people-rating"


def entries(arena: Arena, dataset: str) -> dict[str, list[dict[str, Any]]]:
    """Model -> its entries, as the hub's format wants them: people's rating, and the newest score of each protocol.

    `dataset`: the hub's id of the exported data set. Unscored stays out: missing is not zero.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    board = leaderboard.leaderboard(arena)
    found: dict[str, list[EvalResultEntry]] = {}
    for row in board.rows:
        if row.rating is not None:
            entry = EvalResultEntry(dataset, RATING, row.rating, notes=_interval(board, row))
            found.setdefault(row.name, []).append(entry)
    for score in _newest(arena.store.scores(limit=1_000_000)):
        when = score.at and score.at.isoformat(timespec="seconds")
        entry = EvalResultEntry(dataset, score.metric, score.value, date=when, notes=_protocol(score))
        found.setdefault(score.subject, []).append(entry)
    return {model: eval_result_entries_to_yaml(ones) for model, ones in found.items()}


def write(arena: Arena, dataset: str, folder: Path) -> int:
    """One folder for each model, to be copied into its repository; returns how many."""
    import yaml

    found = entries(arena, dataset)
    for number, (model, ones) in enumerate(sorted(found.items()), start=1):
        file = folder / FOLDER / f"{number:03d}-{_file_name(model)}" / PLACE
        file.parent.mkdir(parents=True)
        file.write_text(yaml.safe_dump(ones, sort_keys=False, allow_unicode=True), "utf-8")
    return len(found)


def _newest(scores: Iterable[Score]) -> Iterator[Score]:
    """Of scores, newest first, those of whole models that say something new."""
    seen = set()
    for score in scores:
        key = (score.subject, score.metric, score.protocol.fingerprint)
        if score.value is not None and score.contestant_id is not None and key not in seen:
            seen.add(key)
            yield score


def _interval(board: Leaderboard, row: LeaderboardRow) -> str:
    span = "" if row.low is None or row.high is None else f", 95% interval {row.low:.1f} to {row.high:.1f}"
    return f"Bradley-Terry, mean 1000 over {len(board.rows)} models, {row.votes} votes{span}"


def _protocol(score: Score) -> str:
    details = score.details
    known = [f"{name}={details[name]}" for name in ("n_real", "n_generated", "low", "high") if name in details]
    return " ".join([f"protocol {score.protocol.id}, fingerprint {score.protocol.fingerprint[:12]}", *known])


def _file_name(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-.")[:60] or "model"
