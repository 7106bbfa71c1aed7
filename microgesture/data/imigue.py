"""iMiGUE (Liu et al., CVPR 2021): tennis players in press conferences, 31 micro-gestures and illustrative gestures.

    SOURCE/…/0001_label.csv                  class number (1 to 31, or 99), first frame, last frame
    SOURCE/…/0001.mp4                        the recording
    SOURCE/…/0001_openpose.xlsx (or .csv)    optional: 137 points × (x, y, confidence) per frame   (MiGA 2025)
    SOURCE/…/0001_light_hand.csv             optional: a number, then 35 points × 3                (MiGA 2023)
    SOURCE/players.csv                       optional, the user's own: video,player

Files are found by their names, in whatever folders they lie. Two protocols: the paper's, by player, and that of the
MiGA challenge, by lists of recordings (datasets/imigue/splits.json, with what is in doubt).
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold
from tqdm import tqdm

from microgesture.data import corpus
from microgesture.data.clips import ClipSample, DatasetInfo, link_file
from microgesture.data.corpus import FrameTimes
from microgesture.data.fg_text import FGText
from microgesture.data.keypoints import read_layout
from microgesture.data.pose_pickle import PosePickle
from microgesture.data.sheet import read_numbers

NAME = "imigue"
PROTOCOLS = ("miga", "paper")
VALIDATIONS = ("official", "players")
PLAYERS_FILE = "players.csv"
_FOLDS = 10


def prepare(
    source: Path,
    out: Path,
    frame_times: FrameTimes,
    protocol: str = "miga",
    validation: str = "official",
    keypoints: Path | None = None,
    progress: bool = True,
) -> list[str]:
    """Makes the data set folder `out` from a copy of iMiGUE, or nothing at all.

    Args:
        source: Folder of the original data.
        out: Folder to make; it must not exist yet, or be empty.
        frame_times: Tells when the frames of a recording are shown.
        protocol: `miga` (4,562 test clips) or `paper` (4,563).
        validation: `official`: the ten recordings of MiGA; `players`: a tenth of the training clips, no player of
            which trains. It needs players.csv.
        keypoints: A pose pickle with one annotation per clip (`0001_0`), instead of the recordings' own files.
        progress: Whether to show a progress bar.

    Returns:
        What was found in this copy, a sentence each; `out/prepared.json` keeps it.

    Raises:
        FileNotFoundError: A label file or a recording is missing.
        FileExistsError: `out` holds something already.
        ValueError: A file is not as expected, or a player-disjoint validation cannot be made.
    """
    card = corpus.card_folder(NAME, "label_map.json", "splits.json")
    names, lists = corpus.read_json(card / "label_map.json"), corpus.read_json(card / "splits.json")
    labels = corpus.find_files(source, r"(\d{4})_label\.csv")
    if not labels:
        raise FileNotFoundError(f"{source} holds no NNNN_label.csv: give the folder of the iMiGUE data set")
    videos = corpus.find_files(source, rf"(\d{{4}})\.{corpus.VIDEO_FILES}")
    corpus.require(
        videos, list(labels), "the recording (NNNN.mp4)", "FG-SGL needs the RGB recordings beside the labels"
    )
    copy = Copy.read(source, labels, names["names"], lists)
    split, findings = copy.splits(protocol, validation)
    poses = _Poses.find(source, keypoints)
    defaults = {c.name: c.default for c in DatasetInfo.read(card).classes}
    maker = _Clips(copy, poses, defaults, frame_times, findings)
    clips: dict[str, list[ClipSample]] = {
        side: [] for side in ("train", "validation", "test") if side in split.values()
    }
    with corpus.new_folder(out) as folder:
        for video in tqdm(sorted(split), desc=f"prepare {NAME}", unit="recording", disable=not progress):
            side = split[video]
            listed = lists["miga_test"].get(video) if protocol == "miga" and side == "test" else None
            clips[side] += maker.of(video, videos[video], folder / side, listed)
        findings += compare_counts(clips, names)
        overlap = copy.overlap(split)
        changes = {
            "protocol": protocol,
            "official_overlap": overlap,
            "keypoints": poses.layout,
            "expected": lists["expected"][protocol] if validation == "official" else None,
        }
        if overlap is True:
            findings.append("a player stands in two splits; every result will say official_overlap: true")
        return corpus.write_dataset(folder, card, clips, changes, findings)


@dataclass(frozen=True)
class Copy:
    """What a user's copy holds.

    Args:
        spans: Recording -> (class number, first frame, last frame) of each of its clips.
        names: Class number, as text, -> class name.
        lists: splits.json.
        players: Recording -> player, where the copy says it.
    """

    spans: Mapping[str, Sequence[tuple[int, int, int]]]
    names: Mapping[str, str]
    lists: Mapping[str, Any]
    players: Mapping[str, str] | None

    @classmethod
    def read(
        cls, source: Path, labels: Mapping[str, Path], names: Mapping[str, str], lists: Mapping[str, Any]
    ) -> Copy:
        """Reads label files and players.csv.

        Raises:
            ValueError: A class number is unknown, or players.csv is not as expected.
        """
        spans = {video: corpus.read_spans(path) for video, path in labels.items()}
        for video, rows in spans.items():
            unknown = sorted({label for label, _, _ in rows if str(label) not in names})
            if unknown and video not in lists["miga_test"]:
                raise ValueError(
                    f"{labels[video]}: the class numbers {unknown} are unknown (1 to 31 and 99 are known)"
                )
        path = source / PLAYERS_FILE
        return cls(spans, names, lists, read_players(path, list(spans)) if path.is_file() else None)

    def splits(self, protocol: str, validation: str) -> tuple[dict[str, str], list[str]]:
        """Recording -> split, and what is to be said about it.

        Raises:
            ValueError: A player-disjoint validation is asked for and the copy does not name players.
        """
        findings: list[str] = []
        listed, test = self.lists["miga_validation"], self.lists["miga_test"]
        split = {v: "test" if v in test else "validation" if v in listed else "train" for v in self.spans}
        if self.players is None:
            if validation == "players":
                raise ValueError(
                    "a player-disjoint validation cannot be made: this copy does not say who is seen in which "
                    f"recording. Put a file {PLAYERS_FILE} with the columns video,player into the folder of the data, "
                    "or leave --validation players out"
                )
            findings.append(
                f"this copy does not say who is seen in which recording (no {PLAYERS_FILE}): each recording counts as "
                "a person of its own, a player-disjoint validation cannot be made, and nobody knows whether players "
                "of the validation split are in training"
            )
            if protocol == "paper":
                findings.append(f"paper protocol without {PLAYERS_FILE}: {self.lists['doubt'][0]}")
        else:
            if protocol == "paper":
                split = self.paper_test(split, self.players)
            if validation == "players":
                split = self.disjoint_validation(split, self.players)
        withheld = self.withheld(split)
        if withheld:
            findings.append(
                f"the classes of the {len(withheld)} test recordings are withheld in this copy; "
                "the data set has no test split"
            )
        return {v: side for v, side in split.items() if v not in withheld}, findings

    def paper_test(self, split: Mapping[str, str], players: Mapping[str, str]) -> dict[str, str]:
        """The paper's protocol: the players that it does not list for training are for test.

        Raises:
            ValueError: The players are not named by their numbers in the paper.
        """
        numbers = {str(number) for number in range(1, self.lists["players"] + 1)}
        strange = sorted({players[v] for v in split} - numbers)
        if strange:
            raise ValueError(
                f"the paper's protocol needs its own numbers of the players, 1 to {len(numbers)}, in {PLAYERS_FILE}; "
                f"it says {', '.join(strange[:5])}"
            )
        train = {str(number) for number in self.lists["paper_train_players"]}
        sides = {v: "validation" if side == "validation" else "train" for v, side in split.items()}
        return {v: side if players[v] in train else "test" for v, side in sides.items()}

    def disjoint_validation(self, split: Mapping[str, str], players: Mapping[str, str]) -> dict[str, str]:
        """Takes about a tenth of the clips that are not for test as validation, by whole players.

        Raises:
            ValueError: There are less than two players.
        """
        pool = [v for v, side in split.items() if side != "test"]
        groups = [players[v] for v in pool for _ in self.spans[v]]
        folds = min(_FOLDS, len(set(groups)))
        if folds < 2:
            raise ValueError(f"a player-disjoint validation needs two players at least; {PLAYERS_FILE} names {folds}")
        _, chosen = next(GroupKFold(folds).split(groups, groups=groups))
        validation = {groups[place] for place in chosen}
        return dict(split) | {v: "validation" if players[v] in validation else "train" for v in pool}

    def withheld(self, split: Mapping[str, str]) -> set[str]:
        """The test recordings, if their class numbers are all alike or all unknown, as in MiGA's second phase.

        Raises:
            ValueError: Only some are unknown.
        """
        test = {v for v, side in split.items() if side == "test" and self.spans[v]}
        numbers = {str(label) for v in test for label, _, _ in self.spans[v]}
        unknown = sorted(numbers - set(self.names))
        if len(numbers) == 1 or len(unknown) == len(numbers):
            return test
        if unknown:
            raise ValueError(f"the class numbers {unknown} of test recordings are unknown (1 to 31 and 99 are known)")
        return set()

    def subject(self, video: str) -> str:
        """Who is seen: the player, or the recording where the copy does not say."""
        return self.players[video] if self.players is not None else video

    def overlap(self, split: Mapping[str, str]) -> bool | str:
        """Whether somebody stands in two splits; `"unknown"` where the copy does not name players."""
        if self.players is None:
            return "unknown"
        sides = {(self.players[v], side) for v, side in split.items()}
        return len(sides) > len({player for player, _ in sides})


def read_players(path: Path, videos: Sequence[str]) -> dict[str, str]:
    """Reads players.csv (video,player).

    Raises:
        ValueError: A column or a recording is missing.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if not {"video", "player"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{path} must begin with the line video,player; it has the columns {reader.fieldnames}")
        players = {row["video"].strip().zfill(4): row["player"].strip() for row in reader}
    missing = [video for video in videos if not players.get(video)]
    if missing:
        raise ValueError(f"{path} names no player for {len(missing)} recordings: {', '.join(missing[:8])}; add them")
    return players


def compare_counts(clips: Mapping[str, Sequence[ClipSample]], names: Mapping[str, Any]) -> list[str]:
    """Compares the clips per class with the published label files of MiGA."""
    findings = []
    for split, published in names["published_counts"].items():
        held = Counter(clip.label for clip in clips.get(split, ()))
        if sum(held.values()) != sum(published.values()):
            continue  # another copy or protocol: the number of clips has been reported
        different = [name for key, name in names["names"].items() if held[name] != published[key]]
        findings.append(
            f"{split}: clips per class differ from the published ones for {different}; is label_map.json right?"
            if different
            else f"{split}: clips per class are the published ones"
        )
    return findings


class _Poses:
    """Where the keypoints of the clips come from."""

    def __init__(self, layout: str | None, files: Mapping[str, Path], pickle: PosePickle | None) -> None:
        self.layout, self.files, self.pickle = layout, files, pickle

    @classmethod
    def find(cls, source: Path, keypoints: Path | None) -> _Poses:
        if keypoints is not None:
            pickle = PosePickle.read(keypoints)
            return cls(pickle.layout.name, {}, pickle)
        all_points = corpus.find_files(source, r"(\d{4})_openpose\.xlsx")
        all_points |= corpus.find_files(source, r"(\d{4})_openpose\.csv")  # read faster, so preferred
        if all_points:
            return cls("openpose_137", all_points, None)
        few_points = corpus.find_files(source, r"(\d{4})_light_hand\.csv")
        if few_points:
            return cls("openpose_35", few_points, None)
        return cls(None, {}, None)

    def of_recording(self, video: str) -> npt.NDArray[np.float32] | None:
        """All frames of a recording, `(F, J, 3)`, `None` where there are none."""
        if self.layout is None or video not in self.files:
            return None
        joints = len(read_layout(self.layout).names)
        numbered = self.layout == "openpose_35"  # its first column numbers the frames
        return read_numbers(self.files[video], joints * 3 + numbered)[:, int(numbered) :].reshape(-1, joints, 3)


@dataclass(frozen=True)
class _Clips:
    """Makes the clips of one recording after the other, and notes what is odd."""

    copy: Copy
    poses: _Poses
    defaults: Mapping[str, FGText | None]
    frame_times: FrameTimes
    findings: list[str]

    def of(self, video: str, recording: Path, folder: Path, listed: int | None) -> list[ClipSample]:
        """The first `listed` clips of a recording, or all; its file and keypoints are put into `folder`."""
        file_name = f"recordings/{video}{recording.suffix.lower()}"
        link_file(recording, folder / file_name)
        times, points = self.frame_times(recording), self.poses.of_recording(video)
        rows, names = self.copy.spans[video], self.copy.names
        clips: list[ClipSample] = []
        cut = without = 0
        for number, (label, first, last) in enumerate(rows[:listed]):
            start, stop, was_cut = corpus.seconds(times, first, last, f"{video}_label.csv row {number + 1}")
            cut += was_cut
            clip, saved = f"{video}_{number}", None
            if self.poses.pickle is not None and clip in self.poses.pickle:
                saved = corpus.save_keypoints(folder, clip, self.poses.pickle.points(clip))
            elif points is not None and last < len(points):
                saved = corpus.save_keypoints(folder, clip, points[first : last + 1])
            without += self.poses.layout is not None and saved is None
            extra = {"clip": clip, "first_frame": first, "last_frame": last, "keypoints": saved}
            name = names[str(label)]
            subject = self.copy.subject(video)
            clips.append(ClipSample(file_name, name, subject, self.defaults[name], start, stop, extra))
        rate = corpus.odd_rate(times, self.copy.lists["frames_per_second"])
        if rate:
            self.note(video, rate)
        if points is not None and len(points) != len(times) - 1:
            self.note(video, f"{len(points)} frames of keypoints, {len(times) - 1} of video; clips may be off in time")
        if cut:
            self.note(video, f"{cut} clips reach beyond the recording and were cut at its end")
        if without:
            self.note(video, f"{without} clips have no keypoints")
        if listed is not None and listed != len(rows):
            self.note(
                video, f"{len(rows)} clips, MiGA lists {listed}" + ("; the others are left out" * (len(rows) > listed))
            )
        return clips

    def note(self, video: str, finding: str) -> None:
        self.findings.append(f"{video}: {finding}")
