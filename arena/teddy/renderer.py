"""Draws a scene with Pillow: the real images of the embedded world.

Shapes are drawn four times too large and reduced, which antialiases them. Every picture of a scene differs a
little (place, size, tilt of the head, ears, hue, light, clouds), so that the pictures are a distribution.
The unit of length is the bear's head radius, with the origin between its feet and y pointing down.
"""

from __future__ import annotations

import colorsys
import functools
import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter, ImageOps

from arena.teddy.scenes import Background, Count, Fur, Glasses, Hat, Held, Position, Scene

Colour = tuple[int, int, int]
Point = tuple[float, float]

SUPERSAMPLING = 4

FUR: dict[Fur, Colour] = {
    Fur.BROWN: (142, 88, 48),
    Fur.WHITE: (243, 238, 230),
    Fur.BLACK: (56, 52, 60),
    Fur.PINK: (246, 142, 176),
    Fur.GOLDEN: (240, 178, 60),
    Fur.GREY: (146, 150, 160),
}
INK: Colour = (38, 28, 32)
CENTRES = {Position.LEFT: 0.315, Position.CENTRE: 0.5, Position.RIGHT: 0.685}


@dataclass(frozen=True)
class Bear:
    """One bear on the canvas, lengths in canvas pixels, tilt in degrees, counterclockwise."""

    x: float
    floor: float
    unit: float
    tilt: float
    ear: float
    fur: Colour
    balloon_side: int
    balloon: Point

    def at(self, x: float, y: float) -> Point:
        return self.x + x * self.unit, self.floor + y * self.unit


def render(scene: Scene, rng: random.Random, size: int = 64) -> Image.Image:
    """The scene as a `size` x `size` RGB image; all variation comes from `rng`."""
    side = size * SUPERSAMPLING
    canvas = _scenery(scene.background, side, rng)
    bears = _bears(scene, side, rng)
    for bear in bears:
        _shadow(canvas, bear)
        if scene.held is Held.BALLOON:
            _balloon(canvas, bear, rng)
    for bear in bears:
        _draw_bear(canvas, bear, scene, rng)
    return _light(canvas, rng).resize((size, size), Image.Resampling.BOX)


def _bears(scene: Scene, side: int, rng: random.Random) -> list[Bear]:
    if scene.count is Count.TWO:
        places, unit = [(0.27, 1, (1.3, -4.35)), (0.73, -1, (1.2, -3.7))], 0.163
    else:
        inner = {Position.LEFT: 1, Position.RIGHT: -1, Position.CENTRE: rng.choice((-1, 1))}
        places, unit = [(CENTRES[scene.position], inner[scene.position], (1.64, -3.2))], 0.2
    base = _varied(FUR[scene.fur], rng)
    return [
        Bear(
            x=side * (x + rng.uniform(-0.018, 0.018)),
            floor=side * (0.925 + rng.uniform(-0.015, 0.015)),
            unit=side * unit * rng.uniform(0.95, 1.04),
            tilt=rng.uniform(-9, 9),
            ear=rng.uniform(0.40, 0.50),
            fur=base,
            balloon_side=inward,
            balloon=balloon,
        )
        for x, inward, balloon in places
    ]


def _draw_bear(canvas: Image.Image, bear: Bear, scene: Scene, rng: random.Random) -> None:
    cream = _mix(bear.fur, (255, 240, 214), 0.62)
    for side in (-1, 1):
        _ball(canvas, bear, (side * 0.62, -0.1), (0.46, 0.36), bear.fur)
    _ball(canvas, bear, (0, -0.85), (0.92, 0.92), bear.fur)
    _ball(canvas, bear, (0, -0.78), (0.6, 0.62), cream, outline=False)
    for side in (-1, 1):
        _ball(canvas, bear, (side * 0.68, -0.06), (0.27, 0.22), cream, outline=False)
    holding = scene.held not in (Held.NONE, Held.BALLOON)
    if holding:
        _held(canvas, bear, scene.held, rng)
    for side in (-1, 1):
        raised = scene.held is Held.BALLOON and side == bear.balloon_side
        _ball(canvas, bear, _paw(side, raised, holding), (0.3, 0.34), bear.fur)
    _head(canvas, bear, scene, cream, rng)


