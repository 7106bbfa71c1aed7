"""What stands where in each recording, says the network (`predict --json`), a coder or a prepared data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from microgesture.annotation.export import sources
from microgesture.annotation.readers import VideoFinder
from microgesture.annotation.sources import ReadingOptions, read_source
from microgesture.data.clips import DatasetInfo

NOT_CODABLE = "not codable"
"""The label of time in which nobody could see: the person has left, an arm is out of the picture."""

Floats = npt.NDArray[np.float64]
Probe = Callable[[str], Any]
_Row = tuple[Path, float | None, float | None, str, str | None]


@dataclass(frozen=True)
class Event:
    """A span of a recording and what it is called; seconds from the first frame, the end outside."""

    start: float
    end: float
    label: str
    subject: str | None = None


@dataclass(frozen=True)
class Timeline:
    """One recording.

    Args:
        file: Its name, as the source has it.
        seconds: How long it is.
        events: What stands in it.
    """

    file: str
    seconds: float
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Timelines:
    """All recordings of a source.

    Args:
        recordings: In the order of the source.
        labels: Class names, also of classes that nothing was called.
        notes: In words, what was left out.
        made_by: What `predict` says of itself; empty for other sources.
    """

    recordings: list[Timeline]
    labels: list[str]
    notes: list[str]
    made_by: dict[str, Any]


def read_timelines(source: Path, probe: Probe, options: ReadingOptions | None = None) -> Timelines:
    """Reads a source of any kind.

    Args:
        source: What `predict --json` wrote; a data set that was prepared; or anything that `prepare own` reads.
        probe: Says how long a video is (`video_fgsgl.probe`).
        options: What some sources need to be told.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: It cannot be read, or a video is missing.
    """
    if (found := read_predictions(source)) is not None:
        return found
    if (source / "labels.json").is_file() and any(source.glob("*/metadata.jsonl")):
        rows: list[_Row] = [(c.path, c.clip.start, c.clip.end, c.label, c.clip.subject) for c in sources(source)]
        return Timelines(_recordings(rows, probe), DatasetInfo.read(source).names, [], {})
    reading = read_source(source, VideoFinder(source if source.is_dir() else source.parent), options)
    rows = [(a.video, a.start, a.end, a.label, a.subject) for a in reading.annotations]
    return Timelines(_recordings(rows, probe), sorted({row[3] for row in rows}), reading.notes, {})


def read_predictions(path: Path) -> Timelines | None:
    """Reads what `predict --json` wrote; `None` where the file is something else.

    Raises:
        ValueError: It holds no recording.
    """
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", errors="replace") as file:
        try:
            made_by = json.loads(file.readline())["made_by"]
        except (ValueError, KeyError, TypeError):
            return None
        rows: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        torn = 0
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                torn += 1
                continue
            (failed if "error" in row else rows).append(row)
    if not rows:
        raise ValueError(f"{path} holds no recording that could be read")
    notes = [f"{row['file']} could not be read and has no rows: {row['error']['kind']}" for row in failed]
    notes += [f"{torn} lines of {path.name} are cut off: start the same `predict` again"] if torn else []
    recordings = [
        Timeline(r["file"], r["seconds"], tuple(Event(s["start"], s["end"], s["label"]) for s in r["segments"]))
        for r in rows
    ]
    used = {event.label for recording in recordings for event in recording.events}
    labels = made_by.get("labels", [])
    return Timelines(recordings, [*labels, *sorted(used - {*labels})], notes, made_by)


def _recordings(rows: Iterable[_Row], probe: Probe) -> list[Timeline]:
    """Rows of one video are one recording."""
    videos: dict[Path, list[_Row]] = {}
    for row in rows:
        videos.setdefault(row[0], []).append(row)
    found = []
    for video, written in videos.items():
        seconds = float(probe(str(video)).duration)
        spans = [
            Event(start or 0.0, seconds if end is None else min(end, seconds), label, subject)
            for _, start, end, label, subject in written
        ]
        late = [event for event in spans if event.start >= seconds]
        if late:
            raise ValueError(
                f"{video}: {late[0].label!r} begins at {late[0].start:g} s, and the video ends at {seconds:.2f} s; "
                "is it the right video, and are the times in seconds?"
            )
        found.append(Timeline(str(video), seconds, tuple(sorted(spans, key=lambda event: (event.start, event.end)))))
    return found


def union(spans: Sequence[tuple[float, float]], first: float, last: float) -> Floats:
    """The spans inside `[first, last)` without overlaps `(N, 2)`, in the order of time."""
    merged: list[list[float]] = []
    for start, end in sorted((max(a, first), min(b, last)) for a, b in spans):
        if end <= start:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return np.array(merged, np.float64).reshape(-1, 2)


def inside(moment: float, spans: Floats) -> bool:
    """Whether a moment lies in one of the spans."""
    return bool(((spans[:, 0] <= moment) & (moment < spans[:, 1])).any())
