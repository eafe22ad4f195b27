"""Folders in, figures out: against the mathematics by hand, through the cache, and with everything that goes wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arena.errors import DataError, ImageError, UnknownName, UsageError, WeightsError
from evaluators.distribution import features, frechet, kernel, neighbours, statistics
from evaluators.distribution.measure import Setup, difference, differences, measure
from evaluators.distribution.recipes import metric_recipe
from evaluators.images import decode

from ..conftest import blocks, write_pngs
from .conftest import Measured

OURS = ["fid-clean", "kid", "fd-efficientnet-lite0", "precision", "recall", "density", "coverage"]


def test_every_metric_of_the_arena_s_own_is_there_or_says_what_it_needs(measured: Measured) -> None:
    assert [figure.metric for figure in measured.found.figures] == OURS
    assert [metric for metric, _ in measured.found.unscored] == ["cmmd-u@1", "fd-dinov2@1", "fd-clip@1"]
    assert all("hf download" in reason for _, reason in measured.found.unscored)


def test_figures_are_the_mathematics_of_the_features(measured: Measured) -> None:
    """The same functions on the same features, called by hand: equal to the bit."""
    sets = measured.found.sets["inception-clean@1"]
    assert sets.real is not None
    real, generated = sets.real.features, sets.generated.features
    assert real.shape == generated.shape == (14, 2048)
    assert measured.found.figure("fid-clean").value == frechet.frechet(real, generated).value
    assert measured.found.figure("kid@1").value == kernel.kid(real, generated).value
    assert measured.found.figure("coverage").value == neighbours.prdc(real, generated).coverage.value


def test_each_image_passes_each_network_once(measured: Measured) -> None:
    """fid-clean, kid and prdc share their features: two sets and two networks make four passes."""
    stages = {stage for stage, _, _ in measured.calls if "," in stage}
    networks = ("inception-clean@1", "efficientnet-lite0@1")
    assert stages == {f"{side}, {network}" for side in ("real", "generated") for network in networks}
    assert measured.found.images == 56 and measured.found.cached == 0


def test_a_bad_file_is_dropped_with_its_reason_and_said(measured: Measured) -> None:
    [(path, reason)] = measured.found.dropped
    assert path == "generated: 0003b.png" and "not an image" in reason
    assert "1 of 15 generated images were dropped: not decodable." in measured.found.warnings


def test_a_figure_carries_what_is_needed_to_defend_it(measured: Measured) -> None:
    fid = measured.found.figure("fid-clean")
    assert fid.low is not None and fid.debiased is not None and fid.high is not None
    assert fid.low < fid.debiased < fid.high and fid.debiased < fid.value
    assert (fid.n_real, fid.n_generated, fid.details["path"]) == (14, 14, "nuclear")
    assert fid.warnings, "14 images are far too few for FID, and it says so"
    names = [name for name, _ in fid.details["worst"]]
    amounts = [amount for _, amount in fid.details["worst"]]
    assert len(names) == 10 and amounts == sorted(amounts, reverse=True) and names[0].endswith(".png")
    score = fid.as_score("Turbo", contestant_id=3)
    assert (score.metric, score.value, score.contestant_id) == ("fid-clean", fid.value, 3)
    assert score.details["low"] == fid.low and score.details["worst"] == fid.details["worst"]
    assert json.loads(json.dumps(measured.found.as_json()))["figures"][0]["metric"] == "fid-clean"


def test_the_image_that_hurts_most_is_the_one_that_does_not_belong(measured: Measured) -> None:
    """Thirteen images like the real ones and a white one: where it stands among the arrays is its name."""
    alike = [*blocks(40, 9), np.full((48, 48, 3), 255, np.uint8), *blocks(41, 4)]
    found = measure(measured.real, alike, ["fd-efficientnet-lite0"], setup=measured.setup)
    assert found.figures[0].details["worst"][0][0] == "9"


def test_a_curve_falls_with_the_number_of_images(measured: Measured, tmp_path: Path) -> None:
    curve = measure(
        measured.real, [*blocks(22, 14, top=180), *blocks(23, 18, top=180)], ["fd-efficientnet-lite0"],
        setup=measured.setup, curve=True,
    ).figure("fd-efficientnet-lite0").details["curve"]  # fmt: skip
    assert [n for n, _ in curve] == [16, 32] and curve[0][1] > curve[1][1]


def test_the_second_run_reads_features_and_loads_no_torch(measured: Measured) -> None:
    program = f"""
import sys
from evaluators.distribution.measure import Setup, measure
found = measure({str(measured.real)!r}, {str(measured.generated)!r}, ["fid-clean", "kid", "prdc"],
                setup=Setup({str(measured.setup.cache_dir)!r}))
print(found.cached, found.images, "torch" in sys.modules, repr(found.figure("fid-clean").value))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout.split() == ["28", "28", "False", repr(measured.found.figure("fid-clean").value)], done.stderr


