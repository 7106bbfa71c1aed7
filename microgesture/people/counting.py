"""How many people a network would see: a warning for `microgesture predict` where there are several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from microgesture.people.detection import People, PersonDetector, area, shared_area

LOOKS = 5
"""Frames of a file that are looked at, evenly spread."""
INSIDE = 0.5
"""Somebody is in a box who has half of their own box in it, or fills half of it."""

Box = tuple[int, int, int, int]


def watched(
    results: Iterable[dict[str, Any]],
    detector: str | None,
    pipe: Any,
    read_frames: Callable[..., Any],
    mirrored: bool,
    given: bool,
) -> Iterator[dict[str, Any]]:
    """Results with a warning in those whose file shows several people to the network.

    Args:
        results: One per file, as `microgesture.prediction.recognise` gives them.
        detector: A detector's name on the Hub or its folder; `None`: results as they are.
        pipe: The pipeline; its processor knows which part of a picture is seen.
        read_frames: Reads frames of a video (`video_fgsgl.read_frames`).
        mirrored: Whether the camera stored a mirror image; boxes lie in the picture turned back.
        given: Whether the user gave a box.

    Raises:
        FileNotFoundError: The detector is not there.
        ValueError: It is no detector of people.
    """
    if detector is None:
        yield from results
        return
    find = PersonDetector.from_pretrained(detector, pipe.model.device)
    for result in results:
        if "error" not in result:
            told = _told(result, find, pipe.feature_extractor.box, read_frames, mirrored, given)
            if told is not None:
                result = result | {"warnings": [*result.get("warnings", ()), told]}
        yield result


def _told(
    result: dict[str, Any],
    find: PersonDetector,
    box: Callable[[int, int], Box],
    read_frames: Callable[..., Any],
    mirrored: bool,
    given: bool,
) -> str | None:
    looks = max(1, min(LOOKS, round(result["seconds"] * result["fps"])))
    try:
        frames = read_frames(result["file"], looks, mirrored=mirrored)
    except (ValueError, OSError) as error:
        return f"the people in it were not counted: {error}"
    seen = box(*frames.shape[1:3])
    return several([len(inside(people, seen)) for people in find(list(frames))], given)


def several(counts: list[int], given: bool) -> str | None:
    """A warning where somebody else is seen.

    Args:
        counts: How many people each frame shows.
        given: Whether they were counted in a box of the user's.
    """
    crowded = [count for count in counts if count > 1]
    if not crowded:
        return None
    most = f"{max(crowded)}" if min(crowded) == max(crowded) else f"up to {max(crowded)}"
    found = f"({most} in {len(crowded)} of {len(counts)} frames looked at)"
    if given:
        return f"several people are in the box {found}: give one around one person alone"
    return f"several people are visible {found}: give --person or --roi"


def inside(people: People, box: Box) -> list[int]:
    """Which of the people are in a box (x, y, width, height)."""
    x, y, width, height = box
    corners = np.array([[x, y, x + width, y + height]], np.float32)
    smaller = np.minimum(area(people.boxes), area(corners))
    return np.flatnonzero(shared_area(people.boxes, corners)[:, 0] >= INSIDE * smaller).tolist()
