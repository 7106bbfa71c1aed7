"""One clip plan -> one video file and its keypoints. Imports nothing heavy: worker processes start from here."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microgesture.data.synthetic import figure
from microgesture.data.synthetic.motion import FPS, move
from microgesture.data.synthetic.plan import ClipPlan
from microgesture.data.synthetic.scene import Painter
from microgesture.data.synthetic.video import write_video

CLIPS, KEYPOINTS = "clips", "keypoints"


def pose(plan: ClipPlan) -> tuple[figure.Motion, figure.Skeleton, NDArray[np.float32]]:
    """Movement, solved joints and keypoints `(T, J, 3)` of a clip, without painting it."""
    motion = move(plan.programme, plan.timing, plan.subject.body, plan.look.camera.zoom)
    if plan.held >= 0:
        motion.grip[:, plan.held] = 2
    skeleton = figure.solve(plan.subject.body, motion)
    return motion, skeleton, figure.keypoints(plan.subject.body, skeleton, motion, plan.look.camera)


def render_clip(plan: ClipPlan, out: Path) -> None:
    """Writes `OUT/<split>/clips/<name>.mp4` and `OUT/<split>/keypoints/<name>.npy`, each whole or not at all."""
    folder = out / plan.split
    video = folder / CLIPS / f"{plan.name}.mp4"
    points = folder / KEYPOINTS / f"{plan.name}.npy"
    if video.is_file() and points.is_file():
        return  # a run that was stopped goes on here
    motion, skeleton, keypoints = pose(plan)
    painter = Painter(plan.subject, plan.look, plan.timing.seed)
    partial = video.with_name(f".{video.name}")
    write_video(partial, painter.frames(motion, skeleton), FPS, plan.preset, plan.crf)
    os.replace(partial, video)
    partial = points.with_name(f".{points.name}")
    with partial.open("wb") as file:
        np.save(file, keypoints, allow_pickle=False)
    os.replace(partial, points)
