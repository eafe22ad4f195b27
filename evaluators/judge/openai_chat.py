"""Any OpenAI-compatible chat endpoint that takes images: vLLM, SGLang, Ollama, `transformers serve`, the closed labs.

judge = Judge(OpenAIChat("Qwen/Qwen3-VL-8B-Instruct", "http://localhost:8000/v1"))
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from arena import questions
from arena.domain import frozen_mapping
from arena.endpoints import backoff, checked_url
from arena.errors import EndpointError, UsageError
from arena.settings import secret, variable_name
from evaluators.judge import openai_format as chat
from evaluators.judge.base import Question, Reply
from evaluators.judge.exchange import Exchange, Gates
from evaluators.judge.openai_format import Completion, Features, Trouble
from evaluators.judge.openai_http import Connection, Limits
from evaluators.judge.spending import Budget, Prices, cost

NOT_ASKED = "not asked"
"""Begins the failure of a question that no model has seen, for no reason of its own: the next run may ask it."""
LONGEST_SIDE = 1024
IMAGE_TOKENS = 30_000
"""More tokens than an image costs anywhere; replaced by what the endpoint counts for a first image."""
OVERHEAD_TOKENS = 64
"""A chat template's own tokens."""

Found = TypeVar("Found")


class OpenAIChat:
    """A vision-language model behind POST `base_url`/chat/completions, asked at temperature 0 and with a seed.

    `model` is the id that the endpoint knows, `key_variable` names the environment variable that holds the key (none:
    no key is sent). `extra_tokens` are added to every question's length for a model that thinks before it answers,
    and `extra` to every request's body, for example {"chat_template_kwargs": {"enable_thinking": False}}.
    Images whose longer side exceeds `longest_side` pixels are scaled down.

    Creating it sends a first question, which settles the options that the endpoint takes and what it says of itself:
    the model's full name and its `system_fingerprint`. Both are part of `settings`; answers that come from another
    model or system are failures (`any_system=True` leaves the system out). The address is part of `settings` too;
    `served_as` stands for it where the same thing is served from changing addresses.

    `limit_usd` needs `prices`, {"input": …, "output": …} in USD for a million tokens. An amount that covers the worst
    case is held before a question is sent, so that the limit is never passed.

    Raises UsageError and SettingsError for what cannot be used, EndpointError if the first question is not answered.
    """

    repeats_itself = False

    def __init__(
        self,
        model: str,
        base_url: str = "",
        *,
        name: str | None = None,
        key_variable: str | None = None,
        limits: Limits | Mapping[str, Any] | None = None,
        prices: Prices | Mapping[str, float] | None = None,
        limit_usd: float | None = None,
        longest_side: int = LONGEST_SIDE,
        seed: int = 0,
        extra_tokens: int = 0,
        extra: Mapping[str, Any] | None = None,
        any_system: bool = False,
        served_as: str | None = None,
    ) -> None:
        self.model, self.base_url = model, checked_url(base_url)
        self.name = name or model.rstrip("/").rpartition("/")[2]
        self.limits = _made(Limits, limits or {})
        self.prices = None if prices is None else _made(Prices, prices)
        self.budget = _budget(limit_usd, self.prices)
        self._key_variable = variable_name(key_variable) if key_variable else None
        self._longest_side, self._seed, self._extra_tokens = longest_side, seed, extra_tokens
        self._extra = frozen_mapping(extra or {})
        self._any_system, self._served_as = any_system, served_as
        self._image_tokens, self._excess = IMAGE_TOKENS, 1.0
        self._stopped: str | None = None
        self._unanswered = 0
        self._exchange = Exchange(self.limits.concurrency)
        self._features, self._itself = self._introduced()

    def __repr__(self) -> str:
        return f"OpenAIChat({self.model!r}, {self.base_url!r})"

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            "model": self.model,
            "endpoint": self._served_as or self.base_url,
            "reported_model": self._itself.model,
            "system_fingerprint": None if self._any_system else self._itself.system_fingerprint,
            "json_schema": self._features.json_schema,
            "top_logprobs": self._features.top_logprobs,
            "temperature": 0 if self._features.temperature else None,
            "seed": self._seed if self._features.seed else None,
            "extra_tokens": self._extra_tokens,
            "extra": dict(self._extra),
            "image": f"png, longest side {self._longest_side}",
        }

    def replies(self, asked: Sequence[Question]) -> list[Reply]:
        """One reply to each question, in order, `limits.concurrency` of them under way at once.

        Several threads may ask at the same time; the limit holds for all of them together.
        """

        async def answers(line: Connection, gates: Gates) -> list[Reply]:
            pictures = Pictures(asked, self._longest_side)
            order = sorted(range(len(asked)), key=pictures.group)
            found = await asyncio.gather(*(self._in_turn(line, gates, asked[i], pictures) for i in order))
            return [reply for _, reply in sorted(zip(order, found, strict=True), key=lambda pair: pair[0])]

        return self._connected(answers) if asked else []

    @property
    def concurrency(self) -> int:
        """Questions that are under way at once: whoever asks about many keeps so many of them waiting."""
        return self.limits.concurrency

    def cancel(self) -> None:
        """Ends what is under way: calls of `replies` in other threads raise CancelledError."""
        self._exchange.cancel()

    def _connected(self, work: Callable[[Connection, Gates], Awaitable[Found]]) -> Found:
        """What `work` finds with an open connection."""

        async def connected(gates: Gates) -> Found:
            key = secret(self._key_variable) if self._key_variable else None
            async with Connection(self.base_url, key, self.limits) as line:
                return await work(line, gates)

        return self._exchange.run(connected)

    async def _in_turn(self, line: Connection, gates: Gates, question: Question, pictures: Pictures) -> Reply:
        async with gates.prepared:
            urls = [] if self._stopped else await pictures.take(question)
            async with gates.under_way:
                if self._stopped:
                    return Reply(failure=f"{NOT_ASKED}: {self._stopped}")
                found, usd = await self._asked(line, question, urls, self._features)
                return self._reply(found, question, usd)

    def _reply(self, found: Completion | Trouble, question: Question, usd: float | None) -> Reply:
        self._note(found)
        if isinstance(found, Trouble):
            return Reply(failure=f"{NOT_ASKED}: {found.reason}" if found.final else found.reason, cost_usd=usd)
        stranger = self._stranger(found)
        return Reply(failure=stranger, cost_usd=usd) if stranger else chat.reply(found, question, usd)

    def _stranger(self, found: Completion) -> str | None:
        """Why an answer is not this judge's."""
        if found.model != self._itself.model:
            return f"answered by the model {found.model!r}, while this judge is {self._itself.model!r}"
        if not self._any_system and found.system_fingerprint != self._itself.system_fingerprint:
            known = self._itself.system_fingerprint
            return f"answered by the system {found.system_fingerprint!r}, while this judge is {known!r}; see any_system"
        return None

    def _note(self, found: Completion | Trouble) -> None:
        """Stops asking where no question will be answered any more."""
        if isinstance(found, Completion):
            self._unanswered = 0
        elif self._stopped:
            return
        elif found.final:
            self._stopped = found.reason
        elif found.again:
            self._unanswered += 1
            if self._unanswered >= self.limits.patience:
                self._stopped = f"the last {self._unanswered} questions had no answer, at last because: {found.reason}"

    async def _asked(
        self, line: Connection, question: Question, urls: Sequence[str], features: Features
    ) -> tuple[Completion | Trouble, float | None]:
        """The answer or the last trouble, after as many attempts as make sense, and the USD known to be spent."""
        options = {"seed": self._seed, "extra_tokens": self._extra_tokens}
        body = chat.request(self.model, question, urls, features, **options) | dict(self._extra)
        spent: list[float] = []
        for attempt in range(1, self.limits.attempts + 1):
            found, usd = await self._paid(line, question, body)
            spent += [] if usd is None else [usd]
            if isinstance(found, Completion) or not found.again or attempt == self.limits.attempts:
                break
            if found.wait_s > self.limits.longest_wait_s:
                found = found._replace(what=f"{found.what}, and it asks to wait {found.wait_s:.0f} s")
                break
            pause = backoff(attempt, self.limits.first_wait_s, self.limits.longest_wait_s)
            await asyncio.sleep(max(found.wait_s, pause))
        return found, sum(spent) if spent else None

    async def _paid(
        self, line: Connection, question: Question, body: Mapping[str, Any]
    ) -> tuple[Completion | Trouble, float | None]:
        """One attempt within the budget, and its cost where that is known."""
        expected = self._expected(question)
        held = self._excess * expected
        if not await self.budget.hold(held):
            return self._unaffordable(held), None
        usd: float | None = None
        unpaid = False
        try:
            found = await line.send(body)
            usd = cost(found.usage, self.prices) if isinstance(found, Completion) else None
            unpaid = isinstance(found, Trouble) and not found.paid
        finally:
            self.budget.settle(held, 0.0 if unpaid else usd)
        if usd is not None and usd > self._excess * expected > 0:
            self._excess = usd / expected
        return found, usd

    def _expected(self, question: Question) -> float:
        """USD that a question costs at most: a token is at least a byte of text, and no image dearer than the first."""
        if self.prices is None:
            return 0.0
        texts = [chat.harmless(part) for part in question.parts if isinstance(part, str)]
        texts += [json.dumps(dict(question.schema))] if question.schema else []
        written = sum(len(text.encode(errors="replace")) for text in texts)
        asked = OVERHEAD_TOKENS + written + len(_images(question)) * self._image_tokens
        return self.prices.of(asked, question.max_tokens + self._extra_tokens)

    def _unaffordable(self, usd: float) -> Trouble:
        limit, spent = self.budget.limit_usd, self.budget.spent_usd
        return Trouble(f"the spend limit of {limit} USD: {spent:.4f} are spent, this may cost {usd:.4f}", final=True)

    def _introduced(self) -> tuple[Features, Completion]:
        """The options that the endpoint takes, and its first answer."""
        features, found = self._connected(self._settled)
        if isinstance(found, Trouble):
            raise EndpointError(
                f"The endpoint {self.base_url} does not answer a first question to {self.model!r} ({found.reason}); "
                "check the address, the model's id, the key, and that the model takes images."
            )
        if found.usage is not None:
            self._image_tokens = max(1, found.usage.input_tokens)
        return replace(features, top_logprobs=features.top_logprobs if found.tokens else 0), found

    async def _settled(self, line: Connection, _: Gates) -> tuple[Features, Completion | Trouble]:
        """Asks with every option, and with one less as long as that is refused."""
        features, question = Features(), self._first_question()
        urls = await Pictures([question], self._longest_side).take(question)
        while True:
            found, _ = await self._asked(line, question, urls, features)
            fewer = features.without(str(found.said)) if _refuses_options(found) else None
            if fewer is None:
                return features, found
            features = fewer

    def _first_question(self) -> Question:
        """About one plain image of the largest size, whose tokens are the most that an image can cost here."""
        plain = np.full((self._longest_side, self._longest_side, 3), 127, np.uint8)
        word = {"type": "string", "enum": list(questions.YES_NO)}
        schema = {
            "type": "object",
            "properties": {"answer": word},
            "required": ["answer"],
            "additionalProperties": False,
        }
        parts = (plain, '\nIs this image plain? Reply with one JSON object such as {"answer": "yes"}, yes or no.')
        return Question(parts, answers=questions.YES_NO, schema=schema, max_tokens=32)


