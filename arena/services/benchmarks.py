"""Benchmarks: contestants' images against a reference set, in a process of its own, watched by its Run.

    start > runs > job: for each contestant images > measure > Figure > Score          (paired differences on the way)
                                            images, prompts > TextImageScore > Score

A run that was stopped is asked for again with the same parameters; features that were computed are in the cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.domain import Contestant, Generation, Prompt, Protocol, Run, RunKind, RunState, Score, fingerprint
from arena.errors import UsageError, WeightsError
from arena.services import judge_scores, runs
from arena.services.teddies import rendered, scenes_of
from evaluators.alignment import recipes as text_image
from evaluators.alignment.score import TextImageScore
from evaluators.distribution.audit import ImageFacts, audit, look
from evaluators.distribution.measure import Figure, Measurement, Setup, difference, measure  # torch only when it runs
from evaluators.distribution.recipes import METRICS, MetricRecipe, feature_recipe, metric_recipe
from evaluators.images import decode
from evaluators.judge import pointwise

if TYPE_CHECKING:
    from arena.bootstrap import Arena

TEDDIES = "rendered teddies"
"""The reference set of the embedded world: its prompts, rendered anew."""
REFERENCES = "references"
REFERENCE_SEED = 0
DEFAULT_N_REAL = 500
DEFAULT_METRICS = ("fid-clean@1", "kid@1")
FIGURES = ("precision", "recall", "density", "coverage")
ImageRecipe = text_image.Recipe | pointwise.JudgeRecipe
TEXT_IMAGE: dict[str, ImageRecipe] = {
    recipe.id: recipe for recipe in (*text_image.RECIPES.values(), *pointwise.RECIPES.values())
}
"""Scores of single images, by id: they need prompts and no reference set."""
HIGHER_IS_BETTER = frozenset(FIGURES) | text_image.RECIPES.keys() | pointwise.RECIPES.keys()
KEPT = 2000
"""So many scores are looked through, the newest, for what the page shows."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a run is asked for: contestants and metrics by name, and the reference set of those that are distances.

    `reference` is TEDDIES, of which `n_real` scenes are rendered, or the name of a set of `arena stats --name`.
    """

    contestants: tuple[str, ...]
    metrics: tuple[str, ...] = DEFAULT_METRICS
    reference: str = TEDDIES
    n_real: int = DEFAULT_N_REAL

    @classmethod
    def of(cls, run: Run) -> Request:
        asked = dict(run.parameters)
        return cls(tuple(asked["contestants"]), tuple(asked["metrics"]), asked["reference"], asked["n_real"])

    @property
    def distances(self) -> tuple[str, ...]:
        return tuple(name for name in self.metrics if name not in TEXT_IMAGE)

    @property
    def text_image(self) -> tuple[str, ...]:
        return tuple(name for name in self.metrics if name in TEXT_IMAGE)


@dataclass(frozen=True, slots=True)
class Column:
    """Scores that may be compared: one figure, one fingerprint, one reference set; each model's newest, best first."""

    metric: str
    protocol: Protocol
    reference: str
    scores: tuple[Score, ...]

    @property
    def higher_is_better(self) -> bool:
        return self.metric in HIGHER_IS_BETTER


@dataclass(frozen=True, slots=True)
class Worst:
    """An image and what it adds to its set's distance."""

    prompt: str
    content: bytes
    amount: float


