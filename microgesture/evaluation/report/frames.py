"""Clips of a data set for a report: their frames and their sentences."""

from __future__ import annotations

import json
from collections.abc import Callable
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
        folder: The data set's folder.
        read: `read(path, num_frames, start, end, mirrored=…)` gives frames `(T, H, W, 3)`, as
            `video_fgsgl.read_frames` does.
    """

    folder: Path
    read: Callable[..., Any]
    _data: Any = field(default=None, init=False)

    def confusion_blocks(self, run: Run, scores: Scores, prefix: str) -> list[Block]:
        """A strip of frames with its sentence for each of the worst confusions.

        Raises:
            ValueError: The folder holds another data set, or other clips than were evaluated.
        """
        info = DatasetInfo.read(self.folder)
        if info.name != scores.dataset:
            raise ValueError(
                f"{run.name} was evaluated on {scores.dataset}, but {self.folder} is {info.name}: see --data"
            )
        if self._data is None:
            self._data = load(self.folder)
        rows = self._data.get(scores.split)
        if rows is None or tuple(row_names(self.folder, scores.split, rows)) != scores.clips:
            raise ValueError(
                f"{self.folder} holds other clips in its split {scores.split} than {run.name} was evaluated on: "
                "evaluate the checkpoint again, or give the folder that it was evaluated on"
            )
        blocks: list[Block] = []
        if not info.redistributable:
            text = f"These pictures show people of {info.name}, which may not be passed on: neither may this report."
            blocks.append(Text(text, "warning"))
        sentences = clip_sentences(rows, info.texts)
        for place, found in enumerate(worst_confusions(scores)):
            video, start, end = (rows[found.row][column] for column in ("video", "start", "end"))
            source = video["path"] or video["bytes"]
            seen = self.read(source, frame_count(run.folder), start, end, mirrored=info.mirrored is True).numpy()
            name = f"{prefix}_{scores.split}_confusion_{place + 1}"
            alt, caption = _words(found, info, scores, sentences[found.row], len(seen))
            blocks.append(Picture(name, "image/jpeg", strip(seen), alt, caption, "strip"))
        return blocks


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
