"""The data set of one round of adaptation: source clips, and target clips with the labels that they are given.

    OUT/train/…                 the source's training clips
    OUT/train/target/…          target clips; no label, FG-Text or other word of theirs is taken over
    OUT/validation/…            the source's
    OUT/adaptation.json         what this is, which goes into the record of every run on it

Files are hard links where the disk allows it. What is trained on such a folder cannot have seen a target's truth.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from microgesture.annotation.records import read_lines
from microgesture.data.clips import LABELS_FILE, METADATA_FILE, DatasetInfo, link_file, write_text
from microgesture.data.fingerprint import fingerprint
from microgesture.run_record import adaptation_of
from microgesture.streams.pseudo_labels import REJECTED

ABOUT_FILE = "adaptation.json"
TEACHER = "teacher"
"""Column with a teacher's probabilities of a clip, which then are what L_cls compares with."""
_FILES = ("file_name", "keypoints")
# What of a target clip is no description of what it shows.
_TAKEN = (*_FILES, "subject", "start", "end")


def read_rows(dataset: Path, split: str) -> list[dict[str, Any]]:
    """The rows of a split as they are written."""
    return [row for _, row in read_lines(dataset / split / METADATA_FILE)]


def write_round(
    out: Path,
    dataset: Path,
    target: str,
    labels: npt.NDArray[Any],
    about: dict[str, Any],
    teacher: npt.NDArray[Any] | None = None,
) -> None:
    """Writes the data set of a round.

    Args:
        out: The folder to make; one that was begun is finished.
        dataset: The data set.
        target: The split with the target clips.
        labels: What each of its clips is taken for `(N,)`, `REJECTED` for those that are left out.
        about: Goes into `adaptation.json`.
        teacher: Probabilities of the source's training clips `(N_train, C)`, for distillation.

    Raises:
        ValueError: A file lies outside its split.
    """
    (out / "train").mkdir(parents=True, exist_ok=True)
    settings = json.loads((dataset / LABELS_FILE).read_text(encoding="utf-8"))
    settings.pop("expected", None)  # counts of the original splits
    names = [c["name"] for c in settings["classes"]]
    rows = [_linked(row, dataset / "train", out / "train") for row in read_rows(dataset, "train")]
    if teacher is not None:
        rows = [row | {TEACHER: [round(float(p), 7) for p in p_row]} for row, p_row in zip(rows, teacher, strict=True)]
    for row, label in zip(read_rows(dataset, target), labels, strict=True):
        if label != REJECTED:
            kept = {name: row[name] for name in _TAKEN if name in row}
            rows.append(_linked(kept, dataset / target, out / "train", "target") | {"label": names[int(label)]})
    everywhere = dict.fromkeys(name for row in rows for name in row)
    rows = [{name: row.get(name) for name in everywhere} for row in rows]
    validation = [_linked(row, dataset / "validation", out / "validation") for row in read_rows(dataset, "validation")]
    write_text(out / LABELS_FILE, json.dumps(settings, ensure_ascii=False, indent=1) + "\n")
    write_text(out / ABOUT_FILE, json.dumps(about, ensure_ascii=False, indent=1) + "\n")
    for split, table in (("validation", validation), ("train", rows)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table)
        write_text(out / split / METADATA_FILE, lines)


def _linked(row: dict[str, Any], source: Path, into: Path, below: str = "") -> dict[str, Any]:
    """The row with its files in another split."""
    moved = dict(row)
    for column in _FILES:
        if not row.get(column):
            continue
        name, old = Path(below) / row[column], source / row[column]
        if not old.resolve().is_relative_to(source.resolve()):
            raise ValueError(f"{old} lies outside its split; make the data set again")
        moved[column] = name.as_posix()
        link_file(old, into / name)
    return moved


def about_data(folder: Path, info: DatasetInfo) -> dict[str, Any]:
    """What the record of a run says of its data set: which it is, its warnings, and the adaptation that made it."""
    path = folder / ABOUT_FILE
    return {
        "dataset": info.name,
        "dataset_version": info.version,
        "data_fingerprint": fingerprint(folder),
        **({"leak": True} if info.leak else {}),
        "official_overlap": info.official_overlap,
        **({"adaptation": json.loads(path.read_text(encoding="utf-8"))} if path.is_file() else {}),
    }


def seen_splits(dataset: Path, target: str, splits: Sequence[str], targets: set[str]) -> list[str]:
    """The splits of which a clip is also a target: figures on them are transductive.

    Args:
        dataset: The data set.
        target: The split with the target clips.
        splits: Those of the data set.
        targets: The `clip_digests` of the target clips.
    """
    sizes = {(dataset / target / row["file_name"]).stat().st_size for row in read_rows(dataset, target)}
    return [split for split in splits if split == target or targets & clip_digests(dataset, split, sizes)]


def clip_digests(dataset: Path, split: str, sizes: set[int] | None = None) -> set[str]:
    """What a clip is known by, wherever it lies and whatever it is called: the content of its file, and its span.

    Args:
        dataset: The data set.
        split: The split.
        sizes: Leave out clips whose files have other sizes in bytes, which is quicker; `None`: all.

    Returns:
        16 hexadecimal digits for each clip.
    """
    found, files = set(), dict[Path, str]()
    for row in read_rows(dataset, split):
        path = dataset / split / row["file_name"]
        if sizes is not None and path.stat().st_size not in sizes:
            continue
        if path not in files:
            with path.open("rb") as file:
                files[path] = hashlib.file_digest(file, "sha256").hexdigest()
        # The same span, however it is written: 1 is 1.0, and a clip that starts at 0 has no start.
        span = [float(time) if time else None for time in (row.get("start"), row.get("end"))]
        clip = json.dumps([files[path], *span])
        found.add(hashlib.sha256(clip.encode()).hexdigest()[:16])
    return found


def adapted_to(checkpoint: Path, dataset: Path, split: str) -> bool:
    """Whether a checkpoint was adapted to clips of this split, without their labels: its figures are transductive."""
    targets = adaptation_of(checkpoint).get("targets", [])
    return bool(targets) and not clip_digests(dataset, split).isdisjoint(targets)


def check_one_kind(kinds: Mapping[str, bool], split: str) -> None:
    """Refuses to put transductive and inductive figures side by side.

    Args:
        kinds: Checkpoint -> whether it was adapted to clips of the split.
        split: Its name.

    Raises:
        ValueError: Some of the checkpoints were, and others were not.
    """
    seen, new = ([name for name, is_seen in kinds.items() if is_seen == wanted] for wanted in (True, False))
    if seen and new:
        raise ValueError(
            f"{seen[0]} was adapted to the clips of {split} (transductive) and {new[0]} was not (inductive): such "
            "figures are not of one kind. Choose checkpoints of one kind; `microgesture adapt` shows the controls "
            "beside it"
        )
