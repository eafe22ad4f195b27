"""The words of the arena. Read this first.

Frozen values only: they know nothing of databases, files or pages, and refuse to be built wrong.
Ids are None until the store has given one. Times are timezone-aware UTC, durations are seconds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

SHA256 = re.compile(r"[0-9a-f]{64}")
PEOPLE = "people"
"""The board of people's votes."""
ASIDE = "aside"
"""The board of votes that are kept and count on no one's: of an excluded voter, or on a prompt that does not count."""
OWN_PROMPT = "own prompt"
"""Source and category of a prompt that a voter typed: its battle is that voter's alone, and nobody else sees it."""
VOTES_BACKEND = "votes"
"""The backend of a contestant that is known from imported votes alone: it makes no images."""
FOLDER_BACKEND = "folder"
"""The backend of a contestant whose images were imported: it makes none."""
DRAWS_NOTHING = frozenset({VOTES_BACKEND, FOLDER_BACKEND})


class Side(StrEnum):
    LEFT = "left"
    RIGHT = "right"


class Outcome(StrEnum):
    """What a voter said of a battle. BOTH_BAD is not a tie: both are half a win in Elo, but they are counted apart."""

    LEFT = "left"
    RIGHT = "right"
    TIE = "tie"
    BOTH_BAD = "both_bad"

    @property
    def left_score(self) -> float:
        """The left side's score S in Elo's update: 1 win, 0 loss, 0.5 for a tie and for both bad."""
        return {Outcome.LEFT: 1.0, Outcome.RIGHT: 0.0}.get(self, 0.5)

    @property
    def mirrored(self) -> Outcome:
        """The same verdict once the sides are swapped."""
        return {Outcome.LEFT: Outcome.RIGHT, Outcome.RIGHT: Outcome.LEFT}.get(self, self)


class ReportReason(StrEnum):
    """What a voter finds wrong with a pair: REVEALS its maker, by a signature or a watermark."""

    UNSAFE = "unsafe"
    BROKEN = "broken"
    REVEALS = "reveals"


class ReasonTag(StrEnum):
    """Why a voter chose as they did; optional."""

    PROMPT = "prompt"
    REALISM = "realism"
    AESTHETICS = "aesthetics"
    TEXT = "text"


class VoterKind(StrEnum):
    PERSON = "person"
    JUDGE = "judge"


class RunKind(StrEnum):
    GENERATE = "generate"
    BENCHMARK = "benchmark"
    JUDGE = "judge"


class RunState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


def frozen_mapping(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A read-only copy; raises TypeError if a value is not plain JSON."""
    return MappingProxyType(json.loads(json.dumps(dict(values))))


def fingerprint(**fields: Any) -> str:
    """sha256 (hex) of the fields as canonical JSON: equal settings, equal fingerprint."""
    plain = json.dumps(fields, sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.sha256(plain.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked for."""

    text: str
    category: str = "general"
    tags: tuple[str, ...] = ()
    source: str = "user"
    id: int | None = None

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError(f"a Prompt needs text, got {self.text!r}")


@dataclass(frozen=True, slots=True)
class Contestant:
    """What is ranked: a backend with frozen settings (weights revision, steps, guidance, size).

    Pages call it "model". `settings` are its identity: other settings are another contestant. `running` says how it is
    run (device, key's variable, how many requests at once) and changes no pixel on purpose; `card` holds facts for the
    reader (organisation, licence, ingredients).
    """

    name: str
    backend: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    id: int | None = None
    running: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError(f"a Contestant needs a name, got {self.name!r}")
        object.__setattr__(self, "running", frozen_mapping(self.running))
        object.__setattr__(self, "settings", frozen_mapping(self.settings))
        object.__setattr__(self, "card", frozen_mapping(self.card))

    def __hash__(self) -> int:
        return hash((self.name, self.backend))

    @property
    def fingerprint(self) -> str:
        return fingerprint(backend=self.backend, settings=dict(self.settings))


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Where an image's bytes are: their sha256, with size in pixels."""

    sha256: str
    width: int
    height: int
    media_type: str = "image/png"

    def __post_init__(self) -> None:
        if not SHA256.fullmatch(self.sha256):
            raise ValueError(f"not a sha256: {self.sha256!r}")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"not a size: {self.width}x{self.height}")


