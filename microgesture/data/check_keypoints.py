"""Keypoint files of a data set: of one layout, whole, and as long as their clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from microgesture.data.check_report import Report
from microgesture.data.check_rows import Row
from microgesture.data.check_videos import Video, span_of
from microgesture.data.keypoints import open_points

LENGTH = 0.05  # share of its frames by which a skeleton may differ from its clip
OTHER_UNIT = 30.0  # times larger or smaller than usual: metres and millimetres, pixels and shares of a picture


def check_keypoints(
    root: Path, rows: Sequence[Row], videos: dict[tuple[str, str], Video], report: Report, progress: bool
) -> None:
    """Checks the files that the column `keypoints` names: float arrays (T, J, C) with C = 2 or 3, or (M, T, J, C).

    Args:
        root: The data set folder.
        rows: The rows whose video and span are sound.
        videos: Their videos.
        report: Takes the findings.
        progress: Whether to show a progress bar.
    """
    named = [row for row in rows if row.keypoints is not None]
    sizes: dict[Row, float] = {}
    joints: Counter[int] = Counter()
    shapes: dict[Row, int] = {}
    for row in tqdm(named, desc="keypoints", unit="file", delay=1, disable=not progress or not named):
        try:
            points = read_points(root / row.split, str(row.keypoints), people=2)
        except (ValueError, OSError) as error:
            report.add("keypoints", str(error), **row.place)
            continue
        joints[points.shape[1]] += 1
        shapes[row] = points.shape[1]
        _check_length(row, len(points), videos[row.split, row.file], report)
        finite = np.isfinite(points)
        unseen = ~(finite & (points != 0)).any((1, 2))
        if not finite.all() or unseen.mean() > LENGTH:
            message = f"{unseen.sum()} of {len(points)} frames hold no point, {(~finite).sum()} numbers are missing"
            report.add("keypoints_incomplete", f"{message}; they have to be interpolated", **row.place)
        seen = np.abs(points[finite & (points != 0)])
        sizes[row] = float(np.median(seen)) if seen.size else np.nan
    if not joints:
        return
    usual, median = joints.most_common(1)[0][0], float(np.nanmedian(list(sizes.values())))
    for row, count in shapes.items():
        if count != usual:
            report.add("keypoints", f"{count} joints, and most files have {usual}; use one layout", **row.place)
        elif sizes[row] * OTHER_UNIT < median or sizes[row] > OTHER_UNIT * median:
            message = f"numbers around {sizes[row]:.3g}, and {median:.3g} in most files: is the unit another one?"
            report.add("keypoints_unit", message, **row.place)


def read_points(folder: Path, name: str, people: int = 1) -> npt.NDArray[np.floating]:
    """Reads a keypoint file of a split, `(T, J, 2 or 3)`; of several people the first.

    Args:
        folder: The split's folder.
        name: The file.
        people: How many people it may hold.

    Raises:
        ValueError: As for `open_points`, or it holds something else.
        OSError: It cannot be opened.
    """
    points = open_points(folder, name)
    if points.ndim == 4 and 1 <= len(points) <= people:
        points = points[0]
    if points.ndim != 3 or points.shape[2] not in (2, 3) or 0 in points.shape:
        raise ValueError(
            f"{name} holds {points.shape} numbers; expected (frames, joints, 2 or 3), "
            + ("of one person" if people == 1 else "of one person, or (people, frames, …) of two")
        )
    return np.asarray(points)


def _check_length(row: Row, there: int, video: Video, report: Report) -> None:
    start, end = span_of(row, video)
    frames = max(1, round((min(end, video.seconds) - start) * video.frames / video.seconds))
    if there == frames:
        return
    message = f"keypoints of {there} frames for a clip of {frames}"
    if abs(there - frames) <= max(1, LENGTH * frames):
        report.add("keypoints_length", f"{message}; they have to be resampled", **row.place)
    else:
        report.add("keypoints", f"{message}; they belong to another video or frame rate", **row.place)
