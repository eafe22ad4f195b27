"""The networks, ready to run: batch normalisation folded into the convolutions, channels last.

    build(recipe, weights) -> Module: float32 (b, 3, side, side) in the network's range -> float32 (b, dim)

This module imports torch, so import it late.

Inception is drawn here anew from TensorFlow's graph of 2015-12-05 (Szegedy et al. 2016, arXiv:1512.00567), with the
places where that graph differs from torchvision's Inception v3: average pools leave the padding out of the count,
Mixed_7c pools by maximum, and the numbers before the last layer are the features. Folding and memory layout change
features by float32 rounding alone (below 1e-5 of the largest).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d

from evaluators.distribution.recipes import FeatureRecipe
from evaluators.weights import (
    INCEPTION,
    INCEPTION_CONVOLUTIONS,
    OFFICIAL_SHA256,
    Weights,
    port_torchscript,
    torchscript_tensors,
)

BATCH_NORM_EPSILON = 1e-3
# Convolutions of Inception with stride 2, and those without padding; the others keep height and width.
_STRIDE_2 = frozenset(
    {"Conv2d_1a_3x3", "Mixed_6a.branch3x3", "Mixed_6a.branch3x3dbl_3", "Mixed_7a.branch3x3_2", "Mixed_7a.branch7x7x3_4"}
)
_UNPADDED = _STRIDE_2 | {"Conv2d_2a_3x3", "Conv2d_4a_3x3"}


def build(recipe: FeatureRecipe, weights: Weights) -> Features:
    """On the CPU, in evaluation mode, in the recipe's precision."""
    network = Features(NETWORKS[recipe.network](weights), recipe).requires_grad_(False).eval()
    return network.to(network.dtype).to(memory_format=torch.channels_last)


class Features(nn.Module):
    """A network between float32 input and float32 features; features of unit length where the recipe says so."""

    def __init__(self, network: nn.Module, recipe: FeatureRecipe):
        super().__init__()
        self.network = network
        self.unit = recipe.unit
        self.dtype: torch.dtype = getattr(torch, recipe.precision)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.network(x.to(self.dtype)).float()
        return features / features.norm(dim=1, keepdim=True) if self.unit else features


class Inception(nn.Module):
    """TensorFlow's inception-2015-12-05 up to pool3: (b, 3, 299, 299) in [-1, 1] -> (b, 2048)."""

    def __init__(self, state: Mapping[str, Tensor]):
        super().__init__()
        self.convolutions = nn.ModuleDict({_key(name): _folded(name, state) for name in INCEPTION_CONVOLUTIONS})

    def forward(self, x: Tensor) -> Tensor:
        x = max_pool2d(self.chain("Conv2d_", "1a_3x3 2a_3x3 2b_3x3", x), 3, 2)
        x = max_pool2d(self.chain("Conv2d_", "3b_1x1 4a_3x3", x), 3, 2)
        for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            x = self._35(block, x)
        x = self._35_to_17("Mixed_6a", x)
        for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            x = self._17(block, x)
        x = self._17_to_8("Mixed_7a", x)
        x = self._8("Mixed_7b", x, _average_pool(x))
        x = self._8("Mixed_7c", x, max_pool2d(x, 3, 1, 1))
        return x.float().mean((2, 3))

    def chain(self, prefix: str, names: str, x: Tensor) -> Tensor:
        """Convolutions one after the other, each with its ReLU."""
        for name in names.split():
            x = self.convolutions[_key(prefix + name)](x).relu_()
        return x

    def _branches(self, block: str, x: Tensor, *branches: str) -> list[Tensor]:
        return [self.chain(f"{block}.branch", names, x) for names in branches]

    def _35(self, block: str, x: Tensor) -> Tensor:
        branches = self._branches(block, x, "1x1", "5x5_1 5x5_2", "3x3dbl_1 3x3dbl_2 3x3dbl_3")
        return torch.cat([*branches, *self._branches(block, _average_pool(x), "_pool")], dim=1)

    def _35_to_17(self, block: str, x: Tensor) -> Tensor:
        branches = self._branches(block, x, "3x3", "3x3dbl_1 3x3dbl_2 3x3dbl_3")
        return torch.cat([*branches, max_pool2d(x, 3, 2)], dim=1)

    def _17(self, block: str, x: Tensor) -> Tensor:
        twice = "7x7dbl_1 7x7dbl_2 7x7dbl_3 7x7dbl_4 7x7dbl_5"
        branches = self._branches(block, x, "1x1", "7x7_1 7x7_2 7x7_3", twice)
        return torch.cat([*branches, *self._branches(block, _average_pool(x), "_pool")], dim=1)

    def _17_to_8(self, block: str, x: Tensor) -> Tensor:
        branches = self._branches(block, x, "3x3_1 3x3_2", "7x7x3_1 7x7x3_2 7x7x3_3 7x7x3_4")
        return torch.cat([*branches, max_pool2d(x, 3, 2)], dim=1)

    def _8(self, block: str, x: Tensor, pooled: Tensor) -> Tensor:
        direct, once, twice = self._branches(block, x, "1x1", "3x3_1", "3x3dbl_1 3x3dbl_2")
        split = self._branches(block, once, "3x3_2a", "3x3_2b") + self._branches(block, twice, "3x3dbl_3a", "3x3dbl_3b")
        return torch.cat([direct, *split, *self._branches(block, pooled, "_pool")], dim=1)


