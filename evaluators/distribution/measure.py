"""Two sets of images, any number of metrics: features once for each recipe, then every figure asked for.

    images -> features -> statistics -> distance -> Figure

    from evaluators.distribution.measure import measure

    found = measure("real/", "generated/", ["fid-clean", "kid", "prdc"])
    for figure in found.figures:
        print(figure.metric, figure.value, figure.low, figure.high, figure.protocol.id)

Nothing heavy loads where every image's features are in the cache already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from arena.domain import Protocol, Score, frozen_mapping
from arena.errors import DataError, UsageError, WeightsError
from evaluators.base import ImageSet, Progress, no_progress
from evaluators.distribution import kernel, neighbours, uncertainty
from evaluators.distribution.cache import FeatureCache
from evaluators.distribution.extract import FeatureSet, extract
from evaluators.distribution.features import Extractor, open_extractor
from evaluators.distribution.frechet import Side, frechet, prepare
from evaluators.distribution.recipes import DEFAULT_METRIC, METRICS, MetricRecipe, feature_recipe, metric_recipe
from evaluators.distribution.reference import is_reference, read_reference
from evaluators.images import list_folder, require_images

ALL = "all"
DEFAULT_CACHE = Path.home() / ".cache" / "image-arena"
WORST = 10
"""So many images, those that add most to a distance, are named with it."""
PAIRS = uncertainty.MINIMUM
"""So many images of the same names are needed for a paired difference with its error."""
NO_IMAGES = (
    "The generated side has statistics alone, which do for a Fréchet distance without interval and debiased value; for "
    "more give the folder of its images."
)
SMALLEST = 16
"""No distance of fewer images is shown on a curve."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of one protocol with all that is needed to defend it.

    `value` is what the protocol defines. [low, high] is a 95% interval; for a Fréchet distance it lies around
    `debiased`, as the plain value depends on the number of images. None where an uncertainty is not known.
    """

    metric: str
    protocol: Protocol
    value: float
    n_real: int | None
    n_generated: int | None
    debiased: float | None = None
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "details", frozen_mapping(self.details))

    def as_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "value": self.value,
            "debiased": self.debiased,
            "standard_error": self.standard_error,
            "low": self.low,
            "high": self.high,
            "n_real": self.n_real,
            "n_generated": self.n_generated,
            "protocol": self.protocol.id,
            "fingerprint": self.protocol.fingerprint,
            "details": dict(self.details),
            "warnings": list(self.warnings),
        }

    def as_score(self, subject: str, contestant_id: int | None = None, run_id: int | None = None) -> Score:
        stored_elsewhere = ("metric", "value", "protocol", "fingerprint", "details")
        beside = {name: value for name, value in self.as_json().items() if name not in stored_elsewhere}
        return Score(
            subject,
            self.metric,
            self.protocol,
            value=self.value,
            details={**beside, **self.details},
            contestant_id=contestant_id,
            run_id=run_id,
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """Distance of the first set minus that of the second from the same real images, on images of the same names.

    Below 0 the first is closer. [low, high] is a 95% interval; `n` pairs.
    """

    metric: str
    protocol: Protocol
    value: float
    standard_error: float
    low: float
    high: float
    n: int

    def as_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "value": self.value,
            "standard_error": self.standard_error,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "protocol": self.protocol.id,
            "fingerprint": self.protocol.fingerprint,
        }


@dataclass(frozen=True, slots=True)
class Sets:
    """Both sides as one feature recipe sees them.

    Of images, `real` has their features and `reference` is prepared from them. Of a file of statistics, `real` is None
    and `reference` is prepared from the file alone, so that a Fréchet distance does not depend on the cache; `cached`
    are its images' features where a metric needs them and the cache has them all. So it is with `generated` and `side`.
    """

    protocol: Protocol
    real: FeatureSet | None
    generated: FeatureSet | None
    reference: Side
    side: Side
    warnings: tuple[str, ...] = ()
    cached: np.ndarray | None = None

    @property
    def kind(self) -> uncertainty.Reference:
        """Images that were given are a sample of what is to be matched; a file of statistics is the very thing."""
        return uncertainty.Reference.FIXED if self.real is None else uncertainty.Reference.SAMPLE

    @property
    def real_features(self) -> np.ndarray:
        """float32 (n, d). Raises DataError where only statistics are known."""
        features = self.cached if self.real is None else self.real.features
        if features is None:
            raise DataError(
                "The reference has statistics alone, which do for Fréchet distances; this metric needs the features "
                "of its images: give their folder."
            )
        return features

    @property
    def generated_features(self) -> np.ndarray:
        """float32 (n, d). Raises DataError where only statistics are known."""
        if self.generated is None:
            raise DataError(NO_IMAGES)
        return self.generated.features

    def protocol_of(self, recipe: MetricRecipe) -> Protocol:
        """A Fréchet distance's debiased value and interval depend on what the reference is, so its protocol says so."""
        decided = {"reference": self.kind.value} if recipe.distance == "frechet" else {}
        return recipe.protocol(self.protocol, **decided)


