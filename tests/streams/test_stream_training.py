"""A recipe with a stream: from keypoint files to a trained checkpoint, its card, its figures and its score file."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import DIRECTIONS, STEPS, write_recipe
from data_sets import add_keypoints
from object_arrays import write_npy
from safetensors.torch import load_file

import evaluate_fgsgl
import train_fgsgl
from microgesture import arguments, cli
from microgesture.data import augment, load
from microgesture.data.clip_dataset import collate
from microgesture.data.clips import DatasetInfo
from microgesture.data.fingerprint import fingerprint
from microgesture.evaluation.score_file import Scores, score_path
from microgesture.losses.class_balance import square_root_weights, weighted_cross_entropy
from microgesture.losses.orthogonal import orthogonal_semantic_loss
from microgesture.run_record import write_run_record
from microgesture.streams import evaluation, keypoint_augment
from microgesture.streams.adaptation_data import adapted_to, clip_digests, write_round
from microgesture.streams.keypoint_clips import KeypointDataset, layout_of
from microgesture.streams.pseudo_labels import REJECTED
from microgesture.streams.skeleton.processing_skeleton import SkeletonProcessor

STREAMS = {
    "skeleton": {"widths": [8, 16], "joint_groups": 4, "temporal_kernel": 3},
    "heatmap": {"size": 12, "base_channels": 4, "stage_blocks": [1, 1, 1]},
    "ms_g3d": {"widths": [6, 12], "scales": 3, "window_scales": 2},
}


def body(direction: str, seed: int, T: int = 12) -> np.ndarray:
    """A body of 17 points whose right wrist moves, `(T, 17, 3)`."""
    rng = np.random.default_rng(seed)
    body = np.random.default_rng(0).uniform(100, 200, (17, 2)) + rng.normal(0, 3, (17, 2))
    points = np.concatenate([np.broadcast_to(body, (T, 17, 2)), np.ones((T, 17, 1))], -1)
    dy, dx = STEPS[direction]
    points[:, 10, :2] += 40 * np.linspace(0, 1, T)[:, None] * np.array([dx, dy])
    return points.astype(np.float32)


def points_of(split: Path, row: dict, number: int) -> np.ndarray:
    """The body of a row of the tiny data set."""
    return body(row["label"].removeprefix("Hand "), number + 100 * len(split.name), 8 + number % 5)


@pytest.fixture(scope="module")
def skeletons(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set with a keypoint file for each clip."""
    out = tmp_path_factory.mktemp("skeletons") / "data"
    shutil.copytree(tiny_dataset, out)
    add_keypoints(out, points_of)
    return out


def command(skeletons: Path, folder: Path, stream: str, **fields) -> list[str]:
    fields = {
        "stream": stream, "stream_config": STREAMS[stream], "dataset_dir": str(skeletons), "num_frames": 8,
        "output_dir": str(folder / "out"), "cache_dir": str(folder / "cache"), "use_cpu": True, "augment": True,
        "augment_camera": 0.2, "num_train_epochs": 6, "per_device_train_batch_size": 8, "logging_steps": 1,
        "learning_rate": "1e-2", "disable_tqdm": True, "seed": 0,
    } | fields  # fmt: skip
    return write_recipe(folder / f"{stream}.yaml", fields)


