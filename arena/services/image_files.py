"""One image file: read from inside a folder and nowhere else, and decoded to see whether it is whole."""

from __future__ import annotations

import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena.errors import ImageError
from evaluators.images import MAX_PIXELS

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded, by Pillow's names. None of them calls another program, as PostScript would."""
LARGEST_FILE = 64 << 20
LARGE_PIXELS = 16_000_000
"""Larger images are decoded one at a time."""
TURNED = range(5, 9)
"""EXIF orientations that swap width and height."""
EXIF_ORIENTATION = 0x0112

_large = threading.Lock()


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Every format is known to Pillow, and an image somewhat above its limit fails, of which it would only warn."""
    from PIL import Image

    Image.init()
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read_inside(root: Path, path: str) -> bytes:
    """A file below `root`, which is a real path. Raises ImageError where it is none, or a link leads out."""
    if not path:
        raise ImageError("A row has neither a path nor an image; remove it.")
    real = os.path.realpath(root / path)
    if not real.startswith(str(root).rstrip(os.sep) + os.sep):
        raise ImageError(f"{path} leads out of the folder through a link; put the file itself there.")
    try:
        found = Path(real).stat()
        if not stat.S_ISREG(found.st_mode):
            raise ImageError(f"{path} is no file; give an image.")
        if found.st_size > LARGEST_FILE:
            raise ImageError(f"{path} has {found.st_size >> 20} MB, more than {LARGEST_FILE >> 20}; scale it down.")
        return Path(real).read_bytes()
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{path} cannot be read ({said}); put it there and import again.") from error


def look(content: bytes, name: str) -> tuple[int, int, str]:
    """Width and height in pixels, upright as EXIF says, and the media type of an image that decodes as a whole.

    Raises ImageError, naming it, for one that does not, or that unfolds to more than MAX_PIXELS.
    """
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise ImageError(f"{name} is empty (0 bytes); write it again.")
    if b"<svg" in content[:1024].lower():
        raise ImageError(f"{name} is an SVG, a drawing without pixels; save it as PNG.")
    try:
        with Image.open(io.BytesIO(content), formats=_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(name)
            with _one_at_a_time(image.width * image.height):
                image.load()
            width, height = image.size[::-1] if _turned(image) else image.size
            return width, height, Image.MIME[image.format or ""]
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image in a format known here; save it as PNG.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name) from error
    except Exception as error:  # decoders raise anything on damaged input: OSError, SyntaxError, struct.error, …
        raise ImageError(f"{name} is damaged ({' '.join(str(error).split())[:120]}); save it again.") from error


def _turned(image: Image.Image) -> bool:
    try:
        return image.getexif().get(EXIF_ORIENTATION) in TURNED
    except Exception:  # damaged EXIF says nothing of the pixels; Pillow raises SyntaxError, struct.error, …
        return False


@cache
def _formats() -> list[str]:
    """Those of FORMATS that this Pillow can read."""
    from PIL import Image

    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _one_at_a_time(pixels: int) -> AbstractContextManager[Any]:
    return _large if pixels > LARGE_PIXELS else nullcontext()


def _too_large(name: str) -> ImageError:
    return ImageError(f"{name} has more than {MAX_PIXELS:,} pixels; scale it down.")
