"""What can be told of a data set from its text files: rows, labels, people, FG-Text."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from microgesture.annotation.readers import span_problem
from microgesture.data.check_report import Report
from microgesture.data.clips import METADATA_FILE, DatasetInfo
from microgesture.data.fg_text import ATTRIBUTES, FGText

COLUMNS = ("label", "subject", "start", "end", *ATTRIBUTES, "side", "provenance")
LONG_SENTENCE = 300  # characters; a text encoder reads the beginning only


@dataclass(frozen=True, slots=True)
class Row:
    """One line of metadata.jsonl, of the parts that a check needs."""

    split: str
    line: int
    file: str
    label: str
    subject: str | None
    start: float | None
    end: float | None
    sentence: str | None
    keypoints: str | None

    @property
    def side(self) -> str:
        """The split without what follows a `_`: `test_natural` is a list over the people of `test`."""
        return self.split.split("_")[0]

    @property
    def place(self) -> dict[str, Any]:
        """Where the row stands, as `Report.add` takes it."""
        return {"split": self.split, "line": self.line, "file": self.file}

    def __str__(self) -> str:
        return f"{self.split} line {self.line}"


def read_rows(root: Path, info: DatasetInfo | None, report: Report, progress: bool) -> list[Row]:
    """Every row that can be read; what is wrong with the others goes into the report."""
    rows: list[Row] = []
    folders = sorted(path.parent for path in root.glob(f"*/{METADATA_FILE}"))
    if not folders:
        folds = sorted(path.parent.parent.name for path in root.glob(f"*/train/{METADATA_FILE}"))
        hint = f"; it holds the data sets {', '.join(folds)}: check each" if folds else ""
        report.add("no_split", f"{root} holds no split such as train/{METADATA_FILE}{hint}")
    for folder in folders:
        before = len(rows)
        columns: set[str] = set()
        with (folder / METADATA_FILE).open("rb") as file:
            lines = tqdm(file, desc=f"rows of {folder.name}", unit="row", delay=1, disable=not progress)
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    row = _row(folder.name, number, line, info, report, columns)
                    rows += [row] if row else []
        missing = [name for name in COLUMNS if name not in columns]
        if columns and missing:
            message = f"no row has the column {', '.join(missing)}; write it into every row, with null for nothing"
            report.add("missing_column", message, folder.name)
        if len(rows) == before:
            report.add("empty_split", f"{folder.name}/{METADATA_FILE} has no row that can be read", folder.name)
    return rows


def _row(
    split: str, line: int, text: bytes, info: DatasetInfo | None, report: Report, columns: set[str]
) -> Row | None:
    try:
        data = json.loads(text)
        if not isinstance(data, dict) or not isinstance(data.get("file_name"), str) or not data["file_name"]:
            raise ValueError("it names no file")
    except (ValueError, RecursionError) as error:
        report.add("bad_row", f"this is no row ({error}); write one JSON object with file_name", split, line)
        return None
    columns.update(data)
    file = data["file_name"]
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts:
        report.add(
            "outside_root", "the file name leads out of the split's folder; copy the video there", split, line, file
        )
        return None
    start, end = data.get("start"), data.get("end")
    wrong = next(
        (v for v in (start, end) if v is not None and (isinstance(v, bool) or not isinstance(v, int | float))), None
    )
    problem = f"{wrong!r} is no number of seconds" if wrong is not None else span_problem(start, end)
    if problem:
        report.add("bad_span", problem, split, line, file)
        return None
    label, subject = data.get("label"), data.get("subject")
    if not isinstance(label, str) or not label or (info is not None and label not in info.names):
        report.add("unknown_label", f"the label {label!r} is not in labels.json", split, line, file)
        return None
    if subject is None or not str(subject).strip():
        report.add("no_subject", "nobody is named; splits are made by person", split, line, file)
        subject = None
    sentence = _sentence(data, split, line, file, info, report)
    keypoints = data.get("keypoints")
    intern = sys.intern
    return Row(
        intern(split), line, intern(file), intern(label), intern(str(subject)) if subject is not None else None,
        start, end, intern(sentence) if sentence else None, keypoints if isinstance(keypoints, str) else None,
    )  # fmt: skip


def _sentence(
    data: dict[str, Any], split: str, line: int, file: str, info: DatasetInfo | None, report: Report
) -> str | None:
    """The row's FG-Text sentence; what is wrong with its FG-Text goes into the report."""
    try:
        record = FGText.from_mapping(data)
    except (ValueError, TypeError) as error:
        report.add("bad_text", str(error), split, line, file)
        return None
    if record is None:
        return None
    missing = [name for name in ATTRIBUTES if getattr(record, name) is None]
    if missing:
        report.add("partial_text", f"FG-Text without {', '.join(missing)}", split, line, file)
    if record.names_a_side and info is not None and info.mirrored == "unknown":
        report.add(
            "unknown_mirror",
            'FG-Text names a side, and labels.json does not say whether the recordings are mirrored; set "mirrored" '
            "to true or false",
            split, line, file,
        )  # fmt: skip
    return record.sentence()


