"""What the published corpora share: files found by name, frame spans in seconds, a folder made whole or not at all."""

from __future__ import annotations

import csv
import filecmp
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from microgesture.data.clips import LABELS_FILE, ClipSample, write_split, write_text

RECORD_FILE = "prepared.json"
VIDEO_FILES = r"(?:mp4|avi|mkv|mov|mpg|wmv|webm|MP4|AVI|MKV|MOV)"
_RATE_SLACK = 0.01
FrameTimes = Callable[[Path], npt.NDArray[np.float64]]
"""Gives when each frame of a video is shown and when the last one ends, `(F + 1,)` in seconds from the first."""


def card_folder(name: str, *files: str) -> Path:
    """The folder `datasets/<name>` of the project.

    Raises:
        FileNotFoundError: One of its files is not there.
    """
    folder = Path(__file__).resolve().parents[2] / "datasets" / name
    for file in (LABELS_FILE, "README.md", *files):
        if not (folder / file).is_file():
            raise FileNotFoundError(
                f"{folder / file} does not exist: what is known of {name} lies in the project's repository; "
                "run this from a clone of it (an installed package alone does not hold it)"
            )
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """Reads a data file of the project, which users may have corrected.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON ({error}); correct it, or take the project's own file again") from error


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder that gets the name `out` when all is done, or is removed when anything fails.

    It is built beside `out`, under a name with a leading dot, so that an interrupted run leaves nothing that looks
    like a data set.

    Raises:
        FileExistsError: `out` holds something already.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not an empty folder: remove it or name another one")
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        building.chmod(0o755)  # mkdtemp makes folders that nobody else may read
        yield building
        building.replace(out)
    except BaseException:  # also when interrupted by the keyboard
        shutil.rmtree(building, ignore_errors=True)
        raise


def find_files(source: Path, pattern: str) -> dict[str, Path]:
    """Finds files anywhere below a folder by their name.

    Args:
        source: The folder.
        pattern: What the whole name must match; its first group is the key.

    Returns:
        Key -> file, sorted by key.

    Raises:
        NotADirectoryError: There is no such folder.
        ValueError: Two different files have the same key.
    """
    if not source.is_dir():
        raise NotADirectoryError(f"{source} is no folder: give the folder that holds the original data")
    found: dict[str, Path] = {}
    for folder, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            match = re.fullmatch(pattern, name)
            if match is None:
                continue
            path, before = Path(folder, name), found.setdefault(match[1], Path(folder, name))
            if before != path and not filecmp.cmp(before, path, shallow=False):
                raise ValueError(f"{before} and {path} are different files for {match[1]!r}; remove the wrong one")
    return dict(sorted(found.items()))


def require(found: Mapping[str, Path], wanted: Sequence[str], what: str, cure: str) -> None:
    """Refuses to go on when files are missing.

    Raises:
        FileNotFoundError: Names the first ones.
    """
    missing = [key for key in wanted if key not in found]
    if missing:
        listed = ", ".join(missing[:8]) + (" …" if len(missing) > 8 else "")
        raise FileNotFoundError(f"{what} is missing for {len(missing)} of {len(wanted)}: {listed}. {cure}")


def read_spans(path: Path) -> list[tuple[int, int, int]]:
    """Reads a label file with the columns class number, first frame, last frame, and no heading.

    Raises:
        ValueError: A row is not three whole numbers; it is named.
    """
    rows = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if not any(cell.strip() for cell in row):
                continue
            try:
                label, first, last = (int(cell) for cell in row)
            except ValueError as error:
                raise ValueError(
                    f"{path} row {number}: expected three whole numbers (class, first frame, last frame), got {row}"
                ) from error
            rows.append((label, first, last))
    return rows


def seconds(times: npt.NDArray[np.float64], first: int, last: int, where: str) -> tuple[float, float, bool]:
    """Turns the frames first to last, both included and counted from 0, into seconds [start, end).

    Args:
        times: As `FrameTimes` gives them: the frames' own times, also where the frame rate varies.
        first: First frame.
        last: Last frame; one beyond the video ends with the video.
        where: The label row, for messages.

    Returns:
        Start and end in seconds, and whether the clip was cut at the end of the video.

    Raises:
        ValueError: The span is empty or begins outside the video.
    """
    frames = len(times) - 1
    if not 0 <= first <= last:
        raise ValueError(f"{where}: the frames {first} to {last} are no span; correct the row or remove it")
    if first >= frames:
        raise ValueError(
            f"{where}: frame {first} lies beyond the video, which has {frames} frames; is it the right recording?"
        )
    return float(times[first]), float(times[min(last, frames - 1) + 1]), last >= frames


def odd_rate(times: npt.NDArray[np.float64], published: float) -> str | None:
    """What to say where a recording has not the published frame rate, because its label files count frames."""
    rate = (len(times) - 1) / times[-1]
    if abs(rate / published - 1) < _RATE_SLACK:
        return None
    return f"{rate:.2f} frames per second, published are {published:g}; its label file may count other frames"


def save_keypoints(folder: Path, name: str, points: npt.NDArray[np.floating]) -> str:
    """Saves the points of one clip, float32 `(T, J, 3)`; returns the file's name relative to `folder`."""
    (folder / "keypoints").mkdir(parents=True, exist_ok=True)
    np.save(folder / "keypoints" / f"{name}.npy", points.astype(np.float32, copy=False), allow_pickle=False)
    return f"keypoints/{name}.npy"


def write_dataset(
    out: Path, card: Path, clips: Mapping[str, Sequence[ClipSample]], changes: Mapping[str, Any], findings: list[str]
) -> list[str]:
    """Writes class list, card, splits and what was found, and compares the number of clips with the expected one.

    Args:
        out: The folder, which holds the recordings already.
        card: The folder `datasets/<name>`.
        clips: Split -> its clips.
        changes: Fields of labels.json that this copy decides; `None` removes one.
        findings: What was found on the way.

    Returns:
        `findings` and what was found here.

    Raises:
        ValueError: A split has no clips.
    """
    labels = read_json(card / LABELS_FILE) | dict(changes)
    labels = {name: value for name, value in labels.items() if value is not None}
    expected = labels.get("expected", {})
    for split, number in expected.items():
        held = len(clips.get(split, ()))
        if held != number:
            findings.append(
                f"{split}: {held} clips, {number} were published; figures on it are not the published ones"
            )
    empty = [split for split, samples in clips.items() if not samples]
    if empty:
        raise ValueError(f"no clip for the splits {empty}: is this the whole data set?")
    classes = labels.pop("classes")
    head = "".join(f"  {json.dumps(name)}: {json.dumps(value)},\n" for name, value in labels.items())
    rows = ",\n".join(f"    {json.dumps(row, ensure_ascii=False)}" for row in classes)
    write_text(out / LABELS_FILE, f'{{\n{head}  "classes": [\n{rows}\n  ]\n}}\n')
    shutil.copyfile(card / "README.md", out / "README.md")
    record = {
        "dataset": labels["name"],
        "clips": {split: len(samples) for split, samples in clips.items()},
        "expected": expected,
        "findings": findings,
    }
    write_text(out / RECORD_FILE, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    for split, samples in clips.items():
        write_split(out / split, samples)
    return findings
