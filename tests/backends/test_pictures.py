"""Bytes that somebody sent: an upright RGB image, or the reason why they are none."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageCms

from arena.backends.pictures import checked, decoded
from arena.errors import GenerationError
from tests.backends.conftest import png


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def test_an_image_is_turned_as_exif_says() -> None:
    image = Image.new("RGB", (4, 2), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decoded(saved(image, "JPEG", exif=exif)).size == (2, 4)


def test_transparency_is_on_white_not_black() -> None:
    assert decoded(saved(Image.new("RGBA", (4, 4), (9, 9, 9, 0)))).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([9, 9, 9])
    assert decoded(saved(palette, transparency=0)).getpixel((0, 0)) == (255, 255, 255)
    assert decoded(saved(Image.new("L", (4, 4), 77))).getpixel((0, 0)) == (77, 77, 77)


def test_another_colour_space_becomes_srgb() -> None:
    """Lab's own profile is none for RGB, so one that swaps nothing: sRGB itself changes a pixel by one at most."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = Image.new("RGB", (4, 4), (200, 100, 50))
    got = decoded(saved(plain, icc_profile=profile)).getpixel((0, 0))
    assert all(abs(a - b) <= 1 for a, b in zip(got, (200, 100, 50), strict=True))
    assert decoded(saved(plain, icc_profile=b"nonsense")).getpixel((0, 0)) == (200, 100, 50)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "nothing at all"),
        (b"  <!DOCTYPE HTML><p>", "an HTML page"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', "an SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "26 bytes that begin with|23 bytes that begin with"),
        (png()[:50], "a broken PNG|not an image"),
        (saved(Image.new("RGB", (64, 64), "red"), "JPEG")[:300], "a broken (JPEG|image)"),
    ],
)
def test_what_is_no_image_is_named(content: bytes, reason: str) -> None:
    with pytest.raises(GenerationError, match=reason) as told:
        decoded(content)
    assert told.value.paid, "whoever sent it may charge for it"


def test_black_all_over_is_a_failure_and_nearly_black_is_an_image() -> None:
    with pytest.raises(GenerationError, match="all-black"):
        checked(Image.new("RGB", (4, 4)))
    night = Image.new("RGB", (4, 4))
    night.putpixel((1, 1), (0, 0, 1))
    assert checked(night) is night
    assert checked(Image.new("L", (4, 4), 9)).mode == "RGB"
