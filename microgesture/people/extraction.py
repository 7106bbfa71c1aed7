"""From the frames of a video to the joints of those who are seen in it; every frame passes once, a few at a time.

People are looked for in every few frames and are in between on a straight line: the detector costs several times as
much as the pose network (docs/paper.md has the figures), and a box with its margin holds somebody who moves between
two looks. The joints are found in every frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from microgesture.people.detection import PersonDetector, area
from microgesture.people.pose import PoseEstimator
from microgesture.people.tracking import Tracker, between_looks

FRAMES = 16
"""Frames that are held at once; more only where looks are further apart."""
MOST_EVERY = 30
STAYS = 2.0
"""Who was followed counts so many times as much as others, so that two people of one size do not take turns."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """Joints of people in frames, N of them.

    Args:
        frames: Number of the frame, `(N,)`.
        people: Number of the person, `(N,)`.
        points: `(N, J, 3)`.
        weights: Area of the box times its score, `(N,)`: how much of the picture is surely this person.
    """

    frames: npt.NDArray[np.int64]
    people: npt.NDArray[np.int64]
    points: Array
    weights: Array

    @classmethod
    def none(cls, joints: int) -> Found:
        """Nobody."""
        nothing, numbers = np.empty(0, np.float32), np.empty(0, np.int64)
        return cls(numbers, numbers, np.empty((0, joints, 3), np.float32), nothing)

    def clip(self, frames: Sequence[int], people: int) -> Array:
        """The points of a clip, of those who have the greatest weight in it.

        Args:
            frames: The clip's frames, T, in order.
            people: M.

        Returns:
            `(T, J, 3)` for one person, else `(M, T, J, 3)`, the greatest first; 0 where somebody is not seen.
        """
        out = np.zeros((people, len(frames), *self.points.shape[1:]), np.float32)
        here = np.flatnonzero(np.isin(self.frames, frames))
        numbers, which = np.unique(self.people[here], return_inverse=True)
        weights = np.bincount(which, self.weights[here], len(numbers))
        for slot, place in enumerate(np.argsort(-weights, kind="stable")[:people]):
            rows = here[which == place]
            out[slot, np.searchsorted(frames, self.frames[rows])] = self.points[rows]
        return out[0] if people == 1 else out


class Extractor:
    """Follows people through a video, and finds the joints of the largest.

    Args:
        detector: Finds people.
        pose: Finds joints.
        people: How many are followed.
        every: People are looked for in every so manieth frame.

    Raises:
        ValueError: A number is outside its range.
    """

    def __init__(self, detector: PersonDetector, pose: PoseEstimator, people: int = 1, every: int = 5) -> None:
        if people not in (1, 2):
            raise ValueError(f"--people is {people}; streams read one or two people")
        if not 1 <= every <= MOST_EVERY:
            raise ValueError(
                f"--detect_every is {every}; it must be 1 to {MOST_EVERY}, because frames are held for it"
            )
        self.detector, self.pose, self.people, self.every = detector, pose, people, every

    def __call__(self, pictures: Iterable[tuple[int, torch.Tensor]]) -> Found:
        """Joints in frames.

        Args:
            pictures: Number and uint8 `(H, W, 3)` of each frame, in order; where numbers are left out, another part
                of the video begins, and people are found anew.
        """
        tracker, before = Tracker(), -2
        followed: list[int] = []
        rows = [Found.none(self.pose.model.config.num_labels)]
        for chunk in self._chunks(pictures):
            if chunk[0][0] != before + 1:
                tracker.new_scene()
            before = chunk[-1][0]
            followed, found = self._follow(chunk, tracker, followed)
            rows += found
        names = ("frames", "people", "points", "weights")
        return Found(*(np.concatenate([getattr(row, name) for row in rows]) for name in names))

    def _chunks(self, pictures: Iterable[tuple[int, torch.Tensor]]) -> Iterator[list[tuple[int, torch.Tensor]]]:
        """Neighbouring frames, so many that at least two looks are among them; emptied before the next are read."""
        chunk: list[tuple[int, torch.Tensor]] = []
        for place, picture in pictures:
            if chunk and (len(chunk) == max(FRAMES, self.every + 1) or place != chunk[-1][0] + 1):
                yield chunk
                chunk.clear()
            chunk.append((place, picture))
        if chunk:
            yield chunk

    def _follow(
        self, chunk: list[tuple[int, torch.Tensor]], tracker: Tracker, followed: Sequence[int]
    ) -> tuple[list[int], list[Found]]:
        """Who is followed in these frames, and their joints."""
        numbers, tracks = self._tracks(chunk, tracker, followed)
        images, found = dict(chunk), []
        for number, (frames, boxes, scores) in zip(numbers, tracks, strict=True):
            points = self.pose([images[frame] for frame in frames], boxes)
            who = np.full(len(frames), number, np.int64)
            found.append(Found(np.array(frames, np.int64), who, points, area(boxes) * scores))
        return numbers, found

    def _tracks(
        self, chunk: list[tuple[int, torch.Tensor]], tracker: Tracker, followed: Sequence[int]
    ) -> tuple[list[int], list[tuple[list[int], Array, Array]]]:
        """Who is followed in these frames, and for each the frames, boxes and scores."""
        at = sorted({*range(0, len(chunk), self.every), len(chunk) - 1})
        looks = [chunk[place][0] for place in at]
        seen: dict[int, dict[int, tuple[Array, float]]] = {}
        for look, found in zip(looks, self.detector([chunk[place][1] for place in at]), strict=True):
            for number, box, score in zip(tracker.look(found), found.boxes, found.scores, strict=True):
                seen.setdefault(number, {})[look] = (box, float(score))

        def weight(number: int) -> float:
            sizes = (float(area(box[None])[0]) * score for box, score in seen[number].values())
            return sum(sizes) * (STAYS if number in followed else 1.0)

        chosen = sorted(seen, key=weight, reverse=True)[: self.people]
        return chosen, [between_looks(seen[number], looks) for number in chosen]
