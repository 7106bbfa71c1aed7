"""Recipes and the command line: one parser types both, the command line wins, a typo is an error."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
import yaml

from microgesture.arguments import parse

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def recipe(tmp_path):
    def write(**fields) -> list[str]:
        path = tmp_path / "recipe.yaml"
        base = {"dataset_dir": "data/x", "output_dir": str(tmp_path / "out"), "use_cpu": True}
        path.write_text(yaml.safe_dump(base | fields))
        return [str(path)]

    return write


def test_without_a_recipe_the_synthetic_one_runs() -> None:
    *_, found = parse([])
    assert found == ROOT / "recipes" / "synthetic.yaml"


def test_the_command_line_overrides_the_recipe(recipe) -> None:
    _, data, training, _ = parse([*recipe(learning_rate="4e-5", fg_sa=False), "--learning_rate", "1e-4"])
    assert training.learning_rate == 1e-4
    assert training.fg_sa is False
    assert data.dataset_dir == "data/x"


def test_numbers_that_yaml_leaves_as_text_are_numbers(recipe) -> None:
    path = recipe()[0]
    Path(path).write_text(Path(path).read_text() + "learning_rate: 4e-5\n")
    assert parse([path])[2].learning_rate == 4e-5


def test_defaults_are_the_papers(recipe) -> None:
    """Sec. IV-A; what the paper does not name is off."""
    model, data, t, _ = parse(recipe())
    assert (data.augment, data.mirror_clips, data.jpeg_degradation) == (False, False, False)
    assert (model.num_frames, t.lora_r, t.num_train_epochs, t.per_device_train_batch_size) == (8, 8, 15, 8)
    assert (t.learning_rate, t.warmup_steps, t.weight_decay, t.max_grad_norm) == (4e-5, 0.03, 0.05, 1.0)
    assert (t.lr_scheduler_type, t.metric_for_best_model, t.vision_tuning) == ("cosine", "top1", "lora")
    assert t.get_warmup_steps(585) == 18  # below 1, transformers takes it for the share of all steps
    assert t.optim.startswith("adamw")
    assert (t.fg_sa, t.cp_a, t.ml_co, t.load_best_model_at_end) == (True, True, True, True)


@pytest.mark.parametrize(
    ("fields", "argv", "message"),
    [
        ({}, ["--learning_rat", "1"], r"--learning_rat is no setting .*did you mean --learning_rate\?"),
        ({"lamda_fg": 1}, [], r"--lamda_fg is no setting .*did you mean --lambda_fg\?"),
        ({"zzzzqqqq": 1}, [], "--zzzzqqqq is no setting .*see --help"),
        ({"warmup_ratio": 0.03}, [], "warmup_ratio no longer exists; write warmup_steps"),
        ({}, ["--warmup-ratio=0.03"], "warmup_ratio no longer exists; write warmup_steps"),
        (
            {"backbone": "a/b", "vision_config": {"hidden_size": 8}},
            [],
            "vision_config is given beside the backbone a/b",
        ),
        ({"backbone_revision": "main"}, [], "backbone_revision is 'main' but no backbone is given"),
        ({"hub_token": "hf_x"}, [], "hub_token would be written to disk"),
        ({"push_to_hub": True, "hub_strategy": "every_save"}, [], "hub_strategy is 'every_save'; only 'end' is there"),
        ({"fg_negatives": "all"}, [], "fg_negatives is 'all'; choose one of: batch, global"),
        ({"vision_tuning": "some"}, [], "vision_tuning is 'some'"),
        ({"mlp_tuning": "none"}, [], "mlp_tuning is 'none'"),
        ({"adapter_dtype": "float16"}, [], "adapter_dtype is 'float16'"),
        ({"adapter_dtype": "bfloat16"}, [], "adapter_dtype bfloat16 needs bf16: true"),
        ({"matmul_precision": "low"}, [], "matmul_precision is 'low'"),
        ({"mlp_tuning": "vit_mlp", "vision_tuning": "frozen"}, [], "vision_tuning is frozen"),
        ({"temperature": 0}, [], "temperature is 0.0; it must be above 0"),
        ({"stage2_start": 1}, [], "stage2_start is 1.0"),
        ({"augment_camera": 2}, [], "augment_camera is 2.0; it is a share of the full movement, 0 to 1"),
        ({"remove_unused_columns": True}, [], "remove_unused_columns must stay false"),
        ({"generate": "huge"}, [], "generate is 'huge'"),
        ({"cache_form": "zip"}, [], "cache_form is 'zip'"),
        ({"fg_text": "none"}, [], "fg_text is 'none'"),
    ],
)
def test_refusals(recipe, fields: dict, argv: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse([*recipe(**fields), *argv])


def test_a_token_on_the_command_line_is_used_and_never_written(recipe) -> None:
    training = parse([*recipe(push_to_hub=True), "--hub_token", "hf_secret"])[2]
    assert training.hub_token == "hf_secret"
    assert training.hub_strategy == "end"
    file = io.BytesIO()
    torch.save(training, file)
    for text in (file.getvalue(), repr(training).encode(), str(training).encode(), training.to_json_string().encode()):
        assert b"hf_secret" not in text


def test_a_value_of_the_wrong_type_names_its_key(recipe, capsys) -> None:
    with pytest.raises(SystemExit):
        parse([*recipe(), "--learning_rate", "fast"])
    assert "--learning_rate" in capsys.readouterr().err


def test_recipes_that_are_none(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"recipe nowhere\.yaml does not exist"):
        parse(["nowhere.yaml"])
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n- 2\n")
    with pytest.raises(ValueError, match="must be a list of `name: value` lines"):
        parse([str(path)])
    path.write_text("seed: 1\nseed: 2\n")
    with pytest.raises(ValueError, match="names seed twice"):
        parse([str(path)])


def test_help_is_readable(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "accelerate launch train_fgsgl.py [RECIPE.yaml]" in text
    assert "--lambda_fg" in text
