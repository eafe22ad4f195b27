"""What else moves votes: the side, the look of the images, and voters who vote unlike the rest."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from arena.domain import VoteFilter
from arena.errors import DataError
from arena.rating import covariates, voters
from arena.rating.comparisons import Comparisons
from arena.services.counting import comparisons, named_positions

if TYPE_CHECKING:
    from arena.bootstrap import Arena
    from db.store import VotedImages

MOST_STYLED = 200_000
"""Votes whose images are measured for style, the latest ones."""


@dataclass(frozen=True, slots=True)
class Influence:
    """What one feature is worth in rating points, with its 95% interval: the left side, or a standard deviation."""

    name: str
    points: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class VoterCheck:
    """One voter, by number: reliability (1 like most, 0 random, below 0 reversed) and agreement with all others."""

    number: int
    votes: int
    reliability: float
    low: float
    high: float
    agreement: float | None
    expected: float | None


@dataclass(frozen=True, slots=True)
class Audit:
    """`controlled`: ratings with the effects of side and style taken out, by name. `notes`: what could not be told."""

    left: Influence | None
    style: tuple[Influence, ...]
    controlled: dict[str, float]
    voters: tuple[VoterCheck, ...]
    voters_in_all: int
    notes: tuple[str, ...]


def audit(arena: Arena, votes: VoteFilter | None = None) -> Audit:
    """Everything beside the models that the votes show to matter. What they cannot tell becomes a note."""
    votes = votes or VoteFilter()
    compared, notes = comparisons(arena, votes), []
    left: Influence | None = None
    style: tuple[Influence, ...] = ()
    controlled: dict[str, float] = {}
    checks: tuple[VoterCheck, ...] = ()
    try:
        left = _influence(covariates.left_effect(compared))
    except DataError as error:
        notes.append(f"The left side's effect cannot be told: {error}")
    try:
        style, controlled = style_effects(arena, votes)
    except DataError as error:
        notes.append(f"The effect of style cannot be told: {error}")
    try:
        checks = voter_checks(compared)
    except DataError as error:
        notes.append(f"No voter can be judged: {error}")
    return Audit(left, style, controlled, checks, compared.clusters, tuple(notes))


def _influence(effect: covariates.Effect) -> Influence:
    return Influence(effect.name, *map(float, effect.points))


def style_effects(arena: Arena, votes: VoteFilter) -> tuple[tuple[Influence, ...], dict[str, float]]:
    """The effect of each style feature that varies, and the ratings of models as if all images had one style."""
    _, fitted = style_fit(arena, votes)
    ratings = dict(zip(fitted.contestants, map(float, fitted.ratings), strict=True))
    return tuple(_influence(effect) for effect in fitted.effects if effect.name in covariates.STYLE), ratings


def style_fit(arena: Arena, votes: VoteFilter) -> tuple[Comparisons, covariates.Contextual]:
    """The latest votes on images of this arena, one row each, and the strengths with side and style taken out."""
    rows = arena.store.voted_images(votes)[-MOST_STYLED:]
    if not rows:
        raise DataError("no vote was cast on images of this arena; vote on some.")
    measured = styles(arena, {sha for row in rows for sha in (row.left_sha256, row.right_sha256)})
    difference = covariates.style_difference(
        np.array([measured[row.left_sha256] for row in rows]), np.array([measured[row.right_sha256] for row in rows])
    )
    varies = np.flatnonzero((difference != 0).any(0))
    names = [covariates.STYLE[k] for k in varies]
    compared = _one_by_one(arena, rows)
    return compared, covariates.fit(compared, difference[:, varies], names)


def _one_by_one(arena: Arena, rows: list[VotedImages]) -> Comparisons:
    names, position = named_positions(arena)
    return covariates.one_row_each(
        names,
        np.array([position[row.left_id] for row in rows]),
        np.array([position[row.right_id] for row in rows]),
        np.array([row.outcome for row in rows]),
        cluster=np.array([row.voter_key for row in rows]),
    )


def styles(arena: Arena, wanted: set[str]) -> dict[str, list[float]]:
    """The style of each image by its sha256; measured once and kept in the cache folder."""
    file = arena.settings.cache_dir / "image-styles-1.json"
    known = _read(file)
    missing = sorted(wanted - known.keys())
    for sha in missing:
        with Image.open(io.BytesIO(arena.blobs.get(sha))) as image:
            found = covariates.image_style(np.asarray(image.convert("RGB")))
        known[sha] = [found[name] for name in covariates.STYLE]
    if missing:
        _write(file, known)
    return known


def _read(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return {}


def _write(file: Path, values: dict[str, Any]) -> None:
    """The cache is a convenience: a folder that cannot be written costs time and nothing else."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(values))
        part.replace(file)
    except OSError:
        part.unlink(missing_ok=True)


def voter_checks(compared: Comparisons) -> tuple[VoterCheck, ...]:
    """Every voter with enough votes, the least reliable first."""
    found, agreed = voters.reliabilities(compared), voters.agreements(compared)
    judged = np.flatnonzero(~np.isnan(found.reliability))
    return tuple(
        VoterCheck(
            number=int(k),
            votes=int(found.votes[k]),
            reliability=float(found.reliability[k]),
            low=float(found.low[k]),
            high=float(found.high[k]),
            agreement=_number(agreed.share[k]),
            expected=_number(agreed.expected[k]),
        )
        for k in judged[np.argsort(found.reliability[judged])]
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
