"""Which windows of the recordings are hand-coded: a random sample of each stratum, rejected windows included.

A recording is cut into windows of about one length. What the network found in a window is its stratum; `nothing` are
the windows in which it found none. About half of the sample is drawn from these, because only they can show what was
missed; the rest is shared evenly by the classes, so that rare ones are seen too. Each window stands for N_h / n_h.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from microgesture.coding.timelines import Timeline

NOTHING = "nothing"
"""The stratum of windows in which nothing was found, and what coders write where they see nothing."""


@dataclass(frozen=True)
class Window:
    """A part of a recording: its place in the list of recordings, seconds, and what was found in it."""

    recording: int
    start: float
    end: float
    stratum: str


def cut(recordings: Sequence[Timeline], length: float) -> list[Window]:
    """All recordings in windows of about `length` seconds; those of one recording are of equal length.

    A window in which several classes were found is of the one that was found least often.
    """
    often = Counter(event.label for recording in recordings for event in recording.events)
    windows = []
    for place, recording in enumerate(recordings):
        edges = np.linspace(0, recording.seconds, max(1, round(recording.seconds / length)) + 1).tolist()
        for start, end in pairwise(edges):
            found = {event.label for event in recording.events if event.start < end and event.end > start}
            stratum = min(found, key=lambda label: (often[label], label), default=NOTHING)
            windows.append(Window(place, start, end, stratum))
    return windows


def allocate(sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """How many windows are drawn from each stratum, none from more than it has.

    Args:
        sizes: N_h of each stratum.
        total: Windows that somebody will code.

    Raises:
        ValueError: There are fewer than one for each stratum.
    """
    if total < len(sizes):
        raise ValueError(
            f"{total} windows are too few: there are {len(sizes)} strata, and each needs one or more "
            f"({', '.join(sorted(sizes))})"
        )
    share = {name: max(1, len(sizes) - 1) if name == NOTHING else 1 for name in sizes}
    given = dict.fromkeys(sizes, 0)
    for _ in range(min(total, sum(sizes.values()))):
        open_ones = [name for name in sorted(sizes) if given[name] < sizes[name]]
        given[min(open_ones, key=lambda name: (given[name] > 0, given[name] / share[name]))] += 1
    return given


def draw(windows: Sequence[Window], total: int, seed: int) -> list[Window]:
    """A random sample, in random order.

    Raises:
        ValueError: As for `allocate`.
    """
    rng = np.random.default_rng(seed)
    strata: dict[str, list[Window]] = {}
    for window in windows:
        strata.setdefault(window.stratum, []).append(window)
    wanted = allocate({name: len(inside) for name, inside in strata.items()}, total)
    chosen = [
        strata[name][place] for name in sorted(strata) for place in rng.permutation(len(strata[name]))[: wanted[name]]
    ]
    return [chosen[place] for place in rng.permutation(len(chosen))]
