"""Records of one coder per clip -> the FG-Text columns of a data set's metadata.jsonl."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from microgesture.annotation.records import CodedClip, read_lines, refuse
from microgesture.data.clips import CODER_COLUMNS, METADATA_FILE, TEXT_COLUMNS, DatasetInfo, write_text
from microgesture.data.fg_text import PROVENANCES, FGText, check_sides

WRITTEN, KEPT, SECOND = "written", "kept", "second looks"


def apply(folder: Path, records: Sequence[CodedClip]) -> Counter[str]:
    """Writes records into a data set, all of them or none; what is there already and weighs more stays.

    A human's record is never replaced by one that was confirmed, proposed by a model or taken from the class
    (`PROVENANCES` has the order); another human's record replaces it. Second looks are for agreement only.

    Args:
        folder: The data set.
        records: One first look per clip: of a single coder, or adjudicated.

    Returns:
        How many records were `written`, how many gave way to what was `kept`, and how many were `second looks`.

    Raises:
        FileNotFoundError: The folder is not a data set, or lacks a split.
        ValueError: Several coders wrote about one clip, a clip is not in the data set or shows somebody else, or a
            record names a side where nobody knows whether the recordings are mirrored.
    """
    info = DatasetInfo.read(folder)
    first = [record for record in records if record.look == 1]
    check_sides((record.text for record in first), info.mirrored)
    wanted = _by_clip(first)
    splits = sorted({record.clip.split for record in first})
    counts = Counter({WRITTEN: 0, KEPT: 0, SECOND: len(records) - len(first)})
    rewritten = {Path(folder) / split / METADATA_FILE: _rewrite(folder, split, wanted, counts) for split in splits}
    refuse([f"{name!r} from {start} to {end} s is not in {folder}/{split}; these records are of another data set"
            for split, name, start, end in wanted])  # fmt: skip
    for path, text in rewritten.items():
        write_text(path, text)
    return counts


def _by_clip(records: Sequence[CodedClip]) -> dict[tuple, CodedClip]:
    by_clip: dict[tuple, list[CodedClip]] = defaultdict(list)
    for record in records:
        by_clip[record.clip.key].append(record)
    refuse([
        f"{several[0].clip.split}/{several[0].clip.file_name} has {len(several)} records, of "
        f"{', '.join(sorted(str(r.text.coder) for r in several))}: bring them to one with `microgesture annotate "
        "adjudicate` first, or apply the records of one coder"
        for several in by_clip.values()
        if len(several) > 1
    ])  # fmt: skip
    return {key: several[0] for key, several in by_clip.items()}


def _rewrite(folder: Path, split: str, wanted: dict[tuple, CodedClip], counts: Counter[str]) -> str:
    """The new metadata.jsonl of a split; the records it takes are taken out of `wanted`."""
    path = Path(folder) / split / METADATA_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist, but records are about it; name the data set that was exported"
        )
    lines = []
    for where, row in read_lines(path):
        name = PurePosixPath(str(row.get("file_name"))).as_posix()
        record = wanted.pop((split, name, row.get("start"), row.get("end")), None)
        row |= {name: row.get(name) for name in CODER_COLUMNS}
        if record is not None:
            if str(row.get("subject")) != record.clip.subject:
                raise ValueError(
                    f"{where} shows {row.get('subject')!r}, but the record of this clip was written about "
                    f"{record.clip.subject!r}; these records are of another data set"
                )
            counts[_put(where, row, record.text)] += 1
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(lines)


def _put(where: str, row: dict[str, Any], text: FGText) -> str:
    """Puts a record into a row unless what stands there weighs more; says which."""
    try:
        before = FGText.from_mapping(row)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if before is not None and PROVENANCES.index(before.provenance) > PROVENANCES.index(text.provenance):
        return KEPT
    row |= {name: getattr(text, name) for name in (*TEXT_COLUMNS, *CODER_COLUMNS)}
    return WRITTEN
