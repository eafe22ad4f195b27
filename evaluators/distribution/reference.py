"""A reference set as one file: statistics that know their protocol, and which pixels they were made of.

    images -> stream of features -> Accumulator -> file          `build`, in memory that does not depend on their number
    files of shards -> one file                                  `merge`, in one step or in several
    file -> Side                                                 `read_reference`

Fréchet distances take the statistics alone, whatever the cache holds, so that a file gives one answer. Metrics that
need single features (KID, precision, recall) find them in the feature cache by the pixels' hashes, if they are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from arena.domain import Protocol, fingerprint
from arena.errors import DataError
from evaluators.base import ImageSet, Progress, no_progress
from evaluators.distribution import statistics
from evaluators.distribution.audit import PIXELS, ImageFacts, look
from evaluators.distribution.cache import FeatureCache
from evaluators.distribution.extract import Image, Report, stream
from evaluators.distribution.features import Extractor
from evaluators.distribution.frechet import Side, prepare
from evaluators.distribution.statistics import Accumulator, Moments, Saved, Statistics
from evaluators.images import list_folder

SUFFIX = ".npz"
Shard = tuple[int, int]
"""(i, n): every n-th image from the i-th on."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a file says of a reference set, ready for comparison: `side` from its statistics alone, and `features` of
    its images where the cache was asked and has them all."""

    path: Path
    side: Side
    protocol: Protocol | None
    warnings: tuple[str, ...] = ()
    features: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """Statistics with the facts that are kept beside them, and what happened to the files."""

    statistics: Statistics
    facts: dict[str, Any]
    report: Report


@dataclass(frozen=True, slots=True)
class _Part:
    """A file that is to be merged."""

    path: Path
    saved: Saved

    @property
    def shards(self) -> list[Shard]:
        return [(i, of) for i, of in self.saved.facts.get("shards", [[1, 1]])]

    @property
    def whole(self) -> bool:
        return self.shards[0][1] == 1

    @property
    def source(self) -> str:
        return str(self.saved.facts.get("source"))

    @property
    def pixels(self) -> list[str]:
        return list(self.saved.facts.get("pixels", []))

    @property
    def split(self) -> tuple[str, int]:
        """Equal for what may be shards of one another: the folder and how often it was split."""
        return ("", 1) if self.whole else (str(self.saved.facts.get("folder", self.source)), self.shards[0][1])

    @property
    def digest(self) -> str:
        """Stands in for the pixels of a file that does not say them."""
        return fingerprint(n=self.saved.statistics.n, mean=self.saved.statistics.mean.tolist())


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
    files: list[ImageFacts] = []
    whole = shard == (1, 1)
    for part in stream(
        images, extractor, cache=cache, shard=shard, limit=limit, minimum=2 if whole else 1, progress=progress,
        report=report,
    ):  # fmt: skip
        gathered.add(part.features)
        pixels += [image.pixels_sha256 for image in part.images]
        files += [_file_facts(images, image) for image in part.images]
    source = str(images) if isinstance(images, str | Path) else "arrays"
    facts = {
        "source": source,
        "shards": [list(shard)],
        "pixels": pixels,
        "files": [list(astuple(one)) for one in files],
        "dropped": len(report.dropped),
    }
    if not whole and isinstance(images, str | Path):
        facts["folder"] = _listing_sha256(images)
    return Built(gathered.statistics(), facts, report)


def _file_facts(images: ImageSet, image: Image) -> ImageFacts:
    """What the file's header says; of arrays, and of a file that has gone meanwhile, what is known without it."""
    if isinstance(images, str | Path):
        with suppress(Exception):  # Pillow's own, of any kind
            return look(Path(images) / image.name)
    return ImageFacts(image.format or PIXELS, *image.size)


def merge(paths: Sequence[Path]) -> Saved:
    """The statistics of several files together, in an order that does not depend on theirs.

    Shards of one split may be merged in steps; the result says which it holds, and is used once it holds them all.
    Whole sets may be added to each other. Raises DataError where protocols differ, a shard or an image would count
    twice, or shards are of different folders or splits.
    """
    if not paths:
        raise DataError("There are no statistics to merge: name at least one file.")
    first = statistics.load(paths[0])
    parts = [_Part(path, statistics.load(path, first.protocol)) for path in paths]
    parts.sort(key=lambda part: (part.split, part.shards, part.saved.statistics.n, *part.saved.statistics.mean[:1]))
    sets = [list(group) for _, group in groupby(parts, key=lambda part: part.split)]
    _require_no_shard_twice(sets)
    _require_one_split(sets)
    _require_no_image_twice([[part] for part in parts if part.whole] + [each for each in sets if not each[0].whole])
    held = sorted(shard for part in parts for shard in part.shards)
    unfinished = len(sets) == 1 and bool(_missing(held))
    facts: dict[str, Any] = {
        "source": ", ".join(dict.fromkeys(part.source for part in parts)),
        "shards": [list(shard) for shard in held] if unfinished else [[1, 1]],
        "pixels": [pixels for part in parts for pixels in part.pixels],
        "files": [one for part in parts for one in part.saved.facts.get("files", [])],
        "dropped": sum(part.saved.facts.get("dropped", 0) for part in parts),
    }
    if unfinished and "folder" in parts[0].saved.facts:
        facts["folder"] = parts[0].saved.facts["folder"]
    return Saved(statistics.merge([part.saved.statistics for part in parts]), first.protocol, facts)


def require_whole(path: Path, saved: Saved) -> None:
    """Raises DataError where a file holds some shards of a set: as a whole set they would be a wrong number."""
    held = [(i, of) for i, of in saved.facts.get("shards", [])]
    missing = _missing(held)
    if missing:
        raise DataError(
            f"{path} holds {_shards(held)} of {saved.facts.get('source')}, not the whole set: merge it with "
            f"{_shards(missing)} first (`arena stats merge`)."
        )


def read_reference(path: Path, extractor: Extractor, cache: FeatureCache | None = None) -> Reference:
    """The reference in that file; with `cache`, also its images' features where the cache still has all of them.

    A file of pytorch-fid or clean-fid (mu, sigma) says neither its protocol nor its number of images: a warning.
    Raises DataError where the file is damaged, of another protocol, or holds only some shards of a set. Other versions
    of libraries are a warning.
    """
    saved = statistics.load_any(path)
    if isinstance(saved, Moments):
        note = f"{path} does not say by which protocol it was made, nor of how many images: that is up to you."
        return Reference(path, prepare(saved), None, (note,))
    wanted = extractor.protocol
    if _without_packages(saved.protocol) != _without_packages(wanted):
        statistics.load(path, wanted)  # says what is different
    require_whole(path, saved)
    notes = ()
    if saved.protocol.fingerprint != wanted.fingerprint:
        made, here = saved.protocol.settings.get("packages"), wanted.settings.get("packages")
        notes = (f"{path} was made with {made}, here are {here}: values may differ by rounding.",)
    features = _cached(saved.facts.get("pixels", []), extractor, cache) if cache else None
    return Reference(path, prepare(saved.statistics), saved.protocol, notes, features)


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


def _listing_sha256(folder: Path | str) -> str:
    """What the shards of one folder have in common, also where it lies elsewhere: the names and sizes of its files."""
    listing = list_folder(folder)
    return fingerprint(images=[[name, (listing.folder / name).stat().st_size] for name in listing.images])


def _missing(held: Sequence[Shard]) -> list[Shard]:
    return sorted({(i, of) for _, of in held for i in range(1, of + 1)} - set(held))


def _shards(shards: Sequence[Shard], shown: int = 4) -> str:
    names = [f"{i}/{of}" for i, of in shards[:shown]]
    more = f" and {len(shards) - shown} more" if len(shards) > shown else ""
    return f"shard{'s' if len(shards) > 1 else ''} {', '.join(names)}{more}"


def _require_no_shard_twice(sets: Iterable[Sequence[_Part]]) -> None:
    for parts in sets:
        held = [shard for part in parts for shard in part.shards if not part.whole]
        twice = sorted({shard for shard in held if held.count(shard) > 1})
        if twice:
            raise DataError(f"Shard {twice[0][0]}/{twice[0][1]} is there twice, so its images would count twice.")


def _require_one_split(sets: Sequence[Sequence[_Part]]) -> None:
    """Several sets may be added to each other, but each must be whole."""
    for parts in sets:
        missing = _missing([shard for part in parts for shard in part.shards])
        if missing and len(sets) > 1:
            other = next(others[0] for others in sets if others is not parts)
            raise DataError(
                f"{parts[0].path} is a shard of {parts[0].source}, and {other.path} is of another folder or another "
                f"split ({other.source}): merge {_shards(missing)} of the same folder to it first."
            )


def _require_no_image_twice(sets: Sequence[Sequence[_Part]]) -> None:
    """Copies within one folder count as often as they lie there; two sets have no image in common."""
    seen: dict[str, Path] = {}
    for parts in sets:
        own = {pixels: part.path for part in parts for pixels in part.pixels or [part.digest]}
        twice = [pixels for pixels in own if pixels in seen]
        if twice:
            count = "The same images are" if len(twice) > 1 else "The same image is"
            raise DataError(
                f"{count} in {seen[twice[0]]} and in {own[twice[0]]} ({len(twice)} in both), and would count twice: "
                "leave one of them out, or make the statistics of one folder that holds both sets."
            )
        seen |= own
