"""UTD-MHAD (Chen, Jafari, Kehtarnavaz; ICIP 2015): 27 actions before a Kinect, as depth video with a skeleton.

    SOURCE/labels.csv                        video,skeleton,label,label_name,subject,trial,frames,split
    SOURCE/depth_video/a1_s1_t1.mp4          action 1 to 27, subject, trial
    SOURCE/skeleton/a1_s1_t1_skeleton.mat    `d_skel` (20 joints, 3, frames) in metres

`prepare` makes of it the folder that `microgesture.data.clips.load` reads, with one keypoint file per clip:

    OUT/<split>/clips/a1_s1_t1.mp4
    OUT/<split>/keypoints/a1_s1_t1.npy       float32 (frames, 20, 3), named by the column `keypoints`

Subjects 1, 3, 5 train, 7 validates, 2 and 4 test. Subjects 6 and 8 of the published data set are not in it.
With `leave_one_out`, OUT/fold_1, OUT/fold_2, … are such folders, in each of which that subject alone tests; with
`adaptation`, OUT/adapt_2 and OUT/adapt_4, in which that test subject is the split `target`, to which streams adapt.

Skeleton axes, for a subject who faces the camera: x grows to the subject's right, y up, z away from the camera. The
videos are mirrored (the subject's right is on the picture's right); joint names are the subject's own.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import scipy.io
from tqdm import tqdm

from microgesture.data import corpus
from microgesture.data.clips import LABELS_FILE, ClipSample, DatasetInfo, link_file, write_split, write_text
from microgesture.data.fg_text import FGText
from microgesture.data.keypoints import read_layout

NAME = "utd_mhad"
Splits = dict[str, tuple[int, ...]]
SPLITS: Splits = {"train": (1, 3, 5), "validation": (7,), "test": (2, 4)}
SUBJECTS = tuple(sorted(sum(SPLITS.values(), ())))
TRIALS = (1, 2, 3, 4)
KNOWN_MISSING = frozenset({(8, 1, 4)})
"""(action, subject, trial) of the recordings that the authors left out, of the six subjects used here."""
COLUMNS = ("video", "skeleton", "label", "label_name", "subject", "trial", "frames", "split")
JOINTS = read_layout("kinect_20").names
"""The 20 Kinect joints in the order of the second axis of a keypoint file; left and right are the subject's own."""


@dataclass(frozen=True)
class Recording:
    """One row of labels.csv, checked.

    Args:
        name: `a<action>_s<subject>_t<trial>`.
        video: The mp4 file.
        skeleton: The .mat file.
        label: Class name.
        subject: 1 to 8.
        trial: 1 to 4.
        frames: Number of frames of the video and of the skeleton.
        published_split: `train` or `test` in the authors' odd/even protocol.
    """

    name: str
    video: Path
    skeleton: Path
    label: str
    subject: int
    trial: int
    frames: int
    published_split: str


def prepare(
    source: Path, out: Path, progress: bool = True, leave_one_out: bool = False, adaptation: bool = False
) -> None:
    """Makes the data set folder `out` from the raw folder `source`, or nothing at all.

    The folder is built beside `out`, under a name with a leading dot, and gets its own name when it is checked and
    whole. An interrupted run leaves nothing that looks like a data set. Videos get a second name where the disk allows
    it, and are copied once where it does not.

    Args:
        source: Folder with labels.csv, depth_video/ and skeleton/.
        out: Folder to make; it must not exist yet, or be empty.
        progress: Whether to show a progress bar.
        leave_one_out: Make the folders of `folds` in `out`, instead of the one with the splits of `SPLITS`.
        adaptation: Make those of `adaptations` instead.

    Raises:
        FileNotFoundError: labels.csv, a video, a skeleton, or the project's own datasets/utd_mhad is missing.
        FileExistsError: `out` holds something already.
        ValueError: A row, a video or a skeleton is not as expected, or recordings are missing.
    """
    source, out = Path(source), Path(out)
    card = corpus.card_folder(NAME)
    recordings = read_labels(source / "labels.csv", DatasetInfo.read(card))
    plans = folds() if leave_one_out else adaptations() if adaptation else {"": SPLITS}
    with corpus.new_folder(out) as building:
        _build(recordings, card, building, plans, progress)


