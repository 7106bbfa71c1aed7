"""Which part of the body moves: by displacement, and by how trunk and legs carry a person.

Lengths are shoulder widths (`motion_features`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from microgesture.annotation.courses import course_of
from microgesture.annotation.motion_features import Array, Body, UnseenError
from microgesture.annotation.touched import touched

MOVES = 0.03  # root mean square displacement of a part that moves at all; smoothed jitter has 0.01 to 0.02
HANDS = 0.1  # of hands that are what moves, whatever else does
BOTH = 0.6  # share of the other hand's displacement from which both hands move
SEAT = 0.6  # how far the hips are in the end from where they were when somebody sat down or rose
SQUAT = 0.9  # how far they sink when somebody squats; less is a jump, or legs that help the arms
BEND = 0.75  # share of its length to which an upright trunk does not shorten
STRIDE = 0.8  # how far a foot gets when somebody steps …
RESTS = 0.35  # … and the hands do not move more than this
STEP = 0.3  # how far a knee swings when somebody walks on the spot …
ARMS_SWING = 3.5  # … with arms that swing no more than this many times as far
BESIDE = 0.15  # distance of the knees, side by side, below which one leg crosses the other


@dataclass(frozen=True)
class Mover:
    """What moves.

    Args:
        part: `hands`, `legs`, `torso`, `shoulders` or `head`.
        sides: Which of a pair, the one that moves more first; empty for single parts.
        clear: How far it is ahead of the next, 0 to 1.
    """

    part: str
    sides: tuple[str, ...]
    clear: float


def who_moves(body: Body) -> Mover:
    """Which part moves: trunk and legs where they carry the person, else the part with the largest displacement."""
    joints = body.joints
    middle = joints["middle"]
    hands = {side: _displacement(joints[f"{side}_wrist"] - middle) for side in ("left", "right")}
    carried = _carried(body, max(hands.values()))
    if carried is not None:
        return carried
    parts: dict[str, float] = {"hands": max(hands.values())}
    knees: dict[str, float] = {}
    if "hips" in joints:
        hips = joints["hips"]
        knees = {s: _displacement(joints[f"{s}_knee"] - hips) for s in hands if f"{s}_knee" in joints}
        parts |= {"legs": max(knees.values(), default=0.0), "shoulders": _displacement(middle - hips)}
    if "head" in joints:
        parts["head"] = _displacement(joints["head"] - joints.get("hips", middle))
    first = "hands" if parts["hands"] >= HANDS else max(parts, key=parts.__getitem__)
    if parts[first] < MOVES:
        return _at_rest(body)
    second = max(size for part, size in parts.items() if part != first) if len(parts) > 1 else 0.0
    clear = float(np.clip(1 - second / parts[first], 0.0, 1.0))
    sides = _sides({"hands": hands, "legs": knees}.get(first, {}))
    return Mover(first, sides, clear)


def _carried(body: Body, hands: float) -> Mover | None:
    """Sitting down, rising, squatting, lunging, walking on the spot."""
    joints = body.joints
    if "hips" not in joints:
        return None
    hips = joints["hips"]
    feet = {s: _reach(joints[f"{s}_ankle"]) for s in ("left", "right") if f"{s}_ankle" in joints}
    if feet and max(feet.values()) > STRIDE:
        return Mover("legs", _sides(feet)[:1], 1.0 - hands) if hands < RESTS else None
    gone = np.linalg.norm(hips[-3:].mean(0) - hips[:3].mean(0))
    if feet and gone > SEAT:
        return Mover("torso", (), min(1.0, float(gone) / SEAT - 1))
    trunk = joints["middle"][:, 1] - hips[:, 1]
    if feet and np.ptp(hips[:, 1]) > SQUAT and trunk.min() > BEND * np.median(trunk):
        return Mover("legs", ("left", "right"), min(1.0, np.ptp(hips[:, 1]) / SQUAT - 1))
    knees = {s: joints[f"{s}_knee"] - hips for s in ("left", "right") if f"{s}_knee" in joints}
    if len(knees) == 2 and all(_reach(knee) > STEP and course_of(knee).strokes >= 3 for knee in knees.values()):
        legs = max(_displacement(knee) for knee in knees.values())
        if hands < ARMS_SWING * legs:
            return Mover("legs", ("left", "right"), 1 - hands / (ARMS_SWING * legs))
    return None


def _at_rest(body: Body) -> Mover:
    """A person who does not move: hands that are at something hold it.

    Raises:
        UnseenError: They are not.
    """
    span = slice(0, len(body))
    at = {side: touched(body, side, True, span) for side in ("left", "right")}
    sides = tuple(side for side, (word, _) in at.items() if word not in ("air", "leg"))
    if not sides:
        raise UnseenError("nothing moves, and no hand is at anything")
    return Mover("hands", sides, 0.0)


def _sides(sizes: dict[str, float]) -> tuple[str, ...]:
    """The side that moves more, and the other where it moves nearly as much."""
    first, *others = sorted(sizes, key=sizes.__getitem__, reverse=True) or ("",)
    return tuple(side for side in (first, *others) if side and sizes[side] >= BOTH * sizes[first])


def _displacement(path: Array) -> float:
    return float(np.sqrt(((path - path.mean(0)) ** 2).sum(-1).mean()))


def _reach(path: Array) -> float:
    return float(np.linalg.norm(path - path[:3].mean(0), axis=-1).max())


def leg_path(body: Body, mover: Mover) -> Array:
    """What goes when legs move: the foot that steps, the hips where both feet stay, else the knee."""
    joints, side = body.joints, mover.sides[0]
    if f"{side}_ankle" in joints and _reach(joints[f"{side}_ankle"]) > STRIDE:
        return joints[f"{side}_ankle"]
    if len(mover.sides) == 2 and np.ptp(joints["hips"][:, 1]) > SQUAT:
        return joints["hips"]
    return joints[f"{side}_knee"] - joints["hips"]


def knees_pass(body: Body) -> bool:
    """Whether one knee comes before the other, or nearly."""
    if "left_knee" not in body.joints or "right_knee" not in body.joints:
        return False
    apart = (body.joints["right_knee"] - body.joints["left_knee"])[:, 0]
    return bool(apart.min() < BESIDE < apart.max() - BESIDE)
