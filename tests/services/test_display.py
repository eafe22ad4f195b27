"""What voters are shown: one recipe for all, nothing attached, and one length for both sides."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from arena.bootstrap import Arena
from arena.errors import DataError, ImageError
from arena.services import battles, display
from arena.services.display import Size
from db.renditions import Renditions
from tests.conftest import fill_with_swatches


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def a_picture(width: int = 48, height: int = 48) -> Image.Image:
    """A gradient with a corner that tells where up is."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    pixels = np.stack([across, down, np.full_like(across, 60)], axis=-1).astype(np.uint8)
    pixels[: height // 4, : width // 4] = 250
    return Image.fromarray(pixels)


def leaky_png() -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("parameters", "a bear, Model: Zebulon Prime")
    notes.add_itxt("workflow", '{"model": "Zebulon Prime"}')
    return encoded(a_picture(), pnginfo=notes, exif=exif(software="Zebulon Prime"))


def exif(software: str = "", orientation: int = 1) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0131], tags[0x0112] = software, orientation
    return tags


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("size", [(48, 48), (30, 60), (1500, 1100)])
def test_whatever_comes_in_one_format_and_size_goes_out(kind: str, size: tuple[int, int]) -> None:
    shown = decoded(display.normalised(encoded(a_picture(*size), kind), 256))
    assert (shown.format, shown.mode, shown.size) == ("JPEG", "RGB", (256, 256))
    assert set(shown.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_no_word_of_the_file_is_left() -> None:
    content = leaky_png()
    assert b"Zebulon" in content
    assert b"Zebulon" not in display.normalised(content, 256)


def test_the_same_pixels_give_the_same_bytes_whatever_was_attached() -> None:
    assert display.normalised(leaky_png(), 256) == display.normalised(encoded(a_picture()), 256)


def test_a_turned_photograph_stands_upright() -> None:
    """EXIF orientation 3 is half a turn."""
    turned = encoded(a_picture().rotate(180), exif=exif(orientation=3))
    upright = np.asarray(decoded(display.normalised(turned, 96)))
    assert np.abs(upright.astype(int) - np.asarray(a_picture().resize((96, 96), Image.Resampling.LANCZOS))).mean() < 3


def test_a_profile_is_converted_to_srgb() -> None:
    """One colour in L*a*b* and in sRGB: littleCMS's own conversion is the oracle; JPEG may move it by 3."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    patch = Image.new("LAB", (32, 32), (150, 150, 100))
    tagged = encoded(patch, "TIFF", icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())
    expected = ImageCms.profileToProfile(patch, lab, srgb, outputMode="RGB").getpixel((0, 0))
    shown = np.asarray(decoded(display.normalised(tagged, 32))).reshape(-1, 3).mean(axis=0)
    assert shown == pytest.approx(expected, abs=3)


def test_transparency_lies_on_white_and_sixteen_bits_are_scaled() -> None:
    clear = encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 0)))
    assert decoded(display.normalised(clear, 16)).getpixel((8, 8)) == (255, 255, 255)
    deep = encoded(Image.fromarray(np.full((8, 8), 128 * 256, np.uint16)))
    assert decoded(display.normalised(deep, 16)).getpixel((8, 8)) == pytest.approx((128, 128, 128), abs=2)


def test_a_narrow_picture_is_centred_on_grey_and_not_stretched() -> None:
    shown = decoded(display.normalised(encoded(Image.new("RGB", (50, 100), (200, 30, 30))), 100))
    assert [shown.getpixel(at) for at in ((5, 50), (95, 50))] == [(128, 128, 128)] * 2
    assert shown.getpixel((50, 50)) == pytest.approx((200, 30, 30), abs=4)


@pytest.mark.parametrize("content", [b"", b"no image", encoded(a_picture(300, 200))[:500]])
def test_what_is_no_image_is_refused_with_a_sentence(content: bytes) -> None:
    with pytest.raises(ImageError, match="generate it again"):
        display.normalised(content, 64)


def test_both_sides_have_one_length_and_still_decode(seeded: Arena) -> None:
    for battle in battles.open_battles(seeded, "person:x", n=4, rng=Random(1)):
        for size in Size:
            left, right = (battles.image(seeded, battle.token, side, size)[0] for side in ("left", "right"))
            assert len(left) == len(right) and len(left) % display.STEP == 0
            for content in (left, right):
                shown = decoded(content)
                shown.load()
                assert shown.size == (size.pixels, size.pixels)


@pytest.mark.parametrize(("length", "padded"), [(1, 16384), (16384, 16384), (16385, 32768)])
def test_lengths_are_rounded_up(length: int, padded: int) -> None:
    assert len(display.padded(b"", length)) == padded


def test_a_rendition_is_made_once_and_the_stored_image_stays(any_arena: Arena, tmp_path: Path) -> None:
    seeded = fill_with_swatches(any_arena)
    before = {path: path.read_bytes() for path in seeded.settings.images_dir.rglob("*") if path.is_file()}
    assert display.prepare(seeded) == 18 and display.prepare(seeded) == 0
    after = {path: path.read_bytes() for path in seeded.settings.images_dir.rglob("*") if path.is_file()}
    assert before == after

    made: list[str] = []

    def make(content: bytes) -> Callable[[], bytes]:
        return lambda: made.append("made") or content

    kept = Renditions(tmp_path / "kept")
    assert [kept.get("ab" * 32, make(b"one")), kept.get("ab" * 32, make(b"two"))] == [b"one", b"one"]
    assert made == ["made"]


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert Renditions(tmp_path / "file").get("ab" * 32, lambda: b"made") == b"made"


def test_a_lost_image_is_an_error_and_leaves_no_rendition(any_arena: Arena) -> None:
    seeded = fill_with_swatches(any_arena)
    (battle,) = battles.open_battles(seeded, "person:x", n=1)
    image = seeded.store.battle(battle.token).left.image
    assert image is not None
    seeded.blobs.path(image.sha256).unlink()
    with pytest.raises(DataError):
        battles.image(seeded, battle.token, "left")
