import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.teddy.scenes import (
    ATTRIBUTES,
    CATEGORIES,
    Background,
    Count,
    Fur,
    Glasses,
    Hat,
    Held,
    Position,
    Scene,
    all_scenes,
    caption,
    embedded_prompts,
    is_held_out,
    parse,
    sample_scene,
    sample_scenes,
)

SCENES = all_scenes()


@given(st.sampled_from(SCENES))
def test_parse_is_the_inverse_of_caption(scene):
    assert parse(caption(scene)) == scene


def test_captions_of_different_scenes_differ():
    assert len({caption(scene) for scene in SCENES}) == len(SCENES) == 12_960


def test_a_caption_reads_as_english():
    scene = Scene(Fur.BROWN, Background.SKY, Hat.PARTY, Glasses.ROUND, Held.BALLOON, position=Position.LEFT)
    assert caption(scene) == (
        "a brown teddy bear wearing a party hat and round glasses, holding a balloon, on the left, under a blue sky"
    )
    pair = Scene(Fur.GREY, Background.NIGHT, Hat.CROWN, held=Held.HONEY, count=Count.TWO)
    assert caption(pair) == "two grey teddy bears wearing crowns, holding honey pots, under a starry night"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a cat",
        "a green teddy bear, in the middle, under a blue sky",
        "a brown teddy bears, in the middle, under a blue sky",
        "two brown teddy bears, on the left, under a blue sky",
        "two brown teddy bears wearing a crown, under a blue sky",
        "a brown teddy bear, under a blue sky",
        "a brown teddy bear wearing, in the middle, under a blue sky",
        "a brown teddy bear wearing a crown and , in the middle, under a blue sky",
        "A brown teddy bear, in the middle, under a blue sky",
    ],
)
def test_parse_refuses_what_caption_would_not_say(text):
    with pytest.raises(ValueError, match="not a teddy caption") as caught:
        parse(text)
    assert repr(text) in str(caught.value)


def test_a_refusal_names_the_allowed_words():
    with pytest.raises(ValueError, match=r"fur: brown, white, black, pink, golden, grey"):
        parse("a dog")


def test_illegal_scenes_cannot_be_built():
    with pytest.raises(ValueError, match="centre"):
        Scene(Fur.PINK, Background.SKY, count=Count.TWO, position=Position.LEFT)
    with pytest.raises(TypeError, match="fur must be a Fur"):
        Scene("pink", Background.SKY)  # type: ignore[arg-type]


def test_attributes_are_the_fields_of_a_scene():
    assert [*ATTRIBUTES] == [*Scene.__dataclass_fields__]


def test_sampling_is_decided_by_the_generator_and_covers_every_value():
    drawn = [sample_scene(random.Random(3)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    many = sample_scenes(400, random.Random(0), held_out=False)
    for name, kind in ATTRIBUTES.items():
        assert {getattr(scene, name) for scene in many} == {*kind}


def test_training_never_sees_a_held_out_scene():
    assert not any(map(is_held_out, sample_scenes(200, random.Random(1), held_out=False)))
    assert all(map(is_held_out, sample_scenes(50, random.Random(1), held_out=True)))
    assert 0.04 < sum(map(is_held_out, SCENES)) / len(SCENES) < 0.07


def test_embedded_prompts_are_fixed_different_parsable_and_held_out():
    prompts = embedded_prompts()
    assert prompts == embedded_prompts()
    assert prompts[:12] == embedded_prompts(12)
    assert len({prompt.text for prompt in prompts}) == 60
    assert {prompt.category for prompt in prompts} == {*CATEGORIES}
    assert all(is_held_out(parse(prompt.text)) for prompt in prompts)
    assert all(str(parse(prompt.text).fur) in prompt.tags for prompt in prompts)


def test_embedded_prompts_refuse_more_than_there_are():
    with pytest.raises(ValueError, match="121"):
        embedded_prompts(121)


def test_changing_one_attribute_changes_the_caption():
    base = Scene(Fur.PINK, Background.ROOM)
    assert caption(replace(base, hat=Hat.TOP)) != caption(base)
