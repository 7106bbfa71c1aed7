"""Saliency-guided crops: a box for each frame that follows the hands and the face by how much they move.

arXiv 2606.13030 crops so and says neither what saliency is nor how large a crop; what is chosen stands in
docs/paper.md. Boxes come from keypoints where there are any, else from the differences of frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FOLLOWED = (
    "hand", "wrist", "thumb", "index", "middle", "ring", "pinky", "little", "finger", "head", "face", "nose",
    "nostril", "eye", "ear", "mouth", "lip", "brow", "jaw", "chin", "pupil",
)  # fmt: skip
"""Words in the names of the joints that are followed."""
NOT_FOLLOWED = ("hip", "ankle", "foot", "toe", "heel")
MIN_CONFIDENCE = 0.1  # a point that is seen less well counts as unseen, as in the streams on keypoints
RESTING = 0.02  # weight of a joint that rests, beside 1 for the one that moves most in that frame
SPREAD = 4  # how fast a change counts less, the more of the picture it fills
QUIET = 0.1  # of the clip's greatest energy: frames with less say nothing about where the box is
EDGES = (0.05, 0.95)  # quantiles of the energy at which a box ends
NOISE = 0.03  # of full brightness: what the codec and the sensor change
FLICKER = 3.0  # times the median change of a frame, which is that of the light

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SaliencyCrop:
    """How boxes are made.

    Args:
        min_size: The shortest side of a box, as a share of the frame's shorter side.
        padding: What is added on every side, as a share of the box.
        smoothing: Frames over which a box follows; the influence of a frame falls to 1/e over so many.
        still: Nothing moves in a clip whose greatest energy is below this; then the box is the whole frame. From
            frames it is a mean change of brightness, 0 to 1; from keypoints the fastest joint's way from frame to
            frame, as a share of the frame's shorter side, and ten times as much is needed.

    Raises:
        ValueError: A value is out of range; the message names it.
    """

    min_size: float = 0.4
    padding: float = 0.25
    smoothing: float = 4.0
    still: float = 2e-4

    def __post_init__(self) -> None:
        if not 0 < self.min_size <= 1:
            raise ValueError(f"min_size is {self.min_size}; it is a share of the shorter side, above 0 up to 1")
        for name in ("padding", "still"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        if not self.smoothing > 0:
            raise ValueError(f"smoothing is {self.smoothing}; it is a number of frames above 0")

    def from_frames(self, frames: npt.NDArray[np.uint8]) -> Ints:
        """Boxes by the differences of neighbouring frames.

        Args:
            frames: `(T, H, W, 3)` or `(T, H, W)`, uint8.

        Returns:
            left, top, right, bottom of each frame `(T, 4)`, in pixels, right and bottom excluded.

        Raises:
            ValueError: The shape does not fit.
        """
        if frames.ndim not in (3, 4) or 0 in frames.shape or frames.dtype != np.uint8:
            raise ValueError(f"frames must be (T, H, W, 3) or (T, H, W) of uint8, got {frames.dtype} {frames.shape}")
        T, H, W = frames.shape[:3]
        boxes, energy = np.zeros((T, 4)), np.zeros(T)
        before = _grey(frames[0])
        for t in range(1, T):  # one frame at a time: a clip in floating point would not fit
            now = _grey(frames[t])
            change = np.abs(now - before)
            change = np.maximum(change - max(NOISE, FLICKER * float(np.median(change))), 0)
            energy[t] = change.mean()
            if energy[t] > 0:
                x, y = (_edges(np.arange(n), change.sum(axis)) for n, axis in ((W, 0), (H, 1)))
                boxes[t] = x[0], y[0], x[1] + 1, y[1] + 1
                # What changes all over the picture is the light, the camera, or a key frame of the codec.
                energy[t] *= (1 - (x[1] + 1 - x[0]) * (y[1] + 1 - y[0]) / (W * H)) ** SPREAD
            before = now
        boxes[0], energy[0] = boxes[min(1, T - 1)], energy[min(1, T - 1)]
        return self._finish(boxes, energy, self.still, (H, W))

    def from_points(self, points: Floats, joints: Sequence[str], size: tuple[int, int]) -> Ints:
        """Boxes by the keypoints of hands and face, those that move more counting more.

        Args:
            points: `(T, J, 2)` pixels, or `(T, J, 3)` with the confidence.
            joints: Names of the J joints.
            size: H, W of a frame.

        Returns:
            As `from_frames`.

        Raises:
            ValueError: The shape does not fit, or no joint is of a hand or the face.
        """
        if points.ndim != 3 or points.shape[1] != len(joints) or points.shape[2] not in (2, 3) or not len(points):
            raise ValueError(f"points must be (T, {len(joints)} joints, 2 or 3 numbers), got {points.shape}")
        chosen = [j for j, name in enumerate(joints) if followed(name)]
        if not chosen:
            raise ValueError(f"none of the joints is of a hand or the face: {', '.join(joints)}")
        given = np.asarray(points, np.float64)[:, chosen]
        place, seen = given[..., :2], visible(given, size)
        speed = np.zeros(seen.shape)
        both = seen[1:] & seen[:-1]
        speed[1:][both] = np.linalg.norm(place[1:][both] - place[:-1][both], axis=1) / min(size)
        speed[:-1] = np.maximum(speed[:-1], speed[1:])
        boxes, energy = np.zeros((len(points), 4)), speed.max(1)
        for t in np.flatnonzero(energy > 0):
            weights = (speed[t] / energy[t] + RESTING)[seen[t]]
            x, y = (_edges(place[t, seen[t], axis], weights) for axis in (0, 1))
            boxes[t] = x[0], y[0], x[1], y[1]
        return self._finish(boxes, energy, 10 * self.still, size)

    def _finish(self, boxes: Floats, energy: Floats, still: float, size: tuple[int, int]) -> Ints:
        """Smoothed by energy, padded, square, large enough, and inside the frame."""
        (H, W), T = size, len(boxes)
        if energy.max() <= still:
            return np.tile(np.array([0, 0, W, H], np.int64), (T, 1))
        smooth = self._smooth(boxes, np.where(energy < QUIET * energy.max(), 0, energy))
        centre = (smooth[:, :2] + smooth[:, 2:]) / 2
        side = (smooth[:, 2:] - smooth[:, :2]).max(1) * (1 + 2 * self.padding)
        side = np.maximum(side, self.min_size * min(H, W))
        # What a sum of many floating-point numbers is off by makes no pixel.
        extent = np.ceil(np.minimum(side[:, None], [W, H]) - 1e-6).astype(np.int64)
        corner = np.rint(centre - extent / 2).astype(np.int64)
        corner = np.clip(corner, 0, np.array([W, H]) - extent)
        return np.concatenate([corner, corner + extent], 1)

    def _smooth(self, boxes: Floats, energy: Floats) -> Floats:
        """A line through the neighbouring boxes at each frame in which something moves; the others lie between these.

        An average would lag behind at the clip's ends. A frame in which much moves counts more.
        """
        moving = np.flatnonzero(energy)
        smooth = self._lines(moving, boxes[moving], energy[moving])
        return np.stack([np.interp(np.arange(len(boxes)), moving, column) for column in smooth.T], 1)

    def _lines(self, times: Ints, boxes: Floats, energy: Floats) -> Floats:
        offset = times - times[:, None]  # (frame, neighbour)
        weights = np.exp(-np.abs(offset) / self.smoothing) * energy
        weights /= weights.sum(1, keepdims=True)
        mean, place = weights @ boxes, (weights * offset).sum(1, keepdims=True)
        spread = (weights * offset**2).sum(1, keepdims=True) - place**2
        slope = ((weights * offset) @ boxes - place * mean) / (spread + 1)  # + 1: two frames alone are no course
        return mean - slope * place


def visible(points: npt.NDArray[np.floating], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which points can be seen in the frame: not those that are no number, all 0, unsure, or outside.

    Args:
        points: `(..., 2)` pixels, or `(..., 3)` with the confidence.
        size: H, W of a frame.

    Returns:
        `(...)`.
    """
    place = points[..., :2]
    inside = ((place >= 0) & (place < [size[1], size[0]])).all(-1)  # also false where it is no number
    sure = points[..., 2] >= MIN_CONFIDENCE if points.shape[-1] > 2 else True
    seen: npt.NDArray[np.bool_] = inside & (place != 0).any(-1) & sure
    return seen