@dataclass(frozen=True, slots=True)
class Measurement:
    """All figures, what was left out and why, and how it went.

    `unscored` holds (metric, reason). `dropped` and `converted` hold (path, reason), with paths that begin with
    "real: " or "generated: ". `seconds` is wall time; `cached` of `images` features came from the cache. `sets` holds
    the features by the id of their recipe.
    """

    figures: tuple[Figure, ...]
    unscored: tuple[tuple[str, str], ...]
    dropped: tuple[tuple[str, str], ...]
    converted: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    images: int
    cached: int
    seconds: float
    sets: Mapping[str, Sets]

    def figure(self, metric: str) -> Figure:
        """The figure of that name. Raises UsageError where there is none."""
        for one in self.figures:
            if metric in (one.metric, one.protocol.id):
                return one
        raise UsageError(f"There is no figure {metric!r}: {', '.join(one.metric for one in self.figures) or 'none'}.")

    def as_json(self) -> dict[str, Any]:
        return {
            "figures": [figure.as_json() for figure in self.figures],
            "unscored": dict(self.unscored),
            "dropped": dict(self.dropped),
            "warnings": list(self.warnings),
            "images": self.images,
            "cached": self.cached,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True)
class Setup:
    """How images become features: where caches and weights are, and what computes.

    `weights` holds paths by network; others are found. `cache_dir` None keeps nothing. `device` "auto" is a GPU where
    there is one.
    """

    cache_dir: Path | str | None = DEFAULT_CACHE
    weights: Mapping[str, Path] = field(default_factory=dict)
    device: str = "auto"
    engine: str = "torch"
    batch_size: int | None = None
    threads: int | None = None

    def extractor(self, recipe: MetricRecipe, download: bool = True) -> Extractor:
        """Of the recipe's features. Raises what `open_extractor` raises."""
        return open_extractor(
            recipe.features,
            weights_path=self.weights.get(feature_recipe(recipe.features).network),
            device=self.device,
            engine=self.engine,
            batch_size=self.batch_size,
            threads=self.threads,
            download=download,
        )


def measure(
    real: ImageSet,
    generated: ImageSet,
    metrics: Sequence[str] = (DEFAULT_METRIC,),
    *,
    setup: Setup | None = None,
    limit: int | None = None,
    curve: bool = False,
    progress: Progress = no_progress,
) -> Measurement:
    """Every metric asked for between two sets, each a folder, {name: function that reads a file's bytes}, or uint8 RGB
    arrays (h, w, 3) of any sizes.

    Each may also be a statistics file of `arena stats`, or a .npz with mu and sigma of pytorch-fid or clean-fid. A
    generated side that is one has Fréchet distances alone, without intervals.
    `metrics` are ids or names of `recipes.METRICS`; ["all"] takes the arena's own, as far as their weights are here,
    and says which are not. `limit` takes the first images of each set, in path order. `curve` adds the distance of
    smaller and smaller parts. `progress(stage, done, total)` is called after every image; what it raises stops the
    work, and what was computed is in the cache.

    Raises ImageError (a set that cannot be used), DataError (a file of statistics, or features), UnknownName,
    UsageError, WeightsError, and EnvironmentFault.
    """
    started = time.perf_counter()
    setup = setup or Setup()
    recipes, unscored = _available(metrics, setup)
    single = {recipe.features for recipe in recipes if recipe.distance != "frechet"}
    for images in (real, generated):
        _require_something(images)
    cache = FeatureCache(setup.cache_dir)
    try:
        sets = {
            name: _sets(name, real, generated, setup.extractor(recipe), cache, limit, progress, name in single)
            for name, recipe in {recipe.features: recipe for recipe in recipes}.items()
        }
        figures: list[Figure] = []
        for recipe in recipes:
            progress(recipe.id, 0, 1)
            try:
                figures += figures_of(recipe, sets[recipe.features], curve=curve)
            except DataError as error:
                if len(recipes) == 1:
                    raise
                unscored.append((recipe.id, str(error)))
            progress(recipe.id, 1, 1)
    finally:
        cache.close()
    both = [(side, one) for pair in sets.values() for side, one in _sides(pair)]
    return Measurement(
        figures=tuple(figures),
        unscored=tuple(unscored),
        dropped=_once((f"{side}: {path}", why) for side, one in both for path, why in one.dropped),
        converted=_once((f"{side}: {path}", note) for side, one in both for path, note in one.converted),
        warnings=_once(
            [
                *(warning for pair in sets.values() for warning in pair.warnings),
                *(notice for _, one in both for notice in one.notices),
                *_warnings(real, generated, both),
            ]
        ),
        images=sum(len(one) for _, one in both),
        cached=sum(one.cached for _, one in both),
        seconds=time.perf_counter() - started,
        sets=sets,
    )


