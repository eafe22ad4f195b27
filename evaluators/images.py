"""Folders of images, read honestly: every file is scored, listed as dropped with a reason, or listed as ignored.

    folder -> list_folder -> decode -> uint8 RGB arrays

What decoding does, in this order, is `RECIPE`: it changes scores, so it belongs in their protocol.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from arena.errors import ImageError

IMAGE_SUFFIXES = frozenset(
    {
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif", ".heic", ".heif", ".jxl"),
    }
)
# Pillow's own limit (a quarter of a gigabyte as RGB); kept here because any importer may switch Pillow's off.
MAX_PIXELS = 89_478_485
MINIMUM_IMAGES = 2
RECIPE = {
    "animation": "first frame",
    "orientation": "EXIF applied",
    "16 bit grey": "round(v * 255 / 65535)",
    "16 bit colour": "high byte",
    "icc": "to sRGB, relative colorimetric, black point compensation",
    "cmyk without icc": "Pillow",
    "grey": "repeated to RGB",
    "alpha": "composited on white",
}
PLAIN_RECIPE = {"all": "Pillow's convert('RGB') of the first frame"}
EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels, uint8 RGB (h, w, 3), a note for each conversion that was needed, and the file's format ("PNG")."""

    pixels: np.ndarray
    notes: tuple[str, ...] = ()
    format: str = ""


@dataclass(frozen=True, slots=True)
class Decoder:
    """A way from a file to pixels, and the words for it in a protocol."""

    settings: Mapping[str, str]
    convert: Callable[[Image.Image], Decoded]


def decode(source: Path | str | bytes) -> np.ndarray:
    """The image as it is meant to be seen: uint8 RGB (h, w, 3), 0 black to 255 white, sRGB.

    Animations give their first frame; EXIF orientation is applied; 16-bit grey is rescaled, not clipped;
    an ICC profile is converted to sRGB; grey, palette and CMYK become RGB; alpha is composited on white.
    Raises ImageError, naming the file, where it cannot be decoded whole.
    """
    return decode_noted(source).pixels


def decode_noted(source: Path | str | bytes, decoder: str = "seen", name: str = "") -> Decoded:
    """`decode` with a note for each conversion that changed or chose pixels; `decoder` is a key of DECODERS.

    `name` is what messages call the image. Raises ImageError.
    """
    name = name or ("the image" if isinstance(source, bytes) else str(source))
    content = source if isinstance(source, bytes) else read_bytes(Path(source))
    if not content:
        raise ImageError(f"{name} is empty (0 bytes): remove it or write it again.")
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(name, f"{image.width}x{image.height} pixels")
            container = image.format or ""
            return replace(DECODERS[decoder].convert(image), format=container)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image in a format known here: remove it or save it as PNG.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name, "too many pixels") from error
    except Exception as error:  # decoders raise anything on damaged input: OSError, SyntaxError, struct.error, ...
        raise ImageError(f"{name} is damaged or not supported ({error}): remove it or save it again as PNG.") from error


def read_bytes(path: Path) -> bytes:
    """Raises ImageError, naming the file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(
            f"{path} cannot be read ({error.strerror or error}): check the path and its permissions."
        ) from error


def require_images(listing: Listing) -> None:
    """Raises ImageError where a folder has no file with an image suffix."""
    if not listing.images:
        count = len(listing.ignored)
        others = f"its {count} files have no image suffix" if count else "it is empty"
        raise ImageError(
            f"No images in {listing.folder}: {others}; put at least {MINIMUM_IMAGES} images there, for example PNG."
        )


def too_few(folder: Path | str, good: int, dropped: Sequence[tuple[str, str]], shard: tuple[int, int] = (1, 1)) -> str:
    """Why a folder with fewer than two usable images cannot be scored, or a shard without any not be kept."""
    first = f" ({len(dropped)} dropped, the first because {dropped[0][1].rstrip('.')})" if dropped else ""
    count = "only one usable image" if good else "no usable image"
    if shard != (1, 1):
        return f"Shard {shard[0]}/{shard[1]} of {folder} has {count}{first}: split it into fewer shards."
    return f"{folder} has {count}{first}: a distance between sets needs at least {MINIMUM_IMAGES} images on each side."


def _too_large(name: str, size: str) -> ImageError:
    return ImageError(f"{name} has {size}, more than the limit of {MAX_PIXELS}: scale it down or remove it.")


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies below a folder, without hidden files and folders, sorted by path; names are relative to the folder.

    `links` are the images whose content lies outside the folder: they, or a folder above them, are links.
    """

    folder: Path
    images: tuple[str, ...]
    ignored: tuple[str, ...]
    links: tuple[str, ...]