def folds() -> dict[str, Splits]:
    """Leave one subject out: each tests once, the next one validates (after the last comes the first), four train.

    Returns:
        `fold_<subject>` -> subjects of its splits.
    """
    plans: dict[str, Splits] = {}
    for place, subject in enumerate(SUBJECTS):
        validation = SUBJECTS[(place + 1) % len(SUBJECTS)]
        train = tuple(one for one in SUBJECTS if one not in (subject, validation))
        plans[f"fold_{subject}"] = {"train": train, "validation": (validation,), "test": (subject,)}
    return plans


def adaptations() -> dict[str, Splits]:
    """Adapt to one test subject and test on the others, for `microgesture adapt` (whose controls know the labels).

    Returns:
        `adapt_<subject>` -> subjects of its splits.
    """
    tested = SPLITS["test"]
    return {
        f"adapt_{one}": SPLITS | {"target": (one,), "test": tuple(other for other in tested if other != one)}
        for one in tested
    }


def read_labels(path: Path, info: DatasetInfo) -> list[Recording]:
    """Reads and checks labels.csv; files named in it must exist but are not opened.

    Args:
        path: The labels.csv; its file names are relative to its folder.
        info: The classes, in the order of the ids that labels.csv uses.

    Returns:
        The recordings, sorted by action, subject and trial.

    Raises:
        FileNotFoundError: The file, or one that it names, is missing.
        ValueError: A column, a value or a recording is missing, unknown or there twice.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: give the folder that holds labels.csv, depth_video/, skeleton/"
        )
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        absent = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if absent:
            raise ValueError(f"{path} lacks the columns {absent}; its first line must be: {','.join(COLUMNS)}")
        found: dict[tuple[int, int, int], Recording] = {}
        for row in reader:
            key, recording = _recording(row, f"{path}, line {reader.line_num}", path.parent, info)
            if key in found:
                raise ValueError(f"{path}, line {reader.line_num}: {recording.name} is there twice; remove one line")
            found[key] = recording
    expected = {
        (action, subject, trial)
        for action in range(1, len(info.classes) + 1)
        for subject in SUBJECTS
        for trial in TRIALS
    } - KNOWN_MISSING
    missing = sorted(expected - set(found))
    if missing:
        names = [_name(*key) for key in missing]
        raise ValueError(
            f"{path} lacks {len(missing)} of {len(expected)} recordings: {', '.join(names[:8])}"
            f"{' …' if len(names) > 8 else ''}; add their files and lines, because figures count on the whole set"
        )
    return [found[key] for key in sorted(found)]


def read_skeleton(path: Path) -> npt.NDArray[np.float32]:
    """Reads a skeleton file of UTD-MHAD.

    Args:
        path: A .mat file with the matrix `d_skel` (20, 3, frames).

    Returns:
        float32 `(frames, 20, 3)` in metres, joints as in `JOINTS`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or holds no such matrix of finite numbers.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: copy it again from the data set")
    try:
        # variable_names: nothing but this one matrix is interpreted. Damage shows as many kinds of error.
        content = scipy.io.loadmat(
            path, variable_names=["d_skel"], struct_as_record=True, verify_compressed_data_integrity=True
        )
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a MATLAB file ({error}): copy it again from the data set"
        ) from error
    skeleton = content.get("d_skel")
    if skeleton is None or skeleton.ndim != 3 or skeleton.shape[:2] != (len(JOINTS), 3) or skeleton.dtype.kind != "f":
        held = "nothing" if skeleton is None else f"{skeleton.dtype} {skeleton.shape}"
        raise ValueError(f"{path} must hold d_skel with {len(JOINTS)} joints × 3 × frames, it holds {held}")
    if not np.isfinite(skeleton).all():
        raise ValueError(f"{path} holds NaN or infinity: copy it again from the data set")
    return np.ascontiguousarray(skeleton.transpose(2, 0, 1), dtype=np.float32)


