"""The backend's further settings on a tiny SDXL: adapters, schedulers, offload, parts that are missing, safety."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from arena.backends.diffusers import DiffusersBackend, is_out_of_memory
from arena.errors import EnvironmentFault, GenerationError, OutOfMemory, UsageError, WeightsError
from tests.backends.families import FAMILIES

CALL = {"steps": 2, "guidance": 3.0, "height": 32, "width": 32, "device": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    made = tmp_path_factory.mktemp("sdxl")
    FAMILIES["sdxl"].build().save_pretrained(made)
    return made


def drawn(folder: Path, **settings: Any) -> np.ndarray:
    [image] = DiffusersBackend(str(folder), **CALL, **settings).generate(["a bear"], [1])
    return np.asarray(image).astype(int)


@pytest.fixture(scope="module")
def adapter(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA as trainers save it, with random weights."""
    from diffusers import StableDiffusionXLPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    pipeline.unet.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=["to_q", "to_k", "to_v"]))
    made = tmp_path_factory.mktemp("adapter")
    StableDiffusionXLPipeline.save_lora_weights(made, unet_lora_layers=get_peft_model_state_dict(pipeline.unet))
    return made


def test_an_adapter_changes_the_image_as_strongly_as_its_scale(folder: Path, adapter: Path) -> None:
    plain = drawn(folder)
    none, some, full = (drawn(folder, adapters=[{"model": str(adapter), "scale": s}]) for s in (0.0, 0.5, 1.0))
    assert np.array_equal(none, plain)
    assert 0 < np.abs(some - plain).mean() < np.abs(full - plain).mean()
    twice = drawn(folder, adapters=[{"model": str(adapter)}])
    assert np.array_equal(twice, full), "a scale of 1 unless another is given"


def test_an_adapter_that_is_not_there_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"The adapter .* does not load"):
        DiffusersBackend(str(folder), **CALL, adapters=[{"model": str(tmp_path)}])


def test_another_scheduler_draws_another_image_and_an_unknown_one_is_said(folder: Path) -> None:
    plain = drawn(folder)
    assert np.abs(drawn(folder, scheduler="DDIMScheduler") - plain).max() > 0
    assert np.abs(drawn(folder, scheduler_options={"timestep_spacing": "leading"}) - plain).max() > 0
    with pytest.raises(UsageError, match="no scheduler 'Nobody'"):
        DiffusersBackend(str(folder), **CALL, scheduler="Nobody")


@pytest.mark.parametrize(
    ("quantisation", "package"), [("bitsandbytes_4bit", "bitsandbytes"), ("torchao_int8", "torchao")]
)
def test_quantisation_without_its_package_says_the_line_that_gets_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, quantisation: str, package: str
) -> None:
    monkeypatch.setattr("arena.backends.hub.find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=f"pip install {package}"):
        DiffusersBackend(str(folder), **CALL, quantisation=quantisation)


def test_a_device_that_there_is_not_is_said(folder: Path) -> None:
    if torch.cuda.is_available():
        return
    with pytest.raises(UsageError, match="cannot be put on 'cuda'"):
        DiffusersBackend(str(folder), **{**CALL, "device": "cuda"})


def test_a_broken_pipeline_is_said(folder: Path, tmp_path: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="could not be loaded"):
        DiffusersBackend(str(tmp_path), **CALL)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 10 TB"),
    ],
)
def test_no_memory_is_told_apart_from_other_faults(folder: Path, error: Exception) -> None:
    assert is_out_of_memory(error) and not is_out_of_memory(RuntimeError("shapes do not match"))
    backend = DiffusersBackend(str(folder), **CALL)
    backend.pipeline = raising(error)
    with pytest.raises(OutOfMemory, match=r"out of memory with 2 at once on 'cpu'; try a smaller batch_size"):
        backend.generate(["a", "b"], [1, 2])


def raising(error: Exception) -> Any:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def test_what_the_safety_checker_withholds_fails_alone(folder: Path) -> None:
    backend = DiffusersBackend(str(folder), **CALL)
    pixels = np.full((2, 4, 4, 3), 0.5)
    backend.pipeline = lambda *_, **__: SimpleNamespace(images=pixels, nsfw_content_detected=[True, False])
    first, second = backend.generate(["a", "b"], [1, 2])
    assert isinstance(first, GenerationError) and "safety checker" in str(first)
    assert second.getpixel((0, 0)) == (128, 128, 128)


def test_numbers_that_are_none_fail_alone(folder: Path) -> None:
    backend = DiffusersBackend(str(folder), **CALL)
    pixels = np.full((2, 4, 4, 3), 0.5)
    pixels[1, 0, 0, 0] = np.nan
    backend.pipeline = lambda *_, **__: SimpleNamespace(images=pixels)
    first, second = backend.generate(["a", "b"], [1, 2])
    assert first.size == (4, 4) and isinstance(second, GenerationError) and "NaN" in str(second)


def test_a_negative_prompt_is_for_every_image_of_a_batch(folder: Path) -> None:
    """Some pipelines want as many negative prompts as prompts, and a preset says one."""
    backend = DiffusersBackend(str(folder), **CALL, call={"negative_prompt": "blue"})
    both = backend.generate(["a bear", "two bears"], [1, 2])
    [alone] = backend.generate(["two bears"], [2])
    assert np.abs(np.asarray(both[1]).astype(int) - np.asarray(alone)).max() <= 2


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"scheduler": "AutoencoderKL"}, "no scheduler 'AutoencoderKL'"),
        ({"scheduler_options": {"beta_schedule": "nonsense"}}, "EulerDiscreteScheduler does not take the options"),
    ],
)
def test_a_scheduler_that_cannot_be_is_said(folder: Path, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        DiffusersBackend(str(folder), **CALL, **settings)


def test_a_pipeline_that_misses_a_package_says_the_line_that_gets_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers

    def missing(*_: Any, **__: Any) -> Any:
        raise ModuleNotFoundError("No module named 'timm'", name="timm")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", missing)
    with pytest.raises(EnvironmentFault, match=r"needs a package that is missing; get it by: pip install timm$"):
        DiffusersBackend(str(folder), **CALL)


def test_parts_are_named_by_folder_and_may_be_broken(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"The part 'text_encoder_4' in .* does not load"):
        DiffusersBackend(str(folder), **CALL, parts={"text_encoder_4": str(tmp_path)})
    with pytest.raises(WeightsError, match=r"The part 'text_encoder_4' is not to be had: There is no folder"):
        DiffusersBackend(str(folder), **CALL, parts={"text_encoder_4": {"model": "./nowhere"}})
