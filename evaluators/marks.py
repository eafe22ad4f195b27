"""Does an image file say that a model made it? Bytes are searched; nothing is decoded and no package is needed.

What generators write, by its own name: IPTC's DigitalSourceType in XMP or in a C2PA manifest
(`trainedAlgorithmicMedia`; CBOR and XMP both hold the word as plain text), the PNG text chunks of Stable Diffusion web
UI (`parameters`), ComfyUI (`prompt`, `workflow`), InvokeAI and NovelAI, and the web UI's parameters in EXIF. A file
without any mark may be generated all the same: marks go with the first re-encoding.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

PNG = b"\x89PNG\r\n\x1a\n"
TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt"}
KEYWORDS = {
    "parameters": "Stable Diffusion web UI", "workflow": "ComfyUI", "prompt": "ComfyUI",
    "sd-metadata": "InvokeAI", "invokeai_metadata": "InvokeAI", "invokeai_graph": "InvokeAI", "Dream": "InvokeAI",
    "generation_data": "a generator",
}  # fmt: skip
"""Keyword of a PNG text chunk -> who writes it."""
SOURCE_TYPES = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "compositeSynthetic")
"""IPTC's digital source types that say a model made the picture, or a part of it."""
MOST = 1 << 20
"""A text that inflates to more is cut off there."""


class Mark(NamedTuple):
    """What says so ("PNG text chunk 'workflow'"), and what it says."""

    where: str
    said: str

    def __str__(self) -> str:
        return f"{self.where}: {self.said}"


def mark(content: bytes) -> Mark | None:
    """The first mark in a file that says a model made the picture; None where there is none."""
    return _source_type(content) or _png_text(content) or _exif(content)


def _source_type(content: bytes) -> Mark | None:
    for name in SOURCE_TYPES:
        if name.encode() in content:
            where = "C2PA manifest" if b"c2pa" in content else "XMP"
            return Mark(f"{where}, DigitalSourceType", name)
    return None


def _png_text(content: bytes) -> Mark | None:
    if not content.startswith(PNG):
        return None
    for keyword, text in _texts(content):
        if keyword in KEYWORDS:
            return Mark(f"PNG text chunk {keyword!r}", KEYWORDS[keyword])
        if keyword == "Software" and "NovelAI" in text:
            return Mark("PNG text chunk 'Software'", "NovelAI")
        found = next((name for name in SOURCE_TYPES if name in text), None)
        if found:
            return Mark("XMP, DigitalSourceType", found)
    return None


def _texts(content: bytes) -> Iterator[tuple[str, str]]:
    """Keyword and text of each text chunk; a chunk that is cut off ends them."""
    place = len(PNG)
    while place + 12 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        body = content[place + 8 : place + 8 + length]
        if kind in TEXT_CHUNKS:
            keyword, _, rest = body.partition(b"\0")
            yield keyword.decode("latin-1"), _text(kind, rest)
        place += 12 + length


def _text(kind: bytes, rest: bytes) -> str:
    packed = rest[1:] if kind == b"zTXt" else None
    if kind == b"iTXt":
        # compression flag and method, language, translated keyword, text (PNG specification, 11.3.3.4)
        flag, (_, _, rest) = rest[:1], ([*rest[2:].split(b"\0", 2), b"", b"", b""])[:3]
        packed = rest if flag == b"\1" else None
    if packed is not None:
        try:
            rest = zlib.decompressobj().decompress(packed, MOST)
        except zlib.error:
            return ""
    return rest.decode("utf-8", "replace")


def _exif(content: bytes) -> Mark | None:
    """The web UI's line `Steps: 20, Sampler: Euler, …`, which its JPEG and WebP carry as EXIF's UserComment."""
    for coding in ("ascii", "utf-16-be", "utf-16-le"):
        if "Steps: ".encode(coding) in content and ", Sampler: ".encode(coding) in content:
            return Mark("EXIF UserComment", "Stable Diffusion web UI")
    return None
