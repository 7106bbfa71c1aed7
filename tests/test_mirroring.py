"""Mirrored clips: frames, label and sentence change together, for every worker, epoch and interruption alike."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import datasets
import pytest
import torch
from test_trainer import StopAt, build, train, weights
from torch.utils.data import DataLoader

from microgesture import semantics, tiny
from microgesture.data import augment, load, synthetic
from microgesture.data.clip_dataset import NO_SENTENCE, clip_sentences, collate, flipped_clips
from microgesture.data.clips import ClassInfo, DatasetInfo
from microgesture.data.fg_text import ATTRIBUTES, FGText
from microgesture.losses.class_balance import balanced_cross_entropy
from microgesture.text_bank import TextBank

ROOT = Path(__file__).resolve().parent.parent
FLIPS = {"Hand up": "Hand up", "Hand down": "none", "Hand left": "Hand right", "Hand right": "Hand left"}


@pytest.fixture(scope="module")
def flip_dataset(tiny_dataset, tmp_path_factory) -> Path:
    """The tiny data set with a flip_label for each class; the hands that move down are never mirrored."""
    out = tmp_path_factory.mktemp("flips") / "data"
    shutil.copytree(tiny_dataset, out)
    about = json.loads((out / "labels.json").read_text())
    for entry in about["classes"]:
        entry["flip_label"] = FLIPS[entry["name"]]
    (out / "labels.json").write_text(json.dumps(about))
    return out


@pytest.fixture
def mirroring(tiny_arguments, flip_dataset) -> list[str]:
    return [*tiny_arguments, "--dataset_dir", str(flip_dataset), "--mirror_clips", "true"]


# ---- labels.json ---------------------------------------------------------------------------------------------------


def test_flip_labels_are_read(flip_dataset, tiny_dataset) -> None:
    info = DatasetInfo.read(flip_dataset)
    assert dict(zip(info.names, info.flip_labels, strict=True)) == {
        "Hand up": 0, "Hand down": None, "Hand left": 3, "Hand right": 2,
    }  # fmt: skip
    assert DatasetInfo.read(tiny_dataset).flip_labels == [None] * 4  # nothing said: never mirrored


@pytest.mark.parametrize(
    ("flips", "message"),
    [
        (
            {"Hand up": "Hand sideways"},
            "class 'Hand up' has the flip_label 'Hand sideways'; that must be the class itse",
        ),
        ({"Hand left": "Hand right", "Hand right": "none"}, "class 'Hand left' has the flip_label 'Hand right'"),
        ({"Hand up": "Hand down", "Hand down": "Hand down"}, "class 'Hand up' has the flip_label 'Hand down'"),
        ({"Hand left": "Hand left"}, "sentence of class 'Hand left' says 'left', which is wrong in a mirror"),
        ({"Hand up": 3}, "class 'Hand up' has the flip_label 3"),
    ],
)
def test_flip_labels_that_would_spoil_the_labels_are_refused(tiny_dataset, tmp_path, flips, message) -> None:
    about = json.loads((tiny_dataset / "labels.json").read_text())
    for entry in about["classes"]:
        entry["flip_label"] = flips.get(entry["name"], "none")
    (tmp_path / "labels.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=message):
        DatasetInfo.read(tmp_path)


def test_the_data_sets_of_this_project_say_how_they_are_mirrored() -> None:
    folders = [path.parent for path in (ROOT / "datasets").glob("*/labels.json")]
    assert len(folders) == 5
    for folder in folders:
        classes = json.loads((folder / "labels.json").read_text())["classes"]
        assert [entry["name"] for entry in classes if "flip_label" not in entry] == []
        assert len(DatasetInfo.read(folder).flip_labels) == len(classes)  # which refuses those that cannot be
    info = DatasetInfo.read(ROOT / "datasets" / "synthetic")
    assert info.flip_labels == list(range(17))
    assert DatasetInfo.read(ROOT / "datasets" / "utd_mhad").flip_labels == [None] * 27  # everybody is right-handed
    assert synthetic.generator_hash() == "0f23d472f4cff5b9"


# ---- what a clip is in a mirror ------------------------------------------------------------------------------------


def test_a_clip_in_a_mirror_has_the_other_label_and_the_other_sentence(flip_dataset) -> None:
    train_split, info = load(flip_dataset)["train"], DatasetInfo.read(flip_dataset)
    pairs = flipped_clips(train_split, info)
    sentences = clip_sentences(train_split, info.texts)
    for row, pair, sentence in zip(train_split, pairs, sentences, strict=True):
        name = info.names[row["label"]]
        if FLIPS[name] == "none":
            assert pair is None
            continue
        label, turned = pair
        assert info.names[label] == FLIPS[name]
        if sentence is None:
            assert turned is None
            continue
        swapped = re.sub("left|right", lambda side: {"left": "right", "right": "left"}[side[0]], sentence)
        assert turned == swapped != sentence


def test_class_level_text_is_that_of_the_other_class(flip_dataset) -> None:
    train_split, info = load(flip_dataset)["train"], DatasetInfo.read(flip_dataset)
    for row, pair in zip(train_split, flipped_clips(train_split, info, "class"), strict=True):
        other = info.flip_labels[row["label"]]
        assert pair == (None if other is None else (other, info.texts[other]))


def test_where_mirroring_of_the_recordings_is_unknown_the_label_changes_and_the_sentence_stays() -> None:
    classes = tuple(
        ClassInfo(f"Swipe {side}", f"An arm goes {side}.", FGText("arm"), f"Swipe {other}")
        for side, other in (("left", "right"), ("right", "left"))
    )
    info = DatasetInfo("unknown", "1", "unknown", classes)
    plain = dict.fromkeys((*ATTRIBUTES, "side", "provenance")) | {"initiator": "arm", "direction": "sideways"}
    split = datasets.Dataset.from_list([{"video": None, "label": n} | plain for n in (0, 1)])
    assert flipped_clips(split, info) == [(1, FGText("arm", direction="sideways").sentence()),
                                          (0, FGText("arm", direction="sideways").sentence())]  # fmt: skip


def test_no_class_that_may_be_mirrored_is_an_error(tiny_arguments) -> None:
    with pytest.raises(
        ValueError, match=r"mirror_clips is on, but labels.json of tiny lets no training clip .* flip_label"
    ):
        build([*tiny_arguments, "--mirror_clips", "true"])


@pytest.mark.parametrize("fg_text", ["fine", "class"])
def test_sentences_in_a_mirror_are_in_the_table_before_training(flip_dataset, tmp_path, fg_text) -> None:
    train_split, info = load(flip_dataset)["train"], DatasetInfo.read(flip_dataset)
    bank = TextBank(tmp_path, tiny.key(), tiny.encoder)
    sem = semantics.build(train_split, info, bank, fg_text, mirror=True)
    pairs = flipped_clips(train_split, info, fg_text)
    assert len(pairs) == len(sem.flipped) == 24
    for said, found in zip(pairs, sem.flipped, strict=True):
        if said is None or said[1] is None:
            assert found == (said and (said[0], NO_SENTENCE))
        else:
            assert found[0] == said[0]
            assert torch.equal(sem.table[found[1]], bank.embed([said[1]])[0])
    plain = semantics.build(train_split, info, bank, fg_text)
    assert plain.flipped is None
    # A left hand that goes left becomes a right hand that goes right, which is there; one that goes up is new.
    assert (len(plain.table), len(sem.table)) == ((12, 15) if fg_text == "fine" else (4, 4))


# ---- training ------------------------------------------------------------------------------------------------------


def test_a_class_that_is_seen_in_the_mirror_only_has_clips_to_be_weighed_by(flip_dataset, mirroring, tmp_path) -> None:
    data = tmp_path / "data"
    shutil.copytree(flip_dataset, data)
    rows = [json.loads(line) for line in (data / "train" / "metadata.jsonl").read_text().splitlines()]
    rows = [row | {"label": row["label"].replace("Hand right", "Hand up")} for row in rows]
    (data / "train" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = [*mirroring, "--dataset_dir", str(data), "--class_balance", "logit_adjustment"]
    assert build(argv[:-4]).class_counts == [6, 6, 6, 6]
    trainer = build(argv)
    # Half of the six clips of a hand that goes left are, in every epoch, those of one that goes right.
    assert dict(zip(trainer.class_names, trainer.class_counts, strict=True)) == {
        "Hand up": 12, "Hand down": 6, "Hand left": 3, "Hand right": 3,
    }  # fmt: skip
    logits, labels = torch.zeros(4, 4), torch.arange(4)
    assert bool(balanced_cross_entropy("logit_adjustment", logits, labels, trainer.class_counts).isfinite())


def moves(clip: torch.Tensor) -> float:
    """How far the bright square moves to the right of the picture over a clip `(T, 3, H, W)`."""
    bright = (clip.mean(1) - clip.mean((1, 2, 3))[:, None, None]).clamp(min=0)
    columns = bright.sum(1) / bright.sum((1, 2))[:, None]
    centres = (columns * torch.arange(clip.shape[-1])).sum(1)
    return float(centres[-1] - centres[0])


def test_what_the_network_sees_agrees_with_label_and_sentence(mirroring) -> None:
    """A hand that moves to the subject's left moves to the picture's right, mirrored or not."""
    trainer = build(mirroring)
    clips, names = trainer.train_dataset, trainer.class_names
    seen = set()
    for epoch in range(4):
        clips.set_epoch(epoch)
        batch = collate([clips[i] for i in range(24)])
        for index, clip in enumerate(trainer._pixels(batch)):
            name, turned = names[batch["labels"][index]], bool(batch["flipped"][index])
            seen.add((names[clips.labels[index]], turned))
            assert name == (FLIPS[names[clips.labels[index]]] if turned else names[clips.labels[index]])
            if name in ("Hand left", "Hand right"):
                assert (moves(clip) > 5) == (name == "Hand left")
                assert (moves(clip) < -5) == (name == "Hand right")
            expected = clips.flipped[index][1] if turned else clips.sentence_ids[index]
            assert batch["sentence_ids"][index] == expected
    assert seen == {(name, turned) for name in FLIPS for turned in (False, True)} - {("Hand down", True)}


def test_labels_and_sentences_reach_all_three_terms(mirroring) -> None:
    trainer = build(mirroring)
    clips = trainer.train_dataset
    batch = collate([clips[i] for i in range(24)])
    assert batch["flipped"].any()
    (whole,), _ = trainer.get_batch_samples(iter([batch]), 1, trainer.args.device)
    described = batch["sentence_ids"][batch["sentence_ids"] != NO_SENTENCE]
    assert torch.equal(whole["share"].keys[whole["share"].targets], described)
    assert set(whole["share"].keys.tolist()) - set(clips.sentence_ids)  # sentences that no clip has as it is
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    trainer.compute_loss(trainer.model, whole)
    out = trainer.model(pixel_values=trainer._pixels(batch))
    expected = torch.nn.functional.cross_entropy(out.logits, batch["labels"])
    assert float(trainer._window["cls"]) == pytest.approx(expected.item(), rel=1e-5)


def test_half_of_the_clips_are_mirrored_and_never_all_alike(mirroring) -> None:
    clips = build(mirroring).train_dataset
    may = [index for index, pair in enumerate(clips.flipped) if pair]
    drawn = []
    for epoch in range(20):
        clips.set_epoch(epoch)
        drawn.append([bool(clips[index]["flipped"]) for index in may])
    share = torch.tensor(drawn).float().mean()
    assert 0.4 < share < 0.6
    assert len({tuple(row) for row in drawn}) == 20


def batches(clips, **how) -> list[dict[str, torch.Tensor]]:
    """The batches of three epochs, all read by one loader."""
    loader, found = DataLoader(clips, batch_size=6, collate_fn=collate, **how), []
    for epoch in range(3):
        clips.set_epoch(epoch)
        found += list(loader)
    return found


def test_workers_that_live_on_draw_what_this_process_draws(mirroring) -> None:
    pytest.importorskip("PIL")
    clips = build([*mirroring, "--augment", "true", "--jpeg_degradation", "true"]).train_dataset
    here = batches(clips)
    there = batches(clips, num_workers=2, persistent_workers=True)
    assert len(here) == len(there) == 12
    for a, b in zip(here, there, strict=True):
        assert set(a) == {"pixel_values", "labels", "sentence_ids", "clip_ids", "augmentation", "flipped"}
        assert all(torch.equal(value, b[name]) for name, value in a.items())
    assert not torch.equal(here[0]["augmentation"], here[4]["augmentation"])  # the same clips one epoch later


def test_jpeg_degradation_stores_training_clips_as_jpeg_and_no_others(tiny_arguments) -> None:
    pytest.importorskip("PIL")
    plain, degraded = (build([*tiny_arguments, "--jpeg_degradation", value]) for value in ("false", "true"))
    for epoch, index in ((0, 0), (0, 5), (1, 5)):
        degraded.train_dataset.set_epoch(epoch)
        frames = plain.train_dataset[index]["pixel_values"]
        found = degraded.train_dataset[index]["pixel_values"]
        qualities = augment.draw_qualities(degraded.args.seed, epoch, index, len(frames))
        assert torch.equal(found, augment.degrade(frames, qualities))
        assert not torch.equal(found, frames)
    assert torch.equal(degraded.eval_dataset[0]["pixel_values"], plain.eval_dataset[0]["pixel_values"])


def test_resuming_in_the_middle_of_an_augmented_epoch_equals_never_stopping(mirroring, tmp_path) -> None:
    pytest.importorskip("PIL")
    argv = [*mirroring, "--augment", "true", "--jpeg_degradation", "true", "--save_strategy", "steps"]
    argv += ["--save_steps", "4", "--eval_strategy", "no", "--load_best_model_at_end", "false"]
    whole, stopped = [[*argv, "--output_dir", str(tmp_path / name)] for name in ("whole", "stopped")]
    train(whole)
    trainer = build(stopped)
    trainer.add_callback(StopAt(8))
    trainer.train()
    train([*stopped, "--resume_from_checkpoint", "last"])
    expected, got = weights(whole), weights(stopped)
    assert all(torch.equal(value, got[name]) for name, value in expected.items())
