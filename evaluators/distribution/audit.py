"""What two sets of images differ in before any network looks at them: sizes, files, compression, alpha, grey, copies;
and whether the real ones say that a model made them.

A distance between sets sees such differences as well as it sees the pictures (Parmar, Zhang and Zhu 2022,
arXiv:2104.11222, measured several points of FID for a resize or a JPEG quality), so they are said beside the score.
Facts come from headers; copies are found by the pixels' hashes.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from arena.errors import ImageError
from evaluators import marks
from evaluators.distribution.extract import pixels_sha256
from evaluators.distribution.features import usable_cores, worker_threads
from evaluators.images import decode_noted, list_folder, read_bytes, require_images

# Annex K.1 of the JPEG standard (ITU T.81): the luminance table that libjpeg scales by quality.
_LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
FEW = 5
"""So many names stand for all in a finding."""
APART = 0.1
"""Shares of a set that differ by no more are called alike."""
JPEG = "JPEG"
PIXELS = "pixels"
"""The format of images that came as arrays: nothing is known of their files."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a file's header says: pixels across and down, format, alpha, grey, and libjpeg's quality, 1 to 100.

    `mark`: what in the file says that a model made the picture (see `evaluators.marks`).
    """

    format: str
    width: int
    height: int
    alpha: bool = False
    grey: bool = False
    jpeg_quality: int | None = None
    mark: str | None = None


@dataclass(frozen=True, slots=True)
class SetFacts:
    """A set in numbers. `sizes` and `formats` count images, most frequent first; quality is the median of its JPEGs."""

    n: int
    sizes: tuple[tuple[str, int], ...]
    formats: tuple[tuple[str, int], ...]
    jpeg_quality: float | None
    alpha: int
    grey: int
    copies: int
    marked: tuple[str, ...] = ()
    """Names of the images that say a model made them."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Both sets, the names of images whose pixels stand in both, and what to make of it, a sentence each."""

    real: SetFacts
    generated: SetFacts
    in_both: tuple[tuple[str, str], ...]
    findings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def audit_folders(
    real: Path, generated: Path, progress: Callable[[str, int, int], None] = lambda stage, done, total: None
) -> Audit:
    """Audits two folders; reads every image once. Raises ImageError where a folder cannot be used."""
    sides = []
    for side, folder in (("real", real), ("generated", generated)):
        listing = list_folder(folder)
        require_images(listing)
        facts: dict[str, ImageFacts] = {}
        pixels: dict[str, str] = {}
        with worker_threads(usable_cores()) as pool:
            seen = pool.map(_facts_and_pixels, (listing.folder / name for name in listing.images))
            for done, (name, found) in enumerate(zip(listing.images, seen, strict=True), start=1):
                if found is not None:
                    facts[name], pixels[name] = found
                progress(side, done, len(listing.images))
        sides.append((facts, pixels))
    (ours, our_pixels), (theirs, their_pixels) = sides
    return audit(ours, theirs, our_pixels, their_pixels)


def _facts_and_pixels(path: Path) -> tuple[ImageFacts, str] | None:
    """None of what cannot be decoded: it is dropped, and said, where scores are made."""
    try:
        content = read_bytes(path)
        pixels = pixels_sha256(decode_noted(content).pixels)
        return look(content), pixels
    except ImageError:
        return None


def look(source: Path | bytes) -> ImageFacts:
    """The facts of an image file or its bytes. Raises whatever Pillow raises where there is no image."""
    content = source if isinstance(source, bytes) else read_bytes(source)
    found = marks.mark(content)
    with Image.open(io.BytesIO(content)) as image:
        return ImageFacts(
            format=image.format or "unknown",
            width=image.width,
            height=image.height,
            alpha=image.has_transparency_data,
            grey=image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I"),
            jpeg_quality=jpeg_quality(image.quantization[0]) if image.format == JPEG else None,  # type: ignore[attr-defined]
            mark=found and str(found),
        )


def marked(names: Sequence[str], contents: Iterable[bytes | None]) -> list[tuple[str, str]]:
    """Name and mark of each image that says a model made it; None stands for what cannot be read."""
    found = ((name, content and marks.mark(content)) for name, content in zip(names, contents, strict=True))
    return [(name, str(mark)) for name, mark in found if mark]


def marked_in(folder: Path, progress: Callable[[str, int, int], None] = lambda stage, done, total: None) -> list[str]:
    """The finding on a folder of real images, as a list of one sentence or none; each file is read once.

    Raises ImageError where the folder cannot be read.
    """
    listing = list_folder(folder)

    def contents() -> Iterator[bytes | None]:
        for done, name in enumerate(listing.images, start=1):
            progress("marks", done, len(listing.images))
            try:
                yield read_bytes(listing.folder / name)
            except ImageError:
                yield None

    return marked_finding(len(listing.images), marked(listing.images, contents()))


