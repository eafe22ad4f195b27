"""Any text-to-image pipeline in the hub's diffusers format: the embedded teddies, FLUX.2, Qwen-Image, HiDream."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from transformers.utils import logging as transformers_logging

from arena.backends.weights import PACKAGE_SCHEME, folder_sha256, model_source
from arena.errors import GenerationError, UsageError, WeightsError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class DiffusersBackend:
    """A frozen pipeline. Noise comes from a CPU generator per image: batching does not change who gets which seed."""

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        weights_sha256: str | None = None,
        dtype: str = "float32",
        device: str = "auto",
        height: int | None = None,
        width: int | None = None,
        call: Mapping[str, Any] | None = None,
    ):
        """`model`: hub id, folder or package://PACKAGE/FOLDER. `call`: further arguments of the pipeline's call.

        `revision` pins a hub commit, `weights_sha256` the content of a folder (see `folder_sha256`).
        Raises UsageError for a setting it does not take and WeightsError when the weights are not the ones named.
        """
        if dtype not in DTYPES:
            raise UsageError(f"Unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}.")
        source = model_source(model)
        _check_weights(model, source, weights_sha256)
        self.pipeline = _load(model, source, revision, DTYPES[dtype])
        self.pipeline.set_progress_bar_config(disable=True)
        self.pipeline.to(best_device() if device == "auto" else device)
        size = {name: value for name, value in (("height", height), ("width", width)) if value is not None}
        self.call = {**size, **(call or {})}
        _check_call(self.pipeline, self.call)

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        try:
            with torch.inference_mode(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a library's advice to itself is not for whoever generates
                output = self.pipeline(list(prompts), generator=generators, output_type="np", **self.call)
        except Exception as error:  # any pipeline may raise anything; the reason becomes the failure
            reason = str(error).strip().splitlines() or [""]
            raise GenerationError(f"{type(error).__name__}: {reason[0]}") from error
        return [to_image(pixels) for pixels in output.images]


def to_image(pixels: np.ndarray) -> Image.Image:
    """float RGB (h, w, 3) in [0, 1] to 8 bit, rounded; raises GenerationError when a value is not a number."""
    if not np.isfinite(pixels).all():
        raise GenerationError("the pipeline returned pixels that are not numbers (NaN); try dtype float32")
    return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8), "RGB")


def _check_weights(model: str, source: str, expected: str | None) -> None:
    if expected is None:
        return
    found = folder_sha256(Path(source))
    if found != expected:
        raise WeightsError(
            f"The weights of {model!r} have sha256 {found[:12]}…, not {expected[:12]}… as registered; "
            "restore the files or register the new weights under another name."
        )


def _load(model: str, source: str, revision: str | None, dtype: torch.dtype) -> DiffusionPipeline:
    local = Path(source).is_dir()
    if model.startswith(PACKAGE_SCHEME) and not local:
        raise WeightsError(f"The weights folder {source!r} is missing; reinstall the package.")
    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        return DiffusionPipeline.from_pretrained(source, revision=revision, dtype=dtype, local_files_only=local)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"The pipeline {model!r} could not be loaded ({reason}); check the name, the network or the folder."
        ) from error


def _check_call(pipeline: DiffusionPipeline, call: Mapping[str, Any]) -> None:
    accepted = set(inspect.signature(pipeline.__call__).parameters)
    if unknown := sorted(set(call) - accepted):
        raise UsageError(
            f"{type(pipeline).__name__} takes no {', '.join(map(repr, unknown))}; "
            f"it takes {', '.join(sorted(accepted))}."
        )
