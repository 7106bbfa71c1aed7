"""Ablation recipes: read, refused, and turned into ordinary recipes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from microgesture import arguments
from microgesture.ablation.plan import Fold, Plan, read_plan, write_recipe
from microgesture.data import utd_mhad
from microgesture.recipes import read_recipe

RECIPES = sorted((ROOT / "recipes").glob("ablation*.yaml"))
SMALL = {
    "dataset_dir": "data/x", "output_dir": "outputs/x", "seed": 3,
    "rows": {
        "full": {"group": "paper", "hypothesis": "The  method."},
        "sharp": {"group": "own", "fields": {"temperature": 0.02}},
        "coarse": {"group": "own", "fields": {"fg_text": "class"}},
    },
}  # fmt: skip


def plan(folder: Path, **changes) -> Plan:
    path = folder / "ablation.yaml"
    path.write_text(yaml.safe_dump(SMALL | changes, sort_keys=False), encoding="utf-8")
    return read_plan(path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_row_of_an_ablation_recipe_is_an_ordinary_recipe(path: Path, tmp_path) -> None:
    found = read_plan(path)
    assert next(iter(found.rows)) == found.reference == "full"
    settings = {}
    for row in found.rows.values():
        assert len(row.hypothesis) > 20, f"{row.name}: write down what is expected before it runs"
        write_recipe(tmp_path / row.name / "recipe.yaml", found, row, {})
        model, data, training, _ = arguments.parse([str(tmp_path / row.name / "recipe.yaml"), "--use_cpu", "true"])
        assert Path(training.output_dir) == tmp_path / row.name
        training.output_dir = training.logging_dir = training.run_name = None
        settings[row.name] = repr((vars(model), vars(data), {n: str(v) for n, v in vars(training).items()}))
    assert len(set(settings.values())) == len(settings), "two rows are the same experiment"


def test_the_synthetic_ablation_has_the_papers_rows_and_the_controls() -> None:
    rows = read_plan(ROOT / "recipes" / "ablation_synthetic.yaml").rows
    paper = [row.fields for row in rows.values() if row.group == "paper"]
    assert paper == [{}, {"fg_sa": False}, {"cp_a": False}, {"ml_co": False}, {"fg_text": "class"}]
    changed = {(name, str(value)) for row in rows.values() for name, value in row.fields.items()}
    assert changed >= {
        ("temporal_pooling", "mean"), ("fg_negatives", "bank"), ("fg_text_shuffle", "class"), ("fg_sentences", "16"),
        ("fg_text_shuffle", "all"), ("fg_text_noise", "0.15"), ("fg_text_noise", "0.3"), ("ml_co_order", "level"),
        ("ml_co_order", "fg_first"), ("fg_loss", "attributes"), ("category_prototypes", "orthonormal"),
        ("text_encoder", "multi_hot"), ("text_encoder", "bag_of_words"), ("text_encoder", "random"),
    }  # fmt: skip
    assert {"mid_layer", "lambda_fg", "temperature"} <= {name for name, _ in changed}


def test_the_depth_video_ablation_leaves_out_one_subject_at_a_time() -> None:
    found = read_plan(ROOT / "recipes" / "ablation_utd_mhad.yaml")
    assert [fold.name for fold in found.folds] == list(utd_mhad.folds())
    assert found.fields["fg_text"] == "class"
    assert [(row.group, row.fields) for row in found.rows.values()] == [
        ("paper", {}), ("paper", {"fg_sa": False}), ("paper", {"cp_a": False}), ("paper", {"ml_co": False}),
        ("own", {"fg_text": "fine"}), ("controls", {"fg_text": "fine", "fg_text_shuffle": "class"}),
    ]  # fmt: skip


def test_each_fold_is_trained_and_tested_on_its_own_data(tmp_path) -> None:
    found = plan(tmp_path, folds=["data/f/fold_1", "data/f/fold_2"])
    one, two = (Path("data/f/fold_1"), Path("data/f/fold_2"))
    assert found.folds == (Fold("fold_1", one, one), Fold("fold_2", two, two))
    path = tmp_path / "sharp" / "fold_2" / "recipe.yaml"
    write_recipe(path, found, found.rows["sharp"], found.folds[1].fields)
    assert read_recipe(path) == {
        "dataset_dir": "data/f/fold_2", "output_dir": str(path.parent), "temperature": 0.02,
    }  # fmt: skip


def test_rows_are_chosen_by_name_or_group(tmp_path) -> None:
    found = plan(tmp_path)
    assert [row.name for row in found.choose([])] == ["full", "sharp", "coarse"]
    assert [row.name for row in found.choose(["coarse", "paper"])] == ["full", "coarse"]
    with pytest.raises(ValueError, match=r"has no row or group 'sharpp'; did you mean 'sharp'"):
        found.choose(["sharpp"])


def test_defaults_and_what_all_rows_share(tmp_path) -> None:
    found = plan(tmp_path)
    assert (found.reference, found.primary_metric, found.test_splits) == ("full", "top1", ("test",))
    assert found.folds == (Fold("", Path("data/x"), Path("data/x")),)
    assert plan(tmp_path, test_dataset_dir="data/y").folds == (Fold("", Path("data/x"), Path("data/y")),)
    assert found.rows["full"].hypothesis == "The method."
    write_recipe(tmp_path / "sharp" / "recipe.yaml", found, found.rows["sharp"], {"lambda_cp": 0.25})
    assert read_recipe(tmp_path / "sharp" / "recipe.yaml") == {
        "dataset_dir": "data/x", "output_dir": str(tmp_path / "sharp"), "temperature": 0.02, "lambda_cp": 0.25,
    }  # fmt: skip


def test_runs_of_another_experiment_are_not_continued(tmp_path) -> None:
    path = tmp_path / "sharp" / "recipe.yaml"
    found = plan(tmp_path)
    write_recipe(path, found, found.rows["sharp"], {})
    write_recipe(path, found, found.rows["sharp"], {})  # the same: nothing to say
    other = plan(tmp_path, lambda_cp=0.25)
    with pytest.raises(ValueError, match=r"another lambda_cp than .* another experiment\. Give another --out"):
        write_recipe(path, other, other.rows["sharp"], {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {}}, "has no `rows`"),
        ({"output_dir": None}, "does not say where its runs go"),
        ({"reference": "whole"}, "reference 'whole' is none of its rows: full, sharp, coarse"),
        ({"primary_metric": "f1"}, "primary_metric 'f1' must be one of: top1, macro_f1"),
        ({"test_splits": "test"}, "test_splits must be a list"),
        ({"folds": "data/f/*"}, "folds must be a list of two data set folders or more"),
        ({"folds": ["data/f/fold_1"]}, "folds must be a list of two data set folders or more"),
        ({"folds": ["data/f/a", "data/g/a"]}, "each of another name"),
        ({"folds": ["a", "b"], "test_dataset_dir": "c"}, "leave test_dataset_dir out"),
        ({"folds": ["a", "b"], "rows": {"full": {"fields": {"dataset_dir": "c"}}}}, "row full: .* leave dataset_dir"),
        ({"rows": {"full": {"filds": {}}}}, "row full: 'filds' is no part of a row; did you mean 'fields'"),
        ({"rows": {"full": {"fields": {"seed": 1}}}}, "row full: seed is given to each run by itself"),
    ],
)
def test_what_an_ablation_recipe_must_not_be(tmp_path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(tmp_path, **changes)