def test_no_device_is_looked_for_where_all_is_cached(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking would load torch on a machine with a GPU."""

    def look(device: str, engine: str) -> str:
        raise AssertionError("a device was looked for")

    monkeypatch.setattr(features, "resolve_device", look)
    found = measure(measured.real, measured.generated, ["fid-clean", "kid"], setup=measured.setup)
    assert found.cached == found.images == 28
    with pytest.raises(AssertionError, match="a device was looked for"):
        measure(blocks(77, 3), measured.generated, setup=measured.setup)


def test_one_metric_by_two_names_is_one(measured: Measured) -> None:
    found = measure(measured.real, measured.generated, ["kid", "kid@1"], setup=measured.setup)
    assert [figure.metric for figure in found.figures] == ["kid"]
    with pytest.raises(UsageError, match="at least one metric"):
        measure(measured.real, measured.generated, [], setup=measured.setup)


def test_more_images_cost_only_those(measured: Measured, tmp_path: Path) -> None:
    grown = tmp_path / "grown"
    shutil.copytree(measured.generated, grown)
    write_pngs(grown / "more", blocks(30, 2))
    found = measure(measured.real, grown, setup=measured.setup)
    assert (found.images, found.cached) == (30, 28)


def test_arrays_are_the_same_as_their_files(measured: Measured) -> None:
    def arrays(folder: Path) -> list[np.ndarray]:
        return [decode(path) for path in sorted(folder.glob("????.png"))]

    found = measure(arrays(measured.real), arrays(measured.generated), setup=measured.setup)
    assert found.cached == 28
    assert found.figure("fid-clean").value == measured.found.figure("fid-clean").value


def test_a_set_against_itself(measured: Measured) -> None:
    found = measure(measured.real, measured.real, ["fid-clean", "kid"], setup=measured.setup)
    assert found.figure("fid-clean").value < 1e-9
    assert "The real and the generated folder are the same." in found.warnings


def test_the_generated_side_may_be_statistics_too(measured: Measured, tmp_path: Path) -> None:
    """Of shards, or of another tool: the same distance, and nothing that would need the images."""
    sets = measured.found.sets["inception-clean@1"]
    ours, mu_sigma = tmp_path / "ours.npz", tmp_path / "theirs.npz"
    moments = statistics.of_features(sets.generated.features)
    statistics.save(ours, moments, sets.protocol)
    statistics.export_npz(mu_sigma, moments.moments)
    value = measured.found.figure("fid-clean").value
    for file, n in ((ours, 14), (mu_sigma, None)):
        found = measure(measured.real, file, ["fid-clean", "kid"], setup=measured.setup)
        [figure] = found.figures
        assert figure.value == pytest.approx(value, rel=1e-6) and figure.n_generated == n
        assert (figure.low, figure.debiased) == (None, None) and "statistics alone" in figure.warnings[0]
        assert dict(found.unscored).keys() == {"kid@1"}
        [both] = measure(ours, file, setup=measured.setup).figures
        assert both.value == pytest.approx(0, abs=1e-6 * value) and both.details["reference"] == "fixed"
        with pytest.raises(UsageError, match="images of both generated sides"):
            differences(found, measured.generated, setup=measured.setup)
    with pytest.raises(DataError, match="The generated side has statistics alone"):
        measure(measured.real, ours, ["kid"], setup=measured.setup)


def test_differences_are_taken_over_images_of_the_same_names(measured: Measured, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_pngs(other, blocks(20, 7))
    found = measure(measured.real, measured.generated, ["fid-clean", "kid", "prdc"], setup=measured.setup)
    paired = differences(found, other, setup=measured.setup)
    assert [(one.metric, one.n) for one in paired] == [("fid-clean", 7), ("kid", 7)]
    assert all(one.low < one.value < one.high for one in paired)
    assert paired[1].value > 0, "the other folder holds real images, so it is closer"


def test_a_difference_needs_names_in_common_and_a_metric_that_has_one(measured: Measured) -> None:
    sets = measured.found.sets["inception-clean@1"]
    renamed = type(sets.generated)(**{
        **{field: getattr(sets.generated, field) for field in sets.generated.__dataclass_fields__},
        "names": tuple(f"x{name}" for name in sets.generated.names),
    })  # fmt: skip
    with pytest.raises(DataError, match="images of the same names, and 0 are in both"):
        difference(metric_recipe("kid"), sets, sets.generated, renamed)
    with pytest.raises(UsageError, match="prdc@1 has no paired difference: use kid@1"):
        difference(metric_recipe("prdc"), sets, sets.generated, sets.generated)


def test_too_few_images_for_one_metric_leave_the_others(measured: Measured, tmp_path: Path) -> None:
    few = write_pngs(tmp_path / "few", blocks(20, 3))
    found = measure(few, measured.generated, ["kid", "prdc"], setup=measured.setup)
    assert [figure.metric for figure in found.figures] == ["kid"]
    [(metric, reason)] = found.unscored
    assert metric == "prdc@1" and "at least 7 images" in reason
    with pytest.raises(DataError, match="at least 7 images"):
        measure(few, measured.generated, ["prdc"], setup=measured.setup)


@pytest.mark.parametrize(
    ("real", "generated", "metrics", "error", "sentence"),
    [
        ("real", "nowhere", ["kid"], ImageError, "nowhere"),
        ("real", "generated", ["kit"], UnknownName, "Unknown metric 'kit': .*known: cmmd-u@1"),
        ("real", "generated", ["fd-dinov2"], WeightsError, "hf download"),
    ],
)
def test_what_cannot_be_measured_is_said(
    measured: Measured, real: str, generated: str, metrics: list[str], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        measure(measured.folder / real, measured.folder / generated, metrics, setup=measured.setup)


def test_a_stopped_run_goes_on_where_it_stopped(measured: Measured, tmp_path: Path) -> None:
    """Whatever the progress raises reaches the caller; what was computed is in the cache."""
    setup = Setup(tmp_path / "cache")

    def stop(stage: str, done: int, total: int) -> None:
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(measured.real, measured.generated, ["fd-efficientnet-lite0"], setup=setup, progress=stop)
    again = measure(measured.real, measured.generated, ["fd-efficientnet-lite0"], setup=setup)
    assert 8 <= again.cached < 28
    assert again.figure("fd-efficientnet-lite0").value == measured.found.figure("fd-efficientnet-lite0").value
