"""What can be told of a data set from its videos: readable, long enough, not there twice, not on two sides."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from microgesture.data.check_report import Report
from microgesture.data.check_rows import Row

TINY = 32  # pixels of the shorter side
LONG = 60.0  # seconds: at eight frames one in 7.5 s
FAR_TOO_LONG = 600.0
STILL = 0.5  # grey levels out of 255 that frames of a clip differ on average, when nothing in it moves


class Video(NamedTuple):
    """What is known of a file: its content (equal for equal files), frames and seconds."""

    content: int
    frames: int
    seconds: float


def probe_videos(
    root: Path, rows: Sequence[Row], probe: Callable[[Path], Any], report: Report, progress: bool
) -> dict[tuple[str, str], Video]:
    """Describes every file that rows name, each once however many rows and names it has.

    Args:
        root: The data set folder.
        rows: Its rows.
        probe: Describes a video (`frames`, `duration`, `width`, `height`), or raises ValueError.
        report: Takes what cannot be read.
        progress: Whether to show a progress bar.

    Returns:
        By split and file name.
    """
    first_rows = {(row.split, row.file): row for row in reversed(rows)}
    files: dict[tuple[int, int], list[Row]] = defaultdict(list)
    sizes: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for (split, file), row in sorted(first_rows.items()):
        path = root / split / file
        try:
            if not path.resolve().is_relative_to(root):
                report.add("outside_root", "this link leads out of the data set; copy the video itself", **row.place)
                continue
            status = path.stat()
        except (OSError, RuntimeError):
            report.add("not_found", "there is no such file; check the name and its upper and lower case", **row.place)
            continue
        identity = (status.st_dev, status.st_ino)
        files[identity].append(row)
        sizes[status.st_size].add(identity)
    paths = {identity: root / of_file[0].split / of_file[0].file for identity, of_file in files.items()}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = tqdm(total=len(paths), desc="videos", unit="video", delay=1, disable=not progress)
        described = {}
        for identity, result in zip(paths, pool.map(lambda path: _describe(probe, path), paths.values()), strict=True):
            described[identity] = result
            bar.update()
        bar.close()
    same_size = {identity for identities in sizes.values() if len(identities) > 1 for identity in identities}
    contents: dict[Any, int] = {}
    videos: dict[tuple[str, str], Video] = {}
    for identity, of_file in files.items():
        info = described[identity]
        if isinstance(info, Exception):
            report.add(getattr(info, "kind", "unreadable"), str(info), **of_file[0].place)
            continue
        # Only files of one size can be equal, so only those are read as a whole.
        key = _digest(paths[identity]) if identity in same_size else identity
        video = Video(contents.setdefault(key, len(contents)), info.frames, info.duration)
        videos |= {(row.split, row.file): video for row in of_file}
        if min(info.width, info.height) < TINY:
            report.add("tiny", f"the picture is {info.width} x {info.height} pixels", **of_file[0].place)
    return videos


def _describe(probe: Callable[[Path], Any], path: Path) -> Any:
    try:
        return probe(path)
    except (ValueError, OSError) as error:
        return error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def span_of(row: Row, video: Video) -> tuple[float, float]:
    """The clip's start and end in seconds."""
    return row.start or 0.0, video.seconds if row.end is None else row.end


def check_spans(
    rows: Sequence[Row],
    videos: dict[tuple[str, str], Video],
    report: Report,
    num_frames: int,
    slack: float,
) -> list[Row]:
    """Spans outside their video, clips that are too short or too long.

    Args:
        rows: All rows.
        videos: What `probe_videos` gave.
        report: Takes the findings.
        num_frames: Frames that the network takes from a clip.
        slack: Seconds that a span may reach beyond its video, as the reader allows.

    Returns:
        The rows whose video and span are sound.
    """
    sound = []
    for row in rows:
        video = videos.get((row.split, row.file))
        if video is None:
            continue
        start, end = span_of(row, video)
        if start >= video.seconds or end > video.seconds + slack:
            report.add("bad_span", _outside(start, end, video), **row.place)
            continue
        sound.append(row)
        frames = round((min(end, video.seconds) - start) * video.frames / video.seconds)
        if frames < num_frames:
            message = f"the clip has {max(frames, 1)} frames, and the network takes {num_frames}: frames are repeated"
            report.add("too_short", message, **row.place)
        if end - start > LONG:
            kind = "too_long" if end - start > FAR_TOO_LONG else "long"
            message = f"the clip is {end - start:.0f} s long, with {num_frames} frames for all of it"
            report.add(kind, f"{message}; give start and end of the gesture", **row.place)
    return sound


