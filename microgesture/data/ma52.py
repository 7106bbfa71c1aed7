"""MA-52 (Guo et al., TCSVT 2024): 205 people in psychological interviews, 52 micro-actions of the whole body.

    SOURCE/…/train_list_videos.txt           0003_01_0005.mp4 8: file and class; likewise val_ and test_list_videos.txt
    SOURCE/…/0003_01_0005.mp4                one clip each: person, part of the body, number

Files are found by their names, in whatever folders they lie. The published split is kept as published. It is not by
person: people of the validation list train as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from microgesture.data import corpus
from microgesture.data.clips import ClipSample, DatasetInfo, link_file
from microgesture.data.pose_pickle import PosePickle

NAME = "ma52"
LISTS = {"train": "train", "val": "validation", "test": "test"}
NOBODY = "not published"
_CLIP = re.compile(r"(\d{4})_(\d{2})_\d+")


def prepare(source: Path, out: Path, keypoints: Path | None = None, progress: bool = True) -> list[str]:
    """Makes the data set folder `out` from a copy of MA-52, or nothing at all.

    Args:
        source: Folder of the original data, its archives unpacked.
        out: Folder to make; it must not exist yet, or be empty.
        keypoints: A pose pickle with one annotation per clip (`0003_01_0005`).
        progress: Whether to show a progress bar.

    Returns:
        What was found in this copy, a sentence each; `out/prepared.json` keeps it.

    Raises:
        FileNotFoundError: A list or a clip is missing.
        FileExistsError: `out` holds something already.
        ValueError: A file is not as expected.
    """
    card = corpus.card_folder(NAME, "splits.json")
    info, groups = DatasetInfo.read(card), corpus.read_json(card / "splits.json")["body_parts"]
    lists = corpus.find_files(source, rf"({'|'.join(LISTS)})_list_videos\.txt")
    corpus.require(lists, ["train", "val"], "the list NAME_list_videos.txt", "it is published with the authors' code")
    findings: list[str] = []
    rows = {LISTS[key]: read_list(path, info) for key, path in lists.items()}
    if "test" in rows and len(set(rows["test"].values())) == 1:
        findings.append(
            f"the classes of the {len(rows.pop('test'))} test clips are withheld; the data set has no test split"
        )
    videos = corpus.find_files(source, rf"(.*)\.{corpus.VIDEO_FILES}")
    wanted = [name for listed in rows.values() for name in listed]
    corpus.require(
        videos, wanted, "the clip", "Unpack train.zip, val.zip and test.zip of the data set into its folder"
    )
    poses = PosePickle.read(keypoints) if keypoints is not None else None
    findings += check_parts(rows, groups)
    clips: dict[str, list[ClipSample]] = {split: [] for split in rows}
    with (
        corpus.new_folder(out) as folder,
        tqdm(total=len(wanted), desc=f"prepare {NAME}", unit="clip", disable=not progress) as bar,
    ):
        without = 0
        for split, listed in rows.items():
            for name, label in listed.items():
                file_name = f"clips/{name}{videos[name].suffix.lower()}"
                link_file(videos[name], folder / split / file_name)
                saved = None
                if poses is not None and name in poses:
                    saved = corpus.save_keypoints(folder / split, name, poses.points(name))
                without += poses is not None and saved is None
                default, extra = info.classes[label].default, {"clip": name, "keypoints": saved}
                clips[split].append(ClipSample(file_name, info.names[label], person(name), default, extra=extra))
                bar.update()
        if without:
            findings.append(f"{without} clips have no keypoints in {keypoints}")
        shared = sorted(set.intersection(*({person(name) for name in rows[side]} for side in ("train", "validation"))))
        if shared:
            findings.append(
                f"{len(shared)} people of the validation list train as well (such as {', '.join(shared[:3])}); every "
                "result will say official_overlap: true"
            )
        layout = poses.layout.name if poses is not None else None
        changes = {"official_overlap": bool(shared), "keypoints": layout}
        return corpus.write_dataset(folder, card, clips, changes, findings)


def person(name: str) -> str:
    """Who is seen in a clip: the first number of its name, which the test clips (`test0000`) do not have."""
    match = _CLIP.fullmatch(name)
    return match[1] if match else NOBODY


def read_list(path: Path, info: DatasetInfo) -> dict[str, int]:
    """Reads a list of clips: clip name without its ending -> class id.

    Raises:
        ValueError: A line is not a file name and a class id, or a clip stands twice.
    """
    rows: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        file_name, _, label = line.strip().rpartition(" ")
        name = Path(file_name).stem
        if not name or not label.isdigit() or int(label) >= len(info.classes):
            raise ValueError(
                f"{path} line {number}: expected a file and a class 0 to {len(info.classes) - 1}, got {line!r}"
            )
        if name in rows:
            raise ValueError(f"{path} line {number}: {name} is listed twice; remove one")
        rows[name] = int(label)
    return rows


def check_parts(rows: Mapping[str, Mapping[str, int]], groups: Mapping[str, list[int]]) -> list[str]:
    """Compares the part of the body in the clips' names with the class."""
    order = list(groups.values())
    odd = [
        name
        for listed in rows.values()
        for name, label in listed.items()
        if (match := _CLIP.fullmatch(name))
        and (int(match[2]) >= len(order) or label not in range(*_open(order[int(match[2])])))
    ]
    if odd:
        return [f"{len(odd)} clips are named for another part of the body than their class, such as {odd[0]}"]
    return ["every clip is named for the part of the body that its class is of"]


def _open(bounds: list[int]) -> tuple[int, int]:
    return bounds[0], bounds[1] + 1
