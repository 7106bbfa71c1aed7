"""Evaluation and the command line on a trained checkpoint, as a person runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import evaluate_fgsgl
import train_fgsgl
from microgesture import cli
from microgesture.data import load
from microgesture.data.clip_dataset import ClipDataset, clip_sentences
from microgesture.data.clips import DatasetInfo
from microgesture.evaluation.calibration import fit_temperature
from microgesture.evaluation.score_file import Scores, score_path
from modeling_fgsgl import FGSGLForVideoClassification
from processing_fgsgl import FGSGLProcessor

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def trained(tiny_arguments, tmp_path):
    train_fgsgl.main(tiny_arguments)
    return tmp_path / "out"


def test_every_clip_is_counted_once_whatever_the_batch_size(trained, tiny_dataset, tmp_path, capsys) -> None:
    argv = [str(trained), str(tiny_dataset), "--cache_dir", str(tmp_path / "cache"), "--baselines", "--details"]
    evaluate_fgsgl.main(argv)
    printed = capsys.readouterr().out
    result = json.loads((trained / "eval_test.json").read_text())
    assert result["metrics"]["total"] == 8
    assert f"{result['metrics']['correct']}/8" in printed
    for text in ("majority class", "linear model, frames in order", "by subject: e", "stage 2", str(trained)):
        assert text in printed
    model, processor = FGSGLForVideoClassification.from_pretrained(trained), FGSGLProcessor.from_pretrained(trained)
    test = load(tiny_dataset)["test"]
    clips = ClipDataset(test, Sampling(processor), [-1] * 8)
    one, three = (evaluate_fgsgl.predict(model.eval(), processor, clips, size)[0] for size in (1, 3))
    torch.testing.assert_close(one, three)
    assert int((one.argmax(-1) == torch.tensor(clips.labels)).sum()) == result["metrics"]["correct"]


def run(checkpoint: Path, dataset: Path, cache: Path, *options: str) -> dict:
    """Evaluates on the test split as a person does; gives what was written."""
    evaluate_fgsgl.main([str(checkpoint), str(dataset), "--cache_dir", str(cache), *options])
    return json.loads((checkpoint / "eval_test.json").read_text())


def test_figures_about_text_and_confidence(trained, tiny_dataset, tmp_path, capsys) -> None:
    result = run(trained, tiny_dataset, tmp_path / "cache", "--details")
    printed = capsys.readouterr().out
    test, info = load(tiny_dataset)["test"], DatasetInfo.read(tiny_dataset)
    sentences = clip_sentences(test, info.texts)
    found = result["text"]["retrieval"]
    assert found["sentences"] == len({s for s in sentences if s})
    assert found["recall@1"]["total"] == sum(s is not None for s in sentences) == 7
    attributes = result["text"]["attributes"]
    assert {row["all"]["total"] for row in attributes.values()} == {7}
    assert attributes["direction"]["all"]["true_default"] == 7  # the direction is what the classes differ in
    assert attributes["motion_type"]["differing"]["total"] == sum(
        m not in ("raise", None) for m in test["motion_type"]
    )
    assert "own sentence among" in printed
    assert "record differs" in printed
    scores = {split: Scores.read(score_path(trained, split)) for split in ("test",)}["test"]
    model = FGSGLForVideoClassification.from_pretrained(trained).eval()
    processor = FGSGLProcessor.from_pretrained(trained)
    words = [model.describe(processor(row["video"]["path"])["pixel_values"])[0]["direction"][0][0] for row in test]
    right = [word == truth for word, truth in zip(words, test["direction"], strict=True)]
    assert attributes["direction"]["all"]["described"] == sum(right)
    held_out = ClipDataset(load(tiny_dataset)["validation"], Sampling(processor), [-1] * 8)
    logits = evaluate_fgsgl.predict(model, processor, held_out)[0]
    temperature = result["calibration"]["scaled"]["temperature"]
    assert temperature == pytest.approx(fit_temperature(logits.numpy(), held_out.labels), rel=1e-3)
    assert scores.labels.tolist() == test["label"]
    assert scores.clips[0] == "clips/000.mp4"
    assert set(scores.subjects) == {"e"}
    assert result["class_groups"]["training clips"]["tail (under 20)"]["total"] == 8


def test_no_temperature_is_fitted_on_what_is_measured(trained, tiny_dataset, tmp_path) -> None:
    result = evaluate_fgsgl.evaluate(trained, tiny_dataset, "validation", tmp_path / "cache", False)
    assert list(result["calibration"]) == ["plain"]


def test_comparing_checkpoints_and_handing_in(trained, tiny_dataset, tmp_path, capsys) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained, other, ignore=shutil.ignore_patterns("checkpoint-*"))
    with pytest.raises(FileNotFoundError, match="evaluate that checkpoint on that split first"):
        run(trained, tiny_dataset, tmp_path / "cache", "--compare", str(other))
    run(other, tiny_dataset, tmp_path / "cache")
    path = score_path(other, "test")
    scores = Scores.read(path)
    worse = Scores(*(getattr(scores, name) for name in ("dataset", "split", "classes", "clips", "subjects", "labels")),
                   np.roll(np.eye(4, dtype=np.float32)[scores.labels], 1, axis=1))  # fmt: skip
    worse.save(path)  # a model that is never right
    row = run(trained, tiny_dataset, tmp_path / "cache", "--compare", str(other))["comparisons"][str(other)]
    printed = capsys.readouterr().out
    right = int((scores.logits.argmax(1) == scores.labels).sum())
    assert row["correct"] == {"first": [0], "second": [right]}
    assert row["difference"] == pytest.approx(right / 8)
    assert row["interval"] is None
    assert row["per_subject"] == {"e": {"clips": 8, "difference": pytest.approx(right / 8)}}
    assert f"compared with {other}: {right}/8 against 0/8" in printed
    assert "1 people are too few for an interval over people; each: e " in printed
    assert "ignores that clips of one person are not independent" in printed
    with pytest.raises(ValueError, match=r"'clips/000\.mp4' is not named like 0054_0"):
        run(trained, tiny_dataset, tmp_path / "cache", "--challenge", "submission")


def test_sentences_of_a_published_language_model(trained, tiny_dataset, tmp_path, capsys) -> None:
    """They are looked up; without a table the run says what is missing, and measures the rest."""
    record = json.loads((trained / "metrics.json").read_text())
    record["text_encoder"] |= {"name": "org/model", "revision": "abc"}
    (trained / "metrics.json").write_text(json.dumps(record))
    found = run(trained, tiny_dataset, tmp_path / "cache")["text"]["retrieval"]
    assert found == {"skipped": "sentences of this split are not embedded yet; --backbone org/model embeds them"}
    assert "own sentence: not measured, because" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.dist
def test_two_processes_give_the_figures_of_one(trained, tiny_dataset, tmp_path) -> None:
    """7 clips in batches of 3: neither the last batch nor the last process's share is full."""
    odd = tmp_path / "odd"
    shutil.copytree(tiny_dataset, odd)
    lines = (odd / "test" / "metadata.jsonl").read_text().splitlines(keepends=True)
    (odd / "test" / "metadata.jsonl").write_text("".join(lines[:-1]))
    (odd / "test" / json.loads(lines[-1])["file_name"]).unlink()
    argv = [str(trained), str(odd), "--cache_dir", str(tmp_path / "cache"), "--batch_size", "3"]
    found, files = [], []
    for processes in (1, 2):
        command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(processes)]
        command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        command += ["--multi_gpu", "--main_process_port", "0"] if processes > 1 else []
        done = subprocess.run(
            [*command, "evaluate_fgsgl.py", *argv], cwd=ROOT, env=os.environ | {"ACCELERATE_USE_CPU": "true"},
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("test split\n") == 1  # one process speaks
        assert "/7 = " in done.stdout
        found.append(json.loads((trained / "eval_test.json").read_text()))
        files.append(Scores.read(score_path(trained, "test")))
    for name in ("metrics", "groups", "class_groups", "text"):
        assert found[0][name] == found[1][name]
    assert found[0]["metrics"]["total"] == 7
    one, two = (result["calibration"]["scaled"] for result in found)
    for name in ("temperature", "ece", "brier", "nll"):
        assert one[name] == pytest.approx(two[name], rel=1e-4)
    assert files[0].clips == files[1].clips
    np.testing.assert_allclose(files[0].logits, files[1].logits, rtol=1e-4, atol=1e-5)


def test_overlap_of_published_splits_is_in_every_result(trained, tiny_dataset, tmp_path, caplog) -> None:
    """Written by training and by evaluation, from labels.json."""
    assert json.loads((trained / "metrics.json").read_text())["official_overlap"] is False
    folder = tmp_path / "overlapping"
    shutil.copytree(tiny_dataset, folder)
    about = json.loads((folder / "labels.json").read_text())
    for overlap in (True, "unknown", False):
        (folder / "labels.json").write_text(json.dumps(about | {"official_overlap": overlap}))
        result = evaluate_fgsgl.evaluate(trained, folder, "test", tmp_path / "cache", False)
        assert json.loads((trained / "eval_test.json").read_text())["official_overlap"] == overlap
        text = evaluate_fgsgl.report(result, trained)
        assert (f"people of one split are seen in another as published: {overlap}" in text) is bool(overlap)
    assert caplog.text.count("official_overlap") == 2


class Sampling:
    """A frame source without a cache."""

    def __init__(self, processor) -> None:
        self.processor = processor

    def get(self, video, start, end, mirrored):
        return self.processor.sample(video, start, end, mirrored)


def test_unknown_split_and_other_classes_are_refused(trained, tiny_dataset, tmp_path) -> None:
    with pytest.raises(ValueError, match="has no split 'exam'; it has: "):
        evaluate_fgsgl.evaluate(trained, tiny_dataset, "exam", tmp_path, False)
    config = json.loads((trained / "config.json").read_text())
    config["id2label"]["0"] = "Nod"
    (trained / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="knows other classes"):
        evaluate_fgsgl.evaluate(trained, tiny_dataset, "test", tmp_path, False)


def test_predict_names_the_gesture_and_its_attributes(trained, tiny_dataset, capsys) -> None:
    clip = tiny_dataset / "test" / "clips" / "000.mp4"
    assert cli.main(["predict", str(trained), str(clip)]) == 0
    printed = capsys.readouterr().out
    assert str(clip) in printed
    assert "Hand" in printed
    assert "direction: " in printed


def test_a_file_that_cannot_be_read_is_one_plain_line(trained, tmp_path, capsys) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"")
    assert cli.main(["predict", str(trained), str(bad)]) == 1
    printed = capsys.readouterr().err
    message = printed.splitlines()[-1]
    assert message.startswith("microgesture: ")
    assert "bad.mp4" in message
    assert "Traceback" not in printed


