"""The diffusers backend on the embedded pipelines, which are real ones in the hub's format."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from arena.backends.diffusers import DiffusersBackend, to_image
from arena.backends.weights import folder_sha256, model_source
from arena.domain import Contestant
from arena.errors import GenerationError, UsageError, WeightsError
from arena.services.teddies import teddy_contestants
from arena.teddy.scenes import embedded_prompts

PROMPTS = [text for text, _, _ in embedded_prompts()[:3]]
FASTEST = "Teddy Turbo"


@pytest.fixture(scope="module", params=[contestant.name for contestant in teddy_contestants()])
def contestant(request: pytest.FixtureRequest) -> Contestant:
    return next(teddy for teddy in teddy_contestants() if teddy.name == request.param)


@pytest.fixture(scope="module")
def turbo() -> Contestant:
    return next(teddy for teddy in teddy_contestants() if teddy.name == FASTEST)


def test_same_prompt_and_seed_give_the_same_image_alone_or_in_a_batch(contestant: Contestant) -> None:
    backend = DiffusersBackend(**contestant.settings)
    batch = [np.asarray(image).astype(int) for image in backend.generate(PROMPTS, [1, 2, 3])]
    [alone] = backend.generate(PROMPTS[1:2], [2])
    [other] = backend.generate(PROMPTS[1:2], [4])
    assert all(image.shape == (64, 64, 3) for image in batch)
    # Sums in another order may round a pixel the other way, no more.
    assert np.abs(batch[1] - np.asarray(alone)).max() <= 2
    assert np.abs(batch[1] - np.asarray(other)).mean() > 2
    assert np.array_equal(np.asarray(backend.generate(PROMPTS[1:2], [2])[0]), np.asarray(alone))


def test_weights_that_are_not_the_registered_ones_are_refused(turbo: Contestant, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(model_source(turbo.settings["model"]), folder)
    assert folder_sha256(folder) == turbo.settings["weights_sha256"]
    (folder / "model_index.json").write_text((folder / "model_index.json").read_text() + " ")
    with pytest.raises(WeightsError, match=r"have sha256 .* as registered; restore the files"):
        DiffusersBackend(**{**turbo.settings, "model": str(folder)})


@pytest.mark.parametrize("model", ["package://arena.teddy/weights/nobody", "nobody/at-all"])
def test_a_model_that_is_not_there_is_said(model: str) -> None:
    with pytest.raises(WeightsError, match="nobody"):
        DiffusersBackend(model)


def test_settings_the_pipeline_does_not_take_are_said(turbo: Contestant) -> None:
    with pytest.raises(UsageError, match=r"PixArtSigmaPipeline takes no 'steps'; it takes .*num_inference_steps"):
        DiffusersBackend(turbo.settings["model"], call={"steps": 3})
    with pytest.raises(UsageError, match="Unknown dtype 'float8'"):
        DiffusersBackend(turbo.settings["model"], dtype="float8")


def test_a_pipeline_that_raises_becomes_a_reason(turbo: Contestant) -> None:
    backend = DiffusersBackend(**{**turbo.settings, "height": 63})
    with pytest.raises(GenerationError, match="63"):
        backend.generate(PROMPTS[:1], [1])


def test_pixels_that_are_no_numbers_are_a_failure_not_a_black_image(turbo: Contestant) -> None:
    backend = DiffusersBackend(**turbo.settings)
    with torch.no_grad():
        next(backend.pipeline.transformer.parameters()).fill_(float("nan"))
    [result] = backend.generate(PROMPTS[:1], [1])
    assert isinstance(result, GenerationError) and "not numbers" in str(result)


def test_pixels_are_rounded_not_cut() -> None:
    image = to_image(np.array([[[0.0, 0.5 / 255 + 1e-9, 1.0]]]))
    assert image.getpixel((0, 0)) == (0, 1, 255)
