"""What a hand is at: the nearest part of the body, as far as the keypoints show parts.

Faces and trunks are put on the few joints that layouts have by mean proportions of adults.
"""

from __future__ import annotations

import numpy as np

from microgesture.annotation.motion_features import Array, Body

CONTACT = {False: 0.25, True: 0.5}
"""Shoulder widths between a hand and a part that still are contact, without and with depth (joints lie inside)."""
UNCLEAR = 0.5  # share of CONTACT by which the second nearest part is farther when the nearest is certain

AT_PART = 0.7  # share of the time that a hand is at a part which it touches; less is passing by
MEETS = 0.3  # the same for two hands: who claps holds them apart for most of the time
FACE = {  # to the person's right and up from between the eyes, in distances between the eyes
    "eyes": ((0.5, 0.0), (-0.5, 0.0)),
    "forehead": ((0.0, 0.85), (0.5, 0.85), (-0.5, 0.85)),
    "face": ((0.8, -0.75), (-0.8, -0.75)),
    "mouth": ((0.0, -1.1),),
    "jaw": ((0.0, -1.75), (0.6, -1.6), (-0.6, -1.6)),
    "ear": ((1.25, -0.15), (-1.25, -0.15)),
    "hair": ((0.0, 1.8), (0.8, 1.6), (-0.8, 1.6), (1.35, 0.9), (-1.35, 0.9)),
}
EARS = 2.5  # distance between the ears in distances between the eyes
TRUNK = {  # right, up and forward from the middle of the shoulders, in shoulder widths
    "neck": ((0.17, 0.22, 0.1), (-0.17, 0.22, 0.1), (0.0, 0.25, 0.15)),
    "suprasternal_notch": ((0.0, 0.05, 0.2),),
    "collar": ((0.15, 0.04, 0.2), (-0.15, 0.04, 0.2)),
    "chest": ((0.0, -0.35, 0.35), (0.2, -0.35, 0.35), (-0.2, -0.35, 0.35)),
    "body": ((0.0, -0.8, 0.35), (0.15, -0.75, 0.35), (-0.15, -0.75, 0.35)),
    "waist": ((0.4, -0.95, 0.0), (-0.4, -0.95, 0.0)),
}
FINE = (*FACE, "neck", "suprasternal_notch", "collar")
"""Small parts, that fingers reach; larger ones have the palm on them."""
SMALL = ("suprasternal_notch", "collar")
"""Parts that only finger tips tell from the neck and the chest."""
SHOULDER_FRONT = 0.35  # how far before the joint a hand is that lies on a shoulder, where there is depth
ARM = (0.3, 0.5, 0.7, 1.0)  # places along the upper arm and along the forearm


def touched(body: Body, side: str, both: bool, span: slice) -> tuple[str, float]:
    """What a hand is at during a span.

    Args:
        body: The person.
        side: `left` or `right`, the hand.
        both: Whether the other hand moves as well: it can be what is touched.
        span: Samples.

    Returns:
        A word for a receiver, `air` where nothing is near, and how clear it is, 0 to 1.
    """
    limit = CONTACT[body.depth]
    distances = {
        word: _distance(body.joints[f"{side}_{'fingers' if word in FINE else 'palm'}"][span], places[span], AT_PART)
        for word, places in _places(body, side).items()
    }
    if both:  # hands that meet are at each other, and the trunk is behind them
        other = body.joints[f"{'left' if side == 'right' else 'right'}_palm"][span]
        apart = _distance(body.joints[f"{side}_palm"][span], other[:, None], MEETS)
        at_head = min((distances[word] for word in ("head", *FACE) if word in distances), default=np.inf)
        if apart <= limit < at_head:
            return "hands", min(1.0, (limit - apart) / (UNCLEAR * limit))
    nearest = sorted(distances, key=distances.__getitem__)
    first = distances[nearest[0]]
    if first > limit:
        return "air", min(1.0, first / limit - 1)
    second = min(distances[nearest[1]], limit) if len(nearest) > 1 else limit
    return nearest[0], min(1.0, (second - first) / (UNCLEAR * limit))


def _distance(hand: Array, places: Array, share: float) -> float:
    """Within what distance of the nearest place a hand is for this share of the time."""
    return float(np.quantile(np.linalg.norm(hand[:, None] - places, axis=-1).min(1), share))


def _places(body: Body, side: str) -> dict[str, Array]:
    """Places `(T, n, 3)` of every part that the other joints show."""
    joints = body.joints
    other = "left" if side == "right" else "right"
    forward = (1.0, 1.0, float(body.depth))
    places = {
        word: joints["middle"][:, None] + np.array(offsets) * forward
        for word, offsets in TRUNK.items()
        if word not in SMALL or f"{side}_index_tip" in joints
    } | _head(joints)
    shoulders = np.stack([joints[f"{other}_shoulder"], joints[f"{side}_shoulder"]], 1)
    before = np.array([0.0, 0.0, SHOULDER_FRONT * body.depth])
    places["shoulders"] = np.concatenate([shoulders, shoulders + before], 1)
    if f"{other}_elbow" in joints:
        shoulder, elbow, wrist = (joints[f"{other}_{name}"] for name in ("shoulder", "elbow", "wrist"))
        upper = [shoulder + part * (elbow - shoulder) for part in ARM[1:]]
        places["arm"] = np.stack([*upper, *(elbow + part * (wrist - elbow) for part in ARM[:3])], 1)
    thighs = [
        joints[f"{name}_hip"] + part * (joints[f"{name}_knee"] - joints[f"{name}_hip"])
        for name in ("left", "right")
        if f"{name}_hip" in joints and f"{name}_knee" in joints
        for part in ARM
    ]
    if thighs:
        places["leg"] = np.stack(thighs, 1)
    return places


def _head(joints: dict[str, Array]) -> dict[str, Array]:
    for name, apart in (("eye", 1.0), ("ear", EARS)):
        if f"left_{name}" in joints and f"right_{name}" in joints:
            left, right = joints[f"left_{name}"], joints[f"right_{name}"]
            unit = np.median(np.linalg.norm(right - left, axis=-1)) / apart
            across = (right - left) / np.maximum(np.linalg.norm(right - left, axis=-1, keepdims=True), 1e-6)
            upward = np.stack([-across[:, 1], across[:, 0], across[:, 2]], -1)
            return {
                word: np.stack([(left + right) / 2 + unit * (x * across + y * upward) for x, y in offsets], 1)
                for word, offsets in FACE.items()
            }
    return {"head": joints["head"][:, None]} if "head" in joints else {}
