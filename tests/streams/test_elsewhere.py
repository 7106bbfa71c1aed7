"""Checkpoints of the streams in a process outside the repository, where nothing of ours is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from microgesture.baselines.ms_g3d import MSG3DConfig, MSG3DForVideoClassification
from microgesture.data.keypoints import read_layout
from microgesture.hub.checkpoint import same_answers, whole_checkpoint
from microgesture.hub.load_back import compare, model_answers
from microgesture.streams.heatmap.configuration_heatmap import HeatmapConfig
from microgesture.streams.heatmap.modeling_heatmap import HeatmapForVideoClassification
from microgesture.streams.heatmap.processing_heatmap import HeatmapProcessor
from microgesture.streams.skeleton.configuration_skeleton import SkeletonConfig
from microgesture.streams.skeleton.modeling_skeleton import SkeletonForVideoClassification
from microgesture.streams.skeleton.processing_skeleton import SkeletonProcessor

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


def save(folder: Path, model, processor) -> torch.Tensor:
    """Saves a checkpoint with a clip; returns its logits for that clip."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    clip = 100 + 50 * torch.rand(11, 17, 2)
    torch.save(clip, folder / "clip.pt")
    with torch.no_grad():
        return model(**processor([clip])).logits


def test_a_checkpoint_gives_the_same_answers_where_nothing_of_ours_is_installed(tmp_path) -> None:
    made = {"decoupled": skeleton("decoupled"), "graph": skeleton("graph"), "heatmap": heatmap(), "ms_g3d": ms_g3d()}
    expected = {str(tmp_path / name): save(tmp_path / name, *pair) for name, pair in made.items()}
    for name, stem in (("decoupled", "skeleton"), ("graph", "skeleton"), ("heatmap", "heatmap")):
        code = {f"{part}_{stem}.py" for part in ("configuration", "modeling", "processing")}
        assert {path.name for path in (tmp_path / name).glob("*.py")} == code
    assert {path.name for path in (tmp_path / "ms_g3d").glob("*.py")} == {"ms_g3d.py", "processing_skeleton.py"}
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSTARTUP")}
    environment |= {"HF_HOME": str(tmp_path / "hf"), "HF_MODULES_CACHE": str(tmp_path / "mod"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *expected],
        cwd=empty, env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.split("ANSWERS")[1])
    assert answers.pop("ours") == []
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
