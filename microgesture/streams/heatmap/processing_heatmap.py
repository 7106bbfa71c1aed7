"""Keypoints of a clip -> `keypoints` in the box of the clip's people, at T moments; drawing is up to the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, FeatureExtractionMixin

# What save_pretrained writes beside the settings, so that it must be accepted when they are read back.
_BOOKKEEPING = {"auto_map", "feature_extractor_type", "processor_class", "_processor_class"}
MOST_PEOPLE = 2


class HeatmapProcessor(FeatureExtractionMixin):
    """Turn keypoints into the input of a heatmap network.

    Args:
        joints: Joint names, J of them, in the order of the keypoints.
        bones: Which joints are joined; kept for those who draw.
        dimensions: Coordinates of a point, 2 or 3. Further numbers of a point are how well it is seen, 0 to 1.
        num_frames: T that a clip is resampled to.
        min_confidence: A point that is seen less well is not drawn.

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
        num_frames: int = 48,
        min_confidence: float = 0.1,
        **kwargs: Any,
    ) -> None:
        unknown = sorted(set(kwargs) - _BOOKKEEPING)
        if unknown:
            raise TypeError(
                f"HeatmapProcessor has no setting {', '.join(unknown)}. "
                "Its settings are joints, bones, dimensions, num_frames and min_confidence."
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
        self.auto_map = dict.fromkeys(("AutoFeatureExtractor", "AutoProcessor"), "processing_heatmap.HeatmapProcessor")

    def normalize(self, points: Any) -> torch.Tensor:
        """Put the box around all seen points of a clip into -1 to 1.

        The box is the clip's own, over all frames and people, so that a movement keeps its course; its longest side
        is 2, and the others keep their proportion. A point is unseen where a coordinate is no number, all are 0 (as
        OpenPose writes it), or its confidence is below `min_confidence`.

        Args:
            points: `(T, J, C)` of one person, or `(M, T, J, C)` of one or two; C is `dimensions`, or one more for the
                confidence.

        Returns:
            float32 `(M, T, J, dimensions + 1)`: coordinates in the box, and confidence; an unseen point is 0.

        Raises:
            ValueError: The shape does not fit.
        """
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
        if not bool(seen.any()):
            return whole.new_zeros(*whole.shape[:3], D + 1)
        low, high = place[seen].min(0).values, place[seen].max(0).values
        half = (high - low).max() / 2
        half = torch.where(half > 0, half, 1.0)  # of one point alone
        boxed = torch.where(seen[..., None], (place - (low + high) / 2) / half, 0.0)
        return torch.cat([boxed, torch.where(seen, sure.clamp(0, 1), 0.0)[..., None]], -1)

    def resample(self, points: torch.Tensor, begin: float = 0.0, end: float = 1.0) -> torch.Tensor:
        """Take the frames nearest to `num_frames` evenly spaced moments of a part of the clip.

        Args:
            points: `(M, T', J, D)`, of any length.
            begin: Start of the part, 0 to 1.
            end: Its end, 0 to 1.

        Returns:
            `(M, T, J, D)`.
        """
        last = points.shape[1] - 1
        moments = torch.linspace(begin * last, end * last, self.num_frames, dtype=torch.float64)
        return points[:, moments.round().long().clamp(0, last)]

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


HeatmapProcessor.register_for_auto_class("AutoProcessor")