def check_labels(rows: Sequence[Row], info: DatasetInfo, report: Report) -> None:
    """Classes that are absent or rare, sentences that are too long, counts other than expected."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        counts[row.split][row.label] += 1
    used = set().union(*counts.values()) if counts else set()
    if len(used) == 1:
        report.add("one_class", f"every clip is {used.pop()!r}; a classifier needs at least two classes")
    for c in info.classes:
        if rows and c.name not in used:
            report.add("unused_class", f"no clip is {c.name!r}; its figures will be 0 or left out")
        elif len(used) > 1:
            for split, of_split in counts.items():
                if not of_split[c.name]:
                    report.add("absent_class", f"no clip is {c.name!r}; macro figures suffer", split)
                elif of_split[c.name] == 1 and split == "train":
                    report.add("single_clip", f"only one clip is {c.name!r}", split)
        if len(c.text) > LONG_SENTENCE:
            report.add("long_sentence", f"the sentence of {c.name!r} has {len(c.text)} characters; shorten it")
    for split, expected in info.expected_clips.items():
        there = sum(counts[split].values()) if split in counts else 0
        if there != expected:
            report.add(
                "count", f"{there} clips, and labels.json expects {expected}; prepare the data set again", split
            )


def check_splits(rows: Sequence[Row], report: Report) -> None:
    """Splits that training needs, and people who stand in more than one."""
    if not rows:
        return
    present = {row.split for row in rows}
    for split in ("train", "validation"):
        if split not in present:
            report.add("no_split", f"there is no split {split!r} with clips; training needs train and validation")
    if not any(row.side == "test" for row in rows):
        report.add("no_test", "there is no test split; figures on validation are those that training chose by")
    sides: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        if row.subject is not None:
            sides[row.subject].setdefault(row.side, str(row))
    for subject, of_subject in sides.items():
        if len(of_subject) > 1:
            report.add(
                "leak",
                f"subject {subject!r} is in {' and '.join(of_subject)} ({', '.join(of_subject.values())}); move all "
                "clips of a person to one split",
            )


def check_texts(rows: Iterable[Row], report: Report) -> None:
    """Whether training has sentences to compare clips with."""
    train = [row for row in rows if row.split == "train"]
    sentences = {row.sentence for row in train if row.sentence}
    without = sum(not row.sentence for row in train)
    if train and not sentences:
        report.add("no_text", "no training clip has FG-Text; describe them, or train with --fg_text class", "train")
    elif without:
        report.add(
            "no_text", f"{without} of {len(train)} training clips have no FG-Text and take no part in L_fg", "train"
        )
    if len(sentences) == 1 and len(train) > 1:
        report.add("same_text", f"all training clips have the same FG-Text: {next(iter(sentences))!r}", "train")
