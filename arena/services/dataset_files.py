"""Which files of a folder are a data set of the Hugging Face library `datasets`, and which split each belongs to.

Looked for in this order: what `save_to_disk` wrote (Arrow), the files that the card's `configs` name, Parquet files in
the folder and its `data`, Parquet files below, and Arrow files of the library's cache.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from arena.errors import DataError, UsageError
from arena.services.tables import listed, short

T = TypeVar("T")
SPLITS = ("train", "test", "validation", "valid", "val", "dev", "eval")
"""A folder of such a name holds a split, however its files are called."""
LARGEST_CARD = 1 << 20
Splits = dict[str, list[Path]]


def of_split(folder: Path, found: Mapping[str, T], split: str | None) -> T | None:
    """What is under this split, or the only one; None where there is none at all. Raises UsageError.

    In a folder of several configurations a split is called `CONFIG/SPLIT`; its last word will do where only one has it.
    """
    if split is None:
        if len(found) > 1:
            raise UsageError(f"{str(folder)!r} has the splits {listed(found)}; choose one with --split.")
        return next(iter(found.values()), None)
    fitting = [name for name in found if name == split] or [name for name in found if name.endswith(f"/{split}")]
    if len(fitting) != 1:
        raise UsageError(f"{str(folder)!r} has no split {split!r}; it has {listed(found)}.")
    return found[fitting[0]]


def splits(folder: Path) -> Splits:
    """The files of every split, in their order. Raises DataError for a data set that names files that are not there."""
    return (
        _saved(folder)
        or _of_card(folder)
        or _by_place(folder, [*folder.glob("*.parquet"), *folder.glob("data/*.parquet")])
        or _by_place(folder, _below(folder, ".parquet"))
        or _by_place(folder, (file for file in folder.glob("*.arrow") if not file.name.startswith("cache-")))
    )


def _below(folder: Path, ending: str) -> Iterator[Path]:
    for file in folder.rglob(f"*{ending}"):
        if not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


def _by_place(folder: Path, files: Iterable[Path]) -> Splits:
    found: Splits = {}
    for file in sorted({*files}):
        found.setdefault(_split_of(file.relative_to(folder)), []).append(file)
    return found


def _split_of(file: Path) -> str:
    """`data/train-00000-of-00002.parquet` is of "train", `en/train/0000.parquet` of "en/train"."""
    *folders, name = file.parts
    folders = folders[1:] if folders[:1] == ["data"] else folders
    for number, part in enumerate(folders, 1):
        if part in SPLITS:
            return "/".join(folders[:number])
    stem = re.split(r"-\d{5}-of-|\.", name)[0]
    return "/".join(folders if stem.isdigit() and folders else [*folders, stem])


# What `save_to_disk` wrote


def _saved(folder: Path) -> Splits:
    if (folder / "state.json").is_file():
        state = _json(folder / "state.json")
        return {str(state.get("_split") or "train"): _data_files(folder, state)}
    if not (folder / "dataset_dict.json").is_file():
        return {}
    names = _json(folder / "dataset_dict.json").get("splits", [])
    return {
        name: _data_files(folder / name, _json(folder / name / "state.json"))
        for name in names if isinstance(name, str) and _is_inside(name)
    }  # fmt: skip


def _data_files(folder: Path, state: Mapping[str, Any]) -> list[Path]:
    """As the state lists them: other Arrow files beside them are leftovers of earlier steps."""
    try:
        names = [one["filename"] for one in state["_data_files"]]
    except (KeyError, TypeError) as error:
        raise DataError(f"{str(folder / 'state.json')!r} names no data files; save the data set again.") from error
    files = [folder / name for name in names if isinstance(name, str) and _is_inside(name)]
    for file in files:
        if not file.is_file():
            raise DataError(f"{str(file)!r} is not there, and {'state.json'!r} beside it names it; copy it as well.")
    return files


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{str(file)!r} cannot be read as JSON; save the data set again.") from error
    if not isinstance(found, dict):
        raise DataError(f"{str(file)!r} holds no JSON object; save the data set again.")
    return found


def _is_inside(path: str) -> bool:
    return not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts


# What the card says


def _of_card(folder: Path) -> Splits:
    """The Parquet files of the card's `configs`; nothing where it names none."""
    configs = _configs(folder / "README.md")
    found: Splits = {}
    for config in configs:
        base = str(config.get("data_dir") or "")
        for split, patterns in _named(config.get("data_files")):
            files: set[Path] = set()
            for pattern in patterns:
                files |= _matching(folder, f"{base}/{pattern}" if base else pattern)
            if files:
                name = split if len(configs) == 1 else f"{config.get('config_name', 'default')}/{split}"
                found.setdefault(name, []).extend(sorted(files))
    return found


def _configs(card: Path) -> list[Mapping[str, Any]]:
    """The configurations in the card's YAML; none where there is no such card."""
    import yaml

    try:
        with card.open(encoding="utf-8") as file:
            text = file.read(LARGEST_CARD)
        head = yaml.safe_load(text.split("---\n", 2)[1]) if text.startswith("---\n") else None
    except (OSError, ValueError, IndexError, RecursionError, yaml.YAMLError):
        return []
    configs = head.get("configs") if isinstance(head, dict) else None
    return [one for one in configs if isinstance(one, dict)] if isinstance(configs, list) else []


def _named(data_files: Any) -> Iterator[tuple[str, list[str]]]:
    """Every split with its patterns; without a split's name it is all "train", as the library has it."""
    if isinstance(data_files, list) and data_files and all(isinstance(one, dict) for one in data_files):
        for one in data_files:
            yield str(one.get("split", "train")), _patterns(one.get("path"))
    elif data_files is not None:
        yield "train", _patterns(data_files)


def _patterns(found: Any) -> list[str]:
    return [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, str) and one]


def _matching(folder: Path, pattern: str) -> set[Path]:
    if not _is_inside(pattern):
        raise DataError(f"README.md of {str(folder)!r} names {short(pattern)}, which is not in that folder.")
    return {file for file in folder.glob(pattern) if file.suffix == ".parquet" and file.is_file()}
