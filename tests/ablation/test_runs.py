"""What is left of a run, and who runs where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from microgesture.ablation.runs import Run, devices_for, run_all
from microgesture.evaluation.score_file import score_path


def test_only_what_is_left_is_done(tmp_path) -> None:
    run = Run("full", 2, tmp_path / "recipe.yaml", tmp_path / "seed_2", (Path("data"), ("test", "natural")), "cache")
    scripts = [(script, words[-2:]) for script, words in run.commands()]
    assert [script for script, _ in scripts] == ["train_fgsgl.py", "evaluate_fgsgl.py", "evaluate_fgsgl.py"]
    assert run.commands()[0][1][:3] == [str(tmp_path / "recipe.yaml"), "--seed", "2"]
    run.output.mkdir()
    (run.output / "metrics.json").write_text("{}")
    assert not run.trained  # the weights are moved into place last
    (run.output / "model.safetensors").touch()
    assert run.trained
    assert not run.done
    score_path(run.output, "test").touch()
    assert [words[3] for _, words in run.commands()] == ["natural"]
    score_path(run.output, "natural").touch()
    assert run.done
    assert run.commands() == []


def test_a_run_is_called_by_row_fold_and_seed(tmp_path) -> None:
    plain = Run("full", 2, tmp_path / "recipe.yaml", tmp_path / "seed_2", (Path("data"), ()), "cache")
    assert plain.name == "full, seed 2"
    assert replace(plain, fold="fold_7").name == "full, fold_7, seed 2"


def test_one_run_per_gpu_and_cores_shared_out(monkeypatch) -> None:
    assert devices_for(None, use_cpu=True) == [None]
    assert devices_for(3, use_cpu=True) == [None] * 3
    with pytest.raises(ValueError, match="--jobs is 0"):
        devices_for(0, use_cpu=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices_for(None, use_cpu=False) == ["0", "1", "2", "3"]
    assert devices_for(2, use_cpu=False) == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert devices_for(None, use_cpu=False) == ["5", "7"]
    with pytest.raises(ValueError, match="--jobs is 3, but there are 2 GPUs"):
        devices_for(3, use_cpu=False)


@pytest.mark.slow
@pytest.mark.dist
def test_a_run_that_fails_or_is_busy_is_said_and_stops_no_other(tiny_arguments, tmp_path) -> None:
    recipe, nowhere = Path(tiny_arguments[0]), (tmp_path, ())
    busy, lost, good = (
        Run(
            name, 0, recipe if name != "lost" else tmp_path / "none.yaml", tmp_path / name / "seed_0", nowhere, "cache"
        )
        for name in ("busy", "lost", "good")
    )
    said: list[str] = []
    busy.output.parent.mkdir()
    with FileLock(busy.output.with_name(".seed_0.lock")):
        assert run_all([busy, lost, good], [None, None], said.append) == [busy, lost]
    told = "\n".join(said)
    assert "busy, seed 0: another process is working at it" in told
    assert f"lost, seed 0: FAILED (see {tmp_path}/lost/seed_0.log)" in told
    assert "good, seed 0: done" in told
    assert "none.yaml does not exist" in (tmp_path / "lost" / "seed_0.log").read_text()
    assert good.trained
    assert not busy.trained