@dataclass(frozen=True, slots=True)
class _Images:
    """A contestant's images that can be measured, with their prompts; a name says prompt and seed."""

    contestant: Contestant
    prompts: tuple[Prompt, ...]
    generations: tuple[Generation, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{prompt.id}/{one.seed}" for prompt, one in zip(self.prompts, self.generations, strict=True))

    @property
    def hashes(self) -> list[str]:
        return [one.image.sha256 for one in self.generations if one.image]

    @property
    def keys(self) -> list[tuple[str, int]]:
        """What the value of an image is kept under: its sha256 and its prompt's id."""
        return [(sha256, prompt.id or 0) for sha256, prompt in zip(self.hashes, self.prompts, strict=True)]


@dataclass(frozen=True, slots=True)
class _Real:
    """The reference as `measure` takes it, its name for the record, and the facts of its files where there are any."""

    images: Path | list[np.ndarray]
    name: str
    facts: dict[str, ImageFacts]


def contestants(arena: Arena) -> list[Contestant]:
    return arena.store.contestants()


def offered(arena: Arena) -> tuple[list[MetricRecipe | ImageRecipe], list[tuple[str, str]]]:
    """The arena's own metrics whose weights are here, and (id, what it needs) of the others."""
    usable, missing = [], []
    for recipe in (*METRICS.values(), *TEXT_IMAGE.values()):
        if recipe.id not in TEXT_IMAGE and (recipe.same_as or feature_recipe(recipe.features).precision != "float32"):
            continue
        try:
            _find_weights(arena, recipe)
            usable.append(recipe)
        except WeightsError as error:
            missing.append((recipe.id, str(error)))
    return usable, missing


def references(arena: Arena) -> list[str]:
    """The names of reference sets: the embedded one, and those of `arena stats --name`."""
    return [TEDDIES, *sorted(path.stem for path in (arena.settings.data_dir / REFERENCES).glob("*.npz"))]


def start(arena: Arena, request: Request) -> int:
    """Start the benchmark in another process and return its run id at once.

    Raises UnknownName, and UsageError when there is nothing to measure.
    """
    _check(arena, request)
    return runs.start(arena, RunKind.BENCHMARK, _subject(request), asdict(request))


def run(arena: Arena, request: Request, watch: runs.Report | None = None) -> Run:
    """The benchmark in this process. Raises what `start` raises, and what goes wrong on the way."""
    _check(arena, request)
    started = arena.store.add_run(RunKind.BENCHMARK, _subject(request), asdict(request))
    return runs.perform(arena, started.id or 0, watch)


def resume(arena: Arena, run_id: int) -> int:
    """Start a run again that ended early; what it had computed is not computed again. Raises what `start` raises."""
    run = runs.one(arena, run_id)
    if run.state is RunState.RUNNING:
        raise UsageError(f"Run {run_id} is still at work.")
    if not run.parameters:
        raise UsageError(f"Run {run_id} was started by an earlier version; start a new one.")
    return start(arena, Request.of(run))


def job(arena: Arena, run: Run, report: runs.Report) -> runs.Ended:
    """The benchmark itself, in the process that `start` made."""
    request = Request.of(run)
    scores = (*_distance_scores(arena, run, request, report), *_text_image_scores(arena, run, request, report))
    return runs.Ended(_said(scores), scores)


def columns(arena: Arena) -> list[Column]:
    """Every set of scores that may be compared: of the latest run first, in the order of the table of metrics."""
    newest: dict[tuple[str, str, str], dict[str, Score]] = {}
    for score in arena.store.scores(KEPT):
        if score.value is not None:
            key = (score.metric, score.protocol.fingerprint, str(score.details.get("reference_set", "")))
            newest.setdefault(key, {}).setdefault(score.subject, score)
    found = [_column(metric, reference, list(scores.values())) for (metric, _, reference), scores in newest.items()]
    order = {recipe.id: place for place, recipe in enumerate((*METRICS.values(), *TEXT_IMAGE.values()))}
    return sorted(
        found,
        key=lambda column: (
            -max(score.run_id or 0 for score in column.scores),
            order.get(column.protocol.id, len(order)),
            FIGURES.index(column.metric) if column.metric in FIGURES else -1,
        ),
    )


def scores(arena: Arena) -> list[Score]:
    """Stored scores, newest first."""
    return arena.store.scores(KEPT)


def as_json(score: Score) -> dict[str, Any]:
    """A stored score in plain words; its interval is that of the debiased value where there is one."""
    details = score.details
    return {
        "model": score.subject,
        "metric": score.metric,
        "value": score.value,
        "debiased": details.get("debiased"),
        "low": details.get("low"),
        "high": details.get("high"),
        "n": details.get("n_generated", details.get("n")),
        "unscored": score.unscored,
        "protocol": score.protocol.id,
        "fingerprint": score.protocol.fingerprint,
    }


def worst(arena: Arena, score: Score) -> list[Worst]:
    """The images that add most to a distance, the worst first."""
    prompts = {prompt.id: prompt.text for prompt in arena.store.prompts()}
    return [
        Worst(prompts.get(prompt_id, ""), arena.blobs.get(sha256), amount)
        for sha256, prompt_id, amount in score.details.get("worst", ())
    ]


def _column(metric: str, reference: str, found: list[Score]) -> Column:
    ordered = sorted(found, key=best_guess, reverse=metric in HIGHER_IS_BETTER)
    return Column(metric, found[0].protocol, reference, tuple(ordered))


def best_guess(score: Score) -> float:
    """The debiased value where there is one, else the value."""
    debiased = score.details.get("debiased")
    return float(debiased if debiased is not None else score.value or 0.0)


def _check(arena: Arena, request: Request) -> None:
    if not request.contestants or not request.metrics:
        raise UsageError("Choose at least one model and one metric.")
    for metric in request.distances:
        metric_recipe(metric)
    for metric in request.text_image:
        _find_weights(arena, TEXT_IMAGE[metric])
    for name in request.contestants:
        _images(arena, arena.store.contestant(name), request)


def _subject(request: Request) -> str:
    names = request.contestants
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} others"


