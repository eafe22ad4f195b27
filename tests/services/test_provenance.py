"""Records of where images are from, signed by a certificate authority of the test's own, offline."""

from __future__ import annotations

import datetime as dt
import io
import json
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image
from typer.testing import CliRunner

from arena.bootstrap import Arena
from arena.cli import app
from arena.errors import UsageError
from arena.services import dataset_export, provenance
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


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
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
    from pyarrow import parquet

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
