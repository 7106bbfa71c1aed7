"""The table of an ablation, from score files and records whose content is known."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from microgesture.ablation.plan import Plan, read_plan
from microgesture.ablation.runs import Run
from microgesture.ablation.table import make_table, write_table
from microgesture.evaluation.comparison import compare, holm
from microgesture.evaluation.report.ablations import Ablation, ablation_blocks
from microgesture.evaluation.report.page import Text
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


def adapted(run: Run, splits: tuple[str, ...] = SPLITS) -> Run:
    """The run, as one that was adapted to the clips of these splits."""
    for split in splits:
        path = score_path(run.output, split)
        replace(Scores.read(path), transductive=True).save(path)
    return run


def test_transductive_figures_are_called_so_and_stand_beside_no_others(plan, tmp_path) -> None:
    full, coarse = (make_run(tmp_path, row, 0) for row in ("full", "coarse"))
    assert "ransductive" not in write_table(plan, [full, coarse], tmp_path)
    adapted(coarse, ("natural",))
    with pytest.raises(ValueError, match=r"coarse, seed 0 on natural was adapted .* coarse, seed 0 on test was not"):
        make_table(plan, [coarse])
    adapted(coarse)
    with pytest.raises(ValueError, match=r"coarse, seed 0 was adapted .* full, seed 0 was not"):
        make_table(plan, [full, coarse])
    adapted(full)
    assert "**Transductive: " in write_table(plan, [full, coarse], tmp_path)
    told = Ablation.read(tmp_path)
    said = [block.text for block in ablation_blocks(told, "a") if isinstance(block, Text) and block.kind == "warning"]
    assert [text.startswith("Transductive: ") for text in said] == [True]
    assert told.paper_rows() == {}


def test_runs_of_two_commits_are_marked(plan, tmp_path) -> None:
    runs = [make_run(tmp_path, row, 0) for row in ("full", "coarse")]
    path = runs[1].output / "metrics.json"
    path.write_text(path.read_text().replace('"abc"', '"def"'))
    assert "Runs of more than one commit stand in this table." in write_table(plan, runs, tmp_path)


def test_without_a_finished_run_there_is_no_table(plan, tmp_path) -> None:
    with pytest.raises(ValueError, match="no run is done"):
        write_table(plan, [], tmp_path)


# ---- folds ---------------------------------------------------------------------------------------------------------

PERSON_OF_FOLD = {"fold_1": "one", "fold_2": "two", "fold_3": "three"}


def fold_plan(folder: Path) -> Plan:
    fields = {"dataset_dir": "x", "output_dir": "y", "rows": {"full": {}, "coarse": {}}}
    fields["folds"] = [f"data/{name}" for name in PERSON_OF_FOLD]
    (folder / "folds.yaml").write_text(yaml.safe_dump(fields, sort_keys=False))
    return read_plan(folder / "folds.yaml")


def make_fold_run(folder: Path, row: str, fold: str, seed: int, right: int, clips: str = "", data: str = "") -> Run:
    """A finished run whose test person has six clips, the first `right` of them right."""
    output = folder / row / fold / f"seed_{seed}"
    output.mkdir(parents=True)
    (output / "model.safetensors").touch()
    labels = np.arange(6) % 3
    predicted = np.where(np.arange(6) < right, labels, (labels + 1) % 3)
    names = tuple(f"{clips or fold}_{n}.mp4" for n in range(6))
    Scores(
        "x", "test", ("a", "b", "c"), names, (PERSON_OF_FOLD[fold],) * 6, labels,
        np.eye(3, dtype=np.float32)[predicted], weights_digest(output),
    ).save(score_path(output, "test"))  # fmt: skip
    record = {
        "commit": "abc", "data_fingerprint": data or f"data of {fold}", "versions": {}, "train_seconds": 60.0,
        "log": [], "sentences": {"text": "class-level text", "record_bits_given_class": 0.0, "provenance": {}},
    }  # fmt: skip
    (output / "metrics.json").write_text(json.dumps(record))
    return Run(row, seed, output.parent / "recipe.yaml", output, (folder, ("test",)), "cache", fold)


def fold_runs(folder: Path, row: str, seed: int, *right: int, **more: str) -> list[Run]:
    return [make_fold_run(folder, row, fold, seed, k, **more) for fold, k in zip(PERSON_OF_FOLD, right, strict=True)]


def test_every_fold_counts_in_one_figure_and_every_person_has_one_too(tmp_path) -> None:
    runs = [
        *fold_runs(tmp_path, "full", 0, 6, 3, 2), *fold_runs(tmp_path, "full", 1, 5, 3, 3),
        *fold_runs(tmp_path, "coarse", 0, 4, 3, 3), *fold_runs(tmp_path, "coarse", 1, 4, 3, 4),
    ]  # fmt: skip
    text = write_table(fold_plan(tmp_path), runs[::-1], tmp_path)
    table = json.loads((tmp_path / "ablation.json").read_text())
    assert table["test"] == {"dataset": "x", "splits": ["test"], "clips": 18, "subjects": 3}
    full, coarse = table["rows"]
    assert (full["correct"], full["total"], coarse["correct"]) == ([11, 11], 18, [10, 11])
    assert full["per_subject"] == {
        "one": {"clips": 6, "correct": [6, 5]},
        "three": {"clips": 6, "correct": [2, 3]},
        "two": {"clips": 6, "correct": [3, 3]},
    }
    compared = coarse["compared"]
    assert {name: round(about["difference"] * 12) for name, about in compared["per_subject"].items()} == {
        "one": -3, "three": 2, "two": 0,
    }  # fmt: skip
    assert (compared["interval"], compared["p"], coarse["p_holm"]) == (None, None, None)
    assert compared["difference"] == pytest.approx(-0.5 / 18)
    assert (table["train_hours"], full["train_seconds"]["mean"]) == (pytest.approx(0.2), 60)
    assert "| row | subject one, of 6 | subject three, of 6 | subject two, of 6 |" in text
    assert "| full | 5.5 | 2.5 | 3.0 |" in text
    assert "| coarse | 4.0 (-25.0) | 3.5 (+16.7) | 3.0 (+0.0) |" in text
    assert table["data"] == ["data of fold_1+data of fold_2+data of fold_3"]
    assert "more than one" not in text


def test_a_stream_has_no_sentences_and_is_no_row_of_the_papers_tables(tmp_path) -> None:
    runs = fold_runs(tmp_path, "full", 0, 6, 3, 2) + fold_runs(tmp_path, "coarse", 0, 4, 3, 3)
    for run in runs:
        path = run.output / "metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"sentences": {}}))
    text = write_table(fold_plan(tmp_path), runs, tmp_path)
    assert re.search(r"\| full \| 1 \| 11 \| .* \| – \| – \| 1\.0 \|", text)
    found = Ablation.read(tmp_path)
    assert found.paper_rows() == {}
    assert "–" in str(ablation_blocks(found, ""))


def test_a_seed_that_lacks_a_fold_does_not_count_yet(tmp_path) -> None:
    plan, whole = fold_plan(tmp_path), fold_runs(tmp_path, "full", 0, 6, 3, 2)
    begun = fold_runs(tmp_path, "coarse", 0, 4, 3, 3)[:2]
    assert [row["row"] for row in make_table(plan, whole + begun)["rows"]] == ["full"]
    with pytest.raises(ValueError, match="no run is done in every fold"):
        make_table(plan, begun)


def test_a_fold_whose_data_have_changed_is_marked(tmp_path) -> None:
    runs = fold_runs(tmp_path, "full", 0, 6, 3, 2) + fold_runs(tmp_path, "coarse", 0, 6, 3, 2, data="other")
    assert "Runs of more than one data stand in this table." in write_table(fold_plan(tmp_path), runs, tmp_path)


def test_folds_that_test_a_clip_twice_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"clip test/same_0\.mp4 is tested in two folds"):
        make_table(fold_plan(tmp_path), fold_runs(tmp_path, "full", 0, 6, 3, 2, clips="same"))
