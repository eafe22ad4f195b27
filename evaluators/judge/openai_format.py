"""What is said to an OpenAI-compatible chat endpoint, and what its answers say. Pure: dictionaries and texts only."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from evaluators.judge import parse
from evaluators.judge.base import Question, Reply, Token
from evaluators.judge.spending import Usage

CUT_OFF = "cut off before the first word of the answer; a model that thinks first needs extra_tokens"


@dataclass(frozen=True)
class Features:
    """Which options an endpoint takes."""

    json_schema: bool = True
    top_logprobs: int = 20
    temperature: bool = True
    seed: bool = True
    length: str = "max_tokens"

    def without(self, complaint: str) -> Features | None:
        """The same with one option less: one that a refusal names, else the next; None if there is none left."""
        left = [(words, less) for words, less in self._less() if less != self]
        named = [less for words, less in left if re.search(words, complaint, re.IGNORECASE)]
        return next(iter([*named, *(less for _, less in left)]), None)

    def _less(self) -> list[tuple[str, Features]]:
        return [
            ("response_format|schema|structured|guided", replace(self, json_schema=False)),
            ("logprob", replace(self, top_logprobs=5 if self.top_logprobs > 5 else 0)),
            (r"max_(completion_)?tokens", replace(self, length="max_completion_tokens")),
            (r"\bseed\b", replace(self, seed=False)),
            (r"\btemperature\b", replace(self, temperature=False)),
        ]


class Completion(NamedTuple):
    """An answer that came through. `tokens` is None where the endpoint gave no log probabilities of this text."""

    text: str
    refusal: str | None = None
    finish: str | None = None
    tokens: tuple[Token, ...] | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    usage: Usage | None = None
    seconds: float = 0.0


class Trouble(NamedTuple):
    """Why there is no answer: `what` happened, and what the endpoint `said`.

    `again`: another attempt may help, after `wait_s`. `paid`: it may have cost something. `status` is HTTP's.
    `final`: no other question would fare better.
    """

    what: str
    said: str | None = None
    again: bool = False
    wait_s: float = 0.0
    paid: bool = False
    status: int | None = None
    final: bool = False

    @property
    def reason(self) -> str:
        return self.what if self.said is None else f"{self.what}: {parse.excerpt(self.said)}"


def request(
    model: str, question: Question, urls: Iterable[str], features: Features, *, seed: int, extra_tokens: int
) -> dict[str, Any]:
    """The question as the body of POST /chat/completions, with the addresses of its images in their order."""
    following = iter(urls)
    content = [_text(part) if isinstance(part, str) else _picture(next(following)) for part in question.parts]
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        features.length: question.max_tokens + extra_tokens,
    }
    if features.temperature:
        body["temperature"] = 0
    if features.seed:
        body["seed"] = seed
    if features.top_logprobs and question.answers:
        body |= {"logprobs": True, "top_logprobs": features.top_logprobs}
    if features.json_schema and question.schema:
        form = {"name": "answer", "strict": True, "schema": dict(question.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    return body


def harmless(text: str) -> str:
    """The text with a space behind every bracket that could begin a control token.

    A server may read "<|im_end|>", "<image>" or "[INST]" in a text as its own, and which of them its model has cannot
    be known from here.
    """
    return re.sub(r"<(?=[^\s\d]|\w+>)|\[(?=/?[A-Za-z]\w*\])", r"\g<0> ", text)


def png_url(image: np.ndarray, longest_side: int) -> str:
    """uint8 RGB (h, w, 3) as a data URL: without loss, unless it is larger than `longest_side` and so scaled down."""
    from PIL import Image

    picture = Image.fromarray(image)
    if max(picture.size) > longest_side:
        scale = longest_side / max(picture.size)
        width, height = (max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    # The fastest level, and of its strategies one that is faster and on photographs smaller as well.
    picture.save(file, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def read(body: str) -> Completion | Trouble:
    """What the body of a 200 says; whatever is no chat completion is a trouble."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return _nonsense("not JSON", body)
    choice = _first(_field(found, "choices"))
    if choice is None:
        return _nonsense("no choices in the answer", error_text(found))
    message = _field(choice, "message")
    text, refusal, finish = _content(message), _string(message, "refusal"), _string(choice, "finish_reason")
    if text is None and refusal is None and finish not in ("length", "content_filter"):
        return _nonsense("no text in the answer", body)
    return Completion(
        text or "",
        refusal,
        finish,
        _tokens(_field(_field(choice, "logprobs"), "content"), text or ""),
        _string(found, "model"),
        _string(found, "system_fingerprint"),
        _usage(_field(found, "usage")),
    )


