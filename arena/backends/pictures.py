"""From bytes that somebody sent to an RGB image, or to the reason why they are none."""

from __future__ import annotations

import io
import warnings

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from arena.errors import GenerationError

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF")
"""What is opened: Pillow knows many more, and every decoder is a way in."""
MOST_PIXELS = 64_000_000
BLACK = "an all-black image, as safety filters and float16 overflows leave it"


def decoded(content: bytes) -> Image.Image:
    """The image, upright and in sRGB. Raises GenerationError that says what came instead."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise GenerationError(f"not an image: {described(content)}", paid=True) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise GenerationError(f"an image that unfolds too far ({error})", paid=True) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise GenerationError(f"a broken image ({error})", paid=True) from None
    return upright(opened)


def upright(opened: Image.Image) -> Image.Image:
    """All pixels of an opened image as RGB: turned as EXIF says, sRGB, on white where it is transparent."""
    width, height = opened.size
    if width * height > MOST_PIXELS:
        raise GenerationError(f"an image of {width}x{height} pixels, more than {MOST_PIXELS:,}", paid=True)
    try:
        opened.load()
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise GenerationError(f"a broken {opened.format or 'image'} ({error})", paid=True) from None
    turned = _in_srgb(ImageOps.exif_transpose(opened))
    if "A" in turned.getbands() or "transparency" in turned.info:
        on_white = Image.new("RGBA", turned.size, "white")
        on_white.alpha_composite(turned.convert("RGBA"))
        turned = on_white
    return turned.convert("RGB")


def _in_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        changed = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=image.mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return image if changed is None else changed


def described(content: bytes) -> str:
    """What bytes that are no image begin like, in a few words."""
    start = content[:512].lstrip().lower()
    if not content:
        return "nothing at all"
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if b"<svg" in start:
        return "an SVG, which has no pixels"
    return f"{len(content):,} bytes that begin with {content[:16]!r}"


def checked(image: Image.Image) -> Image.Image:
    """The image as RGB. Raises GenerationError for one that is black all over."""
    plain = upright(image) if image.mode != "RGB" else image
    if not any(high for _, high in plain.getextrema()):
        raise GenerationError(BLACK, paid=True)
    return plain
