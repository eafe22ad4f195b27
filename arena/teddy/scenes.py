"""The scene grammar: what a teddy picture can show, said in English and read back.

A `Scene` is seven attributes; `caption` says it and `parse` is the exact inverse. Everything here is
standard library and pure, so the page process may import it.
"""

from __future__ import annotations

import itertools
import random
import re
import zlib
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple


class Fur(StrEnum):
    BROWN = "brown"
    WHITE = "white"
    BLACK = "black"
    PINK = "pink"
    GOLDEN = "golden"
    GREY = "grey"


class Background(StrEnum):
    SKY = "blue sky"
    MEADOW = "green meadow"
    CURTAIN = "red curtain"
    ROOM = "purple room"
    BEACH = "yellow beach"
    NIGHT = "starry night"


class Hat(StrEnum):
    NONE = "no hat"
    PARTY = "party hat"
    TOP = "top hat"
    CROWN = "crown"
    BEANIE = "beanie"


class Glasses(StrEnum):
    NONE = "no glasses"
    ROUND = "round glasses"
    SUN = "sunglasses"


class Held(StrEnum):
    NONE = "nothing"
    BALLOON = "balloon"
    HEART = "heart"
    FLOWER = "flower"
    STAR = "star"
    HONEY = "honey pot"


class Count(StrEnum):
    ONE = "one"
    TWO = "two"


class Position(StrEnum):
    LEFT = "left"
    CENTRE = "centre"
    RIGHT = "right"


ATTRIBUTES: dict[str, type[StrEnum]] = {
    "fur": Fur,
    "background": Background,
    "hat": Hat,
    "glasses": Glasses,
    "held": Held,
    "count": Count,
    "position": Position,
}
"""Attribute name -> its values, in the order of the fields of `Scene`."""


@dataclass(frozen=True)
class Scene:
    """What one picture shows. Two bears share every attribute and fill the width, so they are at the centre.

    Raises ValueError for two bears on one side and TypeError for a value that is not of its enum.
    """

    fur: Fur
    background: Background
    hat: Hat = Hat.NONE
    glasses: Glasses = Glasses.NONE
    held: Held = Held.NONE
    count: Count = Count.ONE
    position: Position = Position.CENTRE

    def __post_init__(self) -> None:
        for name, kind in ATTRIBUTES.items():
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise TypeError(f"{name} must be a {kind.__name__}, got {value!r}; choose from {[*kind]}")
        if self.count is Count.TWO and self.position is not Position.CENTRE:
            raise ValueError(f"two bears fill the width: position must be centre, got {self.position!r}")


SCENERY = {
    Background.SKY: "under a blue sky",
    Background.MEADOW: "in a green meadow",
    Background.CURTAIN: "in front of a red curtain",
    Background.ROOM: "in a purple room",
    Background.BEACH: "on a yellow beach",
    Background.NIGHT: "under a starry night",
}
PLACE = {
    Position.LEFT: "on the left",
    Position.CENTRE: "in the middle",
    Position.RIGHT: "on the right",
}
PLURAL_ONLY = frozenset({Glasses.ROUND, Glasses.SUN})


def caption(scene: Scene) -> str:
    """The scene in English, for example "a pink teddy bear wearing a crown, on the left, under a blue sky"."""
    two = scene.count is Count.TWO
    words = f"two {scene.fur} teddy bears" if two else f"a {scene.fur} teddy bear"
    worn = [_noun(thing, two) for thing in (scene.hat, scene.glasses) if thing.name != "NONE"]
    if worn:
        words += " wearing " + " and ".join(worn)
    if scene.held is not Held.NONE:
        words += ", holding " + _noun(scene.held, two)
    if not two:
        words += ", " + PLACE[scene.position]
    return f"{words}, {SCENERY[scene.background]}"


def parse(text: str) -> Scene:
    """The scene a caption describes: the exact inverse of `caption`.

    Raises ValueError, with the text and the allowed words, for anything that `caption` would not say.
    """
    found = _SENTENCE.fullmatch(text)
    if found is None:
        raise ValueError(f"not a teddy caption: {text!r}; {_allowed()}")
    two = found["head"] == "two"
    nouns = {_noun(thing, two): thing for kind in (Hat, Glasses, Held) for thing in kind if thing.name != "NONE"}
    try:
        scene = Scene(
            fur=Fur(found["fur"]),
            background=_SCENERY_MEANS[found["scenery"]],
            hat=nouns[found["hat"]] if found["hat"] else Hat.NONE,
            glasses=nouns[found["glasses"]] if found["glasses"] else Glasses.NONE,
            held=nouns[found["held"]] if found["held"] else Held.NONE,
            count=Count.TWO if two else Count.ONE,
            position=_PLACE_MEANS[found["place"]] if found["place"] else Position.CENTRE,
        )
    except (KeyError, ValueError) as error:
        raise ValueError(f"not a teddy caption: {text!r} ({error}); {_allowed()}") from None
    if caption(scene) != text:
        raise ValueError(f"not a teddy caption: {text!r}; did you mean {caption(scene)!r}?")
    return scene