def marked_finding(n: int, found: Sequence[tuple[str, str]]) -> list[str]:
    """That real images are not, in a sentence; nothing where none says so."""
    if not found:
        return []
    names = ", ".join(name for name, _ in found[:FEW]) + (" …" if len(found) > FEW else "")
    return [
        f"{len(found)} of {n} real images say that a model made them ({names}; {found[0][1]}): a distance to them "
        "is no distance to real images, take them out."
    ]


def jpeg_quality(table: Sequence[int]) -> int:
    """The quality, 1 to 100, at which libjpeg's luminance table adds up most nearly to this one (64 numbers).

    Sums fall strictly with quality, and do not depend on the order in which a reader lists the table.
    """
    wanted = sum(table)
    return min(range(1, 101), key=lambda quality: abs(_table_sum(quality) - wanted))


def _table_sum(quality: int) -> int:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return sum(min(max((entry * scale + 50) // 100, 1), 255) for entry in _LUMINANCE)


def audit(
    real: Mapping[str, ImageFacts],
    generated: Mapping[str, ImageFacts],
    real_pixels: Mapping[str, str] | None = None,
    generated_pixels: Mapping[str, str] | None = None,
) -> Audit:
    """Compares two sets by name -> facts and name -> sha256 of the pixels (where known)."""
    real_pixels, generated_pixels = real_pixels or {}, generated_pixels or {}
    ours, theirs = _set_facts(real, real_pixels), _set_facts(generated, generated_pixels)
    first_real: dict[str, str] = {}
    for name, pixels in real_pixels.items():
        first_real.setdefault(pixels, name)
    in_both = tuple((first_real[p], name) for name, p in generated_pixels.items() if p in first_real)
    made = [(name, one.mark) for name, one in real.items() if one.mark]
    return Audit(ours, theirs, in_both, (*marked_finding(ours.n, made), *_findings(ours, theirs, in_both)))


def _set_facts(facts: Mapping[str, ImageFacts], pixels: Mapping[str, str]) -> SetFacts:
    qualities = [one.jpeg_quality for one in facts.values() if one.jpeg_quality is not None]
    return SetFacts(
        n=len(facts) or len(pixels),
        sizes=_counted(f"{one.width}×{one.height}" for one in facts.values()),
        formats=_counted(one.format for one in facts.values()),
        jpeg_quality=median(qualities) if qualities else None,
        alpha=sum(one.alpha for one in facts.values()),
        grey=sum(one.grey for one in facts.values()),
        copies=len(pixels) - len(set(pixels.values())),
        marked=tuple(name for name, one in facts.items() if one.mark),
    )


def _counted(values: Any) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _findings(real: SetFacts, generated: SetFacts, in_both: Sequence[tuple[str, str]]) -> list[str]:
    found = []
    if in_both:
        names = ", ".join(name for _, name in in_both[:FEW]) + (" …" if len(in_both) > FEW else "")
        found.append(
            f"{len(in_both)} generated images are real ones, pixel for pixel ({names}): the distance is too small."
        )
    found += _copies("real", real) + _copies("generated", generated)
    found += _size(real, generated) + _compression(real, generated)
    for what, ours, theirs, so in (
        ("transparency", real.alpha, generated.alpha, "it was composited on white"),
        ("no colour", real.grey, generated.grey, "grey was repeated to RGB"),
    ):
        if ours or theirs:
            found.append(f"{ours} of {real.n} real and {theirs} of {generated.n} generated images have {what}: {so}.")
    return found


def _copies(side: str, facts: SetFacts) -> list[str]:
    if not facts.copies:
        return []
    return [f"{facts.copies} of {facts.n} {side} images are copies of others in the set: it is smaller than it looks."]


def _size(real: SetFacts, generated: SetFacts) -> list[str]:
    if not real.sizes or not generated.sizes:
        return []
    ours, theirs = _usual(real.sizes), _usual(generated.sizes)
    shares = [dict(side.sizes).get(theirs, 0) / side.n for side in (real, generated)]
    if ours != theirs:
        how = f"real images are mostly {ours}, generated ones {theirs}"
    elif abs(shares[0] - shares[1]) > APART:
        how = f"{shares[0]:.0%} of real and {shares[1]:.0%} of generated images are {theirs}"
    else:
        return []
    return [f"Sizes differ: {how}; the resize to the network's input blurs or sharpens one side."]


def _compression(real: SetFacts, generated: SetFacts) -> list[str]:
    if not real.formats or not generated.formats:
        return []
    shares = [dict(side.formats).get(JPEG, 0) / side.n for side in (real, generated)]
    if abs(shares[0] - shares[1]) > APART:
        return [
            f"{shares[0]:.0%} of real and {shares[1]:.0%} of generated images are JPEG: the distance sees the "
            "compression too; save both alike."
        ]
    qualities = (real.jpeg_quality, generated.jpeg_quality)
    if None not in qualities and abs(qualities[0] - qualities[1]) > 3:  # type: ignore[operator]
        return [
            f"JPEG qualities differ: about {qualities[0]:.0f} for real and {qualities[1]:.0f} for generated images; "
            "the distance sees that too."
        ]
    return []


def _usual(sizes: tuple[tuple[str, int], ...]) -> str:
    return sizes[0][0]