def test_the_skeleton_stream_learns_and_leaves_what_fg_sgl_leaves(skeletons, tmp_path, capsys, monkeypatch) -> None:
    real, used = evaluation.baseline_metrics, []
    monkeypatch.setattr(evaluation, "baseline_metrics", lambda *clips: used.append(clips) or real(*clips))
    train_fgsgl.main(
        command(
            skeletons,
            tmp_path,
            "skeleton",
            stream_config=STREAMS["skeleton"] | {"min_confidence": 0.3},
            class_balance="square_root",
            semantic_loss="orthogonal",
            num_train_epochs=24,
        )
    )
    printed, out = capsys.readouterr().out, tmp_path / "out"
    record = json.loads((out / "metrics.json").read_text())
    assert record["stream"] == "skeleton"
    assert record["data_fingerprint"] == fingerprint(skeletons)
    assert {"cls", "sem"} <= set(record["stage_losses"]["stage 2"])
    assert record["sentences"]["targets"]["max_cosine"] == pytest.approx(0, abs=1e-3)
    assert record["sentences"]["class sentences"]["mean_cosine"] > 0.5
    assert record["arguments"]["class_balance"] == "square_root"
    assert (record["arguments"]["fg_sa"], record["arguments"]["vision_tuning"]) == (False, "full")
    assert record["validation"]["correct"] >= 6
    assert "skeleton network" in printed
    card = (out / "README.md").read_text()
    assert "# Skeleton stream, trained on tiny" in card
    assert "2606.13030" in card
    assert "FG-SGL" not in card
    evaluate_fgsgl.main([str(out), str(skeletons), "--baselines", "--details"])
    printed, result = capsys.readouterr().out, json.loads((out / "eval_test.json").read_text())
    assert result["metrics"]["total"] == 8
    for text in ("skeleton stream", "linear model, points", "by subject: e", "temperature"):
        assert text in printed
    assert "FG-SGL" not in printed
    for clips in used[0][:2]:  # the linear model sees the points as the stream does, at 16 moments
        assert (clips.processor.min_confidence, clips.processor.num_frames) == (0.3, 16)
    scores = Scores.read(score_path(out, "test"))
    assert int((scores.logits.argmax(1) == scores.labels).sum()) == result["metrics"]["correct"]
    with pytest.raises(ValueError, match="has no split 'exam'"):
        evaluate_fgsgl.main([str(out), str(skeletons), "--split", "exam"])
    assert cli.main(["predict", str(out), "clip.mp4"]) == 1
    assert "is a skeleton stream, which reads keypoints and no video" in capsys.readouterr().err
    (tmp_path / "next").mkdir()
    argv = command(skeletons, tmp_path / "next", "skeleton", semantic_loss="orthogonal", init_from=str(out))
    for name, value in build(argv).model.state_dict().items():
        torch.testing.assert_close(value, load_file(out / "model.safetensors")[name])
    with pytest.raises(
        ValueError, match=r"is another network than the recipe's.*num_frames: 9 in the recipe, 8 there"
    ):
        build([*argv, "--num_frames", "9"])


def test_the_heatmap_stream_trains_stops_and_goes_on_as_if_it_never_had(skeletons, tmp_path) -> None:
    weights = {}
    for name, epochs in (("whole", [4]), ("halves", [2, 4])):
        folder = tmp_path / name
        folder.mkdir()
        for number, last in enumerate(epochs):
            argv = command(skeletons, folder, "heatmap", lr_scheduler_type="constant", num_train_epochs=last)
            train_fgsgl.main([*argv, "--semantic_loss", "plain", *(["--resume", "true"] if number else [])])
        checkpoints = sorted(folder.glob("out/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        weights[name] = load_file(checkpoints[-1] / "model.safetensors")
        assert {"cls", "sem"} <= set(
            json.loads((folder / "out" / "metrics.json").read_text())["stage_losses"]["stage 2"]
        )
    for name, value in weights["whole"].items():
        assert torch.equal(value, weights["halves"][name]), name


def test_a_baseline_on_keypoints_is_trained_evaluated_and_fused_as_a_stream_is(skeletons, tmp_path, capsys) -> None:
    for name in ("joint", "bone"):
        (tmp_path / name).mkdir()
        argv = command(skeletons, tmp_path / name, "ms_g3d", stream_config=STREAMS["ms_g3d"] | {"inputs": name})
        train_fgsgl.main([*argv, "--semantic_loss", "orthogonal", "--class_balance", "square_root"])
        evaluate_fgsgl.main([str(tmp_path / name / "out"), str(skeletons)])
        evaluate_fgsgl.main([str(tmp_path / name / "out"), str(skeletons), "--split", "validation"])
    runs = [str(tmp_path / name / "out") for name in ("joint", "bone")]
    card = (tmp_path / "joint" / "out" / "README.md").read_text()
    assert "MS-G3D" in card
    assert "2003.14111" in card
    assert "2606.13030" not in card
    assert "ms_g3d stream" in capsys.readouterr().out
    assert cli.main(["fuse", *runs, "--on", "validation", "--split", "test", "--out", str(tmp_path / "fused")]) == 0
    assert Scores.read(score_path(tmp_path / "fused", "test")).logits.shape == (8, 4)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--stream_config", '{"width": [8]}'], "no field 'width'; did you mean widths"),
        (["--stream_config", '{"num_frames": 8}'], "the recipe itself, or the data set, decides it"),
        (["--stream", "sekleton"], "stream is 'sekleton'; choose one of"),
        (["--class_balance", "sqrt"], "class_balance is 'sqrt'; choose one of"),
        (["--semantic_loss", "cosine"], "semantic_loss is 'cosine'; choose one of"),
        (["--mirror_clips", "true"], "lets no training clip be mirrored"),
        (["--estimate", "true"], "--estimate knows FG-SGL only"),
    ],
)
def test_recipes_that_cannot_be(skeletons, tmp_path, extra, message) -> None:
    with pytest.raises(ValueError, match=message):
        train_fgsgl.main([*command(skeletons, tmp_path, "skeleton"), *extra])


