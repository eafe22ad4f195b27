"""Networks of the CLIP kind, ready to run, and what they take: pixels and tokens.

This module imports torch, so import it late. Everything is float32 on any device; nothing is rounded to TF32.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from arena.errors import EnvironmentFault, UsageError, WeightsError
from evaluators.alignment.recipes import CONTEXT, Fit, Recipe, Towers
from evaluators.weights import Weights, first_line

# OpenAI's, of the images that CLIP was trained on; every network here takes them.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def pixels(image: NDArray[np.uint8], side: int, fit: Fit) -> Tensor:
    """float32 (3, side, side), normalised, of an uint8 RGB image (h, w, 3) of any size.

    Pillow's bicubic filter, which rounds to 8 bits. CROP: the shorter edge becomes `side`, then the middle is cut out,
    as open_clip and OpenAI do. PAD: the longer edge becomes `side`, the rest is black, as HPSv2 does.
    """
    high, wide = image.shape[:2]
    if fit is Fit.CROP:
        short = min(high, wide)
        new = tuple(side if edge == short else int(side * edge / short) for edge in (wide, high))
    else:
        new = tuple(max(1, round(edge * (side / max(high, wide)))) for edge in (wide, high))
    resized = Image.fromarray(image)
    if resized.size != new:
        resized = resized.resize(new, Image.Resampling.BICUBIC)
    left, top = (_offset(edge, side, fit) for edge in new)
    # Outside of the image crop gives black.
    square = np.asarray(resized.crop((left, top, left + side, top + side)))
    values = torch.from_numpy(square.copy()).permute(2, 0, 1).float() / 255
    return (values - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def _offset(edge: int, side: int, fit: Fit) -> int:
    """Where the square starts: torchvision rounds half to even when it cuts, HPSv2 rounds down when it adds."""
    return round((edge - side) / 2) if fit is Fit.CROP else -((side - edge) // 2)


def tokens(texts: Sequence[str]) -> tuple[Tensor, NDArray[np.bool_]]:
    """int64 (n, 77) with CLIP's byte pairs, zeros behind the end; and which texts (n,) were cut.

    A long text loses words and keeps its end token, whose place is where the networks read the text. With its end cut
    off, as torchmetrics does, they read it at its first token, or at any other with a high number.
    """
    tokenizer = _tokenizer()
    start, end = tokenizer.sot_token_id, tokenizer.eot_token_id
    room = CONTEXT - 2
    words = [tokenizer.encode(text) for text in texts]
    ids = torch.zeros(len(texts), CONTEXT, dtype=torch.int64)
    for row, found in zip(ids, words, strict=True):
        kept = [start, *found[:room], end]
        row[: len(kept)] = torch.tensor(kept)
    return ids, np.array([len(found) > room for found in words], bool)


@lru_cache(maxsize=1)
def _tokenizer():  # type: ignore[no-untyped-def]
    """open_clip's, whose vocabulary comes with the package."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


class OpenClip(nn.Module):
    """Both towers of an open_clip model.

    `side`: of its images in pixels; `width`: numbers in a feature; `scale`: exp(logit scale).
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        side = model.visual.image_size
        self.side: int = side if isinstance(side, int) else side[0]
        self.width: int = model.visual.output_dim
        self.scale = model.logit_scale.exp().item()

    def images(self, x: Tensor) -> Tensor:
        """(b, 3, side, side) -> unit vectors (b, d)."""
        features: Tensor = self.model.encode_image(x, normalize=True)
        return features

    def texts(self, ids: Tensor) -> Tensor:
        """(b, 77) -> unit vectors (b, d)."""
        features: Tensor = self.model.encode_text(ids, normalize=True)
        return features


class TransformersClip(nn.Module):
    """Both towers of a CLIPModel of transformers; as `OpenClip`."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.side: int = model.config.vision_config.image_size
        self.width: int = model.config.projection_dim
        self.scale = model.logit_scale.exp().item()

    def images(self, x: Tensor) -> Tensor:
        return _unit(self.model.get_image_features(pixel_values=x).pooler_output)

    def texts(self, ids: Tensor) -> Tensor:
        # No mask: what stands behind the end token is hidden from it, since attention looks back only.
        return _unit(self.model.get_text_features(input_ids=ids).pooler_output)


