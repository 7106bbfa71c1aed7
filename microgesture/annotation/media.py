"""The videos that coders see: the very frames that the network sees, under a name that tells nothing."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import numpy.typing as npt

PIECE_BYTES = 128 << 20  # of frames that are in memory at once


class VideoReader(Protocol):
    """What is needed of the module `video_fgsgl`."""

    def probe(self, video: Any) -> Any:
        """Size, frame rate and duration of a video."""

    def read_frames(
        self, video: Any, num_frames: int, start: float | None, end: float | None, *, mirrored: bool
    ) -> Any:
        """Frames of a span `(T, H, W, 3)`, uint8."""


def write_clip(
    reader: VideoReader, video: Path, start: float | None, end: float | None, mirrored: bool, out: Path
) -> tuple[int, float]:
    """Writes a span of a video as a file that every browser and ELAN play: MP4, H.264, constant frame rate.

    The frames are upright and un-mirrored, as the network gets them. Sound and the file's own notes are left out.

    Args:
        reader: The module `video_fgsgl`.
        video: The video.
        start: Seconds, `None` for its start.
        end: Seconds, `None` for its end.
        mirrored: Whether the camera stored a mirror image; it is turned back.
        out: The file to write.

    Returns:
        How long the written video is, in milliseconds, and its frames per second.

    Raises:
        ValueError: The video cannot be read, or not in this span (the reader's `VideoError`).
    """
    about = reader.probe(video)
    first, last = start or 0.0, about.duration if end is None else end
    rate = Fraction(about.fps).limit_denominator(1001)
    count = max(1, round((last - first) * rate))
    with av.open(str(out), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        stream.height, stream.width = (size + size % 2 for size in (about.height, about.width))  # H.264 needs even
        for frames in _pieces(reader, video, count, first, last, mirrored, 3 * about.height * about.width):
            padded = np.pad(frames, ((0, 0), (0, about.height % 2), (0, about.width % 2), (0, 0)), mode="edge")
            for picture in padded:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return round(1000 * count / rate), float(rate)


def _pieces(
    reader: VideoReader, video: Path, count: int, first: float, last: float, mirrored: bool, frame_bytes: int
) -> Iterator[npt.NDArray[np.uint8]]:
    """The frames of a span, some seconds at a time: a long one would not fit into memory."""
    size = max(1, PIECE_BYTES // frame_bytes)
    for begin in range(0, count, size):
        end = min(begin + size, count)
        span = (first + (last - first) * place / count for place in (begin, end))
        yield reader.read_frames(video, end - begin, *span, mirrored=mirrored).numpy()
