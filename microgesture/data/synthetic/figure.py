"""The articulated figure: proportions, joints, two-bone arms in space, and the keypoints of every frame.

Figure space is measured in pixels of the 448 × 448 picture at zoom 1. Its origin is the suprasternal notch; x points
to the picture's right, which is the **subject's left** (the person faces the camera, recordings are not mirrored),
y points down, z toward the camera. Index 0 of every pair is the subject's left, index 1 the right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PICTURE = 448
NOTCH = (224.0, 172.0)
"""Where the notch stands in the picture at zoom 1 and without offset, x and y in pixels."""

SIGN = (1.0, -1.0)
"""x-direction of the subject's left and right."""

_SINGLE = ("head", "nose", "neck", "notch", "spine_mid", "spine_base")
_PAIRED = (
    "eye", "ear", "shoulder", "elbow", "wrist", "hand", "thumb_tip", "index_tip", "middle_tip", "ring_tip",
    "little_tip", "hip", "knee",
)  # fmt: skip
JOINTS: tuple[str, ...] = _SINGLE + tuple(f"{name}_{side}" for name in _PAIRED for side in ("left", "right"))
"""Names of the J = 32 keypoints in the order of the arrays."""

_FINGER_ROOT = (-8.2, -2.8, 2.8, 8.0)  # across the palm, from the thumb's side
_FINGER_LENGTH = (20.0, 22.5, 21.0, 16.5)
PALM = 19.0
REACH = {"tips": 36.0, "palm": 15.0}
"""Distance from the wrist to what touches, in figure pixels."""


@dataclass(frozen=True)
class Body:
    """Proportions of one person in figure pixels.

    Args:
        head_rx: Half the width of the head.
        head_ry: Half its height.
        shoulder: Half the distance between the shoulder joints.
        hip: Half the distance between the hip joints.
        waist: Half the width at the waist.
        upper_arm: Length of the upper arm.
        forearm: Length of the forearm.
        limb: Factor on the thickness of arms and legs.
    """

    head_rx: float = 41.0
    head_ry: float = 55.0
    shoulder: float = 71.0
    hip: float = 31.0
    waist: float = 48.0
    upper_arm: float = 101.0
    forearm: float = 88.0
    limb: float = 1.0

    @property
    def head_centre(self) -> tuple[float, float]:
        """Centre of the resting head."""
        return 0.0, -33.0 - self.head_ry


@dataclass(frozen=True)
class Camera:
    """Where the figure stands in the picture: zoom and offset of the notch in pixels."""

    zoom: float = 1.0
    dx: float = 0.0
    dy: float = 0.0

    def project(self, points: Array) -> Array:
        """Figure points `(..., 2 or more)` to picture pixels `(..., 2)`; the view is orthographic."""
        offset = np.array([NOTCH[0] + self.dx, NOTCH[1] + self.dy])
        return points[..., :2] * self.zoom + offset


@dataclass
class Motion:
    """What moves, frame by frame (T frames), in figure pixels and radians.

    Args:
        wrist: Where the wrists want to be, `(T, 2, 3)`.
        angle: Direction of the hands in the picture plane from wrist to fingertips, `(T, 2)`.
        shape: Hand shapes `(T, 2, 4)`: spread, curl of the index, curl of the others, thumb; each 0 to 1.
        pole: Toward where the elbows point, `(T, 2, 3)`.
        layer: 0 arm in front of the body, 1 hand behind it, 2 whole arm behind it, `(T, 2)`.
        head: Head shift x, y and tilt, `(T, 3)`.
        lift: How far each shoulder is raised, `(T, 2)`.
        knee: Shift of each knee, `(T, 2, 2)`.
        sway: Shift of the whole figure in whole picture pixels, `(T, 2)`.
        grip: What each hand holds: 0 nothing, 1 the collar, 2 a pen, `(T, 2)`.
        front_leg: Which leg stands in front, `(T,)`.
        rest: The wrists at rest, `(2, 3)`; a hand that is exactly there is idle.
    """

    wrist: Array
    angle: Array
    shape: Array
    pole: Array
    layer: NDArray[np.int64]
    head: Array
    lift: Array
    knee: Array
    sway: NDArray[np.int64]
    grip: NDArray[np.int64]
    front_leg: NDArray[np.int64]
    rest: Array

    def idle_arms(self, t: int) -> tuple[bool, bool]:
        """Whether the left and the right arm are at rest in frame `t`, with nothing in the hand."""
        still = (np.abs(self.wrist[t] - self.rest).max(-1) < 1e-6) & (self.grip[t] == 0) & (self.lift[t] == 0)
        return bool(still[0]), bool(still[1])

    def __len__(self) -> int:
        return len(self.wrist)


@dataclass
class Skeleton:
    """Solved joints of T frames in figure pixels, without sway; pairs are left, right."""

    shoulder: Array  # (T, 2, 3)
    elbow: Array  # (T, 2, 3)
    wrist: Array  # (T, 2, 3)
    palm: Array  # (T, 2, 2) end of the palm
    finger_root: Array  # (T, 2, 5, 2), the thumb first
    finger_tip: Array  # (T, 2, 5, 2)
    head: Array  # (T, 2) centre
    tilt: Array  # (T,)
    hip: Array  # (T, 2, 2)
    knee: Array  # (T, 2, 2)