def test_a_data_set_without_keypoints_is_refused(tiny_dataset, tmp_path) -> None:
    with pytest.raises(ValueError, match="has no keypoints, which a stream reads"):
        train_fgsgl.main(command(tiny_dataset, tmp_path, "skeleton"))


def build(argv: list[str]):
    model, data, training, _ = arguments.parse(argv)
    return train_fgsgl.build_trainer(model, data, training)[0]


def test_what_starts_from_an_adapted_checkpoint_has_seen_the_same_clips(skeletons, tmp_path) -> None:
    argv = command(skeletons, tmp_path, "skeleton")
    targets = sorted(clip_digests(skeletons, "test"))
    earlier, seen = tmp_path / "earlier", {"method": "cmpl", "targets": targets[:1]}
    build(argv).model.save_pretrained(earlier)
    (earlier / "metrics.json").write_text(json.dumps({"adaptation": seen}))
    assert adapted_to(earlier / "checkpoint-2", skeletons, "test")  # has no record of its own
    trainer = build([*argv, "--init_from", str(earlier)])
    later = tmp_path / "later"
    later.mkdir()
    assert write_run_record(later, trainer, {}, Path(argv[0]))["adaptation"] == seen
    assert adapted_to(later, skeletons, "test")
    assert not adapted_to(later, skeletons, "validation")
    again = {"adaptation": {"method": "source_only", "targets": targets[1:2]}}  # adapted once more, to another clip
    record = write_run_record(later, trainer, again, Path(argv[0]))["adaptation"]
    assert record == {"method": "source_only", "targets": targets[:2]}


def one_step(trainer, *clips: list[int]) -> float:
    batches = [collate([trainer.train_dataset[i] for i in numbers]) for numbers in clips]
    trainer.current_gradient_accumulation_steps = len(batches)
    trainer.model.train()
    batches = trainer.get_batch_samples(iter(batches), len(batches), trainer.args.device)[0]
    return sum(float(trainer.compute_loss(trainer.model, batch).detach()) for batch in batches) / len(batches)


