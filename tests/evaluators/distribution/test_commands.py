"""`arena fid`, `kid`, `metrics` and `stats` as a reader meets them: what is printed, and what is refused."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from arena import cli_metrics
from arena.errors import ArenaError, DataError, UsageError
from evaluators.distribution.measure import Setup

from ..conftest import blocks, write_pngs
from .conftest import Measured


@pytest.fixture
def data(measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of its own with the features of the session."""
    (tmp_path / "cache").symlink_to(measured.setup.cache_dir or "")
    monkeypatch.setenv("ARENA_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arena(*arguments: Any) -> Result:
    return CliRunner().invoke(cli_metrics.app, list(map(str, arguments)))


def refused(*arguments: Any) -> ArenaError:
    done = arena(*arguments)
    assert done.exit_code != 0 and isinstance(done.exception, ArenaError), done.output
    return done.exception


@pytest.mark.parametrize("protocol", ["prdc", "kid", "cmmd-u@1"])
@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_fid_takes_no_protocol_that_is_no_frechet_distance(
    measured: Measured, data: Path, protocol: str, form: str
) -> None:
    error = refused("fid", measured.real, measured.generated, "--protocol", protocol, form)
    assert isinstance(error, UsageError) and "is not a Fréchet distance: use `arena metrics --metrics" in str(error)


def test_metrics_that_measured_nothing_exit_with_the_reasons(measured: Measured, data: Path) -> None:
    """Statistics alone have neither KID nor precision: no figure, so no success."""
    arena("stats", measured.real, "-o", "real.npz")
    arena("stats", "export", "real.npz", "mu.npz")
    for form in ("--json", "--csv", "--curve"):
        done = arena("metrics", "mu.npz", measured.generated, "--metrics", "kid,prdc", form)
        assert done.exit_code == 1 and isinstance(done.exception, DataError)
        assert str(done.exception).startswith("Nothing was measured: kid@1: The reference has statistics alone")
        assert "prdc@1: " in str(done.exception)
    found = json.loads(arena("metrics", "mu.npz", measured.generated, "--metrics", "kid,prdc", "--json").stdout)
    assert found["figures"] == [] and [metric for metric, _ in found["unscored"].items()] == ["kid@1", "prdc@1"]


def test_csv_has_the_differences_too(measured: Measured, data: Path) -> None:
    other = write_pngs(data / "other", blocks(20, 7))
    both = (measured.real, measured.generated, "--metrics", "fid-clean,kid,prdc", "--versus", other)
    rows = list(csv.DictReader(io.StringIO(arena("metrics", *both, "--csv").stdout)))
    assert [row["metric"] for row in rows] == [
        "fid-clean", "kid", "precision", "recall", "density", "coverage", "fid-clean", "kid",
    ]  # fmt: skip
    assert [row["minus"] for row in rows] == [""] * 6 + [str(other)] * 2
    expected = json.loads(arena("metrics", *both, "--json").stdout)["versus"]
    for row, one in zip(rows[6:], expected, strict=True):
        assert (float(row["value"]), float(row["low"]), int(row["n_generated"])) == (one["value"], one["low"], 7)


@pytest.mark.parametrize(
    ("setting", "option", "device"),
    [(None, None, "auto"), ("cpu", None, "cpu"), ("cuda:1", None, "cuda:1"), ("cuda:1", "cpu", "cpu")],
)
def test_the_device_is_the_option_or_the_setting_or_looked_for(
    measured: Measured,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: str | None,
    option: str | None,
    device: str,
) -> None:
    seen: list[Setup] = []

    def stop(*arguments: Any, setup: Setup, **options: Any) -> None:
        seen.append(setup)
        raise DataError("seen")

    monkeypatch.setattr("evaluators.distribution.measure.measure", stop)
    if setting:
        monkeypatch.setenv("ARENA_DEVICE", setting)
        monkeypatch.setenv("ARENA_ENGINE", "openvino")
    for command in ("fid", "kid", "metrics"):
        refused(command, measured.real, measured.generated, *(["--device", option] if option else []))
    assert [setup.device for setup in seen] == [device] * 3
    assert {setup.engine for setup in seen} == {"openvino" if setting else "torch"}


def test_more_workers_than_images(measured: Measured, data: Path) -> None:
    few = write_pngs(data / "few", blocks(20, 3))
    done = arena("stats", few, "--workers", 5, "-o", "few.npz")
    assert done.exit_code == 0 and "Statistics of 3 images" in done.stdout, done.output
    one = write_pngs(data / "one", blocks(20, 1))
    assert "only one usable image" in str(refused("stats", one, "--workers", 5, "-o", "one.npz"))


def test_a_shard_without_a_usable_image_says_what_to_do(measured: Measured, data: Path) -> None:
    few = write_pngs(data / "few", blocks(20, 3))
    (few / "0001.png").write_text("no image")
    error = refused("stats", few, "--shard", "2/3", "-o", "2.npz")
    assert "Shard 2/3 of" in str(error) and "split it into fewer shards" in str(error)
    assert "on each side" not in str(error)


def test_some_shards_are_merged_with_a_warning_and_neither_used_nor_exported(measured: Measured, data: Path) -> None:
    for i in (1, 2, 3):
        arena("stats", measured.real, "--shard", f"{i}/3", "-o", f"{i}.npz")
    done = arena("stats", "merge", "3.npz", "1.npz", "-o", "some.npz")
    assert done.exit_code == 0 and "2 of 3 shards so far" in done.stderr
    assert "merge it with shard 2/3 first" in str(refused("stats", "export", "some.npz", "mu.npz"))
    assert "merge it with shard 2/3 first" in str(refused("fid", measured.generated, "--reference", "some.npz"))
    assert "would count twice" in str(refused("stats", "merge", "some.npz", "3.npz", "-o", "all.npz"))
    done = arena("stats", "merge", "some.npz", "2.npz", "-o", "all.npz")
    assert "14 images" in done.stdout and "so far" not in done.stderr


def test_generated_images_that_were_counted_in_shards_have_the_same_distance(measured: Measured, data: Path) -> None:
    whole = json.loads(arena("fid", measured.real, measured.generated, "--json").stdout)
    for i in (1, 2, 3):
        assert arena("stats", measured.generated, "--shard", f"{i}/3", "-o", f"{i}.npz").exit_code == 0
    assert arena("stats", "merge", "3.npz", "1.npz", "2.npz", "-o", "all.npz").exit_code == 0
    merged = json.loads(arena("fid", measured.real, "all.npz", "--json").stdout)
    assert merged["fid"] == pytest.approx(whole["fid"], rel=1e-9) and merged["n_generated"] == whole["n_generated"]
    assert merged["low"] is None and "statistics alone" in merged["warnings"][-1]
    assert "14 real and 14 generated images" in arena("fid", measured.real, "all.npz").stdout
    assert "image by image" in str(refused("fid", measured.real, "all.npz", "--versus", measured.generated))
