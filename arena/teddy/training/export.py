"""Writes trained networks as folders in the hub's format: float16 safetensors that plain diffusers loads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DiffusionPipeline


def write_pipeline(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Saves the pipeline in float16. It is changed to float16 by this, so give a fresh one."""
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(folder, safe_serialization=True)
    # Transformers loads in the dtype its config names, diffusers in float32 unless told; keep the two the same.
    _edit(folder / "text_encoder" / "config.json", lambda config: config | {"dtype": "float32"})


def _edit(path: Path, change: Callable[[dict], dict]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text())), indent=2, sort_keys=True) + "\n")
