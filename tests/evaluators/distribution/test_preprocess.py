"""Each resize against the tool or the plain arithmetic it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from evaluators.distribution import preprocess
from evaluators.distribution.recipes import FEATURES

SIZES = [(512, 512), (300, 700), (32, 32), (299, 299), (1, 1), (7, 640)]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blocks and noise: edges to ring and to alias, uint8 (h, w, 3)."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, (-(-height // 9), -(-width // 9), 3)).repeat(9, 0).repeat(9, 1)[:height, :width]
    return np.clip(cells + rng.integers(-9, 10, (height, width, 3)), 0, 255).astype(np.uint8)


def planes(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize("size", SIZES)
def test_bicubic_is_pillows_on_float_channels(size):
    """clean-fid's definition, by Pillow itself, whose coefficients are float64 where torch's are float32."""
    image = picture(*size)
    ours = preprocess.bicubic_antialiased(planes(image), 299)[0].numpy()
    for channel in range(3):
        plane = Image.fromarray(image[..., channel].astype(np.float32))
        pillow = np.asarray(plane.resize((299, 299), Image.Resampling.BICUBIC)).clip(0, 255)
        np.testing.assert_allclose(ours[channel], pillow, atol=1e-2)
        assert np.abs(ours[channel] - pillow).mean() < 3e-4


def plain_tensorflow_1(image: np.ndarray, side: int) -> np.ndarray:
    """resize_bilinear of TensorFlow 1 in float64, pixel by pixel: corner-aligned positions i * in / out."""
    height, width = image.shape[:2]
    out = np.empty((side, side, 3))
    for i in range(side):
        for j in range(side):
            y, x = i * height / side, j * width / side
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            image64 = image.astype(np.float64)
            upper = image64[top, left] + (image64[top, right] - image64[top, left]) * (x - left)
            lower = image64[bottom, left] + (image64[bottom, right] - image64[bottom, left]) * (x - left)
            out[i, j] = upper + (lower - upper) * (y - top)
    return out


@pytest.mark.parametrize("size", [(5, 8), (40, 23), (1, 1)])
def test_tensorflow_1_is_the_plain_loop(size):
    image = picture(*size)
    ours = preprocess.bilinear_tensorflow_1(planes(image), 17)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, plain_tensorflow_1(image, 17), atol=1e-3)  # float32 positions up to 40


@pytest.mark.parametrize("size", SIZES)
def test_tensorflow_1_is_torch_fidelitys_to_the_bit(size):
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    x = planes(picture(*size))
    theirs = interpolate_bilinear_2d_like_tensorflow1x(x, size=(299, 299), align_corners=False)
    assert torch.equal(preprocess.bilinear_tensorflow_1(x, 299), theirs)


def test_every_resize_leaves_an_image_of_the_right_size_and_a_flat_one_alone():
    """TensorFlow 1's and pytorch-fid's do so by definition; antialiased kernels sum to 1."""
    image, flat = planes(picture(299, 299)), planes(np.full((123, 456, 3), 201, np.uint8))
    for resize in preprocess.RESIZES.values():
        torch.testing.assert_close(resize(image, 299), image, atol=1e-4, rtol=0)
        torch.testing.assert_close(resize(flat, 299), torch.full((1, 3, 299, 299), 201.0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["bicubic-aa", "bilinear", "bilinear-aa", "bilinear-tf1"])
def test_an_image_does_not_feel_its_neighbours_and_a_huge_one_goes_channel_by_channel(name, monkeypatch):
    """The split is decided by an image's size alone, so that it may round otherwise."""
    images = torch.from_numpy(np.stack([picture(90, 77, seed) for seed in range(5)]))
    recipe = next(recipe for recipe in FEATURES.values() if recipe.resize == name)
    together = preprocess.prepare(images, recipe)
    assert torch.equal(together[3], preprocess.prepare(images[3:4], recipe)[0])
    monkeypatch.setattr(preprocess, "PIXELS_AT_ONCE", 1)
    torch.testing.assert_close(preprocess.prepare(images, recipe), together, atol=1e-6, rtol=0)


def test_clips_square_is_cmmds():
    """google-research/cmmd: the middle square, then Pillow's bicubic on 8 bits, then CLIP's mean and deviation."""
    image = picture(300, 421)
    square = Image.fromarray(image).crop((60, 0, 360, 300)).resize((336, 336), Image.Resampling.BICUBIC)
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    expected = (np.asarray(square) / 255.0 - mean) / deviation
    ours = preprocess.prepare(torch.from_numpy(image)[None], FEATURES["clip-vit-l14-336@1"])[0]
    np.testing.assert_allclose(ours.permute(1, 2, 0).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(300, 421), (421, 300), (224, 225), (64, 64)])
def test_clean_fids_clip_is_torchvisions_resize_and_crop(size):
    from torchvision import transforms

    image = picture(*size)
    steps = [
        transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    ]
    expected = transforms.Compose(steps)(Image.fromarray(image))
    ours = preprocess.prepare(torch.from_numpy(image)[None], FEATURES["clip-vit-b32@1"])[0]
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_dinov2s_input_is_dgm_evals():
    from torchvision import transforms

    image = picture(300, 421)
    steps = [
        transforms.Resize((224, 224), interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    expected = transforms.Compose(steps)(Image.fromarray(image))
    ours = preprocess.prepare(torch.from_numpy(image)[None], FEATURES["dinov2-vitl14@1"])[0]
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
