"""What goes into the networks: pixels and tokens, against torchvision, open_clip and HPSv2's own steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision.transforms import InterpolationMode, functional

from evaluators.alignment.recipes import Fit
from evaluators.alignment.towers import MEAN, STD, pixels, tokens

OPEN_CLIPS = SimpleTokenizer()
sizes = st.tuples(st.integers(1, 90), st.integers(1, 90))


def image_of(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_cropped_pixels_are_open_clips_to_the_last_bit_but_one(size: tuple[int, int]) -> None:
    """Tolerance: float32 rounding of (x / 255 - mean) / std, whose values are below 3."""
    image = image_of(size)
    theirs = image_transform_v2(PreprocessCfg(size=32, mean=MEAN, std=STD), is_train=False)(Image.fromarray(image))
    assert torch.equal(torch.isfinite(theirs), torch.ones_like(theirs, dtype=torch.bool))
    torch.testing.assert_close(pixels(image, 32, Fit.CROP), theirs, atol=5e-7, rtol=0)


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(2, 90), st.integers(2, 90)).filter(lambda s: max(s) != 32 and min(s) * 32 > max(s)))
def test_padded_pixels_are_hpsv2s(size: tuple[int, int]) -> None:
    """HPSv2's steps written out: the longer edge becomes 32, black around it. Its code leaves out the black where no
    edge changes, and fails there unless the image is square; such sizes are left out here."""
    image = Image.fromarray(image_of(size))
    scale = 32 / max(size)
    high, wide = (round(edge * scale) for edge in size)
    small = functional.resize(image, [high, wide], InterpolationMode.BICUBIC)
    left, top = (32 - wide) // 2, (32 - high) // 2
    square = functional.pad(small, [left, top, 32 - wide - left, 32 - high - top])
    theirs = functional.normalize(functional.to_tensor(square), MEAN, STD)
    torch.testing.assert_close(pixels(np.asarray(image), 32, Fit.PAD), theirs, atol=5e-7, rtol=0)


def test_an_image_of_the_right_size_is_not_touched() -> None:
    image = image_of((32, 32))
    plain = (image.transpose(2, 0, 1) / 255 - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    for fit in Fit:
        np.testing.assert_allclose(pixels(image, 32, fit).numpy(), plain, atol=5e-7)
    black = pixels(image_of((16, 32)), 32, Fit.PAD)
    assert torch.allclose(black[:, :8], -torch.tensor(MEAN)[:, None, None] / torch.tensor(STD)[:, None, None])


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_tokens_are_open_clips(text: str) -> None:
    ids, cut = tokens([text])
    assert torch.equal(ids, OPEN_CLIPS([text])) and not cut[0]


def test_a_long_text_loses_words_and_keeps_its_end() -> None:
    for words, is_cut in [(75, False), (76, True), (300, True)]:
        ids, cut = tokens(["cat " * words, "a cat"])
        assert cut.tolist() == [is_cut, False]
        assert ids.shape == (2, 77) and ids[0, 76] == 49407 and (ids[0, 1:76] == 2368).all()
        assert torch.equal(ids, OPEN_CLIPS(["cat " * words, "a cat"]))
    ids, cut = tokens([])
    assert ids.shape == (0, 77) and cut.shape == (0,)


@pytest.mark.parametrize("text", ["<end_of_text>", "a <end_of_text> cat"])
def test_a_prompt_that_spells_the_end_token_is_what_open_clip_makes_of_it(text: str) -> None:
    assert torch.equal(tokens([text])[0], OPEN_CLIPS([text]))
