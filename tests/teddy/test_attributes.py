import random

import numpy as np
import pytest

from arena.teddy.attributes import WEIGHTS, AttributeReader
from arena.teddy.measure import rendered
from arena.teddy.scenes import ATTRIBUTES, sample_scenes

SCENES = sample_scenes(300, random.Random(11), held_out=True)


@pytest.fixture(scope="module")
def reader() -> AttributeReader:
    return AttributeReader.load()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return rendered(SCENES, seed=11)


def test_the_reader_reads_rendered_scenes(reader, images):
    accuracy = reader.attribute_accuracy(images, SCENES)
    assert accuracy.n == 300 and {*accuracy.per_attribute} == {*ATTRIBUTES}
    assert accuracy.overall >= 0.99
    assert min(accuracy.per_attribute.values()) >= 0.98


def test_read_gives_scenes(reader, images):
    read = reader.read(images[:40])
    assert sum(one == other for one, other in zip(read, SCENES, strict=False)) >= 37


def test_pictures_of_other_scenes_do_not_match(reader, images):
    accuracy = reader.attribute_accuracy(images, SCENES[1:] + SCENES[:1])
    assert accuracy.overall < 0.5


def test_the_reader_refuses_what_is_no_set_of_pictures(reader):
    with pytest.raises(ValueError, match=r"uint8 \(n, 3, 64, 64\)"):
        reader.labels(np.zeros((1, 64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="got 0 and 0"):
        reader.attribute_accuracy(np.zeros((0, 3, 64, 64), np.uint8), ())


def test_no_pictures_have_no_labels(reader):
    assert reader.read(np.zeros((0, 3, 64, 64), np.uint8)) == ()


def test_the_weights_are_small():
    assert WEIGHTS.stat().st_size < 1_000_000
