"""The rectified-flow transformer: PixArt's architecture on the latents of the small autoencoder.

x_s = (1 - s) x_0 + s noise, the network predicts noise - x_0 at time 1000 s (Liu et al. 2023, arXiv:2209.03003),
s drawn logit-normally (Esser et al. 2024, arXiv:2403.03206). The text encoder is trained along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel
from torch import Tensor, nn

from arena.teddy.training.text import make_text_encoder, make_tokenizer, tokens, with_dropped
from arena.teddy.training.vae import CHANNELS

TEXT_WIDTH = 128
TRAIN_LENGTH = 28
"""Padding is masked, so training may pad less than the pipeline does."""


class FlowNetwork(nn.Module):
    """Text encoder and transformer, trained together."""

    def __init__(self, words: int, heads: int = 4, layers: int = 6, text_layers: int = 2) -> None:
        super().__init__()
        self.text_encoder = make_text_encoder(words, TEXT_WIDTH, text_layers)
        self.transformer = make_transformer(heads, layers)

    def forward(self, latents: Tensor, times: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Velocity, float (n, 16, h, w), at times in [0, 1] (n,)."""
        states = self.text_encoder(ids, attention_mask=mask)[0]
        return self.velocity(latents, times, states, mask)

    def velocity(self, latents: Tensor, times: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """The same for text that is already encoded, (n, length, width)."""
        return self.transformer(
            latents,
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            timestep=1000 * times,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        ).sample


def make_transformer(heads: int, layers: int) -> PixArtTransformer2DModel:
    """An untrained transformer on 16x16 latents with patch 2, that starts as the zero function."""
    network = PixArtTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=32,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_layers=layers,
        cross_attention_dim=32 * heads,
        sample_size=16,
        patch_size=2,
        caption_channels=TEXT_WIDTH,
    )
    nn.init.zeros_(network.proj_out.weight)
    nn.init.zeros_(network.proj_out.bias)
    return network


class FlowTask:
    """Mean squared error of the velocity, with one caption in ten dropped."""

    def __init__(self, latents: Tensor, captions: Sequence[str], network: FlowNetwork, batch: int = 32) -> None:
        """`latents` float (n, 4, 16, 16), one for each caption."""
        self.latents, self.network, self.batch = latents, network, batch
        self.ids, self.mask = tokens(make_tokenizer(), captions, TRAIN_LENGTH)

    def loss(self, rng: torch.Generator) -> Tensor:
        index = torch.randint(len(self.latents), (self.batch,), generator=rng)
        clean = self.latents[index]
        noise = torch.randn(clean.shape, generator=rng)
        times = torch.sigmoid(torch.randn(self.batch, generator=rng))
        ids, mask = with_dropped(self.ids[index], self.mask[index], 0.1, rng)
        noisy = torch.lerp(clean, noise, times[:, None, None, None])
        return F.mse_loss(self.network(noisy, times, ids, mask), noise - clean)


def denoiser(network: FlowNetwork, captions: Sequence[str]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """What the network takes for x_0: a function of noisy latents, times in [0, 1] (n,) and caption numbers (n,)."""
    ids, mask = tokens(make_tokenizer(), captions, TRAIN_LENGTH)

    def guess(noisy: Tensor, times: Tensor, index: Tensor) -> Tensor:
        return noisy - times[:, None, None, None] * network(noisy, times, ids[index], mask[index])

    return guess


def make_scheduler(solver_order: int = 2) -> DPMSolverMultistepScheduler:
    """Noise levels evenly from 0.999 to 0; order 1 is Euler's method, order 2 DPM-Solver++ (arXiv:2211.01095)."""
    return DPMSolverMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=1.0,
        solver_order=solver_order,
        final_sigmas_type="zero",
    )


def make_pipeline(network: FlowNetwork, autoencoder: AutoencoderDC, solver_order: int = 2) -> PixArtSigmaPipeline:
    """The pipeline that draws with the network."""
    return PixArtSigmaPipeline(
        tokenizer=make_tokenizer(),
        text_encoder=network.text_encoder,
        vae=autoencoder,
        transformer=network.transformer,
        scheduler=make_scheduler(solver_order),
    )
