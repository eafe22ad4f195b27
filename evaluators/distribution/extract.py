"""A set of images -> its features, in path order: cached ones read, the others computed, bad files listed.

    file -> bytes -> (cache) -> pixels -> (cache) -> prepared -> batch -> features -> (cache)

Each file is read once and decoded at most once. Reading, decoding and resizing run beside the network, a bounded
number of images ahead, so that memory does not grow with the set: `stream` hands the features on in parts,
`extract` keeps them all.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import __version__ as pillow_version

from arena.domain import Protocol, fingerprint
from arena.errors import ImageError, UsageError
from evaluators.base import ImageSet, Progress, no_progress
from evaluators.distribution.cache import FeatureCache, FileFacts
from evaluators.distribution.features import Extractor, as_image, worker_threads
from evaluators.images import (
    DECODERS,
    MINIMUM_IMAGES,
    Listing,
    decode_noted,
    list_folder,
    read_bytes,
    require_images,
    too_few,
)

if TYPE_CHECKING:
    from torch import Tensor

Source = tuple[str, Path | Callable[[], bytes] | np.ndarray]
# Images in flight, beyond the batch that is filling: enough to keep the threads busy, few enough to forget.
AHEAD = 4
# So many features are handed on at once, unless a batch size was asked for.
PART = 64
# So many finished images may wait behind a batch that is not full; then it runs as it is.
MOST_WAITING = 1024


@dataclass(frozen=True, slots=True)
class Image:
    """One image as far as it has come. `vector` is float32 (dim,), else made from `prepared`; dropped has neither."""

    name: str
    pixels_sha256: str = ""
    size: tuple[int, int] = (0, 0)
    format: str = ""
    notes: tuple[str, ...] = ()
    vector: np.ndarray | None = None
    cached: bool = False
    prepared: Tensor | None = None
    dropped: str = ""


@dataclass(slots=True)
class Report:
    """What happened to the files of a set; filled while `stream` runs.

    `dropped` holds (name, reason), `converted` (name, note), `ignored` names without an image suffix, `notices`
    sentences for the reader. Names are paths relative to the folder, or "0", "1", … for arrays.
    """

    done: int = 0
    total: int = 0
    cached: int = 0
    dropped: list[tuple[str, str]] = field(default_factory=list)
    converted: list[tuple[str, str]] = field(default_factory=list)
    ignored: tuple[str, ...] = ()
    notices: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Part:
    """Images of a set with their features, float32 (n, dim), in path order."""

    images: tuple[Image, ...]
    features: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(image.name for image in self.images)


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """The features of a set, float32 (n, dim), image by image in path order, with all that happened on the way.

    `pixels` are sha256 (hex) of each image's decoded pixels, `sizes` (width, height), `formats` as Pillow names them
    ("" for arrays); `cached` counts the images whose features were known already. The rest is as in `Report`.
    """

    protocol: Protocol
    names: tuple[str, ...]
    features: np.ndarray
    pixels: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    formats: tuple[str, ...]
    dropped: tuple[tuple[str, str], ...] = ()
    converted: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    cached: int = 0

    def __len__(self) -> int:
        return len(self.names)


def extract(
    images: ImageSet,
    extractor: Extractor,
    *,
    cache: FeatureCache | None = None,
    limit: int | None = None,
    shard: tuple[int, int] = (1, 1),
    minimum: int = MINIMUM_IMAGES,
    progress: Progress = no_progress,
    stage: str = "features",
) -> FeatureSet:
    """All features of a folder, of named files, or of uint8 RGB arrays (h, w, 3) of any sizes.

    Arguments and errors as in `stream`.
    """
    report = Report()
    parts = list(
        stream(
            images, extractor, cache=cache, limit=limit, shard=shard, minimum=minimum, progress=progress, stage=stage,
            report=report,
        )
    )  # fmt: skip
    kept = [image for part in parts for image in part.images]
    return FeatureSet(
        extractor.protocol,
        tuple(image.name for image in kept),
        np.concatenate([part.features for part in parts]) if parts else np.empty((0, extractor.dim), np.float32),
        tuple(image.pixels_sha256 for image in kept),
        tuple(image.size for image in kept),
        tuple(image.format for image in kept),
        tuple(report.dropped),
        tuple(report.converted),
        report.ignored,
        tuple(report.notices),
        report.cached,
    )


def stream(
    images: ImageSet,
    extractor: Extractor,
    *,
    cache: FeatureCache | None = None,
    limit: int | None = None,
    shard: tuple[int, int] = (1, 1),
    minimum: int = MINIMUM_IMAGES,
    progress: Progress = no_progress,
    stage: str = "features",
    report: Report | None = None,
) -> Iterator[Part]:
    """The features in parts, in path order, in memory that does not depend on the number of images.

    `limit` takes the first so many good images. `shard` (i, n), 1 <= i <= n, takes every n-th file from the i-th on.
    Of named files ({name: function that reads its bytes}) those are dropped whose function raises ImageError.
    `minimum` is the least number of good images (1 or 0 may do for a shard). `progress(stage, done, total)` is called
    after every image, total 0 where unknown; what it raises stops the work. `report` is filled on the way.
    An interrupted run leaves what it computed in the cache.

    Raises ImageError (a set that cannot be used), UsageError (an argument), and what the extractor raises.
    """
    report = Report() if report is None else report
    _check_choices(limit, shard, minimum)
    sources = _sources(images, shard, report)
    report.total = min(report.total, limit) if limit and report.total else report.total
    decoder = fingerprint(pillow=pillow_version, **DECODERS[extractor.recipe.decode].settings)
    reader = _Reader(extractor, cache or FeatureCache(None), decoder)
    with worker_threads(extractor.threads) as pool:
        finished = islice(_kept(_in_order(sources, reader, pool), report, progress, stage), limit)
        while images_ := tuple(islice(finished, extractor.asked_batch or PART)):
            yield Part(images_, np.stack([image.vector for image in images_ if image.vector is not None]))
    report.notices.extend(reader.cache.notices)
    if report.done < minimum:
        where = images if isinstance(images, str | Path) else "The set"
        raise ImageError(too_few(where, report.done, report.dropped, shard))


@dataclass(frozen=True, slots=True)
class _Reader:
    """What a worker does with one image or one batch; the cache is asked before every step it can save."""

    extractor: Extractor
    cache: FeatureCache
    decoder: str

    def read(self, source: Source) -> Image:
        """A file or an array, as far as the network: cached, prepared, or dropped."""
        name, content = source
        if isinstance(content, Path):
            return self._read_file(name, partial(read_bytes, content))
        if callable(content):
            return self._read_file(name, content)
        pixels = as_image(content)
        return self._prepared(Image(name, pixels_sha256(pixels), (pixels.shape[1], pixels.shape[0])), pixels)

    def compute(self, batch: Sequence[Image]) -> np.ndarray:
        """Features of prepared images, float32 (k, dim), stored as soon as they are known."""
        features = self.extractor.run([image.prepared for image in batch if image.prepared is not None])
        self.cache.store_features(self.extractor.cache_key, [image.pixels_sha256 for image in batch], features)
        return features

    def _read_file(self, name: str, read: Callable[[], bytes]) -> Image:
        try:
            content = read()
            file_sha256 = hashlib.sha256(content).hexdigest()
            facts = self.cache.file(file_sha256, self.decoder)
            if facts is not None:
                image = Image(name, facts.pixels_sha256, facts.size, facts.format, facts.notes)
                vector = self._cached(image)
                if vector is not None:
                    return replace(image, vector=vector, cached=True)
            decoded = decode_noted(content, self.extractor.recipe.decode, name)
        except ImageError as error:
            return Image(name, dropped=str(error))
        height, width = decoded.pixels.shape[:2]
        facts = FileFacts(pixels_sha256(decoded.pixels), (width, height), decoded.format, decoded.notes)
        self.cache.store_file(file_sha256, self.decoder, facts)
        return self._prepared(Image(name, facts.pixels_sha256, facts.size, facts.format, facts.notes), decoded.pixels)

    def _prepared(self, image: Image, pixels: np.ndarray) -> Image:
        vector = self._cached(image)
        if vector is not None:
            return replace(image, vector=vector, cached=True)
        return replace(image, prepared=self.extractor.prepare(pixels))

    def _cached(self, image: Image) -> np.ndarray | None:
        return self.cache.features(image.pixels_sha256, self.extractor.cache_key, self.extractor.dim)


def pixels_sha256(pixels: np.ndarray) -> str:
    """sha256 (hex) of an image's height, width and uint8 RGB values."""
    digest = hashlib.sha256(f"{pixels.shape[0]}x{pixels.shape[1]} RGB\n".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


@dataclass(slots=True)
class _Batch:
    """Prepared images that the network takes together, and their features once it has begun."""

    images: list[Image] = field(default_factory=list)
    features: Future[np.ndarray] | None = None

    def start(self, reader: _Reader, pool: ThreadPoolExecutor) -> Future[np.ndarray]:
        if reader.extractor.on_gpu:  # one device, one thread; the pool goes on decoding meanwhile
            self.features = Future()
            self.features.set_result(reader.compute(self.images))
        else:
            self.features = pool.submit(reader.compute, self.images)
        return self.features


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An image in line; where it is being computed, it stands at `place` of a batch."""

    image: Image
    batch: _Batch | None = None
    place: int = 0

    @property
    def ready(self) -> bool:
        return self.batch is None or (self.batch.features is not None and self.batch.features.done())

    def finished(self) -> Image:
        """With its features; waits for them."""
        if self.batch is None or self.batch.features is None:
            return self.image
        return replace(self.image, vector=self.batch.features.result()[self.place], prepared=None)


def _in_order(sources: Iterable[Source], reader: _Reader, pool: ThreadPoolExecutor) -> Iterator[Image]:
    """Every image, with its features or dropped, in the order of the sources.

    Images that need the network gather until a batch is full; those behind them in line wait too. While more batches
    are under way than there are threads nothing more is read, and any of them that ends lets it go on.
    """
    extractor = reader.extractor
    line: deque[_Waiting] = deque()
    under_way: list[Future[np.ndarray]] = []
    batch = _Batch()
    for image in _ahead(reader.read, sources, pool, lambda: extractor.ahead + AHEAD * extractor.threads):
        line.append(_Waiting(image, batch, len(batch.images)) if image.prepared is not None else _Waiting(image))
        if image.prepared is not None:
            batch.images.append(image)
        if batch.images and (len(batch.images) == extractor.batch_size or len(line) >= MOST_WAITING):
            under_way.append(batch.start(reader, pool))
            batch = _Batch()
        while line and (line[0].ready or len(line) >= MOST_WAITING or len(under_way) > extractor.threads):
            if line[0].ready or len(line) >= MOST_WAITING:
                yield line.popleft().finished()
            else:
                wait(under_way, return_when=FIRST_COMPLETED)
                under_way = [features for features in under_way if not features.done()]
    if batch.images:
        batch.start(reader, pool)
    while line:
        yield line.popleft().finished()


def _kept(images: Iterable[Image], report: Report, progress: Progress, stage: str) -> Iterator[Image]:
    """Those with features; the others, and what had to be converted, go into the report."""
    for handled, image in enumerate(images, start=1):
        if image.dropped:
            report.dropped.append((image.name, image.dropped))
        else:
            report.done += 1
            report.cached += image.cached
            report.converted.extend((image.name, note) for note in image.notes)
        progress(stage, handled, report.total)
        if not image.dropped:
            yield image


def _sources(images: ImageSet, shard: tuple[int, int], report: Report) -> Iterable[Source]:
    """(name, file or array) of the shard's images; fills in the report what is known before any is read."""
    if isinstance(images, str | Path):
        listing = list_folder(images)
        require_images(listing)
        report.ignored = listing.ignored
        report.notices.extend(_links_notice(listing))
        names = listing.images[shard[0] - 1 :: shard[1]]
        report.total = len(names)
        return ((name, listing.folder / name) for name in names)
    if isinstance(images, Mapping):
        files = list(images.items())[shard[0] - 1 :: shard[1]]
        report.total = len(files)
        return files
    if isinstance(images, Sized):
        report.total = len(range(shard[0] - 1, len(images), shard[1]))
    numbered = ((str(number), np.asarray(image)) for number, image in enumerate(images))
    return islice(numbered, shard[0] - 1, None, shard[1])


def _links_notice(listing: Listing) -> list[str]:
    if not listing.links:
        return []
    first = listing.links[0]
    return [
        f"{len(listing.links)} images of {listing.folder} are links to files outside of it and were read as part of it "
        f"(the first: {first} -> {(listing.folder / first).resolve()})."
    ]


def _check_choices(limit: int | None, shard: tuple[int, int], minimum: int) -> None:
    if limit is not None and limit < max(1, minimum):
        raise UsageError(f"limit must be at least {max(1, minimum)} images, got {limit}.")
    if not 1 <= shard[0] <= shard[1]:
        raise UsageError(f"shard is i/n with 1 <= i <= n, got {shard[0]}/{shard[1]}.")
    if limit is not None and shard != (1, 1):
        raise UsageError("limit and shard do not go together: a shard cannot know how many good images others have.")


def _ahead(
    function: Callable[[Source], Image], items: Iterable[Source], pool: ThreadPoolExecutor, count: Callable[[], int]
) -> Iterator[Image]:
    """`map` in order, at most `count()` items, 1 or more, ahead of its reader."""
    remaining = iter(items)
    waiting: deque[Future[Image]] = deque()
    while True:
        waiting.extend(pool.submit(function, item) for item in islice(remaining, max(0, count() - len(waiting))))
        if not waiting:
            return
        yield waiting.popleft().result()
