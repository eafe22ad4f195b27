"""Files of votes: CSV, JSON lines, a JSON list (also gzipped) and Parquet, a row for each vote or `count` equal ones.

Columns: `model_a` and `model_b` (or `left` and `right`, `left_model` and `right_model`), `winner` (or `vote_type`; see
`WINNERS`), and optional `count`, `voter` (or
`judge`, `user`), `prompt`, `category`, `timestamp` (or `tstamp`), `anony`; others are not looked at. Text is UTF-8
and names are kept verbatim: a model may be called "NA". Whatever is unclear is refused with its row, never guessed.
A vote whose `anony` is false was cast with the models' names in sight; it is checked, counted apart, and rates nobody.

How files of any such table are read, and how their rows are numbered: `arena.services.tables`.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arena.domain import Outcome
from arena.errors import DataError
from arena.rating.comparisons import CODES, Comparisons, aggregate
from arena.services.tables import (
    EXTENSIONS,
    ROWS,
    Columns,
    Layout,
    extension,
    listed,
    lone_surrogate,
    one_sentence,
    open_table,
    parts,
    short,
)

COLUMNS = ("model_a", "model_b", "winner", "count", "voter", "prompt", "category", "timestamp")
REQUIRED = COLUMNS[:3]
WINNERS = {
    "model_a": Outcome.LEFT, "left": Outcome.LEFT, "model_b": Outcome.RIGHT, "right": Outcome.RIGHT,
    "tie": Outcome.TIE, "tie (bothbad)": Outcome.BOTH_BAD, "bothbad": Outcome.BOTH_BAD,
    "both_bad": Outcome.BOTH_BAD,
    "leftvote": Outcome.LEFT, "rightvote": Outcome.RIGHT, "tievote": Outcome.TIE, "bothbad_vote": Outcome.BOTH_BAD,
}  # fmt: skip
"""The accepted words: Chatbot Arena's, those of its logs and of GenAI-Arena's, and the arena's own."""
WRITTEN = {
    Outcome.LEFT: "model_a", Outcome.RIGHT: "model_b", Outcome.TIE: "tie", Outcome.BOTH_BAD: "tie (bothbad)",
}  # fmt: skip
ALIASES = {
    "left": "model_a", "right": "model_b", "user": "voter", "judge": "voter", "tstamp": "timestamp",
    "left_model": "model_a", "right_model": "model_b", "vote_type": "winner",
}  # fmt: skip
"""Names of columns elsewhere -> here: Chatbot Arena's, which calls the person who votes the judge, and those of the
votes of GenAI-Arena that are published as GenAI-Bench."""
LOGGED = ("leftvote", "rightvote", "tievote", "bothbad_vote")
"""Types of entries in conversation logs that are votes; others are chats, flags, and votes on one model alone."""
BLIND = "anony"
BLIND_WORDS = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}


def _of_log(found: dict[str, Any]) -> dict[str, Any] | None:
    """An entry of the conversation logs of FastChat's and GenAI-Arena's servers as a row; what is none stays as it is.

    Such an entry has `type`, `models` (as the page showed them: empty, or "Model A", in a blind battle), `states` with
    the models' names, `tstamp` and `ip`. As their own scripts do, what is no vote on two models that are known for
    certain is left out (None). Of the address a digest is left: it tells voters apart, and is shown nowhere.
    """
    if "type" not in found or not {"model", "models"} & found.keys() or {"winner", "model_a"} & found.keys():
        return found
    models, states = found.get("models"), found.get("states")
    if found["type"] not in LOGGED or not _two(models, str):
        return None
    public = [_shown(name) for name in models]
    hidden = [state.get("model_name") for state in states] if _two(states, dict) else public
    hidden = hidden if _two(hidden, str) else public
    blind = public[0] in ("", "Model A")
    if (public[0] == "") != (public[1] == "") or (not blind and public != hidden) or "" in hidden:
        return None
    row = {"model_a": hidden[0], "model_b": hidden[1], "winner": found["type"], BLIND: blind}
    if found.get("tstamp") is not None:
        row["tstamp"] = found["tstamp"]
    if isinstance(found.get("ip"), str):
        row["voter"] = f"address-{hashlib.blake2b(found['ip'].encode(), digest_size=8).hexdigest()}"
    if hidden is not public and isinstance(states[0].get("prompt"), str):
        row["prompt"] = states[0]["prompt"]
    return row


