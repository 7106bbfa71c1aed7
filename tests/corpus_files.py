"""Raw folders in the layouts in which the corpora are published, a few clips each, for the tests of `prepare`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from video_fgsgl import read_frames


def numbered_video(path: Path, frames: int, fps: int = 25, milliseconds: list[int] | None = None) -> Path:
    """A video whose frame k is grey of 16 + 3 k, so that what is read back tells which frame it is."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"qp": "0", "threads": "1"})
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        base = Fraction(1, fps) if milliseconds is None else Fraction(1, 1000)
        stream.codec_context.time_base = base
        for number in range(frames):
            picture = np.full((16, 16, 3), 16 + 3 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = (number if milliseconds is None else milliseconds[number]), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frames_shown(row: dict, folder: Path, number: int) -> list[int]:
    """Which frames of a `numbered_video` a clip of a data set shows."""
    frames = read_frames(folder / row["file_name"], number, row["start"], row["end"])
    return [round((int(frame.float().mean()) - 16) / 3) for frame in frames]


def csv(path: Path, rows: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def link(path: Path, source: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.hardlink_to(source)
    return path
