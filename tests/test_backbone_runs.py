"""Training runs on a published backbone, from the script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_trainer import free_port, launch_command

import evaluate_fgsgl
import train_fgsgl
from microgesture import arguments, backbones
from modeling_fgsgl import FGSGLForVideoClassification

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def backbone_arguments(tiny_arguments, published_folders) -> list[str]:
    """A recipe as recipes/smg.yaml: LoRA on a backbone, no vision_config."""
    recipe = Path(tiny_arguments[0])
    lines = [line for line in recipe.read_text().splitlines() if not line.startswith("vision_")]
    recipe.write_text("\n".join([*lines, f"backbone: {json.dumps(str(published_folders['internlm2', 'original']))}"]))
    return tiny_arguments


def test_a_run_starts_from_the_backbone_and_embeds_with_its_language_model(
    backbone_arguments, published_folders, tmp_path, caplog
) -> None:
    train_fgsgl.main([*backbone_arguments, "--max_steps", "2"])
    folder, out = published_folders["internlm2", "original"], tmp_path / "out"
    record = json.loads((out / "metrics.json").read_text())
    key = backbones.text_key(folder)
    assert record["text_encoder"] == {
        "name": key.name,
        "revision": key.revision,
        "pooling": "mean",
        "dtype": "bfloat16",
    }
    model = FGSGLForVideoClassification.from_pretrained(out)
    categories = [f"A person moves one hand, going {d}." for d in ("up", "down", "left", "right")]
    expected = backbones.text_encoder(folder).encode(categories)
    # bfloat16 rounds differently in another batch; two sentences lie further apart.
    torch.testing.assert_close(model.fgsgl.class_text_proj.prototypes, expected, rtol=0, atol=0.02)
    assert (expected[:1] - expected[1:]).abs().amax(1).min() > 0.1
    published_tower, tower = backbones.vision_from_pretrained(folder), model.fgsgl.state_dict()
    untouched = "vision_tower.embeddings.position_embeddings"
    assert torch.equal(tower[untouched], published_tower[untouched])  # frozen, and not started anew
    adapted = "vision_tower.encoder.layer.0.attention.q_proj.weight"
    assert 0 < (tower[adapted] - published_tower[adapted]).abs().max() < 0.01
    assert model.config.mid_layer == 1
    assert not [r for r in caplog.records if "no backbone is given" in r.message]


def test_evaluation_embeds_sentences_with_the_backbone_that_was_trained_on(
    backbone_arguments, published_folders, tiny_dataset, tmp_path
) -> None:
    train_fgsgl.main([*backbone_arguments, "--max_steps", "2"])

    def retrieval(*backbone: str | None) -> dict:
        folders = (tmp_path / "out", tiny_dataset, "test", tmp_path / "empty", False)
        return evaluate_fgsgl.evaluate(*folders, None, *backbone)["text"]["retrieval"]

    assert "are not embedded yet; --backbone internlm2 original embeds them" in retrieval()["skipped"]
    with pytest.raises(ValueError, match=r"was trained with internlm2 original at \w+, and .* is another"):
        retrieval(str(published_folders["qwen2", "original"]))
    found = retrieval(str(published_folders["internlm2", "original"]))
    assert found["recall@1"]["total"] == 7
    assert retrieval() == found  # looked up now


def test_a_run_without_a_backbone_says_that_adapters_lie_on_random_weights(tiny_arguments, caplog) -> None:
    model, data, training, _ = arguments.parse([*tiny_arguments, "--vision_tuning", "lora"])
    train_fgsgl.build_trainer(model, data, training)
    assert any("no backbone is given" in r.message for r in caplog.records)


def test_full_tuning_keeps_the_published_positions(backbone_arguments, published_folders) -> None:
    model, data, training, _ = arguments.parse([*backbone_arguments, "--vision_tuning", "full"])
    trainer = train_fgsgl.build_trainer(model, data, training)[0]
    name = "vision_tower.embeddings.position_embeddings"
    published_tower = backbones.vision_from_pretrained(published_folders["internlm2", "original"])
    assert torch.equal(trainer.model.fgsgl.state_dict()[name], published_tower[name])


@pytest.mark.slow
@pytest.mark.dist
def test_of_two_processes_the_first_alone_loads_the_language_model(backbone_arguments, tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import train_fgsgl\n"
        "from microgesture import backbones\n"
        "whole = backbones.text_from_pretrained\n"
        "def counted(*args):\n"
        "    print('language model in process', os.environ['RANK'], flush=True)\n"
        "    return whole(*args)\n"
        "backbones.text_from_pretrained = counted\n"
        "train_fgsgl.main(sys.argv[1:])\n"
        "assert not train_fgsgl.torch.distributed.is_initialized(), 'threads of gloo still run'\n"
    )
    command = launch_command(2, script, *backbone_arguments, "--max_steps", "1")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line for line in done.stdout.splitlines() if "language model" in line] == ["language model in process 0"]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["machine"]["processes"] == 2


@pytest.mark.slow
@pytest.mark.dist
def test_zero_3_starts_from_the_backbone_as_well(backbone_arguments, published_folders, tmp_path) -> None:
    pytest.importorskip("deepspeed", reason="the extra `deepspeed` is not installed")
    settings = json.loads((ROOT / "ds_config.json").read_text())
    settings["zero_optimization"]["stage"] = 3
    (tmp_path / "z3.json").write_text(json.dumps(settings))
    argv = [*backbone_arguments, "--max_steps", "1", "--learning_rate", "0", "--deepspeed", str(tmp_path / "z3.json")]
    done = subprocess.run(
        [sys.executable, str(ROOT / "train_fgsgl.py"), *argv],
        cwd=ROOT, env=os.environ | {"MASTER_PORT": str(free_port())}, capture_output=True, text=True, timeout=280,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    saved = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in backbones.vision_from_pretrained(published_folders["internlm2", "original"]).items():
        assert torch.equal(saved[f"fgsgl.{name}"], tensor), name
