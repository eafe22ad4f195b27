"""The same numbers as the real packages, run on the same files with the same weights.

pytorch-fid 0.3.0, clean-fid 0.1.35, torch-fidelity and torchmetrics do their own reading, resizing and network here;
only their downloads are replaced by the weights that this suite has, ported to each one's layout. Their features are
compared image by image, then their distance of their features with ours of ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
from PIL import Image

from evaluators import weights
from evaluators.distribution.cache import FeatureCache
from evaluators.distribution.extract import extract
from evaluators.distribution.features import open_extractor
from evaluators.distribution.frechet import frechet
from evaluators.distribution.measure import Setup, measure

# Network and resize are float32 in another order: 2e-6 of the largest feature is seen, bicubic a little more.
FEATURES = 2e-5
DISTANCE = 1e-5
SIDES = ("real", "generated")
Features = dict[str, np.ndarray]


def picture(seed: int, height: int, width: int, top: int) -> np.ndarray:
    """Blocks with noise: edges alias where a resize lets them, uint8 (h, w, 3)."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, top, (height // 7 + 1, width // 7 + 1, 3)).repeat(7, 0).repeat(7, 1)[:height, :width]
    return np.clip(cells + rng.integers(-16, 17, cells.shape), 0, 255).astype(np.uint8)


def write_set(folder: Path, seed: int, top: int) -> Path:
    """Larger, smaller and wider than the network's input; grey, palette, alpha, CMYK, JPEG and turned by EXIF."""
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    image = [
        Image.fromarray(picture(seed + n, *size, top))
        for n, size in enumerate(
            [(512, 512), (64, 64), (300, 500), (299, 299), (200, 130), (128, 128), (90, 90), (321, 123)]
        )
    ]
    image[0].save(folder / "0.png")
    image[1].convert("L").save(folder / "1.png")
    alpha = Image.fromarray(picture(seed + 90, 300, 500, 256)).convert("L")
    image[2].putalpha(alpha)
    image[2].save(folder / "2.png")
    image[3].quantize(32).save(folder / "3.png")
    image[4].save(folder / "4.jpg", quality=90)
    image[5].convert("CMYK").save(folder / "5.jpg", quality=95)
    image[6].save(folder / "6.png", exif=exif)
    image[7].save(folder / "7.png")
    return folder


def write_plain(folder: Path, seed: int, top: int) -> Path:
    """RGB as it is, with nothing to convert."""
    folder.mkdir()
    for n, size in enumerate([(512, 512), (64, 64), (300, 500), (299, 299), (200, 130), (321, 123)]):
        name, options = (f"{n}.jpg", {"quality": 90}) if n % 3 == 2 else (f"{n}.png", {})
        Image.fromarray(picture(seed + n, *size, top)).save(folder / name, **options)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("parity")
    return {side: write_set(root / side, 100 * n, 256 - 90 * n) for n, side in enumerate(SIDES)}


@pytest.fixture(scope="module")
def ported(weights_cache: Path) -> Path:
    return weights.inception(weights_cache).path


@pytest.fixture(autouse=True)
def _packages_of_another_time() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, of torch.jit and of scipy's sqrtm
        yield


@pytest.fixture(scope="module")
def ours(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Features]:
    """Our features of both folders by a recipe; computed once."""
    cache = FeatureCache(tmp_path_factory.mktemp("features"))

    def features(recipe: str) -> Features:
        extractor = open_extractor(recipe, batch_size=4)
        return {side: extract(folder, extractor, cache=cache).features for side, folder in folders.items()}

    return features


def assert_same_features(found: Features, expected: Features) -> None:
    for side in SIDES:
        scale = np.abs(expected[side]).max()
        np.testing.assert_allclose(found[side], expected[side], rtol=0, atol=FEATURES * scale)


def sqrtm(matrix: np.ndarray, disp: bool = True) -> tuple[np.ndarray, float] | np.ndarray:
    """scipy's, with the second value that scipy gave up to 1.17 and that pytorch-fid and clean-fid throw away."""
    root = scipy.linalg.sqrtm(matrix)
    return root if disp else (root, np.nan)


def in_their_span(features: Features) -> Features:
    """Rotated onto an orthonormal basis of the space that all of them span together.

    No Fréchet distance changes by that, and sqrtm and eigvals take milliseconds instead of seconds.
    """
    stacked = np.concatenate([features[side] for side in SIDES]).astype(np.float64)
    basis = np.linalg.qr(stacked.T)[0]
    return {side: features[side].astype(np.float64) @ basis for side in SIDES}


def their_distance(function: Callable[..., float], features: Features) -> float:
    moments = [(each.mean(axis=0), np.cov(each, rowvar=False)) for each in in_their_span(features).values()]
    return float(function(*moments[0], *moments[1]))


def test_pytorch_fid(folders, ours, ported, tmp_path, monkeypatch):
    import torch
    from pytorch_fid import fid_score
    from pytorch_fid.inception import InceptionV3

    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth").symlink_to(ported)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(fid_score, "linalg", SimpleNamespace(sqrtm=sqrtm))
    model = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[2048]])
    theirs = {
        side: fid_score.get_activations(sorted(folder.iterdir()), model, batch_size=1, num_workers=0)
        for side, folder in folders.items()
    }
    found = ours("inception-pytorch-fid@0.3")
    assert_same_features(found, theirs)
    distance = their_distance(fid_score.calculate_frechet_distance, theirs)
    assert frechet(found["real"], found["generated"]).value == pytest.approx(distance, rel=DISTANCE)