def solve(body: Body, motion: Motion) -> Skeleton:
    """Inverse kinematics of the arms, forward kinematics of the rest."""
    T = len(motion)
    sign = np.array(SIGN)
    shoulder = np.zeros((T, 2, 3))
    shoulder[..., 0] = sign * body.shoulder
    shoulder[..., 1] = 12.0 - motion.lift
    elbow, wrist = _two_bones(shoulder, motion.wrist, motion.pole, body.upper_arm, body.forearm)
    palm, root, tip = _hands(wrist[..., :2], motion.angle, motion.shape)
    hip = np.broadcast_to(np.stack([sign * body.hip, np.full(2, 158.0)], -1), (T, 2, 2)).copy()
    knee = np.stack([sign * (body.hip + 5.0), np.full(2, 258.0)], -1) + motion.knee
    head = np.array(body.head_centre) + motion.head[:, :2]
    return Skeleton(shoulder, elbow, wrist, palm, root, tip, head, motion.head[:, 2], hip, knee)


def _two_bones(root: Array, target: Array, pole: Array, upper: float, lower: float) -> tuple[Array, Array]:
    """Elbow and wrist of two bones from `root` toward `target`, the elbow turned toward `pole`; all `(..., 3)`."""
    reach = target - root
    distance = np.linalg.norm(reach, axis=-1, keepdims=True)
    axis = reach / np.maximum(distance, 1e-6)
    distance = np.clip(distance, abs(upper - lower) + 1.0, 0.998 * (upper + lower))
    along = (upper**2 - lower**2 + distance**2) / (2 * distance)
    height = np.sqrt(np.maximum(upper**2 - along**2, 0.0))
    across = pole - axis * np.sum(pole * axis, axis=-1, keepdims=True)
    across = across / np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-6)
    return root + axis * along + across * height, root + axis * distance


def _hands(wrist: Array, angle: Array, shape: Array) -> tuple[Array, Array, Array]:
    """Palm end `(T, 2, 2)`, finger roots and tips `(T, 2, 5, 2)`, the thumb first."""
    forward = np.stack([np.cos(angle), np.sin(angle)], -1)
    # The thumb is on the inner side of a hand that hangs with its palm to the thigh, and stays there.
    inner = np.stack([-np.sin(angle), np.cos(angle)], -1) * np.array(SIGN)[:, None]
    spread, index, others, thumb = (shape[..., k] for k in range(4))
    palm = wrist + PALM * forward
    roots, tips = [], []
    turn = 0.5 + 0.5 * thumb
    direction = forward * np.cos(turn)[..., None] + inner * np.sin(turn)[..., None]
    root = wrist + 8.0 * forward + 7.0 * inner
    roots.append(root)
    tips.append(root + direction * 17.0)
    for k in range(4):
        curl = index if k == 0 else others
        fan = -(k - 1.5) * (0.05 + 0.2 * spread)
        direction = forward * np.cos(fan)[..., None] + inner * np.sin(fan)[..., None]
        root = wrist + (PALM - abs(k - 1.2)) * forward - _FINGER_ROOT[k] * inner
        roots.append(root)
        tips.append(root + direction * (_FINGER_LENGTH[k] * (1.0 - 0.8 * curl))[..., None])
    return palm, np.stack(roots, 2), np.stack(tips, 2)


def keypoints(body: Body, skeleton: Skeleton, motion: Motion, camera: Camera) -> NDArray[np.float32]:
    """Keypoints of every frame.

    Returns:
        `(T, J, 3)`: x and y in pixels of the picture, and 1 for a joint in sight, 0.5 for one behind the body, 0 for
        one outside the picture.
    """
    T = len(motion)
    cos, sin = np.cos(skeleton.tilt), np.sin(skeleton.tilt)

    def on_head(x: float, y: float) -> Array:
        return skeleton.head + np.stack([x * cos - y * sin, x * sin + y * cos], -1)

    neck = np.array([0.0, -18.0]) + 0.5 * motion.head[:, :2]
    parts = [skeleton.head, on_head(0.0, 8.0), neck, *(np.tile([0.0, y], (T, 1)) for y in (0.0, 80.0, 160.0))]
    for side in (0, 1):
        parts.append(on_head(SIGN[side] * 0.40 * body.head_rx, -0.10 * body.head_ry))
    for side in (0, 1):
        parts.append(on_head(SIGN[side] * body.head_rx, 0.0))
    arm = (skeleton.shoulder, skeleton.elbow, skeleton.wrist, 0.5 * (skeleton.wrist[..., :2] + skeleton.palm))
    parts += [joint[:, side, :2] for joint in arm for side in (0, 1)]
    parts += [skeleton.finger_tip[:, side, finger] for finger in range(5) for side in (0, 1)]
    parts += [joint[:, side] for joint in (skeleton.hip, skeleton.knee) for side in (0, 1)]
    xy = camera.project(np.stack(parts, 1)) + motion.sway[:, None]
    sight = np.ones((T, len(JOINTS)))
    for number, name in enumerate(JOINTS):
        part, _, side_name = name.partition("_")
        if name.endswith(("_left", "_right")) and (part in ("wrist", "hand") or "_tip" in name):
            sight[motion.layer[:, int(side_name.endswith("right"))] > 0, number] = 0.5
    sight[((xy < 0) | (xy > PICTURE - 1)).any(-1)] = 0.0
    return np.concatenate([xy, sight[..., None]], -1).astype(np.float32)
