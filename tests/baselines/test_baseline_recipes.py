"""CVTCL-like and JSSEL-like are recipes: they switch on what they say and nothing else, train, and are evaluated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, STEPS, TINY_VISION, write_recipe
from data_sets import add_keypoints

import evaluate_fgsgl
import train_fgsgl
from microgesture import arguments, estimate
from microgesture.baselines.clip_mg import ClipMGConfig, ClipMGForVideoClassification
from microgesture.baselines.ms_g3d import MSG3DConfig, MSG3DForVideoClassification
from microgesture.baselines.tsm import TSMConfig, TSMForVideoClassification
from microgesture.data.clip_dataset import collate
from microgesture.data.keypoints import read_layout
from microgesture.recipes import read_recipe
from microgesture.streams.heatmap.configuration_heatmap import HeatmapConfig
from microgesture.streams.heatmap.modeling_heatmap import HeatmapForVideoClassification
from modeling_fgsgl import FGSGLForVideoClassification

CVTCL = ("cvtcl_like_smg", "cvtcl_like_imigue")
JSSEL = ("jssel_like_utd_mhad", "jssel_like_utd_mhad_limbs")
# What makes a run of a recipe one of seconds, on the tiny data set.
SHORT: dict[str, Any] = {
    "use_cpu": True, "bf16": False, "max_steps": 2, "per_device_train_batch_size": 8, "eval_strategy": "no",
    "save_strategy": "no", "load_best_model_at_end": False, "logging_steps": 1, "disable_tqdm": True,
}  # fmt: skip
SMALL: dict[str, Any] = {
    "backbone": None, "world_size": None, "vision_config": TINY_VISION, "embed_dim": 16, "num_frames": 4,
    "gradient_accumulation_steps": 1, "activation_checkpointing": False,
}  # fmt: skip
LAYOUT = read_layout("kinect_20")


def fields_of(name: str) -> dict[str, Any]:
    return read_recipe(ROOT / "recipes" / f"{name}.yaml")


def short(name: str, data: Path, folder: Path, **fields: Any) -> list[str]:
    """The command line of a recipe that is cut short."""
    folder.mkdir()
    places = {"dataset_dir": str(data), "output_dir": str(folder / "out"), "cache_dir": str(folder / "cache")}
    whole = fields_of(name) | SHORT | places | fields
    return write_recipe(folder / f"{name}.yaml", {key: value for key, value in whole.items() if value is not None})


def terms_of_a_step(argv: list[str]) -> tuple[Any, dict[str, torch.Tensor], dict[str, float]]:
    """The trainer of a command line without dropout, its first eight clips, and the terms of their loss."""
    model, data, training, _ = arguments.parse(argv)
    trainer = train_fgsgl.build_trainer(model, data, training)[0]
    batch = collate([trainer.train_dataset[i] for i in range(8)])
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    batch = trainer.get_batch_samples(iter([batch]), 1, trainer.args.device)[0][0]
    with torch.no_grad():
        trainer.compute_loss(trainer.model, batch)
    return trainer, batch, {name: float(value) for name, value in trainer._window.items()}


def test_the_readme_counts_the_parameters_of_each_method() -> None:
    page = (ROOT / "microgesture" / "baselines" / "README.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")][2:]
    parameters = {row[0].split(" (")[0]: row[2] for row in rows}
    ntu, imigue = read_layout("kinect_25"), read_layout("openpose_22")
    model, data, *_ = arguments.parse([str(ROOT / "recipes" / "cvtcl_like_smg.yaml"), "--estimate"])
    smg = estimate.known_of_data(ROOT / data.dataset_dir)[0]
    joints = {"joints": list(ntu.names), "bones": [list(bone) for bone in ntu.bones], "dimensions": 3}
    body = [f"j{number}" for number in range(17)]
    with torch.device("meta"):
        networks = {
            "TSM": TSMForVideoClassification(TSMConfig(num_labels=400)),
            "MS-G3D": MSG3DForVideoClassification(MSG3DConfig(**joints, num_labels=60)),
            "JSSEL": HeatmapForVideoClassification(HeatmapConfig(joints=body, num_labels=32)),
            "CVTCL": FGSGLForVideoClassification(train_fgsgl.build_config(model, smg, estimate.PUBLISHED, False)),
            "CLIP-MG": ClipMGForVideoClassification(ClipMGConfig(joints=list(imigue.names), num_labels=32)),
        }
    assert parameters.keys() == networks.keys()
    for name, network in networks.items():
        assert f"{sum(parameter.numel() for parameter in network.parameters()):,}" in parameters[name], name


# ---- CVTCL-like --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CVTCL)
def test_cvtcl_like_is_fg_sgl_with_class_text_and_without_fg_sa(name: str) -> None:
    whole, fields = fields_of(name.removeprefix("cvtcl_like_")), fields_of(name)
    assert {key: value for key, value in fields.items() if whole.get(key) != value and key != "output_dir"} == {
        "fg_text": "class", "fg_sa": False, "ml_co": False, "temperature": 0.05,
    }  # fmt: skip
    training = arguments.parse([str(ROOT / "recipes" / f"{name}.yaml"), "--estimate"])[2]
    assert training.terms == ("cls", "cp")


def test_cvtcl_like_contrasts_clips_with_class_sentences_trains_and_is_evaluated(tiny_dataset, tmp_path) -> None:
    argv = short(CVTCL[0], tiny_dataset, tmp_path / "run", **SMALL)
    trainer, batch, terms = terms_of_a_step(argv)
    assert {"fg", "sem"}.isdisjoint(terms)
    with torch.no_grad():
        out = trainer.model(pixel_values=trainer._pixels(batch))
    similar = F.cosine_similarity(out.class_embeds[:, None], out.category_embeds[None], dim=-1)
    assert terms["cp"] == pytest.approx(float(F.cross_entropy(similar / 0.05, batch["labels"])), rel=1e-4)
    assert terms["cls"] == pytest.approx(float(F.cross_entropy(out.logits, batch["labels"])), rel=1e-4)
    train_fgsgl.main(argv)
    out = tmp_path / "run" / "out"
    terms = set().union(*json.loads((out / "metrics.json").read_text())["stage_losses"].values())
    assert {"cls", "cp"} <= terms
    assert "fg" not in terms
    evaluate_fgsgl.main([str(out), str(tiny_dataset), "--cache_dir", str(tmp_path / "run" / "cache")])
    assert json.loads((out / "eval_test.json").read_text())["metrics"]["total"] == 8


# ---- JSSEL-like --------------------------------------------------------------------------------------------------


def body(split: Path, row: dict, number: int) -> np.ndarray:
    """A body in space whose right hand moves as the clip's class says, `(12, 20, 3)`."""
    J, T = len(LAYOUT.names), 12
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (J, 3)) + np.random.default_rng(number).normal(
        0, 0.01, (J, 3)
    )
    points = np.tile(points, (T, 1, 1))
    dy, dx = STEPS[row["label"].removeprefix("Hand ")]
    points[:, LAYOUT.names.index("right_hand"), :2] += 0.6 * np.linspace(0, 1, T)[:, None] * np.array([dx, -dy])
    return points.astype(np.float32)


