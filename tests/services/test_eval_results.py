"""Scores for pages of models, read back by the hub's own package."""

from __future__ import annotations

from pathlib import Path

import yaml
from huggingface_hub import EvalResultEntry
from huggingface_hub._eval_results import parse_eval_result_entries

from arena.bootstrap import Arena
from arena.domain import Protocol, Score
from arena.services import battles, eval_results, leaderboard

PROTOCOL = Protocol("fid-clean", "1", {"network": "inception"})


def read(file: Path) -> list[EvalResultEntry]:
    return parse_eval_result_entries(yaml.safe_load(file.read_text()))


def test_each_model_gets_its_rating_and_its_newest_scores(seeded: Arena, tmp_path: Path) -> None:
    for n in range(4):
        for battle, outcome in zip(
            battles.open_battles(seeded, f"person:{n}", n=4), ["left", "right"] * 2, strict=True
        ):
            battles.vote(seeded, f"person:{n}", battle.token, outcome)
    a = seeded.store.contestant("Swatch A").id
    for value in (20.0, 12.5):
        seeded.store.add_score(Score("Swatch A", "fid-clean", PROTOCOL, value, contestant_id=a))
    seeded.store.add_score(Score("Swatch A", "kid", PROTOCOL, unscored="too few", contestant_id=a))
    seeded.store.add_score(Score("a folder", "fid-clean", PROTOCOL, 3.0))
    count = eval_results.write(seeded, "me/votes", tmp_path)
    files = sorted((tmp_path / "eval_results").glob("*/.eval_results/arena.yaml"))
    rated = {row.name: row.rating for row in leaderboard.leaderboard(seeded).rows if row.rating is not None}
    assert len(files) == count == len({*rated, "Swatch A"})
    [rating, fid] = read(next(file for file in files if "Swatch-A" in str(file)))
    assert (rating.dataset_id, rating.task_id, rating.value) == ("me/votes", "people-rating", rated["Swatch A"])
    assert "votes" in (rating.notes or "")
    assert (fid.task_id, fid.value) == ("fid-clean", 12.5) and "fid-clean@1" in (fid.notes or "") and fid.date
