"""Marks that a model made an image, in files written by Pillow with what generators write."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from typer.testing import CliRunner

from arena.cli import app
from evaluators.distribution.audit import audit, look, marked_in
from evaluators.marks import mark

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8))
XMP = (
    '<x:xmpmeta><rdf:Description Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/{}"/>'
    "</x:xmpmeta>"
)
PARAMETERS = "a bear\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1"


def encoded(form: str = "PNG", **how: object) -> bytes:
    buffer = io.BytesIO()
    NOISE.save(buffer, form, **how)  # type: ignore[arg-type]
    return buffer.getvalue()


def png(keyword: str, text: str, *, packed: bool = False, international: bool = False) -> bytes:
    info = PngInfo()
    (info.add_itxt if international else info.add_text)(keyword, text, zip=packed)
    return encoded(pnginfo=info)


def exif() -> bytes:
    from PIL import ExifTags

    found = Image.Exif()
    found.get_ifd(ExifTags.IFD.Exif)[0x9286] = b"UNICODE\0" + PARAMETERS.encode("utf-16-be")
    return found.tobytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (png("parameters", PARAMETERS), "PNG text chunk 'parameters': Stable Diffusion web UI"),
        (png("parameters", PARAMETERS, packed=True), "PNG text chunk 'parameters': Stable Diffusion web UI"),
        (png("workflow", "{}"), "PNG text chunk 'workflow': ComfyUI"),
        (png("invokeai_metadata", "{}", international=True), "PNG text chunk 'invokeai_metadata': InvokeAI"),
        (png("Software", "NovelAI"), "PNG text chunk 'Software': NovelAI"),
        (
            png("XML:com.adobe.xmp", XMP.format("trainedAlgorithmicMedia"), international=True),
            "XMP, DigitalSourceType: trainedAlgorithmicMedia",
        ),
        (
            png("XML:com.adobe.xmp", XMP.format("trainedAlgorithmicMedia"), packed=True, international=True),
            "XMP, DigitalSourceType: trainedAlgorithmicMedia",
        ),
        (
            encoded("JPEG", xmp=XMP.format("compositeWithTrainedAlgorithmicMedia").encode()),
            "XMP, DigitalSourceType: compositeWithTrainedAlgorithmicMedia",
        ),
        (encoded("WEBP", xmp=XMP.format("trainedAlgorithmicMedia").encode()), "XMP, DigitalSourceType: trainedAlgo"),
        (encoded("JPEG", exif=exif()), "EXIF UserComment: Stable Diffusion web UI"),
    ],
)
def test_what_generators_write_is_found(content: bytes, said: str) -> None:
    found = mark(content)
    assert str(found).startswith(said)


@pytest.mark.parametrize(
    "content",
    [
        encoded(), encoded("JPEG"), encoded("WEBP"), b"", b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n\xff\xff\xff\xfftEXt",
        png("Software", "GIMP"), png("Comment", "made by hand"), png("parameters", PARAMETERS)[:30],
        encoded("JPEG", xmp=XMP.format("digitalCapture").encode()),
    ],
)  # fmt: skip
def test_photographs_and_broken_files_have_none(content: bytes) -> None:
    assert mark(content) is None


def test_an_audit_says_when_real_images_are_not() -> None:
    facts = {"a": look(encoded()), "b": look(png("workflow", "{}"))}
    found = audit(facts, facts)
    assert found.real.marked == found.generated.marked == ("b",)
    assert found.findings == (
        "1 of 2 real images say that a model made them (b; PNG text chunk 'workflow': ComfyUI): a distance to them is "
        "no distance to real images, take them out.",
    )


def test_a_folder_and_the_commands_say_so(tmp_path: Path) -> None:
    real, generated = tmp_path / "real", tmp_path / "generated"
    for folder in (real, generated):
        folder.mkdir()
        for n in range(2):
            (folder / f"{n}.png").write_bytes(encoded(compress_level=n))
    assert marked_in(real) == []
    (real / "x.png").write_bytes(png("parameters", PARAMETERS))
    assert "1 of 3 real images say that a model made them (x.png" in marked_in(real)[0]
    said = CliRunner().invoke(app, ["inspect", str(real), str(generated)]).output
    assert "marked as AI-made" in said and "a model made them (x.png" in said.replace("\n", " ")
