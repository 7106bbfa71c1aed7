"""Checkpoints of the streams in a process outside the repository, where nothing of ours is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

from microgesture.baselines.ms_g3d import MSG3DConfig, MSG3DForVideoClassification
from microgesture.baselines.tsm import TSMConfig, TSMForVideoClassification
from microgesture.data.keypoints import read_layout
from microgesture.hub.checkpoint import same_answers, whole_checkpoint
from microgesture.hub.load_back import compare, model_answers
from microgesture.model_card import model_card
from microgesture.streams.heatmap.configuration_heatmap import HeatmapConfig
from microgesture.streams.heatmap.modeling_heatmap import HeatmapForVideoClassification
from microgesture.streams.heatmap.processing_heatmap import HeatmapProcessor
from microgesture.streams.rgb.configuration_r2plus1d import R2Plus1DConfig
from microgesture.streams.rgb.modeling_r2plus1d import R2Plus1DForVideoClassification
from microgesture.streams.skeleton.configuration_skeleton import SkeletonConfig
from microgesture.streams.skeleton.modeling_skeleton import SkeletonForVideoClassification
from microgesture.streams.skeleton.processing_skeleton import SkeletonProcessor
from processing_fgsgl import FGSGLProcessor

SCRIPT = """
import json, sys
import torch
from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, AutoProcessor

answers = {}
for folder in sys.argv[1:]:
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    clip = torch.load(folder + "/clip.pt", weights_only=True)
    answers[folder] = {"joints": AutoConfig.from_pretrained(folder, trust_remote_code=True).joints}
    for auto in (AutoModel, AutoModelForVideoClassification):
        model = auto.from_pretrained(folder, trust_remote_code=True).eval()
        with torch.no_grad():
            answers[folder][auto.__name__] = model(**processor([clip])).logits.tolist()
answers["ours"] = [name for name in sys.modules if name.split(".")[0] == "microgesture"]
print("ANSWERS" + json.dumps(answers))
"""
VIDEO_SCRIPT = """
import json, sys
import torch
from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, AutoProcessor

answers = {}
for folder in sys.argv[2:]:
    ordinary = folder.endswith("videomae")  # one of transformers' own: no code of ours
    trust = {} if ordinary else {"trust_remote_code": True}
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    pixels = processor(sys.argv[1])["pixel_values"]
    answers[folder] = {}
    for auto in (AutoModelForVideoClassification,) if ordinary else (AutoModel, AutoModelForVideoClassification):
        model = auto.from_pretrained(folder, **trust).eval()
        with torch.no_grad():
            answers[folder][auto.__name__] = model(pixels).logits.tolist()
answers["ours"] = [name for name in sys.modules if name.split(".")[0] == "microgesture"]
print("ANSWERS" + json.dumps(answers))
"""
LAYOUT = read_layout("coco_17")
TABLES = {"joints": list(LAYOUT.names), "bones": [list(bone) for bone in LAYOUT.bones]}
FIELDS = TABLES | {"layout": "coco_17", "semantic_dim": 4, "id2label": {0: "a", 1: "b", 2: "c"}}


def skeleton(kind: str):
    config = SkeletonConfig(**FIELDS, network=kind, widths=[8, 16], joint_groups=4)
    return SkeletonForVideoClassification(config).eval(), SkeletonProcessor(**TABLES, num_frames=8)


def heatmap():
    config = HeatmapConfig(**FIELDS, parts=["joints", "limbs"], size=12, base_channels=4, stage_blocks=[1, 1, 1])
    return HeatmapForVideoClassification(config).eval(), HeatmapProcessor(**TABLES, num_frames=6)


def ms_g3d():
    config = MSG3DConfig(**FIELDS, widths=[6, 12], scales=3, window_scales=2)
    return MSG3DForVideoClassification(config).eval(), SkeletonProcessor(**TABLES, num_frames=8)


def on_video() -> dict:
    """A tiny network of each kind, and how its checkpoint is known."""
    common = {"id2label": {0: "a", 1: "b", 2: "c"}, "num_frames": 4}
    resnet = {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}
    vit = {"patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return {
        "r2plus1d": R2Plus1DForVideoClassification(
            R2Plus1DConfig(**common, stem_channels=6, widths=[8, 16], depths=[1, 1], semantic_dim=4)
        ),
        "tsm": TSMForVideoClassification(TSMConfig(**common, **resnet)),
        "videomae": VideoMAEForVideoClassification(
            VideoMAEConfig(**common, **vit, image_size=16, intermediate_size=32)
        ),
    }


def save(folder: Path, model, processor) -> torch.Tensor:
    """Saves a checkpoint with a clip; returns its logits for that clip."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    clip = 100 + 50 * torch.rand(11, 17, 2)
    torch.save(clip, folder / "clip.pt")
    with torch.no_grad():
        return model(**processor([clip])).logits


