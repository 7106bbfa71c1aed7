"""Paints the frames of one clip: room and body once, and in every frame only what has changed.

The trunk is painted once per height of the shoulders and laid on the room once per whole-pixel sway; the head is one
sprite per tilt. Arms, hands and moving legs are painted in every frame, each inside its bounding box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microgesture.data.synthetic import draw
from microgesture.data.synthetic.figure import PICTURE, SIGN, Array, Camera, Motion, Skeleton
from microgesture.data.synthetic.people import Subject

_HEAD_BOX = 132  # half side of the head sprite at zoom 1
_TILT_STEP = np.deg2rad(1.5)

Paint = NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """How one clip is filmed; drawn without looking at the class.

    Args:
        camera: The camera of this clip.
        gain: Brightness.
        noise: Standard deviation of the sensor noise in grey levels.
        occluder: `none`, `corner`, `post` or `table`.
        occluder_at: Where it stands, 0 to 1.
        pendant: Whether a necklace is worn in this clip.
        watch: Index of the wrist with a watch, -1 for none.
    """

    camera: Camera
    gain: float = 1.0
    noise: float = 2.0
    occluder: str = "none"
    occluder_at: float = 0.5
    pendant: bool = False
    watch: int = -1


class Painter:
    """Paints one subject with one look; see `frames`."""

    def __init__(self, subject: Subject, look: Look, noise_seed: int) -> None:
        self.subject, self.look = subject, look
        self.zoom = look.camera.zoom
        self._colours = {
            name: draw.clip_colour(getattr(subject, name), look.gain)
            for name in ("skin", "hair", "shirt", "trousers", "collar")
        }
        self._room = paint_room(subject, look.gain)
        self._heads: dict[tuple[int, bool], tuple[draw.Canvas, draw.Mask]] = {}
        self._trunks: dict[tuple[int, int], tuple[draw.Canvas, draw.Mask]] = {}
        self._bases: dict[tuple[int, ...], tuple[draw.Canvas, draw.Mask]] = {}
        self._noise_rng = np.random.default_rng([noise_seed, 2])
        # uint8 addition wraps, so a negative value is its complement: one cheap pass over the frame.
        tile = np.clip(np.rint(_noise_tile() * look.noise), -15, 15).astype(np.int8).view(np.uint8)
        self._tile = np.ascontiguousarray(tile[..., None].repeat(3, 2))

    def frames(self, motion: Motion, skeleton: Skeleton) -> Iterator[draw.Canvas]:
        """Yields the frames, uint8 `(448, 448, 3)`, with sensor noise."""
        blinks = self._noise_rng.uniform(size=len(motion)) < 0.012
        for t in range(len(motion)):
            canvas = self._frame(motion, skeleton, t, bool(blinks[max(0, t - 3) : t + 1].any()))
            x, y = self._noise_rng.integers(0, 64, size=2)
            canvas += self._tile[y : y + PICTURE, x : x + PICTURE]
            yield canvas

    def _frame(self, motion: Motion, s: Skeleton, t: int, blink: bool) -> draw.Canvas:
        sway = motion.sway[t]
        idle = motion.idle_arms(t)
        base, body = self._base(motion, s, t, idle)
        canvas = base.copy()
        arms = [k for k in sorted((0, 1), key=lambda k: s.wrist[t, k, 2]) if not idle[k]]
        for k in arms:
            if motion.layer[t, k] == 2:
                self._arm(canvas, s, t, k, sway, body, body)
        self._head(canvas, s.head[t], float(s.tilt[t]), sway, blink)
        self._collar(canvas, motion, s, t, sway)
        for k in arms:
            if motion.layer[t, k] < 2:
                self._arm(canvas, s, t, k, sway, None, body if motion.layer[t, k] else None)
        self._pen(canvas, motion, s, t, sway)
        self._occlude(canvas)
        return canvas

    def _place(self, points: Array, sway: Array) -> Array:
        return self.look.camera.project(points) + sway

    def _base(self, motion: Motion, s: Skeleton, t: int, idle: tuple[bool, bool]) -> tuple[draw.Canvas, draw.Mask]:
        """Room, legs, trunk and idle arms, with the coverage of legs and trunk; kept while nothing of it moves."""
        lift = np.rint(motion.lift[t]).astype(int)
        key = (*map(int, motion.sway[t]), *map(int, lift), *map(int, idle))
        legs_move = bool(np.abs(motion.knee[t]).max() > 0.3)
        if not legs_move and key in self._bases:
            return self._bases[key]
        canvas, body = self._stand(motion.sway[t], lift, s.hip[t], s.knee[t], int(motion.front_leg[t]))
        for k in (0, 1):
            if idle[k]:
                self._arm(canvas, s, t, k, motion.sway[t], None, None)
        if not legs_move:
            self._bases[key] = canvas, body
        return canvas, body

    def _stand(self, sway: Array, lift: Array, hip: Array, knee: Array, front: int) -> tuple[draw.Canvas, draw.Mask]:
        canvas = self._room.copy()
        mask = np.zeros(canvas.shape[:2], np.float32)
        limb = self.subject.body.limb * self.zoom
        for k in (1 - front, front):
            a, b = self._place(hip[k], sway), self._place(knee[k], sway)
            shin = b + np.array([0.0, 110.0 * self.zoom])
            # The rounded top stays under the shirt.
            a = a + 0.14 * (b - a) + np.array([-5.0 * SIGN[k] * self.zoom, 0.0])
            draw.capsules(
                canvas, np.stack([a, b]), np.stack([b, shin]), [28 * limb, 24 * limb], [24 * limb, 19 * limb],
                self._colours["trousers"], mask=mask,
            )  # fmt: skip
        trunk, cover = self._trunk(int(lift[0]), int(lift[1]))
        x, y = int(sway[0]), int(sway[1])
        draw.paste(canvas, trunk, cover, x, y)
        ys, yd = (slice(0, PICTURE - y), slice(y, None)) if y >= 0 else (slice(-y, None), slice(0, PICTURE + y))
        xs, xd = (slice(0, PICTURE - x), slice(x, None)) if x >= 0 else (slice(-x, None), slice(0, PICTURE + x))
        np.maximum(mask[yd, xd], cover[ys, xs], out=mask[yd, xd])
        return canvas, mask

    def _trunk(self, lift_left: int, lift_right: int) -> tuple[draw.Canvas, draw.Mask]:
        key = (lift_left, lift_right)
        if key not in self._trunks:
            self._trunks[key] = self._paint_trunk(np.array(key, float))
        return self._trunks[key]

    def _paint_trunk(self, lift: Array) -> tuple[draw.Canvas, draw.Mask]:
        """Shirt, neck and collar, at rest position, with their coverage."""
        z = self.zoom
        canvas = np.zeros((PICTURE, PICTURE, 3), np.uint8)
        mask = np.zeros((PICTURE, PICTURE), np.float32)
        still = np.zeros(2)

        def at(*points: tuple[float, float]) -> Array:
            return self._place(np.array(points, float), still)

        if self.subject.hair_style == "long":
            low, high = at((-30, -70), (30, -70)), at((-36, 22), (36, 22))
            draw.capsules(canvas, low, high, 22 * z, 16 * z, self._colours["hair"], mask=mask)
        self._paint_shirt(canvas, mask, at, 0.75 * lift)
        if self.subject.stripes:
            rows = (np.arange(PICTURE) // int(13 * z)) % 2 == 0
            striped = np.clip(canvas[rows].astype(np.float32) * 0.78, draw.DARKEST, 255).astype(np.uint8)
            canvas[rows] = np.where(mask[rows][..., None] > 0, striped, canvas[rows])
        skin = self._colours["skin"]
        draw.capsules(canvas, at((0, -42)), at((0, -4)), 18 * z, 19 * z, skin * 0.9, mask=mask)
        draw.capsules(canvas, at((0, -4)), at((0, 9)), 15 * z, 5 * z, skin * 0.95, rim=0.12)
        draw.ellipse(canvas, at((0, 3))[0], (4.5 * z, 3.2 * z), skin * 0.72, rim=0.0)
        for sign in SIGN:
            ends = at((sign * 19, -9)), at((sign * 4, 17))
            draw.capsules(canvas, *ends, 6 * z, 4.5 * z, self._colours["collar"], mask=mask)
        if self.subject.necklace or self.look.pendant:
            chain = np.array([214.0, 190.0, 90.0], np.float32)
            draw.capsules(canvas, at((-17, 2), (17, 2)), at((0, 38), (0, 38)), 1.3 * z, 1.3 * z, chain, rim=0.0)
            draw.ellipse(canvas, at((0, 42))[0], (5 * z, 6 * z), chain)
        return canvas, mask

    def _paint_shirt(self, canvas: draw.Canvas, mask: draw.Mask, at: Callable[..., Array], up: Array) -> None:
        body, z = self.subject.body, self.zoom
        shoulder, waist, hip = body.shoulder - 4.0, body.waist - 20.0, body.hip + 2.0
        left, right = (shoulder, 17.0 - up[0]), (-shoulder, 17.0 - up[1])
        parts: list[tuple[Any, Any, float, float]] = [
            # Start, end, radius at either: shoulders, chest, sides, belly, and what fills the armpits.
            (right, (-24, 2), 16, 12), ((-24, 2), (0, 22), 13, 18), ((24, 2), left, 12, 16),
            ((-30, 24), (30, 24), 20, 20),
            ((-46, 42), (-waist, 105), 25, 20), ((46, 42), (waist, 105), 25, 20), (left, (44, 46), 14, 22),
            ((-waist, 105), (-hip, 165), 20, 27), ((waist, 105), (hip, 165), 20, 27), (right, (-44, 46), 14, 22),
            ((0, 40), (0, 100), 40, 34), ((0, 100), (0, 165), 34, 36),
        ]  # fmt: skip
        start, end = at(*(p[0] for p in parts)), at(*(p[1] for p in parts))
        radii, ends = (z * np.array(column, float) for column in list(zip(*parts, strict=True))[2:])
        draw.capsules(canvas, start, end, radii, ends, self._colours["shirt"], mask=mask)
        hem = int(at((0, 176))[0, 1])
        mask[hem:] = 0.0
        canvas[hem - 2 : hem] = (canvas[hem - 2 : hem] * np.float32(0.75)).astype(np.uint8)

    def _head(self, canvas: draw.Canvas, centre: Array, tilt: float, sway: Array, blink: bool) -> None:
        step = int(np.rint(tilt / _TILT_STEP))
        if (step, blink) not in self._heads:
            self._heads[step, blink] = paint_head(self.subject, self.look.gain, self.zoom, step * _TILT_STEP, blink)
        sprite, cover = self._heads[step, blink]
        x, y = np.rint(self._place(centre, sway)).astype(int) - sprite.shape[0] // 2
        draw.paste(canvas, sprite, cover, int(x), int(y))

    def _arm(
        self, canvas: draw.Canvas, s: Skeleton, t: int, k: int, sway: Array,
        hidden_by: draw.Mask | None, hand_hidden_by: draw.Mask | None,
    ) -> None:  # fmt: skip
        limb = self.subject.body.limb * self.zoom
        joints = self._place(np.stack([s.shoulder[t, k], s.elbow[t, k], s.wrist[t, k]]), sway)
        skin, shirt = self._colours["skin"], self._colours["shirt"]
        if self.subject.long_sleeves:
            thick = np.array([17.0, 13.5, 9.0]) * limb
            draw.capsules(canvas, joints[:2], joints[1:], thick[:2], thick[1:], shirt, hidden_by=hidden_by)
        else:
            thick = np.array([15.0, 12.0, 7.5]) * limb
            draw.capsules(canvas, joints[:2], joints[1:], thick[:2], thick[1:], skin, hidden_by=hidden_by)
            sleeve = joints[0] + 0.5 * (joints[1] - joints[0])
            draw.capsules(canvas, joints[0], sleeve, 17.5 * limb, 16.5 * limb, shirt, hidden_by=hidden_by)
        z = self.zoom
        start = self._place(np.concatenate([s.wrist[t, k, None, :2], s.finger_root[t, k]]), sway)
        end = self._place(np.concatenate([s.palm[t, k, None], s.finger_tip[t, k]]), sway)
        radii = np.array([8.5, 4.6, 4.0, 4.1, 4.0, 3.6]) * z
        tips = np.array([11.0, 3.6, 3.2, 3.3, 3.2, 2.9]) * z
        light = np.minimum(skin * 1.06, draw.BRIGHTEST)
        draw.capsules(canvas, start, end, radii, tips, light, rim=0.45, hidden_by=hand_hidden_by)
        if self.look.watch == k:
            across = np.array([joints[2][1] - joints[1][1], joints[1][0] - joints[2][0]])
            across *= 7.0 * z / max(float(np.hypot(*across)), 1e-6)
            dark = np.array([40.0, 40.0, 48.0], np.float32)
            ends = joints[2] - across, joints[2] + across
            draw.capsules(canvas, *ends, 4.0 * z, 4.0 * z, dark, hidden_by=hand_hidden_by)

    def _collar(self, canvas: draw.Canvas, motion: Motion, s: Skeleton, t: int, sway: Array) -> None:
        for k in (0, 1):
            if motion.grip[t, k] == 1:
                root = self._place(np.array([SIGN[k] * 10.0, 14.0]), sway)
                tip = self._place(s.finger_tip[t, k, 1], sway)
                draw.capsules(canvas, root, tip, 10 * self.zoom, 5 * self.zoom, self._colours["collar"])

    def _pen(self, canvas: draw.Canvas, motion: Motion, s: Skeleton, t: int, sway: Array) -> None:
        for k in (0, 1):
            if motion.grip[t, k] == 2:
                tip = self._place(s.finger_tip[t, k, 1], sway)
                turn = motion.angle[t, k] + SIGN[k] * 0.9
                along = 17.0 * self.zoom * np.array([np.cos(turn), np.sin(turn)])
                blue = np.array([32.0, 44.0, 120.0], np.float32)
                draw.capsules(canvas, tip - along, tip + along, 3.2 * self.zoom, 2.4 * self.zoom, blue)

    def _occlude(self, canvas: draw.Canvas) -> None:
        at, dark = self.look.occluder_at, draw.clip_colour((58, 62, 70), self.look.gain)
        if self.look.occluder == "post":
            x = 20 + at * 70 if at < 0.5 else 340 + (at - 0.5) * 140
            draw.rectangle(canvas, (x, 0), (x + 22, PICTURE), dark)
        elif self.look.occluder == "table":
            draw.rectangle(canvas, (0, 412 + 20 * at), (PICTURE, PICTURE), dark)
        elif self.look.occluder == "corner":
            x = 0 if at < 0.5 else 340
            draw.rectangle(canvas, (x, 330 + 40 * at), (x + 108, PICTURE), dark)


@lru_cache(maxsize=1)
def _noise_tile() -> NDArray[np.float32]:
    """Unit noise, larger than the picture so that each frame cuts out another part."""
    return np.random.default_rng(7).normal(size=(PICTURE + 64, PICTURE + 64)).astype(np.float32)


def paint_room(subject: Subject, gain: float) -> draw.Canvas:
    """The subject's room, `(448, 448, 3)`: a wall with soft light and little furniture."""
    rng = np.random.default_rng(subject.room_seed)
    xs, ys = np.linspace(-1, 1, PICTURE)[None, :], np.linspace(-1, 1, PICTURE)[:, None]
    light = 1.0 + rng.uniform(-0.09, 0.09) * xs + rng.uniform(-0.09, 0.03) * ys
    wall = np.asarray(subject.wall) * gain
    canvas = np.clip(light[..., None] * wall, draw.DARKEST, draw.BRIGHTEST).astype(np.uint8)
    tone = draw.clip_colour(wall * rng.uniform(0.72, 0.85))
    other = draw.clip_colour(np.array([rng.uniform(90, 150), rng.uniform(110, 180), rng.uniform(120, 200)]) * gain)
    side = 0 if rng.uniform() < 0.5 else 1
    if subject.room == "frame":
        x, y = (10, 330)[side] + rng.uniform(0, 20), rng.uniform(20, 70)
        draw.rectangle(canvas, (x, y), (x + 80, y + 62), tone * 0.7)
        draw.rectangle(canvas, (x + 6, y + 6), (x + 74, y + 56), other)
    elif subject.room == "door":
        x = (0, 356)[side]
        draw.rectangle(canvas, (x, 20 + rng.uniform(0, 30)), (x + 92, PICTURE), tone)
        draw.ellipse(canvas, ((80, 368)[side], 250), (5, 5), other)
    elif subject.room == "shelf":
        y = rng.uniform(60, 120)
        draw.rectangle(canvas, ((0, 330)[side], y), ((118, 448)[side], y + 8), tone * 0.8)
        for k in range(4):
            x = (8, 345)[side] + 24 * k
            height = rng.uniform(22, 44)
            draw.rectangle(
                canvas,
                (x, y - height),
                (x + 16, y),
                draw.clip_colour(rng.uniform((70, 90, 100), (150, 180, 200)) * gain),
            )
    elif subject.room == "panel":
        draw.rectangle(canvas, (0, rng.uniform(250, 330)), (PICTURE, PICTURE), tone)
    return canvas


