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
from data_sets import data_set

from microgesture.data.clips import METADATA_FILE
from microgesture.evaluation.score_file import score_path, scores_of
from microgesture.recipes import read_recipe
from microgesture.run_record import read_run_record

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


def two_folds(source: Path, out: Path) -> list[str]:
    """The tiny data set twice: who tests in one folder validates in the other."""
    rows: dict[str, list[dict]] = {}
    for split in ("train", "validation", "test"):
        lines = (source / split / METADATA_FILE).read_text().splitlines()
        for row in map(json.loads, lines):
            file = source / split / row.pop("file_name")
            rows.setdefault(split, []).append(row | {"file": file, "as": f"{row['subject']}_{file.name}"})
    classes = json.loads((source / "labels.json").read_text())["classes"]
    for name, validation, test in (("fold_d", "test", "validation"), ("fold_e", "validation", "test")):
        splits = {"train": rows["train"], "validation": rows[validation], "test": rows[test]}
        data_set(out / name, splits, classes=classes)
    return [str(out / "fold_d"), str(out / "fold_e")]


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.timeout(600)
def test_two_folds_and_their_common_table(tiny_arguments, tiny_dataset, tmp_path) -> None:
    folds = two_folds(tiny_dataset, tmp_path / "folds")
    recipe = ablation_recipe(tiny_arguments, tmp_path, folds=folds, rows={"full": ROWS["full"]})
    printed, _ = (ablation := start(recipe)).communicate(timeout=500)
    assert ablation.returncode == 0, printed
    assert "full, fold_e, seed 0: done" in printed
    for name, folder in zip(("fold_d", "fold_e"), folds, strict=True):
        run = tmp_path / "ablation" / "full" / name
        assert read_recipe(run / "recipe.yaml")["dataset_dir"] == folder
        scores = scores_of(run / "seed_0", "test")
        assert set(scores.subjects) == {name[-1]}
    table = json.loads((tmp_path / "ablation" / "ablation.json").read_text())
    (row,) = table["rows"]
    assert (table["test"]["clips"], table["test"]["subjects"], row["total"]) == (16, 2, 16)
    by_person = {name: about["correct"] for name, about in row["per_subject"].items()}
    assert sorted(by_person) == ["d", "e"]
    assert by_person["d"][0] + by_person["e"][0] == row["correct"][0]
    # A clip is decoded once for both folds: 24 for training, and 16 that validate in one and test in the other.
    assert len(list((tmp_path / "cache" / "frames").glob("*/*.raw"))) == 40


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.timeout(600)
def test_a_search_validates_its_trials_and_tests_their_best(tiny_arguments, tmp_path) -> None:
    pytest.importorskip("optuna", reason="the extra `search` is not installed")
    space = {"metric": "macro_f1", "fields": {"learning_rate": [1e-6, 2e-3]}}
    recipe = ablation_recipe(tiny_arguments, tmp_path, search=space)
    out = tmp_path / "ablation_searched"
    printed, _ = (ablation := start(recipe, "--search", "2")).communicate(timeout=500)
    assert ablation.returncode == 0, printed
    for row in ROWS:
        found = json.loads((out / row / "search.json").read_text())
        assert len(found["trials"]) == 2
        for trial in found["trials"]:
            folder = out / row / "trials" / str(trial["number"])
            assert read_recipe(folder / "recipe.yaml")["learning_rate"] == trial["fields"]["learning_rate"]
            assert read_run_record(folder / "seed_0")["validation"]["macro_f1"] == trial["value"]
            assert not score_path(folder / "seed_0", "test").exists()
        assert read_recipe(out / row / "recipe.yaml")["learning_rate"] == found["best"]["learning_rate"]
        assert scores_of(out / row / "seed_0", "test").labels.size == 8
    assert "learning_rate" in (out / "ablation.md").read_text()


def working_on(folder: Path) -> bool:
    """Whether any process has a file below the folder open."""
    for process in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(folder) in os.readlink(process):
                return True
        except OSError:
            continue
    return False
