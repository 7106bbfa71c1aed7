"""The keypoints of a data set -> proposed records; what people wrote is left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from microgesture.annotation.motion_features import UnseenError
from microgesture.annotation.proposals import RULES, propose
from microgesture.annotation.records import Clip, CodedClip, read_lines, read_records
from microgesture.data.check_keypoints import read_points
from microgesture.data.clips import METADATA_FILE, DatasetInfo
from microgesture.data.fg_text import PROVENANCES
from microgesture.data.keypoints import Layout, layout_of_size

BY_PEOPLE = PROVENANCES[PROVENANCES.index("model") + 1 :]
COLUMNS = ("file_name", "start", "end", "subject", "provenance", "keypoints")
"""What is read of a row; the class is not."""


def propose_all(
    folder: Path, probe: Callable[[Path], Any], splits: Sequence[str] = (), progress: bool = True
) -> tuple[list[CodedClip], Counter[str], list[Layout]]:
    """Proposes a record for every clip of a data set that has keypoints and no words of people.

    Args:
        folder: A folder as `microgesture prepare` makes it.
        probe: Gives a video's `duration` in seconds: keypoints have as many frames as their clip.
        splits: Only these; none: all.
        progress: Whether to show a progress bar.

    Returns:
        The records; how many clips were left out, by reason; and the layouts met.

    Raises:
        FileNotFoundError: The folder is not a data set, or lacks a split.
        ValueError: A row does not name a clip, or the keypoints of a clip are of no known layout.
    """
    info = DatasetInfo.read(folder)
    folder = Path(folder)
    names = splits or sorted(path.parent.name for path in folder.glob(f"*/{METADATA_FILE}"))
    absent = [name for name in names if not (folder / name / METADATA_FILE).is_file()]
    if absent or not names:
        raise FileNotFoundError(f"{folder} holds no split {', '.join(absent) or 'at all'}; name a prepared data set")
    rows = [(split, row) for split in names for _, row in read_lines(folder / split / METADATA_FILE)]
    records: list[CodedClip] = []
    without: Counter[str] = Counter()
    layouts: list[Layout] = []
    seconds: dict[Path, float] = {}
    for split, whole in tqdm(rows, desc="propose", unit="clip", delay=1, disable=not progress):
        row = {name: whole.get(name) for name in COLUMNS}
        if row["provenance"] in BY_PEOPLE:
            without["described by people already"] += 1
            continue
        if row["keypoints"] is None:
            without["no keypoints"] += 1
            continue
        video = folder / split / str(row["file_name"])
        clip = Clip(
            split, PurePosixPath(str(row["file_name"])).as_posix(), row["start"], row["end"], str(row["subject"])
        )
        try:
            points = read_points(folder / split, str(row["keypoints"]))
            if clip.end is None and video not in seconds:
                seconds[video] = float(probe(video).duration)
            length = (seconds[video] if clip.end is None else clip.end) - (clip.start or 0.0)
            layout = layout_of_size(points.shape[1])
            layouts += [layout] if layout not in layouts else []
            records.append(CodedClip(clip, propose(points, layout, _rate(points, length), info.mirrored)))
        except UnseenError as reason:
            without[str(reason)] += 1
        except (ValueError, OSError) as error:
            raise ValueError(f"{split}/{row['file_name']}: {error}") from error
    return records, without, layouts


def _rate(points: npt.NDArray[np.floating], seconds: float) -> float:
    """Frames per second of keypoints that cover a clip."""
    if seconds <= 0:
        raise ValueError("the clip is empty: its start and end, or the duration of its video, are wrong")
    return len(points) / seconds


def refuse_words_of_people(path: Path) -> None:
    """Refuses to replace a table that people's words are in.

    Raises:
        FileExistsError: There are such words in it, or it is something else than a table of proposals.
    """
    if not path.exists():
        return
    try:
        texts = [record.text for record in read_records(path)]
    except ValueError as error:
        raise FileExistsError(f"{path} exists and holds no records; name another file") from error
    kept = sum(text.provenance != "model" or not str(text.coder).startswith(RULES) for text in texts)
    if kept:
        raise FileExistsError(
            f"{path} holds {kept} records that no rule wrote; they are not replaced: name another file"
        )
