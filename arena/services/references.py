"""Reference sets of an arena: what they are compared as, which content they have, and what is known of their files.

The embedded one is rendered anew for every run; the others are files of `arena stats --name`. A set is known by its
content, not by its name: one that was made anew under the same name is another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from arena.domain import fingerprint
from arena.errors import DataError, UsageError
from arena.services.teddies import rendered, scenes_of
from evaluators.distribution import statistics
from evaluators.distribution.audit import PIXELS, ImageFacts, audit, look
from evaluators.distribution.extract import FeatureSet, pixels_sha256

if TYPE_CHECKING:
    from collections.abc import Callable

    from arena.bootstrap import Arena

TEDDIES = "rendered teddies"
"""The reference set of the embedded world: its prompts, rendered anew."""
REFERENCES = "references"
REFERENCE_SEED = 0
COPIES, SIZES, FILES = CHECKS = ("copies", "sizes", "files")
"""What is looked for: images on both sides; sizes; formats, compression, transparency and colour."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference as `measure` takes it, its name and the hash of its content for the record, and what is known of it.

    `facts` and `pixels` are those of its images by name, each empty where its file does not have them; `unknown` says
    in a sentence what is not known.
    """

    images: Path | list[np.ndarray]
    name: str
    content: str
    facts: Mapping[str, ImageFacts] = field(default_factory=dict)
    pixels: Mapping[str, str] = field(default_factory=dict)
    unknown: str | None = None

    @property
    def checks(self) -> tuple[str, ...]:
        """Those of CHECKS for which enough is known."""
        files = bool(self.facts) and all(one.format != PIXELS for one in self.facts.values())
        known = {COPIES: bool(self.pixels), SIZES: bool(self.facts), FILES: files}
        return tuple(check for check in CHECKS if known[check])

    def named_in(self, sentence: str) -> str:
        """The sentence with the set's name in the place of its file's path, as a page shows it."""
        named = f"Reference set {self.name!r}"
        return sentence.replace(str(self.images), named) if isinstance(self.images, Path) else sentence


@dataclass(frozen=True, slots=True)
class Findings:
    """What a distance would see apart from the pictures, a sentence each; what was looked for, and why not the rest."""

    sentences: tuple[str, ...]
    checked: tuple[str, ...]
    unchecked: str | None


def names(arena: Arena) -> list[str]:
    """The embedded one, and those of `arena stats --name`."""
    return [TEDDIES, *sorted(path.stem for path in (arena.settings.data_dir / REFERENCES).glob("*.npz"))]


def open_reference(arena: Arena, name: str, n_real: int) -> Reference:
    """The set of that name; of the teddies `n_real` images, of all teddy prompts in turn, the same for every model.

    Raises UsageError where there is none, DataError where its file is damaged.
    """
    if name != TEDDIES:
        return _named(arena, name)
    prompts = [prompt for prompt in arena.store.prompts() if scenes_of([prompt])]
    prompts_hash = fingerprint(texts=[prompt.text for prompt in prompts])
    recorded = f"teddies-{prompts_hash[:8]}-{n_real}"
    recipe = {"world": "teddies", "prompts": prompts_hash, "seed": REFERENCE_SEED}
    arena.store.add_reference_set(recorded, n_real, recipe)
    images = [np.asarray(image) for image in rendered(scenes_of(prompts), n_real, REFERENCE_SEED)]
    facts = {str(i): ImageFacts("rendered", image.shape[1], image.shape[0]) for i, image in enumerate(images)}
    pixels = {str(i): pixels_sha256(image) for i, image in enumerate(images)}
    return Reference(images, recorded, _content(pixels.values()), facts, pixels)


def _named(arena: Arena, name: str) -> Reference:
    path = arena.settings.data_dir / REFERENCES / f"{name}.npz"
    if not path.is_file():
        raise UsageError(f"There is no reference set {name!r}: known: {', '.join(names(arena))}.")
    try:
        saved = statistics.load(path)
    except DataError as damaged:
        return _of_another_tool(path, name, damaged)
    known, n = saved.statistics, saved.statistics.n
    hashes, rows = saved.facts.get("pixels", []), saved.facts.get("files", [])
    pixels = {str(i): one for i, one in enumerate(hashes)} if len(hashes) == n else {}
    facts = {str(i): ImageFacts(*row) for i, row in enumerate(rows)} if len(rows) == n else {}
    content = _content(pixels.values()) if pixels else _arrays(known.mean, known.m2)
    return Reference(path, name, content, facts, pixels, _unknown(name, facts, pixels))


def _of_another_tool(path: Path, name: str, damaged: DataError) -> Reference:
    try:
        moments = statistics.import_npz(path)
    except DataError:
        raise damaged from None
    return Reference(path, name, _arrays(moments.mean, moments.covariance), unknown=_unknown(name, {}, {}))


def _unknown(name: str, facts: Mapping[str, ImageFacts], pixels: Mapping[str, str]) -> str | None:
    if not pixels:
        return (
            f"The file of the reference set {name!r} does not say which images it was made of, so neither copies nor "
            "sizes and formats could be compared."
        )
    if not facts:
        return (
            f"The file of the reference set {name!r} was made by an earlier version and does not hold sizes and "
            "formats; make it again with arena stats to have them compared."
        )
    if any(one.format == PIXELS for one in facts.values()):
        return (
            f"The reference set {name!r} was made of pixels without files, so formats, compression, transparency and "
            "colour could not be compared."
        )
    return None


def _content(pixels: Iterable[str]) -> str:
    """The same for the same images, in whatever order."""
    return fingerprint(pixels=sorted(pixels))


def _arrays(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def require_unchanged(arena: Arena, reference: Reference) -> None:
    """Raises DataError where its file was made anew since it was opened: a run measures against one set."""
    if isinstance(reference.images, Path) and _named(arena, reference.name).content != reference.content:
        raise DataError(f"The reference set {reference.name!r} was made anew during this run: start it again.")


def looked(files: Mapping[str, Callable[[], bytes]]) -> dict[str, ImageFacts]:
    """The facts of files by name, without those that cannot be read."""
    facts: dict[str, ImageFacts] = {}
    for name, read in files.items():
        with suppress(Exception):  # Pillow's own, of any kind; a score names what it could not read
            facts[name] = look(read())
    return facts


def compare(reference: Reference, images: FeatureSet, facts: Mapping[str, ImageFacts]) -> Findings:
    """What can be said of a model's measured images, of which these are the facts, and the reference."""
    measured = {name: facts[name] for name in images.names if name in facts}
    if FILES not in reference.checks:  # then theirs are no finding
        measured = {name: ImageFacts(PIXELS, one.width, one.height) for name, one in measured.items()}
    theirs = dict(zip(images.names, images.pixels, strict=True))
    found = audit(reference.facts, measured, reference.pixels, theirs)
    return Findings(found.findings, reference.checks, reference.unknown)