def _paw(side: int, raised: bool, holding: bool) -> Point:
    if raised:
        return side * 1.04, -1.42
    return (side * 0.74, -0.86) if holding else (side * 0.92, -0.95)


def _head(canvas: Image.Image, bear: Bear, scene: Scene, cream: Colour, rng: random.Random) -> None:
    """Draws head, face and what is worn on an own layer, tilts it about the neck and lays it on the canvas."""
    layer = Image.new("RGBA", canvas.size, (*bear.fur, 0))
    for side in (-1, 1):
        _ball(layer, bear, (side * 0.8, -2.98), (bear.ear, bear.ear), bear.fur)
        _ball(
            layer,
            bear,
            (side * 0.8, -2.94),
            (bear.ear * 0.55, bear.ear * 0.55),
            _mix(cream, (255, 150, 160), 0.35),
            False,
        )
    _ball(layer, bear, (0, -2.3), (1.14, 0.96), bear.fur)
    _ball(layer, bear, (0, -2.0), (0.52, 0.4), cream, outline=False)
    for side in (-1, 1):
        _blush(layer, bear, (side * 0.74, -2.06))
        _eye(layer, bear, (side * 0.42, -2.42))
    _nose(layer, bear)
    _GLASSES[scene.glasses](layer, bear)
    _HATS[scene.hat](layer, bear, rng)
    left, right = bear.at(-2, 0)[0], bear.at(2, 0)[0]
    box = (round(left), 0, round(right), round(bear.at(0, -0.8)[1]))
    neck = bear.x - box[0], bear.at(0, -1.5)[1]
    tilted = layer.crop(box).rotate(bear.tilt, Image.Resampling.BILINEAR, center=neck)
    canvas.paste(tilted, box[:2], tilted)


def _eye(layer: Image.Image, bear: Bear, centre: Point) -> None:
    draw = ImageDraw.Draw(layer)
    draw.ellipse(_box(bear, centre, (0.145, 0.17)), INK)
    draw.ellipse(_box(bear, (centre[0] + 0.04, centre[1] - 0.06), (0.055, 0.055)), (255, 255, 255))


def _nose(layer: Image.Image, bear: Bear) -> None:
    draw = ImageDraw.Draw(layer)
    width = max(1, round(bear.unit * 0.07))
    draw.ellipse(_box(bear, (0, -2.13), (0.19, 0.13)), INK)
    draw.line([bear.at(0, -2.05), bear.at(0, -1.9)], INK, width)
    for side in (-1, 1):
        draw.arc(_box(bear, (side * 0.13, -1.93), (0.14, 0.12)), 10, 170, INK, width)


def _blush(layer: Image.Image, bear: Bear, centre: Point) -> None:
    _paste_ball(layer, _box(bear, centre, (0.2, 0.13)), (255, 120, 130), strength=110, soft=True)


def _no_glasses(layer: Image.Image, bear: Bear) -> None:
    """A bare face."""


def _round_glasses(layer: Image.Image, bear: Bear) -> None:
    draw = ImageDraw.Draw(layer)
    width = max(1, round(bear.unit * 0.13))
    for side in (-1, 1):
        box = _box(bear, (side * 0.48, -2.42), (0.42, 0.42))
        _paste_ball(layer, box, (225, 245, 255), strength=110, soft=True)
        draw.ellipse(box, outline=(214, 40, 46), width=width)
    draw.line([bear.at(-0.09, -2.45), bear.at(0.09, -2.45)], (214, 40, 46), width)


def _sunglasses(layer: Image.Image, bear: Bear) -> None:
    draw = ImageDraw.Draw(layer)
    width = max(1, round(bear.unit * 0.14))
    draw.line([bear.at(-1.0, -2.58), bear.at(1.0, -2.58)], (16, 16, 22), width)
    for side in (-1, 1):
        box = _box(bear, (side * 0.5, -2.38), (0.43, 0.3))
        draw.rounded_rectangle(box, bear.unit * 0.2, (20, 20, 28), (240, 240, 250), max(1, round(bear.unit * 0.05)))
        draw.line([bear.at(side * 0.5 - 0.2, -2.36), bear.at(side * 0.5 - 0.02, -2.54)], (120, 170, 230), width)


