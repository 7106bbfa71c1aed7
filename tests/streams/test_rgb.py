"""Streams on video: R(2+1)D, transformers' own classifiers and TSM, from clips to a checkpoint and its figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import evaluate_fgsgl
import train_fgsgl
from microgesture import arguments
from microgesture.evaluation.score_file import Scores, score_path
from microgesture.streams.rgb.configuration_r2plus1d import R2Plus1DConfig
from microgesture.streams.rgb.modeling_r2plus1d import R2Plus1DForVideoClassification, middle_channels

STREAMS = {"r2plus1d": {"image_size": 16, "stem_channels": 6, "widths": [8, 16], "depths": [1, 1]}}


def command(data: Path, folder: Path, stream: str, **fields) -> list[str]:
    recipe = folder / f"{stream}.yaml"
    fields = {
        "stream": stream, "stream_config": STREAMS[stream], "dataset_dir": str(data), "num_frames": 4,
        "output_dir": str(folder / "out"), "cache_dir": str(folder / "cache"), "use_cpu": True, "augment": True,
        "augment_camera": 0.2, "num_train_epochs": 1, "per_device_train_batch_size": 8, "logging_steps": 1,
        "learning_rate": "1e-2", "disable_tqdm": True, "seed": 0,
    } | fields  # fmt: skip
    recipe.write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in fields.items()))
    return [str(recipe)]


def build(argv: list[str]):
    model, data, training, _ = arguments.parse(argv)
    return train_fgsgl.build_trainer(model, data, training)[0]


def test_r2plus1d_learns_and_leaves_what_fg_sgl_leaves(tiny_dataset, tmp_path, capsys) -> None:
    argv = command(
        tiny_dataset, tmp_path, "r2plus1d",
        class_balance="square_root", semantic_loss="orthogonal", num_train_epochs=20, augment=False,
    )  # fmt: skip
    train_fgsgl.main(argv)
    printed, out = capsys.readouterr().out, tmp_path / "out"
    record = json.loads((out / "metrics.json").read_text())
    assert record["stream"] == "r2plus1d"
    assert {"cls", "sem"} <= set(record["stage_losses"]["stage 2"])
    assert record["validation"]["correct"] >= 6
    assert "r2plus1d network" in printed
    evaluate_fgsgl.main([str(out), str(tiny_dataset), "--cache_dir", str(tmp_path / "cache"), "--baselines"])
    printed, result = capsys.readouterr().out, json.loads((out / "eval_test.json").read_text())
    assert result["metrics"]["total"] == 8
    assert result["metrics"]["correct"] >= 6
    for text in ("r2plus1d stream", "linear model, ", "temperature"):
        assert text in printed
    scores = Scores.read(score_path(out, "test"))
    assert int((scores.logits.argmax(1) == scores.labels).sum()) == result["metrics"]["correct"]


# ---- R(2+1)D -----------------------------------------------------------------------------------------------------


def test_r2plus1d_18_is_the_published_network() -> None:
    """31,505,325 parameters with 400 classes, as torchvision's r2plus1d_18 (docs/paper.md)."""
    with torch.device("meta"):
        model = R2Plus1DForVideoClassification(R2Plus1DConfig(num_labels=400))
    assert sum(p.numel() for p in model.parameters()) == 31_505_325
    shapes = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, inputs, out: shapes.append(tuple(out.shape[1:])))
    out = model(torch.zeros(2, 16, 3, 112, 112, device="meta"))
    stages = [(64, 16, 56, 56), (128, 8, 28, 28), (256, 4, 14, 14), (512, 2, 7, 7)]
    assert shapes == [shape for shape in stages for _ in range(2)]  # Table 1 of Tran et al.
    assert out.logits.shape == (2, 400)
    assert out.pooled.shape == (2, 512)


@pytest.mark.parametrize(("n_in", "n_out"), [(64, 64), (64, 128), (256, 512)])
def test_the_middle_has_as_many_weights_as_one_convolution_over_space_and_time(n_in: int, n_out: int) -> None:
    M = middle_channels(n_in, n_out)

    def weights(m: int) -> int:
        return 9 * n_in * m + 3 * m * n_out

    assert weights(M) <= 27 * n_in * n_out < weights(M + 1)


def test_r2plus1d_sees_the_order_of_frames_and_takes_any_number_and_size() -> None:
    torch.manual_seed(0)
    model = R2Plus1DForVideoClassification(R2Plus1DConfig(**STREAMS["r2plus1d"], num_labels=3, semantic_dim=5)).eval()
    clip = torch.randn(1, 6, 3, 20, 24)
    with torch.no_grad():
        assert not torch.allclose(model(clip).logits, model(clip.flip(1)).logits, atol=1e-5)
        assert model(clip, labels=torch.tensor([1])).loss.shape == ()
        assert model(torch.randn(2, 1, 3, 9, 9)).semantic_embeds.shape == (2, 5)
    with pytest.raises(ValueError, match="must be \\(clips, frames, 3 colours"):
        model(clip.transpose(1, 2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": [8]}, r"widths \[8\] and depths"),
        ({"image_size": 0}, "image_size is 0"),
        ({"num_labels": 2, "category_texts": ["one"]}, "1 sentences for 2 classes"),
    ],
)
def test_r2plus1d_configurations_that_cannot_be(fields, message) -> None:
    with pytest.raises(ValueError, match=message):
        R2Plus1DConfig(**fields)
