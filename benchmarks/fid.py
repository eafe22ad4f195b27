"""FID, whole commands side by side on the same images and weights: `make bench-fid` prints the table.

2 x 1,000 seeded images of 512 x 512 are drawn as PNG files (--n, --size and --format make others). Then every tool is
run as its user runs it, one process after the other, from the command to the printed distance, loading included:

- pytorch-fid 0.3.0: `python -m pytorch_fid REAL GENERATED`, all by default.
- clean-fid 0.1.35: `fid.compute_fid(REAL, GENERATED, mode="clean")`, as many workers as cores instead of its 12.
- torch-fidelity 0.4.0: `fidelity --fid --no-cache`, all by default.
- ours: `arena fid REAL GENERATED`, with the engines torch and OpenVINO, as each of the peers and as draft; at last
  once more on the same folders, when every feature is in the cache.

The peers' own code reads, resizes and computes; they get the weights that we use, in place of their downloads, and
hand out their features on the way. A peer whose SciPy has lost `sqrtm(disp=)` gets that argument back. Printed are
seconds and images a second of the whole command, its processors' seconds, how often ours goes into the peer's time,
peak memory of its largest process, the distance, and the largest difference between its features and the peer's, as a
share of the largest feature. One run each; on a busy machine only the processors' seconds mean much.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from evaluators import weights
from evaluators.distribution.cache import FeatureCache
from evaluators.distribution.extract import extract
from evaluators.distribution.features import open_extractor
from evaluators.distribution.recipes import METRICS

SIDES = ("real", "generated")
BIN = Path(sys.executable).parent
# The peers' programs. argv: the two folders, the folder of weights, the file for their features.
SQRTM = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np, scipy.linalg
real, generated, weights, out = sys.argv[1:5]
root = scipy.linalg.sqrtm
if "disp" not in root.__code__.co_varnames:
    scipy.linalg.sqrtm = lambda matrix, disp=True: root(matrix) if disp else (root(matrix), float("nan"))
kept = []
def keep(function):
    def call(*arguments, **options):
        kept.append(function(*arguments, **options))
        np.save(out, np.stack([np.asarray(each) for each in kept]))
        return kept[-1]
    return call
"""
PYTORCH_FID = """
import torch
torch.hub.set_dir(weights)
from pytorch_fid import fid_score
fid_score.get_activations = keep(fid_score.get_activations)
sys.argv = ["pytorch_fid", real, generated]
fid_score.main()
"""
CLEAN_FID = """
import os, torch
from cleanfid import fid
from cleanfid.inception_torchscript import InceptionV3W
fid.get_folder_features = keep(fid.get_folder_features)
network = InceptionV3W(weights, download=False)
print("FID:", fid.compute_fid(real, generated, mode="clean", custom_feat_extractor=network, device=torch.device("cpu"),
                              num_workers=os.cpu_count()))
"""
TORCH_FIDELITY = """
from torch_fidelity import fidelity, utils
get = utils.get_featuresdict_from_dataset
features = keep(lambda *arguments: get(*arguments)["2048"])
def both(*arguments):
    import torch
    return {"2048": torch.as_tensor(features(*arguments))}
utils.get_featuresdict_from_dataset = both
sys.argv = ["fidelity", "--fid", "--no-cache", "--no-samples-shuffle", "--input1", real, "--input2", generated,
            "--feature-extractor-weights-path", weights + "/checkpoints/pt_inception-2015-12-05-6726825d.pth"]
fidelity.main()
"""
PEERS = {
    "pytorch-fid": (PYTORCH_FID, "fid-pytorch@0.3"),
    "clean-fid": (CLEAN_FID, "fid-clean-fid@0.1"),
    "torch-fidelity": (TORCH_FIDELITY, "fid-torch-fidelity@0.4"),
}
# Our rows: what they are called, protocol, engine, the peer whose features they must have.
OURS = (
    ("arena fid", "fid-clean@1", "torch", "clean-fid"),
    ("arena fid", "fid-clean@1", "openvino", "clean-fid"),
    ("arena fid", "fid-pytorch@0.3", "torch", "pytorch-fid"),
    ("arena fid", "fid-pytorch@0.3", "openvino", "pytorch-fid"),
    ("arena fid", "fid-torch-fidelity@0.4", "openvino", "torch-fidelity"),
    ("arena fid", "fid-clean-draft@1", "torch", "clean-fid"),
    ("arena fid", "fid-clean-draft@1", "openvino", "clean-fid"),
)
# Heads and widths of the table.
COLUMNS = {
    "": -42, "seconds": 8, "images/s": 9, "CPU s": 7, **{f"x {name}": len(name) + 3 for name in PEERS},
    "MiB": 6, "FID": 12, "features": 9,
}  # fmt: skip
SECOND = "openvino"
"""The engine whose cache the second run finds full."""


@dataclass(frozen=True)
class Cost:
    """Seconds of wall time, seconds of processors (children too), peak MiB of the largest process."""

    seconds: float
    cpu: float
    peak: float