def _no_hat(layer: Image.Image, bear: Bear, rng: random.Random) -> None:
    """A bare head."""


def _party_hat(layer: Image.Image, bear: Bear, rng: random.Random) -> None:
    draw = ImageDraw.Draw(layer)
    tip, left, right = (0.0, -4.3), (-0.58, -3.02), (0.58, -3.02)
    _polygon(layer, bear, [tip, right, (0, -2.92), left], (236, 64, 84))
    for t in (0.35, 0.72):
        a, b = _along(tip, left, t), _along(tip, right, t)
        c, d = _along(tip, right, t + 0.14), _along(tip, left, t + 0.14)
        draw.polygon([bear.at(*p) for p in (a, b, c, d)], (255, 232, 92))
    _ball(layer, bear, tip, (0.2, 0.2), (80, 200, 255))


def _top_hat(layer: Image.Image, bear: Bear, rng: random.Random) -> None:
    felt = (44, 38, 58)
    _ball(layer, bear, (0, -3.06), (1.0, 0.2), felt)
    _polygon(layer, bear, [(-0.62, -4.12), (0.62, -4.12), (0.56, -3.05), (-0.56, -3.05)], felt)
    _polygon(
        layer, bear, [(-0.58, -3.44), (0.58, -3.44), (0.56, -3.14), (-0.56, -3.14)], (240, 240, 246), outline=False
    )


def _crown(layer: Image.Image, bear: Bear, rng: random.Random) -> None:
    low, high = -3.0, -3.86
    points = [(-0.72, low), (-0.82, high), (-0.38, -3.4), (0, high - 0.1), (0.38, -3.4), (0.82, high), (0.72, low)]
    _polygon(layer, bear, points, (255, 214, 40))
    for x, y, jewel in (
        (-0.82, high, (255, 255, 255)),
        (0, high - 0.1, (255, 255, 255)),
        (0.82, high, (255, 255, 255)),
    ):
        _ball(layer, bear, (x, y), (0.13, 0.13), jewel)
    for x, jewel in ((-0.42, (50, 120, 240)), (0, (226, 40, 70)), (0.42, (50, 120, 240))):
        _ball(layer, bear, (x, -3.16), (0.12, 0.12), jewel, outline=False)


def _beanie(layer: Image.Image, bear: Bear, rng: random.Random) -> None:
    knit = (24, 164, 168)
    _ball(layer, bear, (0, -3.78), (0.27, 0.27), (255, 255, 255))
    draw = ImageDraw.Draw(layer)
    box = _box(bear, (0, -2.95), (0.92, 0.72))
    edge = bear.unit * 0.06
    draw.pieslice((box[0] - edge, box[1] - edge, box[2] + edge, box[3] + edge), 180, 360, INK)
    draw.pieslice(box, 180, 360, knit)
    for x in (-0.45, 0, 0.45):
        draw.line(
            [bear.at(x, -2.98), bear.at(x * 0.7, -3.5)], _mix(knit, (0, 0, 0), 0.2), max(1, round(bear.unit * 0.06))
        )
    left, right = bear.at(-0.98, -3.14), bear.at(0.98, -2.82)
    draw.rounded_rectangle((*left, *right), bear.unit * 0.15, (240, 248, 248), INK, max(1, round(bear.unit * 0.05)))


_GLASSES = {Glasses.NONE: _no_glasses, Glasses.ROUND: _round_glasses, Glasses.SUN: _sunglasses}
_HATS = {Hat.NONE: _no_hat, Hat.PARTY: _party_hat, Hat.TOP: _top_hat, Hat.CROWN: _crown, Hat.BEANIE: _beanie}


