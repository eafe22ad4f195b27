"""Training of the attribute reader on rendered scenes, made harder by blur, noise and small changes of colour."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from arena.teddy.attributes import AttributeNetwork, truth
from arena.teddy.training.dataset import Pictures
from arena.teddy.training.vae import to_signal


class AttributeTask:
    """Sum of the heads' cross entropies."""

    def __init__(self, pictures: Pictures, network: AttributeNetwork, batch: int = 64) -> None:
        self.images, self.network, self.batch = pictures.images, network, batch
        self.truth = {name: torch.from_numpy(labels) for name, labels in truth(pictures.scenes).items()}

    def loss(self, rng: torch.Generator) -> Tensor:
        index = torch.randint(len(self.images), (self.batch,), generator=rng)
        seen = disturbed(to_signal(self.images[index.numpy()]), rng)
        logits = self.network(seen)
        return sum(F.cross_entropy(logits[name], self.truth[name][index]) for name in logits)


def disturbed(images: Tensor, rng: torch.Generator) -> Tensor:
    """Half of the pictures blurred, all with noise, contrast and brightness a little off; float32 (n, 3, h, w)."""
    n = len(images)
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    share = torch.rand((n, 1, 1, 1), generator=rng) * (torch.rand((n, 1, 1, 1), generator=rng) < 0.5)
    images = images + share * (blurred - images)
    contrast = 1 + 0.2 * (torch.rand((n, 1, 1, 1), generator=rng) - 0.5)
    shift = 0.1 * (torch.rand((n, 3, 1, 1), generator=rng) - 0.5)
    noise = 0.15 * torch.rand((n, 1, 1, 1), generator=rng) * torch.randn(images.shape, generator=rng)
    return images * contrast + shift + noise
