"""Distribution distances as torchmetrics: for Lightning and distributed loops, over features or with an extractor.

    metric = FrechetDistance(2048, extractor=network)          # network: images (b, ...) -> features (b, 2048)
    metric.update(images, real=True); metric.update(samples, real=False); metric.compute()

`FrechetDistance` keeps (n, mean, M2) of each side in float64, O(d^2) memory; processes, checkpoints and `merge_state`
merge these as `statistics.merge` does, so any split gives the same distance. (torchmetrics' own class keeps sums of
squares, which lose digits where means are large, and rounds its answer to float32.) `KernelDistance` needs all
features and keeps them. Neither needs scratch files or a fixed order. float64 does not exist on MPS; keep the metric on
the CPU there.

This module imports torch; the others in this room do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from arena.errors import DataError, UsageError
from evaluators.distribution import frechet, kernel
from evaluators.distribution.statistics import Statistics

Extractor = Callable[[Tensor], Tensor]


class _SetDistance(Metric):
    """What both have in common: two sides, an optional extractor, and real features that may outlive a reset."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    def __init__(self, dim: int, extractor: Extractor | None = None, *, reset_real: bool = True, **options: Any):
        super().__init__(**options)
        if dim < 1:
            raise UsageError(f"dim must be at least 1, got {dim}.")
        self.dim, self.extractor, self.reset_real = dim, extractor, reset_real
        if isinstance(extractor, torch.nn.Module):
            extractor.eval()

    def features(self, batch: Tensor) -> Tensor:
        """Of a batch, (b, dim). Raises DataError where they are not finite or of another shape."""
        if self.extractor is not None:
            with torch.no_grad():
                batch = self.extractor(batch)
        if batch.ndim != 2 or batch.shape[1] != self.dim:
            raise DataError(f"Features have shape {tuple(batch.shape)}, not (b, {self.dim}): give dim as it is.")
        if not torch.isfinite(batch).all():
            raise DataError("A batch of features has NaN or infinite values in it: compute them in float32.")
        return batch.detach()

    def reset(self) -> None:
        """Forgets all; of the real side only where `reset_real` is True."""
        kept = list(self.real) if isinstance(self.real, list) else self.real  # a list is emptied, not replaced
        super().reset()
        if not self.reset_real:
            self.real = kept


class FrechetDistance(_SetDistance):
    """The plain squared Fréchet distance of all features so far, float64, not debiased: compare equal numbers.

    `dim`: of the features. `extractor`: from what is given to `update` to features; None where features are given.
    `reset_real=False` keeps the real side over a reset, for a reference that is the same every epoch.
    """

    def __init__(self, dim: int, extractor: Extractor | None = None, *, reset_real: bool = True, **options: Any):
        super().__init__(dim, extractor, reset_real=reset_real, **options)
        for side in ("real", "generated"):
            self.add_state(side, torch.zeros(dim + 1, dim + 1, dtype=torch.float64), dist_reduce_fx=merged)

    def update(self, batch: Tensor, real: bool) -> None:
        """Adds a batch to the real or the generated side. Raises DataError on bad features."""
        side = "real" if real else "generated"
        setattr(self, side, merged(torch.stack([getattr(self, side), packed(self.features(batch))])))

    def compute(self) -> Tensor:
        """Raises DataError below two images on a side."""
        return torch.tensor(frechet.frechet(*self.statistics()).value, dtype=torch.float64, device=self.device)

    def statistics(self) -> tuple[Statistics, Statistics]:
        """Of the real and the generated side, on this process, as `statistics.save` takes them."""
        real, generated = (state.cpu().numpy() for state in (self.real, self.generated))
        return tuple(Statistics(round(each[0, 0]), each[0, 1:], each[1:, 1:]) for each in (real, generated))


class KernelDistance(_SetDistance):
    """KID of all features so far: the full U-statistic in float64, unbiased at any number, no subsets, no seed.

    Options as `FrechetDistance`; `compute_on_cpu=True` keeps the features off the accelerator. `scale`: 1000 as often.
    """

    def __init__(
        self,
        dim: int,
        extractor: Extractor | None = None,
        *,
        scale: float = 1.0,
        reset_real: bool = True,
        **options: Any,
    ):
        super().__init__(dim, extractor, reset_real=reset_real, **options)
        self.scale = scale
        self.add_state("real", [], dist_reduce_fx="cat")
        self.add_state("generated", [], dist_reduce_fx="cat")

    def update(self, batch: Tensor, real: bool) -> None:
        """Adds a batch to the real or the generated side. Raises DataError on bad features."""
        (self.real if real else self.generated).append(self.features(batch))

    def compute(self) -> Tensor:
        """Raises DataError below two images on a side."""
        return torch.tensor(self.discrepancy().value, dtype=torch.float64, device=self.device)

    def discrepancy(self) -> kernel.Discrepancy:
        """With its standard error and interval, of what this process has. Raises DataError below two images."""
        real, generated = (self._joined(each).cpu().numpy() for each in (self.real, self.generated))
        return kernel.kid(real, generated, scale=self.scale)

    def _joined(self, batches: Sequence[Tensor] | Tensor) -> Tensor:
        if isinstance(batches, Tensor):
            return batches
        return torch.cat(list(batches)) if batches else torch.empty(0, self.dim)

    def _sync_dist(self, *arguments: Any, **options: Any) -> None:
        # A process without a batch would gather a one-dimensional nothing, which does not fit beside features.
        for batches in (self.real, self.generated):
            if not len(batches):
                batches.append(torch.empty(0, self.dim, device=self.device))
        super()._sync_dist(*arguments, **options)


def packed(features: Tensor) -> Tensor:
    """(n, mean, M2) of features (n, d) in one (d + 1, d + 1) float64: n and the mean in the first row, M2 below."""
    x = features.to(torch.float64)
    state = x.new_zeros(x.shape[1] + 1, x.shape[1] + 1)
    if len(x):
        mean = x.mean(0)
        state[0, 0], state[0, 1:] = len(x), mean
        state[1:, 1:] = (x - mean).T @ (x - mean)
    return state


def merged(states: Tensor) -> Tensor:
    """One packed state of several (k, d + 1, d + 1), as `statistics.merge`; parts without images change nothing."""
    counts, means = states[:, 0, 0], states[:, 0, 1:]
    total = counts.sum()
    merged = states.sum(0)
    if total > 0:
        origin = means[int(counts.argmax())]
        shifts = means - origin
        moved = (counts[:, None] * shifts).sum(0) / total
        between = (shifts - moved) * counts.sqrt()[:, None]
        merged[0, 1:] = origin + moved
        merged[1:, 1:] += between.T @ between
    return merged