@pytest.fixture(scope="module")
def clean_fid(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Path]], tuple[Features, float]]:
    """clean-fid's features of both folders, and its distance of them."""
    import torch
    from cleanfid import fid
    from cleanfid.inception_torchscript import InceptionV3W

    # The same layers and tensors as in the file that clean-fid would download; only the resize is missing in it.
    folder = tmp_path_factory.mktemp("clean-fid")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.load(str(weights.find_inception().path))
        torch.jit.save(script.net, str(folder / "inception-2015-12-05.pt"))
        model = InceptionV3W(str(folder), download=False)

    def run(folders: dict[str, Path]) -> tuple[Features, float]:
        theirs = {
            side: fid.get_files_features(
                sorted(map(str, folder.iterdir())), model, num_workers=0, batch_size=4, device=torch.device("cpu"),
                verbose=False,
            )
            for side, folder in folders.items()
        }  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fid, "linalg", SimpleNamespace(sqrtm=sqrtm))
            return theirs, their_distance(fid.frechet_distance, theirs)

    return run


def test_clean_fid(folders, ours, clean_fid):
    theirs, distance = clean_fid(folders)
    found = ours("inception-clean-fid@0.1")
    assert_same_features(found, theirs)
    assert frechet(found["real"], found["generated"]).value == pytest.approx(distance, rel=DISTANCE)


def test_the_default_is_clean_fid_for_plain_rgb_files(clean_fid, tmp_path):
    """`fid-clean@1` as `arena fid` runs it, on PNG and JPEG files in RGB, larger and smaller than what is seen."""
    folders = {side: write_plain(tmp_path / side, 100 * n, 256 - 90 * n) for n, side in enumerate(SIDES)}
    theirs, distance = clean_fid(folders)
    found = measure(folders["real"], folders["generated"], ["fid-clean@1"], setup=Setup(tmp_path / "cache"))
    sets = found.sets["inception-clean@1"]
    assert_same_features({"real": sets.real.features, "generated": sets.generated.features}, theirs)
    assert found.figures[0].value == pytest.approx(distance, rel=DISTANCE)
    assert not found.converted and not found.dropped


def test_the_default_is_another_number_for_other_files(ours):
    """Alpha and EXIF turns are honoured by it and ignored by clean-fid, which is why it has a name of its own."""
    own, theirs = (frechet(*ours(name).values()).value for name in ("inception-clean@1", "inception-clean-fid@0.1"))
    assert abs(own / theirs - 1) > 100 * DISTANCE


def test_torch_fidelity(folders, ours, ported):
    import torch
    from torch_fidelity import metric_fid, utils

    options = {"feature_extractor_weights_path": str(ported), "verbose": False}
    network = utils.create_feature_extractor("inception-v3-compat", ["2048"], cuda=False, **options)
    chosen = {"batch_size": 1, "cuda": False, "cache": False, "save_cpu_ram": True, **options}
    theirs = {
        side: utils.extract_featuresdict_from_input_id(1, network, input1=str(folder), **chosen)["2048"].numpy()
        for side, folder in folders.items()
    }
    found = ours("inception-torch-fidelity@0.4")
    assert_same_features(found, theirs)
    statistics = [metric_fid.fid_features_to_statistics(torch.from_numpy(x)) for x in in_their_span(theirs).values()]
    distance = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)[metric_fid.KEY_METRIC_FID]
    assert frechet(found["real"], found["generated"]).value == pytest.approx(distance, rel=DISTANCE)


@pytest.mark.parametrize(("version", "antialias"), [("1.7", False), ("1.8", True)])
def test_torchmetrics(version, antialias, folders, ours, ported):
    """Up to 1.7 it had one resize; from 1.8 on it has another by default and the old one behind an option.

    It takes arrays, so it sees what our decoder makes of the files.
    """
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    from evaluators.images import decode

    metric = FrechetInceptionDistance(2048, feature_extractor_weights_path=str(ported), antialias=antialias)
    seen: list[np.ndarray] = []
    metric.inception.register_forward_hook(lambda network, inputs, out: seen.append(out.numpy()))
    for side, folder in folders.items():
        for file in sorted(folder.iterdir()):
            metric.update(torch.from_numpy(decode(file)).permute(2, 0, 1)[None], real=side == "real")
    count = len(seen) // 2
    theirs = {"real": np.concatenate(seen[:count]), "generated": np.concatenate(seen[count:])}
    found = ours(f"inception-torchmetrics@{version}")
    assert_same_features(found, theirs)
    # Its statistics are float64, its answer is cast to float32 at the very end.
    assert frechet(found["real"], found["generated"]).value == pytest.approx(float(metric.compute()), rel=DISTANCE)


def test_each_tool_gives_another_number_for_these_files(ours):
    """What the protocols keep apart is not small."""
    recipes = (
        "inception-clean@1",
        "inception-pytorch-fid@0.3",
        "inception-torch-fidelity@0.4",
        "inception-torchmetrics@1.8",
    )
    values = sorted(frechet(*ours(recipe).values()).value for recipe in recipes)
    assert all(high / low > 1.002 for low, high in pairwise(values))
