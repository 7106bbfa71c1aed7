"""What the network found, as files that people open beside the video and correct: CSV, ELAN, BORIS, Label Studio.

A result is one file's line of the journal (`microgesture.prediction`):

    {"file", "seconds", "fps", "segments": [{"start", "end", "label", "score", "initiator", "receiver", "direction",
     "motion_type", "sentence"}]}

Corrected files come back through `microgesture prepare own`. All of them are written a result at a time, so that ten
thousand need no more memory than ten.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote
from xml.etree import ElementTree

from microgesture.annotation.fg_elan import LANGUAGE, new_eaf, pympi_elan
from microgesture.annotation.fg_label_studio import MEDIA_URL, VIDEO
from microgesture.annotation.tables import quoted
from microgesture.data.fg_text import ATTRIBUTES, VOCABULARY

Result = dict[str, Any]
CODER = "fgsgl"
TIER = "gesture"
CSV_COLUMNS = ("file", "start", "end", "label", "score", *ATTRIBUTES, "sentence", "provenance")


@contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    """A text file that nobody ever sees half of."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_csv(path: Path, results: Iterable[Result]) -> None:
    """Writes one row per segment, times in seconds; cells that a spreadsheet would take for a formula are quoted."""
    with _whole(path) as file:
        table = csv.writer(file)
        table.writerow(CSV_COLUMNS)
        for result in results:
            for segment in result["segments"]:
                row = {"file": result["file"], "provenance": "model"} | segment
                row |= {"score": round(segment["score"], 4)}
                table.writerow([quoted(row.get(name)) for name in CSV_COLUMNS])


def check_elan() -> None:
    """Raises ImportError where pympi-ling, which ELAN files need, is not installed."""
    pympi_elan()


def common_folder(files: Sequence[str]) -> str:
    """The folder that holds all of some files; "" where there are none."""
    return os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files]) if files else ""


def eaf_names(files: Sequence[str]) -> dict[str, Path]:
    """The name of each video's ELAN file, as the videos lie below the folder that holds them all."""
    root = common_folder(files)
    inside = {file: Path(os.path.relpath(os.path.abspath(file), root)) for file in files}
    count: dict[Path, int] = {}
    for path in inside.values():
        count[path.with_suffix(".eaf")] = count.get(path.with_suffix(".eaf"), 0) + 1
    return {
        file: path.with_suffix(".eaf") if count[path.with_suffix(".eaf")] == 1 else Path(f"{path}.eaf")
        for file, path in inside.items()
    }


