"""A saved checkpoint in a process outside the repository, where nothing of ours is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import DIRECTIONS, moving_square, write_video
from huggingface_hub import ModelCard

import train_fgsgl
from modeling_fgsgl import FGSGLForVideoClassification
from processing_fgsgl import FGSGLProcessor

SCRIPT = """
import importlib.machinery, json, sys

finder = importlib.machinery.PathFinder
found = finder.find_spec
finder.find_spec = staticmethod(lambda name, *rest: None if name.split(".")[0] in {blocked!r} else found(name, *rest))
import torch
from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, AutoProcessor

folder, clip = sys.argv[1:]
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
answers = {{"labels": [config.id2label[i] for i in range(config.num_labels)], "texts": config.category_texts}}
pixels = processor.normalize(torch.load(clip, weights_only=True)) if {blocked!r} else processor(clip)["pixel_values"]
for auto in (AutoModel, AutoModelForVideoClassification):
    model = auto.from_pretrained(folder, trust_remote_code=True).eval()
    with torch.no_grad():
        answers[auto.__name__] = model(pixels).logits.tolist()
answers["class"] = type(model).__name__
answers["words"] = model.describe(pixels)
answers["ours"] = [m for m in sys.modules if m.split(".")[0] in ("microgesture", "modeling_fgsgl", "train_fgsgl")]
print("ANSWERS" + json.dumps(answers))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> Path:
    from conftest import TINY_VISION, write_recipe

    folder = tmp_path_factory.mktemp("checkpoint")
    fields = {
        "dataset_dir": str(tiny_dataset), "output_dir": str(folder / "out"), "cache_dir": str(folder / "cache"),
        "vision_config": TINY_VISION, "num_frames": 4, "embed_dim": 16, "temporal_pooling": "learned",
        "use_cpu": True, "num_train_epochs": 2, "learning_rate": "1e-3", "disable_tqdm": True, "lora_alpha": 32,
    }  # fmt: skip
    train_fgsgl.main(write_recipe(folder / "recipe.yaml", fields))
    return folder / "out"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, moving_square("up", np.random.default_rng(5)))
    return path


def elsewhere(folder: Path, clip: Path, tmp_path: Path, blocked: tuple[str, ...] = ()) -> dict:
    """Runs SCRIPT in an empty folder with a clean module path."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSTARTUP")}
    environment |= {"HF_HOME": str(tmp_path / "hf"), "HF_MODULES_CACHE": str(tmp_path / "mod"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(blocked=blocked), str(folder), str(clip)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.split("ANSWERS")[1])


def here(folder: Path, clip: Path) -> tuple[torch.Tensor, list]:
    model = FGSGLForVideoClassification.from_pretrained(folder).eval()
    pixels = FGSGLProcessor.from_pretrained(folder)(clip)["pixel_values"]
    with torch.no_grad():
        return model(pixels).logits, model.describe(pixels)


def test_a_checkpoint_is_complete(checkpoint: Path) -> None:
    names = {path.name for path in checkpoint.iterdir() if path.is_file()}
    assert names == {
        "README.md", "config.json", "configuration_fgsgl.py", "container_fgsgl.py", "metrics.json",
        "explain_fgsgl.py", "pipeline_fgsgl.py", "spotting_fgsgl.py",
        "model.safetensors", "modeling_fgsgl.py", "preprocessor_config.json", "processing_fgsgl.py", "video_fgsgl.py",
    }  # fmt: skip
    assert (checkpoint / "adapter" / "adapter_model.safetensors").is_file()
    config = json.loads((checkpoint / "config.json").read_text())
    assert config["id2label"] == {str(i): f"Hand {d}" for i, d in enumerate(DIRECTIONS)}
    assert len(config["category_texts"]) == 4
    assert set(config["auto_map"]) == {"AutoConfig", "AutoModel", "AutoModelForVideoClassification"}
    model = FGSGLForVideoClassification.from_pretrained(checkpoint)
    assert model.fgsgl.class_text_proj.prototypes.any(dim=1).all()
    card = (checkpoint / "README.md").read_text()
    assert ModelCard(card).data.license == "apache-2.0"
    assert "trust_remote_code=True" in card
    assert "8 clips" in card


def test_the_same_answers_outside_the_repository(checkpoint: Path, clip: Path, tmp_path: Path) -> None:
    answers = elsewhere(checkpoint, clip, tmp_path)
    logits, words = here(checkpoint, clip)
    for auto in ("AutoModel", "AutoModelForVideoClassification"):
        assert torch.equal(torch.tensor(answers[auto]), logits)
    assert answers["words"] == [{a: [list(item) for item in ranked] for a, ranked in words[0].items()}]
    assert answers["labels"] == [f"Hand {d}" for d in DIRECTIONS]
    assert answers["class"] == "FGSGLForVideoClassification"
    assert answers["ours"] == []


def test_it_loads_and_runs_where_av_decord_peft_pillow_and_torchvision_are_missing(
    checkpoint: Path, clip: Path, tmp_path: Path
) -> None:
    frames = FGSGLProcessor.from_pretrained(checkpoint).sample(clip)[None]
    torch.save(frames, tmp_path / "frames.pt")
    blocked = ("av", "decord", "peft", "PIL", "torchvision", "microgesture")
    answers = elsewhere(checkpoint, tmp_path / "frames.pt", tmp_path, blocked)
    assert torch.equal(torch.tensor(answers["AutoModel"]), here(checkpoint, clip)[0])


def test_a_loaded_checkpoint_saves_a_complete_one_again(checkpoint: Path, clip: Path, tmp_path: Path) -> None:
    FGSGLForVideoClassification.from_pretrained(checkpoint).save_pretrained(tmp_path / "again")
    FGSGLProcessor.from_pretrained(checkpoint).save_pretrained(tmp_path / "again")
    answers = elsewhere(tmp_path / "again", clip, tmp_path)
    assert torch.equal(torch.tensor(answers["AutoModel"]), here(checkpoint, clip)[0])
