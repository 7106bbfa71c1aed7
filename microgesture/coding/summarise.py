"""`microgesture summarise`: recordings -> one row per recording, person, condition and label, for R, SPSS or Excel.

A label that did not occur is a row as well, with the count 0. A gesture belongs to where it begins; one that begins in
time that is marked not codable is not counted, and that time is taken from the minutes.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from microgesture.annotation.readers import Problems, one_form, seconds, span_problem
from microgesture.annotation.sources import ReadingOptions
from microgesture.annotation.tables import DELIMITERS, decode, quoted, unquoted
from microgesture.coding.timelines import NOT_CODABLE, Event, Probe, Timeline, Timelines, inside, read_timelines, union
from microgesture.data.clips import write_text

PHASE_COLUMNS = ("file", "subject", "condition", "start", "end")


@dataclass(frozen=True)
class Phase:
    """A part of a recording, of one person, under one condition; seconds, `None` for start or end of the recording."""

    file: str
    subject: str | None = None
    condition: str = ""
    start: float | None = None
    end: float | None = None


def run(args: argparse.Namespace, probe: Probe) -> None:
    """Runs the command."""
    found = read_timelines(args.source, probe, ReadingOptions(args.tier, args.coder, args.fps))
    phases = read_phases(args.recordings) if args.recordings else None
    rows, notes = summarise(found, phases, args.not_codable or [NOT_CODABLE], probe)
    write_table(args.out, rows)
    print("\n".join(f"note: {note}" for note in (*found.notes, *notes)) or "nothing was left out")
    print(f"{len(rows)} rows of {len({row['recording'] for row in rows})} recordings: {args.out}")


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes rows as CSV; cells that a spreadsheet would take for a formula are quoted."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(rows[0])
    table.writerows([quoted(cell) for cell in row.values()] for row in rows)
    write_text(path, text.getvalue())


def read_phases(path: Path) -> list[Phase]:
    """Reads a table of recordings.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has no column `file`, unknown columns, or rows that are wrong: the first twenty are named.
    """
    text, _ = decode(path)
    line = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=line.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    reader.fieldnames = [one_form(name or "").strip().lower() for name in reader.fieldnames or ()]
    unknown = [name for name in reader.fieldnames if name not in PHASE_COLUMNS]
    if "file" not in reader.fieldnames or unknown:
        raise ValueError(
            f"{path}: its first line must name the columns, of {', '.join(PHASE_COLUMNS)}, and file must be one of "
            f"them; it reads: {line[:200]!r}"
        )
    phases, problems = [], Problems()
    for row in reader:
        cells = {name: one_form(unquoted(str(row.get(name) or ""))).strip() for name in PHASE_COLUMNS}
        where = f"{path.name} line {reader.line_num}"
        try:
            start, end = seconds(cells["start"]), seconds(cells["end"])
            if not cells["file"] or (wrong := span_problem(start, end)):
                raise ValueError(wrong if cells["file"] else "file is empty; write the name of the recording")
        except ValueError as error:
            problems.add(where, error)
            continue
        phases.append(Phase(cells["file"], cells["subject"] or None, cells["condition"], start, end))
    problems.check()
    return phases


def summarise(
    found: Timelines, phases: Sequence[Phase] | None, not_codable: Sequence[str], probe: Probe
) -> tuple[list[dict[str, Any]], list[str]]:
    """Counts what stands in recordings.

    Args:
        found: The recordings.
        phases: Their persons and conditions; `None`: each recording is one phase of each person in it.
        not_codable: Labels of time in which nobody could see.
        probe: Says how long a video is.

    Returns:
        The rows, and in words what was not counted.

    Raises:
        ValueError: A phase names no recording, or several, or does not lie in it.
    """
    labels = [label for label in found.labels if label not in not_codable]
    if not labels:
        raise ValueError("there is no label to count; is everything marked not codable?")
    rows: list[dict[str, Any]] = []
    counted: set[tuple[str, int]] = set()
    for timeline, phase in _phases(found, phases, not_codable, probe):
        start, end = phase.start or 0.0, timeline.seconds if phase.end is None else phase.end
        if start >= timeline.seconds or end > timeline.seconds + 0.1:
            raise ValueError(
                f"{phase.file}: the phase from {start:g} to {end:g} s does not lie in the recording, which ends at "
                f"{timeline.seconds:.2f} s"
            )
        mine = [(n, e) for n, e in enumerate(timeline.events) if _is_of(e, phase, phases is None, not_codable)]
        unseen = union([(e.start, e.end) for _, e in mine if e.label in not_codable], start, end)
        kept = [(n, e) for n, e in mine if start <= e.start < end and not inside(e.start, unseen)]
        twice = [e for n, e in kept if (timeline.file, n) in counted]
        if twice:
            raise ValueError(
                f"{phase.file}: {twice[0].label!r} at {twice[0].start:g} s belongs to two rows of the table; phases "
                "must not overlap, unless they are of different people and the source says whose each gesture is"
            )
        counted |= {(timeline.file, n) for n, _ in kept}
        minutes = (end - start - float(np.diff(unseen).sum())) / 60
        about: dict[str, Any] = {
            "recording": timeline.file,
            "subject": phase.subject or "",
            "condition": phase.condition,
        }
        about |= {"phase_start": round(start, 3), "phase_end": round(end, 3)}
        rows += [
            about | {"label": label} | _figures([e for _, e in kept if e.label == label], start, minutes)
            for label in labels
        ]
    every = {
        (t.file, n) for t in found.recordings for n, event in enumerate(t.events) if event.label not in not_codable
    }
    left = len(every - counted)
    why = "they begin in time that is not codable, or in no phase, or are of a person whom no phase names"
    return rows, [f"{left} of {len(every)} gestures are not counted: {why}"] if left else []


def _is_of(event: Event, phase: Phase, alone: bool, not_codable: Sequence[str]) -> bool:
    """Whether an event is of a phase's person; without a table, events of nobody named are a person of their own."""
    if event.label in not_codable and event.subject is None:
        return True
    return event.subject == phase.subject or (not alone and None in (event.subject, phase.subject))