def test_prepare_needs_the_original_data(tmp_path, capsys) -> None:
    assert cli.main(["prepare", "utd_mhad", "--out", str(tmp_path / "x")]) == 1
    assert "needs the folder of the original data" in capsys.readouterr().err


def test_training_refuses_to_mix_runs_and_missing_data(tiny_arguments, trained, tmp_path) -> None:
    with pytest.raises(FileExistsError, match="already holds checkpoints of a run"):
        train_fgsgl.main(tiny_arguments)
    other = ["--output_dir", str(tmp_path / "new")]
    with pytest.raises(FileNotFoundError, match="does not exist: make it with"):
        train_fgsgl.main([*tiny_arguments, *other, "--dataset_dir", str(tmp_path / "nowhere")])


def test_training_names_a_clip_that_cannot_be_read(tiny_arguments, tiny_dataset, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_dataset, copy)
    (copy / "train" / "clips" / "003.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"1 clips cannot be read.*\n.*003\.mp4"):
        train_fgsgl.main([*tiny_arguments, "--dataset_dir", str(copy)])


def test_a_random_split_marks_every_result_made_with_it(tiny_arguments, tiny_dataset, tmp_path, capsys) -> None:
    leaking = tmp_path / "leaking"
    shutil.copytree(tiny_dataset, leaking)
    labels = json.loads((leaking / "labels.json").read_text()) | {"leak": True}
    (leaking / "labels.json").write_text(json.dumps(labels))
    (leaking / "test" / "metadata.jsonl").write_text(  # the training people test as well, which load refuses elsewhere
        (leaking / "test" / "metadata.jsonl").read_text().replace('"subject": "e"', '"subject": "a"')
    )
    train_fgsgl.main([*tiny_arguments, "--dataset_dir", str(leaking), "--num_train_epochs", "1"])
    out = tmp_path / "out"
    assert json.loads((out / "metrics.json").read_text())["leak"] is True
    assert "**Leak:** the same people are, or may be" in (out / "README.md").read_text()
    for dataset in (leaking, tiny_dataset):  # also on other people: the checkpoint was chosen with the leak
        capsys.readouterr()
        evaluate_fgsgl.main([str(out), str(dataset), "--cache_dir", str(tmp_path / "cache")])
        assert "LEAK: the same people are, or may be" in capsys.readouterr().out
        assert json.loads((out / "eval_test.json").read_text())["leak"] is True


def test_a_split_by_person_is_not_marked(trained, tiny_dataset, tmp_path) -> None:
    result = evaluate_fgsgl.evaluate(trained, tiny_dataset, "test", tmp_path / "cache", False)
    assert "leak" not in result
    assert "leak" not in json.loads((trained / "metrics.json").read_text())