def list_folder(folder: Path | str) -> Listing:
    """Linked folders are followed, each once. Raises ImageError where it is missing, a file, or unreadable."""
    folder = Path(folder)
    if not folder.exists():
        raise ImageError(f"No folder {folder}: check the path.")
    if not folder.is_dir():
        raise ImageError(f"{folder} is a file, not a folder: give the folder that holds the images.")
    root = os.path.realpath(folder)
    files: list[str] = []
    links: set[str] = set()
    entered: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_refuse_unreadable):
        real = os.path.realpath(parent)
        if real in entered:  # a link back up would walk forever and count images twice
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(parent, folder).replace(os.sep, "/")
        here = {f"{below}/{name}" if below != "." else name: name for name in names if not name.startswith(".")}
        files.extend(here)
        links.update(name for name, entry in here.items() if _leads_outside(root, real, parent, entry))
    images: list[str] = []
    ignored: list[str] = []
    for name in sorted(files):
        (images if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES else ignored).append(name)
    return Listing(folder, tuple(images), tuple(ignored), tuple(name for name in images if name in links))


def _leads_outside(root: str, real_parent: str, parent: str, entry: str) -> bool:
    path = Path(parent, entry)
    real = str(path.resolve()) if path.is_symlink() else f"{real_parent}{os.sep}{entry}"
    return not real.startswith(root.rstrip(os.sep) + os.sep)


def _refuse_unreadable(error: OSError) -> None:
    raise ImageError(f"Folder {error.filename} cannot be listed ({error.strerror}): check its permissions.") from error


def _to_rgb(image: Image.Image) -> Decoded:
    """Raises whatever Pillow raises on damaged input."""
    notes = []
    if getattr(image, "is_animated", False):
        notes.append(f"first of {image.n_frames} frames")  # type: ignore[attr-defined]
    stored_16_bit = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    high_byte = stored_16_bit and image.mode in ("RGB", "RGBA", "LA")
    container, profile = image.format, image.info.get("icc_profile")
    try:
        turned = image.getexif().get(EXIF_ORIENTATION) in range(2, 9)
    except Exception:  # damaged EXIF says nothing of the pixels; Pillow raises SyntaxError, struct.error, ...
        turned = False
        notes.append("EXIF unreadable, ignored")
    image.load()
    if turned:
        image = ImageOps.exif_transpose(image)
        notes.append("EXIF orientation applied")
    if high_byte:
        notes.append("16-bit colour cut to its high byte")
    if image.mode.startswith("I") or image.mode == "F":
        image = _grey_from_16_bit(image, container)
        notes.append("16-bit grey scaled to 8 bit")
    if image.mode in ("P", "PA"):
        notes.append("palette expanded to RGB")

    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    colour = _without_alpha(image)
    if colour.mode == "L":
        notes.append("grey repeated to RGB")
    if colour.mode == "CMYK":
        notes.append("CMYK converted to RGB")
    rgb, profile_note = _to_srgb(colour, profile)
    notes.extend(profile_note)
    if alpha is not None and np.asarray(alpha).min() < 255:
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
        notes.append("alpha composited on white")
    return Decoded(np.array(rgb, dtype=np.uint8), tuple(notes))


def _without_alpha(image: Image.Image) -> Image.Image:
    """The colours alone, in mode L, CMYK or RGB (or another that converts to RGB)."""
    if image.mode in ("1", "L"):
        return image.convert("L")
    if image.mode in ("LA", "La"):
        return image.convert("LA").getchannel("L")
    if image.mode in ("RGBa", "PA") or image.has_transparency_data:
        return image.convert("RGBA").convert("RGB")
    return image if image.mode == "CMYK" else image.convert("RGB")


def _grey_from_16_bit(image: Image.Image, container: str | None) -> Image.Image:
    """Mode L from 16-bit grey; a transparent grey level, where the file names one, becomes alpha (mode LA).

    Pillow's own convert("L") clips every value above 255 to white. Raises ValueError for 32-bit data.
    """
    if not image.mode.startswith("I;16") and not (image.mode == "I" and container in ("PNG", "PPM")):
        raise ValueError("32-bit pixels have no agreed white level; save it with 8 or 16 bits")
    values = np.asarray(image).astype(np.int64)
    grey = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _to_srgb(colour: Image.Image, profile: Any) -> tuple[Image.Image, list[str]]:
    """RGB, and a note where an ICC profile was applied or could not be."""
    if not profile:
        return colour.convert("RGB"), []
    try:
        source = ImageCms.getOpenProfile(io.BytesIO(profile))
        # sRGB to sRGB through a colour engine only adds rounding, and most tagged files are sRGB.
        if "sRGB" in ImageCms.getProfileDescription(source) and colour.mode == "RGB":
            return colour, []
        converted = ImageCms.profileToProfile(
            colour,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        assert converted is not None  # only an in-place conversion returns None
        return converted, ["ICC profile converted to sRGB"]
    except (ImageCms.PyCMSError, OSError, TypeError):
        return colour.convert("RGB"), ["ICC profile not convertible, ignored"]


def _plain_rgb(image: Image.Image) -> Decoded:
    """What the usual tools do: alpha is dropped with the colours beneath it, EXIF and ICC are not looked at."""
    rgb = image.convert("RGB")
    notes = () if image.mode == "RGB" else (f"mode {image.mode} converted to RGB by Pillow",)
    return Decoded(np.array(rgb, dtype=np.uint8), notes)


DECODERS: Mapping[str, Decoder] = {
    "seen": Decoder(RECIPE, _to_rgb),
    "pillow-rgb": Decoder(PLAIN_RECIPE, _plain_rgb),
}