@dataclass(frozen=True)
class Row:
    """A whole command: seconds of wall time and of processors, peak MiB, distance, features (2, n, 2048)."""

    name: str
    cost: Cost
    fid: float
    features: np.ndarray | None
    peer: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description="FID tools side by side, whole commands.")
    parser.add_argument("--n", type=int, default=1000, help="images in each of the two sets")
    parser.add_argument("--size", type=int, default=512, help="their height and width in pixels")
    parser.add_argument("--format", choices=("png", "jpg"), default="png")
    parser.add_argument("--only", nargs="*", help="names of peers, protocols or engines; by default all")
    parser.add_argument("--folder", type=Path, help="draw the images there and keep them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        folders = draw_sets(options.folder or work / "images", options.n, options.size, options.format)
        print(facts(options))
        print(cells(*COLUMNS))
        rows: list[Row] = []
        for row in run_all(folders, work, options.only):
            rows.append(row)
            print(line(row, rows, 2 * options.n), flush=True)


def facts(options: argparse.Namespace) -> str:
    names = ("torch", "openvino", "pytorch-fid", "clean-fid", "torch-fidelity", "pillow", "scipy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"2 x {options.n} {options.format} of {options.size} x {options.size}; {os.cpu_count()} cores, {processor()}; "
        f"Python {platform.python_version()}, {versions}"
    )


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def line(row: Row, rows: Sequence[Row], images: int) -> str:
    peers = {other.name: other for other in rows if other.name in PEERS}
    ratios = [peers[name].cost.seconds / row.cost.seconds if name in peers else None for name in PEERS]
    return cells(
        row.name,
        f"{row.cost.seconds:.1f}",
        f"{images / row.cost.seconds:.1f}",
        f"{row.cost.cpu:.1f}",
        *("" if row.name in PEERS or ratio is None else f"{ratio:.1f}" for ratio in ratios),
        f"{row.cost.peak:.0f}",
        f"{row.fid:.6f}",
        difference(row, peers[row.peer]) if row.peer in peers else "",
    )


def cells(*texts: str) -> str:
    widths = COLUMNS.values()
    return " ".join(f"{t:>{w}}" if w > 0 else f"{t:<{-w}}" for t, w in zip(texts, widths, strict=True)).rstrip()


def difference(row: Row, peer: Row) -> str:
    if row.features is None or peer.features is None:
        return ""
    return f"{np.abs(row.features - peer.features).max() / np.abs(peer.features).max():.1e} from {peer.name}'s"


def run_all(folders: dict[str, Path], work: Path, only: Sequence[str] | None) -> Iterator[Row]:
    models = prepare_weights(work / "weights")
    for name, (program, protocol) in PEERS.items():
        if not only or {name, protocol} & set(only):
            yield run_peer(name, program, folders, models, work)
    for name, protocol, engine, peer in OURS:
        if not only or {peer, protocol, engine} & set(only):
            yield run_ours(f"{name}, {protocol}, {engine}", protocol, engine, peer, folders, work / engine)
            if (protocol, engine) == ("fid-clean@1", SECOND):
                yield run_ours(f"{name}, {protocol}, second run", protocol, engine, peer, folders, work / engine)


def prepare_weights(folder: Path) -> Path:
    """Inception for each peer, in its layout, in one folder."""
    import torch

    (folder / "checkpoints").mkdir(parents=True)
    ported = weights.inception(folder).path
    (folder / "checkpoints" / weights.OFFICIAL_NAMES[0]).symlink_to(ported)
    script = torch.jit.load(str(weights.find_inception().path))  # the layers of the file that clean-fid downloads
    torch.jit.save(script.net, str(folder / "inception-2015-12-05.pt"))
    return folder


def run_peer(name: str, program: str, folders: dict[str, Path], models: Path, work: Path) -> Row:
    out = work / f"{name}.npy"
    command = [sys.executable, "-c", SQRTM + program, *map(str, folders.values()), str(models), str(out)]
    cost, printed = timed(command)
    value = float(printed.replace(":", " ").split()[-1])
    return Row(name, cost, value, np.load(out))


def run_ours(name: str, protocol: str, engine: str, peer: str, folders: dict[str, Path], data: Path) -> Row:
    command = [BIN / "arena", "fid", *folders.values(), "--protocol", protocol, "--engine", engine, "--json"]
    cost, printed = timed([*map(str, command), "--data-dir", str(data)])
    extractor = open_extractor(METRICS[protocol].features, engine=engine)
    with FeatureCache(data / "cache") as cache:
        sets = [extract(folder, extractor, cache=cache) for folder in folders.values()]
    assert all(each.cached == len(each) for each in sets)
    return Row(name, cost, json.loads(printed)["fid"], np.stack([each.features for each in sets]), peer)


def timed(command: Sequence[str]) -> tuple[Cost, str]:
    """What it took, and what it printed."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise SystemExit(f"{command[:3]} failed:\n{err.read()[-3000:]}")
        return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024), out.read()


def draw_sets(folder: Path, count: int, size: int, form: str) -> dict[str, Path]:
    folders = {side: folder / side for side in SIDES}
    jobs = [(folders[side] / f"{n:05}.{form}", n, side, size) for side in SIDES for n in range(count)]
    for path in folders.values():
        path.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda job: draw(*job), [job for job in jobs if not job[0].exists()]))
    return folders


def draw(path: Path, number: int, side: str, size: int) -> None:
    """A picture with light, texture and shapes; the generated ones have less texture and other colours."""
    rng = np.random.default_rng([number, SIDES.index(side)])
    fine = 0.6 if side == "real" else 0.4
    field = np.zeros((size, size, 3), np.float32)
    for octave in range(1, 8):
        cells = rng.normal(0, fine**octave, (2**octave, 2**octave, 3)).astype(np.float32)
        field += np.stack([enlarged(cells[..., channel], size) for channel in range(3)], axis=2)
    field = 128 + 90 * field + rng.normal(0, 5, field.shape)
    tint = np.array([10, 0, -10] if side == "real" else [-5, 5, 15])
    image = Image.fromarray(np.clip(field + tint, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.integers(1, 6)):
        x, y = rng.integers(0, size, 2)
        width, height = rng.integers(size // 16, size // 3, 2)
        shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        shape((int(x), int(y), int(x + width), int(y + height)), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    image.save(path, quality=92)


def enlarged(cells: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(cells).resize((size, size), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main()
