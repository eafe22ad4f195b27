"""Benchmarks: contestants' images against a reference set, in a process of its own, watched by its Run.

    start > runs > job: for each contestant images > measure > Figure > Score          (paired differences on the way)
                                            images, prompts > TextImageScore > Score

A run that was stopped is asked for again with the same parameters; features that were computed are in the cache. What
cannot be measured is a Score with its reason; an image that is missing or damaged is left out, with its reason too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.domain import Contestant, Generation, Prompt, Protocol, Run, RunKind, RunState, Score
from arena.errors import DataError, ImageError, UsageError, WeightsError
from arena.services import judge_scores, runs
from arena.services.references import (
    TEDDIES,
    Findings,
    Reference,
    compare,
    looked,
    names,
    open_reference,
    require_unchanged,
)
from arena.services.teddies import scenes_of
from evaluators.alignment import recipes as text_image
from evaluators.alignment.score import TextImageScore
from evaluators.distribution.features import resolve_device
from evaluators.distribution.measure import (  # torch only when it runs
    PAIRS,
    Figure,
    Measurement,
    Sets,
    Setup,
    difference,
    measure,
)
from evaluators.distribution.recipes import METRICS, MetricRecipe, feature_recipe, metric_recipe
from evaluators.images import MINIMUM_IMAGES, decode_noted
from evaluators.judge import pointwise

if TYPE_CHECKING:
    from arena.bootstrap import Arena

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
NAMED = 20
"""So many images that were left out are named with a score; all are counted."""


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
    """Scores that may be compared: one figure, one fingerprint, one reference set; each model's newest, best first.

    `reference` is the set's name, with a part of its content's hash where several sets had that name.
    """

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
    """A contestant's images, with their prompts; a name says prompt and seed."""

    contestant: Contestant
    prompts: tuple[Prompt, ...]
    generations: tuple[Generation, ...]

    @property
    def names(self) -> tuple[str, ...]:
        both = zip(self.prompts, self.generations, strict=True)
        return tuple(f"prompt {prompt.id} seed {one.seed}" for prompt, one in both)

    @property
    def hashes(self) -> list[str]:
        return [one.image.sha256 for one in self.generations if one.image]

    @property
    def keys(self) -> list[tuple[str, int]]:
        """What the value of an image is kept under: its sha256 and its prompt's id."""
        return [(sha256, prompt.id or 0) for sha256, prompt in zip(self.hashes, self.prompts, strict=True)]

    def files(self, arena: Arena) -> dict[str, Callable[[], bytes]]:
        """Each image by its name, read when it is asked for. What they raise is ImageError for one image alone."""
        return {name: partial(_read, arena, sha256) for name, sha256 in zip(self.names, self.hashes, strict=True)}


def _read(arena: Arena, sha256: str) -> bytes:
    try:
        return arena.blobs.get(sha256)
    except DataError as error:  # a page shows the reason: where files lie is nobody else's business
        what = "was changed" if arena.blobs.has(sha256) else "is missing"
        raise ImageError(f"the file {sha256[:12]}… {what}; restore it from a backup") from error


@dataclass(frozen=True, slots=True)
class _Measured:
    """What came of a contestant's images: a measurement for each network, by features, and (metric, reason) of what
    could not be measured."""

    images: _Images
    found: Mapping[str, Measurement]
    unscored: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        return self.images.contestant.name


@dataclass(slots=True)
class _LeftOut:
    """Images that could not be read, (name, reason)."""

    images: list[tuple[str, str]] = field(default_factory=list)

    def as_details(self) -> dict[str, Any]:
        return {"n_dropped": len(self.images), "dropped": [list(one) for one in self.images[:NAMED]]}


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
    return names(arena)


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
    if all(score.value is None and not any(one.value is not None for one in score.images) for score in scores):
        raise DataError(_said(scores))
    return runs.Ended(_said(scores), scores)


def columns(arena: Arena) -> list[Column]:
    """Every set of scores that may be compared: of the latest run first, in the order of the table of metrics."""
    newest: dict[tuple[str, str, str, str], dict[str, Score]] = {}
    for score in arena.store.scores(KEPT):
        if score.value is not None:
            key = (score.metric, score.protocol.fingerprint, *reference_of(score))
            newest.setdefault(key, {}).setdefault(score.subject, score)
    contents: dict[str, set[str]] = {}
    for _, _, name, content in newest:
        contents.setdefault(name, set()).add(content)
    found = [
        _column(metric, _told_apart(name, content, contents[name]), list(scores.values()))
        for (metric, _, name, content), scores in newest.items()
    ]
    order = {recipe.id: place for place, recipe in enumerate((*METRICS.values(), *TEXT_IMAGE.values()))}
    return sorted(
        found,
        key=lambda column: (
            -max(score.run_id or 0 for score in column.scores),
            order.get(column.protocol.id, len(order)),
            FIGURES.index(column.metric) if column.metric in FIGURES else -1,
        ),
    )


