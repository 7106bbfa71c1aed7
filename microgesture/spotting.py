"""Fitting a checkpoint to untrimmed recordings, and measuring it there.

The head that tells background is trained on windows of training recordings, thresholds are chosen on whole validation
recordings, and test recordings are looked at once, at the end.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.linear_model import LogisticRegression

from microgesture.annotation.records import read_lines
from microgesture.data.clips import METADATA_FILE, check_subjects
from microgesture.evaluation.segments import MIGA_IOU, Segment, iou, segment_f1, segment_metrics

logger = logging.getLogger(__name__)

FILE = "spotting.json"  # in the checkpoint: what was chosen, and the figures of the test recordings
WAYS = ("head", "softmax")
QUANTILES = (0.25, 0.5, 0.75)  # of the training gestures' durations: the lengths of windows
HOPS_PER_WINDOW = 4
MOSTLY, HARDLY = 0.5, 0.1  # shares of a window, or of a gesture, that are covered
KEEPS = (0.5, 0.75, 1.0)
UNKNOWNS = (0.0, 0.3, 0.5, 0.7)
OVERLAPS = (0.1, 0.3, 1.0)
STEPS = 12  # thresholds tried for background
MOST_WINDOWS = 10_000  # that train the head; of a large network each has 40,000 features


@dataclass
class Recording:
    """One untrimmed recording.

    Args:
        path: The video.
        subject: Who is seen.
        segments: What is annotated in it; empty where nothing is.
    """

    path: Path
    subject: str
    segments: list[Segment] = field(default_factory=list)


@dataclass(frozen=True)
class Scored:
    """The windows of a recording without their features, and how likely each is background, by way of telling it."""

    recording: Recording
    windows: Any
    background: dict[str, npt.NDArray]


def read_recordings(folder: Path, split: str, names: Sequence[str]) -> list[Recording]:
    """The annotated recordings of a split.

    They are told in one of two ways: by `recordings.jsonl` (each with `file_name` and `subject`, also those without
    any gesture) and `segments.jsonl` (`file_name`, `label`, `start`, `end`), as the synthetic recordings are; or by
    the `metadata.jsonl` of a prepared data set, whose clips are spans of longer videos.

    Args:
        folder: The folder that holds a folder per split.
        split: Its name.
        names: The checkpoint's classes in the order of their ids.

    Raises:
        FileNotFoundError: The split, or a recording of it, is not there.
        ValueError: A label is not among `names`, or the clips of the data set are whole files.
    """
    root = folder / split
    index, rows_file = root / "recordings.jsonl", root / "segments.jsonl"
    if not index.is_file():
        index = rows_file = root / METADATA_FILE
    if not rows_file.is_file():
        raise FileNotFoundError(
            f"{folder} has no split {split!r} with recordings.jsonl and segments.jsonl, or {rows_file}"
        )
    recordings: dict[str, Recording] = {}
    for where, row in read_lines(index):
        path = root / row["file_name"]
        if not path.is_file():
            raise FileNotFoundError(f"{where}: the recording {path} is missing")
        recordings.setdefault(row["file_name"], Recording(path, str(row["subject"])))
    for where, row in read_lines(rows_file):
        if row["label"] not in names:
            raise ValueError(f"{where}: the checkpoint does not know the class {row['label']!r}")
        if row.get("start") is None or row.get("end") is None:
            raise ValueError(f"{where}: this clip is a whole file; recordings need the start and end of each gesture")
        segment = Segment(list(names).index(row["label"]), float(row["start"]), float(row["end"]))
        recordings[row["file_name"]].segments.append(segment)
    return list(recordings.values())


def window_truth(start: npt.NDArray, end: npt.NDArray, segments: Sequence[Segment]) -> npt.NDArray[np.int64]:
    """What each window shows `(W,)`: 1 background, 0 a gesture, -1 neither clearly.

    A window shows a gesture if at least half of the window or half of the gesture lies in it, and background if hardly
    any of it is covered.
    """
    truth = np.ones(len(start), np.int64)
    covered = np.zeros(len(start))
    for segment in segments:
        shared = np.clip(np.minimum(end, segment.end) - np.maximum(start, segment.start), 0, None)
        covered += shared
        truth[shared >= MOSTLY * np.minimum(end - start, segment.end - segment.start)] = 0
    truth[(truth == 1) & (covered > HARDLY * (end - start))] = -1
    return truth


def fit_background(pooled: npt.NDArray, is_background: npt.NDArray) -> tuple[npt.NDArray, npt.NDArray]:
    """A logistic regression on the pooled features: weight `(1, P)` and bias `(1,)`.

    Raises:
        ValueError: One of the two kinds of windows is missing.
    """
    if len(set(is_background.tolist())) < 2:
        raise ValueError(
            "the training recordings show only background, or only gestures: both are needed to tell them apart"
        )
    model = LogisticRegression(C=1e-3, class_weight="balanced", max_iter=2000).fit(pooled, is_background)
    return model.coef_.astype(np.float32), model.intercept_.astype(np.float32)


def fit(pipe: Any, rooms: Any, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Fits a network to recordings; its head and settings are changed in place.

    Args:
        pipe: The pipeline over the checkpoint.
        rooms: The module `spotting_fgsgl`.
        folder: Recordings in the splits train, validation and, if there, test.
        say: Takes each line for the user.

    Returns:
        The settings, and the figures of the test recordings by way of telling background.

    Raises:
        FileNotFoundError: A split is not there.
        ValueError: Somebody is seen in two splits, or the recordings cannot be used.
    """
    config = pipe.model.config
    names = [config.id2label[k] for k in range(config.num_labels)]
    reserved = sorted({rooms.UNKNOWN, rooms.BACKGROUND} & set(names))
    if reserved:
        raise ValueError(f"a class is called {' and '.join(reserved)}, which has a meaning of its own here; rename it")
    splits = {split: read_recordings(folder, split, names) for split in ("train", "validation")}
    if (folder / "test").is_dir():
        splits["test"] = read_recordings(folder, "test", names)
    check_subjects({split: [r.subject for r in recordings] for split, recordings in splits.items()})
    durations = [s.end - s.start for r in splits["train"] for s in r.segments]
    if not durations or not any(r.segments for r in splits["validation"]):
        raise ValueError("training and validation recordings need annotated gestures")
    lengths = sorted({max(0.05, round(float(q), 2)) for q in np.quantile(durations, QUANTILES)})
    hop = max(1, config.num_frames // HOPS_PER_WINDOW)
    listed = ", ".join(f"{length:g}" for length in lengths)
    say(f"windows of {listed} s: quartiles of {len(durations)} training gestures")

    most = max(1, MOST_WINDOWS // len(splits["train"]))
    parts = [training_windows(pipe, rooms, r, lengths, hop, most) for r in splits["train"]]
    truth = np.concatenate([part for _, part in parts])
    weight, bias = fit_background(np.concatenate([part for part, _ in parts]), truth)
    say(f"background head: {int((truth == 1).sum())} background and {int((truth == 0).sum())} gesture windows")
    settings: dict[str, Any] = {"window_seconds": lengths, "hop": hop}
    settings |= {way: {"background": 0.5, "unknown": 0.0, "keep": 0.5, "overlap": 1.0} for way in WAYS}
    pipe.model.set_background(torch.from_numpy(weight), torch.from_numpy(bias), settings)
    validation = [scored(pipe, rooms, r, lengths, hop) for r in splits["validation"]]
    for way in WAYS:
        settings[way], figures = choose(rooms, validation, way)
        say(f"{way}: {settings[way]}, segment F1 {figures['f1']:.3f} on {len(validation)} validation recordings")
    config.set_spotting(settings)
    test = [scored(pipe, rooms, r, lengths, hop) for r in splits.get("test", [])]
    return {"spotting": settings, "test": {way: evaluate(rooms, test, way, settings[way]) for way in WAYS if test}}


def scan(
    pipe: Any, rooms: Any, path: Path, lengths: Sequence[float], hop: int, take: Callable[[Any], Any]
) -> list[Any]:
    """What `take` makes of the windows of a recording, some windows at a time."""
    found: list[Any] = rooms.scan_whole(take, pipe.model, pipe.feature_extractor, path, lengths, hop, batch_size=8)
    return found


def training_windows(
    pipe: Any, rooms: Any, recording: Recording, lengths: Sequence[float], hop: int, most: int
) -> tuple[npt.NDArray, npt.NDArray]:
    """Features `(n, P)` and kinds `(n,)` of windows that are clearly one or the other, `most` drawn at random."""

    def clear(part: Any) -> tuple[npt.NDArray, npt.NDArray]:
        truth = window_truth(part.start, part.end, recording.segments)
        return part.pooled.numpy()[truth >= 0], truth[truth >= 0]

    parts = scan(pipe, rooms, recording.path, lengths, hop, clear)
    pooled, truth = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    chosen = np.random.default_rng(0).permutation(len(truth))[:most]
    return pooled[chosen], truth[chosen]


def scored(pipe: Any, rooms: Any, recording: Recording, lengths: Sequence[float], hop: int) -> Scored:
    """A recording's windows, scored in both ways; their features, which are large, are forgotten at once."""

    def take(part: Any) -> tuple[Any, ...]:
        ways = [rooms.background_scores(pipe.model, part, way) for way in WAYS]
        return part.start, part.end, part.logits, part.fine_embeds, *ways

    start, end, logits, embeds, *ways = zip(*scan(pipe, rooms, recording.path, lengths, hop, take), strict=True)
    windows = rooms.Windows(
        np.concatenate(start), np.concatenate(end), torch.cat(logits), torch.zeros(0), torch.cat(embeds)
    )
    return Scored(recording, windows, {way: np.concatenate(s) for way, s in zip(WAYS, ways, strict=True)})


def found_segments(rooms: Any, item: Scored, way: str, limits: dict[str, float]) -> list[Segment]:
    """Segments of the classes; those that are unknown are none."""
    found = rooms.candidates(item.windows, item.background[way], limits["background"])
    merged = rooms.segments(found, limits["unknown"], limits["keep"], limits["overlap"])
    return [Segment(s.label, s.start, s.end, s.score) for s in merged if s.label != rooms.UNKNOWN_ID]


def choose(rooms: Any, recordings: Sequence[Scored], way: str) -> tuple[dict[str, float], dict[str, Any]]:
    """The limits with the highest segment F1 over whole validation recordings; of equals the first tried."""
    levels = np.quantile(np.concatenate([item.background[way] for item in recordings]), np.linspace(0.02, 0.98, STEPS))
    truth = {str(item.recording.path): item.recording.segments for item in recordings}
    best: tuple[float, dict[str, float], dict[str, Any]] | None = None
    for level, keep, unknown, overlap in product(np.unique(levels).tolist(), KEEPS, UNKNOWNS, OVERLAPS):
        limits = {"background": level, "unknown": unknown, "keep": keep, "overlap": overlap}
        found = {str(item.recording.path): found_segments(rooms, item, way, limits) for item in recordings}
        figures = segment_f1(found, truth, MIGA_IOU)
        if best is None or figures["f1"] > best[0]:
            best = float(figures["f1"]), limits, figures
    assert best is not None
    return best[1], best[2]


def evaluate(rooms: Any, recordings: Sequence[Scored], way: str, limits: dict[str, float]) -> dict[str, Any]:
    """All figures of test recordings.

    Returns:
        As `segment_metrics`, with `alarms` (the right class counts) and `alarms_any_class`, as `alarms` returns them.
    """
    found, truth, seconds = {}, {}, {}
    for item in recordings:
        name = item.recording.path.name
        found[name], truth[name] = found_segments(rooms, item, way, limits), item.recording.segments
        seconds[name] = float(item.windows.end.max())
    blind = [{n: [s._replace(label=0) for s in part] for n, part in side.items()} for side in (found, truth)]
    result = segment_metrics(found, truth) | {"alarms": alarms(found, truth, seconds)}
    return result | {"alarms_any_class": alarms(blind[0], blind[1], seconds)}


def alarms(
    found: dict[str, list[Segment]], truth: dict[str, list[Segment]], seconds: dict[str, float]
) -> dict[str, Any]:
    """What a person who looks through the results meets.

    Args:
        found: Recording -> predicted segments.
        truth: Recording -> annotated segments.
        seconds: Recording -> its length.

    Returns:
        `false_alarms_per_minute`; the same in recordings without any gesture, `..._in_empty` (`None` if there is
        none); `misses` and `gestures`; `onset_error` and `offset_error`, the mean distance in seconds over the pairs.
    """
    pairs: list[tuple[Segment, Segment]] = []
    for name, gestures in truth.items():
        overlaps = np.array([[iou(f, g) if f.label == g.label else 0.0 for g in gestures] for f in found[name]])
        overlaps = np.where(overlaps > MIGA_IOU, overlaps, 0).reshape(len(found[name]), len(gestures))
        for i, j in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True):
            if overlaps[i, j] > 0:
                pairs.append((found[name][i], gestures[j]))
    empty = [name for name, gestures in truth.items() if not gestures]
    said, there = (sum(map(len, side.values())) for side in (found, truth))

    def mean_error(moment: str) -> float | None:
        return float(np.mean([abs(getattr(f, moment) - getattr(g, moment)) for f, g in pairs])) if pairs else None

    return {
        "false_alarms_per_minute": 60 * (said - len(pairs)) / sum(seconds.values()),
        "false_alarms_per_minute_in_empty": (
            60 * sum(len(found[n]) for n in empty) / sum(seconds[n] for n in empty) if empty else None
        ),
        "misses": there - len(pairs),
        "gestures": there,
        "onset_error": mean_error("start"),
        "offset_error": mean_error("end"),
    }


def report(result: dict[str, Any]) -> str:
    """The figures of the test recordings as a short text."""
    lines = []
    for way, figures in result["test"].items():
        f1 = figures[f"f1@iou>{MIGA_IOU}"]
        lines.append(f"{way}: segment F1 {f1['f1']:.3f} ({f1['hits']} of {f1['true']}, {f1['predicted']} found)")
        for name in ("alarms", "alarms_any_class"):
            lines.append(f"  {name}: {json.dumps(figures[name])}")
    return "\n".join(lines) or "no test recordings"