def all_scenes() -> tuple[Scene, ...]:
    """Every scene of the grammar, in a fixed order."""
    looks = itertools.product(Fur, Background, Hat, Glasses, Held)
    stands = [(Count.ONE, position) for position in Position] + [(Count.TWO, Position.CENTRE)]
    return tuple(Scene(*look, *stand) for look in looks for stand in stands)


def sample_scene(rng: random.Random) -> Scene:
    """One scene, every value of an attribute equally likely, except that a quarter of the scenes show two bears."""
    count = Count.TWO if rng.random() < 0.25 else Count.ONE
    return Scene(
        fur=rng.choice([*Fur]),
        background=rng.choice([*Background]),
        hat=rng.choice([*Hat]),
        glasses=rng.choice([*Glasses]),
        held=rng.choice([*Held]),
        count=count,
        position=rng.choice([*Position]) if count is Count.ONE else Position.CENTRE,
    )


def sample_scenes(n: int, rng: random.Random, held_out: bool) -> tuple[Scene, ...]:
    """`n` scenes drawn independently, all from the held-out part of the grammar or all from the training part."""
    drawn: list[Scene] = []
    while len(drawn) < n:
        scene = sample_scene(rng)
        if is_held_out(scene) is held_out:
            drawn.append(scene)
    return tuple(drawn)


class EmbeddedPrompt(NamedTuple):
    """A prompt of the arena's first start: its caption, the skill it tests, and one tag per shown attribute."""

    text: str
    category: str
    tags: tuple[str, ...]


CATEGORIES: dict[str, tuple[str, ...]] = {
    "colour": (),
    "accessory": ("hat", "glasses"),
    "holding": ("held",),
    "counting": ("count", "held"),
    "position": ("position", "hat"),
    "everything": ("hat", "glasses", "held", "position"),
}
"""Category -> the attributes its prompts vary beyond fur and background."""

EMBEDDED_SEED = 2024


def embedded_prompts(n: int = 60, seed: int = EMBEDDED_SEED) -> tuple[EmbeddedPrompt, ...]:
    """`n` different prompts, the categories in turn, always the same for the same arguments.

    Raises ValueError if the smallest category cannot give its share.
    """
    if not 0 <= n <= 120:
        raise ValueError(f"n must be from 0 to 120, got {n}")
    rng = random.Random(seed)
    prompts: dict[str, EmbeddedPrompt] = {}
    for category in itertools.islice(itertools.cycle(CATEGORIES), n):
        scene = _draw(category, rng)
        while caption(scene) in prompts:
            scene = _draw(category, rng)
        prompts[caption(scene)] = EmbeddedPrompt(caption(scene), category, tags(scene))
    return tuple(prompts.values())


def tags(scene: Scene) -> tuple[str, ...]:
    """What the scene shows, one word or two for each attribute that is not absent."""
    shown = (scene.fur, scene.background, scene.hat, scene.glasses, scene.held)
    where = "two bears" if scene.count is Count.TWO else scene.position
    return (*(str(value) for value in shown if value.name != "NONE"), str(where))


def is_held_out(scene: Scene) -> bool:
    """Whether training never sees this scene: one in twenty by a hash of its caption, and the embedded prompts."""
    text = caption(scene)
    return zlib.crc32(text.encode()) % 20 == 0 or text in _EMBEDDED


def _draw(category: str, rng: random.Random) -> Scene:
    varied = CATEGORIES[category]
    plain = Scene(rng.choice([*Fur]), rng.choice([*Background]))
    if category == "counting":
        plain = replace(plain, count=Count.TWO)
    choices = {
        name: [value for value in ATTRIBUTES[name] if value.name != "NONE"] for name in varied if name != "count"
    }
    return replace(plain, **{name: rng.choice(values) for name, values in choices.items()})


def _noun(thing: StrEnum, two: bool) -> str:
    if thing in PLURAL_ONLY:
        return str(thing)
    return f"{thing}s" if two else f"a {thing}"


def _allowed() -> str:
    return "allowed words: " + "; ".join(f"{name}: {', '.join(kind)}" for name, kind in ATTRIBUTES.items())


def _either(*phrases: str) -> str:
    return "|".join(re.escape(phrase) for phrase in phrases)


def _nouns(kind: type[StrEnum]) -> str:
    return _either(*(_noun(thing, two) for thing in kind if thing.name != "NONE" for two in (True, False)))


_SCENERY_MEANS = {phrase: background for background, phrase in SCENERY.items()}
_PLACE_MEANS = {phrase: position for position, phrase in PLACE.items()}
_SENTENCE = re.compile(
    rf"(?P<head>a|two) (?P<fur>{_either(*Fur)}) teddy bears?"
    rf"(?: wearing (?:(?P<hat>{_nouns(Hat)})(?: and (?=\w))?)?(?P<glasses>{_nouns(Glasses)})?)?"
    rf"(?:, holding (?P<held>{_nouns(Held)}))?"
    rf"(?:, (?P<place>{_either(*PLACE.values())}))?"
    rf", (?P<scenery>{_either(*SCENERY.values())})"
)
_EMBEDDED = frozenset(prompt.text for prompt in embedded_prompts())
