"""Looks a data set over before any training: what would stop it, and what would make its figures wrong.

Each file is opened once, however many clips lie in it; only its headers and first frame are decoded, unless asked for
more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets.exceptions import DatasetsError

from microgesture.data.check_keypoints import check_keypoints
from microgesture.data.check_report import Report
from microgesture.data.check_rows import Row, check_labels, check_splits, check_texts, read_rows
from microgesture.data.check_videos import Video, check_frames, check_overlaps, check_spans, probe_videos, span_of
from microgesture.data.clips import LEAK, DatasetInfo, load

LEAKS = frozenset({"leak", "near_duplicate"})


def check(
    folder: Path | str,
    probe: Callable[[Path], Any],
    read: Callable[..., Any] | None = None,
    num_frames: int = 8,
    slack: float = 0.1,
    progress: bool = True,
) -> Report:
    """Checks a data set folder as `microgesture prepare` makes it.

    Args:
        folder: The data set.
        probe: Describes a video (`frames`, `duration`, `width`, `height`), or raises ValueError with the reason.
        read: Also decode every clip with it: uint8 frames (T, H, W, 3) of a path, number of frames, start and end.
        num_frames: Frames that the network takes from a clip.
        slack: Seconds that a span may reach beyond its video, as the reader allows.
        progress: Whether to show progress bars.

    Returns:
        Counts, errors and warnings. In a data set that is marked as leaking, people on two sides are warnings.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    root = Path(folder).resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; make a data set with `microgesture prepare`")
    report = Report(str(folder))
    info = _info(root, report)
    rows = read_rows(root, info, report, progress)
    check_splits(rows, report)
    if info is not None:
        check_labels(rows, info, report)
    check_texts(rows, report)
    videos = probe_videos(root, rows, probe, report, progress)
    sound = check_spans(rows, videos, report, num_frames, slack)
    check_overlaps(sound, videos, report)
    check_keypoints(root, sound, videos, report, progress)
    if read is not None:
        check_frames(root, sound, read, report, num_frames, progress)
    report.splits = _counts(rows, videos)
    if not report.errors:
        _load(root, report)
    return report


def _load(root: Path, report: Report) -> None:
    """Loads the data set as training does, so that what passes the check is known to load."""
    try:
        load(root)
    except (ValueError, OSError, DatasetsError) as error:
        report.add("not_loadable", f"{error} ({error.__cause__})" if error.__cause__ else str(error))


def _info(root: Path, report: Report) -> DatasetInfo | None:
    try:
        info = DatasetInfo.read(root)
    except (ValueError, OSError) as error:
        report.add("bad_labels", str(error))
        return None
    if info.leak:
        report.tolerated = LEAKS
        report.add("leak", LEAK)
    return info


def _counts(rows: list[Row], videos: dict[tuple[str, str], Video]) -> dict[str, dict[str, Any]]:
    by_split: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_split[row.split].append(row)
    counts = {}
    for split, of_split in by_split.items():
        known = [(row, videos[row.split, row.file]) for row in of_split if (row.split, row.file) in videos]
        counts[split] = {
            "clips": len(of_split),
            "people": len({row.subject for row in of_split if row.subject is not None}),
            "classes": len({row.label for row in of_split}),
            "videos": len({row.file for row in of_split}),
            "seconds": round(sum(end - start for start, end in (span_of(row, video) for row, video in known)), 3),
        }
    return counts
