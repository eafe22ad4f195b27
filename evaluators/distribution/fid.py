"""Fréchet Inception Distance, as torchmetrics computes it.

    images -> features -> statistics -> distance

Features are 2048 numbers an image, from TensorFlow's Inception of 2015-12-05; statistics are their mean m and
covariance C; the distance is |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Heusel et al. 2017, arXiv:1706.08500, eq. 6).
All three steps are `torchmetrics.image.fid.FrechetInceptionDistance`; this module feeds it honestly decoded images,
keeps the result in float64, and says which FID came out. torch loads when `fid` runs, not when this is imported.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.domain import Protocol, Score
from arena.errors import ArenaError, EnvironmentFault, ImageError, UsageError
from evaluators import weights as pretrained
from evaluators.base import ImageSet, Progress, no_progress
from evaluators.images import MINIMUM_IMAGES, RECIPE, ImageFolder, read_folder

if TYPE_CHECKING:
    from torchmetrics.image.fid import FrechetInceptionDistance

METRIC = "fid"
FEATURES = 2048
# Below as many images as features the covariances are singular and sample-size bias dominates the distance.
BIASED_BELOW = FEATURES
# Bounds memory, about 400 MB as float32, whatever the size of the images.
PIXELS_PER_BATCH = 2**25
TORCH_PAIR = "torch==2.15.0 torchvision==0.29.2"


@dataclass(frozen=True, slots=True)
class FidResult:
    """A distance (>= 0 up to rounding, smaller is closer) with all that is needed to defend it.

    `dropped` and `converted` hold (path, reason) with paths that begin with "real: " or "generated: ";
    `seconds` is wall time, from the first file to the distance.
    """

    fid: float
    n_real: int
    n_generated: int
    protocol: Protocol
    weights_sha256: str
    seconds: float
    dropped: tuple[tuple[str, str], ...] = ()
    converted: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "fid": self.fid,
            "n_real": self.n_real,
            "n_generated": self.n_generated,
            "protocol": self.protocol.id,
            "fingerprint": self.protocol.fingerprint,
            "seconds": self.seconds,
        }

    def as_score(self, subject: str, contestant_id: int | None = None, run_id: int | None = None) -> Score:
        details = {
            "n_real": self.n_real,
            "n_generated": self.n_generated,
            "weights_sha256": self.weights_sha256,
            "seconds": self.seconds,
            "dropped": self.dropped,
        }
        return Score(
            subject, METRIC, self.protocol, value=self.fid, details=details, contestant_id=contestant_id, run_id=run_id
        )


@dataclass(frozen=True, slots=True)
class Fid:
    """The evaluator: `fid` with its settings."""

    cache_dir: Path
    weights: Path | None = None
    batch_size: int = 32
    device: str = "cpu"
    limit: int | None = None
    progress: Progress = no_progress

    def score(
        self,
        real: ImageSet,
        generated: ImageSet,
        *,
        subject: str,
        contestant_id: int | None = None,
        run_id: int | None = None,
    ) -> Score:
        """Raises what `fid` raises."""
        result = fid(
            real,
            generated,
            cache_dir=self.cache_dir,
            weights=self.weights,
            batch_size=self.batch_size,
            device=self.device,
            limit=self.limit,
            progress=self.progress,
        )
        return result.as_score(subject, contestant_id, run_id)


def fid(
    real: ImageSet,
    generated: ImageSet,
    *,
    cache_dir: Path | str,
    batch_size: int = 32,
    device: str = "cpu",
    weights: Path | str | None = None,
    limit: int | None = None,
    progress: Progress = no_progress,
) -> FidResult:
    """The distance between two sets of images, each a folder or uint8 RGB arrays (h, w, 3) of any sizes.

    `weights` is the caller's choice of Inception file, None to find one; `cache_dir` keeps the ported one.
    `limit` takes the first images of each set, in path order. `batch_size` and the order of the images change the
    result by float32 rounding alone.
    Folders are read through once before anything slow starts. `progress(stage, done, total)` is called after every
    file read and every batch; what it raises stops the work.

    Raises ImageError (a set that cannot be used), WeightsError, UsageError (an argument), and EnvironmentFault
    (packages, device, cache folder, or features that are not finite: never a number then).
    """
    started = time.perf_counter()
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}.")
    if limit is not None and limit < MINIMUM_IMAGES:
        raise UsageError(f"limit must be at least {MINIMUM_IMAGES} images, got {limit}.")
    sets = {
        "real": _opened("real", real, limit, progress),
        "generated": _opened("generated", generated, limit, progress),
    }
    progress("loading Inception", 0, 1)
    metric, weights_sha256 = _load_metric(Path(cache_dir), weights, device)
    progress("loading Inception", 1, 1)
    counts = {side: _accumulate(metric, side, images, batch_size, progress) for side, images in sets.items()}
    progress("distance", 0, 1)
    value = distance(metric)
    progress("distance", 1, 1)
    folders = {side: images for side, images in sets.items() if isinstance(images, ImageFolder)}
    return FidResult(
        fid=value,
        n_real=counts["real"],
        n_generated=counts["generated"],
        protocol=protocol(weights_sha256),
        weights_sha256=weights_sha256,
        seconds=time.perf_counter() - started,
        dropped=tuple((f"{side}: {path}", why) for side, folder in folders.items() for path, why in folder.dropped),
        converted=tuple(
            (f"{side}: {path}", note) for side, folder in folders.items() for path, note in folder.converted
        ),
        warnings=(*_count_warnings(**counts), *_folder_warnings(folders)),
    )


def protocol(weights_sha256: str) -> Protocol:
    """The recipe's name, version and every setting that changes the number, with the installed versions."""
    torchmetrics = _installed("torchmetrics")
    return Protocol(
        "fid-torchmetrics",
        ".".join(torchmetrics.split(".")[:2]),
        {
            "feature": FEATURES,
            "weights_sha256": weights_sha256,
            "decode": RECIPE,
            "resize": {"to": [299, 299], "filter": "bilinear", "antialias": True, "rounded": False},
            "scale": "(x - 128) / 128",
            "network_dtype": "float32",
            "tf32": False,
            "statistics_dtype": "float64",
            "covariance": "n - 1",
            "root": "eigenvalues of the product, real part",
            "packages": {
                "torchmetrics": torchmetrics,
                "torch-fidelity": _installed("torch-fidelity"),
                "torch": _installed("torch"),
                "pillow": _installed("pillow"),
            },
        },
    )