@dataclass(frozen=True, slots=True)
class SetMetric:
    """The evaluator of one figure: `metric` of `recipes.METRICS`, and which of its figures where it has several."""

    metric: str = DEFAULT_METRIC
    figure: str | None = None
    setup: Setup = field(default_factory=Setup)
    progress: Progress = no_progress

    def score(
        self,
        real: ImageSet,
        generated: ImageSet,
        *,
        subject: str,
        contestant_id: int | None = None,
        run_id: int | None = None,
    ) -> Score:
        """Raises what `measure` raises."""
        found = measure(real, generated, [self.metric], setup=self.setup, progress=self.progress)
        figure = found.figure(self.figure) if self.figure else found.figures[0]
        return figure.as_score(subject, contestant_id, run_id)


def figures_of(recipe: MetricRecipe, sets: Sets, *, curve: bool = False) -> list[Figure]:
    """The figures of one metric: one, or four for prdc. Raises DataError where the sets are too small or not finite."""
    return DISTANCES[recipe.distance](recipe, sets, curve)


def difference(recipe: MetricRecipe, sets: Sets, first: FeatureSet, second: FeatureSet) -> Difference:
    """The paired difference of two generated sets by the names of their images, for Fréchet distances and kernels.

    Raises DataError where they share fewer than PAIRS names, UsageError for a metric without a paired difference.
    """
    rows = {name: row for row, name in enumerate(second.names)}
    pairs = [(row, rows[name]) for row, name in enumerate(first.names) if name in rows]
    if len(pairs) < PAIRS:
        raise DataError(
            f"A paired difference needs at least {PAIRS} images of the same names, and {len(pairs)} are in both sets."
        )
    x, y = first.features[[row for row, _ in pairs]], second.features[[row for _, row in pairs]]
    if recipe.distance == "frechet":
        found = uncertainty.paired_difference(sets.reference, x, y, reference=sets.kind)
    elif recipe.distance in KERNELS:
        found = kernel.paired_difference(sets.real_features, x, y, **KERNELS[recipe.distance](recipe))
    else:
        raise UsageError(f"{recipe.id} has no paired difference: use kid@1 or a Fréchet distance.")
    return Difference(recipe.name, sets.protocol_of(recipe), found.value, found.se, found.low, found.high, len(pairs))


def differences(
    found: Measurement,
    other: ImageSet,
    *,
    setup: Setup | None = None,
    limit: int | None = None,
    progress: Progress = no_progress,
) -> list[Difference]:
    """The paired difference of a measurement's generated set from another one, for every metric that has one.

    Arguments as in `measure`, and what it raises; DataError where the sets share fewer than PAIRS names.
    """
    if any(one.generated is None for one in found.sets.values()):
        raise UsageError("A paired difference needs the images of both generated sides: give their folders.")
    setup = setup or Setup()
    cache = FeatureCache(setup.cache_dir)
    recipes = [metric_recipe(one.protocol.id) for one in found.figures]
    paired = {recipe.id: recipe for recipe in recipes if recipe.distance in PAIRED}
    others: dict[str, FeatureSet] = {}
    try:
        for recipe in paired.values():
            if recipe.features not in others:
                others[recipe.features] = extract(
                    other, setup.extractor(recipe), cache=cache, limit=limit, progress=progress,
                    stage=f"second, {recipe.features}",
                )  # fmt: skip
    finally:
        cache.close()
    return [
        difference(recipe, found.sets[recipe.features], found.sets[recipe.features].generated, others[recipe.features])
        for recipe in paired.values()
    ]


