"""The older school: a pixel-space U-Net with cross-attention, sampled with DDIM, in DeepFloyd IF's format.

Cosine noise schedule (Nichol and Dhariwal 2021, arXiv:2102.09672), the network predicts the velocity
alpha noise - sigma x_0 (Salimans and Ho 2022, arXiv:2202.00512). The text encoder is trained along.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, IFPipeline, UNet2DConditionModel
from torch import Tensor, nn

from arena.teddy.training.text import make_text_encoder, make_tokenizer, tokens, with_dropped
from arena.teddy.training.vae import to_signal

TEXT_WIDTH = 128
IF_LENGTH = 77
"""The pipeline pads every prompt to this length and does not mask the padding, so training does the same."""


class UnetNetwork(nn.Module):
    """Text encoder and U-Net, trained together."""

    def __init__(self, words: int, channels: tuple[int, int, int, int] = (16, 32, 64, 96)) -> None:
        super().__init__()
        self.text_encoder = make_text_encoder(words, TEXT_WIDTH, layers=2)
        self.unet = make_unet(TEXT_WIDTH, channels)


def make_unet(text_width: int, channels: tuple[int, int, int, int]) -> UNet2DConditionModel:
    """An untrained U-Net on 64x64 RGB, narrow where the picture is large and with attention at 8x8 alone.

    On the way down it leaves 64x64 at once; a CPU spends most of its time there. It has six channels out because the
    pipeline splits a learned variance off; those last three stay unused.
    """
    return UNet2DConditionModel(
        sample_size=64,
        in_channels=3,
        out_channels=6,
        block_out_channels=channels,
        layers_per_block=(0, 1, 1, 1),
        down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        cross_attention_dim=text_width,
        attention_head_dim=4,
    )


def make_scheduler() -> DDIMScheduler:
    """DDIM (Song et al. 2021, arXiv:2010.02502); the pipeline also reads `variance_type`, a DDPM setting."""
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        clip_sample=True,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )
    scheduler.register_to_config(variance_type="fixed_small")
    return scheduler


class UnetTask:
    """Mean squared error of the velocity, with one caption in ten dropped."""

    def __init__(self, images: np.ndarray, captions: Sequence[str], network: UnetNetwork, batch: int = 16) -> None:
        """`images` uint8 RGB (n, 3, 64, 64), one for each caption."""
        self.images, self.batch = images, batch
        self.network = network.to(memory_format=torch.channels_last)
        self.ids, self.mask = tokens(make_tokenizer(), captions, IF_LENGTH)
        self.kept = make_scheduler().alphas_cumprod

    def loss(self, rng: torch.Generator) -> Tensor:
        index = torch.randint(len(self.images), (self.batch,), generator=rng)
        clean = to_signal(self.images[index.numpy()]).contiguous(memory_format=torch.channels_last)
        noise = torch.randn(clean.shape, generator=rng)
        times = torch.randint(len(self.kept), (self.batch,), generator=rng)
        ids, mask = with_dropped(self.ids[index], self.mask[index], 0.1, rng)
        alpha, sigma = self.kept[times].sqrt()[:, None, None, None], (1 - self.kept[times]).sqrt()[:, None, None, None]
        states = self.network.text_encoder(ids, attention_mask=mask)[0]
        velocity = self.network.unet(alpha * clean + sigma * noise, times, states).sample[:, :3]
        return F.mse_loss(velocity, alpha * noise - sigma * clean)


def make_pipeline(network: UnetNetwork) -> IFPipeline:
    """The pipeline that draws with the network."""
    return IFPipeline(
        tokenizer=make_tokenizer(),
        text_encoder=network.text_encoder,
        unet=network.unet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )
