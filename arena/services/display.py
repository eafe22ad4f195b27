"""The pictures that voters see: every image through one recipe, so that nothing but its content can tell its maker.

`display@1`: turned as its EXIF says, converted to sRGB from the profile it carries, laid on white where transparent,
scaled (Lanczos) to fit a square canvas of one size for all, centred on grey, and written as JPEG of quality 95 without
chroma subsampling and without metadata. What is sent of a battle is padded to one length for both sides. The stored
image stays as it is; renditions lie in the cache folder, are made once, and may be deleted.
"""

from __future__ import annotations

import io
from enum import StrEnum
from typing import TYPE_CHECKING

from arena.errors import ImageError
from db.renditions import Renditions

if TYPE_CHECKING:
    from PIL.Image import Image

    from arena.bootstrap import Arena
    from arena.domain import Battle, Side

RECIPE = "display@1"
MEDIA_TYPE = "image/jpeg"
QUALITY = 95
GREY = (128, 128, 128)
WHITE = (255, 255, 255)
STEP = 16 * 1024
"""Lengths are multiples of so many bytes."""


class Size(StrEnum):
    """Which of the two renditions: as it stands in the pair, or enlarged."""

    PAIR = "pair"
    FULL = "full"

    @property
    def pixels(self) -> int:
        """Width and height of the canvas."""
        return {Size.PAIR: 1024, Size.FULL: 2048}[self]


def side(arena: Arena, battle: Battle, which: Side, size: Size) -> bytes:
    """One side of a battle as it is sent: both sides have the same length."""
    assert battle.left.image and battle.right.image
    images = {"left": battle.left.image.sha256, "right": battle.right.image.sha256}
    both = {place: rendition(arena, sha256, size) for place, sha256 in images.items()}
    return padded(both[which], max(map(len, both.values())))


def alone(arena: Arena, sha256: str, size: Size = Size.PAIR) -> bytes:
    """One image as it is sent where it stands in no battle."""
    shown = rendition(arena, sha256, size)
    return padded(shown, len(shown))


def padded(rendition: bytes, length: int) -> bytes:
    """At least of this length, and of a multiple of STEP: after the end of a JPEG nothing is read."""
    return rendition.ljust(-(-length // STEP) * STEP, b"\0")


def rendition(arena: Arena, sha256: str, size: Size) -> bytes:
    """The image's rendition, made at the first call. Raises DataError where the image is gone or cannot be read."""
    made = Renditions(arena.settings.cache_dir / f"{RECIPE}-{size.pixels}")
    return made.get(sha256, lambda: normalised(arena.blobs.get(sha256), size.pixels))


def prepare(arena: Arena) -> int:
    """Make the missing renditions of every image that may come into a battle; returns how many were made."""
    made = Renditions(arena.settings.cache_dir / f"{RECIPE}-{Size.PAIR.pixels}")
    images = {
        attempt.image.sha256: None
        for contestant in arena.store.contestants()
        for attempt in arena.store.generations(contestant.id or 0, images_only=True)
        if attempt.image
    }
    missing = [sha256 for sha256 in images if not made.has(sha256)]
    for sha256 in missing:
        rendition(arena, sha256, Size.PAIR)
    return len(missing)


def normalised(content: bytes, pixels: int) -> bytes:
    """Any image file as JPEG of pixels × pixels. Raises ImageError for what is no image."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as opened:
            picture = on_canvas(as_srgb(opened), pixels)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"An image cannot be shown ({error}); generate it again.") from error
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def as_srgb(picture: Image) -> Image:
    """The picture upright, in 8-bit sRGB, on white where it was transparent, with nothing attached."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith(("I", "F")):  # 16 bits and more would be clipped, not scaled
        upright = upright.point(lambda value: value / 256).convert("L")
    if upright.has_transparency_data:
        opaque = Image.new("RGBA", upright.size, WHITE)
        opaque.alpha_composite(upright.convert("RGBA"))
        colours = opaque.convert("RGB")
    else:
        colours = _from_profile(upright)
    colours.info = {}
    return colours


def _from_profile(picture: Image) -> Image:
    """RGB by way of the colour profile that the file carries; a profile that cannot be read counts as sRGB."""
    from PIL import ImageCms

    profile = picture.info.get("icc_profile")
    if profile:
        try:
            source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError):
            pass
    return picture.convert("RGB")


def on_canvas(picture: Image, pixels: int) -> Image:
    """The picture as large as fits, centred on a square of grey."""
    from PIL import Image, ImageOps

    fitted = ImageOps.contain(picture, (pixels, pixels), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (pixels, pixels), GREY)
    canvas.paste(fitted, ((pixels - fitted.width) // 2, (pixels - fitted.height) // 2))
    return canvas
