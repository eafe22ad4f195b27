"""The few-step student of the flow: piecewise rectified-flow distillation (Yan et al. 2024, arXiv:2405.07510).

The teacher draws whole trajectories with guidance. Between two of the student's times the trajectory is replaced
by its chord, and the student learns the chord's slope, so that Euler's method follows it without guidance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from arena.teddy.training.flow import TRAIN_LENGTH, FlowNetwork, make_scheduler
from arena.teddy.training.text import make_tokenizer, tokens
from arena.teddy.training.vae import CHANNELS

STEPS = 4
SUBSTEPS = 3
"""Teacher steps between two of the student's times."""


class TurboTask:
    """Mean squared error of the slope of a random chord; the text encoder stays the teacher's."""

    def __init__(self, trajectories: Tensor, captions: Sequence[str], network: FlowNetwork, batch: int = 32) -> None:
        """`trajectories` float (n, STEPS + 1, 4, 16, 16) from noise to image, one for each caption."""
        network.text_encoder.requires_grad_(False)
        self.trajectories, self.network, self.batch = trajectories, network, batch
        ids, self.mask = tokens(make_tokenizer(), captions, TRAIN_LENGTH)
        with torch.no_grad():
            self.states = torch.cat(
                [
                    network.text_encoder(ids[k : k + 512], attention_mask=self.mask[k : k + 512])[0]
                    for k in range(0, len(ids), 512)
                ]
            )
        self.times, self.sigmas = _grid(STEPS)

    def loss(self, rng: torch.Generator) -> Tensor:
        index = torch.randint(len(self.trajectories), (self.batch,), generator=rng)
        segment = torch.randint(STEPS, (self.batch,), generator=rng)
        here, there = self.trajectories[index, segment], self.trajectories[index, segment + 1]
        gap = (self.sigmas[segment] - self.sigmas[segment + 1])[:, None, None, None]
        slope = self.network.velocity(here, self.times[segment], self.states[index], self.mask[index])
        return F.mse_loss(slope, (here - there) / gap)


@torch.no_grad()
def draw_trajectories(
    teacher: FlowNetwork,
    captions: Sequence[str],
    guidance: float,
    seed: int,
    say: Callable[[str], None] = lambda line: None,
    batch: int = 128,
) -> Tensor:
    """The teacher's latents at the student's times, float32 (n, STEPS + 1, 4, 16, 16)."""
    rng = torch.Generator().manual_seed(seed)
    ids, mask = tokens(make_tokenizer(), captions, TRAIN_LENGTH)
    empty_ids, empty_mask = tokens(make_tokenizer(), [""], TRAIN_LENGTH)
    found: list[Tensor] = []
    for start in range(0, len(captions), batch):
        part = slice(start, start + batch)
        n = len(ids[part])
        both = torch.cat([empty_ids.expand(n, -1), ids[part]]), torch.cat([empty_mask.expand(n, -1), mask[part]])
        states = teacher.text_encoder(both[0], attention_mask=both[1])[0]
        found.append(_trajectory(teacher, states, both[1], guidance, rng))
        say(f"trajectories {start + n}/{len(captions)}")
    return torch.cat(found)


def _trajectory(teacher: FlowNetwork, states: Tensor, mask: Tensor, guidance: float, rng: torch.Generator) -> Tensor:
    scheduler = make_scheduler(solver_order=2)
    scheduler.set_timesteps(STEPS * SUBSTEPS)
    n = len(states) // 2
    latents = torch.randn((n, CHANNELS, 16, 16), generator=rng)
    kept = [latents]
    for k, time in enumerate(scheduler.timesteps, start=1):
        velocity = teacher.velocity(latents.repeat(2, 1, 1, 1), (time / 1000).expand(2 * n), states, mask)
        empty, asked = velocity.chunk(2)
        latents = scheduler.step(empty + guidance * (asked - empty), time, latents).prev_sample
        if k % SUBSTEPS == 0:
            kept.append(latents)
    return torch.stack(kept, dim=1)


def _grid(steps: int) -> tuple[Tensor, Tensor]:
    """The times the pipeline gives the network, in [0, 1] (steps,), and the noise levels (steps + 1,)."""
    scheduler: DPMSolverMultistepScheduler = make_scheduler(solver_order=1)
    scheduler.set_timesteps(steps)
    return scheduler.timesteps / 1000, scheduler.sigmas
