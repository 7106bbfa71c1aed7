"""Checkpoint folders on disk: whole or not there, whatever moment the run is killed at.

Everything is written into `OUTPUT/_unfinished/` first and moved to its place when it is whole. A checkpoint also lists
its files and their sizes in `complete.json`, so that one damaged afterwards (a copy cut short) is not taken for whole.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from microgesture import disk

logger = logging.getLogger(__name__)

# Names that begin with "_" are left out when the Trainer uploads its output folder.
UNFINISHED = "_unfinished"
MANIFEST = "complete.json"
_WEIGHTS = "model*.safetensors*"  # without them nothing loads a folder; one without config.json may get a default one


@dataclass(frozen=True)
class Layout:
    """What decides, beside the recipe, whether a start can go on from a checkpoint.

    Args:
        processes: Processes of the run.
        clips_per_step: Clips of one optimizer step, over all processes and accumulated micro-batches.
        sharding: `none`, or DeepSpeed's stage, as `ZeRO-2`.
    """

    processes: int
    clips_per_step: int
    sharding: str

    @classmethod
    def of(cls, training: Any) -> Layout:
        """The layout of a start, from its `TrainingArguments`."""
        plugin = training.deepspeed_plugin
        return cls(
            processes=training.world_size,
            clips_per_step=training.train_batch_size * training.gradient_accumulation_steps * training.world_size,
            sharding="none" if plugin is None else f"ZeRO-{plugin.zero_stage}",
        )


class CheckpointError(OSError):
    """Something could not be written; what was there before is unharmed."""


# ---- reading -------------------------------------------------------------------------------------------------------


def folders(output: Path) -> dict[int, Path]:
    """The folders `checkpoint-N` of a run by their step, the latest first."""
    if not output.is_dir():
        return {}
    names = [re.fullmatch(r"checkpoint-(\d+)", path.name) for path in output.iterdir() if path.is_dir()]
    steps = sorted((int(name[1]) for name in names if name), reverse=True)
    return {step: output / f"checkpoint-{step}" for step in steps}


def defect(folder: Path) -> str | None:
    """Why a checkpoint is not whole; `None` for a whole one."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        return f"it has no {MANIFEST}, which is written last"
    except (ValueError, KeyError):
        return f"its {MANIFEST} cannot be read"
    for name, size in files.items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            return f"{name} is missing" if found is None else f"{name} has {found} bytes instead of {size}"
    return None


def last_whole(output: Path) -> Path | None:
    """The latest whole checkpoint of a run, if there is one."""
    return next((folder for folder in folders(output).values() if defect(folder) is None), None)


def find(training: Any) -> Path | None:
    """The checkpoint to go on from, if one was asked for.

    Args:
        training: The `FGSGLTrainingArguments` of this start.

    Returns:
        A whole checkpoint that this start can go on from; `None` to start from the beginning, which is also what
        `--resume` means before the first checkpoint.

    Raises:
        FileExistsError: The output folder holds checkpoints that would be mixed with new ones.
        FileNotFoundError: The last checkpoint was asked for, and there is none.
        ValueError: The checkpoint is not whole, or was made by another number of processes, clips per step or ZeRO
            stage.
    """
    output, wanted = Path(training.output_dir), training.resume_from_checkpoint
    there = folders(output)
    if wanted is not None and wanted.lower() not in ("last", "true"):
        found = Path(wanted)
        _refuse_later(found, there, output)
    elif training.resume or wanted is not None:
        if not there and not training.resume:
            raise FileNotFoundError(
                f"--resume_from_checkpoint {wanted} asks for the last checkpoint of a run, and {output} holds none. "
                "Give the run's folder by --output_dir, name a checkpoint, or say --resume, which starts anew where "
                "there is none"
            )
        if not there:
            logger.warning("%s holds no checkpoint yet: starting from the beginning", output)
            return None
        found = last_whole(output) or next(iter(there.values()))
    elif there:
        raise FileExistsError(
            f"{output} already holds checkpoints of a run ({next(iter(there.values())).name}). Go on with it by "
            "--resume, choose another --output_dir, or delete the folder"
        )
    else:
        return None
    reason = defect(found) if found.is_dir() else "there is no such folder"
    if reason is not None:
        raise ValueError(f"{found} is no whole checkpoint: {reason}. Choose another one, or delete it to start anew")
    _check_layout(found, Layout.of(training))
    logger.warning("going on from %s", found)
    return found


def _refuse_later(found: Path, there: dict[int, Path], output: Path) -> None:
    step = int(found.name.rpartition("-")[2]) if re.fullmatch(r"checkpoint-\d+", found.name) else -1
    later = [path.name for number, path in there.items() if number > step]
    if later:
        raise FileExistsError(
            f"{output} holds checkpoints later than {found} ({', '.join(later)}), which are never overwritten. Go on "
            "from the last one by --resume, choose another --output_dir, or move them away"
        )


