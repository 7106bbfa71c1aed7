"""Frames -> an H.264 file, the same bytes for the same frames and settings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]], fps: int, preset: str, crf: int) -> None:
    """Writes frames `(H, W, 3)` as H.264 in MP4.

    One thread, because x264's output depends on their number; `cpu-independent`, because its vector code for mbtree
    (from preset `veryfast` on) gave several different files for the same frames; the plain code gives one, as fast.
    """
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = None
        for frame in frames:
            if stream is None:
                options = {"preset": preset, "crf": str(crf), "x264-params": "threads=1:cpu-independent=1"}
                stream = container.add_stream("libx264", rate=fps, options=options)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.thread_count = 1
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        if stream is not None:
            container.mux(stream.encode())