def _unit(features: Tensor) -> Tensor:
    return features / features.norm(dim=-1, keepdim=True)


def load(recipe: Recipe, weights: Weights, device: torch.device) -> OpenClip | TransformersClip:
    """The towers on the device, in evaluation mode. Raises WeightsError where the files are not such a network."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "QuickGELU mismatch")  # `quick_gelu` says what is right
            towers = _LOADERS[recipe.towers](recipe, weights.path)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a damaged file raises anything; all mean: these are not the weights
        raise WeightsError(
            f"{weights.path} does not load as {recipe.towers} of {recipe.name} ({first_line(error)}): fetch it again."
        ) from error
    return towers.requires_grad_(False).eval().float().to(device)


def head(weights: Weights, width: int, device: torch.device) -> nn.Sequential:
    """LAION's aesthetic head: linear layers one after the other, with nothing between them. (b, width) -> (b, 1).

    Its file holds a state dict of `layers.<number>.weight` and `.bias`; the numbers left out were dropout.
    Raises WeightsError where the file is not such a head, or is one for features of another width.
    """
    try:
        state = torch.load(weights.path, map_location="cpu", weights_only=True)
        numbers = sorted({int(name.split(".")[1]) for name in state})
        layers = nn.Sequential(*(_linear(state, f"layers.{number}") for number in numbers)).eval()
        made = layers(torch.zeros(1, width)).shape[1]
    except Exception as error:
        raise WeightsError(
            f"{weights.path} does not load as an aesthetic head for {width} features ({first_line(error)}): "
            "fetch it again, or give the CLIP that it was trained on."
        ) from error
    if made != 1:
        raise WeightsError(f"{weights.path} gives {made} numbers for an image, not one: it is no aesthetic head.")
    return layers.requires_grad_(False).to(device)


def _linear(state: Mapping[str, Tensor], name: str) -> nn.Linear:
    weight, bias = state[f"{name}.weight"].float(), state[f"{name}.bias"].float()
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def _open_clip_folder(recipe: Recipe, path: Path) -> OpenClip:
    import open_clip

    name = f"local-dir:{path}"
    return OpenClip(open_clip.create_model(name, force_quick_gelu=recipe.quick_gelu, require_pretrained=True))


def _open_clip_checkpoint(recipe: Recipe, path: Path) -> OpenClip:
    import open_clip

    return OpenClip(open_clip.create_model(recipe.architecture, pretrained=str(path), require_pretrained=True))


def _transformers(recipe: Recipe, path: Path) -> TransformersClip:
    from transformers import CLIPModel

    model, told = CLIPModel.from_pretrained(
        path, local_files_only=True, dtype=torch.float32, output_loading_info=True
    )  # fmt: skip
    # transformers makes up what a file lacks and only mentions it.
    if told["missing_keys"]:
        raise WeightsError(f"it lacks {sorted(told['missing_keys'])[0]}")
    return TransformersClip(model)


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """No gradients, and no TF32 on CUDA, which rounds float32 to 10 bits. Raises EnvironmentFault out of memory."""
    try:
        with torch.inference_mode():
            if device.type != "cuda":
                yield
                return
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False, fp32_precision="ieee"):
                yield
    except torch.OutOfMemoryError as error:
        raise EnvironmentFault(f"Out of memory on {device}: use a smaller batch_size.") from error


def device_of(name: str) -> torch.device:
    """Raises UsageError for an unknown device, EnvironmentFault for one that is not here."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"Unknown device {name!r}: use cpu, cuda or cuda:<number>.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentFault(f"No device {name!r} here ({torch.cuda.device_count()} CUDA devices): use cpu.")
    return device


_LOADERS: Mapping[Towers, Callable[[Recipe, Path], OpenClip | TransformersClip]] = {
    Towers.OPEN_CLIP_FOLDER: _open_clip_folder,
    Towers.OPEN_CLIP_CHECKPOINT: _open_clip_checkpoint,
    Towers.TRANSFORMERS: _transformers,
}