def _available(metrics: Sequence[str], setup: Setup) -> tuple[list[MetricRecipe], list[tuple[str, str]]]:
    """The recipes asked for; of "all", those whose weights are here, and (id, reason) of the others."""
    if list(metrics) != [ALL]:
        chosen = {recipe.id: recipe for recipe in map(metric_recipe, metrics)}
        if not chosen:
            raise UsageError("Name at least one metric, such as fid-clean@1, or all.")
        return list(chosen.values()), []
    usable, unscored = [], []
    for recipe in METRICS.values():
        if recipe.same_as or feature_recipe(recipe.features).precision != "float32":
            continue
        try:
            setup.extractor(recipe, download=False)
            usable.append(recipe)
        except WeightsError as error:
            unscored.append((recipe.id, str(error)))
    return usable, unscored


def _sets(
    name: str,
    real: ImageSet,
    generated: ImageSet,
    extractor: Extractor,
    cache: FeatureCache,
    limit: int | None,
    progress: Progress,
    single: bool,
) -> Sets:
    """`single`: whether a metric needs the features of single real images."""

    def features(side: str, images: ImageSet) -> FeatureSet:
        return extract(images, extractor, cache=cache, limit=limit, progress=progress, stage=f"{side}, {name}")

    warnings: tuple[str, ...] = ()
    found = ours = cached = None
    if is_reference(real):
        known = read_reference(Path(str(real)), extractor, cache if single else None)
        reference, cached, warnings = known.side, known.features, known.warnings
    else:
        found = features("real", real)
        reference = prepare(found.features)
    if is_reference(generated):
        stored = read_reference(Path(str(generated)), extractor)
        side, warnings = stored.side, (*warnings, *stored.warnings)
    else:
        ours = features("generated", generated)
        side = prepare(ours.features)
    return Sets(extractor.protocol, found, ours, reference, side, warnings, cached)


def _require_something(images: ImageSet) -> None:
    """A wrong path is said before anything slow starts."""
    if isinstance(images, str | Path) and not is_reference(images):
        require_images(list_folder(images))


def _sides(sets: Sets) -> list[tuple[str, FeatureSet]]:
    return [(name, one) for name, one in (("real", sets.real), ("generated", sets.generated)) if one is not None]


def _frechet(recipe: MetricRecipe, sets: Sets, curve: bool) -> list[Figure]:
    reference, side = sets.reference, sets.side
    found, kind = frechet(reference, side), sets.kind
    details = {
        "path": found.path,
        "rank": found.rank,
        "clamped": found.clamped,
        "clamped_share": found.clamped_share,
        "rounding": found.rounding,
        "mean_term": found.mean_term,
        "reference": kind.value,
    }
    if curve and sets.generated is not None:
        details["curve"] = _curve(sets.generated.features, lambda part: frechet(reference, part).value)
    unknown = NO_IMAGES if sets.generated is None else uncertainty.no_error(reference, side, kind)
    known: dict[str, Any] = {"warnings": (unknown,)}
    if not any(known["warnings"]):
        estimate = uncertainty.debiased(reference, side, reference=kind)
        known = {
            "debiased": estimate.value,
            "standard_error": estimate.se,
            "low": estimate.low,
            "high": estimate.high,
            "warnings": tuple(filter(None, (estimate.reliability, _small(sets)))),
        }
        details |= {"unseen": estimate.unseen, "worst": _worst(sets.generated, estimate.contributions)}
    return [
        Figure(
            metric=recipe.name,
            protocol=sets.protocol_of(recipe),
            value=found.value,
            n_real=reference.n,
            n_generated=side.n,
            details=details,
            **known,
        )
    ]