@pytest.fixture(scope="module")
def bodies(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set with a body in space for each clip, in the layout of UTD-MHAD."""
    out = tmp_path_factory.mktemp("bodies") / "data"
    shutil.copytree(tiny_dataset, out)
    add_keypoints(out, body)
    labels = json.loads((out / "labels.json").read_text())
    (out / "labels.json").write_text(json.dumps(labels | {"keypoints": LAYOUT.name}))
    return out


def test_jssel_like_is_two_heatmap_networks_with_class_vectors_as_targets(bodies, tmp_path) -> None:
    joints, limbs = (fields_of(name) for name in JSSEL)
    assert limbs["stream_config"] == joints["stream_config"] | {"parts": ["limbs"]}
    assert {key for key in joints | limbs if joints.get(key) != limbs.get(key)} == {"stream_config", "output_dir"}
    for name, channels in zip(JSSEL, (20, 19), strict=True):
        trainer, batch, terms = terms_of_a_step(short(name, bodies, tmp_path / name, classifier_dropout=0.0))
        with torch.no_grad():
            out = trainer.model(keypoints=batch["keypoints"])
        assert trainer.model.config.channels == len(trainer.model.config.views) * channels
        wanted = trainer.targets[batch["labels"]].to(out.semantic_embeds)
        assert terms["sem"] == pytest.approx(float((out.semantic_embeds - wanted).square().mean()), rel=1e-4)
        assert terms["cls"] == pytest.approx(float(F.cross_entropy(out.logits, batch["labels"])), rel=1e-4)
        assert trainer.term_weights["sem"] == 20
        assert float((trainer.targets @ trainer.targets.T).fill_diagonal_(0).abs().max()) > 0.1  # as they are


def test_jssel_like_trains_and_is_evaluated(bodies, tmp_path) -> None:
    train_fgsgl.main(short(JSSEL[0], bodies, tmp_path / "run"))
    out = tmp_path / "run" / "out"
    assert {"cls", "sem"} <= set().union(*json.loads((out / "metrics.json").read_text())["stage_losses"].values())
    evaluate_fgsgl.main([str(out), str(bodies)])
    assert json.loads((out / "eval_test.json").read_text())["metrics"]["total"] == 8
