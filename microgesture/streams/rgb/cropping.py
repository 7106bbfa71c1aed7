"""`microgesture crop DATA --out OUT`: a data set whose clips are cropped to the hands and the face.

Any recipe trains on it as on the data set itself. Each row becomes a file of its own, with square frames, at the
clip's mean frame rate. Keypoints are left out, as they say where points lie in the whole frames.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from contextlib import closing
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from tqdm import tqdm

from microgesture.data import load
from microgesture.data.clips import LABELS_FILE, METADATA_FILE, write_text
from microgesture.data.fingerprint import fingerprint
from microgesture.data.keypoints import Layout
from microgesture.data.made_by import settle
from microgesture.streams.adaptation_data import read_rows
from microgesture.streams.keypoint_clips import COLUMN, layout_of, read_points
from microgesture.streams.rgb.saliency import SaliencyCrop, followed, visible

MADE_BY = "crop.json"
CRF = "12"  # of H.264; hardly to be seen, and the reader decodes it again


def crop_data(dataset: Path, out: Path, crop: SaliencyCrop, size: int, reader: Any) -> dict[str, int]:
    """Writes the cropped data set; clips that are there already are kept, so it goes on where it was stopped.

    `crop.json` says there of which data, and how, they are made.

    Args:
        dataset: A data set folder.
        out: The folder to make.
        crop: How boxes are made.
        size: Side of the frames that are written, in pixels; even.
        reader: The module `video_fgsgl`.

    Returns:
        Clips of each split.

    Raises:
        ValueError: `out` is the data set itself, or holds something else than what these settings make of it; the
            size is odd, or a clip cannot be read.
    """
    if out.resolve() == dataset.resolve():
        raise ValueError(f"--out is {out}, the data set itself; name another folder")
    if size < 16 or size % 2:
        raise ValueError(f"--size is {size}; frames need an even number of pixels, 16 or more")
    data = load(dataset)
    settle(out / MADE_BY, {"dataset": fingerprint(dataset), "size": size, **asdict(crop)}, "files")
    labels = json.loads((dataset / LABELS_FILE).read_text(encoding="utf-8"))
    labels.pop("keypoints", None)
    for split, rows in data.items():
        layout = layout_of(dataset, split, rows) if COLUMN in rows.column_names and any(rows[COLUMN]) else None
        written = read_rows(dataset, split)
        (out / split / "clips").mkdir(parents=True, exist_ok=True)
        for number, row in enumerate(tqdm(written, desc=f"cropping {split}", unit="clip")):
            name = f"clips/{number:06d}.mp4"
            if not (out / split / name).is_file():
                _crop_clip(dataset / split, row, layout, out / split / name, crop, size, reader)
            row.pop(COLUMN, None)
            row |= {"file_name": name, "start": None, "end": None}
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in written)
        write_text(out / split / METADATA_FILE, lines)
    write_text(out / LABELS_FILE, json.dumps(labels, ensure_ascii=False, indent=1) + "\n")
    return {split: len(rows) for split, rows in data.items()}


def _crop_clip(
    folder: Path, row: dict[str, Any], layout: Layout | None, path: Path, crop: SaliencyCrop, size: int, reader: Any
) -> None:
    frames, rate = reader.replanned(partial(_read_clip, folder, row, reader))
    boxes = _boxes(folder, row, layout, frames, crop)
    _write(path, cut(frames, boxes, size), rate)


def _read_clip(
    folder: Path, row: dict[str, Any], reader: Any, measured: bool
) -> tuple[npt.NDArray[np.uint8], Fraction]:
    """All frames of a clip, and its mean frame rate."""
    with closing(reader.Recording(folder / row["file_name"], measured=measured)) as recording:
        line = recording.timeline
        times = [float((pts - line.pts[0]) * line.time_base) for pts in line.pts]
        begin, end = row.get("start") or 0.0, row.get("end") or float("inf")
        places = [place for place, time in enumerate(times) if begin <= time < end]
        places = places or [max(bisect_right(times, begin) - 1, 0)]  # shorter than a frame: the one on display
        pictures = dict(recording.pictures(places))
        last = times[places[-1] + 1] if places[-1] + 1 < len(times) else float(line.seconds)
        rate = Fraction(len(places) / max(last - times[places[0]], 1e-3)).limit_denominator(1000)
    return np.stack([pictures[place].numpy() for place in places]), max(rate, Fraction(1))


def _boxes(
    folder: Path, row: dict[str, Any], layout: Layout | None, frames: npt.NDArray[np.uint8], crop: SaliencyCrop
) -> Any:
    """From keypoints in pixels with a row for each frame, where a hand or face is ever seen; else from the frames."""
    if layout is not None and layout.unit == "pixels" and row.get(COLUMN):
        points, size = read_points(folder, row[COLUMN]), frames.shape[1:3]
        people = points if points.ndim == 4 else points[None]  # (M, T, J, C)
        if people.ndim != 4 or people.shape[2] != len(layout.names) or people.shape[3] not in (2, 3):
            raise ValueError(
                f"{folder / row[COLUMN]} holds {points.shape} numbers; expected (frames, {len(layout.names)} joints "
                f"of {layout.name}, 2 or 3), or the same of two people: make or save it again"
            )
        follows = [followed(name) for name in layout.names]
        if people.shape[1] == len(frames) and visible(people[:, :, follows], size).any():
            return crop.from_points(np.concatenate(people, 1), layout.names * len(people), size)
    return crop.from_frames(frames)


def cut(frames: npt.NDArray[np.uint8], boxes: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.uint8]:
    """The boxes of frames, each brought to one size.

    Args:
        frames: `(T, H, W, 3)`, uint8.
        boxes: `(T, 4)`, as `SaliencyCrop` gives them.
        size: S.

    Returns:
        `(T, S, S, 3)`, uint8.
    """
    out = np.empty((len(frames), size, size, 3), np.uint8)
    for t, (left, top, right, bottom) in enumerate(boxes):
        part = torch.from_numpy(frames[t, top:bottom, left:right].copy()).permute(2, 0, 1)[None]
        scaled = F.interpolate(part.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
        out[t] = scaled[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return out


def _write(path: Path, frames: npt.NDArray[np.uint8], rate: Fraction) -> None:
    partial = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
    with av.open(str(partial), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": CRF})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    os.replace(partial, path)
