"""BORIS projects (`.boris`): coded events of behaviour.

A state is coded twice, where it begins and where it ends; the two belong together by subject, behaviour and modifiers.
Times run on over all media files of the first player, and BORIS adds the observation's time offset to each of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from microgesture.annotation.readers import (
    Annotation,
    Problems,
    Reading,
    VideoFinder,
    read_bytes,
    record,
    span_problem,
)
from microgesture.data.fg_text import ATTRIBUTES


@dataclass(frozen=True)
class Event:
    """One coded moment of an observation."""

    time: float  # seconds over all files of the first player
    subject: str | None
    behaviour: str
    modifiers: str  # those of several sets joined by |
    point: bool
    where: str


def read_boris(path: Path, finder: VideoFinder, point_seconds: float | None = None) -> Reading:
    """Reads the events of a BORIS project as labelled spans; the behaviour is the class.

    Args:
        path: The `.boris` file (JSON).
        finder: Finds the media files.
        point_seconds: How much video to take around a point event, which has no duration; 0 leaves them out.

    Returns:
        One annotation per state and, if asked for, per point event. Modifier sets that are called `initiator`,
        `receiver`, `direction` or `motion_type` become FG-Text.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no BORIS project, or events cannot be read: the first twenty are named.
    """
    project = _project(path)
    reading, problems = Reading(), Problems()
    behaviours = {str(b.get("code")): b for b in project["behaviors_conf"].values()}
    dropped = 0
    for name, observation in sorted(project["observations"].items()):
        where = f"{path.name}, observation {name!r}"
        try:
            if not observation.get("events"):
                continue
            media = Media.of_observation(observation, finder, path.parent)
            if media.other_players:
                reading.notes.append(f"{where}: the videos of players other than the first are not used")
            events = list(_events(observation["events"], behaviours, where))
        except ValueError as error:
            problems.add(where, error)
            continue
        except (TypeError, AttributeError, KeyError) as error:
            problems.add(where, f"this is not as BORIS writes it ({error!r}); save the project again in BORIS")
            continue
        for begin, end in pairs(events, problems):
            if begin.point and point_seconds == 0:
                dropped += 1
                continue
            try:
                words = _words(behaviours[begin.behaviour], begin.modifiers)
                reading.annotations.append(annotation(media, begin, end, words, point_seconds))
            except ValueError as error:
                problems.add(begin.where, error)
    problems.check()
    if dropped:
        reading.notes.append(f"{path.name}: {dropped} point events were left out")
    return reading


@dataclass(frozen=True)
class Media:
    """The media files of the first player, and where each one begins on the observation's clock."""

    files: list[Path]
    begins: list[float]
    end: float | None
    offset: float
    other_players: bool

    @classmethod
    def of_observation(cls, observation: dict[str, Any], finder: VideoFinder, folder: Path) -> Media:
        """The media of an observation.

        Raises:
            ValueError: It has none, or its clock cannot be told from the project.
        """
        if observation.get("type", "MEDIA") != "MEDIA":
            raise ValueError(
                f"it is of type {observation['type']} and has no video to cut clips from; remove it from the project"
            )
        players = observation.get("file") or {}
        names = players.get("1") or []
        if not names:
            raise ValueError("its first player has no media file; add the video in BORIS")
        info = observation.get("media_info") or {}
        if observation.get("media_creation_date_as_offset") or (info.get("offset") or {}).get("1"):
            raise ValueError(
                "its times count from a date or an offset of the first player; switch that off in BORIS, in the "
                "observation's settings"
            )
        lengths = [(info.get("length") or {}).get(name) for name in names]
        if any(length is None for length in lengths[:-1]):
            raise ValueError("it has several media files and does not say how long each is; open and save it in BORIS")
        begins = [0.0, *accumulate(float(length or 0) for length in lengths[:-1])]
        end = begins[-1] + float(lengths[-1]) if lengths[-1] else None
        files = [finder.find(name, folder) for name in names]
        offset = float(observation.get("time offset") or 0)
        return cls(files, begins, end, offset, any(files for key, files in players.items() if key != "1"))

    def place(self, begin: float, end: float) -> tuple[Path, float, float]:
        """The file of a span on the observation's clock, and the span in seconds of that file."""
        begin, end = begin - self.offset, end - self.offset
        number = max((k for k, start in enumerate(self.begins) if start <= begin), default=0)
        if number + 1 < len(self.begins) and end > self.begins[number + 1]:
            raise ValueError(
                f"the event runs over the border of two files, {self.files[number].name} and "
                f"{self.files[number + 1].name}; end it at the border and begin a new one"
            )
        start = self.begins[number]
        return self.files[number], round(begin - start, 3), round(end - start, 3)


