"""`--dry_run`: everything that belongs to a run, twice and small, so that what is wrong shows in its first minute."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from microgesture.arguments import FGSGLTrainingArguments
from microgesture.data.clip_dataset import clip_sentences
from microgesture.data.clips import DatasetInfo

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]


def two_clips(data: datasets.DatasetDict, info: DatasetInfo, fg_text: str) -> datasets.DatasetDict:
    """Two clips of each split; those for training have two different sentences where there are two.

    Clips that may be mirrored come first, so that a recipe with `mirror_clips` is tried with them.

    Args:
        data: As `microgesture.data.load` gives it.
        info: Its labels.json.
        fg_text: `fine` or `class`, as for `clip_sentences`: L_fg needs a clip's own sentence and another one.
    """
    two = {name: split.select(range(min(2, len(split)))) for name, split in data.items()}
    if "train" in data:
        first_of: dict[str, int] = {}
        sentences = clip_sentences(data["train"], info.texts, fg_text)
        flip, labels = info.flip_labels, data["train"]["label"]
        for place in sorted(range(len(sentences)), key=lambda i: flip[labels[i]] is None):
            if (sentence := sentences[place]) is not None:
                first_of.setdefault(sentence, place)
        different = list(first_of.values())[:2]
        if len(different) == 2:
            two["train"] = data["train"].select(different)
    return datasets.DatasetDict(two)


@contextmanager
def temporary_output(training: FGSGLTrainingArguments) -> Iterator[None]:
    """Sends what a run writes into a new folder beside `output_dir`, on the same disk, and removes it afterwards.

    Args:
        training: Its `output_dir` is another one inside; every process has to enter.
    """
    wanted, folder = training.output_dir, [""]
    if training.process_index == 0:
        beside = Path(wanted).absolute()
        beside.parent.mkdir(parents=True, exist_ok=True)
        folder = [tempfile.mkdtemp(prefix=f".{beside.name}-dry-run-", dir=beside.parent)]
    training.output_dir = broadcast_object_list(folder)[0]
    try:
        yield
    finally:
        if training.process_index == 0:
            shutil.rmtree(training.output_dir, ignore_errors=True)
        training.output_dir = wanted


class StepMeter(TrainerCallback):
    """Takes the time of each optimizer step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begin = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The step begins."""
        self._begin = _now()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The step ends."""
        self.seconds.append(_now() - self._begin)

    def report(self, batch_size: int, can_estimate: bool) -> str:
        """The result in words; the first step is slower, because it warms up.

        Args:
            batch_size: Clips per forward in the recipe.
            can_estimate: Whether `--estimate` knows the network.
        """
        times = ", then ".join(f"{seconds:.2f} s" for seconds in self.seconds)
        return (
            f"the recipe runs: {len(self.seconds)} steps on two clips took {times}; peak memory {_peak_memory()}. "
            f"The recipe puts {batch_size} clips into a forward"
            + (": --estimate says what they need" if can_estimate else ", which needs more")
        )


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _peak_memory() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.max_memory_allocated() / 1e9:.2f} GB on the GPU"
    if resource is None:
        return "not measured on this system"
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where `ru_maxrss` begins at what the launcher had when it started this process
        peak = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return f"{int(peak) * 1024 / 1e9:.2f} GB of this process"
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9:.2f} GB of this process"
