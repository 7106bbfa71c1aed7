"""The picture of the README: some classes, four frames of one clip each, and what the coder wrote about it."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np

from microgesture.data.fg_text import FGText

SHOWN = (
    "Turtling neck and shoulder", "Rubbing eyes and forehead", "Folding arms", "Crossing legs", "Arms akimbo",
    "Playing or adjusting hair",
)  # fmt: skip
_FRAMES, _SIDE = 4, 150


def write_picture(out: Path, picture: Path) -> None:
    """Writes a PNG of 6 classes with 4 frames each.

    Args:
        out: A folder of `generate`.
        picture: The file.

    Raises:
        ModuleNotFoundError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the picture needs matplotlib: pip install matplotlib") from error
    rows = [json.loads(line) for line in (out / "test" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    columns, lines = 2, (len(SHOWN) + 1) // 2
    figure = Figure(figsize=(columns * (_FRAMES * _SIDE + 20) / 100, lines * (_SIDE + 48) / 100), dpi=100)
    figure.patch.set_facecolor("white")
    for number, label in enumerate(SHOWN):
        # The first clip that is whole: not cut into the movement, nothing in front, and nothing left out by the coder.
        row = next(
            r for r in rows
            if r["label"] == label and r["nuisance"]["onset"] >= 0 and r["nuisance"]["occluder"] == "none"
            and r["receiver"] and r["direction"] and r["motion_type"]
        )  # fmt: skip
        axes = figure.add_subplot(lines, columns, number + 1)
        axes.imshow(_strip(out / "test" / row["file_name"]))
        axes.set_axis_off()
        text = FGText.from_mapping(row)
        axes.set_title(label, fontsize=11, loc="left", pad=4)
        axes.text(0, _SIDE + 4, text.sentence() if text else "", fontsize=9.5, va="top", color="0.25")
    figure.subplots_adjust(left=0.01, right=0.99, top=0.95, bottom=0.04, wspace=0.03, hspace=0.28)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture)


def _strip(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    picked = np.linspace(0, len(frames) * 0.78, _FRAMES).round().astype(int)
    return np.concatenate(
        [frames[i].reformat(_SIDE, _SIDE, "rgb24", interpolation="AREA").to_ndarray() for i in picked], 1
    )
