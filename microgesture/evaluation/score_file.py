"""The scores of a checkpoint on every clip of a split, in one file: what is compared, fused and handed in.

`scores_<split>.safetensors` holds `logits (N, C)` float32 and `labels (N,)` int64. Its header holds `dataset`,
`split` and `weights` (a digest of the checkpoint's weights), and as JSON lists `clips` (N unique names), `subjects`
(N) and `classes` (C names); `transductive` stands there where the checkpoint was adapted to clips of the split. Any
program can read it:

    with safe_open(path, "numpy") as file:
        logits, clips = file.get_tensor("logits"), json.loads(file.metadata()["clips"])
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from microgesture.evaluation.tensor_file import read_tensors, write_tensors

FORMAT = "fgsgl-scores-1"
HEADER = ("dataset", "split", "weights", "classes", "clips", "subjects")


def score_path(folder: Path, split: str) -> Path:
    """Where the scores of a split lie in a checkpoint's folder."""
    return folder / f"scores_{split}.safetensors"


def weights_digest(folder: Path) -> str:
    """A digest of the weights in a checkpoint's folder: scores made with others are no scores of this checkpoint.

    Empty for a folder without weights, such as that of a fusion.
    """
    digest, paths = hashlib.sha256(), sorted(folder.glob("model*.safetensors"))
    if not paths:
        return ""
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def scores_of(folder: Path, split: str) -> Scores:
    """The scores of a checkpoint on a split.

    Raises:
        FileNotFoundError: It was not evaluated on that split.
        ValueError: It was, but with other weights than it has now; or as for `Scores.read`.
    """
    scores = Scores.read(score_path(folder, split))
    if scores.weights != weights_digest(folder):
        raise ValueError(
            f"{folder} has been trained again since its scores were written: evaluate it on {split} again"
        )
    return scores


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of a split, clip by clip.

    Args:
        dataset: Name of the data set.
        split: Name of the split.
        classes: Class names in the order of their ids, C of them.
        clips: A name per clip, unique within the split.
        subjects: Who is seen in each clip.
        labels: True class ids `(N,)`, int64.
        logits: Scores before softmax `(N, C)`, float32.
        weights: What `weights_digest` says of the checkpoint; empty where scores come from elsewhere.
        transductive: Whether the checkpoint was adapted to clips of this split, without their labels.

    Raises:
        ValueError: The lengths do not fit, a clip stands twice, or a score is not finite.
    """

    dataset: str
    split: str
    classes: tuple[str, ...]
    clips: tuple[str, ...]
    subjects: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]
    weights: str = ""
    transductive: bool = False

    def __post_init__(self) -> None:
        N, C = len(self.clips), len(self.classes)
        found = (len(self.subjects), self.labels.shape, self.logits.shape)
        if found != (N, (N,), (N, C)):
            raise ValueError(
                f"{N} clips and {C} classes need {N} subjects, labels ({N},) and logits ({N}, {C}), got {found[0]} "
                f"subjects, labels {found[1]} and logits {found[2]}"
            )
        if len(set(self.clips)) < N:
            twice = next(clip for clip in self.clips if self.clips.count(clip) > 1)
            raise ValueError(f"clip {twice!r} stands twice; every clip has one row")
        bad = ~np.isfinite(self.logits).all(1)
        if bad.any():
            raise ValueError(
                f"the scores of {int(bad.sum())} clips are not finite, such as {self.clips[int(bad.argmax())]}: the "
                "model has diverged; use an earlier checkpoint"
            )

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all."""
        about = {"dataset": self.dataset, "split": self.split, "weights": self.weights}
        lists = {name: list(getattr(self, name)) for name in ("classes", "clips", "subjects")}
        about |= {name: json.dumps(values, ensure_ascii=False) for name, values in lists.items()}
        about |= {"transductive": "yes"} if self.transductive else {}
        logits, labels = self.logits.astype(np.float32), self.labels.astype(np.int64)
        write_tensors(path, FORMAT, about, {"logits": logits, "labels": labels})

    @classmethod
    def read(cls, path: Path) -> Scores:
        """Reads such a file.

        Raises:
            FileNotFoundError: There is none.
            ValueError: It is no score file, or as for the class.
        """
        about, (labels, logits) = read_tensors(path, FORMAT, "scores", HEADER, ("labels", "logits"))
        classes, clips, subjects = (tuple(json.loads(about[name])) for name in ("classes", "clips", "subjects"))
        return cls(
            about["dataset"], about["split"], classes, clips, subjects, labels, logits, about["weights"],
            "transductive" in about,
        )  # fmt: skip


def clip_names(files: Sequence[str], spans: Sequence[tuple[float | None, float | None]]) -> list[str]:
    """A unique name per clip: its file, with the span as a media fragment (`#t=1.5,3.0`) where it has one.

    Args:
        files: The file of each clip, relative to the split.
        spans: Start and end of each in seconds.

    Returns:
        One name per clip; rows that show the same span of the same file are told apart by `#2`, `#3`, ….
    """
    names: list[str] = []
    seen: dict[str, int] = {}
    for file, (start, end) in zip(files, spans, strict=True):
        plain = start is None and end is None
        name = file if plain else f"{file}#t={start or 0.0},{'' if end is None else end}"
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names


def row_names(folder: Path, split: str, rows: Any) -> list[str]:
    """The names of the clips of a split: the column `clip` where there is one, else the file and its span.

    Args:
        folder: The data set's folder.
        split: Name of the split.
        rows: The split, as `microgesture.data.load` gives it.
    """
    if "clip" in rows.column_names:
        return [str(name) for name in rows["clip"]]
    place = folder.resolve() / split
    files = [Path(video["path"]).relative_to(place).as_posix() for video in rows["video"]]
    return clip_names(files, list(zip(rows["start"], rows["end"], strict=True)))


def same_clips(first: Scores, second: Scores) -> Scores:
    """`second` with its rows in the order of `first`.

    Raises:
        ValueError: They are not scores of the same clips with the same classes and labels.
    """
    if first.classes != second.classes:
        raise ValueError(f"the two checkpoints know other classes: {sorted(set(first.classes) ^ set(second.classes))}")
    rows = {clip: row for row, clip in enumerate(second.clips)}
    if set(rows) != set(first.clips):
        odd = sorted(set(rows) ^ set(first.clips))
        raise ValueError(
            f"the two score files hold other clips: {len(odd)} stand in one of them only, such as {odd[0]}"
        )
    order = np.array([rows[clip] for clip in first.clips])
    if not np.array_equal(second.labels[order], first.labels):
        raise ValueError("the two score files give a clip different labels: evaluate both on the same data set")
    subjects = tuple(second.subjects[row] for row in order)
    return replace(
        second, clips=first.clips, subjects=subjects, labels=second.labels[order], logits=second.logits[order]
    )