def _held(canvas: Image.Image, bear: Bear, held: Held, rng: random.Random) -> None:
    x = rng.uniform(-0.06, 0.06)
    if held is Held.HEART:
        _polygon(canvas, bear, [(x + p * 0.62, -0.86 + q * 0.62) for p, q in _HEART], (232, 36, 60))
        _paste_ball(canvas, _box(bear, (x - 0.26, -1.08), (0.14, 0.12)), (255, 190, 200), 200, soft=True)
    elif held is Held.STAR:
        _polygon(canvas, bear, [(x + p * 0.74, -0.86 + q * 0.74) for p, q in _STAR], (255, 226, 50))
    elif held is Held.FLOWER:
        _flower(canvas, bear, x)
    elif held is Held.HONEY:
        _honey_pot(canvas, bear, x)


def _flower(canvas: Image.Image, bear: Bear, x: float) -> None:
    ImageDraw.Draw(canvas).line([bear.at(x, -0.9), bear.at(x, -0.1)], (40, 150, 60), max(1, round(bear.unit * 0.14)))
    for k in range(6):
        angle = math.tau * k / 6
        _ball(canvas, bear, (x + 0.37 * math.cos(angle), -0.95 + 0.37 * math.sin(angle)), (0.25, 0.25), (176, 96, 236))
    _ball(canvas, bear, (x, -0.95), (0.24, 0.24), (255, 240, 120), outline=False)


def _honey_pot(canvas: Image.Image, bear: Bear, x: float) -> None:
    _ball(canvas, bear, (x, -0.72), (0.58, 0.52), (66, 120, 200))
    _ball(canvas, bear, (x, -1.16), (0.46, 0.17), (250, 168, 30))
    for dx, length in ((-0.22, 0.3), (0.06, 0.46), (0.27, 0.24)):
        _ball(canvas, bear, (x + dx, -1.1 + length / 2), (0.11, length / 2), (250, 168, 30), outline=False)


def _balloon(canvas: Image.Image, bear: Bear, rng: random.Random) -> None:
    side = bear.balloon_side
    x, y = side * bear.balloon[0] + rng.uniform(-0.06, 0.06), bear.balloon[1] + rng.uniform(-0.1, 0.1)
    ImageDraw.Draw(canvas).line(
        [bear.at(x, y), bear.at(side * 1.05, -1.42)], (250, 250, 250), max(1, round(bear.unit * 0.09))
    )
    _polygon(canvas, bear, [(x, y + 0.6), (x - 0.16, y + 0.86), (x + 0.16, y + 0.86)], (40, 120, 240))
    _ball(canvas, bear, (x, y), (0.58, 0.7), (40, 120, 240))


_HEART = [
    (math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16)
    for t in (math.tau * k / 48 for k in range(48))
]
_STAR = [(r * math.sin(math.tau * k / 10), -r * math.cos(math.tau * k / 10)) for k, r in enumerate([1.0, 0.46] * 5)]


def _scenery(background: Background, side: int, rng: random.Random) -> Image.Image:
    top, bottom, ground = _PAINT[background]
    canvas = _gradient(_varied(top, rng), _varied(bottom, rng), side)
    _DETAIL[background](canvas, side, rng)
    horizon = side * rng.uniform(0.74, 0.79)
    colour = _varied(ground, rng)
    draw = ImageDraw.Draw(canvas)
    if background in (Background.CURTAIN, Background.ROOM):
        draw.rectangle((0, horizon, side, side), colour)
        draw.line((0, horizon, side, horizon), _mix(colour, (255, 255, 255), 0.35), round(side * 0.015))
    else:
        middle, bow = side * rng.uniform(0.35, 0.65), side * 1.6
        draw.ellipse((middle - bow, horizon, middle + bow, horizon + 2 * bow), colour)
    if background is Background.MEADOW:
        for _ in range(7):
            x, y = rng.uniform(0, side), rng.uniform(0.84, 0.98) * side
            draw.ellipse(_around(x, y, side * 0.016), rng.choice([(255, 255, 255), (255, 220, 80), (255, 150, 190)]))
    return canvas


def _clouds(canvas: Image.Image, side: int, rng: random.Random) -> None:
    draw = ImageDraw.Draw(canvas)
    for x0 in (0.12, 0.82):
        x, y = side * (x0 + rng.uniform(-0.1, 0.1)), side * rng.uniform(0.1, 0.38)
        for dx, r in ((-0.09, 0.045), (0, 0.07), (0.09, 0.05)):
            draw.ellipse(_around(x + dx * side, y - r * side * 0.4, r * side), (250, 252, 255))


