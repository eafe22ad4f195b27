"""Extractors: known before torch loads, the same for an image wherever it stands, and real networks of every kind."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arena.errors import EnvironmentFault, ImageError, UnknownName, UsageError, WeightsError
from evaluators import weights
from evaluators.distribution import features as features_module
from evaluators.distribution.features import Extractor, open_extractor
from evaluators.distribution.recipes import FEATURES

ROOT = Path(__file__).parents[3]
CLEAN = "inception-clean@1"


def noise(count: int, size: tuple[int, int] = (40, 56), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def clean() -> Extractor:
    return open_extractor(CLEAN, batch_size=4, threads=2)


@pytest.fixture(scope="module")
def features(clean: Extractor) -> np.ndarray:
    return clean(noise(7))


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_protocol_and_key_are_known_without_torch():
    program = (
        f"import sys; from evaluators.distribution.features import open_extractor; e = open_extractor({CLEAN!r});"
        "print(e.protocol.fingerprint, e.cache_key, e.dim, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    here = open_extractor(CLEAN)
    assert done.stdout.split() == [here.protocol.fingerprint, here.cache_key, "2048", "False"]


def test_protocol_holds_every_setting_and_the_weights_hash(clean: Extractor):
    settings = clean.protocol.settings
    assert clean.protocol.id == CLEAN
    assert settings["network"] == {
        "name": weights.INCEPTION, "weights_sha256": weights.TORCHSCRIPT_SHA256, "dtype": "float32", "tf32": False
    }  # fmt: skip
    assert settings["resize"] == {"filter": "bicubic-aa", "to": [299, 299]}
    assert settings["decode"]["alpha"] == "composited on white"
    assert set(settings["packages"]) == {"torch", "pillow"}


def test_no_two_recipes_share_a_fingerprint_and_a_key_is_shared_only_from_the_same_pixels_on(clean: Extractor):
    extractors = [replace(clean, recipe=recipe) for recipe in FEATURES.values() if recipe.network == weights.INCEPTION]
    assert len({each.protocol.fingerprint for each in extractors}) == len(extractors)
    by_id = {each.recipe.id: each.cache_key for each in extractors}
    assert by_id["inception-clean@1"] == by_id["inception-clean-fid@0.1"]
    assert by_id["inception-torch-fidelity@0.4"] == by_id["inception-torchmetrics@1.7"]
    assert len(set(by_id.values())) == len(by_id) - 2


def test_other_weights_are_another_protocol_and_another_key(clean: Extractor):
    other = replace(clean, weights=replace(clean.weights, sha256="0" * 64))
    assert other.protocol.fingerprint != clean.protocol.fingerprint
    assert other.cache_key != clean.cache_key


def test_engine_and_threads_are_in_the_protocol_only_where_precision_is_reduced(clean: Extractor):
    assert replace(clean, engine="openvino", threads=7, asked_batch=3).protocol == clean.protocol
    draft = replace(clean, recipe=FEATURES["inception-clean-draft@1"], asked_device="cpu")
    assert draft.protocol.settings["engine"] == {"name": "torch", "device": "cpu"}


def test_an_image_keeps_its_features_wherever_it_stands(clean: Extractor, features: np.ndarray):
    """To the bit: alone, last, between other images, in a batch that is not full, on one thread or two."""
    images = noise(7)
    np.testing.assert_array_equal(clean(images[:1])[0], features[0])
    np.testing.assert_array_equal(clean(images[::-1])[::-1], features)
    np.testing.assert_array_equal(replace(clean, threads=1)(images), features)
    mixed = [noise(1, (64, 64), seed=5)[0], images[3], noise(1, (300, 20), seed=6)[0]]
    np.testing.assert_array_equal(clean(mixed)[1], features[3])


def test_the_callers_threads_are_left_alone(clean: Extractor, features: np.ndarray):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        clean(noise(1))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_features_are_those_of_the_file_the_weights_came_in(clean: Extractor):
    """The TorchScript graph, unfolded and as shipped. The tolerance is float32 rounding."""
    import torch

    from evaluators.distribution import preprocess

    images = noise(2, (299, 299))
    script = script_of(clean.weights.path)
    with torch.no_grad():
        expected = script.net(preprocess.prepare(torch.from_numpy(images), clean.recipe)).numpy()
    assert relative(clean(images), expected) < 3e-6


def script_of(path: Path):
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit\.load.* is deprecated")
        return torch.jit.load(str(path), map_location="cpu")


def test_openvino_gives_the_same_features_to_rounding(features: np.ndarray):
    extractor = open_extractor(CLEAN, engine="openvino", batch_size=4, threads=2)
    found = extractor(noise(7))
    assert relative(found, features) < 1e-5
    np.testing.assert_array_equal(extractor(noise(7)[::-1])[::-1], found)


def test_the_draft_is_close_but_not_the_same(features: np.ndarray):
    """bfloat16 keeps 8 bits: a few percent on noise, and the same wherever an image stands."""
    draft = open_extractor("inception-clean-draft@1", batch_size=4, threads=2)
    found = draft(noise(7))
    distance = np.linalg.norm(found - features) / np.linalg.norm(features)
    assert 1e-3 < distance < 0.05
    np.testing.assert_array_equal(draft(noise(7)[::-1])[::-1], found)


def test_efficientnet_lite0_is_loaded_in_order():
    """Weights in a wrong place would not tell a flat image from noise as the same network in timm's hands does."""
    import timm
    import torch

    extractor = open_extractor("efficientnet-lite0@1", batch_size=2)
    images = noise(2, (224, 224))
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    state = torch.load(extractor.weights.path, weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=False)))
    with torch.no_grad():
        expected = network((torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128).numpy()
    assert extractor(images).shape == (2, extractor.dim) == (2, 1280)
    assert relative(extractor(images), expected) < 1e-5


@pytest.fixture(scope="module")
def tiny_dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real Dinov2Model with random weights, in the hub's layout."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
    folder = tmp_path_factory.mktemp("dinov2")
    Dinov2Model(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real open_clip model with random weights, in the hub's layout."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 336, "layers": 2, "width": 64, "head_width": 32, "patch_size": 56},
        "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
    }
    model = open_clip.CLIP(**config, quick_gelu=True)
    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def test_dinov2_features_are_the_class_token(tiny_dinov2: Path):
    import torch
    from transformers import Dinov2Model

    from evaluators.distribution import preprocess

    extractor = open_extractor("dinov2-vitl14@1", weights_path=tiny_dinov2, batch_size=2)
    images = noise(3, (300, 200))
    model = Dinov2Model.from_pretrained(tiny_dinov2).eval()
    with torch.no_grad():
        states = model(pixel_values=preprocess.prepare(torch.from_numpy(images), extractor.recipe)).last_hidden_state
    assert extractor.dim == 24
    assert relative(extractor(images), states[:, 0].numpy()) < 1e-5


def test_clip_features_are_the_normalised_embedding_with_openais_activation(tiny_clip: Path):
    import open_clip
    import torch

    from evaluators.distribution import preprocess

    extractor = open_extractor("clip-vit-l14-336@1", weights_path=tiny_clip, batch_size=2)
    images = noise(3, (300, 200))
    model = open_clip.create_model(f"local-dir:{tiny_clip}", force_quick_gelu=True).eval()
    with torch.no_grad():
        embedding = model.encode_image(preprocess.prepare(torch.from_numpy(images), extractor.recipe), normalize=True)
    assert extractor.dim == 16
    assert relative(extractor(images), embedding.numpy()) < 1e-5
    np.testing.assert_allclose(np.linalg.norm(extractor(images), axis=1), 1, rtol=1e-6)


def test_folders_of_weights_are_known_by_their_contents(tiny_dinov2: Path, tiny_clip: Path):
    dinov2 = open_extractor("dinov2-vitl14@1", weights_path=tiny_dinov2)
    found = dinov2.protocol.settings
    assert len(found["network"]["weights_sha256"]) == len(found["network"]["settings_sha256"]) == 64
    assert set(found["packages"]) == {"torch", "pillow", "transformers"}
    clip = open_extractor("clip-vit-l14-336@1", weights_path=tiny_clip)
    assert "open-clip-torch" in clip.protocol.settings["packages"]


@pytest.mark.parametrize("name", ["clip-vit-l14-336@1", "clip-vit-b32@1", "dinov2-vitl14@1"])
def test_weights_of_the_hub_that_are_not_here_are_one_sentence(name, monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"run `hf download .* or give the path of a copy of that folder") as caught:
        open_extractor(name)
    assert "\n" not in str(caught.value)


def test_a_folder_without_the_files_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"has no config\.json: give the folder of DINOv2"):
        open_extractor("dinov2-vitl14@1", weights_path=tmp_path)


