"""The audit against files written with known formats, qualities and pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluators.distribution.audit import ImageFacts, audit, jpeg_quality, look


def encoded(image: Image.Image, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **how)  # type: ignore[arg-type]
    return buffer.getvalue()


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8))


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 87, 95, 100])
def test_jpeg_quality_is_the_one_it_was_saved_with(quality: int) -> None:
    """Pillow saves through libjpeg, whose tables the quality scales."""
    assert look(encoded(NOISE, format="JPEG", quality=quality)).jpeg_quality == quality


def test_every_quality_has_its_own_table() -> None:
    tables = [Image.open(io.BytesIO(encoded(NOISE, format="JPEG", quality=q))).quantization[0] for q in range(1, 101)]
    assert [jpeg_quality(table) for table in tables] == [*range(1, 101)]


@pytest.mark.parametrize(
    ("image", "form", "expected"),
    [
        (NOISE, "PNG", ImageFacts("PNG", 24, 16)),
        (NOISE.convert("L"), "PNG", ImageFacts("PNG", 24, 16, grey=True)),
        (NOISE.convert("RGBA"), "PNG", ImageFacts("PNG", 24, 16, alpha=True)),
        (NOISE.convert("LA"), "PNG", ImageFacts("PNG", 24, 16, alpha=True, grey=True)),
        (NOISE, "WEBP", ImageFacts("WEBP", 24, 16)),
    ],
)
def test_headers_are_read(image: Image.Image, form: str, expected: ImageFacts, tmp_path: Path) -> None:
    assert look(encoded(image, format=form)) == expected
    path = tmp_path / "one"
    path.write_bytes(encoded(image, format=form))
    assert look(path) == expected


def several(n: int, **facts: object) -> dict[str, ImageFacts]:
    return {str(i): ImageFacts(**{"format": "PNG", "width": 64, "height": 64, **facts}) for i in range(n)}  # type: ignore[arg-type]


def test_equal_sets_leave_nothing_to_say() -> None:
    found = audit(several(3), several(4), {"0": "a", "1": "b", "2": "c"}, {"0": "d", "1": "e"})
    assert found.findings == () and found.in_both == ()
    assert (found.real.n, found.generated.n) == (3, 4)
    assert found.real.sizes == (("64×64", 3),) and found.real.formats == (("PNG", 3),)


def test_copies_between_and_within_sets_are_named() -> None:
    found = audit(several(3), several(3), {"0": "a", "1": "a", "2": "c"}, {"0": "c", "1": "x", "2": "c"})
    assert found.in_both == (("2", "0"), ("2", "2"))
    assert (found.real.copies, found.generated.copies) == (1, 1)
    assert found.findings[0].startswith("2 generated images are real ones, pixel for pixel (0, 2)")
    assert "1 of 3 real images are copies" in found.findings[1]


def test_what_a_distance_would_see_is_said() -> None:
    real = several(4, format="JPEG", jpeg_quality=75, width=512, height=512)
    png = audit(real, several(4, alpha=True))
    assert "real images are mostly 512×512, generated ones 64×64" in png.findings[0]
    assert "100% of real and 0% of generated images are JPEG" in png.findings[1]
    assert "0 of 4 real and 4 of 4 generated images have transparency" in png.findings[2]
    jpeg = audit(real, several(4, format="JPEG", jpeg_quality=95, width=512, height=512))
    assert jpeg.findings == (
        "JPEG qualities differ: about 75 for real and 95 for generated images; the distance sees that too.",
    )
    assert audit(real, several(4, format="JPEG", jpeg_quality=76, width=512, height=512)).findings == ()


def test_a_part_of_another_size_is_said_too() -> None:
    real = {str(i): ImageFacts("PNG", 64 if i < 5 else 200, 64) for i in range(8)}
    generated = {str(i): ImageFacts("PNG", 64, 64) for i in range(8)}
    [finding] = audit(real, generated).findings
    assert finding.startswith("Sizes differ: 62% of real and 100% of generated images are 64×64;")


def test_what_is_not_known_of_a_side_is_no_finding() -> None:
    """A reference of which the pixels' hashes alone are known, one of them twice."""
    generated = {"a": ImageFacts("JPEG", 64, 64, jpeg_quality=75)}
    found = audit({}, generated, {"0": "p", "1": "p"}, {"a": "q"})
    assert found.findings == ("1 of 2 real images are copies of others in the set: it is smaller than it looks.",)


def test_an_audit_is_plain_json() -> None:
    import json

    assert json.loads(json.dumps(audit(several(2), several(2)).as_json()))["real"]["n"] == 2
