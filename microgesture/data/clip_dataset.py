"""Prepared clips as the Trainer reads them: sampled uint8 frames, label, and the number of the clip's sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import datasets
import torch

from microgesture.data import augment
from microgesture.data.clips import DatasetInfo
from microgesture.data.fg_text import FGText

NO_SENTENCE = -1
NO_LABEL = -1
"""Of a clip whose class nobody has said; training and validation clips have one."""


class FrameSource(Protocol):
    """Gives the sampled frames of a clip, e.g. a `FrameCache`."""

    def get(self, video: Any, start: float | None, end: float | None, mirrored: bool) -> torch.Tensor:
        """Frames `(T, 3, S, S)`, uint8."""


class ClipDataset(torch.utils.data.Dataset):
    """Clips of one split.

    Args:
        split: As `microgesture.data.load` gives it.
        frames: Gives sampled frames.
        sentence_ids: Row of the sentence table per clip, `NO_SENTENCE` where there is none.
        mirrored: Whether the recordings are mirrored (the reader undoes it).
        augmentation: Changes that training clips get; `None` for clips as they are.

    With `flipped`, the label and the sentence number of each clip in a mirror (`None` for a clip that is never
    mirrored), the augmentation mirrors a clip in one of two epochs, at random.
    """

    def __init__(
        self,
        split: datasets.Dataset,
        frames: FrameSource,
        sentence_ids: list[int],
        mirrored: bool = False,
        augmentation: augment.Augmentation | None = None,
    ) -> None:
        if len(sentence_ids) != len(split):
            raise ValueError(f"{len(sentence_ids)} sentence numbers for {len(split)} clips; give one per clip")
        self.clips = list(zip(split["video"], split["start"], split["end"], strict=True))
        self.labels = [NO_LABEL if label is None else label for label in split["label"]]
        # What a teacher says of each clip, where there is one (microgesture/streams/adaptation_data.py).
        self.teacher = split["teacher"] if "teacher" in split.column_names else None
        self.frames, self.sentence_ids, self.mirrored = frames, sentence_ids, mirrored
        self.augmentation = augmentation
        self.flipped: list[tuple[int, int] | None] | None = None
        # In shared memory: workers that live on from epoch to epoch have to see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, counted from 0, that the augmentation is drawn for; before its first clip is read."""
        self._epoch.fill_(epoch)

    def name(self, index: int) -> str:
        """The clip's file, and its span where it has one, to tell a person which it is."""
        video, start, end = self.clips[index]
        span = "" if start is None and end is None else f" from {start} to {end} seconds"
        return (Path(video["path"]).name if video["path"] else f"clip {index}") + span

    def requests(self) -> list[tuple[Any, float | None, float | None, bool]]:
        """What each clip asks of the frame source: video, start, end, mirrored."""
        return [(video["path"] or video["bytes"], start, end, self.mirrored) for video, start, end in self.clips]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        video, start, end = self.clips[index]
        frames = self.frames.get(video["path"] or video["bytes"], start, end, self.mirrored)
        item = {"labels": self.labels[index], "sentence_ids": self.sentence_ids[index], "clip_ids": index}
        if self.augmentation is not None:
            frames, changes = self._augmented(frames, index, self.augmentation)
            item |= changes
        return item | self._taught(index) | {"pixel_values": frames}

    def _taught(self, index: int) -> dict[str, Any]:
        """`teacher (C,)`, in place of the label, where the clip has a teacher and is seen for training."""
        if self.teacher is None or self.augmentation is None:
            return {}
        return {"teacher": torch.tensor(self.teacher[index], dtype=torch.float32)}

    def _augmented(
        self, frames: torch.Tensor, index: int, how: augment.Augmentation
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """Does what is done where clips are read, and notes what is left to do on the device."""
        epoch = int(self._epoch)
        changes: dict[str, Any] = {}
        drawn = augment.draw(how.seed, epoch, index, how.camera)
        if how.vary:
            frames = augment.pick(frames, drawn)
            changes["augmentation"] = drawn
        if how.jpeg:
            frames = augment.degrade(frames, augment.draw_qualities(how.seed, epoch, index, len(frames)))
        if self.flipped is not None:
            other = self.flipped[index] if augment.mirrors(drawn) else None
            changes["flipped"] = other is not None
            if other is not None:
                changes["labels"], changes["sentence_ids"] = other
        return frames, changes


def collate(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Stacks items: `pixel_values (B, T, 3, S, S)` uint8, and `labels`, `sentence_ids`, `clip_ids (B,)`.

    Augmented clips also have `augmentation (B, PARAMETERS)`, and `flipped (B,)` where some are mirrored.
    """
    return {name: torch.stack([torch.as_tensor(item[name]) for item in items]) for name in items[0]}


def fill_cache(cache: Any, splits: list[ClipDataset], quiet: bool = False) -> None:
    """Decodes every clip that is not in the cache yet, with one process per core.

    Args:
        cache: A `FrameCache`.
        splits: The clips.
        quiet: Show no progress bar.

    Raises:
        ValueError: A clip cannot be read; the first ones are named.
        microgesture.disk.NoRoomError: There is no room for the frames.
    """
    failures = cache.fill(
        [row for split in splits for row in split.requests()], workers=os.cpu_count() or 1, disable=quiet
    )
    if failures:
        listed = "\n".join(message for _, message in failures[:20])
        raise ValueError(f"{len(failures)} clips cannot be read; mend or remove them before training:\n{listed}")


def clip_sentences(split: datasets.Dataset, category_texts: list[str], fg_text: str = "fine") -> list[str | None]:
    """The sentence T_fg of each clip.

    Args:
        split: As `microgesture.data.load` gives it.
        category_texts: Category sentences in the order of the class ids.
        fg_text: `fine`: the clip's own FG-Text; `class`: its category's sentence (Table III, "Class-level").

    Returns:
        One sentence per clip, `None` where a clip has no FG-Text.
    """
    if fg_text == "class":
        return [category_texts[label] for label in split["label"]]
    records = [FGText.from_mapping(row) for row in split.remove_columns("video")]
    return [(record.sentence() or None) if record else None for record in records]


def flipped_clips(
    split: datasets.Dataset, info: DatasetInfo, fg_text: str = "fine"
) -> list[tuple[int, str | None] | None]:
    """What each clip is in a mirror: its class id and its sentence.

    Where nobody knows whether the recordings are mirrored (`mirrored: "unknown"`), sentences hold no side words, so
    that mirroring changes the frames and the label only.

    Args:
        split: As `microgesture.data.load` gives it.
        info: Its labels.json.
        fg_text: As for `clip_sentences`.

    Returns:
        One pair per clip, its sentence `None` where a clip has no FG-Text; `None` for a clip that is never mirrored.

    Raises:
        ValueError: No clip may be mirrored.
    """
    labels = info.flip_labels
    pairs: list[tuple[int, str | None] | None] = []
    for row in split.remove_columns("video"):
        label, record = labels[row["label"]], FGText.from_mapping(row)
        if label is None:
            pairs.append(None)
        elif fg_text == "class":
            pairs.append((label, info.texts[label]))
        else:
            pairs.append((label, (record.flipped().sentence() or None) if record else None))
    if not any(pairs):
        raise ValueError(
            f"mirror_clips is on, but labels.json of {info.name} lets no training clip be mirrored: give "
            "classes a flip_label (their own name, or the class they become in a mirror), or leave mirror_clips out"
        )
    return pairs
