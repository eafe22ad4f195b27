"""FID against torchmetrics itself, against torch-fidelity's network with plain numpy, and against closed forms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena.errors import EnvironmentFault, ImageError, UsageError, WeightsError
from arena.plugins import resolve
from evaluators import EVALUATORS, weights
from evaluators.distribution.fid import (
    FidResult,
    batches_of_equal_size,
    distance,
    fid,
    import_fault,
    protocol,
)

from .conftest import blocks, write_pngs

# float32 features in another order of batches differ by about 1e-6 of the largest; the distance follows.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Measured:
    """One run over folders with everything in them that may happen, and the same images in memory."""

    result: FidResult
    real: list[np.ndarray]
    generated: list[np.ndarray]
    calls: list[tuple[str, int, int]]
    cache: Path


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, weights_cache: Path) -> Measured:
    """8 images of two sizes against 8 darker ones with a bad file between them."""
    folder = tmp_path_factory.mktemp("sets")
    sizes = blocks(20, 4), blocks(21, 4, (64, 40))
    real = [image for pair in zip(*sizes, strict=True) for image in pair]
    generated = blocks(22, 8, (304, 304), top=180)
    write_pngs(folder / "real", real)
    write_pngs(folder / "generated", generated)
    (folder / "generated" / "0003b.png").write_text("no image")
    calls: list[tuple[str, int, int]] = []
    result = fid(
        folder / "real", folder / "generated", cache_dir=weights_cache, progress=lambda *call: calls.append(call)
    )
    return Measured(result, real, generated, calls, weights_cache)


def plain_frechet(x: np.ndarray, y: np.ndarray) -> float:
    """From features (n, d) in float64: tr (C1 C2)^(1/2) is the sum of singular values of X Y^T, centred and scaled."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    a = (x - x.mean(0)) / np.sqrt(len(x) - 1)
    b = (y - y.mean(0)) / np.sqrt(len(y) - 1)
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * root)


def tensor(images: list[np.ndarray]) -> Any:
    import torch

    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def tiny_metric(dimensions: int) -> Any:
    """torchmetrics' own class with a network that hands the "images" on: features are given, the rest is real."""
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    network = torch.nn.Identity()
    network.num_features = dimensions  # type: ignore[assignment]
    return FrechetInceptionDistance(feature=network)


def distance_of(x: np.ndarray, y: np.ndarray) -> float:
    import torch

    metric = tiny_metric(x.shape[1])
    metric.update(torch.from_numpy(x), real=True)
    metric.update(torch.from_numpy(y), real=False)
    return distance(metric)


@pytest.fixture(scope="module")
def direct(measured: Measured) -> tuple[float, np.ndarray, np.ndarray]:
    """torchmetrics' own class in its own layout, run by hand: its distance, and its features, float32 (n, 2048)."""
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    path = str(weights.inception(measured.cache).path)
    metric = FrechetInceptionDistance(feature=2048, feature_extractor_weights_path=path)
    features: list[Any] = []
    metric.inception.register_forward_hook(lambda network, images, out: features.append(out))
    metric.update(tensor(measured.real[::2]), real=True)
    metric.update(tensor(measured.real[1::2]), real=True)
    metric.update(tensor(measured.generated), real=False)
    metric.orig_dtype = torch.float64
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # eigenvalues on a busy machine
    value = float(metric.compute())
    torch.set_num_threads(threads)
    return value, torch.cat(features[:2]).numpy(), features[2].numpy()


def test_same_number_as_torchmetrics_run_directly(measured: Measured, direct):
    assert measured.result.fid == pytest.approx(direct[0], rel=1e-6)


def test_same_number_as_plain_numpy_on_its_features(measured: Measured, direct):
    """Tolerance: torchmetrics' roots of some 2000 zero eigenvalues, each about 1e-8 (the rank is below 8 here)."""
    _, real, generated = direct
    assert measured.result.fid == pytest.approx(plain_frechet(real, generated), rel=ROUNDING)


