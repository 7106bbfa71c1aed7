"""Untrimmed recordings: one person, a minute or so, several gestures with rest between them, and their segments."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from microgesture.data.fg_text import FGText
from microgesture.data.synthetic import figure
from microgesture.data.synthetic.coder import Coder
from microgesture.data.synthetic.dataset import VERSION, generator_hash, record, run
from microgesture.data.synthetic.gestures import CLASSES, Programme, draw_programme
from microgesture.data.synthetic.motion import FPS, Timing, idle, perform
from microgesture.data.synthetic.people import Subject, draw_subject
from microgesture.data.synthetic.plan import PRESETS, SIZES, draw_look, draw_timing
from microgesture.data.synthetic.scene import Look, Painter
from microgesture.data.synthetic.video import write_video

FOLDER, SEGMENTS, INDEX = "recordings", "segments.jsonl", "recordings.jsonl"


@dataclass(frozen=True)
class Segment:
    """One gesture of a recording: frames `first` to `last` (exclusive)."""

    first: int
    last: int
    programme: Programme
    written: FGText


@dataclass(frozen=True)
class RecordingPlan:
    """One recording before it is painted."""

    name: str
    subject: Subject
    timing: Timing
    look: Look
    segments: tuple[Segment, ...]
    preset: str
    crf: int

    def rows(self) -> list[dict[str, Any]]:
        """The rows of segments.jsonl; times in seconds, the end exclusive."""
        return [
            {
                "file_name": f"{FOLDER}/{self.name}.mp4", "start": s.first / FPS, "end": s.last / FPS,
                "label": s.programme.label, "fg_text": record(s.written), "truth": record(s.programme.truth),
                "amplitude": s.programme.amplitude,
            }
            for s in self.segments
        ]  # fmt: skip


def plan_recordings(
    count: int, seed: int = 0, size: str = "demo", split: str = "test", seconds: tuple[float, float] = (30.0, 90.0)
) -> list[RecordingPlan]:
    """Plans `count` recordings of the subjects of one split; of two or more, the last shows no gesture at all."""
    subjects = next(plan.subjects for plan in SIZES[size] if plan.name == split)
    return [
        _plan_recording(index, seed, subjects[index % len(subjects)], seconds, empty=count > 1 and index == count - 1)
        for index in range(count)
    ]


def _plan_recording(index: int, seed: int, number: int, seconds: tuple[float, float], empty: bool) -> RecordingPlan:
    rng = np.random.default_rng([seed, 977, index])
    subject = draw_subject(number, seed)
    frames = int(rng.uniform(*seconds) * FPS)
    timing = replace(draw_timing(rng), frames=frames, onset=0.3)
    look, _ = draw_look(subject, rng)
    segments: list[Segment] = []
    first = int(rng.integers(28, 113))
    while not empty:
        last = first + int(rng.integers(30, 71))
        if last + FPS // 2 > frames:
            break
        programme = draw_programme(CLASSES[rng.integers(len(CLASSES))], rng)
        if programme.site == "watch":  # the watch stays on one wrist for the whole recording
            wrist = look.watch if look.watch >= 0 else int(rng.integers(2))
            look, side = replace(look, watch=wrist), ("right", "left")[wrist]
            programme = replace(programme, side=side, truth=replace(programme.truth, side=side))
        look = replace(look, pendant=look.pendant or programme.site == "pendant")
        segments.append(Segment(first, last, programme, Coder().write(programme.truth, rng)))
        first = last + int(rng.integers(28, 141))
    preset, crf = PRESETS[rng.integers(len(PRESETS))], int(rng.integers(22, 33))
    return RecordingPlan(f"R{index:03d}", subject, timing, look, tuple(segments), preset, crf)


def render_recording(plan: RecordingPlan, out: Path) -> None:
    """Writes `OUT/recordings/<name>.mp4` and the keypoints beside it."""
    video = out / FOLDER / f"{plan.name}.mp4"
    motion = idle(plan.timing, plan.subject.body, np.random.default_rng([plan.timing.seed, 1]))
    for segment in plan.segments:
        timing = replace(plan.timing, frames=segment.last - segment.first, returns=True)
        zoom = plan.look.camera.zoom
        perform(motion, segment.programme, timing, plan.subject.body, zoom, segment.first, segment.last)
    skeleton = figure.solve(plan.subject.body, motion)
    painter = Painter(plan.subject, plan.look, plan.timing.seed)
    partial_path = video.with_name(f".{video.name}")
    write_video(partial_path, painter.frames(motion, skeleton), FPS, plan.preset, plan.crf)
    os.replace(partial_path, video)
    points = figure.keypoints(plan.subject.body, skeleton, motion, plan.look.camera)
    np.save(video.with_suffix(".npy"), points, allow_pickle=False)


def generate_recordings(
    out: Path | str, count: int, seed: int = 0, size: str = "demo", split: str = "test",
    seconds: tuple[float, float] = (30.0, 90.0), workers: int = 2, progress: bool = True,
) -> None:  # fmt: skip
    """Writes untrimmed recordings with timed segments.

    `OUT/recordings/R000.mp4` with `R000.npy` (keypoints), `OUT/recordings.jsonl` (one row per recording, also for one
    without gestures) and, last, `OUT/segments.jsonl` (one row per gesture). `OUT` may be a folder of `generate`.

    Args:
        out: Where to write.
        count: How many; of two or more, the last shows no gesture at all.
        seed: As for `generate`.
        size: Whose subjects: `demo` or `full`.
        split: Of which split; recordings of test subjects must not be trained on.
        seconds: Shortest and longest recording.
        workers: Processes that draw.
        progress: Whether a progress bar is shown.

    Raises:
        ValueError: `out` already holds recordings.
    """
    from microgesture.data.clips import write_text

    out = Path(out)
    if (out / SEGMENTS).exists():
        raise ValueError(f"{out / SEGMENTS} exists: remove {SEGMENTS}, {INDEX} and {FOLDER}/, or name a new folder")
    plans = plan_recordings(count, seed, size, split, seconds)
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    run(partial(render_recording, out=out), plans, workers, progress, "recordings")
    made_by = {"version": VERSION, "hash": generator_hash(), "seed": seed}
    index = [
        {"file_name": f"{FOLDER}/{p.name}.mp4", "keypoints": f"{FOLDER}/{p.name}.npy", "subject": p.subject.name,
         "seconds": p.timing.frames / FPS, "gestures": len(p.segments), **made_by}
        for p in plans
    ]  # fmt: skip
    write_text(out / INDEX, "".join(json.dumps(row) + "\n" for row in index))
    write_text(out / SEGMENTS, "".join(json.dumps(row) + "\n" for plan in plans for row in plan.rows()))
