"""How the processes of a run are started: what would train something else than was asked for is an error here."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from sys import version_info as version

# What `accelerate launch` and transformers read as true.
_TRUE = ("1", "true", "t", "yes", "y", "on")
_HERE = ("127.0.0.1", "localhost", "::1")
_OWN_SETTINGS = "accelerate's own settings"
_LOCK_MINUTES = 10
# One process without a launcher: DeepSpeed would look for MPI and needs none.
ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def deepspeed_config(environment: Mapping[str, str], words: Sequence[str]) -> str | None:
    """The DeepSpeed configuration that was asked for, by the recipe, the command line or the launcher.

    Args:
        environment: Variables of this process.
        words: The recipe and the command line, as command-line words.

    Returns:
        Its file, "accelerate's own settings" where the launcher was given no file, or `None`.
    """
    given = _read(words).deepspeed
    if given is not None:
        return str(given)
    if not _is_true(environment.get("ACCELERATE_USE_DEEPSPEED")):
        return None
    return environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", _OWN_SETTINGS)


def check(environment: Mapping[str, str], words: Sequence[str], typed: Sequence[str]) -> None:
    """Refuses a start that would silently be another one than was asked for.

    Args:
        environment: Variables of this process.
        words: The recipe and the command line, as command-line words.
        typed: The command line alone, for the line to type instead.

    Raises:
        ValueError: A DeepSpeed configuration that would be ignored or that stands twice, `MASTER_ADDR` without
            `WORLD_SIZE`, or another number of processes than the recipe's `world_size`. The message has the line
            that works.
    """
    config, asked = deepspeed_config(environment, words), _read(words)
    wanted, micro_batches = asked.world_size, asked.gradient_accumulation_steps * (asked.world_size or 1)
    on_cpu = _is_true(environment.get("ACCELERATE_USE_CPU"))
    address, size = environment.get("MASTER_ADDR"), environment.get("WORLD_SIZE", "1")
    if not size.isdecimal() or int(size) < 1:
        raise ValueError(f"WORLD_SIZE is {size!r}; a launcher sets it to the number of processes, 1 or more")

    def line(processes: int, **options: str) -> str:
        other = []
        if wanted not in (None, processes):  # as many clips in a step as the recipe's processes see
            steps = micro_batches // processes
            other = ["--world_size", str(processes), "--gradient_accumulation_steps", str(steps)]
        return launch_line([*typed, *other], processes, config=config, on_cpu=on_cpu, **options)

    if config is not None and on_cpu:
        raise ValueError(
            f"`accelerate launch --cpu` makes accelerate ignore DeepSpeed, and {config} was asked for. Leave out "
            f"--cpu (use_cpu: true in the recipe does the same and keeps DeepSpeed):\n  {line(wanted or 1)}"
        )
    launched = environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    if config is not None and launched is not None and config != launched:
        raise ValueError(
            f"two DeepSpeed configurations were given, {launched} to accelerate and {config} to train_fgsgl.py; "
            f"the first would be ignored. Keep one of them:\n  {line(wanted or int(size))}"
        )
    if address and "WORLD_SIZE" not in environment:
        here = address in _HERE
        several = line(wanted or 2) if here else line(wanted or 2, address=address)
        raise ValueError(
            f"MASTER_ADDR is set ({address}) and WORLD_SIZE is not: this process would train alone, without the "
            f"others. To start several processes (here {wanted or 2}):\n  {several}\n"
            f"or one process alone:\n  env -u MASTER_ADDR {line(1)}"
        )
    if wanted is not None and wanted != int(size):
        as_now = f"or set --world_size {size}, and the batch sizes so that a step sees as many clips"
        if micro_batches % int(size) == 0:
            as_now = f"or with {size}, and as many clips in a step:\n  {line(int(size))}"
        raise ValueError(
            f"the recipe is meant for {wanted} process(es) (world_size: {wanted}), and this start has {size}:\n"
            f"  {line(wanted)}\n{as_now}"
        )


def check_extension_lock(environment: Mapping[str, str], words: Sequence[str]) -> None:
    """Refuses to wait for a lock file that nobody will remove.

    DeepSpeed compiles an extension when it starts on CPUs. torch keeps a lock file meanwhile, and whoever finds one
    waits until it is gone: for ever, if the process that made it was killed.

    Args:
        environment: Variables of this process.
        words: The recipe and the command line, as command-line words.

    Raises:
        FileExistsError: There is a lock file that is older than compiling takes; the message names it.
    """
    if deepspeed_config(environment, words) is None:
        return
    from torch.utils.cpp_extension import get_default_build_root

    given = environment.get("TORCH_EXTENSIONS_DIR")
    # Without the variable torch has a folder per version of Python and kind of device in between.
    folders = [Path(given)] if given else Path(get_default_build_root()).glob(f"py{version[0]}{version[1]}*")
    for folder in folders:
        lock = folder / "deepspeed_shm_comm" / "lock"
        try:
            minutes = (time.time() - lock.stat().st_mtime) / 60
        except FileNotFoundError:
            continue
        if minutes > _LOCK_MINUTES:
            raise FileExistsError(
                f"{lock} is {minutes:.0f} minutes old. It says that another process is compiling DeepSpeed's "
                "extension, which takes a minute or two: that process was killed, and DeepSpeed would wait for it for "
                f"ever. Delete the file and start again:\n  rm {shlex.quote(str(lock))}"
            )


def launch_line(
    typed: Sequence[str],
    processes: int,
    *,
    config: str | None = None,
    on_cpu: bool = False,
    address: str | None = None,
) -> str:
    """The line that starts `train_fgsgl.py` as asked.

    Args:
        typed: The command line of `train_fgsgl.py`.
        processes: Number of processes in all.
        config: DeepSpeed configuration.
        on_cpu: Whether CPUs are wanted although there may be GPUs.
        address: First machine's address, where there is more than one machine.
    """
    how = []
    if config is not None:
        how += ["--use_deepspeed", *(["--deepspeed_config_file", config] if config != _OWN_SETTINGS else [])]
    elif processes > 1:
        how += ["--multi_gpu"]  # accelerate's name for several processes; they may as well be on CPUs
    if address is not None:
        how += ["--num_machines", "2", "--machine_rank", "0", "--main_process_ip", address]
        how += ["--main_process_port", "29500"]
    argv = [*typed, *(["--use_cpu", "true"] if on_cpu and "--use_cpu" not in typed else [])]
    return shlex.join(["accelerate", "launch", *how, "--num_processes", str(processes), "train_fgsgl.py", *argv])


def _read(words: Sequence[str]) -> argparse.Namespace:
    """The settings that decide how a run is started; the full parser types and checks the rest."""
    parser = argparse.ArgumentParser(prog="train_fgsgl.py", add_help=False, allow_abbrev=False)
    parser.add_argument("--deepspeed")
    parser.add_argument("--world_size", "--world-size", type=int)
    parser.add_argument("--gradient_accumulation_steps", "--gradient-accumulation-steps", type=int, default=1)
    return parser.parse_known_args(list(words))[0]


def _is_true(value: str | None) -> bool:
    return (value or "").lower() in _TRUE
