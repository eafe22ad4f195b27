"""Statistics of features that merge: how many, their mean, and their scatter M2, in float64.

    features (n, d) -> Statistics(n, mean (d,), m2 (d, d)) -> Moments(mean, covariance)

M2 is the sum of (x - mean)(x - mean)^T. It is gathered around the mean at hand, never as a sum of squares minus a
square, so a mean far from zero costs no digits. Parts merge by the rule of T. Chan, G. Golub and R. LeVeque, Updating
Formulae and a Pairwise Algorithm for Computing Sample Variances (COMPSTAT 1982), whatever the split and the order.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.blas import dsyrk

from arena.domain import Protocol, fingerprint
from arena.errors import DataError, EnvironmentFault

Floats = NDArray[np.float64]

FORMAT = "arena statistics 1"
LEVEL = 0.95
HALF_WIDTH = NormalDist().inv_cdf((1 + LEVEL) / 2)
"""Of a normal interval of that level, in standard errors. scipy.special takes a quarter of a second to load."""
BLOCK = 2048
"""Rows taken at a time, which bounds the memory beside the statistics."""
ASYMMETRY = 1e-6
"""Largest |S - S^T| of an imported covariance, as a share of its largest entry: float32 files reach 1e-7."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean (d,) and covariance (d, d), divided by n - 1, float64. `n` is None where an imported file does not say."""

    mean: Floats
    covariance: Floats
    n: int | None = None

    def __post_init__(self) -> None:
        _require_square(self.mean, self.covariance, "covariance")

    @property
    def dim(self) -> int:
        return len(self.mean)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Count, mean (d,) and scatter `m2` (d, d) = sum of (x - mean)(x - mean)^T, float64."""

    n: int
    mean: Floats
    m2: Floats

    def __post_init__(self) -> None:
        if self.n < 1:
            raise DataError(f"Statistics need at least 1 image, got {self.n}.")
        _require_square(self.mean, self.m2, "m2")

    @property
    def dim(self) -> int:
        return len(self.mean)

    @property
    def moments(self) -> Moments:
        """Raises DataError below two images: one image has no covariance."""
        if self.n < 2:
            raise DataError("A covariance needs at least 2 images, got 1: add images.")
        return Moments(self.mean, self.m2 / (self.n - 1), self.n)


class Saved(NamedTuple):
    """What a statistics file holds. `facts` are plain JSON, as they were given to `save`."""

    statistics: Statistics
    protocol: Protocol
    facts: dict[str, Any]


class Accumulator:
    """Statistics of features that arrive in batches, in O(d^2) memory whatever their number."""

    def __init__(self) -> None:
        self.n = 0
        self._mean = np.empty(0)
        self._m2 = np.empty((0, 0), order="F")  # upper triangle; the lower one is filled in at the end

    def add(self, batch: ArrayLike) -> None:
        """Adds features (b, d), b >= 0. Raises DataError where they are not finite or of another dimension."""
        features = checked(batch)
        if self.n and features.shape[1] != len(self._mean):
            raise DataError(f"Features have {features.shape[1]} dimensions, those before had {len(self._mean)}.")
        if not self.n:
            self._mean = np.zeros(features.shape[1])
            self._m2 = np.zeros((features.shape[1],) * 2, order="F")
        for start in range(0, len(features), BLOCK):
            self._add_block(features[start : start + BLOCK].astype(np.float64))

    def _add_block(self, block: Floats) -> None:
        mean = block.mean(0)
        shift = mean - self._mean
        total = self.n + len(block)
        self._m2 = dsyrk(1.0, (block - mean).T, beta=1.0, c=self._m2, overwrite_c=1)
        weight = np.sqrt(self.n * len(block) / total)
        self._m2 = dsyrk(1.0, (weight * shift)[:, None], beta=1.0, c=self._m2, overwrite_c=1)
        self._mean += shift * (len(block) / total)
        self.n = total

    def statistics(self) -> Statistics:
        """Of all that was added so far; more may be added after. Raises DataError where nothing was."""
        upper = np.triu(self._m2)
        return Statistics(self.n, self._mean.copy(), upper + np.triu(upper, 1).T)


def of_features(features: ArrayLike) -> Statistics:
    """Statistics of features (n, d), n >= 1, of any float type.

    Raises DataError where they are not a matrix, empty, or not finite.
    """
    accumulator = Accumulator()
    accumulator.add(features)
    return accumulator.statistics()


def merge(parts: Iterable[Statistics]) -> Statistics:
    """Statistics of all parts together: the same to rounding (1e-12 of the scatter) for any split and order.

    Raises DataError where there are none, or where their dimensions differ.
    """
    known = list(parts)
    if not known:
        raise DataError("There are no statistics to merge: give at least one part.")
    dims = sorted({part.dim for part in known})
    if len(dims) > 1:
        raise DataError(f"Statistics of {dims[0]} and of {dims[-1]} dimensions cannot be merged: use one protocol.")
    n = sum(part.n for part in known)
    origin = known[0].mean
    shifts = np.stack([part.mean - origin for part in known])  # small numbers, so their mean keeps its digits
    counts = np.array([part.n for part in known], float)
    moved = counts @ shifts / n
    between = (shifts - moved) * np.sqrt(counts)[:, None]
    return Statistics(n, origin + moved, sum((part.m2 for part in known), between.T @ between))


def checked(features: ArrayLike, name: str = "features", at_least: int = 0) -> NDArray[Any]:
    """The features as a float array (n, d); float32 stays float32.

    Raises DataError where they are not a matrix of finite numbers, or have fewer rows than `at_least`.
    """
    array = np.asarray(features)
    if array.ndim != 2 or array.shape[1] == 0:
        raise DataError(f"The {name} have shape {array.shape}: give a matrix, one row an image.")
    if array.dtype.kind in "iub":
        array = array.astype(np.float64)
    if array.dtype.kind != "f":
        raise DataError(f"The {name} are {array.dtype}, not real numbers: give a float array.")
    if len(array) < at_least:
        raise DataError(f"The {name} have {len(array)} rows, but at least {at_least} images are needed.")
    bad = np.flatnonzero(~np.isfinite(array).all(1))
    if len(bad):
        raise DataError(
            f"{len(bad)} of {len(array)} rows of the {name} are NaN or infinite, the first is row {bad[0]}: "
            "compute these features again, in float32 on the CPU if they came from half precision."
        )
    return array


def save(path: Path | str, statistics: Statistics, protocol: Protocol, **facts: Any) -> None:
    """Writes one .npz that knows its protocol, whole or not at all. `facts` are plain JSON (source, date, ...).

    The scatter is stored as its upper triangle, which halves the file. Raises EnvironmentFault where the disk refuses.
    """
    head = {"format": FORMAT, "protocol": _as_json(protocol), "facts": facts, "n": statistics.n}
    arrays = {"mean": statistics.mean, "m2": statistics.m2[np.triu_indices(statistics.dim)]}
    header = json.dumps(head | {"sha256": _checksum(head, arrays)})
    _write_whole(Path(path), header=np.frombuffer(header.encode(), np.uint8), **arrays)


def load_any(path: Path | str) -> Saved | Moments:
    """What `save` wrote, or mu and sigma of another tool. Raises what `load` and `import_npz` raise."""
    foreign = "header" not in _read(Path(path))
    return import_npz(path) if foreign else load(path)


def load(path: Path | str, protocol: Protocol | None = None) -> Saved:
    """Reads what `save` wrote: (statistics, protocol, facts).

    Raises DataError where the file is missing, damaged, no statistics file, or (with `protocol`) of another protocol.
    """
    arrays = _read(Path(path))
    if "header" not in arrays:
        hint = "it holds mu and sigma without a protocol; use import_npz" if "mu" in arrays else "no header in it"
        raise DataError(f"{path} is not a statistics file of this program: {hint}.")
    try:
        head = json.loads(arrays.pop("header").tobytes())
        expected = head.pop("sha256")
        known, n = Protocol(**head["protocol"]), int(head["n"])
        intact = head["format"] == FORMAT and expected == _checksum(head, arrays)
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, "its header cannot be read") from error
    if not intact:
        raise _damaged(path, "its checksum does not fit")
    if protocol is not None and known.fingerprint != protocol.fingerprint:
        raise DataError(_other_protocol(path, known, protocol))
    return Saved(Statistics(n, arrays["mean"], _unpacked(arrays["m2"], len(arrays["mean"]))), known, head["facts"])


def export_npz(path: Path | str, moments: Moments) -> None:
    """Writes `mu` (d,) and `sigma` (d, d) as pytorch-fid and clean-fid read them, without count and protocol."""
    _write_whole(Path(path), mu=moments.mean, sigma=moments.covariance)


def import_npz(path: Path | str) -> Moments:
    """Reads `mu` and `sigma` as pytorch-fid, clean-fid and the TTUR reference files have them; `n` is unknown.

    Raises DataError where they are missing, of wrong shape, not finite, or sigma is not a covariance.
    """
    arrays = _read(Path(path))
    if not {"mu", "sigma"} <= set(arrays):
        raise DataError(
            f"{path} has {sorted(arrays)} in it, not mu and sigma: give a .npz of pytorch-fid or clean-fid."
        )
    mean, covariance = np.atleast_1d(np.squeeze(arrays["mu"])), arrays["sigma"]
    if mean.dtype.kind != "f" or covariance.dtype.kind != "f":
        raise DataError(f"{path} holds {mean.dtype} and {covariance.dtype}, not real numbers: export it again.")
    mean, covariance = mean.astype(np.float64), covariance.astype(np.float64)
    problem = _not_a_covariance(mean, covariance)
    if problem:
        raise DataError(f"{path} cannot be used: {problem}; export it again.")
    return Moments(mean, (covariance + covariance.T) / 2)


def _not_a_covariance(mean: Floats, covariance: Floats) -> str | None:
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        return f"mu has shape {mean.shape}, sigma {covariance.shape}"
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        return "mu or sigma is NaN or infinite"
    if np.abs(covariance - covariance.T).max() > ASYMMETRY * np.abs(covariance).max():
        return "sigma is not symmetric"
    if covariance.diagonal().min() < 0:
        return f"sigma has a negative variance ({covariance.diagonal().min():.3g})"
    return None


def _require_square(mean: Floats, matrix: Floats, name: str) -> None:
    if mean.ndim != 1 or len(mean) == 0 or matrix.shape != (len(mean), len(mean)):
        raise DataError(f"A mean of shape {mean.shape} does not fit {name} of shape {matrix.shape}.")


def _unpacked(triangle: Floats, dim: int) -> Floats:
    full = np.zeros((dim, dim))
    full[np.triu_indices(dim)] = triangle
    return full + np.triu(full, 1).T


def _as_json(protocol: Protocol) -> dict[str, Any]:
    return {"name": protocol.name, "version": protocol.version, "settings": dict(protocol.settings)}


def _checksum(head: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> str:
    parts = {name: hashlib.sha256(np.ascontiguousarray(array)).hexdigest() for name, array in arrays.items()}
    return fingerprint(head=head, arrays=parts)


def _damaged(path: Path | str, how: str) -> DataError:
    return DataError(f"{path} is damaged ({how}): make these statistics again.")


def _other_protocol(path: Path | str, known: Protocol, wanted: Protocol) -> str:
    names = {
        name for name in {*known.settings, *wanted.settings} if known.settings.get(name) != wanted.settings.get(name)
    }
    apart = f"; they differ in {', '.join(sorted(names))}" if names and known.id == wanted.id else ""
    return (
        f"{path} holds statistics of {known.id} (fingerprint {known.fingerprint[:12]}), not of {wanted.id} "
        f"(fingerprint {wanted.fingerprint[:12]}){apart}: use that protocol or make the statistics again."
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError as error:
        raise DataError(f"No statistics file {path}: check the path.") from error
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, KeyError, NotImplementedError) as error:
        raise _damaged(path, "not a whole .npz") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}): check its permissions.") from error


def _write_whole(path: Path, **arrays: NDArray[Any]) -> None:
    """To a neighbouring file first, which then takes the name: a reader never sees half a file."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EnvironmentFault(
            f"{path} cannot be written ({error.strerror or error}): choose another place."
        ) from error
