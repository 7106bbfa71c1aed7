"""Who is who from frame to frame: boxes of one person overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from microgesture.people.detection import Boxes, People, overlap

SAME = 0.3
"""Boxes that overlap by less (intersection over union) are two people."""
FORGOTTEN = 25
"""Looks without a person after which the same place is somebody new: 4 s at 25 frames a second and 4 looks in 16."""

Seen = Mapping[int, tuple[npt.NDArray[np.float32], float]]
"""Frame number -> box and score of one person."""


class Tracker:
    """Gives the people of each look the numbers they had in the look before, in which all together overlap most."""

    def __init__(self) -> None:
        self._last: dict[int, npt.NDArray[np.float32]] = {}
        self._unseen: dict[int, int] = {}
        self._next = 0

    def new_scene(self) -> None:
        """Forgets everybody: what follows is another part of the recording."""
        self._last.clear()
        self._unseen.clear()

    def look(self, people: People) -> list[int]:
        """The number of each person."""
        known = list(self._last)
        numbers = [-1] * len(people.boxes)
        if known and len(people.boxes):
            shared = overlap(people.boxes, np.stack([self._last[number] for number in known]))
            shared[shared < SAME] = 0
            for row, column in zip(*linear_sum_assignment(-shared), strict=True):
                if shared[row, column] > 0:
                    numbers[row] = known[column]
        for row, number in enumerate(numbers):
            if number < 0:
                numbers[row], self._next = self._next, self._next + 1
            self._last[numbers[row]] = people.boxes[row]
        self._unseen = {number: self._unseen.get(number, 0) + 1 for number in self._last} | dict.fromkeys(numbers, 0)
        for number in [number for number, count in self._unseen.items() if count > FORGOTTEN]:
            del self._last[number], self._unseen[number]
        return numbers


def between_looks(seen: Seen, looks: Sequence[int]) -> tuple[list[int], Boxes, npt.NDArray[np.float32]]:
    """Where somebody is in the frames between looks: on a straight line from one look to the next.

    Args:
        seen: The looks that found the person.
        looks: All looks, in order.

    Returns:
        The frames in which the person may be (N), up to the looks that no longer found anybody, boxes `(N, 4)` and
        scores `(N,)`.
    """
    found = sorted(seen)
    first, last = looks.index(found[0]), looks.index(found[-1])
    start = found[0] if first == 0 else looks[first - 1] + 1
    end = found[-1] if last == len(looks) - 1 else looks[last + 1] - 1
    frames = list(range(start, end + 1))
    boxes = np.stack([seen[frame][0] for frame in found])
    sides = [np.interp(frames, found, boxes[:, side]) for side in range(4)]
    scores = np.interp(frames, found, [seen[frame][1] for frame in found])
    return frames, np.stack(sides, 1).astype(np.float32), scores.astype(np.float32)
