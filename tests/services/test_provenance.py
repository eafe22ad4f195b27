"""Records of where images are from, signed by a certificate authority of the test's own, offline."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pyarrow import parquet
from typer.testing import CliRunner, Result

from arena.bootstrap import Arena, open_arena
from arena.cli import app
from arena.errors import DataError, UsageError
from arena.services import battles, dataset_export, dataset_import, dataset_layout, provenance
from arena.services.imported_images import import_images
from arena.services.imported_rows import Request
from arena.settings import load_settings
from db import origins
from db.blobs import Blobs
from db.origins import Origin
from tests.conftest import fill_with_swatches

UNTRUSTED = ("signingCredential.untrusted",)


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey, *, authority: bool
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, text), x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)]
        )

    now, other = dt.datetime.now(dt.UTC), dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only"), False
    )  # fmt: skip
    usage = x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **other)
    made = (
        x509.CertificateBuilder()
        .subject_name(named(name)).issuer_name(named(issuer)).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    )  # fmt: skip
    if not authority:
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return made.sign(by, hashes.SHA256())


def certificates(folder: Path) -> dict[str, Path]:
    """PEM files: `chain` and `key` to sign with, `authority` to trust, and the `other` key, which fits nothing."""
    ours, theirs, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    authority = _certificate("Authority", ours, "Authority", ours, authority=True)
    leaf = _certificate("Signer", theirs, "Authority", ours, authority=False)
    plain = serialization.Encoding.PEM
    private = (plain, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    contents = {
        "chain": leaf.public_bytes(plain) + authority.public_bytes(plain),
        "authority": authority.public_bytes(plain),
        "key": theirs.private_bytes(*private),
        "other": other.private_bytes(*private),
    }
    for name, content in contents.items():
        (folder / f"{name}.pem").write_bytes(content)
    return {name: folder / f"{name}.pem" for name in contents}


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return certificates(tmp_path_factory.mktemp("pem"))


def picture(form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, form)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def theirs(pem: dict[str, Path]) -> list[bytes]:
    """Four images: one signed, one signed and changed, one marked, one that says nothing."""
    signed = provenance.embedded(picture(), {"seed": 1}, provenance.open_signing(pem["chain"], pem["key"]))
    body = b"tEXtComment\0changed"
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    changed = signed[:-12] + chunk + signed[-12:]  # before IEND: it decodes, and is not what was signed
    marked, words = io.BytesIO(), PngInfo()
    words.add_text("parameters", "a bear\nSteps: 20, Sampler: Euler")
    Image.open(io.BytesIO(picture())).save(marked, "PNG", pnginfo=words)
    return [signed, changed, marked.getvalue(), picture()]


def bring(arena: Arena, folder: Path, contents: list[bytes]) -> int:
    """Import images as those of "Theirs", and return its id."""
    folder.mkdir()
    for n, content in enumerate(contents):
        (folder / f"{n}.png").write_bytes(content)
    (folder / "manifest.csv").write_text("path,prompt\n" + "".join(f"{n}.png,bear {n}\n" for n in range(4)))
    assert import_images(arena, Request(folder, "Theirs")).made == len(contents)
    return arena.store.contestant("Theirs").id or 0


def test_a_sidecar_belongs_to_its_bytes_and_changes_none(pem: dict[str, Path]) -> None:
    content, what = picture(), {"contestant": "Swatch A", "seed": 3}
    manifest = provenance.sidecar(content, what, provenance.open_signing(pem["chain"], pem["key"]))
    assert len(manifest) < 5_000, "no thumbnail"
    found = provenance.facts(content, manifest)
    assert (found.state, found.generator, found.signed_by) == ("Valid", "image-arena", "Signer")
    assert found.record == what and found.problems == UNTRUSTED
    assert found.mark == "C2PA manifest, DigitalSourceType: trainedAlgorithmicMedia"
    trusted = provenance.facts(content, manifest, pem["authority"].read_bytes())
    assert trusted.state == "Trusted" and trusted.problems == ()
    assert provenance.facts(content[:-20] + bytes(20), manifest).state == "Invalid"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "AVIF"])
def test_an_embedded_record_is_found_and_a_changed_bit_too(pem: dict[str, Path], form: str) -> None:
    content = picture(form)
    signing = provenance.open_signing(pem["chain"], pem["key"])
    signed = provenance.embedded(content, {"contestant": "Swatch A"}, signing)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(signed))), np.asarray(Image.open(io.BytesIO(content))))
    found = provenance.facts(signed)
    assert found.state == "Valid" and found.record == {"contestant": "Swatch A"}
    broken = bytearray(signed)
    broken[-40] ^= 1
    assert provenance.facts(bytes(broken)).state == "Invalid"


def test_an_image_without_any_says_so() -> None:
    assert provenance.facts(picture()).sentences() == ["Says nothing about a model.", "No C2PA manifest."]


def test_a_key_that_does_not_fit_is_refused_before_anything_is_signed(pem: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot sign"):
        provenance.signer(pem["chain"], pem["other"])
    with pytest.raises(UsageError, match="cannot be read"):
        provenance.signer(tmp_path / "none.pem", pem["key"])


def test_an_export_signs_each_image_and_leaves_the_store_alone(
    arena: Arena, pem: dict[str, Path], tmp_path: Path
) -> None:
    fill_with_swatches(arena, contestants=2, prompts=1)
    before = {path: path.read_bytes() for path in arena.settings.images_dir.rglob("*") if path.is_file()}
    sign = provenance.signer(pem["chain"], pem["key"])
    dataset_export.export(arena, tmp_path / "out", dataset_export.Options(sign=sign))
    rows = parquet.read_table(tmp_path / "out/data/images/train-00000.parquet").to_pylist()
    assert len(rows) == 2
    contestants = {one.name: one for one in arena.store.contestants()}
    for row in rows:
        found = provenance.facts(row["image"]["bytes"], row["c2pa"])
        assert found.state == "Valid" and found.record is not None
        assert found.record["fingerprint"] == contestants[row["model"]].fingerprint
        assert (found.record["prompt"], found.record["seed"]) == (row["prompt"], row["seed"])
        assert found.record["sha256"] == row["sha256"] and found.record["generated_at"] == row["at"].isoformat()
    after = {path: path.read_bytes() for path in arena.settings.images_dir.rglob("*") if path.is_file()}
    assert after == before


def test_signed_copies_lie_beside_the_images_and_an_import_makes_the_same_arena(
    any_arena: Arena, pem: dict[str, Path], theirs: list[bytes], tmp_path: Path
) -> None:
    first = open_arena(load_settings(data_dir=tmp_path / "first"), prepare=True)
    fill_with_swatches(first, contestants=2, prompts=2)
    bring(first, tmp_path / "pics", theirs)
    for battle in battles.open_battles(first, "person:1", n=2):
        battles.vote(first, "person:1", battle.token, "left")
    sign = provenance.signer(pem["chain"], pem["key"], embeds=True)
    done = dataset_export.export(first, tmp_path / "out", dataset_export.Options(sign=sign))
    assert (done.images, done.signed, done.unsigned) == (8, 8, 0)
    rows = parquet.read_table(tmp_path / "out/data/images/train-00000.parquet").to_pylist()
    for row in rows:
        original = row["image"]["bytes"]
        copy = (tmp_path / "out" / dataset_layout.signed_copy(row["id"], row["image"]["path"])).read_bytes()
        assert row["c2pa"] is None and hashlib.sha256(original).hexdigest() == row["sha256"]
        found = provenance.facts(copy)
        assert found.state == "Valid" and found.record and found.record["sha256"] == row["sha256"]
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(copy))), np.asarray(Image.open(io.BytesIO(original))))
    came = dataset_import.import_into(any_arena, dataset_import.checked(tmp_path / "out"))
    assert came.same_board and came.images == 2 * 2 + len(theirs)
    (tmp_path / "out" / dataset_layout.signed_copy(rows[0]["id"], rows[0]["image"]["path"])).write_bytes(b"")
    with pytest.raises(DataError, match="checksum differs"):
        dataset_import.checked(tmp_path / "out")
    first.store.engine.dispose()


def test_a_manifest_that_was_there_stays_as_the_parent(pem: dict[str, Path], theirs: list[bytes]) -> None:
    import c2pa

    signing = provenance.open_signing(pem["chain"], pem["key"])
    copy = provenance.embedded(theirs[0], {"seed": 2}, signing)
    with c2pa.Reader("image/png", io.BytesIO(copy)) as reader:
        whole = json.loads(reader.json())
    active = whole["manifests"][whole["active_manifest"]]
    [parent] = active["ingredients"]
    assert parent["relationship"] == "parentOf" and parent["active_manifest"] in whole["manifests"]
    seeds = [
        one["data"]["seed"] for m in whole["manifests"].values() for one in m["assertions"] if "seed" in one["data"]
    ]
    assert sorted(seeds) == [1, 2] and provenance.facts(copy).record == {"seed": 2}
    with pytest.raises(DataError, match="cannot have another one beside it"):
        provenance.sidecar(theirs[0], {"seed": 2}, signing)


@pytest.mark.parametrize("embeds", [False, True])
def test_what_cannot_be_signed_is_counted_and_does_not_stop_the_export(pem: dict[str, Path], embeds: bool) -> None:
    sign = provenance.signer(pem["chain"], pem["key"], embeds=embeds)
    row = {"model": "m", "fingerprint": "f", "prompt": "p", "seed": 0, "sha256": "0", "at": dt.datetime.now(dt.UTC)}
    assert sign(picture("BMP"), row) is None and sign(picture(), row) is not None


def test_how_to_sign_needs_what_to_sign_with(arena: Arena, tmp_path: Path) -> None:
    words = ["export", str(tmp_path / "out"), "--sign-as", "embedded", "--data-dir", str(arena.settings.data_dir)]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, UsageError) and "--sign CERT KEY" in str(done.exception)


def test_what_is_in_a_file_is_shown(pem: dict[str, Path], tmp_path: Path) -> None:
    content = picture()
    (tmp_path / "x.png").write_bytes(content)
    manifest = provenance.sidecar(content, {"seed": 3}, provenance.open_signing(pem["chain"], pem["key"]))
    (tmp_path / "x.c2pa").write_bytes(manifest)
    files = [str(tmp_path / "x.png"), "--sidecar", str(tmp_path / "x.c2pa")]
    said = CliRunner().invoke(app, ["provenance", *files])
    assert said.exit_code == 0 and "C2PA manifest: Valid, made by image-arena, signed by Signer." in said.output
    trusted = CliRunner().invoke(app, ["provenance", *files, "--trust", str(pem["authority"]), "--json"])
    assert json.loads(trusted.output)["state"] == "Trusted"


# What comes in is read once, and shown


SAID = [
    "1 with a valid C2PA manifest by image-arena, signed by Signer (nobody here vouches for the signer)",
    "1 with an invalid C2PA manifest that names image-arena",
    "1 with no manifest, but marked as made by a model (PNG text chunk 'parameters': Stable Diffusion web UI)",
    "1 that say nothing of their origin",
]


def test_an_import_reads_where_images_say_they_are_from(any_arena: Arena, theirs: list[bytes], tmp_path: Path) -> None:
    id = bring(any_arena, tmp_path / "pics", theirs)
    assert sorted(provenance.of_contestant(any_arena, id)) == sorted(SAID)
    assert origins.brought(any_arena.store) == [], "nothing is left to read"
    fill_with_swatches(any_arena, contestants=1, prompts=1)
    assert provenance.of_contestant(any_arena, any_arena.store.contestant("Swatch A").id or 0) == []


def test_a_page_opens_no_image_to_say_it(
    arena: Arena, theirs: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = bring(arena, tmp_path / "pics", theirs)
    monkeypatch.setattr(provenance, "facts", lambda *_: pytest.fail("an image was read"))
    monkeypatch.setattr(Blobs, "get", lambda *_: pytest.fail("an image was read"))
    assert len(provenance.of_contestant(arena, id)) == len(SAID)


def test_images_that_nobody_could_read_are_said_to_be_unread_and_read_later(
    arena: Arena, theirs: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "c2pa", None)
        id = bring(arena, tmp_path / "pics", theirs)
    assert "2 not looked at yet" in provenance.of_contestant(arena, id)
    assert origins.brought(arena.store) == sorted(hashlib.sha256(content).hexdigest() for content in theirs[:2])
    assert (provenance.read_again(arena), provenance.read_again(arena)) == (2, 0)
    assert sorted(provenance.of_contestant(arena, id)) == sorted(SAID)


def test_the_command_reads_all_and_trusts_whom_it_is_told_to(
    arena: Arena, pem: dict[str, Path], theirs: list[bytes], tmp_path: Path
) -> None:
    def run(*words: str) -> Result:
        done = CliRunner().invoke(app, ["provenance", "--data-dir", str(arena.settings.data_dir), *words])
        assert done.exit_code == 0, done.output
        return done

    assert "No image here came from elsewhere." in run().output
    bring(arena, tmp_path / "pics", theirs)
    assert "Theirs: 1 with" in run().output
    trusted = "1 with a valid C2PA manifest by image-arena, signed by Signer (a trusted signer)"
    assert trusted in json.loads(run("--trust", str(pem["authority"]), "--json").stdout)["Theirs"]


def test_an_arena_that_was_imported_knows_who_signed_its_images(
    any_arena: Arena, pem: dict[str, Path], theirs: list[bytes], tmp_path: Path
) -> None:
    """Also those of which the manifest came beside the image."""
    first = open_arena(load_settings(data_dir=tmp_path / "first"), prepare=True)
    fill_with_swatches(first, contestants=1, prompts=2)
    bring(first, tmp_path / "pics", theirs)
    options = dataset_export.Options(sign=provenance.signer(pem["chain"], pem["key"]))
    dataset_export.export(first, tmp_path / "out", options)
    first.store.engine.dispose()
    dataset_import.import_into(any_arena, dataset_import.checked(tmp_path / "out"))
    told = {one.name: provenance.of_contestant(any_arena, one.id or 0) for one in any_arena.store.contestants()}
    assert told["Swatch A"] == [SAID[0].replace("1", "2", 1)]
    assert sorted(told["Theirs"]) == sorted([SAID[0].replace("1", "3", 1), SAID[1]])


def test_what_strangers_write_is_one_short_printable_line() -> None:
    odd = "bear\x00\x1b[31m\ud800\n" + "x" * 500
    assert provenance.printable(odd) == "bear[31m" + "x" * 120


def test_rare_kinds_of_manifests_are_taken_together() -> None:
    found = [(Origin("Valid", f"program {n}"), 9 - n) for n in range(5)]
    assert provenance.clauses(found) == [
        *(f"{9 - n} with a valid C2PA manifest by program {n} (nobody here vouches for the signer)" for n in range(3)),
        "11 with other C2PA manifests",
    ]
