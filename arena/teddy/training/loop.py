"""One loop for every model: seeded, resumable to the bit, with an average of the weights and a plain log.

A task owns a network and says the loss of one random batch; the loop owns the optimizer, the learning rate,
the average and the checkpoint. All chance comes from one generator that is part of the checkpoint.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

CHECKPOINT_SECONDS = 120.0


class Task(Protocol):
    """What is trained: every parameter of `network` that requires a gradient."""

    network: nn.Module

    def loss(self, rng: torch.Generator) -> Tensor:
        """The scalar loss of one batch drawn with `rng`."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: AdamW, linear warm-up, cosine to one fiftieth, average of the weights with `decay`."""

    steps: int
    rate: float
    warmup: int = 200
    weight_decay: float = 0.01
    decay: float = 0.999
    betas: tuple[float, float] = (0.9, 0.99)

    def rate_at(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))

    def decay_at(self, step: int) -> float:
        """Decay of the average: short at first, so that the start is soon forgotten."""
        return min(self.decay, (1 + step) / (10 + step))


class Trainer:
    """A task between two checkpoints: `step` counts the finished optimizer steps."""

    def __init__(self, task: Task, schedule: Schedule, seed: int) -> None:
        self.task, self.schedule, self.step = task, schedule, 0
        self.rng = torch.Generator().manual_seed(seed)
        self.parameters = [p for p in task.network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=schedule.rate, betas=schedule.betas, weight_decay=schedule.weight_decay, foreach=True
        )
        self.average = [p.detach().clone() for p in self.parameters]

    def advance(self) -> float:
        """One optimizer step; returns its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate_at(self.step)
        loss = self.task.loss(self.rng)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self.optimizer.step()
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - self.schedule.decay_at(self.step))
        self.step += 1
        return loss.item()

    def averaged(self) -> nn.Module:
        """A copy of the network with the averaged weights, ready for use."""
        network = copy.deepcopy(self.task.network).eval().requires_grad_(False)
        names = [name for name, p in self.task.network.named_parameters() if p.requires_grad]
        own = dict(network.named_parameters())
        for name, value in zip(names, self.average, strict=True):
            own[name].copy_(value)
        return network

    def save(self, path: Path) -> None:
        """Writes everything that the next step depends on, atomically."""
        state = {
            "step": self.step,
            "network": self.task.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.get_state(),
        }
        part = path.with_name(path.name + ".part")
        torch.save(state, part)
        part.replace(path)

    def restore(self, path: Path) -> None:
        """Continues exactly where `save` stopped."""
        state = torch.load(path, weights_only=True)
        self.step, self.average = state["step"], state["average"]
        self.task.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.set_state(state["rng"])


def run(trainer: Trainer, path: Path, minutes: float, say: Callable[[str], None], every: int = 50) -> None:
    """Trains until the schedule ends or `minutes` have passed, with a checkpoint every two minutes and at the end."""
    start = saved = mark = time.monotonic()
    losses: list[float] = []
    while trainer.step < trainer.schedule.steps and time.monotonic() - start < minutes * 60:
        losses.append(trainer.advance())
        now = time.monotonic()
        if len(losses) == every:
            speed = (now - mark) / every
            progress = f"{path.stem} step {trainer.step}/{trainer.schedule.steps}"
            say(f"{progress} loss {sum(losses) / every:.4f} {speed:.3f} s/step")
            losses, mark = [], now
        if now - saved > CHECKPOINT_SECONDS:
            trainer.save(path)
            saved = now
    trainer.save(path)
