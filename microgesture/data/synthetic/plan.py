"""What is drawn: sizes, subjects, splits, and the plan of every clip. Nothing is painted here."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from microgesture.data.fg_text import FGText
from microgesture.data.synthetic.coder import Coder
from microgesture.data.synthetic.figure import Camera
from microgesture.data.synthetic.gestures import CLASSES, Programme, draw_programme
from microgesture.data.synthetic.motion import Timing
from microgesture.data.synthetic.people import Subject, draw_subject
from microgesture.data.synthetic.scene import Look

SMG_TEST_COUNTS = (13, 3, 15, 2, 49, 1, 3, 191, 243, 34, 8, 30, 4, 5, 0, 0, 9)
"""Clips per class id in SMG's published test list, 610 in all (subjects 36 to 40)."""

PRESETS = ("ultrafast", "superfast", "veryfast")
OCCLUDERS = ("corner", "post", "table")
RESTS = ("hanging", "front", "thighs")
Size = Literal["demo", "full"]


@dataclass(frozen=True)
class SplitPlan:
    """One split: its subjects (numbers) and how many clips of each class."""

    name: str
    subjects: range
    counts: tuple[int, ...]


def _tail(total: int, least: int) -> tuple[int, ...]:
    """SMG's proportions for a training set, with at least `least` clips of each class."""
    return tuple(max(least, round(total * count / sum(SMG_TEST_COUNTS))) for count in SMG_TEST_COUNTS)


SIZES: dict[str, tuple[SplitPlan, ...]] = {
    "demo": (
        SplitPlan("train", range(0, 51), (16,) * 17),
        SplitPlan("validation", range(51, 68), (3,) * 17),
        SplitPlan("test", range(68, 85), (4,) * 17),
    ),
    "full": (
        SplitPlan("train", range(0, 40), _tail(2000, 12)),
        SplitPlan("validation", range(40, 50), (12,) * 17),
        SplitPlan("test", range(50, 65), (12,) * 17),
        SplitPlan("test_natural", range(50, 65), SMG_TEST_COUNTS),
    ),
}
"""The two sizes of the one generator."""


@dataclass(frozen=True)
class ClipPlan:
    """One clip before it is painted.

    Args:
        split: Name of the split.
        name: File name without ending.
        subject: Who is seen.
        programme: What is done.
        timing: When.
        look: How it is filmed.
        held: Hand with a pen that has nothing to do with the gesture, -1 for none.
        preset: x264 preset.
        crf: x264 constant rate factor.
        written: What the simulated coder wrote.
    """

    split: str
    name: str
    subject: Subject
    programme: Programme
    timing: Timing
    look: Look
    held: int
    preset: str
    crf: int
    written: FGText

    def nuisances(self) -> dict[str, Any]:
        """Everything that was drawn without looking at the class."""
        camera = self.look.camera
        return {
            "frames": self.timing.frames, "onset": self.timing.onset, "tempo": self.timing.tempo,
            "returns": self.timing.returns, "rest": self.timing.rest, "sway": self.timing.sway,
            "zoom": camera.zoom, "offset_x": camera.dx, "offset_y": camera.dy, "gain": self.look.gain,
            "noise": self.look.noise, "occluder": self.look.occluder, "room": self.subject.room,
            "wall_red": self.subject.wall[0], "wall_green": self.subject.wall[1], "wall_blue": self.subject.wall[2],
            "drawn_side": self.programme.side, "preset": self.preset, "crf": self.crf,
        }  # fmt: skip


def plan_clips(size: Size | str, seed: int, coder: Coder | None = None) -> dict[str, list[ClipPlan]]:
    """The plan of every clip of a data set, per split.

    Args:
        size: `demo` or `full`.
        seed: Seed of the data set; each clip has its own generator from (seed, split, index).
        coder: Who writes the FG-Text.

    Raises:
        ValueError: There is no such size.
    """
    if size not in SIZES:
        raise ValueError(f"size {size!r} must be one of: {', '.join(SIZES)}")
    coder = coder or Coder()
    return {split.name: _plan_split(split, seed, coder) for split in SIZES[size]}


def _plan_split(split: SplitPlan, seed: int, coder: Coder) -> list[ClipPlan]:
    key = zlib.crc32(split.name.encode())
    labels = [label for label, count in zip(CLASSES, split.counts, strict=True) for _ in range(count)]
    # Shuffled before subjects are dealt out and files are numbered: neither says anything about the class.
    order = np.random.default_rng([seed, key]).permutation(len(labels))
    people = [draw_subject(number, seed) for number in split.subjects]
    return [
        draw_clip(split.name, index, labels[place], people[index % len(people)], [seed, key, index], coder)
        for index, place in enumerate(order)
    ]


def draw_clip(split: str, index: int, label: str, subject: Subject, seed: list[int], coder: Coder) -> ClipPlan:
    """Draws one clip: the nuisances first, from a generator of their own, then what the class decides."""
    rng = np.random.default_rng([*seed, 1])
    timing = draw_timing(rng)
    look, held = draw_look(subject, rng)
    preset, crf = PRESETS[rng.integers(len(PRESETS))], int(rng.integers(22, 33))
    programme = draw_programme(label, np.random.default_rng([*seed, 2]))
    look, held = with_props(look, held, programme)
    written = coder.write(programme.truth, np.random.default_rng([*seed, 3]))
    name = f"{index:05d}"
    return ClipPlan(split, name, subject, programme, timing, look, held, preset, crf, written)


def draw_timing(rng: np.random.Generator) -> Timing:
    """When the gesture of a clip begins, how fast it is, and how the person stands before and after."""
    cut = rng.uniform() < 0.15
    return Timing(
        frames=int(rng.integers(30, 71)),
        onset=float(-rng.uniform(0.25, 0.6) if cut else rng.uniform(0.0, 0.6)),
        tempo=float(rng.uniform(0.85, 1.2)),
        returns=bool(rng.uniform() < 0.4),
        rest=RESTS[rng.choice(3, p=(0.8, 0.1, 0.1))],
        sway=float(rng.uniform(0.5, 2.0)),
        seed=int(rng.integers(2**31)),
    )


def draw_look(subject: Subject, rng: np.random.Generator) -> tuple[Look, int]:
    """How a clip is filmed, and which hand holds a pen for no reason (-1 for none)."""
    camera = subject.camera
    jitter = Camera(
        float(camera.zoom * rng.uniform(0.985, 1.015)),
        float(camera.dx + rng.uniform(-4, 4)),
        float(camera.dy + rng.uniform(-3, 3)),
    )
    occluder = OCCLUDERS[rng.integers(3)] if rng.uniform() < 0.1 else "none"
    pendant, watch, pen = rng.uniform(size=3)
    hands = rng.integers(0, 2, size=2)
    look = Look(
        camera=jitter,
        gain=float(rng.uniform(0.92, 1.06)),
        noise=float(rng.uniform(0.8, 2.2)),
        occluder=occluder,
        occluder_at=float(rng.uniform()),
        pendant=bool(pendant < 0.15),
        watch=int(hands[0]) if watch < 0.25 else -1,
    )
    return look, int(hands[1]) if pen < 0.1 else -1


def with_props(look: Look, held: int, programme: Programme) -> tuple[Look, int]:
    """Adds what the gesture needs, and takes the idle pen out of a hand that is used."""
    active = 0 if programme.side == "left" else 1
    if programme.site == "pendant":
        look = replace(look, pendant=True)
    if programme.site == "watch":
        look = replace(look, watch=1 - active)
    if programme.site == "pen":
        held = active
    elif held == active or programme.truth.side is None:
        held = -1
    return look, held
