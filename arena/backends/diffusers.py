"""Any text-to-image pipeline in the hub's diffusers format: the embedded teddies, FLUX.2, Qwen-Image, HiDream."""

from __future__ import annotations

import gc
import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Required

import numpy as np
from PIL import Image
from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on only

from arena.backends.hub import (
    commit,
    fetched_adapter,
    fetched_part,
    fetched_pipeline,
    free_bytes,
    install_line,
    needs,
    needs_of_tokenizer,
    part_bytes,
    read_ahead,
    weights_bytes,
)
from arena.backends.weights import folder_sha256, model_source
from arena.errors import EnvironmentFault, GenerationError, OutOfMemory, UsageError, WeightsError

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline

Dtype = Literal["float32", "float16", "bfloat16"]
Quantisation = Literal["bitsandbytes_4bit", "bitsandbytes_8bit", "torchao_int8"]
BACKENDS_OF_QUANTISATION = {
    "bitsandbytes_4bit": ("bitsandbytes", "bitsandbytes_4bit", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}),
    "bitsandbytes_8bit": ("bitsandbytes", "bitsandbytes_8bit", {"load_in_8bit": True}),
    "torchao_int8": ("torchao", "torchao", {"quant_type": "int8wo"}),
}
SIGNS_OF_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


class Adapter(TypedDict, total=False):
    """LoRA or DreamBooth weights: a hub id or folder, a file in it, a pinned revision, and how strongly they count."""

    model: Required[str]
    file: str
    revision: str
    scale: float


class Part(TypedDict, total=False):
    """A part of a repository of its own: a hub id or folder, and a pinned revision."""

    model: Required[str]
    revision: str