class Pictures:
    """The data URLs of the images of some questions: each encoded once, and dropped when the last question has it.

    Both orders of a pair ask about the same two images. Asked by `group` they follow each other, so that only the
    images of questions under way are held in memory twice.
    """

    def __init__(self, asked: Sequence[Question], longest_side: int) -> None:
        self._asked, self._longest_side = asked, longest_side
        self._uses = Counter(id(image) for question in asked for image in _images(question))
        self._urls: dict[int, asyncio.Task[str]] = {}
        self._groups: dict[frozenset[int], int] = {}

    def group(self, position: int) -> int:
        """The position of the first question about the same images."""
        return self._groups.setdefault(frozenset(map(id, _images(self._asked[position]))), position)

    async def take(self, question: Question) -> list[str]:
        """The URLs of a question's images in their order; to be asked once for each question."""
        return [await self._url(image) for image in _images(question)]

    async def _url(self, image: np.ndarray) -> str:
        name = id(image)
        if name not in self._urls:
            self._urls[name] = asyncio.create_task(asyncio.to_thread(chat.png_url, image, self._longest_side))
        task = self._urls[name]
        self._uses[name] -= 1
        if not self._uses[name]:
            del self._urls[name]
        return await task


def _images(question: Question) -> list[np.ndarray]:
    return [part for part in question.parts if not isinstance(part, str)]


def _made(kind: Callable[..., Found], given: Any) -> Found:
    """An object of this kind, or one made of the mapping that settings hold. Raises UsageError if it cannot be."""
    try:
        return kind(**given) if isinstance(given, Mapping) else given
    except (TypeError, ValueError) as error:
        raise UsageError(f"The judge's {kind.__name__.lower()} cannot be used: {error}.") from error


def _budget(limit_usd: float | None, prices: Prices | None) -> Budget:
    if limit_usd is not None and prices is None:
        raise UsageError(
            f"A spend limit of {limit_usd} USD needs prices to count with; give them for a million tokens."
        )
    return _made(Budget, {"limit_usd": limit_usd})


def _refuses_options(found: Completion | Trouble) -> bool:
    return isinstance(found, Trouble) and found.status in (400, 405, 415, 422, 501)
