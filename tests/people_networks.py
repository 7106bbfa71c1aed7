"""Tiny random networks of detection and pose in folders, as published ones lie there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

NORMAL = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "rescale_factor": 1 / 255}
NAMES = {0: "person", 1: "bicycle", 2: "car"}


def save(model: Any, folder: Path, preparation: dict[str, Any]) -> Path:
    """Saves a network with its preprocessor_config.json."""
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preparation))
    return folder


@pytest.fixture(scope="session")
def rt_detr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An RT-DETR that knows three classes."""
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    torch.manual_seed(0)
    backbone = RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = RTDetrConfig(
        backbone_config=backbone, encoder_hidden_dim=16, encoder_in_channels=[8, 16, 16], d_model=16,
        encoder_ffn_dim=16, decoder_ffn_dim=16, decoder_in_channels=[16, 16, 16], num_queries=12, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, decoder_n_points=2, id2label=NAMES,
        anchor_image_size=None,
    )  # fmt: skip
    preparation = NORMAL | {"do_normalize": False, "resample": 2, "size": {"height": 64, "width": 64}}
    return save(RTDetrForObjectDetection(config), tmp_path_factory.mktemp("rt_detr"), preparation)


@pytest.fixture(scope="session")
def yolos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLOS that is sure of its people, and sees them all over the picture."""
    from transformers import YolosConfig, YolosForObjectDetection

    torch.manual_seed(1)
    config = YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=[32, 32],
        patch_size=16, num_detection_tokens=4, id2label=NAMES,
    )  # fmt: skip
    model = YolosForObjectDetection(config)
    with torch.no_grad():
        model.class_labels_classifier.layers[-1].bias.copy_(torch.tensor([9.0, 0.0, 0.0, 0.0]))
        model.vit.embeddings.detection_tokens.normal_(0, 2)
        for layer in model.bbox_predictor.layers:
            layer.weight.normal_(0, 0.6)
    preparation = NORMAL | {"size": {"shortest_edge": 40, "longest_edge": 80}, "image_processor_type": "Yolos"}
    return save(model, tmp_path_factory.mktemp("yolos"), preparation)


@pytest.fixture(scope="session")
def vitpose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViTPose of 17 joints."""
    return _vitpose(tmp_path_factory.mktemp("vitpose"), experts=1)


@pytest.fixture(scope="session")
def vitpose_plus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of six experts, of which each has learned another data set."""
    return _vitpose(tmp_path_factory.mktemp("vitpose_plus"), experts=6)


def _vitpose(folder: Path, experts: int) -> Path:
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    torch.manual_seed(2)
    backbone = VitPoseBackboneConfig(
        image_size=[64, 48], patch_size=[16, 16], hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        mlp_ratio=2, num_experts=experts, part_features=8, out_indices=[1],
    )  # fmt: skip
    config = VitPoseConfig(backbone_config=backbone, id2label={number: f"joint {number}" for number in range(17)})
    preparation = NORMAL | {"size": {"height": 64, "width": 48}, "normalize_factor": 200.0}
    return save(VitPoseForPoseEstimation(config), folder, preparation)
