"""Prepared clips as the Trainer reads them: sampled uint8 frames, label, and the number of the clip's sentence."""

from __future__ import annotations

import os
from typing import Any, Protocol

import datasets
import torch

from microgesture.data.fg_text import FGText

NO_SENTENCE = -1


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
    """

    def __init__(
        self,
        split: datasets.Dataset,
        frames: FrameSource,
        sentence_ids: list[int],
        mirrored: bool = False,
    ) -> None:
        if len(sentence_ids) != len(split):
            raise ValueError(f"{len(sentence_ids)} sentence numbers for {len(split)} clips; give one per clip")
        self.clips = list(zip(split["video"], split["start"], split["end"], strict=True))
        self.labels = list(split["label"])
        self.frames, self.sentence_ids, self.mirrored = frames, sentence_ids, mirrored

    def requests(self) -> list[tuple[Any, float | None, float | None, bool]]:
        """What each clip asks of the frame source: video, start, end, mirrored."""
        return [(video["path"] or video["bytes"], start, end, self.mirrored) for video, start, end in self.clips]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        video, start, end = self.clips[index]
        return {
            "pixel_values": self.frames.get(video["path"] or video["bytes"], start, end, self.mirrored),
            "labels": self.labels[index],
            "sentence_ids": self.sentence_ids[index],
            "clip_ids": index,
        }


def collate(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Stacks items: `pixel_values (B, T, 3, S, S)` uint8, and `labels`, `sentence_ids`, `clip_ids (B,)`."""
    batch = {name: torch.tensor([item[name] for item in items]) for name in ("labels", "sentence_ids", "clip_ids")}
    return batch | {"pixel_values": torch.stack([item["pixel_values"] for item in items])}


def fill_cache(cache: Any, splits: list[ClipDataset], quiet: bool = False) -> None:
    """Decodes every clip that is not in the cache yet, with one process per core.

    Args:
        cache: A `FrameCache`.
        splits: The clips.
        quiet: Show no progress bar.

    Raises:
        ValueError: A clip cannot be read; the first ones are named.
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
