"""Imports keypoints from the pickles of mmaction2 and pyskl, through `safe_pickle`.

`{"split": {name: [frame_dir]}, "annotations": [{"frame_dir", "label", "total_frames", "keypoint" (M, T, V, C),
"keypoint_score" (M, T, V)}]}` with M people, T frames, V points and C = 2 or 3 numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from microgesture.data.keypoints import Layout, layout_of_size
from microgesture.data.safe_pickle import StoredArray, read_pickle

_FIELDS = ("frame_dir", "label", "keypoint")


class PosePickle(Mapping[str, int]):
    """The annotations of a pose pickle: clip name -> class id.

    Args:
        path: The file, for messages.
        layout: The layout of its points, known by their number.
        annotations: Clip name -> annotation, checked.
        splits: Clip name -> the splits that list it.
    """

    def __init__(
        self, path: Path, layout: Layout, annotations: dict[str, dict[str, Any]], splits: dict[str, tuple[str, ...]]
    ) -> None:
        self.path, self.layout, self.splits = path, layout, splits
        self._annotations = annotations

    @classmethod
    def read(cls, path: Path | str) -> PosePickle:
        """Reads and checks a file; the points stay in it until they are asked for.

        Raises:
            FileNotFoundError: There is no such file.
            UnsafePickleError: It asks for more than plain data; nothing of it was run.
            ValueError: It is no pose pickle, or its points are in no known layout.
        """
        path = Path(path)
        content = read_pickle(path)
        if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
            raise ValueError(f"{path} is no pose pickle: expected a dictionary with a list `annotations`")
        annotations: dict[str, dict[str, Any]] = {}
        for number, annotation in enumerate(content["annotations"]):
            _check(annotation, f"{path}: annotation {number}")
            if annotations.setdefault(annotation["frame_dir"], annotation) is not annotation:
                raise ValueError(f"{path}: {annotation['frame_dir']!r} is annotated twice; remove one")
        if not annotations:
            raise ValueError(f"{path} holds no annotation")
        sizes = {annotation["keypoint"].shape[2] for annotation in annotations.values()}
        if len(sizes) > 1:
            raise ValueError(f"{path} mixes clips with {sorted(sizes)} points; import them from one file each")
        return cls(
            path, layout_of_size(sizes.pop()), annotations, _splits(content.get("split", {}), path, annotations)
        )

    def __getitem__(self, name: str) -> int:
        return int(self._annotations[name]["label"])

    def __iter__(self) -> Iterator[str]:
        return iter(self._annotations)

    def __len__(self) -> int:
        return len(self._annotations)

    def points(self, name: str) -> npt.NDArray[np.float32]:
        """The points of a clip, `(T, V, 3)`: those of the person whose scores (or, without scores, size) are greatest.

        Raises:
            ValueError: They hold NaN or infinity.
        """
        annotation = self._annotations[name]
        points = np.asarray(annotation["keypoint"]).astype(np.float32)
        scores = annotation.get("keypoint_score")
        if scores is not None and points.shape[-1] == 2:
            points = np.concatenate([points, np.asarray(scores).astype(np.float32)[..., None]], -1)
        elif points.shape[-1] == 2:
            points = np.concatenate([points, (points != 0).any(-1, keepdims=True).astype(np.float32)], -1)
        if not np.isfinite(points).all():
            raise ValueError(f"{self.path}: the points of {name!r} hold NaN or infinity; leave the clip out")
        person = int((points[..., 2] if scores is not None else np.abs(points).sum(-1)).sum((1, 2)).argmax())
        return points[person]


def _check(annotation: Any, where: str) -> None:
    absent = [field for field in _FIELDS if not isinstance(annotation, dict) or field not in annotation]
    if absent:
        raise ValueError(f"{where} lacks {', '.join(absent)}")
    name, label, points = (annotation[field] for field in _FIELDS)
    scores, frames = annotation.get("keypoint_score"), annotation.get("total_frames")
    if not isinstance(name, str) or not isinstance(label, int):
        raise ValueError(f"{where}: frame_dir must be text and label a whole number, got {name!r} and {label!r}")
    where = f"{where} ({name!r})"
    if not isinstance(points, np.ndarray | StoredArray) or len(points.shape) != 4 or points.shape[3] not in (2, 3):
        shape = getattr(points, "shape", "no array")
        raise ValueError(f"{where}: keypoint must be (people, frames, points, 2 or 3), got {shape}")
    if 0 in points.shape:
        raise ValueError(f"{where}: keypoint is empty, its shape is {points.shape}; leave the clip out")
    if scores is not None and getattr(scores, "shape", None) != points.shape[:3]:
        raise ValueError(
            f"{where}: keypoint_score must be {points.shape[:3]}, got {getattr(scores, 'shape', 'no array')}"
        )
    if frames is not None and frames != points.shape[1]:
        raise ValueError(f"{where}: total_frames is {frames}, but keypoint has {points.shape[1]} frames")


def _splits(split: Any, path: Path, annotations: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    if not isinstance(split, dict) or not all(isinstance(names, list) for names in split.values()):
        raise ValueError(f"{path}: split must be a dictionary of lists of clip names")
    found: dict[str, tuple[str, ...]] = {}
    for side, names in split.items():
        for name in names:
            if name not in annotations:
                raise ValueError(f"{path}: split {side!r} lists {name!r}, which has no annotation")
            found[name] = (*found.get(name, ()), side)
    return found
