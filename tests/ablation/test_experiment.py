"""An ablation of two rows with real runs: killed, resumed, and a table from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from microgesture.arguments import read_recipe
from microgesture.evaluation.score_file import score_path

ROWS = {
    "full": {"group": "paper", "hypothesis": "The method."},
    "class_level_text": {"group": "paper", "hypothesis": "Worse.", "fields": {"fg_text": "class"}},
}


def ablation_recipe(tiny_arguments: list[str], folder: Path, **more) -> Path:
    """An ablation recipe over the tiny recipe: one epoch, nothing saved on the way."""
    fields = read_recipe(Path(tiny_arguments[0])) | {"num_train_epochs": 1, "save_strategy": "no"}
    fields |= {"load_best_model_at_end": False, "output_dir": str(folder / "ablation"), "rows": ROWS} | more
    path = folder / "ablation.yaml"
    path.write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")
    return path


def start(recipe: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "microgesture.cli", "ablate", str(recipe), "--seeds", "1", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=recipe.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(condition, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.timeout(600)
def test_two_rows_killed_and_resumed_and_their_table(tiny_arguments, tmp_path) -> None:
    recipe = ablation_recipe(tiny_arguments, tmp_path)
    out = tmp_path / "ablation"
    scores = {row: score_path(out / row / "seed_0", "test") for row in ROWS}

    first = start(recipe)
    log = out / "class_level_text" / "seed_0.log"
    wait_for(lambda: scores["full"].is_file() and log.is_file() and "sentences:" in log.read_text())
    first.kill()
    first.communicate()
    wait_for(lambda: not working_on(out))
    assert not scores["class_level_text"].is_file()
    assert not (out / "ablation.json").exists()
    before = scores["full"].stat().st_mtime_ns

    # Half-written: a record without weights, which are moved into place last, is not taken for a whole run.
    (out / "class_level_text" / "seed_0").mkdir(exist_ok=True)
    shutil.copy(out / "full" / "seed_0" / "metrics.json", out / "class_level_text" / "seed_0" / "metrics.json")
    printed, _ = (second := start(recipe)).communicate(timeout=400)
    assert second.returncode == 0, printed
    assert "2 runs, 1 of them done before" in printed
    assert "[1/1] class_level_text, seed 0: done" in printed
    assert scores["full"].stat().st_mtime_ns == before  # the test split is read once

    table = json.loads((out / "ablation.json").read_text())
    assert [row["row"] for row in table["rows"]] == list(ROWS)
    full, coarse = table["rows"]
    assert full["total"] == coarse["total"] == 8
    assert full["compared"] is None
    assert coarse["compared"]["difference"] == pytest.approx((coarse["correct"][0] - full["correct"][0]) / 8)
    assert coarse["text"] == "class-level text"
    assert coarse["record_bits_given_class"] == 0 < full["record_bits_given_class"]
    assert "(class-level text)" in (out / "ablation.md").read_text()
    assert len(table["data"]) == 1
    # A row is also a plain run.
    assert read_recipe(out / "class_level_text" / "recipe.yaml")["fg_text"] == "class"


def working_on(folder: Path) -> bool:
    """Whether any process has a file below the folder open."""
    for process in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(folder) in os.readlink(process):
                return True
        except OSError:
            continue
    return False
