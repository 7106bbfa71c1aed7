"""Streams on video: R(2+1)D, transformers' own classifiers and TSM, from clips to a checkpoint and its figures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, write_recipe
from hub_server import HubServer, Repo
from safetensors.torch import load_file
from transformers import (
    AutoModelForVideoClassification,
    ResNetConfig,
    ResNetForImageClassification,
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEModel,
)

import evaluate_fgsgl
import train_fgsgl
from microgesture import arguments, cli
from microgesture.data.clip_dataset import collate
from microgesture.evaluation.score_file import Scores, score_path
from microgesture.streams.rgb.configuration_r2plus1d import R2Plus1DConfig
from microgesture.streams.rgb.modeling_r2plus1d import R2Plus1DForVideoClassification, middle_channels
from processing_fgsgl import FGSGLProcessor

STREAMS = {
    "r2plus1d": {"image_size": 16, "stem_channels": 6, "widths": [8, 16], "depths": [1, 1]},
    "tsm": {
        "image_size": 32, "embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 2], "layer_type": "basic",
    },
    "videomae": {
        "image_size": 16, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32,
    },
    "timesformer": {
        "image_size": 16, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32,
    },
    "vivit": {
        "image_size": 16, "tubelet_size": [2, 8, 8], "hidden_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 32,
    },
    "vjepa2": {
        "crop_size": 16, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "mlp_ratio": 2, "num_pooler_layers": 1, "pred_hidden_size": 16, "pred_num_attention_heads": 2,
        "pred_num_hidden_layers": 1, "pred_num_mask_tokens": 1,
    },
    "videoprism_vision_model": {
        "image_size": 16, "tubelet_size": [1, 8, 8], "hidden_size": 16, "num_attention_heads": 2,
        "intermediate_size": 32, "num_spatial_layers": 1, "num_temporal_layers": 1,
    },
}  # fmt: skip


def command(data: Path, folder: Path, stream: str, /, **fields) -> list[str]:
    fields = {
        "stream": stream, "stream_config": STREAMS[stream], "dataset_dir": str(data), "num_frames": 4,
        "output_dir": str(folder / "out"), "cache_dir": str(folder / "cache"), "use_cpu": True, "augment": True,
        "augment_camera": 0.2, "num_train_epochs": 1, "per_device_train_batch_size": 8, "logging_steps": 1,
        "learning_rate": "1e-2", "disable_tqdm": True, "seed": 0,
    } | fields  # fmt: skip
    return write_recipe(folder / f"{stream}.yaml", fields)


def build(argv: list[str]):
    model, data, training, _ = arguments.parse(argv)
    return train_fgsgl.build_trainer(model, data, training)[0]


def test_r2plus1d_learns_and_leaves_what_fg_sgl_leaves(tiny_dataset, tmp_path, capsys) -> None:
    argv = command(
        tiny_dataset, tmp_path, "r2plus1d", class_balance="square_root", semantic_loss="orthogonal", augment=False,
        num_train_epochs=20, eval_strategy="steps", eval_steps=30, save_strategy="steps", save_steps=30,
    )  # fmt: skip
    train_fgsgl.main(argv)
    printed, out = capsys.readouterr().out, tmp_path / "out"
    record = json.loads((out / "metrics.json").read_text())
    assert record["stream"] == "r2plus1d"
    assert {"cls", "sem"} <= set(record["stage_losses"]["stage 2"])
    assert record["validation"]["correct"] >= 6
    assert "r2plus1d network" in printed
    cache = ["--cache_dir", str(tmp_path / "cache")]
    evaluate_fgsgl.main([str(out), str(tiny_dataset), *cache, "--baselines"])
    printed, result = capsys.readouterr().out, json.loads((out / "eval_test.json").read_text())
    assert result["metrics"]["total"] == 8
    assert result["metrics"]["correct"] >= 6
    for text in ("r2plus1d stream", "linear model, ", "temperature"):
        assert text in printed
    scores = Scores.read(score_path(out, "test"))
    assert int((scores.logits.argmax(1) == scores.labels).sum()) == result["metrics"]["correct"]
    assert cli.main(["predict", str(out), "clip.mp4"]) == 1
    assert "is a r2plus1d stream, which knows clips only" in capsys.readouterr().err
    other = tmp_path / "tsm"
    train_fgsgl.main(command(tiny_dataset, tmp_path, "tsm", output_dir=str(other), augment=False))
    for checkpoint, split in ((out, "validation"), (other, "validation"), (other, "test")):
        evaluate_fgsgl.main([str(checkpoint), str(tiny_dataset), "--split", split, *cache])
    capsys.readouterr()
    fused = ["fuse", str(out), str(other), "--on", "validation", "--split", "test", "--out", str(tmp_path / "fused")]
    assert cli.main(fused) == 0
    assert len(Scores.read(score_path(tmp_path / "fused", "test")).labels) == 8


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


# ---- transformers' own classifiers --------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", arguments.VIDEO_CLASSIFIERS)
def test_every_classifier_of_transformers_trains_all_that_is_not_frozen(tiny_dataset, tmp_path, stream) -> None:
    trainer = build(command(tiny_dataset, tmp_path, stream, semantic_loss="orthogonal", augment=False))
    batch = collate([trainer.train_dataset[i] for i in range(8)])
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    batch = trainer.get_batch_samples(iter([batch]), 1, trainer.args.device)[0][0]
    trainer.compute_loss(trainer.model, batch).backward()
    without = [n for n, p in trainer.model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    assert trainer._window["sem"] > 0
    trainer.model.eval()
    with torch.no_grad():
        out = trainer._forward(trainer.model, batch)
    assert out.logits.shape == (8, 4)
    assert "semantic_embeds" not in out


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """Tiny VideoMAE weights as they are published: of the pretraining network, with the colours that they expect."""
    folder = tmp_path_factory.mktemp("videomae")
    torch.manual_seed(3)
    fields = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    config = VideoMAEConfig(**STREAMS["videomae"], **fields, num_frames=8)
    VideoMAEForPreTraining(config).save_pretrained(folder)
    colours = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1], "size": {"shortest_edge": 16}}
    (folder / "preprocessor_config.json").write_text(json.dumps(colours))
    return folder


def test_a_run_on_published_weights_leaves_an_ordinary_checkpoint_of_transformers(
    pretrained, tiny_dataset, tmp_path, capsys
) -> None:
    argv = command(
        tiny_dataset, tmp_path, "videomae", stream_config={}, stream_weights=str(pretrained), semantic_loss="plain"
    )
    trainer = build(argv)
    published = VideoMAEModel.from_pretrained(pretrained).state_dict()
    for name, value in trainer.model.videomae.state_dict().items():
        torch.testing.assert_close(value, published[name])
    assert trainer.processing_class.image_mean == [0.5, 0.4, 0.3]
    assert trainer.model.config.num_frames == 4
    train_fgsgl.main(argv)
    out = tmp_path / "out"
    assert not [name for name in load_file(out / "model.safetensors") if "semantic" in name]
    text = (out / "config.json").read_text() + (out / "metrics.json").read_text() + (out / "README.md").read_text()
    assert str(tmp_path) not in text.replace(str(tiny_dataset), "")
    assert str(pretrained) not in text
    assert "transformers' `videomae`" in text
    assert "auto_map" not in json.loads((out / "config.json").read_text())
    model, found = VideoMAEForVideoClassification.from_pretrained(out, output_loading_info=True)
    assert not any(found.values()), found
    evaluate_fgsgl.main([str(out), str(tiny_dataset), "--cache_dir", str(tmp_path / "cache")])
    assert "videomae stream" in capsys.readouterr().out
    scores = Scores.read(score_path(out, "test"))
    files = sorted((tiny_dataset / "test" / "clips").glob("*.mp4"))
    pixels = FGSGLProcessor.from_pretrained(out)([str(path) for path in files])["pixel_values"]
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(pixels).logits, torch.from_numpy(scores.logits), rtol=1e-4, atol=1e-5)
    again = build([*argv, "--init_from", str(out), "--output_dir", str(tmp_path / "next")]).model.state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again[name], value)


def test_a_network_whose_logits_have_an_axis_more_is_trained_evaluated_and_read_back(tiny_dataset, tmp_path) -> None:
    argv = command(tiny_dataset, tmp_path, "videoprism_vision_model", num_train_epochs=2, semantic_loss="orthogonal")
    train_fgsgl.main(argv)
    out = tmp_path / "out"
    record = json.loads((out / "metrics.json").read_text())
    assert record["validation"]["total"] == 8
    evaluate_fgsgl.main([str(out), str(tiny_dataset), "--split", "validation"])
    scores = Scores.read(score_path(out, "validation"))
    assert scores.logits.shape == (8, 4)
    assert int((scores.logits.argmax(1) == scores.labels).sum()) == record["validation"]["correct"]
    model = AutoModelForVideoClassification.from_pretrained(out)
    assert not hasattr(model, "semantic")


def test_a_run_with_a_semantic_loss_goes_on_as_if_it_never_stopped(tiny_dataset, tmp_path) -> None:
    weights = {}
    for name, epochs in (("whole", [2]), ("halves", [1, 2])):
        folder = tmp_path / name
        folder.mkdir()
        for number, last in enumerate(epochs):
            argv = command(
                tiny_dataset, folder, "videomae", lr_scheduler_type="constant", num_train_epochs=last,
                semantic_loss="orthogonal", cache_dir=str(tmp_path / "cache"),
            )  # fmt: skip
            train_fgsgl.main([*argv, *(["--resume", "true"] if number else [])])
        checkpoints = sorted(folder.glob("out/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        weights[name] = load_file(checkpoints[-1] / "model.safetensors")
    assert {"semantic.weight", "semantic.bias"} <= set(weights["whole"])
    for name, value in weights["whole"].items():
        assert torch.equal(value, weights["halves"][name]), name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stream": "timesformer"}, "are of the type 'videomae', and this stream takes 'timesformer'"),
        ({"stream_config": {"hidden_size": 32}}, "do not fit"),
        ({"stream_config": {"image_size": 32, "hidden_sise": 4}}, "no field 'hidden_sise'; did you mean hidden_size"),
        ({"stream_config": {"num_frames": 2}}, "the recipe itself, or the data set, decides it"),
        ({"classifier_dropout": 0.5}, "a videomae has none before its classifier"),
        ({"stream": "r2plus1d"}, "there are no published weights for the stream r2plus1d"),
        ({"stream": None}, "stream_config or stream_weights is given but no stream"),
    ],
)
def test_recipes_that_cannot_be(pretrained, tiny_dataset, tmp_path, fields, message) -> None:
    fields = {"stream_config": {}, "stream_weights": str(pretrained)} | fields
    argv = command(tiny_dataset, tmp_path, "videomae", **fields)
    with pytest.raises(ValueError, match=message):
        build(argv)


def test_bf16_is_refused_where_its_gradients_are_wrong(tiny_dataset, tmp_path) -> None:
    with pytest.raises(ValueError, match="convolution over two frames is wrong"):
        build(command(tiny_dataset, tmp_path, "r2plus1d", bf16=True))
    assert build(command(tiny_dataset, tmp_path, "tsm", bf16=True)).args.bf16


def test_weights_that_are_not_there_are_named(tiny_dataset, tmp_path) -> None:
    argv = command(tiny_dataset, tmp_path, "videomae", stream_config={}, stream_weights=str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError, match="nothing does not exist"):
        build(argv)


def test_weights_that_were_adapted_to_clips_do_not_come_without_their_record(
    pretrained, tiny_dataset, tmp_path
) -> None:
    adapted = tmp_path / "adapted"
    shutil.copytree(pretrained, adapted)
    (adapted / "metrics.json").write_text(json.dumps({"adaptation": {"method": "cmpl", "targets": ["0" * 16]}}))
    argv = command(tiny_dataset, tmp_path, "videomae", stream_config={}, stream_weights=str(adapted))
    with pytest.raises(ValueError, match=r"were adapted to clips, .* give them as init_from"):
        build(argv)


def test_weights_come_by_name_at_one_commit_and_code_of_their_repository_never_runs(
    pretrained, tiny_dataset, tmp_path
) -> None:
    server, commit, marker = HubServer(), "1" * 40, tmp_path / "ran"
    files = {path.name: path.read_bytes() for path in pretrained.iterdir()}
    code = {"AutoConfig": "theirs.Config", "AutoModelForVideoClassification": "theirs.Model"}
    files["config.json"] = json.dumps(json.loads(files["config.json"]) | {"auto_map": code}).encode()
    files["theirs.py"] = f"open({str(marker)!r}, 'w')".encode()
    server.repos["models/me/videomae"] = Repo(False, {commit: files}, {"main": commit})
    argv = command(tiny_dataset, tmp_path, "videomae", stream_config={}, stream_weights="me/videomae")
    hub = {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
    }
    done = subprocess.run(
        [sys.executable, "train_fgsgl.py", *argv], cwd=ROOT, env=os.environ | hub | {"NO_PROXY": "127.0.0.1"},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    server.close()
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["backbone"] == "me/videomae"
    assert "base_model: me/videomae" in (tmp_path / "out" / "README.md").read_text()
    assert any("model.safetensors" in request and commit in request for request in server.requests)
    assert not any("theirs.py" in request for request in server.requests)
    assert not marker.exists()
    assert "theirs" not in (tmp_path / "out" / "config.json").read_text()


# ---- TSM ----------------------------------------------------------------------------------------------------------


def test_tsm_starts_from_an_image_classifier_and_trains(tiny_dataset, tmp_path) -> None:
    fields = {name: value for name, value in STREAMS["tsm"].items() if name != "image_size"}
    torch.manual_seed(1)
    images = ResNetForImageClassification(ResNetConfig(**fields, num_labels=5))
    images.save_pretrained(tmp_path / "images")
    argv = command(
        tiny_dataset, tmp_path, "tsm", stream_config={"image_size": 32}, stream_weights=str(tmp_path / "images"),
        classifier_dropout=0.5, semantic_loss="orthogonal", class_balance="square_root",
    )  # fmt: skip
    trainer = build(argv)
    assert trainer.model.config.hidden_sizes == [16, 32]
    for name, value in images.resnet.state_dict().items():
        torch.testing.assert_close(trainer.model.resnet.state_dict()[name], value)
    train_fgsgl.main(argv)
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["stream"] == "tsm"
    assert {"cls", "sem"} <= set(record["stage_losses"]["stage 2"])
    assert record["stage_losses"]["stage 2"]["cls"] < 3
