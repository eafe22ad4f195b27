"""How long does a Fréchet distance of 2,048 dimensions take, here and elsewhere? `make bench-frechet` prints ratios.

Skewed features as after a network's last ReLU. Both sides of a row start from the same: from statistics, peers get
finished means and covariances and ours gets them too; from features, peers make means and covariances with numpy, as
pytorch-fid does, and that is part of their time; with a prepared reference, only the generated ones. Times are the
least of several in this one run: wall seconds, and CPU seconds in brackets, which another program on the machine
disturbs less. Ratios are the peer's time over ours, by wall and by CPU.

- sqrtm: trace of `scipy.linalg.sqrtm(S1 S2)`, as pytorch-fid, clean-fid and dgm-eval have it.
- numpy eigvals: sum of roots of `numpy.linalg.eigvals(S1 S2)`, as torch-fidelity has it.
- torch eigvals: the same by torch, as torchmetrics has it.

`--drivers` compares what LAPACK offers for our steps in numpy, scipy and torch: why dsygst and dsyevd are taken.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

DIM = 2048
SIZES = ((10_000, 5_000), (5_000, 1_000), (1_000, 1_000), (5_000, 256), (256, 256))


class Timed(NamedTuple):
    wall: float
    cpu: float
    answer: Any

    def __str__(self) -> str:
        return f"{self.wall:.3f} ({self.cpu:.3f})"


def best(work: Callable[[], Any], repeats: int) -> Timed:
    """Least wall and CPU seconds, and the answer."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        answer = work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Timed(min(walls), min(cpus), answer)


def features(n: int, seed: int, shift: float = 0.0) -> Any:
    import numpy as np

    rng, shared = np.random.default_rng(seed), np.random.default_rng(7)
    weights = shared.standard_normal((DIM, DIM)) * ((1 + np.arange(DIM)) ** -0.55)[:, None] * 8 / np.sqrt(DIM)
    return np.maximum((rng.standard_normal((n, DIM)) + shift) @ weights + 0.05, 0).astype(np.float32)


def peers() -> dict[str, Callable[[Any, Any], float]]:
    import numpy as np
    import torch
    from scipy import linalg

    def rest(a: Any, b: Any) -> float:
        return ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance) + np.trace(b.covariance)

    def sqrtm(a: Any, b: Any) -> float:
        return rest(a, b) - 2 * np.trace(linalg.sqrtm(a.covariance @ b.covariance).real)

    def numpy_eigvals(a: Any, b: Any) -> float:
        values = np.linalg.eigvals(a.covariance @ b.covariance)
        return rest(a, b) - 2 * np.sqrt(values.astype(complex)).real.sum()

    def torch_eigvals(a: Any, b: Any) -> float:
        product = torch.from_numpy(a.covariance) @ torch.from_numpy(b.covariance)
        return rest(a, b) - 2 * float(torch.linalg.eigvals(product).sqrt().real.sum())

    return {"scipy sqrtm": sqrtm, "numpy eigvals": numpy_eigvals, "torch eigvals": torch_eigvals}


def compare(n_real: int, n_generated: int, repeats: int) -> None:
    import numpy as np

    from evaluators.distribution.frechet import frechet, prepare
    from evaluators.distribution.statistics import of_features

    x, y = features(n_real, 1), features(n_generated, 2, 0.3)
    a, b = of_features(x).moments, of_features(y).moments
    reference = prepare(x)
    frechet(reference, y)  # the reference's factor is made once
    ours = {
        "from statistics": best(lambda: frechet(a, b), repeats),
        "from features": best(lambda: frechet(x, y), repeats),
        "from features, reference prepared": best(lambda: frechet(reference, y), repeats),
    }
    theirs = {name: best(lambda peer=peer: peer(a, b), 1) for name, peer in peers().items()}
    made = [best(lambda each=each: (each.mean(axis=0), np.cov(each, rowvar=False)), repeats) for each in (x, y)]
    before = {
        "from statistics": (0.0, 0.0),
        "from features": (made[0].wall + made[1].wall, made[0].cpu + made[1].cpu),
        "from features, reference prepared": (made[1].wall, made[1].cpu),
    }
    for name, mine in ours.items():
        found, (wall, cpu) = mine.answer, before[name]
        ratios = " | ".join(
            f"{(peer.wall + wall) / mine.wall:.1f} ({(peer.cpu + cpu) / mine.cpu:.1f})" for peer in theirs.values()
        )
        apart = max(abs(peer.answer - found.value) / found.value for peer in theirs.values())
        print(
            f"| {n_real:,} / {n_generated:,} | {name} | {found.path} | {mine} | {ratios} | {found.value:.6f} "
            f"| {apart:.0e} |",
            flush=True,
        )