def reference_of(score: Score) -> tuple[str, str]:
    """The name of the reference set, and the hash of its content: a set made anew under its name is another one.

    Both are empty for a score that has none; earlier versions did not keep the hash.
    """
    return str(score.details.get("reference_set", "")), str(score.details.get("reference_sha256", ""))


def _told_apart(name: str, content: str, contents: set[str]) -> str:
    if len(contents) == 1:
        return name
    return f"{name} ({content[:8]})" if content else f"{name} (content not recorded)"


def scores(arena: Arena) -> list[Score]:
    """Stored scores, newest first."""
    return arena.store.scores(KEPT)


def history(arena: Arena, metric: str) -> dict[str, list[Score]]:
    """Every score of that figure that has a value, by model, newest first: of all runs, references and protocols."""
    found: dict[str, list[Score]] = {}
    for score in arena.store.scores(KEPT):
        if score.metric == metric and score.value is not None:
            found.setdefault(score.subject, []).append(score)
    return found


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
        "left_out": details.get("n_dropped", 0),
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
        Setup(weights=arena.settings.known_weights, device="cpu").extractor(recipe, download=False)  # loads no torch
        return
    for network in filter(None, (recipe.weights, recipe.head)):
        text_image.find_weights(network, arena.settings.weights.get(network), download=False)


def _images(arena: Arena, contestant: Contestant, request: Request) -> _Images:
    """The contestant's images that fit the reference, if one is needed. Raises UsageError with too few, or for a
    small reference."""
    if request.n_real < MINIMUM_IMAGES:
        raise UsageError(f"A benchmark needs at least {MINIMUM_IMAGES} reference scenes, got {request.n_real}.")
    teddies = bool(request.distances) and request.reference == TEDDIES
    by_id = {prompt.id: prompt for prompt in arena.store.prompts() if not teddies or scenes_of([prompt])}
    found = [one for one in arena.store.generations(contestant.id or 0, images_only=True) if one.prompt_id in by_id]
    if len(found) < MINIMUM_IMAGES:
        kind = "images of teddy prompts" if teddies else "images"
        raise UsageError(
            f"{contestant.name!r} has {len(found)} {kind} and a benchmark needs at least {MINIMUM_IMAGES}; "
            "run `arena generate` first, or compare folders with `arena fid`."
        )
    return _Images(contestant, tuple(by_id[one.prompt_id] for one in found), tuple(found))


def _setup(arena: Arena) -> Setup:
    settings = arena.settings
    return Setup(settings.cache_dir, settings.known_weights, settings.device, settings.engine)


def _distance_scores(arena: Arena, run: Run, request: Request, report: runs.Report) -> list[Score]:
    if not request.distances:
        return []
    chosen = [_images(arena, arena.store.contestant(name), request) for name in request.contestants]
    reference = open_reference(arena, request.reference, request.n_real)
    measured = [_measured(arena, images, reference, request, report) for images in chosen]
    require_unchanged(arena, reference)
    return [score for one in measured for score in _scores(arena, run, one, measured, reference)]


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
        device=resolve_device(arena.settings.device),
        progress=lambda stage, done, total: report(f"{contestant.name}: {recipe.title}", done, total),
    )
    left_out = _LeftOut()
    found = evaluator.score([prompt.text for prompt in images.prompts], _pixels(images.files(arena), left_out))
    score = found.as_score(contestant.name, contestant.id, run.id, images.keys)
    unscored = _too_few_are_left(left_out) if score.value is None else None
    return replace(score, details={**score.details, **left_out.as_details()}, unscored=unscored)


def _pixels(files: Mapping[str, Callable[[], bytes]], left_out: _LeftOut) -> Iterator[np.ndarray | None]:
    """One image at a time, None for what cannot be read."""
    for name, read in files.items():
        try:
            yield decode_noted(read(), name=name).pixels
        except ImageError as error:
            left_out.images.append((name, str(error)))
            yield None


def _too_few_are_left(left_out: _LeftOut) -> str:
    return f"none of {len(left_out.images)} images can be read, the first because: {left_out.images[0][1]}"


