"""How a part of the body goes: static, one way, back and forth or in circles, and which way.

Places are `(T, 3)` right, up, forward in shoulder widths, `RATE` samples per second (`motion_features`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from microgesture.annotation.motion_features import RATE, Array

EDGE = 0.1  # seconds at either end of a clip whose mean is where it begins or ends
TRANSPORT = 0.5  # a hand that never goes farther from where it rests works in place, and has no way out and back
AWAY = 0.6  # share of the farthest distance from rest that a hand must have reached before it can have arrived
ARRIVED = 0.25  # share of the fastest speed away from rest below which it has arrived
RESTING = 0.4  # a hand rests at the clip's lower end, and at the other where that is no more than this higher
STILL = 0.1  # a part that moves less stands still: 3 to 4 cm
HESITATION = 0.3  # share of its extent by which a movement must turn back before the turn counts …
TURN_BACK = 0.12  # … but no more than this: a knock on the way forward is a knock
ONE_WAY = 0.7  # share of its path along the main axis by which a movement gets on when it goes one way
ROUND = 0.4  # a circle's smaller extent over its larger one; below it is a line
TURNS = 0.8  # turns about its middle that make a circle
SMOOTH = 0.7  # share of all turning that is to one side in a circle; that of a swing cancels
FRONTAL = 0.6  # share of a circle's whole size that it has in the frontal plane
LIFTED = 0.2  # share of its height above which a hand has left its rest, and from which its turns count
UP = 0.3  # share of its height above which a hand works
WHOLE_TURN = 0.9  # turns of the heading to one side in a circle; out, across and back turn by 0.6 to 0.8
STEP = 0.05  # share of its extent in which a path is walked to see its heading, whatever the tempo


@dataclass(frozen=True)
class Course:
    """How a part goes.

    Args:
        manner: `static`, `one_way`, `back_and_forth` or `circular`.
        way: Displacement `(3,)` of a movement that goes one way (once or again and again), else of the whole.
        size: Extent along its main axis.
        strokes: Half strokes: 1 once, 2 out and back.
        turns: About its middle in the person's frontal plane, positive clockwise as the person sees it.
        roundness: Its smaller extent in that plane as a share of the larger.
        clear: How far it is from the border to another manner, 0 to 1.
    """

    manner: str
    way: Array
    size: float
    strokes: int
    turns: float
    roundness: float
    clear: float


def between_rests(path: Array) -> tuple[int, int]:
    """First and last sample (exclusive) of what a hand does between its way out and its way back to rest."""
    edge = round(EDGE * RATE)
    start, end = path[:edge].mean(0), path[-edge:].mean(0)
    lowest = min(start[1], end[1])
    far = np.linalg.norm(path - (start if start[1] <= end[1] else end), axis=-1).max()
    first, last = 0, len(path)
    if start[1] - lowest < RESTING:
        first = _arrival(path, start)
    if end[1] - lowest < RESTING and (start[1] - lowest >= RESTING or np.linalg.norm(end - start) < AWAY * far):
        last = len(path) - _arrival(path[::-1], end)
    return first, max(first, last)


def _arrival(path: Array, rest: Array) -> int:
    """The sample at which a hand that leaves its rest has arrived; 0 where it stays near."""
    distance = np.linalg.norm(path - rest, axis=-1)
    farthest = int(distance.argmax())
    if distance[farthest] < TRANSPORT:
        return 0
    speed = np.gradient(distance)
    slow = (distance >= AWAY * distance[farthest]) & (speed <= ARRIVED * speed[: farthest + 1].max())
    return min(int(slow.argmax()), farthest) if slow.any() else farthest


def course_of(path: Array) -> Course:
    """How a part goes along a path."""
    if len(path) < 3:
        return Course("static", np.zeros(3), 0.0, 0, 0.0, 0.0, 1.0)
    centred = path - path.mean(0)
    along = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    size, net = float(np.ptp(along)), path[-1] - path[0]
    if size < STILL:
        return Course("static", net, size, 0, 0.0, 0.0, 1 - size / STILL)
    turning = _turning(along, min(HESITATION * size, TURN_BACK))
    strokes = len(turning) - 1
    turns, clear = _circle(path, size)
    roundness = _frontal(path)[1]
    if clear > 0:
        return Course("circular", net, size, strokes, turns, roundness, clear)
    steps = np.diff(along[turning])
    gain = abs(steps.sum()) / np.abs(steps).sum()
    if gain >= ONE_WAY:
        return Course("one_way", net, size, 1, turns, roundness, (gain - ONE_WAY) / (1 - ONE_WAY))
    if strokes == 2:  # out and back: the way out
        return Course("one_way", path[turning[1]] - path[0], size, 2, turns, roundness, 1 - gain / ONE_WAY)
    return Course("back_and_forth", net, size, strokes, turns, roundness, 1 - gain / ONE_WAY)


def stroke_of(path: Array) -> Array:
    """The way of a hand that is lifted from its rest and does one thing there.

    To the side and in depth it is the longest stretch while the hand is up. Upward it is half of the hand's height:
    the other half only brings the hand to where it works. So out, across and back goes across however the hand is
    lifted and lowered, and how fast it goes does not matter.
    """
    up = path[_above(path, UP)]
    there = (up - np.minimum.accumulate(up)).max(0)
    back = (np.maximum.accumulate(up) - up).max(0)
    way = np.where(there >= back, there, -back)
    way[1] = np.ptp(path[:, 1]) / 2
    return way


def circle_of(path: Array) -> Course | None:
    """The circle in a path that also holds the ways out and back; `None` where it is less than a whole turn."""
    lifted = path[_above(path, LIFTED)]
    size = float(np.ptp(lifted[:, :2], axis=0).max())
    if size < STILL:
        return None
    turns, roundness = _turns_about_middle(lifted), _frontal(lifted)[1]
    across, _, deep = np.abs(stroke_of(path))
    whole = _turn_to_one_side(lifted, STEP * size) / WHOLE_TURN
    clear = min(whole, roundness / ROUND, abs(turns) / TURNS, across / max(deep, 1e-9)) - 1
    if clear <= 0:
        return None
    return Course("circular", path[-1] - path[0], size, 2, turns, roundness, min(1.0, 2 * clear))


def _above(path: Array, share: float) -> slice:
    """From when a hand first is above this share of its height until it last is."""
    height = path[:, 1] - path[:, 1].min()
    above = np.flatnonzero(height >= share * height.max())
    return slice(int(above[0]), int(above[-1]) + 1)


def _turn_to_one_side(path: Array, step: float) -> float:
    """The most turns by which the heading turns to one side in the frontal plane, walked in equal steps."""
    places = [path[0, :2]]
    for place in path[:, :2]:
        if np.linalg.norm(place - places[-1]) >= step:
            places.append(place)
    x, y = np.diff(np.array(places), axis=0).T
    heading = np.unwrap(np.arctan2(y, x)) / (2 * np.pi)
    left = heading - np.minimum.accumulate(heading)
    right = np.maximum.accumulate(heading) - heading
    return float(np.maximum(left, right).max(initial=0.0))


def _circle(path: Array, size: float) -> tuple[float, float]:
    """Turns about the middle in the frontal plane, clockwise as the person sees it, and how clearly it is a circle."""
    turns = _turns_about_middle(path)
    turned, whole = _turning_of_heading(path)
    smooth = abs(turned) / max(whole, 1e-9)
    wide, roundness = _frontal(path)
    flat = wide / size / FRONTAL  # a circle in depth is none for who stands in front
    clear = min(roundness / ROUND, abs(turns) / TURNS, smooth / SMOOTH, flat) - 1
    return turns, min(1.0, 2 * clear)


def _turns_about_middle(path: Array) -> float:
    """Turns about the middle in the frontal plane, clockwise as the person sees it."""
    frontal = path[:, :2] - (path[:, :2].max(0) + path[:, :2].min(0)) / 2
    angle = np.unwrap(np.arctan2(frontal[:, 1], frontal[:, 0]))
    return float(angle[0] - angle[-1]) / (2 * np.pi)


def _turning_of_heading(path: Array) -> tuple[float, float]:
    """By how many turns the heading turns in the frontal plane, and without regard to the sense."""
    step = np.diff(path[:, :2], axis=0)
    speed = np.linalg.norm(step, axis=1)
    x, y = step[speed > 0.2 * speed.max()].T
    turned = np.diff(np.unwrap(np.arctan2(y, x))) / (2 * np.pi) if len(x) else np.zeros(0)
    return float(-turned.sum()), float(np.abs(turned).sum())


def _frontal(path: Array) -> tuple[float, float]:
    """The larger extent in the frontal plane, and the smaller one as a share of it."""
    frontal = path[:, :2] - path[:, :2].mean(0)
    larger, smaller = np.ptp(frontal @ np.linalg.svd(frontal, full_matrices=False)[2].T, axis=0)
    return float(larger), float(smaller / max(larger, 1e-9))


def _turning(along: Array, least: float) -> list[int]:
    """The samples at which a line begins, turns back by at least `least`, and ends."""
    turns, heading, extreme = [0], 0, 0
    for sample, value in enumerate(along):
        if heading == 0 and abs(value - along[0]) > least:
            heading, extreme = int(np.sign(value - along[0])), sample
        elif heading and heading * (value - along[extreme]) > 0:
            extreme = sample
        elif heading and heading * (along[extreme] - value) > least:
            turns.append(extreme)
            heading, extreme = -heading, sample
    return [*turns, extreme if heading else len(along) - 1]


def word_of_way(way: Array) -> tuple[str, float]:
    """The word for a displacement, that of its largest part, and how far that is ahead of the next, 0 to 1."""
    sizes = np.abs(way)
    axis = int(sizes.argmax())
    words = (("left", "right"), ("down", "up"), ("backward", "forward"))
    return words[axis][int(way[axis] > 0)], float(1 - np.sort(sizes)[-2] / max(sizes[axis], 1e-6))
