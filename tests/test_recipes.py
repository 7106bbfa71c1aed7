"""Every recipe parses; those of the paper say what docs/paper.md says, and docs/paper.md what the paper says."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, SHARED, needs_shared

import train_fgsgl
from microgesture import arguments, estimate
from microgesture.recipes import read_recipe
from microgesture.streams.adaptation import Recipe
from microgesture.streams.build import STREAMS
from microgesture.streams.pseudo_labels import Rule
from microgesture.streams.rgb.build import OURS
from microgesture.streams.rgb.saliency import SaliencyCrop

# Those of an ablation or an adaptation are many runs: tests/ablation/test_plan.py, tests/streams/test_adaptation.py.
MANY_RUNS = ("ablation", "adapt")
RECIPES = sorted(path for path in (ROOT / "recipes").rglob("*.yaml") if not path.stem.startswith(MANY_RUNS))
PAPER = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
DATASETS = ("smg", "imigue")


def table(title: str) -> list[list[str]]:
    """The rows of the first table below a heading of docs/paper.md, without its head."""
    below = PAPER.split(f"\n## {title}\n")[1].splitlines()
    begin = next(number for number, line in enumerate(below) if line.startswith("|"))
    rows = []
    for line in below[begin + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


SETTINGS = table("Settings (Sec. IV-A) → recipes")
ROWS = table("Tables II and III → recipes")


def settings(path: Path) -> dict[str, object]:
    """All values that a recipe gives, typed, of model, data, training and network."""
    model, data, training, _ = arguments.parse([str(path), "--estimate"])  # a GPU for bf16 is not looked for
    info = estimate.known_of_data(Path(data.dataset_dir))[0]
    config = train_fgsgl.build_config(model, info, estimate.PUBLISHED, "sem" in training.terms)
    world = {"world_size": training.recipe_world_size}
    return {"image_size": config.image_size, **vars(model), **vars(data), **vars(training), **world}


def same(value: object, cell: str) -> bool:
    """Whether a value is what a cell of the table says."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(getattr(value, "value", value)).lower() == cell.lower()
    return value == float(cell)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_parses(path: Path) -> None:
    model, data, training, found = arguments.parse([str(path), "--estimate"])
    assert found == path
    assert data.dataset_dir
    assert training.learning_rate > 0
    assert model.num_frames >= 1


def test_no_two_recipes_write_into_one_folder() -> None:
    folders = [read_recipe(path)["output_dir"] for path in RECIPES]
    assert len(set(folders)) == len(folders) == len(DATASETS) * 6 + 15


@pytest.mark.parametrize("name", DATASETS)
def test_every_number_of_section_4a_is_the_tables(name: str) -> None:
    found, written = settings(ROOT / "recipes" / f"{name}.yaml"), read_recipe(ROOT / f"recipes/{name}.yaml")
    column = 2 + DATASETS.index(name)
    assert len(SETTINGS) == 20
    for row in SETTINGS:
        field, cell = row[1].strip("`"), row[column]
        assert same(found[field], cell), (field, found[field], cell)
        assert field in written or field == "image_size", f"{name}.yaml leaves {field} to a default"
    beside = {"dataset_dir", "output_dir", "eval_strategy", "save_strategy", "seed", "activation_checkpointing"}
    assert set(written) - beside == {row[1].strip("`") for row in SETTINGS} - {"image_size"}
    assert found["eval_strategy"] == found["save_strategy"] == "epoch"  # or there was no best epoch to choose


def test_a_wrong_number_would_be_seen() -> None:
    assert same(4e-5, "4e-5")
    assert not same(5e-5, "4e-5")
    assert same(True, "true")
    assert not same(False, "true")
    assert not same("projector", "vit_mlp")


def test_the_two_recipes_differ_in_their_data_and_learning_rate_alone() -> None:
    smg, imigue = (read_recipe(ROOT / "recipes" / f"{data}.yaml") for data in DATASETS)
    different = {key for key in smg | imigue if smg.get(key) != imigue.get(key)}
    assert different == {"dataset_dir", "output_dir", "learning_rate"}


@pytest.mark.parametrize("name", DATASETS)
def test_each_row_of_tables_2_and_3_is_one_recipe_that_differs_in_what_the_row_says(name: str) -> None:
    files = {f"{name}{row[5].strip('`*')}" for row in ROWS}
    assert {path.name for path in RECIPES if path.name.startswith(name)} == files
    whole = read_recipe(ROOT / "recipes" / f"{name}.yaml")
    for row in ROWS:
        path = ROOT / "recipes" / f"{name}{row[5].strip('`*')}"
        found = settings(path)
        ticks = [found["fg_sa"], found["cp_a"], found["ml_co"]]
        assert ticks == [cell == "✓" for cell in row[1:4]]
        assert found["fg_text"] == {"Fine-grained": "fine", "Class-level": "class"}[row[4]]
        fields = read_recipe(path)
        different = {key for key in whole | fields if whole.get(key) != fields.get(key)} - {"output_dir"}
        assert len(different) == (0 if path.name == f"{name}.yaml" else 1)
        if different:  # the file itself is no longer than that
            assert set(yaml.safe_load(path.read_text())) == {"base", "output_dir"} | different


