"""Two lists of time spans of one recording, compared: one-to-one matching by overlap, moments within a tolerance, and
what either says of each unit of time.

Spans are `(N, 2)` floats, start and end in one unit (seconds), `[start, end)`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def iou(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """Intersection over union of each span of `a` with each of `b`: `(N, 2)`, `(M, 2)` → `(N, M)`."""
    one, other = _spans(a), _spans(b)
    begin = np.maximum(one[:, None, 0], other[None, :, 0])
    end = np.minimum(one[:, None, 1], other[None, :, 1])
    shared = np.clip(end - begin, 0, None)
    return shared / (np.diff(one) + np.diff(other).T - shared)


def match_spans(a: npt.ArrayLike, b: npt.ArrayLike, threshold: float = 0.5) -> list[tuple[int, int, float]]:
    """Pairs spans one to one so that their total IoU is the largest (Hungarian algorithm).

    Args:
        a: `(N, 2)`.
        b: `(M, 2)`.
        threshold: Spans with a smaller IoU are not paired; above 0, up to 1.

    Returns:
        `(index in a, index in b, IoU)`, in the order of time.

    Raises:
        ValueError: A span is empty or not finite, or the threshold is out of its range.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the IoU that makes two spans one is {threshold:g}; choose more than 0, up to 1")
    one, other = _spans(a), _spans(b)
    pairs = []
    for rows, columns in _islands(one, other):
        overlap = iou(one[rows], other[columns])
        overlap[overlap < threshold] = 0
        for i, j in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
            if overlap[i, j] > 0:
                pairs.append((int(rows[i]), int(columns[j]), float(overlap[i, j])))
    return pairs


def _islands(a: Floats, b: Floats) -> Iterator[tuple[Ints, Ints]]:
    """Spans that hang together by overlaps; so a day-long recording needs no table of all with all."""
    both = np.concatenate([a, b])
    order = np.argsort(both[:, 0], kind="stable")
    if not len(order):
        return
    reached = np.maximum.accumulate(both[order, 1])
    breaks = np.flatnonzero(both[order[1:], 0] >= reached[:-1]) + 1
    for island in np.split(order, breaks):
        yield island[island < len(a)], island[island >= len(a)] - len(a)


def match_moments(a: npt.ArrayLike, b: npt.ArrayLike, tolerance: float) -> int:
    """How many moments of the two lists can be paired one to one, no pair further apart than the tolerance.

    Args:
        a: `(N,)` seconds.
        b: `(M,)` seconds.
        tolerance: Seconds, 0 or more.

    Raises:
        ValueError: The tolerance is negative or no number.
    """
    if not tolerance >= 0:
        raise ValueError(f"the tolerance is {tolerance:g} s; choose 0 or more")
    one, other = np.sort(np.asarray(a, np.float64)), np.sort(np.asarray(b, np.float64))
    i = j = pairs = 0
    while i < len(one) and j < len(other):  # the two earliest ones can be paired, or the earlier one never can
        if abs(one[i] - other[j]) <= tolerance + 1e-9:  # 1.2 - 1.0 is more than 0.2 in binary
            i, j, pairs = i + 1, j + 1, pairs + 1
        elif one[i] < other[j]:
            i += 1
        else:
            j += 1
    return pairs


def per_unit(spans: npt.ArrayLike, codes: npt.ArrayLike, unit: float, length: float, nothing: int) -> Ints:
    """What stands in the middle of each unit of time.

    Args:
        spans: `(N, 2)`; where they overlap, the one that begins later counts.
        codes: `(N,)` integers, what each span says.
        unit: Seconds of a unit, above 0.
        length: Seconds from 0 that are looked at; a last part of a unit counts as one.
        nothing: The code of units without a span.

    Returns:
        `(ceil(length / unit),)` integers.

    Raises:
        ValueError: A span is empty or not finite, or the unit is not above 0.
    """
    if not unit > 0:
        raise ValueError(f"a unit of time is {unit:g} s; choose more than 0")
    times, said = _spans(spans), np.asarray(codes, np.int64)
    count = math.ceil(length / unit - 1e-9)
    units = np.full(count, nothing, np.int64)
    first = np.ceil(times / unit - 0.5 - 1e-9).astype(np.int64).clip(0, count)  # the unit whose middle comes next
    for place in np.argsort(times[:, 0], kind="stable"):
        units[first[place, 0] : first[place, 1]] = said[place]
    return units


def _spans(spans: npt.ArrayLike) -> Floats:
    times = np.asarray(spans, np.float64).reshape(-1, 2)
    wrong = ~(np.isfinite(times).all(1) & (times[:, 1] > times[:, 0]))
    if wrong.any():
        start, end = times[int(wrong.argmax())]
        raise ValueError(f"the span from {start:g} to {end:g} s is empty; the start must lie before the end")
    return times
