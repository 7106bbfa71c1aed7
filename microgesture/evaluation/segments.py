"""Figures of untrimmed recognition: which gestures were found, and when.

A segment is `(label, start, end)` in any unit of time, with `start < end`; background is no segment. Predictions and
truth are dictionaries from the name of a recording to its segments. Frames counted inclusively have to be turned into
half-open spans first (`end + 1`), except for `official_tester_f1`, which takes them as they stand in the files.

All figures are counted over the recordings together, as the MiGA challenge does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

MIGA_IOU = 0.3
F1_OVERLAPS = (0.10, 0.25, 0.50)
MAP_OVERLAPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


class Segment(NamedTuple):
    """One gesture in a recording.

    Args:
        label: Its class id.
        start: When it begins.
        end: When it has ended; itself outside.
        score: How sure the model is; only `mean_average_precision` reads it.
    """

    label: int
    start: float
    end: float
    score: float = 1.0


Recordings = Mapping[str, Sequence[Segment]]


def segment_metrics(predicted: Recordings, true: Recordings) -> dict[str, Any]:
    """All figures of untrimmed recognition.

    Args:
        predicted: Recording -> predicted segments; a recording without any may be left out.
        true: Recording -> true segments.

    Returns:
        `f1@iou>0.3`, `f1_official_tester`, `f1@10`, `f1@25` and `f1@50`, each as the function behind it returns it,
        `edit` and `map`.

    Raises:
        ValueError: There is no true segment, a segment is empty, or a predicted recording is not in `true`.
    """
    found, truth = _checked(predicted, true)
    result: dict[str, Any] = {
        f"f1@iou>{MIGA_IOU}": segment_f1(found, truth, MIGA_IOU),
        "f1_official_tester": official_tester_f1(found, truth, MIGA_IOU),
    }
    for overlap in F1_OVERLAPS:
        result[f"f1@{round(100 * overlap)}"] = f1_at_overlap(found, truth, overlap)
    return result | {"edit": edit_score(found, truth), "map": mean_average_precision(found, truth)}


def iou(first: Segment, second: Segment) -> float:
    """Length of what two segments share over the length of what they cover together."""
    shared = min(first.end, second.end) - max(first.start, second.start)
    return max(0.0, shared) / (first.end - first.start + second.end - second.start - max(0.0, shared))


def segment_f1(predicted: Recordings, true: Recordings, threshold: float = MIGA_IOU) -> dict[str, int | float]:
    """F1 of segments with one-to-one matching: as many pairs as possible of one class with IoU above the threshold.

    A prediction finds one gesture at most and a gesture is found once at most, so neither long nor repeated
    predictions earn more than one hit. The number of pairs is the greatest there is, and does not depend on any order.

    Args:
        predicted: Recording -> predicted segments.
        true: Recording -> true segments.
        threshold: IoU has to be greater than that.

    Returns:
        `hits`, `predicted` and `true` (counts), `precision`, `recall`, `f1`.
    """
    found, truth = _checked(predicted, true)
    hits = sum(_most_pairs(_overlaps(found[name], segments) > threshold) for name, segments in truth.items())
    return _f1(hits, found, truth)


def official_tester_f1(predicted: Recordings, true: Recordings, threshold: float = MIGA_IOU) -> dict[str, int | float]:
    """F1 as the published tester of SMG counts it, which is looser: one prediction may find several gestures.

    Of each gesture it asks whether any prediction of its class overlaps enough, and does not cross that prediction out
    (`tester_SMG` in the authors' THDutils.py). For comparing with figures made by it only.

    Args:
        predicted: Recording -> predicted segments, as in the submission files.
        true: Recording -> true segments.
        threshold: IoU has to be greater than that.

    Returns:
        As `segment_f1`; `hits` counts gestures, so `precision` may be above 1.
    """
    found, truth = _checked(predicted, true)
    hits = sum(int((_overlaps(found[name], segments) > threshold).any(0).sum()) for name, segments in truth.items())
    return _f1(hits, found, truth)


def f1_at_overlap(predicted: Recordings, true: Recordings, overlap: float) -> dict[str, int | float]:
    """F1@k of temporal action segmentation (Lea et al., CVPR 2017).

    Each prediction, in order of time, is held against the gesture of its class that it overlaps most; it is a hit if
    IoU is at least `overlap` and nobody has hit that gesture before.

    Args:
        predicted: Recording -> predicted segments.
        true: Recording -> true segments.
        overlap: 0.10, 0.25 or 0.50.

    Returns:
        As `segment_f1`.
    """
    found, truth = _checked(predicted, true)
    hits = 0
    for name, segments in truth.items():
        overlaps = _overlaps(found[name], segments)
        taken = np.zeros(len(segments), bool)
        for row in overlaps if len(segments) else ():
            best = int(row.argmax())
            if row[best] >= overlap and not taken[best]:
                taken[best] = True
                hits += 1
    return _f1(hits, found, truth)


def edit_score(predicted: Recordings, true: Recordings) -> float:
    """The segmental edit score (Lea et al., ECCV 2016): are the right gestures there in the right order?

    Returns:
        The mean over recordings of 1 - d / n, 0 to 1; d is the Levenshtein distance of the two sequences of labels and
        n the length of the longer one. Recordings without any segment on either side do not count.
    """
    found, truth = _checked(predicted, true)
    values = []
    for name, segments in truth.items():
        first, second = ([s.label for s in part] for part in (found[name], segments))
        if first or second:
            values.append(1 - _levenshtein(first, second) / max(len(first), len(second)))
    return float(np.mean(values))


def mean_average_precision(
    predicted: Recordings, true: Recordings, overlaps: Sequence[float] = MAP_OVERLAPS
) -> dict[str, Any]:
    """Mean average precision over classes, at each IoU and over them (the measure of THUMOS14 and ActivityNet).

    Predictions of a class are taken by falling score, of equal scores in order of recording and time; each
    takes the gesture that it overlaps most among those that are still free. Precision is interpolated: at each recall
    the greatest that any higher recall has.

    Args:
        predicted: Recording -> predicted segments with scores.
        true: Recording -> true segments.
        overlaps: IoU has to be at least that.

    Returns:
        `average`, and `at`: IoU as text -> mean over the classes that have a gesture.
    """
    found, truth = _checked(predicted, true)
    labels = sorted({s.label for segments in truth.values() for s in segments})
    at = {f"{t:g}": float(np.mean([_average_precision(found, truth, label, t) for label in labels])) for t in overlaps}
    return {"average": float(np.mean(list(at.values()))), "at": at}


def _average_precision(predicted: Recordings, true: Recordings, label: int, threshold: float) -> float:
    ranked = sorted(
        ((segment, name) for name, segments in predicted.items() for segment in segments if segment.label == label),
        key=lambda pair: -pair[0].score,
    )
    free = {name: [s for s in segments if s.label == label] for name, segments in true.items()}
    total = sum(map(len, free.values()))
    hits = np.zeros(len(ranked))
    for place, (segment, name) in enumerate(ranked):
        best = max(free[name], key=lambda other: iou(segment, other), default=None)
        if best is not None and iou(segment, best) >= threshold:
            free[name].remove(best)
            hits[place] = 1
    precision = hits.cumsum() / np.arange(1, len(ranked) + 1)
    interpolated = np.maximum.accumulate(precision[::-1])[::-1]
    return float((interpolated * hits).sum() / total)


def _overlaps(predicted: Sequence[Segment], true: Sequence[Segment]) -> npt.NDArray[np.float64]:
    """IoU of each prediction with each gesture of its class `(P, G)`; -1 where the classes differ."""
    values = [[iou(p, t) if p.label == t.label else -1.0 for t in true] for p in predicted]
    return np.array(values).reshape(len(predicted), len(true))


def _most_pairs(allowed: npt.NDArray[np.bool_]) -> int:
    if 0 in allowed.shape:
        return 0
    return int((maximum_bipartite_matching(csr_array(allowed), perm_type="column") >= 0).sum())


def _f1(hits: int, predicted: Recordings, true: Recordings) -> dict[str, int | float]:
    said, there = (sum(map(len, part.values())) for part in (predicted, true))
    return {
        "hits": hits,
        "predicted": said,
        "true": there,
        "precision": hits / said if said else 0.0,
        "recall": hits / there,
        "f1": 2 * hits / (said + there),
    }


def _levenshtein(first: Sequence[int], second: Sequence[int]) -> int:
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def _checked(predicted: Recordings, true: Recordings) -> tuple[dict[str, list[Segment]], dict[str, list[Segment]]]:
    """Both sides with the same recordings, in order of time."""
    unknown = sorted(set(predicted) - set(true))
    if unknown:
        raise ValueError(f"there is no truth for the recordings {unknown}; check their names")
    if not any(true.values()):
        raise ValueError("no recording has a true segment: there is nothing to measure")
    for what, recordings in (("predicted", predicted), ("true", true)):
        for name, segments in recordings.items():
            for s in segments:
                if not s.start < s.end or not np.isfinite((s.start, s.end, s.score)).all():
                    raise ValueError(
                        f"{name} has a {what} segment from {s.start} to {s.end}: it has to end after its start"
                    )
    sides = ({name: list(part.get(name, ())) for name in true} for part in (predicted, true))
    found, truth = ({n: sorted(s, key=lambda x: (x.start, x.end)) for n, s in side.items()} for side in sides)
    return found, truth
