"""Keypoints of a clip -> `keypoints`: unseen points filled in, centred, of one body size, and of one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, FeatureExtractionMixin

# What save_pretrained writes beside the settings, so that it must be accepted when they are read back.
_BOOKKEEPING = {"auto_map", "feature_extractor_type", "processor_class", "_processor_class"}
# Joints in whose middle the centre of a person lies; the first of these that a layout has.
_CENTRES = (("hip_center",), ("left_hip", "right_hip"), ("mid_hip",), ("neck",), ("left_shoulder", "right_shoulder"))
# Bones between such joints are measured: neither fingers nor faces, and no legs, which a table may hide.
_MEASURED = ("shoulder", "elbow", "wrist", "neck", "hip", "spine")
MOST_PEOPLE = 2


class SkeletonProcessor(FeatureExtractionMixin):
    """Turn keypoints into the input of a skeleton network.

    Args:
        joints: Joint names, J of them, in the order of the keypoints.
        bones: Which joints are joined, as places in `joints`.
        dimensions: Coordinates of a point, 2 or 3. Further numbers of a point are how well it is seen, 0 to 1.
        num_frames: T that a clip is resampled to.
        min_confidence: A point that is seen less well counts as unseen.
        center: Joints in whose middle a person's centre lies; default: the hips, else the neck, else the
            shoulders, else all joints. Of a person in whom they are never seen together, all points that are seen.

    Raises:
        TypeError: A setting is unknown.
        ValueError: A setting has a value outside its range.
    """

    model_input_names = ["keypoints"]  # noqa: RUF012 -- transformers reads it so

    def __init__(
        self,
        joints: Sequence[str] = ("point",),
        bones: Sequence[Sequence[int]] = (),
        dimensions: int = 2,
        num_frames: int = 64,
        min_confidence: float = 0.1,
        center: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        unknown = sorted(set(kwargs) - _BOOKKEEPING)
        if unknown:
            raise TypeError(
                f"SkeletonProcessor has no setting {', '.join(unknown)}. "
                "Its settings are joints, bones, dimensions, num_frames, min_confidence and center."
            )
        super().__init__(**kwargs)
        if dimensions not in (2, 3):
            raise ValueError(f"dimensions is {dimensions}; a point has 2 or 3 coordinates")
        if isinstance(num_frames, bool) or not isinstance(num_frames, int) or num_frames < 1:
            raise ValueError(f"num_frames must be a whole number of at least 1, got {num_frames!r}")
        if not 0 <= min_confidence <= 1:
            raise ValueError(f"min_confidence is {min_confidence}; it lies between 0 and 1")
        self.joints, self.bones = list(joints), [list(bone) for bone in bones]
        self.dimensions, self.num_frames, self.min_confidence = dimensions, num_frames, min_confidence
        self.center = list(center) if center is not None else self._default_center()
        if not self.center or not set(self.center) <= set(range(len(self.joints))):
            raise ValueError(f"center is {self.center}; it must be places of joints, 0 to {len(self.joints) - 1}")
        self.auto_map = dict.fromkeys(
            ("AutoFeatureExtractor", "AutoProcessor"), "processing_skeleton.SkeletonProcessor"
        )

    def _default_center(self) -> list[int]:
        for names in _CENTRES:
            if set(names) <= set(self.joints):
                return [self.joints.index(name) for name in names]
        return list(range(len(self.joints)))

    def normalize(self, points: Any) -> torch.Tensor:
        """Fill in unseen points, and put the clip's people at the origin, in one size.

        A point is unseen where a coordinate is no number, all are 0 (as OpenPose writes it), or its confidence is
        below `min_confidence`. It gets the place between those before and after, in time; a joint that is never seen
        stands in the centre. Centre and size are those of the whole clip, so that walking stays visible: the median
        over frames of the middle of the `center` joints, and the mean over upper-body bones of their median length.

        Args:
            points: `(T, J, C)` of one person, or `(M, T, J, C)` of one or two; C is `dimensions`, or one more for the
                confidence.

        Returns:
            float32 `(M, T, J, dimensions + 1)`: coordinates in body sizes from the centre, and confidence, 0 where a
            point is unseen. A person who is nowhere in the clip is 0 throughout.

        Raises:
            ValueError: The shape does not fit.
        """
        whole = self._checked(points)
        place, seen = whole[..., : self.dimensions], whole[..., self.dimensions] > 0
        filled = _between(place, seen)
        middle, size = self._measure(place, seen)
        ever = seen.any(1, keepdim=True)[..., None]
        filled = torch.where(ever, (filled - middle) / size, 0.0)
        return torch.cat([filled, whole[..., self.dimensions :]], -1)

    def resample(self, points: torch.Tensor, begin: float = 0.0, end: float = 1.0) -> torch.Tensor:
        """Take `num_frames` evenly spaced moments of a part of the clip, between frames by linear interpolation.

        Args:
            points: As `normalize` returns them, `(M, T', J, D)`, of any length.
            begin: Start of the part, 0 to 1.
            end: Its end, 0 to 1.

        Returns:
            `(M, T, J, D)`.
        """
        last = points.shape[1] - 1
        moments = torch.linspace(begin * last, end * last, self.num_frames, dtype=torch.float64)
        before = moments.floor().long().clamp(0, last)
        after = (before + 1).clamp(max=last)
        share = (moments - before).to(points.dtype).view(-1, 1, 1)
        return points[:, before] * (1 - share) + points[:, after] * share

    def __call__(self, keypoints: Any, return_tensors: str = "pt") -> BatchFeature:
        """Prepare one clip or a list of clips for the network.

        Args:
            keypoints: One clip as `normalize` takes it, or a list of clips; they may differ in length and people.
            return_tensors: ``"pt"`` for torch tensors, the only kind.

        Returns:
            `keypoints`, float32 (B, M, T, J, dimensions + 1), M the most people of any clip.

        Raises:
            ValueError: A shape does not fit, or there is no clip.
        """
        if return_tensors != "pt":
            raise ValueError(f"return_tensors must be 'pt' (torch tensors), got {return_tensors!r}.")
        clips = list(keypoints) if isinstance(keypoints, list | tuple) else [keypoints]
        if not clips:
            raise ValueError("keypoints is an empty list. Give at least one clip.")
        ready = [self.resample(self.normalize(clip)) for clip in clips]
        people = max(len(clip) for clip in ready)
        ready = [torch.cat([clip, clip.new_zeros(people - len(clip), *clip.shape[1:])]) for clip in ready]
        return BatchFeature({"keypoints": torch.stack(ready)}, tensor_type=return_tensors)

    def _checked(self, points: Any) -> torch.Tensor:
        """float32 `(M, T, J, dimensions + 1)` with finite coordinates and the confidence, 0 where unseen."""
        given = torch.as_tensor(np.asarray(points, np.float32)) if not isinstance(points, torch.Tensor) else points
        J, D = len(self.joints), self.dimensions
        whole = given.float()[None] if given.ndim == 3 else given.float()
        if whole.ndim != 4 or whole.shape[2] != J or whole.shape[3] not in (D, D + 1) or 0 in whole.shape:
            raise ValueError(
                f"keypoints of a clip must be (frames, {J} joints, {D} or {D + 1} numbers), or the same of one or two "
                f"people (people, frames, …), got {tuple(given.shape)}"
            )
        if len(whole) > MOST_PEOPLE:
            raise ValueError(
                f"keypoints hold {len(whole)} people; at most {MOST_PEOPLE} are read: choose who is meant"
            )
        place = whole[..., :D]
        sure = whole[..., D] if whole.shape[3] > D else torch.ones_like(place[..., 0])
        seen = place.isfinite().all(-1) & (place != 0).any(-1) & (sure >= max(self.min_confidence, 1e-6))
        sure = torch.where(seen, sure.nan_to_num(0.0).clamp(0, 1), 0.0)
        return torch.cat([torch.where(seen[..., None], place, 0.0), sure[..., None]], -1)

    def _measure(self, place: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Centre `(dimensions,)` and size of the clip's people; the first person's where there are two."""
        first = int(seen.any((1, 2)).float().argmax())
        place, seen = place[first].double(), seen[first]  # (T, J, D), (T, J); the squares of float32 may not fit in it
        here = seen[:, self.center].all(1)
        if bool(here.any()):
            middle = place[here][:, self.center].mean(1).median(0).values
        elif bool(seen.any()):
            middle = place[seen].median(0).values
        else:
            middle = place.new_zeros(self.dimensions)
        lengths = []
        for a, b in self.bones:
            if all(any(word in self.joints[joint] for word in _MEASURED) for joint in (a, b)):
                both = seen[:, a] & seen[:, b]
                if bool(both.any()):
                    lengths.append(float((place[both][:, a] - place[both][:, b]).norm(dim=-1).median()))
        size = sum(lengths) / len(lengths) if lengths else 0.0
        if not size > 0 and bool(seen.any()):  # no such bone is seen: the spread of all points does instead
            size = float((place[seen] - middle).square().sum(-1).mean().sqrt())
        return middle.float(), size if size > 0 else 1.0


def _between(place: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Unseen points `(M, T, J, D)` between the seen ones before and after them; the nearest at either end."""
    T = seen.shape[1]
    t = torch.arange(T).view(1, T, 1).expand(seen.shape)
    before = torch.where(seen, t, -1).cummax(1).values
    after = torch.where(seen, t, T).flip(1).cummin(1).values.flip(1)
    first = torch.where(before >= 0, before, after).clamp(max=T - 1)
    last = torch.where(after < T, after, before).clamp(min=0)
    a, b = (place.gather(1, index[..., None].expand(place.shape)) for index in (first, last))
    share = (t - first) / (last - first).clamp(min=1)
    return torch.where(seen[..., None], place, a + (b - a) * share[..., None])


SkeletonProcessor.register_for_auto_class("AutoProcessor")