def followed(joint: str) -> bool:
    """Whether a joint is of a hand or the face, by its name."""
    return any(word in joint for word in FOLLOWED) and not any(word in joint for word in NOT_FOLLOWED)


def draw(frames: npt.NDArray[np.uint8], boxes: Ints, columns: int = 6, line: int = 3) -> npt.NDArray[np.uint8]:
    """Evenly spaced frames in a row with their boxes, everything outside at half brightness.

    Args:
        frames: `(T, H, W, 3)`, uint8.
        boxes: `(T, 4)`, as `SaliencyCrop` gives them.
        columns: Frames that are shown.
        line: Width of the line in pixels.

    Returns:
        `(H, columns · W, 3)`, uint8.
    """
    chosen = np.linspace(0, len(frames) - 1, columns).round().astype(int)
    shown = []
    for t in chosen:
        left, top, right, bottom = boxes[t]
        picture = frames[t] // 2
        picture[top:bottom, left:right] = (255, 176, 0)
        inner = np.s_[top + line : bottom - line, left + line : right - line]
        picture[inner] = frames[t][inner]
        shown.append(picture)
    return np.concatenate(shown, 1)


def _grey(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    grey: npt.NDArray[np.float32] = np.asarray(frame if frame.ndim == 2 else frame.mean(2), np.float32)
    return np.divide(grey, 255, dtype=np.float32)


def _edges(places: npt.NDArray[np.generic], weights: npt.NDArray[np.generic]) -> tuple[float, float]:
    """Between which places all but the outermost weight lies."""
    order = np.argsort(places, kind="stable")
    passed = np.cumsum(weights[order])
    first, last = np.searchsorted(passed, np.array(EDGES) * passed[-1])
    return float(places[order[first]]), float(places[order[min(last, len(order) - 1)]])
