"""Clips of a data set as keypoints: read and normalised once, then varied and resampled as they are asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from microgesture.data import augment
from microgesture.data.clip_dataset import NO_SENTENCE, ClipDataset
from microgesture.data.clips import LABELS_FILE
from microgesture.data.keypoints import Layout, layout_of_size, open_points, read_layout
from microgesture.streams import keypoint_augment

COLUMN = "keypoints"


class KeypointDataset(ClipDataset):
    """Keypoints of the clips of one split.

    Args:
        split: As `microgesture.data.load` gives it.
        folder: The split's folder, to which the column `keypoints` is relative.
        processor: The stream's processor.
        pairs: Left and right joints, for clips that are mirrored.
        augmentation: Changes that training clips get; `None` for clips as they are.

    Items are `keypoints (M, T, J, D + 1)`, `labels`, `sentence_ids` (none has one) and `clip_ids`. With `flipped`, a
    clip is mirrored in one of two epochs, as in `ClipDataset`.

    Raises:
        ValueError: A clip has no keypoints, or its file is damaged or of another layout.
    """

    def __init__(
        self,
        split: datasets.Dataset,
        folder: Path,
        processor: Any,
        pairs: list[list[int]],
        augmentation: augment.Augmentation | None = None,
    ) -> None:
        super().__init__(split, _NO_FRAMES, [NO_SENTENCE] * len(split), augmentation=augmentation)
        self.processor, self.pairs = processor, [(a, b) for a, b in pairs]
        self.points = [self._read(folder, name) for name in point_files(self, split, folder)]
        people = max(len(points) for points in self.points)
        self.points = [F.pad(points, (0, 0) * 3 + (0, people - len(points))) for points in self.points]

    def _read(self, folder: Path, name: str) -> torch.Tensor:
        points = read_points(folder, name)
        try:
            return self.processor.normalize(points)
        except ValueError as error:
            raise ValueError(f"{folder / name}: {error}") from error

    def __getitem__(self, index: int) -> dict[str, Any]:
        points, label = self.points[index], self.labels[index]
        begin, end = 0.0, 1.0
        if self.augmentation is not None:
            drawn = augment.draw(self.augmentation.seed, int(self._epoch), index, self.augmentation.camera)
            if self.augmentation.vary:
                begin, end = keypoint_augment.span(drawn)
                points = keypoint_augment.apply(points, drawn, self.augmentation.seed, int(self._epoch), index)
            other = self.flipped[index] if self.flipped is not None and augment.mirrors(drawn) else None
            if other is not None:
                points, label = augment.mirror_keypoints(points, self.pairs, width=1), other[0]
        points = self.processor.resample(points, begin, end)
        item = {"labels": label, "sentence_ids": NO_SENTENCE, "clip_ids": index, "keypoints": points}
        return item | self._taught(index)


class _NoFrames:
    """Keypoints need no video to be opened."""

    def get(self, video: Any, start: float | None, end: float | None, mirrored: bool) -> torch.Tensor:
        raise TypeError("a keypoint data set has no frames")


_NO_FRAMES = _NoFrames()


def point_files(clips: ClipDataset, split: datasets.Dataset, folder: Path) -> list[str]:
    """The keypoint file of each clip, relative to the split's folder.

    Args:
        clips: The clips, which know their names.
        split: As `microgesture.data.load` gives it.
        folder: The split's folder.

    Raises:
        ValueError: A clip has none.
    """
    names: list[Any] = list(split[COLUMN]) if COLUMN in split.column_names else [None] * len(split)
    without = [number for number, name in enumerate(names) if not name]
    if without:
        raise ValueError(
            f"{folder}: {len(without)} of {len(split)} clips have no keypoints, the first is "
            f"{clips.name(without[0])}. A stream needs a file of points for every clip, named in the column "
            f"{COLUMN!r} of metadata.jsonl (docs/your_data.md): add them, all 0 where nobody is seen, or take these "
            "clips' lines out"
        )
    return names


def read_points(folder: Path, name: str) -> npt.NDArray[np.float32]:
    """Reads the keypoint file `name` of a split's folder, into memory.

    Raises:
        ValueError: As for `open_points`.
    """
    return np.array(open_points(folder, name), np.float32)


def layout_of(dataset: Path, split: str, rows: datasets.Dataset) -> Layout:
    """The keypoint layout of a data set: the one that labels.json names, else the only one with as many joints.

    Args:
        dataset: The data set's folder.
        split: Name of a split.
        rows: The split, as `microgesture.data.load` gives it.

    Raises:
        ValueError: The data set has no keypoints, or they are of no known layout.
    """
    first = next(filter(None, rows[COLUMN]), None) if COLUMN in rows.column_names else None
    if first is None:
        raise ValueError(
            f"{dataset} has no keypoints, which a stream reads; `microgesture prepare` writes them for utd_mhad, smg, "
            "and with --keypoints for imigue and ma52; `microgesture keypoints` finds them in any videos"
        )
    named = json.loads((dataset / LABELS_FILE).read_text(encoding="utf-8")).get("keypoints")
    if named:
        return read_layout(named)
    shape = open_points(dataset / split, first).shape
    try:
        return layout_of_size(shape[-2] if len(shape) > 1 else 0)
    except ValueError as error:
        raise ValueError(
            f"{dataset / split / first}: {error}. Bring the points into one of them (docs/your_data.md)"
        ) from error
