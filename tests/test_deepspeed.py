"""DeepSpeed on a CPU as people type it: by the launcher, or without one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from test_trainer import GENTLE_STEP, ROOT, free_port, logged, output, record, train, weights

from modeling_fgsgl import FGSGLForVideoClassification

pytest.importorskip("deepspeed", reason="the extra `deepspeed` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.dist, pytest.mark.timeout(600)]  # the first one compiles an extension


def run(command: list[str], **variables: str) -> None:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_launch_line_of_the_readme_gives_the_figures_of_a_run_without_deepspeed(tiny_arguments, tmp_path) -> None:
    """accelerate alone is told of DeepSpeed here, train_fgsgl.py is not."""
    argv = [*tiny_arguments, *GENTLE_STEP, "--max_steps", "3", "--fg_negatives", "global"]
    plain = [*argv, "--output_dir", str(tmp_path / "plain"), "--gradient_accumulation_steps", "2"]
    sharded = [*argv, "--output_dir", str(tmp_path / "sharded")]
    train(plain)
    launch = ["-m", "accelerate.commands.launch", "--use_deepspeed", "--deepspeed_config_file", "ds_config.json"]
    launch += ["--num_processes", "2", "--main_process_port", str(free_port())]
    run([*launch, "train_fgsgl.py", *sharded])
    machine = record(sharded)["machine"]
    assert "DEEPSPEED" in machine["distributed"]
    assert machine["processes"] == 2
    for a, b in zip(logged(plain), logged(sharded), strict=True):
        assert a == pytest.approx(b, rel=0, abs=1e-4)
    got = weights(sharded)
    for name, value in weights(plain).items():
        torch.testing.assert_close(got[name], value, rtol=1e-4, atol=2e-6)


def test_zero_3_with_lora_without_a_launcher_leaves_a_whole_plain_checkpoint(tiny_arguments) -> None:
    argv = [*tiny_arguments, "--vision_tuning", "lora", "--bf16", "true", "--deepspeed", "ds_config_zero3.json"]
    run(["train_fgsgl.py", *argv], MASTER_PORT=str(free_port()))
    saved = load_file(output(tiny_arguments) / "model.safetensors")
    assert all(value.numel() for value in saved.values())
    model = FGSGLForVideoClassification.from_pretrained(output(tiny_arguments)).eval()
    assert set(saved) == set(model.state_dict())
    assert model(torch.zeros(1, 4, 3, 32, 32)).logits.isfinite().all()
