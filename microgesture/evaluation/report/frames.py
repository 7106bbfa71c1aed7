"""Clips of a data set for a report: their frames and their sentences."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from microgesture.data import load
from microgesture.data.clip_dataset import clip_sentences
from microgesture.data.clips import DatasetInfo
from microgesture.evaluation.report.confusions import Confusion, strip, worst_confusions
from microgesture.evaluation.report.page import Block, Picture, Text
from microgesture.evaluation.report.runs import Run
from microgesture.evaluation.score_file import Scores, row_names

MOST_FRAMES = 8


@dataclass
class Frames:
    """Shows clips.

    Args:
        folders: Data set folders.
        read: `read(path, num_frames, start, end, mirrored=…)` gives frames `(T, H, W, 3)`, as
            `video_fgsgl.read_frames` does.
    """

    folders: Sequence[Path]
    read: Callable[..., Any]
    used: bool = field(default=False, init=False)
    _data: dict[Path, Any] = field(default_factory=dict, init=False)

    def confusion_blocks(self, run: Run, scores: Scores, name: str) -> list[Block]:
        """A strip of frames with its sentence for each of the worst confusions.

        Args:
            run: The run.
            scores: Of the split.
            name: What the files of the pictures begin with.
        """
        folder = next((folder for folder in self.folders if self._holds(folder, scores)), None)
        if folder is None:
            text = "No frames here: none of the folders given with --data holds the clips that it was evaluated on."
            return [Text(text, "note")]
        self.used = True
        info, rows = DatasetInfo.read(folder), self._data[folder][scores.split]
        blocks: list[Block] = []
        if not info.redistributable:
            text = f"These pictures show people of {info.name}, which may not be passed on: neither may this report."
            blocks.append(Text(text, "warning"))
        sentences = clip_sentences(rows, info.texts)
        for place, found in enumerate(worst_confusions(scores)):
            video, start, end = (rows[found.row][column] for column in ("video", "start", "end"))
            source = video["path"] or video["bytes"]
            seen = self.read(source, frame_count(run.folder), start, end, mirrored=info.mirrored is True).numpy()
            alt, caption = _words(found, info, scores, sentences[found.row], len(seen))
            blocks.append(Picture(f"{name}_{place + 1}", "image/jpeg", strip(seen), alt, caption, "strip"))
        return blocks

    def _holds(self, folder: Path, scores: Scores) -> bool:
        """Whether a folder has the very clips: data sets of one generator may have the same names."""
        info = DatasetInfo.read(folder)
        if info.name != scores.dataset or tuple(info.names) != scores.classes:
            return False
        if folder not in self._data:
            self._data[folder] = load(folder)
        rows = self._data[folder].get(scores.split)
        if rows is None or tuple(row_names(folder, scores.split, rows)) != scores.clips:
            return False
        return tuple(rows["subject"]) == scores.subjects and list(rows["label"]) == scores.labels.tolist()


def frame_count(folder: Path) -> int:
    """As many frames as the network samples, but no more than can be seen side by side."""
    path = folder / "preprocessor_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return min(int(settings.get("num_frames", MOST_FRAMES)), MOST_FRAMES)


def _words(found: Confusion, info: DatasetInfo, scores: Scores, sentence: str | None, frames: int) -> tuple[str, str]:
    true, said = info.classes[found.true], info.classes[found.predicted]
    own = f"Its own sentence: “{sentence}”" if sentence else f"It has no FG-Text; its class's sentence: “{true.text}”"
    caption = (
        f"{true.name} taken for {said.name}: {found.count} of {found.total} clips. Shown: {scores.clips[found.row]}, "
        f"{scores.subjects[found.row]}, for which the model gives {said.name} {found.probability:.0%}. {own} "
        f"The sentence of the class that was said: “{said.text}”"
    )
    return f"{frames} frames, evenly spread over a clip of {true.name} that was taken for {said.name}.", caption


def no_frames() -> list[Block]:
    """What stands where frames would."""
    return [Text("No frames here: the report was made without --data, the folder of the data set.", "note")]
