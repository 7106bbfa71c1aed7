"""CLIP-MG-like: points that stay on what they mark, queries at their places, and the road from clips to figures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from conftest import write_recipe
from data_sets import add_keypoints
from transformers import CLIPConfig, CLIPModel

import evaluate_fgsgl
import train_fgsgl
from microgesture import arguments, cli
from microgesture.baselines.clip_mg import ClipMGConfig, ClipMGForVideoClassification, points_of_frames
from microgesture.data import augment, load
from microgesture.data.clip_dataset import NO_SENTENCE, ClipDataset, collate
from microgesture.data.frame_cache import FrameCache
from microgesture.data.keypoints import read_layout
from microgesture.evaluation.score_file import Scores, score_path
from microgesture.hub.checkpoint import same_answers, whole_checkpoint
from microgesture.hub.load_back import compare, model_answers
from microgesture.streams.posed_clips import PosedClips
from processing_fgsgl import FGSGLProcessor
from video_fgsgl import probe

TINY = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
SMALL = {"width": 16, "heads": 2}
J = 17
WRISTS = (9, 10)


def network(**fields) -> ClipMGForVideoClassification:
    fields = {"joints": [f"j{n}" for n in range(J)], "id2label": {0: "a", 1: "b", 2: "c"}} | SMALL | fields
    torch.manual_seed(0)
    return ClipMGForVideoClassification(ClipMGConfig(vision_config=TINY, **fields)).eval()


def clips(B: int = 2, T: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(B, T, J, 3, generator=generator) * 1.8 - 0.9
    points[..., 2] = 1
    return torch.randn(B, T, 3, 32, 32, generator=generator), points


def square(frames: np.ndarray) -> np.ndarray:
    """Middle of what is bright in each frame `(T, H, W)`, column and row of pixels."""
    frames = frames.astype(np.float32)
    bright = frames > (frames.min((1, 2), keepdims=True) + frames.max((1, 2), keepdims=True)) / 2
    return np.array([[np.nonzero(one.any(axis))[0].mean() for axis in (0, 1)] for one in bright])


def points_of(split: Path, row: dict, number: int) -> np.ndarray:
    """17 points of each frame of a clip: the middle of its square as the left wrist, the others at one place."""
    with av.open(str(split / row["file_name"])) as video:
        frames = np.stack([frame.to_ndarray(format="gray") for frame in video.decode(video=0)])
    points = np.tile(np.float32([10, 50, 1]), (len(frames), J, 1))
    points[:, WRISTS[0], :2] = square(frames)
    return points


@pytest.fixture(scope="module")
def posed(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set with the middle of its moving square as the left wrist; the other points do not move."""
    out = tmp_path_factory.mktemp("posed") / "data"
    shutil.copytree(tiny_dataset, out)
    add_keypoints(out, points_of)
    return out


# ---- points ------------------------------------------------------------------------------------------------------


def test_points_are_counted_from_the_edges_of_the_picture_and_taken_where_frames_are() -> None:
    table = torch.arange(6.0).view(6, 1, 1).repeat(1, 2, 3)
    table[..., 2] = 1
    points = points_of_frames(table, 3, width=8, height=4)
    assert points.shape == (3, 2, 3)
    expected = (torch.tensor([1.0, 3, 5]) + 0.5) / 8 * 2 - 1
    torch.testing.assert_close(points[:2, 0, 0], expected[:2])
    assert points[:, 0, 2].tolist() == [1, 1, 0]  # row 5 is below a picture of 4 rows
    edges = points_of_frames(torch.tensor([[[-0.5, 0.0], [7.5, 3.5]]]), 1, 8, 4)
    assert edges[0, 0, 0] == -1
    assert edges[0, 1, :2].tolist() == [1, 1]


