"""A run that starts from weights that are there, and one with adapters that resumes from its own base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_trainer import StopAt, build, output, train, weights

import train_fgsgl
from microgesture import adapters, arguments, starting_weights
from microgesture.hub.checkpoint import _OF_THE_RUN
from microgesture.starting_weights import Origin
from microgesture.text_bank import EncoderKey
from modeling_fgsgl import FGSGLForVideoClassification

LORA = ["--vision_tuning", "lora", "--lora_dropout", "0"]
EVERY_4_STEPS = ["--save_strategy", "steps", "--save_steps", "4", "--eval_strategy", "steps", "--eval_steps", "4"]


def state(trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.mark.parametrize("which", [".", "checkpoint-12"])
def test_a_run_starts_from_the_weights_of_another(tiny_arguments, tmp_path, which: str) -> None:
    train(tiny_arguments)
    source = output(tiny_arguments) / which
    argv = [*tiny_arguments, "--output_dir", str(tmp_path / "second"), "--init_from", str(source), "--seed", "7"]
    trainer = build(argv)
    assert same(state(trainer), load_file(source / "model.safetensors"))
    assert trainer.state.global_step == 0
    train(argv)
    assert not same(weights(argv), weights(tiny_arguments))


def test_adapters_are_taken_on_with_their_base(tiny_arguments, tmp_path) -> None:
    argv = [*tiny_arguments, *LORA]
    train(argv)
    # `push --adapter` refuses a base with another configuration than the whole checkpoint's.
    whole, plain = (json.loads((output(argv) / part / "config.json").read_text()) for part in (".", "_base"))
    assert whole["training_clips"]
    assert {name for name in whole | plain if whole.get(name) != plain.get(name)} <= _OF_THE_RUN
    source = output(argv) / "checkpoint-12"
    again = [*argv, "--output_dir", str(tmp_path / "second"), "--init_from", str(source), "--seed", "7"]
    start = state(build(again))
    trained = state(build_resumed(argv, 12))
    assert same(start, trained)
    assert any("lora_B" in name and value.any() for name, value in start.items())
    # The new run keeps the base as its own, so it needs the old folder no longer.
    base = load_file(tmp_path / "second" / "_base" / "model.safetensors")
    assert same(base, load_file(output(argv) / "_base" / "model.safetensors"))


def build_resumed(argv: list[str], step: int):
    """A trainer as it is after going on from `checkpoint-STEP`, before its next step."""
    model, data, training, _ = arguments.parse(argv)
    checkpoint = Path(training.output_dir) / f"checkpoint-{step}"
    trainer = train_fgsgl.build_trainer(model, data, training, checkpoint)[0]
    trainer._load_from_checkpoint(str(checkpoint))
    return trainer


def test_an_exported_run_with_adapters_starts_others_upon_its_merged_weights(tiny_arguments, tmp_path) -> None:
    argv = [*tiny_arguments, *LORA]
    train(argv)
    again = [*argv, "--output_dir", str(tmp_path / "second"), "--init_from", str(output(argv)), "--lora_r", "4"]
    merged = adapters.merge(build(again).model).state_dict()
    assert same(merged, weights(argv))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--embed_dim", "8"], r"another network than the recipe's\. embed_dim: 8 in the recipe, 16 there\. Make"),
        (
            ["--mid_layer", "2", "--temporal_pooling", "mean"],
            r"mid_layer: 2 in .* 1 there; temporal_pooling: 'mean' in",
        ),
        (["--vision_config", '{"hidden_size": 64}'], r"vision_config\.hidden_size: 64 in the recipe, 32 there"),
    ],
)
def test_another_network_is_refused_with_the_fields_that_differ(tiny_arguments, tmp_path, options, message) -> None:
    train([*tiny_arguments, "--num_train_epochs", "1", "--ml_co", "false"])
    argv = [*tiny_arguments, *options, "--output_dir", str(tmp_path / "b"), "--init_from", str(output(tiny_arguments))]
    with pytest.raises(ValueError, match=message):
        build(argv)
    with pytest.raises(ValueError, match=message):  # nor can the run itself go on as another network
        train_fgsgl.main([*tiny_arguments, *options, "--resume"])


def test_other_adapters_or_none_are_refused(tiny_arguments, tmp_path) -> None:
    argv = [*tiny_arguments, *LORA]
    train([*argv, "--num_train_epochs", "1", "--ml_co", "false"])
    source = output(argv) / "checkpoint-6"
    second = ["--output_dir", str(tmp_path / "b"), "--init_from", str(source)]
    with pytest.raises(
        ValueError, match=r"other adapters than the recipe's\. lora_alpha: 16 in .* r: 4 in the rec|r: 4 in"
    ):
        build([*argv, *second, "--lora_r", "4"])
    with pytest.raises(ValueError, match="holds LoRA adapters; set vision_tuning: lora, or give its run's exported"):
        build([*tiny_arguments, *second])
    (source / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no whole checkpoint: adapter_model\.safetensors has 0 bytes instead of"):
        build([*argv, *second])
    with pytest.raises(FileNotFoundError, match=r"nowhere is no complete checkpoint: it has no config\.json"):
        build([*argv, *second, "--init_from", str(tmp_path / "nowhere")])


def test_a_run_with_adapters_resumes_from_its_own_base_alone(tiny_arguments, tmp_path, monkeypatch) -> None:
    argv = [*tiny_arguments, *LORA, *EVERY_4_STEPS, "--load_best_model_at_end", "false", "--save_total_limit", "9"]
    whole, stopped = [[*argv, "--output_dir", str(tmp_path / name)] for name in ("whole", "stopped")]
    train(whole)
    trainer = build(stopped)
    trainer.add_callback(StopAt(4))
    trainer.train()
    checkpoint = tmp_path / "stopped" / "checkpoint-4"
    assert not (checkpoint / "model.safetensors").exists()  # adapters and heads alone
    assert not any(
        "vision_tower" in n and "lora" not in n for n in load_file(checkpoint / "adapter_model.safetensors")
    )

    def elsewhere(*args, **kwargs):
        raise AssertionError("the first weights are made or fetched anew")

    with monkeypatch.context() as patch:
        patch.setattr(FGSGLForVideoClassification, "_from_config", elsewhere)
        train_fgsgl.main([*stopped, "--resume"])
    assert same(weights(whole), weights(stopped))
    shutil.rmtree(tmp_path / "stopped" / "_base")
    with pytest.raises(FileNotFoundError, match=r"_base is no complete checkpoint"):
        train_fgsgl.main([*stopped, "--resume"])


def test_what_a_backbone_said_is_kept_with_the_base_for_this_backbone_only(tiny_arguments, tmp_path) -> None:
    key = EncoderKey("somebody/backbone", "c0ffee", dtype="bfloat16")
    origin = Origin("somebody/backbone", "main", "c0ffee", {"vision_config": {"hidden_size": 32}}, key)
    starting_weights.write_base(build(tiny_arguments).model, tmp_path, origin)
    checkpoint = tmp_path / "checkpoint-4"
    checkpoint.mkdir()
    asked = [("somebody/backbone", "main", None), ("somebody/backbone", "main", checkpoint)]
    for question in asked:  # a new run asks, and so does one whose checkpoint needs no base
        with pytest.raises(FileNotFoundError, match=r"cannot get config\.json of somebody/backbone"):
            Origin.find(*question)
    (checkpoint / "adapter_config.json").write_text("{}")
    assert Origin.find("somebody/backbone", "main", checkpoint) == origin
    for other in (("somebody/else", "main"), ("somebody/backbone", "v2")):
        with pytest.raises(FileNotFoundError, match=rf"cannot get config\.json of {other[0]}"):
            Origin.find(*other, checkpoint)


def test_a_run_resumed_into_another_folder_keeps_the_base_there(tiny_arguments, tmp_path) -> None:
    argv = [*tiny_arguments, *LORA, *EVERY_4_STEPS]
    trainer = build(argv)
    trainer.add_callback(StopAt(4))
    trainer.train()
    moved = [
        *argv,
        "--output_dir",
        str(tmp_path / "b"),
        "--resume_from_checkpoint",
        str(output(argv) / "checkpoint-4"),
    ]
    train(moved)
    assert (tmp_path / "b" / "_base" / "model.safetensors").is_file()
    train([*argv, "--output_dir", str(tmp_path / "b"), "--resume"])


def test_differences_are_of_the_network_not_of_the_file() -> None:
    ours = {"dtype": "float32", "a": 1, "vision_config": {"x": 1, "architectures": ["A"]}, "id2label": {0: "up"}}
    theirs = {"dtype": "bfloat16", "a": 1, "vision_config": {"x": 1}, "id2label": {0: "down"}}
    assert starting_weights.differences(ours, theirs) == ["id2label: {0: 'up'} in the recipe, {0: 'down'} there"]
    assert starting_weights.differences({"semantic_head": True}, {"semantic_head": False}) == [
        "semantic_head (set by semantic_loss): True in the recipe, False there"
    ]
    assert starting_weights.differences({"w": "x" * 99}, {}) == [f"w: '{'x' * 56}... in the recipe, None there"]


def test_other_clips_or_words_or_recordings_make_no_other_network(tiny_arguments, tmp_path) -> None:
    train([*tiny_arguments, "--max_steps", "1"])
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["training_clips"]
    assert config["sentence_parts"]
    config["training_clips"]["seconds"] = [7.0, 9.0]
    config |= {"sentence_parts": None, "custom_pipelines": {}}
    (tmp_path / "out" / "config.json").write_text(json.dumps(config))
    trainer = build([*tiny_arguments, "--init_from", str(tmp_path / "out"), "--output_dir", str(tmp_path / "next")])
    assert trainer.model.config.training_clips["seconds"] != [7.0, 9.0]
    assert trainer.model.config.sentence_parts