def paint_head(subject: Subject, gain: float, zoom: float, tilt: float, blink: bool) -> tuple[draw.Canvas, draw.Mask]:
    """The head as a sprite with its coverage; its centre is the sprite's centre."""
    size = int(np.ceil(_HEAD_BOX * zoom)) * 2
    canvas = np.zeros((size, size, 3), np.uint8)
    mask = np.zeros((size, size), np.float32)
    rx, ry = subject.body.head_rx * zoom, subject.body.head_ry * zoom
    skin, hair = draw.clip_colour(subject.skin, gain), draw.clip_colour(subject.hair, gain)
    cos, sin = np.cos(tilt), np.sin(tilt)

    def at(x: float, y: float) -> Array:
        """A place on the head in units of its half axes."""
        u, v = x * rx, y * ry
        return np.array([u * cos - v * sin, u * sin + v * cos]) + size / 2

    style = subject.hair_style
    if style in ("bob", "long"):
        top, tips = np.stack([at(-0.72, -0.35), at(0.72, -0.35)]), np.stack([at(-0.92, 0.72), at(0.92, 0.72)])
        draw.capsules(canvas, top, tips, 0.38 * rx, 0.26 * rx, hair, mask=mask)
    if style != "bald":
        draw.ellipse(canvas, at(0, -0.22), (1.1 * rx, 0.95 * ry), hair, tilt, mask=mask, above=0.25 * ry)
    for sign in SIGN:
        draw.ellipse(canvas, at(sign * 1.0, 0.02), (0.16 * rx, 0.19 * ry), skin * 0.93, tilt, mask=mask)
    draw.ellipse(canvas, at(0, 0), (rx, ry), skin, tilt, rim=0.2, mask=mask)
    if subject.beard:
        tone = 0.6 * hair + 0.4 * skin
        corners = np.stack([at(-0.80, 0.22), at(-0.56, 0.70), at(0.0, 0.84), at(0.56, 0.70), at(0.80, 0.22)])
        draw.capsules(canvas, corners[:-1], corners[1:], 0.13 * rx, 0.15 * rx, tone, rim=0.1)
        draw.capsules(canvas, at(-0.26, 0.38), at(0.26, 0.38), 0.08 * rx, 0.08 * rx, tone, rim=0.1)
    if style in ("bob", "long", "cap"):
        line = (-0.62 if style == "cap" else -0.58) * ry
        draw.ellipse(canvas, at(0, -0.12), (1.03 * rx, 0.98 * ry), hair, tilt, rim=0.15, above=line, mask=mask)
    elif style == "short":
        draw.ellipse(canvas, at(0, -0.1), (1.02 * rx, 0.99 * ry), hair, tilt, rim=0.15, above=-0.68 * ry, mask=mask)
    _paint_face(canvas, subject, at, rx, ry, tilt, skin, hair, blink)
    return canvas, mask