def test_a_folder_that_describes_no_network_is_named(tiny_dinov2: Path, tmp_path):
    (tmp_path / "config.json").write_text("[]")
    (tmp_path / "model.safetensors").write_bytes((tiny_dinov2 / "model.safetensors").read_bytes())
    with pytest.raises(WeightsError, match="does not describe a network"):
        _ = open_extractor("dinov2-vitl14@1", weights_path=tmp_path).dim


@pytest.mark.parametrize(
    ("choices", "error", "reason"),
    [
        ({"device": "gpu"}, UsageError, "Unknown device 'gpu'"),
        ({"device": "mps"}, UsageError, "use auto, cpu, cuda"),
        ({"device": "cuda:99"}, EnvironmentFault, "No device 'cuda:99' here"),
        ({"engine": "tensorrt"}, UnknownName, "known: openvino, torch"),
        ({"engine": "openvino", "device": "cuda"}, UsageError, "runs on the CPU"),
        ({"batch_size": 0}, UsageError, "batch_size must be at least 1, got 0"),
        ({"threads": 0}, UsageError, "threads must be at least 1, got 0"),
        ({"weights_path": "nowhere.pth"}, WeightsError, "No weights file nowhere.pth"),
    ],
)
def test_bad_choices_are_one_sentence(choices, error, reason):
    with pytest.raises(error, match=reason):
        open_extractor(CLEAN, **choices)