def _two(found: Any, kind: type) -> bool:
    return isinstance(found, list) and len(found) == 2 and all(isinstance(one, kind) for one in found)


def _shown(name: str) -> str:
    """A model's name without what the page puts around it."""
    return re.sub(r"^(<h3>.*?: |### Model [AB]: )|</h3>\s*$", "", name)


LAYOUT = Layout(
    "file of votes", "vote", (*COLUMNS, BLIND), REQUIRED, ALIASES, {"count": 1},
    extensions=(*EXTENSIONS, ".json", ".json.gz"), nested=frozenset({BLIND}), row_of=_of_log,
)  # fmt: skip

MOST_MODELS = 1 << 15
MOST_VOTES = 1 << 53
"""Sums of whole numbers are exact in double precision up to here."""


class Cluster(StrEnum):
    """Whose votes hang together."""

    VOTER = "voter"
    PROMPT = "prompt"
    NONE = "none"


class Order(NamedTuple):
    """The rows in the file's order, each (n,): positions among the contestants, a `Code`, how many votes."""

    left: NDArray[np.integer]
    right: NDArray[np.integer]
    outcome: NDArray[np.integer]
    count: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Votes:
    """A file's votes. `cluster`: what they are clustered by; `order`: only where it was asked for; `named`: how many
    votes were left out because they were cast with the models' names in sight."""

    comparisons: Comparisons
    cluster: Cluster
    order: Order | None = None
    named: int = 0


class VoteRow(NamedTuple):
    """One row of a file of votes: `count` equal votes."""

    model_a: str
    model_b: str
    winner: Outcome
    count: int = 1
    voter: str | None = None
    prompt: str | None = None
    category: str | None = None
    timestamp: str | None = None


def read_votes(
    path: Path, *, cluster: Cluster | None = None, category: str | None = None, ordered: bool = False
) -> Votes:
    """The file's votes, added up as they are read: memory grows with the distinct rows, not with the file.

    `cluster` None means by voter where the file has that column, else not at all. `category` keeps that one only.
    `ordered` adds the rows in the file's order. Raises DataError, with the row, for what cannot be counted as written.
    """
    with one_sentence(path):
        source = open_table(path, LAYOUT)
        by = cluster or (Cluster.VOTER if "voter" in source.columns else Cluster.NONE)
        needed = {by.value} - {"none"} | ({"category"} if category is not None else set())
        for name in sorted(needed - source.columns - source.later):
            raise DataError(f"{path.name!r} has no column {name!r}; it has {listed(source.columns)}.")
        # A voter who turns up after rows without one must not go unnoticed.
        unforeseen = source.later & {"voter"} if cluster is None and by is Cluster.NONE else set()
        tally = _Tally(source.where, by, category, ordered)
        for first, columns in source.batches({*REQUIRED, "count", BLIND, *needed, *unforeseen}):
            if unforeseen and (rows := np.flatnonzero(columns["voter"].codes >= 0)).size:
                raise DataError(
                    f"{source.where(first + int(rows[0]))} names a voter and those before it do not; "
                    "give each a voter, or leave clusters out."
                )
            tally.add(first, columns)
        return tally.votes(path, by)