def folded(weight: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """A convolution's weight (o, i, h, w) followed by batch normalisation (o,) as one weight and bias, float32.

    Computed in float64, so that folding rounds once.
    """
    factor = scale.double() / (variance.double() + BATCH_NORM_EPSILON).sqrt()
    return (weight.double() * factor[:, None, None, None]).float(), (bias.double() - mean.double() * factor).float()


def _key(name: str) -> str:
    """Modules cannot have a dot in their name."""
    return name.replace(".", "_")


def _folded(name: str, state: Mapping[str, Tensor]) -> nn.Conv2d:
    """The named convolution of a torch-fidelity state dict with its batch normalisation folded in."""
    norm = (state[f"{name}.bn.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))
    weight, bias = folded(state[f"{name}.conv.weight"], *norm)
    outputs, inputs, high, wide = weight.shape
    padding = (0, 0) if name in _UNPADDED else (high // 2, wide // 2)
    stride = 2 if name in _STRIDE_2 else 1
    with torch.device("meta"):  # without values of its own: drawing them takes seconds
        convolution = nn.Conv2d(inputs, outputs, (high, wide), stride, padding)
    convolution.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return convolution


def _average_pool(x: Tensor) -> Tensor:
    return avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _inception(weights: Weights) -> nn.Module:
    if weights.sha256 == OFFICIAL_SHA256:
        return Inception(torch.load(weights.path, map_location="cpu", weights_only=True))
    return Inception(port_torchscript(torchscript_tensors(weights.path)))


def _efficientnet_lite0(weights: Weights) -> nn.Module:
    """timm's network; the file has the same tensors under other names, in the same order."""
    import timm

    network = timm.create_model("tf_efficientnet_lite0")
    state = torch.load(weights.path, map_location="cpu", weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    network.reset_classifier(0)  # type: ignore[operator]
    return network


def _clip(weights: Weights) -> nn.Module:
    """The image tower of an open_clip folder, with OpenAI's activation x sigmoid(1.702 x), which its weights need."""
    import open_clip  # type: ignore[import-untyped]

    visual: nn.Module = open_clip.create_model(f"local-dir:{weights.path}", force_quick_gelu=True).visual
    return visual


class _ClassToken(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        token: Tensor = self.model(pixel_values=x).pooler_output
        return token


def _dinov2(weights: Weights) -> nn.Module:
    """The class token after the last normalisation, as dgm-eval takes it.

    Position embeddings are interpolated from 37 x 37 to 16 x 16 patches by transformers; the torch.hub code that
    dgm-eval runs scales its grid by 16.1 / 37 instead.
    """
    from transformers import Dinov2Model

    return _ClassToken(Dinov2Model.from_pretrained(weights.path, local_files_only=True, dtype=torch.float32))


NETWORKS: Mapping[str, Callable[[Weights], nn.Module]] = {
    INCEPTION: _inception,
    "clip-vit-l14-336": _clip,
    "clip-vit-b32": _clip,
    "dinov2-vitl14": _dinov2,
    "efficientnet-lite0": _efficientnet_lite0,
}


def compiled_by_openvino(network: nn.Module, shape: tuple[int, int, int, int], settings: Mapping[str, object]) -> Any:
    """The network compiled by OpenVINO for the CPU and that one input shape. Raises ImportError without OpenVINO."""
    # OpenVINO reports its import and every conversion to Google Analytics unless this package is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of torch.jit, and of packages that OpenVINO looks for
        import openvino  # type: ignore[import-untyped]

        example = torch.zeros((1, *shape[1:]))
        traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
        model = openvino.convert_model(traced, example_input=example, input=[shape])
    return openvino.Core().compile_model(model, "CPU", dict(settings))