def _outside(start: float, end: float, video: Video) -> str:
    message = f"the span {start:g} s to {end:g} s reaches beyond the video, which is {video.seconds:.3f} s long"
    if float(start).is_integer() and float(end).is_integer() and end <= video.frames + 1:
        rate = video.frames / video.seconds
        return f"{message}; if {start:g} and {end:g} are frame numbers, divide them by {rate:.6g} frames per second"
    return f"{message}; times are seconds from its first frame"


def check_overlaps(rows: Sequence[Row], videos: dict[tuple[str, str], Video], report: Report) -> None:
    """Clips that show the same pictures: twice, with two labels, or on two sides of the split."""
    by_content: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_content[videos[row.split, row.file].content].append(row)
    for of_content in by_content.values():
        if len(of_content) > 1:
            _check_overlaps(of_content, videos, report)


def _check_overlaps(rows: list[Row], videos: dict[tuple[str, str], Video], report: Report) -> None:
    """Goes through the clips of one recording by time; remembers the clip that lasts longest per side and label."""
    spans = sorted(
        ((*span_of(row, videos[row.split, row.file]), row) for row in rows), key=lambda s: (s[0], s[1], s[2].line)
    )
    video = videos[rows[0].split, rows[0].file]
    tolerance = 1.5 * video.seconds / video.frames  # neighbours may share a frame
    same: dict[tuple[int, int], Row] = {}
    latest: dict[tuple[str, str], tuple[float, Row]] = {}
    for start, end, row in spans:
        before = same.setdefault((round(1000 * start), round(1000 * end)), row)
        if before is not row:
            _add_same(before, row, report)
        elif (other := _overlapping(row, start + tolerance, latest)) is not None:
            across = other.side != row.side
            kind = "near_duplicate" if across else "overlap"
            message = f"overlaps in time with {other} ({other.label!r}), in the same recording"
            cure = "; keep all clips of a moment in one split" if across else f", and is {row.label!r}"
            report.add(kind, message + cure, **row.place)
        if end > latest.get((row.side, row.label), (-1.0, row))[0]:
            latest[row.side, row.label] = (end, row)


def _overlapping(row: Row, moment: float, latest: dict[tuple[str, str], tuple[float, Row]]) -> Row | None:
    """A clip that still runs at this moment, on another side or else with another label."""
    running = [
        other
        for (side, label), (end, other) in latest.items()
        if end > moment and (side, label) != (row.side, row.label)
    ]
    return min(running, key=lambda other: (other.side == row.side, str(other)), default=None)


def _add_same(before: Row, row: Row, report: Report) -> None:
    if before.label != row.label:
        message = f"the same pictures are {before.label!r} in {before} and {row.label!r} here; keep one label"
        report.add("conflict", message, **row.place)
    if before.side != row.side:
        report.add("near_duplicate", f"the same pictures are in {before} as well; keep them in one split", **row.place)
    elif before.label == row.label:
        report.add("duplicate", f"the same clip as {before}", **row.place)


def check_frames(
    root: Path,
    rows: Sequence[Row],
    read: Callable[[Path, int, float | None, float | None], Any],
    report: Report,
    num_frames: int,
    progress: bool,
) -> None:
    """Decodes the frames of every clip: finds damage inside files, and clips in which nothing moves.

    Args:
        root: The data set folder.
        rows: The rows whose span is sound.
        read: Returns uint8 frames (T, H, W, 3) of a path, number of frames, start and end; or raises ValueError.
        report: Takes the findings.
        num_frames: Frames to take from a clip.
        progress: Whether to show a progress bar.
    """
    for row in tqdm(rows, desc="frames", unit="clip", delay=1, disable=not progress):
        try:
            frames = read(root / row.split / row.file, num_frames, row.start, row.end)
        except ValueError as error:
            report.add(getattr(error, "kind", "unreadable"), str(error), **row.place)
            continue
        if len(frames) > 1 and float((frames[1:].float() - frames[:-1].float()).abs().mean()) < STILL:
            report.add("static", "nothing moves in this clip", **row.place)