def _paint_face(
    canvas: draw.Canvas, subject: Subject, at: Callable[[float, float], Array], rx: float, ry: float, tilt: float,
    skin: Paint, hair: Paint, blink: bool,
) -> None:  # fmt: skip
    white, dark = np.array([232.0, 230.0, 226.0], np.float32), np.array([44.0, 34.0, 30.0], np.float32)
    for sign in SIGN:
        eye = at(sign * 0.40, -0.10)
        if blink:
            draw.capsules(canvas, at(sign * 0.25, -0.09), at(sign * 0.55, -0.09), 1.2, 1.2, skin * 0.6, rim=0.0)
        else:
            draw.ellipse(canvas, eye, (0.19 * rx, 0.075 * ry), white, tilt, rim=0.35)
            draw.ellipse(canvas, eye, (0.085 * rx, 0.07 * ry), dark, tilt, rim=0.0)
        brow = at(sign * 0.22, -0.27), at(sign * 0.60, -0.29)
        draw.capsules(canvas, *brow, 0.05 * rx, 0.035 * rx, hair * 0.8, rim=0.0)
        if subject.glasses:
            for turn in range(8):
                a, b = 2 * np.pi * turn / 8, 2 * np.pi * (turn + 1) / 8
                start = at(sign * 0.41 + 0.29 * np.cos(a), -0.09 + 0.16 * np.sin(a))
                end = at(sign * 0.41 + 0.29 * np.cos(b), -0.09 + 0.16 * np.sin(b))
                draw.capsules(canvas, start, end, 1.4, 1.4, dark, rim=0.0)
    if subject.glasses:
        draw.capsules(canvas, at(-0.12, -0.1), at(0.12, -0.1), 1.3, 1.3, dark, rim=0.0)
    draw.capsules(canvas, at(0.0, -0.08), at(0.02, 0.2), 0.05 * rx, 0.11 * rx, skin * 0.88, rim=0.12)
    lips = np.array([skin[0] * 0.86, skin[1] * 0.55, skin[2] * 0.55], np.float32)
    draw.capsules(canvas, at(-0.27, 0.5), at(0.27, 0.5), 0.06 * rx, 0.06 * rx, lips, rim=0.25)
    draw.capsules(canvas, at(-0.25, 0.5), at(0.25, 0.5), 0.8, 0.8, lips * 0.55, rim=0.0)
