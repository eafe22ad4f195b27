"""Every bad input of a real folder, on real files, and the pixels of every conversion."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from arena.errors import ImageError
from evaluators.images import DECODERS, MAX_PIXELS, decode, decode_noted, list_folder

from .conftest import blocks, write_pngs


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG written by hand, for depths that Pillow cannot write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, colour_type, 0, 0, 0])
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_rgb_comes_back_as_it_was_written():
    (image,) = blocks(0, 1, (24, 40))
    decoded = decode_noted(encoded(Image.fromarray(image)))
    np.testing.assert_array_equal(decoded.pixels, image)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.notes == ()


@pytest.mark.parametrize(
    ("orientation", "seen"),
    [
        (1, lambda stored: stored),
        (2, lambda stored: stored[:, ::-1]),
        (3, lambda stored: stored[::-1, ::-1]),
        (4, lambda stored: stored[::-1]),
        (5, lambda stored: stored.transpose(1, 0, 2)),
        (6, lambda stored: np.rot90(stored, -1)),
        (7, lambda stored: stored[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda stored: np.rot90(stored, 1)),
    ],
)
def test_exif_orientation_turns_the_pixels(orientation, seen):
    """The eight cases of the EXIF standard (tag 0x0112); PNG keeps pixels exact."""
    (stored,) = blocks(1, 1, (24, 40))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_noted(encoded(Image.fromarray(stored), exif=exif))
    np.testing.assert_array_equal(decoded.pixels, seen(stored))
    assert decoded.notes == (() if orientation == 1 else ("EXIF orientation applied",))


def test_damaged_exif_does_not_cost_the_image():
    (image,) = blocks(2, 1)
    content = encoded(Image.fromarray(image), exif=b"Exif\x00\x00nonsense that is no TIFF")
    np.testing.assert_array_equal(decode(content), image)


def test_16_bit_grey_is_rescaled_not_clipped():
    values = np.linspace(0, 65535, 256 * 16).astype(np.uint16).reshape(64, 64)
    decoded = decode_noted(encoded(Image.fromarray(values)))
    np.testing.assert_array_equal(decoded.pixels[..., 0], np.round(values / 257.0))
    assert "16-bit grey scaled to 8 bit" in decoded.notes


def test_16_bit_grey_pgm_is_rescaled():
    values = np.array([[0, 257, 32896, 65535]], dtype=">u2")
    assert decode(b"P5 4 1 65535\n" + values.tobytes())[0, :, 0].tolist() == [0, 1, 128, 255]


def test_16_bit_colour_is_within_one_level():
    values = np.random.default_rng(3).integers(0, 65536, (8, 8, 3)).astype(">u2")
    rows = b"".join(b"\x00" + row.tobytes() for row in values)
    decoded = decode_noted(png(8, 8, 16, 2, rows))
    assert np.abs(decoded.pixels - values / 257.0).max() <= 1
    assert decoded.notes == ("16-bit colour cut to its high byte",)


def test_32_bit_has_no_known_white():
    with pytest.raises(ImageError, match="no agreed white"):
        decode(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))


@pytest.mark.parametrize(
    ("mode", "colour", "seen"), [("RGBA", (10, 20, 200, 51), (206, 208, 244)), ("LA", (10, 51), (206,) * 3)]
)
def test_alpha_is_composited_on_white(mode, colour, seen):
    """51 / 255 = 0.2 of the colour and 0.8 of white."""
    decoded = decode_noted(encoded(Image.new(mode, (4, 4), colour)))
    assert tuple(decoded.pixels[0, 0]) == seen
    assert "alpha composited on white" in decoded.notes


def test_opaque_alpha_changes_nothing():
    assert decode_noted(encoded(Image.new("RGBA", (4, 4), (1, 2, 3, 255)))).notes == ()


def test_transparent_palette_entry_becomes_white():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    pixels = decode(encoded(image, transparency=1))
    assert pixels.tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_transparent_16_bit_grey_level_becomes_white():
    image = Image.fromarray(np.array([[0, 512]], dtype=np.uint16))
    assert decode(encoded(image, transparency=0))[0, :, 0].tolist() == [255, 2]


@pytest.mark.parametrize(
    ("image", "format", "seen"),
    [
        (Image.new("L", (4, 4), 7), "PNG", (7, 7, 7)),
        (Image.new("1", (4, 4), 1), "PNG", (255, 255, 255)),
        (Image.new("CMYK", (4, 4), (255, 0, 0, 0)), "TIFF", (0, 255, 255)),
        (Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG", (0, 0, 0)),
    ],
)
def test_other_colour_models_become_rgb(image, format, seen):
    decoded = decode_noted(encoded(image, format))
    assert tuple(decoded.pixels[0, 0]) == seen
    assert len(decoded.notes) == 1


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    decoded = decode_noted(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))
    assert tuple(decoded.pixels[0, 0]) == (255, 0, 0)
    assert decoded.notes == ("first of 3 frames",)


def test_srgb_profile_is_left_alone_and_another_is_converted():
    image = Image.new("RGB", (4, 4), (200, 100, 50))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert decode_noted(encoded(image, icc_profile=srgb)).notes == ()

    # The same profile under another name, its red and blue primaries exchanged: red must come out as blue.
    swapped = srgb.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")
    for name in (b"sRGB", "sRGB".encode("utf-16-be")):
        swapped = swapped.replace(name, name.replace(b"R", b"X"))
    decoded = decode_noted(encoded(image, icc_profile=swapped))
    assert decoded.notes == ("ICC profile converted to sRGB",)
    np.testing.assert_allclose(decoded.pixels[0, 0], (50, 100, 200), atol=2)


def test_unusable_profile_is_noted():
    decoded = decode_noted(encoded(Image.new("RGB", (4, 4), (9, 8, 7)), icc_profile=b"no profile"))
    assert tuple(decoded.pixels[0, 0]) == (9, 8, 7)
    assert decoded.notes == ("ICC profile not convertible, ignored",)


def bad_files() -> dict[str, tuple[bytes, str]]:
    whole = encoded(Image.fromarray(blocks(4, 1, (64, 64))[0]))
    photo = encoded(Image.fromarray(blocks(4, 1, (64, 64))[0]), "JPEG")
    return {
        "truncated.png": (whole[: len(whole) // 2], "damaged"),
        "truncated.jpg": (photo[: len(photo) // 2], "truncated"),
        "text.png": (b"not an image at all\n", "not an image"),
        "empty.png": (b"", "0 bytes"),
        "bomb.png": (png(20_000, 20_000, 8, 2, b""), "too many pixels|more than the limit"),
        "large.png": (png(10_000, 10_000, 8, 2, b""), "too many pixels|more than the limit"),
    }


@pytest.mark.parametrize("name", bad_files())
def test_bad_file_is_an_image_error_that_names_it(tmp_path, name):
    content, reason = bad_files()[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        decode(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert str(caught.value).endswith(".")
    assert MAX_PIXELS < 10_000 * 10_000


def test_missing_file_is_an_image_error(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.png cannot be read"):
        decode(tmp_path / "gone.png")


def test_folder_lists_every_file_once(tmp_path):
    images = blocks(5, 3)
    write_pngs(tmp_path, images[:2])
    write_pngs(tmp_path / "deep" / "er", images[2:])
    for name, (content, _) in bad_files().items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "labels.csv").write_text("a,b")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / ".thumbnails").mkdir()
    write_pngs(tmp_path / ".thumbnails", images)
    Image.new("L", (8, 8), 3).save(tmp_path / "zgrey.PNG", "PNG")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "deep" / "up").symlink_to(tmp_path)

    listing = list_folder(tmp_path)

    good = {"0000.png", "0001.png", "deep/er/0000.png", "zgrey.PNG"}
    assert listing.images == tuple(sorted({*good, *bad_files(), "dangling.png"}))
    assert listing.ignored == ("labels.csv",)


def test_linked_folder_is_followed(tmp_path):
    write_pngs(tmp_path / "elsewhere", blocks(6, 2))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    assert len(list_folder(tmp_path / "set").images) == 2


def test_listing_says_what_lies_outside(tmp_path):
    """Links within the folder are no news; a link up to it is not walked again."""
    elsewhere = write_pngs(tmp_path / "elsewhere", blocks(6, 2))
    folder = write_pngs(tmp_path / "set", blocks(7, 2))
    (folder / "in.png").symlink_to("0000.png")
    (folder / "out.png").symlink_to(elsewhere / "0000.png")
    (folder / "outer").symlink_to(elsewhere)
    (folder / "up").symlink_to(folder)
    (folder / "notes.txt").symlink_to(elsewhere / "0001.png")
    listing = list_folder(folder)
    assert listing.images == ("0000.png", "0001.png", "in.png", "out.png", "outer/0000.png", "outer/0001.png")
    assert listing.links == ("out.png", "outer/0000.png", "outer/0001.png")
    assert listing.ignored == ("notes.txt",)


def test_a_linked_folder_given_by_name_is_the_folder(tmp_path):
    write_pngs(tmp_path / "real", blocks(6, 2))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert list_folder(tmp_path / "link").links == ()


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGBA", (4, 4), (10, 20, 200, 51)),
        Image.new("LA", (4, 4), (10, 51)),
        Image.new("L", (4, 4), 7),
        Image.new("P", (4, 4), 1),
        Image.new("RGB", (4, 4), (1, 2, 3)),
    ],
)
def test_the_plain_decoder_is_pillows_convert(image):
    """What pytorch-fid, clean-fid and torch-fidelity do with a file."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(image, exif=exif)
    decoded = decode_noted(content, "pillow-rgb")
    np.testing.assert_array_equal(decoded.pixels, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    assert len(decoded.notes) == (image.mode != "RGB")
    assert decoded.format == "PNG"


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", bad_files())
def test_every_decoder_names_a_bad_file(name, decoder):
    with pytest.raises(ImageError, match=r"^the picture "):
        decode_noted(bad_files()[name][0], decoder, "the picture")


def test_importing_the_room_does_not_import_torch():
    code = (
        "import sys, evaluators.base, evaluators.images, evaluators.distribution.measure; print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "False"
