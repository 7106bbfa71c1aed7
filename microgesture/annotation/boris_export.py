"""Tables that BORIS 7 and 8 export: `Export events` (tabular) and `Export aggregated events`.

The project file holds more: point events around the border of two files, modifiers as FG-Text. A table is read where
each observation has one media file.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from pathlib import Path

from microgesture.annotation.boris import Event, Media, annotation, known_subject, pairs
from microgesture.annotation.readers import Problems, Reading, VideoFinder, seconds

_MEDIA = ("Media file name", "Media file path", "Media file", "Source")
_OF_ONE_STATE = {"Start (s)", "Stop (s)"}


def find_export(text: str, delimiters: str) -> tuple[list[list[str]], int] | None:
    """The cells of a table that BORIS exported and the place of its header row; `None` for any other table."""
    for delimiter in delimiters:
        for place, line in enumerate(text[:20000].splitlines()[:80]):
            names = {cell.strip().strip('"') for cell in line.split(delimiter)}
            if "Behavior" in names and (names >= _OF_ONE_STATE or names >= {"Time", "Subject"}):
                return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)), place
    return None


def read_export(
    path: Path, export: tuple[list[list[str]], int], finder: VideoFinder, point_seconds: float | None = None
) -> Reading:
    """Reads an exported table as labelled spans.

    Args:
        path: The table, for messages.
        export: What `find_export` gave.
        finder: Finds the media files.
        point_seconds: As for `microgesture.annotation.boris.read_boris`.

    Raises:
        ValueError: Rows cannot be read: the first twenty are named.
    """
    cells, place = export
    header = [name.strip() for name in cells[place]]
    preamble = {row[0].strip(): row[1].strip() for row in cells[:place] if len(row) > 1}
    reading, problems = Reading(), Problems()
    media: dict[str, Media] = {}
    events: dict[str, list[Event]] = defaultdict(list)
    whole: list[tuple[Event, Event]] = []
    for number, row in enumerate(cells[place + 1 :], start=place + 2):
        if not any(cell.strip() for cell in row):
            continue
        values = preamble | dict(zip(header, (cell.strip() for cell in row), strict=False))
        where = f"{path.name} row {number}"
        try:
            media[where] = _media(values, finder, path.parent)
            found = _row_events(values, where)
        except ValueError as error:
            problems.add(where, error)
            continue
        if set(header) >= _OF_ONE_STATE:
            whole.append((found[0], found[-1]))
        else:
            events[values.get("Observation id", "")] += found
    for observation in events.values():
        if len({media[event.where].files[0] for event in observation}) > 1:
            problems.add(path.name, "an observation has several media files; give the project (.boris) instead")
        whole += pairs(observation, problems)
    dropped = 0
    for begin, end in whole:
        if begin.point and point_seconds == 0:
            dropped += 1
            continue
        try:
            reading.annotations.append(annotation(media[begin.where], begin, end, {}, point_seconds))
        except ValueError as error:
            problems.add(begin.where, error)
    problems.check()
    if dropped:
        reading.notes.append(f"{path.name}: {dropped} point events were left out")
    return reading


def _media(values: dict[str, str], finder: VideoFinder, folder: Path) -> Media:
    name = next((values[column] for column in _MEDIA if values.get(column)), "")
    if ";" in name or "|" in name:
        raise ValueError(f"{name} are several media files; give the project (.boris) instead")
    name = name.removeprefix("player #1:").removeprefix("1:")
    offset = seconds(values.get("Time offset (s)", "")) or 0.0
    return Media([finder.find(name, folder)], [0.0], None, offset, other_players=False)


def _row_events(values: dict[str, str], where: str) -> list[Event]:
    """The moments of a row: begin and end of a state, or one of them."""
    behaviour = values.get("Behavior", "")
    if not behaviour:
        raise ValueError("the column Behavior is empty")
    kind = (values.get("Status") or values.get("Behavior type") or "").upper()
    modifiers = "|".join(value for name, value in values.items() if name.lower().startswith("modifier"))
    found = []
    for column in ("Start (s)", "Stop (s)") if "Start (s)" in values else ("Time",):
        time = seconds(values.get(column, ""))
        if time is None:
            raise ValueError(f"the column {column} is empty")
        subject = known_subject(values.get("Subject", ""))
        found.append(Event(time, subject, behaviour, modifiers, kind.startswith("POINT"), where))
    return found