def _small(sets: Sets) -> str | None:
    """One sentence where a stored reference has so few images that they are most of the distance."""
    n, dim = sets.reference.n, sets.reference.dim
    if sets.kind is uncertainty.Reference.SAMPLE or n is None or n >= 4 * dim:
        return None
    return (
        f"The reference is a file of statistics of {n} images, below 4 times the {dim} dimensions of a feature, and is "
        "taken as it stands: what so few images add stays in the debiased distance too, about the same for every "
        "model; compare models by it, or give the folder of its images."
    )


def _kernel(recipe: MetricRecipe, sets: Sets, curve: bool) -> list[Figure]:
    real, settings = sets.real_features, recipe.settings
    unbiased = settings.get("estimate") != "V-statistic"

    def compare(part: np.ndarray) -> kernel.Discrepancy:
        if recipe.distance == "kid":
            return kernel.kid(real, part)
        return kernel.cmmd(real, part, unbiased=unbiased, sigma=settings["sigma"], scale=settings["scale"])

    features = sets.generated_features
    found = compare(features)
    details = {"curve": _curve(features, lambda part: compare(part).value)} if curve else {}
    return [
        Figure(
            metric=recipe.name,
            protocol=sets.protocol_of(recipe),
            value=found.value,
            n_real=found.n_real,
            n_generated=found.n_generated,
            standard_error=found.se,
            low=found.low,
            high=found.high,
            details=details,
        )
    ]


def _prdc(recipe: MetricRecipe, sets: Sets, curve: bool) -> list[Figure]:
    found = neighbours.prdc(sets.real_features, sets.generated_features, recipe.settings["k"])
    return [
        Figure(
            metric=name,
            protocol=sets.protocol_of(recipe),
            value=estimate.value,
            n_real=found.n_real,
            n_generated=found.n_generated,
            standard_error=estimate.se,
            low=estimate.low,
            high=estimate.high,
        )
        for name in ("precision", "recall", "density", "coverage")
        for estimate in [getattr(found, name)]
    ]


DISTANCES: Mapping[str, Callable[[MetricRecipe, Sets, bool], list[Figure]]] = {
    "frechet": _frechet,
    "kid": _kernel,
    "cmmd": _kernel,
    "prdc": _prdc,
}
KERNELS: Mapping[str, Callable[[MetricRecipe], dict[str, Any]]] = {
    "kid": lambda recipe: {"kernel": kernel.polynomial},
    "cmmd": lambda recipe: {
        "kernel": kernel.gaussian(recipe.settings["sigma"]),
        "scale": recipe.settings["scale"],
    },
}

PAIRED = ("frechet", *KERNELS)


def _worst(images: FeatureSet, contributions: np.ndarray) -> list[list[Any]]:
    """[name, contribution] of the images that add most to the distance, the worst first."""
    order = np.argsort(-contributions, kind="stable")[:WORST]
    return [[images.names[row], float(contributions[row])] for row in order]


def _curve(features: np.ndarray, distance: Callable[[np.ndarray], float]) -> list[list[float]]:
    """[n, mean distance of disjoint parts of n images] for all images, half of them, a quarter, …

    Parts are taken from one random order, so that folders sorted by content do no harm.
    """
    shuffled = features[np.random.default_rng(0).permutation(len(features))]
    points, parts = [], 1
    while (n := len(features) // parts) >= SMALLEST or parts == 1:
        values = [distance(shuffled[start * n : (start + 1) * n]) for start in range(min(parts, 4))]
        points.append([n, float(np.mean(values))])
        parts *= 2
    return points[::-1]


def _warnings(real: ImageSet, generated: ImageSet, sides: list[tuple[str, FeatureSet]]) -> list[str]:
    found = []
    for side, one in sides:
        if one.dropped:
            total = len(one.dropped) + len(one)
            found.append(f"{len(one.dropped)} of {total} {side} images were dropped: not decodable.")
    if isinstance(real, str | Path) and isinstance(generated, str | Path):
        ours, theirs = Path(real).resolve(), Path(generated).resolve()
        if ours == theirs:
            found.append("The real and the generated folder are the same.")
        elif ours.is_relative_to(theirs) or theirs.is_relative_to(ours):
            found.append("One folder lies inside the other, so its images count on both sides.")
    return found


def _once(items: Any) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(items))