def distance(metric: FrechetInceptionDistance) -> float:
    """torchmetrics' distance of its accumulated float64 statistics, without its final rounding to float32.

    Raises EnvironmentFault where the statistics or the distance are not finite.
    """
    import torch

    # LAPACK ends the process on NaN, so ask before.
    for side, statistics in {
        "real": (metric.real_features_sum, metric.real_features_cov_sum),
        "generated": (metric.fake_features_sum, metric.fake_features_cov_sum),
    }.items():
        if not all(torch.isfinite(each).all() for each in statistics):
            raise _not_finite(f"The {side} features")
    # compute() casts to the dtype the features had; the statistics and the arithmetic are float64 already.
    metric.orig_dtype = torch.float64
    threads = torch.get_num_threads()
    try:
        # LAPACK's eigenvalues gain nothing from threads, and lose a factor of 4 to 6 to them on a busy machine.
        torch.set_num_threads(1)
        value = float(metric.cpu().compute())
    finally:
        torch.set_num_threads(threads)
    if not math.isfinite(value):
        raise _not_finite("The distance")
    return value


def batches_of_equal_size(images: Iterable[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    """Stacks (b, h, w, 3), b <= batch_size; images of one size wait for each other, bounded in memory.

    Raises ImageError where an image is not uint8 (h, w, 3).
    """
    waiting: dict[tuple[int, ...], list[np.ndarray]] = defaultdict(list)
    waiting_pixels = 0
    for number, image in enumerate(images):
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ImageError(
                f"Image {number} is {image.dtype} {image.shape}: give uint8 RGB arrays (h, w, 3), values 0 to 255."
            )
        group = waiting[image.shape]
        group.append(image)
        pixels = image.shape[0] * image.shape[1]
        waiting_pixels += pixels
        if len(group) == batch_size or pixels * (len(group) + 1) > PIXELS_PER_BATCH:
            full = image.shape
        elif waiting_pixels > PIXELS_PER_BATCH:
            full = max(waiting, key=lambda shape: len(waiting[shape]) * shape[0] * shape[1])
        else:
            continue
        batch = np.stack(waiting.pop(full))
        waiting_pixels -= batch.shape[0] * full[0] * full[1]
        yield batch
    for group in waiting.values():
        yield np.stack(group)


def _opened(side: str, images: ImageSet, limit: int | None, progress: Progress) -> Iterable[np.ndarray]:
    if isinstance(images, str | Path):
        return read_folder(images, limit=limit, progress=lambda done, total: progress(f"reading {side}", done, total))
    if isinstance(images, Sized):
        _require_enough(side, len(images))
    if limit is None:
        return images
    return images[:limit] if isinstance(images, list | tuple | np.ndarray) else islice(images, limit)


def _require_enough(side: str, count: int) -> None:
    if count < MINIMUM_IMAGES:
        raise ImageError(
            f"The {side} set has {count} image(s): a distance between sets needs at least {MINIMUM_IMAGES}."
        )


def _load_metric(cache_dir: Path, weights: Path | str | None, device: str) -> tuple[FrechetInceptionDistance, str]:
    """An empty metric on the device, and the sha256 of its weights."""
    torch, metric_class = _import_torchmetrics()
    target = _device(torch, device)
    found = pretrained.inception(cache_dir, weights)
    metric = metric_class(
        feature=FEATURES, feature_extractor_weights_path=str(found.path), normalize=False, antialias=True
    )
    # 1.5 times faster on CPU; the same arithmetic in another order.
    metric.inception.to(memory_format=torch.channels_last)
    return metric.to(target), found.sha256


def _import_torchmetrics() -> tuple[Any, type[FrechetInceptionDistance]]:
    try:
        import torch

        # torchmetrics imports without it, then fails late and obscurely
        import torch_fidelity  # type: ignore[import-untyped]  # noqa: F401
        from torchmetrics.image.fid import FrechetInceptionDistance
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        raise import_fault(error) from error
    return torch, FrechetInceptionDistance


def import_fault(error: Exception) -> ArenaError:
    """What a failed import of torch, torchvision or torchmetrics means to the reader."""
    if "torchvision" in str(error) and not isinstance(error, ModuleNotFoundError):
        return EnvironmentFault(
            f"These torch and torchvision are not a pair ({_first_line(error)}): run `pip install {TORCH_PAIR}`."
        )
    return EnvironmentFault(
        f"FID needs packages that do not import here ({_first_line(error)}): "
        f"run `pip install {TORCH_PAIR} torchmetrics torch-fidelity`."
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _device(torch: Any, name: str) -> Any:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"Unknown device {name!r}: use cpu, cuda or cuda:<number>.") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"FID cannot run on {name!r}: it needs float64; use cpu, cuda or cuda:<number>.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentFault(f"No device {name!r} here ({torch.cuda.device_count()} CUDA devices): use cpu.")
    return device


def _accumulate(
    metric: FrechetInceptionDistance, side: str, images: Iterable[np.ndarray], batch_size: int, progress: Progress
) -> int:
    """Adds the images' features to the statistics of one side; their number."""
    import torch

    total = len(images) if isinstance(images, Sized) else 0
    done = 0
    try:
        with _full_precision(metric.device):
            for batch in batches_of_equal_size(images, batch_size):
                metric.update(torch.from_numpy(batch).permute(0, 3, 1, 2).to(metric.device), real=side == "real")
                done += len(batch)
                progress(f"{side} features", done, total)
    except torch.OutOfMemoryError as error:
        raise EnvironmentFault(
            f"Out of memory on {metric.device} with batch_size {batch_size}: use a smaller one."
        ) from error
    _require_enough(side, done)
    return done


def _full_precision(device: Any) -> AbstractContextManager[Any]:
    """cuDNN rounds float32 convolutions to 10 bits (TF32) unless told not to, which would move the distance."""
    import torch

    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False, fp32_precision="ieee")


def _not_finite(what: str) -> EnvironmentFault:
    return EnvironmentFault(f"{what} came out as NaN or infinite, so there is no FID: run again with device cpu.")


def _count_warnings(real: int, generated: int) -> list[str]:
    smaller = min(real, generated)
    if smaller >= BIASED_BELOW:
        return []
    return [f"N = {smaller} < {BIASED_BELOW}: FID is dominated by sample-size bias at this N; compare only equal N."]


def _folder_warnings(folders: dict[str, ImageFolder]) -> list[str]:
    notes = [
        f"{len(folder.dropped)} of {len(folder.dropped) + len(folder)} {side} images were dropped: not decodable."
        for side, folder in folders.items()
        if folder.dropped
    ]
    if len(folders) == 2:
        real, generated = folders["real"].path.resolve(), folders["generated"].path.resolve()
        if real == generated:
            notes.append("The real and the generated folder are the same.")
        elif real.is_relative_to(generated) or generated.is_relative_to(real):
            notes.append("One folder lies inside the other, so its images count on both sides.")
    return notes


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise import_fault(error) from error