def read_rows(path: Path, named: Callable[[int], None] = lambda votes: None) -> Iterator[VoteRow]:
    """The file's rows one by one, checked as `read_votes` checks them; what is empty in an optional column is None.

    Votes that were cast with names in sight are left out; `named` is told how many.
    """
    with one_sentence(path):
        source = open_table(path, LAYOUT)
        tally = _Tally(source.where, Cluster.NONE, None, False)
        for first, columns in source.batches({*COLUMNS, BLIND}):
            *_, outcome, count = tally.checked(first, columns)
            blind = tally.blind(first, columns)
            named(int(count[~blind].sum()))
            optional = ([value or None for value in columns[c].texts()] if c in columns else None for c in COLUMNS[4:])
            rows = map(
                VoteRow,
                columns["model_a"].texts(),
                columns["model_b"].texts(),
                (OUTCOMES[code] for code in outcome.tolist()),
                count.tolist(),
                *(column or [None] * len(count) for column in optional),
            )
            yield from itertools.compress(rows, blind.tolist())


# Batches become counted votes.


OUTCOMES = {int(code): outcome for outcome, code in CODES.items()}


class _Tally:
    """Adds up checked batches; the memory it takes grows with the distinct rows.

    A row is packed into 64 bits: the cluster's number, both models' (15 bits each) and the outcome (2 bits).
    """

    def __init__(self, where: Callable[[int], str], by: Cluster, category: str | None, ordered: bool):
        self.where, self.by, self.category, self.ordered = where, by, category, ordered
        self.models: dict[str, int] = {}
        self.clusters: dict[bytes, int] = {}
        self.categories: dict[str, None] = {}
        self.rows = self.total = self.named = 0
        self.packed, self.count = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.waiting: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self.order: list[Order] = []

    def checked(
        self, first: int, columns: Columns
    ) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer], NDArray[np.int64]]:
        """Left, right, outcome, count, each (n,); raises DataError for the first row that is not a vote."""

        def refuse(bad: NDArray[np.bool_], fault: Callable[[int], str]) -> None:
            if (rows := np.flatnonzero(bad)).size:
                raise DataError(f"{self.where(first + int(rows[0]))} {fault(int(rows[0]))}.")

        sides = []
        for name in ("model_a", "model_b"):
            codes, words = columns[name]
            refuse(codes < 0, lambda _, name=name: f"has no {name!r}")
            blank = np.array([not word.strip() for word in words], bool)
            refuse(blank[codes], lambda _, name=name: f"has an empty {name!r}; every model needs a name")
            sides.append((codes, words))
        codes, words = columns["winner"]
        refuse(codes < 0, lambda _: "has no 'winner'")
        known = np.array([CODES[WINNERS[word]] if word in WINNERS else -1 for word in words], np.int8)
        refuse(
            known[codes] < 0,
            lambda i: f"has the winner {short(words[codes[i]])}; accepted are {', '.join(map(repr, WINNERS))}",
        )
        outcome = known[codes]
        count = np.ones(len(outcome), np.int64)
        if "count" in columns:
            codes, said = columns["count"]
            refuse(codes < 0, lambda _: "has no 'count'")
            counts = np.array([_whole(text) for text in said], np.int64)
            refuse(
                counts[codes] < 1,
                lambda i: f"has the count {short(said[codes[i]])}; it has to be a whole number from 1 upwards",
            )
            count = counts[codes]
        left, right = (self._numbers(words)[codes] for codes, words in sides)
        refuse(left == right, lambda i: f"compares {short(sides[0][1][sides[0][0][i]])} with itself; remove it")
        return left, right, outcome, count

    def blind(self, first: int, columns: Columns) -> NDArray[np.bool_]:
        """Which votes (n,) were cast without knowing the models; where a file does not say, all were."""
        if BLIND not in columns:
            return np.ones(len(columns["winner"].codes), bool)
        codes, words = columns[BLIND]
        for number, word in enumerate(words):
            if word and word not in BLIND_WORDS:
                row = self.where(first + int(np.flatnonzero(codes == number)[0]))
                raise DataError(f"{row} has {short(word)} as {BLIND!r}; it has to be true or false.")
        return np.array([*(BLIND_WORDS.get(word, True) for word in words), True], bool)[codes]

    def _numbers(self, words: list[str]) -> NDArray[np.int64]:
        numbers = [self.models.setdefault(word, len(self.models)) for word in words]
        if len(self.models) > MOST_MODELS:
            raise DataError(f"There are more than {MOST_MODELS} models; is the right column called model_a?")
        return np.array(numbers, np.int64)

    def add(self, first: int, columns: Columns) -> None:
        left, right, outcome, count = self.checked(first, columns)
        packed = left << 17 | right << 2 | outcome
        if self.by is not Cluster.NONE:
            codes, words = columns[self.by.value]
            numbers = np.array([self._cluster(word) if word else -1 for word in words], np.int64)
            numbers = np.where(codes < 0, -1, numbers[codes] if len(words) else -1)
            if (rows := np.flatnonzero(numbers < 0)).size:
                raise DataError(
                    f"{self.where(first + int(rows[0]))} has no {self.by.value!r} to cluster by; "
                    f"fill it in, or leave clusters out."
                )
            packed |= numbers << 32
        self.rows += len(packed)
        blind = keep = self.blind(first, columns)
        self.named += int(count[~blind].sum())
        if self.category is not None:
            codes, words = columns["category"]
            self.categories |= dict.fromkeys(words[:20]) if len(self.categories) < 20 else {}
            keep = blind & (codes == (words.index(self.category) if self.category in words else -2))
        if self.ordered:
            small = (left[keep].astype(np.int16), right[keep].astype(np.int16), outcome[keep], count[keep])
            self.order.append(Order(*small))
        packed, count = packed[keep], count[keep]
        # First in floating point, where a sum of whole numbers does not wrap around.
        fits = count.sum(dtype=np.float64) <= MOST_VOTES
        self.total += int(count.sum()) if fits else 0
        if not fits or self.total > MOST_VOTES:
            raise DataError(f"The counts add up to more than {MOST_VOTES} votes.")
        self.waiting.append((packed, count))
        if sum(len(packed) for packed, _ in self.waiting) > max(1 << 20, len(self.packed)):
            self._merge()

    def _cluster(self, text: str) -> int:
        # A digest, since a prompt may be long and there may be many.
        return self.clusters.setdefault(hashlib.blake2b(text.encode(), digest_size=16).digest(), len(self.clusters))

    def _merge(self) -> None:
        packed = np.concatenate([self.packed, *(packed for packed, _ in self.waiting)])
        count = np.concatenate([self.count, *(count for _, count in self.waiting)])
        self.waiting.clear()
        order = np.argsort(packed, kind="stable")
        packed, count = packed[order], count[order]
        del order
        starts = np.flatnonzero(np.diff(packed, prepend=-1))
        self.packed, self.count = packed[starts], np.add.reduceat(count, starts) if len(starts) else count

    def votes(self, path: Path, by: Cluster) -> Votes:
        """Raises DataError where nothing was added."""
        if not self.rows:
            raise DataError(f"{path.name!r} has no votes, only the names of its columns.")
        self._merge()
        if not len(self.packed) and (self.category is None or self.named == self.rows):
            raise DataError(only_named(path))
        if not len(self.packed):
            raise DataError(
                f"{path.name!r} has no votes of the category {short(self.category or '')}; "
                f"it has {listed(self.categories)}."
            )
        packed, count = self.packed, self.count.astype(np.float64)
        left, right = packed >> 17 & (MOST_MODELS - 1), packed >> 2 & (MOST_MODELS - 1)
        met = np.zeros(len(self.models), bool)
        met[left] = met[right] = True
        models = list(self.models)
        order = sorted(np.flatnonzero(met).tolist(), key=models.__getitem__)
        position = np.full(len(models), -1, np.int32)
        position[order] = np.arange(len(order))
        cluster = None if by is Cluster.NONE else packed >> 32
        comparisons = aggregate(
            tuple(models[i] for i in order), position[left], position[right], (packed & 3).astype(np.int8), count,
            cluster=cluster,
        )  # fmt: skip
        if not self.ordered:
            return Votes(comparisons, by, named=self.named)
        columns = [np.concatenate(column) for column in zip(*self.order, strict=True)]
        return Votes(
            comparisons, by, Order(position[columns[0]], position[columns[1]], columns[2], columns[3]), self.named
        )


