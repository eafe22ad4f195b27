"""Folders and features that several tests of this room share: the network runs once for each image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from evaluators.distribution.measure import Measurement, Setup, measure

from ..conftest import blocks, write_pngs


@dataclass(frozen=True)
class Measured:
    """14 images of two sizes against 14 darker ones with a bad file between them, by everything that has weights."""

    folder: Path
    setup: Setup
    found: Measurement
    calls: list[tuple[str, int, int]]

    @property
    def real(self) -> Path:
        return self.folder / "real"

    @property
    def generated(self) -> Path:
        return self.folder / "generated"


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("sets")
    write_pngs(folder / "real", [*blocks(20, 7), *blocks(21, 7, (64, 40))])
    write_pngs(folder / "generated", blocks(22, 14, top=180))
    (folder / "generated" / "0003b.png").write_text("no image")
    calls: list[tuple[str, int, int]] = []
    setup = Setup(folder / "cache")
    found = measure(
        folder / "real", folder / "generated", ["all"], setup=setup, curve=True,
        progress=lambda *call: calls.append(call),
    )  # fmt: skip
    return Measured(folder, setup, found, calls)