def reply(found: Completion, question: Question, cost_usd: float | None) -> Reply:
    """The completion as a reply: its text, or the failure that it is."""
    used = {"seconds": found.seconds, "cost_usd": cost_usd}
    if found.refusal is not None:
        return Reply(failure=f"refused: {parse.excerpt(found.refusal)}", **used)
    if found.finish == "content_filter":
        return Reply(failure="stopped by the endpoint's content filter", **used)
    if found.finish == "length" and (not found.text.strip() or parse.still_thinking(found.text)):
        return Reply(failure=CUT_OFF, **used)
    whole = question.schema is not None or parse.thinks(found.text) or found.tokens is None
    tokens = found.tokens if whole else found.tokens[:1]
    return Reply(found.text, tokens=tokens, **used)


def error_text(found: Any) -> str:
    """The sentence in the JSON of an error, wherever this server puts it; or all of it."""
    error = _field(found, "error")
    places = (_field(error, "message"), error, _field(found, "message"), _field(found, "detail"))
    said = next((place for place in places if isinstance(place, str) and place), None)
    return said or (found if isinstance(found, str) else json.dumps(found))


def _nonsense(what: str, said: str) -> Trouble:
    return Trouble(what, said, again=True, paid=True)


def _text(part: str) -> dict[str, Any]:
    return {"type": "text", "text": harmless(part)}


def _picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def _field(found: Any, name: str) -> Any:
    return found.get(name) if isinstance(found, dict) else None


def _string(found: Any, name: str) -> str | None:
    value = _field(found, name)
    return value if isinstance(value, str) and value else None


def _first(found: Any) -> Any:
    return found[0] if isinstance(found, list) and found else None


def _content(message: Any) -> str | None:
    """The text of a message; some servers send it in parts, with the thinking in parts of another type."""
    content = _field(message, "content")
    if isinstance(content, list):
        texts = [_string(part, "text") or "" for part in content if _field(part, "type") == "text"]
        return "".join(texts) if texts else None
    return content if isinstance(content, str) else None


def _tokens(found: Any, text: str) -> tuple[Token, ...] | None:
    """The tokens of the text; None if there are none, or if they are those of something else, such as the thinking."""
    if not isinstance(found, list) or not found or not text.strip():
        return None
    tokens = tuple(_token(entry) for entry in found)
    written = "".join(token.text for token in tokens)
    return tokens if written.lstrip().startswith(text.strip()) else None


def _token(entry: Any) -> Token:
    top = _field(entry, "top_logprobs")
    entries = [entry, *(top if isinstance(top, list) else [])]
    known = {_string(one, "token"): _logprob(one) for one in entries}
    likely = {text: logprob for text, logprob in known.items() if text is not None and logprob is not None}
    return Token(_string(entry, "token") or "", likely)


def _logprob(entry: Any) -> float | None:
    """A finite log probability, at most 0."""
    value = _number(entry, "logprob")
    return None if value is None else min(0.0, value)


def _number(found: Any, name: str) -> float | None:
    value = _field(found, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15 or math.isnan(value):
        return None
    return float(value)


def _usage(found: Any) -> Usage | None:
    """Tokens used; None where a count is missing or negative. `cost` is OpenRouter's, in USD."""
    asked, answered = (_number(found, name) for name in ("prompt_tokens", "completion_tokens"))
    if asked is None or answered is None or min(asked, answered) < 0:
        return None
    stated = _number(found, "cost")
    return Usage(int(asked), int(answered), stated if stated is not None and stated >= 0 else None)