def only_named(path: Path) -> str:
    """What is said of a file without a vote that was cast blindly."""
    return f"{path.name!r} has only votes that were cast with the models' names in sight ({BLIND!r} is false)."


def _whole(text: str) -> int:
    """A whole number as pandas writes it too ("3.0"); 0 for anything else."""
    return int(text.partition(".")[0]) if len(text) < 20 and re.fullmatch(r"[0-9]{1,16}(\.0+)?", text) else 0


# Rows become a file.


def write_votes(path: Path, rows: Iterable[VoteRow]) -> int:
    """Write the rows, and return how many: the same rows give the same bytes, and a crash leaves the old file whole.

    Texts are kept verbatim; an empty optional text is written as none. Raises DataError for a row that `read_votes`
    would refuse, and for an unknown extension.
    """
    kind = extension(path, LAYOUT.noun)
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as raw:
            written = _WRITERS[kind.removesuffix(".gz")](raw, map(_writable, itertools.count(1), rows), kind)
            raw.flush()
            os.fsync(raw.fileno())
        part.replace(path)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be written: {error.strerror or error}.") from error
    finally:
        part.unlink(missing_ok=True)
    return written


def _writable(number: int, row: VoteRow) -> tuple[Any, ...]:
    a, b, winner, count, *optional = row
    texts = [a, b, *(text for text in optional if text)]
    if not (a.strip() and b.strip()) or a == b:
        raise DataError(f"Vote {number} to write compares {short(a)} with {short(b)}; it needs two models by name.")
    if type(count) is not int or not 1 <= count <= MOST_VOTES:
        raise DataError(f"Vote {number} to write has the count {count!r}; it has to be a whole number from 1 upwards.")
    if any(lone_surrogate(text) for text in texts):
        raise DataError(f"Vote {number} to write has half a surrogate pair in a text, which is no Unicode text.")
    return a, b, WRITTEN[Outcome(winner)], count, *(text or None for text in optional)


