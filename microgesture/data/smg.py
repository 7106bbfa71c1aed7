"""SMG (Chen et al., FG 2019 and IJCV 2023): 40 people who tell stories, 16 micro-gestures and one other class.

    SOURCE/…/Sample0001_finelabels.csv       class number 1 to 17, first frame, last frame
    SOURCE/…/Sample0001_color.mp4            the recording; Sample0001.mp4 and Sample0001_rgb.mp4 do as well
    SOURCE/…/Sample0001_skeleton.csv         optional: one row per frame, 25 joints × 11 numbers
    SOURCE/…/Sample0001_data.csv             optional: number of frames, frames per second, greatest depth

Files are found by their names, in whatever folders they lie. What the authors have not published (the names of the
class numbers, who validates, how frames are counted) stands with its doubt in datasets/smg/*.json; `prepare` reads it
there and says what the user's own copy has to say about it (`microgesture.data.smg_checks`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from microgesture.data import corpus, smg_checks
from microgesture.data.clips import ClipSample, DatasetInfo, link_file
from microgesture.data.corpus import FrameTimes
from microgesture.data.keypoints import read_layout
from microgesture.data.sheet import read_numbers

NAME = "smg"
NUMBERS_PER_JOINT = 11  # x, y, z in metres, 4 of the orientation, x and y in the picture, 2 unused


def prepare(source: Path, out: Path, frame_times: FrameTimes, progress: bool = True) -> list[str]:
    """Makes the data set folder `out` from a copy of SMG, or nothing at all.

    Args:
        source: Folder of the original data.
        out: Folder to make; it must not exist yet, or be empty.
        frame_times: Tells when the frames of a recording are shown.
        progress: Whether to show a progress bar.

    Returns:
        What was found in this copy, a sentence each; `out/prepared.json` keeps it.

    Raises:
        FileNotFoundError: A label file or a recording is missing.
        FileExistsError: `out` holds something already.
        ValueError: A file is not as expected.
    """
    card = corpus.card_folder(NAME, "label_map.json", "splits.json")
    names, splits = corpus.read_json(card / "label_map.json"), corpus.read_json(card / "splits.json")
    subjects = {int(s): split for split, people in splits["subjects"].items() for s in people}
    labels = {int(key): path for key, path in corpus.find_files(source, r"Sample(\d{4})_finelabels\.csv").items()}
    if not labels:
        raise FileNotFoundError(f"{source} holds no SampleNNNN_finelabels.csv: give the folder of the SMG data set")
    unknown = sorted(set(labels) - set(subjects))
    if unknown:
        raise ValueError(f"no split for the subjects {unknown}; add them to {card / 'splits.json'}")
    videos = corpus.find_files(source, rf"Sample(\d{{4}})(?:_color|_rgb)?\.{corpus.VIDEO_FILES}")
    corpus.require(
        videos, [f"{s:04d}" for s in labels], "the recording (SampleNNNN_color.mp4)",
        "FG-SGL needs the RGB recordings; the skeletons of the MiGA challenge alone are not enough",
    )  # fmt: skip
    skeletons = corpus.find_files(source, r"Sample(\d{4})_skeleton\.csv")
    told = corpus.find_files(source, r"Sample(\d{4})_data\.csv")
    with corpus.new_folder(out) as folder:
        maker = _Maker(folder, card, names["names"], splits)
        for subject in tqdm(sorted(labels), desc=f"prepare {NAME}", unit="recording", disable=not progress):
            key = f"{subject:04d}"
            maker.add(
                subject,
                subjects[subject],
                labels[subject],
                videos[key],
                skeletons.get(key),
                told.get(key),
                frame_times,
            )
        absent = sorted(set(subjects) - set(labels))
        if absent:
            maker.findings.append(f"this copy lacks the subjects {', '.join(map(str, absent))}")
        if not skeletons:
            maker.findings.append("this copy has no skeletons; the data set has no keypoints")
        maker.findings += smg_checks.check(maker.spans, names, splits, maker.hands)
        clips = {split: samples for split, samples in maker.clips.items() if samples}
        return corpus.write_dataset(folder, card, clips, {} if skeletons else {"keypoints": None}, maker.findings)


def read_skeleton(path: Path) -> npt.NDArray[np.float32]:
    """Reads SampleNNNN_skeleton.csv.

    Returns:
        float32 `(frames, 25, 11)`, joints as in the layout `kinect_25`.

    Raises:
        ValueError: It is no such table.
    """
    joints = len(read_layout("kinect_25").names)
    return read_numbers(path, joints * NUMBERS_PER_JOINT).reshape(-1, joints, NUMBERS_PER_JOINT)


class _Maker:
    """Collects clips recording by recording."""

    def __init__(self, out: Path, card: Path, names: dict[str, str], splits: dict[str, Any]) -> None:
        self.out, self.card, self.names, self.rate = out, card, names, splits["frames_per_second"]
        self.first, self.end_included = int(splits["frames"]["first"]), bool(splits["frames"]["end_included"])
        info = DatasetInfo.read(card)
        self.defaults = {c.name: c.default for c in info.classes}
        strange = sorted(set(names.values()) - set(info.names))
        if strange:
            raise ValueError(f"{card / 'label_map.json'} names classes that labels.json does not have: {strange}")
        self.clips: dict[str, list[ClipSample]] = {"train": [], "validation": [], "test": []}
        self.spans: dict[int, list[tuple[int, int, int]]] = {}
        self.hands: dict[int, list[str]] = {}
        self.findings: list[str] = []

    def add(
        self,
        subject: int,
        split: str,
        labels: Path,
        video: Path,
        skeleton: Path | None,
        told: Path | None,
        frame_times: FrameTimes,
    ) -> None:
        """Adds all clips of one recording."""
        key = f"Sample{subject:04d}"
        file_name = f"recordings/{key}{video.suffix.lower()}"
        link_file(video, self.out / split / file_name)
        times = frame_times(video)
        points = None if skeleton is None else read_skeleton(skeleton)
        self.compare_lengths(key, len(times) - 1, points, told)
        rate = corpus.odd_rate(times, self.rate)
        self.findings += [f"{key}: {rate}"] if rate else []
        self.spans[subject] = corpus.read_spans(labels)
        cut = without = 0
        for number, (label, begin, end) in enumerate(self.spans[subject]):
            where = f"{labels} row {number + 1}"
            if str(label) not in self.names:
                raise ValueError(f"{where}: class number {label} is not in {self.card / 'label_map.json'}")
            first, last = begin - self.first, end - self.first - (not self.end_included)
            start, stop, was_cut = corpus.seconds(times, first, last, where)
            cut += was_cut
            keypoints = None
            if points is not None and last < len(points):
                world = points[first : last + 1, :, :3]
                keypoints = corpus.save_keypoints(self.out / split, f"{key}_{number}", world)
                self.hands.setdefault(label, []).append(smg_checks.hands_place(world))
            without += points is not None and keypoints is None
            name = self.names[str(label)]
            extra = {"clip": f"{key}_{number}", "first_frame": first, "last_frame": last, "keypoints": keypoints}
            sample = ClipSample(file_name, name, str(subject), self.defaults[name], start, stop, extra)
            self.clips[split].append(sample)
        if cut:
            self.findings.append(f"{key}: {cut} clips reach beyond the recording and were cut at its end")
        if without:
            self.findings.append(f"{key}: {without} clips reach beyond the skeleton and have no keypoints")

    def compare_lengths(
        self, key: str, frames: int, points: npt.NDArray[np.float32] | None, told: Path | None
    ) -> None:
        lengths = {"recording": frames}
        if points is not None:
            lengths["skeleton"] = len(points)
        for number, *_ in corpus.read_spans(told) if told is not None else ():  # three numbers, as in a label file
            lengths["its data.csv"] = number
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{what} {number}" for what, number in lengths.items())
            self.findings.append(f"{key}: the numbers of frames differ ({listed}); clips may be off in time")