@needs_shared
def test_words_and_figures_of_both_tables_stand_in_the_paper() -> None:
    paper = next(SHARED.glob("seeds/001_*")).read_text(encoding="utf-8")
    paper = " ".join(paper.split())
    quotes = [row[0].strip('"') for row in SETTINGS if row[0].startswith('"')]
    assert len(quotes) == len(SETTINGS) - 1
    assert [quote for quote in quotes if quote not in paper] == []
    for row in ROWS:
        ticks = [*row[1:4], row[4]] if "III" in row[0] else row[1:4]
        assert " ".join([*ticks, *row[6:]]) in paper


# ---- streams and baselines ------------------------------------------------------------------------------------------

# What the data set, the text encoder or the user's own disk decides; `dropout` is `classifier_dropout` in a recipe.
NO_CHOICE = {
    "layout", "joints", "bones", "pairs", "dimensions", "category_texts", "semantic_dim", "dropout", "dataset_dir",
    "output_dir",
}  # fmt: skip


SECOND = PAPER.split("\n## The second source")[1]
OF_ITS_OWN = {"tsm": "| TSM ", "ms_g3d": "| MS-G3D ", "clip_mg": "| CLIP-MG "}  # how a baseline's table begins


def told(head: str) -> set[str]:
    """All words in code type in a table of docs/paper.md, which begins so."""
    rows = SECOND[SECOND.index(f"\n{head}") :].strip().split("\n\n")[0]
    return set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", rows))))


def open_fields() -> dict[str, set[str]]:
    """The fields of all networks and processors of streams and baselines, of crops and of adaptation."""
    found = {
        name: {key for key, kind in classes[0].__annotations__.items() if "ClassVar" not in str(kind)}
        for name, classes in (STREAMS | OURS).items()
    }
    processors = {processor for *_, processor in STREAMS.values()}
    found |= {
        kind.__name__: set(inspect.signature(kind.__init__).parameters) - {"self", "kwargs"} for kind in processors
    }
    found |= {
        kind.__name__: {field.name for field in dataclasses.fields(kind)} for kind in (Recipe, Rule, SaliencyCrop)
    }
    return {name: names - NO_CHOICE for name, names in sorted(found.items())}


@pytest.mark.parametrize("name", open_fields())
def test_every_field_that_the_sources_leave_open_stands_in_the_table_of_its_method(name: str) -> None:
    names = open_fields()[name]
    assert names
    assert names - told(OF_ITS_OWN.get(name, "| the source ")) == set()


# ---- base ----------------------------------------------------------------------------------------------------------


def recipe(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_recipe_has_what_its_base_has_and_it_does_not_say_itself(tmp_path) -> None:
    recipe(tmp_path, "base.yaml", "dataset_dir: data/x\noutput_dir: a\nlearning_rate: 4e-5\nseed: 3\nmid_layer: 2\n")
    path = recipe(tmp_path, "one.yaml", "base: base.yaml\noutput_dir: b\nlearning_rate: 1e-3\nmid_layer:\n")
    model, data, training, _ = arguments.parse([str(path), "--use_cpu", "true", "--seed", "5"])
    assert (data.dataset_dir, training.output_dir, training.learning_rate, training.seed) == ("data/x", "b", 1e-3, 5)
    assert model.mid_layer is None  # an empty value takes the base's line away


def test_bases_that_cannot_be(tmp_path) -> None:
    path = recipe(tmp_path, "one.yaml", "base: nowhere.yaml\n")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml does not exist"):
        read_recipe(path)
    recipe(tmp_path, "nowhere.yaml", "base: one.yaml\n")
    with pytest.raises(ValueError, match=r"based on nowhere\.yaml, which has a base itself"):
        read_recipe(path)


def test_the_record_of_a_run_holds_the_fields_of_the_base_too() -> None:
    from microgesture.run_record import recipe_fields

    fields = recipe_fields(ROOT / "recipes" / "smg_table3_class_level_text.yaml")
    assert (fields["fg_text"], fields["lora_r"], fields["num_train_epochs"]) == ("class", 8, 15)
    assert not [name for name in fields if name.endswith("_dir") or name == "base"]