def test_points_that_are_not_seen_have_no_confidence() -> None:
    table = torch.full((1, 5, 3), 2.0)
    table[0, :, 2] = torch.tensor([0.9, 0.05, 1.0, 1.0, 1.0])
    table[0, 2, :2] = 0  # as OpenPose writes it
    table[0, 3, 0] = torch.nan
    table[0, 4, 0] = 100
    points = points_of_frames(table, 1, 8, 8)
    assert points[0, :, 2].tolist() == pytest.approx([0.9, 0, 0, 0, 0])
    assert bool((points[0, 1:] == 0).all())
    with pytest.raises(ValueError, match="2 or 3 numbers"):
        points_of_frames(torch.zeros(4, 17), 1, 8, 8)


@pytest.mark.parametrize("mirrored", [False, True])
def test_points_follow_the_frames_through_every_augmentation(posed, tmp_path, mirrored: bool) -> None:
    data = load(posed)["train"]
    reader = FGSGLProcessor(num_frames=4 * augment.OVERSAMPLING, size=64)
    plain = ClipDataset(data, FrameCache(tmp_path, reader), [NO_SENTENCE] * len(data), mirrored)
    plain.augmentation = augment.Augmentation(3, vary=True)
    config = SimpleNamespace(joints=read_layout("coco_17").names, pairs=[WRISTS])
    found = PosedClips(plain, data, posed / "train", config, probe)
    found.flipped = [(0, NO_SENTENCE)] * len(data)
    sides, compared = set(), 0
    for index in range(12):
        batch = collate([found[index]])
        frames = augment.mirror(batch["pixel_values"], batch["flipped"])
        frames = augment.apply(frames, batch["augmentation"])[0].mean(1).numpy()
        flipped = bool(batch["flipped"])
        sides.add(flipped)
        points = batch["points"][0, :, WRISTS[int(flipped)]]
        inside = (points[:, :2].abs() < 0.75).all(1) & (points[:, 2] > 0)  # all of the square is in the picture
        middle = (square(frames) + 0.5) / 64 * 2 - 1
        np.testing.assert_allclose(points[inside, :2].numpy(), middle[inside.numpy()], atol=0.08)
        compared += int(inside.sum())
    assert sides == {False, True}
    assert compared > 20


# ---- network -----------------------------------------------------------------------------------------------------


def test_the_vision_encoder_is_that_of_clip_vit_b_16() -> None:
    """86.2 M parameters as published, of which 768 · 512 are the projection to the texts, which is not used here."""
    with torch.device("meta"):
        model = ClipMGForVideoClassification(ClipMGConfig(num_labels=32))
    assert sum(parameter.numel() for parameter in model.vision.parameters()) == 86_192_640 - 768 * 512
    assert model.config.image_size == 224
    tokens = []
    model.project.register_forward_hook(lambda module, inputs, out: tokens.append((*inputs, out)))
    out = model(torch.zeros(2, 8, 3, 224, 224, device="meta"), torch.zeros(2, 8, 1, 3, device="meta"))
    assert [tuple(part.shape) for part in tokens[0]] == [(16, 196, 768), (16, 196, 256)]  # 14 × 14 patches of 768
    assert (out.logits.shape, out.gate.shape) == ((2, 32), (2, 8, 256))


def test_shapes() -> None:
    with torch.no_grad():
        out = network(semantic_dim=5)(*clips(), labels=torch.tensor([0, 2]))
    assert (out.logits.shape, out.pooled.shape, out.semantic_embeds.shape) == ((2, 3), (2, 16), (2, 5))
    assert out.gate.shape == (2, 4, 16)
    assert 0 < float(out.gate.min()) < float(out.gate.max()) < 1
    assert out.loss.ndim == 0


def test_a_query_is_the_token_at_its_place() -> None:
    attention = network().attention
    tokens = torch.randn(1, 16, 16)  # 4 × 4 patches
    points = torch.zeros(1, J, 3)
    points[0, 0, :2] = torch.tensor([0.25, -0.75])  # the middle of row 0, column 2
    points[0, 1, :2] = torch.tensor([0.0, -0.75])  # between columns 1 and 2
    found = attention.queries(tokens, points)[0]
    torch.testing.assert_close(found[0], attention.query_norm(tokens[0, 2] + attention.joint[0]))
    between = (tokens[0, 1] + tokens[0, 2]) / 2
    torch.testing.assert_close(found[1], attention.query_norm(between + attention.joint[1]))


