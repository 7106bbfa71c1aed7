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
    """An RT-DETR that sees people everywhere."""
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
    model = RTDetrForObjectDetection(config)
    with torch.no_grad():
        for head in model.model.decoder.class_embed:
            head.bias.copy_(torch.tensor([1.0, -3.0, -3.0]))
            head.weight.normal_(0, 0.3)
    return save(model, tmp_path_factory.mktemp("rt_detr"), preparation)


LEFT, RIGHT, WHOLE = (
    (0.25, 0.5, 0.3, 0.8),
    (0.75, 0.5, 0.3, 0.9),
    (0.5, 0.5, 1.0, 1.0),
)  # middle and size, of a picture


def seeing(folder: Path, *boxes: tuple[float, float, float, float]) -> Path:
    """A YOLOS that sees the same people in every picture: its tokens do not attend to the pixels."""
    from transformers import YolosConfig, YolosForObjectDetection

    torch.manual_seed(1)
    config = YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=[32, 32],
        patch_size=16, num_detection_tokens=len(boxes), id2label=NAMES,
    )  # fmt: skip
    model = YolosForObjectDetection(config).eval()
    with torch.no_grad():
        model.vit.embeddings.detection_tokens.normal_(0, 2)
        for name, weight in model.named_parameters():
            if ".attention.o" in name:
                weight.zero_()
        model.class_labels_classifier.layers[-1].bias.copy_(torch.tensor([9.0, 0.0, 0.0, 0.0]))
        inner: list[torch.Tensor] = []
        last = model.bbox_predictor.layers[-1]
        hook = last.register_forward_pre_hook(lambda _, given: inner.append(given[0][0]))
        model(pixel_values=torch.zeros(1, 3, 32, 32))
        hook.remove()
        wanted = torch.logit(torch.tensor(boxes).clamp(1e-4, 1 - 1e-4))
        last.weight.copy_((torch.linalg.pinv(inner[0]) @ wanted).T)
        last.bias.zero_()
    preparation = NORMAL | {"size": {"shortest_edge": 40, "longest_edge": 80}}
    return save(model, folder, preparation)


@pytest.fixture(scope="session")
def two_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that sees two people in every picture, the right one larger, and each twice."""
    return seeing(tmp_path_factory.mktemp("two_people"), LEFT, RIGHT, LEFT, RIGHT)


@pytest.fixture(scope="session")
def one_person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that sees one person who fills every picture."""
    return seeing(tmp_path_factory.mktemp("one_person"), WHOLE)


@pytest.fixture(scope="session")
def vitpose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViTPose of 17 joints."""
    return _vitpose(tmp_path_factory.mktemp("vitpose"), experts=1)


@pytest.fixture(scope="session")
def vitpose_plus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of six experts, of which each has learned another data set."""
    return _vitpose(tmp_path_factory.mktemp("vitpose_plus"), experts=6)


def _vitpose(folder: Path, experts: int) -> Path:
    torch.manual_seed(2)
    return save(_pose_network([64, 48], 16, 16, experts), folder, POSE)


POSE = NORMAL | {"size": {"height": 256, "width": 192}, "normalize_factor": 200.0}


def _pose_network(size: list[int], patch: int, hidden: int, experts: int) -> Any:
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    backbone = VitPoseBackboneConfig(
        image_size=size, patch_size=[patch, patch], hidden_size=hidden, num_hidden_layers=1, num_attention_heads=2,
        mlp_ratio=2, num_experts=experts, part_features=8, out_indices=[1],
    )  # fmt: skip
    config = VitPoseConfig(backbone_config=backbone, id2label={number: f"joint {number}" for number in range(17)})
    return VitPoseForPoseEstimation(config)


@pytest.fixture(scope="session")
def finds_squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViTPose that was taught, in crops of 32 pixels, to see all joints where a small bright square is."""
    torch.manual_seed(0)
    model, side, heat = _pose_network([32, 32], 8, 24, 1), torch.arange(32), torch.arange(16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3)
    for _ in range(180):
        place = 5 + 22 * torch.rand(8, 2)
        far = [(side - place[:, axis, None]).abs() for axis in (0, 1)]
        square = (far[0][:, None] < 2.4) & (far[1][:, :, None] < 2.4)
        ground = torch.randint(20, 60, (8, 1, 1)) * ((side > 2) & (side < 29)) * ((side > 2) & (side < 29))[:, None]
        pixels = torch.where(square, 220, ground)[:, None].expand(-1, 3, -1, -1) / 255
        mean, std = (torch.tensor(NORMAL[f"image_{name}"]).view(3, 1, 1) for name in ("mean", "std"))
        at = [(heat - place[:, axis, None] * 15 / 31) ** 2 for axis in (0, 1)]
        wanted = torch.exp(-(at[0][:, None] + at[1][:, :, None]) / 4)[:, None].expand(-1, 17, -1, -1)
        optimizer.zero_grad()
        (model((pixels - mean) / std).heatmaps - wanted).square().mean().backward()
        optimizer.step()
    return save(model.eval(), tmp_path_factory.mktemp("finds_squares"), POSE)