def _find_weights(arena: Arena, recipe: MetricRecipe | ImageRecipe) -> None:
    """Raises WeightsError where they are not on this machine."""
    if isinstance(recipe, pointwise.JudgeRecipe):
        judge_scores.check(arena)
        return
    if isinstance(recipe, MetricRecipe):
        _setup(arena).extractor(recipe, download=False)
        return
    for network in filter(None, (recipe.weights, recipe.head)):
        text_image.find_weights(network, arena.settings.weights.get(network), download=False)


def _images(arena: Arena, contestant: Contestant, request: Request) -> _Images:
    """The contestant's images that fit the reference, if one is needed. Raises UsageError with too few, or for a
    small reference."""
    if request.n_real < 2:
        raise UsageError(f"A benchmark needs at least 2 reference scenes, got {request.n_real}.")
    teddies = bool(request.distances) and request.reference == TEDDIES
    by_id = {prompt.id: prompt for prompt in arena.store.prompts() if not teddies or scenes_of([prompt])}
    found = [one for one in arena.store.generations(contestant.id or 0, images_only=True) if one.prompt_id in by_id]
    if len(found) < 2:
        kind = "images of teddy prompts" if teddies else "images"
        raise UsageError(
            f"{contestant.name!r} has {len(found)} {kind} and a benchmark needs at least 2; "
            "run `arena generate` first, or compare folders with `arena fid`."
        )
    return _Images(contestant, tuple(by_id[one.prompt_id] for one in found), tuple(found))


def _real(arena: Arena, request: Request) -> _Real:
    """The reference set. That of the teddies shows all teddy prompts in turn, the same for every contestant."""
    if request.reference != TEDDIES:
        path = arena.settings.data_dir / REFERENCES / f"{request.reference}.npz"
        if not path.is_file():
            known = ", ".join(references(arena))
            raise UsageError(f"There is no reference set {request.reference!r}: known: {known}.")
        return _Real(path, request.reference, {})
    prompts = [prompt for prompt in arena.store.prompts() if scenes_of([prompt])]
    prompts_hash = fingerprint(texts=[prompt.text for prompt in prompts])
    name = f"teddies-{prompts_hash[:8]}-{request.n_real}"
    recipe = {"world": "teddies", "prompts": prompts_hash, "seed": REFERENCE_SEED}
    arena.store.add_reference_set(name, request.n_real, recipe)
    images = [np.asarray(image) for image in rendered(scenes_of(prompts), request.n_real, REFERENCE_SEED)]
    facts = {str(i): ImageFacts("rendered", image.shape[1], image.shape[0]) for i, image in enumerate(images)}
    return _Real(images, name, facts)


def _setup(arena: Arena) -> Setup:
    return Setup(arena.settings.cache_dir, arena.settings.known_weights)


def _distance_scores(arena: Arena, run: Run, request: Request, report: runs.Report) -> list[Score]:
    if not request.distances:
        return []
    chosen = [_images(arena, arena.store.contestant(name), request) for name in request.contestants]
    real = _real(arena, request)
    measured = [_measured(arena, images, real, request, report) for images in chosen]
    return [score for one, found in measured for score in _scores(arena, run, one, found, measured, real)]


