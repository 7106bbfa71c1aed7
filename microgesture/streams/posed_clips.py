"""Clips whose frames come with the points of the person in them, for a network that looks at those places."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import torch

from microgesture.baselines.clip_mg import points_of_frames
from microgesture.data import augment
from microgesture.data.clip_dataset import ClipDataset
from microgesture.data.keypoints import Layout
from microgesture.streams.keypoint_clips import layout_of, point_files, read_points

Probe = Callable[[Any], Any]
"""Describes a video file (`video_fgsgl.probe`): its width and height as it is displayed."""


class PosedClips(ClipDataset):
    """Clips of one split with `points (T, J, 3)`, which go with the frames through every augmentation.

    Args:
        clips: The clips without points.
        split: As `microgesture.data.load` gives it.
        folder: The split's folder, to which the column `keypoints` is relative.
        config: The network's configuration: its `joints` and `pairs`.
        probe: Tells the size of the pictures that the points are counted in.

    Of two people the first one's points are taken.

    Raises:
        ValueError: A clip has no keypoints, or its file is damaged or of another layout.
    """

    def __init__(self, clips: ClipDataset, split: datasets.Dataset, folder: Path, config: Any, probe: Probe) -> None:
        super().__init__(split, clips.frames, clips.sentence_ids, clips.mirrored, clips.augmentation)
        self.pairs = [(a, b) for a, b in config.pairs]
        reader: Any = clips.frames
        T, J = reader.processor.num_frames, len(config.joints)
        once = cache(probe)  # many clips may be parts of one recording
        self.points = [
            self._read(folder, name, video["path"] or video["bytes"], T, J, once)
            for name, video in zip(point_files(self, split, folder), split["video"], strict=True)
        ]

    def _read(self, folder: Path, name: str, video: Any, T: int, J: int, probe: Probe) -> torch.Tensor:
        table = torch.from_numpy(read_points(folder, name))
        table = table[0] if table.ndim == 4 and len(table) else table
        if table.ndim != 3 or table.shape[1] != J or table.shape[2] not in (2, 3) or not len(table):
            raise ValueError(
                f"{folder / name} holds {tuple(table.shape)} numbers; expected (frames, {J} joints, 2 or 3)"
            )
        about = probe(video)
        points = points_of_frames(table, T, about.width, about.height)
        # Points are counted in the picture as it was stored; the reader turns a mirrored one round.
        return points * points.new_tensor([-1.0, 1.0, 1.0]) if self.mirrored else points

    def __getitem__(self, index: int) -> dict[str, Any]:
        item, points, how = super().__getitem__(index), self.points[index], self.augmentation
        if how is not None:
            drawn = augment.draw(how.seed, int(self._epoch), index, how.camera)
            points = augment.pick(points, drawn) if how.vary else points
            if item.get("flipped"):
                points = augment.mirror_keypoints(points, self.pairs, width=1)
            points = augment.move_points(points, drawn) if how.vary else points
        return item | {"points": points}


def with_points(
    clips: dict[str, ClipDataset], data: datasets.DatasetDict, folder: Path, config: Any, probe: Probe
) -> dict[str, ClipDataset]:
    """The clips of some splits, with points where the network reads points.

    Args:
        clips: By split.
        data: As `microgesture.data.load` gives it.
        folder: The data set's folder.
        config: The network's configuration.
        probe: As for `PosedClips`.
    """
    if not hasattr(config, "joints"):
        return clips
    return {name: PosedClips(part, data[name], folder / name, config, probe) for name, part in clips.items()}


def picture_layout(folder: Path, split: str, rows: datasets.Dataset) -> Layout:
    """The keypoint layout of a data set, where its points are places in the video.

    Raises:
        ValueError: There are no keypoints, or they are counted in metres.
    """
    layout = layout_of(folder, split, rows)
    if layout.unit != "pixels":
        raise ValueError(
            f"the keypoints of {folder} ({layout.name}) are in {layout.unit}; clip_mg looks at places in the picture, "
            "so it needs points in pixels of the video"
        )
    return layout
