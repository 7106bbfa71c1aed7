"""Plans -> folders that `microgesture.data.load` reads: clips, keypoints, metadata, card and class list."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from microgesture.data.synthetic.plan import ClipPlan, Size, plan_clips
from microgesture.data.synthetic.render import CLIPS, KEYPOINTS, render_clip

VERSION = "1.0.0"
"""Version of the generator; it and `generator_hash` belong to every table made with the data."""

MANIFEST = "synthetic.json"
SOURCE = Path(__file__).resolve().parents[3] / "datasets" / "synthetic"
_NOT_GENERATING = ("__init__.py", "card.py", "picture.py")

logger = logging.getLogger(__name__)
Task = TypeVar("Task")


def generator_hash() -> str:
    """SHA-256 (first 16 digits) of the sources that decide what is drawn; another hash is another data set."""
    digest = hashlib.sha256(VERSION.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name not in _NOT_GENERATING:
            digest.update(path.name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:16]


def generate(out: Path | str, size: Size = "demo", seed: int = 0, workers: int = 2, progress: bool = True) -> None:
    """Writes the synthetic data set; the same seed gives the same bytes, whatever `workers`.

    A folder that this version has already filled with the same size and seed is left as it is; a run that was stopped
    goes on where it was.

    Args:
        out: Folder of the data set, empty or made by this function.
        size: `demo` (391 clips) or `full`.
        seed: Seed of everything that is drawn.
        workers: Processes that draw. More than one needs `if __name__ == "__main__":` in a calling script.
        progress: Whether a progress bar is shown.

    Raises:
        ValueError: No such size, or `out` holds something else.
        FileNotFoundError: The class list or the card of the data set is not in the checkout.
    """
    from microgesture.data.clips import write_split, write_text

    out = Path(out)
    plans = plan_clips(size, seed)
    identity = {"version": VERSION, "hash": generator_hash(), "size": size, "seed": seed}
    if is_complete(out, identity):
        logger.info("%s already holds this data set (%s); nothing to do", out, identity)
        return
    for split in plans:
        for kind in (CLIPS, KEYPOINTS):
            (out / split / kind).mkdir(parents=True, exist_ok=True)
    write_text(out / MANIFEST, json.dumps(identity | {"complete": False}) + "\n")
    clips = [plan for split in plans.values() for plan in split]
    run(partial(render_clip, out=out), clips, workers, progress, "clips")
    for name in ("labels.json", "README.md"):
        write_text(out / name, _source(name))
    for split, rows in plans.items():
        write_split(out / split, [clip_sample(plan) for plan in rows])
    write_text(out / MANIFEST, json.dumps(identity | {"complete": True}) + "\n")


def is_complete(out: Path, identity: dict[str, Any]) -> bool:
    """Whether `out` already holds the whole data set of this identity.

    Raises:
        ValueError: It holds another one, or anything else.
    """
    if not out.exists() or not any(out.iterdir()):
        return False
    manifest = out / MANIFEST
    if not manifest.is_file():
        raise ValueError(f"{out} is not empty and was not made by this generator; choose an empty or a new folder")
    found = json.loads(manifest.read_text(encoding="utf-8"))
    complete = found.pop("complete", False)
    if found != identity:
        raise ValueError(
            f"{out} holds another data set: {found}, asked for {identity}; remove it or name a new folder"
        )
    return bool(complete)


def _source(name: str) -> str:
    path = SOURCE / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run from a checkout of the project, it has datasets/synthetic/")
    return path.read_text(encoding="utf-8")


def run(work: Callable[[Task], None], tasks: Sequence[Task], workers: int, progress: bool, unit: str) -> None:
    """Does every task, in this process or in several, with a progress bar."""
    with tqdm(total=len(tasks), unit=f" {unit}", disable=not progress) as bar:
        if workers <= 1:
            _drain(map(work, tasks), bar)
            return
        # A fresh interpreter per worker: a fork would inherit the locks of torch's threads.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            _drain(pool.map(work, tasks, chunksize=4), bar)


def _drain(results: Iterable[None], bar: Any) -> None:
    for _ in results:
        bar.update()


def clip_sample(plan: ClipPlan) -> Any:
    """The row of one clip; see `microgesture.data.clips.ClipSample`."""
    from microgesture.data.clips import ClipSample

    return ClipSample(
        file_name=f"{CLIPS}/{plan.name}.mp4",
        label=plan.programme.label,
        subject=plan.subject.name,
        fg_text=plan.written,
        extra={
            "keypoints": f"{KEYPOINTS}/{plan.name}.npy",
            "amplitude": plan.programme.amplitude,
            "amplitude_px": round(plan.programme.amplitude_px, 2),
            "truth": record(plan.programme.truth),
            "nuisance": {k: round(v, 4) if isinstance(v, float) else v for k, v in plan.nuisances().items()},
        },
    )


def record(text: Any) -> dict[str, str | None]:
    """The five words of an FG-Text record."""
    return {name: getattr(text, name) for name in ("initiator", "receiver", "direction", "motion_type", "side")}


def load_keypoints(folder: Path | str, name: str) -> NDArray[np.float32]:
    """Keypoints of one clip.

    Args:
        folder: The folder of the split.
        name: The row's `keypoints`.

    Returns:
        `(T, J, 3)`: x, y in pixels and how well the joint is seen; the joints are `figure.JOINTS`.
    """
    return np.load(Path(folder) / name, allow_pickle=False)