def write_eaf(path: Path, result: Result, names: Sequence[str], below: Sequence[str] = (*ATTRIBUTES, "score")) -> None:
    """Writes the ELAN file of one video: a tier for the labels, and below it one for each attribute and the score.

    A tier of ELAN holds one annotation at a time, so segments that overlap stand on `gesture_2` and so on.

    Args:
        path: The file.
        result: What was found.
        names: Class names; coders choose from them.
        below: What has a tier of its own below the labels.

    Raises:
        ImportError: pympi-ling is not installed.
    """
    eaf = new_eaf(CODER)
    video = os.path.abspath(result["file"])
    relative = os.path.relpath(video, path.parent).replace(os.sep, "/")
    eaf.add_linked_file(f"file://{quote(video)}", relpath=quote(relative), mimetype="video/mp4")
    words = {TIER: sorted({*names, *(segment["label"] for segment in result["segments"])})}
    words |= {name: list(VOCABULARY[name]) for name in ATTRIBUTES if name in below}
    for name, values in words.items():
        eaf.add_controlled_vocabulary(name)
        for number, value in enumerate(values):
            eaf.add_cv_entry(name, f"cveid_{name}_{number}", [(value, LANGUAGE, None)])
    eaf.add_linguistic_type(TIER, param_dict=_type(TIER, aligned=True))
    for name in below:
        eaf.add_linguistic_type(name, param_dict=_type(name, aligned=False))
    for number, layer in enumerate(_layers(result["segments"]) or [[]], start=1):
        end = "" if number == 1 else f"_{number}"
        eaf.add_tier(TIER + end, TIER, ann=CODER)
        for name in below:
            eaf.add_tier(name + end, name, parent=TIER + end, ann=CODER)
        for first, last, segment in layer:
            eaf.add_annotation(TIER + end, first, last, segment["label"])
            said = {name: segment.get(name) for name in ATTRIBUTES} | {"score": f"{segment['score']:.2f}"}
            for name, word in said.items():
                if word and name in below:
                    eaf.add_ref_annotation(name + end, TIER + end, (first + last) // 2, word)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    eaf.to_file(partial)
    os.replace(partial, path)


def _type(name: str, aligned: bool) -> dict[str, str]:
    about = {"LINGUISTIC_TYPE_ID": name, "TIME_ALIGNABLE": str(aligned).lower(), "GRAPHIC_REFERENCES": "false"}
    about |= {} if aligned else {"CONSTRAINTS": "Symbolic_Association"}
    return about | ({} if name == "score" else {"CONTROLLED_VOCABULARY_REF": name})


def _layers(segments: Sequence[dict[str, Any]]) -> list[list[tuple[int, int, dict[str, Any]]]]:
    """Segments in whole milliseconds, on as few layers as there are at once."""
    layers: list[list[tuple[int, int, dict[str, Any]]]] = []
    for segment in sorted(segments, key=lambda s: s["start"]):
        first = round(1000 * segment["start"])
        item = (first, max(first + 1, round(1000 * segment["end"])), segment)
        free = next((layer for layer in layers if layer[-1][1] <= first), None)
        if free is None:
            layers.append([item])
        else:
            free.append(item)
    return layers


def write_boris(path: Path, results: Iterable[Result], names: Sequence[str]) -> None:
    """Writes a BORIS project: an observation per file, a state per segment, the attributes as its modifiers.

    Args:
        path: The file.
        results: What was found.
        names: Class names, the behaviours.
    """
    sets = {
        str(number): {"name": name, "type": 0, "values": list(VOCABULARY[name])}
        for number, name in enumerate(ATTRIBUTES)
    }
    behaviours = {
        str(number): {
            "type": "State event", "key": "", "code": name, "description": "", "modifiers": sets, "excluded": "",
            "coding map": "", "category": "",
        }
        for number, name in enumerate(names)
    }  # fmt: skip
    head = {
        "project_name": path.stem, "project_format_version": "7.0", "project_description": "", "project_date": "",
        "subjects_conf": {}, "behaviors_conf": behaviours, "independent_variables": {}, "behavioral_categories": [],
        "coding_map": {}, "behaviors_coding_map": [], "converters": {},
    }  # fmt: skip
    with _whole(path) as file:
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "observations": {')
        for number, result in enumerate(results):
            name = json.dumps(result["file"], ensure_ascii=False)
            file.write((",\n" if number else "\n") + f"{name}: {json.dumps(_observation(result), ensure_ascii=False)}")
        file.write("}}\n")


def _observation(result: Result) -> dict[str, Any]:
    video = os.path.abspath(result["file"])
    events = []
    for segment in result["segments"]:
        modifiers = "|".join(segment.get(name) or "None" for name in ATTRIBUTES)
        score = f"score {segment['score']:.2f}"
        events += [[segment[moment], "", segment["label"], modifiers, score] for moment in ("start", "end")]
    return {
        "file": {"1": [video]}, "type": "MEDIA", "date": "", "description": "", "time offset": 0.0,
        "events": sorted(events, key=lambda event: event[0]), "observation time interval": [0, 0],
        "independent_variables": {},
        "media_info": {
            "length": {video: result["seconds"]}, "fps": {video: result["fps"]}, "hasVideo": {video: True},
            "hasAudio": {video: False}, "offset": {"1": 0.0},
        },
    }  # fmt: skip


def write_label_studio(path: Path, results: Iterable[Result], names: Sequence[str], root: str) -> None:
    """Writes Label Studio's tasks with what was found as predictions, and beside them the labelling page (`.xml`).

    Args:
        path: The tasks, for Import.
        results: What was found.
        names: Class names.
        root: The folder that holds all videos, which Label Studio has to serve as its document root.
    """
    with _whole(path.with_suffix(".xml")) as file:
        file.write(_page(names))
    with _whole(path) as file:
        file.write("[")
        for number, result in enumerate(results):
            file.write((",\n" if number else "\n") + json.dumps(_task(result, root), ensure_ascii=False))
        file.write("]\n")


def _page(names: Sequence[str]) -> str:
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Video", name=VIDEO, value=f"${VIDEO}", frameRate="$fps")
    box = ElementTree.SubElement(view, "TimelineLabels", name=TIER, toName=VIDEO)
    for name in names:
        ElementTree.SubElement(box, "Label", value=name)
    for attribute in ATTRIBUTES:
        about = {"name": attribute, "toName": VIDEO, "choice": "single", "perRegion": "true", "showInline": "true"}
        words = ElementTree.SubElement(view, "Choices", about)
        for word in VOCABULARY[attribute]:
            ElementTree.SubElement(words, "Choice", value=word)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _task(result: Result, root: str) -> dict[str, Any]:
    """A task; Label Studio counts frames from 1, both ends included."""
    inside = os.path.relpath(os.path.abspath(result["file"]), root).replace(os.sep, "/")
    found: list[dict[str, Any]] = []
    for number, segment in enumerate(result["segments"]):
        first = int(segment["start"] * result["fps"]) + 1
        span = {"start": first, "end": max(first, round(segment["end"] * result["fps"]))}
        about = {"id": f"s{number}", "to_name": VIDEO}
        value = {"ranges": [span], "timelinelabels": [segment["label"]]}
        found.append(about | {"from_name": TIER, "type": "timelinelabels", "value": value, "score": segment["score"]})
        for name in ATTRIBUTES:
            if segment.get(name):
                found.append(about | {"from_name": name, "type": "choices", "value": {"choices": [segment[name]]}})
    data = {VIDEO: MEDIA_URL + quote(inside), "fps": result["fps"]}
    return {"data": data, "predictions": [{"model_version": CODER, "result": found}]}