def elsewhere(tmp_path: Path, script: str, *words: str) -> dict:
    """What a script answers in a process that finds nothing of ours."""
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSTARTUP")}
    environment |= {"HF_HOME": str(tmp_path / "hf"), "HF_MODULES_CACHE": str(tmp_path / "mod"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, *words],
        cwd=empty, env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.split("ANSWERS")[1])
    assert answers.pop("ours") == []
    return answers


def test_a_checkpoint_gives_the_same_answers_where_nothing_of_ours_is_installed(tmp_path) -> None:
    made = {"decoupled": skeleton("decoupled"), "graph": skeleton("graph"), "heatmap": heatmap(), "ms_g3d": ms_g3d()}
    expected = {str(tmp_path / name): save(tmp_path / name, *pair) for name, pair in made.items()}
    for name, stem in (("decoupled", "skeleton"), ("graph", "skeleton"), ("heatmap", "heatmap")):
        code = {f"{part}_{stem}.py" for part in ("configuration", "modeling", "processing")}
        assert {path.name for path in (tmp_path / name).glob("*.py")} == code
    assert {path.name for path in (tmp_path / "ms_g3d").glob("*.py")} == {"ms_g3d.py", "processing_skeleton.py"}
    answers = elsewhere(tmp_path, SCRIPT, *expected)
    for folder, logits in expected.items():
        assert answers[folder]["joints"] == list(LAYOUT.names)
        for auto in ("AutoModel", "AutoModelForVideoClassification"):
            torch.testing.assert_close(torch.tensor(answers[folder][auto]), logits, rtol=1e-5, atol=1e-6)


def test_what_is_published_of_a_stream_is_complete_and_compared(tmp_path) -> None:
    for name, pair in {"first": heatmap(), "second": heatmap()}.items():
        save(tmp_path / name, *pair)
    files = set(whole_checkpoint(tmp_path / "first", "me/heatmap").files)
    code = {f"{part}_heatmap.py" for part in ("configuration", "modeling", "processing")}
    assert files == code | {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"}
    first, again, other = (model_answers({"model": str(tmp_path / name)}) for name in ("first", "first", "second"))
    assert "logits differ by at most 0" in same_answers(compare(first, again), tmp_path / "first", "the Hub", False)
    found = compare(first, other)  # other random weights
    assert found["logits"] > 1e-3
    assert found["settings"] == []


def test_checkpoints_on_video_give_the_same_answers_there(tmp_path, tiny_dataset) -> None:
    clip = tiny_dataset / "test" / "clips" / "000.mp4"
    processor, expected = FGSGLProcessor(num_frames=4, size=16), {}
    for name, model in on_video().items():
        folder = tmp_path / name
        model.eval().save_pretrained(folder)
        processor.save_pretrained(folder)
        with torch.no_grad():
            expected[str(folder)] = model(processor(clip)["pixel_values"]).logits
    reader = {"container_fgsgl.py", "processing_fgsgl.py", "video_fgsgl.py"}
    code = {"r2plus1d": {"configuration_r2plus1d.py", "modeling_r2plus1d.py"}, "tsm": {"tsm.py"}, "videomae": set()}
    for name, files in code.items():
        assert {path.name for path in (tmp_path / name).glob("*.py")} == files | reader
        whole = set(whole_checkpoint(tmp_path / name, "me/video").files)
        assert whole == files | reader | {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"}
    answers = elsewhere(tmp_path, VIDEO_SCRIPT, str(clip), *expected)
    for folder, logits in expected.items():
        assert len(answers[folder]) == (1 if folder.endswith("videomae") else 2)
        for given in answers[folder].values():
            torch.testing.assert_close(torch.tensor(given), logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["r2plus1d", "tsm", "videomae"])
def test_what_is_published_of_a_network_on_video_is_compared(tmp_path, name) -> None:
    model = on_video()[name]
    model.save_pretrained(tmp_path / "first")
    torch.nn.init.normal_(model.classifier.weight)
    model.save_pretrained(tmp_path / "second")
    for folder in ("first", "second"):
        FGSGLProcessor(num_frames=4, size=16).save_pretrained(tmp_path / folder)
    first, again, other = (model_answers({"model": str(tmp_path / name)}) for name in ("first", "first", "second"))
    assert "logits differ by at most 0" in same_answers(compare(first, again), tmp_path / "first", "the Hub", False)
    assert compare(first, other)["logits"] > 1e-3
    card = model_card(model.config.to_dict(), None)
    assert ("trust_remote_code=True).eval()" in card) == (name != "videomae")
    assert {"r2plus1d": "R(2+1)D", "tsm": "TSM", "videomae": "transformers' `videomae`"}[name] in card
    assert "keypoints" not in card
