"""Data set folders around given files, for the tests of what checks them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from microgesture.data.check import check
from microgesture.data.check_report import Report
from video_fgsgl import probe, read_frames

CLASSES = [{"name": "nod", "text": "A person nods."}, {"name": "rub", "text": "A person rubs the eyes."}]
WORDS = {
    "initiator": "hand",
    "receiver": "eyes",
    "direction": "up",
    "motion_type": "rub",
    "side": None,
    "provenance": "human",
}


def data_set(root: Path, clips: dict[str, Sequence[dict[str, Any]]], **labels: Any) -> Path:
    """Writes a data set.

    Args:
        root: Its folder.
        clips: Rows by split; `file` is a path that is linked, or copied when it lies on another disk, and `as` the
            name that it gets; everything else replaces what stands in a row.
        labels: Fields of labels.json.
    """
    root.mkdir(parents=True, exist_ok=True)
    about = {"name": "x", "version": "1", "mirrored": False, "classes": CLASSES} | labels
    (root / "labels.json").write_text(json.dumps(about), encoding="utf-8")
    for split, rows in clips.items():
        lines = []
        for number, row in enumerate(rows):
            row = dict(row)
            file, name = row.pop("file", None), row.pop("as", None)
            name = name or (Path(file).name if file else f"{number}.mp4")
            target = root / split / "clips" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if file and not os.path.lexists(target):
                try:
                    os.link(file, target)
                except OSError:
                    shutil.copyfile(file, target)
            plain = {"file_name": f"clips/{name}", "label": ("nod", "rub")[number % 2], "subject": split}
            lines.append(json.dumps(plain | {"start": None, "end": None} | WORDS | row, ensure_ascii=False))
        (root / split / "metadata.jsonl").parent.mkdir(parents=True, exist_ok=True)
        (root / split / "metadata.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return root


def add_keypoints(root: Path, points_of: Callable[[Path, dict[str, Any], int], np.ndarray]) -> None:
    """Gives every clip of a data set a file of 17 points.

    Args:
        root: The data set's folder.
        points_of: From the folder of a split, a row and its number to `(frames, 17, 3)`.
    """
    labels = json.loads((root / "labels.json").read_text(encoding="utf-8"))
    (root / "labels.json").write_text(json.dumps(labels | {"keypoints": "coco_17"}), encoding="utf-8")
    for table in sorted(root.glob("*/metadata.jsonl")):
        (table.parent / "keypoints").mkdir()
        rows = [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()]
        for number, row in enumerate(rows):
            row["keypoints"] = f"keypoints/{number}.npy"
            np.save(table.parent / row["keypoints"], points_of(table.parent, row, number))
        table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def look(root: Path, decode: bool = False, **more: Any) -> Report:
    """Checks a data set with the project's own reader."""
    return check(root, probe, read_frames if decode else None, progress=False, **more)


def kinds(report: Report) -> tuple[dict[str, int], dict[str, int]]:
    """How many errors and warnings of each kind."""
    errors, warnings = ({f.kind: f.count for f in found} for found in (report.errors, report.warnings))
    return errors, warnings


def messages(report: Report, kind: str) -> list[str]:
    """What the report says about a kind."""
    return [example["message"] for example in report.findings[kind].examples]