def _measured(arena: Arena, images: _Images, reference: Reference, request: Request, report: runs.Report) -> _Measured:
    """One network after the other. What one of them cannot measure leaves the others."""
    name, files = images.contestant.name, images.files(arena)
    by_network: dict[str, list[str]] = {}
    for metric in request.distances:
        by_network.setdefault(metric_recipe(metric).features, []).append(metric)
    found: dict[str, Measurement] = {}
    unscored: list[tuple[str, str]] = []
    for features, metrics in by_network.items():
        try:
            found[features] = measure(
                reference.images,
                files,
                metrics,
                setup=_setup(arena),
                curve=True,
                progress=lambda stage, done, total: report(f"{name}: {stage}", done, total),
            )
            unscored += [(metric, reference.named_in(reason)) for metric, reason in found[features].unscored]
        except DataError as error:
            unscored += [(metric, reference.named_in(str(error))) for metric in metrics]
    return _Measured(images, found, tuple(unscored))


def _scores(
    arena: Arena, run: Run, one: _Measured, measured: Sequence[_Measured], reference: Reference
) -> Iterator[Score]:
    """The figures of a contestant, then what could not be measured."""
    images, contestant = one.images, one.images.contestant
    known = {"reference_set": reference.name, "reference_sha256": reference.content}
    by_name = dict(zip(images.names, images.keys, strict=True))
    facts = looked(images.files(arena))
    for features, found in one.found.items():
        sets = found.sets[features]
        more = {
            **known,
            "seconds": found.seconds,
            "cached": found.cached,
            **_left_out(sets).as_details(),
            **_as_details(compare(reference, sets.generated, facts)),
        }
        for figure in found.figures:
            score = figure.as_score(contestant.name, contestant.id, run.id)
            versus, unpaired = _versus(figure, one, measured)
            details = {
                **score.details,
                **more,
                "warnings": [*figure.warnings, *map(reference.named_in, (*sets.warnings, *sets.generated.notices))],
                "worst": [[*by_name[name], amount] for name, amount in figure.details.get("worst", ())],
                "versus": versus,
                "unpaired": unpaired,
            }
            yield replace(score, details=details)
    for metric, reason in one.unscored:
        recipe = metric_recipe(metric)
        protocol = recipe.protocol(_setup(arena).extractor(recipe).protocol)
        yield Score(
            contestant.name,
            recipe.name,
            protocol,
            unscored=reason,
            details=known,
            contestant_id=contestant.id,
            run_id=run.id,
        )


def _left_out(sets: Sets) -> _LeftOut:
    return _LeftOut(list(sets.generated.dropped))


def _as_details(findings: Findings) -> dict[str, Any]:
    return {
        "findings": list(findings.sentences),
        "checked": list(findings.checked),
        "unchecked": findings.unchecked,
    }


def _versus(
    figure: Figure, one: _Measured, measured: Sequence[_Measured]
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Paired differences from the other contestants of the run, where the metric has them, and why not from others."""
    recipe = metric_recipe(figure.protocol.id)
    versus: list[dict[str, Any]] = []
    unpaired: list[dict[str, str]] = []
    if recipe.distance == "prdc":
        return versus, unpaired
    sets = one.found[recipe.features].sets[recipe.features]
    for other in measured:
        if other is one or recipe.features not in other.found:
            continue
        theirs = other.found[recipe.features].sets[recipe.features].generated
        shared = len(set(sets.generated.names) & set(theirs.names))
        if shared < PAIRS:
            reason = f"they share {shared} pictures of the same prompt and seed, and a paired difference needs {PAIRS}"
            unpaired.append({"subject": other.name, "reason": reason})
            continue
        versus.append({"subject": other.name, **difference(recipe, sets, sets.generated, theirs).as_json()})
    return versus, unpaired


def _said(scores: Sequence[Score]) -> str:
    """The first figure of each contestant, and what could not be measured, in words."""
    valued = [score for score in scores if score.value is not None]
    firsts = [next(group) for _, group in groupby(valued, key=lambda score: score.subject)]
    said = [f"{one.subject} {one.metric} {one.value:.4g}" for one in firsts]
    return "; ".join([*said, *_unmeasured(scores), *_unread(scores)])


def _unmeasured(scores: Sequence[Score]) -> Iterable[str]:
    """A sentence for each reason, not for each model."""
    everyone = {score.subject for score in scores}
    reasons: dict[tuple[str, str], set[str]] = {}
    for score in scores:
        if score.unscored is not None:
            reasons.setdefault((score.protocol.id, score.unscored.rstrip(".")), set()).add(score.subject)
    for (metric, reason), subjects in reasons.items():
        whose = "" if subjects == everyone else f" of {', '.join(sorted(subjects))}"
        yield f"{metric} could not be measured{whose}: {reason}"


def _unread(scores: Sequence[Score]) -> Iterable[str]:
    left_out = {score.subject: score.details["n_dropped"] for score in scores if score.details.get("n_dropped")}
    for subject, count in left_out.items():
        yield f"{count} of {subject}'s pictures could not be read and {'was' if count == 1 else 'were'} left out"
