"""Training in a process of its own that ends itself, without a word, at a chosen moment. No tests in here.

The processes are forked off a server that has everything imported, so that each costs about a second.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import resource
import signal
import sys
import time
from pathlib import Path

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}


def start(argv: list[str], **how) -> multiprocessing.Process:
    """Starts `train_fgsgl.py ARGV`; see `_run` for what may befall it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["interrupted_run", "train_fgsgl"])
    process = context.Process(target=_run, args=(argv,), kwargs=how)
    process.start()
    return process


def finish(process: multiprocessing.Process, timeout: float = 120) -> int:
    """Waits for the process and gives its exit status, negative for a signal."""
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError("training did not end")
    return process.exitcode


def _run(
    argv: list[str],
    output: str | None = None,
    kill_at_change: int | None = None,
    half_of: str | None = None,
    linger: float = 0,
    largest_file: int | None = None,
    messages: str | None = None,
    own_group: bool = False,
    environment: dict[str, str] | None = None,
) -> None:
    """Trains.

    Args:
        argv: Command line of train_fgsgl.py.
        output: Folder whose changes are counted.
        kill_at_change: Number of the change in `output` (a file opened for writing, a move, a deletion) that is
            prevented by SIGKILL; with 0 the changes are counted into `OUTPUT.changes` instead.
        half_of: SIGKILL comes when half of the bytes of a file that this pattern names are written by `torch.save`.
        linger: Seconds between that half and SIGKILL, in which other processes get as far as they can.
        largest_file: No file of this process grows beyond so many bytes, as on a full disk.
        messages: File for what the run prints.
        own_group: Whether the process leads a process group of its own.
        environment: Variables that a launcher would set.
    """
    import torch

    import train_fgsgl

    os.environ.update(environment or {})
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # data loaders start their workers as in any other run
    if own_group:
        os.setpgrp()
    if messages:
        stream = os.open(messages, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
    if half_of:
        _tear(half_of, linger)
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    changes = _count_changes(output, kill_at_change) if kill_at_change is not None else []
    train_fgsgl.main(argv)
    if kill_at_change == 0:
        Path(f"{output}.changes").write_text("\n".join(changes))


def _count_changes(output: str, kill_at: int) -> list[str]:
    changes: list[str] = []

    def hook(event: str, args: tuple) -> None:
        if event == "open":
            hit = str(args[0]).startswith(output) and bool((args[2] or 0) & (os.O_WRONLY | os.O_RDWR))
        else:  # shutil.rmtree names files relative to an open folder
            hit = event in CHANGES and (str(args[0]).startswith(output) or args[-1] not in (-1, None))
        if hit:
            changes.append(f"{event} {args[0]}")
            if len(changes) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return changes


def _tear(pattern: str, linger: float) -> None:
    import torch

    save = torch.save

    def half(value: object, path: str, **how: object) -> None:
        if not Path(path).match(pattern):
            return save(value, path, **how)
        whole = io.BytesIO()
        save(value, whole, **how)
        Path(path).write_bytes(whole.getvalue()[: whole.tell() // 2])
        time.sleep(linger)
        os.kill(os.getpid(), signal.SIGKILL)

    torch.save = half