def test_rare_classes_weigh_more_in_fg_sgl_too(tiny_arguments) -> None:
    trainer = build([*tiny_arguments, "--class_balance", "square_root"])
    assert trainer.class_counts == [6, 6, 6, 6]
    trainer.class_counts = [16, 9, 4, 1]
    one_step(trainer, [0, 1, 2, 3, 7])
    batch = collate([trainer.train_dataset[i] for i in [0, 1, 2, 3, 7]])
    with torch.no_grad():
        logits = trainer.model(pixel_values=trainer._pixels(batch)).logits
    expected = weighted_cross_entropy(logits, batch["labels"], square_root_weights([16, 9, 4, 1]))
    assert float(trainer._window["cls"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(expected) != pytest.approx(float(F.cross_entropy(logits, batch["labels"])), rel=1e-2)


def test_the_terms_of_a_stream_are_its_two_losses_however_the_step_is_cut(skeletons, tmp_path) -> None:
    extra = ["--semantic_loss", "orthogonal", "--lambda_semantic", "0.5", "--semantic_off_diagonal", "0.2"]
    trainer = build([*command(skeletons, tmp_path, "skeleton", augment=False), *extra])
    for module in trainer.model.modules():  # whose batches are those of a micro-batch
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.forward = torch.nn.Identity().forward
    whole = one_step(trainer, list(range(8)))
    batch = collate([trainer.train_dataset[i] for i in range(8)])
    with torch.no_grad():
        out = trainer.model(keypoints=batch["keypoints"])
    sem = orthogonal_semantic_loss(out.semantic_embeds, trainer.targets, batch["labels"], 0.2)
    expected = F.cross_entropy(out.logits, batch["labels"]) + 0.5 * sem
    assert whole == pytest.approx(float(expected), rel=1e-5)
    assert one_step(trainer, [0, 1, 2], [3], [4, 5, 6, 7]) == pytest.approx(whole, rel=1e-5)


def test_a_teacher_of_the_source_clips_stands_in_place_of_their_labels(skeletons, tmp_path) -> None:
    told = np.random.default_rng(0).dirichlet(np.ones(4), 24)
    none = np.full(8, REJECTED)
    write_round(tmp_path / "round", skeletons, "test", none, {"method": "distillation"}, told)
    trainer = build(command(tmp_path / "round", tmp_path, "skeleton", augment=False))
    batch = collate([trainer.train_dataset[i] for i in range(6)])
    np.testing.assert_allclose(batch["teacher"], told[:6], atol=1e-6)
    loss = one_step(trainer, list(range(6)))
    with torch.no_grad():
        logits = trainer.model(keypoints=batch["keypoints"]).logits
    expected = -(batch["teacher"] * logits.log_softmax(1)).sum(1).mean()
    assert loss == pytest.approx(float(expected), rel=1e-4)
    assert "teacher" not in trainer.eval_dataset[0]


# ---- clips -------------------------------------------------------------------------------------------------------


def keypoints(skeletons: Path, **more) -> KeypointDataset:
    data = load(skeletons)["train"]
    layout = layout_of(skeletons, "train", data)
    assert layout.name == "coco_17"
    processor = SkeletonProcessor(joints=layout.names, bones=layout.bones, num_frames=8)
    return KeypointDataset(data, skeletons / "train", processor, [list(pair) for pair in layout.pairs], **more)


def test_a_clip_is_what_the_processor_makes_of_its_file(skeletons) -> None:
    clips = keypoints(skeletons)
    expected = clips.processor([np.load(skeletons / "train" / "keypoints" / "3.npy")])["keypoints"][0]
    torch.testing.assert_close(clips[3]["keypoints"], expected)
    assert clips.name(3) == "003.mp4"


def test_clips_of_one_and_of_two_people_stand_in_one_batch(skeletons, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(skeletons, copy)
    file = copy / "train" / "keypoints" / "4.npy"
    first = np.load(file)
    np.save(file, np.stack([first, first + np.float32([50, 0, 0])]))
    clips = keypoints(copy, augmentation=augment.Augmentation(0, vary=True))
    points = collate([clips[3], clips[4]])["keypoints"]
    assert points.shape == (2, 2, 8, 17, 3)
    assert bool((points[0, 1] == 0).all())
    assert bool((points[1, :, ..., 2] > 0).flatten(1).any(1).all())


def test_what_is_drawn_depends_on_seed_epoch_and_clip_only(skeletons) -> None:
    first, second = (keypoints(skeletons, augmentation=augment.Augmentation(0, vary=True)) for _ in range(2))
    torch.testing.assert_close(first[2]["keypoints"], second[2]["keypoints"])
    before = first[2]["keypoints"]
    first.set_epoch(1)
    assert not torch.allclose(first[2]["keypoints"], before)
    first.set_epoch(0)
    torch.testing.assert_close(first[2]["keypoints"], before)


def test_a_clip_in_the_mirror_has_the_label_of_the_mirror(skeletons) -> None:
    info = DatasetInfo.read(skeletons)
    clips, plain = keypoints(skeletons, augmentation=augment.Augmentation(0)), keypoints(skeletons)
    left, right = (info.names.index(f"Hand {side}") for side in ("left", "right"))
    flips = [right if c == left else left if c == right else None for c in range(len(DIRECTIONS))]
    clips.flipped = [None if flips[label] is None else (flips[label], -1) for label in clips.labels]
    changed = 0
    for index in range(len(clips)):
        item, before = clips[index], plain[index]
        if item["labels"] == before["labels"]:
            torch.testing.assert_close(item["keypoints"], before["keypoints"])
            continue
        changed += 1
        assert {item["labels"], before["labels"]} == {left, right}
        torch.testing.assert_close(item["keypoints"][..., 9, 0], -before["keypoints"][..., 10, 0])  # the wrists
    assert 1 <= changed < 12


@pytest.mark.parametrize("D", [2, 3])
def test_augmentation_keeps_the_body_together(D) -> None:
    points = torch.cat([torch.randn(1, 6, 17, D), torch.ones(1, 6, 17, 1)], -1)
    points[0, 2:4, 6, D] = 0  # unseen for a while
    drawn = augment.draw(0, 3, 0)
    rotation = keypoint_augment.turn(drawn, D)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(D), rtol=1e-5, atol=1e-5)
    assert float(rotation.det()) == pytest.approx(1, abs=1e-5)
    changed = keypoint_augment.apply(points, drawn, 0, 3, 0)
    lost = (changed[..., D] == 0).all(1)[0]
    assert 1 <= int(lost.sum()) < 9  # this seed, epoch and clip lose some joints
    assert bool((changed[0, :, lost] == 0).all())
    kept = ~lost
    assert torch.equal(changed[0, :, kept, D], points[0, :, kept, D])
    lengths = changed[0, :, kept, :D].norm(dim=-1) / points[0, :, kept, :D].norm(dim=-1)
    assert 0.7 < float(lengths.median()) < 1.3
    assert not torch.allclose(changed[0, :, kept, :D], points[0, :, kept, :D], atol=0.05)
    begin, end = keypoint_augment.span(drawn)
    assert 0 <= begin < end <= 1
    assert end - begin >= keypoint_augment.SHORTEST - 1e-6


def test_a_broken_keypoint_file_is_named(skeletons, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(skeletons, copy)
    file = copy / "train" / "keypoints" / "4.npy"
    whole = file.read_bytes()

    def told() -> str:
        with pytest.raises(ValueError, match=r"4\.npy") as caught:
            keypoints(copy)
        return str(caught.value)

    np.save(file, np.zeros((5, 3, 3), np.float32))
    assert "4.npy: keypoints of a clip must be" in told()
    for damaged in (whole[:300], whole[:20], b"", b"hello"):
        file.write_bytes(damaged)
        assert re.search(r"4\.npy is damaged, or no array of numbers \(.*\); make or save it again", told())
    with file.open("wb") as objects:
        write_npy(objects, np.array([{}], object))
    assert "is damaged, or no array of numbers" in told()
    np.save(file, np.ones((5, 17, 3), np.int64))
    assert "holds int64, and points are floating-point numbers; save it as float32" in told()
    file.unlink()
    assert "4.npy: there is no such file; make the data set again" in told()


def test_clips_without_points_are_counted_and_named(skeletons, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(skeletons, copy)
    table = copy / "train" / "metadata.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    rows[0]["keypoints"] = rows[5]["keypoints"] = None
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels = json.loads((copy / "labels.json").read_text())
    labels.pop("keypoints", None)  # then the layout is told by the first clip that has points
    (copy / "labels.json").write_text(json.dumps(labels))
    with pytest.raises(ValueError, match=r"train: 2 of 24 clips have no keypoints, the first is 000\.mp4\. .*all 0"):
        keypoints(copy)
    np.save(copy / "train" / "keypoints" / "1.npy", np.ones((5, 3, 2), np.float32))
    with pytest.raises(ValueError, match=r"1\.npy: no keypoint layout has 3 joints; known are: .*coco_17"):
        keypoints(copy)
