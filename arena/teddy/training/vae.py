"""The autoencoder of every contestant: `AutoencoderDC` (arXiv:2410.10733), 64x64x3 -> 16x16x4.

It works at 32x32 and 16x16 only and goes to and from pixels by pixel shuffling, with linear shortcuts. On a CPU
that is several times cheaper than the usual autoencoders, which spend their time at full size, and it learns
sharp edges sooner than decoders that begin with nearest-neighbour upsampling.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC
from torch import Tensor

CHANNELS = 4
"""More make the pictures of the autoencoder sharper and those of the flow, which has to draw them all, ragged."""


def make_autoencoder(
    channels: tuple[int, int] = (48, 64), down: tuple[int, int] = (1, 1), up: tuple[int, int] = (2, 2)
) -> AutoencoderDC:
    """An untrained autoencoder; `channels` and the numbers of blocks `down` and `up` are for 32x32 and 16x16."""
    widths = (channels[0], *channels)
    network = AutoencoderDC(
        latent_channels=CHANNELS,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        encoder_layers_per_block=(0, *down),
        decoder_layers_per_block=(0, *up),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        scaling_factor=1.0,
    )
    # The pipelines read the scale of an autoencoder from this setting, which AutoencoderDC itself does not declare.
    network.register_to_config(block_out_channels=widths)
    return network


class AutoencoderTask:
    """Reconstruction (L1 and L2) of noisy latents that are pulled to mean 0 and deviation 1 in each channel.

    The noise makes the decoder forgiving of a generator's small mistakes; the pull spares a scaling factor.
    """

    def __init__(self, images: np.ndarray, network: AutoencoderDC, batch: int = 32, noise: float = 0.1) -> None:
        """`images` uint8 RGB (n, 3, h, w)."""
        self.images, self.network = images, network.to(memory_format=torch.channels_last)
        self.batch, self.noise = batch, noise

    def loss(self, rng: torch.Generator) -> Tensor:
        index = torch.randint(len(self.images), (self.batch,), generator=rng)
        real = to_signal(self.images[index.numpy()]).contiguous(memory_format=torch.channels_last)
        latents = self.network.encoder(real)
        deviation, mean = torch.std_mean(latents, dim=(0, 2, 3))
        pull = mean.square().mean() + (deviation - 1).square().mean()
        noisy = latents + self.noise * torch.randn(latents.shape, generator=rng)
        drawn = self.network.decoder(noisy)
        return F.l1_loss(drawn, real) + 2 * F.mse_loss(drawn, real) + 0.05 * pull


class DecoderTask:
    """More for the decoder alone: it learns to clean latents, and what was trained on the latents stays valid.

    Half of the latents carry white noise; the other half are what a generator takes for the picture when it looks at
    a noisy version of it, so that the decoder meets the mistakes that it will have to hide.
    """

    def __init__(
        self,
        images: np.ndarray,
        latents: Tensor,
        network: AutoencoderDC,
        guess: Callable[[Tensor, Tensor, Tensor], Tensor],
        batch: int = 32,
        noise: float = 0.5,
    ) -> None:
        """`images` uint8 RGB (n, 3, 64, 64), `latents` float (n, 4, 16, 16) of a trained `network`.

        `guess(noisy latents, noise shares in [0, noise] (n,), picture numbers (n,))` gives the generator's latents.
        """
        self.images, self.latents, self.network = images, latents, network.to(memory_format=torch.channels_last)
        self.network.encoder.requires_grad_(False)
        self.guess, self.batch, self.noise = guess, batch, noise

    def loss(self, rng: torch.Generator) -> Tensor:
        index = torch.randint(len(self.images), (self.batch,), generator=rng)
        real = to_signal(self.images[index.numpy()])
        latents = self.latents[index]
        share = self.noise * torch.rand(self.batch, generator=rng)
        noise = torch.randn(latents.shape, generator=rng)
        half = self.batch // 2
        mixed = torch.lerp(latents[:half], noise[:half], share[:half, None, None, None])
        with torch.no_grad():
            guessed = self.guess(mixed, share[:half], index[:half])
        noisy = latents[half:] + 0.6 * share[half:, None, None, None] * noise[half:]
        drawn = self.network.decoder(torch.cat([guessed, noisy]).contiguous(memory_format=torch.channels_last))
        return F.l1_loss(drawn, real) + 2 * F.mse_loss(drawn, real)


def to_signal(images: np.ndarray) -> Tensor:
    """uint8 [0, 255] -> float32 [-1, 1], same shape."""
    return torch.from_numpy(np.array(images, np.float32)).div_(127.5).sub_(1)


@torch.no_grad()
def encode_all(network: AutoencoderDC, images: np.ndarray, batch: int = 128) -> Tensor:
    """Latents of all pictures, float32 (n, 16, h/4, w/4), in order."""
    parts = (images[start : start + batch] for start in range(0, len(images), batch))
    return torch.cat([network.encoder(to_signal(part)).contiguous() for part in parts])