@dataclass(frozen=True, slots=True)
class Generation:
    """One attempt of a contestant at a prompt with a seed: an image, or a failure with its reason.

    `seconds` it took; `cost_usd` is None where it is not known, and otherwise says by `cost_source` how it is known:
    "provider", "usage*price_table@DATE", "price_table@DATE" or "gpu_seconds*USD/h".
    """

    contestant_id: int
    prompt_id: int
    seed: int
    image: ImageRef | None = None
    seconds: float | None = None
    cost_usd: float | None = None
    failure: str | None = None
    id: int | None = None
    cost_source: str | None = None

    def __post_init__(self) -> None:
        if (self.image is None) == (self.failure is None):
            raise ValueError(f"a Generation is an image or a failure, got {self.image!r} and {self.failure!r}")
        if self.failure is not None and not self.failure.strip():
            raise ValueError("a failed Generation needs a reason")
        if self.seconds is not None and not self.seconds >= 0:
            raise ValueError(f"seconds must be >= 0, got {self.seconds!r}")
        if self.cost_usd is not None and not 0 <= self.cost_usd < float("inf"):
            raise ValueError(f"a cost in USD must be >= 0 and finite, got {self.cost_usd!r}")
        if (self.cost_usd is None) != (self.cost_source is None):
            raise ValueError(f"a cost and its source go together, got {self.cost_usd!r} and {self.cost_source!r}")


@dataclass(frozen=True, slots=True)
class Battle:
    """Two Generations of one Prompt by two Contestants, with the policy and probability it was drawn with.

    `probability` is that of drawing this prompt and this unordered pair; sides are always 1/2.
    `token` is the only name of the battle that leaves the server.
    """

    prompt: Prompt
    left: Generation
    right: Generation
    policy: str
    probability: float
    token: str
    drawn_for: str
    id: int | None = None

    def __post_init__(self) -> None:
        if self.left.contestant_id == self.right.contestant_id:
            raise ValueError(f"a Battle needs two contestants, got {self.left.contestant_id} twice")
        if not self.left.prompt_id == self.right.prompt_id == self.prompt.id:
            raise ValueError("a Battle needs two Generations of its own Prompt")
        if self.left.image is None or self.right.image is None:
            raise ValueError("a Battle needs two images; a failed Generation cannot fight")
        if not 0 < self.probability <= 1:
            raise ValueError(f"a sampling probability lies in (0, 1], got {self.probability!r}")


@dataclass(frozen=True, slots=True)
class Vote:
    """What one voter said of one battle. Append-only.

    How it was shown, where known: the `recipe` of the pictures (`services.display`), and whether the voter had
    `swapped` them on screen; `outcome` names the battle's own sides all the same.
    """

    battle_id: int
    voter_id: str
    outcome: Outcome
    at: datetime
    decision_seconds: float | None = None
    id: int | None = None
    recipe: str | None = None
    swapped: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "outcome", Outcome(self.outcome))
        if self.at.tzinfo is None:
            raise ValueError(f"a vote's time needs a timezone, got {self.at!r}")


@dataclass(frozen=True, slots=True)
class VoteFilter:
    """Which votes a board counts: of one board, one category (None: all), cast in [since, until), up to a ballot.

    Boards: `PEOPLE`, or a judge's voter id for its own.
    """

    board: str = PEOPLE
    category: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    up_to: int | None = None

    def __post_init__(self) -> None:
        for time in (self.since, self.until):
            if time is not None and time.tzinfo is None:
                raise ValueError(f"a filter's time needs a timezone, got {time!r}")


@dataclass(frozen=True, slots=True)
class ImportedVote:
    """A vote that was cast elsewhere, with names instead of ids; `count` equal ones are one."""

    left: str
    right: str
    outcome: Outcome
    count: int = 1
    voter: str | None = None
    prompt: str | None = None
    category: str | None = None
    at: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "outcome", Outcome(self.outcome))
        if self.left == self.right:
            raise ValueError(f"a vote compares two contestants, got {self.left!r} twice")
        if self.count < 1:
            raise ValueError(f"a vote counts at least once, got {self.count!r}")


@dataclass(frozen=True, slots=True)
class VotedPair:
    """One game, as the rating systems see it. `vote_id` numbers the votes in the order in which they count."""

    vote_id: int
    left_id: int
    right_id: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class JudgeCard:
    """A judge as a voter: its voter id, the name it was asked for by, and all that changes a verdict of it."""

    id: str
    source: str
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.id.startswith("judge:"):
            raise ValueError(f"a judge's voter id begins with 'judge:', got {self.id!r}")
        object.__setattr__(self, "settings", frozen_mapping(self.settings))

    @property
    def fingerprint(self) -> str:
        return fingerprint(**self.settings)


