"""Pictures of what the network looks at: the boxes that were given, and what carried a decision."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
GIVEN, SEEN = (255, 200, 0), (0, 255, 0)


def drawn(picture: Picture, boxes: list[tuple[tuple[int, int, int, int], tuple[int, int, int]]]) -> Picture:
    """A picture `(H, W, 3)` with frames of boxes `(x, y, width, height)` in their colours."""
    out = picture.copy()
    thick = max(1, min(picture.shape[:2]) // 150)
    for (x, y, w, h), colour in boxes:
        part = out[y : y + h, x : x + w]
        edge = min(thick, w, h)
        part[:edge], part[-edge:], part[:, :edge], part[:, -edge:] = colour, colour, colour, colour
    return out


def write_png(path: Path, picture: Picture) -> None:
    """Writes `(H, W, 3)` as PNG that nobody ever sees half of."""
    codec = av.CodecContext.create("png", "w")
    codec.height, codec.width = picture.shape[:2]
    codec.pix_fmt, codec.time_base = "rgb24", Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    data = b"".join(bytes(packet) for packet in (*codec.encode(frame), *codec.encode(None)))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(data)
    os.replace(partial, path)


def write_mp4(path: Path, pictures: Picture, fps: float) -> None:
    """Writes `(T, H, W, 3)` as H.264 that nobody ever sees half of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options={"crf": "18"})
        stream.pix_fmt = "yuv420p"
        stream.height, stream.width = (size + size % 2 for size in pictures.shape[1:3])  # H.264 needs even
        padded = np.pad(pictures, ((0, 0), *((0, size % 2) for size in pictures.shape[1:3]), (0, 0)), mode="edge")
        for picture in padded:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    os.replace(partial, path)


def explanations(pipe: Any, result: dict[str, Any], mirrored: bool, place: Path) -> Iterator[Path]:
    """Writes what carried each decision of a file: the frames side by side as PNG, and one after the other as mp4.

    Args:
        pipe: The pipeline.
        result: What was found in the file.
        mirrored: Whether the camera stored a mirror image.
        place: The files, but for a number and their ending.

    Yields:
        The files.
    """
    names = set(pipe.model.config.id2label.values())
    for number, segment in enumerate(result["segments"], start=1):
        label = segment["label"] if segment["label"] in names else None  # `unknown`: what it was most like
        span = {"start": segment["start"], "end": segment["end"]} if "top" not in result else {}
        found = pipe.explain(result["file"], mirrored=mirrored, label=label, **span)
        side = found.picture.shape[0]
        frames = np.stack(np.split(found.picture, found.picture.shape[1] // side, axis=1))
        for suffix in (".png", ".mp4"):
            path = place.with_name(f"{place.name}_{number:03d}{suffix}")
            if suffix == ".png":
                write_png(path, found.picture)
            else:
                write_mp4(path, frames, len(frames) / max(segment["end"] - segment["start"], 0.04))
            yield path
