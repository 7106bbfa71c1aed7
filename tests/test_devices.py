"""One run on one process or two, plain, DDP or DeepSpeed: the same curve, and each goes on from its own checkpoint."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import TINY_VISION, write_recipe
from safetensors.torch import load_file
from test_trainer import ROOT, logged, rank_environments, record, weights

from microgesture import checkpoints

pytest.importorskip("deepspeed", reason="the extra `deepspeed` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.dist, pytest.mark.timeout(600)]  # the first one compiles an extension
PLAIN = "none"
LAYOUTS = [(kind, processes) for kind in (PLAIN, "ZeRO-1", "ZeRO-2", "ZeRO-3") for processes in (1, 2)]
# 8 clips of 24 in a step: 3 steps an epoch, so that checkpoint-4 lies in the middle of the second one.
CLIPS_PER_STEP, STEPS, MIDDLE = 8, 6, 4


# ---- processes -----------------------------------------------------------------------------------------------------


def _train(argv: list[str], environment: dict[str, str], messages: str) -> None:
    """One process of a run, as a launcher starts it."""
    os.environ.update(environment)
    stream = os.open(messages, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # data loaders start their workers as in any other run
    import train_fgsgl

    train_fgsgl.main(argv)


def start(argv: list[str], processes: int, messages: Path) -> str:
    """Runs `train_fgsgl.py ARGV` in so many processes, forked off one that has everything imported.

    Returns:
        What they said, if they failed; else an empty text.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train_fgsgl", "deepspeed"])
    group = []
    for environment in rank_environments(processes):
        environment["OMP_NUM_THREADS"] = "1"  # accelerate would give each process all cores
        group.append(context.Process(target=_train, args=(argv, environment, str(messages))))
    for process in group:
        process.start()
    deadline = time.monotonic() + 400
    while any(process.exitcode is None for process in group) and time.monotonic() < deadline:
        if any(process.exitcode for process in group):  # the others would wait for it
            break
        group[0].join(0.05)
    for process in group:
        process.kill()
        process.join()
    return "" if all(process.exitcode == 0 for process in group) else messages.read_text()


@dataclass(frozen=True)
class Run:
    """A run of six optimizer steps; it sees the same clips in each, whatever its layout."""

    folder: Path
    name: str
    kind: str
    processes: int
    options: tuple[str, ...] = ()

    @property
    def output(self) -> Path:
        return self.folder / self.name

    @property
    def middle(self) -> Path:
        return self.output / f"checkpoint-{MIDDLE}"

    @property
    def argv(self) -> list[str]:
        each = CLIPS_PER_STEP // 2 // self.processes
        argv = [str(self.folder / "recipe.yaml"), "--per_device_train_batch_size", str(each), *self.options]
        argv += [] if self.kind == PLAIN else ["--deepspeed", str(self.folder / f"{self.kind}.json")]
        return [*argv, "--gradient_accumulation_steps", "2", "--output_dir", str(self.output)]

    def complaint(self) -> str:
        """Runs it; gives what it said if it failed, else nothing."""
        return start(self.argv, self.processes, self.folder / f"{self.name}.txt")

    def done(self) -> Run:
        assert self.complaint() == ""
        return self

    def other(self, name: str, *options: str, processes: int | None = None) -> Run:
        """A run with further options, in the same layout or with another number of processes."""
        return Run(
            self.folder, f"{self.name}-{name}", self.kind, processes or self.processes, (*self.options, *options)
        )


@pytest.fixture(scope="module")
def made(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory):
    """Makes runs that were never interrupted, each once."""
    folder, runs = tmp_path_factory.mktemp("devices"), {}
    fields = {
        "dataset_dir": str(tiny_dataset), "cache_dir": str(folder / "cache"), "vision_config": TINY_VISION,
        "vision_tuning": "full", "num_frames": 4, "embed_dim": 16, "temporal_pooling": "learned", "use_cpu": True,
        "num_train_epochs": 2, "fg_negatives": "global", "stage2_start": 0.3, "learning_rate": "1e-3", "seed": 0,
        "save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2, "logging_steps": 1,
        "disable_tqdm": True,
    }  # fmt: skip
    write_recipe(folder / "recipe.yaml", fields)
    for stage, source in ((1, "ds_config.json"), (2, "ds_config.json"), (3, "ds_config_zero3.json")):
        settings = json.loads((ROOT / source).read_text())
        settings["zero_optimization"]["stage"] = stage
        (folder / f"ZeRO-{stage}.json").write_text(json.dumps(settings))

    def make(kind: str, processes: int, *options: str) -> Run:
        key = (kind, processes, *options)
        if key not in runs:
            runs[key] = Run(folder, f"{kind}-{processes}-{len(runs)}", kind, processes, options).done()
        return runs[key]

    return make


