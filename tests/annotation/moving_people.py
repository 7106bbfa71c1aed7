"""Hand-made movements as keypoints, for the tests of proposals.

Places are right, up and forward of the person in shoulder widths, from the middle of the shoulders. A way takes times
0 to 1 to places.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from microgesture.data.keypoints import Layout, read_layout

Array = npt.NDArray[np.float64]
Way = Callable[[Array], Array]

RESTS = {"left": (-0.65, -1.5, 0.2), "right": (0.65, -1.5, 0.2)}
BODY = {
    "head": (0, 0.7, 0), "nose": (0, 0.65, 0.2), "eye": (0.11, 0.75, 0.2), "ear": (0.28, 0.72, 0),
    "shoulder": (0.5, 0, 0), "hip": (0.25, -1.2, 0), "knee": (0.27, -2.3, 0.05), "ankle": (0.27, -3.3, 0),
    "foot": (0.3, -3.4, 0.2), "shoulder_center": (0, 0.05, 0), "neck": (0, 0, 0), "spine": (0, -0.9, 0),
    "hip_center": (0, -1.2, 0), "mid_hip": (0, -1.2, 0), "spine_base": (0, -1.2, 0),
}  # fmt: skip


def ease(u: Array) -> Array:
    u = np.clip(u, 0, 1)
    return u * u * (3 - 2 * u)


def out_and_back(*places: tuple[float, float, float], side: str = "right") -> Way:
    """From rest through the places, one after the other, and back to rest."""
    points = np.array([RESTS[side], *places, RESTS[side]], float)

    def way(u: Array) -> Array:
        step = np.clip((u - 0.1) / 0.8, 0, 1) * (len(points) - 1)
        part = sum(ease(step - number)[:, None] * (b - a) for number, (a, b) in enumerate(pairwise(points)))
        return points[0] + part

    return way


def at(place: tuple[float, float, float], stroke: Callable[[Array], Array], side: str = "right") -> Way:
    """Out to a place, there a stroke (0 to 1 -> displacement), and back."""

    def way(u: Array) -> Array:
        come = (ease((u - 0.08) / 0.2) * (1 - ease((u - 0.75) / 0.2)))[:, None]
        rest = np.array(RESTS[side])
        return rest + come * (np.array(place, float) + stroke(np.clip((u - 0.3) / 0.43, 0, 1)) - rest)

    return way


def circle(radius: float, sense: int) -> Callable[[Array], Array]:
    """From the top once round, `sense` 1 clockwise as the person sees it."""

    def stroke(v: Array) -> Array:
        angle = 2 * np.pi * 1.2 * v
        return radius * np.stack([sense * np.sin(angle), np.cos(angle), 0 * v], -1)

    return stroke


def swing(width: tuple[float, float, float], times: float) -> Callable[[Array], Array]:
    """Back and forth so many times."""
    return lambda v: np.sin(2 * np.pi * times * v)[:, None] * np.array(width, float) / 2


def still(v: Array) -> Array:
    return np.zeros((len(v), 3))


def person(
    layout: str = "kinect_20", right: Way | None = None, left: Way | None = None, *, seconds: float = 2.4,
    fps: float = 30.0, size: float = 0.35, where: tuple[float, float, float] = (0.1, 0.2, 2.5),
    joints: dict[str, Way] | None = None, hips: Way | None = None, mirrored: bool = False,
) -> npt.NDArray[np.float64]:  # fmt: skip
    """Keypoints `(T, J, 3)` of somebody who faces the camera.

    Args:
        layout: In metres, or in pixels (then `size` is 100 times as many pixels).
        right: Way of the right hand; `None`: it rests.
        left: Way of the left hand.
        seconds: Length.
        fps: Frames per second.
        size: Shoulder width in metres.
        where: Of the middle of the shoulders, from the camera.
        joints: What is added to the places of other joints.
        hips: What is added to the places of all joints but feet and ankles.
        mirrored: Whether the picture is a mirror image.
    """
    about: Layout = read_layout(layout)
    u = np.arange(round(seconds * fps)) / (seconds * fps)
    hands = {"right": right, "left": left}
    arms: dict[str, Array] = {}
    for side, sign in (("left", -1), ("right", 1)):
        way = hands[side] or (lambda v, rest=RESTS[side]: np.tile(rest, (len(v), 1)).astype(float))
        wrist, shoulder = way(u), np.array([sign * 0.5, 0, 0])
        arms[f"{side}_wrist"] = wrist
        arms[f"{side}_elbow"] = (wrist + shoulder) / 2 + np.array([sign * 0.3, -0.3, -0.1])
        arms[f"{side}_hand"] = wrist + 0.15 * (wrist - arms[f"{side}_elbow"])
        arms[f"{side}_hand_root"] = wrist
        for finger in ("thumb", "index", "middle", "ring", "little"):
            arms[f"{side}_{finger}_tip"] = wrist + 0.3 * (wrist - arms[f"{side}_elbow"])
    points = np.zeros((len(u), len(about.names), 3))
    for place, name in enumerate(about.names):
        side, _, part = name.partition("_")
        if name in arms:
            points[:, place] = arms[name]
        elif name in BODY:
            points[:, place] = BODY[name]
        elif part in BODY:
            points[:, place] = np.array(BODY[part]) * ((-1 if side == "left" else 1), 1, 1)
        else:
            continue  # not seen: all 0
        if hips is not None and part not in ("ankle", "foot"):
            points[:, place] += hips(u)
        if joints and name in joints:
            points[:, place] += joints[name](u)
    return _filmed(points, about, size, where, mirrored)


def _filmed(points: Array, about: Layout, size: float, where: tuple[float, float, float], mirrored: bool) -> Array:
    unseen = (points == 0).all(-1)
    if about.unit == "metres":
        out = points * (size, size, -size) + np.array(where)  # x to the person's right, z away from the camera
    else:
        x = 640 + 100 * (where[0] + (1 if mirrored else -1) * size * points[..., 0])
        out = np.stack([x, 360 - 100 * (where[1] + size * points[..., 1]), np.full(x.shape, 0.9)], -1)
    out[unseen] = 0
    return out