def test_a_point_that_is_not_seen_asks_nothing() -> None:
    attention = network().attention
    tokens, points = torch.randn(1, 16, 16), clips()[1][:1, 0]
    points[:, 3, 2] = 0
    moved = points.clone()
    moved[:, 3, :2] = -0.5
    torch.testing.assert_close(attention(tokens, points), attention(tokens, moved))
    moved[:, 4, :2] = -0.5
    assert not torch.allclose(attention(tokens, points), attention(tokens, moved))
    pixels, all_points = clips()
    assert bool(network()(pixels, torch.zeros_like(all_points)).logits.isfinite().all())


def test_it_sees_the_order_of_frames_the_places_and_the_pictures() -> None:
    model, (pixels, points) = network(), clips()
    logits = model(pixels, points).logits
    for other in ((pixels.flip(1), points.flip(1)), (pixels, points * 0.5), (pixels * 0.5, points)):
        assert not torch.allclose(model(*other).logits, logits, atol=1e-5)


def test_every_parameter_gets_a_gradient() -> None:
    model = network(semantic_dim=5).train()
    out = model(*clips(), labels=torch.tensor([0, 2]))
    (out.loss + out.semantic_embeds.square().sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())] == []


def test_published_weights_are_taken_over_whole(posed, tmp_path) -> None:
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    clip = CLIPModel(CLIPConfig(vision_config=TINY, text_config=text, projection_dim=8))
    clip.save_pretrained(tmp_path / "clip")
    colours = {"image_mean": [0.4, 0.4, 0.4], "image_std": [0.2, 0.2, 0.2]}
    (tmp_path / "clip" / "preprocessor_config.json").write_text(json.dumps(colours))
    argv = command(posed, tmp_path, stream_weights=str(tmp_path / "clip"), stream_config=SMALL)
    model_args, data_args, training, _ = arguments.parse(argv)
    trainer = train_fgsgl.build_trainer(model_args, data_args, training)[0]
    assert trainer.model.config.image_size == 32
    assert trainer.processing_class.image_mean == colours["image_mean"]
    theirs = dict(clip.vision_model.named_parameters())
    ours = dict(trainer.model.vision.named_parameters())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: network()(clips()[0], clips()[1][:, :3]), r"points must be \(2, 4, 17, 3\)"),
        (lambda: network(width=15), "width must be a multiple of heads"),
        (lambda: network(temporal_kernel=2), "odd number"),
        (lambda: network(pairs=[[0, 99]]), "pairs must be pairs of places"),
        (lambda: network(category_texts=["one"]), "1 sentences for 3 classes"),
    ],
)
def test_refusals(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# ---- from a recipe to figures ------------------------------------------------------------------------------------

SCRIPT = """
import sys
import torch
from transformers import AutoModel, AutoModelForVideoClassification, AutoProcessor
from transformers.dynamic_module_utils import get_class_from_dynamic_module

folder = sys.argv[1]
clip = torch.load(folder + "/clip.pt", weights_only=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
placed = get_class_from_dynamic_module("clip_mg.points_of_frames", folder)
pixels = processor(clip["frames"])["pixel_values"]
points = placed(clip["table"], 4, 64, 64)[None]
for auto in (AutoModel, AutoModelForVideoClassification):
    model = auto.from_pretrained(folder, trust_remote_code=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(pixels, points).logits, clip["logits"], rtol=1e-4, atol=1e-5)
assert not [name for name in sys.modules if name.split(".")[0] == "microgesture"]
"""


def command(data: Path, folder: Path, **fields) -> list[str]:
    fields = {
        "stream": "clip_mg", "stream_config": {"vision_config": TINY} | SMALL, "dataset_dir": str(data),
        "num_frames": 4, "output_dir": str(folder / "out"), "cache_dir": str(folder / "cache"), "use_cpu": True,
        "num_train_epochs": 24, "per_device_train_batch_size": 8, "logging_steps": 1, "learning_rate": "1e-3",
        "disable_tqdm": True, "seed": 0,
    } | fields  # fmt: skip
    return write_recipe(folder / "clip_mg.yaml", fields)


def test_it_learns_is_evaluated_and_fused_and_loads_where_nothing_of_ours_is(posed, tmp_path, capsys) -> None:
    runs = []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        more = {"augment": True, "num_train_epochs": 1, "semantic_loss": "orthogonal"} if seed else {}
        argv = command(posed, tmp_path / str(seed), seed=seed, cache_dir=str(tmp_path / "cache"), **more)
        train_fgsgl.main(argv)
        runs.append(str(tmp_path / str(seed) / "out"))
        for split in ("test", "validation"):
            evaluate_fgsgl.main([runs[-1], str(posed), "--split", split, "--cache_dir", str(tmp_path / "cache")])
    out = Path(runs[0])
    assert json.loads((out / "metrics.json").read_text())["validation"]["correct"] >= 6
    assert json.loads((out / "eval_test.json").read_text())["metrics"]["correct"] >= 6
    assert "clip_mg stream" in capsys.readouterr().out
    card = (out / "README.md").read_text()
    assert "2506.16385" in card
    assert "points_of_frames" in card
    assert cli.main(["fuse", *runs, "--on", "validation", "--split", "test", "--out", str(tmp_path / "fused")]) == 0
    assert Scores.read(score_path(tmp_path / "fused", "test")).logits.shape == (8, 4)
    assert {"clip_mg.py", "processing_fgsgl.py", "video_fgsgl.py"} <= set(whole_checkpoint(out, "me/clip-mg").files)
    answers = [model_answers({"model": str(out)}) for _ in range(2)]
    assert "differ by at most 0" in same_answers(compare(*answers), out, "the Hub", False)
    elsewhere(out, tmp_path)


def elsewhere(out: Path, tmp_path: Path) -> None:
    frames = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)
    table = torch.rand(4, J, 3) * 60 + 1
    model, processor = ClipMGForVideoClassification.from_pretrained(out).eval(), FGSGLProcessor.from_pretrained(out)
    with torch.no_grad():
        logits = model(processor(frames)["pixel_values"], points_of_frames(table, 4, 64, 64)[None]).logits
    torch.save({"frames": frames, "table": table, "logits": logits}, out / "clip.pt")
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSTARTUP")}
    environment |= {"HF_HOME": str(tmp_path / "hf"), "HF_MODULES_CACHE": str(tmp_path / "mod"), "HF_HUB_OFFLINE": "1"}
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(out)],
        cwd=tmp_path / "empty", env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_data_that_it_cannot_look_at_is_refused(posed, tiny_dataset, tmp_path) -> None:
    with pytest.raises(ValueError, match="has no keypoints"):
        train_fgsgl.main(command(tiny_dataset, tmp_path))
    metres = tmp_path / "metres"
    shutil.copytree(posed, metres)
    labels = json.loads((metres / "labels.json").read_text())
    (metres / "labels.json").write_text(json.dumps(labels | {"keypoints": "kinect_20"}))
    with pytest.raises(ValueError, match=r"\(kinect_20\) are in metres; clip_mg looks at places in the picture"):
        train_fgsgl.main(command(metres, tmp_path))
    (metres / "labels.json").write_text(json.dumps(labels | {"keypoints": "openpose_22"}))
    with pytest.raises(ValueError, match=r"holds \(20, 17, 3\) numbers; expected \(frames, 22 joints"):
        train_fgsgl.main(command(metres, tmp_path))
