"""How an arena lies in a folder: the layout of Hugging Face's `datasets`, one configuration for each table.

    arena.json              the format, what was counted, the settings that boards depend on
    data/TABLE/SPLIT-00000.parquet
    signed/00000/*.png      copies with a manifest in them, where images were signed so
    boards/*.json           what `arena board --json` printed; snapshots/*.json: boards that were kept
    README.md               the data card, with the configurations in its YAML head
    croissant.json          the same for machines (Croissant, JSON-LD)
    SHA256SUMS              of every file above; `sha256sum -c SHA256SUMS` checks it

Columns that hold settings are JSON text, so that a schema says all there is to know about a table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from arena.errors import DataError

FORMAT = 1
MANIFEST, SUMS, CARD, CROISSANT = "arena.json", "SHA256SUMS", "README.md", "croissant.json"
BOARDS, SNAPSHOTS, DATA, SIGNED = "boards", "snapshots", "data", "signed"
PEOPLES_BOARD = f"{BOARDS}/people.json"
FREE = frozenset({CARD, CROISSANT})
"""Files that may be edited after an export; an import does not look at them."""
BLOCK = 1 << 20
FOLDER_FILES = 1_000
"""Signed copies in one folder at most; hubs refuse folders of more than ten thousand files."""

_ID, _TEXT, _BOOL, _REAL, _WHOLE = pa.int64(), pa.string(), pa.bool_(), pa.float64(), pa.int32()
_TIME = pa.timestamp("us", "UTC")
IMAGE = pa.struct([("bytes", pa.binary()), ("path", _TEXT)])

SCHEMAS: Mapping[str, pa.Schema] = {
    "prompts": pa.schema(
        {"id": _ID, "text": _TEXT, "category": _TEXT, "tags": pa.list_(_TEXT), "source": _TEXT, "retired": _BOOL}
    ),
    "prompt_sets": pa.schema(
        {"id": _ID, "name": _TEXT, "sha256": _TEXT, "source": _TEXT, "licence": _TEXT, "at": _TIME}
    ),
    "members": pa.schema(
        {
            "set_id": _ID, "position": _WHOLE, "prompt_id": _ID, "prompt": _TEXT, "item": _TEXT, "category": _TEXT,
            "tags": pa.list_(_TEXT), "licence": _TEXT, "details": _TEXT,
        }
    ),
    "contestants": pa.schema(
        {
            "id": _ID, "name": _TEXT, "backend": _TEXT, "settings": _TEXT, "card": _TEXT, "fingerprint": _TEXT,
            "retired": _BOOL, "share": _REAL,
        }
    ),
    "images": pa.schema(
        {
            "id": _ID, "model": _TEXT, "prompt": _TEXT, "image": IMAGE, "contestant_id": _ID, "prompt_id": _ID,
            "seed": _ID, "sha256": _TEXT, "width": _WHOLE, "height": _WHOLE, "media_type": _TEXT, "seconds": _REAL,
            "cost_usd": _REAL, "cost_source": _TEXT, "failure": _TEXT, "source_path": _TEXT, "source_licence": _TEXT,
            "hidden": _BOOL, "at": _TIME,
            "c2pa": pa.binary(),
        }
    ),
    "voters": pa.schema({"id": _TEXT, "kind": _TEXT, "since": _TIME, "excluded": _BOOL}),
    "battles": pa.schema(
        {
            "id": _ID, "prompt_id": _ID, "left_id": _ID, "right_id": _ID, "drawn_for": _TEXT, "policy": _TEXT,
            "probability": _REAL, "at": _TIME, "skipped_at": _TIME, "own_counts": _BOOL,
        }
    ),
    "ledger": pa.schema(
        {
            "id": _ID, "battle_id": _ID, "voter_id": _TEXT, "outcome": _TEXT, "decision_seconds": _REAL, "at": _TIME,
            "recipe": _TEXT, "swapped": _BOOL, "tags": pa.list_(_TEXT), "exclusion_id": _ID, "excluded": _TEXT,
            "excluded_at": _TIME, "excluded_ballot": _ID, "decided": _TEXT,
        }
    ),
    "imported": pa.schema(
        {
            "id": _ID, "source": _TEXT, "position": _ID, "model_a": _TEXT, "model_b": _TEXT, "outcome": _TEXT,
            "count": _ID, "voter": _TEXT, "prompt": _TEXT, "category": _TEXT, "at": _TIME,
        }
    ),
    "votes": pa.schema(
        {
            "model_a": _TEXT, "model_b": _TEXT, "winner": _TEXT, "count": _ID, "voter": _TEXT, "prompt": _TEXT,
            "category": _TEXT, "timestamp": _TIME, "id": _ID, "board": _TEXT, "vote_id": _ID, "imported_id": _ID,
            "probability": _REAL,
        }
    ),
    "judges": pa.schema({"id": _TEXT, "source": _TEXT, "fingerprint": _TEXT, "settings": _TEXT, "at": _TIME}),
    "verdicts": pa.schema(
        {
            "id": _ID, "judge_id": _TEXT, "prompt_id": _ID, "left_sha256": _TEXT, "right_sha256": _TEXT,
            "attempt": _WHOLE, "question_sha256": _TEXT, "answers": _TEXT, "outcome": _TEXT, "consistent": _BOOL,
            "unscored": _TEXT, "seconds": _REAL, "cost_usd": _REAL, "at": _TIME, "battles": pa.list_(_ID),
        }
    ),
    "scores": pa.schema(
        {
            "id": _ID, "subject": _TEXT, "metric": _TEXT, "value": _REAL, "unscored": _TEXT, "contestant_id": _ID,
            "protocol_name": _TEXT, "protocol_version": _TEXT, "protocol_settings": _TEXT,
            "protocol_fingerprint": _TEXT, "details": _TEXT, "at": _TIME,
        }
    ),
}  # fmt: skip
ABOUT = {
    "prompts": "what the models were asked for",
    "prompt_sets": "prompts that were imported together, with their source and licence",
    "members": "which prompts are in which set, and what the set says of them",
    "contestants": "the models, with the settings that are their identity",
    "images": "every attempt: the image as it was stored, or why it failed",
    "voters": "people under random keys, and judges",
    "battles": "every pair that was drawn, with the policy and the probability it was drawn with",
    "ledger": "every vote cast here, also those that were taken back or excluded, and why",
    "imported": "votes that were cast elsewhere, as their file told them",
    "votes": "the votes that count, in their order: `arena rate` and Chatbot Arena's tools read these columns",
    "judges": "the judges, with all that changes a verdict of theirs",
    "verdicts": "what judges said of two images, in both orders",
    "scores": "automatic scores, each with its protocol",
}
AS_JSON = {
    "members": ("details",), "contestants": ("settings", "card"), "judges": ("settings",), "verdicts": ("answers",),
    "scores": ("protocol_settings", "details"),
}  # fmt: skip
"""Columns that are JSON text in a file."""
SPLIT = "train"
VOTES_SPLITS = ("people", "judges", "aside")


def features(table: str) -> dict[bytes, bytes]:
    """What tells `datasets` that the column `image` is to be opened as one."""
    if table != "images":
        return {}
    return {b"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}}).encode()}


def signed_copy(id: int, file: str) -> str:
    """Where the signed copy of an image lies; `file`: its `path` in the table."""
    return f"{SIGNED}/{id // FOLDER_FILES:05d}/{file}"


def sha256_of(path: Path) -> str:
    """Hex digest of a file, read in blocks. Raises DataError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{str(path)!r} is missing or cannot be read ({error.strerror}); export it again.") from error
    return digest.hexdigest()


def as_bytes(plain: Any) -> bytes:
    return (json.dumps(plain, ensure_ascii=False, indent=1) + "\n").encode()
