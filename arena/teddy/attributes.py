"""Reads the attributes of a scene back from a picture: a small convolutional classifier, one head per attribute.

It was trained on rendered scenes that were blurred, noised and recoloured a little, so that it also reads
generated pictures. This is the ground truth meter of the embedded world. Importing it loads torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from arena.teddy.scenes import ATTRIBUTES, Count, Position, Scene

WEIGHTS = Path(__file__).parent / "weights" / "attributes.safetensors"


class AttributeNetwork(nn.Module):
    """float32 RGB [-1, 1] (n, 3, 64, 64) -> attribute name -> logits (n, number of values)."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 3 * width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(3 * width, 3 * width, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(3 * width * 16, 128),
            nn.ReLU(),
        )
        self.heads = nn.ModuleDict({name: nn.Linear(128, len(kind)) for name, kind in ATTRIBUTES.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.features(images)
        return {name: head(features) for name, head in self.heads.items()}


@dataclass(frozen=True)
class AttributeAccuracy:
    """Shares of pictures whose attribute reads as asked, in [0, 1]; `overall` is the mean over attributes."""

    overall: float
    per_attribute: dict[str, float]
    n: int


class AttributeReader:
    """The trained classifier."""

    def __init__(self, network: AttributeNetwork) -> None:
        self.network = network.eval().requires_grad_(False)

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> AttributeReader:
        """Reads the shipped weights. Raises FileNotFoundError if they are missing."""
        network = AttributeNetwork()
        network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
        return cls(network)

    def save(self, path: Path = WEIGHTS) -> None:
        """Writes the weights as float16 safetensors."""
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.half().contiguous() for name, value in self.network.state_dict().items()}, path)

    def labels(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Attribute name -> index into its values, int64 (n,); `images` uint8 RGB (n, 3, 64, 64).

        Raises ValueError for another shape or dtype.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (3, 64, 64):
            raise ValueError(f"images must be uint8 (n, 3, 64, 64), got {images.dtype} {images.shape}")
        found: dict[str, list[np.ndarray]] = {name: [] for name in ATTRIBUTES}
        with torch.inference_mode():
            for start in range(0, len(images), 128):
                part = torch.from_numpy(np.ascontiguousarray(images[start : start + 128]))
                for name, logits in self.network(part.float().div(127.5).sub(1)).items():
                    found[name].append(logits.argmax(1).numpy())
        return {name: np.concatenate([np.zeros(0, np.int64), *parts]) for name, parts in found.items()}

    def read(self, images: np.ndarray) -> tuple[Scene, ...]:
        """The most likely scene of each picture, uint8 RGB (n, 3, 64, 64); two bears are read as centred."""
        labels = self.labels(images)
        return tuple(_scene({name: int(labels[name][i]) for name in ATTRIBUTES}) for i in range(len(images)))

    def attribute_accuracy(self, images: np.ndarray, scenes: tuple[Scene, ...]) -> AttributeAccuracy:
        """How often the pictures show what the scenes say; `images` uint8 RGB (n, 3, 64, 64), n > 0.

        Raises ValueError if there are no pictures or not as many as scenes.
        """
        if not len(images) or len(images) != len(scenes):
            raise ValueError(f"need as many pictures as scenes, and one at least: got {len(images)} and {len(scenes)}")
        read, wanted = self.labels(images), truth(scenes)
        shares = {name: float(np.mean(read[name] == wanted[name])) for name in ATTRIBUTES}
        return AttributeAccuracy(sum(shares.values()) / len(shares), shares, len(scenes))


def truth(scenes: tuple[Scene, ...]) -> dict[str, np.ndarray]:
    """Attribute name -> index of each scene's value, int64 (n,)."""
    return {
        name: np.array([[*kind].index(getattr(scene, name)) for scene in scenes], np.int64)
        for name, kind in ATTRIBUTES.items()
    }


def _scene(labels: dict[str, int]) -> Scene:
    values = {name: [*kind][labels[name]] for name, kind in ATTRIBUTES.items()}
    if values["count"] is Count.TWO:
        values["position"] = Position.CENTRE
    return Scene(**values)
