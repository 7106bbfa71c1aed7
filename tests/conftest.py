"""Shared fixtures: a tiny data set of real H.264 clips, and recipes that train on it in seconds."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Tests neither read nor fill the user's own caches; libraries read these variables when they are imported.
_CACHE = tempfile.TemporaryDirectory(prefix="fgsgl-tests-", ignore_cleanup_errors=True)
os.environ["HF_HOME"] = _CACHE.name
os.environ["HF_DATASETS_CACHE"] = f"{_CACHE.name}/datasets"
os.environ["HF_MODULES_CACHE"] = f"{_CACHE.name}/modules"
# DeepSpeed compiles here once; xdist's workers inherit the folder. A killed test would leave a lock in the user's own.
os.environ.setdefault("TORCH_EXTENSIONS_DIR", f"{_CACHE.name}/extensions")

import hypothesis  # noqa: E402

from microgesture.data.clips import ClipSample, write_split  # noqa: E402 - after the variables above
from microgesture.data.fg_text import FGText  # noqa: E402

pytest_plugins = ("people_networks", "published_folders")

# The same examples in every run, however busy the machine is.
hypothesis.settings.register_profile("project", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("project")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is not beside this clone")

DIRECTIONS = ("up", "down", "left", "right")
STEPS = {
    "up": (-1, 0),
    "down": (1, 0),
    "left": (0, 1),
    "right": (0, -1),
}  # as the subject sees it


def write_video(path: Path, frames: np.ndarray, fps: int = 28) -> None:
    """Writes `(F, H, W, 3)` uint8 as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18", "threads": "1"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def moving_square(direction: str, rng: np.random.Generator, size: int = 64, length: int = 20) -> np.ndarray:
    """A bright square that moves over a dark ground; the class is its direction."""
    frames = np.full((length, size, size, 3), rng.integers(20, 60), np.uint8)
    dy, dx = STEPS[direction]
    y, x = rng.integers(24, 32, 2)
    for t in range(length):
        top, left = y + round(dy * (t - length / 2) * 1.6), x + round(dx * (t - length / 2) * 1.6)
        frames[t, max(top, 0) : top + 12, max(left, 0) : left + 12] = 220
    return frames


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes, 24 training, 8 validation and 8 test clips of 64×64 pixels; some clips lack FG-Text."""
    out = tmp_path_factory.mktemp("tiny_dataset")
    classes = [
        {
            "name": f"Hand {d}",
            "text": f"A person moves one hand, going {d}.",
            "default": {"initiator": "hand", "receiver": "air", "direction": d, "motion_type": "raise"},
        }
        for d in DIRECTIONS
    ]
    about = {"name": "tiny", "version": "1", "mirrored": False, "classes": classes}
    (out / "labels.json").write_text(json.dumps(about))
    people = {"train": ("a", "b", "c"), "validation": ("d",), "test": ("e",)}
    for split, subjects in people.items():
        folder = out / split
        (folder / "clips").mkdir(parents=True)
        clips = []
        for number in range(8 * len(subjects)):
            direction, subject = DIRECTIONS[number % 4], subjects[number % len(subjects)]
            rng = np.random.default_rng([number, len(split)])
            name = f"clips/{number:03d}.mp4"
            write_video(folder / name, moving_square(direction, rng))
            motion = ("raise", "touch", "rub")[number % 3]
            text = None if number == 5 else FGText("hand", "air", direction, motion, ("left", "right")[number % 2])
            clips.append(ClipSample(name, f"Hand {direction}", subject, text))
        write_split(folder, clips)
    return out


TINY_VISION = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32,
    "patch_size": 8, "attention_bias": True, "initializer_range": 0.05,
}  # fmt: skip


def write_recipe(path: Path, fields: dict[str, Any]) -> list[str]:
    """Writes a recipe; returns the command line that trains by it."""
    path.write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in fields.items()))
    return [str(path)]


@pytest.fixture
def tiny_arguments(tiny_dataset: Path, tmp_path: Path) -> list[str]:
    """A command line that trains a tiny network on the tiny data set."""
    fields = {
        "dataset_dir": str(tiny_dataset), "output_dir": str(tmp_path / "out"), "cache_dir": str(tmp_path / "cache"),
        "vision_config": TINY_VISION, "vision_tuning": "full", "num_frames": 4, "embed_dim": 16,
        "temporal_pooling": "learned", "use_cpu": True, "num_train_epochs": 2, "per_device_train_batch_size": 4,
        "logging_steps": 1, "learning_rate": "1e-3", "stage2_start": 0.5, "disable_tqdm": True, "seed": 0,
    }  # fmt: skip
    return write_recipe(tmp_path / "recipe.yaml", fields)
