"""Clips and data sets on disk: one folder that `datasets.load_dataset` reads, wherever it is moved to.

OUT/README.md                 the data set's card
OUT/labels.json               name, version, mirrored, classes with their sentence, FG-Text default and flip_label
OUT/<split>/metadata.jsonl    one row per clip; `file_name` is relative to this folder
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import datasets

from microgesture.data.fg_text import ATTRIBUTES, FGText, check_sides

logger = logging.getLogger(__name__)

LABELS_FILE = "labels.json"
METADATA_FILE = "metadata.jsonl"
NO_FLIP = "none"
LEAK = "the same people are, or may be, in training and evaluation: these figures are too good to be reported"
TEXT_COLUMNS = (*ATTRIBUTES, "side", "provenance")
CODER_COLUMNS = {"repetition": "string", "coder": "string", "confidence": "float64"}
"""FG-Text columns that a data set may have; where it has none, they are read as empty."""

_SIDE_WORD = re.compile(r"\b(left|right|(counter-?|anti-?)?clockwise)\b", re.IGNORECASE)


@dataclass(frozen=True)
class ClipSample:
    """One clip: a video file (or a span of one), its class, who is seen in it, and what a coder wrote about it.

    Args:
        file_name: The video, relative to the folder of its split, with forward slashes.
        label: Class name, as in labels.json.
        subject: Who is seen; splits are made by it.
        fg_text: The FG-Text record, `None` where there is none.
        start: Start of the clip in the file in seconds, `None` for the whole file.
        end: End (exclusive) in seconds, `None` for the whole file.
        extra: Further columns, the same in every row of a data set.
    """

    file_name: str
    label: str
    subject: str
    fg_text: FGText | None = None
    start: float | None = None
    end: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The line of metadata.jsonl."""
        text: dict[str, Any] = asdict(self.fg_text) if self.fg_text else dict.fromkeys(TEXT_COLUMNS)
        text = {name: value for name, value in text.items() if value is not None or name in TEXT_COLUMNS}
        head = {"file_name": self.file_name, "label": self.label, "subject": self.subject}
        return head | {"start": self.start, "end": self.end} | text | self.extra


@dataclass(frozen=True)
class ClassInfo:
    """One class.

    Args:
        name: Its name.
        text: The category sentence T_c (FG-SGL, Sec. III-D).
        default: The FG-Text default, if it has one.
        flip_label: The class of its clips in a mirror: itself or another; `None`: they are never mirrored.
        group: The body group that it is counted with in evaluation, where the data set has such groups.
    """

    name: str
    text: str
    default: FGText | None = None
    flip_label: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class DatasetInfo:
    """What labels.json says of a data set.

    Args:
        name: Name of the data set.
        version: Version of the data set or of its generator.
        mirrored: Whether the recordings are mirrored: `True`, `False` or `"unknown"`.
        classes: The classes in the order of their ids.
        leak: Whether the same people may be on both sides of the splits; every result says so.
        expected: How many clips each split is known to have.
        redistributable: Whether those who are seen, and the licence, allow passing the videos on; not said means no.
        official_overlap: Whether somebody stands in two splits as they were published: `True`, `False` or `"unknown"`.
            Such splits are kept as published, and every result made with them says so.
    """

    name: str
    version: str
    mirrored: bool | str
    classes: tuple[ClassInfo, ...]
    leak: bool = False
    expected: dict[str, int] = field(default_factory=dict)
    redistributable: bool = False
    official_overlap: bool | str = False

    @property
    def names(self) -> list[str]:
        """Class names in the order of their ids."""
        return [info.name for info in self.classes]

    @property
    def texts(self) -> list[str]:
        """Category sentences in the order of the ids."""
        return [info.text for info in self.classes]

    @property
    def flip_labels(self) -> list[int | None]:
        """Class id in a mirror by class id, `None` where clips are never mirrored."""
        return [None if c.flip_label is None else self.names.index(c.flip_label) for c in self.classes]

    @classmethod
    def read(cls, folder: Path | str) -> DatasetInfo:
        """Reads `folder/labels.json`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is not JSON, a class is repeated, has no sentence or a sentence of another class, or a
                flip_label does not fit.
        """
        path = Path(folder) / LABELS_FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} does not exist: a data set folder needs it; run `microgesture prepare` to make the folder"
            )
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            classes = tuple(
                ClassInfo(
                    c["name"], c["text"], _default(c),
                    None if c.get("flip_label") == NO_FLIP else c.get("flip_label"), c.get("group"),
                )
                for c in data["classes"]
            )  # fmt: skip
            leak, expected = data.get("leak", False), data.get("expected", {})
            if not isinstance(leak, bool) or not isinstance(expected, dict):
                raise TypeError(f"leak is true or false, expected names splits and clips: {leak!r}, {expected!r}")
            allowed = data.get("redistributable", False) is True
            overlap = data.get("official_overlap", False)
            info = cls(data["name"], data["version"], data["mirrored"], classes, leak, expected, allowed, overlap)
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} cannot be read as the class list of a data set: {error!r}") from error
        for what, values in (("class name", info.names), ("category sentence", info.texts)):
            twice = sorted({v for v in values if values.count(v) > 1 or not v.strip()})
            if twice:
                raise ValueError(f"{path}: every {what} must be there and stand once; mend {twice}")
        if overlap not in (True, False, "unknown"):
            raise ValueError(f'{path}: official_overlap is {overlap!r}; it is true, false or "unknown"')
        check_sides((c.default for c in classes), info.mirrored)
        _check_flips(path, info)
        return info