@contextmanager
def _compressed(raw: IO[bytes], kind: str) -> Iterator[IO[bytes]]:
    if not kind.endswith(".gz"):
        yield raw
        return
    # Neither name nor time: the same rows give the same bytes.
    with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        yield file  # type: ignore[misc]


def _write_csv(raw: IO[bytes], rows: Iterator[tuple[Any, ...]], kind: str) -> int:
    written = -1
    with _compressed(raw, kind) as file:
        for row in itertools.chain([COLUMNS], rows):
            file.write((",".join(map(_quoted, row)) + "\n").encode())
            written += 1
    return written


def _quoted(value: Any) -> str:
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if SPECIAL.search(text) else text


SPECIAL = re.compile(r'[",\r\n\ufeff]')
"""What needs quotation marks in CSV; the last is a byte order mark."""


def _write_jsonl(raw: IO[bytes], rows: Iterator[tuple[Any, ...]], kind: str) -> int:
    written = 0
    with _compressed(raw, kind) as file:
        for row in rows:
            file.write(json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False).encode() + b"\n")
            written += 1
    return written


def _write_parquet(raw: IO[bytes], rows: Iterator[tuple[Any, ...]], kind: str) -> int:
    from pyarrow import parquet

    schema = pa.schema([(name, pa.int64() if name == "count" else pa.string()) for name in COLUMNS])
    written = 0
    with parquet.ParquetWriter(raw, schema) as writer:
        for part in parts(rows, ROWS):
            columns = zip(*part, strict=True)
            arrays = [pa.array(column, kind.type) for column, kind in zip(columns, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            written += len(part)
    return written


_WRITERS: dict[str, Callable[[IO[bytes], Iterator[tuple[Any, ...]], str], int]] = {
    ".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet,
}  # fmt: skip
