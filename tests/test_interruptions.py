"""A run that is killed, told to stop or out of disk goes on and ends as the run that never was, bit for bit."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
from conftest import TINY_VISION
from interrupted_run import finish, start
from safetensors.torch import load_file
from test_trainer import ROOT, build, launch_command, logged, output, rank_environments, record, weights
from transformers import TrainerCallback

import train_fgsgl
from microgesture import checkpoints
from microgesture.resumable_trainer import EXIT_STATUS, Interrupted
from modeling_fgsgl import FGSGLForVideoClassification

EVERY_3_STEPS = [
    "--save_strategy", "steps", "--save_steps", "3", "--eval_strategy", "steps", "--eval_steps", "3",
]  # fmt: skip
VARIANTS = {
    # Adapters, their dropout and a base of their own; of three checkpoints two are kept.
    "lora": ["--vision_tuning", "lora", "--augment", "true", *EVERY_3_STEPS],
    "full": ["--augment", "true"],
}
SEED = 20


@dataclass(frozen=True)
class Reference:
    """A run that was never interrupted."""

    argv: list[str]
    seconds: float = 0
    changes: tuple[str, ...] = ()

    def elsewhere(self, folder: Path) -> list[str]:
        return [*self.argv, "--output_dir", str(folder), "--resume"]

    def is_equalled_by(self, argv: list[str]) -> None:
        expected, got = weights(self.argv), weights(argv)
        assert set(expected) == set(got)
        assert all(torch.equal(value, got[name]) for name, value in expected.items())
        assert logged(argv) == logged(self.argv)
        assert record(argv)["chosen_step"] == record(self.argv)["chosen_step"]


@pytest.fixture(autouse=True)
def one_thread():
    """The processes that are killed have one; another number would add floats in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def recipe(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("never_interrupted")
    path = folder / "recipe.yaml"
    path.write_text(
        f"dataset_dir: {tiny_dataset}\ncache_dir: {folder / 'cache'}\nvision_config: {TINY_VISION}\n"
        "vision_tuning: full\nnum_frames: 4\nembed_dim: 16\ntemporal_pooling: learned\nuse_cpu: true\nseed: 0\n"
        "num_train_epochs: 2\nper_device_train_batch_size: 4\nlogging_steps: 1\nlearning_rate: 1e-3\n"
        "stage2_start: 0.4\ndisable_tqdm: true\n"
    )
    return path


@pytest.fixture(scope="module")
def reference(recipe: Path):
    made: dict[str, Reference] = {}

    def make(variant: str) -> Reference:
        if variant not in made:
            out = recipe.parent / variant
            argv = [str(recipe), *VARIANTS[variant], "--output_dir", str(out)]
            began = time.monotonic()
            assert finish(start(argv, output=str(out), kill_at_change=0)) == 0
            changes = tuple(Path(f"{out}.changes").read_text().splitlines())
            made[variant] = Reference(argv, time.monotonic() - began, changes)
        return made[variant]

    return make


def nothing_half_written_passes_for_whole(out: Path, reference: Reference) -> None:
    """Looks at a folder as a killed run left it."""
    there = checkpoints.folders(out)
    for folder in there.values():
        if folder == next(iter(there.values())) or checkpoints.defect(folder) is None:
            weights_file = "adapter_model.safetensors" if "lora" in reference.argv else "model.safetensors"
            assert load_file(folder / weights_file)
            for name in ("optimizer.pt", "scheduler.pt", *(path.name for path in folder.glob("rng_state*.pth"))):
                assert (folder / name).stat().st_size > 0
            assert torch.load(folder / "optimizer.pt", weights_only=True)["state"]
    if (out / "model.safetensors").exists():
        model, expected = FGSGLForVideoClassification.from_pretrained(out), weights(reference.argv)
        assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    elif out.is_dir():
        with pytest.raises(OSError, match=r"no file named model\.safetensors"):
            FGSGLForVideoClassification.from_pretrained(out)


# ---- kill -9 -------------------------------------------------------------------------------------------------------


def killed_at_a_change(reference: Reference, out: Path, number: int) -> None:
    argv = reference.elsewhere(out)
    assert finish(start(argv, output=str(out), kill_at_change=number)) == -signal.SIGKILL
    nothing_half_written_passes_for_whole(out, reference)
    assert finish(start(argv)) == 0
    reference.is_equalled_by(argv)
    assert not (out / checkpoints.UNFINISHED).exists()


@pytest.mark.parametrize("quarter", range(4))
def test_killed_while_writing(reference, tmp_path, quarter: int) -> None:
    run = reference("lora")
    share = len(run.changes) / 4
    number = random.Random(SEED + quarter).randrange(int(quarter * share), int((quarter + 1) * share)) + 1
    killed_at_a_change(run, tmp_path / "out", number)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("part", range(12))
def test_killed_at_many_more_moments_of_writing(reference, tmp_path, variant: str, part: int) -> None:
    run = reference(variant)
    share = len(run.changes) / 12
    number = random.Random(SEED + part).randrange(int(part * share), int((part + 1) * share)) + 1
    killed_at_a_change(run, tmp_path / "out", number)


@pytest.mark.parametrize("file", ["optimizer.pt", "rng_state.pth"])
def test_killed_with_half_a_file_written(reference, tmp_path, file: str) -> None:
    run, out = reference("full"), tmp_path / "out"
    argv = run.elsewhere(out)
    assert finish(start(argv, half_of=file)) == -signal.SIGKILL
    assert checkpoints.folders(out) == {}
    assert (out / checkpoints.UNFINISHED / "checkpoint-6" / file).stat().st_size > 0
    assert finish(start(argv)) == 0
    run.is_equalled_by(argv)


def test_killed_three_times_at_any_moment(reference, tmp_path) -> None:
    run, out = reference("lora"), tmp_path / "out"
    argv, dice = run.elsewhere(out), random.Random(SEED)
    for _ in range(3):
        process = start(argv)
        process.join(dice.uniform(0.2, 0.9) * run.seconds)
        process.kill()
        assert finish(process) in (-signal.SIGKILL, 0)
        nothing_half_written_passes_for_whole(out, run)
    assert finish(start(argv)) == 0
    run.is_equalled_by(argv)


def together(argv: list[str], processes: int, half_of: str | None = None) -> list[int]:
    """Trains in processes that find each other, each with the threads that a launcher's would have.

    Args:
        argv: Command line of train_fgsgl.py.
        processes: How many.
        half_of: SIGKILL comes to each when half of such a file is written; `RANK` in it stands for its own rank.

    Returns:
        Exit statuses, negative for a signal.
    """
    group = []
    for environment in rank_environments(processes):
        mine = half_of and half_of.replace("RANK", environment["RANK"])
        environment["ACCELERATE_MIXED_PRECISION"] = "no"
        group.append(start(argv, half_of=mine, linger=1, environment=environment))
    return [finish(process) for process in group]


@pytest.fixture(scope="module")
def two_processes(recipe: Path):
    """Runs on two processes that were never interrupted, each made once."""
    made: dict[str, Reference] = {}

    def make(kind: str) -> Reference:
        if kind not in made:
            argv = [str(recipe), *EVERY_3_STEPS, "--output_dir", str(recipe.parent / kind)]
            if kind == "ZeRO-2":
                pytest.importorskip("deepspeed", reason="the extra `deepspeed` is not installed")
                argv += ["--deepspeed", str(ROOT / "ds_config.json")]
            assert together(argv, 2) == [0, 0]
            made[kind] = Reference(argv)
        return made[kind]

    return make


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.timeout(600)  # DeepSpeed compiles an extension
@pytest.mark.parametrize(
    ("kind", "file", "killed"),
    [
        ("DDP", "rng_state_RANK.pth", [0, 1]),
        ("DDP", "rng_state_1.pth", [1]),  # the first process has written all that it writes, and waits
        ("ZeRO-2", "global_step6/*_rank_RANK_*_optim_states.pt", [0, 1]),
    ],
)
def test_processes_killed_while_they_write_their_parts_of_a_checkpoint(two_processes, tmp_path, kind, file, killed):
    run, out = two_processes(kind), tmp_path / "out"
    argv = run.elsewhere(out)[:-1]
    statuses = together(argv, 2, half_of=f"checkpoint-6/{file}")
    assert [rank for rank in (0, 1) if statuses[rank] == -signal.SIGKILL] == killed
    assert 0 not in statuses
    assert list(checkpoints.folders(out)) == [3]
    for rank in killed:
        (half,) = (out / checkpoints.UNFINISHED / "checkpoint-6").glob(file.replace("RANK", str(rank)))
        assert half.stat().st_size > 0
    argv += ["--resume_from_checkpoint", "last"]
    assert together(argv, 2) == [0, 0]
    run.is_equalled_by(argv)
    assert not (out / checkpoints.UNFINISHED).exists()


def test_a_finished_run_that_ended_inside_an_epoch_takes_no_further_step(tiny_arguments, tmp_path) -> None:
    argv = [*tiny_arguments, *EVERY_3_STEPS, "--max_steps", "8", "--load_best_model_at_end", "false"]
    train_fgsgl.main(argv)
    before = weights(argv)
    (output(argv) / "model.safetensors").unlink()  # as if killed while exporting
    train_fgsgl.main([*argv, "--resume"])
    assert all(torch.equal(value, before[name]) for name, value in weights(argv).items())


def test_the_best_checkpoint_is_found_after_the_folder_was_moved(tiny_arguments, tmp_path) -> None:
    argv = [*tiny_arguments, "--output_dir", str(tmp_path / "here"), "--metric_for_best_model", "loss"]
    argv += ["--greater_is_better", "true", "--ml_co", "false"]  # the worst: never the last, with these settings
    train_fgsgl.main(argv)
    best = record(argv)["chosen_step"]
    assert best == 6
    before = weights(argv)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = [*argv, "--output_dir", str(tmp_path / "there"), "--resume"]
    train_fgsgl.main(moved)
    assert all(torch.equal(value, before[name]) for name, value in weights(moved).items())
    shutil.rmtree(tmp_path / "there" / f"checkpoint-{best}")
    with pytest.raises(FileNotFoundError, match=r"the best weights so far are in .*checkpoint-6, which is not there"):
        train_fgsgl.main(moved)


# ---- SIGTERM -------------------------------------------------------------------------------------------------------


class TermAt(TrainerCallback):
    """Sends SIGTERM to this process in the middle of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        if state.global_step + 1 == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def uninterrupted(reference) -> Reference:
    return reference("full")


@pytest.mark.parametrize(("step", "epoch_end"), [(4, False), (6, True), (12, True)])
def test_sigterm_finishes_the_step_and_writes_a_checkpoint(uninterrupted, tmp_path, step, epoch_end) -> None:
    """At the end of an epoch the evaluation that chooses the best checkpoint comes before it."""
    argv = uninterrupted.elsewhere(tmp_path / "out")
    trainer = build(argv)
    trainer.add_callback(TermAt(step))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(
        Interrupted, match=rf"stopped by SIGTERM after writing .*checkpoint-{step}; go on with .*--resu"
    ):
        trainer.train()
    assert signal.getsignal(signal.SIGTERM) == before
    assert max(checkpoints.folders(tmp_path / "out")) == step
    assert checkpoints.defect(tmp_path / "out" / f"checkpoint-{step}") is None
    assert any("eval_top1" in e and e["step"] == step for e in trainer.state.log_history) is epoch_end
    train_fgsgl.main(argv)
    uninterrupted.is_equalled_by(argv)


@pytest.mark.parametrize("workers", [0, 1])
def test_sigterm_from_outside_ends_with_its_own_status_and_says_how_to_go_on(reference, tmp_path, workers) -> None:
    run, out, said = reference("full"), tmp_path / "out", tmp_path / "said.txt"
    argv = [*run.elsewhere(out), "--num_train_epochs", "50", "--dataloader_num_workers", str(workers)]
    process = start(argv, messages=str(said), own_group=True)
    while not (out / "checkpoint-6").is_dir():
        assert process.is_alive(), said.read_text()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)  # as a cluster does: to the workers of the data loader as well
    assert finish(process) == EXIT_STATUS == 143
    last = max(checkpoints.folders(out))
    assert f"after writing {out}/checkpoint-{last}; go on with the same command and --resume" in said.read_text()
    assert not (out / "model.safetensors").exists()


def launch(processes: int, argv: list[str]) -> subprocess.Popen:
    """Starts training as people do. The pipe with what is said closes when the last of all processes has ended."""
    command = launch_command(processes, ROOT / "train_fgsgl.py", *argv)
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stopped(process: subprocess.Popen, out: Path, when: Path, rank: int | None = None) -> int:
    """Sends SIGTERM to a launcher, or to one of its processes alone; gives the step that a checkpoint was written at.

    Args:
        process: The launcher.
        out: The run's folder.
        when: The file or folder whose appearance is waited for.
        rank: The process that gets the signal instead of the launcher.
    """
    while not when.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.002)
    family = psutil.Process(process.pid).children()
    (process if rank is None else next(one for one in family if one.environ()["RANK"] == str(rank))).terminate()
    try:
        said = process.communicate(timeout=240)[0]
    finally:
        for one in filter(psutil.Process.is_running, family):  # they wait for each other
            one.kill()
    assert process.returncode != 0
    last = max(checkpoints.folders(out), default=0)
    assert f"stopped by SIGTERM after writing {out}/checkpoint-{last}; go on with the same command" in said, said
    assert checkpoints.defect(out / f"checkpoint-{last}") is None
    return last


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.timeout(600)  # the launcher and what it starts import torch anew, each time
@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_under_a_launcher_stops_all_processes_at_one_step(recipe, tmp_path, processes) -> None:
    argv = [str(recipe), *EVERY_3_STEPS, "--max_steps", "30"]
    run, out = Reference([*argv, "--output_dir", str(tmp_path / "never")]), tmp_path / "out"
    assert together(run.argv, processes) == [0] * processes
    argv = [*run.elsewhere(out)[:-1], "--cache_dir", str(tmp_path / "cache")]
    if processes == 1:  # before there is a trainer; nobody but the launcher is told
        first = stopped(launch(1, argv), out, when=tmp_path / "cache")
    else:
        first = stopped(launch(2, argv), out, when=out / "checkpoint-3", rank=1)
    nothing_half_written_passes_for_whole(out, run)
    argv += ["--resume_from_checkpoint", "last"]
    then = stopped(launch(processes, argv), out, when=out / f"checkpoint-{first // 3 * 3 + 6}")
    assert first < then < 30
    nothing_half_written_passes_for_whole(out, run)
    end = launch(processes, argv)
    said = end.communicate(timeout=240)[0]
    assert end.returncode == 0, said
    run.is_equalled_by(argv)


# ---- a full disk ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("largest_file", [50_000, 400_000])  # the weights do not fit, or only the optimizer does not
def test_a_full_disk_is_one_clear_error_and_the_last_checkpoint_is_unharmed(reference, tmp_path, largest_file) -> None:
    run, out, said = reference("full"), tmp_path / "out", tmp_path / "said.txt"
    argv = run.elsewhere(out)
    trainer = build(argv)
    trainer.add_callback(TermAt(4))
    with pytest.raises(Interrupted):
        trainer.train()
    process = start(argv, largest_file=largest_file, messages=str(said))
    assert finish(process) == 1
    error = said.read_text().strip().splitlines()[-1]
    assert "checkpoint-6 could not be written to" in error
    assert "a file would be larger than is allowed here" in error
    assert f"{out}/checkpoint-4 is whole and unharmed. Make room" in error
    assert [path.name for path in out.iterdir()] == ["checkpoint-4"]
    assert finish(start(argv)) == 0
    run.is_equalled_by(argv)


def test_a_disk_without_room_for_the_frames_is_one_clear_error_and_the_same_line_goes_on(reference, tmp_path) -> None:
    """The text bank still fits; a clip of the varied training set, 12 frames of 32 x 32 (36,864 bytes), does not."""
    run, out, said, cache = reference("full"), tmp_path / "out", tmp_path / "said.txt", tmp_path / "cache"
    argv = [*run.elsewhere(out), "--cache_dir", str(cache)]
    assert finish(start(argv, largest_file=20_000, messages=str(said))) == 1
    error = said.read_text().strip().splitlines()[-1]
    assert f"frames of clips could not be written to {cache}/frames: a file would be larger than is allowed" in error
    assert error.endswith(
        "What is there already is whole and kept: free space and start the same line again, or give another "
        "--cache_dir, or train with --cache_form jpeg, a twentieth of raw frames. "
        "24 clips were left; as raw they take at most 0.9 MB."
    )
    assert "DataLoader worker" not in said.read_text()
    assert {path.parent.name for path in (cache / "frames").rglob("*") if path.is_file()} <= {"frames", "digests"}
    assert finish(start(argv)) == 0
    run.is_equalled_by(argv)
