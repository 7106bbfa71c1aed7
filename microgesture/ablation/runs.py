"""The runs of an ablation: which there are, which are done, and a queue that does the others.

A run is `train_fgsgl.py` and then `evaluate_fgsgl.py`, each as from the command line, in a process of its own that is
forked off one that has the libraries loaded. A training is done when its complete checkpoint is there with its record
(of which the weights are moved into place last); a test when its score file is, and then that split is not read again.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import runpy
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from microgesture.evaluation.score_file import score_path
from microgesture.run_record import RECORD_FILE

ROOT = Path(__file__).resolve().parents[2]
LOADED = ["torch", "datasets", "accelerate", "peft", "microgesture.trainer", "microgesture.evaluation.results"]
BUSY = 75
"""Exit status of a run that another process is working at."""
Command = tuple[str, list[str]]


@dataclass(frozen=True)
class Run:
    """One training of a row on a fold of the data, and its test.

    Args:
        row: Name of the row.
        seed: Seed of first weights, order of clips, augmentation and controls.
        recipe: The row's recipe.
        output: Folder of the checkpoint.
        test: Data set folder and its splits that the checkpoint is tested on; no splits for none.
        cache: Folder of cached frames and sentences.
        fold: Name of the fold; empty where there are none.
    """

    row: str
    seed: int
    recipe: Path
    output: Path
    test: tuple[Path, tuple[str, ...]]
    cache: str
    fold: str = ""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return ", ".join([self.row, *([self.fold] if self.fold else []), f"seed {self.seed}"])

    @property
    def trained(self) -> bool:
        """Whether the complete checkpoint is there."""
        return (self.output / RECORD_FILE).is_file() and any(self.output.glob("model*.safetensors"))

    @property
    def done(self) -> bool:
        """Whether the run is trained, and tested on all its splits."""
        return self.trained and all(score_path(self.output, split).is_file() for split in self.test[1])

    def commands(self) -> list[Command]:
        """What is left to do: scripts with their command lines."""
        left: list[Command] = []
        if not self.trained:
            given = ["--seed", str(self.seed), "--output_dir", str(self.output), "--disable_tqdm", "true", "--resume"]
            left.append(("train_fgsgl.py", [str(self.recipe), *given]))
        for split in self.test[1]:
            if not score_path(self.output, split).is_file():
                where = [str(self.output), str(self.test[0]), "--split", split, "--cache_dir", self.cache]
                left.append(("evaluate_fgsgl.py", where))
        return left


def devices_for(jobs: int | None, use_cpu: bool) -> list[str | None]:
    """One entry per run at a time: the GPU it gets, or `None` for a share of the processor's cores.

    Args:
        jobs: Runs at a time; default: one per GPU, or one.
        use_cpu: Whether GPUs are left alone.

    Raises:
        ValueError: There are fewer GPUs, or no run at a time.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"--jobs is {jobs}; at least one run at a time is needed")
    if use_cpu or not torch.cuda.is_available():
        return [None] * (jobs or 1)
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = listed.split(",") if listed else [str(number) for number in range(torch.cuda.device_count())]
    if jobs is not None and jobs > len(gpus):
        raise ValueError(f"--jobs is {jobs}, but there are {len(gpus)} GPUs and every run gets one for itself")
    return list(gpus[:jobs])


def run_all(runs: Sequence[Run], devices: Sequence[str | None], say: Callable[[str], None]) -> list[Run]:
    """Does what is left of the runs, as many at a time as there are devices.

    Args:
        runs: In this order; those that are done are left alone.
        devices: As `devices_for` gives them.
        say: Gets one line per run that ends.

    Returns:
        Those that are not done afterwards; what they printed stands in `OUTPUT.log`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    waiting, free = [run for run in runs if not run.done], list(devices)
    total = len(waiting)
    working: dict[Any, tuple[Any, Run, str | None, float]] = {}
    try:
        while waiting or working:
            while waiting and free:
                run, device = waiting.pop(0), free.pop(0)
                process = context.Process(target=_work, args=(run, threads, device))
                process.start()
                working[process.sentinel] = (process, run, device, time.monotonic())
            for sentinel in wait(list(working)):
                process, run, device, began = working.pop(sentinel)
                process.join()
                free.append(device)
                say(
                    f"[{total - len(waiting) - len(working)}/{total}] {run.name}: "
                    f"{_outcome(run, process.exitcode)} after {time.monotonic() - began:.0f} s"
                )
    finally:
        for process, *_ in working.values():
            process.terminate()
    return [run for run in runs if not run.done]


def _outcome(run: Run, status: int | None) -> str:
    if status == 0 and run.done:
        return "done"
    return "another process is working at it" if status == BUSY else f"FAILED (see {_log(run)})"


def _log(run: Run) -> Path:
    return run.output.with_name(f"{run.output.name}.log")


def _work(run: Run, threads: int, device: str | None) -> None:
    """The process of one run."""
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    run.output.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(_log(run), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    torch.set_num_threads(threads)
    multiprocessing.set_start_method("fork", force=True)  # data loaders start their workers as in any other run
    sys.path.insert(0, str(ROOT))
    try:
        with FileLock(run.output.with_name(f".{run.output.name}.lock"), timeout=0):
            for script, words in run.commands():
                logging.getLogger().handlers.clear()  # each script sets up its own
                sys.argv = [script, *words]
                os.write(1, f"$ {' '.join(sys.argv)}\n".encode())
                runpy.run_path(str(ROOT / script), run_name="__main__")
    except Timeout:
        sys.exit(BUSY)


def _end_with(parent: Any) -> None:
    """Ends this process when the one that started it has gone, however it went: nobody would wait for this run."""
    parent.join()
    os._exit(1)
