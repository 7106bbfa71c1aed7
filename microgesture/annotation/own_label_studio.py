"""Label Studio's JSON export as labelled clips: regions on a video's timeline, or one choice per clip.

On the timeline Label Studio counts frames from 1, both ends included, at the frame rate that its configuration names
(`<Video frameRate=…>`, 24 unless set) and not at the video's own: the export does not hold that rate.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from microgesture.annotation.readers import (
    Annotation,
    Problems,
    Reading,
    VideoFinder,
    one_form,
    read_bytes,
    record,
    span_problem,
)
from microgesture.data.fg_text import ATTRIBUTES, FGText

_RATE_KEYS = ("fps", "framerate", "frame_rate", "frameRate")


def read_label_studio(path: Path, finder: VideoFinder, fps: float | None = None, coder: str | None = None) -> Reading:
    """Reads a JSON export of a video project.

    Args:
        path: The export (JSON, not JSON-MIN).
        finder: Finds the videos.
        fps: Frame rate of the project's `<Video>` tag; a task that carries `fps` in its data has its own.
        coder: Only this annotator's work, by id or e-mail.

    Returns:
        One annotation per timeline region (`timelinelabels`), per region in seconds (`labels` on a synchronised audio
        track), or, in a task without regions, per task with one choice. Choices called `initiator`, `receiver`,
        `direction`, `motion_type` or `side` are FG-Text. Cancelled annotations are left out and counted.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such export, or annotations cannot be read: the first twenty are named.
    """
    tasks = _tasks(path)
    reading, problems = Reading(), Problems()
    left_out = {"cancelled": 0, "empty": 0}
    for number, task in enumerate(tasks, start=1):
        where = f"{path.name}, task {task.get('id', number)}"
        try:
            annotation = _chosen(task, coder, left_out)
            if annotation is None:
                continue
            video = finder.find(_video_name(task), path.parent)
            subject = task["data"].get("subject")
            rate = next((task["data"][key] for key in _RATE_KEYS if task["data"].get(key)), fps)
            found = list(_clips(annotation["result"], rate))
            left_out["empty"] += not found
            for label, start, end, words in found:
                known = one_form(str(subject)).strip() if subject not in (None, "") else None
                reading.annotations.append(Annotation(video, label, where, known, start, end, words))
        except ValueError as error:
            problems.add(where, error)
        except (TypeError, AttributeError, KeyError, IndexError) as error:
            problems.add(
                where, f"this is not as Label Studio exports it ({error!r}); export the project again as JSON"
            )
    problems.check()
    reading.notes += [
        f"{path.name}: {count} {what} annotations were left out" for what, count in left_out.items() if count
    ]
    return reading


def _tasks(path: Path) -> list[dict[str, Any]]:
    try:
        tasks = json.loads(read_bytes(path).decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON file ({error}); export the project again") from error
    if not isinstance(tasks, list) or not all(isinstance(task, dict) and "annotations" in task for task in tasks):
        raise ValueError(f"{path} is no Label Studio export of the kind JSON (JSON-MIN and others hold too little)")
    return tasks


def _chosen(task: dict[str, Any], coder: str | None, left_out: dict[str, int]) -> dict[str, Any] | None:
    """The one annotation of a task that counts."""
    kept = []
    for annotation in task["annotations"]:
        if annotation.get("was_cancelled"):
            left_out["cancelled"] += 1
        elif coder is None or coder in _names(annotation):
            kept.append(annotation)
    if len(kept) > 1:
        coders = ", ".join(sorted({_names(annotation)[0] for annotation in kept}))
        raise ValueError(
            f"{len(kept)} annotations by {coders}, and a clip needs one label; choose one coder with --coder, or "
            "merge them first"
        )
    return kept[0] if kept else None


def _names(annotation: dict[str, Any]) -> tuple[str, ...]:
    by = annotation.get("completed_by")
    if isinstance(by, dict):
        return tuple(str(by[key]) for key in ("email", "id") if by.get(key) is not None) or ("unknown",)
    return (str(by),)


def _video_name(task: dict[str, Any]) -> str:
    """The video's name as its owner knows it, from the address that Label Studio gave it."""
    data = task["data"]
    others = (value for key, value in sorted(data.items()) if "video" in key.lower() and value)
    address = str(data.get("video") or next(others, ""))
    parts = urlsplit(address)
    if parts.path.endswith("/local-files/"):
        return parse_qs(parts.query)["d"][0]
    if "/data/upload/" in f"/{parts.path}":
        # Label Studio puts eight hexadecimal digits before the name of an uploaded file.
        return re.sub(r"^[0-9a-f]{8}-", "", parts.path.rsplit("/", 1)[-1])
    return address


def _clips(
    results: list[dict[str, Any]], rate: Any
) -> Iterator[tuple[str, float | None, float | None, FGText | None]]:
    """Label, start, end and FG-Text of each region, or of the whole video when there is none."""
    of_region: dict[str, dict[str, str]] = {}
    for result in results:
        if result.get("type") == "choices":
            of_region.setdefault(str(result.get("id")), {})[result["from_name"]] = result["value"]["choices"][0]
    regions = [r for r in results if {"ranges", "start"} & r["value"].keys()]
    for region in regions:
        value = region["value"]
        words = record(_attributes(of_region.get(str(region.get("id")), {})))
        for name in value.get("timelinelabels") or value.get("labels") or ():
            for start, end in _spans(value, rate):
                yield one_form(name).strip(), start, end, words
    if regions:
        return
    choices = {name: word for words in of_region.values() for name, word in words.items()}
    labels = {name: word for name, word in choices.items() if name not in (*ATTRIBUTES, "side")}
    if len(labels) > 1:
        labels = {name: word for name, word in labels.items() if name in ("label", "class")}
    if labels:
        yield one_form(next(iter(labels.values()))).strip(), None, None, record(_attributes(choices))


def _attributes(choices: dict[str, str]) -> dict[str, str]:
    return {name: word for name, word in choices.items() if name in (*ATTRIBUTES, "side")}


def _spans(value: dict[str, Any], rate: Any) -> Iterator[tuple[float, float]]:
    if "ranges" not in value:
        spans = [(float(value["start"]), float(value["end"]))]
    elif rate is None:
        raise ValueError(
            "its regions are counted in frames; give the frame rate of the project's <Video> tag, e.g. --fps 24 (24 "
            "is Label Studio's own where the tag has no frameRate)"
        )
    elif not float(rate) > 0:
        raise ValueError(f"the frame rate is {rate}; it must be above 0")
    else:
        # Frames a to b, counted from 1 with both included, are the seconds [(a - 1) / fps, b / fps).
        frames = [(int(r["start"]), int(r["end"])) for r in value["ranges"]]
        spans = [((first - 1) / float(rate), last / float(rate)) for first, last in frames]
    for start, end in spans:
        problem = span_problem(start, end)
        if problem:
            raise ValueError(problem)
        yield start, end
