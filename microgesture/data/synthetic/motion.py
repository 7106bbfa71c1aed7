"""From a programme to movement: where hands, head, shoulders and knees are in each of T frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from microgesture.data.synthetic.figure import REACH, SIGN, Array, Body, Motion
from microgesture.data.synthetic.gestures import Programme

FPS = 28

_SHAPES = {  # spread, curl of the index, curl of the others, thumb
    "relaxed": (0.3, 0.30, 0.35, 0.2),
    "flat": (0.25, 0.0, 0.0, 0.3),
    "open": (0.9, 0.0, 0.0, 1.0),
    "point": (0.1, 0.0, 0.75, 0.2),
    "claw": (0.7, 0.30, 0.30, 0.5),
    "pinch": (0.1, 0.45, 0.65, 0.0),
    "fist": (0.1, 0.85, 0.9, 0.0),
}
_HAND_OF_MOTION = {
    "touch": ("point", "tips"), "scratch": ("claw", "tips"), "rub": ("flat", "palm"), "cover": ("open", "palm"),
    "press": ("flat", "palm"), "hold": ("claw", "palm"), "place": ("flat", "palm"), "fold": ("flat", "palm"),
    "cross": ("flat", "palm"), "adjust": ("pinch", "tips"), "pull": ("pinch", "tips"), "brush": ("open", "tips"),
    "manipulate": ("pinch", "tips"), "interlace": ("open", "tips"), "steeple": ("flat", "tips"),
    "gesticulate": ("open", "palm"), "raise": ("open", "palm"), "wave": ("open", "palm"), "shake": ("flat", "palm"),
}  # fmt: skip
_HAND_OF_SITE = {"fold": "flat", "behind": "relaxed", "akimbo": "relaxed", "akimbo_one": "relaxed"}
_CYCLES = {"scratch": 3.0, "rub": 2.0, "brush": 2.0, "manipulate": 2.0, "gesticulate": 1.5, "shake": 2.5, "wave": 2.5}

_MID, _DOWN_OUT, _WIDE, _BACK = (0.6, 0.8, 0.2), (0.45, 1.0, 0.15), (1.0, 0.1, -0.1), (1.0, 0.2, -0.8)


@dataclass(frozen=True)
class Site:
    """Where a hand goes: `x` counts from the midline toward the hand's own side, figure pixels.

    Args:
        x, y, z: The place.
        pole: Where the elbow points, x toward the hand's own side.
        angle: Direction of the hand: 0 horizontally toward the other side, 90 up, -90 down; `None` as the forearm.
        head: Whether the place moves with the head.
        other: What the second hand does: `rest`, `same` (mirrored), `counter` (mirrored, the other way), `offer` or
            `offer_pen` (holds still what the first one handles).
        line: Direction of an undirected line (`back_and_forth`, `sideways` as for `angle`), degrees.
        layer: As in `Motion`.
    """

    x: float
    y: float
    z: float
    pole: tuple[float, float, float] = _MID
    angle: float | None = None
    head: bool = False
    other: str = "rest"
    line: float = 0.0
    layer: int = 0


SITES: dict[str, Site] = {
    "eyes": Site(15, -6, 46, (0.3, 1.0, 0.1), 60, head=True),
    "eyes_both": Site(17, -6, 46, (0.5, 1.0, 0.2), 60, head=True, other="same"),
    "forehead": Site(8, -34, 42, (0.9, 0.5, 0.2), 55, head=True),
    "cheek": Site(27, 20, 40, (0.2, 1.0, 0.1), 80, head=True, line=80),
    "mouth": Site(5, 31, 46, (0.3, 1.0, 0.1), 55, head=True),
    "jaw": Site(16, 47, 38, (0.2, 1.0, 0.0), 75, head=True),
    "ear": Site(42, 4, 10, (0.7, 0.8, 0.0), 85, head=True, line=80),
    "hair_top": Site(14, -64, 12, (1.0, -0.5, 0.0), 35, head=True),
    "hair_side": Site(44, -34, 6, (1.0, -0.2, 0.0), 55, head=True, line=70),
    "hair_both": Site(38, -46, 6, (1.0, -0.3, 0.0), 50, head=True, other="same", line=70),
    "neck_side": Site(24, -20, 16, (1.0, 0.15, 0.1), 30, line=70),
    "neck_base": Site(34, -2, 14, (1.0, 0.25, 0.1), 30),
    "notch": Site(0, 6, 34, (0.8, 0.7, 0.0), 12),
    "collar": Site(22, 9, 34, (0.0, 1.0, 0.0), 95),
    "collar_both": Site(22, 9, 34, (0.1, 1.0, 0.0), 95, other="same"),
    "pendant": Site(2, 48, 38, (0.5, 0.8, 0.0), 50),
    "body_chest": Site(-28, 58, 34, _DOWN_OUT, 0),
    "body_belly": Site(2, 124, 34, _DOWN_OUT, -15),
    "body_arm": Site(-84, 84, 32, _DOWN_OUT, 0, line=90),
    "body_shoulder": Site(-62, 12, 34, _DOWN_OUT, 20),
    "body_back": Site(26, 122, -35, _BACK, 0, line=90, layer=2),
    "body_leg": Site(40, 214, 26, _DOWN_OUT, -90, line=90),
    "hold_upper": Site(-82, 62, 34, _DOWN_OUT, 15, line=90),
    "hold_fore": Site(-88, 128, 30, _DOWN_OUT, -10, line=90),
    "fold": Site(-46, 74, 40, (0.5, 1.0, 0.2), 8, other="same", line=0),
    "behind": Site(-8, 128, -35, (1.0, 0.3, -0.9), -5, other="same", layer=2),
    "akimbo": Site(54, 132, 12, _WIDE, -35, other="same"),
    "akimbo_one": Site(54, 132, 12, _WIDE, -35),
    "hands": Site(4, 120, 42, _DOWN_OUT, 10, other="counter", line=30),
    "fingers": Site(3, 116, 42, _DOWN_OUT, 25, other="same", line=20),
    "steeple": Site(2, 106, 44, _DOWN_OUT, 65, other="same", line=90),
    "watch": Site(-14, 72, 46, _DOWN_OUT, 10, other="offer"),
    "pen": Site(22, 64, 46, _DOWN_OUT, 60, other="offer_pen", line=20),
    "air_one": Site(94, 78, 60, _DOWN_OUT, 60, line=20),
    "air_both": Site(86, 82, 60, _DOWN_OUT, 50, other="same", line=20),
}
_LEGS = ("leg_shift", "leg_raise", "cross")
_TRUNK = ("shoulders", "sink")


@dataclass(frozen=True)
class Timing:
    """When things happen in one clip; drawn without looking at the class.

    Args:
        frames: Length of the clip.
        onset: Start of the approach in units of its length; negative for a clip that is cut into the running motion.
        tempo: Factor on the speed of everything.
        returns: Whether the hand goes back to rest at the end.
        rest: `hanging`, `front` or `thighs`: posture before and after.
        sway: Amplitude of the idle sway in pixels.
        seed: Seed of sway, idle head and tremor.
    """

    frames: int
    onset: float
    tempo: float
    returns: bool
    rest: str
    sway: float
    seed: int


def move(programme: Programme, timing: Timing, body: Body, zoom: float) -> Motion:
    """The movement of one clip."""
    rng = np.random.default_rng([timing.seed, 1])
    motion = idle(timing, body, rng)
    perform(motion, programme, timing, body, zoom, 0, timing.frames)
    return motion


def idle(timing: Timing, body: Body, rng: np.random.Generator) -> Motion:
    """A person who stands there: sway, breath, small movements of the head."""
    T = timing.frames
    seconds = np.arange(T) / FPS
    wrist = np.zeros((T, 2, 3))
    angle = np.zeros((T, 2))
    pole = np.tile([[0.6, 0.5, -0.5], [-0.6, 0.5, -0.5]], (T, 1, 1)).astype(float)
    shape = np.tile(_SHAPES["relaxed"], (T, 2, 1))
    rests = {"hanging": (13, 188, 6, 95), "front": (-53, 150, 44, 50), "thighs": (-18, 158, 30, 110)}
    x, y, z, degrees = rests[timing.rest]
    for k in (0, 1):
        wrist[:, k] = (SIGN[k] * (body.shoulder + x), y + rng.uniform(-5, 3), z + 4 * k)
        angle[:, k] = np.deg2rad(degrees if k else 180.0 - degrees) + rng.uniform(-0.1, 0.1)
    sway = np.stack([_wander(seconds, rng, timing.sway), _wander(seconds, rng, 0.35 * timing.sway)], -1)
    head = np.stack([_wander(seconds, rng, 1.5), _wander(seconds, rng, 1.0), _wander(seconds, rng, 0.035)], -1)
    zero = np.zeros((T, 2))
    layer = np.zeros((T, 2), np.int64)
    whole = np.rint(sway).astype(np.int64)
    grip, front = np.zeros((T, 2), np.int64), np.zeros(T, np.int64)
    knee = np.zeros((T, 2, 2))
    return Motion(wrist, angle, shape, pole, layer, head, zero, knee, whole, grip, front, wrist[0].copy())


def _wander(seconds: Array, rng: np.random.Generator, size: float) -> Array:
    """A slow smooth line around 0 with standard deviation about `size`."""
    line = np.zeros_like(seconds)
    for low, high, part in ((0.1, 0.3, 1.0), (0.3, 0.7, 0.5)):
        line += part * np.sin(2 * np.pi * (rng.uniform(low, high) * seconds + rng.uniform()))
    return size * line


def perform(
    motion: Motion, programme: Programme, timing: Timing, body: Body, zoom: float, first: int, last: int
) -> None:
    """Writes one gesture into frames `first` to `last` (exclusive) of a movement."""
    T = last - first
    envelope, stroke = _phases(T, timing)
    cycles = _CYCLES.get(programme.truth.motion_type or "", 1.0) * timing.tempo
    cycles = cycles if cycles >= 1.5 else 1.0  # no second stroke that is cut off at once
    size = programme.amplitude_px / zoom
    window = slice(first, last)
    if programme.site in _TRUNK:
        _trunk(motion, programme, window, envelope, stroke, cycles, size)
    elif programme.site in _LEGS:
        _legs(motion, programme, window, envelope, stroke, cycles, size)
    else:
        _arms(motion, programme, window, envelope, stroke, cycles, size, body)


def _phases(T: int, timing: Timing) -> tuple[Array, Array]:
    """How far the approach has come (0 rest, 1 there) and how far the stroke (0 to 1) in each frame."""
    reach = min(11.0 / timing.tempo, 0.24 * T)
    start = timing.onset * reach
    back = T - reach if timing.returns else T + 1e6
    frame = np.arange(T, dtype=float)
    envelope = _ease((frame - start) / reach) * (1.0 - _ease((frame - back) / reach))
    stroke = np.clip((frame - start - 0.8 * reach) / (min(back, T) - start - 0.8 * reach), 0.0, 1.0)
    return envelope, stroke


def _ease(u: Array) -> Array:
    u = np.clip(u, 0.0, 1.0)
    return u * u * (3.0 - 2.0 * u)


def _profile(direction: str, stroke: Array, cycles: float, line: float, sign: float, heading: int) -> Array:
    """Where on its line the class-defining joint is, `(T, 2)` in units of the amplitude, x toward the picture's right.

    A word for a way (`up`) is a slow movement that way with a quick return; a word for a line swings evenly.
    """
    phase = stroke * cycles
    ways = {
        "up": (0.0, -1.0), "down": (0.0, 1.0), "left": (1.0, 0.0), "right": (-1.0, 0.0), "sideways": (heading, 0.0),
        "inward": (-0.9 * sign, -0.44), "outward": (0.9 * sign, 0.44), "forward": (0.3 * sign, 0.95),
        "backward": (0.5 * sign, -0.87),
    }  # fmt: skip
    if direction == "circular":
        turn = 2 * np.pi * phase * heading
        return 0.5 * np.stack([np.cos(turn), np.sin(turn)], -1)
    if direction == "back_and_forth":
        tilt = np.deg2rad(line)
        swing = 0.5 * heading * np.sin(2 * np.pi * np.maximum(phase, 1e-9))
        return swing[:, None] * np.array([-sign * np.cos(tilt), -np.sin(tilt)])
    if direction == "static":  # comes to rest from a little outside, then stays
        return (_ease(stroke / 0.35) - 1.0)[:, None] * np.array([-0.9 * sign, -0.44])
    whole, part = np.floor(phase), phase % 1.0
    done = np.where((whole >= np.floor(cycles)) & (part < 1e-9), 1.0, part)
    rise = _ease(done / 0.7) if cycles >= 1.5 else _ease(done)
    saw = np.where((done > 0.7) & (cycles >= 1.5), 1.0 - _ease((done - 0.7) / 0.3), rise)
    return (saw - 0.5)[:, None] * np.array(ways[direction])


def _trunk(
    motion: Motion, p: Programme, window: slice, envelope: Array, stroke: Array, cycles: float, size: float
) -> None:
    if p.truth.direction == "back_and_forth" or p.truth.motion_type == "shake":
        rise = envelope * (0.5 - 0.5 * np.cos(2 * np.pi * max(cycles, 1.5) * stroke))
    else:
        rise = envelope * (0.4 + 0.6 * _ease(stroke / 0.6))
    rise = rise / max(float(np.ptp(rise)), 1e-6)  # also a clip that is cut into the movement shows its whole extent
    shoulders, head = (1.0, 0.35) if p.site == "shoulders" else (0.5, 1.0)
    motion.lift[window] += (shoulders * size * rise)[:, None]
    motion.head[window, 1] += head * size * rise
    motion.head[window, 0] += 0.1 * p.heading * size * rise
    motion.wrist[window, :, 1] -= (0.8 * shoulders * size * rise)[:, None]


def _legs(
    motion: Motion, p: Programme, window: slice, envelope: Array, stroke: Array, cycles: float, size: float
) -> None:
    leg = 0 if p.side == "left" else 1
    sign = SIGN[leg]
    direction = p.truth.direction or "sideways"
    if p.site == "cross":
        motion.front_leg[window] = leg
        travel = np.array([-sign * 62.0, -6.0])
        path = _profile("static" if direction == "inward" else direction, stroke, cycles, 0.0, sign, p.heading)
        path[:, 1] *= 0.4
        motion.knee[window, leg] += envelope[:, None] * (travel + size * path)
        return
    if p.site == "leg_raise":
        motion.front_leg[window] = leg
    line = 90.0 if p.site == "leg_raise" else 0.0
    path = _profile(direction, stroke, max(cycles, 1.5), line, sign, p.heading)
    path = path - path[0]
    raised = p.site == "leg_raise" or direction == "up"
    if raised:
        path[:, 1] = -np.abs(path[:, 1])
        path[:, 0] = sign * np.abs(path[:, 1])  # seen from the front, a raised knee shows by turning outward
    path = envelope[:, None] * path
    path *= size / max(float(np.ptp(path, axis=0).max()), 1e-6)
    legs = (0, 1) if p.truth.initiator == "both_legs" else (leg,)
    for k in legs:
        outward = np.array([SIGN[k] * sign, 1.0]) if raised else np.ones(2)
        motion.knee[window, k] += path * outward
    if p.truth.initiator == "both_legs":
        motion.sway[window] += np.rint(0.25 * path).astype(np.int64)


def _arms(
    motion: Motion, p: Programme, window: slice, envelope: Array, stroke: Array, cycles: float, size: float, body: Body
) -> None:
    site, active = SITES[p.site], 0 if p.side == "left" else 1
    both = site.other == "same"
    _hand(motion, p, window, envelope, stroke, cycles, size, body, site, active, 1.0)
    if both:
        _hand(motion, p, window, envelope, stroke, cycles, size, body, site, 1 - active, 1.0)
    elif site.other == "counter":
        _hand(motion, p, window, envelope, stroke, cycles, size, body, site, 1 - active, -1.0)
    elif site.other == "offer":
        still = Site(20, 74, 36, _DOWN_OUT, 5)
        _hand(motion, p, window, envelope, stroke, cycles, 0.0, body, still, 1 - active, 1.0, "flat")
    elif site.other == "offer_pen" and p.truth.initiator != "hand":
        still = Site(8, 76, 38, _DOWN_OUT, 20)
        _hand(motion, p, window, envelope, stroke, cycles, 0.0, body, still, 1 - active, 1.0, "pinch")
    if p.site == "fold":  # one forearm lies over the other
        motion.wrist[window, active, 1] += 12.0 * envelope
        motion.wrist[window, 1 - active, 2] -= 8.0 * envelope


def _hand(
    motion: Motion, p: Programme, window: slice, envelope: Array, stroke: Array, cycles: float, size: float,
    body: Body, site: Site, k: int, way: float, shape_name: str | None = None,
) -> None:  # fmt: skip
    """Moves one hand to a site, through its stroke and back."""
    sign = SIGN[k]
    shape, contact = _HAND_OF_MOTION.get(p.truth.motion_type or "", ("flat", "palm"))
    if p.truth.initiator == "fingers" and shape in ("flat", "open") and p.site not in ("fingers", "steeple"):
        shape, contact = "point", "tips"
    shape = shape_name or _HAND_OF_SITE.get(p.site, shape)
    place = np.array([sign * site.x, site.y, site.z], float)
    if site.head:
        place[:2] += (0.0, body.head_centre[1])
    elbow = np.array([sign * (body.shoulder + 30.0), 100.0])
    away = elbow - place[:2]
    natural = np.rad2deg(np.arctan2(away[1], sign * away[0]))
    degrees = np.deg2rad(natural if site.angle is None else site.angle)
    direction = np.array([-sign * np.cos(degrees), -np.sin(degrees), 0.0])
    path = np.zeros((len(stroke), 3))
    path[:, :2] = way * size * _profile(p.truth.direction or "static", stroke, cycles, site.line, sign, p.heading)
    if site.head:
        path[:, :2] += motion.head[window, :2]
    target = place - REACH[contact] * direction + path
    e = envelope[:, None]
    arc = np.zeros_like(target)
    arc[:, 2] = (-30.0 if site.layer else 30.0) * np.sin(np.pi * envelope)
    motion.wrist[window, k] += e * (target - motion.wrist[window, k]) + arc
    wanted = np.arctan2(direction[1], direction[0])
    turn = (wanted - motion.angle[window, k] + np.pi) % (2 * np.pi) - np.pi
    motion.angle[window, k] += envelope * turn
    motion.pole[window, k] += e * (np.array(site.pole) * [sign, 1.0, 1.0] - motion.pole[window, k])
    motion.shape[window, k] += e * (np.array(_SHAPES[shape]) - motion.shape[window, k])
    if shape == "claw" and p.truth.motion_type == "scratch":
        motion.shape[window, k, 1:3] += e * 0.25 * np.sin(4 * np.pi * cycles * stroke)[:, None]
    if site.layer:
        motion.layer[window, k] = np.where(envelope > 0.25, site.layer, motion.layer[window, k])
    if p.site.startswith("collar"):
        motion.grip[window, k] = (envelope > 0.9) & (stroke < 1.0)
    elif p.site == "pen" and shape_name is None:
        motion.grip[window, k] = 2 * (envelope > 0.0)


def defining_joint(programme: Programme) -> str:
    """The keypoint whose movement defines the class in this clip."""
    if programme.site == "shoulders":
        return "shoulder_left"
    if programme.site == "sink":
        return "head"
    return f"{'knee' if programme.site in _LEGS else 'hand'}_{programme.side}"