def exactness() -> None:
    """pytorch-fid's own case, and a set against itself."""
    import numpy as np

    from evaluators.distribution.frechet import frechet
    from evaluators.distribution.statistics import Moments, of_features

    apart = frechet(Moments(np.zeros(DIM), np.eye(DIM)), Moments(np.ones(DIM), np.eye(DIM)))
    print(f"\nMeans 0 and 1, covariances the identity, {DIM} dimensions: {apart.value!r} (exactly {DIM})")
    for n in (5_000, 1_000):
        x = features(n, 1)
        statistics = of_features(x)
        kept, alone = frechet(x, x.copy()), frechet(statistics, statistics)
        print(
            f"{n:,} features against themselves, over the trace: {kept.value / kept.trace_term:.1e} with features "
            f"({kept.path}), {alone.value / alone.trace_term:.1e} from statistics ({alone.path})"
        )


def drivers(repeats: int) -> None:
    import numpy as np
    import torch
    from scipy import linalg

    x, y = features(6_000, 1).astype(np.float64), features(5_000, 2, 0.3).astype(np.float64)
    a, b = np.cov(x.T), np.cov(y.T)
    lower = linalg.cholesky(a, lower=True)
    matrix = lower.T @ b @ lower
    tensors = {"a": torch.from_numpy(a), "b": torch.from_numpy(b), "l": torch.from_numpy(lower)}
    tensors["m"] = torch.from_numpy(matrix)
    steps = {
        "Cholesky, numpy": lambda: np.linalg.cholesky(a),
        "Cholesky, scipy": lambda: linalg.cholesky(a, lower=True, check_finite=False),
        "Cholesky, torch": lambda: torch.linalg.cholesky(tensors["a"]),
        "L'SL, numpy (two products)": lambda: lower.T @ b @ lower,
        "L'SL, scipy dsygst": lambda: linalg.lapack.dsygst(b, lower, itype=2, lower=1),
        "L'SL, torch (two products)": lambda: tensors["l"].T @ tensors["b"] @ tensors["l"],
        "eigenvalues, numpy (dsyevd)": lambda: np.linalg.eigvalsh(matrix),
        **{
            f"eigenvalues, scipy dsy{driver}": lambda driver=driver: linalg.eigh(
                matrix, eigvals_only=True, driver=driver, check_finite=False
            )
            for driver in ("ev", "evd", "evr")
        },
        "eigenvalues, torch": lambda: torch.linalg.eigvalsh(tensors["m"]),
        "with vectors, numpy": lambda: np.linalg.eigh(matrix),
        "with vectors, scipy dsyevd": lambda: linalg.eigh(matrix, driver="evd", check_finite=False),
        "with vectors, scipy dsyevr": lambda: linalg.eigh(matrix, driver="evr", check_finite=False),
        "with vectors, torch": lambda: torch.linalg.eigh(tensors["m"]),
    }
    print("\n| step | seconds |\n|---|--:|")
    for name, step in steps.items():
        print(f"| {name} | {best(step, repeats)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--drivers", action="store_true", help="also the steps by numpy, scipy and torch")
    options = parser.parse_args()
    if "numpy" in sys.modules:
        raise SystemExit("numpy is loaded already, and takes its number of threads when it loads: run this as a script")
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    import numpy
    import scipy
    import torch

    torch.set_num_threads(options.threads)
    print(
        f"{DIM} dimensions, {options.threads} threads, best of {options.repeats} (peers 1); numpy {numpy.__version__}, "
        f"scipy {scipy.__version__}, torch {torch.__version__}\n"
    )
    print("| real / generated | ours | path | seconds | scipy sqrtm | numpy eigvals | torch eigvals | distance "
          "| largest difference |\n|---|---|---|--:|--:|--:|--:|--:|--:|")  # fmt: skip
    for sizes in SIZES:
        compare(*sizes, options.repeats)
    exactness()
    if options.drivers:
        drivers(options.repeats)


if __name__ == "__main__":
    main()