def _check_flips(path: Path, info: DatasetInfo) -> None:
    """Refuses a flip_label after which a mirrored clip would have a wrong label or a wrong category sentence."""
    labels = {c.name: c.flip_label for c in info.classes}
    for c in info.classes:
        if c.flip_label is None:
            continue
        if labels.get(c.flip_label) != c.name:  # a mirror seen in a mirror shows the first again
            raise ValueError(
                f"{path}: class {c.name!r} has the flip_label {c.flip_label!r}; that must be the class itself or "
                f'another whose flip_label is {c.name!r} in turn, or "{NO_FLIP}" for clips that are never mirrored'
            )
        if c.flip_label == c.name and (word := _SIDE_WORD.search(c.text)):
            raise ValueError(
                f"{path}: the sentence of class {c.name!r} says {word[0]!r}, which is wrong in a mirror, but its "
                f'flip_label is the class itself; name the class it becomes, or "{NO_FLIP}", or reword the sentence'
            )


def _default(data: dict[str, Any]) -> FGText | None:
    return FGText(**data["default"], provenance="default") if data.get("default") else None


def write_split(folder: Path, clips: Sequence[ClipSample]) -> None:
    """Writes `folder/metadata.jsonl`, last and whole: a folder without it is not a split.

    Raises:
        ValueError: A file name is absolute or leaves the folder.
        FileNotFoundError: A clip's file is not there.
    """
    for clip in clips:
        path = PurePosixPath(clip.file_name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{clip.file_name!r} must be a path inside {folder}, so that the folder can be moved")
        if not (folder / path).is_file():
            raise FileNotFoundError(f"{folder / path} is missing: write the clips before {METADATA_FILE}")
    lines = "".join(json.dumps(clip.row(), ensure_ascii=False) + "\n" for clip in clips)
    write_text(folder / METADATA_FILE, lines)


def write_text(path: Path, text: str) -> None:
    """Writes a text file so that nobody ever reads half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def link_file(old: Path, new: Path) -> None:
    """Gives a file a second name, or makes a copy of it where the disk has no such names; one that is there stays."""
    if new.exists():
        return
    new.parent.mkdir(parents=True, exist_ok=True)
    real = old.resolve()  # a link to a link would break when the data set is moved
    try:
        os.link(real, new)
    except OSError:  # another disk, or one that knows no hard links
        partial = new.with_name(f".{os.getpid()}.partial")
        shutil.copyfile(real, partial)
        os.replace(partial, new)


def load(folder: Path | str) -> datasets.DatasetDict:
    """Loads a prepared data set: `datasets.load_dataset` with `Video(decode=False)` and `ClassLabel`.

    Args:
        folder: A folder as `microgesture prepare` makes it.

    Returns:
        One data set per split, with the columns `video` (`{"path", "bytes"}`), `label` (class id), `subject`, `start`
        and `end` (seconds, or null for the whole file), the FG-Text columns, and whatever else the data set has.

    Raises:
        FileNotFoundError: The folder, its labels.json or every split is missing.
        ValueError: A label is unknown, or a subject stands in more than one of train, validation and test (unless
            labels.json says `"leak": true`, or that the splits were published so).
    """
    root = Path(folder).resolve()
    info = DatasetInfo.read(root)
    splits = sorted(path.parent for path in root.glob(f"*/{METADATA_FILE}"))
    if not splits:
        raise FileNotFoundError(f"{root} holds no split: expected {root}/train/{METADATA_FILE} and the like")
    loaded = datasets.DatasetDict({split.name: _load_split(split, info) for split in splits})
    if info.leak:
        logger.warning("%s: %s", info.name, LEAK)
    else:
        check_subjects({name: split["subject"] for name, split in loaded.items()}, info.official_overlap)
    for name, split in loaded.items():
        _check_rows(root / name / METADATA_FILE, split, info.mirrored)
    return loaded


def _check_rows(path: Path, split: datasets.Dataset, mirrored: bool | str) -> None:
    """Reads every row's FG-Text and span once, so that training does not meet the first bad one hours later."""
    records = []
    for number, row in enumerate(split, start=1):
        if not Path(row["video"]["path"]).is_file():
            raise FileNotFoundError(f"{path} line {number}: the video {row['video']['path']} is missing")
        try:
            records.append(FGText.from_mapping(row))
        except ValueError as error:
            raise ValueError(f"{path} line {number}: {error}") from error
        if row["subject"] is None:
            raise ValueError(f"{path} line {number} has no subject; splits are made by person, so name one")
        start, end = row["start"], row["end"]
        if (start is not None and start < 0) or (end is not None and end <= (start or 0.0)):
            raise ValueError(
                f"{path} line {number}: the clip from {start} to {end} seconds is empty or begins before 0"
            )
    check_sides(records, mirrored)


def _load_split(folder: Path, info: DatasetInfo) -> datasets.Dataset:
    files = {folder.name: [f"{folder}/**"]}
    if not (folder / METADATA_FILE).read_text(encoding="utf-8").strip():
        raise ValueError(f"{folder / METADATA_FILE} is empty; a split has at least one clip")
    split = datasets.load_dataset(
        "videofolder", data_files=files, split=folder.name, drop_labels=True, metadata_filenames=[METADATA_FILE]
    )
    given = {label for label in split["label"] if label is not None or folder.name in ("train", "validation")}
    unknown = sorted({str(label) for label in given} - set(info.names))
    if unknown:
        raise ValueError(f"{folder}/{METADATA_FILE} has labels that {LABELS_FILE} does not name: {unknown}")
    for name in CODER_COLUMNS:
        if name not in split.column_names:
            split = split.add_column(name, [None] * len(split))
    text_columns = {name: datasets.Value("string") for name in (*TEXT_COLUMNS, "subject")}
    features = split.features | text_columns
    features |= {name: datasets.Value(kind) for name, kind in CODER_COLUMNS.items()}
    features |= {"start": datasets.Value("float64"), "end": datasets.Value("float64")}
    features["video"] = datasets.Video(decode=False)
    features["label"] = datasets.ClassLabel(names=info.names)
    return split.cast(datasets.Features(features))


def check_subjects(subjects: dict[str, Iterable[str]], official_overlap: bool | str = False) -> None:
    """Refuses a split in which somebody stands on two sides, or warns where it was published so.

    Splits whose name begins alike (`test`, `test_natural`) are lists over the same people and may share them.

    Args:
        subjects: Split -> who is seen in each of its clips.
        official_overlap: As in labels.json.

    Raises:
        ValueError: Names the subjects and the splits.
    """
    if official_overlap is True:
        logger.warning(
            "the splits are kept as published, and people of one split are seen in another (official_overlap): "
            "figures measure in part how well people are remembered"
        )
        return
    if official_overlap == "unknown":
        logger.warning(
            "the splits are kept as published, and nobody knows whether people of one split are seen in another "
            "(official_overlap: unknown)"
        )
    seen: dict[str, tuple[str, str]] = {}
    for split, people in subjects.items():
        side = split.split("_")[0]
        for person in sorted(set(people)):
            before = seen.setdefault(person, (side, split))
            if before[0] != side:
                raise ValueError(
                    f"subject {person!r} is in both {before[1]!r} and {split!r}: the figures would measure how well "
                    "this person is remembered; move all clips of a person to one split"
                )
