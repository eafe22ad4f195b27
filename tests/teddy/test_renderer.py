import random
from dataclasses import replace

import numpy as np
import pytest

from arena.teddy.renderer import render
from arena.teddy.scenes import ATTRIBUTES, Background, Count, Fur, Glasses, Hat, Held, Position, Scene

BASE = Scene(Fur.BROWN, Background.SKY, Hat.CROWN, Glasses.ROUND, Held.STAR)


def pixels(scene: Scene, seed: int = 0, size: int = 64) -> np.ndarray:
    return np.asarray(render(scene, random.Random(seed), size)).astype(int)


def test_a_picture_is_decided_by_scene_and_generator():
    assert np.array_equal(pixels(BASE, 5), pixels(BASE, 5))


def test_pictures_of_one_scene_vary():
    assert np.abs(pixels(BASE, 1) - pixels(BASE, 2)).mean() > 2


def test_a_picture_is_rgb_of_the_asked_size():
    picture = render(BASE, random.Random(0), size=96)
    assert picture.mode == "RGB" and picture.size == (96, 96)


@pytest.mark.parametrize("name", [*ATTRIBUTES])
def test_every_value_of_an_attribute_looks_different(name):
    scenes = [replace(BASE, **{name: value}) for value in ATTRIBUTES[name]]
    shown = [pixels(scene) for scene in scenes]
    for i, one in enumerate(shown):
        for other in shown[:i]:
            assert (np.abs(one - other).max(axis=-1) > 24).mean() > 0.01


@pytest.mark.parametrize("position", [*Position])
def test_the_bear_stands_where_the_caption_says(position):
    """Black fur before a yellow beach: the dark pixels' mean column is the bear's place."""
    dark = pixels(Scene(Fur.BLACK, Background.BEACH, position=position)).sum(axis=-1) < 250
    column = np.nonzero(dark)[1].mean() / 64
    assert abs(column - {"left": 0.315, "centre": 0.5, "right": 0.685}[position]) < 0.05


def test_two_bears_stand_on_both_sides():
    dark = pixels(Scene(Fur.BLACK, Background.BEACH, count=Count.TWO)).sum(axis=-1) < 250
    columns = np.nonzero(dark)[1]
    assert (columns < 28).mean() > 0.35 and (columns > 36).mean() > 0.35
