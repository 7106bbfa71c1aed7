"""Keypoint files for a data set, or for videos: what `microgesture keypoints` writes.

    <split>/keypoints/made_by.json         by which networks and settings the files beside it were made
    <split>/keypoints/clips/a.mp4.npy      float32 (frames, 17, 3): x, y in pixels as stored, and confidence
    <split>/metadata.jsonl                 names each clip's file in the column `keypoints`; written last

With two people, files hold (2, frames, 17, 3), the one who fills more of the picture first. Somebody who is not seen
in a frame has 0 there throughout.
"""

from __future__ import annotations

import filecmp
import json
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from tqdm import tqdm

from microgesture.annotation.results import common_folder
from microgesture.data.clips import LABELS_FILE, METADATA_FILE, ClipSample, DatasetInfo, link_file, write_text
from microgesture.data.keypoints import read_layout
from microgesture.data.made_by import settle
from microgesture.data.own import UNKNOWN, video_name
from microgesture.people.extraction import Array, Extractor
from microgesture.people.pose import LAYOUT
from microgesture.streams.adaptation_data import read_rows

COLUMN = "keypoints"
MADE_BY = "keypoints/made_by.json"

Failed = Callable[[Path, Exception], None]


@dataclass(frozen=True)
class Clip:
    """A clip whose points are wanted.

    Args:
        video: Its file.
        start: In seconds; `None` for the start of the file.
        end: In seconds, itself outside; `None` for the end of the file.
        points: The file to write.
    """

    video: Path
    start: float | None
    end: float | None
    points: Path


@dataclass
class Outcome:
    """What became of the clips.

    Args:
        made: How many were made.
        kept: How many were there already.
        empty: Those in which nobody is seen.
    """

    made: int = 0
    kept: int = 0
    empty: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        listed = ", ".join(self.empty[:5]) + (", …" if len(self.empty) > 5 else "")
        told = [f"{self.made} clips", f"{self.kept} were there already" if self.kept else ""]
        told += [f"nobody is seen in {len(self.empty)}: {listed}" if self.empty else ""]
        return "; ".join(part for part in told if part)


class KeypointWriter:
    """Writes the points of clips, one video after the other.

    Args:
        extractor: Finds people and joints.
        reader: The module `video_fgsgl`.
        made_by: What the points depend on; files that were made otherwise are refused.
        mirrored: Whether videos show a mirror image: left and right joints are the subject's own, and change places.
        on_failed: Told of a video that cannot be read; it may raise.
    """

    def __init__(
        self, extractor: Extractor, reader: Any, made_by: Mapping[str, Any], mirrored: bool, on_failed: Failed
    ) -> None:
        self.extractor, self.reader, self.on_failed = extractor, reader, on_failed
        self.made_by = {**made_by, "mirrored": mirrored}
        self.order = read_layout(LAYOUT).mirrored_order if mirrored else slice(None)

    def begin(self, folder: Path) -> None:
        """Says in a split's folder how its points are made.

        Raises:
            ValueError: There are points already that were made otherwise.
        """
        settle(folder / MADE_BY, self.made_by, "keypoints")

    def write(self, clips: Sequence[Clip], outcome: Outcome) -> bool:
        """Writes the points of all clips of one video that are not there yet; says whether all are there then."""
        try:
            self.reader.replanned(partial(self._write, clips, outcome))
        except (ValueError, OSError) as error:
            self.on_failed(clips[0].video, error)
            return False
        return True

    def _write(self, clips: Sequence[Clip], outcome: Outcome, measured: bool) -> None:
        with closing(self.reader.Recording(clips[0].video, measured=measured)) as recording:
            line = recording.timeline
            times = [float((pts - line.pts[0]) * line.time_base) for pts in line.pts]
            frames = {clip.points: _frames(times, clip) for clip in clips}
            wanted = [clip for clip in clips if not self._whole(clip.points, len(frames[clip.points]))]
            places = sorted({place for clip in wanted for place in frames[clip.points]})
            if not places:
                outcome.kept += len(clips)
                return
            bar = tqdm(recording.pictures(places), clips[0].video.name, len(places), unit="frame", delay=2)
            found = self.extractor(bar)
            for clip in wanted:
                points = found.clip(frames[clip.points], self.extractor.people)[..., self.order, :]
                _save(clip.points, points)
                if not points[..., 2].any():
                    outcome.empty.append(clip.points.with_suffix("").name)
        outcome.made += len(wanted)
        outcome.kept += len(clips) - len(wanted)

    def _whole(self, path: Path, length: int) -> bool:
        """Whether a file holds the points of so many frames."""
        joints = len(read_layout(LAYOUT).names)
        shape = (length, joints, 3) if self.extractor.people == 1 else (self.extractor.people, length, joints, 3)
        try:
            there = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError):
            return False
        return there.shape == shape and there.dtype == np.float32


def _frames(times: Sequence[float], clip: Clip) -> list[int]:
    """The frames that begin inside a clip; of one that is shorter than a frame, the one on display."""
    begin, end = clip.start or 0.0, float("inf") if clip.end is None else clip.end
    inside = [place for place, time in enumerate(times) if begin <= time < end]
    return inside or [max(bisect_right(times, begin) - 1, 0)]