@dataclass(frozen=True, slots=True)
class JudgeAnswer:
    """What a judge said to one order of two images: the word it was read as, or unscored with a reason.

    `raw` is all it said. `shares`: probabilities of the allowed words, where the judge gives any.
    """

    raw: str | None
    word: str | None = None
    reason: str = ""
    unscored: str | None = None
    shares: Mapping[str, float] | None = None
    seconds: float | None = None
    cost_usd: float | None = None

    def __post_init__(self) -> None:
        if (self.word is None) == (self.unscored is None):
            raise ValueError(f"a JudgeAnswer is a word or unscored, got {self.word!r} and {self.unscored!r}")
        if self.shares is not None:
            object.__setattr__(self, "shares", frozen_mapping(self.shares))


@dataclass(frozen=True, slots=True)
class JudgeVerdict:
    """What a judge came to on two images of a prompt, computed once and append-only.

    `left` and `right` are the images' sha256, in alphabetical order. `answers`: with the left one shown first, then
    with the right one first. `outcome` is a TIE that is not `consistent` where the two orders disagree, None where
    the pair is unscored. An unscored pair may be asked again: that is its next `attempt`.
    """

    judge_id: str
    prompt_id: int
    left: str
    right: str
    answers: tuple[JudgeAnswer, JudgeAnswer]
    question_sha256: str
    outcome: Outcome | None = None
    consistent: bool | None = None
    unscored: str | None = None
    attempt: int = 0
    run_id: int | None = None
    at: datetime | None = None
    id: int | None = None

    def __post_init__(self) -> None:
        if (self.outcome is None) == (self.unscored is None):
            raise ValueError(f"a JudgeVerdict is an outcome or unscored, got {self.outcome!r} and {self.unscored!r}")
        if (self.outcome is None) != (self.consistent is None):
            raise ValueError("a scored JudgeVerdict is consistent or not, an unscored one is neither")
        if not self.left <= self.right:
            raise ValueError("a JudgeVerdict names its images in alphabetical order")

    @property
    def seconds(self) -> float | None:
        return total([answer.seconds for answer in self.answers])

    @property
    def cost_usd(self) -> float | None:
        return total([answer.cost_usd for answer in self.answers])


def total(parts: Iterable[float | None]) -> float | None:
    """The sum of what is known; None where nothing is."""
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


@dataclass(frozen=True, slots=True)
class Protocol:
    """The named and versioned recipe of a score; `settings` hold everything that changes the number."""

    name: str
    version: str
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", frozen_mapping(self.settings))

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def fingerprint(self) -> str:
        return fingerprint(name=self.name, version=self.version, settings=dict(self.settings))


class ImageValue(NamedTuple):
    """What a score of single images says of one of them: a value, or unscored with a reason; `parts` of the value
    where it has some, such as the levels of a rubric."""

    sha256: str
    prompt_id: int
    value: float | None = None
    unscored: str | None = None
    parts: Mapping[str, float | None] | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """One automatic figure for one subject: a value, or unscored with a reason. Never 0 for missing.

    `details` carry what stands beside the value: n_real, n_generated, weights_sha256, seconds, excluded files.
    `images`: the value of each image, on the way into the store; `db.image_values` reads them.
    """

    subject: str
    metric: str
    protocol: Protocol
    value: float | None = None
    unscored: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    contestant_id: int | None = None
    run_id: int | None = None
    at: datetime | None = None
    id: int | None = None
    images: tuple[ImageValue, ...] = ()

    def __post_init__(self) -> None:
        if (self.value is None) == (self.unscored is None):
            raise ValueError(f"a Score is a value or unscored, got {self.value!r} and {self.unscored!r}")
        object.__setattr__(self, "details", frozen_mapping(self.details))


@dataclass(frozen=True, slots=True)
class Run:
    """A long job, with progress and heartbeat; resumed by doing only what is missing.

    `parameters` say what was asked for: the same again does the rest.
    """

    kind: RunKind
    subject: str
    state: RunState
    started_at: datetime
    heartbeat_at: datetime
    done: int = 0
    total: int = 0
    stage: str = ""
    message: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pid: int | None = None
    finished_at: datetime | None = None
    id: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", frozen_mapping(self.parameters))
