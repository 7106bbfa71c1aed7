"""What coders saw in a sample of windows, and how far what was found can be trusted.

A gesture belongs to the window in which it begins, so that each is counted once. Windows are weighted by how many of
their stratum each stands for (Horvitz and Thompson 1952, JASA 47, 663-685), so that the figures are about all of the
recordings, and not about the sample; intervals draw whole recordings.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from microgesture.annotation.elan import read_eaf
from microgesture.annotation.readers import Annotation, VideoFinder
from microgesture.annotation.sources import ReadingOptions, read_source
from microgesture.coding.summarise import write_table
from microgesture.coding.timelines import NOT_CODABLE, Event, Floats, inside, union
from microgesture.coding.validation_sample import NOTHING
from microgesture.evaluation.coefficients import MISSING, Estimate, cohen_kappa, share
from microgesture.evaluation.span_matching import match_spans, per_unit

ANY, ALL = "(a gesture)", "(all labels)"
RESULT = "validation.csv"
FEW = 10
"""Drawing from fewer recordings than that tells too little of how much recordings differ."""
COLUMNS = ("figure", "label", "value", "low", "high", "units", "note")


@dataclass(frozen=True)
class CodedWindow:
    """A window that was coded.

    Args:
        recording: Which recording it is of.
        weight: How many windows of its stratum it stands for.
        start: Seconds of the recording.
        end: Seconds of the recording.
        found: What the network found, as far as the clip shows it.
        seen: What the coder saw.
        unseen: Time that is not codable `(N, 2)`.
    """

    recording: int
    weight: float
    start: float
    end: float
    found: tuple[Event, ...]
    seen: tuple[Event, ...]
    unseen: Floats

    def belongs(self, event: Event) -> bool:
        """Whether a gesture begins in this window, where somebody could see."""
        return self.start <= event.start < self.end and not inside(event.start, self.unseen)

    @property
    def seconds(self) -> float:
        """How long somebody could see."""
        return self.end - self.start - float(np.diff(self.unseen).sum())


def run(args: argparse.Namespace) -> None:
    """Runs `microgesture validate score`."""
    path = args.folder / "key.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; name the folder that `microgesture validate sample` made")
    key = json.loads(path.read_text(encoding="utf-8"))
    coded = read_coded(args.coded or args.folder / "coder", args.folder / "coder", args.fps)
    windows, notes = join(key, coded)
    rows = [_row(*one) for one in figures(key, windows, args.iou, args.unit)]
    write_table(args.folder / RESULT, rows)
    for row in rows:
        span = f"{row['low']} to {row['high']}" if row["low"] != "" else row["note"]
        print(f"{row['figure']:>28}  {row['label']:<32} {row['value']!s:>8}   {span}")
    for note in notes:
        print(f"note: {note}")
    print(f"{len(windows)} of {len(key['clips'])} windows are coded: {args.folder / RESULT}")


def _row(figure: str, label: str, one: Estimate) -> dict[str, Any]:
    value, low, high = ("" if v is None else round(v, 4) for v in (one.value, one.low, one.high))
    return dict(zip(COLUMNS, (figure, label, value, low, high, one.units, one.why), strict=True))


def read_coded(coded: Path, folder: Path, fps: float | None) -> list[Annotation]:
    """What a coder wrote, whichever kind of file it is; ELAN files without an annotation are not coded yet.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: A file cannot be read, or nothing is coded.
    """
    finder, options = VideoFinder(folder), ReadingOptions(tiers=("gesture",), fps=fps)
    files = sorted(coded.rglob("*.eaf")) if coded.is_dir() else []
    if not files:
        inside_it = coded / "coding.csv"
        return read_source(inside_it if inside_it.is_file() else coded, finder, options).annotations
    used = [file for file in files if any(tier.annotations for tier in read_eaf(file).tiers.values())]
    if not used:
        raise ValueError(f"{coded}: none of its {len(files)} ELAN files has an annotation; is it the coder's copy?")
    return [one for file in used for one in read_source(file, finder, options).annotations]


def join(key: Mapping[str, Any], coded: Sequence[Annotation]) -> tuple[list[CodedWindow], list[str]]:
    """What was found and what was seen, of each window that was coded.

    Raises:
        ValueError: A label is not one that coders were given, or a clip is not of this sample.
    """
    by_clip: dict[str, list[Annotation]] = {}
    known = {*key["labels"], "unknown", NOTHING, NOT_CODABLE}
    numbers = {clip["clip"] for clip in key["clips"]}
    for one in coded:
        if one.label not in known:
            raise ValueError(f"{one.where}: {one.label!r} is none of the labels: {', '.join(sorted(known))}")
        if one.video.stem not in numbers:
            raise ValueError(f"{one.where}: {one.video.name} is no clip of this sample")
        by_clip.setdefault(one.video.stem, []).append(one)
    done = [clip for clip in key["clips"] if clip["clip"] in by_clip]
    drawn = Counter(clip["stratum"] for clip in done)
    windows = [
        _window(clip, by_clip[clip["clip"]], key["strata"][clip["stratum"]] / drawn[clip["stratum"]]) for clip in done
    ]
    notes = []
    if len(done) < len(key["clips"]):
        notes.append(f"{len(key['clips']) - len(done)} clips are not coded; the others stand for them")
    if lost := sorted(set(key["strata"]) - set(drawn)):
        notes.append(f"no figure is about the windows in which these were found, as none is coded: {', '.join(lost)}")
    recordings = len({window.recording for window in windows})
    if recordings < FEW:
        notes.append(f"the windows are of {recordings} recordings; with fewer than {FEW} the intervals are too narrow")
    return windows, notes


def _window(clip: Mapping[str, Any], coded: Sequence[Annotation], weight: float) -> CodedWindow:
    first, last = clip["first"], clip["last"]
    events = [
        Event(first + (one.start or 0.0), last if one.end is None else min(first + one.end, last), one.label)
        for one in coded
    ]
    seen = [event for event in events if event.label not in (NOTHING, NOT_CODABLE) and event.end > event.start]
    if seen and any(event.label == NOTHING for event in events):
        raise ValueError(f"clip {clip['clip']} says {NOTHING!r} and has gestures as well; correct one of them")
    blind = [(event.start, event.end) for event in events if event.label == NOT_CODABLE]
    # What reaches beyond the clip is compared as far as the coder could see it.
    found = [Event(max(start, first), min(end, last), label) for start, end, label in clip["found"]]
    place = clip["recording"], weight, clip["start"], clip["end"]
    return CodedWindow(*place, tuple(found), tuple(seen), union(blind, clip["start"], clip["end"]))


def figures(
    key: Mapping[str, Any], windows: Sequence[CodedWindow], iou: float, unit: float
) -> list[tuple[str, str, Estimate]]:
    """κ per unit of time, precision, recall and rates.

    Args:
        key: What `sample` wrote.
        windows: The windows that were coded.
        iou: Overlap that makes two gestures one, above 0, up to 1.
        unit: Seconds of a unit of time.

    Returns:
        `(figure, label, estimate)`.
    """
    labels = sorted({e.label for w in windows for e in (*w.found, *w.seen)} | {*key["labels"]})
    clusters = [window.recording for window in windows]
    weights = np.array([window.weight for window in windows])
    seconds = np.array([window.seconds for window in windows])
    rows = [("kappa per unit of time", name, one) for name, one in kappas(windows, unit).items()]
    counts = {ANY: [_counts(w, iou, None) for w in windows]}
    counts |= {label: [_counts(w, iou, label) for w in windows] for label in labels}
    counts[ALL] = np.sum([counts[label] for label in labels], axis=0)
    for label, table in counts.items():
        right, found, met, seen = (weights * column for column in np.array(table, np.float64).T)
        rows.append(("precision", label, share(right, found, clusters)))
        rows.append(("recall", label, share(met, seen, clusters)))
        if label == ALL:
            continue
        every = np.array([_found(recording, label) for recording in key["recordings"]], np.float64)
        lengths = np.array([recording["seconds"] for recording in key["recordings"]])
        rows.append(("found per minute", label, _per_minute(share(every, lengths, list(range(len(every)))))))
        rows.append(("corrected per minute", label, _per_minute(share(seen, weights * seconds, clusters))))
    return rows


def _found(recording: Mapping[str, Any], label: str) -> int:
    return sum(recording["found"].values()) if label == ANY else recording["found"].get(label, 0)


def _per_minute(one: Estimate) -> Estimate:
    value, low, high = (None if v is None else 60 * v for v in (one.value, one.low, one.high))
    return Estimate(value, one.units, low, high, one.why)


def _counts(window: CodedWindow, iou: float, label: str | None) -> tuple[int, int, int, int]:
    """How many found gestures are right, and are there; how many seen ones were met, and are there."""
    found = [event for event in window.found if label in (None, event.label)]
    seen = [event for event in window.seen if label in (None, event.label)]
    pairs = match_spans([(e.start, e.end) for e in found], [(e.start, e.end) for e in seen], iou)
    ours = [window.belongs(event) for event in found]
    theirs = [window.belongs(event) for event in seen]
    return sum(ours[i] for i, _, _ in pairs), sum(ours), sum(theirs[j] for _, j, _ in pairs), sum(theirs)


def kappas(windows: Sequence[CodedWindow], unit: float) -> dict[str, Estimate]:
    """Cohen's κ per unit of time: whether there is a gesture, and which.

    Args:
        windows: The windows that were coded.
        unit: Seconds of a unit of time.
    """
    names = sorted({event.label for window in windows for event in (*window.found, *window.seen)})
    numbers = {name: number for number, name in enumerate(names, start=1)}
    codes, clusters, weights = [], [], []
    for window in windows:
        length = window.end - window.start
        said = [
            per_unit(_from(window.start, events), [numbers[e.label] for e in events], unit, length, 0)
            for events in (window.found, window.seen)
        ]
        blind = per_unit(window.unseen - window.start, [1] * len(window.unseen), unit, length, 0)
        codes.append(np.where(blind[:, None] > 0, MISSING, np.stack(said, axis=1)))
        clusters += [window.recording] * len(blind)
        weights += [window.weight] * len(blind)
    table = np.concatenate(codes)
    return {
        name: cohen_kappa(one, clusters, weights=weights) for name, one in ((ANY, np.minimum(table, 1)), (ALL, table))
    }


def _from(start: float, events: Sequence[Event]) -> Floats:
    """`(N, 2)` seconds from the beginning of a window."""
    return np.array([(event.start - start, event.end - start) for event in events], np.float64).reshape(-1, 2)