def _trees(canvas: Image.Image, side: int, rng: random.Random) -> None:
    draw = ImageDraw.Draw(canvas)
    for x0 in (0.08, 0.5, 0.92):
        x, r = side * (x0 + rng.uniform(-0.08, 0.08)), side * rng.uniform(0.2, 0.26)
        draw.ellipse(_around(x, side * 0.78, r), (92, 176, 84))


def _drapes(canvas: Image.Image, side: int, rng: random.Random) -> None:
    draw = ImageDraw.Draw(canvas)
    width, start = side / 7, rng.uniform(-1, 0) * side / 7
    for k in range(9):
        x = start + k * width
        draw.rectangle((x, 0, x + width * 0.45, side), (178, 24, 40))
        draw.rectangle((x + width * 0.45, 0, x + width * 0.55, side), (196, 30, 46))


def _wallpaper(canvas: Image.Image, side: int, rng: random.Random) -> None:
    draw = ImageDraw.Draw(canvas)
    step, dx, dy = side / 5, rng.uniform(0, side / 5), rng.uniform(0, side / 5)
    for row in range(-1, 6):
        for column in range(-1, 6):
            x = dx + column * step + (row % 2) * step / 2
            draw.ellipse(_around(x, dy + row * step, side * 0.024), (190, 140, 236))


def _sun(canvas: Image.Image, side: int, rng: random.Random) -> None:
    draw = ImageDraw.Draw(canvas)
    x, y = side * rng.choice((rng.uniform(0.08, 0.22), rng.uniform(0.78, 0.92))), side * rng.uniform(0.1, 0.2)
    draw.ellipse(_around(x, y, side * 0.13), (255, 240, 150))
    draw.ellipse(_around(x, y, side * 0.09), (255, 252, 220))


def _night_sky(canvas: Image.Image, side: int, rng: random.Random) -> None:
    draw = ImageDraw.Draw(canvas)
    for _ in range(12):
        draw.ellipse(
            _around(rng.uniform(0, side), rng.uniform(0, 0.7) * side, side * rng.uniform(0.009, 0.016)), (255, 250, 210)
        )
    x, y = side * rng.choice((rng.uniform(0.08, 0.2), rng.uniform(0.8, 0.92))), side * rng.uniform(0.1, 0.2)
    draw.ellipse(_around(x, y, side * 0.09), (250, 244, 200))


_PAINT: dict[Background, tuple[Colour, Colour, Colour]] = {
    Background.SKY: ((70, 160, 240), (176, 222, 252), (236, 244, 250)),
    Background.MEADOW: ((206, 240, 190), (170, 222, 140), (62, 150, 62)),
    Background.CURTAIN: ((214, 40, 56), (200, 34, 50), (120, 26, 34)),
    Background.ROOM: ((158, 98, 214), (146, 86, 204), (92, 50, 142)),
    Background.BEACH: ((255, 214, 74), (255, 234, 140), (232, 190, 110)),
    Background.NIGHT: ((22, 28, 84), (58, 66, 146), (30, 52, 84)),
}
"""Background -> top of the wall or sky, its bottom, and the ground."""

_DETAIL = {
    Background.SKY: _clouds,
    Background.MEADOW: _trees,
    Background.CURTAIN: _drapes,
    Background.ROOM: _wallpaper,
    Background.BEACH: _sun,
    Background.NIGHT: _night_sky,
}


def _light(canvas: Image.Image, rng: random.Random) -> Image.Image:
    """Darkens the corners softly and varies the brightness of the whole picture by a few percent."""
    level = rng.uniform(0.96, 1.03)
    canvas = canvas.point([min(255, round(value * level)) for value in range(256)] * 3)
    return Image.composite(Image.new("RGB", canvas.size, (20, 10, 40)), canvas, _vignette(canvas.size))


