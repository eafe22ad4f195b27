"""The tables are whole: every recipe leads somewhere, and what it says is in its protocol."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from arena.domain import Protocol
from arena.errors import UnknownName
from evaluators import images, weights
from evaluators.distribution.recipes import DEFAULT_METRIC, FEATURES, METRICS, feature_recipe, metric_recipe

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("recipe", FEATURES.values(), ids=FEATURES)
def test_every_feature_recipe_names_things_that_exist(recipe):
    from evaluators.distribution import networks, preprocess

    assert recipe.network in networks.NETWORKS
    assert recipe.network in weights.SOURCES
    assert (recipe.resize in preprocess.RESIZES) != (recipe.resize in preprocess.PILLOW_RESIZES)
    assert recipe.scale in preprocess.SCALES
    assert recipe.decode in images.DECODERS
    assert recipe.crop in ("none", "centre")
    assert recipe.precision in ("float32", "bfloat16", "float16")


@pytest.mark.parametrize("recipe", METRICS.values(), ids=METRICS)
def test_every_metric_recipe_has_features_and_a_distance(recipe):
    assert recipe.features in FEATURES
    assert recipe.distance in ("frechet", "kid", "cmmd", "prdc")
    assert recipe.title


def test_only_inception_distances_are_called_fid():
    """And a FID of reduced precision says so in its name."""
    for recipe in METRICS.values():
        features = FEATURES[recipe.features]
        if recipe.name.startswith("fid"):
            assert features.network == weights.INCEPTION
            assert (features.precision == "float32") == (not recipe.name.endswith(("draft", "half")))


def test_names_are_found_and_an_unknown_one_lists_the_choices():
    assert DEFAULT_METRIC == "fid-clean@1"
    assert metric_recipe("fid-clean").id == "fid-clean@1"
    assert metric_recipe("cmmd@google").settings["estimate"] == "V-statistic"
    assert feature_recipe("inception-clean@1").side == 299
    with pytest.raises(UnknownName, match="did you mean 'fid-clean@1'"):
        metric_recipe("fid_clean")
    with pytest.raises(UnknownName, match="inception-clean@1"):
        feature_recipe("inception")
    with pytest.raises(UnknownName, match=r"fid-torchmetrics@1\.7, fid-torchmetrics@1\.8"):
        metric_recipe("fid-torchmetrics")  # two resizes: the version must be said


def test_a_score_of_other_features_or_another_distance_has_another_fingerprint():
    one = Protocol("inception-clean", "1", {"weights_sha256": "a" * 64})
    other = Protocol("inception-clean", "1", {"weights_sha256": "b" * 64})
    fid, kid = METRICS["fid-clean@1"], METRICS["kid@1"]
    assert fid.protocol(one).id == "fid-clean@1"
    assert len({fid.protocol(one).fingerprint, fid.protocol(other).fingerprint, kid.protocol(one).fingerprint}) == 3
    assert fid.protocol(one).settings["features"]["weights_sha256"] == "a" * 64


def test_the_tables_cost_nothing_to_read():
    program = "import sys, evaluators.distribution.recipes; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "PIL", "scipy"} & set(done.stdout.split())