def _save(path: Path, points: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}.partial.npy")
    np.save(unfinished, points, allow_pickle=False)
    os.replace(unfinished, path)


def add_to_dataset(dataset: Path, writer: KeypointWriter) -> dict[str, Outcome]:
    """Gives every clip of a data set its points; the table and labels.json change when all are there.

    Args:
        dataset: A data set folder.
        writer: Made for the data set's `mirrored`.

    Returns:
        Split -> what became of its clips; a split with a video that failed keeps its table as it is.

    Raises:
        ValueError: The data set has keypoints already that were not made so.
    """
    folders = [path.parent for path in sorted(dataset.glob(f"*/{METADATA_FILE}"))]
    if not folders:
        raise ValueError(f"{dataset} holds no split such as train/{METADATA_FILE}; give the folder of one data set")
    tables = {folder: read_rows(dataset, folder.name) for folder in folders}
    for folder, rows in tables.items():
        if any(row.get(COLUMN) for row in rows) and not (folder / MADE_BY).is_file():
            raise ValueError(f"{folder} has keypoints that this command did not make; it replaces none")
        writer.begin(folder)
    outcomes, whole = {folder.name: Outcome() for folder in folders}, True
    for folder, rows in tables.items():
        good = [writer.write(clips, outcomes[folder.name]) for clips in _by_video(folder, rows)]
        whole = whole and all(good)
    if whole:
        for folder, rows in tables.items():
            lines = (json.dumps(row | {COLUMN: _name(row)}, ensure_ascii=False) + "\n" for row in rows)
            write_text(folder / METADATA_FILE, "".join(lines))
        labels = json.loads((dataset / LABELS_FILE).read_text(encoding="utf-8")) | {"keypoints": LAYOUT}
        write_text(dataset / LABELS_FILE, json.dumps(labels, ensure_ascii=False, indent=1) + "\n")
    return outcomes


def is_mirrored(dataset: Path) -> bool | str:
    """What labels.json says of a data set's recordings: `True`, `False` or `"unknown"`."""
    return DatasetInfo.read(dataset).mirrored


def make_split(files: Sequence[str], out: Path, writer: KeypointWriter) -> Outcome:
    """Makes of videos a split of clips without labels: the videos, their points, and the table.

    Args:
        files: The videos, but those of the split itself.
        out: The split's folder, such as `data/own/unlabelled`.
        writer: Writes the points.

    Raises:
        ValueError: There is no video, or the folder has another table, points that were not made so, or other videos.
    """
    if (out / METADATA_FILE).exists() and not (out / MADE_BY).is_file():
        raise ValueError(f"{out} is a split that this command did not make; name another folder with --out")
    if not files:
        raise ValueError(f"all of these videos lie in {out} itself; name those that the split is made of")
    videos = _videos(files, out)
    writer.begin(out)
    outcome, rows = Outcome(), []
    for name, video in videos.items():
        sample = ClipSample(name, "", UNKNOWN)
        points = _name(sample.row())
        if writer.write([Clip(video, None, None, out / points)], outcome):
            link_file(video, out / name)
            rows.append(sample.row() | {"label": None, COLUMN: points})
    if rows:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text(out / METADATA_FILE, "".join(lines))
    return outcome


def _videos(files: Sequence[str], out: Path) -> dict[str, Path]:
    """Name in the split -> the video. No video of the split is left out, or taken for another of its name."""
    paths = [Path(os.path.abspath(file)) for file in files]
    videos = {video_name(path, Path(common_folder(files))): path for path in paths}
    rows = read_rows(out.parent, out.name) if (out / METADATA_FILE).is_file() else []
    others = [row["file_name"] for row in rows if row["file_name"] not in videos]
    if others:
        raise ValueError(
            f"{out} has {len(others)} other clips, such as {others[0]}; name all videos at once, or another folder "
            "with --out"
        )
    for name, path in videos.items():
        there = out / name
        if there.is_file() and path.is_file() and not _same(there, path):
            raise ValueError(f"{there} is another video than {path}; name both at once, or another folder with --out")
    return videos


def _same(first: Path, second: Path) -> bool:
    return first.samefile(second) or filecmp.cmp(first, second, shallow=False)


def _name(row: Mapping[str, Any]) -> str:
    """The file of a clip's points, which tells its video and its span: a table that changes finds the right ones."""
    spans = [f"_{row[side]:.3f}" if row.get(side) is not None else "_" for side in ("start", "end")]
    name = PurePosixPath(row["file_name"])
    return f"keypoints/{name}{'' if spans == ['_', '_'] else ''.join(spans)}.npy"


def _by_video(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Clip]]:
    """The clips of each video, which is opened once for all of them."""
    videos: dict[str, list[Clip]] = {}
    for row in rows:
        name = PurePosixPath(row["file_name"])
        if name.is_absolute() or ".." in name.parts:
            raise ValueError(f"{folder / METADATA_FILE}: {row['file_name']!r} is no path inside the folder")
        clip = Clip(folder / name, row.get("start"), row.get("end"), folder / _name(row))
        videos.setdefault(row["file_name"], []).append(clip)
    yield from videos.values()
