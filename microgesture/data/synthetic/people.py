"""Who is seen: one subject's proportions, clothes, room and camera, drawn from the subject's own seed."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from microgesture.data.synthetic.figure import Body, Camera

Colour = tuple[float, float, float]

HAIR_STYLES = ("short", "cap", "bob", "long", "bald")
ROOMS = ("plain", "plain", "frame", "door", "shelf", "panel")
_GOLDEN = 0.6180339887498949

_SKINS: tuple[Colour, ...] = (
    (236, 196, 172), (224, 178, 148), (206, 156, 122), (178, 128, 96), (142, 98, 72), (108, 74, 56), (240, 206, 188),
)  # fmt: skip
_HAIRS: tuple[Colour, ...] = (
    (36, 28, 26), (62, 44, 34), (96, 64, 40), (150, 106, 60), (190, 158, 100), (120, 116, 114), (110, 52, 34),
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """One person in one room before one camera; no two subjects share a shirt, a wall or a camera.

    Args:
        name: Identifier, e.g. `S007`.
        body: Proportions.
        camera: The subject's camera, before the small jitter of each clip.
        skin, hair, shirt, trousers, collar, wall: Colours, RGB 0 to 255.
        hair_style, room: One of `HAIR_STYLES`, `ROOMS`.
        long_sleeves, glasses, necklace, stripes, beard: What is worn.
        room_seed: Seed of the furniture.
    """

    name: str
    body: Body
    camera: Camera
    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    collar: Colour
    wall: Colour
    hair_style: str
    room: str
    long_sleeves: bool
    glasses: bool
    necklace: bool
    stripes: bool
    beard: bool
    room_seed: int


def draw_subject(number: int, seed: int) -> Subject:
    """Draws subject `number` of the data set with this seed."""
    rng = np.random.default_rng([seed, 101, number])
    start = np.random.default_rng([seed, 102]).uniform(size=2)
    # Golden-ratio steps keep any two subjects' shirts and walls apart, whatever their split.
    shirt_hue, wall_hue = (start + (number + 1) * np.array([_GOLDEN, _GOLDEN**2])) % 1.0
    # Clothes and walls are cool or grey, so that skin stands out: a network from scratch has some 250 clips.
    shirt = _hsv(0.28 + 0.5 * shirt_hue, rng.uniform(0.3, 0.75), rng.uniform(0.3, 0.75))
    wall = _hsv(0.3 + 0.45 * wall_hue, rng.uniform(0.02, 0.14), rng.uniform(0.68, 0.86))
    hair_style = str(rng.choice(HAIR_STYLES, p=(0.3, 0.25, 0.15, 0.22, 0.08)))
    body = Body(
        head_rx=rng.uniform(38.5, 42.5),
        head_ry=rng.uniform(52.0, 56.5),
        shoulder=rng.uniform(67.0, 75.0),
        hip=rng.uniform(29.0, 34.0),
        waist=rng.uniform(43.0, 53.0),
        upper_arm=rng.uniform(98.0, 104.0),
        forearm=rng.uniform(86.0, 91.0),
        limb=rng.uniform(0.9, 1.12),
    )
    camera = Camera(rng.uniform(0.97, 1.02), rng.uniform(-7.0, 7.0), rng.uniform(-2.0, 5.0))
    return Subject(
        name=f"S{number:03d}",
        body=body,
        camera=camera,
        skin=_SKINS[rng.integers(len(_SKINS))],
        hair=_HAIRS[rng.integers(len(_HAIRS))],
        shirt=shirt,
        trousers=_hsv(rng.uniform(0.45, 0.75), rng.uniform(0.05, 0.5), rng.uniform(0.16, 0.42)),
        collar=_mixed(shirt, 0.55, 115.0) if rng.uniform() < 0.5 else _mixed(shirt, 0.62, 0.0),
        wall=wall,
        hair_style=hair_style,
        room=ROOMS[rng.integers(len(ROOMS))],
        long_sleeves=bool(rng.uniform() < 0.4),
        glasses=bool(rng.uniform() < 0.25),
        necklace=bool(rng.uniform() < 0.3),
        stripes=bool(rng.uniform() < 0.12),
        beard=bool(hair_style not in ("bob", "long") and rng.uniform() < 0.25),
        room_seed=int(rng.integers(2**31)),
    )


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def _mixed(colour: Colour, part: float, grey: float) -> Colour:
    red, green, blue = (min(238.0, part * value + grey) for value in colour)
    return red, green, blue
