"""The shipped weights, through nothing but plain diffusers."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from diffusers.utils import logging

from arena.teddy.attributes import AttributeReader
from arena.teddy.contestants import TEDDIES
from arena.teddy.measure import Measurement, generate, load, table, weights_bytes
from arena.teddy.scenes import ATTRIBUTES, caption, sample_scenes
from arena.teddy.sheets import contact_sheet

# torch's arrays do not know numpy 2's `copy` argument yet; the scheduler's set_timesteps makes numpy say so.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

SCENES = sample_scenes(48, random.Random(23), held_out=True)
TEXTS = [caption(scene) for scene in SCENES]

FAST = [*{teddy.weights: teddy for teddy in sorted(TEDDIES, key=lambda teddy: -teddy.steps)}.values()]
"""The contestant of fewest steps of each weights folder."""


@pytest.fixture(scope="module", autouse=True)
def quiet():
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    yield
    logging.set_verbosity(before)


@pytest.fixture(scope="module")
def pipelines():
    return {folder: load(teddy) for folder, teddy in {teddy.weights: teddy for teddy in TEDDIES}.items()}


def test_names_and_slugs_are_different():
    assert len({teddy.name for teddy in TEDDIES}) == len({teddy.slug for teddy in TEDDIES}) == len(TEDDIES) == 4


def test_all_weights_are_below_30_megabytes():
    assert weights_bytes() < 30_000_000


@pytest.mark.parametrize("teddy", TEDDIES, ids=lambda teddy: teddy.slug)
def test_the_folder_is_in_the_hubs_format_with_safetensors_in_half_precision(teddy):
    index = json.loads((teddy.weights / "model_index.json").read_text())
    assert index["_class_name"] == {"unet": "IFPipeline"}.get(teddy.weights.name, "PixArtSigmaPipeline")
    assert not [*teddy.weights.rglob("*.bin")] and [*teddy.weights.rglob("*.safetensors")]


@pytest.mark.parametrize("teddy", FAST, ids=lambda teddy: teddy.slug)
def test_the_same_seed_gives_the_same_picture_alone_or_in_a_batch(teddy, pipelines):
    """Batches change the order of float sums, so a pixel may round to its neighbour; 3 of 255 is far below sight."""
    pipeline = pipelines[teddy.weights]
    together = generate(pipeline, teddy, TEXTS[:2], seed=5)
    alone = generate(pipeline, teddy, TEXTS[1:2], seed=6)
    assert np.array_equal(alone, generate(pipeline, teddy, TEXTS[1:2], seed=6))
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 3
    assert np.abs(together[0].astype(int) - together[1]).mean() > 5


@pytest.mark.parametrize("teddy", TEDDIES, ids=lambda teddy: teddy.slug)
def test_the_card_counts_the_parameters(teddy, pipelines):
    parts = [part for part in pipelines[teddy.weights].components.values() if isinstance(part, torch.nn.Module)]
    assert sum(p.numel() for part in parts for p in part.parameters()) == teddy.card.parameters


def test_the_best_contestant_draws_what_the_caption_says(pipelines):
    teddy = next(teddy for teddy in TEDDIES if teddy.slug == "teddy-turbo")
    drawn = generate(pipelines[teddy.weights], teddy, TEXTS, seed=1)
    assert AttributeReader.load().attribute_accuracy(drawn, SCENES).overall >= 0.85


def test_scenes_pictures_and_contestants_load_no_torch():
    code = (
        "import sys, arena.teddy.scenes, arena.teddy.renderer, arena.teddy.contestants;"
        "print(sorted({'torch', 'diffusers', 'transformers', 'numpy'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_table_has_a_line_for_each_measurement():
    line = Measurement("x", 3, 0.5, dict.fromkeys(ATTRIBUTES, 0.25), None)
    assert table([line]).splitlines()[-1] == "| x | 50.0 | " + " | ".join(["25.0"] * len(ATTRIBUTES)) + " | – |"


def test_a_contact_sheet_shows_rendered_above_drawn():
    real, drawn = np.full((3, 3, 64, 64), 255, np.uint8), np.zeros((3, 3, 64, 64), np.uint8)
    sheet = contact_sheet("T", TEXTS[:3], real, drawn)
    assert sheet.getpixel((20, 60)) == (255, 255, 255) and sheet.getpixel((20, 60 + 132)) == (0, 0, 0)