@functools.cache
def _vignette(size: tuple[int, int]) -> Image.Image:
    return Image.radial_gradient("L").resize(size).point(lambda far: max(0, far - 150) * 0.55)


def _shadow(canvas: Image.Image, bear: Bear) -> None:
    _paste_ball(canvas, _box(bear, (0, 0.16), (1.35, 0.26)), (20, 14, 30), strength=120, soft=True)


def _ball(image: Image.Image, bear: Bear, centre: Point, radii: Point, colour: Colour, outline: bool = True) -> None:
    """A shaded ellipse: lit from the upper left, darker at the rim, with a thin dark outline."""
    if outline:
        rim = tuple(radius + 0.055 for radius in radii)
        ImageDraw.Draw(image).ellipse(_box(bear, centre, rim), _mix(colour, INK, 0.72))
    _paste_ball(image, _box(bear, centre, radii), colour)


def _paste_ball(
    image: Image.Image, box: tuple[float, ...], colour: Colour, strength: int = 255, soft: bool = False
) -> None:
    left, top = round(box[0]), round(box[1])
    size = max(1, round(box[2] - box[0])), max(1, round(box[3] - box[1]))
    mask = (_SOFT if soft else _DISC).resize(size, Image.Resampling.BILINEAR)
    if strength != 255:
        mask = mask.point(lambda value: value * strength // 255)
    paint = Image.new("RGB", size, colour) if soft else _shaded(colour).resize(size, Image.Resampling.BILINEAR)
    opaque = paint.convert(image.mode)
    if image.mode == "RGBA" and soft:
        # Over a transparent layer a soft stain must not change what is already covered.
        under = image.crop((left, top, left + size[0], top + size[1]))
        opaque.putalpha(under.getchannel("A"))
    image.paste(opaque, (left, top), mask)


@functools.lru_cache(maxsize=512)
def _shaded(colour: Colour) -> Image.Image:
    light, dark = _mix(colour, (255, 255, 255), 0.3), _mix(colour, (30, 10, 40), 0.34)
    return ImageOps.colorize(_LIT, light, dark, colour)


def _polygon(image: Image.Image, bear: Bear, points: list[Point], colour: Colour, outline: bool = True) -> None:
    corners = [bear.at(*point) for point in points]
    draw = ImageDraw.Draw(image)
    draw.polygon(corners, colour)
    if outline:
        draw.line(
            [*corners, corners[0], corners[1]], _mix(colour, INK, 0.72), max(1, round(bear.unit * 0.08)), joint="curve"
        )


def _disc() -> Image.Image:
    mask = Image.new("L", (128, 128), 0)
    ImageDraw.Draw(mask).ellipse((1, 1, 126, 126), 255)
    return mask


def _soft() -> Image.Image:
    mask = Image.new("L", (128, 128), 0)
    ImageDraw.Draw(mask).ellipse((22, 22, 105, 105), 255)
    return mask.filter(ImageFilter.GaussianBlur(12))


_DISC, _SOFT = _disc(), _soft()
_LIT = Image.radial_gradient("L").crop((56, 60, 226, 232)).resize((32, 32))


def _gradient(top: Colour, bottom: Colour, side: int) -> Image.Image:
    return ImageOps.colorize(Image.linear_gradient("L").resize((side, side)), top, bottom)


def _varied(colour: Colour, rng: random.Random) -> Colour:
    """The colour with hue moved by up to 1 %, saturation by 6 % and value by 4 %."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    hue = (hue + rng.uniform(-0.01, 0.01)) % 1
    saturation = min(1.0, saturation * rng.uniform(0.94, 1.06))
    value = min(1.0, value * rng.uniform(0.96, 1.04))
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _along(start: Point, end: Point, t: float) -> Point:
    return start[0] + (end[0] - start[0]) * t, start[1] + (end[1] - start[1]) * t


def _around(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    return x - radius, y - radius, x + radius, y + radius


def _box(bear: Bear, centre: Point, radii: Point) -> tuple[float, float, float, float]:
    x, y = bear.at(*centre)
    return x - radii[0] * bear.unit, y - radii[1] * bear.unit, x + radii[0] * bear.unit, y + radii[1] * bear.unit
