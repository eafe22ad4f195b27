"""A reference set as one file: statistics that know their protocol, and which pixels they were made of.

    images -> stream of features -> Accumulator -> file          `build`, in memory that does not depend on their number
    files of shards -> one file                                  `merge`
    file -> Side                                                 `read_reference`

Metrics that need single features (KID, precision, recall) find them in the feature cache by the pixels' hashes, where
they still are; Fréchet distances need the statistics alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arena.domain import Protocol, fingerprint
from arena.errors import DataError
from evaluators.base import ImageSet, Progress, no_progress
from evaluators.distribution import statistics
from evaluators.distribution.cache import FeatureCache
from evaluators.distribution.extract import Report, stream
from evaluators.distribution.features import Extractor
from evaluators.distribution.frechet import Side, prepare
from evaluators.distribution.statistics import Accumulator, Saved, Statistics

SUFFIX = ".npz"


@dataclass(frozen=True, slots=True)
class Reference:
    """What a file says of a reference set, ready for comparison; `side.features` is None with statistics alone."""

    path: Path
    side: Side
    protocol: Protocol | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Built:
    """Statistics with the facts that are kept beside them, and what happened to the files."""

    statistics: Statistics
    facts: dict[str, Any]
    report: Report


def is_reference(images: object) -> bool:
    """Whether this names a file of statistics rather than images."""
    return isinstance(images, str | Path) and Path(images).suffix == SUFFIX


def build(
    images: ImageSet,
    extractor: Extractor,
    *,
    cache: FeatureCache | None = None,
    shard: tuple[int, int] = (1, 1),
    limit: int | None = None,
    progress: Progress = no_progress,
) -> Built:
    """The statistics of a folder or of arrays, or of every n-th image from the i-th on (`shard` (i, n)).

    Raises what `extract.stream` raises.
    """
    report, gathered, pixels = Report(), Accumulator(), []
    whole = shard == (1, 1)
    for part in stream(
        images, extractor, cache=cache, shard=shard, limit=limit, minimum=2 if whole else 1, progress=progress,
        report=report,
    ):  # fmt: skip
        gathered.add(part.features)
        pixels += [image.pixels_sha256 for image in part.images]
    source = str(images) if isinstance(images, str | Path) else "arrays"
    facts = {"source": source, "shards": [list(shard)], "pixels": pixels, "dropped": len(report.dropped)}
    return Built(gathered.statistics(), facts, report)


def merge(paths: Sequence[Path]) -> Saved:
    """The statistics of several files together, in an order that does not depend on theirs.

    Raises DataError where protocols differ, or where a shard is there twice or missing.
    """
    if not paths:
        raise DataError("There are no statistics to merge: name at least one file.")
    first = statistics.load(paths[0])
    known = [(path, statistics.load(path, first.protocol)) for path in paths]
    known.sort(key=lambda item: item[1].facts.get("shards", []))
    shards = [tuple(shard) for _, saved in known for shard in saved.facts.get("shards", [[1, 1]])]
    _require_whole(shards)
    facts = {
        "source": ", ".join(dict.fromkeys(str(saved.facts.get("source")) for _, saved in known)),
        "shards": [list(shard) for shard in shards] if any(of > 1 for _, of in shards) else [[1, 1]],
        "pixels": [pixels for _, saved in known for pixels in saved.facts.get("pixels", [])],
        "dropped": sum(saved.facts.get("dropped", 0) for _, saved in known),
    }
    if sorted(shards) == [(i, len(shards)) for i in range(1, len(shards) + 1)]:
        facts["shards"] = [[1, 1]]
    return Saved(statistics.merge([saved.statistics for _, saved in known]), first.protocol, facts)


def read_reference(path: Path, extractor: Extractor, cache: FeatureCache) -> Reference:
    """The reference in that file, with its images' features where the cache still has all of them.

    A file of pytorch-fid or clean-fid (mu, sigma) says neither its protocol nor its number of images: a warning.
    Raises DataError where the file is damaged, or of another protocol. Other versions of libraries are a warning.
    """
    try:
        saved = statistics.load(path)
    except DataError:
        moments = statistics.import_npz(path)
        note = f"{path} does not say by which protocol it was made, nor of how many images: that is up to you."
        return Reference(path, prepare(moments), None, (note,))
    wanted = extractor.protocol
    if _without_packages(saved.protocol) != _without_packages(wanted):
        statistics.load(path, wanted)  # says what is different
    notes = ()
    if saved.protocol.fingerprint != wanted.fingerprint:
        made, here = saved.protocol.settings.get("packages"), wanted.settings.get("packages")
        notes = (f"{path} was made with {made}, here are {here}: values may differ by rounding.",)
    features = _cached(saved.facts.get("pixels", []), extractor, cache)
    side = prepare(saved.statistics) if features is None else prepare(features)
    return Reference(path, side, saved.protocol, notes)


def _cached(pixels: Sequence[str], extractor: Extractor, cache: FeatureCache) -> np.ndarray | None:
    found = []
    for one in pixels:
        vector = cache.features(one, extractor.cache_key, extractor.dim)
        if vector is None:
            return None
        found.append(vector)
    return np.stack(found) if found else None


def _without_packages(protocol: Protocol) -> str:
    settings = {name: value for name, value in protocol.settings.items() if name != "packages"}
    return fingerprint(**{"id": protocol.id, **settings})


def _require_whole(shards: list[tuple[int, int]]) -> None:
    """Shards of one split are there once each; sets that were never split may be added to each other."""
    split = [shard for shard in shards if shard[1] > 1]
    twice = sorted({shard for shard in split if split.count(shard) > 1})
    if twice:
        raise DataError(f"Shard {twice[0][0]}/{twice[0][1]} is there twice, so its images would count twice.")
    counts = {of for _, of in split}
    missing = sorted((i, of) for of in counts for i in range(1, of + 1) if (i, of) not in split)
    if missing:
        raise DataError(f"Shard {missing[0][0]}/{missing[0][1]} is missing: make it, or leave the others out too.")