def _figures(events: Sequence[Event], start: float, minutes: float) -> dict[str, Any]:
    lengths = np.array([event.end - event.start for event in events])
    some = len(events) > 0
    return {
        "count": len(events),
        "codable_minutes": round(minutes, 4),
        "rate_per_minute": round(len(events) / minutes, 4) if minutes > 0 else "",
        "total_seconds": round(float(lengths.sum()), 3),
        "mean_seconds": round(float(lengths.mean()), 3) if some else "",
        "median_seconds": round(float(np.median(lengths)), 3) if some else "",
        "sd_seconds": round(float(lengths.std(ddof=1)), 3) if len(events) > 1 else "",
        "latency_seconds": round(min(event.start for event in events) - start, 3) if some else "",
    }


def _phases(
    found: Timelines, phases: Sequence[Phase] | None, not_codable: Sequence[str], probe: Probe
) -> Iterator[tuple[Timeline, Phase]]:
    """Each phase with its recording."""
    if phases is None:
        for timeline in found.recordings:
            people = {event.subject for event in timeline.events if event.label not in not_codable}
            for subject in sorted(people or {None}, key=lambda name: name or ""):
                yield timeline, Phase(timeline.file, subject)
        return
    for phase in phases:
        matches = [t for t in found.recordings if _same_file(phase.file, t.file)]
        if len(matches) > 1:
            listed = ", ".join(t.file for t in matches[:5])
            raise ValueError(f"{phase.file} may be any of several recordings: {listed}; write more of its path")
        if not matches and (found.made_by or not os.path.isfile(phase.file)):
            raise ValueError(
                f"{phase.file} is not among the recordings: "
                f"{', '.join(t.file for t in found.recordings[:5])}{', …' if len(found.recordings) > 5 else ''}"
            )
        # Coders leave a recording without gestures out of their table; naming it says that it was coded.
        yield matches[0] if matches else Timeline(phase.file, float(probe(phase.file).duration), ()), phase


def _same_file(short: str, path: str) -> bool:
    """Whether a name, with or without folders, means a path."""
    wanted, there = (os.path.normpath(one_form(name.replace("\\", "/"))).split("/") for name in (short, path))
    return wanted == there[-len(wanted) :]