def test_float16_is_for_gpus():
    with pytest.raises(UsageError, match="is for GPUs"):
        open_extractor("inception-clean-half@1")


@pytest.mark.parametrize(
    ("driver", "cuda", "engine", "device", "batch"),
    [
        (True, True, "torch", "cuda", 64),
        (True, False, "torch", "cpu", 8),  # a driver, but a torch for CPUs
        (True, True, "openvino", "cpu", 8),
        (False, True, "torch", "cpu", 8),  # torch is not even asked
    ],
)
def test_auto_is_the_gpu_where_there_is_one(monkeypatch, driver, cuda, engine, device, batch):
    import torch

    monkeypatch.setattr(features_module, "_gpu_driver", lambda: driver)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    extractor = open_extractor(CLEAN, engine=engine)
    assert (extractor.device, extractor.batch_size) == (device, batch)
    assert open_extractor(CLEAN, device="cpu").device == "cpu"
    assert open_extractor(CLEAN, batch_size=3).batch_size == 3


def test_without_a_driver_auto_loads_no_torch():
    """Where there is one torch is asked, but not before an image needs it."""
    program = f"""
import sys
from evaluators.distribution.features import _gpu_driver, open_extractor
extractor = open_extractor({CLEAN!r})
extractor.protocol, extractor.cache_key, extractor.ahead
print("torch" in sys.modules)
driver = _gpu_driver()
extractor.device
print(driver or "torch" not in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_a_gpus_way_gives_the_same_features(clean: Extractor, features: np.ndarray):
    """Batches of mixed sizes are resized on the device. Walked here on the CPU under another of its names."""
    device = replace(clean, asked_device="cpu:0")
    assert device.on_gpu
    images = [*noise(7), *noise(2, (64, 64), seed=5)]
    mixed = [images[i] for i in (7, 0, 1, 8, 2, 3, 4, 5, 6)]
    found = device(mixed)
    assert relative(found[[1, 2, 4, 5, 6, 7, 8]], features) < 1e-5
    assert device.cache_key == clean.cache_key


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8, 3)), np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)],
)
def test_arrays_that_are_no_images_are_refused(clean: Extractor, image):
    with pytest.raises(ImageError, match="give uint8 RGB arrays"):
        clean([image])


def test_no_images_have_no_features(clean: Extractor):
    assert clean([]).shape == (0, 2048)


def test_features_that_are_not_finite_are_an_error_not_a_number(tiny_dinov2: Path):
    import torch

    extractor = open_extractor("dinov2-vitl14@1", weights_path=tiny_dinov2, batch_size=2)
    with torch.no_grad():
        extractor._network  # noqa: B018
    broken = [torch.full((3, 224, 224), torch.nan)]
    with pytest.raises(EnvironmentFault, match="NaN or infinite"):
        extractor.run(broken)
