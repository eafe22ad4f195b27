"""Tiny networks of the real classes with random weights, on disk as their libraries keep them."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from evaluators.alignment import recipes

SIDE, WIDTH = 32, 16
CONFIG = {
    "embed_dim": WIDTH,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
PROMPTS = [
    "a teddy bear in a red hat",
    "two cats",
    "a teddy bear in a red hat",
    "café & <b>bold</b>",
    "long " * 90,
    "7",
]


def clip_model(seed: int):  # type: ignore[no-untyped-def]
    import open_clip
    import torch

    torch.manual_seed(seed)
    return open_clip.CLIP(WIDTH, CONFIG["vision_cfg"], CONFIG["text_cfg"], quick_gelu=True).eval()


def write_clip(folder: Path, seed: int = 0) -> Path:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(clip_model(seed).state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="session")
def pickscore_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import CLIPConfig, CLIPModel

    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": 49408, "max_position_embeddings": 77, "bos_token_id": 49406, "eos_token_id": 49407}
    config = CLIPConfig(
        text_config=tower | text, vision_config=tower | {"image_size": SIDE, "patch_size": 8}, projection_dim=WIDTH
    )
    torch.manual_seed(8)  # cosines above 0, where clamping hides nothing
    folder = tmp_path_factory.mktemp("pickscore")
    CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def hps_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training checkpoint, as HPSv2 ships it: the state dict is one of its entries."""
    import open_clip
    import torch

    folder = tmp_path_factory.mktemp("hps")
    (folder / "tiny-clip.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / "tiny-clip.json")
    torch.manual_seed(2)
    path = folder / "HPS_tiny.pt"
    torch.save({"epoch": 1, "state_dict": open_clip.create_model("tiny-clip").state_dict()}, path)
    return path


@pytest.fixture
def tiny_hps(monkeypatch: pytest.MonkeyPatch) -> None:
    """HPSv2.1's recipe with a small architecture in place of ViT-H-14."""
    small = replace(recipes.RECIPES["hpsv2.1"], architecture="tiny-clip")
    monkeypatch.setitem(recipes.RECIPES, "hpsv2.1", small)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def aesthetic_head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layers of LAION's head, whose numbers 1, 3 and 5 are dropout, for features of the tiny CLIP."""
    import torch

    sizes, state = [WIDTH, 8, 6, 4, 2, 1], {}
    generator = torch.Generator().manual_seed(3)
    for number, (before, after) in zip((0, 2, 4, 6, 7), pairwise(sizes), strict=True):
        state[f"layers.{number}.weight"] = torch.randn(after, before, generator=generator)
        state[f"layers.{number}.bias"] = torch.randn(after, generator=generator)
    path = tmp_path_factory.mktemp("head") / "aesthetic-model.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="session")
def images() -> list[np.ndarray]:
    """One for each of PROMPTS: wide, high, square, small, at the network's own size."""
    rng = np.random.default_rng(0)
    sizes = [(40, 70), (70, 41), (64, 64), (9, 20), (SIDE, SIDE), (33, 32)]
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
