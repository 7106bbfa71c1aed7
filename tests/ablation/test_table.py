"""The table of an ablation, from score files and records whose content is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from microgesture.ablation.plan import read_plan
from microgesture.ablation.runs import Run
from microgesture.ablation.table import make_table, write_table
from microgesture.evaluation.comparison import compare, holm
from microgesture.evaluation.score_file import Scores, score_path, weights_digest

PEOPLE = [f"p{n // 3}" for n in range(30)]
LABELS = np.arange(30) % 3
SPLITS = ("test", "natural")


def predictions(row: str, seed: int) -> np.ndarray:
    wrong = {"full": 6, "coarse": 12, "other": 9}[row] + seed
    rng = np.random.default_rng([seed, len(row)])
    result = LABELS.copy()
    result[rng.permutation(30)[:wrong]] += 1
    return result % 3


def make_run(folder: Path, row: str, seed: int, names: list[str] | None = None) -> Run:
    """A finished run of 30 clips in two splits."""
    output = folder / row / f"seed_{seed}"
    output.mkdir(parents=True)
    (output / "model.safetensors").touch()
    logits = np.eye(3, dtype=np.float32)[predictions(row, seed)]
    names = names or [f"{n}.mp4" for n in range(30)]
    for split, part in zip(SPLITS, (slice(0, 18), slice(18, 30)), strict=True):
        Scores(
            "x", split, ("a", "b", "c"), tuple(names[part]), tuple(PEOPLE[part]), LABELS[part], logits[part],
            weights_digest(output),
        ).save(score_path(output, split))  # fmt: skip
    record = {
        "commit": "abc", "data_fingerprint": "d1", "versions": {"torch": "2"}, "train_seconds": 60.0 * (seed + 1),
        "log": [{"fg_keys": 4.0}, {"fg_keys": 2.0}] if row != "other" else [],
        "sentences": {"text": "class-level text" if row == "coarse" else "fine-grained text",
                      "record_bits_given_class": 0.0 if row == "coarse" else 1.5, "provenance": {"human": 1.0}},
    }  # fmt: skip
    (output / "metrics.json").write_text(json.dumps(record))
    return Run(row, seed, folder / row / "recipe.yaml", output, (folder, SPLITS), "cache")


@pytest.fixture
def plan(tmp_path):
    rows = {"full": {}, "coarse": {"hypothesis": "Worse.", "fields": {"fg_text": "class"}}, "other": {}, "never": {}}
    fields = {"dataset_dir": "x", "output_dir": "y", "rows": rows, "test_splits": list(SPLITS)}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(fields, sort_keys=False))
    return read_plan(tmp_path / "a.yaml")


def test_figures_of_a_row_are_those_of_its_clips(plan, tmp_path) -> None:
    runs = [make_run(tmp_path, row, seed) for row in ("full", "coarse") for seed in range(3)] + [
        make_run(tmp_path, "other", seed) for seed in (1, 7)
    ]
    table = make_table(plan, runs)
    assert [row["row"] for row in table["rows"]] == ["full", "coarse", "other"]
    full, coarse, other = table["rows"]
    assert (full["correct"], full["total"], full["seeds"]) == ([24, 23, 22], 30, [0, 1, 2])
    assert full["top1"] == {"mean": pytest.approx(23 / 30), "deviation": pytest.approx(1 / 30)}
    assert full["train_seconds"]["mean"] == 120
    assert (full["sentences_compared"], other["sentences_compared"]) == (3.0, None)
    assert full["compared"] is full["p_holm"] is None

    # The comparison is that of the evaluation room, over the seeds that both have.
    pairs = [np.stack([predictions(row, seed) for seed in range(3)]) for row in ("full", "coarse")]
    assert coarse["compared"] == {"seeds": [0, 1, 2]} | compare(*pairs, LABELS, PEOPLE)
    assert other["compared"]["seeds"] == [1]
    assert [coarse["p_holm"], other["p_holm"]] == holm([coarse["compared"]["p"], other["compared"]["p"]])
    assert table["test"] == {"dataset": "x", "splits": list(SPLITS), "clips": 30, "subjects": 10}


def test_the_markdown_has_a_line_per_row_and_says_what_class_level_is(plan, tmp_path) -> None:
    runs = [make_run(tmp_path, row, seed) for row in ("full", "coarse") for seed in range(2)]
    text = write_table(plan, [*runs, Run("never", 0, tmp_path, tmp_path / "never", (tmp_path, SPLITS), "c")], tmp_path)
    assert (tmp_path / "ablation.md").read_text() == text
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("|")}
    assert "| 24 23 | 78.3 ± 2.4 |" in lines["full"]
    assert "0.00 (class-level text)" in lines["coarse"]
    assert "never" not in lines
    assert '* `coarse` (rows): Worse. `fg_text: "class"`' in text
    assert "30 clips of 10 people" in text
    assert json.loads((tmp_path / "ablation.json").read_text())["train_hours"] == pytest.approx(0.1)


def test_what_a_search_found_stands_with_the_row(plan, tmp_path) -> None:
    run = make_run(tmp_path, "coarse", 0)
    (tmp_path / "coarse" / "search.json").write_text('{"best": {"lambda_cp": 0.25}}')
    assert make_table(plan, [run])["rows"][0]["fields"] == {"fg_text": "class", "lambda_cp": 0.25}


def test_runs_on_different_clips_are_not_compared(plan, tmp_path) -> None:
    runs = [make_run(tmp_path, "full", 0), make_run(tmp_path, "coarse", 0, [f"other{n}.mp4" for n in range(30)])]
    with pytest.raises(ValueError, match="hold other clips"):
        make_table(plan, runs)


def test_runs_of_two_commits_are_marked(plan, tmp_path) -> None:
    runs = [make_run(tmp_path, row, 0) for row in ("full", "coarse")]
    path = runs[1].output / "metrics.json"
    path.write_text(path.read_text().replace('"abc"', '"def"'))
    assert "Runs of more than one commit stand in this table." in write_table(plan, runs, tmp_path)


def test_without_a_finished_run_there_is_no_table(plan, tmp_path) -> None:
    with pytest.raises(ValueError, match="no run is done"):
        write_table(plan, [], tmp_path)