def _check_layout(folder: Path, now: Layout) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    then = Layout(**manifest["layout"])
    afresh = f"or start from its weights, with a new optimizer: --init_from {folder} and another --output_dir"
    if not any(Path(name).name.startswith("rng_state") for name in manifest["files"]):
        raise ValueError(f"{folder} was written with save_only_model, so nothing can go on from it; {afresh}")
    if then.sharding != now.sharding:
        raise ValueError(
            f"{folder} was written with DeepSpeed sharding {then.sharding}, and this start has {now.sharding}. Launch "
            f"as then (the same --deepspeed_config_file, or none), {afresh}"
        )
    if then.sharding != "none" and then.processes != now.processes:
        raise ValueError(
            f"{folder} holds the {then.sharding} shards of {then.processes} processes, and this start has "
            f"{now.processes}; DeepSpeed cannot share them out anew. Launch with --num_processes {then.processes}, "
            f"{afresh}"
        )
    if then.clips_per_step != now.clips_per_step:
        raise ValueError(
            f"{folder} was made with {then.clips_per_step} clips per step ({then.processes} processes), and this "
            f"start has {now.clips_per_step} ({now.processes} processes): the epochs would not match. Change "
            "--per_device_train_batch_size or --gradient_accumulation_steps so that their product times the processes "
            f"is {then.clips_per_step}, {afresh}"
        )
    if then.processes != now.processes:
        logger.warning(
            "%s was made by %d processes and goes on with %d: same clips, same schedule; dropout draws differ",
            folder, then.processes, now.processes,
        )  # fmt: skip


# ---- writing -------------------------------------------------------------------------------------------------------


def tidy(output: Path) -> None:
    """Clears what a killed run left behind; one process calls it before anything is written.

    Args:
        output: The run's folder. A damaged checkpoint later than the last whole one is kept under another name, as the
            run will write that step again.
    """
    shutil.rmtree(output / UNFINISHED, ignore_errors=True)
    for folder in folders(output).values():
        reason = defect(folder)
        if reason is None:
            return
        aside = folder.with_name(f"broken-{folder.name}")
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(folder, aside)
        logger.warning("%s is not whole (%s); it is now %s", folder, reason, aside.name)


def seal(folder: Path, layout: Layout) -> None:
    """Lists the files of a written checkpoint, each with its size, in its `complete.json`.

    Raises:
        FileNotFoundError: What a process has to leave in every checkpoint is not there.
    """
    numbers = [n for n in range(layout.processes) if (folder / f"rng_state_{n}.pth").is_file()]
    if 0 < len(numbers) < layout.processes:
        raise FileNotFoundError(
            f"only processes {numbers} of {layout.processes} wrote into {folder}: output_dir has to lie on a disk "
            "that all machines share"
        )
    files = {
        str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }
    text = json.dumps({"layout": asdict(layout), "files": files}, indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def move_into_place(written: Path, target: Path) -> None:
    """Moves a written folder to its name, so that after a power cut as well it is whole or not there."""
    for path in [*written.rglob("*"), written]:
        _sync(path)
    os.replace(written, target)
    _sync(target.parent)


@contextmanager
def publishing(output: Path) -> Iterator[Path]:
    """An empty folder to write a complete checkpoint into; at the end its files replace those of `output`.

    Inside `output` the weights go first and come last: a kill in between leaves a folder that does not load.

    Args:
        output: The run's folder, where checkpoints and records stay as they are.
    """
    written = output / UNFINISHED / "export"
    shutil.rmtree(written, ignore_errors=True)
    written.mkdir(parents=True)
    yield written
    for path in [*written.rglob("*"), written]:
        _sync(path)
    for path in sorted(output.glob(_WEIGHTS), reverse=True):  # the index of several files sorts after them
        path.unlink()
    for path in sorted(written.iterdir(), key=lambda path: (path.match(_WEIGHTS), path.name)):
        target = output / path.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(path, target)
    _sync(output)
    shutil.rmtree(output / UNFINISHED)


@contextmanager
def explaining(what: str, output: Path) -> Iterator[None]:
    """Inside, a full disk ends in one error that says what is lost (nothing) and what to do.

    Args:
        what: What is being written.
        output: The run's folder.

    Raises:
        CheckpointError: It could not be written.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        number = _errno(error, output)
        if number is None:
            raise
        shutil.rmtree(output / UNFINISHED, ignore_errors=True)  # half-written, and it makes room
        before = last_whole(output)
        kept = f"{before} is whole and unharmed" if before else "there was no checkpoint before it"
        reason = disk.NO_ROOM.get(number, os.strerror(number))
        raise CheckpointError(
            number,
            f"{what} could not be written to {output}: {reason}; {kept}. Make room (each checkpoint kept costs as "
            "much; see --save_total_limit) and go on with --resume",
        ) from error


def _errno(error: Exception, output: Path) -> int | None:
    """The system's number for what went wrong; `None` where it was not the disk."""
    told = disk.error_number(error)
    if told is not None or isinstance(error, OSError):
        return told
    try:  # torch says only that a write failed
        with tempfile.TemporaryFile(dir=output) as probe:
            probe.write(bytes(1 << 24))
            probe.flush()
    except OSError as failed:
        return failed.errno
    return None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
