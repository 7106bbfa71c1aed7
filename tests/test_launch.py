"""A start that would silently be another one is refused, with the line that works."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_trainer import ROOT, free_port, record
from torch.utils import cpp_extension

import train_fgsgl
from microgesture import arguments, launch

CPU = {"ACCELERATE_USE_CPU": "true"}
ELSEWHERE = {"MASTER_ADDR": "10.0.0.1"}


def refusal(environment: dict[str, str], words: list[str]) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the tests look at the text
        launch.check(environment, words, ["recipe.yaml"])
    return str(error.value)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, []),
        ({"ACCELERATE_USE_CPU": "False"}, ["--deepspeed", "ds.json"]),
        (CPU, ["--use_cpu", "true"]),
        ({"MASTER_ADDR": "10.0.0.1", "WORLD_SIZE": "4"}, ["--world_size", "4"]),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_CONFIG_FILE": "a"}, ["--deepspeed=a"]),
        ({}, ["--world_size", "2", "--world_size", "1"]),  # the command line overrides the recipe
    ],
)
def test_what_does_as_it_says_may_start(environment: dict[str, str], words: list[str]) -> None:
    launch.check(environment, words, [])


@pytest.mark.parametrize(
    ("environment", "words", "config"),
    [
        (CPU, ["--deepspeed", "my ds.json"], "'my ds.json'"),
        (CPU, ["--deepspeed=ds.json"], "ds.json"),
        (CPU | {"ACCELERATE_USE_DEEPSPEED": "1", "ACCELERATE_DEEPSPEED_CONFIG_FILE": "b.json"}, [], "b.json"),
    ],
)
def test_deepspeed_on_the_launchers_cpu_would_be_ignored(environment, words, config) -> None:
    text = refusal(environment, words)
    assert "makes accelerate ignore DeepSpeed" in text
    assert text.endswith(
        f"accelerate launch --use_deepspeed --deepspeed_config_file {config} --num_processes 1 "
        "train_fgsgl.py recipe.yaml --use_cpu true"
    )


def test_deepspeed_without_a_file_is_accelerates_own() -> None:
    text = refusal(CPU | {"ACCELERATE_USE_DEEPSPEED": "true"}, [])
    assert "accelerate launch --use_deepspeed --num_processes 1 " in text


def test_of_two_deepspeed_files_one_would_be_ignored() -> None:
    launched = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_CONFIG_FILE": "a.json"}
    text = refusal(launched, ["--deepspeed", "b.json"])
    assert "a.json to accelerate and b.json to train_fgsgl.py; the first would be ignored" in text


def test_an_address_without_a_size_would_train_alone() -> None:
    text = refusal(ELSEWHERE, [])
    assert "MASTER_ADDR is set (10.0.0.1) and WORLD_SIZE is not: this process would train alone" in text
    several, _, one = text.splitlines()[1:]
    assert several.strip() == (
        "accelerate launch --multi_gpu --num_machines 2 --machine_rank 0 --main_process_ip 10.0.0.1 "
        "--main_process_port 29500 --num_processes 2 train_fgsgl.py recipe.yaml"
    )
    assert one.strip() == "env -u MASTER_ADDR accelerate launch --num_processes 1 train_fgsgl.py recipe.yaml"


def test_another_number_of_processes_than_the_recipes() -> None:
    text = refusal({}, ["--world_size", "2"])
    assert "meant for 2 process(es) (world_size: 2), and this start has 1" in text
    assert "accelerate launch --multi_gpu --num_processes 2 train_fgsgl.py recipe.yaml" in text
    text = refusal({"WORLD_SIZE": "8"}, ["--world_size", "2", "--deepspeed", "ds.json"])
    assert "accelerate launch --use_deepspeed --deepspeed_config_file ds.json --num_processes 2 train_f" in text
    assert "WORLD_SIZE is 'many'" in refusal({"WORLD_SIZE": "many"}, [])


@pytest.mark.parametrize("recipe", ["smg", "imigue"])
@pytest.mark.parametrize(
    ("environment", "more", "begin"),
    [
        ({}, "--world_size 1 --gradient_accumulation_steps 8", "accelerate launch --num_processes 1"),
        (
            {"WORLD_SIZE": "4"},
            "--world_size 4 --gradient_accumulation_steps 2",
            "accelerate launch --multi_gpu --num_processes 4",
        ),
        (
            ELSEWHERE,
            "--world_size 1 --gradient_accumulation_steps 8",
            "env -u MASTER_ADDR accelerate launch --num_processes 1",
        ),
    ],
)
def test_the_line_for_as_many_processes_as_there_are_keeps_the_clips_of_a_step(
    environment, more: str, begin: str, recipe: str
) -> None:
    typed = [str(ROOT / "recipes" / f"{recipe}.yaml"), "--seed", "1"]
    words, _ = arguments.command_words(typed)
    with pytest.raises(ValueError, match=r"WORLD_SIZE is not|meant for 2 process") as error:
        launch.check(environment, words, typed)
    line = str(error.value).splitlines()[-1].strip()
    assert line == f"{begin} train_fgsgl.py {shlex.join(typed)} {more}"
    argv = shlex.split(line)[shlex.split(line).index("train_fgsgl.py") + 1 :]
    launch.check({"WORLD_SIZE": environment.get("WORLD_SIZE", "1")}, arguments.command_words(argv)[0], argv)
    # bf16 on GPUs is what the recipes say, and this machine may have none.
    training = arguments.parse([*argv, "--use_cpu", "true"])[2]
    clips = training.per_device_train_batch_size * training.gradient_accumulation_steps
    assert clips * training.recipe_world_size == 64
    assert training.seed == 1


def test_where_accumulation_does_not_divide_evenly_no_line_is_promised() -> None:
    text = refusal({"WORLD_SIZE": "3"}, ["--world_size", "2", "--gradient_accumulation_steps", "4"])
    assert text.endswith("\nor set --world_size 3, and the batch sizes so that a step sees as many clips")


def test_a_lock_file_that_deepspeed_would_wait_for_for_ever(tmp_path, monkeypatch) -> None:
    here = {"TORCH_EXTENSIONS_DIR": str(tmp_path / "torch extensions")}
    lock = Path(here["TORCH_EXTENSIONS_DIR"]) / "deepspeed_shm_comm" / "lock"
    launch.check_extension_lock(here, ["--deepspeed", "ds.json"])  # nothing was ever compiled
    lock.parent.mkdir(parents=True)
    lock.touch()
    launch.check_extension_lock(here, ["--deepspeed", "ds.json"])  # somebody compiles
    os.utime(lock, (time.time() - 700,) * 2)
    launch.check_extension_lock(here, [])  # and DeepSpeed is not asked for
    for words, environment in ((["--deepspeed", "ds.json"], here), ([], here | {"ACCELERATE_USE_DEEPSPEED": "true"})):
        with pytest.raises(FileExistsError) as error:
            launch.check_extension_lock(environment, words)
        text = str(error.value)
        assert text.startswith(f"{lock} is 12 minutes old. It says that another process is compiling DeepSpeed's")
        assert text.endswith(f"Delete the file and start again:\n  rm '{lock}'")
    # The folder that torch itself takes, and the whole command.
    monkeypatch.setattr(cpp_extension, "get_default_build_root", lambda: str(tmp_path / "home"))
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    usual = Path(cpp_extension._get_build_directory("deepspeed_shm_comm", verbose=False))
    shutil.move(lock, usual / "lock")
    for more in ([], ["--dry_run"], ["--estimate"]):
        with pytest.raises(FileExistsError, match="lock is 12 minutes old"):
            train_fgsgl.main(["--deepspeed", str(ROOT / "ds_config.json"), *more])


@pytest.mark.slow
@pytest.mark.dist
def test_the_line_of_the_error_works(tiny_arguments) -> None:
    """`accelerate launch --cpu --num_processes 2` would start one process; the error's line starts two."""
    argv = [*tiny_arguments, "--max_steps", "1", "--eval_strategy", "no", "--save_strategy", "no"]
    argv += ["--load_best_model_at_end", "false"]
    accelerate = [sys.executable, "-m", "accelerate.commands.accelerate_cli"]

    def run(line: list[str]) -> subprocess.CompletedProcess:
        return subprocess.run([*accelerate, *line], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)

    port = ["--main_process_port", str(free_port())]
    wrong = run(["launch", "--cpu", "--num_processes", "2", *port, "train_fgsgl.py", *argv])
    assert wrong.returncode != 0
    assert "MASTER_ADDR is set (127.0.0.1) and WORLD_SIZE is not" in wrong.stderr
    line = re.search(r"^ +accelerate (launch --multi_gpu .*)$", wrong.stderr, re.MULTILINE)
    assert line is not None
    words = shlex.split(line[1])
    words[1:1] = port
    right = run(words)
    assert right.returncode == 0, right.stderr[-3000:]
    assert record(argv)["machine"]["processes"] == 2


def test_deepspeed_files_leave_optimizer_and_sizes_to_the_recipe() -> None:
    for name, stage in (("ds_config.json", 2), ("ds_config_zero3.json", 3)):
        settings = json.loads((ROOT / name).read_text())
        assert settings["zero_optimization"]["stage"] == stage
        assert "optimizer" not in settings
        assert "scheduler" not in settings
        sizes = (
            "train_batch_size",
            "train_micro_batch_size_per_gpu",
            "gradient_accumulation_steps",
            "gradient_clipping",
        )
        assert {settings[size] for size in sizes} == {"auto"}
