"""DeepSpeed on a CPU: really DeepSpeed, the same figures as without it, and a whole checkpoint from ZeRO-3 shards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_trainer import PLAIN_STEP, free_port, logged, output, record, train, weights

from modeling_fgsgl import FGSGLForVideoClassification

pytest.importorskip("deepspeed", reason="the extra `deepspeed` is not installed")
ROOT = Path(__file__).resolve().parent.parent


def run_alone(argv: list[str]) -> None:
    """One process without a launcher, as somebody types it."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "train_fgsgl.py"), *argv],
        cwd=ROOT, env=os.environ | {"MASTER_PORT": str(free_port())}, capture_output=True, text=True, timeout=280,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.dist
def test_zero_2_gives_the_figures_of_a_run_without_it(tiny_arguments, tmp_path) -> None:
    base = [*tiny_arguments, *PLAIN_STEP, "--max_steps", "3"]
    plain = [*base, "--output_dir", str(tmp_path / "plain")]
    sharded = [*base, "--output_dir", str(tmp_path / "sharded"), "--deepspeed", str(ROOT / "ds_config.json")]
    train(plain)
    run_alone(sharded)
    assert "DEEPSPEED" in record(sharded)["machine"]["distributed"]
    for a, b in zip(logged(plain), logged(sharded), strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    got = weights(sharded)
    for name, value in weights(plain).items():
        torch.testing.assert_close(got[name], value, rtol=1e-4, atol=2e-6)


@pytest.mark.slow
@pytest.mark.dist
def test_zero_3_with_lora_leaves_a_whole_plain_checkpoint(tiny_arguments, tmp_path) -> None:
    settings = json.loads((ROOT / "ds_config.json").read_text())
    settings["zero_optimization"]["stage"] = 3
    (tmp_path / "z3.json").write_text(json.dumps(settings))
    argv = [*tiny_arguments, "--vision_tuning", "lora"]
    run_alone([*argv, "--deepspeed", str(tmp_path / "z3.json")])
    saved = load_file(output(argv) / "model.safetensors")
    assert all(value.numel() for value in saved.values())
    model = FGSGLForVideoClassification.from_pretrained(output(argv)).eval()
    assert set(saved) == set(model.state_dict())
    assert model(torch.zeros(1, 4, 3, 32, 32)).logits.isfinite().all()
