"""Any image-text-to-text model of the hub or of a folder, by transformers' own classes, and the embedded judge.

Nothing is ever run that a model brings along as code. torch and transformers load when a model is opened.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.errors import WeightsError
from evaluators.judge import parse
from evaluators.judge.base import Question, Reply, Token

if TYPE_CHECKING:
    import torch

EMBEDDED = Path(str(files("arena"))) / "teddy" / "weights" / "judge"
TOP = 20
"""Alternatives that are kept of each token, besides those that begin an allowed answer."""
_MODEL_FILES = {".safetensors", ".json", ".jinja", ".model", ".txt", ".bin"}


def embedded(batch: int = 32, folder: Path = EMBEDDED) -> LocalModel:
    """The judge of the embedded world, which knows teddy bears and nothing else.

    Raises WeightsError where its files are missing.
    """
    if not (folder / "config.json").is_file():
        raise WeightsError(
            f"The embedded judge's files are missing: {folder} holds no model; reinstall the package, train it "
            "again as docs/judge.md says, or name another judge, such as local:FOLDER."
        )
    return LocalModel(folder, name="teddy-judge", batch=batch, device="cpu")


class LocalModel:
    """A vision-language model in this process.

    `source` is a folder or an id of the hub, for which `revision` names the commit; whatever commit was loaded is
    part of `settings`, and so are the sha256 of a folder's files. `device` is "cpu", "cuda" or None for whatever is
    there; `dtype` is float32 on a CPU and the model's own elsewhere, unless named. Raises WeightsError if the model
    cannot be loaded.
    """

    repeats_itself = True

    def __init__(
        self,
        source: str | Path,
        *,
        name: str | None = None,
        revision: str | None = None,
        batch: int = 8,
        device: str | None = None,
        dtype: str | None = None,
    ) -> None:
        import torch

        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.batch = batch
        self.name = name or Path(source).name
        precision = dtype or ("float32" if self.device.type == "cpu" else "auto")
        self.processor, self.model = _load(str(source), revision, precision)
        self.model.to(self.device).eval()
        self.processor.tokenizer.padding_side = "left"
        self.settings: Mapping[str, Any] = {
            "weights": _identity(Path(source), revision, self.model),
            "class": type(self.model).__name__,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": self.device.type,
            "decoding": "greedy",
            "torch": version("torch"),
            "transformers": version("transformers"),
        }

    def replies(self, asked: Sequence[Question]) -> list[Reply]:
        """Greedy answers, `batch` questions at a time; a batch that fails is tried again one by one."""
        return [
            reply
            for start in range(0, len(asked), self.batch)
            for reply in self._replies_or_failures(asked[start : start + self.batch])
        ]

    def _replies_or_failures(self, asked: Sequence[Question]) -> list[Reply]:
        try:
            return self._generated(asked)
        except Exception as error:  # a processor raises anything on what it does not expect
            if len(asked) > 1:
                return [reply for one in asked for reply in self._replies_or_failures([one])]
            return [Reply(failure=f"the model failed: {_said(error)}")]

    def _generated(self, asked: Sequence[Question]) -> list[Reply]:
        import torch

        start = time.perf_counter()
        inputs = self._inputs(asked)
        recorder = _recorder(self._beginnings(_answers(asked)))
        with torch.inference_mode():
            found = self.model.generate(
                **inputs,
                do_sample=False,
                num_beams=1,
                max_new_tokens=max(question.max_tokens for question in asked),
                logits_processor=[recorder],
                pad_token_id=self.processor.tokenizer.pad_token_id,
            )
        written = found[:, inputs["input_ids"].shape[1] :].tolist()
        seconds = (time.perf_counter() - start) / len(asked)
        return [
            self._reply(question, self._until_end(ids), [step[row] for step in recorder.steps], seconds)
            for row, (question, ids) in enumerate(zip(asked, written, strict=True))
        ]

    def _inputs(self, asked: Sequence[Question]) -> Mapping[str, torch.Tensor]:
        inputs = self.processor.apply_chat_template(
            [[{"role": "user", "content": [*map(self._part, question.parts)]}] for question in asked],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        return inputs.to(self.device, self.model.dtype)

    def _part(self, part: Any) -> dict[str, Any]:
        from PIL import Image

        if isinstance(part, str):
            return {"type": "text", "text": disarmed(part, self._control_tokens)}
        return {"type": "image", "image": Image.fromarray(part)}

    @functools.cached_property
    def _control_tokens(self) -> tuple[str, ...]:
        """Texts that the tokenizer reads as more than text, the longest first."""
        tokenizer = self.processor.tokenizer
        added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
        named = [getattr(self.processor, name, None) for name in ("image_token", "video_token")]
        return tuple(sorted({*tokenizer.all_special_tokens, *added, *filter(None, named)}, key=len, reverse=True))

    def _until_end(self, ids: list[int]) -> list[int]:
        """The ids before the first one that ends a text."""
        ends = self.model.generation_config.eos_token_id
        stops = {ends} if isinstance(ends, int) else {*(ends or ())}
        stops.add(self.processor.tokenizer.pad_token_id)
        return ids[: next((i for i, token in enumerate(ids) if token in stops), len(ids))]

    def _reply(self, question: Question, ids: list[int], steps: list[Mapping[int, float]], seconds: float) -> Reply:
        text = self._text(ids)
        kept = len(ids) if question.schema or parse.thinks(text) else 1
        tokens = tuple(self._tokens(ids, steps[:kept]))
        return Reply(text, tokens=tokens, seconds=seconds)

    def _tokens(self, ids: list[int], steps: list[Mapping[int, float]]) -> Iterator[Token]:
        """A token's text is what the reply grows by with it."""
        written = 0
        for i, step in enumerate(steps):
            length = len(self._text(ids[: i + 1]))
            yield Token(self._text(ids[: i + 1])[written:length], _by_text(step, self._token_text))
            written = length

    def _text(self, ids: list[int]) -> str:
        return self.processor.tokenizer.decode(ids, skip_special_tokens=True)

    @functools.cached_property
    def _token_text(self) -> Mapping[int, str]:
        """Text of every token of the vocabulary."""
        tokenizer = self.processor.tokenizer
        known = range(len(tokenizer))
        return dict(zip(known, tokenizer.batch_decode([[i] for i in known]), strict=True))

    @functools.lru_cache(maxsize=16)  # noqa: B019  (a model lives as long as its process)
    def _beginnings(self, answers: tuple[str, ...]) -> list[int]:
        """Tokens that can begin one of the answers and no other."""
        return [i for i, text in self._token_text.items() if parse.begins(text, answers)]


