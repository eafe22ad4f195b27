"""Every family that a preset names runs through the backend: its own classes, tiny and random, with no hub."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arena.backends.base import split_settings
from arena.backends.diffusers import DiffusersBackend
from arena.backends.presets import PRESETS
from tests.backends.families import FAMILIES


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    import torch

    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    FAMILIES[request.param].build().save_pretrained(folder)
    return request.param, folder


def test_there_is_a_family_for_every_preset() -> None:
    assert FAMILIES.keys() == PRESETS.keys()


def test_the_family_draws_alone_as_in_a_batch_and_as_its_preset_calls_it(family: tuple[str, Path]) -> None:
    name, folder = family
    tiny, preset = FAMILIES[name], PRESETS[name]
    steps = min(2, preset.settings["steps"])
    settings = {"model": str(folder), "steps": steps, "height": tiny.side, "width": tiny.side, **tiny.settings}
    assert tiny.settings["guidance"] == preset.settings["guidance"]
    backend = DiffusersBackend(**split_settings(DiffusersBackend, settings)[0], device="cpu")
    batch = [np.asarray(image).astype(int) for image in backend.generate(["a bear", "two red bears"], [1, 2])]
    [alone] = backend.generate(["two red bears"], [2])
    assert all(image.shape == (tiny.side, tiny.side, 3) for image in batch)
    # Sums in another order, and padding to the longer prompt, may round a pixel the other way.
    assert np.abs(batch[1] - np.asarray(alone)).max() <= 3
    [other] = backend.generate(["two red bears"], [3])
    assert np.abs(batch[1] - np.asarray(other)).max() > 3, "another seed is another image"