def same_curve(a: Run, b: Run) -> None:
    """Loss and terms of every step within 1e-4, and so the weights that come out."""
    ours, theirs = logged(a.argv), logged(b.argv)
    assert len(ours) == STEPS
    for x, y in zip(ours, theirs, strict=True):
        assert set(x) == {"loss", "cls", "cp", "fg"}
        assert x == pytest.approx(y, rel=0, abs=1e-4)
    got = weights(b.argv)
    for name, value in weights(a.argv).items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=1e-4)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(value, b[name]) for name, value in a.items())


def goes_on_from_the_middle(run: Run) -> None:
    """Bit for bit as if it had not been interrupted."""
    again = run.other("again", "--resume_from_checkpoint", str(run.middle)).done()
    assert logged(again.argv) == logged(run.argv)
    assert equal(weights(again.argv), weights(run.argv))


# ---- tests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "processes"), LAYOUTS)
def test_every_layout_has_the_curve_of_one_process_and_goes_on_from_its_own_checkpoint(made, kind, processes) -> None:
    run = made(kind, processes)
    machine = record(run.argv)["machine"]
    assert machine["processes"] == processes
    assert ("DEEPSPEED" in machine["distributed"]) is (kind != PLAIN)
    layout = json.loads((run.middle / checkpoints.MANIFEST).read_text())["layout"]
    assert layout == {"processes": processes, "clips_per_step": CLIPS_PER_STEP, "sharding": kind}
    same_curve(made(PLAIN, 1), run)
    goes_on_from_the_middle(run)


def test_a_checkpoint_of_two_processes_under_ddp_goes_on_in_one(made) -> None:
    two = made(PLAIN, 2)
    one = two.other("in-one", "--resume_from_checkpoint", str(two.middle), processes=1).done()
    assert record(one.argv)["machine"]["processes"] == 1
    assert logged(one.argv)[:MIDDLE] == logged(two.argv)[:MIDDLE]
    same_curve(two, one)


@pytest.mark.parametrize(("kind", "then", "now"), [("ZeRO-2", 2, 1), ("ZeRO-3", 1, 2)])
def test_zero_on_another_number_of_processes_is_refused_and_starts_from_the_weights(made, kind, then, now) -> None:
    run = made(kind, then)
    refused = run.other("refused", "--resume_from_checkpoint", str(run.middle), processes=now).complaint()
    assert f"holds the {kind} shards of {then} processes, and this start has {now}" in refused
    assert f"Launch with --num_processes {then}, or start from its weights" in refused
    assert f"--init_from {run.middle} and another --output_dir" in refused
    for name, source in (("from-middle", run.middle), ("from-export", run.output)):
        still = ["--init_from", str(source), "--learning_rate", "0", "--max_steps", "1", "--eval_strategy", "no"]
        still += ["--save_strategy", "no", "--load_best_model_at_end", "false", "--seed", "7"]
        there = run.other(name, *still, processes=now).done()
        assert equal(weights(there.argv), load_file(source / "model.safetensors"))


def test_adapters_under_zero_3_go_on_without_their_backbone(made, published_folders, tmp_path) -> None:
    backbone = shutil.copytree(published_folders["internlm2", "original"], tmp_path / "backbone")
    options = ["--vision_tuning", "lora", "--lora_dropout", "0", "--backbone", str(backbone), "--vision_config", "{}"]
    one, sharded = made(PLAIN, 1, *options), made("ZeRO-3", 2, *options)
    ours, theirs = (load_file(run.output / "_base" / "model.safetensors") for run in (one, sharded))
    assert equal(ours, theirs)
    assert not (sharded.middle / "model.safetensors").exists()  # adapters and heads alone
    same_curve(one, sharded)
    shutil.rmtree(backbone)
    goes_on_from_the_middle(sharded)
