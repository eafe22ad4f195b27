"""The torchmetrics classes against the functions they stand for, alone and in two processes."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from arena.errors import DataError, UsageError
from evaluators.distribution.frechet import frechet
from evaluators.distribution.kernel import kid
from evaluators.distribution.metrics import FrechetDistance, KernelDistance
from evaluators.distribution.statistics import of_features

ROOT = Path(__file__).parents[3]
DIM = 6
# Sums in another order differ by rounding of float64, and the terms of KID are a thousand times their sum here.
ROUNDING = 1e-11
CLASSES = [
    (FrechetDistance, lambda x, y: frechet(of_features(x), of_features(y)).value),
    (KernelDistance, lambda x, y: kid(x, y).value),
]


@pytest.fixture(scope="module")
def sets() -> tuple[torch.Tensor, torch.Tensor]:
    """Float32 features with a mean far from zero, where sums of squares would lose digits."""
    rng = np.random.default_rng(0)
    real = (10 + rng.standard_normal((41, DIM))).astype(np.float32)
    generated = (10.5 + 1.2 * rng.standard_normal((33, DIM))).astype(np.float32)
    return torch.from_numpy(real), torch.from_numpy(generated)


def filled(metric, sets, batch: int = 7):
    for side, real in zip(sets, (True, False), strict=True):
        for part in side.split(batch):
            metric.update(part, real=real)
    return metric


@pytest.mark.parametrize(("make", "expected"), CLASSES)
def test_batches_give_what_the_function_gives(make, expected, sets):
    found = filled(make(DIM), sets).compute()
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(expected(*(each.numpy() for each in sets)), rel=ROUNDING)


@pytest.mark.parametrize(("make", "expected"), CLASSES)
def test_states_of_two_merge_and_survive_a_pickle(make, expected, sets):
    first = filled(make(DIM), [each[:20] for each in sets])
    second = pickle.loads(pickle.dumps(filled(make(DIM), [each[20:] for each in sets])))
    first.merge_state(second)
    assert first.compute().item() == pytest.approx(expected(*(each.numpy() for each in sets)), rel=ROUNDING)


@pytest.mark.parametrize(("make", "expected"), CLASSES)
def test_forward_gives_the_batch_and_keeps_the_whole(make, expected, sets):
    metric = make(DIM)
    real, generated = (each.numpy() for each in sets)
    metric.update(sets[0], real=True)
    with pytest.raises(DataError):
        metric(sets[1][:20], real=False)  # the batch alone has no real side
    metric = filled(make(DIM, reset_real=False), sets)
    metric.reset()
    metric.update(sets[1][:20], real=False)
    assert metric.compute().item() == pytest.approx(expected(real, generated[:20]), rel=ROUNDING)


def test_reset_forgets_both_sides(sets):
    metric = filled(FrechetDistance(DIM), sets)
    metric.reset()
    with pytest.warns(UserWarning, match="before the ``update``"), pytest.raises(DataError, match="at least 1 image"):
        metric.compute()


def test_checkpoint_holds_the_state_where_it_is_persistent(sets):
    metric = filled(FrechetDistance(DIM), sets)
    metric.persistent(True)
    other = FrechetDistance(DIM)
    other.persistent(True)
    other.load_state_dict(metric.state_dict())
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert other.compute().item() == metric.compute().item()


def test_an_extractor_is_applied_and_half_precision_around_does_not_touch_the_state(sets):
    network = torch.nn.Linear(DIM, 3).double()
    metric = FrechetDistance(3, extractor=lambda batch: network(batch.double())).half()
    found = filled(metric, sets).compute().item()
    real, generated = (network(each.double()).detach().numpy() for each in sets)
    assert found == pytest.approx(frechet(of_features(real), of_features(generated)).value, rel=1e-10)


def test_both_live_in_a_collection(sets):
    found = filled(MetricCollection({"fd": FrechetDistance(DIM), "kid": KernelDistance(DIM)}), sets).compute()
    assert set(found) == {"fd", "kid"}
    assert found["fd"].item() == filled(FrechetDistance(DIM), sets).compute().item()
    assert found["kid"].item() == filled(KernelDistance(DIM), sets).compute().item()


@pytest.mark.parametrize("make", [FrechetDistance, KernelDistance])
def test_bad_features_are_one_sentence(make):
    metric = make(DIM)
    with pytest.raises(DataError, match=r"shape \(4, 5\), not \(b, 6\)"):
        metric.update(torch.zeros(4, 5), real=True)
    with pytest.raises(DataError, match="NaN or infinite"):
        metric.update(torch.full((4, DIM), torch.nan), real=True)
    with pytest.raises(UsageError, match="dim must be at least 1, got 0"):
        make(0)


PROGRAM = """
import json, sys
import numpy as np, torch, torch.distributed as dist
from evaluators.distribution.metrics import FrechetDistance, KernelDistance
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method="file://" + folder + "/store", rank=rank, world_size=2)
sets = [torch.from_numpy(np.load(folder + "/" + name)) for name in ("real.npy", "generated.npy")]
answers = {}
for make in (FrechetDistance, KernelDistance):
    for name, cut in (("uneven", 9), ("one has nothing", 0)):
        metric = make(sets[0].shape[1])
        for side, real in zip(sets, (True, False)):
            part = side[:cut] if rank == 0 else side[cut:]
            for batch in part.split(5):
                if len(batch):
                    metric.update(batch, real=real)
        import warnings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchmetrics warns of a compute before any update, which is meant here
            answers[make.__name__ + ", " + name] = metric.compute().item()
print(json.dumps(answers))
dist.destroy_process_group()
"""


def test_two_processes_give_the_same_number_as_one(tmp_path, sets):
    for name, each in zip(("real", "generated"), sets, strict=True):
        np.save(tmp_path / f"{name}.npy", each.numpy())
    command = [sys.executable, "-c", PROGRAM]
    running = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for rank in (0, 1)
    ]
    answers = [json.loads(process.communicate(timeout=200)[0].splitlines()[-1]) for process in running]
    assert answers[0] == answers[1]
    assert len(answers[0]) == 4
    for name, value in answers[0].items():
        _, expected = next(each for each in CLASSES if each[0].__name__ in name)
        assert value == pytest.approx(expected(*(each.numpy() for each in sets)), rel=ROUNDING), name