def _project(path: Path) -> dict[str, Any]:
    try:
        project = json.loads(read_bytes(path).decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as a BORIS project ({error}); save it again in BORIS") from error
    parts = ("observations", "behaviors_conf")
    if not isinstance(project, dict) or not all(isinstance(project.get(part), dict) for part in parts):
        raise ValueError(f"{path} is no BORIS project: it lacks {' or '.join(parts)}")
    if not all(isinstance(behaviour, dict) for behaviour in project["behaviors_conf"].values()):
        raise ValueError(f"{path} has an ethogram that is not as BORIS writes it; save the project again in BORIS")
    return project


def _events(rows: list[list[Any]], behaviours: dict[str, Any], where: str) -> Iterator[Event]:
    for number, row in enumerate(rows, start=1):
        try:
            time, subject, behaviour, modifiers = float(row[0]), str(row[1]).strip(), str(row[2]), str(row[3])
        except (TypeError, ValueError, IndexError, KeyError) as error:
            raise ValueError(f"event {number} is {row!r}; expected time, subject, behaviour, modifier") from error
        if behaviour not in behaviours:
            raise ValueError(f"event {number} has the behaviour {behaviour!r}, which the ethogram does not list")
        yield Event(
            time,
            known_subject(subject),
            behaviour,
            "|".join(part.strip() for part in modifiers.split("|")),
            str(behaviours[behaviour].get("type", "")).startswith("Point"),
            f"{where}, event {number} at {time:g} s ({behaviour})",
        )


def known_subject(name: str) -> str | None:
    """The subject of an event; BORIS has a name for nobody."""
    return None if name.strip() in ("", "No focal subject") else name.strip()


def pairs(events: Iterable[Event], problems: Problems) -> Iterator[tuple[Event, Event]]:
    """Begin and end of every state; a point event is both."""
    running: dict[tuple[Any, ...], Event] = {}
    for event in sorted(events, key=lambda e: e.time):
        key = (event.subject, event.behaviour, event.modifiers)
        if event.point:
            yield event, event
        elif key in running:
            yield running.pop(key), event
        else:
            running[key] = event
    for event in running.values():
        problems.add(event.where, "this state begins and never ends; code its end in BORIS, or delete the event")


def annotation(
    media: Media, begin: Event, end: Event, words: dict[str, str], point_seconds: float | None
) -> Annotation:
    """The annotation of a state, or of a point event with video around it.

    Raises:
        ValueError: The span is empty, runs over the border of two files, or is a point and nobody said what to take.
    """
    first, last = begin.time, end.time
    if begin.point:
        if point_seconds is None:
            raise ValueError(
                "a point event has no duration; say how many seconds of video to take around each with --point 2, or "
                "leave them out with --point 0"
            )
        first, last = max(first - point_seconds / 2, media.offset), last + point_seconds / 2
        if media.end is not None:
            last = min(last, media.end + media.offset)
    video, start, stop = media.place(first, last)
    problem = span_problem(start, stop)
    if problem:
        raise ValueError(problem)
    return Annotation(video, begin.behaviour, begin.where, begin.subject, start, stop, record(words))


def _words(behaviour: dict[str, Any], modifiers: str) -> dict[str, str]:
    """The modifiers that are FG-Text: those of sets that bear the name of an attribute."""
    sets = behaviour.get("modifiers") or {}
    names = [str(sets[key].get("name", "")).strip().lower() for key in sorted(sets, key=int)]
    words = zip(names, modifiers.split("|"), strict=False)
    return {name: word for name, word in words if name in (*ATTRIBUTES, "side") and word not in ("", "None")}
