"""What the clips were like that a network was trained on, and whether others are like them.

Frame rate, length, size and shape of the picture can be read off a file. How large a person is in it cannot, nor
whether there are several: the latter needs a detector of people (`microgesture.people.counting`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

SAMPLE = 200
"""Clips that are looked at; a frame of each is decoded."""
SLACK = 1.25
"""A figure may leave the range of training by so much before somebody is warned."""
UNITS = {"seconds": "s long", "fps": "frames a second", "height": "pixels high", "aspect": "times as wide as high"}


def training_range(rows: Sequence[Mapping[str, Any]], probe: Callable[[str], Any]) -> dict[str, list[float]]:
    """Smallest and greatest figure of training clips, of some that are spread evenly over all.

    Args:
        rows: Clips with `video` (`{"path"}`), `start` and `end`.
        probe: Describes a video (`video_fgsgl.probe`).

    Raises:
        ValueError: A video cannot be read (the reader's `VideoError`).
    """
    count = min(SAMPLE, len(rows))
    seen: dict[str, list[float]] = {name: [] for name in UNITS}
    for place in range(count):
        row = rows[place * len(rows) // count]
        about = probe(row["video"]["path"])
        end = about.duration if row["end"] is None else row["end"]
        for name, value in _figures(about, end - (row["start"] or 0.0), about.width, about.height).items():
            seen[name].append(value)
    return {name: [round(min(values), 4), round(max(values), 4)] for name, values in seen.items() if values}


def unlike(
    ranges: Mapping[str, Sequence[float]] | None, about: Any, seconds: float | None, width: int, height: int
) -> list[str]:
    """In words, what about a video is unlike the training clips.

    Args:
        ranges: As `training_range` gives them; `None` where nobody wrote them down.
        about: What `probe` says of the video.
        seconds: How long the clip is; `None` for a recording, whose length does not matter.
        width: Pixels of the part that the network sees.
        height: Pixels.
    """
    told = []
    for name, value in _figures(about, seconds, width, height).items():
        low, high = (ranges or {}).get(name, (value, value))
        if not low / SLACK <= value <= high * SLACK:
            span = _number(low) if low == high else f"{_number(low)} to {_number(high)}"
            told.append(f"{_number(value)} {UNITS[name]}, and the training clips were {span}")
    return told


def _number(value: float) -> str:
    """Three digits, and no exponent: 1080, not 1.08e+03."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _figures(about: Any, seconds: float | None, width: int, height: int) -> dict[str, float]:
    lengths = {} if seconds is None else {"seconds": float(seconds)}
    return lengths | {"fps": about.fps, "height": float(height), "aspect": width / height}