def test_same_features_as_torch_fidelity_where_no_resize_takes_part(measured: Measured, weights_cache: Path):
    """Smooth images of 299x299: what differs between the two tools is the resize, not the network or the weights."""
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torchmetrics.image.fid import NoTrainInceptionV3

    path = str(weights.inception(weights_cache).path)
    rows, columns = np.mgrid[0:299, 0:299]
    image = np.stack([rows * 255 // 298, columns * 255 // 298, (rows + columns) * 255 // 596], axis=-1).astype(np.uint8)
    images = tensor([image, image[::-1]])
    network = ("inception-v3-compat", ["2048"])
    with torch.no_grad():
        ours = NoTrainInceptionV3(*network, feature_extractor_weights_path=path)(images)
        (theirs,) = FeatureExtractorInceptionV3(*network, feature_extractor_weights_path=path)(images)
    assert (ours - theirs).abs().max() < 1e-3 * theirs.abs().max()


def test_symmetric_and_independent_of_order_and_batches(measured: Measured):
    """Sides swapped, images reversed, batches of 5: through the evaluator's door, from arrays."""
    evaluator = resolve("evaluator", EVALUATORS, "fid")(cache_dir=measured.cache, batch_size=5)
    score = evaluator.score(measured.generated[::-1], measured.real[::-1], subject="swapped", contestant_id=7)
    assert score.value == pytest.approx(measured.result.fid, rel=ROUNDING)
    assert (score.subject, score.metric, score.contestant_id) == ("swapped", "fid", 7)
    assert score.protocol == measured.result.protocol


def test_result_carries_what_is_needed_to_defend_it(measured: Measured):
    result = measured.result
    assert (result.n_real, result.n_generated) == (8, 8)
    assert [path for path, _ in result.dropped] == ["generated: 0003b.png"]
    assert result.converted == ()
    assert len(result.warnings) == 2
    assert "N = 8 < 2048" in result.warnings[0]
    assert "1 of 9 generated images were dropped" in result.warnings[1]
    assert result.weights_sha256 == weights.TORCHSCRIPT_SHA256
    assert result.protocol.settings["weights_sha256"] == weights.TORCHSCRIPT_SHA256
    assert result.protocol.id.startswith("fid-torchmetrics@1.")
    assert result.seconds > 0


def test_json_has_exactly_these_keys(measured: Measured):
    printed = json.loads(json.dumps(measured.result.as_json()))
    assert set(printed) == {"fid", "n_real", "n_generated", "protocol", "fingerprint", "seconds"}
    assert printed["fid"] == measured.result.fid
    assert printed["protocol"] == measured.result.protocol.id
    assert len(printed["fingerprint"]) == 64


def test_score_lists_dropped_files(measured: Measured):
    score = measured.result.as_score("a set", run_id=3)
    assert score.value == measured.result.fid
    assert set(score.details) == {"n_real", "n_generated", "weights_sha256", "seconds", "dropped"}
    assert score.details["dropped"][0][0] == "generated: 0003b.png"
    assert score.run_id == 3


def test_progress_is_told_of_every_batch(measured: Measured):
    stages = list(dict.fromkeys(stage for stage, _, _ in measured.calls))
    assert stages == [
        "reading real", "reading generated", "loading Inception", "real features", "generated features", "distance"
    ]  # fmt: skip
    features = [(done, total) for stage, done, total in measured.calls if stage == "real features"]
    assert features == [(4, 8), (8, 8)]  # one batch of each size
    assert ("reading generated", 9, 9) in measured.calls


class Cancelled(Exception):
    """What a caller raises in `progress`."""


def test_what_progress_raises_stops_the_reading(tmp_path):
    def stop(stage: str, done: int, total: int) -> None:
        raise Cancelled

    folder = write_pngs(tmp_path / "set", blocks(23, 3))
    with pytest.raises(Cancelled):
        fid(folder, folder, cache_dir=tmp_path, progress=stop)


def test_what_progress_raises_stops_the_features_and_an_iterator_is_read_no_further(weights_cache):
    calls = []

    def stop(stage: str, done: int, total: int) -> None:
        calls.append((stage, done, total))
        if stage == "generated features":
            raise Cancelled

    left_over = iter(blocks(33, 9))
    with pytest.raises(Cancelled):
        fid(left_over, blocks(34, 3), cache_dir=weights_cache, limit=2, progress=stop)
    assert ("real features", 2, 0) in calls  # an iterator has no length
    assert ("generated features", 2, 2) in calls
    assert len(list(left_over)) == 7


def test_protocol_changes_with_the_weights_and_the_recipe_is_in_it():
    one, other = protocol("a" * 64), protocol("b" * 64)
    assert one.fingerprint != other.fingerprint
    assert one == protocol("a" * 64)
    assert one.settings["resize"]["antialias"] is True
    assert set(one.settings["packages"]) == {"torchmetrics", "torch-fidelity", "torch", "pillow"}
    assert one.settings["decode"]["alpha"] == "composited on white"


def test_distance_of_commuting_gaussians_is_the_closed_form():
    """Same axes, spreads a and b: |m1 - m2|^2 + sum (sqrt a - sqrt b)^2. Exact samples, so only rounding is left."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 6))
    x -= x.mean(0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T  # sample covariance is the identity
    axes, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    a, b = rng.uniform(0.5, 2, 6), rng.uniform(0.5, 2, 6)
    shift = rng.standard_normal(6)
    found = distance_of(white * np.sqrt(a) @ axes.T, white * np.sqrt(b) @ axes.T + shift)
    assert found == pytest.approx((shift**2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum(), rel=1e-10)


def test_distance_to_itself_is_zero_and_swapping_changes_nothing():
    rng = np.random.default_rng(1)
    x, y = rng.random((50, 8)), rng.random((40, 8)) ** 2
    assert distance_of(x, x) == pytest.approx(0, abs=1e-12)
    assert distance_of(x, y) == pytest.approx(distance_of(y, x), rel=1e-10)
    assert distance_of(x, y) == pytest.approx(plain_frechet(x, y), rel=1e-10)
    assert distance_of(x[:5], y[:5]) == pytest.approx(plain_frechet(x[:5], y[:5]), rel=1e-5)  # rank below 8


def test_float32_features_keep_a_float64_distance():
    rng = np.random.default_rng(2)
    x, y = rng.random((50, 8), dtype=np.float32), rng.random((50, 8), dtype=np.float32) + np.float32(0.01)
    found = distance_of(x, y)
    assert found == pytest.approx(plain_frechet(x, y), rel=1e-9)
    assert found != float(np.float32(found))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_give_no_number(bad):
    x = np.random.default_rng(3).random((20, 4))
    y = x.copy()
    y[3, 2] = bad
    with pytest.raises(
        EnvironmentFault, match="The generated features came out as NaN or infinite, so there is no FID"
    ):
        distance_of(x, y)


def test_batches_group_sizes_and_lose_nothing():
    images = [*blocks(30, 5), *blocks(31, 4, (16, 24)), *blocks(32, 3)]
    shuffled = [images[i] for i in np.random.default_rng(0).permutation(len(images))]
    batches = list(batches_of_equal_size(iter(shuffled), 3))
    assert sorted(batch.shape for batch in batches) == [
        (1, 16, 24, 3), (2, 48, 48, 3), (3, 16, 24, 3), (3, 48, 48, 3), (3, 48, 48, 3)
    ]  # fmt: skip
    assert sorted(image.tobytes() for batch in batches for image in batch) == sorted(i.tobytes() for i in images)


def test_batches_of_large_images_are_smaller():
    large = [np.zeros((4096, 4096, 3), np.uint8)] * 5
    assert [len(batch) for batch in batches_of_equal_size(large, 32)] == [2, 2, 1]


def test_many_sizes_do_not_pile_up():
    wide = (np.zeros((1024, 1024 + n, 3), np.uint8) for n in range(80))
    first = next(batches_of_equal_size(wide, 32))
    assert first.shape[0] == 1
    assert len(list(wide)) > 40  # the rest was not read yet


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8, 3)), np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)],
)
def test_arrays_that_are_no_images_are_refused(image):
    with pytest.raises(ImageError, match="give uint8 RGB arrays"):
        list(batches_of_equal_size([image], 2))


@pytest.mark.parametrize(("real", "generated", "side"), [(1, 2, "real"), (2, 1, "generated"), (0, 0, "real")])
def test_arrays_need_two_images(tmp_path, real, generated, side):
    with pytest.raises(ImageError, match=f"The {side} set has {[real, generated][side == 'generated']} image"):
        fid(blocks(33, real), blocks(34, generated), cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"batch_size": 0}, UsageError, "batch_size must be at least 1, got 0"),
        ({"limit": 1}, UsageError, "limit must be at least 2 images, got 1"),
        ({"device": "gpu"}, UsageError, "Unknown device 'gpu'"),
        ({"device": "mps"}, UsageError, "needs float64"),
        ({"device": "cuda:99"}, EnvironmentFault, "No device 'cuda:99'"),
        ({"weights": "nowhere.pth"}, WeightsError, "No weights file nowhere.pth"),
    ],
)
def test_bad_arguments_are_one_sentence(weights_cache, options, error, reason):
    with pytest.raises(error, match=reason):
        fid(blocks(35, 2), blocks(36, 2), cache_dir=weights_cache, **options)


def test_bad_folders_are_found_before_anything_slow(tmp_path):
    good = write_pngs(tmp_path / "good", blocks(37, 2))
    calls: list[str] = []
    with pytest.raises(ImageError, match="nowhere"):
        fid(good, tmp_path / "nowhere", cache_dir=tmp_path, progress=lambda stage, *_: calls.append(stage))
    assert set(calls) == {"reading real"}


def test_mismatched_torchvision_is_one_clear_sentence():
    fault = import_fault(RuntimeError("operator torchvision::nms does not exist\nat somewhere"))
    assert isinstance(fault, EnvironmentFault)
    assert "not a pair" in str(fault)
    assert "pip install torch==2.15.0 torchvision==0.29.2" in str(fault)
    assert "\n" not in str(fault)


def test_missing_package_is_named():
    fault = import_fault(ModuleNotFoundError("No module named 'torch_fidelity'"))
    assert "torch_fidelity" in str(fault)
    assert "pip install" in str(fault)
