"""The words for a movement of one hand or both: where it is, which way it goes, in what manner.

Places are right, up and forward of the person in shoulder widths (`motion_features`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from microgesture.annotation.courses import (
    ROUND,
    STILL,
    Course,
    between_rests,
    circle_of,
    course_of,
    stroke_of,
    word_of_way,
)
from microgesture.annotation.motion_features import RATE, Array, Body
from microgesture.annotation.touched import touched
from microgesture.annotation.who_moves import Mover

SHORT = 0.7  # seconds; something shorter between the way out and the way back …
MINOR = 0.5  # … and smaller is no movement of its own: the way out is the movement
ROUND_ONCE = 4  # half strokes of a circle, with what is left of the ways out and back; more is a wave
ALONG = 0.7  # cosine of the angle (45°) within which a movement goes to the front
RESTED = 0.5  # share of its time at a part for which a hand that comes to rest stays where it ends
WHOLE_ARM = 0.8  # a movement that takes the arm along, and not only the hand
THROW = 1.2  # a push with one hand that is larger is a throw, or a swing from below
MEETING = 0.3  # hands that are nearer than this, side by side, have come together
CROSSED = -0.15  # the right hand is so far to the left of the left one: the arms are crossed
CLAP = 0.6  # how far hands part that clap, and do not rub
LEVEL = 0.25  # rise over run below which a hand goes sideways on the body, and neither inward nor outward
QUICK = 3.7  # half strokes per second from which rubbing is scratching

AT = {
    "waist": "place", "arm": "hold", "suprasternal_notch": "cover", "collar": "pull", "hair": "adjust", "leg": "place",
}  # fmt: skip
"""What hands mostly do at a part, however they move there."""
THROUGH_AIR = {"forward": "push", "up": "raise", "down": "lower"}
WITHOUT_RECEIVER = ("throw", "swing")
"""Verbs that take no place in the air: one swipes through the air, but one throws."""


@dataclass(frozen=True)
class Words:
    """What rules say of a movement, apart from who moves.

    Args:
        initiator, receiver, direction, motion_type: As in FG-Text.
        course: How it goes.
        clear: How clear each of receiver and direction is, 0 to 1.
    """

    initiator: str
    receiver: str
    direction: str
    motion_type: str
    course: Course
    clear: tuple[float, float]


def words_of_hands(body: Body, mover: Mover) -> Words:
    """The words for a movement of one hand, or of both by the one that moves more."""
    side, both = mover.sides[0], len(mover.sides) > 1
    path = (body.joints[f"{side}_wrist"] + body.joints[f"{side}_palm"]) / 2 - body.joints["middle"]
    first, last = between_rests(path)
    middle = (first + last) // 2
    span = slice(first, last) if last - first > 3 else slice(max(0, middle - 2), middle + 3)
    receiver, contact = touched(body, side, both, span)
    course = course_of(path[first:last])
    if receiver == "hands" and course.size > WHOLE_ARM:
        receiver = "air"  # hands that travel together hold something, and are not at each other
    apart = _apart(body)
    crossed = both and course.size < WHOLE_ARM and apart[span].mean() < CROSSED
    if crossed and receiver in ("air", "hands", "arm", "shoulders"):
        receiver = "chest"
    far = course.manner == "one_way" and course.size > WHOLE_ARM and receiver == "air"
    course = _movement(path, first, last, course, receiver, both)
    if both:
        direction, clear = _way_of_both(body, course, receiver, span)
    else:
        direction, clear = _way_of_one(course, receiver, side)
    draws = receiver == "air" and not both and course.strokes == 2 and course.roundness > ROUND
    takes_arm = not draws and (far or (receiver == "air" and direction in ("left", "right")))
    if crossed:
        motion, takes_arm = ("cross" if last < len(path) else "fold"), True
    elif both and direction == "forward" and course.strokes > 1 and _alternate(body, span):
        motion, takes_arm = "punch", True
    elif receiver == "air":
        motion = "draw" if draws else _through_air(path[span], both, direction, course)
    else:
        motion = _at_part(apart[span], both, receiver, direction, course)
    receiver = "none" if motion in WITHOUT_RECEIVER else receiver
    takes_arm = takes_arm or (both and receiver == "arm")
    initiator = ("both_arms" if takes_arm else "both_hands") if both else ("arm" if takes_arm else "hand")
    return Words(initiator, receiver, direction, motion, course, (contact, clear))


def _apart(body: Body) -> Array:
    """How far the right hand is to the right of the left hand; below 0 where they are crossed."""
    return body.joints["right_wrist"][:, 0] - body.joints["left_wrist"][:, 0]


def _alternate(body: Body, span: slice) -> bool:
    """Whether one hand goes forward while the other comes back."""
    left, right = (
        body.joints[f"{side}_wrist"][span, 2] - body.joints["middle"][span, 2] for side in ("left", "right")
    )
    return bool(np.ptp(left - right) > max(np.ptp(left + right), WHOLE_ARM))


# --- which way -------------------------------------------------------------------------------------------------------


def _movement(path: Array, first: int, last: int, course: Course, receiver: str, both: bool) -> Course:
    """What a hand does between its ways out and back, or the way out where that is all."""
    in_air, one_way = receiver == "air", course.manner == "one_way"
    if not in_air and one_way and course.strokes == 1 and _stays(path[first:last]):
        return replace(course, manner="static", clear=0.5)
    if not first or course.manner == "circular":
        return course
    if in_air and not both and course.strokes <= ROUND_ONCE:
        circle = circle_of(path)
        if circle is not None:
            return circle
    brief = last - first < SHORT * RATE and (course.manner == "static" or course.size < MINOR)
    if in_air and (one_way or brief):
        way = stroke_of(path)
        if not brief:
            return replace(course, way=way)
    elif brief:
        way = path[first : max(first + 1, last)].mean(0) - path[:3].mean(0)
    else:
        return course
    clear = word_of_way(way)[1]
    return Course("one_way", way, float(np.linalg.norm(way)), 2 if last < len(path) else 1, 0.0, 0.0, clear)


def _stays(path: Array) -> bool:
    """Whether a hand comes to rest: for most of the time it is where it ends."""
    away = np.linalg.norm(path - path[-3:].mean(0), axis=-1)
    return bool((away < STILL / 2).mean() > RESTED)


def _cosine(a: Array, b: Array) -> float:
    return float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9)


def _way_of_one(course: Course, receiver: str, side: str) -> tuple[str, float]:
    """The word for where one hand goes, and how clear it is."""
    whole = _whole_course(course, receiver)
    if whole is not None:
        return whole
    word, clear = word_of_way(course.way)
    if word in ("left", "right") and receiver != "air":  # on the body, ways are named from its middle
        level = abs(course.way[1]) < LEVEL * abs(course.way[0])
        word = "sideways" if level else "outward" if word == side else "inward"
    return word, min(clear, course.clear)


def _way_of_both(body: Body, course: Course, receiver: str, span: slice) -> tuple[str, float]:
    """The word for where both hands go: together, apart, or as one."""
    if course.manner in ("one_way", "back_and_forth"):
        apart = _apart(body)
        common = (body.joints["right_wrist"] + body.joints["left_wrist"])[span] / 2 - body.joints["middle"][span]
        travel = np.ptp(common, axis=0).max()
        if receiver == "hands" and np.ptp(apart[span]) > CLAP and apart[span].min() < MEETING:
            return "inward", course.clear
        if np.ptp(apart[span]) / 2 > max(travel, STILL / 2):
            parting = course_of(apart[span][:, None] * (0.5, 0.0, 0.0))
            if parting.manner == "one_way":
                return ("inward" if parting.way[0] < 0 else "outward"), parting.clear
        if course.strokes < 3 and np.median(apart[span]) < MEETING < apart[0] and travel < MINOR:
            return "inward", course.clear
    whole = _whole_course(course, receiver)
    if whole is not None:
        return whole
    word, clear = word_of_way(course.way)
    if word in ("left", "right") and course.size <= WHOLE_ARM:
        word = (
            "inward"
            if np.ptp(_apart(body)[span]) > 0 and _apart(body)[span][-1] < _apart(body)[span][0]
            else "outward"
        )
    return word, min(clear, course.clear)


def _whole_course(course: Course, receiver: str) -> tuple[str, float] | None:
    """The word for a movement as a whole; `None` where it goes one way."""
    if course.manner == "circular":
        return ("clockwise" if course.turns > 0 else "counter_clockwise"), course.clear
    if course.manner == "static":
        return "static", course.clear
    depth = abs(_cosine(course.way, np.array([0.0, 0.0, 1.0])))
    if receiver == "air" and course.strokes > 1 and course.size > WHOLE_ARM and depth > ALONG:
        return "forward", course.clear  # out and back before the body: a stroke to the front
    return ("back_and_forth", course.clear) if course.manner == "back_and_forth" else None


# --- in what manner --------------------------------------------------------------------------------------------------


def _through_air(path: Array, both: bool, direction: str, course: Course) -> str:
    """What hands do that are at nothing."""
    if course.manner == "circular":
        return "draw"
    if direction == "back_and_forth":
        return "wave" if not both and path[:, 1].mean() > 0 else "gesticulate"
    if direction in ("left", "right"):
        return "swing" if both else "swipe"
    if direction == "forward" and not both and course.size > THROW:
        return "throw" if path[0, 1] > 0 else "swing"
    return THROUGH_AIR.get(direction, "gesticulate")


def _at_part(apart: Array, both: bool, receiver: str, direction: str, course: Course) -> str:
    """What hands do at a part of the body."""
    swings = course.manner in ("back_and_forth", "circular") or course.strokes > 2
    if receiver == "hands":
        claps = np.ptp(apart) > CLAP or (direction == "inward" and len(apart) < SHORT * RATE)
        return "clap" if claps else "rub" if swings else "hold"
    if receiver == "shoulders" and both and direction == "up":
        return "curl"
    if receiver in AT:
        return AT[receiver]
    if not swings or course.manner == "static":
        return "touch"
    return "scratch" if course.strokes * RATE > QUICK * len(apart) else "rub"