def count_frames(path: Path) -> int:
    """Counts the coded frames of a video without decoding one.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no video.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: copy it again from the data set")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path} holds no video: copy it again from the data set")
            return sum(packet.size > 0 for packet in container.demux(container.streams.video[0]))
    except av.FFmpegError as error:
        raise ValueError(f"{path} cannot be read as a video ({error}): copy it again from the data set") from error


def _name(action: int, subject: int, trial: int) -> str:
    return f"a{action}_s{subject}_t{trial}"


def _recording(
    row: dict[str, str], where: str, folder: Path, info: DatasetInfo
) -> tuple[tuple[int, int, int], Recording]:
    """Checks one row; returns it with its key (action, subject, trial)."""
    if any(row[column] is None for column in COLUMNS) or row["split"] not in ("train", "test"):
        raise ValueError(f"{where}: every column must be filled, and split must be train or test; correct the line")
    try:
        label, subject, trial, frames = (int(row[c]) for c in ("label", "subject", "trial", "frames"))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: label, subject, trial and frames must be whole numbers ({error})") from error
    names = info.names
    if not 0 <= label < len(names) or row["label_name"] != names[label]:
        known = names[label] if 0 <= label < len(names) else f"no class (0 to {len(names) - 1} exist)"
        raise ValueError(
            f"{where}: label {label} is called {row['label_name']!r}, in datasets/{NAME}/{LABELS_FILE} it is {known}; "
            "correct the line"
        )
    if subject not in SUBJECTS:
        raise ValueError(
            f"{where}: subject {subject} is in no split of the protocol ({SPLITS}); leave the line out of labels.csv"
        )
    if trial not in TRIALS or frames < 1:
        raise ValueError(f"{where}: trial {trial} must be 1 to 4 and frames {frames} at least 1; correct the line")
    name = _name(label + 1, subject, trial)
    files = {"video": f"{name}.mp4", "skeleton": f"{name}_skeleton.mat"}
    for column, file_name in files.items():
        path = Path(row[column])
        if path.name != file_name or path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{where}: {column} is {row[column]!r}, expected a path inside {folder} to {file_name}")
        if not (folder / path).is_file():
            raise FileNotFoundError(f"{where}: {folder / path} is missing; copy it again from the data set")
    video, skeleton = folder / row["video"], folder / row["skeleton"]
    key = (label + 1, subject, trial)
    return key, Recording(name, video, skeleton, names[label], subject, trial, frames, row["split"])


def _build(
    recordings: Sequence[Recording], card: Path, out: Path, plans: Mapping[str, Splits], progress: bool
) -> None:
    """Fills the folder of every plan (`out` itself where its name is empty)."""
    defaults = {c.name: c.default for c in DatasetInfo.read(card).classes}
    clips: dict[str, dict[str, list[ClipSample]]] = {
        name: {split: [] for split in splits} for name, splits in plans.items()
    }
    for recording in tqdm(recordings, desc=f"prepare {NAME}", unit="clip", disable=not progress):
        sample = _sample(recording, defaults[recording.label])
        places = []
        for name, splits in plans.items():
            split = next(split for split, subjects in splits.items() if recording.subject in subjects)
            clips[name][split].append(sample)
            places.append(out / name / split)
        _put(recording, sample, places)
    for name, samples in clips.items():
        shutil.copyfile(card / "README.md", out / name / "README.md")
        counts = {split: len(listed) for split, listed in samples.items()}
        _write_labels(card / LABELS_FILE, out / name / LABELS_FILE, counts)
        for split, listed in samples.items():
            write_split(out / name / split, listed)


def _sample(recording: Recording, text: FGText | None) -> ClipSample:
    extra = {
        "trial": recording.trial,
        "frames": recording.frames,
        "keypoints": f"keypoints/{recording.name}.npy",
        "published_split": recording.published_split,
    }
    return ClipSample(f"clips/{recording.name}.mp4", recording.label, str(recording.subject), text, extra=extra)


def _put(recording: Recording, sample: ClipSample, places: Sequence[Path]) -> None:
    """Checks a recording, and puts its video and keypoints into the folders of its splits."""
    skeleton = read_skeleton(recording.skeleton)
    frames = {recording.video: count_frames(recording.video), recording.skeleton: len(skeleton)}
    for path, number in frames.items():
        if number != recording.frames:
            raise ValueError(
                f"{path} holds {number} frames, labels.csv says {recording.frames}: "
                "copy the file again from the data set, or correct the line"
            )
    first, *others = places
    link_file(recording.video, first / sample.file_name)
    keypoints = corpus.save_keypoints(first, recording.name, skeleton)
    for other in others:
        for file in (sample.file_name, keypoints):
            link_file(first / file, other / file)


def _write_labels(card: Path, path: Path, counts: dict[str, int]) -> None:
    """Writes labels.json: the card's, byte by byte, or with the number of clips that these splits have."""
    labels = corpus.read_json(card)
    if labels["expected"] == counts:
        shutil.copyfile(card, path)
    else:
        write_text(path, json.dumps(labels | {"expected": counts}, ensure_ascii=False, indent=1) + "\n")
