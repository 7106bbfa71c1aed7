"""From keypoints to movement that rules can read: in the person's own axes, in shoulder widths and in seconds.

What depends on the camera, the person's size, the place and the frame rate is taken out here: axes are the person's
right, up and (where the layout has depth) forward; lengths are shoulder widths; time has a fixed rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from microgesture.data.keypoints import Layout

Array = npt.NDArray[np.float64]

RATE = 30.0  # samples per second of everything below; gestures end below 5 Hz
SMOOTHING = 0.06  # seconds, standard deviation: takes three fifths of white jitter away, a quarter of a swing of 2 Hz
MOST_MISSING = 0.35  # seconds without a joint that are bridged by a straight line: half a swing of 1.5 Hz
LEAST_SEEN = 0.2  # confidence below which a joint counts as missing, where the layout has confidences
SHORTEST = 0.3  # seconds; a shorter clip shows no course
PALM = 0.3  # of the forearm's length lies between the wrist and the fingers' roots, where no hand joint is given
SIDEWAYS = 0.6  # shoulder width over the torso's length below which a person stands sideways: that is the unit then

PARTS = (
    "eye", "ear", "shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "index_tip", "middle_tip", "hand_tip",
)  # fmt: skip
USED = frozenset({"head", "nose", "hip_center", "spine_base", "mid_hip"}) | {
    f"{side}_{part}" for side in ("left", "right") for part in PARTS
}
"""The joints that rules look at, of whatever layout."""


class UnseenError(ValueError):
    """A clip that no record can be proposed for; the message is the reason."""


@dataclass(frozen=True)
class Body:
    """One person's movement: places `(T, 3)` right, up, forward, in shoulder widths, at `RATE`.

    Args:
        joints: By the names of a layout, and `left_palm`, `left_fingers` and so on (what touches), `middle` (of
            the shoulders), `hips` (their middle) and `head`, where they can be had. Without depth, forward is 0.
        depth: Whether forward is known.
        seen: Share of the frames in which shoulders, elbows and wrists were there and are not bridged.
        right_is_right: Whether the right shoulder stands on the picture's right.
    """

    joints: dict[str, Array]
    depth: bool
    seen: float
    right_is_right: bool

    def __len__(self) -> int:
        return len(self.joints["middle"])


def body_of(points: npt.NDArray[np.floating], layout: Layout, fps: float) -> Body:
    """Brings the keypoints of one person into the person's own axes and size.

    Args:
        points: `(T, J, 2 or 3)` in the layout; a third number is depth in metres, or in pixels a confidence. A joint
            that is all 0, not finite or below `LEAST_SEEN` is missing.
        layout: Their layout.
        fps: Frames per second.

    Raises:
        UnseenError: The clip is too short, or a shoulder or wrist is missing for longer than `MOST_MISSING`.
        ValueError: The points are not of this layout.
    """
    depth = layout.unit == "metres"
    if points.ndim != 3 or points.shape[1] != len(layout.names) or points.shape[2] not in ((3,) if depth else (2, 3)):
        raise ValueError(
            f"keypoints of {layout.name} have the shape (frames, {len(layout.names)}, 3), got {points.shape}"
        )
    if len(points) < SHORTEST * fps:
        raise UnseenError(f"shorter than {SHORTEST} s")
    places = np.asarray(points, np.float64)
    there = np.isfinite(places).all(-1) & (places != 0).any(-1)
    if not depth and places.shape[2] == 3:
        there &= places[..., 2] >= LEAST_SEEN
    xyz = np.zeros((*places.shape[:2], 3))
    xyz[..., : 3 if depth else 2] = np.where(there[..., None], places[..., : 3 if depth else 2], 0.0)
    joints = _on_one_clock(xyz, there, layout.names, fps)
    lost = [name for side in ("left", "right") for name in (f"{side}_shoulder", f"{side}_wrist") if name not in joints]
    if lost:
        raise UnseenError(f"{lost[0].replace('_', ' ')} missing for more than {MOST_MISSING} s")
    if not depth:
        joints = {name: place * (1.0, -1.0, 1.0) for name, place in joints.items()}  # pictures count downward
    joints, right_is_right = _own_axes(joints, depth)
    arms = [place for place, name in enumerate(layout.names) if name.endswith(("_shoulder", "_elbow", "_wrist"))]
    return Body(joints, depth, float(there[:, arms].mean()), right_is_right)


def _on_one_clock(xyz: Array, there: npt.NDArray[np.bool_], names: Sequence[str], fps: float) -> dict[str, Array]:
    """Every joint at `RATE`, smoothed, without those that are missing for too long."""
    frames = np.arange(len(xyz)) / fps
    clock = np.arange(0.0, frames[-1] + 1e-9, 1.0 / RATE)
    joints = {}
    for place, name in enumerate(names):
        if name not in USED:
            continue
        seen = frames[there[:, place]]
        gaps = np.diff(seen, prepend=-1.0 / fps, append=frames[-1] + 1.0 / fps) - 1.0 / fps
        if not len(seen) or gaps.max() > MOST_MISSING:
            continue
        joint = xyz[there[:, place], place]
        line = np.stack([np.interp(clock, seen, joint[:, axis]) for axis in range(3)], -1)
        joints[name] = gaussian_filter1d(line, SMOOTHING * RATE, axis=0, mode="nearest")
    return joints


def _own_axes(joints: dict[str, Array], depth: bool) -> tuple[dict[str, Array], bool]:
    """Adds the places that layouts name differently, turns all to the person and divides by the shoulder width."""
    middle = (joints["left_shoulder"] + joints["right_shoulder"]) / 2
    across = joints["right_shoulder"] - joints["left_shoulder"]
    width = float(np.median(np.linalg.norm(across, axis=-1)))
    hips = _mean(joints, ("left_hip", "right_hip")) or _mean(joints, ("hip_center", "spine_base", "mid_hip"))
    if hips:
        torso = float(np.median(np.linalg.norm(middle - hips[0], axis=-1)))
        width = max(width, SIDEWAYS * torso)
    right = np.median(across, axis=0) * (1.0, 0.0, 1.0)
    size = np.linalg.norm(right)
    if not width or not size:
        raise UnseenError("the shoulders stand in one point")
    right_is_right = bool(right[0] > 0)
    right = right / size if depth else np.array([1.0 if right_is_right else -1.0, 0.0, 0.0])
    up = np.array([0.0, 1.0, 0.0])
    axes = np.stack([right, up, np.cross(up, right) if depth else np.zeros(3)])
    head = (
        _mean(joints, ("head",))
        or _mean(joints, ("left_ear", "right_ear"))
        or _mean(joints, ("left_eye", "right_eye"))
    )
    head = head or _mean(joints, ("nose",))
    more = {"middle": [middle], "hips": hips, "head": head}
    joints = joints | {name: place[0] for name, place in more.items() if place}
    for side in ("left", "right"):
        joints[f"{side}_palm"], joints[f"{side}_fingers"] = _hand(joints, side)
    return {name: place @ axes.T / width for name, place in joints.items()}, right_is_right


def _mean(joints: dict[str, Array], names: Sequence[str]) -> list[Array]:
    """The mean of joints in a list, an empty list where one is missing."""
    return [np.mean([joints[name] for name in names], axis=0)] if all(name in joints for name in names) else []


def _hand(joints: dict[str, Array], side: str) -> tuple[Array, Array]:
    """The middle of a hand and its finger tips, or as far beyond the wrist as can be told."""
    wrist, elbow = joints[f"{side}_wrist"], joints.get(f"{side}_elbow")
    names = (f"{side}_index_tip", f"{side}_middle_tip", f"{side}_hand_tip")
    tips = [joints[name] for name in names if name in joints]
    hand = joints.get(f"{side}_hand")
    beyond = wrist if elbow is None else wrist + PALM * (wrist - elbow)
    fingers = np.mean(tips, axis=0) if tips else hand if hand is not None else beyond
    return ((wrist if hand is None else hand) + fingers) / 2 if tips else fingers, fingers
