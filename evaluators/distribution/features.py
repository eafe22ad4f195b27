"""A feature recipe opened on one device: `open_extractor` -> Extractor.

Its protocol and its cache key are known from files alone; torch loads with the first image that needs it.
An image's features do not depend on its neighbours, on its place in a batch, on how full the batch is, or on the
number of threads: batches have one size, padded with zeros, and each is the work of one thread.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.domain import Protocol, fingerprint
from arena.errors import ArenaError, EnvironmentFault, ImageError, UnknownName, UsageError, WeightsError
from evaluators import images, weights
from evaluators.distribution.recipes import FeatureRecipe, feature_recipe
from evaluators.weights import first_line

if TYPE_CHECKING:
    from torch import Tensor

ENGINES = ("torch", "openvino")
# On a CPU a larger batch is no faster and takes memory on every thread.
CPU_BATCH, GPU_BATCH = 8, 64
MOST_THREADS = 16
TORCH_PAIR = "torch==2.15.0 torchvision==0.29.2"
OPENVINO_INSTALL = "pip install 'image-arena[openvino]'"
# What besides torch and Pillow may change a network's numbers.
_LIBRARY = {
    "clip-vit-l14-336": "open-clip-torch",
    "clip-vit-b32": "open-clip-torch",
    "dinov2-vitl14": "transformers",
    "efficientnet-lite0": "timm",
}
_OPENVINO_PRECISION = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


def open_extractor(
    name: str,
    *,
    weights_path: Path | str | None = None,
    device: str = "auto",
    engine: str = "torch",
    batch_size: int | None = None,
    threads: int | None = None,
    download: bool = True,
) -> Extractor:
    """The feature recipe of that id on "cpu", "cuda", "cuda:<number>", or "auto": cuda where there is one, else cpu.

    `download` False refuses weights that are not on this machine yet.
    `engine` "openvino" is a faster CPU engine of the same precision. `batch_size` is the network's, by default 8 on a
    CPU and 64 on a GPU. `threads` (by default one a core, at most 16) read and decode, and on a CPU run the network.

    Raises UnknownName, UsageError (an argument), WeightsError, and EnvironmentFault where the device or the engine
    is missing here.
    """
    recipe = feature_recipe(name)
    _check_choices(recipe, device, engine, batch_size, threads)
    return Extractor(
        recipe,
        weights.find(recipe.network, weights_path, download=download),
        device,
        engine,
        batch_size,
        threads or min(MOST_THREADS, usable_cores()),
    )


@dataclass(frozen=True)
class Extractor:
    """uint8 RGB images -> float32 (n, dim), by one recipe. Thread-safe.

    `asked_device` and `asked_batch` are the caller's; `device` and `batch_size` what comes of them. With "auto" the
    device is looked for when an image needs it, as that loads torch where there is a GPU.
    """

    recipe: FeatureRecipe
    weights: weights.Weights
    asked_device: str
    engine: str
    asked_batch: int | None
    threads: int

    @cached_property
    def device(self) -> str:
        return resolve_device(self.asked_device, self.engine)

    @cached_property
    def batch_size(self) -> int:
        return self.asked_batch or (GPU_BATCH if self.on_gpu else CPU_BATCH)

    @property
    def ahead(self) -> int:
        """So many images are read ahead of the network; a CPU's number until the device is known."""
        known = self.asked_device != "auto" or "device" in self.__dict__
        return self.batch_size if known else self.asked_batch or CPU_BATCH

    @cached_property
    def protocol(self) -> Protocol:
        """Every setting that changes features, from the file on; the engine and device where precision is reduced."""
        recipe = self.recipe
        settings: dict[str, Any] = {
            "decode": images.DECODERS[recipe.decode].settings,
            "crop": recipe.crop,
            "resize": {"filter": recipe.resize, "to": [recipe.side, recipe.side]},
            "scale": recipe.scale,
            "network": {"name": recipe.network, "weights_sha256": self.weights.sha256, "dtype": recipe.precision},
            "unit_length": recipe.unit,
            "packages": {name: _installed(name) for name in ("torch", "pillow", *self._library)},
        }
        if self.weights.settings_sha256:
            settings["network"]["settings_sha256"] = self.weights.settings_sha256
        if recipe.precision == "float32":
            settings["network"]["tf32"] = False
        else:
            settings["engine"] = {"name": self.engine, "device": self.device.partition(":")[0]}
            settings["packages"] |= {self.engine: _installed(self.engine)}
        return Protocol(recipe.name, recipe.version, settings)

    @cached_property
    def cache_key(self) -> str:
        """sha256 (hex) of what lies between pixels and features: equal key, equal features of equal pixels."""
        settings = dict(self.protocol.settings)
        del settings["decode"]
        if "pillow" not in self.recipe.resize:
            settings["packages"] = {k: v for k, v in settings["packages"].items() if k != "pillow"}
        return fingerprint(**settings)

    @cached_property
    def dim(self) -> int:
        """Features of an image. A folder of weights may hold a network of another width than the recipe's own."""
        if not self.weights.settings_sha256:
            return self.recipe.dim
        names = weights.SOURCES[self.recipe.network].files
        try:
            settings = json.loads((self.weights.path / names[0]).read_text())
            return int(settings["hidden_size"] if "hidden_size" in settings else settings["model_cfg"]["embed_dim"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"{self.weights.path / names[0]} does not describe a network ({error!r}): fetch that folder again."
            ) from error

    def __call__(self, batch: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """uint8 (n, h, w, 3), or n images of any sizes -> float32 (n, dim). Raises ImageError, EnvironmentFault."""
        chunks = [batch[start : start + self.batch_size] for start in range(0, len(batch), self.batch_size)]
        if not chunks:
            return np.empty((0, self.dim), np.float32)
        with worker_threads(1 if self.on_gpu else self.threads) as pool:
            return np.concatenate(list(pool.map(self._prepare_and_run, chunks)))

    def prepare(self, pixels: np.ndarray) -> Tensor:
        """uint8 (h, w, 3) -> the network's input (3, side, side); for a GPU the pixels, to be resized there.

        Call it in a thread of `worker_threads`. Raises ImageError, EnvironmentFault.
        """
        image = as_image(pixels)
        with self._lock:
            preprocess = self._preprocess
        _single_thread()
        single = preprocess.torch.from_numpy(image)[None]
        prepared: Tensor = single if self._resizes_on_gpu else preprocess.prepare(single, self.recipe)
        return prepared[0]

    def run(self, prepared: Sequence[Tensor]) -> np.ndarray:
        """At most `batch_size` prepared images -> float32 (k, dim). On a CPU, in a thread of `worker_threads`.

        Raises EnvironmentFault: a package missing, out of memory, or features that are not finite.
        """
        with self._lock:
            network = self._network
        if not self.on_gpu:
            _single_thread()
        import torch

        try:
            with torch.inference_mode(), _full_precision(self.device):
                features = network(self._batch(prepared))[: len(prepared)]
        except torch.OutOfMemoryError as error:
            raise EnvironmentFault(
                f"Out of memory on {self.device} with batch_size {self.batch_size}: use a smaller one."
            ) from error
        if not np.isfinite(features).all():
            raise EnvironmentFault(
                f"Features of {self.recipe.id} came out as NaN or infinite on {self.device}: "
                "use a recipe in float32, or device cpu."
            )
        return features

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"

    @property
    def _resizes_on_gpu(self) -> bool:
        return self.on_gpu and "pillow" not in self.recipe.resize

    @property
    def _library(self) -> tuple[str, ...]:
        return (_LIBRARY[self.recipe.network],) if self.recipe.network in _LIBRARY else ()

    @cached_property
    def _lock(self) -> threading.Lock:
        return threading.Lock()

    @cached_property
    def _preprocess(self) -> Any:
        try:
            from evaluators.distribution import preprocess
        except (ImportError, OSError, RuntimeError) as error:
            raise import_fault(self.recipe.id, error) from error
        return preprocess

    @cached_property
    def _network(self) -> Network:
        try:
            network = _openvino(self) if self.engine == "openvino" else _torch(self)
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            raise import_fault(self.recipe.id, error) from error
        return network

    def _prepare_and_run(self, chunk: Iterable[np.ndarray]) -> np.ndarray:
        return self.run([self.prepare(pixels) for pixels in chunk])

    def _batch(self, prepared: Sequence[Tensor]) -> Tensor:
        """(batch_size, 3, side, side) on the device, zeros after the last image."""
        import torch

        batch = torch.zeros((self.batch_size, 3, self.recipe.side, self.recipe.side), device=self.device)
        if not self._resizes_on_gpu:
            batch[: len(prepared)] = torch.stack(list(prepared))
            return batch
        for shape in {image.shape for image in prepared}:
            places = [place for place, image in enumerate(prepared) if image.shape == shape]
            same_size = torch.stack([prepared[place] for place in places]).to(self.device)
            batch[places] = self._preprocess.prepare(same_size, self.recipe)
        return batch


Network = Callable[["Tensor"], np.ndarray]
"""float32 (batch_size, 3, side, side) on the device -> float32 array (batch_size, dim)."""


def as_image(pixels: np.ndarray) -> np.ndarray:
    """The array itself where it is an image, or a copy where it is not contiguous or not writable, as torch wants it.

    Raises ImageError.
    """
    image = np.asarray(pixels)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(f"An image is {image.dtype} {image.shape}: give uint8 RGB arrays (h, w, 3), values 0 to 255.")
    return np.require(image, requirements=("C", "W"))


@contextmanager
def worker_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool in which torch has one thread for each of ours; what is left undone on the way out is dropped.

    Work shared out by images, not within one: threads never wait for each other, and float32 sums come out the same
    for any number of them.
    """
    pool = ThreadPoolExecutor(count, "features")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch = sys.modules.get("torch")
        if torch is not None:  # new threads of the caller's start with its own number again, not with ours
            torch.set_num_threads(torch.get_num_threads())


def import_fault(recipe: str, error: Exception) -> ArenaError:
    """What a failed import of torch, torchvision or a model library means to the reader."""
    if isinstance(error, ArenaError):
        return error
    if "torchvision" in str(error) and not isinstance(error, ModuleNotFoundError):
        return EnvironmentFault(
            f"These torch and torchvision are not a pair ({first_line(error)}): run `pip install {TORCH_PAIR}`."
        )
    return EnvironmentFault(
        f"{recipe} cannot load its network here ({first_line(error)}): check that `pip install {TORCH_PAIR}` holds "
        "and that the package named imports."
    )


def _single_thread() -> None:
    """torch keeps this for each thread; the number of the caller's own threads stays."""
    import torch

    if threading.current_thread() is not threading.main_thread() and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


def _torch(extractor: Extractor) -> Network:
    from evaluators.distribution import networks

    network = networks.build(extractor.recipe, extractor.weights).to(extractor.device)

    def run(batch: Tensor) -> np.ndarray:
        features: np.ndarray = network(batch).cpu().numpy()
        return features

    return run


def _openvino(extractor: Extractor) -> Network:
    """One stream of one thread for each thread of ours, each with its own request."""
    from evaluators.distribution import networks

    recipe = extractor.recipe
    compiled = networks.compiled_by_openvino(
        networks.build(replace(recipe, precision="float32"), extractor.weights),
        (extractor.batch_size, 3, recipe.side, recipe.side),
        {
            "INFERENCE_PRECISION_HINT": _OPENVINO_PRECISION[recipe.precision],
            "NUM_STREAMS": extractor.threads,
            "INFERENCE_NUM_THREADS": extractor.threads,
        },
    )
    requests = threading.local()

    def run(batch: Tensor) -> np.ndarray:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        return np.array(requests.own.infer([batch.numpy()])[0])

    return run


def _full_precision(device: str) -> AbstractContextManager[Any]:
    """cuDNN rounds float32 convolutions to 10 bits (TF32) unless told not to, which would move a distance."""
    import torch

    if device == "cpu":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False, fp32_precision="ieee")


def _check_choices(
    recipe: FeatureRecipe, device: str, engine: str, batch_size: int | None, threads: int | None
) -> None:
    if engine not in ENGINES:
        raise UnknownName("engine", engine, ENGINES)
    for name, value in {"batch_size": batch_size, "threads": threads}.items():
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}.")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f"Unknown device {device!r}: use auto, cpu, cuda or cuda:<number>.")
    if engine == "openvino" and device not in ("auto", "cpu"):
        raise UsageError(f"Engine openvino runs on the CPU, not on {device!r}: use engine torch there.")
    if engine == "openvino" and importlib.util.find_spec("openvino") is None:
        raise EnvironmentFault(f"Engine openvino is not installed: run `{OPENVINO_INSTALL}`, or use engine torch.")
    if recipe.precision == "float16" and resolve_device(device, engine) == "cpu":
        raise UsageError(f"{recipe.id} is for GPUs: use device cuda, or a recipe in float32.")
    if device not in ("auto", "cpu"):
        _check_cuda(device)


def resolve_device(device: str, engine: str = "torch") -> str:
    """ "auto" as "cuda" where torch finds a GPU and the engine can use it, else as "cpu"; other devices as they are.

    Loads torch only where there is a driver of a GPU.
    """
    if device != "auto":
        return device
    if engine != "torch" or not _gpu_driver():
        return "cpu"
    try:
        import torch
    except (ImportError, OSError, RuntimeError):  # what needs torch says what is wrong with it
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "cpu"


def _gpu_driver() -> bool:
    """Whether a driver of NVIDIA's or AMD's is here, asked without torch; where that is loaded it answers itself."""
    if "torch" in sys.modules or Path("/dev/kfd").exists():
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def usable_cores() -> int:
    """Cores that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_cuda(device: str) -> None:
    import torch

    count = torch.cuda.device_count()
    if int(device.partition(":")[2] or 0) >= count:
        raise EnvironmentFault(f"No device {device!r} here ({count} CUDA devices): use cpu.")


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise EnvironmentFault(f"Features need the package {package}: run `pip install {package}`.") from error