def _text_image_scores(arena: Arena, run: Run, request: Request, report: runs.Report) -> list[Score]:
    """One network after the other, each for all contestants, so that it is loaded once."""
    everything = replace(request, metrics=request.text_image)
    chosen = [_images(arena, arena.store.contestant(name), everything) for name in request.contestants]
    return [_text_image_score(arena, run, metric, images, report) for metric in request.text_image for images in chosen]


def _text_image_score(arena: Arena, run: Run, metric: str, images: _Images, report: runs.Report) -> Score:
    recipe, contestant = TEXT_IMAGE[metric], images.contestant
    if isinstance(recipe, pointwise.JudgeRecipe):
        return judge_scores.score(arena, run, recipe, contestant, images.prompts, images.generations, report)
    evaluator = TextImageScore(
        recipe.name,
        arena.settings.weights.get(recipe.weights),
        arena.settings.weights.get(recipe.head),
        progress=lambda stage, done, total: report(f"{contestant.name}: {recipe.title}", done, total),
    )
    pixels = (decode(arena.blobs.get(sha256)) for sha256 in images.hashes)
    found = evaluator.score([prompt.text for prompt in images.prompts], pixels)
    return found.as_score(contestant.name, contestant.id, run.id, images.keys)


def _measured(
    arena: Arena, images: _Images, real: _Real, request: Request, report: runs.Report
) -> tuple[_Images, Measurement]:
    name = images.contestant.name
    pixels = [decode(arena.blobs.get(sha256)) for sha256 in images.hashes]
    found = measure(
        real.images,
        pixels,
        request.distances,
        setup=_setup(arena),
        curve=True,
        progress=lambda stage, done, total: report(f"{name}: {stage}", done, total),
    )
    # Arrays are numbered; what they show is known here.
    sets = {key: replace(one, generated=replace(one.generated, names=images.names)) for key, one in found.sets.items()}
    return images, replace(found, sets=sets)


def _scores(
    arena: Arena,
    run: Run,
    images: _Images,
    found: Measurement,
    measured: Sequence[tuple[_Images, Measurement]],
    real: _Real,
) -> Iterable[Score]:
    findings = _findings(arena, images, found, real)
    others = [(other.contestant.name, theirs) for other, theirs in measured if other is not images]
    for figure in found.figures:
        score = figure.as_score(images.contestant.name, images.contestant.id, run.id)
        more = {
            "reference_set": real.name,
            "seconds": found.seconds,
            "cached": found.cached,
            "findings": findings,
            "worst": [
                [images.hashes[int(row)], images.prompts[int(row)].id, amount]
                for row, amount in figure.details.get("worst", ())
            ],
            "versus": _versus(figure, found, others),
        }
        yield replace(score, details={**score.details, **more})


def _versus(figure: Figure, found: Measurement, others: Sequence[tuple[str, Measurement]]) -> list[dict[str, Any]]:
    """Paired differences from the other contestants of the run, where the metric has them."""
    recipe = metric_recipe(figure.protocol.id)
    if recipe.distance == "prdc":
        return []
    sets = found.sets[recipe.features]
    return [
        {"subject": name, **difference(recipe, sets, sets.generated, theirs.sets[recipe.features].generated).as_json()}
        for name, theirs in others
        if set(sets.generated.names) & set(theirs.sets[recipe.features].generated.names)
    ]


def _findings(arena: Arena, images: _Images, found: Measurement, real: _Real) -> list[str]:
    sets = next(iter(found.sets.values()))
    facts = {name: look(arena.blobs.get(sha)) for name, sha in zip(images.names, images.hashes, strict=True)}
    theirs = dict(zip(sets.generated.names, sets.generated.pixels, strict=True))
    ours = dict(zip(sets.real.names, sets.real.pixels, strict=True)) if sets.real else {}
    return list(audit(real.facts, facts, ours, theirs).findings)


def _said(scores: Sequence[Score]) -> str:
    """The first figure of each contestant, in words."""
    firsts = [next(group) for _, group in groupby(scores, key=lambda score: score.subject)]
    return "; ".join(f"{one.subject} {one.metric} {one.value:.4g}" for one in firsts)