def best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class DiffusersBackend:
    """A frozen pipeline. Noise comes from a CPU generator per image: batching does not change who gets which seed."""

    RUNNING = frozenset({"device", "offload", "key_variable", "vae_tiling", "commits"})
    here = True

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        variant: str | None = None,
        weights_sha256: str | None = None,
        dtype: Dtype = "float32",
        quantisation: Quantisation | None = None,
        quantise: list[str] | None = None,
        steps: Annotated[int, Field(ge=1)] | None = None,
        guidance: float | None = None,
        height: Annotated[int, Field(ge=8)] | None = None,
        width: Annotated[int, Field(ge=8)] | None = None,
        scheduler: str | None = None,
        scheduler_options: dict[str, Any] | None = None,
        adapters: list[Adapter] | None = None,
        call: dict[str, Any] | None = None,
        parts: dict[str, str | Part] | None = None,
        device: str = "auto",
        offload: Literal["model", "sequential"] | None = None,
        vae_tiling: bool = False,
        key_variable: str | None = None,
        commits: dict[str, str] | None = None,
    ):
        """`model`: hub id, folder or package://PACKAGE/FOLDER. `call`: further arguments of the pipeline's call.

        `revision` pins a hub commit, `weights_sha256` the content of a folder (see `folder_sha256`). `quantise`: the
        parts that `quantisation` is for (transformer). `scheduler`: a class of diffusers, with options that change its
        own. `parts`: hub ids of parts that the repository leaves out, such as HiDream's fourth text encoder, each
        alone or with its revision. `offload` keeps parts in main memory until they are needed. `key_variable`: NAME of
        the variable with a hub token, for gated models, parts and adapters. `commits`: by hub id, what is loaded where
        no `revision` says it; the attribute of this name holds what was.
        Raises UsageError for a setting it does not take, WeightsError when the weights cannot be had or are not the
        ones named, EnvironmentFault when a package is missing or memory is too small.
        """
        import torch

        dtypes = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
        if dtype not in dtypes:
            raise UsageError(f"Unknown dtype {dtype!r}: choose one of {', '.join(dtypes)}.")
        source = model_source(model)
        self.device = best_device() if device == "auto" else device
        extra = _quantised(quantisation, quantise)
        self.commits: dict[str, str] = {}
        known = dict(commits or {})
        folder = fetched_pipeline(model, source, revision or known.get(model), variant, key_variable)
        self._loaded_of(model, revision, folder)
        _check_weights(model, folder, weights_sha256)
        given = _parts(parts)
        places = {name: _fetched_part(name, one, known, key_variable) for name, one in given.items()}
        for name, one in given.items():
            self._loaded_of(one["model"], one.get("revision"), places[name])
        beside = sum(part_bytes(place, dtype) for name, place in places.items() if not _is_tokenizer(name))
        _require_memory(model, folder, variant, dtype, quantisation, None if offload else self.device, beside)
        for place in (*folder.glob("*tokenizer*"), *(places[name] for name in places if _is_tokenizer(name))):
            needs_of_tokenizer(place)
        extra |= _loaded_parts(places, dtypes[dtype])
        self.pipeline = _load(model, folder, variant, dtypes[dtype], extra)
        self.pipeline.set_progress_bar_config(disable=True)
        _schedule(self.pipeline, scheduler, scheduler_options or {})
        for adapter in adapters or []:
            place = _adapt(self.pipeline, adapter, known, key_variable)
            self._loaded_of(adapter["model"], adapter.get("revision"), place)
        _weigh(self.pipeline, adapters or [])
        if vae_tiling:
            _tile(self.pipeline)
        self._place(offload)
        self.call = _call(self.pipeline, {"num_inference_steps": steps, "height": height, "width": width}, guidance)
        self.call |= call or {}
        _check_call(self.pipeline, self.call)

    def _loaded_of(self, model: str, revision: str | None, folder: Path) -> None:
        if revision is None and (sha := commit(folder)) is not None:
            self.commits[model] = sha

    def _place(self, offload: str | None) -> None:
        try:
            if offload == "model":
                self.pipeline.enable_model_cpu_offload(device=self.device)
            elif offload == "sequential":
                self.pipeline.enable_sequential_cpu_offload(device=self.device)
            else:
                self.pipeline.to(self.device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise UsageError(f"The pipeline cannot be put on {self.device!r} ({_first_line(error)}).") from error
            raise EnvironmentFault(
                f"The pipeline does not fit into the memory of {self.device!r}; {SMALLER}."
            ) from error

    def _called(self, n: int) -> dict[str, Any]:
        """The call's arguments for n prompts: several pipelines want as many negative prompts as prompts."""
        negative = {k: [v] * n for k, v in self.call.items() if k.startswith("negative_prompt") and isinstance(v, str)}
        return {**self.call, **negative}

    @staticmethod
    def prefetch(settings: Mapping[str, Any]) -> None:
        """Download the pipeline and its parts, and have the system read the weights into its memory for files."""
        model, known = str(settings["model"]), settings.get("commits") or {}
        key, variant = settings.get("key_variable"), settings.get("variant")
        revision = settings.get("revision") or known.get(model)
        places = [fetched_pipeline(model, model_source(model), revision, variant, key)]
        places += [_fetched_part(name, one, known, key) for name, one in _parts(settings.get("parts")).items()]
        for place in places:
            for file in sorted(place.rglob("*.safetensors")):
                read_ahead(file)

    @staticmethod
    def pinned(settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings as they are registered: a folder by its absolute path and the hash of what is in it."""
        folder = Path(str(settings["model"])).expanduser()
        if not folder.is_dir():
            return dict(settings)
        sha256 = settings.get("weights_sha256") or folder_sha256(folder)
        return {**settings, "model": str(folder.absolute()), "weights_sha256": sha256}

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image | GenerationError]:
        import torch

        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        try:
            with torch.inference_mode(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a library's advice to itself is not for whoever generates
                output = self.pipeline(
                    prompt=list(prompts), generator=generators, output_type="np", **self._called(len(prompts))
                )
        except Exception as error:  # any pipeline may raise anything; the reason becomes the failure
            if is_out_of_memory(error):
                free_memory()
                raise OutOfMemory(f"out of memory with {len(prompts)} at once on {self.device!r}; {SMALLER}") from error
            raise GenerationError(f"{type(error).__name__}: {_first_line(error)}") from error
        withheld = getattr(output, "nsfw_content_detected", None) or [False] * len(output.images)
        return [_result(pixels, refused) for pixels, refused in zip(output.images, withheld, strict=True)]

    def close(self) -> None:
        """Let go of the pipeline: it holds itself in cycles, and the next one needs the memory."""
        del self.pipeline
        free_memory()


SMALLER = "try a smaller batch_size, offload, quantisation or dtype bfloat16"


def _result(pixels: np.ndarray, withheld: bool) -> Image.Image | GenerationError:
    if withheld:
        return GenerationError("withheld by the pipeline's safety checker")
    try:
        return to_image(pixels)
    except GenerationError as error:
        return error


def to_image(pixels: np.ndarray) -> Image.Image:
    """float RGB (h, w, 3) in [0, 1] to 8 bit, rounded; raises GenerationError when a value is not a number."""
    if not np.isfinite(pixels).all():
        raise GenerationError("the pipeline returned pixels that are not numbers (NaN); try dtype float32")
    return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8), "RGB")


def is_out_of_memory(error: BaseException) -> bool:
    import torch

    told = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in told for sign in SIGNS_OF_NO_MEMORY)


def free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _check_weights(model: str, folder: Path, expected: str | None) -> None:
    if expected is None:
        return
    found = folder_sha256(folder)
    if found != expected:
        raise WeightsError(
            f"The weights of {model!r} have sha256 {found[:12]}…, not {expected[:12]}… as registered; "
            "restore the files or register the new weights under another name."
        )


def _require_memory(
    model: str, folder: Path, variant: str | None, dtype: str, quantisation: str | None, device: str | None, beside: int
) -> None:
    """Raises EnvironmentFault before a machine kills the process for what it loads. `device` None: parts come in turn.

    Every weight counts as wide as `dtype`, and half of that where quantised: some parts never are. `beside`: bytes of
    parts that come from elsewhere.
    """
    wanted = weights_bytes(folder, variant, dtype)
    if quantisation:
        wanted //= 2
    wanted += beside
    free = free_bytes(device)
    if free is not None and wanted > free:
        raise EnvironmentFault(
            f"The weights of {model!r} take about {wanted / 1e9:.1f} GB as {dtype}, and {free / 1e9:.1f} GB are free "
            f"on {device or 'this machine'!r}; {SMALLER}."
        )


def _quantised(quantisation: str | None, parts: list[str] | None) -> dict[str, Any]:
    if quantisation is None:
        return {}
    package, backend, options = BACKENDS_OF_QUANTISATION[quantisation]
    needs(package, f"quantisation {quantisation!r}")
    from diffusers import PipelineQuantizationConfig

    return {
        "quantization_config": PipelineQuantizationConfig(
            quant_backend=backend, quant_kwargs=dict(options), components_to_quantize=parts or ["transformer"]
        )
    }


def _is_tokenizer(part: str) -> bool:
    return "tokenizer" in part


def _parts(given: Mapping[str, str | Part] | None) -> dict[str, Part]:
    return {name: Part(model=one) if isinstance(one, str) else one for name, one in (given or {}).items()}


def _fetched_part(name: str, part: Part, commits: Mapping[str, str], key_variable: str | None) -> Path:
    revision = part.get("revision") or commits.get(part["model"])
    try:
        return fetched_part(part["model"], revision, key_variable, weights=not _is_tokenizer(name))
    except WeightsError as error:
        raise WeightsError(f"The part {name!r} is not to be had: {error}") from error


def _loaded_parts(places: Mapping[str, Path], dtype: torch.dtype) -> dict[str, Any]:
    """Parts of their own repositories: a tokenizer or a text encoder each, by the name of the pipeline's argument."""
    import transformers

    loaded = {}
    for name, folder in places.items():
        kind = transformers.AutoTokenizer if _is_tokenizer(name) else transformers.AutoModelForCausalLM
        options = {} if _is_tokenizer(name) else {"dtype": dtype, "output_hidden_states": True}
        try:
            loaded[name] = kind.from_pretrained(folder, local_files_only=True, **options)
        except ImportError as error:
            raise EnvironmentFault(
                f"The part {name!r} needs a package that is missing; {install_line(error)}"
            ) from error
        except Exception as error:  # whatever a library makes of files
            if is_out_of_memory(error):
                raise EnvironmentFault(f"The part {name!r} does not fit into memory; {SMALLER}.") from error
            raise WeightsError(f"The part {name!r} in {str(folder)!r} does not load ({_first_line(error)}).") from error
    return loaded


def _load(
    model: str, folder: Path, variant: str | None, dtype: torch.dtype, extra: dict[str, Any]
) -> DiffusionPipeline:
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        return DiffusionPipeline.from_pretrained(folder, variant=variant, dtype=dtype, local_files_only=True, **extra)
    except ImportError as error:
        raise EnvironmentFault(
            f"The pipeline {model!r} needs a package that is missing; {install_line(error)}"
        ) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise EnvironmentFault(f"The pipeline {model!r} does not fit into memory; {SMALLER}.") from error
        raise WeightsError(
            f"The pipeline {model!r} could not be loaded ({_first_line(error)}); check that the folder is whole."
        ) from error


def _schedule(pipeline: DiffusionPipeline, name: str | None, options: Mapping[str, Any]) -> None:
    import diffusers

    if name is None and not options:
        return
    own = type(pipeline.scheduler)
    kind = own if name is None else getattr(diffusers, name, None)
    if not isinstance(kind, type) or not issubclass(kind, diffusers.SchedulerMixin):
        raise UsageError(f"diffusers has no scheduler {name!r}; one that fits is in {own.__name__}.compatibles.")
    try:
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **options)
    except Exception as error:  # every scheduler checks its options in its own way
        raise UsageError(
            f"The scheduler {kind.__name__} does not take the options {dict(options)} ({_first_line(error)})."
        ) from error


def _tile(pipeline: DiffusionPipeline) -> None:
    if not hasattr(getattr(pipeline, "vae", None), "enable_tiling"):
        raise UsageError(f"{type(pipeline).__name__} has no VAE that decodes in tiles; leave out vae_tiling.")
    pipeline.vae.enable_tiling()


def _adapt(pipeline: DiffusionPipeline, adapter: Adapter, commits: Mapping[str, str], key_variable: str | None) -> Path:
    """Load an adapter; the folder that it is in."""
    needs("peft", "adapters")
    if not hasattr(pipeline, "load_lora_weights"):
        raise UsageError(f"{type(pipeline).__name__} takes no LoRA adapters.")
    model = adapter["model"]
    folder, file = fetched_adapter(
        model, adapter.get("file"), adapter.get("revision") or commits.get(model), key_variable
    )
    named = {"weight_name": file} if file else {}
    try:
        pipeline.load_lora_weights(folder, adapter_name=_adapter_name(adapter), local_files_only=True, **named)
    except Exception as error:  # whatever a library makes of files
        raise WeightsError(f"The adapter {model!r} does not load ({_first_line(error)}).") from error
    return folder


def _weigh(pipeline: DiffusionPipeline, adapters: Sequence[Adapter]) -> None:
    if adapters:
        names = [_adapter_name(adapter) for adapter in adapters]
        pipeline.set_adapters(names, [adapter.get("scale", 1.0) for adapter in adapters])


def _adapter_name(adapter: Adapter) -> str:
    return "".join(c if c.isalnum() else "_" for c in f"{adapter['model']}_{adapter.get('file', '')}")


def _call(pipeline: DiffusionPipeline, named: Mapping[str, Any], guidance: float | None) -> dict[str, Any]:
    """The call's arguments that were set. Guidance has another name in pipelines of the Qwen kind."""
    accepted = inspect.signature(pipeline.__call__).parameters
    guided = "true_cfg_scale" if "true_cfg_scale" in accepted and "guidance_scale" not in accepted else "guidance_scale"
    if type(pipeline).__name__.startswith("QwenImage"):
        guided = "true_cfg_scale"
    return {name: value for name, value in {**named, guided: guidance}.items() if value is not None}


def _check_call(pipeline: DiffusionPipeline, call: Mapping[str, Any]) -> None:
    accepted = set(inspect.signature(pipeline.__call__).parameters)
    if unknown := sorted(set(call) - accepted):
        raise UsageError(
            f"{type(pipeline).__name__} takes no {', '.join(map(repr, unknown))}; "
            f"it takes {', '.join(sorted(accepted))}."
        )
