"""Keypoints -> proposed FG-Text records, by rules that anybody can read; the class is never looked at.

Who moves: the part with the largest displacement (`who_moves`). What is touched: the part of the body nearest to the
hand while it is neither on its way out nor on its way back (`touched`). Which way: net displacement against path
length, changes of sign, turning (`courses`). In what manner: from these three (`hand_rules`). The thresholds are named
constants of these files and of `motion_features`; how often the rules are right is in docs/log.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from microgesture.annotation.courses import course_of, word_of_way
from microgesture.annotation.hand_rules import Words, words_of_hands
from microgesture.annotation.motion_features import Body, body_of
from microgesture.annotation.who_moves import SQUAT, Mover, knees_pass, leg_path, who_moves
from microgesture.data.fg_text import FGText
from microgesture.data.keypoints import Layout

RULES = "keypoint rules"
CODER = f"{RULES} 1.1"
UPRIGHT = 0.6  # share of the largest part of a trunk's way from which its height is the way: who sits also goes back
KNEE_UP = 0.6  # share of its extent by which a knee that swings rises: legs are raised from standing
LEAST_CLEAR = 0.05  # so that one doubt does not hide all else

NEVER_IN_THIS_MANNER = (
    "brush", "interlace", "steeple", "withdraw", "straighten", "press", "inflate", "bite", "manipulate", "turn",
    "tilt", "nod", "point", "spread", "pat", "knock", "catch", "lift",
)  # fmt: skip
"""Motion types that no rule gives: fingers, objects, the face, or what is meant by a movement."""
UNSIDED = {"left": "sideways", "right": "sideways", "clockwise": "circular", "counter_clockwise": "circular"}
"""What is left of a direction where nobody knows whether the recordings are mirrored."""
MOTIONS = {
    "leg": {"back_and_forth": "step", "forward": "step", "up": "raise"},
    "both_legs": {"down": "bend", "back_and_forth": "step", "forward": "step", "up": "raise"},
    "torso": {"up": "raise", "down": "lower", "forward": "sway", "backward": "sway"},
    "shoulders": {"up": "retract", "down": "retract", "back_and_forth": "shake"},
    "head": {"up": "raise", "down": "retract", "back_and_forth": "shake"},
}
"""What parts other than hands do when they go some way; else legs, shoulders and head shift, and a trunk sways."""


def propose(points: npt.NDArray[np.floating], layout: Layout, fps: float, mirrored: bool | str) -> FGText:
    """Proposes the record of one clip.

    Args:
        points: `(T, J, 2 or 3)` of one person, in the layout.
        layout: Their layout. Its left and right are taken to be the person's own.
        fps: Frames per second.
        mirrored: What the data set says of its recordings. In a mirrored picture of somebody who faces the camera the
            right shoulder is on the right; where it is not, the joints were named after the mirror image, and the
            words are exchanged. With `"unknown"` the record has no word for left and right.

    Returns:
        A record with `provenance` model. Its confidence is how far the movement is from the borders between the rules,
        0 to 1; it is no probability. Forward and backward can be told only where the layout has depth.

    Raises:
        UnseenError: No record can be proposed; the message is the reason.
        ValueError: The points are not of this layout.
    """
    body = body_of(points, layout, fps)
    mover = who_moves(body)
    words = words_of_hands(body, mover) if mover.part == "hands" else _words_of_others(body, mover)
    clear = np.maximum((mover.clear, *words.clear), LEAST_CLEAR)
    text = FGText(
        words.initiator, words.receiver, words.direction, words.motion_type,
        side=mover.sides[0] if len(mover.sides) == 1 else None, provenance="model", coder=CODER,
        repetition="single" if words.course.strokes <= 2 else "repeated",
        confidence=round(float(clear.prod() ** (1 / len(clear))) * body.seen, 2),
    )  # fmt: skip
    if mirrored == "unknown":
        return replace(text, side=None, direction=UNSIDED.get(words.direction, words.direction))
    return text.flipped() if mirrored and not body.depth and not body.right_is_right else text


def cannot_judge(layout: Layout) -> dict[str, Sequence[str]]:
    """Which words are never proposed from keypoints of a layout, by attribute; also those that no keypoints show."""
    joints = set(layout.names)
    fingers = {"left_index_tip", "right_index_tip"} <= joints
    face = {"left_eye", "right_eye"} <= joints or {"left_ear", "right_ear"} <= joints
    hips = bool({"left_hip", "hip_center", "spine_base", "mid_hip"} & joints)
    return {
        "initiator": ["fingers", "neck", "mouth", "cheeks", "foot", "both_feet"]
        + ([] if hips else ["leg", "both_legs", "torso", "shoulders"]),
        "receiver": ["hat", "nose", "lips", "back", "fingers", "clothes", "foot", "object"]
        + ([] if fingers else ["suprasternal_notch", "collar"])
        + ([] if face else ["eyes", "forehead", "face", "mouth", "jaw", "ear", "hair"])
        + ([] if hips else ["leg"]),
        "motion_type": list(NEVER_IN_THIS_MANNER),
        "direction": [] if layout.unit == "metres" else ["forward", "backward"],
    }


def _words_of_others(body: Body, mover: Mover) -> Words:
    """The words for a movement of legs, trunk, shoulders or head."""
    joints = body.joints
    hips = joints.get("hips", joints["middle"])
    side = mover.sides[0] if len(mover.sides) == 1 else None
    paths = {"torso": hips, "shoulders": joints["middle"] - hips, "head": joints.get("head", hips) - hips}
    path = leg_path(body, mover) if mover.part == "legs" else paths[mover.part]
    extents = np.ptp(path, axis=0)
    name = {"legs": "leg" if side else "both_legs"}.get(mover.part, mover.part)
    if name == "shoulders" and extents[1] < extents.max():
        name = "torso"  # a trunk that leans takes the shoulders along
    course = course_of(path)
    direction, clear = course.manner, course.clear
    if course.manner == "circular":
        direction = "clockwise" if course.turns > 0 else "counter_clockwise"
    elif course.manner == "one_way":
        direction, clear = word_of_way(course.way)
    squats = name == "both_legs" and np.ptp(hips[:, 1]) > SQUAT
    rises = name == "leg" and direction == "back_and_forth" and extents[1] > KNEE_UP * course.size
    if squats or rises:
        direction = "down" if squats else "up"
    if name == "torso" and abs(course.way[1]) > UPRIGHT * np.abs(course.way).max():
        direction = "up" if course.way[1] > 0 else "down"
    if name == "leg" and direction in ("left", "right"):
        direction = "outward" if direction == side else "inward"
    crosses = name == "leg" and np.ptp(hips[:, 1]) < SQUAT and knees_pass(body)
    motion = MOTIONS[name].get(direction, "sway" if name == "torso" else "shift")
    return Words(name, "leg" if crosses else "none", direction, "cross" if crosses else motion, course, (1.0, clear))