def disarmed(text: str, control_tokens: Sequence[str]) -> str:
    """The text with a space inside whatever would be read as a control token: a prompt cannot write an image or end
    its own turn."""
    for token in control_tokens:
        text = text.replace(token, f"{token[0]} {token[1:]}" if len(token) > 1 else " ")
    return text


def _answers(asked: Sequence[Question]) -> tuple[str, ...]:
    return tuple(sorted({word for question in asked for word in question.answers}))


def _by_text(step: Mapping[int, float], texts: Mapping[int, str]) -> dict[str, float]:
    """Log probability of each text; several tokens may have the same."""
    found: dict[str, float] = {}
    for i, logprob in step.items():
        text = texts.get(i, "")
        found[text] = float(np.logaddexp(found.get(text, -np.inf), logprob))
    return found


def _recorder(watched: list[int]) -> Any:
    """A processor of logits that changes nothing and remembers, for each step and row, id -> log probability."""
    import torch
    from transformers import LogitsProcessor

    class Recorder(LogitsProcessor):
        def __init__(self) -> None:
            self.steps: list[list[dict[int, float]]] = []

        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            logprobs = scores.float().log_softmax(-1)
            best = logprobs.topk(min(TOP, logprobs.shape[-1])).indices
            asked = torch.tensor(watched, dtype=torch.long, device=best.device)
            ids = torch.cat([best, asked.expand(len(best), -1)], 1)
            kept = logprobs.gather(1, ids)
            self.steps.append([dict(zip(*row, strict=True)) for row in zip(ids.tolist(), kept.tolist(), strict=True)])
            return scores

    return Recorder()


def _load(source: str, revision: str | None, dtype: str) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(source, revision=revision)
        model = AutoModelForImageTextToText.from_pretrained(source, revision=revision, dtype=dtype)
    except Exception as error:  # a configuration or a file that is not what it says raises anything
        raise WeightsError(
            f"Cannot load {source!r} as a vision-language model ({_said(error)}); give a folder or an id of the hub "
            "that transformers' AutoModelForImageTextToText and AutoProcessor can open."
        ) from error
    if not hasattr(processor, "tokenizer"):
        raise WeightsError(
            f"The model {source!r} has a {type(processor).__name__} without a tokenizer; choose one that reads both "
            "texts and images."
        )
    if getattr(processor, "chat_template", None) is None:
        raise WeightsError(
            f"The model {source!r} has no chat template; choose one that was tuned to follow instructions."
        )
    return processor, model


def _said(error: Exception) -> str:
    """What went wrong; a KeyError's text alone would be a bare name."""
    plain = isinstance(error, RuntimeError | ValueError | OSError | ImportError)
    return parse.excerpt(str(error)) if plain else f"{type(error).__name__}: {parse.excerpt(str(error))}"


def _identity(folder: Path, revision: str | None, model: Any) -> Mapping[str, Any]:
    """What names the weights: the files' sha256 of a folder, or the hub's id and commit."""
    if folder.is_dir():
        return {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.suffix in _MODEL_FILES}
    return {"id": str(folder), "revision": getattr(model.config, "_commit_hash", None) or revision}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
