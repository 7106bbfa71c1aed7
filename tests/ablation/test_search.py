"""`--search`: equally many trials for every row, on validation, resumed where it stopped."""

from __future__ import annotations

import builtins
import json
import math
from dataclasses import replace

import pytest
import yaml

from microgesture.ablation.plan import Fold, read_plan
from microgesture.ablation.search import search
from microgesture.recipes import read_recipe

SPACE = {"metric": "top1", "fields": {"lambda_cp": {"low": 0.01, "high": 1, "log": True}, "temperature": [0.1, 0.2]}}


@pytest.fixture
def plan(tmp_path):
    rows = {"full": {}, "sharp": {"fields": {"temperature": 0.02}}}
    fields = {"dataset_dir": "x", "output_dir": "y", "rows": rows, "search": SPACE}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(fields, sort_keys=False))
    return read_plan(tmp_path / "a.yaml")


def train(runs) -> None:
    """Leaves what a training leaves; validation is best at lambda_cp 0.1 and temperature 0.2."""
    for run in runs:
        assert run.test[1] == ()  # nothing is tested
        fields = read_recipe(run.recipe)
        value = -abs(math.log10(fields["lambda_cp"]) + 1) + fields["temperature"]
        run.output.mkdir(parents=True)
        (run.output / "model.safetensors").touch()
        (run.output / "metrics.json").write_text(json.dumps({"validation": {"top1": value}}))


def test_every_row_gets_equally_many_trials_and_its_best(plan, tmp_path) -> None:
    pytest.importorskip("optuna")
    found = search(plan, plan.choose([]), 8, tmp_path / "out", train)
    for row in ("full", "sharp"):
        about = json.loads((tmp_path / "out" / row / "search.json").read_text())
        assert len(about["trials"]) == 8
        assert about["value"] == max(trial["value"] for trial in about["trials"])
        assert about["best"] == found[row]
    assert found["full"]["temperature"] == 0.2
    assert "temperature" not in found["sharp"]  # which the row itself decides


def test_nothing_is_chosen_on_people_who_test_in_another_fold(plan, tmp_path) -> None:
    pytest.importorskip("optuna")
    folds = tuple(Fold(name, tmp_path, tmp_path) for name in ("fold_1", "fold_2"))
    with pytest.raises(ValueError, match="who validates in one of them is tested in another"):
        search(replace(plan, folds=folds), plan.choose([]), 1, tmp_path / "out", train)


def test_a_search_goes_on_where_it_stopped(plan, tmp_path) -> None:
    pytest.importorskip("optuna")
    done = []

    def stops(runs) -> None:
        if len(done) == 6:
            raise KeyboardInterrupt
        train(runs)
        done.extend(run.output for run in runs)

    with pytest.raises(KeyboardInterrupt):
        search(plan, plan.choose([]), 5, tmp_path / "out", stops)

    def goes_on(runs) -> None:
        assert not any(run.output in done for run in runs)
        train(runs)
        done.extend(run.output for run in runs)

    search(plan, plan.choose([]), 5, tmp_path / "out", goes_on)
    assert len(done) == len(set(done)) == 10
    drawn = json.loads((tmp_path / "out" / "full" / "search.json").read_text())["trials"]
    assert len({trial["fields"]["lambda_cp"] for trial in drawn}) == 5


def test_trials_that_fail_count_and_are_not_chosen(plan, tmp_path) -> None:
    pytest.importorskip("optuna")
    first = []

    def fails_at_first(runs) -> None:
        train(runs[1:] if not first else runs)
        first.append(1)

    found = search(plan, plan.choose([]), 3, tmp_path / "out", fails_at_first)
    trials = json.loads((tmp_path / "out" / "full" / "search.json").read_text())["trials"]
    assert [trial["value"] is None for trial in trials] == [True, False, False]
    assert found["full"] in [trial["fields"] for trial in trials[1:]]


def test_without_optuna_the_error_says_how_to_get_it(plan, tmp_path, monkeypatch) -> None:
    usual = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "optuna":
            raise ImportError(name)
        return usual(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"--search needs Optuna: pip install -e '\.\[search\]'"):
        search(plan, plan.choose([]), 1, tmp_path / "out", train)
