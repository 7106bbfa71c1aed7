"""`microgesture export --onnx`: onnxruntime answers as torch does, and nothing half-checked gets a name."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import moving_square, write_video
from tiny_checkpoint import write_checkpoint

from microgesture import cli, onnx_export
from microgesture.streams.skeleton.configuration_skeleton import SkeletonConfig
from modeling_fgsgl import FGSGLForVideoClassification
from processing_fgsgl import FGSGLProcessor

for package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package)
import onnxruntime  # noqa: E402 - after the packages were found to be there

NAMES = ("nod", "rub", "tap")
SETTINGS = {
    "demo": {"temporal_pooling": "learned", "spatial_pooling": "attention", "classifier_input": "mid_high"},
    "paper": {"temporal_pooling": "mean", "spatial_pooling": "mean", "classifier_input": "high"},
}


@pytest.fixture(scope="module", params=SETTINGS)
def exported(request, tmp_path_factory) -> tuple[Path, Path]:
    """A checkpoint and what the command made of it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    checkpoint = write_checkpoint(folder, NAMES, initializer_range=0.2, **SETTINGS[request.param])
    path = tmp_path_factory.mktemp("onnx") / "network.onnx"
    assert cli.main(["export", str(checkpoint), "--onnx", str(path)]) == 0
    return checkpoint, path


@pytest.fixture
def same_graph(exported, monkeypatch) -> tuple[Path, Path]:
    """The exporter takes seconds: what follows it is tested on the graph that it made for the same checkpoint."""
    monkeypatch.setattr(onnx_export, "_write_graph", lambda _branch, _clips, path: shutil.copy(exported[1], path))
    return exported


def real_clips(folder: Path, processor: FGSGLProcessor) -> torch.Tensor:
    """Normalised frames of three H.264 clips."""
    for number, direction in enumerate(("up", "left", "right")):
        write_video(folder / f"{number}.mp4", moving_square(direction, np.random.default_rng(number)))
    return processor([folder / f"{number}.mp4" for number in range(3)])["pixel_values"]


@torch.inference_mode()
def test_answers_are_those_of_torch(exported, tmp_path) -> None:
    checkpoint, path = exported
    model = FGSGLForVideoClassification.from_pretrained(checkpoint).eval()
    processor = FGSGLProcessor.from_pretrained(checkpoint)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for clips in (real_clips(tmp_path, processor), 3 * torch.randn(3, 4, 3, 32, 32)):
        for batch in (clips, clips[:1]):
            wanted = model(pixel_values=batch)
            for output, got in zip(
                session.get_outputs(), session.run(None, {"pixel_values": batch.numpy()}), strict=True
            ):
                assert np.abs(got - wanted[output.name].numpy()).max() <= 1e-4
        assert wanted.logits.abs().max() > 0.1  # else everything would be near


def test_description_stands_beside_it(exported) -> None:
    about = json.loads(exported[1].with_suffix(".json").read_text(encoding="utf-8"))
    assert about["labels"] == list(NAMES)
    assert about["precision"] == "float32"
    assert about["inputs"]["pixel_values"]["shape"] == ["batch", 4, 3, 32, 32]
    assert about["preprocessing"]["image_mean"] == [0.485, 0.456, 0.406]
    assert about["sha256"] == hashlib.sha256(exported[1].read_bytes()).hexdigest()
    session = onnxruntime.InferenceSession(exported[1], providers=["CPUExecutionProvider"])
    shapes = {output.name: output.shape for output in session.get_outputs()}
    assert shapes == {name: row["shape"] for name, row in about["outputs"].items()}
    assert sorted(p.name for p in exported[1].parent.iterdir()) == ["network.json", "network.onnx"]


def test_int8_is_smaller_and_near(same_graph, tmp_path) -> None:
    path = tmp_path / "small.onnx"
    assert cli.main(["export", str(same_graph[0]), "--onnx", str(path), "--int8"]) == 0
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert about["precision"] == "int8"
    assert 1e-4 < about["greatest_logit_difference_from_torch"] < 1
    assert path.stat().st_size < same_graph[1].stat().st_size


def test_a_wrong_graph_is_not_written(same_graph, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(onnx_export, "TOLERANCE", 0.0)
    monkeypatch.setattr(onnx_export.VisionBranch, "forward", lambda self, x: (self.model(x).logits + 1,) * 3)
    assert cli.main(["export", str(same_graph[0]), "--onnx", str(tmp_path / "a.onnx")]) == 1
    assert "onnxruntime's logits differ from torch's by 1" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_said(exported, tmp_path, monkeypatch, capsys) -> None:
    checkpoint, stream = str(exported[0]), tmp_path / "stream"
    SkeletonConfig().save_pretrained(stream)

    def refused(folder: str, name: str) -> str:
        assert cli.main(["export", folder, "--onnx", str(tmp_path / name)]) == 1
        return capsys.readouterr().err

    told = refused(str(stream), "a.onnx")
    assert "microgesture_skeleton; only FG-SGL's vision branch, which reads video frames, can be exported" in told
    assert "must end in .onnx" in refused(checkpoint, "a.bin")
    assert "does not exist; make it first" in refused(checkpoint, "none/a.onnx")
    assert "no folder with a trained checkpoint" in refused(str(tmp_path), "a.onnx")
    monkeypatch.setattr(onnx_export, "LARGEST", 1000)
    assert "one ONNX file holds 2 GiB at most" in refused(checkpoint, "a.onnx")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert "pip install 'fgsgl[onnx]'" in refused(checkpoint, "a.onnx")
